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
	// parked are endpoints with retries that are put aside.
	parked []*endpoint
	// release leave memory after it.
	release []*item
	// replays have moved, removed are the rows of replays to take away.
	replays map[*replay]struct{}
	removed []journal.Replay
	// durable: whoever waits wants it on the disk.
	durable bool
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
	// nextAging is when what has waited too long is looked for again, aging are the endpoints
	// still to be looked through, for what stands before agedBefore.
	nextAging  time.Time
	aging      []*endpoint
	agedBefore journal.Seq
}

// keep runs the keeper until stop ends, and then settles what is left. Its writes run
// under life, which outlasts stop.
func (e *Engine) keep(life, stop context.Context, epoch journal.Epoch) error {
	now := e.cfg.Clock.Now()
	k := &keeper{engine: e, epoch: epoch, nextDue: now, nextAging: now}
	for stop.Err() == nil {
		if err := k.pass(life); err != nil {
			return err
		}
		if err := k.sleep(life, stop); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(life, settleReserve)
	defer cancel()

	return k.settle(ctx)
}

// sleep waits until there is something to do, and feeds endpoints while it gathers what to settle.
func (k *keeper) sleep(life, stop context.Context) error {
	timer := k.engine.cfg.Clock.NewTimer(k.idle())
	defer timer.Stop()
	// gathered ends the gathering, once it has begun.
	var gathered <-chan time.Time
	for {
		select {
		case <-stop.Done():
			return nil
		case <-timer.Chan():
			return nil
		case <-k.engine.full:
			return nil
		case <-gathered:
			return nil
		case <-k.engine.wakeup:
			if gathered == nil {
				gather := time.NewTimer(settleInterval)
				defer gather.Stop()
				gathered = gather.C
			}
		case <-k.engine.feeding:
			if !k.feeds() {
				return nil
			}
			if err := k.feedHungry(life); err != nil {
				return err
			}
		}
	}
}

// feeds tells whether rows may be taken up.
func (k *keeper) feeds() bool {
	e := k.engine
	e.mu.Lock()
	defer e.mu.Unlock()

	return e.recovered && e.accepting
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
	if first := e.underWay.first; first != nil {
		idle = min(idle, first.started.Add(SlowAfter).Sub(now))
	}
	if e.recovered && e.accepting {
		idle = min(idle, k.nextAging.Sub(now))
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
	e.findLate(e.cfg.Clock.Now())
	e.mu.Unlock()
	if !k.feeds() {
		return nil
	}
	if err := k.expire(ctx); err != nil {
		return err
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
	e.pending, e.spare = e.spare, pending{}
	batch := journal.Batch{
		Outcomes: taken.outcomes, Unmatched: taken.unmatched, Skipped: taken.skipped, Replays: taken.takeReplays(), Durable: taken.durable,
	}
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

// again is an empty pending that uses the room of one that was settled.
func (p *pending) again() pending {
	return pending{
		outcomes: emptied(p.outcomes), backlog: emptied(p.backlog), unmatched: emptied(p.unmatched), release: emptied(p.release),
	}
}

// emptied is the room of a slice whose elements are needed no more; none where it is much.
func emptied[T any](used []T) []T {
	if cap(used) > maxPending {
		return nil
	}
	clear(used)

	return used[:0]
}

// settledPending follows a Settle that was done. The caller holds the lock.
func (e *Engine) settledPending(cursor journal.Seq, taken pending) {
	e.cursor = max(e.cursor, cursor)
	for _, entry := range taken.backlog {
		entry.endpoint.pagesPending--
		entry.endpoint.stuck = false
		e.wantMore(entry.endpoint)
	}
	for _, ep := range taken.parked {
		// Only now would a scan find them.
		ep.parked, ep.again = true, true
		e.wantMore(ep)
	}
	for _, it := range taken.release {
		e.released(it)
		e.wantMore(it.endpoint)
	}
	for _, waiter := range taken.waiters {
		close(waiter)
	}
	if len(e.running) > 0 {
		e.feedReplaysSoon()
	}
	e.spare = taken.again()
	close(e.settled)
	e.settled = make(chan struct{})
}
