package native_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
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

	"github.com/hookline-dev/hookline/internal/dialect/native"
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

// stage is the API on loopback over a real registry and journal. Only the engine is missing:
// deliver settles what it would have settled.
type stage struct {
	url      string
	journal  *embedded.Journal
	registry *registry.Registry
	ledger   *ledger.Ledger
	epoch    journal.Epoch
	clock    clockwork.Clock
	log      *log
	events   atomic.Int64
}

func newStage(t *testing.T, clock clockwork.Clock) *stage {
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
	s.ledger = ledger.New(s.journal.View(), s.journal.Get)
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	s.registry, err = registry.New(t.Context(), s.journal, registry.Options{
		Clock: clock, Log: logger, Ledger: s.ledger, Formats: dispatcher.Formats(),
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
	server := httptest.NewServer(native.NewServer(native.ServerConfig{
		Authenticate: ingest.Administrator(tokens.Open(dir, tokens.Options{Clock: clock})),
		API:          s.registry.Tenant,
		Operations:   func(tenant string) native.Operations { return operations{s, tenant} },
		Log:          logger,
	}))
	t.Cleanup(server.Close)
	s.url = server.URL

	return s
}

// client is a client of the stage for one tenant.
func (s *stage) client(t *testing.T, tenant string) *native.Client {
	t.Helper()
	client, err := native.NewClient(t.Context(), native.ClientConfig{
		BaseURL: s.url, Token: func(context.Context) (string, error) { return tokenOf(tenant, "admin"), nil },
	})
	if err != nil {
		t.Fatalf("making a client: %v", err)
	}

	return client
}

// append makes an event durable and tells its place.
func (s *stage) append(ctx context.Context, tenant, eventType string, body []byte) (journal.Event, journal.Seq, error) {
	event := journal.Event{
		Tenant: tenant, Source: "/test", ID: fmt.Sprintf("event-%d", s.events.Add(1)), Type: eventType, Accepted: s.clock.Now(), Body: body,
	}
	receipts, err := s.journal.Append(ctx, []journal.Event{event})
	if err != nil {
		return event, 0, fmt.Errorf("appending an event: %w", err)
	}

	return event, receipts[0].Seq, nil
}

// settle writes down the end of one attempt, as the engine would.
func (s *stage) settle(ctx context.Context, tenant, id, eventType string, body []byte, change func(*journal.Outcome)) error {
	event, seq, err := s.append(ctx, tenant, eventType, body)
	if err != nil {
		return err
	}
	outcome := journal.Outcome{
		Ref: journal.Ref{Subscription: id, Seq: seq}, Tenant: tenant, Result: journal.Delivered,
		Attempt: &journal.Attempt{
			Subscription: id, Seq: seq, DeliveryID: "delivery-" + event.ID, EventID: event.ID, EventType: eventType,
			Number: 1, At: s.clock.Now(), Latency: 1500 * time.Microsecond, Success: true, ResponseCode: 200, ResponseText: "OK",
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

func eventBody(eventType string) []byte {
	return []byte(`{"specversion":"1.0","id":"1","source":"/test","type":"` + eventType + `","data":{"n":1.00}}`)
}

// operations do in the engine's stead what needs no endpoint.
type operations struct {
	stage  *stage
	tenant string
}

func (o operations) SendTest(_ context.Context, id, eventType string) (subscription.LogEntry, error) {
	return subscription.LogEntry{
		DeliveryID: "test-" + id, EventID: "test", Event: eventType, Attempt: 1, Timestamp: o.stage.clock.Now(), Success: false,
		ResponseCode: 500, ResponseText: "Internal Server Error", Latency: time.Second, ResponseBody: []byte{0, 1},
	}, nil
}

func (o operations) Endpoint(context.Context, string) (native.Endpoint, error) {
	now := o.stage.clock.Now().UTC()

	return native.Endpoint{Circuit: native.CircuitOpen, Since: now, NextProbe: now.Add(5 * time.Second), Failures: 5, Waiting: 12}, nil
}

func (o operations) Resend(ctx context.Context, id string, position uint64) (subscription.LogEntry, error) {
	events, err := o.stage.journal.Get(ctx, []journal.Seq{journal.Seq(position)})
	if err != nil {
		return subscription.LogEntry{}, subscription.ErrNotFound
	}

	return subscription.LogEntry{
		DeliveryID: "delivery-" + id, EventID: events[0].ID, Event: events[0].Type, Attempt: 2, Timestamp: o.stage.clock.Now(),
		Success: true, ResponseCode: 204, ResponseText: "No Content", Latency: time.Millisecond, Position: position,
	}, nil
}

func (o operations) DeadLetters(ctx context.Context, id string, after uint64, limit int) ([]native.DeadLetter, error) {
	found, err := o.stage.ledger.DeadLetters(ctx, o.tenant, id, journal.Seq(after), limit)
	if err != nil {
		return nil, err
	}
	letters := make([]native.DeadLetter, 0, len(found))
	for _, letter := range found {
		out := native.DeadLetter{
			Position: uint64(letter.Seq), EventID: letter.Event.ID, Event: letter.Event.Type, Reason: letter.Reason,
			At: letter.At, Attempts: letter.Attempts, Payload: letter.Event.Body,
		}
		if letter.Last != nil {
			last := ledger.EntryOf(letter.Last, nil)
			out.DeliveryID, out.Last = last.DeliveryID, &last
		}
		letters = append(letters, out)
	}

	return letters, nil
}

// send makes one request and answers its status, headers and body.
func (s *stage) send(t *testing.T, method, path string, header http.Header, body string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, header)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}

	return response, text.String()
}

// as are the headers of a tenant's administrator.
func as(tenant string) http.Header {
	return http.Header{
		"Authorization": {"Bearer " + tokenOf(tenant, "admin")}, "Content-Type": {"application/json"}, "Accept": {native.MediaType},
	}
}
