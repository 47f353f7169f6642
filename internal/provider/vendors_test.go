package provider_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	goodToken  = "a-token-of-the-team-with-many-characters"
	wrongToken = "a-token-that-nobody-knows-at-all-anywhere"
)

// vendor is what the tests must know of one.
type vendor struct {
	// spec is the arm for an API at a URL.
	spec func(url string) v1alpha1.WebhookProviderSpec
	// secrets are the values of the Secret "vendor" that carry a token.
	secrets func(token string) secrets
	// base is the path of the account's URL, and list that of the list.
	base, list string
	// event is one that the vendor has.
	event string
	// nameless: subscriptions have no name.
	nameless bool
}

var vendors = map[string]vendor{
	"Vonage": {
		spec: func(url string) v1alpha1.WebhookProviderSpec {
			return v1alpha1.WebhookProviderSpec{Vonage: &v1alpha1.VonageProvider{
				VonageAccount: v1alpha1.VonageAccount{
					URL: v1alpha1.ProviderURL(url), TokenURL: v1alpha1.ProviderURL(url + vonage.PathToken),
				},
				ClientCredentials: &v1alpha1.ClientCredentials{SecretRef: v1alpha1.SecretReference{Name: "vendor"}},
			}}
		},
		secrets: func(token string) secrets {
			return secrets{"team/vendor/client_id": tenant, "team/vendor/client_secret": token}
		},
		list: "/webhooks/subscriptions", event: "agent.presencechanged.v1",
	},
	"VonageToken": {
		spec: func(url string) v1alpha1.WebhookProviderSpec {
			return v1alpha1.WebhookProviderSpec{Vonage: &v1alpha1.VonageProvider{
				VonageAccount:  v1alpha1.VonageAccount{URL: v1alpha1.ProviderURL(url)},
				TokenSecretRef: &v1alpha1.SecretKeyReference{Name: "vendor", Key: "token"},
			}}
		},
		secrets: func(token string) secrets { return secrets{"team/vendor/token": token} },
		list:    "/webhooks/subscriptions", event: "agent.presencechanged.v1",
	},
	"Dixa": {
		spec: func(url string) v1alpha1.WebhookProviderSpec {
			return v1alpha1.WebhookProviderSpec{Dixa: &v1alpha1.DixaProvider{
				URL: v1alpha1.ProviderURL(url), TokenSecretRef: v1alpha1.SecretKeyReference{Name: "vendor", Key: "token"},
			}}
		},
		secrets: func(token string) secrets { return secrets{"team/vendor/token": token} },
		base:    "/v1", list: "/v1/webhooks", event: "ConversationCreated",
	},
	"Bird": {
		spec: func(url string) v1alpha1.WebhookProviderSpec {
			return v1alpha1.WebhookProviderSpec{Bird: &v1alpha1.BirdProvider{
				BirdAccount: v1alpha1.BirdAccount{
					URL: v1alpha1.ProviderURL(url), WorkspaceID: v1alpha1.BirdID(bird.WorkspaceID(tenant)),
				},
				AccessKeySecretRef: v1alpha1.SecretKeyReference{Name: "vendor", Key: "accessKey"},
			}}
		},
		secrets: func(token string) secrets { return secrets{"team/vendor/accessKey": token} },
		list:    "/workspaces/" + bird.WorkspaceID(tenant) + "/webhook-subscriptions", event: "channels.sms.outbound", nameless: true,
	},
}

// draft is one that the vendor takes.
func (v vendor) draft() subscription.Draft {
	draft := subscription.Draft{Name: "over-tls", URL: "https://a.example.com/", Events: []string{v.event}, Enabled: true}
	if v.nameless {
		draft.Name = ""
	}

	return draft
}

// upstream is a dispatcher that plays all vendors, over TLS, behind a hook that may answer in its place.
type upstream struct {
	*httptest.Server

	mu   sync.Mutex
	hook func(w http.ResponseWriter, r *http.Request) (answered bool)
	// requests are what was asked, the method and the path.
	requests []string
	agents   map[string]bool
}

// newUpstream starts one. There the team's token is good.
func newUpstream(t *testing.T) *upstream {
	t.Helper()

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, tenant+".admin"), []byte(goodToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	d, err := dispatcher.New(t.Context(), dispatcher.Config{
		DataDir: filepath.Join(t.TempDir(), "journal"), Authenticator: tokens.Open(dir, tokens.Options{}),
	})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})

	u := &upstream{agents: map[string]bool{}}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.requests = append(u.requests, r.Method+" "+r.URL.Path)
		u.agents[r.UserAgent()] = true
		hook := u.hook
		u.mu.Unlock()

		if hook == nil || !hook(w, r) {
			d.Handler().ServeHTTP(w, r)
		}
	}))
	// It tells of every client that does not trust it.
	u.Config.ErrorLog = log.New(io.Discard, "", 0)
	u.StartTLS()
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})

	return u
}

func (u *upstream) answer(hook func(w http.ResponseWriter, r *http.Request) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()

	u.hook = hook
}

// asked is how often something was asked, the method and the path; everything where it is empty.
func (u *upstream) asked(what string) int {
	u.mu.Lock()
	defer u.mu.Unlock()

	count := 0

	for _, request := range u.requests {
		if what == "" || request == what {
			count++
		}
	}

	return count
}

// ca is the server's certificate, in PEM.
func (u *upstream) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: u.Certificate().Raw}))
}

// resource is a provider of a vendor that trusts the upstream.
func (u *upstream) resource(v vendor, changes ...func(*v1alpha1.WebhookProvider)) *v1alpha1.WebhookProvider {
	p := &v1alpha1.WebhookProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "vendor", UID: "uid-1", Generation: 1},
		Spec:       v.spec(u.URL),
	}
	p.Spec.CABundle = u.ca()

	for _, change := range changes {
		change(p)
	}

	return p
}

func open(t *testing.T, pool *provider.Pool, p v1alpha1.Provider) *provider.Account {
	t.Helper()

	account, err := pool.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}

	return account
}

func newPool(values secrets, options provider.PoolOptions) *provider.Pool {
	return provider.NewPool(provider.Factory{UserAgent: "hookline/test"}, values, options)
}

// TestVendorsOverTLS speaks each vendor's API to a host that a bundle of its own vouches for.
func TestVendorsOverTLS(t *testing.T) {
	t.Parallel()

	for name, v := range vendors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			u := newUpstream(t)
			account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), u.resource(v))
			ctx := t.Context()

			created, err := account.Create(ctx, v.draft())
			if err != nil {
				t.Fatal(err)
			}

			changed, err := account.Update(ctx, created.ID, subscription.Patch{URL: new("https://b.example.com/")})
			if err != nil || changed.URL != "https://b.example.com/" {
				t.Errorf("the update answered %+v, %v", changed, err)
			}

			list, err := account.List(ctx)
			if err != nil || len(list) != 1 || list[0].ID != created.ID {
				t.Errorf("the list is %+v, %v", list, err)
			}

			secret, err := account.Secret(ctx, created.ID)
			if account.Capabilities().SecretReadable {
				if err != nil || secret == "" || secret != created.Secret {
					t.Errorf("the secret cannot be read back: %v", err)
				}
			} else if _, unsupported := errors.AsType[*subscription.UnsupportedError](err); !unsupported {
				t.Errorf("a secret that cannot be read back: %v", err)
			}

			if err := account.Delete(ctx, created.ID); err != nil {
				t.Error(err)
			}

			status := account.Config().AccountStatus()
			if status == nil || status.URL != u.URL+v.base || strings.Contains(fmt.Sprint(status), goodToken) {
				t.Errorf("the account is %+v", status)
			}

			if diff := cmp.Diff(map[string]bool{"hookline/test": true}, u.agents); diff != "" {
				t.Errorf("the User-Agents (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUntrusted: without the bundle nobody is asked anything, and the error can be told from a refusal.
func TestUntrusted(t *testing.T) {
	t.Parallel()

	for name, v := range vendors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			u := newUpstream(t)
			account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), u.resource(v, func(p *v1alpha1.WebhookProvider) {
				p.Spec.CABundle = ""
			}))

			_, err := account.List(t.Context())
			if err == nil || isAuth(err) || !strings.Contains(err.Error(), "certificate") || u.asked("") != 0 {
				t.Errorf("%d requests, error %v", u.asked(""), err)
			}
		})
	}
}

// TestWrongCredentials: they are refused once, held against every call in the vendor's own words without the
// credentials, and forgotten with a renewed Secret.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()

	words := map[string]string{
		"Vonage": "invalid_client: No client has this client_id and client_secret", "VonageToken": "invalid or has expired",
	}

	for name, v := range vendors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			u := newUpstream(t)
			values := v.secrets(wrongToken)
			pool := newPool(values, provider.PoolOptions{})
			account := open(t, pool, u.resource(v))

			for range 3 {
				_, err := account.List(t.Context())
				if !isAuth(err) || strings.Contains(err.Error(), wrongToken) {
					t.Fatalf("want a refusal without the token, got %v", err)
				}

				if !strings.Contains(err.Error(), words[name]) {
					t.Errorf("%q lacks the vendor's own words, %q", err, words[name])
				}
			}

			if got := u.asked(""); got != 1 {
				t.Errorf("refused credentials were tried %d times, want once", got)
			}

			if held, _ := account.Refused(); held == nil {
				t.Error("the refusal is not held")
			}

			maps.Copy(values, v.secrets(goodToken))

			if healed := open(t, pool, u.resource(v)); healed != account {
				t.Error("a renewed Secret made another account")
			}

			if _, err := account.List(t.Context()); err != nil {
				t.Errorf("with a renewed Secret: %v", err)
			}
		})
	}
}

// TestForbidden: credentials that are good and not enough are told from those that are not good.
func TestForbidden(t *testing.T) {
	t.Parallel()

	for name, v := range vendors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			u := newUpstream(t)
			u.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == vonage.PathToken {
					return false
				}

				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(`{"message":"you may not, token ` + r.Header.Get("Authorization") + `"}`))

				return true
			})

			_, err := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), u.resource(v)).List(t.Context())

			refused, is := errors.AsType[*subscription.AuthError](err)
			if !is || !refused.Forbidden || !strings.Contains(err.Error(), "you may not") || strings.Contains(err.Error(), goodToken) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestTokenIsRenewedOnce: an access token that is not accepted is replaced and the request repeated, once.
func TestTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason string
		// refusals are how many requests are answered 401.
		refusals   int
		wantTokens int
		wantLists  int
		wantAuth   bool
	}{
		"Kept":    {reason: "One token serves many requests.", refusals: 0, wantTokens: 1, wantLists: 2},
		"Revoked": {reason: "A token can end before its time.", refusals: 1, wantTokens: 2, wantLists: 3},
		"Lacking": {reason: "A fresh token that is not accepted either is no matter of age.", refusals: 9, wantTokens: 2, wantLists: 2, wantAuth: true},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			v := vendors["Vonage"]
			u := newUpstream(t)
			left := tc.refusals

			u.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == vonage.PathToken || left == 0 {
					return false
				}

				left--

				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(`{"error_description":"The access token is invalid or has expired","error":"invalid_token"}`))

				return true
			})

			account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), u.resource(v))

			for range 2 {
				if _, err := account.List(t.Context()); isAuth(err) != tc.wantAuth || err != nil && !tc.wantAuth {
					t.Errorf("%s\nthe list answered %v", tc.reason, err)
				}
			}

			want := map[string]int{"tokens": tc.wantTokens, "lists": tc.wantLists}
			got := map[string]int{"tokens": u.asked("POST " + vonage.PathToken), "lists": u.asked("GET " + v.list)}

			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestBrokenVendors: what is no refusal of the vendor's is an error of its own kind, and says nothing secret.
func TestBrokenVendors(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason string
		answer func(w http.ResponseWriter, r *http.Request)
		check  func(error) bool
	}{
		"Page": {
			reason: "A proxy's page is not the API.",
			answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>Welcome</html>")) },
			check:  isShape,
		},
		"OtherJSON": {
			reason: "Another API's answer is not this one's.",
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"items":[]}`))
			},
			check: isShape,
		},
		"Down": {
			reason: "A gateway without a server behind it is neither.",
			answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
			check:  func(err error) bool { return strings.Contains(fmt.Sprint(err), "502") && !isShape(err) },
		},
		"Redirect": {
			reason: "A redirect would take the credentials elsewhere.",
			answer: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusFound)
			},
			check: func(err error) bool { return strings.Contains(fmt.Sprint(err), "302") },
		},
		"Slow": {
			reason: "A request has its time.",
			answer: func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				panic(http.ErrAbortHandler) // Nothing is said to who may still listen.
			},
			check: func(err error) bool { return errors.Is(err, context.DeadlineExceeded) },
		},
		"Reset": {
			reason: "A connection may end at any time.",
			answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			check:  func(err error) bool { return strings.Contains(fmt.Sprint(err), "EOF") },
		},
		"Endless": {
			reason: "An answer without an end is not kept.",
			answer: func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 1<<20)); err != nil {
						return
					}
				}
			},
			check: func(err error) bool { return strings.Contains(fmt.Sprint(err), "more than") },
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, v := range vendors {
				t.Run(name, func(t *testing.T) {
					t.Parallel()

					u := newUpstream(t)
					u.answer(func(w http.ResponseWriter, r *http.Request) bool {
						if r.URL.Path == vonage.PathToken {
							return false
						}

						tc.answer(w, r)

						return true
					})

					account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), u.resource(v, func(p *v1alpha1.WebhookProvider) {
						p.Spec.Timeout = "1s"
					}))

					_, err := account.List(t.Context())
					if err == nil || !tc.check(err) || isAuth(err) || isLimited(err) || strings.Contains(err.Error(), goodToken) {
						t.Errorf("%s\nthe error is %v", tc.reason, err)
					}

					if held, _ := account.Refused(); held != nil {
						t.Errorf("%s\nit is held against the credentials", tc.reason)
					}

					u.answer(nil)

					if _, err := account.List(t.Context()); err != nil {
						t.Errorf("%s\nit did not heal: %v", tc.reason, err)
					}
				})
			}
		})
	}
}

func isShape(err error) bool {
	_, is := errors.AsType[*subscription.ShapeError](err)

	return is
}

// TestVonageSaysWhy: Vonage's own explanation of a refusal is kept, that of "too many requests" for as long as it is
// left alone.
func TestVonageSaysWhy(t *testing.T) {
	t.Parallel()

	v := vendors["Vonage"]
	u := newUpstream(t)
	refuse := func(status int, body string, header ...string) {
		u.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == vonage.PathToken {
				return false
			}

			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}

			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))

			return true
		})
	}
	account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), u.resource(v))
	draft := subscription.Draft{Name: "presence-feed", URL: "https://example.com", Events: []string{"a.b.v1"}, Enabled: true}

	refuse(http.StatusConflict, `{"message":"another one is called so"}`)

	_, err := account.Create(t.Context(), draft)
	if taken, is := errors.AsType[*subscription.NameTakenError](err); !is || taken.Message != "another one is called so" ||
		!errors.Is(err, subscription.ErrNameTaken) {
		t.Errorf("a name that is taken: %v", err)
	}

	refuse(http.StatusTooManyRequests, `{"message":"one limit for all APIs"}`, "Retry-After", "60")

	// The answer of the provider, and then the one that is held.
	for _, what := range []string{"answered", "held"} {
		_, err := account.Create(t.Context(), draft)
		if limited, is := errors.AsType[*subscription.RateLimitedError](err); !is || limited.Message != "one limit for all APIs" {
			t.Errorf("too many requests, %s: %v", what, err)
		}
	}
}

// TestBrokenTokenEndpoint: the same of the host that issues tokens.
func TestBrokenTokenEndpoint(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason string
		status int
		body   string
		header map[string]string
		check  func(error) bool
	}{
		"Page":      {reason: "A page is no token.", status: 200, body: "<html>", check: isShape},
		"Other":     {reason: "Neither is another answer.", status: 200, body: `{"token":"x"}`, check: isShape},
		"OtherKind": {reason: "A token of another kind cannot be used.", status: 200, body: `{"access_token":"x","token_type":"mac"}`, check: isShape},
		"Down":      {reason: "It may be down.", status: 503, check: func(err error) bool { return strings.Contains(fmt.Sprint(err), "503") }},
		"Limited": {
			reason: "It may ask for time.", status: 429, header: map[string]string{"Retry-After": "30"},
			check: func(err error) bool {
				limited, is := errors.AsType[*subscription.RateLimitedError](err)

				return is && limited.After == 30*time.Second
			},
		},
		"NoSuchClient": {reason: "RFC 6749 allows 401 too.", status: 401, body: `{"error":"invalid_client"}`, check: isAuth},
		"NoScope":      {reason: "A client may lack the scopes.", status: 400, body: `{"error":"invalid_scope"}`, check: isAuth},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			v := vendors["Vonage"]
			u := newUpstream(t)
			u.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != vonage.PathToken {
					return false
				}

				w.Header().Set("Content-Type", "application/json")

				for name, value := range tc.header {
					w.Header().Set(name, value)
				}

				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))

				return true
			})

			account := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), u.resource(v))

			_, err := account.List(t.Context())
			if err == nil || !tc.check(err) || strings.Contains(err.Error(), goodToken) {
				t.Errorf("%s\nthe error is %v", tc.reason, err)
			}

			if held, _ := account.Refused(); (held != nil) != isAuth(err) {
				t.Errorf("%s\nheld against the credentials: %v", tc.reason, held)
			}

			if got := u.asked("GET " + v.list); got != 0 {
				t.Errorf("%s\nthe API was asked %d times without a token", tc.reason, got)
			}
		})
	}
}

// TestUnreachable: nobody listens.
func TestUnreachable(t *testing.T) {
	t.Parallel()

	for name, v := range vendors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			u := newUpstream(t)
			resource := u.resource(v)
			u.Close()

			_, err := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), resource).List(t.Context())
			if err == nil || !strings.Contains(err.Error(), "connection refused") || isAuth(err) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// another is a second provider, beside a resource.
func another(p *v1alpha1.WebhookProvider) {
	p.Name, p.UID = "another", types.UID("uid-2")
}
