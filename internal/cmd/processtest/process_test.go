package processtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	token = "a-token-of-the-tests-with-more-than-32-characters"
	// limit bounds every wait; on a loaded machine the process may take a while to start.
	limit = 60 * time.Second
	poll  = 20 * time.Millisecond
)

// binary builds hookline once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hookline-processtest-")
	if err != nil {
		return "", err
	}

	path := filepath.Join(dir, "hookline")

	return path, Build(context.Background(), ".", path)
})

func TestMain(m *testing.M) {
	code := m.Run()

	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}

	os.Exit(code)
}

// process is one run of hookline dispatcher.
type process struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan error
	url  string
}

// world is a journal with its tokens and addresses, on which processes follow one another.
type world struct {
	t                    *testing.T
	binary, data, tokens string
	listen, health       string
}

func newWorld(t *testing.T) *world {
	t.Helper()

	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}

	w := &world{t: t, binary: path, data: filepath.Join(t.TempDir(), "journal"), tokens: t.TempDir()}
	if err := os.WriteFile(filepath.Join(w.tokens, "acme.admin"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	w.listen, w.health = freeAddress(t), freeAddress(t)

	return w
}

func freeAddress(t *testing.T) string {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()

	return listener.Addr().String()
}

// start runs the binary and waits until it is ready.
func (w *world) start() *process {
	w.t.Helper()

	p := &process{log: &bytes.Buffer{}, done: make(chan error, 1), url: "http://" + w.listen}
	p.cmd = exec.Command(w.binary, "dispatcher",
		"--data-dir", w.data, "--tokens-dir", w.tokens, "--listen-address", w.listen, "--health-bind-address", w.health,
		"--allow-private-targets", "127.0.0.0/8", "--retry-schedule", "0s,100ms,200ms,400ms,800ms,1s,1s,1s")
	p.cmd.Stderr = p.log

	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}

	go func() { p.done <- p.cmd.Wait() }()

	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
	})

	w.eventually("the process to be ready", func() bool {
		select {
		case err := <-p.done:
			w.t.Fatalf("the process ended: %v\n%s", err, p.log)
		default:
		}

		response, err := http.Get("http://" + w.health + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()

		return response.StatusCode == http.StatusOK
	})

	return p
}

// end sends a signal and waits for the process to be gone.
func (w *world) end(p *process, signal syscall.Signal) error {
	w.t.Helper()

	if err := p.cmd.Process.Signal(signal); err != nil {
		w.t.Fatal(err)
	}

	select {
	case err := <-p.done:
		return err
	case <-time.After(limit):
		w.t.Fatalf("the process did not end on %s", signal)

		return nil
	}
}

func (w *world) eventually(what string, ready func() bool) {
	w.t.Helper()

	deadline := time.After(limit)
	ticker := time.NewTicker(poll)

	defer ticker.Stop()

	for !ready() {
		select {
		case <-deadline:
			w.t.Fatalf("waited %s for %s", limit, what)
		case <-ticker.C:
		}
	}
}

// call sends a request with the tenant's token and returns the answer.
func call(ctx context.Context, method, url, contentType string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}

	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", contentType)

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()

	answer, err := io.ReadAll(response.Body)

	return response.StatusCode, answer, err
}

// subscribe makes a subscription over the native API and returns its id.
func (w *world) subscribe(p *process, name, url string, events ...string) string {
	w.t.Helper()

	body, err := json.Marshal(map[string]any{"name": name, "url": url, "events": events})
	if err != nil {
		w.t.Fatal(err)
	}

	status, answer, err := call(w.t.Context(), http.MethodPost, p.url+"/webhooks/subscriptions", "application/json", body)
	if err != nil || status/100 != 2 {
		w.t.Fatalf("creating a subscription: %d %s %v", status, answer, err)
	}

	var created struct {
		SubscriptionID string `json:"subscriptionId"`
		Secret         string `json:"secret"`
	}
	if err := json.Unmarshal(answer, &created); err != nil || created.SubscriptionID == "" || created.Secret == "" {
		w.t.Fatalf("reading the created subscription: %s: %v", answer, err)
	}

	return created.SubscriptionID
}

// publish posts a batch and returns the ids that were accepted.
func publish(ctx context.Context, p *process, eventType string, ids []string) ([]string, error) {
	type event struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		Data        any    `json:"data"`
	}

	batch := make([]event, 0, len(ids))
	for _, id := range ids {
		batch = append(batch, event{"1.0", id, "/test", eventType, map[string]string{"id": id}})
	}

	body, err := json.Marshal(batch)
	if err != nil {
		return nil, err
	}

	status, answer, err := call(ctx, http.MethodPost, p.url+"/events", "application/cloudevents-batch+json", body)
	if err != nil {
		return nil, err
	}
	if status != http.StatusAccepted {
		return nil, fmt.Errorf("publishing: %d %s", status, answer)
	}

	var results struct {
		Results []struct {
			ID     string `json:"id"`
			Status string `json:"status"`
		} `json:"results"`
	}
	if err := json.Unmarshal(answer, &results); err != nil {
		return nil, err
	}

	var accepted []string
	for _, result := range results.Results {
		if result.Status == "accepted" || result.Status == "duplicate" {
			accepted = append(accepted, result.ID)
		}
	}

	return accepted, nil
}

// receiver counts deliveries by the id of their event. While it is shut, requests wait.
type receiver struct {
	url string

	mu      sync.Mutex
	gate    chan struct{}
	arrived map[string]int
	waiting int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	r := &receiver{url: "http://" + listener.Addr().String() + "/hook", arrived: map[string]int{}}
	r.open()

	server := &http.Server{Handler: r, ReadHeaderTimeout: limit}

	go func() { _ = server.Serve(listener) }()

	t.Cleanup(func() { _ = server.Close() })

	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var event struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(req.Body).Decode(&event); err != nil {
		http.Error(w, "not an event", http.StatusBadRequest)

		return
	}

	r.mu.Lock()
	gate := r.gate
	r.waiting++
	r.mu.Unlock()

	select {
	case <-gate:
	case <-req.Context().Done():
		return
	}

	r.mu.Lock()
	defer r.mu.Unlock()

	r.arrived[event.ID]++
}

// shut makes requests wait from now on; open lets them through.
func (r *receiver) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()

	r.gate, r.waiting = make(chan struct{}), 0
}

func (r *receiver) open() {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.gate == nil {
		r.gate = make(chan struct{})
	}

	select {
	case <-r.gate:
	default:
		close(r.gate)
	}
}

// missing are the ids that have not arrived; duplicates how many arrived again.
func (r *receiver) missing(ids []string) (missing []string, duplicates int) {
	r.mu.Lock()
	defer r.mu.Unlock()

	for _, id := range ids {
		if count := r.arrived[id]; count > 0 {
			duplicates += count - 1
		} else {
			missing = append(missing, id)
		}
	}

	return missing, duplicates
}

func (r *receiver) waitingNow() int {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.waiting
}

// TestKilledBetweenPublishAndDelivery kills the process ten times after it acknowledged
// events and before their receiver accepted any of them.
func TestKilledBetweenPublishAndDelivery(t *testing.T) {
	const (
		rounds = 10
		batch  = 100
	)

	w := newWorld(t)
	r := newReceiver(t)
	p := w.start()
	w.subscribe(p, "orders", r.url, "order.*")

	var all []string

	for round := range rounds {
		r.shut()

		ids := make([]string, batch)
		for i := range ids {
			ids[i] = fmt.Sprintf("round-%d-%d", round, i)
		}

		accepted, err := publish(t.Context(), p, "order.created.v1", ids)
		if err != nil || len(accepted) != batch {
			t.Fatalf("round %d: accepted %d of %d: %v", round, len(accepted), batch, err)
		}

		// In every second round attempts are under way when the process dies, in the others it
		// dies as soon as it has answered.
		if round%2 == 0 {
			w.eventually("an attempt to be under way", func() bool { return r.waitingNow() > 0 })
		}

		if err := w.end(p, syscall.SIGKILL); err == nil {
			t.Fatal("a killed process ended without an error")
		}

		if missing, _ := r.missing(accepted); len(missing) != batch {
			t.Fatalf("round %d: %d events arrived before the kill; none may have", round, batch-len(missing))
		}

		r.open()

		p = w.start()
		all = append(all, accepted...)

		w.eventually("every accepted event to arrive", func() bool {
			missing, _ := r.missing(all)

			return len(missing) == 0
		})
	}

	_, duplicates := r.missing(all)
	t.Logf("%d events accepted, all delivered, %d delivered again", len(all), duplicates)
}

// TestTerminated: SIGTERM ends the process in good order, and what was accepted arrives.
func TestTerminated(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	p := w.start()
	w.subscribe(p, "orders", r.url, "*")
	r.shut()

	accepted, err := publish(t.Context(), p, "order.created.v1", []string{"a", "b", "c"})
	if err != nil || len(accepted) != 3 {
		t.Fatalf("accepted %v: %v", accepted, err)
	}

	w.eventually("an attempt to be under way", func() bool { return r.waitingNow() > 0 })

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	// The process waits for the attempt under way; accepting has ended meanwhile.
	w.eventually("publishing to be refused", func() bool {
		_, err := publish(t.Context(), p, "order.created.v1", []string{"late"})

		return err != nil
	})
	r.open()

	select {
	case err := <-p.done:
		if err != nil {
			t.Fatalf("the process ended with %v\n%s", err, p.log)
		}
	case <-time.After(limit):
		t.Fatal("the process did not end")
	}

	w.start()
	w.eventually("every accepted event to arrive", func() bool {
		missing, _ := r.missing(accepted)

		return len(missing) == 0
	})
}

// TestTerminatedWhileAReceiverHangs: a receiver that does not answer holds the process up for
// 25 s at the most, and its delivery is made again by the next process.
func TestTerminatedWhileAReceiverHangs(t *testing.T) {
	const bound = 25 * time.Second

	w := newWorld(t)
	r := newReceiver(t)
	p := w.start()
	id := w.subscribe(p, "orders", r.url, "*")

	// An attempt may then take longer than the process may.
	status, answer, err := call(t.Context(), http.MethodPatch, p.url+"/webhooks/subscriptions/"+id, "application/json",
		[]byte(`{"delivery":{"timeout":"60s"}}`))
	if err != nil || status != http.StatusOK {
		t.Fatalf("changing the subscription: %d %s %v", status, answer, err)
	}

	r.shut()

	accepted, err := publish(t.Context(), p, "order.created.v1", []string{"a", "b", "c"})
	if err != nil || len(accepted) != 3 {
		t.Fatalf("accepted %v: %v", accepted, err)
	}

	// An endpoint that has accepted nothing yet gets few attempts at once; the rest wait for their turn.
	w.eventually("attempts to be under way", func() bool { return r.waitingNow() >= 2 })

	began := time.Now()
	if err := w.end(p, syscall.SIGTERM); err != nil {
		t.Fatalf("the process ended with %v\n%s", err, p.log)
	}

	if took := time.Since(began); took > bound {
		t.Errorf("the process took %s to end: the most is %s", took, bound)
	}

	r.open()
	w.start()
	w.eventually("every accepted event to arrive", func() bool {
		missing, _ := r.missing(accepted)

		return len(missing) == 0
	})
}

// TestSecondProcess: two processes never share a journal.
func TestSecondProcess(t *testing.T) {
	w := newWorld(t)
	w.start()

	output, err := exec.Command(w.binary, "dispatcher", "--data-dir", w.data, "--tokens-dir", w.tokens,
		"--listen-address", freeAddress(t), "--health-bind-address", freeAddress(t)).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "another process") {
		t.Fatalf("a second process on the same journal: %v\n%s", err, output)
	}
}

// TestUsage: a wrong command line is explained, with the exit code for it.
func TestUsage(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}

	cases := map[string]struct {
		reason string
		args   []string
		want   string
	}{
		"nothing":   {reason: "the commands are listed", want: "Commands:"},
		"unknown":   {reason: "the word is named", args: []string{"everything"}, want: `unknown command "everything"`},
		"no folder": {reason: "the flag is named", args: []string{"dispatcher"}, want: "--data-dir: is not set"},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(path, tc.args...)

			output, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(output), tc.want) {
				t.Errorf("%s: exit code %d: %s", tc.reason, cmd.ProcessState.ExitCode(), output)
			}
		})
	}
}
