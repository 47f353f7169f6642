package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// minLookAgain is how long a name is left alone that is taken by what no list shows yet.
const minLookAgain = time.Second

// act does what was planned. Everything that can fail at the API server comes before the provider is asked, so
// that after a create only its record in the status is left to write.
func (s *subscriptionScope) act(ctx context.Context) error {
	if err := s.anchor(ctx); err != nil {
		return err
	}

	for _, step := range s.actions {
		if step.Verb != verbStall && step.Verb != verbObserve {
			s.flow.acted = true
		}

		if err := s.do(ctx, step); err != nil {
			return err
		}
	}

	s.record()

	return s.renewMark(ctx)
}

func (s *subscriptionScope) do(ctx context.Context, step action) error {
	switch step.Verb {
	case verbCreate:
		return s.create(ctx, step)
	case verbUpdate:
		return s.update(ctx, step)
	case verbAdopt, verbRecover, verbObserve:
		return s.take(step)
	default:
		s.record()

		return terminal(step.Reason, "%s", step.Message)
	}
}

// anchor readies the resource for what is planned: the finalizer, and the mark that a create is about to be asked
// for, in one patch that fails if somebody changed the resource since it was read.
func (s *subscriptionScope) anchor(ctx context.Context) error {
	if s.want.ObserveOnly || len(s.actions) > 0 && s.actions[0].Verb == verbStall {
		return nil
	}

	if err := s.holdProvider(ctx); err != nil {
		return err
	}

	if err := s.writeSigningSecret(ctx); err != nil {
		return err
	}

	return s.patchMetadata(ctx, func(sub *v1alpha1.WebhookSubscription) {
		controllerutil.AddFinalizer(sub, v1alpha1.FinalizerSubscription)
		s.setMark(sub)
	})
}

// setMark writes or removes the annotation create-pending.
func (s *subscriptionScope) setMark(sub *v1alpha1.WebhookSubscription) {
	first := verb("")
	if len(s.actions) > 0 {
		first = s.actions[0].Verb
	}

	switch first {
	case verbAdopt:
		// A subscription that was taken over is not one that we made: without a status it is for the adoption
		// policy to find it again.
		delete(sub.Annotations, v1alpha1.AnnotationCreatePending)
	case verbCreate:
		s.writeMark(sub)
	default:
	}
}

func (s *subscriptionScope) writeMark(sub *v1alpha1.WebhookSubscription) {
	mark := createMark{At: s.clock.Now(), Hash: s.wantedHash()}
	metav1.SetMetaDataAnnotation(&sub.ObjectMeta, v1alpha1.AnnotationCreatePending, mark.String())
}

// wantedHash stands for the natural key that is asked for.
func (s *subscriptionScope) wantedHash() string {
	return s.hashOf(s.want.Draft.Name, s.want.Draft.URL, s.want.Draft.Events)
}

// renewMark rewrites the mark of a subscription whose natural key has changed, once the provider has taken the change:
// a name that it refused is somebody else's, and the mark would claim it.
func (s *subscriptionScope) renewMark(ctx context.Context) error {
	if mark, marked := markOf(s.sub); !marked || s.want.ObserveOnly || mark.Hash == s.wantedHash() {
		return nil
	}

	return s.patchMetadata(ctx, s.writeMark)
}

// holdProvider puts the finalizer on a provider that comes into use, so that its credentials stay long enough.
func (s *subscriptionScope) holdProvider(ctx context.Context) error {
	obj, same := s.provider.DeepCopyObject().(client.Object)
	if !same || controllerutil.ContainsFinalizer(obj, v1alpha1.FinalizerProviderInUse) || !obj.GetDeletionTimestamp().IsZero() {
		return nil
	}

	base, _ := s.provider.(client.Object)

	controllerutil.AddFinalizer(obj, v1alpha1.FinalizerProviderInUse)

	if err := s.client.Patch(ctx, obj, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("marking %s as in use: %w", describe(s.provider), err)
	}

	return nil
}

// patchMetadata changes the resource's metadata alone, if nobody else changed the resource since it was read.
func (s *subscriptionScope) patchMetadata(ctx context.Context, change func(*v1alpha1.WebhookSubscription)) error {
	changed := s.sub.DeepCopy()
	change(changed)

	if equality.Semantic.DeepEqual(changed.ObjectMeta, s.sub.ObjectMeta) {
		return nil
	}

	patch := client.MergeFromWithOptions(s.sub.DeepCopy(), client.MergeFromWithOptimisticLock{})
	if err := s.client.Patch(ctx, changed, patch); err != nil {
		return fmt.Errorf("changing the resource's metadata: %w", err)
	}

	s.fresh.wrote(changed)
	s.sub.ObjectMeta = changed.ObjectMeta

	return nil
}

func (s *subscriptionScope) create(ctx context.Context, step action) error {
	if step.Cause == causeMissing {
		// The old id is of nothing. Should the answer be lost, the mark finds the new one.
		s.sub.Status.SubscriptionID, s.sub.Status.Subscriptions = "", nil
	}

	created, err := s.account.Create(ctx, step.Draft)
	if errors.Is(err, subscription.ErrNameTaken) {
		return s.nameTaken(ctx)
	}

	if err != nil {
		s.attempts.Store(s.sub.UID, s.clock.Now())

		return fmt.Errorf("creating the subscription: %w", err)
	}

	s.attempts.Delete(s.sub.UID)

	s.remote = &created.Subscription
	s.sub.Status.Adopted = false
	s.pushed(subscription.Patch{Secret: &step.Draft.Secret})

	if step.Cause == causeMissing {
		s.event(corev1.EventTypeWarning, v1alpha1.EventRecreated, "Create",
			"Somebody deleted the subscription at the provider: created it again as "+created.ID)
	} else {
		s.event(corev1.EventTypeNormal, v1alpha1.EventCreated, "Create", "Created subscription "+created.ID)
	}

	s.log.Info("Created the subscription", "subscription", created.ID)

	return nil
}

// nameTaken tells a stranger's subscription from one of an earlier attempt of ours. Before the first attempt
// none was ours, so the mark goes: it would claim the stranger's.
func (s *subscriptionScope) nameTaken(ctx context.Context) error {
	if s.have.Pending {
		return waiting(max(s.caps.VisibilityDelay, minLookAgain), v1alpha1.ReasonProgressing,
			"Waiting until the provider shows the subscription that has the name %q", s.want.Draft.Name)
	}

	if err := s.dropMark(ctx); err != nil {
		return err
	}

	view, err := s.account.ListAfter(ctx, s.account.Mark())
	if err != nil {
		return fmt.Errorf("looking for the subscription that has the name: %w", err)
	}

	wanted := s.wantedHash()

	s.have.Matches, err = s.matches(ctx, view.Select(func(sub subscription.Subscription) bool {
		return s.hashOf(sub.Name, sub.URL, sub.Events) == wanted
	}))
	if err != nil {
		return err
	}

	if step := planNew(s.want, s.have, s.caps)[0]; step.Verb == verbStall {
		return terminal(step.Reason, "%s", step.Message)
	}

	conflict := nameConflict(s.want.Draft.Name, "")
	out := terminal(conflict.Reason, "%s", conflict.Message)
	out.again = len(s.have.Matches) > 0

	return out
}

// dropMark removes the mark whoever else has changed the resource meanwhile, and also when the process is told to
// stop: the mark of a create that was refused would claim a stranger's subscription.
func (s *subscriptionScope) dropMark(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
	defer cancel()

	changed := s.sub.DeepCopy()
	// The one annotation by name: others may have come meanwhile.
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, v1alpha1.AnnotationCreatePending)

	if err := s.client.Patch(ctx, changed, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("removing the mark of a create that was refused: %w", err)
	}

	s.fresh.wrote(changed)
	// What else has changed meanwhile is for the next reconcile: this one is about the generation that it read.
	s.sub.Annotations, s.sub.ResourceVersion = changed.Annotations, changed.ResourceVersion

	return nil
}

func (s *subscriptionScope) update(ctx context.Context, step action) error {
	updated, err := s.account.Update(ctx, step.ID, step.Patch)
	if errors.Is(err, subscription.ErrNameTaken) {
		return terminal(v1alpha1.ReasonNameConflict,
			"The provider has another subscription named %q: choose another spec.name", s.want.Draft.Name)
	}

	if err != nil {
		return fmt.Errorf("updating subscription %s: %w", step.ID, err)
	}

	s.remote = &updated
	s.pushed(step.Patch)
	s.tellUpdate(step)
	s.log.Info("Updated the subscription", "subscription", step.ID, "cause", step.Cause, "fields", step.Fields)

	return nil
}

func (s *subscriptionScope) tellUpdate(step action) {
	changed := joinFields(step.Fields)

	switch step.Cause {
	case causeDrift:
		s.event(corev1.EventTypeWarning, v1alpha1.EventDriftCorrected, "Update",
			"Somebody changed the subscription at the provider: set back "+changed)
	case causeRotation:
		s.event(corev1.EventTypeNormal, v1alpha1.EventSecretRotated, "Update", "Gave the provider new values of "+changed)
	case causeResume:
		s.event(corev1.EventTypeNormal, v1alpha1.EventResumed, "Update", "Asked the provider to deliver again")
	default:
		s.event(corev1.EventTypeNormal, v1alpha1.EventUpdated, "Update", "Changed "+changed)
	}
}

// take records that an existing subscription stands for the resource.
func (s *subscriptionScope) take(step action) error {
	s.remote = s.have.Remote
	for i := range s.have.Matches {
		if s.have.Matches[i].ID == step.ID {
			s.remote = &s.have.Matches[i].Subscription
		}
	}

	switch step.Verb {
	case verbAdopt:
		s.sub.Status.Adopted = true
		s.event(corev1.EventTypeNormal, v1alpha1.EventAdopted, "Adopt", "Took over subscription "+step.ID)
	case verbRecover:
		s.attempts.Delete(s.sub.UID)
		s.sub.Status.Adopted = false
		s.event(corev1.EventTypeNormal, v1alpha1.EventRecovered, "Recover", "Found subscription "+step.ID+", which had been asked for")
	default:
	}

	return nil
}

// pushed notes in the status which secret values the provider was given.
func (s *subscriptionScope) pushed(patch subscription.Patch) {
	if patch.Secret != nil && *patch.Secret != "" {
		s.sub.Status.Secret = &v1alpha1.SecretStatus{Name: s.signing.ref.Name, Key: s.signing.ref.Key, Digest: s.want.SecretDigest}
	}

	s.sub.Status.CredentialsDigest = s.want.CredentialsDigest
}

// record writes into the status what stands for the resource at the provider.
func (s *subscriptionScope) record() {
	status := &s.sub.Status
	if s.remote == nil {
		return
	}

	status.SubscriptionID, status.Name, status.URL = s.remote.ID, s.remote.Name, s.remote.URL
	status.Provider = &v1alpha1.ResolvedProvider{Kind: s.provider.ProviderKind(), Name: s.provider.GetName(), UID: s.provider.GetUID()}

	remote := v1alpha1.RemoteSubscription{ID: s.remote.ID, Events: s.sub.Spec.Events, State: v1alpha1.SubscriptionStateActive}
	if s.remote.State.IsSuspended() {
		remote.State, remote.StateReason = v1alpha1.SubscriptionStateSuspended, s.remote.State.Reason
	}

	status.Subscriptions = []v1alpha1.RemoteSubscription{remote}

	// The same value may stand in another Secret by now.
	if status.Secret != nil && s.signing.value != "" && status.Secret.Digest == s.want.SecretDigest {
		status.Secret.Name, status.Secret.Key = s.signing.ref.Name, s.signing.ref.Key
	}
}

// event writes an Event about the resource.
func (s *subscriptionScope) event(kind, reason, act, note string) {
	s.recorder.Eventf(s.sub, nil, kind, reason, act, "%s", strings.ToValidUTF8(note, "?"))
}

// leaveOldProvider deletes what the previous provider has, now that the present one has it. Until then the
// status stays with the old: the mark finds the new one again.
func (s *subscriptionScope) leaveOldProvider(ctx context.Context) error {
	if !s.moving() || s.want.ObserveOnly {
		return nil
	}

	old, id := s.before.Status.Provider, s.before.Status.SubscriptionID
	err := s.deleteAt(ctx, old, id)

	if err != nil && !s.graceOver(s.moveBegan()) {
		s.before.Status.DeepCopyInto(&s.sub.Status)

		return waiting(moveRetry, v1alpha1.ReasonProgressing,
			"Created the subscription at %s; the old one (%s) at %s %s is still to be deleted: %s",
			describe(s.provider), id, old.Kind, old.Name, scrub(err.Error())).because(err)
	}

	s.event(corev1.EventTypeNormal, v1alpha1.EventProviderChanged, "Move",
		fmt.Sprintf("Moved from %s %s to %s", old.Kind, old.Name, describe(s.provider)))

	if err != nil {
		s.event(corev1.EventTypeWarning, v1alpha1.EventOrphaned, "Move",
			fmt.Sprintf("Left subscription %s behind at %s %s: it could not be deleted", id, old.Kind, old.Name))
	}

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
