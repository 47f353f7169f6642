package delivery

import (
	"context"
	"fmt"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// feedDue takes up the retries that are due.
func (k *keeper) feedDue(ctx context.Context) error {
	e := k.engine
	now := e.cfg.Clock.Now()
	if k.nextDue.IsZero() || k.nextDue.After(now) {
		return nil
	}
	e.mu.Lock()
	// Rows of what is in memory are still due, and come first.
	most := e.retries + rowBatch
	e.mu.Unlock()
	rows, next, err := e.cfg.Journal.View().Due(ctx, now, most)
	if err != nil {
		return fmt.Errorf("reading the retries that are due: %w", err)
	}
	k.nextDue = next

	e.mu.Lock()
	defer e.mu.Unlock()
	for _, row := range rows {
		ep := e.endpointOf(row.Subscription, true)
		switch {
		case ep.held[row.Seq] != nil:
		case ep.deleted:
			e.drop(ep, row.Seq)
		case !e.takesRetry(ep):
			e.park(ep, row.Seq)
		case e.retry(ep, row):
			e.pump(ep)
		default:
			e.park(ep, row.Seq)
		}
	}
	if len(rows) == most {
		k.nextDue = now
		e.wake()
	}

	return nil
}

// takesRetry tells whether an endpoint has room for one more retry.
func (e *Engine) takesRetry(ep *endpoint) bool {
	quota := max(1, e.cfg.QueueLength/maxQueuedRetries)

	return ep.sendable && e.space(ep) > 0 && (ep.retries < quota || !ep.behind && ep.retries == len(ep.queue))
}

// park puts a retry that is due aside. The caller holds the lock.
func (e *Engine) park(ep *endpoint, seq journal.Seq) {
	e.pending.outcomes = append(e.pending.outcomes, journal.Outcome{
		Ref:    journal.Ref{Subscription: ep.id, Seq: seq},
		Result: journal.Retry, NextAttempt: parkedDue,
	})
	e.pending.parked = append(e.pending.parked, ep)
	e.noted()
}

// feedHungry feeds some of the endpoints that have room.
func (k *keeper) feedHungry(ctx context.Context) error {
	for _, ep := range k.engine.takeHungry() {
		feed := k.feed
		if ep.deleted {
			feed = k.clear
		}
		if err := feed(ctx, ep); err != nil {
			return err
		}
	}

	return nil
}

func (e *Engine) takeHungry() []*endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	var some []*endpoint
	for id, ep := range e.hungry {
		if len(some) == feedBatch {
			e.feedSoon()

			break
		}
		delete(e.hungry, id)
		if ep.deleted || ep.sendable {
			some = append(some, ep)
		}
	}

	return some
}

// feed brings an endpoint's pages and parked retries into its queue, as far as there is room.
func (k *keeper) feed(ctx context.Context, ep *endpoint) error {
	e := k.engine
	if err := k.load(ctx, ep); err != nil {
		return k.unread(ep, err)
	}
	e.mu.Lock()
	behind, filled, parked, scanned := ep.behind, ep.filled, ep.parked && e.takesRetry(ep), ep.scanned
	ordered, probing := ep.order != nil, ep.circuit.open
	e.mu.Unlock()
	var (
		seqs []journal.Seq
		keys []uint64
		rows []journal.RetryRow
		err  error
	)
	if behind {
		if seqs, keys, err = k.pages(ctx, ep.id, filled, ordered); err != nil {
			return k.unread(ep, err)
		}
	}
	if parked {
		if rows, err = e.cfg.Journal.View().Retries(ctx, ep.id, scanned, rowBatch); err != nil {
			return fmt.Errorf("reading the retries of subscription %s: %w", ep.id, err)
		}
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if ordered != (ep.order != nil) || ordered && !ep.order.loaded || behind && ep.filled != filled {
		// It has changed meanwhile.
		e.wantMore(ep)

		return nil
	}
	if probing && len(seqs) > 0 && len(rows) > 0 && seqs[0] < rows[0].Seq {
		// The oldest goes, for it is the only one.
		parked = false
	}
	more := parked && e.feedParked(ep, rows)
	more = behind && e.feedPages(ep, seqs, keys) || more
	e.pump(ep)
	if more {
		e.wantMore(ep)
	}

	return nil
}

// pages are what stands on an endpoint's pages after a position, with the keys of the events where it is ordered.
func (k *keeper) pages(ctx context.Context, id string, after journal.Seq, ordered bool) ([]journal.Seq, []uint64, error) {
	most := rowBatch
	if ordered {
		most = orderedBatch
	}
	seqs, err := k.engine.cfg.Journal.View().Backlog(ctx, id, after, most)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the backlog of subscription %s: %w", id, err)
	}
	if !ordered {
		return seqs, nil, nil
	}
	keys, err := k.keys(ctx, seqs)

	return seqs, keys, err
}

// feedPages takes up what stands on pages, and tells whether to go on. The endpoint is
// Live again when nothing is left there nor on its way there. keys are those of an ordered
// endpoint's events.
func (e *Engine) feedPages(ep *endpoint, seqs []journal.Seq, keys []uint64) bool {
	batch := rowBatch
	if ep.order != nil {
		batch = orderedBatch
	}
	for i, seq := range seqs {
		if e.space(ep) <= 0 {
			return false
		}
		held := ep.held[seq]
		switch {
		case held != nil && ep.order != nil && held.evicted:
			// It stands on its page again soon, and none of its key may pass it by.
			ep.stuck = true

			return false
		case held != nil:
		case ep.order == nil:
			e.enqueue(ep, &item{endpoint: ep, seq: seq, row: true})
		case !e.feedTurn(ep, seq, keys[i]):
			ep.stuck = true

			return false
		}
		ep.filled = seq
	}
	if len(seqs) == batch {
		return true
	}
	if ep.stuck = ep.pagesPending > 0; !ep.stuck {
		e.setBehind(ep, false)
		ep.tidyLanes()
	}

	return false
}

// feedParked takes up parked retries, and tells whether to go on.
func (e *Engine) feedParked(ep *endpoint, rows []journal.RetryRow) bool {
	for _, row := range rows {
		if row.Due.Equal(parkedDue) && ep.held[row.Seq] == nil {
			if !e.takesRetry(ep) {
				return false
			}
			e.retry(ep, row)
		}
		ep.scanned = row.Seq
	}
	if len(rows) == rowBatch {
		return true
	}
	ep.scanned = 0
	// Rows that were parked behind the scan are found by the next one.
	ep.parked, ep.again = ep.again, false

	return ep.parked
}

// clear drops the rows of a deleted subscription, and forgets it when none are left.
func (k *keeper) clear(ctx context.Context, ep *endpoint) error {
	e := k.engine
	seqs, err := e.cfg.Journal.View().Backlog(ctx, ep.id, 0, rowBatch)
	if err != nil {
		return fmt.Errorf("reading the backlog of subscription %s: %w", ep.id, err)
	}
	rows, err := e.cfg.Journal.View().Retries(ctx, ep.id, 0, rowBatch)
	if err != nil {
		return fmt.Errorf("reading the retries of subscription %s: %w", ep.id, err)
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	for _, row := range rows {
		seqs = append(seqs, row.Seq)
	}
	for _, seq := range seqs {
		if ep.held[seq] == nil {
			e.dropRow(ep, seq)
		}
	}
	if len(ep.held) == 0 && ep.pagesPending == 0 {
		e.setBehind(ep, false)
		if ep.pause != nil {
			ep.pause.Stop()
			ep.pause = nil
		}
		if ep.class == slowClass {
			e.metrics.slow.Dec()
		}
		delete(e.endpoints, ep.id)
		e.forget(ep.id, e.read)
	}

	return nil
}
