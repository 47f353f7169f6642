package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// startLimit is how long a dispatcher may take until it serves, stopLimit until it is gone
	// after SIGTERM: the 25 s that it promises, and a little for the machine.
	startLimit = 30 * time.Second
	stopLimit  = 27 * time.Second
	pollEvery  = 10 * time.Millisecond
)

// nowhere is a log that nobody reads.
func nowhere() *log.Logger { return log.New(io.Discard, "", 0) }

// build makes the binary of the module that the working folder is in.
func build(ctx context.Context, output string) error {
	text, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("finding the module: %w", err)
	}

	root := filepath.Dir(strings.TrimSpace(string(text)))
	cmd := exec.CommandContext(ctx, "go", "build", "-C", root, "-o", output, ".") //nolint:gosec // The folder is this module's.

	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building hookline: %w: %s", err, text)
	}

	return nil
}

// launcher starts one dispatcher after the other on the same journal and addresses.
type launcher struct {
	binary         string
	data, tokens   string
	listen, health string
	logs           string
	environment    []string
	// schedule are the waits before the attempts; empty is retrySchedule.
	schedule        string
	enclosure       enclosure
	isEnclosed      bool
	starts          int
	slowest, latest time.Duration
}

func (l *launcher) url() string { return "http://" + l.listen }

// arguments make deliveries fail and end soon: a run has minutes, not days.
func (l *launcher) arguments() []string {
	schedule := l.schedule
	if schedule == "" {
		schedule = retrySchedule
	}

	return []string{
		"dispatcher", "--data-dir", l.data, "--tokens-dir", l.tokens, "--listen-address", l.listen,
		"--health-bind-address", l.health, "--allow-private-targets", "127.0.0.0/8", "--delivery-timeout", "1s",
		"--retry-schedule", schedule,
	}
}

// retrySchedule has ten attempts over about ten seconds.
const retrySchedule = "0s,200ms,400ms,800ms,1s,1s,1s,2s,2s,2s"

// process is one run of the dispatcher.
type process struct {
	cmd *exec.Cmd
	// done is closed once it has ended; err, how it ended, is set before.
	done chan struct{}
	err  error
}

// pid is the process's own.
func (p *process) pid() int { return p.cmd.Process.Pid }

// start runs the dispatcher and waits until it serves.
func (l *launcher) start(ctx context.Context) (*process, error) {
	began := time.Now()

	p, err := l.launch()
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()

	for !answersOK(ctx, "http://"+l.health+"/readyz") {
		select {
		case <-p.done:
			return nil, &endedError{err: p.err, log: l.lastWords()}
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for the dispatcher to serve: %w", ctx.Err()), p.kill())
		case <-time.After(pollEvery):
		}
	}

	l.starts++
	l.latest = time.Since(began)
	l.slowest = max(l.slowest, l.latest)

	return p, nil
}

// endedError answers that a dispatcher ended before it served.
type endedError struct {
	err error
	log string
}

// Error implements error.
func (e *endedError) Error() string {
	return fmt.Sprintf("the dispatcher ended before it served: %v: %s", e.err, e.log)
}

// launch runs the dispatcher.
func (l *launcher) launch() (*process, error) {
	var (
		cmd *exec.Cmd
		err error
	)

	if l.isEnclosed {
		in := l.enclosure
		in.Program, in.Args = l.binary, l.arguments()
		cmd, err = enclosed(in)
	} else {
		cmd = exec.CommandContext(context.Background(), l.binary, l.arguments()...) //nolint:gosec // It is what was just built.
		cmd.Env = os.Environ()
	}

	if err != nil {
		return nil, err
	}

	file, err := os.OpenFile(l.logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the dispatcher's log: %w", err)
	}

	defer func() { _ = file.Close() }()

	cmd.Env = append(cmd.Env, l.environment...)
	cmd.Stdout, cmd.Stderr = file, file

	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the dispatcher: %w", err)
	}

	p := &process{cmd: cmd, done: make(chan struct{})}

	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()

	return p, nil
}

// lastWords are the end of the dispatcher's log.
func (l *launcher) lastWords() string {
	const most = 2000

	text, err := os.ReadFile(l.logs)
	if err != nil {
		return err.Error()
	}

	return string(text[max(0, len(text)-most):])
}

// kill ends a process at once, and waits until it is gone.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing the dispatcher: %w", err)
	}

	<-p.done

	return nil
}

// terminate asks a process to end, and expects it to do so in time and well.
func (p *process) terminate() (time.Duration, error) {
	began := time.Now()

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, fmt.Errorf("terminating the dispatcher: %w", err)
	}

	select {
	case <-p.done:
		if p.err != nil {
			return time.Since(began), fmt.Errorf("the dispatcher ended after SIGTERM with %w", p.err)
		}

		return time.Since(began), nil
	case <-time.After(stopLimit):
		return time.Since(began), errors.Join(fmt.Errorf("the dispatcher did not end within %s after SIGTERM", stopLimit), p.kill())
	}
}

// ended tells whether a process that should run has ended.
func (p *process) ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// prober asks for health, over a connection of its own each time.
var prober = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func answersOK(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}

	response, err := prober.Do(request)
	if err != nil {
		return false
	}

	defer func() { _ = response.Body.Close() }()

	return response.StatusCode == http.StatusOK
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := listenLoopback(ctx)
	if err != nil {
		return "", err
	}

	defer func() { _ = listener.Close() }()

	return listener.Addr().(*net.TCPAddr).String(), nil //nolint:forcetypeassert // It is a TCP listener.
}

// faultsIn finds what no log of a sound dispatcher holds.
func faultsIn(path string) (found []string, errorLines int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the dispatcher's log: %w", err)
	}

	for line := range bytes.Lines(text) {
		for _, mark := range []string{"panic:", "fatal error:", "DATA RACE", `"panic"`, "superfluous response.WriteHeader"} {
			if bytes.Contains(line, []byte(mark)) {
				found = append(found, string(bytes.TrimSpace(line)))
			}
		}

		if bytes.Contains(line, []byte(`"level":"ERROR"`)) {
			errorLines++
		}
	}

	return found, errorLines, nil
}
