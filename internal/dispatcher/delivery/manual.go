package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	// TestEventType is a test event's type where none is asked for.
	TestEventType = "hookline.test"
	// testSource is the CloudEvents source of test events.
	testSource = "hookline"
	// manualLookback is how many attempts are searched for a resent delivery's last number.
	manualLookback = 1000
	// startPatience is how long a test event, a resend or a replay waits for an engine that starts.
	startPatience = 5 * time.Second
)

// ErrNoEvent answers a resend of an event that the tenant does not have, or not any more.
var ErrNoEvent = errors.New("there is no such event: it was never accepted, or is past its retention")

// testEvent is a test event's body: CloudEvents 1.0 in structured mode.
type testEvent struct {
	SpecVersion     string   `json:"specversion"`
	ID              string   `json:"id"`
	Source          string   `json:"source"`
	Type            string   `json:"type"`
	Time            string   `json:"time"`
	DataContentType string   `json:"datacontenttype"`
	Data            testData `json:"data"`
}

type testData struct {
	Test    bool   `json:"test"`
	Message string `json:"message"`
}

// SendTest makes one attempt with a test event that is in no log, signed as any other,
// and records it; eventType may be empty. It is made whether or not the subscription is
// enabled, has no retries, and never suspends. The error is subscription.ErrNotFound, a
// *subscription.InvalidError for the type, ErrNotRunning, or the context's; an endpoint
// that does not accept the event is not an error but an Attempt without Success.
func (e *Engine) SendTest(ctx context.Context, subscriptionID, eventType string) (journal.Attempt, error) {
	if eventType == "" {
		eventType = TestEventType
	}
	if err := subscription.ValidateEventType(eventType); err != nil {
		return journal.Attempt{}, &subscription.InvalidError{Field: "type", Message: err.Error()}
	}
	sub, ok := e.cfg.Registry.Current(subscriptionID)
	if !ok {
		return journal.Attempt{}, subscription.ErrNotFound
	}
	now := e.cfg.Clock.Now().UTC()
	event := &journal.Event{Tenant: sub.Tenant, Source: testSource, ID: ksuid.New().String(), Type: eventType, Accepted: now}
	body, err := json.Marshal(testEvent{
		SpecVersion: "1.0", ID: event.ID, Source: event.Source, Type: event.Type, Time: now.Format(timeFormat),
		DataContentType: "application/json",
		Data:            testData{Test: true, Message: "This is a test event that Hookline sent on request"},
	})
	if err != nil {
		return journal.Attempt{}, fmt.Errorf("writing the test event: %w", err)
	}
	event.Body = body

	return e.sendManually(ctx, sub, event, journal.Attempt{Number: 1, Test: true})
}

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// Resend makes one more attempt at one event's delivery, outside the schedule, under the
// same webhook-id, and records it: a success clears its dead letter. It is made whether or
// not the subscription is enabled, and never suspends. The errors are SendTest's, and
// ErrNoEvent where the subscription's tenant has no event at the position.
func (e *Engine) Resend(ctx context.Context, subscriptionID string, position journal.Seq) (journal.Attempt, error) {
	sub, ok := e.cfg.Registry.Current(subscriptionID)
	if !ok {
		return journal.Attempt{}, subscription.ErrNotFound
	}
	event, made, err := e.find(ctx, sub, position)
	if err != nil {
		return journal.Attempt{}, err
	}

	return e.sendManually(ctx, sub, event, journal.Attempt{Seq: position, Number: made + 1})
}

// find reads an event that is to be sent again, from the log or its dead letter, and how
// many attempts were made.
func (e *Engine) find(ctx context.Context, sub *registry.Subscription, position journal.Seq) (*journal.Event, int32, error) {
	if position == 0 {
		return nil, 0, ErrNoEvent
	}
	view := e.cfg.Journal.View()
	letters, err := view.DeadLetters(ctx, sub.ID, position-1, 1)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the dead letter: %w", err)
	}
	if len(letters) == 1 && letters[0].Seq == position {
		event := letters[0].Event

		made, err := e.made(ctx, sub, position)

		return &event, max(made, letters[0].Attempts), err
	}
	events, err := e.cfg.Journal.Get(ctx, []journal.Seq{position})
	switch {
	case errors.Is(err, journal.ErrTrimmed):
		return nil, 0, ErrNoEvent
	case err != nil:
		return nil, 0, fmt.Errorf("reading the event: %w", err)
	case events[0].Tenant != sub.Tenant:
		// Another tenant's event is as good as none.
		return nil, 0, ErrNoEvent
	}
	made, err := e.made(ctx, sub, position)

	return &events[0], made, err
}

// made is how many attempts the latest records know of.
func (e *Engine) made(ctx context.Context, sub *registry.Subscription, position journal.Seq) (int32, error) {
	attempts, err := e.cfg.Journal.View().Attempts(ctx, sub.ID, journal.AttemptQuery{Limit: manualLookback})
	if err != nil {
		return 0, fmt.Errorf("reading the attempts: %w", err)
	}
	var made int32
	for i := range attempts {
		if attempts[i].Seq == position && !attempts[i].Test {
			made = max(made, attempts[i].Number)
		}
	}

	return made, nil
}

// sendManually makes one attempt outside the schedule. record has its place and number.
func (e *Engine) sendManually(
	ctx context.Context, sub *registry.Subscription, event *journal.Event, record journal.Attempt,
) (journal.Attempt, error) {
	select {
	case e.manual <- struct{}{}:
	case <-ctx.Done():
		return journal.Attempt{}, fmt.Errorf("waiting for other test events and resends: %w", ctx.Err())
	}
	defer func() { <-e.manual }()
	if err := e.awaitBegin(ctx); err != nil {
		return journal.Attempt{}, err
	}
	e.mu.Lock()
	if !e.accepting {
		e.mu.Unlock()

		return journal.Attempt{}, ErrNotRunning
	}
	e.senders.Add(1)
	sending := e.sending
	e.mu.Unlock()

	id := DeliveryID(event.Tenant, event.Source, event.ID, sub.ID)
	x := e.exchangeManually(ctx, sending, sub, event, id)
	if err := brokenOff(ctx, sending, x); err != nil {
		e.senders.Done()

		return journal.Attempt{}, err
	}
	attempt := x.attempt(sub, event, id)
	attempt.Seq, attempt.Number, attempt.Test = record.Seq, record.Number, record.Test
	recorded := e.recordManual(sub, x, &attempt)
	e.senders.Done()
	select {
	case <-recorded:
		return attempt, nil
	case <-ctx.Done():
		return attempt, fmt.Errorf("waiting for the attempt to be recorded: %w", ctx.Err())
	case <-e.stopped:
		select {
		case <-recorded:
			return attempt, nil
		default:
		}

		return attempt, fmt.Errorf("waiting for the attempt to be recorded: %w", ErrNotRunning)
	}
}

// awaitBegin waits, for a while, until the engine has begun: requests are served from the first moment on.
func (e *Engine) awaitBegin(ctx context.Context) error {
	select {
	case <-e.begun:
		return nil
	default:
	}
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	select {
	case <-e.begun:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the delivery engine to start: %w", ctx.Err())
	case <-e.stopped:
	case <-patience.C:
	}

	return ErrNotRunning
}

// brokenOff says who broke off an attempt that has no answer, nil where nobody did: such an
// attempt says nothing of the endpoint, so it is not recorded.
func brokenOff(ctx, sending context.Context, x exchange) error {
	switch {
	case x.code != 0 || x.verdict == verdictRejected:
		return nil
	case sending.Err() != nil:
		return fmt.Errorf("waiting for the endpoint's answer: %w", ErrNotRunning)
	case ctx.Err() != nil:
		return fmt.Errorf("waiting for the endpoint's answer: %w", ctx.Err())
	default:
		return nil
	}
}

// exchangeManually ends with the caller's context and with the engine.
func (e *Engine) exchangeManually(
	ctx, sending context.Context, sub *registry.Subscription, event *journal.Event, id string,
) exchange {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(sending, cancel)()

	return e.sender.send(ctx, sub, event, id)
}

// recordManual puts an attempt outside the schedule into the next batch.
func (e *Engine) recordManual(sub *registry.Subscription, x exchange, attempt *journal.Attempt) <-chan struct{} {
	outcome := journal.Outcome{
		Ref: journal.Ref{Subscription: sub.ID, Seq: attempt.Seq}, Tenant: sub.Tenant, Attempt: attempt, Resent: true,
		Result: journal.Delivered,
	}
	result := resultManualOK
	if !attempt.Success {
		outcome.Result, result = journal.Retry, resultManualFailed
	}
	e.metrics.attempt(result, x.latency)
	recorded := make(chan struct{})
	e.mu.Lock()
	defer e.mu.Unlock()
	if ep := e.endpoints[sub.ID]; ep != nil && attempt.Success {
		// It answers again, perhaps.
		e.probeNow(ep)
	}
	e.pending.outcomes = append(e.pending.outcomes, outcome)
	e.pending.waiters = append(e.pending.waiters, recorded)
	e.noted()

	return recorded
}
