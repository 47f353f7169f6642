package controllers

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
)

// conclude turns what came of the phases into the status, writes it if its meaning changed, and says when to
// come back.
func (s *providerScope) conclude(ctx context.Context, failure error) (ctrl.Result, error) {
	out := &outcome{kind: outcomeSynced}
	if failure != nil {
		out = outcomeOf(failure)
	}

	if s.released && failure == nil {
		out.kind = outcomeDeleted
	}

	s.metrics.reconciles.WithLabelValues(string(s.obj.ProviderKind()), string(out.kind)).Inc()

	if out.kind == outcomeDeleted {
		return ctrl.Result{}, nil
	}

	s.show(out)

	if err := s.writeStatus(ctx); err != nil {
		return ctrl.Result{}, err
	}

	switch out.kind {
	case outcomeTransient:
		// It is logged: what the provider said stays out of the log as it does out of the conditions.
		return ctrl.Result{}, fmt.Errorf("reconciling: %s", scrub(out.cause.Error()))
	case outcomeSynced:
		interval := s.account.Config().Interval

		return ctrl.Result{RequeueAfter: max(s.account.ListDue(), minDriftDelay) + jitter(s.obj.GetUID(), interval)}, nil
	case outcomeRateLimited:
		return ctrl.Result{RequeueAfter: max(out.after, provider.DefaultRetryAfter)}, nil
	default:
		return ctrl.Result{RequeueAfter: out.after}, nil
	}
}

// show writes an outcome into the conditions.
func (s *providerScope) show(out *outcome) {
	status := s.obj.ProviderStatus()
	write := conditionWriter{conditions: &status.Conditions, now: metav1.Time{Time: s.clock.Now()}}
	write.paused(out.kind == outcomePaused)

	settled := isReady(s.before.ProviderStatus().Conditions) && s.before.ProviderStatus().ObservedGeneration == s.obj.GetGeneration()

	switch {
	case out.kind == outcomePaused:
		write.neverReady()
	case out.kind == outcomeConflict, out.quiet && settled:
	case out.kind == outcomeSynced:
		write.ready(v1alpha1.ReasonAvailable, "The provider answered and accepted the credentials")

		status.LastHandledReconcileAt = s.obj.GetAnnotations()[v1alpha1.AnnotationReconcileRequested]
		status.ObservedGeneration = s.obj.GetGeneration()
	default:
		write.notReady(out)

		if out.kind == outcomeStalled {
			status.LastHandledReconcileAt = s.obj.GetAnnotations()[v1alpha1.AnnotationReconcileRequested]
		}

		status.ObservedGeneration = s.obj.GetGeneration()
	}

	write.about(status.ObservedGeneration)
}

// writeStatus writes the status if it changed, and Events about what did.
func (s *providerScope) writeStatus(ctx context.Context) error {
	if equality.Semantic.DeepEqual(s.before.ProviderStatus(), s.obj.ProviderStatus()) {
		return nil
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
	defer cancel()

	changed, same := s.obj.DeepCopyObject().(providerObject)
	if !same {
		return errors.New("copying the provider: it is not of its own kind")
	}

	if err := s.client.Status().Patch(ctx, changed, client.MergeFrom(s.before)); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}

		return fmt.Errorf("writing the status: %w", err)
	}

	s.metrics.statusWrites.WithLabelValues(string(s.obj.ProviderKind()), "state").Inc()
	s.tellTransitions()

	return nil
}

func (s *providerScope) tellTransitions() {
	before, after := s.before.ProviderStatus().Conditions, s.obj.ProviderStatus().Conditions
	ready := meta.FindStatusCondition(after, v1alpha1.ConditionReady)

	if ready == nil || ready.Reason == reasonOf(before, v1alpha1.ConditionReady) {
		return
	}

	kind := corev1.EventTypeWarning
	if ready.Status == metav1.ConditionTrue {
		kind = corev1.EventTypeNormal
	}

	s.recorder.Eventf(s.obj, nil, kind, ready.Reason, "Probe", "%s", ready.Message)
}
