package provider_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	tenant   = "team"
	longWait = 10 * time.Second
)

// secrets are values by "namespace/name/key".
type secrets map[string]string

func (s secrets) Value(_ context.Context, namespace, name, key string) (string, error) {
	value, found := s[strings.Join([]string{namespace, name, key}, "/")]
	if !found {
		return "", fmt.Errorf("%w: there is no Secret %s", provider.ErrSecretNotFound, name)
	}

	return value, nil
}

// fixture is an account at a provider in memory, with a clock that stands.
type fixture struct {
	clock   *clockwork.FakeClock
	remote  *hooklinetest.Account
	account *provider.Account
	pool    *provider.Pool
	calls   *calls
}

// calls are what the observer was told.
type calls struct {
	mu  sync.Mutex
	all []string
}

func (c *calls) observe(api, operation, result string, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.all = append(c.all, api+" "+operation+" "+result)
}

func embedded(changes ...func(*v1alpha1.WebhookProvider)) *v1alpha1.WebhookProvider {
	p := &v1alpha1.WebhookProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "dispatcher", UID: "uid-1", Generation: 1},
		Spec:       v1alpha1.WebhookProviderSpec{Dispatcher: &v1alpha1.DispatcherProvider{}},
	}
	for _, change := range changes {
		change(p)
	}

	return p
}

func newFixture(t *testing.T, change func(*v1alpha1.WebhookProvider), options ...hooklinetest.Option) *fixture {
	t.Helper()

	f := &fixture{clock: clockwork.NewFakeClock(), calls: &calls{}}
	fake := hooklinetest.NewProvider(append(options, hooklinetest.WithClock(f.clock))...)
	f.remote = fake.Account(tenant)
	f.pool = provider.NewPool(provider.Factory{Embedded: fake.Tenant}, secrets{}, provider.PoolOptions{
		Clock: f.clock, Observer: f.calls.observe, Interval: time.Minute, ProbeInterval: time.Minute,
	})

	resource := embedded()
	if change != nil {
		change(resource)
	}

	account, err := f.pool.Open(t.Context(), resource)
	if err != nil {
		t.Fatal(err)
	}

	f.account = account

	return f
}

func (f *fixture) lists() int { return len(f.remote.Requests(hooklinetest.OpList)) }

func (f *fixture) add(t *testing.T, name string) string {
	t.Helper()

	id, err := f.remote.Add(hooklinetest.Draft{Name: name, URL: "https://a.example.com", Events: []string{"a.b"}, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}

	return id
}

func (f *fixture) draft(name string) subscription.Draft {
	return subscription.Draft{Name: name, URL: "https://a.example.com", Events: []string{"a.b"}, Enabled: true}
}

func TestListsAreShared(t *testing.T) {
	t.Parallel()

	f := newFixture(t, nil)
	f.remote.Script(hooklinetest.OpList, 1, hooklinetest.Slow(time.Second))

	var all sync.WaitGroup

	errs := make(chan error, 20)
	list := func(mark provider.Mark, want string) {
		view, err := f.account.ListAfter(t.Context(), mark)
		if err == nil && want != "" && len(view.Select(func(s subscription.Subscription) bool { return s.Name == want })) == 0 {
			err = fmt.Errorf("the list begun after the mark lacks %s", want)
		}

		errs <- err
	}

	before := f.account.Mark()

	all.Go(func() { list(before, "") })

	// The first list is under way; what is made now it may miss.
	if err := f.clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}

	f.add(t, "late-comer")

	during := f.account.Mark()

	for range 5 {
		all.Go(func() { list(before, "") })
		all.Go(func() { list(during, "late-comer") })
	}

	f.clock.Advance(time.Second)
	all.Wait()
	close(errs)

	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}

	if got := f.lists(); got != 2 {
		t.Errorf("eleven callers asked for %d lists, want 2: one under way, and one begun after it", got)
	}

	if _, err := f.account.ListCurrent(t.Context()); err != nil || f.lists() != 2 {
		t.Errorf("a young list was not used again: %d lists, error %v", f.lists(), err)
	}

	f.clock.Advance(time.Minute)

	if _, err := f.account.ListCurrent(t.Context()); err != nil || f.lists() != 3 {
		t.Errorf("a list as old as the interval was used again: %d lists, error %v", f.lists(), err)
	}
}

func TestListOfACallerThatGaveUp(t *testing.T) {
	t.Parallel()

	f := newFixture(t, nil)
	f.remote.Script(hooklinetest.OpList, 1, hooklinetest.Timeout())

	leader, giveUp := context.WithCancel(t.Context())

	var all sync.WaitGroup

	mark := f.account.Mark()

	all.Go(func() {
		if _, err := f.account.ListAfter(leader, mark); !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up was answered %v", err)
		}
	})

	for deadline := time.Now().Add(longWait); f.lists() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}

	all.Go(func() {
		if _, err := f.account.ListAfter(t.Context(), mark); err != nil {
			t.Errorf("who did not give up was answered %v", err)
		}
	})

	giveUp()
	all.Wait()
}

func TestOwnWritesShowAtOnce(t *testing.T) {
	t.Parallel()

	const delay = 30 * time.Second

	f := newFixture(t, nil, hooklinetest.WithVisibilityDelay(delay))
	ctx := t.Context()

	created, err := f.account.Create(ctx, f.draft("fresh"))
	if err != nil {
		t.Fatal(err)
	}

	shows := func(reason string, want bool) {
		t.Helper()

		view, err := f.account.ListAfter(ctx, f.account.Mark())
		if err != nil {
			t.Fatal(err)
		}

		_, got := view.Get(created.ID)
		if selected := view.Select(func(s subscription.Subscription) bool { return s.ID == created.ID }); got != want || (len(selected) == 1) != want {
			t.Errorf("%s: listed %v, selected %d, want %v", reason, got, len(selected), want)
		}
	}

	shows("the provider's list lags, ours does not", true)

	if written, found := f.account.Written(created.ID); !found || written.Name != "fresh" {
		t.Errorf("what was written is not known: %v", written)
	}

	f.clock.Advance(delay)
	shows("now the provider shows it too", true)

	if _, found := f.account.Written(created.ID); found {
		t.Error("what was written is still held against the provider")
	}

	if err := f.account.Delete(ctx, created.ID); err != nil {
		t.Fatal(err)
	}

	shows("the provider still shows what we deleted", false)
	f.clock.Advance(delay)
	shows("and no longer does", false)
}

func TestRefusalsAreHeld(t *testing.T) {
	t.Parallel()

	f := newFixture(t, nil)
	ctx := t.Context()
	id := f.add(t, "known")
	f.remote.Script(hooklinetest.OpGet, 1, hooklinetest.Unauthorized())

	for range 3 {
		if _, err := f.account.Get(ctx, id); !isAuth(err) {
			t.Fatalf("want a refusal, got %v", err)
		}
	}

	if got := f.remote.RequestCount(); got != 1 {
		t.Errorf("%d requests were made with refused credentials, want 1", got)
	}

	if held, again := f.account.Refused(); held == nil || again != time.Minute {
		t.Errorf("the refusal is %v, to be tried again in %s", held, again)
	}

	f.remote.Script(hooklinetest.OpList, 1, hooklinetest.ServerError(500))

	if err := f.account.Probe(ctx); err == nil {
		t.Error("a failed probe has no error")
	}

	if held, _ := f.account.Refused(); held == nil {
		t.Error("an error that says nothing of the credentials lifted the refusal")
	}

	if err := f.account.Probe(ctx); err != nil {
		t.Fatal(err)
	}

	if _, err := f.account.Get(ctx, id); err != nil {
		t.Errorf("after a probe that succeeded: %v", err)
	}
}

func isAuth(err error) bool {
	_, is := errors.AsType[*subscription.AuthError](err)

	return is
}

func TestRateLimitedIsHeld(t *testing.T) {
	t.Parallel()

	f := newFixture(t, nil)
	ctx := t.Context()
	id := f.add(t, "known")
	f.remote.Script(hooklinetest.OpGet, 1, hooklinetest.RateLimited(10*time.Second))

	for range 2 {
		if _, err := f.account.Get(ctx, id); !isLimited(err) {
			t.Fatalf("want too many requests, got %v", err)
		}
	}

	if _, err := f.account.List(ctx); !isLimited(err) {
		t.Errorf("another operation was not held back: %v", err)
	}

	if got := f.remote.RequestCount(); got != 1 {
		t.Errorf("%d requests were made, want 1", got)
	}

	f.clock.Advance(10 * time.Second)

	if _, err := f.account.Get(ctx, id); err != nil {
		t.Errorf("after its time: %v", err)
	}

	want := []string{"dispatcher Get rate_limited", "dispatcher Get ok"}
	if diff := cmp.Diff(want, f.calls.all); diff != "" {
		t.Errorf("the observer was told (-want +got):\n%s", diff)
	}
}

func isLimited(err error) bool {
	_, is := errors.AsType[*subscription.RateLimitedError](err)

	return is
}

func TestOwnRateLimit(t *testing.T) {
	t.Parallel()

	f := newFixture(t, func(p *v1alpha1.WebhookProvider) {
		p.Spec.RateLimit = &v1alpha1.ProviderRateLimit{RequestsPerSecond: 1, Burst: new(int32(1))}
	})
	ctx := t.Context()
	errs := make(chan error, 2)

	if _, err := f.account.List(ctx); err != nil {
		t.Fatal(err)
	}

	// Two may wait, a second each; the next would wait too long.
	for i := range 2 {
		go func() {
			_, err := f.account.List(ctx)
			errs <- err
		}()

		if err := f.clock.BlockUntilContext(ctx, i+1); err != nil {
			t.Fatal(err)
		}
	}

	if _, err := f.account.List(ctx); !isLimited(err) {
		t.Errorf("a call that would wait longer than %s was answered %v", provider.MaxLimiterWait, err)
	}

	if got := f.lists(); got != 1 {
		t.Errorf("%d requests in the first second, want 1", got)
	}

	f.clock.Advance(2 * time.Second)

	for range 2 {
		if err := <-errs; err != nil {
			t.Errorf("a call that waited: %v", err)
		}
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()

	f := newFixture(t, nil)
	ctx := t.Context()
	id := f.add(t, "known")

	if err := f.remote.SetStatuses(id, hooklinetest.DeliveryStatus{Event: "a.b", Success: true, Timestamp: f.clock.Now()}); err != nil {
		t.Fatal(err)
	}

	ids, err := f.account.PollChanges(ctx)
	if diff := cmp.Diff([]string{id}, ids); diff != "" || err != nil {
		t.Errorf("first poll, error %v (-want +got):\n%s", err, diff)
	}

	if !f.account.Changed(id) {
		t.Error("a change was not remembered")
	}

	f.account.SetChanged(id, false)

	ids, err = f.account.PollChanges(ctx)
	if len(ids) != 0 || err != nil || f.account.Changed(id) {
		t.Errorf("the same change was told again: %v, error %v", ids, err)
	}
}

func TestConfigure(t *testing.T) {
	t.Parallel()

	reference := &v1alpha1.SecretKeyReference{Name: "token", Key: "token"}

	cases := map[string]struct {
		reason  string
		change  func(*v1alpha1.WebhookProvider)
		want    error
		mention string
	}{
		"Embedded": {
			reason: "The tenant is the namespace.",
			change: func(*v1alpha1.WebhookProvider) {},
		},
		"OtherTenant": {
			reason:  "A namespace cannot reach into another's tenant.",
			change:  func(p *v1alpha1.WebhookProvider) { p.Spec.Dispatcher.Tenant = "other" },
			want:    provider.ErrInvalid,
			mention: "spec.dispatcher.tenant",
		},
		"NoToken": {
			reason: "A missing Secret is named with the field that refers to it.",
			change: func(p *v1alpha1.WebhookProvider) {
				p.Spec.Dispatcher.URL, p.Spec.Dispatcher.TokenSecretRef = "https://d.example.com", reference
			},
			want:    provider.ErrSecretNotFound,
			mention: "spec.dispatcher.tokenSecretRef",
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			cfg, err := provider.Configure(t.Context(), embedded(tc.change), secrets{}, 0)
			if !errors.Is(err, tc.want) {
				t.Fatalf("%s\nerror %v, want %v", tc.reason, err, tc.want)
			}

			if tc.want == nil && (cfg.Account != tenant || cfg.Interval != v1alpha1.DefaultInterval) {
				t.Errorf("%s\ngot %+v", tc.reason, cfg)
			}

			if err != nil && !strings.Contains(err.Error(), tc.mention) {
				t.Errorf("%s\n%q does not mention %s", tc.reason, err, tc.mention)
			}
		})
	}

	without := provider.NewPool(provider.Factory{}, secrets{}, provider.PoolOptions{})
	if _, err := without.Open(t.Context(), embedded()); !errors.Is(err, provider.ErrNoEmbedded) ||
		!strings.Contains(err.Error(), "spec.dispatcher.url") {
		t.Errorf("without a dispatcher in the process: %v", err)
	}
}

// TestRemoteDispatcher speaks the native API over HTTP, and keeps the credentials that last worked.
func TestRemoteDispatcher(t *testing.T) {
	t.Parallel()

	const token, other = "a-token-of-at-least-thirty-two-characters", "another-token-of-thirty-two-characters"

	fake := hooklinetest.NewProvider()
	agents := make(chan string, 10)
	server := httptest.NewServer(native.NewServer(native.ServerConfig{
		Authenticate: func(r *http.Request) (string, error) {
			select {
			case agents <- r.UserAgent():
			default:
			}

			if r.Header.Get("Authorization") != "Bearer "+token {
				return "", &subscription.AuthError{Message: "the token is not known"}
			}

			return tenant, nil
		},
		API: fake.Tenant,
	}))
	t.Cleanup(server.Close)

	values := secrets{"team/token/token": token}
	pool := provider.NewPool(provider.Factory{UserAgent: "hookline/test"}, values, provider.PoolOptions{})
	resource := embedded(func(p *v1alpha1.WebhookProvider) {
		p.Spec.Dispatcher.URL = v1alpha1.ProviderURL(server.URL)
		p.Spec.Dispatcher.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: "token", Key: "token"}
	})

	account, err := pool.Open(t.Context(), resource)
	if err != nil {
		t.Fatal(err)
	}

	created, err := account.Create(t.Context(), subscription.Draft{
		Name: "over-http", URL: "https://a.example.com", Events: []string{"a.b"}, Enabled: true,
	})
	if err != nil {
		t.Fatal(err)
	}

	if _, found := fake.Account(tenant).Find("over-http"); !found {
		t.Error("the subscription is not the tenant's")
	}

	if agent := <-agents; agent != "hookline/test" {
		t.Errorf("the User-Agent is %q", agent)
	}

	values["team/token/token"] = other

	if _, err := pool.Open(t.Context(), resource); !isAuth(err) || strings.Contains(fmt.Sprint(err), other) {
		t.Errorf("a token that is not known: %v", err)
	}

	last, found := pool.Last(resource.UID)
	if !found {
		t.Fatal("the last good credentials are gone")
	}

	if err := last.Delete(t.Context(), created.ID); err != nil {
		t.Errorf("deleting with the last good credentials: %v", err)
	}

	if !last.Config().SameAccount(account.Config()) || len(pool.Named(v1alpha1.ProviderKindNamespaced, tenant, "dispatcher")) != 1 {
		t.Error("the account is not found by its name")
	}

	pool.Forget(resource.UID)

	if _, found := pool.Last(resource.UID); found {
		t.Error("a forgotten account is still there")
	}
}
