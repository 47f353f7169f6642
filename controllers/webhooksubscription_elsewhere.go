package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
)

// isAccountOf tells whether a provider stands for the account of the one that a status is pinned to. Where nothing is known
// any more of that one's credentials, a provider of the same name is taken for it, one that was restored from a backup,
// unless the status tells of another account.
func (s *subscriptionScope) isAccountOf(pinned *v1alpha1.ResolvedProvider, present provider.Config) bool {
	if pinned.UID == present.UID {
		return true
	}

	if old, known := s.pool.Last(pinned.UID); known {
		return old.Config().SameAccount(present)
	}

	return pinned.Kind == present.Kind && pinned.Name == present.Name &&
		(pinned.Account == nil || equality.Semantic.DeepEqual(pinned.Account, present.AccountStatus()))
}

// otherAccount says that what a status is pinned to cannot be reached through the provider that has its name.
func otherAccount(pinned *v1alpha1.ResolvedProvider) error {
	return waiting(0, v1alpha1.ReasonProviderNotFound,
		"%s %s stands for another account by now than the one that has the subscription: make a provider of that name for "+
			"that account again, or set spec.deletionPolicy to Orphan to leave the subscription behind", pinned.Kind, pinned.Name)
}

// at is the same reconcile at another provider, where the mark says that creates were asked for. Nothing there is in the
// status.
func (s *subscriptionScope) at(ctx context.Context, place string) (*subscriptionScope, error) {
	kind, name := partsOf(place)

	found, err := s.getProvider(ctx, kind, name)
	if err != nil {
		return nil, err
	}

	// Whoever may edit the resource may write into the mark.
	if err := s.mayUse(ctx, found); err != nil {
		return nil, err
	}

	account, err := s.openOrLast(ctx, found)
	if err != nil {
		return nil, err
	}

	there := *s
	there.provider, there.account, there.caps, there.began = found, account, account.Capabilities(), account.Mark()
	there.told, there.farewell = nil, farewell{Policy: s.farewell.Policy, Pending: true}

	return &there, nil
}

// clearElsewhere deletes what was asked for at providers that the resource has left since, or never came to move to, and
// no status tells of: a create there had no answer, or others of the set were refused. All is at the present provider by now.
func (s *subscriptionScope) clearElsewhere(ctx context.Context) error {
	mark, _ := markOf(s.sub)
	if s.want.ObserveOnly || s.before.DeletionPolicyOrDefault() == v1alpha1.DeletionPolicyOrphan {
		return nil
	}

	for _, place := range mark.elsewhere(s.provider) {
		err := s.clearAt(ctx, place)
		if err == nil {
			continue
		}

		reason := outcomeOf(err).reason

		gone := reason == v1alpha1.ReasonProviderNotFound || reason == v1alpha1.ReasonNamespaceNotAllowed
		if !gone && !s.graceOver(mark.At) {
			return waiting(moveRetry, v1alpha1.ReasonProgressing,
				"All is as asked for at %s; what may have been made at %s is still to be deleted: %s",
				describe(s.provider), place, scrub(err.Error())).because(s.failedAt(ctx, place, err))
		}

		s.event(corev1.EventTypeWarning, v1alpha1.EventOrphaned, "Move",
			"Left behind what may have been made at "+place+": it could not be looked for")
	}

	return nil
}

// clearAt deletes what was asked for at one other provider.
func (s *subscriptionScope) clearAt(ctx context.Context, place string) error {
	there, err := s.at(ctx, place)
	if err != nil {
		return err
	}

	defer s.tellOf(there)

	found, err := there.unrecorded(ctx)
	if err != nil {
		return err
	}

	for _, matches := range found {
		switch {
		case len(matches) > 1:
			conflict := ambiguous(matches)

			return terminal(conflict.Reason, "%s", conflict.Message)
		case matches[0].HeldBy != "":
			continue
		}

		if err := there.deleteRemote(ctx, matches[0].ID); err != nil {
			return err
		}

		there.tell(corev1.EventTypeNormal, v1alpha1.EventDeleted, "Delete",
			fmt.Sprintf("Deleted subscription %s at %s, which the resource has left", matches[0].ID, place))
		s.log.Info("Deleted a subscription that was left elsewhere", "subscription", matches[0].ID, "provider", place)
	}

	return nil
}

// partWithElsewhere deletes, with the resource, what was asked for at providers other than the one that the status tells of.
func (s *subscriptionScope) partWithElsewhere(ctx context.Context) error {
	if s.farewell.Policy == v1alpha1.DeletionPolicyOrphan {
		return nil
	}

	mark, _ := markOf(s.sub)

	for _, place := range mark.Places {
		if pinned := s.sub.Status.Provider; pinned != nil && place == placeNamed(pinned.Kind, pinned.Name) {
			continue
		}

		if err := s.partWith(ctx, place); err != nil {
			return err
		}
	}

	return nil
}

// partWith deletes what was asked for at one other provider.
func (s *subscriptionScope) partWith(ctx context.Context, place string) error {
	// What is at the pinned provider is neither looked at here nor given up with this.
	parting := *s
	parting.sub = s.sub.DeepCopy()
	setRemotes(&parting.sub.Status, nil)

	there, err := parting.at(ctx, place)
	if err == nil {
		err = there.findPending(ctx)
	}

	if err != nil {
		return parting.blocked(err)
	}

	defer s.tellOf(there)

	return there.partWithRemote(ctx)
}

// failedAt is failedElsewhere for what a mark names.
func (s *subscriptionScope) failedAt(ctx context.Context, place string, err error) error {
	kind, name := partsOf(place)

	return s.failedElsewhere(ctx, kind, name, err)
}
