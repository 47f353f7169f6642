package delivery

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// expiredOf are the positions of a subscription's dead letters, which must all have expired.
func (r *rig) expiredOf(id string) []journal.Seq {
	r.t.Helper()
	var seqs []journal.Seq
	for _, letter := range r.deadLetters(id) {
		if letter.Reason != journal.ReasonBacklogExpired || letter.Event.ID == "" {
			r.t.Fatalf("a dead letter is %+v", letter)
		}
		seqs = append(seqs, letter.Seq)
	}

	return seqs
}

func TestEndpointBacklogIsCapped(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	release := make(chan struct{})
	endpoint.respond(func(http.ResponseWriter, string, int) { <-release })
	r := newRig(t, func(c *Config) {
		c.QueueLength, c.EndpointInFlight, c.MaxEndpointBacklog = 2, 1, 10
		c.Timeout, c.ShutdownGrace = time.Minute, 100*time.Millisecond
	})
	id := r.subscribe(endpoint.URL, nil)
	seqs := r.publish("a.b", ids("e", 100)...)
	var gone []journal.Seq
	eventually(t, "the backlog to shrink to its cap", func() bool {
		state, _ := r.engine.Endpoint(id)
		gone = r.expiredOf(id)

		return state.Waiting == 10 && len(gone) >= 100-10-3
	})
	// The oldest went, but for those in memory.
	first := slices.Index(seqs, gone[0])
	if first > 3 || !slices.Equal(gone, seqs[first:first+len(gone)]) {
		t.Errorf("those that expired are %v of %v", gone, seqs)
	}
	r.restart()
	eventually(t, "the rows to be counted", func() bool { state, _ := r.engine.Endpoint(id); return state.Waiting >= 10-3 })
	close(release)
	eventually(t, "the others to arrive", func() bool {
		_, accepted, _ := endpoint.counts()
		backlog, retries := r.rows(id)

		return accepted+len(r.expiredOf(id)) >= 100 && backlog+retries == 0
	})
}

func TestTenantBacklogIsCapped(t *testing.T) {
	t.Parallel()
	big, small := newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	for _, endpoint := range []*receiver{big, small} {
		endpoint.respond(func(http.ResponseWriter, string, int) { <-release })
	}
	r := newRig(t, func(c *Config) {
		c.QueueLength, c.EndpointInFlight, c.MaxTenantBacklog, c.Timeout = 2, 1, 30, time.Minute
	})
	most := r.subscribe(big.URL, nil)
	few := r.subscribe(small.URL, func(d *subscription.Draft) { d.Events = []string{"rare"} })
	r.publish("rare", ids("r", 10)...)
	r.publish("often", ids("o", 200)...)
	eventually(t, "the tenant's backlog to shrink to its cap", func() bool {
		a, _ := r.engine.Endpoint(most)
		b, _ := r.engine.Endpoint(few)

		return a.Waiting+b.Waiting == 30 && len(r.expiredOf(most)) >= 170
	})
	if gone := r.expiredOf(few); len(gone) > 0 {
		t.Errorf("%v went of the endpoint that has few", gone)
	}
	close(release)
	small.got(t, 10)
}

// TestWhatWaitsTooLongExpires: also of a disabled subscription, whose rows would hold the log for ever.
func TestWhatWaitsTooLongExpires(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	endpoint.always(http.StatusInternalServerError)
	r := newRigAt(t, clock, func(c *Config) {
		c.QueueLength, c.EndpointInFlight, c.Schedule = 2, 1, Schedule{0, 100 * time.Hour, 100 * time.Hour}
	})
	disabled, failing := r.subscribe(endpoint.URL, nil), r.subscribe(endpoint.URL, nil)
	old := r.publish("a.b", ids("old", 5)...)
	eventually(t, "the attempts to fail", func() bool {
		_, first := r.rows(disabled)
		_, second := r.rows(failing)

		return first == 5 && second == 5
	})
	r.enable(disabled, false)
	clock.Advance(DefaultBacklogAge - time.Hour)
	eventually(t, "the second attempts", func() bool { return len(r.attempts(failing)) == 10 })
	eventually(t, "the disabled one's to be parked", func() bool {
		rows, err := r.journal.View().Retries(t.Context(), disabled, 0, 10)

		return err == nil && len(rows) == 5 && rows[0].Due.Equal(parkedDue) && rows[4].Due.Equal(parkedDue)
	})
	young := r.publish("a.b", ids("young", 5)...)
	eventually(t, "the young ones to fail", func() bool { _, retries := r.rows(failing); return retries == 10 })
	if gone := append(r.expiredOf(disabled), r.expiredOf(failing)...); len(gone) > 0 {
		t.Fatalf("%v expired early", gone)
	}
	clock.Advance(time.Hour + expireInterval)
	for _, id := range []string{disabled, failing} {
		eventually(t, "the old ones of "+id+" to expire", func() bool { return slices.Equal(r.expiredOf(id), old) })
	}
	eventually(t, "the log to be free of them", func() bool {
		oldest, err := r.journal.View().OldestReference(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		return oldest == young[0]
	})
}

// settles is a journal that knows how many dead letters, and drops, were the most in one Settle.
type settles struct {
	journal.Journal

	letters, drops atomic.Int64
}

func (s *settles) Settle(ctx context.Context, shard journal.Shard, epoch journal.Epoch, batch journal.Batch) error {
	count := func(of journal.Result) (n int64) {
		for i := range batch.Outcomes {
			if batch.Outcomes[i].Result == of {
				n++
			}
		}

		return n
	}
	s.letters.Store(max(s.letters.Load(), count(journal.DeadLettered)))
	s.drops.Add(count(journal.Dropped))

	return s.Journal.Settle(ctx, shard, epoch, batch) //nolint:wrapcheck // As it is.
}

// TestExpiryIsBounded: each dead letter copies its event into the Settle, so only so many go with one.
func TestExpiryIsBounded(t *testing.T) {
	t.Parallel()
	const subscriptions, events = 8, 300
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	endpoint.always(http.StatusInternalServerError)
	counted := &settles{}
	r := newRigAt(t, clock, func(c *Config) {
		counted.Journal = c.Journal
		c.Journal = counted
		c.CircuitFailures, c.Schedule = 1, Schedule{0, 100 * time.Hour, 100 * time.Hour}
	})
	all := make([]string, 0, subscriptions)
	for range subscriptions {
		all = append(all, r.subscribe(endpoint.URL, nil))
	}
	r.settledTo(r.publish("a.b", ids("e", events)...)[events-1])
	for _, id := range all {
		r.enable(id, false)
		eventually(t, "all of "+id+" to wait", func() bool { backlog, retries := r.rows(id); return backlog+retries == events })
	}
	clock.Advance(DefaultBacklogAge + expireInterval)
	for _, id := range all {
		eventually(t, "those of "+id+" to expire", func() bool { return len(r.expiredOf(id)) == events })
	}
	if n := counted.letters.Load(); n > maxExpiring {
		t.Errorf("%d expired with one Settle: want at most %d", n, maxExpiring)
	}
}

// TestTheDeletedAreDroppedOnce: however often the keeper is asked to feed meanwhile.
func TestTheDeletedAreDroppedOnce(t *testing.T) {
	t.Parallel()
	const events = 2000
	counted := &settles{}
	endpoint := newReceiver(t)
	endpoint.always(http.StatusInternalServerError)
	r := newRig(t, func(c *Config) {
		counted.Journal = c.Journal
		c.Journal = counted
		c.CircuitFailures, c.ProbeAfter, c.MaxProbeWait, c.Schedule = 1, time.Hour, time.Hour, Schedule{0, time.Hour}
	})
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", ids("e", events)...)
	eventually(t, "all to wait", func() bool { backlog, retries := r.rows(id); return backlog+retries == events })
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				r.engine.feedSoon()
			}
		}
	}()
	if err := r.api.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it to be forgotten", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return r.engine.endpoints[id] == nil
	})
	if n := counted.drops.Load(); n != events {
		t.Errorf("%d deliveries were dropped %d times", events, n)
	}
}

// unreadable is a journal whose event at a position cannot be read.
type unreadable struct {
	journal.Journal

	seq   journal.Seq
	err   error
	asked atomic.Int64
}

func (u *unreadable) Get(ctx context.Context, seqs []journal.Seq) ([]journal.Event, error) {
	if slices.Contains(seqs, u.seq) {
		u.asked.Add(1)

		return nil, fmt.Errorf("getting events: %w: position %d", u.err, u.seq)
	}

	return u.Journal.Get(ctx, seqs) //nolint:wrapcheck // As it is.
}

func TestWhatCannotBeReadIsDeadLettered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason string
		err    error
		want   string
	}{
		"Corrupt": {"its bytes fail their check", journal.ErrCorrupt, journal.ReasonEventCorrupt},
		"Missing": {"the journal has it no more", journal.ErrTrimmed, journal.ReasonEventMissing},
	} {
		for _, ordering := range []string{"None", "ByKey"} {
			t.Run(name+ordering, func(t *testing.T) {
				t.Parallel()
				endpoint := newReceiver(t)
				r := newRig(t, nil)
				r.stored("sub", map[string]any{"url": endpoint.URL, "delivery": map[string]any{"ordering": ordering}})
				r.stop()
				seqs := r.publish("a.b", ids("e", 5)...)
				r.settle(journal.Batch{Cursor: seqs[4], Backlog: []journal.Ref{
					{Subscription: "sub", Seq: seqs[0]}, {Subscription: "sub", Seq: seqs[1]}, {Subscription: "sub", Seq: seqs[2]},
					{Subscription: "sub", Seq: seqs[3]}, {Subscription: "sub", Seq: seqs[4]},
				}})
				r.close()
				broken := &unreadable{seq: seqs[2], err: c.err}
				r.change = func(cfg *Config) { broken.Journal = cfg.Journal; cfg.Journal = broken }
				r.open()
				r.run()
				endpoint.got(t, 4)
				eventually(t, "the dead letter and no rows", func() bool {
					backlog, retries := r.rows("sub")

					return len(r.deadLetters("sub")) == 1 && backlog+retries == 0
				})
				if got := r.deadLetters("sub")[0]; got.Seq != seqs[2] || got.Reason != c.want || got.Attempts != 0 {
					t.Errorf("%s: the dead letter is %+v", c.reason, got)
				}
				if n := broken.asked.Load(); n > 3 {
					t.Errorf("%s: it was read %d times", c.reason, n)
				}
			})
		}
	}
}
