package controllers

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// desired is what a WebhookSubscription asks of its provider, every reference resolved.
type desired struct {
	// Draft is the subscription as it should be. Its name is empty where the provider has no names and the
	// spec sets none.
	Draft subscription.Draft
	// SecretDigest and CredentialsDigest stand for the secret values in Draft; empty where there are none.
	SecretDigest      string
	CredentialsDigest string
	// ObserveOnly forbids every change.
	ObserveOnly bool
	// TakeID is the existing subscription to take over, by spec.subscriptionId.
	TakeID string
	// AdoptMatching allows, by spec.adoptionPolicy, to take over the one subscription that matches.
	AdoptMatching bool
	// AdoptionAllowed: the provider allows this namespace to take subscriptions over.
	AdoptionAllowed bool
	// SpecChanged: the spec is not the one that the status is about.
	SpecChanged bool
	// Resume was asked for by annotation.
	Resume bool
}

// observed is what the status remembers and what the provider reports.
type observed struct {
	// ID is the subscription the status knows; empty while there is none.
	ID string
	// Observed: the subscription with that ID was only observed so far, neither created nor taken over.
	Observed bool
	// Remote is the subscription with that ID, or else with desired.TakeID; nil where the provider has none.
	Remote *subscription.Subscription
	// HeldBy is the other resource that holds Remote; empty where none does.
	HeldBy string
	// Pending: a create of ours may have happened without its answer having been recorded.
	Pending bool
	// Matches are, without an ID, the subscriptions with our natural key.
	Matches []match
	// SecretDigest and CredentialsDigest stand for the values that were last given to the provider.
	SecretDigest      string
	CredentialsDigest string
}

// match is a subscription with our natural key.
type match struct {
	subscription.Subscription
	// HeldBy is the other resource that holds it; empty where none does.
	HeldBy string
}

// verb says what an action does.
type verb string

const (
	// verbCreate makes a subscription.
	verbCreate verb = "Create"
	// verbRecover records the subscription of a create whose answer was lost.
	verbRecover verb = "Recover"
	// verbAdopt takes an existing subscription over.
	verbAdopt verb = "Adopt"
	// verbObserve records an existing subscription without taking it over.
	verbObserve verb = "Observe"
	// verbUpdate changes a subscription.
	verbUpdate verb = "Update"
	// verbDelete removes a subscription.
	verbDelete verb = "Delete"
	// verbOrphan leaves a subscription behind.
	verbOrphan verb = "Orphan"
	// verbStall reports what only a human can mend.
	verbStall verb = "Stall"
)

// cause says why an action is taken.
type cause string

const (
	causeNew      cause = "New"      // nothing stands for the resource yet
	causeMissing  cause = "Missing"  // somebody deleted it at the provider
	causeSpec     cause = "Spec"     // the resource asks for something else than before
	causeDrift    cause = "Drift"    // somebody changed it at the provider
	causeRotation cause = "Rotation" // only secret values changed
	causeResume   cause = "Resume"   // it was asked to deliver again
)

// action is one step towards what is desired.
type action struct {
	Verb  verb
	Cause cause
	// Unit is the index of the unit that the step is for; none for a subscription that is no longer asked for.
	Unit int
	// After are the units that must be as asked for before this step, which takes away what they replace.
	After []int
	// ID is the subscription acted on; empty for a create.
	ID string
	// Draft belongs to a create.
	Draft subscription.Draft
	// Patch belongs to an update; Fields are what it changes, sorted.
	Patch  subscription.Patch
	Fields []subscription.Field
	// Reason and Message belong to verbStall: the condition's.
	Reason  string
	Message string
}

// plan decides what to do. It is pure: no clock, no cluster, no provider. Actions are taken in order; after
// verbStall comes none.
func plan(want desired, have observed, caps subscription.Capabilities) []action {
	if refusal, refused := refuse(want, caps); refused {
		return []action{refusal}
	}

	switch {
	case have.ID != "":
		return planKnown(want, have, caps)
	case want.TakeID != "":
		return planTake(want, have, caps)
	case want.ObserveOnly:
		return planObserve(want, have, caps)
	case have.Pending:
		return planPending(want, have, caps)
	default:
		return planNew(want, have, caps)
	}
}

// refuse names what the provider cannot honour before anything is asked of it.
func refuse(want desired, caps subscription.Capabilities) (action, bool) {
	draft := want.Draft
	if caps.Has(subscription.FieldSecret) && caps.SecretTextFor(draft.Delivery.Format) != subscription.SecretTextStandardWebhooks {
		// What its text means, and whether that is enough, is for the vendor's own client to judge.
		draft.Secret = ""
	}

	err := draft.Validate(caps)

	var (
		unsupported *subscription.UnsupportedError
		invalid     *subscription.InvalidError
	)

	switch {
	case err == nil:
		return action{}, false
	case errors.As(err, &unsupported):
		return stall(v1alpha1.ReasonUnsupportedByProvider,
			"The provider does not support %s: remove it from the spec, or choose another provider",
			specFields(unsupported.What)), true
	case errors.As(err, &invalid) && invalid.Field == string(subscription.FieldSecret):
		return stall(v1alpha1.ReasonSecretInvalid, "The signing secret cannot be used: %s", invalid.Message), true
	default:
		return stall(v1alpha1.ReasonInvalidSpec, "spec.%s", err), true
	}
}

// planKnown mends the subscription that the status knows.
func planKnown(want desired, have observed, caps subscription.Capabilities) []action {
	switch {
	case have.HeldBy != "":
		return []action{alreadyManaged(have.ID, have.HeldBy)}
	case want.TakeID != "" && want.TakeID != have.ID:
		return []action{stall(v1alpha1.ReasonInvalidSpec,
			"spec.subscriptionId: this resource stands for subscription %s already; "+
				"set that id, or delete this resource and create another",
			have.ID)}
	case have.Remote == nil && (want.ObserveOnly || want.TakeID != ""):
		return []action{notFound(have.ID)}
	case have.Remote == nil:
		return []action{{Verb: verbCreate, Cause: causeMissing, Draft: want.Draft}}
	case have.Observed && !want.ObserveOnly && !want.AdoptionAllowed:
		// Who may look at a subscription may not therefore take it over.
		return []action{adoptionNotAllowed(have.ID)}
	case have.Observed && !want.ObserveOnly:
		return append([]action{{Verb: verbAdopt, Cause: causeNew, ID: have.ID}}, mend(want, have, *have.Remote, caps)...)
	default:
		return mend(want, have, *have.Remote, caps)
	}
}

// planTake takes over the subscription named by spec.subscriptionId.
func planTake(want desired, have observed, caps subscription.Capabilities) []action {
	switch {
	case have.Remote == nil:
		return []action{notFound(want.TakeID)}
	case have.HeldBy != "":
		return []action{alreadyManaged(want.TakeID, have.HeldBy)}
	case want.ObserveOnly:
		return append([]action{{Verb: verbObserve, Cause: causeNew, ID: want.TakeID}}, mend(want, have, *have.Remote, caps)...)
	case !want.AdoptionAllowed:
		return []action{adoptionNotAllowed(want.TakeID)}
	default:
		return append([]action{{Verb: verbAdopt, Cause: causeNew, ID: want.TakeID}}, mend(want, have, *have.Remote, caps)...)
	}
}

// planObserve finds the subscription to observe by its natural key.
func planObserve(want desired, have observed, caps subscription.Capabilities) []action {
	switch len(have.Matches) {
	case 0:
		return []action{stall(v1alpha1.ReasonNotFoundAtProvider,
			"The provider has no subscription like this one to observe: create it there, or correct spec.name or spec.subscriptionId")}
	case 1:
		found := have.Matches[0]

		return append([]action{{Verb: verbObserve, Cause: causeNew, ID: found.ID}}, mend(want, have, found.Subscription, caps)...)
	default:
		return []action{ambiguous(have.Matches)}
	}
}

// planPending finds out whether a create whose answer is unknown has happened. The one match is ours
// whatever the adoption policy says: there was none when the create was announced.
func planPending(want desired, have observed, caps subscription.Capabilities) []action {
	switch len(have.Matches) {
	case 0:
		return []action{{Verb: verbCreate, Cause: causeNew, Draft: want.Draft}}
	case 1:
		found := have.Matches[0]
		if found.HeldBy != "" {
			return []action{alreadyManaged(found.ID, found.HeldBy)}
		}

		return append([]action{{Verb: verbRecover, Cause: causeNew, ID: found.ID}}, mend(want, have, found.Subscription, caps)...)
	default:
		return []action{ambiguous(have.Matches)}
	}
}

// planNew creates a subscription where none is in the way, or takes over the one that is.
func planNew(want desired, have observed, caps subscription.Capabilities) []action {
	if len(have.Matches) == 0 {
		return []action{{Verb: verbCreate, Cause: causeNew, Draft: want.Draft}}
	}

	found := have.Matches[0]

	switch {
	case len(have.Matches) > 1 && want.AdoptMatching:
		return []action{ambiguous(have.Matches)}
	case found.HeldBy != "":
		return []action{alreadyManaged(found.ID, found.HeldBy)}
	case !want.AdoptMatching:
		return []action{nameConflict(want.Draft.Name, found.ID)}
	case !want.AdoptionAllowed:
		return []action{adoptionNotAllowed(found.ID)}
	default:
		return append([]action{{Verb: verbAdopt, Cause: causeNew, ID: found.ID}}, mend(want, have, found.Subscription, caps)...)
	}
}

// mend is the one update that makes the remote subscription as desired; none where it is.
func mend(want desired, have observed, remote subscription.Subscription, caps subscription.Capabilities) []action {
	patch, fields := difference(want.Draft, remote, caps)
	if want.ObserveOnly {
		if len(fields) == 0 {
			return nil
		}

		return []action{stall(v1alpha1.ReasonDrifted,
			"The subscription differs from the spec in %s, and spec.managementPolicy ObserveOnly forbids to change it",
			joinFields(fields))}
	}

	why := causeSpec

	switch {
	case len(fields) == 0 || want.SpecChanged || have.ID == "":
	case caps.CredentialsReadable && have.CredentialsDigest != "" && want.CredentialsDigest != "" &&
		want.CredentialsDigest != have.CredentialsDigest && onlyCredentials(fields):
		why = causeRotation
	default:
		why = causeDrift
	}

	pushed := pushSecrets(&patch, want, have, caps)
	if len(fields) == 0 && len(pushed) > 0 {
		why = causeRotation
	}

	fields = append(fields, pushed...)
	asked := want.Resume || want.SpecChanged && len(fields) > 0

	if remote.State.IsSuspended() && caps.Resumable && want.Draft.Enabled && asked {
		patch.Resume = true
		fields = append(fields, subscription.FieldResume)

		if want.Resume && len(fields) == 1 {
			why = causeResume
		}
	}

	if patch.Empty() {
		return nil
	}

	slices.Sort(fields)

	if fixed := immutable(fields, caps); len(fixed) > 0 {
		return []action{stall(v1alpha1.ReasonInvalidSpec,
			"%s: the provider cannot change that of an existing subscription (%s): ask for what it has, "+
				"or remove spec.subscriptionId to have another created",
			joinFields(fixed), remote.ID)}
	}

	return []action{{Verb: verbUpdate, Cause: why, ID: remote.ID, Patch: patch, Fields: slices.Compact(fields)}}
}

// onlyCredentials tells whether nothing differs but what credentials are part of.
func onlyCredentials(fields []subscription.Field) bool {
	return !slices.ContainsFunc(fields, func(field subscription.Field) bool {
		return field != subscription.FieldBasic && field != subscription.FieldBearer && field != subscription.FieldHeaders
	})
}

// immutable are those of the fields that the provider cannot change.
func immutable(fields []subscription.Field, caps subscription.Capabilities) []subscription.Field {
	var out []subscription.Field

	for _, field := range fields {
		if caps.IsImmutable(field) {
			out = append(out, field)
		}
	}

	return out
}

// pushSecrets adds the secret values that the provider was not given yet. What it holds cannot be read back
// in general, so digests of what was pushed decide.
func pushSecrets(patch *subscription.Patch, want desired, have observed, caps subscription.Capabilities) []subscription.Field {
	var pushed []subscription.Field

	if want.Draft.Secret != "" && want.SecretDigest != have.SecretDigest {
		patch.Secret = &want.Draft.Secret
		pushed = append(pushed, subscription.FieldSecret)
	}

	// Where credentials come back, difference has compared the values themselves.
	if want.CredentialsDigest == have.CredentialsDigest || caps.CredentialsReadable {
		return pushed
	}

	authorization := want.Draft.Authorization
	if patch.Authorization == nil && authorization.SchemeOrNone() != subscription.SchemeNone {
		patch.Authorization = &authorization
		pushed = append(pushed, schemeField(authorization))
	}

	if patch.Headers == nil && slices.ContainsFunc(want.Draft.Headers, func(h subscription.Header) bool { return h.Sensitive }) {
		patch.Headers = new(slices.Clone(want.Draft.Headers))
		pushed = append(pushed, subscription.FieldHeaderSecrets)
	}

	return pushed
}

// difference is the patch that turns the remote subscription into the draft, secret values aside, and the
// fields that it sets.
func difference(
	want subscription.Draft, have subscription.Subscription, caps subscription.Capabilities,
) (subscription.Patch, []subscription.Field) {
	var (
		patch  subscription.Patch
		fields []subscription.Field
	)

	if caps.Has(subscription.FieldName) && want.Name != have.Name {
		patch.Name, fields = &want.Name, append(fields, subscription.FieldName)
	}

	if want.URL != have.URL {
		patch.URL, fields = &want.URL, append(fields, subscription.FieldURL)
	}

	if !sameSet(want.Events, have.Events) {
		patch.Events, fields = new(slices.Clone(want.Events)), append(fields, subscription.FieldEvents)
	}

	if caps.Has(subscription.FieldEnabled) && want.Enabled != have.Enabled {
		patch.Enabled, fields = &want.Enabled, append(fields, subscription.FieldEnabled)
	}

	if field, same := sameAuthorization(want.Authorization, have.Authorization, caps); !same {
		authorization := want.Authorization
		authorization.Scheme = authorization.SchemeOrNone()
		patch.Authorization, fields = &authorization, append(fields, field)
	}

	if caps.Has(subscription.FieldHeaders) && !sameHeaders(want.Headers, have.Headers, caps) {
		patch.Headers, fields = new(slices.Clone(want.Headers)), append(fields, subscription.FieldHeaders)
	}

	if changed := deliveryFields(want.Delivery, have.Delivery, caps); len(changed) > 0 {
		patch.Delivery, fields = &want.Delivery, append(fields, changed...)
	}

	if changed := optionFields(want.Options, have.Options, caps); len(changed) > 0 {
		patch.Options, fields = new(want.Options.Clone()), append(fields, changed...)
	}

	slices.Sort(fields)

	return patch, fields
}

func sameSet(a, b []string) bool {
	return slices.Equal(
		slices.Compact(slices.Sorted(slices.Values(a))),
		slices.Compact(slices.Sorted(slices.Values(b))))
}

func sameAuthorization(want, have subscription.Authorization, caps subscription.Capabilities) (subscription.Field, bool) {
	want.Scheme, have.Scheme = want.SchemeOrNone(), have.SchemeOrNone()
	field := schemeField(want)

	if want.Scheme == subscription.SchemeNone {
		field = schemeField(have)
	}

	if !caps.Has(field) {
		return field, true
	}

	if !caps.CredentialsReadable {
		// A username that is not reported says nothing; passwords and tokens never are.
		if have.Username == "" {
			want.Username = ""
		}

		want.Password, want.Token, have.Password, have.Token = "", "", "", ""
	}

	return field, want == have
}

// schemeField is the field that an authorization is set by.
func schemeField(authorization subscription.Authorization) subscription.Field {
	if authorization.SchemeOrNone() == subscription.SchemeBearer {
		return subscription.FieldBearer
	}

	return subscription.FieldBasic
}

func sameHeaders(want, have []subscription.Header, caps subscription.Capabilities) bool {
	return slices.Equal(asListed(want, caps), asListed(have, caps))
}

// asListed are headers in one order, without what does not come back: the values of sensitive ones, or where those do
// come back, that they are sensitive.
func asListed(headers []subscription.Header, caps subscription.Capabilities) []subscription.Header {
	out := slices.Clone(headers)
	for i := range out {
		if caps.CredentialsReadable {
			out[i].Sensitive = false
		} else if out[i].Sensitive {
			out[i].Value = ""
		}
	}

	slices.SortFunc(out, func(a, b subscription.Header) int { return strings.Compare(a.Name, b.Name) })

	return out
}

func deliveryFields(want, have subscription.Delivery, caps subscription.Capabilities) []subscription.Field {
	ordering := func(o subscription.Ordering) subscription.Ordering {
		if o == "" {
			return subscription.OrderingNone
		}

		return o
	}

	var fields []subscription.Field

	for _, f := range []struct {
		field subscription.Field
		same  bool
	}{
		{subscription.FieldFormat, want.Format == have.Format},
		{subscription.FieldTimeout, want.Timeout == have.Timeout},
		{subscription.FieldMaxAttempts, want.MaxAttempts == have.MaxAttempts},
		{subscription.FieldMaxInFlight, want.MaxInFlight == have.MaxInFlight},
		{subscription.FieldRateLimit, want.RateLimit == have.RateLimit},
		{subscription.FieldOrdering, ordering(want.Ordering) == ordering(have.Ordering)},
	} {
		if caps.Has(f.field) && !f.same {
			fields = append(fields, f.field)
		}
	}

	return fields
}

func optionFields(want, have subscription.Options, caps subscription.Capabilities) []subscription.Field {
	var fields []subscription.Field

	if caps.Has(subscription.FieldBirdOptions) && !sameBird(want.Bird, have.Bird) {
		fields = append(fields, subscription.FieldBirdOptions)
	}

	if caps.Has(subscription.FieldDixaOptions) && !sameDixa(want.Dixa, have.Dixa) {
		fields = append(fields, subscription.FieldDixaOptions)
	}

	return fields
}

// sameBird compares filters without their order, and the template where one is asked for: where none is, the provider may
// show one of its own.
func sameBird(want, have *subscription.BirdOptions) bool {
	want, have = cmp.Or(want, &subscription.BirdOptions{}), cmp.Or(have, &subscription.BirdOptions{})
	sorted := func(filters []subscription.BirdEventFilter) []subscription.BirdEventFilter {
		return slices.SortedFunc(slices.Values(filters), func(a, b subscription.BirdEventFilter) int {
			return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value))
		})
	}

	return slices.Equal(sorted(want.EventFilters), sorted(have.EventFilters)) && (want.Template == "" || want.Template == have.Template)
}

// sameDixa takes no options and options without filters for the same.
func sameDixa(want, have *subscription.DixaOptions) bool {
	want, have = cmp.Or(want, &subscription.DixaOptions{}), cmp.Or(have, &subscription.DixaOptions{})

	return len(want.Filters) == 0 && len(have.Filters) == 0 || reflect.DeepEqual(want.Filters, have.Filters)
}

func stall(reason, format string, args ...any) action {
	return action{Verb: verbStall, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func alreadyManaged(id, holder string) action {
	return stall(v1alpha1.ReasonAlreadyManaged,
		"Subscription %s is managed by WebhookSubscription %s: delete one of the two resources", id, holder)
}

func adoptionNotAllowed(id string) action {
	return stall(v1alpha1.ReasonAdoptionNotAllowed,
		"The provider does not allow this namespace to take over subscription %s: add the namespace to spec.adoption of the provider", id)
}

func notFound(id string) action {
	return stall(v1alpha1.ReasonNotFoundAtProvider,
		"The provider has no subscription %s: correct spec.subscriptionId, or remove it to have a subscription created", id)
}

func nameConflict(name, id string) action {
	what := "like this one"
	mend := "delete it there, or take it over by spec.subscriptionId"

	if name != "" {
		what = fmt.Sprintf("named %q", name)
		mend = "choose another spec.name, or take it over with spec.adoptionPolicy IfNameMatches"
	}

	if id != "" {
		what += " (" + id + ")"
	}

	return stall(v1alpha1.ReasonNameConflict,
		"The provider has a subscription %s that is not managed by this resource: %s", what, mend)
}

func ambiguous(matches []match) action {
	return stall(v1alpha1.ReasonAmbiguousCreate,
		"Several subscriptions at the provider match this one (%s): "+
			"delete the wrong ones there, or name the right one in spec.subscriptionId",
		joinIDs(matches))
}

// joinIDs lists ids in one order, so that a message does not change with the provider's.
func joinIDs(matches []match) string {
	const most = 5

	ids := make([]string, 0, len(matches))
	for _, m := range matches {
		ids = append(ids, m.ID)
	}

	slices.Sort(ids)

	if len(ids) > most {
		ids = append(ids[:most], fmt.Sprintf("and %d more", len(matches)-most))
	}

	return strings.Join(ids, ", ")
}

func joinFields(fields []subscription.Field) string {
	names := make([]string, 0, len(fields))
	for _, field := range fields {
		names = append(names, string(field))
	}

	return specFields(names)
}

// specFields names fields as a user finds them.
func specFields(names []string) string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, "spec."+name)
	}

	return strings.Join(out, ", ")
}
