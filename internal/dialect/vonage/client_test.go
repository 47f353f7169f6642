package vonage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// proxy stands before the real API and its token endpoint. It records requests, and answers the
// next ones itself where it was told to.
type proxy struct {
	url string

	mu       sync.Mutex
	requests []string
	bodies   []string
	answers  []http.HandlerFunc
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{}
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading a request: %v", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.mu.Lock()
		p.requests = append(p.requests, r.Method+" "+r.URL.Path)
		p.bodies = append(p.bodies, string(body))
		var answer http.HandlerFunc
		if len(p.answers) > 0 && r.URL.Path != vonage.PathToken {
			answer, p.answers = p.answers[0], p.answers[1:]
		}
		p.mu.Unlock()
		if r.URL.Path != vonage.PathToken && (r.Header.Get("Accept") != vonage.MediaType || !strings.HasPrefix(r.Header.Get("Authorization"), "bearer ")) {
			t.Errorf("%s %s lacks a required header", r.Method, r.URL.Path)
		}
		if answer != nil {
			answer(w, r)
		} else {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	p.url = server.URL

	return p
}

// next has the next requests answered so, those for tokens aside.
func (p *proxy) next(answers ...http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = answers
}

// seen are the requests since the last look.
func (p *proxy) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.requests
	p.requests, p.bodies = nil, nil

	return seen
}

// says is an answer: status, body, and headers in pairs.
func says(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func static(token string) vonage.TokenSource {
	return vonage.StaticToken(func(context.Context) (string, error) { return token, nil })
}

const staticToken = "hunter2-static-token"

func draft() subscription.Draft {
	return subscription.Draft{
		Name: "presence-feed", URL: "https://your-application.com/webhooks/events", Events: []string{"agent.presencechanged.v1"},
		Enabled: true, Secret: sampleSecret,
	}
}

// TestClientErrors holds the client's errors to what servers may answer.
func TestClientErrors(t *testing.T) {
	t.Parallel()
	create := func(c *vonage.Client) error { _, err := c.Create(context.Background(), draft()); return err }
	list := func(c *vonage.Client) error { _, err := c.List(context.Background()); return err }
	get := func(c *vonage.Client) error {
		_, err := c.Get(context.Background(), "2V1lVz6FeKOuVLEpSU6M0aqkM9b")
		return err
	}
	on := true
	enable := func(c *vonage.Client) error {
		_, err := c.Update(context.Background(), "2V1lVz6FeKOuVLEpSU6M0aqkM9b", subscription.Patch{Enabled: &on})
		return err
	}
	types := func(c *vonage.Client) error { _, err := c.EventTypes(context.Background()); return err }
	one := `{"subscriptionId":"2V1lVz6FeKOuVLEpSU6M0aqkM9b","name":"abc","url":"https://x.com","events":["a"],"enabled":true}`
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		reason string
		do     func(*vonage.Client) error
		answer http.HandlerFunc
		// want is the port's error, or else text.
		want error
		text string
	}{
		"Missing":      {"the documented 401", list, says(401, `{"error_description":"The access token is missing","error":"invalid_request"}`), &subscription.AuthError{Message: "The access token is missing"}, ""},
		"Unauthorized": {"the documented 401 of a scope", list, says(401, `{"message":"Unauthorized"}`), &subscription.AuthError{Message: "Unauthorized"}, ""},
		"Forbidden":    {"the documented 403", create, says(403, `{"message":"no scope"}`), &subscription.AuthError{Forbidden: true, Message: "no scope"}, ""},
		"NoBody":       {"a 403 without explanation", get, says(403, ``), &subscription.AuthError{Forbidden: true, Message: "Forbidden"}, ""},
		"Invalid":      {"the documented 400", create, says(400, `{"message":"the url is not allowed"}`), &subscription.InvalidError{Message: "the url is not allowed"}, ""},
		"Problem":      {"a 400 as frameworks write it", create, says(400, `{"title":"One or more","errors":{"url":["bad"],"name":["short","odd"]}}`), &subscription.InvalidError{Message: "name: short odd; url: bad"}, ""},
		"Unprocessable": {
			"422 is as good as 400, and secrets are taken out", create, says(422, `{"message":"bad secret `+sampleSecret+` of `+staticToken+`"}`),
			&subscription.InvalidError{Message: "bad secret *** of ***"}, "",
		},
		"InvalidList":   {"a list has no field to be wrong", list, says(400, `{"message":"Invalid api-version!"}`), nil, "the API answered 400: Invalid api-version!"},
		"Conflict":      {"a name that is taken", create, says(409, `{"message":"x"}`), subscription.ErrNameTaken, ""},
		"ConflictSays":  {"with the vendor's explanation", create, says(409, `{"message":"taken by `+staticToken+`"}`), nil, "another subscription has this name: taken by ***"},
		"NameInUseSays": {"the same as 400", create, says(400, `{"message":"Name must be unique"}`), nil, "another subscription has this name: Name must be unique"},
		"LimitedSays":   {"429 with the vendor's explanation", list, says(429, `{"message":"slow down"}`), &subscription.RateLimitedError{Message: "slow down"}, ""},
		"NameInUse":     {"the same as 400", create, says(400, `{"message":"Name must be unique"}`), subscription.ErrNameTaken, ""},
		"NameNotSent":   {"no name was sent", enable, says(400, `{"message":"Name must be unique"}`), &subscription.InvalidError{Message: "Name must be unique"}, ""},
		"NotFound":      {"404 of a subscription", enable, says(404, `{"message":"whatever"}`), subscription.ErrNotFound, ""},
		"Gone":          {"410 of a subscription, as frameworks write it", get, says(410, `{"title":"Gone"}`), subscription.ErrNotFound, ""},
		"Foreign404":    {"a proxy's page says nothing of a subscription", get, says(404, `<html>Not Found</html>`), nil, "the API answered 404: the answer is not of the documented shape"},
		"Foreign410":    {"nor does another's plain text", enable, says(410, `gone`), nil, "the API answered 410: the answer is not of the documented shape"},
		"Unexplained":   {"nor does an answer that says nothing", get, says(404, ``), nil, "the API answered 404: the answer is not of the documented shape"},
		"NoPath":        {"404 of the list says nothing of a subscription", list, says(404, `{"message":"no"}`), nil, "the API answered 404: no"},
		"Limited":       {"429 with seconds", list, says(429, ``, "Retry-After", "7"), &subscription.RateLimitedError{After: 7 * time.Second}, ""},
		"LimitedPart":   {"with a fraction", list, says(429, ``, "Retry-After", "1.5"), &subscription.RateLimitedError{After: 1500 * time.Millisecond}, ""},
		"LimitedDate":   {"with a date", list, says(429, ``, "Retry-After", now.Add(time.Minute).Format(http.TimeFormat)), &subscription.RateLimitedError{After: time.Minute}, ""},
		"LimitedPast":   {"with a date that is past", list, says(429, ``, "Retry-After", now.Add(-time.Minute).Format(http.TimeFormat)), &subscription.RateLimitedError{}, ""},
		"LimitedMinus":  {"with a negative number", list, says(429, ``, "Retry-After", "-3"), &subscription.RateLimitedError{}, ""},
		"LimitedLong":   {"with more than a day", list, says(429, ``, "Retry-After", "1e300"), &subscription.RateLimitedError{After: 24 * time.Hour}, ""},
		"LimitedOdd":    {"with garbage", list, says(429, ``, "Retry-After", "NaN"), &subscription.RateLimitedError{}, ""},
		"Broken":        {"a server's trouble is transient", create, says(502, `<html>`), nil, "the API answered 502: Bad Gateway"},
		"Redirect":      {"a redirect would take the token elsewhere", list, says(307, ``, "Location", "https://example.com"), nil, "redirect"},
		"NotJSON":       {"no JSON", list, says(200, `<html>`), nil, `expected {"subscriptions":[…]}`},
		"BareArray":     {"another envelope", list, says(200, `[]`), nil, `expected {"subscriptions":[…]}`},
		"NullList":      {"null is no list", list, says(200, `{"subscriptions":null}`), nil, `expected {"subscriptions":[…]}`},
		"LackingMember": {"a member that is missing would be taken for changed", list, says(200, `{"subscriptions":[`+one+`,{"subscriptionId":"x","name":"abc","url":"https://x.com","events":["a"]}]}`), nil, `entry 1: the answer is not of the documented shape`},
		"WrongMember":   {"a member of another kind", get, says(200, strings.Replace(one, `true`, `"yes"`, 1)), nil, `documented shape`},
		"OtherID":       {"another subscription than asked for", get, says(200, strings.Replace(one, "2V1", "2V2", 1)), nil, `the subscription that was asked for`},
		"NoID":          {"a create that tells no id", create, says(201, strings.Replace(one, "2V1lVz6FeKOuVLEpSU6M0aqkM9b", "", 1)), nil, `"subscriptionId"`},
		"NoName":        {"an event type without a name", types, says(200, `{"eventTypes":[{"description":"x"}]}`), nil, `entry 0`},
		"TooLarge":      {"an answer without end", list, says(200, `{"subscriptions":[`+strings.Repeat(" ", vonage.MaxResponseBytes)), nil, "more than 4194304 bytes"},
		"Unknown":       {"unknown members are passed over", list, says(200, `{"subscriptions":[`+strings.Replace(one, `{`, `{"x":1,`, 1)+`],"next":"y"}`), nil, ""},
		"Created":       {"201 is a success too", create, says(201, one), nil, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tc.answer)
			defer server.Close()
			client, err := vonage.NewClient(vonage.ClientConfig{
				BaseURL: server.URL, Tokens: static(staticToken), Clock: clockwork.NewFakeClockAt(now),
				// Not the shared one, which may have a connection yet to an earlier server of this port.
				Transport: server.Client().Transport,
			})
			if err != nil {
				t.Fatal(err)
			}
			err = tc.do(client)
			switch {
			case tc.want != nil:
				if diff := cmp.Diff(fmt.Sprintf("%T %[1]v", tc.want), fmt.Sprintf("%T %[1]v", root(err))); diff != "" {
					t.Errorf("%s, -want +got:\n%s", tc.reason, diff)
				}
			case tc.text == "" && err != nil:
				t.Errorf("%s: %v", tc.reason, err)
			case tc.text != "" && (err == nil || !strings.Contains(err.Error(), tc.text)):
				t.Errorf("%s: want an error with %q, got %v", tc.reason, tc.text, err)
			case tc.text != "" && !slices.Contains([]string{"*errors.errorString", "*fmt.wrapError", "*subscription.ShapeError"}, fmt.Sprintf("%T", root(err))):
				t.Errorf("%s: want a transient error, got %T", tc.reason, root(err))
			}
			if err != nil && (strings.Contains(err.Error(), staticToken) || strings.Contains(err.Error(), sampleSecret)) {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

// root is what an error wraps in the end.
func root(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// TestClientToken follows a token from its first use over its end to one that was revoked.
func TestClientToken(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	s := newStage(t, clock)
	p := newProxy(t, s.url)
	tokens, err := vonage.NewClientCredentials(vonage.ClientCredentials{
		TokenURL: p.url + vonage.PathToken, ClientID: support, ClientSecret: clientSecret, Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, p.url, tokens)
	list := func(what string, want ...string) {
		t.Helper()
		if _, err := client.List(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, p.seen()); diff != "" {
			t.Errorf("%s, -want +got:\n%s", what, diff)
		}
	}
	const tokenCall, listCall = "POST /Auth/connect/token", "GET /webhooks/subscriptions"
	list("the first call gets a token", tokenCall, listCall)
	list("the second has it", listCall)
	clock.Advance(vonage.TokenLife - vonage.TokenLeeway - 5*time.Second)
	list("it is kept until shortly before it ends", listCall)
	clock.Advance(5 * time.Second)
	list("then there is a new one, before the old one ends", tokenCall, listCall)

	invalid := says(401, `{"error_description":"The access token is invalid or has expired","error":"invalid_token"}`)
	p.next(invalid)
	list("a token that is not accepted is replaced once", listCall, tokenCall, listCall)
	p.next(invalid, invalid, invalid)
	_, err = client.List(t.Context())
	if _, ok := errors.AsType[*subscription.AuthError](err); !ok {
		t.Errorf("want *AuthError, got %v", err)
	}
	if diff := cmp.Diff([]string{listCall, tokenCall, listCall}, p.seen()); diff != "" {
		t.Errorf("twice is enough, -want +got:\n%s", diff)
	}
	p.next()

	// A create may be repeated too: what was not authorized was not done.
	p.next(invalid)
	if _, err := client.Create(t.Context(), draft()); err != nil {
		t.Fatal(err)
	}
	if list, err := client.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("there are %d subscriptions (%v), want one", len(list), err)
	}
	p.seen()

	// A static token is not asked for again in vain.
	p.next(invalid, invalid)
	if _, err := newClient(t, p.url, static(staticToken)).List(t.Context()); err == nil {
		t.Error("want an error")
	}
	if diff := cmp.Diff([]string{listCall}, p.seen()); diff != "" {
		t.Errorf("a static token is used once, -want +got:\n%s", diff)
	}
}

// TestClientTokenOnce sees to it that many calls at once ask for one token.
func TestClientTokenOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	p := newProxy(t, s.url)
	tokens, err := vonage.NewClientCredentials(vonage.ClientCredentials{TokenURL: p.url + vonage.PathToken, ClientID: support, ClientSecret: clientSecret})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := tokens.Token(t.Context(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	refused, err := tokens.Token(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 16 {
		wg.Go(func() {
			if token, err := tokens.Token(t.Context(), refused); err != nil || token == refused {
				t.Errorf("want another token, got the refused one: %t, %v", token == refused, err)
			}
		})
	}
	wg.Wait()
	if got := len(p.seen()); got != 2 {
		t.Errorf("%d requests for tokens, want 2", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tokens.Token(ended, "x"); err != nil {
		t.Errorf("a token that is there needs no time: %v", err)
	}
}

func TestTokenErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		answer http.HandlerFunc
		want   error
		text   string
	}{
		"Client":   {"wrong credentials", says(400, `{"error":"invalid_client"}`, "Content-Type", "application/json"), &subscription.AuthError{Message: "invalid_client"}, ""},
		"Told":     {"with an explanation", says(401, `{"error":"invalid_client","error_description":"not `+clientSecret+`"}`), &subscription.AuthError{Message: "invalid_client: not ***"}, ""},
		"Scope":    {"good credentials that are not enough", says(400, `{"error":"invalid_scope"}`), &subscription.AuthError{Forbidden: true, Message: "invalid_scope"}, ""},
		"Limited":  {"too many", says(429, ``, "Retry-After", "9"), &subscription.RateLimitedError{After: 9 * time.Second}, ""},
		"Broken":   {"a server's trouble", says(503, `<html>`+clientSecret), nil, "the token endpoint answered 503: Service Unavailable"},
		"NotJSON":  {"no JSON", says(200, `<html>`), nil, "asking for an access token"},
		"NoToken":  {"no token", says(200, `{}`), nil, "access_token"},
		"Mac":      {"another kind of token", says(200, `{"access_token":"x","token_type":"mac"}`, "Content-Type", "application/json"), nil, "of the token URL: is the URL right?"},
		"Redirect": {"a redirect would take the secret elsewhere", says(307, ``, "Location", "/elsewhere"), nil, "the token endpoint answered 307"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tc.answer)
			defer server.Close()
			tokens, err := vonage.NewClientCredentials(vonage.ClientCredentials{
				TokenURL: server.URL, ClientID: support, ClientSecret: clientSecret, Transport: server.Client().Transport,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = newClient(t, server.URL, tokens).List(t.Context())
			if tc.want != nil {
				if diff := cmp.Diff(fmt.Sprintf("%T %[1]v", tc.want), fmt.Sprintf("%T %[1]v", root(err))); diff != "" {
					t.Errorf("%s, -want +got:\n%s", tc.reason, diff)
				}
			} else if err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: want an error with %q, got %v", tc.reason, tc.text, err)
			}
			if err != nil && strings.Contains(err.Error(), clientSecret) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

// TestTokenLife sees to it that short and unknown lives are dealt with.
func TestTokenLife(t *testing.T) {
	t.Parallel()
	for expires, kept := range map[string]time.Duration{
		`,"expires_in":7200`: 2*time.Hour - time.Minute, `,"expires_in":60`: 30 * time.Second, ``: 9 * time.Minute,
	} {
		clock := clockwork.NewFakeClock()
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"bearer"%s}`, asked, expires)
		}))
		tokens, err := vonage.NewClientCredentials(vonage.ClientCredentials{TokenURL: server.URL, ClientID: "a", ClientSecret: "b", Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, wait := range []time.Duration{0, kept - 3*time.Second, 4 * time.Second} {
			clock.Advance(wait)
			token, err := tokens.Token(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, token)
		}
		if diff := cmp.Diff([]string{"t1", "t1", "t2"}, got); diff != "" {
			t.Errorf("%s: kept for %s, -want +got:\n%s", expires, kept, diff)
		}
		server.Close()
	}
}

// TestClientSecrets sees to it that the API gets strict Base64 of the key, in whatever form it was given.
func TestClientSecrets(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	p := newProxy(t, s.url)
	client := newClient(t, p.url, static(s.token(t, support, "")))
	created, err := client.Create(t.Context(), subscription.Draft{
		Name: "presence-feed", URL: "https://x.com", Events: []string{"a.b"}, Enabled: true, Secret: documentedSecret,
	})
	if err != nil || created.Secret != "" {
		t.Fatalf("the vendor's own example must be taken, and is not told again: %v", err)
	}
	for _, given := range []string{"whsec_" + sampleSecret, strings.TrimSuffix(sampleSecret, "=")} {
		if _, err := client.Update(t.Context(), created.ID, subscription.Patch{Secret: &given}); err != nil {
			t.Fatal(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	want := []string{
		`{"name":"presence-feed","url":"https://x.com","events":["a.b"],"enabled":true,"secret":"` + strings.TrimSuffix(documentedSecret, "=") + `"}`,
		`{"secret":"` + sampleSecret + `"}`, `{"secret":"` + sampleSecret + `"}`,
	}
	if diff := cmp.Diff(want, p.bodies); diff != "" {
		t.Errorf("bodies, -want +got:\n%s", diff)
	}
	for _, wrong := range []string{"hunter2, not Base64 but long enough a text", "hunter2", strings.Repeat("A", 1025)} {
		bad := draft()
		bad.Secret = wrong
		_, err := client.Create(t.Context(), bad)
		invalid, ok := errors.AsType[*subscription.InvalidError](err)
		if !ok || invalid.Field != "secretRef" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("want an *InvalidError of secretRef that does not repeat it, got %v", err)
		}
	}
}

// TestClientGeneratedSecret sees to it that a provider that makes no secret is found out.
func TestClientGeneratedSecret(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(says(200, `{"subscriptionId":"a","name":"abc","url":"https://x.com","events":["a"],"enabled":true}`))
	defer server.Close()
	asked := draft()
	asked.Secret = ""
	if _, err := newClient(t, server.URL, static(staticToken)).Create(t.Context(), asked); err == nil || !strings.Contains(err.Error(), `"secret"`) {
		t.Errorf("want an error about the secret, got %v", err)
	}
}

func TestClientAllowHTTP(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	token := static(s.token(t, support, ""))
	server := httptest.NewServer(vonage.NewServer(vonage.ServerConfig{Authenticate: s.issuer.Authenticate, API: s.registry.Tenant, AllowHTTP: true}))
	defer server.Close()
	client, err := vonage.NewClient(vonage.ClientConfig{BaseURL: server.URL, Tokens: token, AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	plain := draft()
	plain.URL = "http://receiver.example/hooks"
	if _, err := client.Create(t.Context(), plain); err != nil {
		t.Errorf("http must be taken: %v", err)
	}
	_, err = newClient(t, server.URL, token).Create(t.Context(), plain)
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); !ok || invalid.Field != "url" {
		t.Errorf("http must be refused for its url, got %v", err)
	}
}

func TestConfigurations(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "emea.api.newvoicemedia.com", "ftp://x", "https://user:hunter2@x", "https://x?y=z", "https://x#y", "https://%zz"} {
		var invalid *subscription.InvalidError
		if _, err := vonage.NewClient(vonage.ClientConfig{BaseURL: bad, Tokens: static("x")}); !errors.As(err, &invalid) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the API's URL %q: want *InvalidError, got %v", bad, err)
		}
		if _, err := vonage.NewClientCredentials(vonage.ClientCredentials{TokenURL: bad}); !errors.As(err, &invalid) {
			t.Errorf("the token's URL %q: want *InvalidError, got %v", bad, err)
		}
	}
	if _, err := vonage.NewClient(vonage.ClientConfig{BaseURL: "https://x"}); err == nil {
		t.Error("a client needs tokens")
	}
	api, token, err := vonage.Region("EMEA")
	if api != "https://emea.api.newvoicemedia.com" || token != "https://emea.cc.vonage.com/Auth/connect/token" || err != nil {
		t.Errorf("EMEA is at %s and %s, %v", api, token, err)
	}
	if _, _, err := vonage.Region("mars"); err == nil {
		t.Error("mars is no region")
	}
	if _, err := vonage.NewIssuer(vonage.IssuerConfig{}); err == nil {
		t.Error("an issuer needs clients")
	}
	if _, err := vonage.NewIssuer(vonage.IssuerConfig{Clients: clients, Key: make([]byte, 31)}); err == nil {
		t.Error("31 bytes are no key")
	}
	if _, err := static(" \n").Token(t.Context(), ""); err == nil {
		t.Error("an empty token is none")
	}
	if got, err := static(" token\n").Token(t.Context(), ""); got != "token" || err != nil {
		t.Errorf("white space around a token is no part of it: %q, %v", got, err)
	}
}

func TestClientRegistryTrouble(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	log := &log{}
	for name, trouble := range map[string]error{
		"limited":     &subscription.RateLimitedError{After: 1200 * time.Millisecond},
		"unsupported": &subscription.UnsupportedError{Provider: "dispatcher", What: []string{"delivery.format"}},
		"down":        errors.New("the disk is full"),
	} {
		server := httptest.NewServer(vonage.NewServer(vonage.ServerConfig{
			Authenticate: s.issuer.Authenticate, Log: logger(log),
			API: func(string) subscription.API { return failing{s.registry.Tenant(support), trouble} },
		}))
		_, err := newClient(t, server.URL, static(s.token(t, support, ""))).List(t.Context())
		switch limited, ok := errors.AsType[*subscription.RateLimitedError](err); {
		case err == nil:
			t.Errorf("%s: want an error", name)
		case name == "limited" && (!ok || limited.After != 2*time.Second):
			t.Errorf("Retry-After is whole seconds, rounded up: %v", err)
		case name == "down" && !strings.Contains(err.Error(), "503"):
			t.Errorf("want 503, got %v", err)
		case name == "unsupported" && !strings.Contains(err.Error(), "delivery.format"):
			t.Errorf("want what is unsupported, got %v", err)
		}
		server.Close()
	}
	if !strings.Contains(log.String(), "the disk is full") {
		t.Error("the log lacks what went wrong")
	}
}

// failing is a registry in trouble.
type failing struct {
	subscription.API

	err error
}

func (f failing) List(context.Context) ([]subscription.Subscription, error) { return nil, f.err }
