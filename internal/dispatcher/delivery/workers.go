package delivery

import (
	"github.com/hookline-dev/hookline/internal/dispatcher/deadline"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

// maxIdleWorkers is how many workers wait for the next attempt, so that it need not begin with a
// small stack that grows. How many there are in all is bounded by the attempts under way.
const maxIdleWorkers = 128

// worker makes attempts, one after the other.
type worker struct {
	// next is closed where there are no more.
	next     chan *item
	deadline *deadline.Deadline
}

// work makes attempts until there are no more.
func (e *Engine) work(w *worker, it *item) {
	defer e.workers.Done()
	for ; it != nil; it = <-w.next {
		e.deliver(it)
	}
	w.deadline.Forget()
}

// dispatch gives an item to a worker. The caller holds the lock.
func (e *Engine) dispatch(it *item) {
	e.senders.Add(1)
	last := len(e.idle) - 1
	if last < 0 {
		e.workers.Add(1)
		it.worker = &worker{next: make(chan *item, 1), deadline: deadline.New(e.sending)}
		go e.work(it.worker, it)

		return
	}
	w := e.idle[last]
	it.worker = w
	e.idle[last] = nil
	e.idle = e.idle[:last]
	w.next <- it
}

// rest has an item's worker wait, or end, for the attempt has been made. The caller holds the lock.
func (e *Engine) rest(it *item) {
	w := it.worker
	it.worker = nil
	if !e.accepting || len(e.idle) >= maxIdleWorkers {
		close(w.next)

		return
	}
	e.idle = append(e.idle, w)
}

// dismiss ends the workers that wait. The caller holds the lock.
func (e *Engine) dismiss() {
	for _, w := range e.idle {
		close(w.next)
	}
	e.idle = nil
}

// attempt makes an item's attempt.
func (e *Engine) attempt(it *item, sub *registry.Subscription, event *journal.Event, deliveryID string) exchange {
	requests := it.endpoint.wire.Load()
	if requests == nil || requests.sub != sub {
		requests = e.sender.wire(sub)
		it.endpoint.wire.Store(requests)
	}
	within := it.worker.deadline
	defer within.End()

	return e.sender.attempt(within.Begin(requests.timeout), requests, event, deliveryID, it.first)
}
