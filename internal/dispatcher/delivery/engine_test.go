package delivery

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jonboulle/clockwork"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

func TestDelivers(t *testing.T) {
	t.Parallel()
	all, some := newReceiver(t), newReceiver(t)
	r := newRig(t, nil)
	everything := r.subscribe(all.URL, nil)
	r.subscribe(some.URL, func(d *subscription.Draft) { d.Events = []string{"order.*", "order.paid"} })
	seqs := r.publish("order.paid", ids("o", 100)...)
	seqs = append(seqs, r.publish("user.added", ids("u", 50)...)...)
	all.got(t, 150)
	some.got(t, 100)
	r.settledTo(seqs[len(seqs)-1])
	if tried, _, most := some.counts(); tried != 100 || most != 1 {
		t.Errorf("the narrow subscription got %d events, one of them %d times: want 100, once each", tried, most)
	}
	if _, _, most := all.counts(); most != 1 {
		t.Errorf("an event arrived %d times", most)
	}
	eventually(t, "150 attempts and no rows", func() bool {
		backlog, retries := r.rows(everything)

		return backlog+retries == 0 && len(r.attempts(everything)) == 150
	})
	statuses, err := r.journal.View().Statuses(t.Context(), everything)
	if err != nil || len(statuses) != 2 || !statuses[0].Attempt.Success || statuses[0].Attempt.ResponseCode != 200 {
		t.Errorf("statuses %+v, %v", statuses, err)
	}
	last := r.attempts(everything)[0]
	if last.Number != 1 || last.DeliveryID != DeliveryID(tenant, "/test", last.EventID, everything) || last.ResponseText != "OK" {
		t.Errorf("the attempt's record is %+v", last)
	}
}

func TestRetriesUntilAccepted(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.respond(func(w http.ResponseWriter, _ string, nth int) {
		if nth < 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write([]byte(strings.Repeat("e", 5000)))
	})
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	seqs := r.publish("a.b", "1")
	endpoint.got(t, 1)
	eventually(t, "three attempts", func() bool { return len(r.attempts(id)) == 3 })
	got := r.attempts(id)
	want := []journal.Attempt{
		{Subscription: id, Seq: seqs[0], EventID: "1", EventType: "a.b", Number: 3, Success: true, ResponseCode: 200, ResponseText: "OK"},
		{Subscription: id, Seq: seqs[0], EventID: "1", EventType: "a.b", Number: 2, ResponseCode: 500, ResponseText: "Internal Server Error"},
		{Subscription: id, Seq: seqs[0], EventID: "1", EventType: "a.b", Number: 1, ResponseCode: 500, ResponseText: "Internal Server Error"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(journal.Attempt{}, "At", "Latency", "DeliveryID", "ResponseBody")); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	statuses, err := r.journal.View().Statuses(t.Context(), id)
	if err != nil || len(statuses) != 1 {
		t.Fatalf("%d statuses, %v: want one", len(statuses), err)
	}
	kept := map[string]int{
		"success": len(got[0].ResponseBody), "failure": len(got[1].ResponseBody), "latest": len(statuses[0].Attempt.ResponseBody),
	}
	if diff := cmp.Diff(map[string]int{
		"success": journal.MaxSuccessBody, "failure": journal.MaxFailureBody, "latest": journal.MaxFailureBody,
	}, kept); diff != "" {
		t.Errorf("bytes of bodies that are kept (-want +got):\n%s", diff)
	}
	if endpoint.ids["1"] != got[0].DeliveryID {
		t.Errorf("webhook-id %s over the retries: want %s", endpoint.ids["1"], got[0].DeliveryID)
	}
	eventually(t, "the retry row to go", func() bool { _, retries := r.rows(id); return retries == 0 })
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.always(http.StatusNotFound)
	cases := map[string]struct {
		reason string
		url    string
		change func(*subscription.Draft)
		config func(*Config)
		want   journal.DeadLetter
		text   string
	}{
		"Exhausted": {reason: "the schedule has ended", url: endpoint.URL, want: journal.DeadLetter{Reason: journal.ReasonAttemptsExhausted, Attempts: 3}, text: "Not Found"},
		"MaxAttempts": {
			reason: "the subscription's own number", url: endpoint.URL, change: func(d *subscription.Draft) { d.Delivery.MaxAttempts = 2 },
			want: journal.DeadLetter{Reason: journal.ReasonAttemptsExhausted, Attempts: 2}, text: "Not Found",
		},
		"Denied": {
			reason: "the policy does not allow it", url: never(t), config: func(c *Config) { c.Egress = NewEgressPolicy() },
			want: journal.DeadLetter{Reason: journal.ReasonTargetDenied, Attempts: 3}, text: "The egress policy denies the target's address",
		},
		"Refused": {reason: "nobody listens", url: never(t), want: journal.DeadLetter{Reason: journal.ReasonAttemptsExhausted, Attempts: 3}, text: "The endpoint refused the connection"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.config)
			id := r.subscribe(c.url, c.change)
			seqs := r.publish("a.b", "1")
			eventually(t, "the dead letter", func() bool { return len(r.deadLetters(id)) == 1 })
			got := r.deadLetters(id)[0]
			c.want.Ref, c.want.Tenant = journal.Ref{Subscription: id, Seq: seqs[0]}, tenant
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(journal.DeadLetter{}, "At", "Last", "Event")); diff != "" {
				t.Errorf("%s: dead letter (-want +got):\n%s", c.reason, diff)
			}
			if got.Event.ID != "1" || got.Last == nil || got.Last.ResponseText != c.text {
				t.Errorf("%s: event %q, last attempt %+v: want the text %q", c.reason, got.Event.ID, got.Last, c.text)
			}
			if backlog, retries := r.rows(id); backlog != 0 || retries != 0 {
				t.Errorf("%s: %d pages and %d retries are left", c.reason, backlog, retries)
			}
		})
	}
}

func TestGoneSuspendsAndResumes(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.respond(func(w http.ResponseWriter, id string, _ int) {
		if id == "first" {
			w.WriteHeader(http.StatusGone)
		}
	})
	r := newRig(t, func(c *Config) { c.EndpointInFlight = 1 })
	id := r.subscribe(endpoint.URL, nil)
	before := r.publish("a.b", append([]string{"first"}, ids("waits", 20)...)...)
	eventually(t, "the suspension", func() bool { sub, ok := r.registry.Current(id); return ok && sub.State.IsSuspended() })
	eventually(t, "the others to wait on pages", func() bool { backlog, _ := r.rows(id); return backlog >= 18 })
	after := r.publish("a.b", ids("skipped", 5)...)
	r.settledTo(after[len(after)-1])
	eventually(t, "the dead letter", func() bool { return len(r.deadLetters(id)) > 0 })
	letters := r.deadLetters(id)
	if len(letters) != 1 || letters[0].Seq != before[0] || letters[0].Reason != journal.ReasonGone {
		t.Fatalf("dead letters %+v: want the first alone", letters)
	}
	r.update(id, subscription.Patch{Resume: true})
	endpoint.got(t, 20)
	done := r.publish("a.b", "last")
	endpoint.got(t, 21)
	r.settledTo(done[0])
	tried, accepted, most := endpoint.counts()
	if tried != 22 || accepted != 21 || most != 1 {
		t.Errorf("%d events tried, %d accepted, one %d times: want 22, 21, once", tried, accepted, most)
	}
	intervals, err := r.journal.View().Skipped(t.Context(), id)
	if err != nil || len(intervals) != 1 || intervals[0].Reason != "Suspended" ||
		intervals[0].From <= before[20] || intervals[0].From >= after[0] || intervals[0].To <= after[4] || intervals[0].To >= done[0] {
		t.Errorf("skipped %+v, %v: want one interval around %d to %d", intervals, err, after[0], after[4])
	}
}

func TestDisableStopsAndEnableContinues(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	release := make(chan struct{})
	endpoint.respond(func(http.ResponseWriter, string, int) { <-release })
	r := newRig(t, func(c *Config) { c.EndpointInFlight, c.QueueLength = 2, 8 })
	id := r.subscribe(endpoint.URL, nil)
	seqs := r.publish("a.b", ids("e", 40)...)
	eventually(t, "two attempts under way", func() bool { tried, _, _ := endpoint.counts(); return tried == 2 })
	r.enable(id, false)
	close(release)
	endpoint.got(t, 2)
	skipped := r.publish("a.b", ids("skipped", 10)...)
	r.settledTo(skipped[9])
	eventually(t, "the rest to wait on pages", func() bool { backlog, _ := r.rows(id); return backlog == 38 })
	if tried, _, _ := endpoint.counts(); tried != 2 {
		t.Fatalf("%d events were sent while disabled", tried-2)
	}
	r.enable(id, true)
	endpoint.got(t, 40)
	eventually(t, "the pages to empty", func() bool { backlog, _ := r.rows(id); return backlog == 0 })
	last := r.publish("a.b", "last")
	endpoint.got(t, 41)
	if tried, _, most := endpoint.counts(); tried != 41 || most != 1 {
		t.Errorf("%d events tried, one accepted %d times: want 41, once", tried, most)
	}
	intervals, err := r.journal.View().Skipped(t.Context(), id)
	if err != nil || len(intervals) != 1 || intervals[0].From <= seqs[39] || intervals[0].To <= skipped[9] || intervals[0].To >= last[0] {
		t.Errorf("skipped %+v, %v: want one interval around %d to %d", intervals, err, skipped[0], skipped[9])
	}
}

func TestDisabledRetriesWait(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.always(http.StatusServiceUnavailable)
	r := newRig(t, func(c *Config) { c.Schedule = Schedule{0, 300 * time.Millisecond, time.Second, time.Second} })
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", ids("e", 200)...)
	eventually(t, "all to wait for their retries", func() bool { _, retries := r.rows(id); return retries == 200 })
	r.enable(id, false)
	eventually(t, "the retries to be parked", func() bool {
		rows, err := r.journal.View().Retries(t.Context(), id, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if !row.Due.Equal(parkedDue) {
				return false
			}
		}

		return len(rows) == 200
	})
	r.restart()
	endpoint.always(http.StatusOK)
	if _, accepted, _ := endpoint.counts(); accepted != 0 {
		t.Fatalf("%d were delivered while disabled", accepted)
	}
	r.enable(id, true)
	endpoint.got(t, 200)
	eventually(t, "the rows to go", func() bool { backlog, retries := r.rows(id); return backlog+retries == 0 })
	if _, _, most := endpoint.counts(); most != 1 {
		t.Errorf("an event arrived %d times", most)
	}
}

func TestOverflowGoesToPages(t *testing.T) {
	t.Parallel()
	slow, fast := newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	slow.respond(func(http.ResponseWriter, string, int) { <-release })
	r := newRig(t, func(c *Config) { c.EndpointInFlight, c.QueueLength = 4, 16 })
	id := r.subscribe(slow.URL, nil)
	r.subscribe(fast.URL, nil)
	var seqs []journal.Seq
	for batch := range 20 {
		seqs = append(seqs, r.publish("a.b", ids(strings.Repeat("x", batch+1), 100)...)...)
	}
	fast.got(t, 2000)
	// What is queued and under way is placed within a second, and then the cursor is free.
	r.settledTo(seqs[len(seqs)-1])
	if backlog, _ := r.rows(id); backlog != 2000 {
		t.Errorf("%d deliveries on pages: want all 2000", backlog)
	}
	close(release)
	slow.got(t, 2000)
	eventually(t, "the pages to empty", func() bool { backlog, _ := r.rows(id); return backlog == 0 })
	r.publish("a.b", "live again")
	slow.got(t, 2001)
	for name, endpoint := range map[string]*receiver{"slow": slow, "fast": fast} {
		if _, _, most := endpoint.counts(); most != 1 {
			t.Errorf("%s: an event arrived %d times", name, most)
		}
	}
}

func TestDeleteDrops(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.always(http.StatusServiceUnavailable)
	r := newRig(t, func(c *Config) {
		c.EndpointInFlight, c.QueueLength, c.Schedule = 2, 8, Schedule{0, 100 * time.Millisecond, time.Hour}
	})
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", ids("e", 400)...)
	eventually(t, "some to fail", func() bool { _, retries := r.rows(id); return retries > 20 })
	if err := r.api.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rows to go", func() bool { backlog, retries := r.rows(id); return backlog+retries == 0 })
	last := r.publish("a.b", "unmatched")
	r.settledTo(last[0])
	tried, _, _ := endpoint.counts()
	unmatched, err := r.journal.View().IsUnmatched(t.Context(), last[0])
	if err != nil || !unmatched {
		t.Errorf("the event after the deletion is unmatched: %t, %v", unmatched, err)
	}
	eventually(t, "the endpoint to be forgotten", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return len(r.engine.endpoints) == 0 && len(r.engine.hungry) == 0
	})
	if now, _, _ := endpoint.counts(); now != tried {
		t.Errorf("%d events were sent after the deletion", now-tried)
	}
}

func TestRestartBeforeDelivery(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	r.subscribe(endpoint.URL, nil)
	r.stop()
	seqs := r.publish("a.b", ids("e", 300)...)
	r.close()
	r.open()
	r.run()
	endpoint.got(t, 300)
	r.settledTo(seqs[299])
	if _, _, most := endpoint.counts(); most != 1 {
		t.Errorf("an event arrived %d times", most)
	}
}

func TestRetriesSurviveARestart(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	endpoint.respond(func(w http.ResponseWriter, _ string, nth int) {
		if nth <= 2 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	r := newRigAt(t, clock, func(c *Config) {
		c.Schedule, c.Random = DefaultSchedule(), func() float64 { return 0.5 }
	})
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", "1")
	waits := func(attempts int32) journal.RetryRow {
		t.Helper()
		var rows []journal.RetryRow
		eventually(t, "the retry row", func() bool {
			var err error
			rows, err = r.journal.View().Retries(t.Context(), id, 0, 10)
			if err != nil {
				t.Fatal(err)
			}

			return len(rows) == 1 && rows[0].Attempts == attempts
		})

		return rows[0]
	}
	if due := waits(1).Due.Sub(clock.Now()); due != 5*time.Second {
		t.Errorf("the second attempt is due in %s: want 5s", due)
	}
	r.restart()
	clock.Advance(4900 * time.Millisecond)
	r.publish("a.b", "2")
	eventually(t, "the other event", func() bool { return endpoint.triedTimes("2") == 1 })
	if n := endpoint.triedTimes("1"); n != 1 {
		t.Fatalf("%d attempts before the retry is due", n)
	}
	advanceUntil(t, clock, 100*time.Millisecond, func() bool { return endpoint.triedTimes("1") == 2 })
	r.restart()
	advanceUntil(t, clock, 10*time.Second, func() bool { return endpoint.triedTimes("1") == 3 })
	endpoint.got(t, 1)
	eventually(t, "the record", func() bool { return r.attempts(id)[0].Number == 3 || r.attempts(id)[1].Number == 3 })
}

// advanceUntil moves a fake clock in steps, waiting for its effects in between.
func advanceUntil(t *testing.T, clock *clockwork.FakeClock, step time.Duration, condition func() bool) {
	t.Helper()
	eventually(t, "the condition while the clock moves", func() bool {
		if condition() {
			return true
		}
		clock.Advance(step)
		time.Sleep(5 * time.Millisecond)

		return condition()
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now().Truncate(time.Second))
	endpoint := newReceiver(t)
	endpoint.respond(func(w http.ResponseWriter, _ string, _ int) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	r := newRigAt(t, clock, func(c *Config) { c.Schedule, c.Random = DefaultSchedule(), func() float64 { return 0 } })
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", "1")
	eventually(t, "the retry row", func() bool { _, retries := r.rows(id); return retries == 1 })
	rows, err := r.journal.View().Retries(t.Context(), id, 0, 10)
	if err != nil || rows[0].Due.Sub(clock.Now()) != time.Hour {
		t.Errorf("due in %s, %v: want 1h", rows[0].Due.Sub(clock.Now()), err)
	}
}

func TestRotationSignsWithBoth(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	old := "whsec_" + strings.Repeat("b2xk", 16)
	id := r.subscribe(endpoint.URL, func(d *subscription.Draft) { d.Secret = old })
	r.publish("a.b", "before")
	endpoint.got(t, 1)
	fresh := "whsec_" + strings.Repeat("bmV3", 16)
	r.update(id, subscription.Patch{Secret: &fresh})
	r.publish("a.b", "after")
	endpoint.got(t, 2)
	endpoint.mu.Lock()
	defer endpoint.mu.Unlock()
	want := []map[string]bool{{old: true, fresh: false}, {old: true, fresh: true}}
	for i := range want {
		for secret, verifies := range want[i] {
			verifier, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifier.Verify(endpoint.bodies[i], endpoint.headers[i]); (err == nil) != verifies {
				t.Errorf("delivery %d verifies: %v, want %t", i, err, verifies)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	var underWay, most, total, mostTotal atomic.Int32
	limited, other := newReceiver(t), newReceiver(t)
	watch := func(own *atomic.Int32, peak *atomic.Int32) func(http.ResponseWriter, string, int) {
		return func(http.ResponseWriter, string, int) {
			raise(peak, own.Add(1))
			raise(&mostTotal, total.Add(1))
			time.Sleep(2 * time.Millisecond)
			own.Add(-1)
			total.Add(-1)
		}
	}
	limited.respond(watch(&underWay, &most))
	var otherUnderWay, otherMost atomic.Int32
	other.respond(watch(&otherUnderWay, &otherMost))
	r := newRig(t, func(c *Config) { c.MaxInFlight = 6 })
	r.subscribe(limited.URL, func(d *subscription.Draft) { d.Delivery.MaxInFlight = 3 })
	r.subscribe(other.URL, nil)
	r.publish("a.b", ids("e", 300)...)
	limited.got(t, 300)
	other.got(t, 300)
	if most.Load() > 3 || mostTotal.Load() > 6 {
		t.Errorf("%d attempts at once to the limited endpoint, %d in all: want at most 3 and 6", most.Load(), mostTotal.Load())
	}
	if otherMost.Load() < 3 {
		t.Errorf("the other endpoint had %d attempts at once: the limit of one must not hold another back", otherMost.Load())
	}
}

func raise(peak *atomic.Int32, to int32) {
	for {
		now := peak.Load()
		if to <= now || peak.CompareAndSwap(now, to) {
			return
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	limited, other := newReceiver(t), newReceiver(t)
	var mu sync.Mutex
	var times []time.Time
	limited.respond(func(http.ResponseWriter, string, int) {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Now())
	})
	r := newRig(t, nil)
	r.subscribe(limited.URL, func(d *subscription.Draft) { d.Delivery.RateLimit = 50 })
	r.subscribe(other.URL, nil)
	r.publish("a.b", ids("e", 40)...)
	other.got(t, 40)
	if tried, _, _ := limited.counts(); tried == 40 {
		t.Error("the rate limit held nothing back")
	}
	limited.got(t, 40)
	mu.Lock()
	defer mu.Unlock()
	// 40 starts at 50/s take 780 ms; a machine under load only makes it longer.
	if took := times[39].Sub(times[0]); took < 700*time.Millisecond {
		t.Errorf("40 deliveries at 50/s took %s", took)
	}
}

func TestShutdownWaitsAndPlaces(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	release := make(chan struct{})
	endpoint.respond(func(_ http.ResponseWriter, id string, nth int) {
		if id == "e0" && nth == 1 {
			<-release
		}
	})
	r := newRig(t, func(c *Config) { c.EndpointInFlight = 1 })
	id := r.subscribe(endpoint.URL, nil)
	seqs := r.publish("a.b", ids("e", 50)...)
	eventually(t, "the first attempt", func() bool { return endpoint.triedTimes("e0") == 1 })
	eventually(t, "the reader", func() bool { r.engine.mu.Lock(); defer r.engine.mu.Unlock(); return r.engine.read >= seqs[49] })
	time.AfterFunc(200*time.Millisecond, func() { close(release) })
	r.stop()
	if tried, accepted, _ := endpoint.counts(); tried != 1 || accepted != 1 {
		t.Errorf("%d tried, %d accepted during the drain: want what was under way to finish and nothing to start", tried, accepted)
	}
	if backlog, _ := r.rows(id); backlog != 49 {
		t.Errorf("%d placed on pages: want 49", backlog)
	}
	if len(r.attempts(id)) != 1 {
		t.Error("the last attempt was not settled")
	}
	r.close()
	r.open()
	r.run()
	endpoint.got(t, 50)
	if _, _, most := endpoint.counts(); most != 1 {
		t.Errorf("an event arrived %d times", most)
	}
}

func TestShutdownBreaksOff(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	release := make(chan struct{})
	endpoint.respond(func(_ http.ResponseWriter, _ string, nth int) {
		if nth == 1 {
			<-release
		}
	})
	r := newRig(t, func(c *Config) { c.ShutdownGrace, c.Timeout = 200*time.Millisecond, time.Minute })
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", "hangs")
	eventually(t, "the attempt", func() bool { return endpoint.triedTimes("hangs") == 1 })
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the drain took %s with a grace of 200ms", took)
	}
	if n := len(r.attempts(id)); n != 0 {
		t.Errorf("%d attempts were recorded: one that was broken off from here does not count", n)
	}
	close(release)
	r.close()
	r.open()
	r.run()
	eventually(t, "the event after the restart", func() bool { return endpoint.triedTimes("hangs") == 2 })
}

func TestSendTest(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	secret := "whsec_" + strings.Repeat("b2xk", 16)
	id := r.subscribe(endpoint.URL, func(d *subscription.Draft) { d.Secret, d.Enabled = secret, false })
	eventually(t, "the engine to run", func() bool { r.engine.mu.Lock(); defer r.engine.mu.Unlock(); return r.engine.accepting })
	attempt, err := r.engine.SendTest(t.Context(), id, "")
	if err != nil || !attempt.Success || !attempt.Test || attempt.EventType != TestEventType || attempt.Seq != 0 {
		t.Fatalf("test event: %+v, %v", attempt, err)
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(endpoint.bodies[0], endpoint.headers[0]); err != nil {
		t.Errorf("the independent library: %v", err)
	}
	recorded := r.attempts(id)
	if len(recorded) != 1 || !recorded[0].Test || recorded[0].DeliveryID != attempt.DeliveryID {
		t.Errorf("recorded %+v", recorded)
	}
	endpoint.always(http.StatusGone)
	attempt, err = r.engine.SendTest(t.Context(), id, "order.paid")
	if err != nil || attempt.Success || attempt.ResponseCode != 410 || attempt.EventType != "order.paid" {
		t.Errorf("test event to an endpoint that is gone: %+v, %v", attempt, err)
	}
	if sub, _ := r.registry.Current(id); sub.State.IsSuspended() {
		t.Error("a test event suspended the subscription")
	}
	if letters, rows := r.deadLetters(id), r.attempts(id); len(letters) != 0 || len(rows) != 2 {
		t.Errorf("%d dead letters, %d attempts: want 0 and 2", len(letters), len(rows))
	}
	if _, err := r.engine.SendTest(t.Context(), id, "not a type"); !errors.As(err, new(*subscription.InvalidError)) {
		t.Errorf("an impossible type: %v", err)
	}
	if _, err := r.engine.SendTest(t.Context(), "nobody", ""); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("an unknown subscription: %v", err)
	}
	r.stop()
	if _, err := r.engine.SendTest(t.Context(), id, ""); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

func TestResend(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.always(http.StatusInternalServerError)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	seqs := r.publish("a.b", "1")
	eventually(t, "the dead letter", func() bool { return len(r.deadLetters(id)) == 1 })
	attempt, err := r.engine.Resend(t.Context(), id, seqs[0])
	if err != nil || attempt.Success || attempt.Number != 4 {
		t.Errorf("first resend: %+v, %v: want the fourth attempt, failed", attempt, err)
	}
	if n := len(r.deadLetters(id)); n != 1 {
		t.Errorf("%d dead letters after a resend that failed: want 1", n)
	}
	endpoint.always(http.StatusOK)
	attempt, err = r.engine.Resend(t.Context(), id, seqs[0])
	if err != nil || !attempt.Success || attempt.Number != 5 {
		t.Errorf("second resend: %+v, %v: want the fifth attempt, accepted", attempt, err)
	}
	if n := len(r.deadLetters(id)); n != 0 {
		t.Errorf("%d dead letters after a resend that succeeded: want 0", n)
	}
	if endpoint.ids["1"] != attempt.DeliveryID {
		t.Errorf("webhook-id %s: want %s over all attempts", endpoint.ids["1"], attempt.DeliveryID)
	}
	strangers, err := r.registry.Tenant("stranger").Create(t.Context(), subscription.Draft{
		Name: "theirs", URL: endpoint.URL, Events: []string{"*"}, Enabled: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id   string
		seq  journal.Seq
		want error
	}{
		"AnothersEvent": {strangers.ID, seqs[0], ErrNoEvent}, "Marker": {id, seqs[0] - 1, ErrNoEvent}, "Future": {id, 10_000, ErrNoEvent},
		"Zero": {id, 0, ErrNoEvent}, "NoSubscription": {"nobody", seqs[0], subscription.ErrNotFound},
	} {
		if _, err := r.engine.Resend(t.Context(), c.id, c.seq); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if n := endpoint.triedTimes("1"); n != 5 {
		t.Errorf("%d attempts reached the endpoint: want 5", n)
	}
}

func TestQueuedRetriesWaitWhileDisabled(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	release := make(chan struct{})
	endpoint.respond(func(w http.ResponseWriter, _ string, nth int) {
		if nth == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)

			return
		}
		<-release
	})
	r := newRig(t, func(c *Config) { c.EndpointInFlight, c.Schedule = 1, Schedule{0, 50 * time.Millisecond} })
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", ids("e", 8)...)
	eventually(t, "a retry under way and the others queued", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		ep := r.engine.endpoints[id]

		return ep != nil && ep.inFlight == 1 && ep.retries == 7 && len(ep.queue) == 7
	})
	r.enable(id, false)
	eventually(t, "the queued ones to leave", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return len(r.engine.endpoints[id].held) == 1
	})
	close(release)
	endpoint.got(t, 1)
	r.enable(id, true)
	endpoint.got(t, 8)
	eventually(t, "the rows to go", func() bool { _, retries := r.rows(id); return retries == 0 })
	if _, _, most := endpoint.counts(); most != 1 {
		t.Errorf("an event arrived %d times", most)
	}
}

func TestRecoverySkipsWhatIsSettled(t *testing.T) {
	t.Parallel()
	// The clock stands still, so what hangs holds the cursor and is not placed.
	clock := clockwork.NewFakeClockAt(time.Now())
	hanging, other := newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	hanging.respond(func(http.ResponseWriter, string, int) { <-release })
	other.respond(func(w http.ResponseWriter, id string, _ int) {
		if strings.HasPrefix(id, "fails") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	disk := vfs.NewCrashableMem()
	r := &rig{t: t, fs: disk, clock: clock}
	r.open()
	r.run()
	hangs := r.subscribe(hanging.URL, nil)
	id := r.subscribe(other.URL, nil)
	first := r.publish("a.b", append(ids("fails", 20), ids("e", 50)...)...)
	other.got(t, 50)
	eventually(t, "the outcomes to be settled", func() bool {
		done, err := r.journal.View().DoneAfterCursor(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		_, retries := r.rows(id)

		return len(done) == 50 && retries == 20
	})
	cursor, err := r.journal.View().Cursor(t.Context(), 0)
	if err != nil || cursor >= first[0] {
		t.Fatalf("the cursor is at %d, %v: want it held before %d", cursor, err, first[0])
	}
	// An event that is durable makes what was settled before it durable too.
	r.publish("a.b", "last")
	left := disk.CrashClone(vfs.CrashCloneCfg{})
	close(release)
	r.stop()
	r.close()

	r.fs = left
	r.open()
	r.run()
	t.Cleanup(func() { r.stop(); r.close() })
	r.settledTo(first[69] + 1)
	hanging.got(t, 71)
	other.got(t, 51)
	if tried, _, most := other.counts(); tried != 71 || most > 2 {
		t.Errorf("%d events tried, one accepted %d times", tried, most)
	}
	for _, event := range append(ids("fails", 20), ids("e", 50)...) {
		if n := other.triedTimes(event); n != 1 {
			t.Errorf("event %s was tried %d times: want 1, its outcome was durable", event, n)
		}
	}
	eventually(t, "all attempts at the endpoint that hung", func() bool { return len(r.attempts(hangs)) >= 71 })
}

func TestFlipsBetweenLiveAndBehind(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, func(c *Config) { c.EndpointInFlight, c.QueueLength = 2, 2 })
	id := r.subscribe(endpoint.URL, nil)
	const batches, size = 60, 7
	for batch := range batches {
		r.publish("a.b", ids(strings.Repeat("x", batch+1), size)...)
		if batch%10 == 0 {
			time.Sleep(time.Duration(batch%40) * time.Millisecond)
		}
	}
	endpoint.got(t, batches*size)
	eventually(t, "the pages to empty", func() bool { backlog, _ := r.rows(id); return backlog == 0 })
	if _, _, most := endpoint.counts(); most != 1 {
		t.Errorf("an event arrived %d times", most)
	}
}

func TestStaysBehindWhilePagesAreOnTheirWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.stop()
	e := r.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	ep := e.endpointOf("sub", false)
	e.setBehind(ep, true)
	e.page(ep, 7, nil)
	if e.feedPages(ep, nil, nil); !ep.behind {
		t.Error("Live with a page on its way: what stands on it would wait for a restart")
	}
	_, taken := e.takePending()
	e.settledPending(0, taken)
	if e.feedPages(ep, nil, nil); ep.behind {
		t.Error("Behind with nothing on pages nor on its way there")
	}
}

func TestBusyEndpointDoesNotStarveAnother(t *testing.T) {
	t.Parallel()
	greedy, modest := newReceiver(t), newReceiver(t)
	greedy.respond(func(http.ResponseWriter, string, int) { time.Sleep(5 * time.Millisecond) })
	r := newRig(t, func(c *Config) { c.MaxInFlight = 2 })
	r.subscribe(greedy.URL, func(d *subscription.Draft) { d.Events = []string{"many"} })
	r.subscribe(modest.URL, func(d *subscription.Draft) { d.Events = []string{"few"} })
	r.publish("many", ids("m", 120)...)
	r.publish("few", ids("f", 5)...)
	modest.got(t, 5)
	if _, accepted, _ := greedy.counts(); accepted > 60 {
		t.Errorf("the busy endpoint had %d of 120 deliveries before the other had its 5", accepted)
	}
	greedy.got(t, 120)
}

func TestIntervalOutlastsChangesAndRestarts(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	r.enable(id, false)
	begun, _ := r.registry.Current(id)
	r.update(id, subscription.Patch{Events: &[]string{"a.*"}})
	skipped := r.publish("a.b", "skipped")
	r.settledTo(skipped[0])
	r.restart()
	r.enable(id, true)
	ended, _ := r.registry.Current(id)
	last := r.publish("a.b", "taken")
	endpoint.got(t, 1)
	r.settledTo(last[0])
	got, err := r.journal.View().Skipped(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	want := []journal.Interval{{Subscription: id, From: begun.Seq, To: ended.Seq, Reason: "Disabled"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}
