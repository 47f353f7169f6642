package controllers

import (
	"fmt"
	"slices"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// pair is what is desired and observed of one unit.
type pair struct {
	want desired
	have observed
}

// planSeveral decides what to do about all units of a resource and about what stands for it and is no longer asked for.
// It is as pure as plan. Creates come before deletes, and what is replaced stays until what replaces it is there. pruned
// says that what is superfluous may go.
func planSeveral(units []pair, extra []entry, pruned bool, caps subscription.Capabilities) []action {
	if refusal, refused := refuseSeveral(units); refused {
		refusal.Unit = none

		return []action{refusal}
	}

	var actions []action

	for i := range units {
		for _, step := range plan(units[i].want, units[i].have, caps) {
			step.Unit = i
			actions = append(actions, step)
		}
	}

	if !pruned || len(units) == 0 || units[0].want.ObserveOnly {
		return actions
	}

	for i := range extra {
		if extra[i].Remote == nil {
			continue
		}

		step := action{Verb: verbDelete, Unit: none, ID: extra[i].ID, After: replacedBy(extra[i], units)}
		if extra[i].HeldBy != "" {
			step.Verb = verbOrphan
		}

		actions = append(actions, step)
	}

	return actions
}

// refuseSeveral says where several subscriptions cannot mean anything.
func refuseSeveral(units []pair) (action, bool) {
	if len(units) <= 1 {
		return action{}, false
	}

	want := units[0].want

	switch {
	case len(units) > maxUnits:
		return stall(v1alpha1.ReasonInvalidSpec,
			"spec.events: this provider needs %d subscriptions for them, the most for one resource is %d: "+
				"use narrower patterns, or several resources", len(units), maxUnits), true
	case want.ObserveOnly:
		return stall(v1alpha1.ReasonInvalidSpec,
			"spec.managementPolicy: ObserveOnly is about one subscription, and spec.events needs %d at this provider: "+
				"name fewer events", len(units)), true
	case want.TakeID != "":
		return stall(v1alpha1.ReasonInvalidSpec,
			"spec.subscriptionId: it names one subscription, and spec.events needs %d at this provider: "+
				"name the events of that one alone, or remove spec.subscriptionId", len(units)), true
	default:
		return action{}, false
	}
}

// replacedBy are the units that ask for an event of an entry which itself is no longer wanted.
func replacedBy(gone entry, units []pair) []int {
	var out []int

	for i := range units {
		if slices.ContainsFunc(units[i].want.Draft.Events, func(event string) bool { return slices.Contains(gone.Events, event) }) {
			out = append(out, i)
		}
	}

	return out
}

// farewell is what planDeletion decides on.
type farewell struct {
	// Policy is the effective deletion policy.
	Policy v1alpha1.DeletionPolicy
	// Remotes are the subscriptions that the status knows; none while there are none.
	Remotes []held
	// Pending: more was asked for than the status knows.
	Pending bool
	// Matches are what the mark found besides Remotes, by natural key.
	Matches [][]match
}

// held is a subscription by its id.
type held struct {
	ID string
	// By is another resource that holds it; empty where none does.
	By string
}

// planDeletion decides what becomes of the remote subscriptions of a resource that is deleted.
func planDeletion(in farewell) []action {
	var actions []action

	for _, remote := range in.Remotes {
		step := action{Verb: verbDelete, ID: remote.ID}
		if in.Policy == v1alpha1.DeletionPolicyOrphan || remote.By != "" {
			step.Verb = verbOrphan
		}

		actions = append(actions, step)
	}

	if !in.Pending || in.Policy == v1alpha1.DeletionPolicyOrphan {
		return actions
	}

	for _, matches := range in.Matches {
		switch {
		case len(matches) > 1:
			actions = append(actions, stall(v1alpha1.ReasonDeletionBlocked,
				"Several subscriptions match the one that was being created (%s), so none is deleted: "+
					"delete the right one at the provider, or set spec.deletionPolicy to Orphan",
				joinIDs(matches)))
		case len(matches) == 1 && matches[0].HeldBy == "":
			actions = append(actions, action{Verb: verbDelete, ID: matches[0].ID})
		}
	}

	return actions
}

// unitOutcome is what came of one unit, or of what is no longer asked for.
type unitOutcome struct {
	// What names it to a human: its events.
	What string
	// Err is why it is not as asked for; nil where it is.
	Err error
	// Unreached: it was not tried, because of what Err of another says.
	Unreached bool
}

// maxFailuresTold is how many failing units a message tells of.
const maxFailuresTold = 3

// summed is what came of all units: nil where all are as asked for, the failure of the only one, or that the set is partial.
func summed(units []unitOutcome, gone []unitOutcome) error {
	good, failed := 0, []unitOutcome{}

	for _, one := range units {
		switch {
		case one.Err != nil:
			failed = append(failed, one)
		case !one.Unreached:
			good++
		}
	}

	leftover := slices.DeleteFunc(slices.Clone(gone), func(one unitOutcome) bool { return one.Err == nil })
	failed = append(failed, leftover...)

	switch {
	case len(failed) == 0:
		return nil
	case len(units) == 1 && len(leftover) == 0:
		return failed[0].Err
	default:
		return partial(good, len(units), len(leftover), failed)
	}
}

// partial is the outcome of a set not all of which is as asked for: what may mend itself goes before what does not.
func partial(good, all, leftover int, failed []unitOutcome) error {
	cause := failed[0].Err
	worst := outcomeOf(cause)

	for _, one := range failed[1:] {
		if out := outcomeOf(one.Err); worst.kind == outcomeStalled && out.kind != outcomeStalled {
			worst, cause = out, one.Err
		}
	}

	if worst.kind == outcomeConflict {
		return worst
	}

	out := *worst
	out.cause, out.message = cause, partialMessage(good, all, leftover, failed)

	if good > 0 || leftover > 0 {
		out.reason = v1alpha1.ReasonPartiallySynced
	}

	return &out
}

func partialMessage(good, all, leftover int, failed []unitOutcome) string {
	message := fmt.Sprintf("%d of %d subscriptions at the provider are as asked for", good, all)
	if leftover > 0 {
		message += fmt.Sprintf(", and %d that are no longer asked for are still there", leftover)
	}

	for i, one := range failed {
		if i == maxFailuresTold {
			return fmt.Sprintf("%s; and %d more", message, len(failed)-i)
		}

		separator := "; "
		if i == 0 {
			separator = ". "
		}

		message += separator + one.What + ": " + unstopped(outcomeOf(one.Err).message)
	}

	return message
}
