package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// maxUnits is the most remote subscriptions one resource may stand for. Each is an entry in its status.
const maxUnits = 200

// unitHashBytes is how much of a hash tells long names apart that are cut.
const unitHashBytes = 5

// unknownSlot is the slot of an entry whose name tells none.
const unknownSlot = -1

// none is the entry of a unit that nothing stands for yet.
const none = -1

// expansion is what patterns stand for at a provider.
type expansion struct {
	// Names are what to subscribe to, each once: in the order of the patterns, and of one pattern sorted.
	Names []string
	// Unmatched are the patterns that no event type of the catalogue matches.
	Unmatched []string
}

// hasPattern tells whether one of the events is not an exact name.
func hasPattern(events []string) bool {
	return slices.ContainsFunc(events, func(event string) bool {
		pattern, err := subscription.ParsePattern(event)

		return err == nil && !pattern.IsExact()
	})
}

// needsCatalogue tells whether events can only be subscribed to by what the provider's catalogue says of them.
func needsCatalogue(events []string, caps subscription.Capabilities) bool {
	return !caps.Wildcards && caps.Catalogue && hasPattern(events)
}

// expand turns patterns into the names that they stand for, where the provider takes no patterns itself. known are
// names that the resource is subscribed to: a pattern that the catalogue has nothing for keeps those of them that it
// matches, because a catalogue that is empty for a moment must not delete anything; one that it has something for keeps
// those that are not surely gone, because neither must one of which a part is missing. An exact name stands for itself,
// whether the catalogue has it or not: that is for the provider to judge.
func expand(patterns []string, catalogue provider.Catalogue, known []string, caps subscription.Capabilities) (expansion, error) {
	if caps.Wildcards {
		return expansion{Names: slices.Clone(patterns)}, nil
	}

	var out expansion

	seen := map[string]bool{}
	add := func(names ...string) {
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				out.Names = append(out.Names, name)
			}
		}
	}

	for _, text := range patterns {
		pattern, err := subscription.ParsePattern(text)

		switch {
		case err != nil:
			return expansion{}, terminal(v1alpha1.ReasonInvalidSpec, "spec.events: %s", err)
		case pattern.IsExact():
			add(text)

			continue
		case !caps.Catalogue:
			return expansion{}, terminal(v1alpha1.ReasonUnsupportedByProvider,
				"The provider does not support patterns in spec.events (%s), and has no list of event types to expand them from: "+
					"name each event type, or choose another provider", text)
		}

		matching, kept := matchingNames(pattern, catalogue.Names), matchingNames(pattern, known)
		if len(matching) == 0 {
			out.Unmatched = append(out.Unmatched, text)
		} else {
			kept = slices.DeleteFunc(kept, catalogue.Gone)
		}

		matching = append(matching, kept...)
		slices.Sort(matching)
		add(matching...)
	}

	return out, nil
}

func matchingNames(pattern subscription.Pattern, names []string) []string {
	var out []string

	for _, name := range names {
		if pattern.Matches(name) {
			out = append(out, name)
		}
	}

	slices.Sort(out)

	return slices.Compact(out)
}

// entry is one subscription at the provider that stands for the resource, or part of it.
type entry struct {
	ID string
	// Events are those it was made for.
	Events []string
	// Slot tells the names of several apart, see unitName; unknownSlot where its name is none of ours.
	Slot int
	// Remote is what the provider has; nil where it has none any more.
	Remote *subscription.Subscription
	// HeldBy is the other resource that holds it; empty where none does.
	HeldBy string
	// Recovered: the mark found it, the status does not tell of it.
	Recovered bool
}

// unit is one subscription that is desired.
type unit struct {
	Events []string
	Slot   int
	// Entry is the index of what stands for it; none where nothing does.
	Entry int
}

// assign parts names into subscriptions of at most as many events as the provider takes in one, and says which of the
// entries stands for which. A name stays with its entry as long as both are wanted, so that one name more or less moves
// no other. fits tells whether an entry can be made what is wanted, its events aside; whole keeps the first entry, whatever
// it has.
func assign(names []string, entries []entry, caps subscription.Capabilities, fits func(entry) bool, whole bool) []unit {
	entries = withSlots(entries)
	limit := caps.EventLimit()

	if whole && len(names) <= limit {
		return []unit{{Events: names, Slot: slotOr(entries, 0), Entry: firstOf(entries)}}
	}

	var units []unit

	if caps.IsImmutable(subscription.FieldEvents) {
		units = keepExact(names, entries, fits)
	} else {
		units = keepRoom(names, entries, fits, limit)
	}

	units = fill(names, units, entries, limit, caps.IsImmutable(subscription.FieldEvents))

	inOrder(names, units)

	return units
}

// firstOf is the index of the entry with the lowest slot; none where there is none.
func firstOf(entries []entry) int {
	first := none

	for i := range entries {
		if first == none || entries[i].Slot < entries[first].Slot {
			first = i
		}
	}

	return first
}

func slotOr(entries []entry, otherwise int) int {
	if first := firstOf(entries); first != none {
		return entries[first].Slot
	}

	return otherwise
}

// withSlots gives every entry a slot of its own: who has none gets the lowest that is free.
func withSlots(entries []entry) []entry {
	out := slices.Clone(entries)
	taken := map[int]bool{}

	for i := range out {
		if taken[out[i].Slot] {
			out[i].Slot = unknownSlot
		}

		taken[out[i].Slot] = true
	}

	for i := range out {
		if out[i].Slot == unknownSlot {
			out[i].Slot = freeSlot(taken)
			taken[out[i].Slot] = true
		}
	}

	return out
}

func freeSlot(taken map[int]bool) int {
	slot := 0
	for taken[slot] {
		slot++
	}

	return slot
}

// keepExact keeps the entries all of whose events are wanted: those of an entry cannot be changed.
func keepExact(names []string, entries []entry, fits func(entry) bool) []unit {
	var units []unit

	taken := map[string]bool{}

	for i := range entries {
		wanted := len(entries[i].Events) > 0 && fits(entries[i]) && !slices.ContainsFunc(entries[i].Events, func(event string) bool {
			return taken[event] || !slices.Contains(names, event)
		})
		if !wanted {
			continue
		}

		for _, event := range entries[i].Events {
			taken[event] = true
		}

		units = append(units, unit{Events: slices.Clone(entries[i].Events), Slot: entries[i].Slot, Entry: i})
	}

	return units
}

// keepRoom keeps as many entries as there must be, each with what is still wanted of its events.
func keepRoom(names []string, entries []entry, fits func(entry) bool, limit int) []unit {
	order := make([]int, 0, len(entries))

	for i := range entries {
		if fits(entries[i]) {
			order = append(order, i)
		}
	}

	slices.SortStableFunc(order, func(a, b int) int { return entries[a].Slot - entries[b].Slot })

	needed := (len(names) + limit - 1) / limit
	taken := map[string]bool{}

	var units []unit

	for _, i := range order[:min(needed, len(order))] {
		kept := unit{Slot: entries[i].Slot, Entry: i}

		for _, event := range entries[i].Events {
			if slices.Contains(names, event) && !taken[event] && len(kept.Events) < limit {
				taken[event] = true
				kept.Events = append(kept.Events, event)
			}
		}

		units = append(units, kept)
	}

	return units
}

// fill finds a place for the names that no unit has yet: in units with room, unless they are sealed, then in new ones.
func fill(names []string, units []unit, entries []entry, limit int, sealed bool) []unit {
	placed, slots := map[string]bool{}, map[int]bool{}

	for i := range units {
		for _, event := range units[i].Events {
			placed[event] = true
		}
	}

	// The name of an entry that goes is free only when it has gone.
	for i := range entries {
		slots[entries[i].Slot] = true
	}

	open := 0
	if sealed {
		open = len(units)
	}

	for _, name := range names {
		if placed[name] {
			continue
		}

		for open < len(units) && len(units[open].Events) >= limit {
			open++
		}

		if open == len(units) {
			slot := freeSlot(slots)
			slots[slot] = true
			units = append(units, unit{Slot: slot, Entry: none})
		}

		units[open].Events = append(units[open].Events, name)
	}

	return units
}

// inOrder sorts the events of each unit as the names are, and the units by their first.
func inOrder(names []string, units []unit) {
	position := make(map[string]int, len(names))
	for i, name := range names {
		position[name] = i
	}

	for i := range units {
		slices.SortFunc(units[i].Events, func(a, b string) int { return position[a] - position[b] })
	}

	slices.SortStableFunc(units, func(a, b unit) int { return position[a.Events[0]] - position[b.Events[0]] })
}

// superfluous are the indexes of the entries that stand for no unit.
func superfluous(units []unit, entries []entry) []int {
	used := map[int]bool{}
	for _, u := range units {
		used[u.Entry] = true
	}

	var out []int

	for i := range entries {
		if !used[i] {
			out = append(out, i)
		}
	}

	return out
}

// unitName is the name of one of several subscriptions: that of the resource for the first, and with a number for those
// after it. Empty where there are no names.
func unitName(base string, slot int) string {
	if base == "" || slot <= 0 {
		return base
	}

	suffix := "." + strconv.Itoa(slot+1)
	characters := []rune(base)

	if len(characters)+len(suffix) <= subscription.MaxNameLength {
		return base + suffix
	}

	sum := sha256.Sum256([]byte(base))
	suffix = "-" + hex.EncodeToString(sum[:unitHashBytes]) + suffix

	return string(characters[:subscription.MaxNameLength-len(suffix)]) + suffix
}

// slotOf is the slot that a name was made for; unknownSlot where it is of none.
func slotOf(name string, bases ...string) int {
	for _, base := range bases {
		for slot := range maxUnits {
			if base != "" && unitName(base, slot) == name {
				return slot
			}
		}
	}

	return unknownSlot
}
