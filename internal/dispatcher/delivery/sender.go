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
	"github.com/hookline-dev/hookline/internal/subscription"
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
	// schedule are the waits of the format it was made in; nil where it was rejected.
	schedule Schedule
}

// send posts one event. It always returns: at the attempt's timeout, at the latest.
func (s *sender) send(ctx context.Context, sub *registry.Subscription, event *journal.Event, deliveryID string) exchange {
	started := s.clock.Now()
	how := s.formats.of(sub)
	if how == nil {
		return exchange{ended: started, text: noFormat(sub.Delivery.Format).text, verdict: verdictRejected}
	}
	ctx, cancel := context.WithTimeout(ctx, how.timeoutFor(sub))
	defer cancel()

	x, err := s.exchange(ctx, how, sub, event, deliveryID, started)
	x.ended = s.clock.Now()
	x.latency = x.ended.Sub(started)
	x.verdict, x.schedule = how.judge(x.code), how.schedule
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
	ctx context.Context, how *format, sub *registry.Subscription, event *journal.Event, deliveryID string, now time.Time,
) (exchange, error) {
	request, err := s.request(ctx, how, sub, event, deliveryID, now)
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

// request makes the signed request. The subscription's own headers go first, so that none
// of them can stand in for one of the format's.
func (s *sender) request(
	ctx context.Context, how *format, sub *registry.Subscription, event *journal.Event, deliveryID string, now time.Time,
) (*http.Request, error) {
	body := event.Body
	var vendor http.Header
	if how.notification != nil {
		var err error
		if body, vendor, err = how.render(sub, event, deliveryID, now); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, sub.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	for _, header := range sub.Headers {
		request.Header.Set(header.Name, header.Value)
	}
	switch sub.Authorization.SchemeOrNone() {
	case subscription.SchemeBasic:
		request.SetBasicAuth(sub.Authorization.Username, sub.Authorization.Password)
	case subscription.SchemeBearer:
		request.Header.Set("Authorization", "Bearer "+sub.Authorization.Token)
	case subscription.SchemeNone:
	}
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", s.agent)
	}
	if how.notification != nil {
		setVendor(request.Header, vendor)

		return request, nil
	}
	request.Header.Set("Content-Type", contentType)

	return request, setSignature(request.Header, sub, deliveryID, now, body)
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
