package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

const (
	// feedBatch is how many endpoints are fed from their rows between two Settles.
	feedBatch = 64
	// longestSleep is how long the keeper sleeps where nothing is due.
	longestSleep = time.Hour
)

// parkedDue is the due time of a retry that was due and could not be sent: its endpoint
// was paused or its queue full. Parked rows do not stand in the way of those that are
// due; their own endpoint takes them up when it can.
var parkedDue = time.Date(2200, time.January, 1, 0, 0, 0, 0, time.UTC)

// pageEntry is a delivery on its way to its endpoint's page; item is set where it stays in memory.
type pageEntry struct {
	endpoint *endpoint
	seq      journal.Seq
	item     *item
}

// pending is what the next Settle brings.
type pending struct {
	outcomes  []journal.Outcome
	backlog   []pageEntry
	unmatched []journal.Seq
	skipped   []journal.Interval
	// release leave memory after it.
	release []*item
	// waiters want to know when it is done.
	waiters []chan struct{}
}

func (p *pending) size() int {
	return len(p.outcomes) + len(p.backlog) + len(p.unmatched) + len(p.skipped)
}

// keeper settles and feeds the endpoints from their rows. It does both in one goroutine,
// in turn: so no row is read that a Settle under way is about to change.
type keeper struct {
	engine *Engine
	epoch  journal.Epoch
	// nextDue is when the next retry row is due; zero where none is.
	nextDue time.Time
}

// keep runs the keeper until stop ends, and then settles what is left. Its writes run
// under life, which outlasts stop.
func (e *Engine) keep(life, stop context.Context, epoch journal.Epoch) error {
	k := &keeper{engine: e, epoch: epoch, nextDue: e.cfg.Clock.Now()}
	for stop.Err() == nil {
		if err := k.pass(life); err != nil {
			return err
		}
		k.sleep(stop)
	}
	ctx, cancel := context.WithTimeout(life, settleReserve)
	defer cancel()

	return k.settle(ctx)
}

// sleep waits until there is something to do.
func (k *keeper) sleep(stop context.Context) {
	timer := k.engine.cfg.Clock.NewTimer(k.idle())
	defer timer.Stop()
	select {
	case <-stop.Done():
	case <-timer.Chan():
	case <-k.engine.wakeup:
		gather := time.NewTimer(settleInterval)
		defer gather.Stop()
		select {
		case <-stop.Done():
		case <-k.engine.full:
		case <-gather.C:
		}
	}
}

// idle is how long there is nothing to do unless something happens.
func (k *keeper) idle() time.Duration {
	e := k.engine
	now := e.cfg.Clock.Now()
	idle := longestSleep
	e.mu.Lock()
	defer e.mu.Unlock()
	if !k.nextDue.IsZero() && e.recovered && e.accepting {
		idle = min(idle, k.nextDue.Sub(now))
	}
	if len(e.origins) > 0 {
		idle = min(idle, e.origins[0].since.Add(placeAfter).Sub(now))
	}

	return max(idle, time.Millisecond)
}

// pass does what there is to do.
func (k *keeper) pass(ctx context.Context) error {
	e := k.engine
	e.applyTouched()
	if err := k.settle(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	feeding := e.recovered && e.accepting
	e.mu.Unlock()
	if !feeding {
		return nil
	}
	if err := k.feedDue(ctx); err != nil {
		return err
	}

	return k.feedHungry(ctx)
}

// settle writes what is pending.
func (k *keeper) settle(ctx context.Context) error {
	e := k.engine
	e.mu.Lock()
	e.placeOlder(e.cfg.Clock.Now().Add(-placeAfter))
	batch, taken := e.takePending()
	e.mu.Unlock()
	if !batch.Empty() {
		if err := e.cfg.Journal.Settle(ctx, 0, k.epoch, batch); err != nil {
			return fmt.Errorf("settling deliveries: %w", err)
		}
	}
	for i := range batch.Outcomes {
		if next := batch.Outcomes[i].NextAttempt; !next.IsZero() && (k.nextDue.IsZero() || next.Before(k.nextDue)) {
			k.nextDue = next
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settledPending(batch.Cursor, taken)

	return nil
}

// placeOlder puts the deliveries that have held the cursor since a time onto their pages;
// the zero time stands for all. They stay in memory, and go on. The caller holds the lock.
func (e *Engine) placeOlder(than time.Time) {
	for _, from := range e.origins {
		if !than.IsZero() && from.since.After(than) {
			return
		}
		for _, it := range from.items {
			if it.origin != nil {
				it.unplaced()
				e.page(it.endpoint, it.seq, it)
			}
		}
	}
}

// takePending makes the next batch. The caller holds the lock.
func (e *Engine) takePending() (journal.Batch, pending) {
	taken := e.pending
	e.pending = pending{}
	batch := journal.Batch{Outcomes: taken.outcomes, Unmatched: taken.unmatched, Skipped: taken.skipped}
	for _, entry := range taken.backlog {
		// What ended since is in the same batch with its outcome.
		if entry.item == nil || !entry.item.ended {
			batch.Backlog = append(batch.Backlog, journal.Ref{Subscription: entry.endpoint.id, Seq: entry.seq})
		}
	}
	for len(e.origins) > 0 && e.origins[0].open == 0 {
		e.origins[0] = nil
		e.origins = e.origins[1:]
	}
	reached := e.read
	if len(e.origins) > 0 {
		reached = e.origins[0].seq - 1
	}
	if reached > e.cursor {
		batch.Cursor = reached
	}

	return batch, taken
}

// settledPending follows a Settle that was done. The caller holds the lock.
func (e *Engine) settledPending(cursor journal.Seq, taken pending) {
	e.cursor = max(e.cursor, cursor)
	for _, entry := range taken.backlog {
		entry.endpoint.pagesPending--
		e.wantMore(entry.endpoint)
	}
	for _, it := range taken.release {
		e.released(it)
		e.wantMore(it.endpoint)
	}
	for _, waiter := range taken.waiters {
		close(waiter)
	}
	close(e.settled)
	e.settled = make(chan struct{})
}

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
		case e.takesRetry(ep):
			e.enqueue(ep, &item{endpoint: ep, seq: row.Seq, attempts: row.Attempts, retry: true})
			e.pump(ep)
		default:
			e.park(ep, row.Seq)
			ep.parked, ep.again = true, true
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

	return ep.sendable && ep.retries < quota && len(ep.queue) < e.cfg.QueueLength
}

// park puts a retry that is due aside. The caller holds the lock.
func (e *Engine) park(ep *endpoint, seq journal.Seq) {
	e.pending.outcomes = append(e.pending.outcomes, journal.Outcome{
		Ref:    journal.Ref{Subscription: ep.id, Seq: seq},
		Result: journal.Retry, NextAttempt: parkedDue,
	})
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
			e.wake()

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
	e.mu.Lock()
	behind, filled, parked, scanned := ep.behind, ep.filled, ep.parked && e.takesRetry(ep), ep.scanned
	e.mu.Unlock()
	var (
		seqs []journal.Seq
		rows []journal.RetryRow
		err  error
	)
	if behind {
		if seqs, err = e.cfg.Journal.View().Backlog(ctx, ep.id, filled, rowBatch); err != nil {
			return fmt.Errorf("reading the backlog of subscription %s: %w", ep.id, err)
		}
	}
	if parked {
		if rows, err = e.cfg.Journal.View().Retries(ctx, ep.id, scanned, rowBatch); err != nil {
			return fmt.Errorf("reading the retries of subscription %s: %w", ep.id, err)
		}
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	more := parked && e.feedParked(ep, rows)
	more = behind && e.feedPages(ep, seqs) || more
	e.pump(ep)
	if more {
		e.wantMore(ep)
	}

	return nil
}

// feedPages takes up what stands on pages, and tells whether to go on. The endpoint is
// Live again when nothing is left there nor on its way there.
func (e *Engine) feedPages(ep *endpoint, seqs []journal.Seq) bool {
	for _, seq := range seqs {
		if len(ep.queue) >= e.cfg.QueueLength {
			return false
		}
		if ep.held[seq] == nil {
			e.enqueue(ep, &item{endpoint: ep, seq: seq})
		}
		ep.filled = seq
	}
	if len(seqs) == rowBatch {
		return true
	}
	if ep.pagesPending == 0 {
		e.setBehind(ep, false)
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
			e.enqueue(ep, &item{endpoint: ep, seq: row.Seq, attempts: row.Attempts, retry: true})
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
	dropped := false
	for _, seq := range seqs {
		if ep.held[seq] == nil {
			e.drop(ep, seq)
			dropped = true
		}
	}
	if dropped {
		e.hungry[ep.id] = ep

		return nil
	}
	if len(ep.held) == 0 && ep.pagesPending == 0 {
		e.setBehind(ep, false)
		if ep.pause != nil {
			ep.pause.Stop()
			ep.pause = nil
		}
		delete(e.endpoints, ep.id)
		e.forget(ep.id, e.read)
	}

	return nil
}
