package controllers

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// everything are the capabilities of a provider that lacks nothing.
func everything() subscription.Capabilities {
	fields := map[subscription.Field]bool{}
	for _, field := range []subscription.Field{
		subscription.FieldName, subscription.FieldURL, subscription.FieldEvents, subscription.FieldEnabled, subscription.FieldSecret,
		subscription.FieldBasic, subscription.FieldBearer, subscription.FieldHeaders, subscription.FieldHeaderSecrets,
		subscription.FieldFormat, subscription.FieldTimeout, subscription.FieldMaxAttempts, subscription.FieldMaxInFlight,
		subscription.FieldRateLimit, subscription.FieldOrdering, subscription.FieldResume,
	} {
		fields[field] = true
	}

	return subscription.Capabilities{
		Provider: "test", Fields: fields, NamesUnique: true, Wildcards: true, Secret: subscription.SecretSettable,
		Resumable: true, Statuses: true, NaturalKey: []subscription.Field{subscription.FieldName},
		URLSchemes: []string{"http", "https"},
	}
}

// aDraft is a valid draft, changed.
func aDraft(changes ...func(*subscription.Draft)) subscription.Draft {
	draft := subscription.Draft{
		Name: "presence-feed", URL: "https://app.example.com/hooks", Events: []string{"agent.*", "channel.ended.v1"}, Enabled: true,
		Secret: "whsec_" + strings.Repeat("QUJD", 16),
	}
	for _, change := range changes {
		change(&draft)
	}

	return draft
}

// aRemote is what the provider has after creating aDraft, changed.
func aRemote(changes ...func(*subscription.Subscription)) subscription.Subscription {
	draft := aDraft()
	sub := subscription.Subscription{
		ID: "sub-1", Name: draft.Name, URL: draft.URL, Events: []string{"channel.ended.v1", "agent.*"}, Enabled: true,
	}
	for _, change := range changes {
		change(&sub)
	}

	return sub
}

func wanting(changes ...func(*desired)) desired {
	want := desired{Draft: aDraft(), SecretDigest: "digest-1"}
	for _, change := range changes {
		change(&want)
	}

	return want
}

// knowing is a status that knows the remote subscription and that the provider has the present secret.
func knowing(remote *subscription.Subscription, changes ...func(*observed)) observed {
	have := observed{ID: "sub-1", Remote: remote, SecretDigest: "digest-1"}
	for _, change := range changes {
		change(&have)
	}

	return have
}

func TestPlan(t *testing.T) {
	t.Parallel()

	suspended := func(s *subscription.Subscription) {
		s.State = subscription.State{Phase: subscription.Suspended, Reason: "Gone"}
	}
	newURL := "https://app.example.com/elsewhere"

	cases := map[string]struct {
		reason string
		want   desired
		have   observed
		caps   func(*subscription.Capabilities)
		expect []action
	}{
		"Create": {
			reason: "Nothing stands for the resource and nothing is in the way.",
			want:   wanting(),
			expect: []action{{Verb: verbCreate, Cause: causeNew, Draft: aDraft()}},
		},
		"Nothing": {
			reason: "What the provider has is as asked for; the order of events has no meaning.",
			want:   wanting(), have: knowing(new(aRemote())),
		},
		"UpdateWithOnePatch": {
			reason: "All that differs goes into one patch, and nothing else does.",
			want: wanting(func(d *desired) {
				d.SpecChanged = true
				d.Draft.URL, d.Draft.Enabled = newURL, false
				d.Draft.Delivery.MaxInFlight = 3
			}),
			have: knowing(new(aRemote())),
			expect: []action{{
				Verb: verbUpdate, Cause: causeSpec, ID: "sub-1",
				Patch: subscription.Patch{
					URL: &newURL, Enabled: new(false), Delivery: &subscription.Delivery{MaxInFlight: 3},
				},
				Fields: []subscription.Field{subscription.FieldMaxInFlight, subscription.FieldEnabled, subscription.FieldURL},
			}},
		},
		"Drift": {
			reason: "A difference that the spec did not bring was made by somebody at the provider.",
			want:   wanting(), have: knowing(new(aRemote(func(s *subscription.Subscription) { s.Events = []string{"agent.*"} }))),
			expect: []action{{
				Verb: verbUpdate, Cause: causeDrift, ID: "sub-1",
				Patch:  subscription.Patch{Events: new(aDraft().Events)},
				Fields: []subscription.Field{subscription.FieldEvents},
			}},
		},
		"Recreate": {
			reason: "Somebody deleted what the status knows.",
			want:   wanting(), have: knowing(nil),
			expect: []action{{Verb: verbCreate, Cause: causeMissing, Draft: aDraft()}},
		},
		"TakenOverAndGone": {
			reason: "A named subscription cannot be made again: a new one would have another id.",
			want:   wanting(func(d *desired) { d.TakeID, d.AdoptionAllowed = "sub-1", true }), have: knowing(nil),
			expect: []action{notFound("sub-1")},
		},
		"SuspendedIsNotMended": {
			reason: "What the provider decided is not a difference from the spec.",
			want:   wanting(), have: knowing(new(aRemote(suspended))),
		},
		"ResumeOnRequest": {
			reason: "The annotation asks the provider to deliver again.",
			want:   wanting(func(d *desired) { d.Resume = true }), have: knowing(new(aRemote(suspended))),
			expect: []action{{
				Verb: verbUpdate, Cause: causeResume, ID: "sub-1", Patch: subscription.Patch{Resume: true},
				Fields: []subscription.Field{subscription.FieldResume},
			}},
		},
		"ResumeOnSpecChange": {
			reason: "A new endpoint deserves a new try.",
			want:   wanting(func(d *desired) { d.SpecChanged, d.Draft.URL = true, newURL }), have: knowing(new(aRemote(suspended))),
			expect: []action{{
				Verb: verbUpdate, Cause: causeSpec, ID: "sub-1", Patch: subscription.Patch{URL: &newURL, Resume: true},
				Fields: []subscription.Field{subscription.FieldResume, subscription.FieldURL},
			}},
		},
		"DriftDoesNotResume": {
			reason: "Setting back what somebody changed says nothing of the endpoint.",
			want:   wanting(), have: knowing(new(aRemote(suspended, func(s *subscription.Subscription) { s.URL = newURL }))),
			expect: []action{{
				Verb: verbUpdate, Cause: causeDrift, ID: "sub-1", Patch: subscription.Patch{URL: new(aDraft().URL)},
				Fields: []subscription.Field{subscription.FieldURL},
			}},
		},
		"DisabledStaysSuspended": {
			reason: "There is nothing to resume while the spec wants no deliveries.",
			want:   wanting(func(d *desired) { d.Resume, d.Draft.Enabled = true, false }),
			have:   knowing(new(aRemote(suspended, func(s *subscription.Subscription) { s.Enabled = false }))),
		},
		"Rotation": {
			reason: "The digest of what was pushed differs from that of the present value.",
			want:   wanting(func(d *desired) { d.SecretDigest = "digest-2" }), have: knowing(new(aRemote())),
			expect: []action{{
				Verb: verbUpdate, Cause: causeRotation, ID: "sub-1", Patch: subscription.Patch{Secret: new(aDraft().Secret)},
				Fields: []subscription.Field{subscription.FieldSecret},
			}},
		},
		"CredentialsRotated": {
			reason: "A password does not come back, so its digest decides.",
			want: wanting(func(d *desired) {
				d.Draft.Authorization = subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "u", Password: "new"}
				d.CredentialsDigest = "credentials-2"
			}),
			have: knowing(new(aRemote(func(s *subscription.Subscription) {
				s.Authorization = subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "u"}
			})), func(o *observed) { o.CredentialsDigest = "credentials-1" }),
			expect: []action{{
				Verb: verbUpdate, Cause: causeRotation, ID: "sub-1",
				Patch: subscription.Patch{
					Authorization: &subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "u", Password: "new"},
				},
				Fields: []subscription.Field{subscription.FieldBasic},
			}},
		},
		"AuthorizationRemoved": {
			reason: "What the spec no longer asks for is taken away.",
			want:   wanting(),
			have: knowing(new(aRemote(func(s *subscription.Subscription) {
				s.Authorization = subscription.Authorization{Scheme: subscription.SchemeBearer}
			})), func(o *observed) { o.CredentialsDigest = "credentials-1" }),
			expect: []action{{
				Verb: verbUpdate, Cause: causeDrift, ID: "sub-1",
				Patch:  subscription.Patch{Authorization: &subscription.Authorization{Scheme: subscription.SchemeNone}},
				Fields: []subscription.Field{subscription.FieldBearer},
			}},
		},
		"SensitiveHeaderIsNotCompared": {
			reason: "Its value does not come back.",
			want: wanting(func(d *desired) {
				d.Draft.Headers = []subscription.Header{{Name: "X-Key", Value: "v", Sensitive: true}}
				d.CredentialsDigest = "credentials-1"
			}),
			have: knowing(new(aRemote(func(s *subscription.Subscription) {
				s.Headers = []subscription.Header{{Name: "X-Key", Sensitive: true}}
			})), func(o *observed) { o.CredentialsDigest = "credentials-1" }),
		},
		"Unsupported": {
			reason: "What the provider cannot honour is named, and nothing is asked of it.",
			want: wanting(func(d *desired) {
				d.Draft.Delivery = subscription.Delivery{Ordering: subscription.OrderingByKey, RateLimit: 5}
			}),
			caps: func(c *subscription.Capabilities) {
				delete(c.Fields, subscription.FieldOrdering)
				delete(c.Fields, subscription.FieldRateLimit)
			},
			expect: []action{{
				Verb: verbStall, Reason: v1alpha1.ReasonUnsupportedByProvider,
				Message: "The provider does not support spec.delivery.ordering, spec.delivery.rateLimit: remove it from the spec, or choose another provider",
			}},
		},
		"Invalid": {
			reason: "A value that the provider's rules refuse stalls before anything is asked.",
			want:   wanting(func(d *desired) { d.Draft.URL = "http://app.example.com" }),
			caps:   func(c *subscription.Capabilities) { c.URLSchemes = []string{"https"} },
			expect: []action{{Verb: verbStall, Reason: v1alpha1.ReasonInvalidSpec}},
		},
		"WeakSecret": {
			reason: "A given secret that holds too little is the Secret's fault, not the spec's.",
			want:   wanting(func(d *desired) { d.Draft.Secret = "short" }),
			expect: []action{{Verb: verbStall, Reason: v1alpha1.ReasonSecretInvalid}},
		},
		"AdoptByID": {
			reason: "The named subscription is taken over and made as the spec says, with the secret.",
			want:   wanting(func(d *desired) { d.TakeID, d.AdoptionAllowed = "sub-1", true }),
			have:   observed{Remote: new(aRemote())},
			expect: []action{
				{Verb: verbAdopt, Cause: causeNew, ID: "sub-1"},
				{
					Verb: verbUpdate, Cause: causeRotation, ID: "sub-1", Patch: subscription.Patch{Secret: new(aDraft().Secret)},
					Fields: []subscription.Field{subscription.FieldSecret},
				},
			},
		},
		"AdoptByIDNotAllowed": {
			reason: "The provider says which namespaces may take subscriptions over.",
			want:   wanting(func(d *desired) { d.TakeID = "sub-1" }), have: observed{Remote: new(aRemote())},
			expect: []action{adoptionNotAllowed("sub-1")},
		},
		"AdoptByIDMissing": {
			reason: "There is nothing to take over.",
			want:   wanting(func(d *desired) { d.TakeID, d.AdoptionAllowed = "sub-9", true }),
			expect: []action{notFound("sub-9")},
		},
		"AdoptByIDHeld": {
			reason: "Another resource manages it.",
			want:   wanting(func(d *desired) { d.TakeID, d.AdoptionAllowed = "sub-1", true }),
			have:   observed{Remote: new(aRemote()), HeldBy: "team/other"},
			expect: []action{alreadyManaged("sub-1", "team/other")},
		},
		"OtherIDThanKnown": {
			reason: "One resource does not change from one subscription to another.",
			want:   wanting(func(d *desired) { d.TakeID, d.AdoptionAllowed = "sub-2", true }), have: knowing(new(aRemote())),
			expect: []action{{Verb: verbStall, Reason: v1alpha1.ReasonInvalidSpec}},
		},
		"AdoptMatching": {
			reason: "The one of the name is taken over where both sides allow it.",
			want:   wanting(func(d *desired) { d.AdoptMatching, d.AdoptionAllowed = true, true }),
			have:   observed{Matches: []match{{Subscription: aRemote()}}, SecretDigest: "digest-1"},
			expect: []action{{Verb: verbAdopt, Cause: causeNew, ID: "sub-1"}},
		},
		"AdoptMatchingNotAllowed": {
			reason: "The provider does not allow it.",
			want:   wanting(func(d *desired) { d.AdoptMatching = true }), have: observed{Matches: []match{{Subscription: aRemote()}}},
			expect: []action{adoptionNotAllowed("sub-1")},
		},
		"AdoptMatchingAmbiguous": {
			reason: "Of several, none is known to be the one.",
			want:   wanting(func(d *desired) { d.AdoptMatching, d.AdoptionAllowed = true, true }),
			have: observed{Matches: []match{
				{Subscription: aRemote(func(s *subscription.Subscription) { s.ID = "sub-2" })}, {Subscription: aRemote()},
			}},
			expect: []action{{
				Verb: verbStall, Reason: v1alpha1.ReasonAmbiguousCreate,
				Message: "Several subscriptions at the provider match this one (sub-1, sub-2): delete the wrong ones there, or name the right one in spec.subscriptionId",
			}},
		},
		"NameConflict": {
			reason: "A stranger's subscription is not touched.",
			want:   wanting(), have: observed{Matches: []match{{Subscription: aRemote()}}},
			expect: []action{nameConflict("presence-feed", "sub-1")},
		},
		"PendingAndNone": {
			reason: "The create did not happen.",
			want:   wanting(), have: observed{Pending: true},
			expect: []action{{Verb: verbCreate, Cause: causeNew, Draft: aDraft()}},
		},
		"PendingAndOne": {
			reason: "It is ours though the policy is Never; which secret it has is not known, so it gets the present one.",
			want:   wanting(), have: observed{Pending: true, Matches: []match{{Subscription: aRemote()}}},
			expect: []action{
				{Verb: verbRecover, Cause: causeNew, ID: "sub-1"},
				{
					Verb: verbUpdate, Cause: causeRotation, ID: "sub-1", Patch: subscription.Patch{Secret: new(aDraft().Secret)},
					Fields: []subscription.Field{subscription.FieldSecret},
				},
			},
		},
		"PendingAndHeld": {
			reason: "One that another resource recorded is not the one we asked for.",
			want:   wanting(), have: observed{Pending: true, Matches: []match{{Subscription: aRemote(), HeldBy: "team/other"}}},
			expect: []action{alreadyManaged("sub-1", "team/other")},
		},
		"PendingAndSeveral": {
			reason: "None can be told to be ours.",
			want:   wanting(), have: observed{Pending: true, Matches: []match{{Subscription: aRemote()}, {Subscription: aRemote()}}},
			expect: []action{{Verb: verbStall, Reason: v1alpha1.ReasonAmbiguousCreate}},
		},
		"KnownAndHeldByAnElder": {
			reason: "Of two resources with one subscription the older keeps it.",
			want:   wanting(), have: knowing(new(aRemote()), func(o *observed) { o.HeldBy = "team/elder" }),
			expect: []action{alreadyManaged("sub-1", "team/elder")},
		},
		"ObserveOnlyByName": {
			reason: "It is recorded and nothing is changed, secrets neither.",
			want:   wanting(func(d *desired) { d.ObserveOnly = true }), have: observed{Matches: []match{{Subscription: aRemote()}}},
			expect: []action{{Verb: verbObserve, Cause: causeNew, ID: "sub-1"}},
		},
		"ObserveOnlyDrifted": {
			reason: "What differs is told and not mended.",
			want:   wanting(func(d *desired) { d.ObserveOnly, d.Draft.URL = true, newURL }), have: knowing(new(aRemote())),
			expect: []action{{
				Verb: verbStall, Reason: v1alpha1.ReasonDrifted,
				Message: "The subscription differs from the spec in spec.url, and spec.managementPolicy ObserveOnly forbids to change it",
			}},
		},
		"ObservedThenFull": {
			reason: "Managing what was observed is taking it over.",
			want:   wanting(func(d *desired) { d.AdoptionAllowed = true }), have: knowing(new(aRemote()), func(o *observed) { o.Observed = true }),
			expect: []action{{Verb: verbAdopt, Cause: causeNew, ID: "sub-1"}},
		},
		"ObservedThenFullNotAllowed": {
			reason: "Which the provider must allow.",
			want:   wanting(), have: knowing(new(aRemote()), func(o *observed) { o.Observed = true }),
			expect: []action{adoptionNotAllowed("sub-1")},
		},
		"ObservedAndGoneThenFull": {
			reason: "There is nothing to take over any more, so one is created.",
			want:   wanting(), have: knowing(nil, func(o *observed) { o.Observed = true }),
			expect: []action{{Verb: verbCreate, Cause: causeMissing, Draft: aDraft()}},
		},
		"ObserveOnlyMissing": {
			reason: "Nothing is created.",
			want:   wanting(func(d *desired) { d.ObserveOnly = true }),
			expect: []action{{Verb: verbStall, Reason: v1alpha1.ReasonNotFoundAtProvider}},
		},
		"ObserveOnlyDeletedThere": {
			reason: "Nothing is created again either.",
			want:   wanting(func(d *desired) { d.ObserveOnly = true }), have: knowing(nil),
			expect: []action{notFound("sub-1")},
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			caps := everything()
			if tc.caps != nil {
				tc.caps(&caps)
			}

			got := plan(tc.want, tc.have, caps)
			checkStallMessages(t, tc.reason, got, tc.expect)

			if diff := cmp.Diff(tc.expect, got); diff != "" {
				t.Errorf("%s\nplan (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// checkStallMessages lets a case leave out a message that it does not care for, but no message be empty.
func checkStallMessages(t *testing.T, reason string, got, expect []action) {
	t.Helper()

	for i := range got {
		if got[i].Verb != verbStall {
			continue
		}

		if got[i].Message == "" {
			t.Errorf("%s\n%s has no message", reason, got[i].Reason)
		}

		if i < len(expect) && expect[i].Message == "" {
			expect[i].Message = got[i].Message
		}
	}
}

func TestPlanDeletion(t *testing.T) {
	t.Parallel()

	one := []match{{Subscription: subscription.Subscription{ID: "sub-1"}}}

	cases := map[string]struct {
		reason string
		in     farewell
		expect []action
	}{
		"Delete": {
			reason: "What we made goes with the resource.",
			in:     farewell{Policy: v1alpha1.DeletionPolicyDelete, Remotes: []held{{ID: "sub-1"}}},
			expect: []action{{Verb: verbDelete, ID: "sub-1"}},
		},
		"Orphan": {
			reason: "The policy leaves it.",
			in:     farewell{Policy: v1alpha1.DeletionPolicyOrphan, Remotes: []held{{ID: "sub-1"}}},
			expect: []action{{Verb: verbOrphan, ID: "sub-1"}},
		},
		"Held": {
			reason: "Another resource still needs it.",
			in:     farewell{Policy: v1alpha1.DeletionPolicyDelete, Remotes: []held{{ID: "sub-1", By: "team/other"}}},
			expect: []action{{Verb: verbOrphan, ID: "sub-1"}},
		},
		"Nothing": {
			reason: "Nothing was ever made.",
			in:     farewell{Policy: v1alpha1.DeletionPolicyDelete},
		},
		"PendingFound": {
			reason: "The create whose answer was lost had happened.",
			in:     farewell{Policy: v1alpha1.DeletionPolicyDelete, Pending: true, Matches: [][]match{one}},
			expect: []action{{Verb: verbDelete, ID: "sub-1"}},
		},
		"PendingNotFound": {
			reason: "It had not.",
			in:     farewell{Policy: v1alpha1.DeletionPolicyDelete, Pending: true},
		},
		"PendingOrphan": {
			reason: "It may stay, so there is no need to know.",
			in:     farewell{Policy: v1alpha1.DeletionPolicyOrphan, Pending: true, Matches: [][]match{one}},
		},
		"PendingHeld": {
			reason: "It is another resource's.",
			in: farewell{Policy: v1alpha1.DeletionPolicyDelete, Pending: true, Matches: [][]match{{
				{Subscription: subscription.Subscription{ID: "sub-1"}, HeldBy: "team/other"},
			}}},
		},
		"PendingAmbiguous": {
			reason: "A stranger's might be deleted.",
			in:     farewell{Policy: v1alpha1.DeletionPolicyDelete, Pending: true, Matches: [][]match{append(one, one...)}},
			expect: []action{{Verb: verbStall, Reason: v1alpha1.ReasonDeletionBlocked}},
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got := planDeletion(tc.in)
			checkStallMessages(t, tc.reason, got, tc.expect)

			if diff := cmp.Diff(tc.expect, got); diff != "" {
				t.Errorf("%s\nplanDeletion (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
