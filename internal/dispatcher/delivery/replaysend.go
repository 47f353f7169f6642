package delivery

import (
	"context"

	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

const (
	// replayEndpointPart of an endpoint's places is the most that its replay takes up, at least one;
	// replayPart of all places is the most that all replays do: half of what slow endpoints share, so
	// that attempts of replays that hang leave those the other half.
	replayEndpointPart = 2
	replayPart         = 8
)

// mayReplay tells whether an endpoint's replay may start an attempt: where nothing else of the
// endpoint waits, nobody stands in line, and places are left that it may have.
func (e *Engine) mayReplay(rp *replay) bool {
	ep := rp.endpoint
	own := max(1, ep.limit/replayEndpointPart)
	if rp.row.FailuresOnly && ep.order != nil {
		own = 1
	}

	return e.accepting && e.recovered && ep.sendable && ep.pause == nil && rp.pause == nil &&
		len(ep.queue) == 0 && !ep.behind && !ep.parked && (ep.order == nil || ep.order.loaded) &&
		rp.inFlight < own && e.replayInFlight < max(1, e.cfg.MaxInFlight/replayPart) &&
		ep.circuit.admits(ep.inFlight, ep.limit) && e.free(ep.class) && len(e.lines[ep.class].waiting) == 0
}

// pumpReplay starts what an endpoint's replay may start. The caller holds the lock.
func (e *Engine) pumpReplay(ep *endpoint) {
	rp := ep.replay
	if rp == nil {
		return
	}
	for e.mayReplay(rp) {
		one := e.nextReplayed(rp)
		if one == nil || !e.rateAllows(rp) {
			break
		}
		e.startReplayed(rp, one)
	}
	e.advanceReplay(rp)
	if ep.replay == rp && e.hungryReplay(rp) {
		e.feedReplaysSoon()
	}
}

// pumpReplays starts what replays may start once others have left room.
func (e *Engine) pumpReplays() {
	for rp := range e.running {
		e.pumpReplay(rp.endpoint)
	}
}

// ordered tells whether a delivery's order is kept.
func (rp *replay) ordered(one *replayed) bool {
	return rp.endpoint.order != nil && one.key != 0 && !rp.row.FailuresOnly
}

// nextReplayed is the first delivery that may go out. With order by key it is one whose key has
// nothing under way; what comes after a delivery that waits for its next attempt goes to the
// pages, and waits there for its turn as any other.
func (e *Engine) nextReplayed(rp *replay) *replayed {
	ep := rp.endpoint
	for _, one := range rp.items {
		switch {
		case one.fate != fateReady:
		case ep.held[one.seq] != nil:
			rp.forget(one)
			one.fate = fateWaits
		case !rp.ordered(one):
			return one
		default:
			l := ep.order.lanes[one.key]
			switch {
			case l == nil && len(ep.order.lanes) < MaxBlockedKeys:
				return one
			case l != nil && (l.resting || l.more != 0):
				e.page(ep, one.seq, nil)
				l.putOff(one.seq)
				rp.forget(one)
				one.fate = fateWaits
			}
		}
	}

	return nil
}

// rateAllows takes a start of the endpoint's rate and of the replay's, or waits for them.
func (e *Engine) rateAllows(rp *replay) bool {
	ep, now := rp.endpoint, e.cfg.Clock.Now()
	var taken *rate.Reservation
	if ep.limiter != nil {
		taken = ep.limiter.ReserveN(now, 1)
		if wait := taken.DelayFrom(now); wait > 0 {
			taken.CancelAt(now)
			e.pauseFor(ep, wait)

			return false
		}
	}
	own := rp.limiter.ReserveN(now, 1)
	wait := own.DelayFrom(now)
	if wait <= 0 {
		return true
	}
	own.CancelAt(now)
	if taken != nil {
		taken.CancelAt(now)
	}
	rp.pause = e.cfg.Clock.AfterFunc(wait, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		rp.pause = nil
		if rp.endpoint.replay == rp {
			e.pumpReplay(rp.endpoint)
		}
	})

	return false
}

// startReplayed begins an attempt of a replay.
func (e *Engine) startReplayed(rp *replay, one *replayed) {
	ep := rp.endpoint
	it := &item{endpoint: ep, seq: one.seq, attempts: one.attempts, replay: rp, replayed: one}
	if rp.ordered(one) {
		it.key = one.key
		ep.order.lanes[one.key] = &lane{head: one.seq}
	}
	one.fate = fateUnderWay
	rp.inFlight++
	e.replayInFlight++
	e.remember(ep, it)
	e.launch(it)
	if e.underWay.first == it {
		// Nothing else tells the keeper that there is one to find late.
		e.wake()
	}
}

// replayedEvent is what a delivery of a replay sends.
func (e *Engine) replayedEvent(ctx context.Context, sub *registry.Subscription, it *item) (*journal.Event, error) {
	e.mu.Lock()
	event := it.replayed.event
	e.mu.Unlock()
	if event != nil {
		return event, nil
	}
	if it.replay.row.FailuresOnly {
		event, _, err := e.find(ctx, sub, it.seq)

		return event, err
	}

	return e.payloads.get(ctx, it.seq)
}

// replayOutcome is what an attempt of a replay means: a delivery from the log that fails goes on
// as any other, a dead letter stays one.
func (e *Engine) replayOutcome(it *item, sub *registry.Subscription, x exchange, attempt journal.Attempt) journal.Outcome {
	if !it.replay.row.FailuresOnly {
		out := e.outcome(sub, x, attempt)
		// It has no rows, but perhaps a dead letter.
		out.Resent = out.Result == journal.Delivered

		return out
	}
	out := journal.Outcome{
		Ref: journal.Ref{Subscription: sub.ID, Seq: attempt.Seq}, Tenant: sub.Tenant, Attempt: &attempt, Resent: true,
		Result: journal.Delivered,
	}
	if x.verdict == verdictDelivered {
		e.metrics.attempt(resultManualOK, x.latency)

		return out
	}
	out.Result = journal.Retry
	if x.verdict == verdictGone {
		e.suspend(sub)
	}
	e.metrics.attempt(resultManualFailed, x.latency)

	return out
}

// endReplayed puts what became of a replay's attempt into the next batch. The caller holds the lock.
func (e *Engine) endReplayed(it *item, outcome journal.Outcome) {
	if outcome.Result == journal.Dropped {
		e.returnReplayed(it)

		return
	}
	it.ended = true
	again := outcome.Result == journal.Retry && !outcome.Resent
	if again {
		e.addRows(it.endpoint, 1)
	}
	e.pending.outcomes = append(e.pending.outcomes, outcome)
	e.pending.release = append(e.pending.release, it)
	e.noted()
	if it.key != 0 {
		e.turnEnded(it, again)
	}
	it.replay.forget(it.replayed)
	if it.replayed.fate = fateFailed; outcome.Result == journal.Delivered {
		it.replayed.fate = fateDelivered
		if it.replay.row.FailuresOnly {
			// Its letter is gone then, so that a restart does not find it again.
			e.countReplayed(it.replay, it.replayed)
			e.noteReplay(it.replay)
		}
	}
	e.advanceReplay(it.replay)
}

// lostReplayed ends a delivery whose event is nowhere any more, so that there is nothing to record.
func (e *Engine) lostReplayed(it *item, became fate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.left(it)
	e.returnReplayed(it)
	it.replay.forget(it.replayed)
	it.replayed.fate = became
	e.pump(it.endpoint)
	e.serveLine()
}

// returnReplayed has a delivery that was under way and was not sent wait in its replay.
func (e *Engine) returnReplayed(it *item) {
	ep := it.endpoint
	it.replayed.fate = fateReady
	if it.replay.row.State != journal.ReplayRunning {
		it.replay.forget(it.replayed)
	}
	if it.key != 0 {
		e.turnEnded(it, false)
	}
	if delete(ep.held, it.seq); len(ep.held) == 0 {
		ep.held = nil
		e.forgetTurns(ep)
	}
	ep.stuck = false
	e.wantMore(ep)
}

// advanceReplay moves a replay's position past what is done, and ends it where that is all.
func (e *Engine) advanceReplay(rp *replay) {
	if rp.gone {
		return
	}
	before := rp.row.Position
	for len(rp.items) > 0 && rp.items[0].fate > fateUnderWay {
		e.countReplayed(rp, rp.items[0])
		rp.items[0] = nil
		rp.items = rp.items[1:]
	}
	if rp.row.Position = rp.reach; len(rp.items) > 0 {
		rp.row.Position = rp.items[0].seq - 1
	}
	if rp.row.Position != before {
		if !rp.row.FailuresOnly {
			e.metrics.replayScanned.Add(float64(rp.row.Position - before))
			rp.row.Scanned = uint64(rp.row.Position + 1 - rp.row.Start)
		}
		e.noteReplay(rp)
	}
	if rp.row.State == journal.ReplayRunning && rp.exhausted() && len(rp.items) == 0 {
		e.endReplay(rp, journal.ReplayDone, "", "")
	}
}

// countReplayed counts a delivery that the position passes.
func (e *Engine) countReplayed(rp *replay, one *replayed) {
	if one.counted {
		return
	}
	one.counted = true
	row := &rp.row
	if row.FailuresOnly {
		row.Scanned++
		e.metrics.replayScanned.Inc()
	}
	if one.fate == fatePassed {
		return
	}
	row.Matched++
	switch one.fate {
	case fateDelivered:
		row.Delivered++
		e.metrics.replayDeliveries.WithLabelValues(replayDelivered).Inc()
	case fateFailed:
		row.Failed++
		e.metrics.replayDeliveries.WithLabelValues(replayFailed).Inc()
	default:
		row.Waiting++
		e.metrics.replayDeliveries.WithLabelValues(replayWaiting).Inc()
	}
}
