package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

// logged is what a registry logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.Write(line)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.String()
}

// stage is a registry on a real journal, and what delivers in its stead.
type stage struct {
	fs       vfs.FS
	journal  *embedded.Journal
	registry *registry.Registry
	epoch    journal.Epoch
	events   atomic.Int64
	log      *logged
}

// newStage opens a journal in memory and a registry on it.
func newStage(t testing.TB, options registry.Options) *stage {
	t.Helper()

	return openStage(t, vfs.NewMem(), options)
}

func openStage(t testing.TB, fs vfs.FS, options registry.Options) *stage {
	t.Helper()
	s := &stage{fs: fs, log: &logged{}}
	j, err := embedded.Open(t.Context(), embedded.Options{
		Dir: "journal", FS: fs, BallastBytes: -1, Log: slog.New(slog.DiscardHandler),
		FreeSpace: func() (embedded.Space, error) { return embedded.Space{Free: 1 << 40, Total: 1 << 40}, nil },
	})
	if err != nil {
		t.Fatalf("opening the journal: %v", err)
	}
	s.journal = j
	owned, err := j.Own(t.Context())
	if err != nil {
		t.Fatalf("owning the shard: %v", err)
	}
	s.epoch = (<-owned).Epoch
	options.Log = slog.New(slog.NewTextHandler(s.log, nil))
	options.Ledger = ledger.New(j.View(), j.Get)
	s.registry = s.second(t, options)
	t.Cleanup(s.close)

	return s
}

// second opens one more registry on the journal, as another replica would.
func (s *stage) second(t testing.TB, options registry.Options) *registry.Registry {
	t.Helper()
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	r, err := registry.New(t.Context(), s.journal, options)
	if err != nil {
		t.Fatalf("opening a registry: %v", err)
	}
	t.Cleanup(r.Close)

	return r
}

// last is the end of the log.
func (s *stage) last(t testing.TB) journal.Seq {
	t.Helper()
	_, last, err := s.journal.View().Bounds(t.Context())
	if err != nil {
		t.Fatalf("reading the bounds: %v", err)
	}

	return last
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after 20 s it does not hold that %s", what)
		}
	}
}

func (s *stage) close() {
	s.registry.Close()
	// A second close answers ErrClosed, and the cleanup may be one.
	_ = s.journal.Close()
}

// deliver appends an event and settles its delivery, as the engine would after a 200.
func (s *stage) deliver(ctx context.Context, tenant, id, eventType string) error {
	number := s.events.Add(1)
	event := journal.Event{
		Tenant: tenant, Source: "conformance", ID: fmt.Sprintf("event-%d", number), Type: eventType,
		Accepted: time.Now(), Body: []byte(`{"specversion":"1.0"}`),
	}
	receipts, err := s.journal.Append(ctx, []journal.Event{event})
	if err != nil {
		return fmt.Errorf("appending an event: %w", err)
	}
	ref := journal.Ref{Subscription: id, Seq: receipts[0].Seq}
	outcome := journal.Outcome{
		Ref: ref, Tenant: tenant, Result: journal.Delivered,
		Attempt: &journal.Attempt{
			Subscription: id, Seq: ref.Seq, DeliveryID: fmt.Sprintf("delivery-%d", number), EventID: event.ID, EventType: eventType,
			Number: 1, At: time.Now(), Latency: time.Millisecond, Success: true, ResponseCode: 200, ResponseText: "OK",
		},
	}
	if err := s.journal.Settle(ctx, 0, s.epoch, journal.Batch{Outcomes: []journal.Outcome{outcome}}); err != nil {
		return fmt.Errorf("settling a delivery: %w", err)
	}

	return nil
}

const (
	tenant = "support"
	other  = "sales"
)

// subject is the stage as the conformance suite wants it.
func (s *stage) subject() subscriptiontest.Subject {
	return subscriptiontest.Subject{
		API: s.registry.Tenant(tenant), Other: s.registry.Tenant(other),
		Deliver: func(ctx context.Context, id, eventType string) error { return s.deliver(ctx, tenant, id, eventType) },
		Suspend: func(ctx context.Context, id string) error {
			return s.registry.Suspend(ctx, id, "Gone", "the endpoint answered 410")
		},
	}
}

func fakeClock() *clockwork.FakeClock {
	return clockwork.NewFakeClockAt(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
}

func draft(name string) subscription.Draft {
	return subscription.Draft{Name: name, URL: "https://example.com/hooks", Events: []string{"order.created"}, Enabled: true}
}

func mustCreate(t testing.TB, api subscription.API, d subscription.Draft) subscription.Created {
	t.Helper()
	created, err := api.Create(t.Context(), d)
	if err != nil {
		t.Fatalf("creating %s: %v", d.Name, err)
	}

	return created
}

func mustUpdate(t testing.TB, api subscription.API, id string, patch subscription.Patch) subscription.Subscription {
	t.Helper()
	updated, err := api.Update(t.Context(), id, patch)
	if err != nil {
		t.Fatalf("updating %s: %v", id, err)
	}

	return updated
}

func current(t testing.TB, s *stage, id string) *registry.Subscription {
	t.Helper()
	got, ok := s.registry.Current(id)
	if !ok {
		t.Fatalf("the registry has no subscription %s", id)
	}

	return got
}
