package hooklinetest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/subscription"
)

func draft(name string) hooklinetest.Draft {
	return hooklinetest.Draft{Name: name, URL: "https://example.com/hooks", Events: []string{"a.*"}, Enabled: true}
}

func create(t *testing.T, account *hooklinetest.Account, name string) string {
	t.Helper()
	created, err := account.Create(t.Context(), draft(name))
	if err != nil {
		t.Fatal(err)
	}

	return created.ID
}

func TestFaults(t *testing.T) {
	isAuth := func(forbidden bool) func(error) bool {
		return func(err error) bool {
			refused, is := errors.AsType[*subscription.AuthError](err)

			return is && refused.Forbidden == forbidden
		}
	}
	isLimited := func(after time.Duration) func(error) bool {
		return func(err error) bool {
			limited, is := errors.AsType[*subscription.RateLimitedError](err)

			return is && limited.After == after
		}
	}
	says := func(text string) func(error) bool {
		return func(err error) bool { return err != nil && strings.Contains(err.Error(), text) }
	}
	for name, tc := range map[string]struct {
		reason  string
		fault   hooklinetest.Fault
		is      func(error) bool
		applied bool
	}{
		"ReplyLost":       {"the create happened", hooklinetest.ReplyLost(), says("reset"), true},
		"RateLimited":     {"with a Retry-After", hooklinetest.RateLimited(time.Minute), isLimited(time.Minute), false},
		"RateLimitedMute": {"without one", hooklinetest.RateLimited(0), isLimited(0), false},
		"ServerError":     {"5xx", hooklinetest.ServerError(503), says("503 Service Unavailable"), false},
		"Timeout":         {"until the context ends", hooklinetest.Timeout(), says("context"), false},
		"Unauthorized":    {"401", hooklinetest.Unauthorized(), isAuth(false), false},
		"Forbidden":       {"403", hooklinetest.Forbidden(), isAuth(true), false},
		"Malformed":       {"not the API's form", hooklinetest.Malformed(), says("decoding"), false},
		"Unreachable":     {"nobody there", hooklinetest.Unreachable(), says("refused"), false},
		"Missing":         {"404", hooklinetest.Missing(), func(err error) bool { return errors.Is(err, subscription.ErrNotFound) }, false},
		"Refused": {"a value", hooklinetest.Refused("url", "no"), func(err error) bool {
			invalid, is := errors.AsType[*subscription.InvalidError](err)

			return is && invalid.Field == "url"
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			account := hooklinetest.NewProvider().Account("team")
			account.Script(hooklinetest.OpCreate, 1, tc.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := account.Create(ctx, draft("name")); !tc.is(err) {
				t.Errorf("%s: the fault answered %v", tc.reason, err)
			}
			if got := len(account.Subscriptions()) == 1; got != tc.applied {
				t.Errorf("%s: applied is %t, want %t", tc.reason, got, tc.applied)
			}
			if _, err := account.Create(t.Context(), draft("other")); err != nil {
				t.Errorf("%s: the fault was scripted once, but a second create answered %v", tc.reason, err)
			}
			requests := account.Requests(hooklinetest.OpCreate)
			if len(requests) != 2 || requests[0].Fault == "" || requests[1].Fault != "" || requests[1].ID == "" {
				t.Errorf("%s: recorded %+v", tc.reason, requests)
			}
		})
	}
}

func TestFaultsTakeTurns(t *testing.T) {
	account := hooklinetest.NewProvider().Account("team")
	account.Script(hooklinetest.OpGet, hooklinetest.Forever, hooklinetest.Missing())
	account.Script(hooklinetest.OpCreate, 1, hooklinetest.ServerError(500))
	account.Script(hooklinetest.OpAny, 1, hooklinetest.Unauthorized())
	if got := account.Pending(); got != 3 {
		t.Errorf("Pending() = %d, want 3", got)
	}
	var got []string
	for range 3 {
		_, err := account.Create(t.Context(), draft("name"))
		_, refused := errors.AsType[*subscription.AuthError](err)
		switch {
		case err == nil:
			got = append(got, "ok")
		case refused:
			got = append(got, "refused")
		default:
			got = append(got, "failed")
		}
	}
	if diff := cmp.Diff([]string{"failed", "refused", "ok"}, got); diff != "" {
		t.Error(diff)
	}
	id := account.Subscriptions()[0].ID
	if _, err := account.Get(t.Context(), id); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("Get answered %v, want not found for ever", err)
	}
	account.Heal()
	if _, err := account.Get(t.Context(), id); err != nil {
		t.Errorf("Get answered %v after Heal", err)
	}
}

func TestServerErrorsDiffer(t *testing.T) {
	account := hooklinetest.NewProvider().Account("team")
	account.Script(hooklinetest.OpList, 2, hooklinetest.ServerError(500))
	_, first := account.List(t.Context())
	_, second := account.List(t.Context())
	if first.Error() == second.Error() {
		t.Errorf("both requests failed with %q: real services name each request", first)
	}
}

func TestSlow(t *testing.T) {
	clock := clockwork.NewFakeClock()
	account := hooklinetest.NewProvider(hooklinetest.WithClock(clock)).Account("team")
	account.Script(hooklinetest.OpList, 1, hooklinetest.Slow(time.Minute))
	done := make(chan error, 1)
	go func() {
		_, err := account.List(t.Context())
		done <- err
	}()
	if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("List answered at once: %v", err)
	default:
	}
	clock.Advance(time.Minute)
	if err := <-done; err != nil {
		t.Errorf("List answered %v", err)
	}
}

func TestVisibilityDelay(t *testing.T) {
	const delay = time.Minute
	clock := clockwork.NewFakeClock()
	account := hooklinetest.NewProvider(hooklinetest.WithClock(clock), hooklinetest.WithVisibilityDelay(delay)).Account("team")
	urls := func() []string {
		list, err := account.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		urls := []string{}
		for _, sub := range list {
			urls = append(urls, sub.URL)
		}

		return urls
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(append([]string{}, want...), urls()); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	id := create(t, account, "name")
	expect("created just now")
	if _, err := account.Get(t.Context(), id); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("Get sees a create that List does not: %v", err)
	}
	clock.Advance(delay)
	expect("created a while ago", "https://example.com/hooks")
	changed, err := account.Update(t.Context(), id, hooklinetest.Patch{URL: new("https://example.com/moved")})
	if err != nil || changed.URL != "https://example.com/moved" {
		t.Errorf("the reply to an update is never late: %+v, %v", changed, err)
	}
	expect("updated just now", "https://example.com/hooks")
	clock.Advance(delay)
	expect("updated a while ago", "https://example.com/moved")
	if err := account.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	expect("deleted just now", "https://example.com/moved")
	if err := account.Delete(t.Context(), id); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("a second delete answered %v: writers never lag", err)
	}
	clock.Advance(delay)
	expect("deleted a while ago")
	if got := account.Subscriptions(); len(got) != 0 {
		t.Errorf("the truth is %v", got)
	}
}

func TestSecretsAreKept(t *testing.T) {
	account := hooklinetest.NewProvider().Account("team")
	created, err := account.Create(t.Context(), draft("name"))
	if err != nil {
		t.Fatal(err)
	}
	const given = "a-signing-secret-with-more-than-enough-bytes"
	if _, err := account.Update(t.Context(), created.ID, hooklinetest.Patch{
		Secret: new(given),
		Authorization: &hooklinetest.Authorization{
			Scheme: subscription.SchemeBearer, Token: "a-token",
		},
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{created.Secret, given}, account.Secrets(created.ID)); diff != "" {
		t.Error(diff)
	}
	shown, err := account.Get(t.Context(), created.ID)
	if err != nil || shown.Authorization.Token != "" || shown.Authorization.Scheme != subscription.SchemeBearer {
		t.Errorf("Get shows %+v, %v", shown.Authorization, err)
	}
	if got := account.Subscriptions()[0].Authorization.Token; got != "a-token" {
		t.Errorf("the truth has the token %q", got)
	}
}

func TestStatusesChangedSince(t *testing.T) {
	account := hooklinetest.NewProvider().Account("team")
	one, two := create(t, account, "one"), create(t, account, "two")
	since := func(cursor string) hooklinetest.Changes {
		t.Helper()
		changes, err := account.StatusesChangedSince(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}

		return changes
	}
	first := since("")
	if err := account.SetStatuses(one, hooklinetest.DeliveryStatus{Event: "a.b", Success: true}); err != nil {
		t.Fatal(err)
	}
	second := since(first.Next)
	if diff := cmp.Diff([]string{one}, second.IDs); diff != "" {
		t.Error(diff)
	}
	if err := account.Suspend(two, "Gone", "410"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{two}, since(second.Next).IDs); diff != "" {
		t.Error(diff)
	}
	for _, cursor := range []string{"", "garbage", "99999"} {
		if got := since(cursor).IDs; len(got) != 2 {
			t.Errorf("since %q: %v, want both", cursor, got)
		}
	}
}

func TestTwinsOnlyByIntervention(t *testing.T) {
	account := hooklinetest.NewProvider().Account("team")
	create(t, account, "name")
	if _, err := account.Create(t.Context(), draft("name")); !errors.Is(err, subscription.ErrNameTaken) {
		t.Errorf("a twin was refused with %v", err)
	}
	if _, err := account.Add(draft("name")); err != nil {
		t.Errorf("Add answered %v", err)
	}
	if got := len(account.Subscriptions()); got != 2 {
		t.Errorf("there are %d, want 2", got)
	}
}

func TestAccountsAreApart(t *testing.T) {
	provider := hooklinetest.NewProvider()
	create(t, provider.Account("one"), "name")
	if got, err := provider.Tenant("two").List(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("the other tenant lists %v, %v", got, err)
	}
	first, again := provider.Account("one"), provider.Account("one")
	if first != again || provider.RequestCount() != 2 || len(provider.Requests()) != 2 {
		t.Errorf("recorded %v", provider.Requests())
	}
}

func TestClock(t *testing.T) {
	clock := hooklinetest.NewClock()
	defer clock.Stop()
	began := clock.Now()
	timer := clock.NewTimer(time.Hour)
	clock.Advance(time.Hour)
	<-timer.Chan()
	select {
	case <-clock.After(20 * time.Millisecond): // goes by itself
	case <-time.After(10 * time.Second):
		t.Fatal("the clock stands still")
	}
	clock.Stop()
	clock.Stop()
	stopped := clock.Now()
	if stopped.Sub(began) < time.Hour {
		t.Errorf("the clock went %s", stopped.Sub(began))
	}
}
