package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	// token is good for publishing and administering; it opens nothing but the benchmark's own subjects.
	token = "bench-bench-bench-bench-bench-bench-bench"
	// startTimeout and stopTimeout bound the start and the end of a subject.
	startTimeout = 60 * time.Second
	stopTimeout  = 40 * time.Second
	// startedMessage is the log line that names the address a subject listens on.
	startedMessage = "Started the dispatcher"
	// creators is how many subscriptions are created at once.
	creators = 64
	// keptLines is how much of a subject's log an error shows.
	keptLines = 20
	// noLimit is more than any load publishes in a second.
	noLimit = "10000000"
)

// kind is what a subject is.
type kind string

// The kinds of subjects, by the names the tables have.
const (
	// kindHookline is the real binary, hookline dispatcher.
	kindHookline kind = "hookline"
	// kindBare takes publishes and posts them on.
	kindBare kind = "bare"
	// kindDiscard is the dispatcher's parts with a journal that keeps nothing.
	kindDiscard kind = "discard"
	// kindEmbedded is the dispatcher's parts put together here, so that the file system, the
	// jitter and the profiler are ours to choose.
	kindEmbedded kind = "embedded"
)

// subjectOptions say how a subject is started.
type subjectOptions struct {
	kind kind
	// name is what the tables call it; omitted: the kind.
	name string
	// dataDir is the journal's folder; omitted: a new one.
	dataDir string
	// schedule are the delays before each attempt; omitted: the default.
	schedule string
	// fsyncDelay is added to each fsync; for kindEmbedded alone.
	fsyncDelay time.Duration
	// cpuProfile is the file the process writes; for roles alone.
	cpuProfile string
}

// subject is a process that is measured.
type subject struct {
	name    string
	kind    kind
	address string
	// readyAfter is how long it took from its start until it served.
	readyAfter time.Duration
	dataDir    string

	cmd    *exec.Cmd
	done   chan struct{}
	mu     sync.Mutex
	ended  error
	lines  []string
	closed bool
}

// tokensDir is where the subjects read tokens.
func (b *bench) tokensDir() string { return filepath.Join(b.work, "tokens") }

func writeTokens(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of the tokens: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, tenant+".admin"), []byte(token+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the tokens: %w", err)
	}

	return nil
}

// build builds the hookline that is measured, unless it was named.
func (b *bench) build(ctx context.Context) error {
	if b.binary != "" {
		return nil
	}

	b.sayf("building hookline")

	binary := filepath.Join(b.work, "hookline")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")

	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building hookline: run the benchmark from the root of the repository: %w: %s", err, text)
	}

	b.binary = binary

	return nil
}

// newDataDir is a folder for one more journal.
func (b *bench) newDataDir() string {
	b.journals++

	return filepath.Join(b.work, "journal-"+strconv.Itoa(b.journals))
}

// launch starts a subject and waits until it serves.
func (b *bench) launch(ctx context.Context, o subjectOptions) (*subject, error) {
	if o.name == "" {
		o.name = string(o.kind)
	}
	if o.dataDir == "" {
		o.dataDir = b.newDataDir()
	}

	path, args, err := b.command(o)
	if err != nil {
		return nil, err
	}

	s := &subject{name: o.name, kind: o.kind, dataDir: o.dataDir, done: make(chan struct{})}
	s.cmd = exec.CommandContext(ctx, path, args...) //nolint:gosec // The caller names it, or it is this program.
	s.cmd.Env = append(os.Environ(), "GOMEMLIMIT="+b.memoryLimit)
	s.cmd.SysProcAttr = childAttributes()

	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", o.name, err)
	}

	began := time.Now()

	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", o.name, err)
	}

	started := make(chan string, 1)

	go s.follow(stderr, started)

	select {
	case s.address = <-started:
		s.readyAfter = time.Since(began)

		return s, nil
	case <-s.done:
		return nil, fmt.Errorf("starting %s: %w", o.name, s.failed())
	case <-time.After(startTimeout):
		return nil, errors.Join(fmt.Errorf("starting %s: it does not serve within %s", o.name, startTimeout), s.kill())
	}
}

// command is the command line of a subject.
func (b *bench) command(o subjectOptions) (path string, args []string, err error) {
	if o.kind == kindHookline {
		args = []string{
			"dispatcher", "--listen-address", "127.0.0.1:0", "--health-bind-address", "127.0.0.1:0",
			"--data-dir", o.dataDir, "--tokens-dir", b.tokensDir(), "--allow-private-targets", "127.0.0.0/8",
			"--publish-rate", noLimit,
		}
		if o.schedule != "" {
			args = append(args, "--retry-schedule", o.schedule)
		}

		return b.binary, args, nil
	}

	path, err = os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("finding this program: %w", err)
	}

	return path, []string{
		roleCommand, "-kind", string(o.kind), "-data-dir", o.dataDir, "-tokens-dir", b.tokensDir(),
		"-port", strconv.Itoa(b.receiver.port), "-fsync-delay", o.fsyncDelay.String(),
		"-retry-schedule", o.schedule, "-cpu-profile", o.cpuProfile,
	}, nil
}

// follow reads the log until the process ends.
func (s *subject) follow(stderr io.Reader, started chan<- string) {
	defer close(s.done)

	scanner := bufio.NewScanner(stderr)
	scanner.Buffer(nil, 1<<20)

	for scanner.Scan() {
		var line struct {
			Msg     string `json:"msg"`
			Address string `json:"address"`
		}
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Msg == startedMessage {
			select {
			case started <- line.Address:
			default:
			}
		}

		s.mu.Lock()
		s.lines = append(s.lines[max(0, len(s.lines)-keptLines+1):], scanner.Text())
		s.mu.Unlock()
	}

	// What is left is read, so that the process does not block on a line that was too long.
	_, _ = io.Copy(io.Discard, stderr)
	err := s.cmd.Wait()

	s.mu.Lock()
	defer s.mu.Unlock()

	s.ended = fmt.Errorf("the process ended (%w): %s", errors.Join(err, errEnded), strings.Join(s.lines, "\n"))
}

var errEnded = errors.New("nobody asked it to")

// failed is why the process has ended; nil while it runs.
func (s *subject) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.closed {
		return nil
	}

	return s.ended
}

// stop ends the process as a supervisor does, and waits for it.
func (s *subject) stop() error { return s.end(syscall.SIGTERM) }

// kill ends it at once.
func (s *subject) kill() error { return s.end(syscall.SIGKILL) }

func (s *subject) end(signal os.Signal) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()

		return nil
	}
	s.closed = true
	s.mu.Unlock()

	// An error means that it is gone.
	_ = s.cmd.Process.Signal(signal)

	select {
	case <-s.done:
		return nil
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.done

		return fmt.Errorf("stopping %s: it did not end within %s", s.name, stopTimeout)
	}
}

// publishURL is where events are published. bare has no subscriptions, so it is told the fan-out.
func (s *subject) publishURL(fanOut int) string {
	if s.kind == kindBare {
		return "http://" + s.address + "/events?" + fanOutParam + "=" + strconv.Itoa(fanOut)
	}

	return "http://" + s.address + "/events"
}

// client is the API of a subject that has one.
func (s *subject) client(ctx context.Context) (*native.Client, error) {
	client, err := native.NewClient(ctx, native.ClientConfig{
		BaseURL:   "http://" + s.address,
		Token:     func(context.Context) (string, error) { return token, nil },
		Transport: &http.Transport{MaxIdleConnsPerHost: creators},
	})
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", s.name, err)
	}

	return client, nil
}

// draft is the i-th subscription.
func draft(port, i int) subscription.Draft {
	return subscription.Draft{
		Name: fmt.Sprintf("bench-%05d", i), URL: endpointURL(port, i), Enabled: true,
		Events: []string{fmt.Sprintf(typeOne, i), fmt.Sprintf(typeTen, i/tenfold)},
	}
}

// subscribe creates subscriptions by the API. A bare subject has none.
func (b *bench) subscribe(ctx context.Context, s *subject, count int) error {
	if s.kind == kindBare {
		return nil
	}

	client, err := s.client(ctx)
	if err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(creators)

	for i := range count {
		group.Go(func() error {
			if _, err := client.Create(ctx, draft(b.receiver.port, i)); err != nil {
				return fmt.Errorf("creating subscription %d at %s: %w", i, s.name, err)
			}

			return nil
		})
	}

	return group.Wait() //nolint:wrapcheck // Wrapped above.
}

// launchWith starts a subject with subscriptions.
func (b *bench) launchWith(ctx context.Context, o subjectOptions, subscriptions int) (*subject, error) {
	s, err := b.launch(ctx, o)
	if err != nil {
		return nil, err
	}

	if err := b.subscribe(ctx, s, subscriptions); err != nil {
		return nil, errors.Join(err, s.kill())
	}

	return s, nil
}
