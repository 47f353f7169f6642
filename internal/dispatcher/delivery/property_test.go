package delivery

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// quick is a vendor's notification whose schedule does not take a day.
type quick struct{ subscription.Notification }

func (quick) Schedule() []time.Duration {
	return Schedule{0, 5 * time.Millisecond, 20 * time.Millisecond}
}

// schedule is a random run of publishes, changes, restarts and crashes, with what each
// published event must come to.
type schedule struct {
	*rig

	random  *rand.Rand
	crashes bool
	subs    map[string]*modelled
	events  []published
}

// modelled is one subscription as the test knows it.
type modelled struct {
	endpoint *receiver
	pattern  string
	format   subscription.Format
	ordered  bool
	enabled  bool
	deleted  bool
}

type published struct {
	id   string
	key  string
	seq  journal.Seq
	kind string
	// matched and disabled are the subscriptions that took it, and that would have.
	matched, disabled []string
}

func newSchedule(t *testing.T, seed uint64, crashes bool) *schedule {
	t.Helper()
	s := &schedule{
		random:  rand.New(rand.NewPCG(seed, 1)),
		crashes: crashes, subs: map[string]*modelled{},
	}
	r := &rig{t: t, fs: vfs.NewCrashableMem(), clock: clockwork.NewRealClock(), change: func(c *Config) {
		c.QueueLength, c.EndpointInFlight, c.MaxInFlight = 4, 2, 5
		c.Schedule = Schedule{0, 5 * time.Millisecond, 20 * time.Millisecond}
		c.CircuitFailures, c.ProbeAfter, c.MaxProbeWait = 3, 5*time.Millisecond, 20*time.Millisecond
		c.MaxEndpointBacklog, c.MaxTenantBacklog = 60, 200
		c.Notifications = map[subscription.Format]subscription.Notification{
			subscription.FormatVonage: quick{vonage.Notification{}}, subscription.FormatDixa: quick{dixa.Notification{}},
		}
	}}
	r.open()
	r.run()
	t.Cleanup(func() { r.stop(); r.close() })
	s.rig = r

	return s
}

func (s *schedule) step() {
	switch n := s.random.IntN(100); {
	case n < 55:
		s.publishSome()
	case n < 65 || len(s.subs) < 2:
		s.create()
	case n < 80:
		s.toggle()
	case n < 84:
		s.narrow()
	case n < 87:
		s.remove()
	case n < 92:
		s.restart()
	case n < 96 && s.crashes:
		s.crash()
	default:
		time.Sleep(time.Duration(s.random.IntN(30)) * time.Millisecond)
	}
}

func (s *schedule) publishSome() {
	kind := []string{"a.b", "a.c", "x"}[s.random.IntN(3)]
	names := ids(fmt.Sprintf("e%d-", len(s.events)), 1+s.random.IntN(25))
	keys := make([]string, len(names))
	for i := range keys {
		keys[i] = []string{"", "k", "l", "m"}[s.random.IntN(4)]
	}
	for i, seq := range s.append(kind, names, keys) {
		event := published{id: names[i], key: keys[i], seq: seq, kind: kind}
		for id, sub := range s.subs {
			pattern, err := subscription.ParsePattern(sub.pattern)
			if err != nil {
				s.t.Fatal(err)
			}
			switch {
			case sub.deleted || !pattern.Matches(kind):
			case sub.enabled:
				event.matched = append(event.matched, id)
			default:
				event.disabled = append(event.disabled, id)
			}
		}
		s.events = append(s.events, event)
	}
}

func (s *schedule) create() {
	if len(s.subs) > 8 {
		return
	}
	sub := &modelled{endpoint: newReceiver(s.t), pattern: []string{"*", "a.*", "x", "a.b"}[s.random.IntN(4)], enabled: s.random.IntN(4) > 0}
	failing := s.random.IntN(60)
	salt := s.random.Uint64()
	sub.endpoint.respond(func(w http.ResponseWriter, id string, nth int) {
		if coin := rand.New(rand.NewPCG(salt, hash(id)+uint64(nth))); coin.IntN(100) < failing {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub.format = []subscription.Format{"", "", subscription.FormatCloudEvents, subscription.FormatVonage, subscription.FormatDixa}[s.random.IntN(5)]
	sub.ordered = s.random.IntN(2) == 0
	id := fmt.Sprintf("sub-%d", len(s.subs))
	s.subs[id] = sub
	s.write(id, sub)
}

// write stores a subscription as it is modelled.
func (s *schedule) write(id string, sub *modelled) {
	secret := map[subscription.Format]string{subscription.FormatVonage: vonageSecret, subscription.FormatDixa: dixaSecret}[sub.format]
	if secret == "" {
		secret = vectorSecret
	}
	settings := map[string]any{"format": sub.format}
	if sub.ordered {
		settings["ordering"] = subscription.OrderingByKey
	}
	s.stored(id, map[string]any{
		"url": sub.endpoint.URL, "events": []string{sub.pattern}, "enabled": sub.enabled, "delivery": settings,
		"secrets": []any{map[string]any{"text": secret}},
	})
}

// append publishes events of keys, whose data has their id, as every format tells it.
func (s *schedule) append(kind string, names, keys []string) []journal.Seq {
	events := make([]journal.Event, 0, len(names))
	for i, name := range names {
		events = append(events, journal.Event{
			Tenant: tenant, Source: "/test", ID: name, Type: kind, Subject: keys[i], Accepted: s.clock.Now(),
			Body: fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/test","type":%q,"data":{"eventId":%q}}`, name, kind, name),
		})
	}
	receipts, err := s.journal.Append(s.t.Context(), events)
	if err != nil {
		s.t.Fatal(err)
	}
	seqs := make([]journal.Seq, 0, len(receipts))
	for _, receipt := range receipts {
		seqs = append(seqs, receipt.Seq)
	}

	return seqs
}

func hash(text string) (sum uint64) {
	for _, b := range []byte(text) {
		sum = sum*1099511628211 + uint64(b)
	}

	return sum
}

// pick chooses a subscription that is not deleted.
func (s *schedule) pick() (string, *modelled) {
	for _, n := range s.random.Perm(len(s.subs)) {
		for id, sub := range s.subs {
			if n--; n < 0 && !sub.deleted {
				return id, sub
			}
		}
	}

	return "", nil
}

func (s *schedule) toggle() {
	if id, sub := s.pick(); sub != nil {
		sub.enabled = !sub.enabled
		s.write(id, sub)
	}
}

func (s *schedule) narrow() {
	if id, sub := s.pick(); sub != nil {
		sub.pattern = []string{"*", "a.*", "x", "a.b"}[s.random.IntN(4)]
		s.write(id, sub)
	}
}

func (s *schedule) remove() {
	if id, sub := s.pick(); sub != nil {
		if err := s.api.Delete(s.t.Context(), id); err != nil {
			s.t.Fatal(err)
		}
		sub.deleted = true
	}
}

// crash goes on from what a power loss at this moment would have left of the disk.
func (s *schedule) crash() {
	disk, ok := s.fs.(*vfs.MemFS)
	if !ok {
		s.t.Fatal("the file system cannot crash")
	}
	left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: s.random.IntN(101), RNG: rand.New(rand.NewPCG(s.random.Uint64(), 2))})
	s.stop()
	s.close()
	s.fs = left
	s.open()
	s.run()
}

// finish enables everything and waits until nothing is on its way.
func (s *schedule) finish() {
	for id, sub := range s.subs {
		if !sub.deleted && !sub.enabled {
			sub.enabled = true
			s.write(id, sub)
		}
	}
	_, last, err := s.journal.View().Bounds(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.settledTo(last)
	for id := range s.subs {
		eventually(s.t, "the rows of "+id+" to go", func() bool { backlog, retries := s.rows(id); return backlog+retries == 0 })
	}
	eventually(s.t, "the engine to rest", func() bool {
		s.engine.mu.Lock()
		defer s.engine.mu.Unlock()

		return s.engine.inFlight == 0 && s.engine.pending.size() == 0 && len(s.engine.pending.release) == 0
	})
}

// check compares what became of each event with what must.
func (s *schedule) check() {
	dead := map[journal.Ref]bool{}
	for id := range s.subs {
		for _, letter := range s.deadLetters(id) {
			dead[letter.Ref] = true
		}
	}
	for id, sub := range s.subs {
		if sub.ordered {
			s.checkOrder(id, sub)
		}
	}
	for _, event := range s.events {
		matched := map[string]bool{}
		for _, id := range event.matched {
			matched[id] = true
			s.checkDelivery(event, id, dead[journal.Ref{Subscription: id, Seq: event.seq}])
		}
		for id, sub := range s.subs {
			if n := sub.endpoint.triedTimes(event.id); !matched[id] && n > 0 {
				s.t.Errorf("event %s at %d was sent %d times to %s, which did not take it", event.id, event.seq, n, id)
			}
		}
		unmatched, err := s.journal.View().IsUnmatched(s.t.Context(), event.seq)
		if err != nil || unmatched != (len(event.matched) == 0) {
			s.t.Errorf("event %s at %d is unmatched: %t, %v; %d subscriptions took it", event.id, event.seq, unmatched, err, len(event.matched))
		}
		for _, id := range event.disabled {
			// With a deleted subscription goes what was kept of it.
			if !s.subs[id].deleted {
				s.checkSkipped(event, id)
			}
		}
	}
}

// checkOrder compares the order of first acceptance with that of the log, key by key.
func (s *schedule) checkOrder(id string, sub *modelled) {
	of := map[string]published{}
	for _, event := range s.events {
		of[event.id] = event
	}
	sub.endpoint.mu.Lock()
	defer sub.endpoint.mu.Unlock()
	last := map[string]published{}
	for _, name := range sub.endpoint.order {
		event := of[name]
		if before := last[event.key]; event.key != "" && event.seq < before.seq {
			s.t.Errorf("event %s at %d of key %s was accepted by %s after %s at %d", event.id, event.seq, event.key, id, before.id, before.seq)
		}
		last[event.key] = event
	}
}

func (s *schedule) checkDelivery(event published, id string, dead bool) {
	sub := s.subs[id]
	sub.endpoint.mu.Lock()
	defer sub.endpoint.mu.Unlock()
	accepted, tried, webhookID := sub.endpoint.accepted[event.id], sub.endpoint.tried[event.id], sub.endpoint.ids[event.id]
	switch {
	case sub.deleted && accepted == 0:
	case accepted == 0 && !dead:
		s.t.Errorf("event %s at %d was lost for %s: tried %d times, no dead letter", event.id, event.seq, id, tried)
	case s.crashes:
	case accepted > 1 || tried > 3:
		s.t.Errorf("event %s at %d arrived %d times at %s, tried %d times", event.id, event.seq, accepted, id, tried)
	case accepted == 1 && dead:
		s.t.Errorf("event %s at %d was delivered to %s and dead-lettered", event.id, event.seq, id)
	}
	if want := DeliveryID(tenant, "/test", event.id, id); tried > 0 && sub.format != subscription.FormatVonage && sub.format != subscription.FormatDixa && webhookID != want {
		s.t.Errorf("event %s had the webhook-id %s for %s: want %s at each attempt", event.id, webhookID, id, want)
	}
}

func (s *schedule) checkSkipped(event published, id string) {
	intervals, err := s.journal.View().Skipped(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, interval := range intervals {
		if interval.From < event.seq && (interval.To == 0 || event.seq < interval.To) {
			return
		}
	}
	s.t.Errorf("event %s at %d was skipped by %s and no interval says so: %+v", event.id, event.seq, id, intervals)
}

func TestEveryEventHasItsEnd(t *testing.T) {
	t.Parallel()
	steps := 120
	if testing.Short() {
		steps = 40
	}
	for name, crashes := range map[string]bool{"Restarts": false, "Crashes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("Seed %d", seed)
			s := newSchedule(t, seed, crashes)
			for range steps {
				s.step()
			}
			s.finish()
			s.check()
		})
	}
}
