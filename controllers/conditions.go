package controllers

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// conditionWriter writes conditions of one resource for one generation at one time.
type conditionWriter struct {
	conditions *[]metav1.Condition
	now        metav1.Time
}

func (w conditionWriter) set(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(w.conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: w.now,
	})
}

func (w conditionWriter) remove(kinds ...string) {
	for _, kind := range kinds {
		meta.RemoveStatusCondition(w.conditions, kind)
	}
}

// ready says that all is as asked for.
func (w conditionWriter) ready(reason, message string) {
	w.set(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
	w.remove(v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled)
}

// notReady says why not, and in the way of kstatus whether it will become so by itself.
func (w conditionWriter) notReady(out *outcome) {
	w.set(v1alpha1.ConditionReady, metav1.ConditionFalse, out.reason, out.message)

	if out.kind == outcomeStalled {
		w.remove(v1alpha1.ConditionReconciling)
		w.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, out.reason, out.message)

		return
	}

	w.remove(v1alpha1.ConditionStalled)
	w.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, out.reason, out.message)
}

// paused shows or removes the condition Paused; it touches no other.
func (w conditionWriter) paused(paused bool) {
	if !paused {
		w.remove(v1alpha1.ConditionPaused)

		return
	}

	w.set(v1alpha1.ConditionPaused, metav1.ConditionTrue, v1alpha1.ReasonPaused,
		"Reconciling is paused by the annotation "+v1alpha1.AnnotationPaused+": remove it to go on")
}

// neverReady says of a resource that was paused before anything was done that nothing is known of it. What was
// known before a pause stays.
func (w conditionWriter) neverReady() {
	if meta.FindStatusCondition(*w.conditions, v1alpha1.ConditionReady) == nil {
		w.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPaused, "Nothing was done before reconciling was paused")
	}
}

// about dates every condition to a generation.
func (w conditionWriter) about(generation int64) {
	for i := range *w.conditions {
		(*w.conditions)[i].ObservedGeneration = generation
	}
}

// reasonOf is a condition's reason; empty where there is none.
func reasonOf(conditions []metav1.Condition, kind string) string {
	if condition := meta.FindStatusCondition(conditions, kind); condition != nil {
		return condition.Reason
	}

	return ""
}
