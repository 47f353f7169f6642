package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
)

var (
	publisher = "publisher-" + strings.Repeat("0", tokens.MinTokenLength)
	admin     = "admin-" + strings.Repeat("0", tokens.MinTokenLength)
	stranger  = "sales-" + strings.Repeat("0", tokens.MinTokenLength)
)

// stage is ingest behind a real server, on a real journal and real tokens.
type stage struct {
	url     string
	journal *embedded.Journal
	metrics *prometheus.Registry
	free    func(embedded.Space)
}

// room is a disk with plenty of it.
var room = embedded.Space{Free: 1 << 40, Total: 1 << 40}

func newStage(t *testing.T, change func(*ingest.Config)) *stage {
	t.Helper()
	var (
		mu    sync.Mutex
		space = room
	)
	s := &stage{metrics: prometheus.NewRegistry(), free: func(now embedded.Space) {
		mu.Lock()
		defer mu.Unlock()
		space = now
	}}
	var err error
	s.journal, err = embedded.Open(t.Context(), embedded.Options{
		Dir: "journal", FS: vfs.NewMem(), BallastBytes: -1, Log: slog.New(slog.DiscardHandler),
		FreeSpace: func() (embedded.Space, error) {
			mu.Lock()
			defer mu.Unlock()

			return space, nil
		},
	})
	if err != nil {
		t.Fatalf("opening the journal: %v", err)
	}
	t.Cleanup(func() { _ = s.journal.Close() })
	dir := t.TempDir()
	for file, token := range map[string]string{"support.publish": publisher, "support.admin": admin, "sales.publish": stranger} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := ingest.Config{
		Appender: s.journal, Authenticator: tokens.Open(dir, tokens.Options{}),
		Types: ledger.New(s.journal.View(), s.journal.Get), Metrics: s.metrics,
	}
	if change != nil {
		change(&cfg)
	}
	server := httptest.NewServer(ingest.New(cfg))
	t.Cleanup(server.Close)
	s.url = server.URL

	return s
}

// answer is what a publisher gets.
type answer struct {
	Status  int
	Header  http.Header
	Type    string
	Title   string
	Detail  string
	Results []ingest.Result
}

// post publishes a body; header is name, value pairs.
func (s *stage) post(t *testing.T, body io.Reader, header ...string) answer {
	t.Helper()

	return s.send(t, http.MethodPost, body, header...)
}

func (s *stage) send(t *testing.T, method string, body io.Reader, header ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+"/events", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+publisher)
	for i := 0; i < len(header); i += 2 {
		request.Header.Del(header[i])
		if header[i+1] != "" {
			request.Header.Set(header[i], header[i+1])
		}
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	defer func() { _ = response.Body.Close() }()

	return read(t, response)
}

func read(t *testing.T, response *http.Response) answer {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	out := answer{Status: response.StatusCode, Header: response.Header}
	var problem struct {
		Type, Title, Detail string
		Status              int
		Results             []ingest.Result
	}
	if err := json.Unmarshal(text, &problem); err != nil {
		t.Fatalf("the answer is no JSON: %q", text)
	}
	out.Type, out.Title, out.Detail, out.Results = problem.Type, problem.Title, problem.Detail, problem.Results
	want := "application/problem+json"
	if out.Status == http.StatusAccepted {
		want = "application/json"
	} else if problem.Status != out.Status || !strings.HasPrefix(out.Type, "https://hookline.dev/problems/") || out.Title == "" || out.Detail == "" {
		t.Errorf("the problem is not whole: %s", text)
	}
	if got := response.Header.Get("Content-Type"); got != want {
		t.Errorf("the answer is %s, not %s", got, want)
	}

	return out
}

// events are the bodies in the journal, in order.
func (s *stage) events(t *testing.T) []journal.Event {
	t.Helper()
	// A cleanup may ask, when the test's own context has ended.
	ctx := context.WithoutCancel(t.Context())
	_, last, err := s.journal.View().Bounds(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var events []journal.Event
	for next := journal.Seq(1); next <= last; {
		records, err := s.journal.Read(ctx, next, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			events = append(events, *record.Event)
			next = record.Seq + 1
		}
	}

	return events
}

func structured(id string) string {
	return `{"specversion":"1.0","id":"` + id + `","source":"/s","type":"order.paid","data":{"n":1.00}}`
}

const (
	one   = "application/cloudevents+json"
	batch = "application/cloudevents-batch+json"
	plain = "application/json"
)

func TestEveryModeIsKept(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	cases := []struct {
		reason string
		body   string
		header []string
		want   []ingest.Result
	}{
		{"structured", structured("1"), []string{"Content-Type", one}, []ingest.Result{{ID: "1", Source: "/s", Status: "accepted"}}},
		{"the same again", structured("1"), []string{"Content-Type", one}, []ingest.Result{{ID: "1", Source: "/s", Status: "duplicate"}}},
		{
			"a batch with one of each", `[` + structured("2") + `,` + structured("1") + `,{"specversion":"1.0","id":"3","source":"/s"},` + structured("2") + `]`,
			[]string{"Content-Type", batch},
			[]ingest.Result{
				{ID: "2", Source: "/s", Status: "accepted"},
				{ID: "1", Source: "/s", Status: "duplicate"},
				{ID: "3", Source: "/s", Status: "invalid", Reason: "type: it is missing: every event has one"},
				{ID: "2", Source: "/s", Status: "duplicate"},
			},
		},
		{"an empty batch", `[]`, []string{"Content-Type", batch}, []ingest.Result{}},
		{
			"binary", "\x00\xff",
			[]string{
				"Content-Type", "image/png", "Ce-Specversion", "1.0", "Ce-Id", "4", "Ce-Source", "/s", "Ce-Type", "image.made",
				"Ce-Subject", "7", "Ce-Partitionkey", "k%20k",
			},
			[]ingest.Result{{ID: "4", Source: "/s", Status: "accepted"}},
		},
		{
			"plain", `{"type":"order.paid","id":"5","source":"/shop","data":{"total":10.50}}`, []string{"Content-Type", plain},
			[]ingest.Result{{ID: "5", Source: "/shop", Status: "accepted"}},
		},
		{
			"plain array", `[{"type":"order.paid","id":"6","data":null}]`, []string{"Content-Type", plain},
			[]ingest.Result{{ID: "6", Source: "/support", Status: "accepted"}},
		},
		{
			"an administrator may publish", structured("7"), []string{"Content-Type", one, "Authorization", "Bearer " + admin},
			[]ingest.Result{{ID: "7", Source: "/s", Status: "accepted"}},
		},
		{
			"another tenant's id is another's", structured("1"), []string{"Content-Type", one, "Authorization", "Bearer " + stranger},
			[]ingest.Result{{ID: "1", Source: "/s", Status: "accepted"}},
		},
	}
	for _, tc := range cases {
		got := s.post(t, strings.NewReader(tc.body), tc.header...)
		if diff := cmp.Diff(tc.want, got.Results); diff != "" || got.Status != http.StatusAccepted {
			t.Errorf("%s: %d %s (-want +got):\n%s", tc.reason, got.Status, got.Detail, diff)
		}
	}

	type kept struct{ Tenant, Source, ID, Type, Subject, PartitionKey, Body string }
	var got []kept
	for _, e := range s.events(t) {
		if time.Since(e.Accepted) > time.Minute {
			t.Errorf("event %s was accepted at %s", e.ID, e.Accepted)
		}
		body := string(e.Body)
		if e.ID == "5" || e.ID == "6" {
			body = "" // It has the time of its acceptance.
		}
		got = append(got, kept{e.Tenant, e.Source, e.ID, e.Type, e.Subject, e.PartitionKey, body})
	}
	want := []kept{
		{"support", "/s", "1", "order.paid", "", "", structured("1")},
		{"support", "/s", "2", "order.paid", "", "", structured("2")},
		{
			"support", "/s", "4", "image.made", "7", "k k",
			`{"specversion":"1.0","id":"4","source":"/s","type":"image.made","subject":"7","datacontenttype":"image/png","partitionkey":"k k","data_base64":"AP8="}`,
		},
		{"support", "/shop", "5", "order.paid", "", "", ""},
		{"support", "/support", "6", "order.paid", "", "", ""},
		{"support", "/s", "7", "order.paid", "", "", structured("7")},
		{"sales", "/s", "1", "order.paid", "", "", structured("1")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the journal (-want +got):\n%s", diff)
	}
	s.wantMetric(t, "hookline_ingest_events_total", `
		# HELP hookline_ingest_events_total Events published, by result: accepted, duplicate, invalid or failed.
		# TYPE hookline_ingest_events_total counter
		hookline_ingest_events_total{result="accepted"} 7
		hookline_ingest_events_total{result="duplicate"} 3
		hookline_ingest_events_total{result="invalid"} 1
	`)
}

func (s *stage) wantMetric(t *testing.T, name, want string) {
	t.Helper()
	if err := testutil.GatherAndCompare(s.metrics, strings.NewReader(want), name); err != nil {
		t.Error(err)
	}
}

// TestCloudEventsClient publishes with the CloudEvents project's own client.
func TestCloudEventsClient(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	client, err := cloudevents.NewClientHTTP(
		cloudevents.WithTarget(s.url), cloudevents.WithHeader("Authorization", "Bearer "+publisher))
	if err != nil {
		t.Fatal(err)
	}
	for i, with := range []func(context.Context) context.Context{cloudevents.WithEncodingBinary, cloudevents.WithEncodingStructured} {
		sent := cloudevents.NewEvent()
		sent.SetID(fmt.Sprint("sdk-", i))
		sent.SetSource("https://example.com/shop")
		sent.SetType("order.paid")
		sent.SetTime(time.Date(2026, 8, 1, 12, 0, 0, 5, time.UTC))
		sent.SetExtension("region", "emea")
		if err := sent.SetData("application/json", map[string]any{"total": 10}); err != nil {
			t.Fatal(err)
		}
		if result := client.Send(with(t.Context()), sent); !cloudevents.IsACK(result) {
			t.Fatalf("publishing: %v", result)
		}
		events := s.events(t)
		var got event.Event
		if err := json.Unmarshal(events[len(events)-1].Body, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent.String(), got.String()); diff != "" {
			t.Errorf("(-sent +kept):\n%s", diff)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	large := strings.Repeat("x", ingest.MaxEventBytes)
	cases := map[string]struct {
		reason string
		method string
		body   string
		header []string
		status int
		kind   string
		says   string
		want   map[string]string
	}{
		"GET":       {"events are posted", http.MethodGet, "", nil, 405, "method-not-allowed", "POST", map[string]string{"Allow": "POST"}},
		"anonymous": {"nobody publishes anonymously", http.MethodPost, structured("1"), []string{"Content-Type", one, "Authorization", ""}, 401, "unauthorized", "Bearer", map[string]string{"Www-Authenticate": `Bearer realm="hookline"`}},
		"bad token": {"it is not known", http.MethodPost, structured("1"), []string{"Content-Type", one, "Authorization", "Bearer " + publisher + "x"}, 401, "unauthorized", "not known", map[string]string{"Www-Authenticate": `Bearer realm="hookline", error="invalid_token"`}},
		"invalid":   {"one event that is invalid", http.MethodPost, `{"specversion":"1.0","id":"1"}`, []string{"Content-Type", one}, 400, "invalid-event", "source: it is missing", nil},
		"all invalid": {
			"a batch of which nothing was accepted", http.MethodPost, `[{"id":"1"},{"id":"2"}]`, []string{"Content-Type", batch}, 400, "invalid-event",
			"every event of the batch is invalid, the first one so: specversion", nil,
		},
		"malformed":       {"no JSON", http.MethodPost, `{`, []string{"Content-Type", one}, 400, "malformed-request", "ends too early", nil},
		"text":            {"no event", http.MethodPost, `x`, []string{"Content-Type", "text/plain"}, 415, "unsupported-media-type", "ce- headers", nil},
		"brotli":          {"an encoding that is not known", http.MethodPost, `x`, []string{"Content-Type", one, "Content-Encoding", "br"}, 415, "unsupported-media-type", "gzip", map[string]string{"Accept-Encoding": "gzip"}},
		"not gzip":        {"it says gzip", http.MethodPost, structured("1"), []string{"Content-Type", one, "Content-Encoding", "gzip"}, 400, "malformed-request", "gzip", nil},
		"event too large": {"1 MiB is the most", http.MethodPost, `{"data":"` + large + `"}`, []string{"Content-Type", one}, 413, "too-large", "1048576", nil},
		"plain too large": {"1 MiB is the most", http.MethodPost, `{"data":"` + large + `"}`, []string{"Content-Type", plain}, 413, "too-large", "1048576", nil},
		"batch too large": {"8 MiB is the most", http.MethodPost, `["` + strings.Repeat(large, 8) + `"]`, []string{"Content-Type", batch}, 413, "too-large", "8388608", nil},
		"too many":        {"1,000 events are the most", http.MethodPost, `[` + strings.Repeat(`0,`, ingest.MaxBatchEvents) + `0]`, []string{"Content-Type", batch}, 413, "too-large", "1000", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := s.send(t, tc.method, strings.NewReader(tc.body), tc.header...)
			if got.Status != tc.status || got.Type != "https://hookline.dev/problems/"+tc.kind || !strings.Contains(got.Detail, tc.says) {
				t.Errorf("%s: got %d %s %q", tc.reason, got.Status, got.Type, got.Detail)
			}
			for header, want := range tc.want {
				if value := got.Header.Get(header); value != want {
					t.Errorf("%s: %s is %q, want %q", tc.reason, header, value, want)
				}
			}
		})
	}
	t.Cleanup(func() {
		if events := s.events(t); len(events) != 0 {
			t.Errorf("%d refused events are in the journal", len(events))
		}
	})
}

func TestBatchOfWhichAllAreInvalidTellsEach(t *testing.T) {
	t.Parallel()
	got := newStage(t, nil).post(t, strings.NewReader(`[{"id":"1"},7]`), "Content-Type", batch)
	want := []ingest.Result{
		{ID: "1", Status: "invalid", Reason: `specversion: it is missing: send "1.0"`},
		{Status: "invalid", Reason: "the event is not a JSON object"},
	}
	if diff := cmp.Diff(want, got.Results); diff != "" || got.Status != http.StatusBadRequest {
		t.Errorf("%d (-want +got):\n%s", got.Status, diff)
	}
}

func TestLargestEventsAreKept(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	frame := structured("1")
	body := strings.Replace(frame, `{"n":1.00}`, `"`+strings.Repeat("x", ingest.MaxEventBytes-len(frame)+len(`{"n":1.00}`)-2)+`"`, 1)
	if len(body) != ingest.MaxEventBytes {
		t.Fatalf("the event has %d bytes", len(body))
	}
	if got := s.post(t, strings.NewReader(body), "Content-Type", one); got.Status != http.StatusAccepted {
		t.Errorf("structured: %d %s", got.Status, got.Detail)
	}
	raw := bytes.Repeat([]byte{0xff}, ingest.MaxEventBytes)
	got := s.post(t, bytes.NewReader(raw), "Content-Type", "image/png", "Ce-Specversion", "1.0", "Ce-Id", "2", "Ce-Source", "/s", "Ce-Type", "a")
	if got.Status != http.StatusAccepted {
		t.Errorf("binary: %d %s", got.Status, got.Detail)
	}
	var events []string
	for i := range 7 {
		events = append(events, strings.Replace(body, `"id":"1"`, fmt.Sprintf(`"id":"%c"`, 'a'+i), 1))
	}
	events = append(events, structured("z"))
	got = s.post(t, strings.NewReader("["+strings.Join(events, ",")+"]"), "Content-Type", batch)
	if got.Status != http.StatusAccepted || len(got.Results) != 8 || len(s.events(t)) != 10 {
		t.Errorf("batch: %d %s", got.Status, got.Detail)
	}
}

func gzipped(t *testing.T, text string) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	if _, err := io.WriteString(writer, text); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}

	return &out
}

func TestGzip(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	if got := s.post(t, gzipped(t, structured("1")), "Content-Type", one, "Content-Encoding", "gzip"); got.Status != http.StatusAccepted {
		t.Errorf("gzip: %d %s", got.Status, got.Detail)
	}
	bomb := gzipped(t, `{"data":"`+strings.Repeat("0", 64<<20)+`"}`)
	if got := s.post(t, bomb, "Content-Type", one, "Content-Encoding", "gzip"); got.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("a bomb: %d %s", got.Status, got.Detail)
	}
	cut := gzipped(t, structured("2")).Bytes()
	if got := s.post(t, bytes.NewReader(cut[:len(cut)-6]), "Content-Type", one, "Content-Encoding", "gzip"); got.Status != http.StatusBadRequest {
		t.Errorf("cut off: %d %s", got.Status, got.Detail)
	}
}

// unsized hides how long a body is, so that it goes out in chunks.
type unsized struct{ io.Reader }

func TestBodyWithoutLengthIsBoundedToo(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	if got := s.post(t, unsized{strings.NewReader(structured("1"))}, "Content-Type", one); got.Status != http.StatusAccepted {
		t.Errorf("chunked: %d %s", got.Status, got.Detail)
	}
	endless := unsized{io.LimitReader(zeros{}, 2*ingest.MaxEventBytes)}
	if got := s.post(t, endless, "Content-Type", one); got.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("endless: %d %s", got.Status, got.Detail)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}

	return len(p), nil
}

// dial opens a connection to write a request by hand.
func (s *stage) dial(t *testing.T, head string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	request := "POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + publisher + "\r\n" + head
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}

	return conn
}

func TestLengthOverTheLimitIsRefusedUnread(t *testing.T) {
	t.Parallel()
	// Not a byte of the body is sent: the answer comes all the same.
	conn := newStage(t, nil).dial(t, "Content-Type: "+one+"\r\nContent-Length: 1048577\r\n\r\n")
	if got := response(t, conn); got.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d %s", got.Status, got.Detail)
	}
}

func response(t *testing.T, conn io.Reader) answer {
	t.Helper()
	var first [4096]byte
	n, err := conn.Read(first[:])
	if err != nil {
		t.Fatalf("waiting for the answer: %v", err)
	}
	head, body, ok := strings.Cut(string(first[:n]), "\r\n\r\n")
	if !ok {
		t.Fatalf("half an answer: %q", first[:n])
	}
	var out answer
	if _, err := fmt.Sscanf(head, "HTTP/1.1 %d", &out.Status); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatalf("%v: %q", err, body)
	}

	return out
}

func TestSlowBodyIsCutOff(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(cfg *ingest.Config) { cfg.BodyTimeout = 50 * time.Millisecond })
	conn := s.dial(t, "Content-Type: "+one+"\r\nContent-Length: 1000\r\n\r\n{")
	if got := response(t, conn); got.Status != http.StatusRequestTimeout || got.Type != "https://hookline.dev/problems/slow-request" {
		t.Errorf("got %d %s", got.Status, got.Detail)
	}
}

// TestRestOfARefusedBodyHasADeadline: after a refusal the server reads on for what is left of
// the body, which a publisher that sends no more must not draw out.
func TestRestOfARefusedBodyHasADeadline(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(cfg *ingest.Config) { cfg.BodyTimeout = 300 * time.Millisecond })
	conn := s.dial(t, "Content-Type: "+one+"\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\nthis is no gzip")
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("the server does not let go of the connection: %v, after %q", err, text)
	}
	if !strings.HasPrefix(string(text), "HTTP/1.1 400 ") {
		t.Errorf("got %q", text)
	}
}

func TestBodyDeadlineEndsWithTheBody(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(cfg *ingest.Config) {
		inner := cfg.Appender
		cfg.BodyTimeout = 50 * time.Millisecond
		// A journal slower than the body's deadline: the deadline must not end the request.
		cfg.Appender = appender(func(ctx context.Context, events []journal.Event) ([]journal.Receipt, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(200 * time.Millisecond):
				return inner.Append(ctx, events)
			}
		})
	})
	if got := s.post(t, strings.NewReader(structured("1")), "Content-Type", one); got.Status != http.StatusAccepted {
		t.Errorf("got %d %s", got.Status, got.Detail)
	}
}

// appender stands before the journal, to hold events up or to fail as no disk does on demand.
type appender func(context.Context, []journal.Event) ([]journal.Receipt, error)

func (a appender) Append(ctx context.Context, events []journal.Event) ([]journal.Receipt, error) {
	return a(ctx, events)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	publish := func(id string) answer {
		t.Helper()

		return s.post(t, strings.NewReader("["+structured(id)+",{}]"), "Content-Type", batch)
	}
	s.free(embedded.Space{Free: 1, Total: room.Total})
	eventually(t, "events are refused for want of space", func() bool {
		return publish(fmt.Sprint(time.Now().UnixNano())).Status == http.StatusInsufficientStorage
	})
	got := publish("full")
	want := []ingest.Result{
		{ID: "full", Source: "/s", Status: "failed", Reason: "nothing was kept: send it again later"},
		{Status: "invalid", Reason: `specversion: it is missing: send "1.0"`},
	}
	if diff := cmp.Diff(want, got.Results); diff != "" || got.Header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After %q (-want +got):\n%s", got.Header.Get("Retry-After"), diff)
	}
	s.free(room)
	eventually(t, "events are taken again", func() bool { return publish("full").Status == http.StatusAccepted })
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal("never came true: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestClosedJournal(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	// One event first, so that the tenant's types are known.
	s.post(t, strings.NewReader(structured("1")), "Content-Type", one)
	if err := s.journal.Close(); err != nil {
		t.Fatal(err)
	}
	got := s.post(t, strings.NewReader(structured("2")), "Content-Type", one)
	if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" || !strings.Contains(got.Detail, "stopping") {
		t.Errorf("got %d %q %s", got.Status, got.Header.Get("Retry-After"), got.Detail)
	}
	s.wantMetric(t, "hookline_ingest_events_total", `
		# HELP hookline_ingest_events_total Events published, by result: accepted, duplicate, invalid or failed.
		# TYPE hookline_ingest_events_total counter
		hookline_ingest_events_total{result="accepted"} 1
		hookline_ingest_events_total{result="failed"} 1
	`)
}

func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		append appender
	}{
		"slow": {"the journal has so long and no longer", func(ctx context.Context, _ []journal.Event) ([]journal.Receipt, error) {
			<-ctx.Done()

			return nil, ctx.Err()
		}},
		"broken": {"some may be durable", func(context.Context, []journal.Event) ([]journal.Receipt, error) {
			return nil, errors.New("input/output error on /var/lib/secret-path")
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, func(cfg *ingest.Config) { cfg.Appender, cfg.AppendTimeout = tc.append, 50*time.Millisecond })
			got := s.post(t, strings.NewReader(structured("1")), "Content-Type", one)
			if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" ||
				!strings.Contains(got.Detail, "not known") || strings.Contains(got.Detail, "secret-path") {
				t.Errorf("%s: got %d %s", tc.reason, got.Status, got.Detail)
			}
		})
	}
}

func TestRateLimitIsPerTenant(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	s := newStage(t, func(cfg *ingest.Config) { cfg.Clock, cfg.EventsPerSecond = clock, 100 })
	full := func(from int) string {
		var events []string
		for i := range ingest.MaxBatchEvents {
			events = append(events, structured(fmt.Sprint(from+i)))
		}

		return "[" + strings.Join(events, ",") + "]"
	}
	if got := s.post(t, strings.NewReader(full(0)), "Content-Type", batch); got.Status != http.StatusAccepted {
		t.Fatalf("one full batch may come at once: %d %s", got.Status, got.Detail)
	}
	got := s.post(t, strings.NewReader(structured("x")), "Content-Type", one)
	if got.Status != http.StatusTooManyRequests || got.Header.Get("Retry-After") != "1" {
		t.Errorf("over the rate: %d, Retry-After %q", got.Status, got.Header.Get("Retry-After"))
	}
	got = s.post(t, strings.NewReader(structured("x")), "Content-Type", one, "Authorization", "Bearer "+stranger)
	if got.Status != http.StatusAccepted {
		t.Errorf("another tenant: %d %s", got.Status, got.Detail)
	}
	clock.Advance(time.Second)
	got = s.post(t, strings.NewReader(full(1000)), "Content-Type", batch)
	if got.Status != http.StatusTooManyRequests || got.Header.Get("Retry-After") != "9" {
		t.Errorf("a batch that needs ten seconds after one: %d, Retry-After %q", got.Status, got.Header.Get("Retry-After"))
	}
	if got := s.post(t, strings.NewReader(structured("x")), "Content-Type", one); got.Status != http.StatusAccepted {
		t.Errorf("what was refused costs nothing: %d %s", got.Status, got.Detail)
	}
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(*ingest.Config)
		head   string
	}{
		"requests": {"one at a time", func(cfg *ingest.Config) { cfg.MaxRequests = 1 }, "Content-Type: " + one + "\r\nContent-Length: 10\r\n\r\n"},
		"bytes":    {"one batch's bytes at a time", func(cfg *ingest.Config) { cfg.MaxBytes = 1 }, "Content-Type: " + batch + "\r\nTransfer-Encoding: chunked\r\n\r\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, tc.change)
			var slow []net.Conn
			eventually(t, "the second request is refused", func() bool {
				// The slow one itself is refused where it arrives while the other has the place: then it is sent again.
				slow = append(slow, s.dial(t, tc.head))
				got := s.post(t, strings.NewReader(structured("1")), "Content-Type", one)

				return got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") == "1"
			})
			for _, conn := range slow {
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the place is free again", func() bool {
				return s.post(t, strings.NewReader(structured("1")), "Content-Type", one).Status == http.StatusAccepted
			})
			eventually(t, "no request is under way", func() bool {
				return testutil.CollectAndCount(s.metrics, "hookline_ingest_requests_in_flight") == 1 &&
					testutil.GatherAndCompare(s.metrics, strings.NewReader(`
						# HELP hookline_ingest_requests_in_flight Publishers' requests under way.
						# TYPE hookline_ingest_requests_in_flight gauge
						hookline_ingest_requests_in_flight 0
					`), "hookline_ingest_requests_in_flight") == nil
			})
		})
	}
}

// TestBytesUnderWayAreShared: bodies that one tenant sends slowly leave the others room for theirs.
func TestBytesUnderWayAreShared(t *testing.T) {
	t.Parallel()
	const batches = 4
	s := newStage(t, func(cfg *ingest.Config) { cfg.MaxBytes = batches * ingest.MaxBatchBytes })
	for range 2 * batches {
		s.dial(t, "Content-Type: "+batch+"\r\nTransfer-Encoding: chunked\r\n\r\n")
	}
	eventually(t, "the tenant has its share", func() bool {
		got := s.post(t, io.MultiReader(strings.NewReader("[]")), "Content-Type", batch)

		return got.Status == http.StatusServiceUnavailable && strings.Contains(got.Detail, "bytes")
	})
	got := s.post(t, strings.NewReader(structured("1")), "Content-Type", one, "Authorization", "Bearer "+stranger)
	if got.Status != http.StatusAccepted {
		t.Errorf("another tenant got %d %s", got.Status, got.Detail)
	}
}

func TestEventTypesAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(cfg *ingest.Config) { cfg.MaxEventTypes = 2 })
	event := func(id, kind string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/s","type":"` + kind + `"}`
	}
	got := s.post(t, strings.NewReader("["+event("1", "a")+","+event("2", "b")+","+event("3", "c")+","+event("4", "a")+"]"), "Content-Type", batch)
	var statuses []ingest.Status
	for _, result := range got.Results {
		statuses = append(statuses, result.Status)
	}
	if diff := cmp.Diff([]ingest.Status{"accepted", "accepted", "invalid", "accepted"}, statuses); diff != "" {
		t.Error(diff)
	}
	if got.Status == http.StatusAccepted && !strings.Contains(got.Results[2].Reason, "2 event types") {
		t.Error(got.Results[2].Reason)
	}
	// What the journal knows counts after a restart.
	again := httptest.NewServer(ingest.New(ingest.Config{
		Appender: s.journal, Authenticator: allow{}, Types: ledger.New(s.journal.View(), s.journal.Get), MaxEventTypes: 2,
	}))
	t.Cleanup(again.Close)
	s.url = again.URL
	if got := s.post(t, strings.NewReader(event("5", "c")), "Content-Type", one); got.Status != http.StatusBadRequest {
		t.Errorf("a third type: %d", got.Status)
	}
	if got := s.post(t, strings.NewReader(event("6", "b")), "Content-Type", one); got.Status != http.StatusAccepted {
		t.Errorf("a known type: %d %s", got.Status, got.Detail)
	}
}

// allow lets everyone publish for support.
type allow struct{}

func (allow) Authenticate(*http.Request) (ingest.Principal, error) {
	return ingest.Principal{Tenant: "support", CanPublish: true}, nil
}

// deny is an authenticator that lets nobody publish.
type deny struct {
	principal ingest.Principal
	err       error
}

func (d deny) Authenticate(*http.Request) (ingest.Principal, error) { return d.principal, d.err }

func TestWhoMayNotPublish(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		who    deny
		status int
		kind   string
	}{
		"no right":    {"the credentials are good for something else", deny{principal: ingest.Principal{Tenant: "support"}}, 403, "forbidden"},
		"cannot tell": {"whoever knows is away", deny{err: errors.New("token review: connection refused")}, 503, "unavailable"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, func(cfg *ingest.Config) { cfg.Authenticator = tc.who })
			got := s.post(t, strings.NewReader(structured("1")), "Content-Type", one)
			if got.Status != tc.status || got.Type != "https://hookline.dev/problems/"+tc.kind || strings.Contains(got.Detail, "refused") {
				t.Errorf("%s: got %d %s %s", tc.reason, got.Status, got.Type, got.Detail)
			}
		})
	}
}

// TestConcurrentPublishers holds 202 to its word: what was accepted is in the journal once.
func TestConcurrentPublishers(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	const publishers, each = 8, 25
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		accepted = map[string]int{}
	)
	for range publishers {
		wg.Go(func() {
			for i := range each {
				got := s.post(t, strings.NewReader("["+structured(fmt.Sprint(i))+"]"), "Content-Type", batch)
				mu.Lock()
				for _, result := range got.Results {
					if result.Status == ingest.Accepted {
						accepted[result.ID]++
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	kept := map[string]int{}
	for _, event := range s.events(t) {
		kept[event.ID]++
	}
	if diff := cmp.Diff(accepted, kept); diff != "" || len(kept) != each {
		t.Errorf("(-accepted +kept):\n%s", diff)
	}
}

// TestEventsOutliveTheirRequest holds that nothing an event says changes when the memory its body
// was read into is used again, whatever of the body became part of it.
func TestEventsOutliveTheirRequest(t *testing.T) {
	t.Parallel()

	var (
		mu   sync.Mutex
		kept []journal.Event
	)
	s := newStage(t, func(cfg *ingest.Config) {
		cfg.Appender = appender(func(_ context.Context, events []journal.Event) ([]journal.Receipt, error) {
			mu.Lock()
			defer mu.Unlock()
			kept = append(kept, events...)

			return make([]journal.Receipt, len(events)), nil
		})
	})
	body := func(c string) string {
		many := strings.Repeat(c, 8)

		return `{"specversion":"1.0","id":"` + many + `","source":"/` + many + `","type":"a.` + many + `","subject":"` + many +
			`","partitionkey":"` + many + `","data":{"said":"` + many + `"}}`
	}
	const letters = "abcdefghijklmnopqrstuvwxyz"
	for i := range letters {
		if a := s.post(t, strings.NewReader(body(letters[i:i+1])), "Content-Type", "application/cloudevents+json"); a.Status != http.StatusAccepted {
			t.Fatalf("publishing: %+v", a)
		}
	}
	if len(kept) != len(letters) {
		t.Fatalf("%d events were appended, want %d", len(kept), len(letters))
	}
	for i, event := range kept {
		many := strings.Repeat(letters[i:i+1], 8)
		event.Accepted = time.Time{}
		want := journal.Event{
			Tenant: "support", ID: many, Source: "/" + many, Type: "a." + many, Subject: many, PartitionKey: many,
			Body: []byte(body(letters[i : i+1])),
		}
		if diff := cmp.Diff(want, event); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", i, diff)
		}
	}
}
