package provider_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/provider"
)

// TestRetryAfterHoldsForAll: what one caller is asked to wait, all wait, and none asks meanwhile.
func TestRetryAfterHoldsForAll(t *testing.T) {
	t.Parallel()

	for name, v := range vendors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			u := newUpstream(t)
			u.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == vonage.PathToken {
					return false
				}

				w.Header().Set("Retry-After", "20")
				w.WriteHeader(http.StatusTooManyRequests)

				return true
			})

			clock := clockwork.NewFakeClock()
			account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{Clock: clock}), u.resource(v))

			if _, err := account.List(t.Context()); !isLimited(err) {
				t.Fatalf("the error is %v", err)
			}

			asked := u.asked("")

			u.answer(nil)

			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					if _, err := account.Get(t.Context(), "2V1lVz6FeKOuVLEpSU6M0aqkM9b"); !isLimited(err) {
						t.Errorf("a caller was not held: %v", err)
					}
				})
			}

			all.Wait()
			clock.Advance(19 * time.Second)

			if _, err := account.List(t.Context()); !isLimited(err) || u.asked("") != asked {
				t.Errorf("%d requests before the time was over, error %v", u.asked("")-asked, err)
			}

			clock.Advance(time.Second)

			if _, err := account.List(t.Context()); err != nil {
				t.Errorf("after the time was over: %v", err)
			}
		})
	}
}

// TestLongestRetryAfterStands: of two that were asked at once, the one that is answered last asks for less.
func TestLongestRetryAfterStands(t *testing.T) {
	t.Parallel()

	v := vendors["Vonage"]
	u := newUpstream(t)
	clock := clockwork.NewFakeClock()
	account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{Clock: clock}), u.resource(v))
	asked, answers := make(chan struct{}, 2), make(chan string, 2)

	u.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == vonage.PathToken {
			return false
		}

		asked <- struct{}{}

		w.Header().Set("Retry-After", <-answers)
		w.WriteHeader(http.StatusTooManyRequests)

		return true
	})

	limited := make(chan error, 2)

	for range 2 {
		go func() {
			_, err := account.Get(t.Context(), "2V1lVz6FeKOuVLEpSU6M0aqkM9b")
			limited <- err
		}()
	}

	<-asked
	<-asked

	for _, seconds := range []string{"20", "1"} {
		answers <- seconds

		if err := <-limited; !isLimited(err) {
			t.Fatalf("the error is %v", err)
		}
	}

	u.answer(nil)
	clock.Advance(19 * time.Second)

	if _, err := account.List(t.Context()); !isLimited(err) {
		t.Errorf("it was asked before the longer time was over: %v", err)
	}
}

// TestProvidersOfOneTokenShareThePace: Dixa counts by the token, whoever has it.
func TestProvidersOfOneTokenShareThePace(t *testing.T) {
	t.Parallel()

	v := vendors["Dixa"]
	u := newUpstream(t)
	clock := clockwork.NewFakeClock()
	values := v.secrets(goodToken)
	values["team/other/token"] = wrongToken
	pool := newPool(values, provider.PoolOptions{Clock: clock})
	first := open(t, pool, u.resource(v))
	second := open(t, pool, u.resource(v, another))
	stranger := open(t, pool, u.resource(v, another, func(p *v1alpha1.WebhookProvider) {
		p.UID, p.Spec.Dixa.TokenSecretRef.Name = "uid-3", "other"
	}))
	ctx := t.Context()

	for range provider.DixaBurst - 1 {
		if _, err := first.List(ctx); err != nil {
			t.Fatal(err)
		}
	}

	if _, err := second.List(ctx); err != nil {
		t.Fatal(err)
	}

	waits := make(chan error, 1)

	go func() {
		_, err := second.List(ctx)
		waits <- err
	}()

	if err := clock.BlockUntilContext(ctx, 1); err != nil {
		t.Fatal(err)
	}

	if got := u.asked("GET " + v.list); got != provider.DixaBurst {
		t.Errorf("%d requests at once, want %d", got, provider.DixaBurst)
	}

	if _, err := stranger.List(ctx); !isAuth(err) {
		t.Errorf("another token was not asked with: %v", err)
	}

	clock.Advance(100 * time.Millisecond)

	if err := <-waits; err != nil {
		t.Errorf("a tenth of a second later: %v", err)
	}

	u.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusTooManyRequests)

		return true
	})
	clock.Advance(time.Second)

	if _, err := first.List(ctx); !isLimited(err) {
		t.Fatal(err)
	}

	asked := u.asked("")

	if _, err := second.List(ctx); !isLimited(err) || u.asked("") != asked {
		t.Errorf("the other provider of the token was not held: %v", err)
	}

	for _, account := range []*provider.Account{first, second, stranger} {
		pool.Forget(account.Config().UID)
	}

	if got := pool.Paces(); got != 0 {
		t.Errorf("%d paces are kept for nobody", got)
	}
}

// TestPaceCountsRequests: a call that makes many requests keeps the limit with each; one whose turn is too far off
// holds nobody up, and is not held against the vendor.
func TestPaceCountsRequests(t *testing.T) {
	t.Parallel()

	v := vendors["Dixa"]
	u := newUpstream(t)
	clock := clockwork.NewFakeClock()
	account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{Clock: clock}), u.resource(v, func(p *v1alpha1.WebhookProvider) {
		p.Spec.RateLimit = &v1alpha1.ProviderRateLimit{RequestsPerSecond: 1, Burst: new(int32(2))}
	}))
	ctx := t.Context()

	if _, err := account.Create(ctx, v.draft()); err != nil {
		t.Fatal(err)
	}

	// A list, and then the statuses of the one in it.
	polled := make(chan error, 1)

	go func() {
		_, err := account.PollChanges(ctx)
		polled <- err
	}()

	if err := clock.BlockUntilContext(ctx, 1); err != nil {
		t.Fatal(err)
	}

	if got := u.asked(""); got != 2 {
		t.Errorf("%d requests at once, want 2", got)
	}

	waiting, stop := context.WithCancel(ctx)
	waits := make(chan error, 1)

	go func() {
		_, err := account.List(waiting)
		waits <- err
	}()

	if err := clock.BlockUntilContext(ctx, 2); err != nil {
		t.Fatal(err)
	}

	if _, err := account.List(ctx); !isLimited(err) {
		t.Errorf("a call that would wait longer than %s was answered %v", provider.MaxLimiterWait, err)
	}

	stop()

	if err := <-waits; err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("who gave up was answered %v", err)
	}

	clock.Advance(time.Second)

	if err := <-polled; err != nil {
		t.Error(err)
	}

	clock.Advance(time.Second)

	if _, err := account.List(ctx); err != nil {
		t.Errorf("a turn that was too far off is held against the vendor: %v", err)
	}
}

// TestPaceFollowsTheSpec: a changed limit holds at once, and what the vendor asked for stays.
func TestPaceFollowsTheSpec(t *testing.T) {
	t.Parallel()

	v := vendors["VonageToken"]
	u := newUpstream(t)
	clock := clockwork.NewFakeClock()
	pool := newPool(v.secrets(goodToken), provider.PoolOptions{Clock: clock})
	account := open(t, pool, u.resource(v))
	ctx := t.Context()

	for range 30 {
		if _, err := account.List(ctx); err != nil {
			t.Fatalf("without a limit: %v", err)
		}
	}

	limited := u.resource(v, func(p *v1alpha1.WebhookProvider) {
		p.Generation++
		p.Spec.RateLimit = &v1alpha1.ProviderRateLimit{RequestsPerSecond: 1}
	})
	open(t, pool, limited)

	if _, err := account.List(ctx); err != nil {
		t.Fatal(err)
	}

	waits := make(chan error, 1)

	go func() {
		_, err := account.List(ctx)
		waits <- err
	}()

	if err := clock.BlockUntilContext(ctx, 1); err != nil {
		t.Fatal(err)
	}

	clock.Advance(time.Second)

	if err := <-waits; err != nil {
		t.Error(err)
	}

	u.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)

		return true
	})
	clock.Advance(time.Second)

	if _, err := account.List(ctx); !isLimited(err) {
		t.Fatal(err)
	}

	open(t, pool, u.resource(v, func(p *v1alpha1.WebhookProvider) { p.Generation += 2 }))

	if _, err := account.List(ctx); !isLimited(err) {
		t.Errorf("a change of the spec lifted what the vendor asked for: %v", err)
	}
}
