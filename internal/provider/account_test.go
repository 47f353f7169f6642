package provider_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// TestRateLimitedSaysHowLong: who is answered "too many requests" learns from every answer how long to wait, so that
// nobody comes back at once, or never.
func TestRateLimitedSaysHowLong(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason string
		asked  time.Duration
		want   time.Duration
	}{
		"Said":    {reason: "The provider decides.", asked: time.Minute, want: time.Minute},
		"Unsaid":  {reason: "A provider that does not say is left alone for a while.", asked: 0, want: provider.DefaultRetryAfter},
		"Too far": {reason: "A provider cannot shut itself off for years.", asked: 1 << 60, want: provider.MaxRetryAfter},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			f := newFixture(t, nil)
			f.remote.Script(hooklinetest.OpGet, 1, hooklinetest.RateLimited(tc.asked))

			var got []time.Duration

			// The answer of the provider, and then the one that is held.
			for range 2 {
				_, err := f.account.Get(t.Context(), "any")
				if limited, is := errors.AsType[*subscription.RateLimitedError](err); is {
					got = append(got, limited.After)
				}
			}

			if diff := cmp.Diff([]time.Duration{tc.want, tc.want}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestAbsenceIsNoProof: a delete that is answered "not found" does not hide the subscription from the lists that
// tell whether it is gone.
func TestAbsenceIsNoProof(t *testing.T) {
	t.Parallel()

	f := newFixture(t, nil, hooklinetest.WithVisibilityDelay(time.Minute))
	id := f.add(t, "known")
	f.clock.Advance(time.Hour)
	f.remote.Script(hooklinetest.OpDelete, 1, hooklinetest.Missing())

	if err := f.account.Delete(t.Context(), id); !errors.Is(err, subscription.ErrNotFound) {
		t.Fatalf("want not found, got %v", err)
	}

	view, err := f.account.ListAfter(t.Context(), f.account.Mark())
	if err != nil {
		t.Fatal(err)
	}

	if _, found := view.Get(id); !found {
		t.Error("the list hides what the provider shows")
	}
}

// blocking is a provider that refuses the credentials, once it is let.
type blocking struct {
	subscription.API

	asked  chan struct{}
	answer chan error
}

// Get implements subscription.API.
func (b *blocking) Get(context.Context, string) (subscription.Subscription, error) {
	close(b.asked)

	return subscription.Subscription{}, <-b.answer
}

// TestRefusalOfOldCredentials: what comes back to a request made with the old credentials says nothing of the new.
func TestRefusalOfOldCredentials(t *testing.T) {
	t.Parallel()

	fake := hooklinetest.NewProvider()
	old := &blocking{API: fake.Tenant(tenant), asked: make(chan struct{}), answer: make(chan error)}
	clients := []subscription.API{old, fake.Tenant(tenant)}
	pool := provider.NewPool(provider.Factory{Embedded: func(string) subscription.API {
		client := clients[0]
		clients = clients[1:]

		return client
	}}, secrets{}, provider.PoolOptions{Clock: clockwork.NewFakeClock()})

	account, err := pool.Open(t.Context(), embedded())
	if err != nil {
		t.Fatal(err)
	}

	answered := make(chan error)

	go func() {
		_, err := account.Get(t.Context(), "any")
		answered <- err
	}()

	<-old.asked

	if _, err := pool.Open(t.Context(), embedded(func(p *v1alpha1.WebhookProvider) { p.Generation++ })); err != nil {
		t.Fatal(err)
	}

	old.answer <- &subscription.AuthError{Message: "expired"}

	if err := <-answered; !isAuth(err) {
		t.Errorf("the request was answered %v", err)
	}

	if held, _ := account.Refused(); held != nil {
		t.Errorf("the new client is held to %v", held)
	}

	if _, err := account.List(t.Context()); err != nil {
		t.Errorf("the new client was not asked: %v", err)
	}
}
