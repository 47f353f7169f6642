package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// resolveEvents expands patterns where the provider takes none. Whatever it has made so far counts as known.
func (s *subscriptionScope) resolveEvents(ctx context.Context) error {
	var catalogue provider.Catalogue

	if needsCatalogue(s.sub.Spec.Events, s.caps) {
		asked := requested(s.sub, v1alpha1.AnnotationReconcileRequested, s.sub.Status.LastHandledReconcileAt)

		var err error
		if catalogue, err = s.account.Catalogue(ctx, asked); err != nil {
			return fmt.Errorf("reading the provider's event types: %w", err)
		}
	}

	// What another provider has is no name of this one.
	var known []string
	for _, remote := range s.knownEntries() {
		known = append(known, remote.Events...)
	}

	expanded, err := expand(s.sub.Spec.Events, catalogue, known, s.caps)
	if err != nil {
		return err
	}

	s.want.Draft.Events, s.unmatched = expanded.Names, expanded.Unmatched

	return nil
}

// observe finds out what the provider has.
func (s *subscriptionScope) observe(ctx context.Context) error {
	s.entries = s.knownEntries()
	s.known = len(s.entries)
	s.moved = s.known == 0 && len(remotesOf(&s.sub.Status)) > 0

	if err := s.observeEntries(ctx); err != nil {
		return err
	}

	s.assignUnits()

	if len(s.entries) == 0 && s.want.TakeID != "" {
		return s.observeTaken(ctx)
	}

	return s.observeMatches(ctx)
}

// onlyObserved tells whether the subscription that the status knows was neither created nor taken over.
func onlyObserved(sub *v1alpha1.WebhookSubscription) bool {
	_, created := markOf(sub)

	return !created && !sub.Status.Adopted && sub.Status.Secret == nil
}

// remotesOf are the subscriptions that a status knows.
func remotesOf(status *v1alpha1.WebhookSubscriptionStatus) []v1alpha1.RemoteSubscription {
	if len(status.Subscriptions) == 0 && status.SubscriptionID != "" {
		return []v1alpha1.RemoteSubscription{{ID: status.SubscriptionID}}
	}

	return status.Subscriptions
}

// knownEntries are the status' subscriptions if they are of the present provider's account.
func (s *subscriptionScope) knownEntries() []entry {
	if pinned := s.sub.Status.Provider; pinned != nil && !s.isAccountOf(pinned, s.account.Config()) {
		return nil
	}

	remotes := remotesOf(&s.sub.Status)
	entries := make([]entry, 0, len(remotes))

	for _, remote := range remotes {
		entries = append(entries, entry{ID: remote.ID, Events: remote.Events, Slot: unknownSlot})
	}

	return entries
}

// observeEntries reads the subscriptions that the status knows: anew where something asks for it, otherwise from the
// list that all share. Of several, one list tells.
func (s *subscriptionScope) observeEntries(ctx context.Context) (err error) {
	for i := range s.entries {
		if s.entries[i].HeldBy, err = s.heldBy(ctx, s.entries[i].ID, true); err != nil {
			return err
		}
	}

	switch {
	case len(s.entries) == 0:
		return nil
	case len(s.entries) == 1 && s.mustRead():
		s.entries[0].Remote, err = s.read(ctx, s.entries[0].ID)
	default:
		err = s.observeListed(ctx)
	}

	if err != nil {
		return err
	}

	for i := range s.entries {
		s.recognise(&s.entries[i])
	}

	return nil
}

// recognise takes from what the provider shows of an entry what the status does not say, or what cannot be changed.
func (s *subscriptionScope) recognise(e *entry) {
	if e.Remote == nil {
		return
	}

	e.Slot = slotOf(e.Remote.Name, s.want.Draft.Name, s.sub.Status.Name)
	if len(e.Events) == 0 || s.caps.IsImmutable(subscription.FieldEvents) {
		e.Events = e.Remote.Events
	}
}

// observeListed looks the entries up in a list.
func (s *subscriptionScope) observeListed(ctx context.Context) error {
	list := s.account.ListCurrent
	if s.mustRead() {
		list = func(ctx context.Context) (provider.View, error) { return s.account.ListAfter(ctx, s.began) }
	}

	view, err := list(ctx)
	if err != nil {
		return fmt.Errorf("listing the provider's subscriptions: %w", err)
	}

	for i := range s.entries {
		if sub, found := view.Get(s.entries[i].ID); found {
			s.entries[i].Remote = &sub

			continue
		}

		if s.entries[i].Remote, err = s.confirmMissing(ctx, s.entries[i].ID); err != nil {
			return err
		}
	}

	return nil
}

// mustRead tells whether a list that may be as old as the provider's interval will not do.
func (s *subscriptionScope) mustRead() bool {
	return !s.settled() || s.want.Resume ||
		slices.ContainsFunc(s.entries, func(e entry) bool { return s.account.Changed(e.ID) }) ||
		requested(s.sub, v1alpha1.AnnotationReconcileRequested, s.sub.Status.LastHandledReconcileAt)
}

// observeTaken reads the subscription that spec.subscriptionId names and the status does not know yet.
func (s *subscriptionScope) observeTaken(ctx context.Context) (err error) {
	if len(s.units) != 1 {
		return nil
	}

	have := &s.units[0].have
	if have.Remote, err = s.read(ctx, s.want.TakeID); err != nil {
		return err
	}

	have.HeldBy, err = s.heldBy(ctx, s.want.TakeID, false)

	return err
}

// read is one subscription, nil where there is none. What we wrote a moment ago and the provider may not show yet is newer.
func (s *subscriptionScope) read(ctx context.Context, id string) (*subscription.Subscription, error) {
	if written, found := s.account.Written(id); found {
		return written, nil
	}

	sub, err := s.account.Get(ctx, id)

	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return s.confirmMissing(ctx, id)
	case err != nil:
		return nil, fmt.Errorf("reading subscription %s: %w", id, err)
	default:
		return &sub, nil
	}
}

// confirmMissing believes that a subscription is gone only when a list lacks it too, and not while the
// provider may not show what was made a moment ago.
func (s *subscriptionScope) confirmMissing(ctx context.Context, id string) (*subscription.Subscription, error) {
	if err := s.awaitVisibility(); err != nil && len(s.entries) > 0 {
		return nil, err
	}

	view, err := s.account.ListAfter(ctx, s.began)
	if err != nil {
		return nil, fmt.Errorf("listing the provider's subscriptions: %w", err)
	}

	if sub, found := view.Get(id); found {
		return &sub, nil
	}

	return nil, nil //nolint:nilnil // the provider has none, which is no error.
}

// awaitVisibility waits until the provider shows what a create may have made.
func (s *subscriptionScope) awaitVisibility() error {
	mark, found := markOf(s.sub)
	if !found {
		return nil
	}

	attempt, _ := s.attempts.Load(s.sub.UID)
	ended, _ := attempt.(time.Time)
	late := s.account.Config().Lateness()

	if left := visibleAt(mark.At, ended, s.since(), late, s.caps.VisibilityDelay).Sub(s.clock.Now()); left > 0 {
		return waiting(left, v1alpha1.ReasonProgressing,
			"Waiting until the provider shows the subscription that was asked for before").quietly()
	}

	return nil
}

// visibleAt is when the provider shows at the latest what was asked for after the mark. ended is when a create of this
// process ended without an answer; zero: all of its own had one. Those of a process before this one, which began since,
// ended when that did, and each of its reconciles in its own time: nothing tells which of their creates had an answer.
// late is how long the provider may still work on what nobody waits for any more.
func visibleAt(marked, ended, since time.Time, late, delay time.Duration) time.Time {
	switch {
	case !ended.IsZero() && ended.After(marked):
		return ended.Add(late + delay)
	case marked.Before(since):
		ended = marked.Add(reconcileTimeout)
		if ended.After(since) {
			ended = since
		}

		return ended.Add(late + delay)
	default:
		return marked.Add(delay)
	}
}

// assignUnits makes units of what is desired and of the entries there are.
func (s *subscriptionScope) assignUnits() {
	whole := s.want.ObserveOnly || s.want.TakeID != ""
	fits := func(e entry) bool {
		if e.Remote == nil {
			return true
		}

		draft := s.want.Draft
		draft.Name, draft.Events = e.Remote.Name, e.Remote.Events
		_, fields := difference(draft, *e.Remote, s.caps)

		return len(immutable(fields, s.caps)) == 0
	}

	var assigned []unit
	if len(s.want.Draft.Events) > 0 {
		assigned = assign(s.want.Draft.Events, s.entries, s.caps, fits, whole)
	}

	s.units = make([]*unitScope, 0, len(assigned))
	for _, u := range assigned {
		s.units = append(s.units, s.unitScopeOf(u))
	}

	s.extra = superfluous(assigned, s.entries)
}

// unitScopeOf is a unit with what is known of it.
func (s *subscriptionScope) unitScopeOf(u unit) *unitScope {
	one := &unitScope{pair: pair{want: s.want}}
	one.want.Draft.Name, one.want.Draft.Events = unitName(s.want.Draft.Name, u.Slot), u.Events
	one.hash = s.hashOf(one.want.Draft.Name, one.want.Draft.URL, u.Events, one.want.Draft.Options)

	if u.Entry == none {
		return one
	}

	e := s.entries[u.Entry]
	if e.Recovered {
		one.have = observed{Pending: true, Matches: []match{{Subscription: *e.Remote}}}

		return one
	}

	status := &s.sub.Status
	one.asked = e.Events
	one.have = observed{
		ID: e.ID, Remote: e.Remote, HeldBy: e.HeldBy, Observed: onlyObserved(s.sub), CredentialsDigest: status.CredentialsDigest,
	}

	if status.Secret != nil {
		one.have.SecretDigest = status.Secret.Digest
	}

	return one
}

// observeMatches looks for subscriptions with the natural key of units that nothing stands for yet: those of a create of
// ours whose answer was lost, or those that are in the way of a new one.
func (s *subscriptionScope) observeMatches(ctx context.Context) error {
	mark, marked := markOf(s.sub)
	// More was asked for than has been recorded.
	lost := marked && len(mark.Hashes) > s.known
	missing := slices.ContainsFunc(s.units, (*unitScope).isMissing)
	pending := lost || slices.ContainsFunc(s.units, func(u *unitScope) bool { return u.isMissing() && mark.has(u.hash) })

	switch {
	case !missing && !lost:
		return nil
	case !pending && !s.mustLookAround():
		return nil
	case pending:
		if err := s.awaitVisibility(); err != nil {
			return err
		}
	}

	view, err := s.account.ListAfter(ctx, s.began)
	if err != nil {
		return fmt.Errorf("listing the provider's subscriptions: %w", err)
	}

	if !pending {
		mark = createMark{}
	}

	contested, err := s.recover(ctx, view, mark)
	if err != nil {
		return err
	}

	return s.observeContested(ctx, view, mark, contested)
}

// isMissing tells whether nothing stands for a unit, nor ever did as far as the status knows.
func (u *unitScope) isMissing() bool { return u.have.ID == "" && len(u.have.Matches) == 0 }

// recover adds to the entries what the mark says to have been asked for, and was made, and is in no status. What it cannot
// tell to be ours it returns, by natural key.
func (s *subscriptionScope) recover(ctx context.Context, view provider.View, mark createMark) (map[string][]match, error) {
	accounted := map[string]bool{}

	for i := range s.entries {
		if remote := s.entries[i].Remote; remote != nil {
			accounted[s.hashOfRemote(*remote)] = true
		}
	}

	contested, before := map[string][]match{}, len(s.entries)

	for _, hash := range mark.Hashes {
		if accounted[hash] {
			continue
		}

		matches, err := s.matches(ctx, s.unknownWith(view, hash))
		if err != nil {
			return nil, err
		}

		switch {
		case len(matches) == 1 && matches[0].HeldBy == "":
			found := entry{ID: matches[0].ID, Events: matches[0].Events, Remote: &matches[0].Subscription, Recovered: true}
			s.recognise(&found)
			s.entries = append(s.entries, found)
		case len(matches) > 0:
			contested[hash] = matches
		}
	}

	if len(s.entries) > before {
		s.assignUnits()
	}

	return contested, nil
}

// unknownWith are the subscriptions with a natural key that are none of the entries.
func (s *subscriptionScope) unknownWith(view provider.View, hash string) []subscription.Subscription {
	return view.Select(func(sub subscription.Subscription) bool {
		known := slices.ContainsFunc(s.entries, func(e entry) bool { return e.ID == sub.ID })

		return !known && s.hashOfRemote(sub) == hash
	})
}

// observeContested tells the units that nothing stands for yet what is in their way.
func (s *subscriptionScope) observeContested(
	ctx context.Context, view provider.View, mark createMark, contested map[string][]match,
) error {
	for _, u := range s.units {
		if !u.isMissing() {
			continue
		}

		if u.have.Pending = mark.has(u.hash); u.have.Pending {
			u.have.Matches = contested[u.hash]

			continue
		}

		// What was asked for under another name, and cannot be told to be ours, is still that.
		for _, hash := range mark.Hashes {
			if matches := contested[hash]; len(s.entries) == 0 && len(matches) > 0 {
				u.have.Pending, u.have.Matches = true, matches
			}
		}

		if u.have.Pending {
			continue
		}

		var err error
		if u.have.Matches, err = s.matches(ctx, s.unknownWith(view, u.hash)); err != nil {
			return err
		}
	}

	return nil
}

// mustLookAround tells whether a create must be preceded by a look at what there is. A provider that keeps
// names unique refuses a second one by itself.
func (s *subscriptionScope) mustLookAround() bool {
	blocked := []string{
		v1alpha1.ReasonNameConflict, v1alpha1.ReasonAlreadyManaged, v1alpha1.ReasonPartiallySynced,
		v1alpha1.ReasonAdoptionNotAllowed, v1alpha1.ReasonAmbiguousCreate,
	}

	return !s.caps.NamesUnique || s.want.AdoptMatching || s.want.ObserveOnly ||
		slices.Contains(blocked, reasonOf(s.before.Status.Conditions, v1alpha1.ConditionReady))
}

// hashOf stands for a natural key at the present provider.
func (s *subscriptionScope) hashOf(name, url string, events []string, options subscription.Options) string {
	return naturalKeyHash(s.provider, s.caps, name, url, events, options)
}

// hashOfRemote stands for the natural key of a subscription there is.
func (s *subscriptionScope) hashOfRemote(sub subscription.Subscription) string {
	return s.hashOf(sub.Name, sub.URL, sub.Events, sub.Options)
}

// matches says of each subscription who else holds it.
func (s *subscriptionScope) matches(ctx context.Context, found []subscription.Subscription) ([]match, error) {
	out := make([]match, 0, len(found))

	for _, sub := range found {
		holder, err := s.heldBy(ctx, sub.ID, false)
		if err != nil {
			return nil, err
		}

		out = append(out, match{Subscription: sub, HeldBy: holder})
	}

	return out, nil
}

// heldBy is the other resource that holds a remote subscription; empty where there is none. Of two that hold
// one, it is the older's: with onlyOlder a younger one is passed over. Who only observes holds nothing.
func (s *subscriptionScope) heldBy(ctx context.Context, id string, onlyOlder bool) (string, error) {
	if s.want.ObserveOnly {
		return "", nil
	}

	account := s.account.Config()
	through := []types.UID{account.UID}

	// Two providers may stand for one account, and so for the same subscriptions.
	for _, other := range s.pool.All() {
		if cfg := other.Config(); cfg.UID != account.UID && cfg.SameAccount(account) {
			through = append(through, cfg.UID)
		}
	}

	for _, uid := range through {
		holder, err := s.holderBy(ctx, remoteKey(uid, id), onlyOlder)
		if err != nil || holder != "" {
			return holder, err
		}
	}

	return "", nil
}

// holderBy is the other resource, in indexRemote, that holds a remote subscription through one provider.
func (s *subscriptionScope) holderBy(ctx context.Context, key string, onlyOlder bool) (string, error) {
	var holders v1alpha1.WebhookSubscriptionList
	if err := s.client.List(ctx, &holders, client.MatchingFields{indexRemote: key}); err != nil {
		return "", fmt.Errorf("looking for other resources with the same subscription: %w", err)
	}

	for i := range holders.Items {
		other := &holders.Items[i]
		observes := other.Spec.ManagementPolicyOrDefault() == v1alpha1.ManagementPolicyObserveOnly

		if other.UID == s.sub.UID || observes || onlyOlder && !older(other, s.sub) {
			continue
		}

		return other.Namespace + "/" + other.Name, nil
	}

	return "", nil
}

func older(a, b *v1alpha1.WebhookSubscription) bool {
	if !a.CreationTimestamp.Time.Equal(b.CreationTimestamp.Time) {
		return a.CreationTimestamp.Time.Before(b.CreationTimestamp.Time)
	}

	return a.UID < b.UID
}

// plan decides what to do.
func (s *subscriptionScope) plan(context.Context) error {
	pairs, extra := make([]pair, 0, len(s.units)), make([]entry, 0, len(s.extra))

	for _, u := range s.units {
		s.recall(u)

		pairs = append(pairs, u.pair)

		// What was only looked up is not ours before an action takes it.
		if u.have.ID != "" {
			u.remote = u.have.Remote
		}
	}

	for _, i := range s.extra {
		extra = append(extra, s.entries[i])
	}

	// While a pattern matches nothing, what is there stays: the catalogue may come back.
	s.actions = planSeveral(pairs, extra, len(s.unmatched) == 0, s.caps)

	if len(s.actions) == 1 && s.actions[0].Verb == verbStall && s.actions[0].Unit == none {
		return terminal(s.actions[0].Reason, "%s", s.actions[0].Message)
	}

	return nil
}

// settled tells whether the resource was as asked for, by the present spec, when this reconcile began.
func (s *subscriptionScope) settled() bool {
	return isReady(s.before.Status.Conditions) && s.before.Status.ObservedGeneration == s.sub.Generation
}

// driftDue is how long it is until the provider's subscriptions are compared again: with the next list that all
// share, each resource a little later than the list is due, by its UID, so that they do not all come at once.
func (s *subscriptionScope) driftDue() time.Duration {
	interval := s.account.Config().Interval

	due := s.account.ListDue()
	if due <= 0 {
		// The list is due already: soon, and spread no more than a herd needs.
		return minDriftDelay + jitter(s.sub.UID, min(interval, maxOverdueSpread))
	}

	return due + jitter(s.sub.UID, interval)
}

const (
	// minDriftDelay keeps a list that is due already from being asked for in a tight loop.
	minDriftDelay = time.Second
	// maxOverdueSpread is the interval whose jitter spreads those that wait for a list that is due already.
	maxOverdueSpread = time.Minute
)
