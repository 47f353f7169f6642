package controllers

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// oneEach are the capabilities of a provider that takes one event in each subscription, which it cannot change.
func oneEach() subscription.Capabilities {
	caps := everything()
	caps.MaxEvents, caps.Wildcards, caps.NamesUnique = 1, false, false
	caps.Immutable = []subscription.Field{subscription.FieldEvents}
	delete(caps.Fields, subscription.FieldName)

	return caps
}

// forEvent is a unit of one event, changed.
func forEvent(event string, have observed, changes ...func(*desired)) pair {
	want := wanting(changes...)
	want.Draft.Name, want.Draft.Events = "", []string{event}

	return pair{want: want, have: have}
}

// at is what the provider has for one event.
func at(id, event string) *subscription.Subscription {
	return new(aRemote(func(s *subscription.Subscription) { s.ID, s.Name, s.Events = id, "", []string{event} }))
}

func known(id, event string) observed {
	return observed{ID: id, Remote: at(id, event), SecretDigest: "digest-1"}
}

func TestPlanSeveral(t *testing.T) {
	t.Parallel()

	draft := func(event string) subscription.Draft { return forEvent(event, observed{}).want.Draft }

	cases := map[string]struct {
		reason string
		units  []pair
		extra  []entry
		keep   bool
		expect []action
	}{
		"Nothing": {
			reason: "All are as asked for.",
			units:  []pair{forEvent("a", known("sub-a", "a")), forEvent("b", known("sub-b", "b"))},
		},
		"CreateAll": {
			reason: "Each unit has a subscription of its own.",
			units:  []pair{forEvent("a", observed{}), forEvent("b", observed{})},
			expect: []action{
				{Verb: verbCreate, Cause: causeNew, Unit: 0, Draft: draft("a")},
				{Verb: verbCreate, Cause: causeNew, Unit: 1, Draft: draft("b")},
			},
		},
		"OneMissing": {
			reason: "What somebody deleted is made again, and that alone.",
			units:  []pair{forEvent("a", known("sub-a", "a")), forEvent("b", observed{ID: "sub-b", SecretDigest: "digest-1"})},
			expect: []action{{Verb: verbCreate, Cause: causeMissing, Unit: 1, Draft: draft("b")}},
		},
		"OnePending": {
			reason: "A create without an answer is looked for, one that was recorded is not.",
			units: []pair{
				forEvent("a", known("sub-a", "a")),
				forEvent("b", observed{Pending: true, Matches: []match{{Subscription: *at("sub-b", "b")}}, SecretDigest: "digest-1"}),
			},
			expect: []action{{Verb: verbRecover, Cause: causeNew, Unit: 1, ID: "sub-b"}},
		},
		"OneInTheWay": {
			reason: "A stranger's holds up its own unit alone.",
			units:  []pair{forEvent("a", observed{Matches: []match{{Subscription: *at("sub-x", "a")}}}), forEvent("b", observed{})},
			expect: []action{
				{Verb: verbStall, Unit: 0, Reason: v1alpha1.ReasonNameConflict},
				{Verb: verbCreate, Cause: causeNew, Unit: 1, Draft: draft("b")},
			},
		},
		"CreatesBeforeDeletes": {
			reason: "What is no longer asked for goes last, and waits for nobody who does not take its place.",
			units:  []pair{forEvent("a", known("sub-a", "a")), forEvent("b", observed{})},
			extra:  []entry{{ID: "sub-c", Events: []string{"c"}, Remote: at("sub-c", "c")}},
			expect: []action{
				{Verb: verbCreate, Cause: causeNew, Unit: 1, Draft: draft("b")},
				{Verb: verbDelete, Unit: none, ID: "sub-c"},
			},
		},
		"ReplacedBeforeDeleted": {
			reason: "What is replaced stays until what replaces it is there.",
			units:  []pair{forEvent("a", known("sub-a", "a")), forEvent("b", observed{})},
			extra:  []entry{{ID: "sub-old", Events: []string{"b", "c"}, Remote: at("sub-old", "b")}},
			expect: []action{
				{Verb: verbCreate, Cause: causeNew, Unit: 1, Draft: draft("b")},
				{Verb: verbDelete, Unit: none, ID: "sub-old", After: []int{1}},
			},
		},
		"HeldByAnother": {
			reason: "What another resource manages is let go of, not deleted.",
			units:  []pair{forEvent("a", known("sub-a", "a"))},
			extra:  []entry{{ID: "sub-b", Events: []string{"b"}, Remote: at("sub-b", "b"), HeldBy: "team/other"}},
			expect: []action{{Verb: verbOrphan, Unit: none, ID: "sub-b"}},
		},
		"GoneAlready": {
			reason: "What is gone needs no deleting.",
			units:  []pair{forEvent("a", known("sub-a", "a"))},
			extra:  []entry{{ID: "sub-b", Events: []string{"b"}}},
		},
		"NothingIsPruned": {
			reason: "While a pattern matches nothing, what there is stays.",
			units:  []pair{forEvent("a", known("sub-a", "a"))},
			extra:  []entry{{ID: "sub-b", Events: []string{"b"}, Remote: at("sub-b", "b")}}, keep: true,
		},
		"ObserveOnlyDeletesNothing": {
			reason: "Who only looks deletes nothing.",
			units:  []pair{forEvent("a", known("sub-a", "a"), func(d *desired) { d.ObserveOnly = true })},
			extra:  []entry{{ID: "sub-b", Events: []string{"b"}, Remote: at("sub-b", "b")}},
		},
		"ObserveOnlyOfSeveral": {
			reason: "One cannot be told from several.",
			units: []pair{
				forEvent("a", observed{}, func(d *desired) { d.ObserveOnly = true }),
				forEvent("b", observed{}, func(d *desired) { d.ObserveOnly = true }),
			},
			expect: []action{{Verb: verbStall, Unit: none, Reason: v1alpha1.ReasonInvalidSpec}},
		},
		"NamedOfSeveral": {
			reason: "One id does not name several.",
			units: []pair{
				forEvent("a", observed{}, func(d *desired) { d.TakeID = "sub-a" }),
				forEvent("b", observed{}, func(d *desired) { d.TakeID = "sub-a" }),
			},
			expect: []action{{Verb: verbStall, Unit: none, Reason: v1alpha1.ReasonInvalidSpec}},
		},
		"TooMany": {
			reason: "A status has no room for any number.",
			units:  make([]pair, maxUnits+1),
			expect: []action{{Verb: verbStall, Unit: none, Reason: v1alpha1.ReasonInvalidSpec}},
		},
		"OtherEventByID": {
			reason: "What cannot be changed of one that was named is told.",
			units: []pair{forEvent("b", observed{Remote: at("sub-a", "a")}, func(d *desired) {
				d.TakeID, d.AdoptionAllowed = "sub-a", true
			})},
			expect: []action{
				{Verb: verbAdopt, Cause: causeNew, Unit: 0, ID: "sub-a"},
				{Verb: verbStall, Unit: 0, Reason: v1alpha1.ReasonInvalidSpec},
			},
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got := planSeveral(tc.units, tc.extra, !tc.keep, oneEach())
			checkStallMessages(t, tc.reason, got, tc.expect)

			if diff := cmp.Diff(tc.expect, got); diff != "" {
				t.Errorf("%s\nplanSeveral (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestReadable: where credentials come back they are compared, whatever the digests say.
func TestReadable(t *testing.T) {
	t.Parallel()

	caps := everything()
	caps.CredentialsReadable = true
	sensitive := []subscription.Header{{Name: "X-Key", Value: "v", Sensitive: true}}
	want := wanting(func(d *desired) { d.Draft.Headers, d.CredentialsDigest = sensitive, "credentials-2" })
	remote := func(value string) *subscription.Subscription {
		return new(aRemote(func(s *subscription.Subscription) { s.Headers = []subscription.Header{{Name: "X-Key", Value: value}} }))
	}
	digest := func(of string) func(*observed) { return func(o *observed) { o.CredentialsDigest = of } }

	if got := plan(want, knowing(remote("v"), digest("")), caps); len(got) != 0 {
		t.Errorf("the provider has the value, and gets it again: %+v", got)
	}

	for before, cause := range map[string]cause{"credentials-1": causeRotation, "credentials-2": causeDrift} {
		got := plan(want, knowing(remote("another"), digest(before)), caps)
		if len(got) != 1 || got[0].Cause != cause || !cmp.Equal(got[0].Fields, []subscription.Field{subscription.FieldHeaders}) {
			t.Errorf("after %s the plan is %+v, want an update because of %s", before, got, cause)
		}
	}
}

func TestSummed(t *testing.T) {
	t.Parallel()

	good := func(what string) unitOutcome { return unitOutcome{What: what} }
	bad := func(what string, err error) unitOutcome { return unitOutcome{What: what, Err: err} }
	refused := &subscription.InvalidError{Message: "at most five"}
	broken := errors.New("connection reset")

	cases := map[string]struct {
		reason string
		units  []unitOutcome
		gone   []unitOutcome
		kind   outcomeKind
		why    string
		says   string
	}{
		"Good":        {reason: "Nothing failed.", units: []unitOutcome{good("a"), good("b")}},
		"OnlyOne":     {"The only one's failure is the failure.", []unitOutcome{bad("a", refused)}, nil, outcomeStalled, v1alpha1.ReasonRejected, "The provider refused the subscription: at most five"},
		"OneOfTwo":    {"A part is there.", []unitOutcome{good("a"), bad("b", refused)}, nil, outcomeStalled, v1alpha1.ReasonPartiallySynced, "1 of 2 subscriptions at the provider are as asked for. b: The provider refused the subscription: at most five"},
		"NoneOfTwo":   {"Nothing is there, for one reason.", []unitOutcome{bad("a", refused), bad("b", refused)}, nil, outcomeStalled, v1alpha1.ReasonRejected, "0 of 2 subscriptions at the provider are as asked for. a: The provider refused the subscription: at most five; b: The provider refused the subscription: at most five"},
		"MendsItself": {"What may mend itself keeps trying.", []unitOutcome{good("a"), bad("b", refused), bad("c", broken)}, nil, outcomeTransient, v1alpha1.ReasonPartiallySynced, "1 of 3 subscriptions at the provider are as asked for. b: The provider refused the subscription: at most five; c: Trying again: connection reset"},
		"Unreached":   {"What was not tried is not as asked for.", []unitOutcome{good("a"), bad("b", broken), {What: "c", Unreached: true}}, nil, outcomeTransient, v1alpha1.ReasonPartiallySynced, "1 of 3 subscriptions at the provider are as asked for. b: Trying again: connection reset"},
		"Leftover":    {"What should be gone is told too.", []unitOutcome{good("a")}, []unitOutcome{bad("b", broken)}, outcomeTransient, v1alpha1.ReasonPartiallySynced, "1 of 1 subscriptions at the provider are as asked for, and 1 that are no longer asked for are still there. b: Trying again: connection reset"},
		"Many":        {"A message has an end.", []unitOutcome{good("a"), bad("b", refused), bad("c", refused), bad("d", refused), bad("e", refused), bad("f", refused)}, nil, outcomeStalled, v1alpha1.ReasonPartiallySynced, "1 of 6 subscriptions at the provider are as asked for. b: The provider refused the subscription: at most five; c: The provider refused the subscription: at most five; d: The provider refused the subscription: at most five; and 2 more"},
		"RateLimited": {"The provider says when.", []unitOutcome{good("a"), bad("b", &subscription.RateLimitedError{After: time.Minute})}, nil, outcomeRateLimited, v1alpha1.ReasonPartiallySynced, "1 of 2 subscriptions at the provider are as asked for. b: The provider asked to slow down and is asked again when its time has passed"},
		"Refused":     {"That the credentials are refused is found in it.", []unitOutcome{good("a"), bad("b", &subscription.AuthError{Message: "expired"})}, nil, outcomeWaiting, v1alpha1.ReasonPartiallySynced, "1 of 2 subscriptions at the provider are as asked for. b: The provider did not accept its credentials, see the provider's conditions"},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			err := summed(tc.units, tc.gone)
			if tc.kind == "" {
				if err != nil {
					t.Errorf("%s\nsummed answered %v", tc.reason, err)
				}

				return
			}

			out := outcomeOf(err)
			if diff := cmp.Diff([]string{string(tc.kind), tc.why, tc.says}, []string{string(out.kind), out.reason, out.message}); diff != "" {
				t.Errorf("%s\nsummed (-want +got):\n%s", tc.reason, diff)
			}

			var auth *subscription.AuthError
			if errors.As(err, &auth) != (name == "Refused") {
				t.Errorf("%s\nthe refusal of credentials is lost or made up: %v", tc.reason, err)
			}
		})
	}

	if err := summed([]unitOutcome{good("a"), bad("b", fmt.Errorf("x: %w", context.DeadlineExceeded))}, nil); outcomeOf(err).cause == nil {
		t.Error("the cause is lost")
	}
}
