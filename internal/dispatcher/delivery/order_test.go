package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// publishKeyed appends events whose ids begin with their key and a dash; every other one has it as
// its subject, the others as their partition key beside another subject. A key "none" is none.
func (r *rig) publishKeyed(ids ...string) []journal.Seq {
	r.t.Helper()
	events := make([]journal.Event, 0, len(ids))
	for i, id := range ids {
		key, _, _ := strings.Cut(id, "-")
		event := journal.Event{
			Tenant: tenant, Source: "/test", ID: id, Type: "a.b", Accepted: r.clock.Now(),
			Body: fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/test","type":"a.b"}`, id),
		}
		switch {
		case key == "none":
		case i%2 == 0:
			event.Subject = key
		default:
			event.PartitionKey, event.Subject = key, "another"
		}
		events = append(events, event)
	}
	receipts, err := r.journal.Append(r.t.Context(), events)
	if err != nil {
		r.t.Fatal(err)
	}
	seqs := make([]journal.Seq, 0, len(receipts))
	for _, receipt := range receipts {
		seqs = append(seqs, receipt.Seq)
	}

	return seqs
}

func (r *rig) ordered(url string) string {
	r.t.Helper()
	r.sent++
	id := fmt.Sprintf("ordered-%d", r.sent)
	r.stored(id, map[string]any{"url": url, "delivery": map[string]any{"ordering": "ByKey"}})

	return id
}

// interleaved are n ids of each key, in turn.
func interleaved(n int, keys ...string) []string {
	var all []string
	for i := range n {
		for _, key := range keys {
			all = append(all, fmt.Sprintf("%s-%03d", key, i))
		}
	}

	return all
}

// inOrder checks that the ids of each key were first accepted in order.
func (r *receiver) inOrder(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	last := map[string]string{}
	for _, id := range r.order {
		key, _, _ := strings.Cut(id, "-")
		if key != "none" && id < last[key] {
			t.Errorf("%s was accepted after %s", id, last[key])
		}
		last[key] = max(last[key], id)
	}
}

func TestOrderByKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason  string
		change  func(*Config)
		restart bool
	}{
		"Live":     {reason: "all fit into the queue", change: func(c *Config) { c.QueueLength = 1000 }},
		"Behind":   {reason: "most wait on pages", change: func(c *Config) { c.QueueLength = 4 }},
		"Restarts": {reason: "what is blocked is known again", change: func(c *Config) { c.QueueLength = 4 }, restart: true},
		"Circuit":  {reason: "what is blocked is forgotten meanwhile", change: func(c *Config) { c.QueueLength, c.CircuitFailures, c.ProbeAfter = 4, 2, time.Millisecond }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := newReceiver(t)
			endpoint.respond(func(w http.ResponseWriter, id string, nth int) {
				// Every seventh fails twice, so that its key is blocked for a while.
				if hash(id)%7 == 0 && nth < 3 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			r := newRig(t, func(cfg *Config) {
				cfg.EndpointInFlight, cfg.Schedule = 4, Schedule{0, 5 * time.Millisecond, 10 * time.Millisecond, time.Second}
				c.change(cfg)
			})
			id := r.ordered(endpoint.URL)
			all := interleaved(60, "a", "b", "c", "none", "d")
			for chunk := range slices.Chunk(all, 50) {
				r.publishKeyed(chunk...)
				if c.restart {
					r.restart()
				}
			}
			endpoint.got(t, len(all))
			eventually(t, "the rows to go", func() bool { backlog, retries := r.rows(id); return backlog+retries == 0 })
			endpoint.inOrder(t)
			if _, _, most := endpoint.counts(); most > 1 {
				t.Errorf("%s: an event was accepted %d times", c.reason, most)
			}
			eventually(t, "the keys to be forgotten", func() bool {
				r.engine.mu.Lock()
				defer r.engine.mu.Unlock()
				o := r.engine.endpoints[id].order

				return len(o.lanes) == 0 && len(o.resting) == 0 && o.waiting == 0
			})
		})
	}
}

// TestAFailedHeadBlocksItsKeyAlone: the others go on, however much waits behind it, and it is
// freed by its dead letter.
func TestAFailedHeadBlocksItsKeyAlone(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.respond(func(w http.ResponseWriter, id string, _ int) {
		if id == "a-000" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	r := newRig(t, func(c *Config) {
		c.EndpointInFlight, c.QueueLength, c.Schedule = 4, 8, Schedule{0, 300 * time.Millisecond, 300 * time.Millisecond}
	})
	id := r.ordered(endpoint.URL)
	r.publishKeyed(interleaved(100, "a", "b", "none")...)
	eventually(t, "all but the blocked key to arrive", func() bool { _, accepted, _ := endpoint.counts(); return accepted >= 200 })
	if n := endpoint.triedTimes("a-001"); n > 0 && len(r.deadLetters(id)) == 0 {
		t.Error("the second of the key went before the first had ended")
	}
	r.restart()
	endpoint.got(t, 299)
	endpoint.inOrder(t)
	eventually(t, "the dead letter", func() bool {
		letters := r.deadLetters(id)

		return len(letters) == 1 && letters[0].Event.ID == "a-000"
	})
	eventually(t, "the rows to go", func() bool { backlog, retries := r.rows(id); return backlog+retries == 0 })
}

// TestOrderIsSwitched: what waits meanwhile is lost neither way.
func TestOrderIsSwitched(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.respond(func(w http.ResponseWriter, id string, nth int) {
		if hash(id)%5 == 0 && nth < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	r := newRig(t, func(c *Config) {
		c.EndpointInFlight, c.QueueLength, c.Schedule = 4, 8, Schedule{0, 5 * time.Millisecond, 10 * time.Millisecond, time.Second}
	})
	id := r.ordered(endpoint.URL)
	all := interleaved(80, "a", "b", "none")
	for i, ordering := range []string{"None", "ByKey", "None", "ByKey"} {
		r.publishKeyed(all[i*60 : (i+1)*60]...)
		r.stored(id, map[string]any{"url": endpoint.URL, "delivery": map[string]any{"ordering": ordering}})
	}
	endpoint.got(t, len(all))
	eventually(t, "the rows to go", func() bool { backlog, retries := r.rows(id); return backlog+retries == 0 })
}

// failing is a journal whose event at a position cannot be read for a while.
type failing struct {
	journal.Journal

	seq  journal.Seq
	left atomic.Int64
}

func (f *failing) Get(ctx context.Context, seqs []journal.Seq) ([]journal.Event, error) {
	if slices.Contains(seqs, f.seq) && f.left.Add(-1) >= 0 {
		return nil, errors.New("the disk does not answer")
	}

	return f.Journal.Get(ctx, seqs) //nolint:wrapcheck // As it is.
}

// TestOrderOutlastsAReadThatFails: an event that cannot be read for the moment may be of any key.
func TestOrderOutlastsAReadThatFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason string
		rows   func(seqs []journal.Seq, id string) journal.Batch
	}{
		"Pages": {reason: "what follows on the pages must wait", rows: func(seqs []journal.Seq, id string) journal.Batch {
			batch := journal.Batch{Cursor: seqs[len(seqs)-1]}
			for _, seq := range seqs {
				batch.Backlog = append(batch.Backlog, journal.Ref{Subscription: id, Seq: seq})
			}

			return batch
		}},
		"Retries": {reason: "what follows the retry must wait", rows: func(seqs []journal.Seq, id string) journal.Batch {
			batch := journal.Batch{Cursor: seqs[len(seqs)-1], Outcomes: []journal.Outcome{
				{Ref: journal.Ref{Subscription: id, Seq: seqs[0]}, Result: journal.Retry, NextAttempt: time.Now().Add(2 * time.Second)},
			}}
			for _, seq := range seqs[1:] {
				batch.Backlog = append(batch.Backlog, journal.Ref{Subscription: id, Seq: seq})
			}

			return batch
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := newReceiver(t)
			r := newRig(t, nil)
			id := r.ordered(endpoint.URL)
			r.stop()
			seqs := r.publishKeyed(interleaved(5, "a", "b")...)
			r.settle(c.rows(seqs, id))
			r.close()
			broken := &failing{seq: seqs[0]}
			broken.left.Store(3)
			r.change = func(cfg *Config) { broken.Journal = cfg.Journal; cfg.Journal = broken }
			r.open()
			r.run()
			endpoint.got(t, len(seqs))
			endpoint.inOrder(t)
			if left := broken.left.Load(); left >= 0 {
				t.Errorf("%s: it was not read often enough", c.reason)
			}
		})
	}
}

// TestParkedRetriesAreFoundAgain: a retry that was put aside until its turn comes is not forgotten with
// whom it waited for.
func TestParkedRetriesAreFoundAgain(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.ordered(endpoint.URL)
	r.stop()
	seqs := r.publishKeyed("a-000", "a-001")
	r.settle(journal.Batch{Cursor: seqs[1], Outcomes: []journal.Outcome{
		{Ref: journal.Ref{Subscription: id, Seq: seqs[0]}, Result: journal.Retry, NextAttempt: parkedDue},
		{Ref: journal.Ref{Subscription: id, Seq: seqs[1]}, Result: journal.Retry, NextAttempt: parkedDue},
	}})
	r.close()
	r.open()
	e := r.engine
	reader, err := e.recover(t.Context())
	if err != nil || reader == nil {
		t.Fatal(err)
	}
	e.endpoints[id].parked = false
	if err := (&keeper{engine: e}).load(t.Context(), e.endpoints[id]); err != nil {
		t.Fatal(err)
	}
	if ep := e.endpoints[id]; !ep.order.loaded || !ep.parked {
		t.Errorf("nobody looks for its parked retries: %+v", ep)
	}
}

// TestOrderBeginsWithSeveralOfAKeyUnderWay: what began before the order was kept is in none.
func TestOrderBeginsWithSeveralOfAKeyUnderWay(t *testing.T) {
	t.Parallel()
	const events = 16
	endpoint := newReceiver(t)
	release := make(chan struct{})
	endpoint.respond(func(w http.ResponseWriter, _ string, nth int) {
		if nth == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)

			return
		}
		<-release
	})
	r := newRig(t, func(c *Config) { c.QueueLength = 4 * events })
	settings := map[string]any{"url": endpoint.URL, "delivery": map[string]any{"ordering": "None", "maxInFlight": events}}
	r.stored("sub", settings)
	all := interleaved(events, "a")
	r.publishKeyed(all...)
	r.widened("sub")
	eventually(t, "all second attempts to be under way", func() bool {
		state, _ := r.engine.Endpoint("sub")
		_, retries := r.rows("sub")

		return state.InFlight == events && retries == events
	})
	settings["delivery"] = map[string]any{"ordering": "ByKey", "maxInFlight": events}
	r.stored("sub", settings)
	eventually(t, "the order to be kept", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		o := r.engine.endpoints["sub"].order

		return o != nil && o.loaded
	})
	close(release)
	endpoint.got(t, events)
	eventually(t, "the rows to go", func() bool { backlog, retries := r.rows("sub"); return backlog+retries == 0 })
}
