package hooklinetest

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// Verdict is what kstatus, and so Argo CD, Flux and kubectl wait, make of an object.
type Verdict string

// The verdicts.
const (
	// Current: the object is what its spec asks for.
	Current Verdict = "Current"
	// InProgress: work is under way, or waits for something.
	InProgress Verdict = "InProgress"
	// Failed: nothing will happen until somebody changes something.
	Failed Verdict = "Failed"
	// Terminating: the object is being deleted.
	Terminating Verdict = "Terminating"
)

// VerdictOf computes kstatus's verdict on an object. The error tells that its status cannot be read.
func VerdictOf(obj client.Object) (Verdict, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return "", fmt.Errorf("converting the %T %s: %w", obj, obj.GetName(), err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		return "", fmt.Errorf("computing the status of %T %s: %w", obj, obj.GetName(), err)
	}

	return Verdict(result.Status), nil
}

// CheckStatus tells in what the status of one of Hookline's resources, come to rest, breaks the rules of
// kstatus or Hookline's own, or differs from the verdict wanted; nil when it does neither.
func CheckStatus(obj client.Object, want Verdict) error {
	observed, conditions, err := statusOf(obj)
	if err != nil {
		return err
	}
	var problems []error
	got, err := VerdictOf(obj)
	switch {
	case err != nil:
		problems = append(problems, err)
	case got != want:
		problems = append(problems, fmt.Errorf("kstatus says %s, want %s", got, want))
	}
	if observed > obj.GetGeneration() {
		problems = append(problems, fmt.Errorf("observedGeneration is %d at generation %d", observed, obj.GetGeneration()))
	}
	paused := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionPaused)
	if observed != obj.GetGeneration() && !paused && want != Terminating {
		problems = append(problems, fmt.Errorf("observedGeneration is %d, not %d", observed, obj.GetGeneration()))
	}
	for _, condition := range conditions {
		problems = append(problems, checkCondition(condition, observed, paused)...)
	}
	if !paused {
		problems = append(problems, checkTriad(conditions, want)...)
	}

	return errors.Join(problems...)
}

func statusOf(obj client.Object) (int64, []metav1.Condition, error) {
	switch o := obj.(type) {
	case *v1alpha1.WebhookSubscription:
		return o.Status.ObservedGeneration, o.Status.Conditions, nil
	case *v1alpha1.WebhookProvider:
		return o.Status.ObservedGeneration, o.Status.Conditions, nil
	case *v1alpha1.ClusterWebhookProvider:
		return o.Status.ObservedGeneration, o.Status.Conditions, nil
	default:
		return 0, nil, fmt.Errorf("%T is not a resource of %s", obj, v1alpha1.GroupName)
	}
}

var reasonForm = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)

func checkCondition(c metav1.Condition, observed int64, paused bool) []error {
	var problems []error
	if !reasonForm.MatchString(c.Reason) {
		problems = append(problems, fmt.Errorf("condition %s has the reason %q, which is not one CamelCase word", c.Type, c.Reason))
	}
	if c.Message == "" && c.Status != metav1.ConditionTrue {
		problems = append(problems, fmt.Errorf("condition %s is %s without a message", c.Type, c.Status))
	}
	if c.ObservedGeneration != observed && !paused {
		problems = append(problems, fmt.Errorf("condition %s is about generation %d, the status about %d",
			c.Type, c.ObservedGeneration, observed))
	}
	if c.LastTransitionTime.IsZero() {
		problems = append(problems, fmt.Errorf("condition %s has no lastTransitionTime", c.Type))
	}
	absentUnlessTrue := c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled ||
		c.Type == v1alpha1.ConditionPaused
	if absentUnlessTrue && c.Status != metav1.ConditionTrue {
		problems = append(problems, fmt.Errorf("condition %s is %s: it must be absent unless it is True", c.Type, c.Status))
	}

	return problems
}

// checkTriad judges Ready, Reconciling and Stalled against each other.
func checkTriad(conditions []metav1.Condition, want Verdict) []error {
	var problems []error
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	reconciling := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling)
	stalled := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)
	if ready == nil {
		return []error{errors.New("there is no condition Ready")}
	}
	isReady := ready.Status == metav1.ConditionTrue
	if isReady && stalled {
		problems = append(problems, errors.New("Ready and Stalled are both True"))
	}
	if isReady && reconciling {
		problems = append(problems, errors.New("Ready and Reconciling are both True"))
	}
	if stalled && reconciling {
		problems = append(problems, errors.New("Stalled and Reconciling are both True"))
	}
	if !isReady && !stalled && !reconciling {
		problems = append(problems, fmt.Errorf("Ready is %s, and neither Reconciling nor Stalled says why", ready.Status))
	}
	if want == Current && !isReady {
		problems = append(problems, fmt.Errorf("Ready is %s (%s: %s), want True", ready.Status, ready.Reason, ready.Message))
	}

	return problems
}
