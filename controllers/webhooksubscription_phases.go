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
	"github.com/hookline-dev/hookline/internal/subscription"
)

// observe finds out what the provider has.
func (s *subscriptionScope) observe(ctx context.Context) error {
	s.have = observed{ID: s.knownID()}
	if status := &s.sub.Status; s.have.ID != "" {
		s.have.Observed = onlyObserved(s.sub)
		s.have.CredentialsDigest = status.CredentialsDigest
		if status.Secret != nil {
			s.have.SecretDigest = status.Secret.Digest
		}
	}

	switch {
	case s.have.ID != "":
		return s.observeKnown(ctx)
	case s.want.TakeID != "":
		return s.observeNamed(ctx, s.want.TakeID)
	default:
		return s.observeMatches(ctx)
	}
}

// onlyObserved tells whether the subscription that the status knows was neither created nor taken over.
func onlyObserved(sub *v1alpha1.WebhookSubscription) bool {
	_, created := markOf(sub)

	return !created && !sub.Status.Adopted && sub.Status.Secret == nil
}

// knownID is the status' id if it is one of the present provider's account. Where nothing is known any more of the
// account of the pinned provider, a provider of the same name is taken for it: one that was restored from a backup.
func (s *subscriptionScope) knownID() string {
	pinned := s.sub.Status.Provider
	if pinned == nil || pinned.UID == s.provider.GetUID() {
		return s.sub.Status.SubscriptionID
	}

	same := pinned.Kind == s.provider.ProviderKind() && pinned.Name == s.provider.GetName()
	if old, known := s.pool.Last(pinned.UID); known {
		same = old.Config().SameAccount(s.account.Config())
	}

	if same {
		return s.sub.Status.SubscriptionID
	}

	return ""
}

// moving tells whether the status' subscription is one of another provider than the present.
func (s *subscriptionScope) moving() bool {
	return s.before.Status.SubscriptionID != "" && s.have.ID == ""
}

// observeKnown reads the subscription that the status knows: anew where something asks for it, otherwise from
// the list that all share.
func (s *subscriptionScope) observeKnown(ctx context.Context) (err error) {
	if s.have.HeldBy, err = s.heldBy(ctx, s.have.ID, true); err != nil {
		return err
	}

	if s.mustRead() {
		return s.observeNamed(ctx, s.have.ID)
	}

	view, err := s.account.ListCurrent(ctx)
	if err != nil {
		return fmt.Errorf("listing the provider's subscriptions: %w", err)
	}

	if sub, found := view.Get(s.have.ID); found {
		s.have.Remote = &sub

		return nil
	}

	return s.confirmMissing(ctx, s.have.ID)
}

// mustRead tells whether a list that may be as old as the provider's interval will not do.
func (s *subscriptionScope) mustRead() bool {
	return !s.settled() || s.want.Resume || s.account.Changed(s.have.ID) ||
		requested(s.sub, v1alpha1.AnnotationReconcileRequested, s.sub.Status.LastHandledReconcileAt)
}

// observeNamed reads one subscription. What we wrote a moment ago and the provider may not show yet is newer.
func (s *subscriptionScope) observeNamed(ctx context.Context, id string) error {
	if written, found := s.account.Written(id); found {
		s.have.Remote = written

		return nil
	}

	sub, err := s.account.Get(ctx, id)

	switch {
	case errors.Is(err, subscription.ErrNotFound):
		if err := s.confirmMissing(ctx, id); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("reading subscription %s: %w", id, err)
	default:
		s.have.Remote = &sub
	}

	if s.have.ID != "" {
		return nil
	}

	s.have.HeldBy, err = s.heldBy(ctx, id, false)

	return err
}

// confirmMissing believes that a subscription is gone only when a list lacks it too, and not while the
// provider may not show what was made a moment ago.
func (s *subscriptionScope) confirmMissing(ctx context.Context, id string) error {
	if err := s.awaitVisibility(); err != nil && s.have.ID != "" {
		return err
	}

	view, err := s.account.ListAfter(ctx, s.began)
	if err != nil {
		return fmt.Errorf("listing the provider's subscriptions: %w", err)
	}

	if sub, found := view.Get(id); found {
		s.have.Remote = &sub
	}

	return nil
}

// awaitVisibility waits until the provider shows what a create may have made.
func (s *subscriptionScope) awaitVisibility() error {
	mark, found := markOf(s.sub)
	if !found {
		return nil
	}

	asked := mark.At
	if attempt, known := s.attempts.Load(s.sub.UID); known {
		if at, same := attempt.(time.Time); same && at.After(asked) {
			asked = at
		}
	}

	if left := asked.Add(s.caps.VisibilityDelay).Sub(s.clock.Now()); left > 0 {
		return waiting(left, v1alpha1.ReasonProgressing,
			"Waiting until the provider shows the subscription that was asked for before").quietly()
	}

	return nil
}

// observeMatches looks for subscriptions with our natural key: those of a create of ours whose answer was lost,
// or those that are in the way of a new one.
func (s *subscriptionScope) observeMatches(ctx context.Context) error {
	mark, marked := markOf(s.sub)
	if !marked && !s.mustLookAround() {
		return nil
	}

	if marked {
		if err := s.awaitVisibility(); err != nil {
			return err
		}
	}

	view, err := s.account.ListAfter(ctx, s.began)
	if err != nil {
		return fmt.Errorf("listing the provider's subscriptions: %w", err)
	}

	with := func(hash string) []subscription.Subscription {
		return view.Select(func(sub subscription.Subscription) bool {
			return s.hashOf(sub.Name, sub.URL, sub.Events) == hash
		})
	}

	wanted := s.wantedHash()
	matching := with(wanted)

	if marked {
		// The mark finds what was asked for then, though the spec may ask for another name by now.
		ours := with(mark.Hash)
		if s.have.Pending = len(ours) > 0 || mark.Hash == wanted; s.have.Pending {
			matching = ours
		}
	}

	s.have.Matches, err = s.matches(ctx, matching)

	return err
}

// mustLookAround tells whether a create must be preceded by a look at what there is. A provider that keeps
// names unique refuses a second one by itself.
func (s *subscriptionScope) mustLookAround() bool {
	blocked := []string{
		v1alpha1.ReasonNameConflict, v1alpha1.ReasonAlreadyManaged,
		v1alpha1.ReasonAdoptionNotAllowed, v1alpha1.ReasonAmbiguousCreate,
	}

	return !s.caps.NamesUnique || s.want.AdoptMatching || s.want.ObserveOnly ||
		slices.Contains(blocked, reasonOf(s.before.Status.Conditions, v1alpha1.ConditionReady))
}

// hashOf stands for a natural key at the present provider.
func (s *subscriptionScope) hashOf(name, url string, events []string) string {
	return naturalKeyHash(s.provider, s.caps, name, url, events)
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
	s.actions = plan(s.want, s.have, s.caps)

	// What was only looked up is not ours before an action takes it.
	if s.have.ID != "" {
		s.remote = s.have.Remote
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
