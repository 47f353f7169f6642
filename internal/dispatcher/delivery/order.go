package delivery

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

const (
	// MaxBlockedKeys is how many keys of one endpoint may be under way or wait for their next
	// attempt at once. While there are as many, deliveries of further keys wait on pages.
	MaxBlockedKeys = 10_000
	// orderedBatch is how many rows of an ordered endpoint are read at once, with their events.
	orderedBatch = 64
)

// order keeps an endpoint's deliveries of one key in the order of the log: one at a time is
// queued, under way, or waits for its next attempt, and those after it wait, a few of them in
// memory, the others on pages. A row that was passed over on the pages is always noted in its
// key's lane. It belongs to the engine's lock.
type order struct {
	// loaded: the keys that wait for their next attempt are known. Until then the endpoint is
	// Behind and takes nothing up.
	loaded bool
	lanes  map[uint64]*lane
	// resting are the keys of the deliveries that wait for their next attempt.
	resting map[journal.Seq]uint64
	// waiting are the items in all lanes.
	waiting int
}

// lane is what is known of one key.
type lane struct {
	// head is the delivery whose turn it is, 0 where it is yet to be found on the pages.
	head journal.Seq
	// resting: the head waits for its next attempt.
	resting bool
	waiting []*item
	// more is the first delivery on pages that was passed over, 0 where there is none. All in
	// waiting come before it.
	more journal.Seq
	// parked: a retry was parked because it was not its turn.
	parked bool
}

func newOrder(loaded bool) *order {
	return &order{loaded: loaded, lanes: make(map[uint64]*lane), resting: make(map[journal.Seq]uint64)}
}

// putOff notes that a delivery was left on its page.
func (l *lane) putOff(seq journal.Seq) {
	if l.more == 0 || seq < l.more {
		l.more = seq
	}
}

// keyOf is a hash of what an event is ordered by, 0 where by nothing. Keys that share a hash wait
// for each other without need, which does no harm.
func (e *Engine) keyOf(event *journal.Event) uint64 {
	name := event.PartitionKey
	if name == "" {
		name = event.Subject
	}
	if name == "" {
		return 0
	}

	return max(1, maphash.String(e.seed, name))
}

// setOrdered starts or stops keeping an endpoint's order. It holds from then on: what is under way
// or waits for its next attempt already is in no order with what comes after.
func (e *Engine) setOrdered(ep *endpoint, ordered bool) {
	switch {
	case ordered == (ep.order != nil):
		return
	case ep.revision == 0:
		// It is new here; whoever knows of retry rows from before says so.
		ep.order = newOrder(true)

		return
	}
	e.evictQueue(ep)
	ep.order = nil
	if ordered {
		ep.order = newOrder(false)
	}
	e.rescan(ep, 0)
}

// rescan reads an endpoint's pages again after a position.
func (e *Engine) rescan(ep *endpoint, after journal.Seq) {
	if !ep.behind {
		e.setBehind(ep, true)
		ep.filled = after
	}
	ep.filled, ep.stuck = min(ep.filled, after), false
	e.wantMore(ep)
}

// takesTurn tells whether an event that was just read is to be queued; where not, it waits in its
// key's lane or on a page.
func (e *Engine) takesTurn(ep *endpoint, key uint64, from *origin) bool {
	o := ep.order
	l := o.lanes[key]
	switch {
	case l == nil && len(o.lanes) >= MaxBlockedKeys:
		e.page(ep, from.seq, nil)
		e.overflow(ep, from.seq)
	case l == nil:
		o.lanes[key] = &lane{head: from.seq}

		return true
	case e.joins(o, l):
		e.wait(ep, l, from.item(ep, key))
	default:
		e.page(ep, from.seq, nil)
		l.putOff(from.seq)
	}

	return false
}

// joins tells whether the next delivery of a key may wait in memory: its turn is near.
func (e *Engine) joins(o *order, l *lane) bool {
	return l.head != 0 && !l.resting && l.more == 0 && o.waiting < e.cfg.QueueLength
}

func (e *Engine) wait(ep *endpoint, l *lane, it *item) {
	e.hold(ep, it)
	l.waiting = append(l.waiting, it)
	ep.order.waiting++
}

// turnEnded lets the next of a key go, unless the one that ended is to be tried again.
func (e *Engine) turnEnded(it *item, again bool) {
	ep := it.endpoint
	o := ep.order
	if o == nil || !o.loaded {
		return
	}
	l := o.lanes[it.key]
	if again {
		if l == nil {
			l = &lane{}
			o.lanes[it.key] = l
		}
		o.resting[it.seq] = it.key
		if l.head == 0 || l.head == it.seq {
			l.head, l.resting = it.seq, true
		}
		e.evictLane(ep, l)

		return
	}
	delete(o.resting, it.seq)
	if l != nil && l.head == it.seq {
		e.nextTurn(ep, it.key, l)
	}
}

// nextTurn makes the next delivery of a key its head.
func (e *Engine) nextTurn(ep *endpoint, key uint64, l *lane) {
	l.head, l.resting = 0, false
	if l.parked {
		l.parked = false
		ep.parked, ep.again = true, true
	}
	switch {
	case len(l.waiting) > 0:
		next := l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		ep.order.waiting--
		l.head = next.seq
		e.line(ep, next)
	case l.more != 0:
		e.rescan(ep, l.more-1)
	default:
		delete(ep.order.lanes, key)
		ep.stuck = false
	}
}

// turnLost follows an item that leaves memory and is to be read again.
func (e *Engine) turnLost(it *item) {
	ep := it.endpoint
	o := ep.order
	if o == nil || !o.loaded {
		return
	}
	l := o.lanes[it.key]
	switch {
	case l == nil:
	case it.retry:
		if l.head == it.seq {
			l.resting = true
			e.evictLane(ep, l)
		}
	default:
		l.putOff(it.seq)
		if l.head == it.seq {
			l.head = 0
			e.evictLane(ep, l)
		}
	}
}

// evictLane takes out of memory what waits for a key's head.
func (e *Engine) evictLane(ep *endpoint, l *lane) {
	waiting := l.waiting
	l.waiting = nil
	ep.order.waiting -= len(waiting)
	e.metrics.queued.Sub(float64(len(waiting)))
	for _, it := range waiting {
		e.evict(it)
	}
}

// waitingTurns empties the lanes of an endpoint and returns what waited there.
func (ep *endpoint) waitingTurns() []*item {
	if ep.order == nil || ep.order.waiting == 0 {
		return nil
	}
	all := make([]*item, 0, ep.order.waiting)
	for _, l := range ep.order.lanes {
		all = append(all, l.waiting...)
		l.waiting = nil
	}
	ep.order.waiting = 0

	return all
}

// forgetTurns lets go of what is known of the keys of an endpoint that sends nothing; it is read
// again before it does.
func (e *Engine) forgetTurns(ep *endpoint) {
	if ep.order == nil || ep.deleted || ep.sendable && (!ep.circuit.open || ep.circuit.probing) {
		return
	}
	if len(ep.order.lanes) > 0 || len(ep.order.resting) > 0 {
		ep.order = newOrder(false)
		e.rescan(ep, 0)
	}
}

// rowGone follows a row that ended without having been in memory.
func (e *Engine) rowGone(ep *endpoint, seq journal.Seq) {
	o := ep.order
	if o == nil {
		return
	}
	key, resting := o.resting[seq]
	if !resting {
		return
	}
	delete(o.resting, seq)
	if l := o.lanes[key]; l != nil && l.head == seq {
		e.nextTurn(ep, key, l)
	}
}

// retry queues a retry, unless its turn has not come.
func (e *Engine) retry(ep *endpoint, row journal.RetryRow) bool {
	it := &item{endpoint: ep, seq: row.Seq, attempts: row.Attempts, first: row.First, retry: true, row: true}
	if ep.order != nil && !ep.order.resumes(it) {
		return false
	}
	e.enqueue(ep, it)

	return true
}

// resumes makes a retry its key's head, unless another one is.
func (o *order) resumes(it *item) bool {
	key, known := o.resting[it.seq]
	if !o.loaded || !known {
		return o.loaded
	}
	l := o.lanes[key]
	if l == nil {
		l = &lane{}
		o.lanes[key] = l
	}
	if l.head != 0 && l.head != it.seq {
		l.parked = true

		return false
	}
	l.head, l.resting = it.seq, false
	it.key = key

	return true
}

// feedTurn takes up a delivery from an ordered endpoint's page, or passes it over; false where the
// reading must stop before it.
func (e *Engine) feedTurn(ep *endpoint, seq journal.Seq, key uint64) bool {
	o := ep.order
	it := &item{endpoint: ep, seq: seq, key: key, row: true}
	if key == 0 {
		e.enqueue(ep, it)

		return true
	}
	l := o.lanes[key]
	switch {
	case l == nil && len(o.lanes) >= MaxBlockedKeys:
		return false
	case l == nil:
		o.lanes[key] = &lane{head: seq}
		e.enqueue(ep, it)
	case l.head != 0 && e.joins(o, l) && l.head < seq:
		e.wait(ep, l, it)
	case l.head != 0:
		l.putOff(seq)
	case l.more != 0 && l.more < seq && (ep.pagesPending > 0 || ep.held[l.more] != nil):
		// An earlier one is on its way to the page.
		return false
	default:
		l.head, l.more = seq, 0
		e.enqueue(ep, it)
	}

	return true
}

// tidyLanes forgets the keys whose next delivery was looked for on the pages and is not there.
func (ep *endpoint) tidyLanes() {
	if ep.order == nil {
		return
	}
	for key, l := range ep.order.lanes {
		if l.head == 0 && len(l.waiting) == 0 && ep.held[l.more] == nil {
			delete(ep.order.lanes, key)
		}
	}
}

// load finds out which keys of an endpoint wait for their next attempt.
func (k *keeper) load(ctx context.Context, ep *endpoint) error {
	e := k.engine
	e.mu.Lock()
	needed := ep.order != nil && !ep.order.loaded && ep.sendable
	e.mu.Unlock()
	if !needed {
		return nil
	}
	found, parked, err := k.resting(ctx, ep)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ep.order == nil || ep.order.loaded {
		return nil
	}
	o := newOrder(true)
	for _, one := range found {
		// What is in memory began before the order was kept, so nothing waits for it.
		if it := ep.held[one.seq]; it == nil || it.key == one.key {
			o.rests(one.seq, one.key)
		}
	}
	ep.order = o
	if parked {
		// Whose turn they wait for may have been forgotten.
		ep.parked, ep.again = true, true
	}

	return nil
}

// keyed is a delivery with what it is ordered by.
type keyed struct {
	seq journal.Seq
	key uint64
}

// resting are the deliveries with a key that wait for their next attempt, in order of position, and
// whether any row is parked.
func (k *keeper) resting(ctx context.Context, ep *endpoint) (found []keyed, parked bool, err error) {
	for after := journal.Seq(0); len(found) < MaxBlockedKeys; {
		rows, err := k.engine.cfg.Journal.View().Retries(ctx, ep.id, after, orderedBatch)
		if err != nil {
			return nil, false, fmt.Errorf("reading the retries of subscription %s: %w", ep.id, err)
		}
		seqs := make([]journal.Seq, 0, len(rows))
		for _, row := range rows {
			seqs = append(seqs, row.Seq)
			after = row.Seq
			parked = parked || row.Due.Equal(parkedDue)
		}
		keys, err := k.keys(ctx, seqs)
		if err != nil {
			return nil, false, err
		}
		for i, key := range keys {
			if key != 0 {
				found = append(found, keyed{seqs[i], key})
			}
		}
		if len(rows) < orderedBatch {
			break
		}
	}

	return found, parked, nil
}

// rests notes a delivery that waits for its next attempt, in order of position.
func (o *order) rests(seq journal.Seq, key uint64) {
	o.resting[seq] = key
	if l := o.lanes[key]; l == nil {
		o.lanes[key] = &lane{head: seq, resting: true}
	} else {
		l.parked = true
	}
}

// keys are those of events; 0 also where an event can never be read, which its delivery then tells.
// Another failure to read one is an error: it would pass by those before it.
func (k *keeper) keys(ctx context.Context, seqs []journal.Seq) ([]uint64, error) {
	keys := make([]uint64, len(seqs))
	if len(seqs) == 0 {
		return keys, nil
	}
	e := k.engine
	if events, err := e.cfg.Journal.Get(ctx, seqs); err == nil {
		for i := range events {
			keys[i] = e.keyOf(&events[i])
		}

		return keys, nil
	}
	for i, seq := range seqs {
		event, err := e.payloads.get(ctx, seq)
		switch {
		case err == nil:
			keys[i] = e.keyOf(event)
		case lost(err) == "":
			return nil, &unreadError{seq: seq, err: err}
		}
	}

	return keys, nil
}

// unreadError tells that an event could not be read for the moment, so that its key is not known.
type unreadError struct {
	seq journal.Seq
	err error
}

func (u *unreadError) Error() string { return u.err.Error() }

func (u *unreadError) Unwrap() error { return u.err }

// unread has an endpoint wait whose events could not be read; it returns any other error.
func (k *keeper) unread(ep *endpoint, err error) error {
	unread, ok := errors.AsType[*unreadError](err)
	if !ok {
		return err
	}
	e := k.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.accepting {
		return nil
	}
	e.cfg.Log.Error("Failed to read an event that is to be delivered in order",
		"subscription", ep.id, "position", unread.seq, "error", unread.err)
	e.pauseFor(ep, pauseAfterError)

	return nil
}
