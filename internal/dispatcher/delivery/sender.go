package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

const (
	// DefaultTimeout bounds one attempt, from dial to the response's end.
	DefaultTimeout = 15 * time.Second
	// contentType is that of a CloudEvent in structured mode.
	contentType = "application/cloudevents+json"
	// maxDrain is how much of a response's body is read, so that its connection can be used
	// again; a longer body costs the receiver the connection.
	maxDrain = 64 << 10
)

// sender makes attempts.
type sender struct {
	transport *http.Transport
	clock     clockwork.Clock
	agent     string
	formats   formats
}

// exchange is one attempt's answer.
type exchange struct {
	ended   time.Time
	latency time.Duration
	// code is 0 where there was no response.
	code       int
	text       string
	body       []byte
	retryAfter time.Duration
	denied     bool
	verdict    verdict
	// first is when the delivery's first attempt began, zero where the format does not tell it.
	first time.Time
	// schedule are the waits of the format it was made in; nil where it was rejected.
	schedule Schedule
}

// wire prepares the requests to a subscription.
func (s *sender) wire(sub *registry.Subscription) *wire {
	return newWire(sub, s.formats.of(sub), s.agent)
}

// send makes one attempt at an event. It always returns: at the attempt's timeout, at the latest.
func (s *sender) send(ctx context.Context, sub *registry.Subscription, event *journal.Event, deliveryID string) exchange {
	w := s.wire(sub)
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()

	return s.attempt(ctx, w, event, deliveryID, time.Time{})
}

// attempt posts one event. The context ends with the attempt's timeout. A zero first says that this is the
// delivery's first attempt.
func (s *sender) attempt(ctx context.Context, w *wire, event *journal.Event, deliveryID string, first time.Time) exchange {
	started, how := s.clock.Now(), w.how
	if first.IsZero() {
		first = started
	}
	if how == nil {
		return exchange{ended: started, text: noFormat(w.sub.Delivery.Format).text, verdict: verdictRejected}
	}
	x, err := s.exchange(ctx, w, event, deliveryID, moments{first: first, now: started})
	x.ended = s.clock.Now()
	x.latency = x.ended.Sub(started)
	x.verdict, x.schedule = how.judge(x.code), how.schedule
	if how.notification != nil {
		x.first = first
	}
	if err != nil {
		x.text = explain(err)
		x.denied = errors.Is(err, ErrTargetDenied)
	}
	if rejected, ok := errors.AsType[*rejection](err); ok {
		x.text, x.latency, x.verdict = rejected.text, 0, verdictRejected
	}

	return x
}

func (s *sender) exchange(
	ctx context.Context, w *wire, event *journal.Event, deliveryID string, at moments,
) (exchange, error) {
	request, err := w.signed(ctx, event, deliveryID, at)
	if err != nil {
		return exchange{}, err
	}
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return exchange{}, fmt.Errorf("posting the event: %w", err)
	}
	defer func() { _ = response.Body.Close() }()

	x := exchange{code: response.StatusCode, text: http.StatusText(response.StatusCode)}
	if honoursRetryAfter(x.code) {
		x.retryAfter = RetryAfter(response.Header.Get("Retry-After"), s.clock.Now())
	}
	if x.code != http.StatusSwitchingProtocols {
		// The body of a 101 is the bare connection, which no deadline ends.
		x.body = readBody(response.Body)
	}

	return x, nil
}

// readBody keeps the body's beginning, of which the journal may keep less, and reads on to
// maxDrain. The status has decided the attempt already, so a body that breaks off or never
// ends within the deadline changes nothing but that its connection is not used again.
func readBody(body io.Reader) []byte {
	if body == http.NoBody {
		return nil
	}
	buffer := bodies.Get().(*[journal.MaxFailureBody]byte) //nolint:forcetypeassert // The pool's own.
	defer bodies.Put(buffer)
	n, err := io.ReadFull(body, buffer[:])
	if err == nil {
		_, _ = io.CopyN(io.Discard, body, maxDrain-journal.MaxFailureBody)
	}
	if n == 0 {
		return nil
	}

	return bytes.Clone(buffer[:n])
}

// bodies are buffers for what is read of responses, most of which say little.
var bodies = sync.Pool{New: func() any { return new([journal.MaxFailureBody]byte) }}
