package controllers

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// anchor readies the resource for what is planned: the finalizer, and the mark that creates are about to be asked
// for, in one patch that fails if somebody changed the resource since it was read.
func (s *subscriptionScope) anchor(ctx context.Context) error {
	if s.want.ObserveOnly || s.idle() {
		return nil
	}

	if err := s.holdProvider(ctx); err != nil {
		return err
	}

	if err := s.writeSigningSecret(ctx); err != nil {
		return err
	}

	err := s.patchMetadata(ctx, func(sub *v1alpha1.WebhookSubscription) {
		controllerutil.AddFinalizer(sub, v1alpha1.FinalizerSubscription)
		s.setMark(sub)
	})
	if err != nil {
		return err
	}

	return s.forgetVanished(ctx)
}

// setMark adds to the annotation create-pending what is about to be asked for.
func (s *subscriptionScope) setMark(sub *v1alpha1.WebhookSubscription) {
	mark, _ := markOf(sub)

	// Those of other providers stay until what was asked for there is found and deleted: see clearElsewhere.
	hashes := slices.Clone(mark.Hashes)
	places := append(mark.elsewhere(s.provider), placeOf(s.provider))
	creating, adopting := false, false

	for i, step := range s.actions {
		if step.Unit == none || i > 0 && s.actions[i-1].Unit == step.Unit {
			continue
		}

		switch hash := s.units[step.Unit].hash; step.Verb {
		case verbAdopt:
			// A subscription that was taken over is not one that we made: without a status it is for the adoption
			// policy to find it again.
			adopting = true
			hashes = slices.DeleteFunc(hashes, func(h string) bool { return h == hash })
		case verbCreate:
			creating = true

			if !slices.Contains(hashes, hash) {
				hashes = append(hashes, hash)
			}
		default:
		}
	}

	switch {
	case creating:
		s.writeMark(sub, hashes, places)
	case adopting && len(s.units) == 1 && len(places) == 1:
		s.writeMark(sub, nil, nil)
	case adopting:
		s.writeMark(sub, hashes, places)
	}
}

// writeMark writes the annotation create-pending, or removes it where nothing is to be in it.
func (s *subscriptionScope) writeMark(sub *v1alpha1.WebhookSubscription, hashes, places []string) {
	if len(hashes) == 0 {
		delete(sub.Annotations, v1alpha1.AnnotationCreatePending)

		return
	}

	mark := createMark{At: s.clock.Now(), Hashes: hashes, Places: places}
	metav1.SetMetaDataAnnotation(&sub.ObjectMeta, v1alpha1.AnnotationCreatePending, mark.String())
}

// renewMark rewrites the mark where what is made has other natural keys by now, once the provider has taken the changes:
// a name that it refused is somebody else's, and the mark would claim it.
func (s *subscriptionScope) renewMark(ctx context.Context) error {
	mark, marked := markOf(s.sub)
	if !marked || s.want.ObserveOnly || len(s.units) == 0 {
		return nil
	}

	hashes := make([]string, 0, len(s.units))

	for _, u := range s.units {
		ours := !s.sub.Status.Adopted || u.created || mark.has(u.hash) ||
			u.have.Remote != nil && mark.has(s.hashOfRemote(*u.have.Remote))
		if ours && !slices.Contains(hashes, u.hash) {
			hashes = append(hashes, u.hash)
		}
	}

	if sameSet(mark.Hashes, hashes) && len(mark.elsewhere(s.provider)) == 0 {
		return nil
	}

	return s.patchMetadata(ctx, func(sub *v1alpha1.WebhookSubscription) {
		s.writeMark(sub, hashes, []string{placeOf(s.provider)})
	})
}

// forgetVanished takes out of the status what somebody deleted at the provider, before it is asked for again: should the
// answer be lost, and the process too, the mark then finds the new one.
func (s *subscriptionScope) forgetVanished(ctx context.Context) error {
	vanished := map[string]bool{}

	for _, step := range s.actions {
		if step.Verb == verbCreate && step.Cause == causeMissing {
			vanished[s.units[step.Unit].have.ID] = true
		}
	}

	if len(vanished) == 0 {
		return nil
	}

	base, changed := s.sub.DeepCopy(), s.sub.DeepCopy()
	s.before.Status.DeepCopyInto(&base.Status)
	s.before.Status.DeepCopyInto(&changed.Status)

	left := slices.DeleteFunc(slices.Clone(remotesOf(&changed.Status)), func(r v1alpha1.RemoteSubscription) bool { return vanished[r.ID] })
	setRemotes(&changed.Status, left)

	if err := s.client.Status().Patch(ctx, changed, client.MergeFrom(base)); err != nil {
		return fmt.Errorf("recording that a subscription is gone: %w", err)
	}

	s.fresh.wrote(changed)
	s.sub.ResourceVersion = changed.ResourceVersion
	setRemotes(&s.sub.Status, left)
	setRemotes(&s.before.Status, left)

	return nil
}

// unmark removes a natural key from the mark whoever else has changed the resource meanwhile, and also when the process
// is told to stop: the mark of a create that was refused would claim a stranger's subscription.
func (s *subscriptionScope) unmark(ctx context.Context, hash string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
	defer cancel()

	changed := s.sub.DeepCopy()
	mark, _ := markOf(changed)
	s.writeMark(changed, slices.DeleteFunc(mark.Hashes, func(h string) bool { return h == hash }), mark.Places)

	value := []byte("null")

	if text, left := changed.Annotations[v1alpha1.AnnotationCreatePending]; left {
		value = fmt.Appendf(nil, "%q", text)
	}

	// The one annotation by name: others may have come meanwhile.
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationCreatePending, value)

	if err := s.client.Patch(ctx, changed, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("removing the mark of a create that was refused: %w", err)
	}

	s.fresh.wrote(changed)
	// What else has changed meanwhile is for the next reconcile: this one is about the generation that it read.
	s.sub.Annotations, s.sub.ResourceVersion = changed.Annotations, changed.ResourceVersion

	return nil
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
