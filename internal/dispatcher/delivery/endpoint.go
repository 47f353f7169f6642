package delivery

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// maxQueuedRetries is the part of an endpoint's queue that retries may take, so that they
// and new deliveries do not starve each other: one in so many.
const maxQueuedRetries = 4

// item is one delivery in memory: queued, under way, or waiting for the Settle of what
// became of it. While it is held, the rows that stand for it are not read again.
type item struct {
	endpoint *endpoint
	seq      journal.Seq
	// attempts were made so far, of which the first one began at first; zero where that is not kept.
	attempts int32
	first    time.Time
	// key is a hash of what its order is kept by; 0 where it has none.
	key uint64
	// retry: it comes from a retry row.
	retry bool
	// origin is the event that holds the cursor for this item; nil once a row stands for it.
	origin *origin
	// ended: its outcome is in a batch.
	ended bool
	// evicted: it leaves memory without an outcome, and its row is to be read again.
	evicted bool
	// row: a row of the journal stands for it, or will with the next Settle.
	row bool

	// replay is what it is sent again for, replayed its delivery there; nil for the others.
	replay   *replay
	replayed *replayed

	// started is when its attempt began; probe: it tries an endpoint whose circuit is open.
	started time.Time
	probe   bool
	// worker makes its attempt, nil but for then.
	worker *worker
	// late: it has been under way for SlowAfter. Until then it is listed with its neighbours.
	late, listed  bool
	before, after *item
}

// origin is an event of the log with deliveries that no row stands for yet.
type origin struct {
	seq   journal.Seq
	since time.Time
	items []*item
	open  int
}

// endpoint is where one subscription's deliveries go. Its fields belong to the engine's lock, but
// for what is atomic.
type endpoint struct {
	id string
	// sendable: the subscription is there, enabled and not suspended.
	sendable bool
	// deleted: the subscription is gone, and so is whatever waits for it.
	deleted bool

	// tenant is nil until the registry has shown the subscription.
	tenant   *tenantState
	revision journal.Revision

	queue []*item
	// held are those in memory by their place, queued or not; nil where there are none.
	held map[journal.Seq]*item
	// retries are how many of the queue come from retry rows.
	retries int
	// inFlight attempts are under way, at most limit.
	inFlight int
	limit    int
	// rank is its place in line for the global cap.
	rank rank
	// class is what it shares its places with, by the attempts that are late and by how long they take.
	class   class
	late    int
	latency time.Duration

	// wire is what its requests have in common, for the version that was sent last.
	wire atomic.Pointer[wire]

	circuit circuit
	// order is nil unless deliveries are ordered by key.
	order *order

	// rows are how many of its deliveries have a row, or will with the next Settle.
	rows int
	// warned is when it was last logged that the oldest of them went.
	warned time.Time

	// behind: there are pages with deliveries after filled that are not in memory. Those up to
	// filled are, or were.
	behind bool
	filled journal.Seq
	// stuck: what comes next there cannot be taken up before a Settle, or before a key is free.
	stuck bool
	// pagesPending are deliveries on their way to the pages with the next Settle.
	pagesPending int

	// parked: there may be parked retry rows after scanned; again: also before it.
	parked  bool
	scanned journal.Seq
	again   bool

	// replay is the one that runs, nil where none does.
	replay *replay

	limiter *rate.Limiter
	// pause holds the next start back until it fires; nil where nothing does.
	pause clockwork.Timer
}

func (ep *endpoint) ranked() *rank { return &ep.rank }

// endpointOf returns an endpoint, new where there was none. absent says what it means when
// the registry does not show the subscription: true that it is deleted, false that it is
// so new that it shows soon, which the registry then tells. The caller holds the lock.
func (e *Engine) endpointOf(id string, absent bool) *endpoint {
	if ep := e.endpoints[id]; ep != nil {
		return ep
	}
	ep := &endpoint{id: id}
	e.endpoints[id] = ep
	if current, ok := e.cfg.Registry.Current(id); ok {
		e.configure(ep, current)
	} else {
		ep.deleted = absent
	}

	return ep
}

// matched returns the endpoint of a subscription that the log says took an event. The
// registry follows the log in its own time, before the reader or after it.
func (e *Engine) matched(sub *registry.Subscription) *endpoint {
	if ep := e.endpoints[sub.ID]; ep != nil {
		return ep
	}

	return e.endpointOf(sub.ID, e.isGone(sub.ID) || sub.Seq <= e.startedAt && !e.present[sub.ID])
}

// configure takes over a subscription's settings. The caller holds the lock.
func (e *Engine) configure(ep *endpoint, current *registry.Subscription) {
	e.belong(ep, current.Tenant)
	ep.sendable = current.Takes()
	e.setOrdered(ep, current.Delivery.Ordering == subscription.OrderingByKey)
	if ep.revision != current.Revision {
		// It may have been mended, or be another address altogether.
		ep.revision = current.Revision
		ep.circuit.opened = 0
		e.probeNow(ep)
	}
	ep.limit = e.cfg.EndpointInFlight
	if current.Delivery.MaxInFlight > 0 {
		ep.limit = int(current.Delivery.MaxInFlight)
	}
	perSecond := rate.Limit(current.Delivery.RateLimit)
	switch {
	case perSecond <= 0:
		ep.limiter = nil
	case ep.limiter == nil:
		ep.limiter = rate.NewLimiter(perSecond, burst(current.Delivery.RateLimit))
	case ep.limiter.Limit() != perSecond:
		ep.limiter.SetLimitAt(e.cfg.Clock.Now(), perSecond)
		ep.limiter.SetBurstAt(e.cfg.Clock.Now(), burst(current.Delivery.RateLimit))
	}
}

// burst lets high rates start a hundredth of a second's attempts at once: timers are not
// exact enough for one by one.
func burst(perSecond int32) int {
	const shortest = 100

	return max(1, int(perSecond/shortest))
}

// place takes in one delivery of the event that was just read. The caller holds the lock.
func (e *Engine) place(sub *registry.Subscription, event *journal.Event, from *origin) {
	ep := e.matched(sub)
	var key uint64
	if ep.order != nil {
		key = e.keyOf(event)
	}
	switch {
	case ep.deleted:
		e.drop(ep, from.seq)
	case ep.sendable && !ep.behind && e.space(ep) > 0:
		if key != 0 && !e.takesTurn(ep, key, from) {
			return
		}
		e.enqueue(ep, from.item(ep, key))
	default:
		e.page(ep, from.seq, nil)
		e.overflow(ep, from.seq)
	}
}

// item is the delivery of an event that was just read to one endpoint.
func (o *origin) item(ep *endpoint, key uint64) *item {
	it := &item{endpoint: ep, seq: o.seq, key: key, origin: o}
	o.items = append(o.items, it)
	o.open++

	return it
}

// overflow makes an endpoint Behind from a position on.
func (e *Engine) overflow(ep *endpoint, from journal.Seq) {
	if !ep.behind {
		e.setBehind(ep, true)
		ep.filled = max(ep.filled, from-1)
	}
}

// space is how many more deliveries an endpoint may queue.
func (e *Engine) space(ep *endpoint) int {
	switch c := &ep.circuit; {
	case !c.open:
		return e.cfg.QueueLength - len(ep.queue)
	case c.probing && !c.underWay:
		return 1 - len(ep.queue)
	default:
		return 0
	}
}

// remember has an item in memory.
func (e *Engine) remember(ep *endpoint, it *item) {
	if ep.held == nil {
		ep.held = make(map[journal.Seq]*item)
	}
	ep.held[it.seq] = it
	if it.retry {
		e.retries++
	}
}

// hold has an item wait in memory.
func (e *Engine) hold(ep *endpoint, it *item) {
	e.remember(ep, it)
	e.metrics.queued.Inc()
}

func (e *Engine) enqueue(ep *endpoint, it *item) {
	e.hold(ep, it)
	e.line(ep, it)
}

// line puts an item that is held into its endpoint's queue.
func (e *Engine) line(ep *endpoint, it *item) {
	ep.queue = append(ep.queue, it)
	if it.retry {
		ep.retries++
	}
}

// page appends a delivery to its endpoint's page with the next Settle.
func (e *Engine) page(ep *endpoint, seq journal.Seq, it *item) {
	e.pending.backlog = append(e.pending.backlog, pageEntry{endpoint: ep, seq: seq, item: it})
	ep.pagesPending++
	if it != nil {
		it.row = true
	}
	e.addRows(ep, 1)
	e.noted()
}

// drop ends a delivery whose subscription is gone.
func (e *Engine) drop(ep *endpoint, seq journal.Seq) {
	e.metrics.dropped.Inc()
	e.pending.outcomes = append(e.pending.outcomes, journal.Outcome{
		Ref: journal.Ref{Subscription: ep.id, Seq: seq}, Result: journal.Dropped,
	})
	e.noted()
}

// dropRow drops a delivery that waits in the journal. Until its row is gone it is held, so that it is
// not dropped again; then the endpoint is looked at once more.
func (e *Engine) dropRow(ep *endpoint, seq journal.Seq) {
	it := &item{endpoint: ep, seq: seq, row: true}
	e.remember(ep, it)
	e.metrics.dropped.Inc()
	e.end(it, journal.Outcome{Ref: journal.Ref{Subscription: ep.id, Seq: seq}, Result: journal.Dropped})
}

func (e *Engine) setBehind(ep *endpoint, behind bool) {
	if ep.behind == behind {
		return
	}
	ep.behind, ep.stuck = behind, false
	if behind {
		e.metrics.behind.Inc()
	} else {
		e.metrics.behind.Dec()
	}
}

// pump starts what an endpoint may start. The caller holds the lock.
func (e *Engine) pump(ep *endpoint) {
	for e.mayStart(ep) {
		// A place that is free while others stand in line is theirs.
		if !e.free(ep.class) || e.sated(ep.tenant) || len(e.lines[ep.class].waiting) > 0 {
			e.standInLine(ep)
			if e.free(ep.class) {
				// Those before it may be of a tenant that has as many as it may.
				e.serveLine()
			}

			break
		}
		if !e.start(ep) {
			break
		}
	}
	e.pumpReplay(ep)
	e.wantMore(ep)
}

// mayStart tells whether an endpoint would use a place under the global cap.
func (e *Engine) mayStart(ep *endpoint) bool {
	return e.accepting && ep.sendable && ep.pause == nil && len(ep.queue) > 0 && ep.circuit.admits(ep.inFlight, ep.limit)
}

// start begins the next attempt, unless the endpoint's rate does not allow it yet.
func (e *Engine) start(ep *endpoint) bool {
	if ep.limiter != nil {
		now := e.cfg.Clock.Now()
		reservation := ep.limiter.ReserveN(now, 1)
		if wait := reservation.DelayFrom(now); wait > 0 {
			reservation.CancelAt(now)
			e.pauseFor(ep, wait)

			return false
		}
	}
	it := ep.queue[0]
	ep.queue[0] = nil
	ep.queue = ep.queue[1:]
	if it.retry {
		ep.retries--
	}
	e.metrics.queued.Dec()
	e.launch(it)

	return true
}

// launch begins an item's attempt.
func (e *Engine) launch(it *item) {
	ep := it.endpoint
	it.started = e.cfg.Clock.Now()
	it.probe = ep.circuit.open
	ep.circuit.underWay = ep.circuit.underWay || it.probe
	e.underWay.add(it)
	e.took(ep, 1)
	e.metrics.inFlight.Inc()
	e.dispatch(it)
}

// pauseFor holds an endpoint's next start back.
func (e *Engine) pauseFor(ep *endpoint, wait time.Duration) {
	if ep.pause != nil {
		return
	}
	ep.pause = e.cfg.Clock.AfterFunc(wait, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		ep.pause = nil
		e.pump(ep)
	})
}

// wantMore asks the keeper to feed an endpoint from its rows.
func (e *Engine) wantMore(ep *endpoint) {
	if !e.accepting || !ep.deleted && !e.wants(ep) {
		return
	}
	e.hungry[ep.id] = ep
	e.feedSoon()
}

// feedSoon has the keeper feed the hungry.
func (e *Engine) feedSoon() {
	select {
	case e.feeding <- struct{}{}:
	default:
	}
}

// wants tells whether an endpoint has rows that it can feed on now, and room for a good part of a queue. Where it
// has none of these, what changes that asks for more: otherwise the keeper would look again and again.
func (e *Engine) wants(ep *endpoint) bool {
	pages, parked := ep.behind && !ep.stuck, ep.parked && e.takesRetry(ep)
	if !ep.sendable || !pages && !parked {
		return false
	}
	if ep.circuit.open {
		return e.space(ep) > 0
	}

	return len(ep.queue) <= e.cfg.QueueLength/2
}

// left takes an item that was under way off the counts. The caller holds the lock.
func (e *Engine) left(it *item) {
	ep := it.endpoint
	if it.probe {
		ep.circuit.underWay = false
	}
	if it.late {
		ep.late--
	}
	if it.replay != nil {
		it.replay.inFlight--
		e.replayInFlight--
	}
	e.underWay.remove(it)
	e.took(ep, -1)
	e.metrics.inFlight.Dec()
	e.rest(it)
	if it.late {
		e.classify(ep)
	}
}

// unplaced frees the cursor of an item for which a row or an outcome stands now.
func (it *item) unplaced() {
	if it.origin != nil {
		it.origin.open--
		it.origin = nil
	}
}

// end puts what became of an item into the next batch. The caller holds the lock.
func (e *Engine) end(it *item, outcome journal.Outcome) {
	if it.replay != nil {
		e.endReplayed(it, outcome)

		return
	}
	it.ended = true
	it.unplaced()
	again := outcome.Result == journal.Retry
	switch {
	case again && !it.row:
		e.addRows(it.endpoint, 1)
	case !again && it.row:
		e.addRows(it.endpoint, -1)
	}
	e.pending.outcomes = append(e.pending.outcomes, outcome)
	e.pending.release = append(e.pending.release, it)
	e.noted()
	if it.key != 0 {
		e.turnEnded(it, again)
	}
}

// evict takes an item out of memory that cannot be sent now: a row stands for it, or will
// with the next Settle, and is read again later. The caller holds the lock.
func (e *Engine) evict(it *item) {
	it.evicted = true
	if it.origin != nil {
		it.unplaced()
		e.page(it.endpoint, it.seq, nil)
	}
	if it.retry {
		e.park(it.endpoint, it.seq)
	}
	e.pending.release = append(e.pending.release, it)
	e.noted()
	if it.key != 0 {
		e.turnLost(it)
	}
}

// evictQueue takes out all that waits in an endpoint's queue, and in its lanes.
func (e *Engine) evictQueue(ep *endpoint) {
	queue := slices.Concat(ep.queue, ep.waitingTurns())
	ep.queue, ep.retries = nil, 0
	e.metrics.queued.Sub(float64(len(queue)))
	for _, it := range queue {
		if ep.deleted {
			e.metrics.dropped.Inc()
			e.end(it, journal.Outcome{Ref: journal.Ref{Subscription: ep.id, Seq: it.seq}, Result: journal.Dropped})
		} else {
			e.evict(it)
		}
	}
	if len(ep.held) == 0 {
		e.forgetTurns(ep)
	}
}

// released lets go of an item after the Settle of what became of it.
func (e *Engine) released(it *item) {
	ep := it.endpoint
	ep.stuck = false
	if delete(ep.held, it.seq); len(ep.held) == 0 {
		// A map does not shrink.
		ep.held = nil
		e.forgetTurns(ep)
	}
	if it.retry {
		e.retries--
	}
	if !it.evicted {
		return
	}
	if it.retry {
		ep.parked, ep.again = true, true

		return
	}
	e.rescan(ep, it.seq-1)
}
