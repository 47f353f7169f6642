package controllers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

func TestExpand(t *testing.T) {
	t.Parallel()

	catalogue := []string{"agent.in", "agent.out", "channel.ended", "channel.sms.in"}
	names := func(c *subscription.Capabilities) { c.Wildcards, c.Catalogue = false, true }

	cases := map[string]struct {
		reason    string
		patterns  []string
		catalogue []string
		earlier   []string
		known     []string
		caps      func(*subscription.Capabilities)
		want      expansion
		refused   string
	}{
		"WildcardsOfTheProvider": {
			reason:   "What the provider takes itself is given to it as it was written.",
			patterns: []string{"channel.*", "agent.in"}, caps: func(*subscription.Capabilities) {},
			want: expansion{Names: []string{"channel.*", "agent.in"}},
		},
		"Exact": {
			reason:   "Names need no catalogue, and one that it lacks is for the provider to judge.",
			patterns: []string{"channel.new", "agent.in"}, catalogue: catalogue, caps: names,
			want: expansion{Names: []string{"channel.new", "agent.in"}},
		},
		"Patterns": {
			reason:   "Names stand in the order of the patterns, and of one pattern sorted.",
			patterns: []string{"channel.*", "agent.*"}, catalogue: []string{"agent.out", "channel.ended", "agent.in", "channel.sms.in"}, caps: names,
			want: expansion{Names: []string{"channel.ended", "channel.sms.in", "agent.in", "agent.out"}},
		},
		"EachOnce": {
			reason:   "What several patterns match is one name.",
			patterns: []string{"agent.out", "agent.*", "*"}, catalogue: catalogue, caps: names,
			want: expansion{Names: []string{"agent.out", "agent.in", "channel.ended", "channel.sms.in"}},
		},
		"Unmatched": {
			reason:   "A pattern that matches nothing is told, the rest is expanded.",
			patterns: []string{"nothing.*", "agent.in"}, catalogue: catalogue, caps: names,
			want: expansion{Names: []string{"agent.in"}, Unmatched: []string{"nothing.*"}},
		},
		"EmptyCatalogue": {
			reason:   "What is there is not given up for a catalogue that is empty for a moment.",
			patterns: []string{"agent.*"}, known: []string{"agent.out", "agent.in", "channel.ended"}, caps: names,
			want: expansion{Names: []string{"agent.in", "agent.out"}, Unmatched: []string{"agent.*"}},
		},
		"Gone": {
			reason:   "What the catalogue no longer has, two times in a row, goes as long as it has something.",
			patterns: []string{"agent.*"}, catalogue: []string{"agent.in"}, earlier: []string{"agent.in"},
			known: []string{"agent.in", "agent.out"}, caps: names,
			want: expansion{Names: []string{"agent.in"}},
		},
		"Shrunk": {
			reason:   "What is there is not given up for a catalogue of which a part is missing for a moment.",
			patterns: []string{"agent.*"}, catalogue: []string{"agent.in"}, earlier: []string{"agent.in", "agent.out"},
			known: []string{"agent.in", "agent.out", "channel.ended"}, caps: names,
			want: expansion{Names: []string{"agent.in", "agent.out"}},
		},
		"ShrunkBefore": {
			reason:   "Nor for the first answer that a process has.",
			patterns: []string{"agent.*"}, catalogue: []string{"agent.in"}, known: []string{"agent.out"}, caps: names,
			want: expansion{Names: []string{"agent.in", "agent.out"}},
		},
		"NoCatalogue": {
			reason:   "A pattern cannot be expanded from nothing.",
			patterns: []string{"agent.in", "agent.*"}, caps: func(c *subscription.Capabilities) { c.Wildcards = false },
			refused: v1alpha1.ReasonUnsupportedByProvider,
		},
		"Malformed": {
			reason:   "What is no pattern is the spec's fault.",
			patterns: []string{"agent..in"}, catalogue: catalogue, caps: names,
			refused: v1alpha1.ReasonInvalidSpec,
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			caps := everything()
			tc.caps(&caps)

			catalogue := provider.Catalogue{Names: tc.catalogue}
			if tc.earlier != nil {
				catalogue.Earlier = &provider.Catalogue{Names: tc.earlier}
			}

			got, err := expand(tc.patterns, catalogue, tc.known, caps)

			var out *outcome
			if errors.As(err, &out) != (tc.refused != "") || out != nil && (out.reason != tc.refused || out.kind != outcomeStalled) {
				t.Fatalf("%s\nexpand answered %v, want %s", tc.reason, err, tc.refused)
			}

			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nexpand (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// standing are entries of subscriptions with these events each.
func standing(events ...[]string) []entry {
	out := make([]entry, 0, len(events))
	for i, e := range events {
		out = append(out, entry{ID: fmt.Sprintf("sub-%d", i+1), Events: e, Slot: unknownSlot, Remote: &subscription.Subscription{Events: e}})
	}

	return out
}

func anyFits(entry) bool { return true }

func TestAssign(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason  string
		names   []string
		entries []entry
		limit   int
		fixed   bool
		whole   bool
		fits    func(entry) bool
		want    []unit
		extra   []int
	}{
		"One": {
			reason: "What the provider takes in one is one, in the order of the spec.",
			names:  []string{"c", "a", "b"}, limit: 3,
			want: []unit{{Events: []string{"c", "a", "b"}, Entry: none}},
		},
		"OneEach": {
			reason: "One event in each makes one subscription of each.",
			names:  []string{"b", "a"}, limit: 1, fixed: true,
			want: []unit{{Events: []string{"b"}, Slot: 0, Entry: none}, {Events: []string{"a"}, Slot: 1, Entry: none}},
		},
		"Chunks": {
			reason: "No more than the provider takes.",
			names:  []string{"a", "b", "c"}, limit: 2,
			want: []unit{{Events: []string{"a", "b"}, Slot: 0, Entry: none}, {Events: []string{"c"}, Slot: 1, Entry: none}},
		},
		"OneMore": {
			reason: "A name more moves no other.",
			names:  []string{"a", "x", "b", "c"}, limit: 2, entries: standing([]string{"a", "b"}, []string{"c"}),
			want: []unit{{Events: []string{"a", "b"}, Slot: 0, Entry: 0}, {Events: []string{"x", "c"}, Slot: 1, Entry: 1}},
		},
		"OneMoreThanFits": {
			reason: "It gets one of its own.",
			names:  []string{"a", "b", "c", "d", "e"}, limit: 2, entries: standing([]string{"a", "b"}, []string{"c", "d"}),
			want: []unit{
				{Events: []string{"a", "b"}, Slot: 0, Entry: 0}, {Events: []string{"c", "d"}, Slot: 1, Entry: 1},
				{Events: []string{"e"}, Slot: 2, Entry: none},
			},
		},
		"OneLess": {
			reason: "A name less moves no other.",
			names:  []string{"b", "c"}, limit: 1, entries: standing([]string{"a"}, []string{"b"}, []string{"c"}), fixed: true,
			want:  []unit{{Events: []string{"b"}, Slot: 1, Entry: 1}, {Events: []string{"c"}, Slot: 2, Entry: 2}},
			extra: []int{0},
		},
		"Fewer": {
			reason: "No more subscriptions than are needed: the last goes.",
			names:  []string{"a", "c"}, limit: 2, entries: standing([]string{"a", "b"}, []string{"c"}),
			want: []unit{{Events: []string{"a", "c"}, Slot: 0, Entry: 0}}, extra: []int{1},
		},
		"ChangeInPlace": {
			reason: "Where events can be changed, they are.",
			names:  []string{"b"}, limit: 1, entries: standing([]string{"a"}),
			want: []unit{{Events: []string{"b"}, Slot: 0, Entry: 0}},
		},
		"Replaced": {
			reason: "Where they cannot, another takes its place.",
			names:  []string{"b"}, limit: 1, entries: standing([]string{"a"}), fixed: true,
			want: []unit{{Events: []string{"b"}, Slot: 1, Entry: none}}, extra: []int{0},
		},
		"ReplacedWhole": {
			reason: "One that has more than is wanted is replaced, not left as it is.",
			names:  []string{"a"}, limit: 2, entries: standing([]string{"a", "b"}), fixed: true,
			want: []unit{{Events: []string{"a"}, Slot: 1, Entry: none}}, extra: []int{0},
		},
		"SealedStays": {
			reason: "One whose events cannot be changed takes no more.",
			names:  []string{"a", "b"}, limit: 2, entries: standing([]string{"a"}), fixed: true,
			want: []unit{{Events: []string{"a"}, Slot: 0, Entry: 0}, {Events: []string{"b"}, Slot: 1, Entry: none}},
		},
		"Twins": {
			reason: "Of two for one event, one is enough.",
			names:  []string{"a"}, limit: 1, entries: standing([]string{"a"}, []string{"a"}), fixed: true,
			want: []unit{{Events: []string{"a"}, Slot: 0, Entry: 0}}, extra: []int{1},
		},
		"Unfit": {
			reason: "One that cannot be made what is wanted is replaced.",
			names:  []string{"a"}, limit: 1, entries: standing([]string{"a"}), fits: func(entry) bool { return false },
			want: []unit{{Events: []string{"a"}, Slot: 1, Entry: none}}, extra: []int{0},
		},
		"Named": {
			reason: "The one that is named by its id stays, whatever it has.",
			names:  []string{"a"}, limit: 1, entries: standing([]string{"b"}), fixed: true, whole: true,
			want: []unit{{Events: []string{"a"}, Slot: 0, Entry: 0}},
		},
		"SlotsOfNames": {
			reason: "A name tells which of several one is, in whatever order the status has them.",
			names:  []string{"a", "b", "c"}, limit: 2,
			entries: func() []entry {
				e := standing([]string{"c"}, []string{"a", "b"})
				e[0].Slot, e[1].Slot = 1, 0

				return e
			}(),
			want: []unit{{Events: []string{"a", "b"}, Slot: 0, Entry: 1}, {Events: []string{"c"}, Slot: 1, Entry: 0}},
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			caps := subscription.Capabilities{MaxEvents: tc.limit}
			if tc.fixed {
				caps.Immutable = []subscription.Field{subscription.FieldEvents}
			}

			fits := tc.fits
			if fits == nil {
				fits = anyFits
			}

			got := assign(tc.names, tc.entries, caps, fits, tc.whole)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nassign (-want +got):\n%s", tc.reason, diff)
			}

			if diff := cmp.Diff(tc.extra, superfluous(got, tc.entries)); diff != "" {
				t.Errorf("%s\nsuperfluous (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestAssignKeeps: whatever comes and goes, each wanted name is in one unit, no unit is too big or empty, no two share a
// slot or an entry, and what stays wanted stays where it is unless its place is no longer needed.
func TestAssignKeeps(t *testing.T) {
	t.Parallel()

	random := rand.New(rand.NewPCG(1, 2))

	for round := range 3000 {
		caps := subscription.Capabilities{MaxEvents: 1 + random.IntN(4)}
		if random.IntN(2) == 0 {
			caps.Immutable = []subscription.Field{subscription.FieldEvents}
		}

		var entries []entry

		for range 4 {
			names := someNames(random)
			if len(names) == 0 {
				continue
			}

			units := assign(names, entries, caps, anyFits, false)
			checkUnits(t, round, names, entries, units, caps)

			entries = nil
			for i, u := range units {
				entries = append(entries, entry{ID: fmt.Sprintf("sub-%d", i), Events: u.Events, Slot: u.Slot})
			}
		}
	}
}

func someNames(random *rand.Rand) []string {
	var names []string

	for name := range strings.SplitSeq("abcdefghij", "") {
		if random.IntN(2) == 0 {
			names = append(names, name)
		}
	}

	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })

	return names
}

func checkUnits(t *testing.T, round int, names []string, entries []entry, units []unit, caps subscription.Capabilities) {
	t.Helper()

	var all []string

	slots, used := map[int]bool{}, map[int]bool{}

	for _, u := range units {
		all = append(all, u.Events...)

		if len(u.Events) == 0 || len(u.Events) > caps.EventLimit() {
			t.Errorf("round %d: a unit has %d events, the most is %d", round, len(u.Events), caps.EventLimit())
		}

		if slots[u.Slot] || u.Entry != none && used[u.Entry] {
			t.Errorf("round %d: two units share the slot %d or the entry %d", round, u.Slot, u.Entry)
		}

		slots[u.Slot] = true
		used[u.Entry] = true

		if u.Entry != none && caps.IsImmutable(subscription.FieldEvents) && !sameSet(u.Events, entries[u.Entry].Events) {
			t.Errorf("round %d: events that cannot be changed went from %v to %v", round, entries[u.Entry].Events, u.Events)
		}
	}

	if slices.Sort(all); !slices.Equal(all, slices.Sorted(slices.Values(names))) {
		t.Errorf("round %d: the units have %v, want %v", round, all, names)
	}

	for i, e := range entries {
		for _, u := range units {
			if u.Entry != i || caps.IsImmutable(subscription.FieldEvents) {
				continue
			}

			for _, event := range e.Events {
				if slices.Contains(names, event) && !slices.Contains(u.Events, event) {
					t.Errorf("round %d: %s left its subscription, which stays", round, event)
				}
			}
		}
	}
}

func TestUnitNames(t *testing.T) {
	t.Parallel()

	long := strings.Repeat("ä", subscription.MaxNameLength)

	for _, base := range []string{"presence-feed", long} {
		seen := map[string]bool{}

		for slot := range maxUnits {
			name := unitName(base, slot)
			if length := utf8.RuneCountInString(name); length > subscription.MaxNameLength || seen[name] {
				t.Errorf("slot %d of %.10s has a name of %d characters, or that of another: %s", slot, base, length, name)
			}

			if got := slotOf(name, "another", base); got != slot {
				t.Errorf("%s is the name of slot %d, want %d", name, got, slot)
			}

			seen[name] = true
		}

		if unitName(base, 0) != base {
			t.Errorf("the first is not named %s", base)
		}
	}

	if slotOf("a stranger's", "presence-feed", "") != unknownSlot || slotOf("", "") != unknownSlot || unitName("", 3) != "" {
		t.Error("a name that is not ours has a slot, or no name has one")
	}
}

func TestSecretForms(t *testing.T) {
	t.Parallel()

	forms := []subscription.SecretText{
		subscription.SecretTextStandardWebhooks, subscription.SecretTextBase64, subscription.SecretTextHex, subscription.SecretTextPlain,
	}

	for _, form := range forms {
		secret := newSigningSecret(form)
		if !hasForm(secret, form) {
			t.Errorf("a secret generated as %s is not of that form", form)
		}

		if err := subscription.ValidateSecret(secret); err != nil {
			t.Errorf("a secret generated as %s is refused: %v", form, err)
		}

		if other := form != subscription.SecretTextStandardWebhooks; hasForm(newSigningSecret(""), form) == other {
			t.Errorf("a secret of Standard Webhooks counts as %s: %v", form, !other)
		}
	}
}
