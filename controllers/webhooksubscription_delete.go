package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// How soon, at first and at last, a deletion is tried again that something at the provider blocks.
const (
	firstDeletionRetry = time.Second
	lastDeletionRetry  = time.Minute
)

// resolveForDeletion finds what is to be let go of, and the account to do it with.
func (s *subscriptionScope) resolveForDeletion(ctx context.Context) error {
	s.farewell = farewell{Policy: s.sub.DeletionPolicyOrDefault()}
	for _, remote := range remotesOf(&s.sub.Status) {
		s.farewell.Remotes = append(s.farewell.Remotes, held{ID: remote.ID})
	}

	known := len(s.farewell.Remotes)
	if s.sub.Spec.ManagementPolicyOrDefault() == v1alpha1.ManagementPolicyObserveOnly || known > 0 && onlyObserved(s.sub) {
		s.farewell.Policy = v1alpha1.DeletionPolicyOrphan
	}

	// More may have been made than was recorded.
	mark, marked := markOf(s.sub)
	s.farewell.Pending = marked && len(mark.Hashes) > known

	if s.sub.Status.Provider == nil && len(mark.Places) > 0 {
		// The mark tells where, whatever the spec says by now: see partWithElsewhere.
		s.farewell.Pending = false
	}

	nothing := known == 0 && !s.farewell.Pending
	if nothing || s.farewell.Policy == v1alpha1.DeletionPolicyOrphan {
		return nil
	}

	account, err := s.accountForDeletion(ctx)
	if err != nil {
		return s.blocked(err)
	}

	s.account, s.caps, s.began = account, account.Capabilities(), account.Mark()

	for i := range s.farewell.Remotes {
		if s.farewell.Remotes[i].By, err = s.heldBy(ctx, s.farewell.Remotes[i].ID, false); err != nil {
			return err
		}
	}

	if s.farewell.Pending {
		if err := s.findPending(ctx); err != nil {
			return s.blocked(err)
		}
	}

	return nil
}

// accountForDeletion is the provider's account, by its last good credentials where it has none by now.
func (s *subscriptionScope) accountForDeletion(ctx context.Context) (*provider.Account, error) {
	pinned := s.sub.Status.Provider
	if pinned == nil {
		found, err := s.findProvider(ctx)
		if err != nil {
			return nil, err
		}

		s.provider = found

		return s.openOrLast(ctx, found)
	}

	last, known := s.pool.Last(pinned.UID)

	found, err := s.getProvider(ctx, pinned.Kind, pinned.Name)
	if err == nil {
		var account *provider.Account

		account, err = s.openOrLast(ctx, found)
		// A later provider of the same name may stand for another account.
		if err == nil && s.isAccountOf(pinned, account.Config()) {
			s.provider = found

			return account, nil
		}

		if err == nil {
			err = otherAccount(pinned)
		}
	}

	if known {
		return last, nil
	}

	return nil, err
}

func (s *subscriptionScope) openOrLast(ctx context.Context, p v1alpha1.Provider) (*provider.Account, error) {
	account, err := s.open(ctx, p)
	if err == nil {
		return account, nil
	}

	if last, known := s.pool.Last(p.GetUID()); known {
		return last, nil
	}

	return nil, err
}

// findPending looks for the subscriptions of creates whose answers were lost.
func (s *subscriptionScope) findPending(ctx context.Context) (err error) {
	if s.provider == nil {
		return nil
	}

	s.farewell.Matches, err = s.unrecorded(ctx)

	return err
}

// unrecorded are what the mark says to have been asked for at the scope's provider, and was made, and is in no status, by
// natural key.
func (s *subscriptionScope) unrecorded(ctx context.Context) ([][]match, error) {
	if err := s.awaitVisibility(); err != nil {
		return nil, err
	}

	view, err := s.account.ListAfter(ctx, s.began)
	if err != nil {
		return nil, fmt.Errorf("listing the provider's subscriptions: %w", err)
	}

	s.entries = nil
	accounted := map[string]bool{}

	for _, remote := range slices.Concat(remotesOf(&s.sub.Status), remotesOf(&s.before.Status)) {
		if sub, found := view.Get(remote.ID); found {
			accounted[s.hashOfRemote(sub)] = true
		}

		s.entries = append(s.entries, entry{ID: remote.ID})
	}

	var out [][]match

	mark, _ := markOf(s.sub)

	for _, hash := range mark.Hashes {
		if accounted[hash] {
			continue
		}

		found, err := s.matches(ctx, s.unknownWith(view, hash))
		if err != nil {
			return nil, err
		}

		if len(found) > 0 {
			out = append(out, found)
		}
	}

	return out, nil
}

// partWithRemote deletes the remote subscription, or leaves it behind.
func (s *subscriptionScope) partWithRemote(ctx context.Context) error {
	for _, step := range planDeletion(s.farewell) {
		switch step.Verb {
		case verbDelete:
			if err := s.deleteRemote(ctx, step.ID); err != nil {
				if err := s.blocked(err); err != nil {
					return err
				}

				continue
			}

			s.tell(corev1.EventTypeNormal, v1alpha1.EventDeleted, "Delete", "Deleted subscription "+step.ID)
			s.log.Info("Deleted the subscription", "subscription", step.ID)
			// Should the next not be deleted yet, this one need not be looked for again.
			setRemotes(&s.sub.Status, slices.DeleteFunc(slices.Clone(remotesOf(&s.sub.Status)),
				func(r v1alpha1.RemoteSubscription) bool { return r.ID == step.ID }))
		case verbOrphan:
			s.tell(corev1.EventTypeNormal, v1alpha1.EventOrphaned, "Orphan", "Left subscription "+step.ID+" at the provider")
		default:
			if err := s.blocked(terminal(step.Reason, "%s", step.Message)); err != nil {
				return err
			}
		}
	}

	return nil
}

// errStillListed answers that a provider says of a subscription that there is none and lists it all the same.
var errStillListed = errors.New("the provider says that there is no such subscription, and lists it all the same")

// deleteRemote deletes a subscription. That there is none is believed only when a list lacks it too, and not while
// the provider may not show what was made a moment ago.
func (s *subscriptionScope) deleteRemote(ctx context.Context, id string) error {
	err := s.account.Delete(ctx, id)
	if err == nil {
		return nil
	}

	if !errors.Is(err, subscription.ErrNotFound) {
		return fmt.Errorf("deleting subscription %s: %w", id, err)
	}

	if err := s.awaitVisibility(); err != nil {
		return err
	}

	view, err := s.account.ListAfter(ctx, s.account.Mark())
	if err != nil {
		return fmt.Errorf("listing the provider's subscriptions: %w", err)
	}

	if _, found := view.Get(id); found {
		return errStillListed
	}

	return nil
}

// release lets the resource go: nothing of it is left to do.
func (s *subscriptionScope) release(ctx context.Context) error {
	if s.farewell.Policy == v1alpha1.DeletionPolicyOrphan {
		if err := s.disownSigningSecret(ctx); err != nil {
			return err
		}
	}

	err := s.patchMetadata(ctx, func(sub *v1alpha1.WebhookSubscription) {
		controllerutil.RemoveFinalizer(sub, v1alpha1.FinalizerSubscription)
	})
	if err != nil {
		return err
	}

	s.fresh.forget(s.sub.UID)
	s.attempts.Delete(s.sub.UID)
	s.arrivals.Delete(s.sub.UID)
	s.copied.Delete(s.sub.UID)
	s.flow.released = true

	return nil
}

// blocked says why a deletion cannot go on and what would let it; once the grace period is over it gives up
// on the remote subscription instead, and answers nil.
func (s *subscriptionScope) blocked(err error) error {
	if s.graceOver(s.sub.DeletionTimestamp.Time) {
		left := "what a create without an answer may have made"
		if remotes := remotesOf(&s.sub.Status); len(remotes) > 0 {
			ids := make([]string, 0, len(remotes))
			for _, remote := range remotes {
				ids = append(ids, remote.ID)
			}

			left = "subscription " + strings.Join(ids, ", ")
		}

		s.event(corev1.EventTypeWarning, v1alpha1.EventOrphaned, "Orphan",
			"Left "+left+" behind: it could not be deleted within the grace period")
		// Nothing more is asked of the provider.
		s.farewell = farewell{Policy: v1alpha1.DeletionPolicyOrphan}

		return nil
	}

	out := outcomeOf(err)
	if out.kind == outcomeConflict || out.kind == outcomeWaiting && out.quiet {
		// Nothing blocks: it only takes a moment.
		return out
	}

	if out.reason == v1alpha1.ReasonDeletionBlocked {
		// It says itself what to do.
		return &outcome{kind: outcomeWaiting, reason: out.reason, message: out.message, after: s.withinGrace(lastDeletionRetry)}
	}

	message := out.message
	if out.kind == outcomeTransient {
		message = scrub(root(err).Error())
	}

	after := out.after
	if _, refused := errors.AsType[*subscription.AuthError](err); refused {
		// Not before the provider itself is tried again: one refusal holds up all its subscriptions.
		after = s.options.ProbeInterval
	}

	if after == 0 {
		// The longer it has been tried, the less often.
		tried := s.clock.Since(s.sub.DeletionTimestamp.Time)
		after = min(max(tried/2, firstDeletionRetry), lastDeletionRetry)
	}

	return &outcome{
		kind: outcomeWaiting, reason: v1alpha1.ReasonDeletionBlocked, after: s.withinGrace(after), cause: err,
		message: fmt.Sprintf("The subscription cannot be deleted at the provider: %s. "+
			"Mend that, or set spec.deletionPolicy to Orphan to leave it behind", unstopped(message)),
	}
}

// graceOver tells whether a deletion that was asked for then has had its time.
func (s *subscriptionScope) graceOver(since time.Time) bool {
	return s.options.DeletionGrace > 0 && s.clock.Since(since) >= s.options.DeletionGrace
}

// withinGrace shortens a wait that would outlast the grace period.
func (s *subscriptionScope) withinGrace(after time.Duration) time.Duration {
	if s.options.DeletionGrace <= 0 {
		return after
	}

	left := s.options.DeletionGrace - s.clock.Since(s.sub.DeletionTimestamp.Time)

	return min(after, max(left, conflictDelay))
}
