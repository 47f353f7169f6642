package delivery

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const tenant = "acme"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an engine on a real journal and a real registry, which can be stopped and started.
type rig struct {
	t        *testing.T
	fs       vfs.FS
	clock    clockwork.Clock
	change   func(*Config)
	journal  *embedded.Journal
	registry *registry.Registry
	engine   *Engine
	metrics  *prometheus.Registry
	api      subscription.API
	cancel   context.CancelFunc
	ended    chan error
	sent     int
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()

	return newRigAt(t, clockwork.NewRealClock(), change)
}

func newRigAt(t *testing.T, clock clockwork.Clock, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, fs: vfs.NewMem(), clock: clock, change: change}
	r.open()
	r.run()
	t.Cleanup(func() {
		r.stop()
		r.close()
	})

	return r
}

// open opens the journal and the registry, and builds an engine that does not run yet.
func (r *rig) open() {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	j, err := embedded.Open(r.t.Context(), embedded.Options{
		Dir: "journal", FS: r.fs, Clock: r.clock, Log: log, BallastBytes: -1,
		FreeSpace: func() (embedded.Space, error) { return embedded.Space{Free: 1 << 40, Total: 1 << 40}, nil },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	reg, err := registry.New(r.t.Context(), j, registry.Options{Clock: r.clock, Log: log})
	if err != nil {
		r.t.Fatal(err)
	}
	r.metrics = prometheus.NewRegistry()
	cfg := Config{
		Journal: j, Registry: reg, Clock: r.clock, Log: log, Metrics: r.metrics, Egress: NewEgressPolicy(loopback),
		Schedule: Schedule{0, 20 * time.Millisecond, 40 * time.Millisecond}, Timeout: 5 * time.Second, ShutdownGrace: 5 * time.Second,
		// Circuits have tests of their own.
		CircuitFailures: math.MaxInt,
	}
	if r.change != nil {
		r.change(&cfg)
	}
	engine, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.journal, r.registry, r.engine, r.api = j, reg, engine, reg.Tenant(tenant)
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r.cancel, r.ended = cancel, ended
	go func() { ended <- r.engine.Run(ctx) }()
}

// stop ends the engine; the journal stays open.
func (r *rig) stop() {
	r.t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatal("Run did not return")
	}
}

func (r *rig) close() {
	r.t.Helper()
	r.registry.Close()
	if err := r.journal.Close(); err != nil {
		r.t.Errorf("closing the journal: %v", err)
	}
}

// restart stops everything in order and starts it anew on the same files.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.close()
	r.open()
	r.run()
}

func (r *rig) subscribe(url string, change func(*subscription.Draft)) string {
	r.t.Helper()
	r.sent++
	draft := subscription.Draft{Name: fmt.Sprintf("sub-%d", r.sent), URL: url, Events: []string{"*"}, Enabled: true}
	if change != nil {
		change(&draft)
	}
	created, err := r.api.Create(r.t.Context(), draft)
	if err != nil {
		r.t.Fatal(err)
	}

	return created.ID
}

func (r *rig) update(id string, patch subscription.Patch) {
	r.t.Helper()
	if _, err := r.api.Update(r.t.Context(), id, patch); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) enable(id string, enabled bool) {
	r.t.Helper()
	r.update(id, subscription.Patch{Enabled: &enabled})
}

// publish appends events with the ids given and returns their positions.
func (r *rig) publish(eventType string, ids ...string) []journal.Seq {
	r.t.Helper()
	events := make([]journal.Event, 0, len(ids))
	for _, id := range ids {
		events = append(events, journal.Event{
			Tenant: tenant, Source: "/test", ID: id, Type: eventType, Accepted: r.clock.Now(),
			Body: fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/test","type":%q}`, id, eventType),
		})
	}
	receipts, err := r.journal.Append(r.t.Context(), events)
	if err != nil {
		r.t.Fatal(err)
	}
	seqs := make([]journal.Seq, 0, len(receipts))
	for _, receipt := range receipts {
		seqs = append(seqs, receipt.Seq)
	}

	return seqs
}

func (r *rig) deadLetters(id string) []journal.DeadLetter {
	r.t.Helper()
	letters, err := r.journal.View().DeadLetters(r.t.Context(), id, 0, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}

	return letters
}

func (r *rig) attempts(id string) []journal.Attempt {
	r.t.Helper()
	attempts, err := r.journal.View().Attempts(r.t.Context(), id, journal.AttemptQuery{Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}

	return attempts
}

// rows are how many deliveries of a subscription wait on pages and for retries.
func (r *rig) rows(id string) (backlog, retries int) {
	r.t.Helper()
	seqs, err := r.journal.View().Backlog(r.t.Context(), id, 0, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	rows, err := r.journal.View().Retries(r.t.Context(), id, 0, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}

	return len(seqs), len(rows)
}

// settledTo waits until the cursor has reached a position.
func (r *rig) settledTo(seq journal.Seq) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("the cursor to reach %d", seq), func() bool {
		cursor, err := r.journal.View().Cursor(r.t.Context(), 0)
		if err != nil {
			r.t.Fatal(err)
		}

		return cursor >= seq
	})
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// receiver is an endpoint that counts the requests for each event.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, id string, nth int)
	tried    map[string]int
	accepted map[string]int
	ids      map[string]string
	// order is that of first acceptance.
	order   []string
	headers []http.Header
	bodies  [][]byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{tried: map[string]int{}, accepted: map[string]int{}, ids: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(func() {
		r.CloseClientConnections()
		r.Close()
	})

	return r
}

// serve knows an event by its id's place in the body, which the tests write.
func (r *receiver) serve(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	_, id, known := strings.Cut(string(body), `"eventId":"`)
	if !known {
		_, id, _ = strings.Cut(string(body), `"id":"`)
	}
	id, _, _ = strings.Cut(id, `"`)
	r.mu.Lock()
	r.tried[id]++
	nth, answer := r.tried[id], r.answer
	if first := r.ids[id]; first != "" && first != request.Header.Get(HeaderID) {
		r.ids[id] = "changed"
	} else {
		r.ids[id] = request.Header.Get(HeaderID)
	}
	r.headers, r.bodies = append(r.headers, request.Header), append(r.bodies, body)
	r.mu.Unlock()
	recorder := &statusRecorder{ResponseWriter: w, code: http.StatusOK}
	if answer != nil {
		answer(recorder, id, nth)
	}
	if recorder.code < 300 {
		r.mu.Lock()
		if r.accepted[id]++; r.accepted[id] == 1 {
			r.order = append(r.order, id)
		}
		r.mu.Unlock()
	}
}

type statusRecorder struct {
	http.ResponseWriter

	code int
}

func (s *statusRecorder) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (r *receiver) respond(answer func(w http.ResponseWriter, id string, nth int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) always(code int) {
	r.respond(func(w http.ResponseWriter, _ string, _ int) { w.WriteHeader(code) })
}

// counts are how many events were tried and accepted, and the most often one was accepted.
func (r *receiver) counts() (tried, accepted, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.accepted {
		most = max(most, n)
	}

	return len(r.tried), len(r.accepted), most
}

func (r *receiver) triedTimes(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.tried[id]
}

func (r *receiver) got(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d events to arrive", n), func() bool {
		_, accepted, _ := r.counts()

		return accepted >= n
	})
}

// never is an address where nothing listens.
func never(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()

	return "http://" + netip.MustParseAddrPort(listener.Addr().String()).String()
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i)
	}

	return out
}
