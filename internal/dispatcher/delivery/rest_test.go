package delivery

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// paged is a journal that counts the readings of pages.
type paged struct {
	journal.Journal

	pages atomic.Int64
}

func (c *paged) View() journal.View { return pagedView{View: c.Journal.View(), paged: c} }

type pagedView struct {
	journal.View

	paged *paged
}

func (v pagedView) Backlog(ctx context.Context, id string, after journal.Seq, most int) ([]journal.Seq, error) {
	v.paged.pages.Add(1)

	return v.View.Backlog(ctx, id, after, most) //nolint:wrapcheck // As it is.
}

// countPages has a rig's engine work on a journal that counts.
func countPages(c *paged) func(*Config) {
	return func(cfg *Config) { c.Journal, cfg.Journal = cfg.Journal, c }
}

// rests waits until nobody has been fed for a while.
func (r *rig) rests(c *paged) {
	r.t.Helper()
	const looks = 300
	quiet, pages := 0, c.pages.Load()
	eventually(r.t, "the keeper to rest", func() bool {
		for ; quiet < looks; quiet++ {
			r.engine.mu.Lock()
			busy := len(r.engine.hungry) > 0 || len(r.engine.feeding) > 0
			r.engine.mu.Unlock()
			if now := c.pages.Load(); busy || now != pages {
				quiet, pages = 0, now

				return false
			}
			time.Sleep(50 * time.Microsecond)
		}

		return true
	})
}

// TestKeeperRestsWhileRetriesHaveNoRoom: retries that are put aside wait until their part of the queue has room.
// To look at them all the while would take a processor.
func TestKeeperRestsWhileRetriesHaveNoRoom(t *testing.T) {
	t.Parallel()
	const retries = 10
	endpoint := newReceiver(t)
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	endpoint.respond(func(w http.ResponseWriter, id string, nth int) {
		switch {
		case id == "hangs":
			<-release
		case id != "waits" && nth == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	var c paged
	r := newRig(t, func(cfg *Config) {
		cfg.EndpointInFlight, cfg.QueueLength, cfg.Schedule, cfg.Timeout = 1, 16, Schedule{0, 200 * time.Millisecond}, time.Minute
		countPages(&c)(cfg)
	})
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", ids("fails-", retries)...)
	r.publish("a.b", "hangs", "waits")
	eventually(t, "retries to be put aside", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		ep := r.engine.endpoints[id]

		return ep != nil && ep.parked && ep.retries < len(ep.queue) && ep.inFlight == 1
	})
	r.rests(&c)
	let()
	endpoint.got(t, retries+2)
	eventually(t, "the rows to go", func() bool { backlog, retries := r.rows(id); return backlog+retries == 0 })
}

// TestKeeperRestsWhileKeysAreBlocked: pages that nothing can be taken up from wait until a key is free.
func TestKeeperRestsWhileKeysAreBlocked(t *testing.T) {
	t.Parallel()
	const waiting = 3
	endpoint := newReceiver(t)
	clock := clockwork.NewFakeClock()
	var c paged
	r := &rig{t: t, fs: vfs.NewMem(), clock: clock, change: countPages(&c)}
	r.open()
	id := r.ordered(endpoint.URL)
	all := make([]string, 0, MaxBlockedKeys+waiting)
	for i := range cap(all) {
		all = append(all, fmt.Sprintf("k%d-0", i))
	}
	seqs := r.publishKeyed(all...)
	batch := journal.Batch{Cursor: seqs[len(seqs)-1]}
	for i, seq := range seqs {
		ref := journal.Ref{Subscription: id, Seq: seq}
		switch {
		case i == 0:
			batch.Outcomes = append(batch.Outcomes, journal.Outcome{Ref: ref, Result: journal.Retry, NextAttempt: clock.Now().Add(time.Second)})
		case i < MaxBlockedKeys:
			batch.Outcomes = append(batch.Outcomes, journal.Outcome{Ref: ref, Result: journal.Retry, NextAttempt: clock.Now().Add(time.Hour)})
		default:
			batch.Backlog = append(batch.Backlog, ref)
		}
	}
	r.settle(batch)
	r.close()
	r.open()
	r.run()
	t.Cleanup(func() { r.stop(); r.close() })
	eventually(t, "all keys to be blocked", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		ep := r.engine.endpoints[id]

		return ep != nil && ep.order != nil && ep.order.loaded && len(ep.order.lanes) == MaxBlockedKeys && ep.behind
	})
	r.rests(&c)
	clock.Advance(time.Second)
	endpoint.got(t, 1+waiting)
}
