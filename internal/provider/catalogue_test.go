package provider

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// listsTypes is a port of which only the catalogue is asked.
type listsTypes struct {
	subscription.API

	asked  atomic.Int32
	answer func(ctx context.Context, call int32) ([]subscription.EventType, error)
}

func (l *listsTypes) EventTypes(ctx context.Context) ([]subscription.EventType, error) {
	return l.answer(ctx, l.asked.Add(1))
}

func (l *listsTypes) Capabilities() subscription.Capabilities {
	return subscription.Capabilities{Provider: "test", Catalogue: true}
}

func accountOf(api subscription.API, clock clockwork.Clock) *Account {
	return newAccount(api, Config{Interval: 10 * time.Minute, Timeout: time.Minute}, &pace{clock: clock}, PoolOptions{
		Clock: clock, Observer: func(string, string, string, time.Duration) {}, ProbeInterval: time.Minute,
	})
}

func typesOf(names ...string) []subscription.EventType {
	out := make([]subscription.EventType, 0, len(names))
	for _, name := range names {
		out = append(out, subscription.EventType{Name: name})
	}

	return out
}

// TestCatalogue: the catalogue is asked for once in an interval, and at once by who asks for a fresh one. An error is
// kept from nobody and kept for nobody.
func TestCatalogue(t *testing.T) {
	clock := clockwork.NewFakeClock()
	broken := errors.New("broken")
	api := &listsTypes{answer: func(_ context.Context, call int32) ([]subscription.EventType, error) {
		switch call {
		case 1:
			return nil, broken
		case 2:
			return typesOf("a", "b"), nil
		default:
			return typesOf("c"), nil
		}
	}}
	account := accountOf(api, clock)

	for i, step := range []struct {
		reason string
		after  time.Duration
		afresh bool
		want   []string
		asked  int32
		err    error
	}{
		{reason: "the error is the caller's", asked: 1, err: broken},
		{reason: "and the next asks again", want: []string{"a", "b"}, asked: 2},
		{reason: "what is young serves", after: 8 * time.Minute, want: []string{"a", "b"}, asked: 2},
		{reason: "who comes back for the next list finds the next catalogue", after: 2 * time.Minute, want: []string{"c"}, asked: 3},
		{reason: "what is fresh is asked for", afresh: true, want: []string{"c"}, asked: 4},
		{reason: "and serves the others", after: 8 * time.Minute, want: []string{"c"}, asked: 4},
	} {
		clock.Advance(step.after)

		got, err := account.Catalogue(t.Context(), step.afresh)
		if !errors.Is(err, step.err) || api.asked.Load() != step.asked {
			t.Errorf("step %d, %s: asked %d times, want %d; error %v", i+1, step.reason, api.asked.Load(), step.asked, err)
		}

		if diff := cmp.Diff(step.want, got.Names); diff != "" {
			t.Errorf("step %d, %s (-want +got):\n%s", i+1, step.reason, diff)
		}
	}
}

// TestCatalogueShared: all who wait share one request, and who gives up takes nobody along.
func TestCatalogueShared(t *testing.T) {
	begun, proceed := make(chan struct{}), make(chan struct{})
	api := &listsTypes{answer: func(ctx context.Context, call int32) ([]subscription.EventType, error) {
		if call > 1 {
			return typesOf("b"), nil
		}

		close(begun)

		select {
		case <-proceed:
			return typesOf("a"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	account := accountOf(api, clockwork.NewFakeClock())

	first, cancel := context.WithCancel(t.Context())
	defer cancel()

	var all sync.WaitGroup

	all.Go(func() {
		if _, err := account.Catalogue(first, false); !errors.Is(err, context.Canceled) {
			t.Errorf("the one that gave up was answered %v", err)
		}
	})
	<-begun

	for range 5 {
		all.Go(func() {
			if got, err := account.Catalogue(t.Context(), false); err != nil || !cmp.Equal(got.Names, []string{"b"}) {
				t.Errorf("one that waited was answered %v and %v", got, err)
			}
		})
	}

	cancel()
	all.Wait()

	if asked := api.asked.Load(); asked != 2 {
		t.Errorf("asked %d times, want once for the one that gave up and once for the others", asked)
	}
}

// TestCatalogueGone: one answer that lacks something is no proof that it is gone, nor are two at once.
func TestCatalogueGone(t *testing.T) {
	clock := clockwork.NewFakeClock()
	api := &listsTypes{answer: func(_ context.Context, call int32) ([]subscription.EventType, error) {
		if call == 1 || call == 5 {
			return typesOf("a", "b"), nil
		}

		return typesOf("a"), nil
	}}
	account := accountOf(api, clock)

	for i, step := range []struct {
		reason string
		after  time.Duration
		afresh bool
		gone   bool
	}{
		{reason: "it is there"},
		{reason: "one answer lacks it", after: 10 * time.Minute},
		{reason: "so does one right after it, which is no second opinion", after: time.Second, afresh: true},
		{reason: "and so does one an interval later", after: 10 * time.Minute, gone: true},
		{reason: "it is back", after: 10 * time.Minute},
		{reason: "and missing again", after: 10 * time.Minute},
		{reason: "for good", after: 10 * time.Minute, gone: true},
	} {
		clock.Advance(step.after)

		got, err := account.Catalogue(t.Context(), step.afresh)
		if err != nil {
			t.Fatal(err)
		}

		if got.Gone("a") || got.Gone("b") != step.gone {
			t.Errorf("step %d, %s: %v", i+1, step.reason, got)
		}
	}

	// What a process has seen nothing of may be there.
	first, err := accountOf(&listsTypes{answer: func(context.Context, int32) ([]subscription.EventType, error) {
		return typesOf("a"), nil
	}}, clock).Catalogue(t.Context(), false)
	if err != nil || first.Gone("b") {
		t.Errorf("the first answer of a process: %v, %v", first, err)
	}
}

// TestLateness: who was not waited for may still be at work, unless the call was one of this process.
func TestLateness(t *testing.T) {
	for want, cfg := range map[time.Duration]Config{
		0:               {Type: v1alpha1.ProviderTypeDispatcher, Timeout: time.Minute},
		7 * time.Second: {Type: v1alpha1.ProviderTypeDispatcher, URL: "https://hooks.example.com", Timeout: 7 * time.Second},
		8 * time.Second: {Type: v1alpha1.ProviderTypeBird, URL: "https://api.bird.com", Timeout: 8 * time.Second},
	} {
		if got := cfg.Lateness(); got != want {
			t.Errorf("%s: %s, want %s", cfg.URL, got, want)
		}
	}
}
