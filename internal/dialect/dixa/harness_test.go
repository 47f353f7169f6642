package dixa_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	support = "support"
	sales   = "sales"
	// pace is what one token may make a request in.
	pace = time.Second / dixa.RequestsPerSecond
)

// tokenOf is a tenant's token for a right.
func tokenOf(tenant, right string) string {
	return tenant + "-" + right + "-" + strings.Repeat("0", tokens.MinTokenLength)
}

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

// stage is the API on loopback over a real registry and journal. Only the engine is missing: deliver
// settles what it would have settled. Requests are counted by a clock of their own.
type stage struct {
	url      string
	journal  *embedded.Journal
	registry *registry.Registry
	epoch    journal.Epoch
	clock    clockwork.Clock
	counted  *clockwork.FakeClock
	log      *log
	events   atomic.Int64
}

func newStage(t *testing.T, clock clockwork.Clock) *stage {
	t.Helper()
	s := &stage{clock: clock, counted: clockwork.NewFakeClock(), log: &log{}}
	var err error
	s.journal, err = embedded.Open(t.Context(), embedded.Options{
		Dir: "journal", FS: vfs.NewMem(), BallastBytes: -1, Clock: clock, Log: slog.New(slog.DiscardHandler),
		FreeSpace: func() (embedded.Space, error) { return embedded.Space{Free: 1 << 40, Total: 1 << 40}, nil },
	})
	if err != nil {
		t.Fatalf("opening the journal: %v", err)
	}
	t.Cleanup(func() { _ = s.journal.Close() })
	owned, err := s.journal.Own(t.Context())
	if err != nil {
		t.Fatalf("owning the shard: %v", err)
	}
	s.epoch = (<-owned).Epoch
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	s.registry, err = registry.New(t.Context(), s.journal, registry.Options{
		Clock: clock, Log: logger, Ledger: ledger.New(s.journal.View(), s.journal.Get), Formats: dispatcher.Formats(),
	})
	if err != nil {
		t.Fatalf("opening the registry: %v", err)
	}
	t.Cleanup(s.registry.Close)

	dir := t.TempDir()
	for _, tenant := range []string{support, sales} {
		for _, right := range []string{"admin", "publish"} {
			if err := os.WriteFile(filepath.Join(dir, tenant+"."+right), []byte(tokenOf(tenant, right)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	server := httptest.NewServer(dixa.NewServer(dixa.ServerConfig{
		Authenticate: ingest.Administrator(tokens.Open(dir, tokens.Options{Clock: clock})),
		API:          s.registry.Tenant,
		Secrets:      s.secret, Credentials: s.credentials, Notification: notification, Log: logger, Clock: s.counted,
	}))
	t.Cleanup(server.Close)
	s.url = server.URL

	return s
}

// notification tells one tenant's organization, and leaves the other's to be made.
var notification = dixa.Notification{Organization: func(tenant string) dixa.Organization {
	if tenant != support {
		return dixa.Organization{}
	}

	return dixa.Organization{ID: "64b777c3-eb82-49fb-bb3e-294afb5d840c", Name: "Your Org Name"}
}}

func (s *stage) current(tenant, id string) (*registry.Subscription, error) {
	found, ok := s.registry.Current(id)
	if !ok || found.Tenant != tenant {
		return nil, subscription.ErrNotFound
	}

	return found, nil
}

func (s *stage) secret(_ context.Context, tenant, id string) (string, error) {
	found, err := s.current(tenant, id)
	if err != nil {
		return "", err
	}

	return found.Secrets[0].Text, nil
}

func (s *stage) credentials(_ context.Context, tenant, id string) (subscription.Authorization, []subscription.Header, error) {
	found, err := s.current(tenant, id)
	if err != nil {
		return subscription.Authorization{}, nil, err
	}

	return found.Authorization, found.Headers, nil
}

// counting lets the time pass that a request takes of its token's allowance.
type counting struct{ clock *clockwork.FakeClock }

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.clock.Advance(pace)

	return http.DefaultTransport.RoundTrip(r)
}

// client is a client of the stage for one tenant.
func (s *stage) client(t *testing.T, tenant string, change func(*dixa.ClientConfig)) *dixa.Client {
	t.Helper()
	cfg := dixa.ClientConfig{
		BaseURL: s.url + "/v1", Token: func(context.Context) (string, error) { return tokenOf(tenant, "admin"), nil },
		Transport: counting{s.counted}, Limiter: rate.NewLimiter(rate.Inf, 0),
	}
	if change != nil {
		change(&cfg)
	}
	client, err := dixa.NewClient(cfg)
	if err != nil {
		t.Fatalf("making a client: %v", err)
	}

	return client
}

// id is the registry's id of a subscription on the wire.
func (s *stage) id(ctx context.Context, tenant, wire string) (string, error) {
	list, err := s.registry.Tenant(tenant).List(ctx)
	for _, one := range list {
		if dixa.WireID(one.ID) == wire {
			return one.ID, nil
		}
	}

	return "", fmt.Errorf("no subscription %s: %w", wire, err)
}

// settle writes down an event and the end of one attempt at it, as the engine would.
func (s *stage) settle(ctx context.Context, tenant, wire, eventType string, change func(*journal.Outcome)) error {
	id, err := s.id(ctx, tenant, wire)
	if err != nil {
		return err
	}
	number := s.events.Add(1)
	event := journal.Event{
		Tenant: tenant, Source: "/test", ID: fmt.Sprintf("event-%d", number), Type: eventType, Accepted: s.clock.Now(),
		Body: fmt.Appendf(nil, `{"specversion":"1.0","id":"event-%d","source":"/test","type":%q,"time":"2026-08-01T11:59:59.123456Z","data":{"conversation":{"csid":%d}}}`,
			number, eventType, number),
	}
	receipts, err := s.journal.Append(ctx, []journal.Event{event})
	if err != nil {
		return fmt.Errorf("appending an event: %w", err)
	}
	outcome := journal.Outcome{
		Ref: journal.Ref{Subscription: id, Seq: receipts[0].Seq}, Tenant: tenant, Result: journal.Delivered,
		Attempt: &journal.Attempt{
			Subscription: id, Seq: receipts[0].Seq, DeliveryID: "delivery-" + event.ID, EventID: event.ID, EventType: eventType,
			Number: 1, At: s.clock.Now(), Latency: 1500 * time.Microsecond, Success: true, ResponseCode: 200, ResponseText: "OK",
		},
	}
	if change != nil {
		change(&outcome)
	}
	if err := s.journal.Settle(ctx, 0, s.epoch, journal.Batch{Outcomes: []journal.Outcome{outcome}}); err != nil {
		return fmt.Errorf("settling a delivery: %w", err)
	}

	return nil
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
