package delivery

import (
	"context"
	"time"

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
	deadline deadline
}

// work makes attempts until there are no more.
func (e *Engine) work(w *worker, it *item) {
	defer e.workers.Done()
	for ; it != nil; it = <-w.next {
		e.deliver(it)
	}
	w.deadline.forget()
}

// dispatch gives an item to a worker. The caller holds the lock.
func (e *Engine) dispatch(it *item) {
	e.senders.Add(1)
	last := len(e.idle) - 1
	if last < 0 {
		e.workers.Add(1)
		it.worker = &worker{next: make(chan *item, 1), deadline: deadline{parent: e.sending}}
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
	deadline := &it.worker.deadline
	defer deadline.end()

	return e.sender.attempt(deadline.begin(requests.timeout), requests, event, deliveryID, it.first)
}

// deadline is a context that ends after a time, for one attempt after the other: attempts that
// end in time, which are most of them, share it.
type deadline struct {
	parent context.Context //nolint:containedctx // What it is made from, again and again.

	ctx    context.Context //nolint:containedctx // Attempts share it.
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// begin returns the context for an attempt, which ends after timeout with context.DeadlineExceeded
// as its cause. Each begin is followed by an end.
func (d *deadline) begin(timeout time.Duration) context.Context {
	if d.ctx != nil {
		d.timer.Reset(timeout)

		return d.ctx
	}
	ctx, cancel := context.WithCancelCause(d.parent)
	d.ctx, d.cancel = ctx, cancel
	d.timer = time.AfterFunc(timeout, func() { cancel(context.DeadlineExceeded) })

	return ctx
}

// end stops the time.
func (d *deadline) end() {
	if !d.timer.Stop() {
		d.forget()
	}
}

// forget lets go of the context.
func (d *deadline) forget() {
	if d.ctx != nil {
		d.cancel(context.Canceled)
		d.ctx, d.cancel, d.timer = nil, nil, nil
	}
}
