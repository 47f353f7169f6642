package registry

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// matching is a subscription as far as matching looks at it.
func matching(tenant, id string, events ...string) *Subscription {
	return &Subscription{
		Subscription: subscription.Subscription{ID: id, Events: events, Enabled: true},
		Tenant:       tenant,
	}
}

func ids(found []*Subscription) []string {
	out := make([]string, 0, len(found))
	for _, s := range found {
		out = append(out, s.ID)
	}

	return out
}

// linear is the answer by trying every pattern of every subscription.
func linear(t testing.TB, held map[string]*Subscription, tenant, eventType string) []string {
	t.Helper()
	out := []string{}
	for id, s := range held {
		if s.Tenant != tenant || !s.Takes() {
			continue
		}
		for _, event := range s.Events {
			pattern, err := subscription.ParsePattern(event)
			if err != nil {
				t.Fatalf("parsing %q: %v", event, err)
			}
			if pattern.Matches(eventType) {
				out = append(out, id)

				break
			}
		}
	}
	slices.Sort(out)

	return out
}

func TestMatcherFindsEachSubscriptionOnce(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		put    []*Subscription
		event  string
		want   []string
	}{
		"Exact": {
			reason: "an exact pattern stands for its own type",
			put:    []*Subscription{matching("t", "a", "order.created"), matching("t", "b", "order.deleted")},
			event:  "order.created", want: []string{"a"},
		},
		"SortedByID": {
			reason: "found by ways of every kind, they come sorted by id",
			put: []*Subscription{
				matching("t", "d", "*"), matching("t", "c", "order.*"), matching("t", "b", "o*r.created"), matching("t", "a", "order.created"),
			},
			event: "order.created", want: []string{"a", "b", "c", "d"},
		},
		"Once": {
			reason: "several patterns of one subscription match, which is found once",
			put:    []*Subscription{matching("t", "a", "*", "order.*", "order.created", "*.created", "ord*.cre*")},
			event:  "order.created", want: []string{"a"},
		},
		"OtherTenant": {
			reason: "a tenant's events are matched with its own subscriptions alone",
			put:    []*Subscription{matching("other", "a", "*")},
			event:  "order.created", want: []string{},
		},
		"LastStarNeedsOne": {
			reason: "a last * matches one or more segments, never none",
			put:    []*Subscription{matching("t", "a", "order.*")},
			event:  "order", want: []string{},
		},
		"Disabled": {
			reason: "a disabled subscription takes no events",
			put: []*Subscription{func() *Subscription {
				s := matching("t", "a", "*")
				s.Enabled = false

				return s
			}()},
			event: "order.created", want: []string{},
		},
		"Suspended": {
			reason: "a suspended subscription takes no events",
			put: []*Subscription{func() *Subscription {
				s := matching("t", "a", "*")
				s.State.Phase = subscription.Suspended

				return s
			}()},
			event: "order.created", want: []string{},
		},
		"Replaced": {
			reason: "the patterns of the version before match no more",
			put:    []*Subscription{matching("t", "a", "order.created", "x.*", "y*z.q"), matching("t", "a", "order.deleted")},
			event:  "order.created", want: []string{},
		},
		"PatternTwice": {
			reason: "a pattern that stands twice is put and removed without harm",
			put:    []*Subscription{matching("t", "a", "x.y", "x.y", "*", "*", "a*.b", "a*.b"), matching("t", "a", "order.*", "order.*")},
			event:  "order.created", want: []string{"a"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := NewMatcher()
			for _, s := range tc.put {
				m.Put(s)
			}
			if diff := gocmp.Diff(tc.want, ids(m.Match("t", tc.event, nil))); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			for _, s := range tc.put {
				m.Remove(s.ID)
			}
			if len(m.tenants) != 0 || len(m.byID) != 0 {
				t.Errorf("%s: after every removal the matcher holds %d tenants and %d subscriptions", tc.reason, len(m.tenants), len(m.byID))
			}
		})
	}
}

func TestMatchAppends(t *testing.T) {
	t.Parallel()
	m := NewMatcher()
	m.Put(matching("t", "b", "*", "x"))
	m.Put(matching("t", "a", "x"))
	before := matching("t", "z")
	got := m.Match("t", "x", []*Subscription{before})
	if diff := gocmp.Diff([]string{"z", "a", "b"}, ids(got)); diff != "" {
		t.Errorf("what was in the slice must stay in front, -want +got:\n%s", diff)
	}
}

// randomDotted uses few letters, so that random patterns and types meet often.
func randomDotted(r *rand.Rand, stars bool) string {
	letters := "ab"
	if stars {
		letters = "ab*"
	}
	segments := make([]string, 1+r.IntN(4))
	for i := range segments {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteByte(letters[r.IntN(len(letters))])
		}
		segments[i] = b.String()
		for strings.Contains(segments[i], "**") {
			segments[i] = strings.ReplaceAll(segments[i], "**", "*")
		}
	}

	return strings.Join(segments, ".")
}

func TestMatcherEqualsLinearScan(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		m, held := NewMatcher(), map[string]*Subscription{}
		found := 0
		for range 2000 {
			id := fmt.Sprintf("%03d", r.IntN(60))
			if r.IntN(4) == 0 {
				m.Remove(id)
				delete(held, id)
			} else {
				s := matching([]string{"t", "u"}[r.IntN(2)], id)
				s.Enabled = r.IntN(8) > 0
				for range 1 + r.IntN(4) {
					s.Events = append(s.Events, randomDotted(r, true))
				}
				m.Put(s)
				held[id] = s
			}
			event := randomDotted(r, false)
			got := ids(m.Match("t", event, nil))
			found += len(got)
			if diff := gocmp.Diff(linear(t, held, "t", event), got); diff != "" {
				t.Fatalf("seed %d, event %q: trie and linear scan differ, -linear +trie:\n%s", seed, event, diff)
			}
		}
		if found == 0 {
			t.Errorf("seed %d: nothing ever matched, so nothing was compared", seed)
		}
		for id := range held {
			m.Remove(id)
		}
		if len(m.tenants) != 0 {
			t.Errorf("seed %d: the trie keeps nodes after every subscription was removed", seed)
		}
	}
}

func FuzzMatcher(f *testing.F) {
	f.Add("order.*\na*b.c*\n*", "order.created")
	f.Add("a.*.c\n*.b.*\na*a", "aa")
	f.Add("*a*b*\n*ab\nab*\na*b", "aabab")
	f.Add("x", "")
	f.Add("*", ".")
	f.Add("a.*\na.b*", "a.")
	f.Fuzz(func(t *testing.T, patterns, event string) {
		m, held := NewMatcher(), map[string]*Subscription{}
		for i, pattern := range strings.Split(patterns, "\n") {
			if _, err := subscription.ParsePattern(pattern); err != nil {
				continue
			}
			s := matching("t", fmt.Sprintf("%04d", i), pattern)
			m.Put(s)
			held[s.ID] = s
		}
		if diff := gocmp.Diff(linear(t, held, "t", event), ids(m.Match("t", event, nil))); diff != "" {
			t.Errorf("event %q: trie and linear scan differ, -linear +trie:\n%s", event, diff)
		}
		for id := range held {
			m.Remove(id)
		}
		if len(m.tenants) != 0 {
			t.Error("the trie keeps nodes after every subscription was removed")
		}
	})
}

// BenchmarkMatch measures one match among many subscriptions of one pattern each, by the
// mix 80 % exact (service.entity7.verb), 15 % prefix (service7.*), 5 % with a wildcard
// inside a segment (service.ent*7.verb). Each event matches one to a few of them.
func BenchmarkMatch(b *testing.B) {
	for _, size := range []int{1_000, 10_000, 100_000} {
		m := NewMatcher()
		events := make([]string, 0, size)
		for i := range size {
			s := matching("t", fmt.Sprintf("%08d", i))
			switch {
			case i%20 < 16:
				s.Events = []string{fmt.Sprintf("service%d.entity%d.created", i%100, i)}
				events = append(events, s.Events[0])
			case i%20 < 19:
				s.Events = []string{fmt.Sprintf("prefix%d.*", i)}
				events = append(events, fmt.Sprintf("prefix%d.entity.created", i))
			default:
				s.Events = []string{fmt.Sprintf("service%d.ent*-%d.created", i%100, i)}
				events = append(events, fmt.Sprintf("service%d.entity-%d.created", i%100, i))
			}
			m.Put(s)
		}
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		b.Run(fmt.Sprintf("subscriptions=%d", size), func(b *testing.B) {
			var found []*Subscription
			matched := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				found = m.Match("t", events[i%len(events)], found[:0])
				matched += len(found)
			}
			if matched < b.N {
				b.Fatalf("%d matches in %d events: each matches at least one", matched, b.N)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1e3/float64(b.N), "µs/match")
		})
	}
	b.Run("put/subscriptions=100000", func(b *testing.B) {
		for b.Loop() {
			m := NewMatcher()
			for i := range 100_000 {
				m.Put(matching("t", fmt.Sprintf("%08d", i), fmt.Sprintf("service%d.entity%d.created", i%100, i)))
			}
		}
	})
}

// find relies on it.
func TestEntriesStaySorted(t *testing.T) {
	t.Parallel()
	var e entries
	r := rand.New(rand.NewPCG(7, 7))
	for range 500 {
		id := fmt.Sprintf("%03d", r.IntN(100))
		if r.IntN(3) == 0 {
			e = e.without(id)
		} else {
			e = e.with(matching("t", id))
		}
		if !slices.IsSortedFunc(e, func(a, b *Subscription) int { return cmp.Compare(a.ID, b.ID) }) {
			t.Fatalf("not sorted: %v", ids(e))
		}
	}
}
