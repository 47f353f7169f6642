package delivery

import (
	"container/heap"
	"time"
)

// SlowAfter is how long an endpoint may take for an attempt before it counts as slow: while one
// is under way for longer, or where attempts take longer on average. Slow endpoints share a
// quarter of the places among them.
const SlowAfter = time.Second

const (
	// slowPart of the places is the most that slow endpoints take up.
	slowPart = 4
	// overdraft bounds all attempts under way, in caps: attempts that turned out slow beyond their
	// part take no place from the others, up to this.
	overdraft = 2
	// tenantPart is how many quarters of all attempts that may be under way one tenant may have while
	// there are others: so endpoints of one that all hang leave room for those of the others. It is more
	// than half, so that no two tenants have as many.
	tenantPart = 3
	// latencyWeight is the part of the average that the latest attempt makes up: one in so many.
	latencyWeight = 8
	// maxLatencySample keeps an endpoint that once timed out from being slow for long.
	maxLatencySample = 4 * SlowAfter
)

// class tells endpoints that take up places for long from those that do not.
type class uint8

const (
	fastClass class = iota
	slowClass
	classes
)

// rank orders those who wait for a place: who has the fewest goes first, and among equals
// who waits longest.
type rank struct {
	inFlight int
	ticket   uint64
	// at is the place in the heap, plus one; 0 where it does not wait.
	at int
}

func (r *rank) ranked() *rank { return r }

func (r *rank) before(other *rank) bool {
	if r.inFlight != other.inFlight {
		return r.inFlight < other.inFlight
	}

	return r.ticket < other.ticket
}

// waiters is a heap of those who wait.
type waiters[T interface{ ranked() *rank }] []T

func (w waiters[T]) Len() int           { return len(w) }
func (w waiters[T]) Less(i, j int) bool { return w[i].ranked().before(w[j].ranked()) }

func (w waiters[T]) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].ranked().at, w[j].ranked().at = i+1, j+1
}

func (w *waiters[T]) Push(x any) {
	one := x.(T) //nolint:forcetypeassert // The heap's own.
	*w = append(*w, one)
	one.ranked().at = len(*w)
}

func (w *waiters[T]) Pop() any {
	last := len(*w) - 1
	one := (*w)[last]
	var none T
	(*w)[last] = none
	*w = (*w)[:last]
	one.ranked().at = 0

	return one
}

// moved restores the order after one's attempts have changed.
func (w *waiters[T]) moved(one T) {
	if at := one.ranked().at; at > 0 {
		heap.Fix(w, at-1)
	}
}

func (w *waiters[T]) remove(one T) {
	if at := one.ranked().at; at > 0 {
		heap.Remove(w, at-1)
	}
}

// share is what one tenant has under way in one class, and which of its endpoints wait.
type share struct {
	rank

	tenant  *tenantState
	waiting waiters[*endpoint]
}

// tenantState is what an engine knows of one tenant.
type tenantState struct {
	name   string
	shares [classes]share
	// inFlight attempts are under way to all of its endpoints.
	inFlight int
	// endpoints are its endpoints that are not deleted; rows are how many deliveries wait for all of them.
	endpoints map[*endpoint]struct{}
	rows      int
}

// line is what is under way in one class, and which tenants wait.
type line struct {
	inFlight int
	waiting  waiters[*share]
}

func (l *line) top() *share {
	if len(l.waiting) == 0 {
		return nil
	}

	return l.waiting[0]
}

func (e *Engine) tenantOf(name string) *tenantState {
	t := e.tenants[name]
	if t == nil {
		t = &tenantState{name: name, endpoints: make(map[*endpoint]struct{})}
		for c := range t.shares {
			t.shares[c].tenant = t
		}
		e.tenants[name] = t
	}

	return t
}

// belong makes an endpoint one of its tenant's.
func (e *Engine) belong(ep *endpoint, name string) {
	if ep.tenant != nil {
		return
	}
	ep.tenant = e.tenantOf(name)
	ep.tenant.endpoints[ep] = struct{}{}
	ep.tenant.rows += ep.rows
}

// part takes an endpoint that is deleted from its tenant, and forgets a tenant that has none.
func (e *Engine) part(ep *endpoint) {
	t := ep.tenant
	if t == nil {
		return
	}
	e.leaveLine(ep)
	delete(t.endpoints, ep)
	t.rows -= ep.rows
	delete(e.over, ep)
	if len(t.endpoints) == 0 {
		delete(e.tenants, t.name)
	}
}

// slowCap is how many places slow endpoints share.
func (e *Engine) slowCap() int { return max(1, e.cfg.MaxInFlight/slowPart) }

// free tells whether a class may take one more place.
func (e *Engine) free(c class) bool {
	fast, slow := e.lines[fastClass].inFlight, e.lines[slowClass].inFlight
	if c == slowClass {
		return slow < e.slowCap() && fast+slow < e.cfg.MaxInFlight
	}

	return fast+min(slow, e.slowCap()) < e.cfg.MaxInFlight && fast+slow < overdraft*e.cfg.MaxInFlight
}

// sated tells whether a tenant has as many attempts under way as it may.
func (e *Engine) sated(t *tenantState) bool {
	const quarters = 4

	return len(e.tenants) > 1 && t.inFlight >= max(1, tenantPart*overdraft*e.cfg.MaxInFlight/quarters)
}

// next is the tenant of a line that gets the next place, nil where none may.
func (e *Engine) next(l *line) *share {
	if len(l.waiting) == 0 || !e.sated(l.waiting[0].tenant) {
		return l.top()
	}
	// No other has as many, so it is one of the two that come next in the heap.
	const children = 2
	var best *share
	for _, s := range l.waiting[1:min(1+children, len(l.waiting))] {
		if best == nil || s.before(&best.rank) {
			best = s
		}
	}

	return best
}

// took counts attempts that began, or with -1 ended, for their endpoint and its tenant.
func (e *Engine) took(ep *endpoint, n int) {
	ep.inFlight += n
	ep.tenant.inFlight += n
	e.inFlight += n
	e.count(ep, n)
	if n > 0 {
		ep.circuit.began(e.cfg.Clock.Now(), ep.inFlight)
	}
}

// count books attempts in an endpoint's class.
func (e *Engine) count(ep *endpoint, n int) {
	l, s := &e.lines[ep.class], &ep.tenant.shares[ep.class]
	l.inFlight += n
	s.rank.inFlight += n
	ep.rank.inFlight = ep.inFlight
	s.waiting.moved(ep)
	l.waiting.moved(s)
}

// standInLine has an endpoint wait for a place. Who has the fewest attempts under way gets
// the next one: among tenants first, then among the endpoints of that tenant.
func (e *Engine) standInLine(ep *endpoint) {
	if ep.rank.at > 0 {
		return
	}
	e.tickets++
	l, s := &e.lines[ep.class], &ep.tenant.shares[ep.class]
	ep.rank.ticket, ep.rank.inFlight = e.tickets, ep.inFlight
	heap.Push(&s.waiting, ep)
	if s.at == 0 {
		s.ticket = e.tickets
		heap.Push(&l.waiting, s)
	}
}

func (e *Engine) leaveLine(ep *endpoint) {
	l, s := &e.lines[ep.class], &ep.tenant.shares[ep.class]
	s.waiting.remove(ep)
	if len(s.waiting) == 0 {
		l.waiting.remove(s)
	}
}

// served has a tenant whose turn it was wait longest no more, where others of its endpoints wait.
func (e *Engine) served(ep *endpoint) {
	if s := &ep.tenant.shares[ep.class]; s.at > 0 {
		e.tickets++
		s.ticket = e.tickets
		e.lines[ep.class].waiting.moved(s)
	}
}

// first is the endpoint that gets the next place, nil where none may.
func (e *Engine) first() *endpoint {
	var best *share
	for c := range classes {
		if !e.free(c) {
			continue
		}
		if s := e.next(&e.lines[c]); s != nil && (best == nil || s.before(&best.rank)) {
			best = s
		}
	}
	if best == nil {
		return nil
	}

	return best.waiting[0]
}

// serveLine gives away the places that are free.
func (e *Engine) serveLine() {
	for ep := e.first(); ep != nil; ep = e.first() {
		e.leaveLine(ep)
		e.served(ep)
		if e.mayStart(ep) && e.start(ep) && e.mayStart(ep) {
			e.standInLine(ep)
		}
		e.wantMore(ep)
	}
	e.pumpReplays()
}

// timed follows how long an endpoint takes.
func (e *Engine) timed(ep *endpoint, took time.Duration) {
	ep.latency += (min(took, maxLatencySample) - ep.latency) / latencyWeight
	e.classify(ep)
}

// classify moves an endpoint to the class it belongs to.
func (e *Engine) classify(ep *endpoint) {
	now := fastClass
	if ep.late > 0 || ep.latency > SlowAfter {
		now = slowClass
	}
	if now == ep.class {
		return
	}
	waits := ep.rank.at > 0
	if waits {
		e.leaveLine(ep)
	}
	e.count(ep, -ep.inFlight)
	ep.class = now
	e.count(ep, ep.inFlight)
	if waits {
		e.standInLine(ep)
	}
	if now == slowClass {
		e.metrics.slow.Inc()
	} else {
		e.metrics.slow.Dec()
	}
}

// underWay are the attempts under way that are not late, oldest first.
type underWay struct{ first, last *item }

func (u *underWay) add(it *item) {
	it.before = u.last
	if u.last != nil {
		u.last.after = it
	} else {
		u.first = it
	}
	u.last = it
	it.listed = true
}

func (u *underWay) remove(it *item) {
	if !it.listed {
		return
	}
	if it.before != nil {
		it.before.after = it.after
	} else {
		u.first = it.after
	}
	if it.after != nil {
		it.after.before = it.before
	} else {
		u.last = it.before
	}
	it.before, it.after, it.listed = nil, nil, false
}

// findLate makes slow what takes long, while it does: whoever hangs is known before any
// timeout. The caller holds the lock.
func (e *Engine) findLate(now time.Time) {
	found := false
	for it := e.underWay.first; it != nil && now.Sub(it.started) >= SlowAfter; it = e.underWay.first {
		e.underWay.remove(it)
		it.late = true
		it.endpoint.late++
		e.classify(it.endpoint)
		found = true
	}
	if found {
		e.serveLine()
	}
}
