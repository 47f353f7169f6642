package bird_test

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

	"github.com/hookline-dev/hookline/internal/dialect/bird"
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
	// The ids of the vendor's example, which support has; those of sales are made.
	workspaceID    = "b4e02c85-c6d2-4b15-8885-e09671799c61"
	organizationID = "cb28a94e-8557-4394-80ea-5bbd2170d434"
	inWorkspace    = "/workspaces/" + workspaceID
)

// keyOf is a tenant's access key for a right.
func keyOf(tenant, right string) string {
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

// formats are the registry's.
var formats = map[subscription.Format]registry.Format{
	subscription.FormatBird: {
		Key: bird.Key, GenerateSecret: bird.GenerateSecret,
		CheckOptions: func(options subscription.Options) error { return bird.CheckOptions(options.Bird) },
	},
}

// stage is the API on loopback over a real registry and journal. Only the engine is missing: settle writes down
// what it would have settled.
type stage struct {
	url      string
	journal  *embedded.Journal
	registry *registry.Registry
	epoch    journal.Epoch
	clock    clockwork.Clock
	log      *log
	events   atomic.Int64
}

func newStage(t *testing.T, clock clockwork.Clock, change func(*bird.ServerConfig)) *stage {
	t.Helper()
	s := &stage{clock: clock, log: &log{}}
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
		Clock: clock, Log: logger, Ledger: ledger.New(s.journal.View(), s.journal.Get), Formats: formats,
	})
	if err != nil {
		t.Fatalf("opening the registry: %v", err)
	}
	t.Cleanup(s.registry.Close)

	dir := t.TempDir()
	for _, tenant := range []string{support, sales} {
		for _, right := range []string{"admin", "publish"} {
			if err := os.WriteFile(filepath.Join(dir, tenant+"."+right), []byte(keyOf(tenant, right)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cfg := bird.ServerConfig{
		Authenticate: ingest.Administrator(tokens.Open(dir, tokens.Options{Clock: clock})),
		API:          s.registry.Tenant, Workspace: workspaceOf, Log: logger,
	}
	if change != nil {
		change(&cfg)
	}
	server := httptest.NewServer(bird.NewServer(cfg))
	t.Cleanup(server.Close)
	s.url = server.URL

	return s
}

// workspaceOf tells one tenant's workspace, and leaves the other's to be made.
func workspaceOf(tenant string) bird.Workspace {
	if tenant != support {
		return bird.Workspace{}
	}

	return bird.Workspace{ID: workspaceID, OrganizationID: organizationID}
}

// client is a client of the stage for one tenant.
func (s *stage) client(t *testing.T, tenant string, change func(*bird.ClientConfig)) *bird.Client {
	t.Helper()
	cfg := bird.ClientConfig{
		BaseURL: s.url, AccessKey: func(context.Context) (string, error) { return keyOf(tenant, "admin"), nil },
		WorkspaceID: bird.WorkspaceID(tenant), OrganizationID: bird.OrganizationID(tenant),
	}
	if tenant == support {
		cfg.WorkspaceID, cfg.OrganizationID = workspaceID, ""
	}
	if change != nil {
		change(&cfg)
	}
	client, err := bird.NewClient(cfg)
	if err != nil {
		t.Fatalf("making a client: %v", err)
	}

	return client
}

// id is the registry's id of a subscription on the wire.
func (s *stage) id(ctx context.Context, tenant, wire string) (string, error) {
	list, err := s.registry.Tenant(tenant).List(ctx)
	for _, one := range list {
		if bird.WireID(one.ID) == wire {
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
		Body: fmt.Appendf(nil, `{"specversion":"1.0","id":"event-%d","source":"/test","type":%q,"data":{"id":"message-%d","status":"sent"}}`,
			number, eventType, number),
	}
	receipts, err := s.journal.Append(ctx, []journal.Event{event})
	if err != nil {
		return fmt.Errorf("appending an event: %w", err)
	}

	return s.attempt(ctx, tenant, id, event, receipts[0].Seq, 1, change)
}

// attempt writes down one attempt at an event.
func (s *stage) attempt(
	ctx context.Context, tenant, id string, event journal.Event, seq journal.Seq, number int32, change func(*journal.Outcome),
) error {
	outcome := journal.Outcome{
		Ref: journal.Ref{Subscription: id, Seq: seq}, Tenant: tenant, Result: journal.Delivered,
		Attempt: &journal.Attempt{
			Subscription: id, Seq: seq, DeliveryID: "delivery-" + event.ID, EventID: event.ID, EventType: event.Type,
			Number: number, At: s.clock.Now(), Latency: 1500 * time.Microsecond, Success: true, ResponseCode: 200, ResponseText: "OK",
			ResponseBody: []byte("thanks"),
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
