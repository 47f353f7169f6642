package ingest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dispatcher/deadline"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Defaults of Config and the waits that answers ask for.
const (
	// DefaultEventsPerSecond is how many events a tenant may publish in a second. A second's
	// worth, and at least one full batch, may come at once.
	DefaultEventsPerSecond = 20_000
	// DefaultMaxRequests is how many requests may be under way at once.
	DefaultMaxRequests = 512
	// DefaultMaxBytes is how many bytes of bodies may be under way at once.
	DefaultMaxBytes = 128 << 20
	// DefaultBodyTimeout is how long a body may take to arrive.
	DefaultBodyTimeout = 10 * time.Second
	// DefaultAppendTimeout is how long the journal may take.
	DefaultAppendTimeout = 10 * time.Second
	// BusyRetryAfter is asked for with 503.
	BusyRetryAfter = time.Second
	// FullRetryAfter is asked for with 507.
	FullRetryAfter = 30 * time.Second
	// logEvery spaces the log lines about a journal that does not take events.
	logEvery = 10 * time.Second
)

// Appender makes events durable; journal.Journal is one.
type Appender interface {
	Append(ctx context.Context, events []journal.Event) ([]journal.Receipt, error)
}

// Config is what a Handler is made of. Appender and Authenticator must be set; zero values of
// the rest stand for the defaults.
type Config struct {
	Appender      Appender
	Authenticator Authenticator
	// Types are the event types the journal knows, for the limit of types per tenant; nil starts
	// from none.
	Types   TypeSource
	Clock   clockwork.Clock
	Log     *slog.Logger
	Metrics prometheus.Registerer

	// EventsPerSecond is the rate limit per tenant; negative means none.
	EventsPerSecond float64
	// MaxRequests and MaxBytes bound what is under way at once. MaxBytes is at least MaxBatchBytes.
	MaxRequests int
	MaxBytes    int64
	// BodyTimeout bounds how long a body may take to arrive, AppendTimeout how long the journal may.
	BodyTimeout   time.Duration
	AppendTimeout time.Duration
	// MaxEventTypes bounds the event types of one tenant.
	MaxEventTypes int
}

// Status is what became of one event.
type Status string

// The statuses.
const (
	// Accepted: it is durable.
	Accepted Status = "accepted"
	// Duplicate: an event of the same source and id was accepted within journal.DuplicateWindow
	// before, or earlier in the same batch; that one is durable.
	Duplicate Status = "duplicate"
	// Invalid: it was refused, for Reason.
	Invalid Status = "invalid"
	// Failed: the dispatcher could not take it; send it again.
	Failed Status = "failed"
)

// Result tells what became of one event. Results stand in the order of the request's events.
type Result struct {
	// ID and Source are the event's, where they could be told.
	ID     string `json:"id,omitempty"`
	Source string `json:"source,omitempty"`
	Status Status `json:"status"`
	// Reason says what is wrong and how to mend it; set for Invalid and Failed.
	Reason string `json:"reason,omitempty"`
}

// response is the body of a 202.
type response struct {
	Results []Result `json:"results"`
}

// Handler serves POST /events. It keeps nothing between requests but counts, and has no
// goroutines.
type Handler struct {
	cfg     Config
	metrics *metrics
	types   *typeBook
	slots   *semaphore.Weighted
	places  *places
	bytes   *semaphore.Weighted
	shares  *places
	noisy   rate.Sometimes

	mu       sync.Mutex
	limiters map[string]*rate.Limiter

	// deadlines are for the journal's time. They end with nobody's request: what has been taken is appended,
	// also where the publisher has gone meanwhile.
	deadlines sync.Pool
}

// New is the handler of POST /events.
func New(cfg Config) *Handler {
	if cfg.Clock == nil {
		cfg.Clock = clockwork.NewRealClock()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&cfg.EventsPerSecond, DefaultEventsPerSecond)
	setDefault(&cfg.MaxRequests, DefaultMaxRequests)
	setDefault(&cfg.MaxBytes, DefaultMaxBytes)
	cfg.MaxBytes = max(cfg.MaxBytes, MaxBatchBytes)
	setDefault(&cfg.BodyTimeout, DefaultBodyTimeout)
	setDefault(&cfg.AppendTimeout, DefaultAppendTimeout)
	setDefault(&cfg.MaxEventTypes, MaxEventTypes)

	return &Handler{
		cfg:      cfg,
		metrics:  newMetrics(cfg.Metrics),
		types:    newTypeBook(cfg.Types, cfg.MaxEventTypes),
		slots:    semaphore.NewWeighted(int64(cfg.MaxRequests)),
		places:   newPlaces(int64(cfg.MaxRequests)),
		bytes:    semaphore.NewWeighted(cfg.MaxBytes),
		shares:   newPlaces(cfg.MaxBytes),
		noisy:    rate.Sometimes{Interval: logEvery},
		limiters: map[string]*rate.Limiter{},

		deadlines: sync.Pool{New: func() any { return deadline.New(context.Background()) }},
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := h.cfg.Clock.Now()
	h.metrics.inFlight.Inc()
	defer h.metrics.inFlight.Dec()

	results, err := h.publish(w, r)
	if err == nil {
		h.metrics.count(results)
		writeJSON(w, http.StatusAccepted, jsonMediaType, response{Results: results})
		h.metrics.answered(http.StatusAccepted, h.cfg.Clock.Since(began))

		return
	}
	var refusal *problem
	if !errors.As(err, &refusal) {
		refusal = busy("try again")
	}
	h.metrics.count(refusal.Results)
	refusal.write(w)
	h.metrics.answered(refusal.Status, h.cfg.Clock.Since(began))
}

// publish does the work. Every error is a *problem.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request) ([]Result, error) {
	if r.Method != http.MethodPost {
		return nil, newProblem(http.StatusMethodNotAllowed, "method-not-allowed", "The method is not allowed",
			"events are published with POST").with("Allow", http.MethodPost)
	}
	if !h.slots.TryAcquire(1) {
		return nil, busy("%d requests are under way, which is the most", h.cfg.MaxRequests)
	}
	defer h.slots.Release(1)

	tenant, err := h.authenticate(r)
	if err != nil {
		return nil, err
	}
	if !h.places.enter(tenant, 1) {
		return nil, busy("this tenant has as many requests under way as the others leave room for")
	}
	defer h.places.leave(tenant, 1)
	// A tenant over its rate is told before its body costs anything.
	if err := h.spend(tenant, 0); err != nil {
		return nil, err
	}
	events, release, err := h.receive(w, r, tenant)
	defer release()
	if err != nil {
		return nil, err
	}
	if err := h.spend(tenant, len(events)); err != nil {
		return nil, err
	}

	within := h.deadlines.Get().(*deadline.Deadline) //nolint:forcetypeassert // The pool's own.
	defer func() {
		within.End()
		h.deadlines.Put(within)
	}()

	return h.take(within.Begin(h.cfg.AppendTimeout), tenant, events)
}

// authenticate tells the tenant of a request that may publish.
func (h *Handler) authenticate(r *http.Request) (string, error) {
	principal, err := h.cfg.Authenticator.Authenticate(r)
	var refused *subscription.AuthError
	switch {
	case errors.As(err, &refused) && !refused.Forbidden:
		challenge := `Bearer realm="hookline"`
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
		}

		return "", newProblem(http.StatusUnauthorized, "unauthorized", "The credentials were not accepted",
			"%s", refused.Message).with("WWW-Authenticate", challenge)
	case errors.As(err, &refused):
		return "", forbidden(refused.Message)
	case err != nil:
		h.noisy.Do(func() { h.cfg.Log.Error("Could not tell who a request speaks for", "error", err) })

		return "", busy("it could not be told who publishes")
	case !principal.CanPublish:
		return "", forbidden("this token may not publish: use one of the tenant's .publish file")
	}

	return principal.Tenant, nil
}

func forbidden(detail string) *problem {
	return newProblem(http.StatusForbidden, "forbidden", "The credentials do not allow this", "%s", detail).
		with("WWW-Authenticate", `Bearer realm="hookline", error="insufficient_scope"`)
}

// spend takes events off the tenant's allowance; 0 asks whether there is any.
func (h *Handler) spend(tenant string, events int) error {
	if h.cfg.EventsPerSecond < 0 {
		return nil
	}
	now := h.cfg.Clock.Now()
	reservation := h.limiter(tenant).ReserveN(now, max(1, events))
	wait := reservation.DelayFrom(now)
	if wait > 0 || events == 0 {
		reservation.CancelAt(now)
	}
	if wait > 0 {
		return newProblem(http.StatusTooManyRequests, "too-many-requests", "The tenant publishes too fast",
			"the most is %g events in a second", h.cfg.EventsPerSecond).after(wait)
	}

	return nil
}

func (h *Handler) limiter(tenant string) *rate.Limiter {
	h.mu.Lock()
	defer h.mu.Unlock()
	limiter, ok := h.limiters[tenant]
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(h.cfg.EventsPerSecond), max(MaxBatchEvents, int(h.cfg.EventsPerSecond)))
		h.limiters[tenant] = limiter
	}

	return limiter
}

// receive reads and decodes a request's events. They share the body's memory, which is held
// until release; that is never nil.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, tenant string) ([]Decoded, func(), error) {
	none := func() {}
	mode, err := ModeOf(r.Header)
	if err != nil {
		return nil, none, err
	}
	limit := mode.MaxBody()
	held := limit
	if r.ContentLength >= 0 && r.ContentLength < limit && r.Header.Get("Content-Encoding") == "" {
		held = r.ContentLength
	}
	if !h.shares.enter(tenant, held) {
		return nil, none, busy("this tenant has as many bytes of events under way as the others leave room for")
	}
	if !h.bytes.TryAcquire(held) {
		h.shares.leave(tenant, held)

		return nil, none, busy("%d bytes of events are under way, which is the most", h.cfg.MaxBytes)
	}
	body := bodies.Get().(*bytes.Buffer) //nolint:forcetypeassert // The pool's own.
	release := func() {
		releaseBody(body)
		h.bytes.Release(held)
		h.shares.leave(tenant, held)
	}
	if err := readBody(body, w, r, limit, h.cfg.BodyTimeout); err != nil {
		return nil, release, err
	}
	events, err := Decode(mode, r.Header, body.Bytes(), Defaults{Tenant: tenant, Accepted: h.cfg.Clock.Now()})

	return events, release, err
}

// take appends what is valid and tells what became of each event.
func (h *Handler) take(ctx context.Context, tenant string, events []Decoded) ([]Result, error) {
	types, err := h.types.of(ctx, tenant)
	if err != nil {
		return nil, h.appendProblem(err)
	}
	results := make([]Result, len(events))
	batch := make([]journal.Event, 0, len(events))
	places := make([]int, 0, len(events))
	for i := range events {
		event := &events[i].Event
		results[i] = resultOf(event)
		err := events[i].Err
		if err == nil {
			err = types.admit(event.Type, h.cfg.MaxEventTypes)
		}
		if err != nil {
			results[i].Status, results[i].Reason = Invalid, err.Error()

			continue
		}
		batch = append(batch, h.record(tenant, event))
		places = append(places, i)
	}
	if len(batch) == 0 && len(events) > 0 {
		return nil, invalidEvents(results, invalidDetail(results))
	}
	if len(batch) == 0 {
		return results, nil
	}
	if err := h.append(ctx, batch, places, results); err != nil {
		return nil, err
	}

	return results, nil
}

// resultOf names the event; what is longer than it may be is not repeated.
func resultOf(event *Event) Result {
	var result Result
	if len(event.ID) <= MaxIDBytes {
		result.ID = event.ID
	}
	if len(event.Source) <= MaxSourceBytes {
		result.Source = event.Source
	}

	return result
}

func invalidDetail(results []Result) string {
	if len(results) == 1 {
		return results[0].Reason
	}

	return "every event of the batch is invalid, the first one so: " + results[0].Reason
}

// record is the event as the journal keeps it.
func (h *Handler) record(tenant string, event *Event) journal.Event {
	return journal.Event{
		Tenant:       tenant,
		Source:       event.Source,
		ID:           event.ID,
		Type:         event.Type,
		Subject:      event.Subject,
		PartitionKey: event.PartitionKey(),
		Accepted:     h.cfg.Clock.Now(),
		Body:         event.encode(),
	}
}

// append makes the batch durable and writes into results, at places, what became of it.
func (h *Handler) append(ctx context.Context, batch []journal.Event, places []int, results []Result) error {
	receipts, err := h.cfg.Appender.Append(ctx, batch)
	if err != nil {
		refusal := h.appendProblem(err)
		for _, place := range places {
			results[place].Status, results[place].Reason = Failed, refusal.Detail
		}
		refusal.Results = results

		return refusal
	}
	for i, receipt := range receipts {
		if receipt.Duplicate {
			results[places[i]].Status = Duplicate

			continue
		}
		results[places[i]].Status = Accepted
		h.metrics.bytes.Add(float64(len(batch[i].Body)))
	}

	return nil
}

// appendProblem is the answer to a journal that did not take events.
func (h *Handler) appendProblem(err error) *problem {
	if !errors.Is(err, context.Canceled) {
		h.noisy.Do(func() { h.cfg.Log.Error("Could not append events to the journal", "error", err) })
	}
	switch {
	case errors.Is(err, journal.ErrFull):
		return newProblem(http.StatusInsufficientStorage, "out-of-space", "The journal's disk is nearly full",
			"nothing was kept: send it again later").after(FullRetryAfter)
	case errors.Is(err, journal.ErrClosed):
		return busy("the dispatcher is stopping, nothing was kept: send it again")
	default:
		return busy("it is not known whether the events were kept: send them again with the same ids")
	}
}
