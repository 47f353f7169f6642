package delivery

import (
	"context"
	"errors"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

// goneMessage explains a suspension after 410.
const goneMessage = "The endpoint answered 410 Gone: it wants no more deliveries. Resume the subscription once it does."

// deliver makes one attempt for an item that was started.
func (e *Engine) deliver(it *item) {
	defer e.senders.Done()
	sub, ok := e.cfg.Registry.Current(it.endpoint.id)
	switch {
	case !ok:
		e.conclude(it, journal.Outcome{
			Ref: journal.Ref{Subscription: it.endpoint.id, Seq: it.seq}, Result: journal.Dropped,
		}, exchange{})

		return
	case !sub.Takes():
		// Disabled or suspended since it was queued: it waits.
		e.putBack(it, false)

		return
	}
	event, err := e.eventOf(sub, it)
	if it.replay != nil && (errors.Is(err, ErrNoEvent) || it.replay.row.FailuresOnly && lost(err) != "") {
		e.lostReplayed(it, fatePassed)

		return
	}
	if reason := lost(err); reason != "" {
		e.cfg.Log.Error("Dead-lettered a delivery whose event cannot be read", "subscription", sub.ID, "tenant", sub.Tenant,
			"position", it.seq, "reason", reason, "error", err)
		e.metrics.deadLetters.WithLabelValues(reason).Inc()
		e.conclude(it, journal.Outcome{
			Ref: journal.Ref{Subscription: sub.ID, Seq: it.seq}, Tenant: sub.Tenant, Result: journal.DeadLettered, Reason: reason,
		}, exchange{})

		return
	}
	if err != nil {
		if e.sending.Err() == nil {
			e.cfg.Log.Error("Failed to read an event that is to be delivered",
				"subscription", it.endpoint.id, "position", it.seq, "error", err)
		}
		e.putBack(it, true)

		return
	}
	if it.attempts == 0 && it.replay == nil {
		e.metrics.firstDelay.Observe(max(0, e.cfg.Clock.Since(event.Accepted).Seconds()))
	}
	id := DeliveryID(event.Tenant, event.Source, event.ID, sub.ID)
	x := e.attempt(it, sub, event, id)
	if x.code == 0 && x.verdict != verdictRejected && e.sending.Err() != nil {
		// It was broken off from here: the endpoint is not to blame.
		e.putBack(it, false)

		return
	}
	if it.attempts == 0 && it.replay == nil {
		e.payloads.tried(it.seq)
	}
	attempt := x.attempt(sub, event, id)
	attempt.Seq, attempt.Number = it.seq, it.attempts+1
	outcome := e.outcome
	if it.replay != nil {
		outcome = func(sub *registry.Subscription, x exchange, attempt journal.Attempt) journal.Outcome {
			return e.replayOutcome(it, sub, x, attempt)
		}
	}
	e.conclude(it, outcome(sub, x, attempt), x)
}

// eventOf is what an item sends.
func (e *Engine) eventOf(sub *registry.Subscription, it *item) (*journal.Event, error) {
	if it.replay != nil {
		return e.replayedEvent(e.sending, sub, it)
	}

	return e.payloads.get(e.sending, it.seq)
}

// lost is the reason where an event can never be read again; empty where it may be.
func lost(err error) string {
	switch {
	case errors.Is(err, journal.ErrCorrupt):
		return journal.ReasonEventCorrupt
	case errors.Is(err, journal.ErrTrimmed):
		return journal.ReasonEventMissing
	default:
		return ""
	}
}

// attempt is the record of an exchange, but for its place and number.
func (x exchange) attempt(sub *registry.Subscription, event *journal.Event, deliveryID string) journal.Attempt {
	return journal.Attempt{
		Subscription: sub.ID, DeliveryID: deliveryID, EventID: event.ID, EventType: event.Type,
		At: x.ended, Latency: x.latency, Success: x.verdict == verdictDelivered,
		ResponseCode: x.code, ResponseText: x.text, ResponseBody: x.body,
	}
}

// outcome says what an attempt means for its delivery, and suspends where it says so.
func (e *Engine) outcome(sub *registry.Subscription, x exchange, attempt journal.Attempt) journal.Outcome {
	out := journal.Outcome{
		Ref: journal.Ref{Subscription: sub.ID, Seq: attempt.Seq}, Tenant: sub.Tenant, Attempt: &attempt,
	}
	switch x.verdict {
	case verdictDelivered:
		out.Result = journal.Delivered
		e.metrics.attempt(resultDelivered, x.latency)

		return out
	case verdictGone:
		out.Result, out.Reason = journal.DeadLettered, journal.ReasonGone
		e.suspend(sub)
	case verdictRejected:
		out.Result, out.Reason = journal.DeadLettered, journal.ReasonPayloadRejected
	case verdictRetry:
		wait, again := x.schedule.next(attempt.Number, sub.Delivery.MaxAttempts, x.retryAfter, e.cfg.Random)
		if again {
			out.Result, out.NextAttempt, out.First = journal.Retry, x.ended.Add(wait), x.first
			e.metrics.attempt(resultRetry, x.latency)

			return out
		}
		out.Result, out.Reason = journal.DeadLettered, journal.ReasonAttemptsExhausted
		if x.denied {
			out.Reason = journal.ReasonTargetDenied
		}
	}
	e.metrics.attempt(resultDeadLettered, x.latency)
	e.metrics.deadLetters.WithLabelValues(out.Reason).Inc()

	return out
}

// suspend stops a subscription whose endpoint is gone.
func (e *Engine) suspend(sub *registry.Subscription) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.sending), suspendTimeout)
	defer cancel()
	if err := e.cfg.Registry.SuspendSeen(ctx, sub, journal.ReasonGone, goneMessage); err != nil {
		// The next delivery gets the same answer and suspends it then.
		e.cfg.Log.Error("Failed to suspend a subscription whose endpoint is gone", "subscription", sub.ID, "error", err)
	}
}

// conclude ends an item that was under way. x is its attempt, empty where none was made.
func (e *Engine) conclude(it *item, outcome journal.Outcome, x exchange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if outcome.Result == journal.Dropped {
		e.metrics.dropped.Inc()
	}
	e.left(it)
	e.judged(it, x)
	e.end(it, outcome)
	e.pump(it.endpoint)
	e.serveLine()
}

// putBack has an item wait that was under way and was not sent.
func (e *Engine) putBack(it *item, pause bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.left(it)
	if it.replay != nil {
		e.returnReplayed(it)
	} else {
		e.evict(it)
	}
	if pause && e.accepting {
		e.pauseFor(it.endpoint, pauseAfterError)
	}
	e.pump(it.endpoint)
	e.serveLine()
}
