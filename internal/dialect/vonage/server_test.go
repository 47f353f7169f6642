package vonage_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// allow is an Authenticate that allows everything to support.
func allow(*http.Request) (vonage.Access, error) {
	return vonage.Access{Tenant: support, Scopes: bothScopes}, nil
}

func newRequest(method, path string, body io.Reader) *http.Request {
	request := httptest.NewRequest(method, path, body)
	request.Header.Set("Accept", vonage.MediaType)

	return request
}

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	server := vonage.NewServer(vonage.ServerConfig{Authenticate: allow, API: s.registry.Tenant})
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, newRequest(http.MethodPost, "/webhooks/subscriptions",
		strings.NewReader(`{"name":"`+strings.Repeat("x", vonage.MaxRequestBytes)+`"}`)))
	openDocument(t).checkAnswer(t, http.MethodPost, "/webhooks/subscriptions", recorder.Code, recorder.Body.String())
	if recorder.Code != http.StatusRequestEntityTooLarge || !strings.Contains(recorder.Body.String(), "1048576") {
		t.Errorf("got %d %s", recorder.Code, recorder.Body)
	}
}

// slowWriter is a connection with a read deadline, and slowBody a body that does not come by it.
type slowWriter struct {
	*httptest.ResponseRecorder

	deadlines []time.Time
}

func (w *slowWriter) SetReadDeadline(at time.Time) error {
	w.deadlines = append(w.deadlines, at)

	return nil
}

type slowBody struct{}

func (slowBody) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	server := vonage.NewServer(vonage.ServerConfig{Authenticate: allow, API: s.registry.Tenant})
	w, before := &slowWriter{ResponseRecorder: httptest.NewRecorder()}, time.Now()
	server.ServeHTTP(w, newRequest(http.MethodPost, "/webhooks/subscriptions", slowBody{}))
	openDocument(t).checkAnswer(t, http.MethodPost, "/webhooks/subscriptions", w.Code, w.Body.String())
	if w.Code != http.StatusRequestTimeout {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if len(w.deadlines) != 1 || w.deadlines[0].Before(before.Add(vonage.BodyTimeout)) {
		t.Errorf("the deadline is set for the body and stands while the server reads on for its rest, got %v", w.deadlines)
	}
}

// TestRequestsAreBounded fills the server with requests that wait.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	entered, release := make(chan struct{}), make(chan struct{})
	server := vonage.NewServer(vonage.ServerConfig{API: s.registry.Tenant, Authenticate: func(r *http.Request) (vonage.Access, error) {
		entered <- struct{}{}
		<-release

		return allow(r)
	}})
	done := make(chan int, vonage.MaxRequests)
	for range vonage.MaxRequests {
		go func() {
			recorder := httptest.NewRecorder()
			server.ServeHTTP(recorder, newRequest(http.MethodGet, "/webhooks/subscriptions", nil))
			done <- recorder.Code
		}()
		<-entered
	}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, newRequest(http.MethodGet, "/webhooks/subscriptions", nil))
	if recorder.Code != http.StatusServiceUnavailable || recorder.Header().Get("Retry-After") != "1" {
		t.Errorf("one too many is answered %d", recorder.Code)
	}
	close(release)
	for range vonage.MaxRequests {
		if code := <-done; code != http.StatusOK {
			t.Errorf("one that waited is answered %d", code)
		}
	}
}

func TestAuthenticateTrouble(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	for _, tc := range []struct {
		reason string
		err    error
		status int
		body   string
	}{
		{"who knows the tokens is away, which is the log's", errors.New("connection refused"), http.StatusServiceUnavailable, "try again"},
		{
			"credentials that are not enough", &subscription.AuthError{Forbidden: true, Message: "use another token"},
			http.StatusForbidden, `{"message":"use another token"}`,
		},
	} {
		log := &log{}
		server := vonage.NewServer(vonage.ServerConfig{
			API: s.registry.Tenant, Log: logger(log), Authenticate: func(*http.Request) (vonage.Access, error) { return vonage.Access{}, tc.err },
		})
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, newRequest(http.MethodGet, "/webhooks/subscriptions", nil))
		if recorder.Code != tc.status || !strings.Contains(recorder.Body.String(), tc.body) || strings.Contains(recorder.Body.String(), "refused") {
			t.Errorf("%s: got %d %s", tc.reason, recorder.Code, recorder.Body)
		}
		if tc.status == http.StatusServiceUnavailable && !strings.Contains(log.String(), "connection refused") {
			t.Errorf("%s: the log is %q", tc.reason, log)
		}
	}
}

// TestIssuerTrouble sees to it that an outage is no refusal.
func TestIssuerTrouble(t *testing.T) {
	t.Parallel()
	log := &log{}
	issuer, err := vonage.NewIssuer(vonage.IssuerConfig{
		Clients: func(context.Context, string, string) (vonage.Access, error) {
			return vonage.Access{}, errors.New("connection refused")
		},
		Log: logger(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	form := "grant_type=client_credentials&client_id=support&client_secret=" + clientSecret
	send := func(body string) *httptest.ResponseRecorder {
		recorder, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, vonage.PathToken, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		issuer.ServeHTTP(recorder, request)

		return recorder
	}
	if got := send(form); got.Code != http.StatusServiceUnavailable || strings.Contains(got.Body.String(), "refused") {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	if !strings.Contains(log.String(), "connection refused") || strings.Contains(log.String(), clientSecret) {
		t.Errorf("the log is %q", log)
	}
	if got := send(form + strings.Repeat("x", 1<<20)); got.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a form that is too long is answered %d %s", got.Code, got.Body)
	}
}

func newTokenRequest(body io.Reader) *http.Request {
	request := httptest.NewRequest(http.MethodPost, vonage.PathToken, body)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")

	return request
}

func TestSlowTokenRequest(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	w, before := &slowWriter{ResponseRecorder: httptest.NewRecorder()}, time.Now()
	s.issuer.ServeHTTP(w, newTokenRequest(slowBody{}))
	openDocument(t).checkAnswer(t, http.MethodPost, vonage.PathToken, w.Code, w.Body.String())
	if w.Code != http.StatusRequestTimeout {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if len(w.deadlines) != 1 || w.deadlines[0].Before(before.Add(vonage.BodyTimeout)) {
		t.Errorf("the deadline is set for the body, and stands, got %v", w.deadlines)
	}
}

// TestTokenRequestsAreBounded fills the issuer with requests that wait.
func TestTokenRequestsAreBounded(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	issuer, err := vonage.NewIssuer(vonage.IssuerConfig{Clients: func(ctx context.Context, id, secret string) (vonage.Access, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a client is looked for without end")
		}
		entered <- struct{}{}
		<-release

		return clients(ctx, id, secret)
	}})
	if err != nil {
		t.Fatal(err)
	}
	send := func() *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		issuer.ServeHTTP(recorder, newTokenRequest(strings.NewReader("grant_type=client_credentials&client_id=support&client_secret="+clientSecret)))

		return recorder
	}
	done := make(chan int, vonage.MaxTokenRequests)
	for range vonage.MaxTokenRequests {
		go func() { done <- send().Code }()
		<-entered
	}
	got := make(chan *httptest.ResponseRecorder, 1)
	go func() { got <- send() }()
	select {
	case recorder := <-got:
		openDocument(t).checkAnswer(t, http.MethodPost, vonage.PathToken, recorder.Code, recorder.Body.String())
		if recorder.Code != http.StatusServiceUnavailable || recorder.Header().Get("Retry-After") != "1" {
			t.Errorf("one too many is answered %d %s", recorder.Code, recorder.Body)
		}
	case <-entered:
		t.Error("one too many is looked at")
		go func() { <-got }()
	}
	close(release)
	for range vonage.MaxTokenRequests {
		if code := <-done; code != http.StatusOK {
			t.Errorf("one that waited is answered %d", code)
		}
	}
}

// TestIssuersAreApart sees to it that another key's tokens are not taken.
func TestIssuersAreApart(t *testing.T) {
	t.Parallel()
	one, other := newStage(t, clockwork.NewRealClock()), newStage(t, clockwork.NewRealClock())
	if _, err := newClient(t, one.url, static(one.token(t, support, ""))).List(t.Context()); err != nil {
		t.Errorf("its own token: %v", err)
	}
	_, err := newClient(t, one.url, static(other.token(t, support, ""))).List(t.Context())
	if _, ok := errors.AsType[*subscription.AuthError](err); !ok {
		t.Errorf("another's token: want *AuthError, got %v", err)
	}
}

func TestSpeaks(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		vonage.MediaType: true, "APPLICATION/vnd.newvoicemedia.v1+JSON": true, "application/vnd.newvoicemedia.v9+json": true,
		"text/html, application/vnd.newvoicemedia.v1+json;q=0.5": true, "application/vnd.newvoicemedia.v1+json;q=0": false,
		"application/vnd.newvoicemedia+json": true, "application/vnd.newvoicemedia": true, "application/vnd.newvoicemediatypes.v1+json": false,
		"": false, "*/*": false, "application/json": false, "application/vnd.hookline.v1+json": false,
	} {
		request := httptest.NewRequest(http.MethodGet, "/webhooks/subscriptions", nil)
		request.Header.Set("Accept", accept)
		if got := vonage.Speaks(request); got != want {
			t.Errorf("Accept: %s speaks: %t", accept, got)
		}
	}
}
