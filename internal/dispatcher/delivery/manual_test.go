package delivery

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"
)

// TestManualAttemptThatIsGivenUp: an attempt that its caller, or the end of the process, breaks
// off says nothing of the endpoint, so no status may tell of it.
func TestManualAttemptThatIsGivenUp(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	endpoint.respond(func(http.ResponseWriter, string, int) { arrived <- struct{}{}; <-release })
	r := newRig(t, func(c *Config) { c.ShutdownGrace = 100 * time.Millisecond })
	t.Cleanup(func() { close(release) })
	id := r.subscribe(endpoint.URL, nil)
	eventually(t, "the engine to run", func() bool { r.engine.mu.Lock(); defer r.engine.mu.Unlock(); return r.engine.accepting })
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	send := func(ctx context.Context) {
		_, err := r.engine.SendTest(ctx, id, "")
		failed <- err
	}
	go send(ctx)
	<-arrived
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("given up by its caller: %v", err)
	}
	go send(t.Context())
	<-arrived
	r.stop()
	if err := <-failed; !errors.Is(err, ErrNotRunning) {
		t.Errorf("broken off by the end: %v", err)
	}
	if rows := r.attempts(id); len(rows) != 0 {
		t.Errorf("%d attempts were recorded, the first %q", len(rows), rows[0].ResponseText)
	}
}

// TestManualWaitsForTheStart asks an engine that has not begun for a test event: requests are served before it has.
func TestManualWaitsForTheStart(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	r.stop()
	r.close()
	r.open()
	asked, sent := make(chan struct{}), make(chan error, 1)
	go func() {
		close(asked)
		_, err := r.engine.SendTest(t.Context(), id, "")
		sent <- err
	}()
	<-asked
	eventually(t, "the test event to wait", func() bool { return len(r.engine.manual) == 1 || len(sent) == 1 })
	r.run()
	if err := <-sent; err != nil {
		t.Errorf("A test event that was asked for before the engine had begun: %v", err)
	}
	endpoint.got(t, 1)
}
