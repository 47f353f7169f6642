// Package deadline has contexts that end after a time and are used again and again: what most calls need
// of one is that it does not end, and that costs them a new one each.
package deadline

import (
	"context"
	"time"
)

// Deadline is a context that ends after a time, for one call after the other: calls that end in time, which
// are most of them, share it. It is for one goroutine at a time. The zero Deadline has no parent and cannot be used.
type Deadline struct {
	parent context.Context //nolint:containedctx // What it is made from, again and again.

	ctx    context.Context //nolint:containedctx // Calls share it.
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// New is a deadline whose contexts end with a parent at the latest.
func New(parent context.Context) *Deadline { return &Deadline{parent: parent} }

// Begin returns the context for a call, which ends after timeout with context.DeadlineExceeded
// as its cause. Each Begin is followed by an End.
func (d *Deadline) Begin(timeout time.Duration) context.Context {
	if d.ctx != nil {
		d.timer.Reset(timeout)

		return d.ctx
	}
	ctx, cancel := context.WithCancelCause(d.parent)
	d.ctx, d.cancel = ctx, cancel
	d.timer = time.AfterFunc(timeout, func() { cancel(context.DeadlineExceeded) })

	return ctx
}

// End stops the time.
func (d *Deadline) End() {
	if !d.timer.Stop() {
		d.Forget()
	}
}

// Forget lets go of the context. The deadline may be used again.
func (d *Deadline) Forget() {
	if d.ctx != nil {
		d.cancel(context.Canceled)
		d.ctx, d.cancel, d.timer = nil, nil, nil
	}
}
