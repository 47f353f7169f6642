package vonage_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// The vendor's examples.
const (
	// documentedSecret is no strict Base64.
	documentedSecret = "OFd4WHqXISxMAgoYneiFhgdGrOgYeToYPN3HjIO4xAxDvWd/oIKTW1P4A6GLXN0McDGlLtnTn1KCGCa+W5Gu="
	sampleSecret     = "c5hgQuOnivQjqH3gHYabCl4QGxFCsl31rXRnX+3+z64="
)

const (
	support = "support"
	sales   = "sales"
	// clientSecret is every test client's; its id is the tenant's name, or that and "-reader".
	clientSecret = "hunter2-hunter2-hunter2-hunter2-hunter2"
)

var bothScopes = []vonage.Scope{vonage.ScopeRead, vonage.ScopeWrite}

// log is what a server logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.Write(line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.String()
}

func logger(to *log) *slog.Logger { return slog.New(slog.NewTextHandler(to, nil)) }

// stage is the API and its token endpoint on loopback, over a real registry and journal.
type stage struct {
	url      string
	registry *registry.Registry
	issuer   *vonage.Issuer
	log      *log
}

func newStage(t *testing.T, clock clockwork.Clock) *stage {
	t.Helper()
	s := &stage{log: &log{}}
	journal, err := embedded.Open(t.Context(), embedded.Options{
		Dir: "journal", FS: vfs.NewMem(), BallastBytes: -1, Clock: clock, Log: slog.New(slog.DiscardHandler),
		FreeSpace: func() (embedded.Space, error) { return embedded.Space{Free: 1 << 40, Total: 1 << 40}, nil },
	})
	if err != nil {
		t.Fatalf("opening the journal: %v", err)
	}
	t.Cleanup(func() { _ = journal.Close() })
	logger := logger(s.log)
	s.registry, err = registry.New(t.Context(), journal, registry.Options{
		Clock: clock, Log: logger, Ledger: ledger.New(journal.View(), journal.Get), Formats: dispatcher.Formats(),
	})
	if err != nil {
		t.Fatalf("opening the registry: %v", err)
	}
	t.Cleanup(s.registry.Close)
	s.issuer, err = vonage.NewIssuer(vonage.IssuerConfig{Clients: clients, Clock: clock, Log: logger})
	if err != nil {
		t.Fatalf("making the issuer: %v", err)
	}
	mux := http.NewServeMux()
	mux.Handle(vonage.PathToken, s.issuer)
	mux.Handle("/", vonage.NewServer(vonage.ServerConfig{
		Authenticate: s.issuer.Authenticate, API: s.registry.Tenant, Catalogue: vonage.Catalogue(), Log: logger,
	}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL

	return s
}

// clients are the OAuth clients that there are.
func clients(_ context.Context, id, secret string) (vonage.Access, error) {
	tenant, isReader := strings.CutSuffix(id, "-reader")
	if secret != clientSecret || tenant != support && tenant != sales {
		return vonage.Access{}, &subscription.AuthError{Message: "no such client"}
	}
	if isReader {
		return vonage.Access{Tenant: tenant, Scopes: []vonage.Scope{vonage.ScopeRead}}, nil
	}

	return vonage.Access{Tenant: tenant, Scopes: bothScopes}, nil
}

// token is an access token of a client for scopes.
func (s *stage) token(t *testing.T, client, scope string) string {
	t.Helper()
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {clientSecret}, "scope": {scope},
	}
	response, err := http.PostForm(s.url+vonage.PathToken, form)
	if err != nil {
		t.Fatalf("asking for a token: %v", err)
	}
	body := read(t, response)
	_, rest, ok := strings.Cut(body, `"access_token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	if !ok || token == "" {
		t.Fatalf("asking for a token: %d %s", response.StatusCode, body)
	}

	return token
}

func read(t *testing.T, response *http.Response) string {
	t.Helper()
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("reading an answer: %v", err)
	}

	return string(body)
}

// client is a client for one tenant, with tokens of its own.
func (s *stage) client(t *testing.T, tenant string, clock clockwork.Clock) *vonage.Client {
	t.Helper()
	tokens, err := vonage.NewClientCredentials(vonage.ClientCredentials{
		TokenURL: s.url + vonage.PathToken, ClientID: tenant, ClientSecret: clientSecret, Clock: clock,
	})
	if err != nil {
		t.Fatalf("making a token source: %v", err)
	}

	return newClient(t, s.url, tokens)
}

func newClient(t *testing.T, url string, tokens vonage.TokenSource) *vonage.Client {
	t.Helper()
	client, err := vonage.NewClient(vonage.ClientConfig{BaseURL: url, Tokens: tokens})
	if err != nil {
		t.Fatalf("making a client: %v", err)
	}

	return client
}
