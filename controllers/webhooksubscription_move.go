package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// arrival is what a resource has at the provider that it moves to, while the one before has not let go. The status stays
// with that one until then, so without this everything would be pushed, and told, at each try.
type arrival struct {
	// provider is the one that is moved to; ids are the subscriptions there.
	provider types.UID
	ids      map[string]bool
	// secretDigest and credentialsDigest stand for the values that they were given.
	secretDigest      string
	credentialsDigest string
}

// arrive keeps in mind that all is as asked for at the provider that is moved to.
func (s *subscriptionScope) arrive() {
	if !s.moved {
		return
	}

	kept := arrival{
		provider: s.provider.GetUID(), ids: map[string]bool{},
		secretDigest: s.want.SecretDigest, credentialsDigest: s.want.CredentialsDigest,
	}
	for _, u := range s.remotes() {
		kept.ids[u.remote.ID] = true
	}

	s.arrivals.Store(s.sub.UID, kept)
}

// arrivalOf is what is kept in mind of a subscription of the present provider; found is false where nothing is.
func (s *subscriptionScope) arrivalOf(id string) (kept arrival, found bool) {
	value, _ := s.arrivals.Load(s.sub.UID)
	kept, found = value.(arrival)

	return kept, found && kept.provider == s.provider.GetUID() && kept.ids[id]
}

// hasArrived tells whether a subscription was as asked for by an earlier try of the same move.
func (s *subscriptionScope) hasArrived(id string) bool {
	_, found := s.arrivalOf(id)

	return found
}

// recall tells a unit that stands in no status yet what an earlier try of the same move gave to its subscription.
func (s *subscriptionScope) recall(u *unitScope) {
	id := ""

	switch have := u.have; {
	case have.ID != "":
	case have.Remote != nil:
		id = have.Remote.ID
	case len(have.Matches) == 1:
		id = have.Matches[0].ID
	}

	if kept, found := s.arrivalOf(id); found {
		u.have.SecretDigest, u.have.CredentialsDigest = kept.secretDigest, kept.credentialsDigest
	}
}

// stayMoved leaves the status of a resource that moves with the previous provider, which is still to be left.
func (s *subscriptionScope) stayMoved() {
	if s.moved {
		s.before.Status.DeepCopyInto(&s.sub.Status)
	}
}

// leaveOldProvider deletes what the previous provider has, now that the present one has it all. Until then the
// status stays with the old: the mark finds the new ones again.
func (s *subscriptionScope) leaveOldProvider(ctx context.Context) error {
	if !s.moved || s.want.ObserveOnly {
		return nil
	}

	old, remotes := s.before.Status.Provider, remotesOf(&s.before.Status)

	for _, remote := range remotes {
		err := s.deleteAt(ctx, old, remote.ID)
		if err == nil {
			continue
		}

		if !s.graceOver(s.moveBegan()) {
			s.stayMoved()

			return waiting(moveRetry, v1alpha1.ReasonProgressing,
				"Created the subscription at %s; the old one (%s) at %s %s is still to be deleted: %s",
				describe(s.provider), remote.ID, old.Kind, old.Name, scrub(err.Error())).
				because(s.failedElsewhere(ctx, old.Kind, old.Name, err))
		}

		s.event(corev1.EventTypeWarning, v1alpha1.EventOrphaned, "Move",
			fmt.Sprintf("Left subscription %s behind at %s %s: it could not be deleted", remote.ID, old.Kind, old.Name))
	}

	s.event(corev1.EventTypeNormal, v1alpha1.EventProviderChanged, "Move",
		fmt.Sprintf("Moved from %s %s to %s", old.Kind, old.Name, describe(s.provider)))

	// What the old one delivered says nothing of the new one.
	s.sub.Status.DeliveryStatuses = nil

	return nil
}

// moveRetry is how often the deletion at a previous provider is tried.
const moveRetry = 30 * time.Second

// moveBegan is when the subscription was made at the present provider.
func (s *subscriptionScope) moveBegan() time.Time {
	if mark, found := markOf(s.sub); found {
		return mark.At
	}

	return s.clock.Now()
}

// deleteAt deletes a subscription at the provider that a resource has left, unless it was taken over and is to
// be left behind.
func (s *subscriptionScope) deleteAt(ctx context.Context, old *v1alpha1.ResolvedProvider, id string) error {
	if old == nil || s.before.DeletionPolicyOrDefault() == v1alpha1.DeletionPolicyOrphan {
		return nil
	}

	account, known := s.pool.Last(old.UID)
	if !known {
		found, err := s.getProvider(ctx, old.Kind, old.Name)
		if err != nil {
			return err
		}

		if account, err = s.open(ctx, found); err != nil {
			return err
		}

		if !s.isAccountOf(old, account.Config()) {
			return otherAccount(old)
		}
	}

	there := *s
	there.account, there.caps = account, account.Capabilities()

	// As with a deletion: what another resource stands for too is that one's.
	if holder, err := there.heldBy(ctx, id, false); err != nil || holder != "" {
		return err
	}

	return there.deleteRemote(ctx, id)
}

// failedElsewhere is what failed at another provider than the resource's, for the log: a refusal of credentials is told
// to that one, and says nothing of the present one.
func (s *subscriptionScope) failedElsewhere(ctx context.Context, kind v1alpha1.ProviderKind, name string, err error) error {
	refused, is := errors.AsType[*subscription.AuthError](err)
	if !is {
		return err
	}

	namespace := ""
	if kind == v1alpha1.ProviderKindNamespaced {
		namespace = s.sub.Namespace
	}

	s.refused(ctx, kind, namespace, name)

	return fmt.Errorf("%s %s refused its credentials: %s", kind, name, refused.Error())
}
