package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	// statusTimeout bounds the write of a status, which goes on when the process is told to stop: what was created
	// must be recorded.
	statusTimeout = 10 * time.Second
	// deliveriesRetry is how soon delivery statuses are read again that could not be.
	deliveriesRetry = 30 * time.Second
)

const kindSubscription = v1alpha1.KindWebhookSubscription

// flow is how a reconcile went, besides its error.
type flow struct {
	// acted: something was asked of the provider that changes it.
	acted bool
	// released: the resource is gone or nothing of ours holds it; its status is not written.
	released bool
	// next is when to come back, besides looking for drift; 0: not.
	next time.Duration
}

// soon comes back no later than after that time.
func (f *flow) soon(after time.Duration) {
	if f.next == 0 || after < f.next {
		f.next = after
	}
}

// remotes are the subscriptions of the units, as far as there are any.
func (s *subscriptionScope) remotes() []*unitScope {
	return slices.DeleteFunc(slices.Clone(s.units), func(u *unitScope) bool { return u.remote == nil })
}

// readDeliveries reads the delivery statuses that changed. That it cannot is no fault of the subscription.
func (s *subscriptionScope) readDeliveries(ctx context.Context) error {
	if !s.caps.Statuses {
		return nil
	}

	made := s.remotes()
	several := len(made) > 1 || len(remotesOf(&s.before.Status)) > 1

	var (
		latest []subscription.DeliveryStatus
		kept   []v1alpha1.DeliveryStatus
		read   bool
	)

	for _, u := range made {
		id := u.remote.ID
		if !s.account.Changed(id) {
			kept = append(kept, ofEvents(s.sub.Status.DeliveryStatuses, u.want.Draft.Events, several)...)

			continue
		}

		// Before the read, so that a change meanwhile is seen the next time.
		s.account.SetChanged(id, false)

		statuses, err := s.account.Statuses(ctx, id)
		if err != nil && !errors.Is(err, subscription.ErrNotFound) {
			s.account.SetChanged(id, true)
			s.flow.soon(deliveriesRetry)
			s.log.Info("Could not read the delivery statuses", "subscription", id, "error", scrub(err.Error()))

			kept = append(kept, ofEvents(s.sub.Status.DeliveryStatuses, u.want.Draft.Events, several)...)

			continue
		}

		read, latest = true, append(latest, statuses...)
	}

	if read || several {
		s.sub.Status.DeliveryStatuses = mergeDeliveries(s.sub.Status.DeliveryStatuses, kept, latest, s.options.StatusRefresh)
	}

	return nil
}

// conclude turns what came of the phases into the status, writes it if its meaning changed, and says when to
// come back.
func (s *subscriptionScope) conclude(ctx context.Context, failure error) (ctrl.Result, error) {
	out := &outcome{kind: outcomeSynced}
	if failure != nil {
		out = outcomeOf(failure)
	}

	s.tellAll()

	var refused *subscription.AuthError
	if errors.As(failure, &refused) && s.provider != nil {
		s.refused(ctx, s.provider.ProviderKind(), s.provider.GetNamespace(), s.provider.GetName())
	}

	if s.flow.released {
		s.count(outcomeDeleted)

		return ctrl.Result{}, nil
	}

	s.show(out)
	s.count(out.kind)

	written, err := s.writeStatus(ctx)
	if err != nil {
		s.keepChanged()

		return ctrl.Result{}, err
	}

	if written {
		s.tellTransitions()
	}

	return s.comeBack(out)
}

func (s *subscriptionScope) count(kind outcomeKind) {
	s.metrics.reconciles.WithLabelValues(kindSubscription, string(kind)).Inc()
}

// show writes an outcome into the conditions.
func (s *subscriptionScope) show(out *outcome) {
	status := &s.sub.Status
	write := conditionWriter{conditions: &status.Conditions, now: metav1.Time{Time: s.clock.Now()}}
	write.paused(out.kind == outcomePaused)

	switch {
	case out.kind == outcomePaused:
		write.neverReady()
	case out.kind == outcomeConflict:
	case out.quiet && (s.settled() || s.toldBetter()) && !s.flow.acted,
		s.settled() && !s.flow.acted && (out.kind == outcomeTransient || out.kind == outcomeRateLimited):
		// Nothing says that it is no longer as asked for.
	case out.kind == outcomeSynced:
		s.handled()
		write.ready(v1alpha1.ReasonSynced, "The provider has the subscription as it is asked for")

		status.ObservedGeneration = s.sub.Generation
	default:
		if out.kind == outcomeStalled {
			status.LastHandledReconcileAt = s.sub.Annotations[v1alpha1.AnnotationReconcileRequested]
		}

		write.notReady(out)

		status.ObservedGeneration = s.sub.Generation
	}

	s.showDelivering(write)
	write.about(status.ObservedGeneration)
}

// toldBetter tells whether what was said of the present spec, when this reconcile began, tells more than that something
// takes a moment.
func (s *subscriptionScope) toldBetter() bool {
	reason := reasonOf(s.before.Status.Conditions, v1alpha1.ConditionReady)

	return (reason == v1alpha1.ReasonPartiallySynced || reason == v1alpha1.ReasonRateLimited) &&
		s.before.Status.ObservedGeneration == s.sub.Generation
}

// handled notes the requests by annotation that this reconcile has done.
func (s *subscriptionScope) handled() {
	status, annotations := &s.sub.Status, s.sub.Annotations
	status.LastHandledReconcileAt = annotations[v1alpha1.AnnotationReconcileRequested]
	status.LastHandledResumeAt = annotations[v1alpha1.AnnotationResumeRequested]
	status.LastHandledRotateAt = annotations[v1alpha1.AnnotationRotateRequested]
}

// showDelivering judges deliveries by what this reconcile saw; one that saw nothing leaves the condition.
func (s *subscriptionScope) showDelivering(write conditionWriter) {
	made := s.remotes()
	if len(made) == 0 {
		return
	}

	d := deliveringOf(s.sub.Spec.EnabledOrDefault(), mergedState(made), s.caps.Statuses, s.sub.Status.DeliveryStatuses)
	write.set(v1alpha1.ConditionDelivering, d.status, d.reason, d.message)
}

// tellTransitions writes Events about what changed.
func (s *subscriptionScope) tellTransitions() {
	before, after := s.before.Status.Conditions, s.sub.Status.Conditions

	stalled := meta.FindStatusCondition(after, v1alpha1.ConditionStalled)
	if stalled != nil && stalled.Reason != reasonOf(before, v1alpha1.ConditionStalled) {
		s.event(corev1.EventTypeWarning, stalled.Reason, "Reconcile", stalled.Message)
	}

	was, is := reasonOf(before, v1alpha1.ConditionPaused) != "", reasonOf(after, v1alpha1.ConditionPaused) != ""

	switch {
	case is && !was:
		s.event(corev1.EventTypeNormal, v1alpha1.EventPaused, "Pause", "Reconciling was paused")
	case was && !is:
		s.event(corev1.EventTypeNormal, v1alpha1.EventUnpaused, "Unpause", "Reconciling goes on")
	}

	s.tellDelivering(reasonOf(before, v1alpha1.ConditionDelivering), meta.FindStatusCondition(after, v1alpha1.ConditionDelivering))
}

func (s *subscriptionScope) tellDelivering(was string, is *metav1.Condition) {
	switch {
	case is == nil || is.Reason == was:
	case is.Reason == v1alpha1.ReasonSuspended:
		s.event(corev1.EventTypeWarning, v1alpha1.EventSuspended, "Deliver", is.Message)
	case is.Reason == v1alpha1.ReasonFailing:
		s.event(corev1.EventTypeWarning, v1alpha1.EventDeliveriesFailing, "Deliver", is.Message)
	case is.Reason == v1alpha1.ReasonDelivered && (was == v1alpha1.ReasonFailing || was == v1alpha1.ReasonSuspended):
		s.event(corev1.EventTypeNormal, v1alpha1.EventDeliveriesRecovered, "Deliver", is.Message)
	}
}

// writeStatus writes the status if it changed, and tells whether it did. One that only tells of deliveries waits where too many do.
func (s *subscriptionScope) writeStatus(ctx context.Context) (written bool, err error) {
	if equality.Semantic.DeepEqual(s.before.Status, s.sub.Status) {
		return false, nil
	}

	cause := "state"
	if s.onlyDeliveries() {
		cause = "deliveries"

		if !s.deliveryWrites.AllowN(s.clock.Now(), 1) {
			s.keepChanged()
			s.flow.soon(time.Second + jitter(s.sub.UID, deliveryWriteSpread))

			return false, nil
		}
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
	defer cancel()

	base, changed := s.sub.DeepCopy(), s.sub.DeepCopy()
	s.before.Status.DeepCopyInto(&base.Status)

	err = s.client.Status().Patch(ctx, changed, client.MergeFrom(base))
	if apierrors.IsNotFound(err) {
		return false, nil
	}

	if err != nil {
		return false, fmt.Errorf("writing the status: %w", err)
	}

	s.fresh.wrote(changed)
	s.metrics.statusWrites.WithLabelValues(kindSubscription, cause).Inc()

	return true, nil
}

// keepChanged has the delivery statuses read again: what was read is not written.
func (s *subscriptionScope) keepChanged() {
	if s.account == nil || !s.caps.Statuses {
		return
	}

	for _, u := range s.remotes() {
		s.account.SetChanged(u.remote.ID, true)
	}
}

// deliveryWriteSpread is over what time writes are spread that were put off; a tenth of it, see jitter.
const deliveryWriteSpread = 20 * time.Second

// onlyDeliveries tells whether nothing of the status changed but how deliveries fare.
func (s *subscriptionScope) onlyDeliveries() bool {
	if s.account == nil || len(s.remotes()) == 0 {
		return false
	}

	before, after := s.before.Status.DeepCopy(), s.sub.Status.DeepCopy()
	for _, status := range []*v1alpha1.WebhookSubscriptionStatus{before, after} {
		status.DeliveryStatuses = nil
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionDelivering)
	}

	return equality.Semantic.DeepEqual(before, after)
}

// comeBack says when to reconcile again.
func (s *subscriptionScope) comeBack(out *outcome) (ctrl.Result, error) {
	if out.after > 0 {
		s.flow.soon(out.after)
	}

	if out.again {
		s.flow.soon(conflictDelay)
	}

	switch {
	case out.kind == outcomePaused:
		return ctrl.Result{}, nil
	case out.kind == outcomeTransient:
		// It is logged: what the provider said stays out of the log as it does out of the conditions.
		return ctrl.Result{}, fmt.Errorf("reconciling: %s", scrub(out.cause.Error()))
	case out.kind == outcomeRateLimited && out.after <= 0:
		s.flow.soon(deliveriesRetry)
	case s.account != nil && (out.kind == outcomeSynced || out.kind == outcomeStalled && s.mendsItself(out.reason)):
		s.flow.soon(s.driftDue())
	}

	if out.cause != nil && out.kind != outcomeConflict {
		s.log.Info("Waited", "reason", out.reason, "message", out.message)
	}

	return ctrl.Result{RequeueAfter: s.flow.next}, nil
}

// mendsItself tells whether what stalled a resource may change at the provider, where nothing can be watched.
func (s *subscriptionScope) mendsItself(reason string) bool {
	switch reason {
	case v1alpha1.ReasonRejected:
		// The catalogue may have something by then that is not refused.
		return needsCatalogue(s.sub.Spec.Events, s.caps)
	case v1alpha1.ReasonNameConflict, v1alpha1.ReasonAlreadyManaged, v1alpha1.ReasonAdoptionNotAllowed,
		v1alpha1.ReasonAmbiguousCreate, v1alpha1.ReasonNotFoundAtProvider, v1alpha1.ReasonDrifted,
		v1alpha1.ReasonPartiallySynced, v1alpha1.ReasonNoMatchingEvents:
		return true
	default:
		return false
	}
}

// isReady tells whether conditions say Ready.
func isReady(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady)
}
