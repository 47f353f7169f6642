package hooklinetest_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: "why", ObservedGeneration: 2,
		LastTransitionTime: metav1.NewTime(time.Unix(0, 0)),
	}
}

func TestCheckStatus(t *testing.T) {
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	for name, tc := range map[string]struct {
		reason     string
		want       hooklinetest.Verdict
		observed   int64
		deleting   bool
		conditions []metav1.Condition
		problem    string
	}{
		"Ready": {
			reason: "all well", want: hooklinetest.Current, observed: 2,
			conditions: []metav1.Condition{condition("Ready", yes, "Synced"), condition("Delivering", no, "Failing")},
		},
		"Waiting": {
			reason: "work goes on", want: hooklinetest.InProgress, observed: 2,
			conditions: []metav1.Condition{condition("Ready", no, "Retrying"), condition("Reconciling", yes, "Retrying")},
		},
		"Stalled": {
			reason: "somebody must act", want: hooklinetest.Failed, observed: 2,
			conditions: []metav1.Condition{condition("Ready", no, "Rejected"), condition("Stalled", yes, "Rejected")},
		},
		"Deleting": {
			reason: "on its way out", want: hooklinetest.Terminating, observed: 2, deleting: true,
			conditions: []metav1.Condition{condition("Ready", no, "Deleting"), condition("Reconciling", yes, "Deleting")},
		},
		"Paused": {
			reason: "a pause says nothing of the newest spec", want: hooklinetest.InProgress, observed: 1,
			conditions: []metav1.Condition{condition("Ready", unknown, "Paused"), condition("Paused", yes, "Paused")},
		},
		"WrongVerdict": {
			reason: "the case expects another", want: hooklinetest.Failed, observed: 2,
			conditions: []metav1.Condition{condition("Ready", yes, "Synced")}, problem: "kstatus says Current, want Failed",
		},
		"Unobserved": {
			reason: "the status is about an older spec", want: hooklinetest.InProgress, observed: 1,
			conditions: []metav1.Condition{condition("Ready", yes, "Synced")}, problem: "observedGeneration is 1, not 2",
		},
		"Both": {
			reason: "Ready and at work", want: hooklinetest.InProgress, observed: 2,
			conditions: []metav1.Condition{condition("Ready", yes, "Synced"), condition("Reconciling", yes, "Retrying")},
			problem:    "Ready and Reconciling are both True",
		},
		"Neither": {
			reason: "not Ready, and nothing says why", want: hooklinetest.InProgress, observed: 2,
			conditions: []metav1.Condition{condition("Ready", no, "Retrying")}, problem: "neither Reconciling nor Stalled",
		},
		"FalseStalled": {
			reason: "what is not so is absent", want: hooklinetest.Current, observed: 2,
			conditions: []metav1.Condition{condition("Ready", yes, "Synced"), condition("Stalled", no, "Fine")},
			problem:    "must be absent unless it is True",
		},
		"Nothing": {
			reason: "no status at all", want: hooklinetest.Current, observed: 2, problem: "there is no condition Ready",
		},
		"BadReason": {
			reason: "a reason is one word", want: hooklinetest.Current, observed: 2,
			conditions: []metav1.Condition{condition("Ready", yes, "all is well")}, problem: "not one CamelCase word",
		},
	} {
		t.Run(name, func(t *testing.T) {
			sub := &v1alpha1.WebhookSubscription{ObjectMeta: metav1.ObjectMeta{Name: "sub", Generation: 2}}
			sub.Status.ObservedGeneration, sub.Status.Conditions = tc.observed, tc.conditions
			for i := range sub.Status.Conditions {
				sub.Status.Conditions[i].ObservedGeneration = tc.observed
			}
			if tc.deleting {
				sub.DeletionTimestamp = new(metav1.Now())
			}
			err := hooklinetest.CheckStatus(sub, tc.want)
			switch {
			case tc.problem == "" && err != nil:
				t.Errorf("%s: %v", tc.reason, err)
			case tc.problem != "" && (err == nil || !strings.Contains(err.Error(), tc.problem)):
				t.Errorf("%s: want %q, got %v", tc.reason, tc.problem, err)
			}
		})
	}
}
