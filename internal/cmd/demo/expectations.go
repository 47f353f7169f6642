package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// observed is what is known about one sample: the resource, what its receiver got, and
// whether its Secret was generated.
type observed struct {
	subscription *v1alpha1.WebhookSubscription
	received     tally
	// generated tells whether the signing Secret carries the subscription's owner reference.
	generated bool
}

// expectation is the state that a sample is to reach.
type expectation struct {
	// Name of the sample, and of the path at the receiver.
	Name string
	// Expect says in words what is to be seen.
	Expect string
	// Held tells whether it is, with the evidence, or with what is missing.
	Held func(observed) (bool, string)
}

// The events the demo publishes, once each, in order.
const (
	orderCreated   = "order.created.v1"
	orderCancelled = "order.cancelled.v1"
	invoicePaid    = "invoice.paid.v1"
)

var published = []string{orderCreated, orderCancelled, invoicePaid}

// received tells whether exactly these event types arrived, verified, and what did.
func received(o observed, want ...string) (bool, string) {
	got := slices.Sorted(slices.Values(o.received.Types))
	want = slices.Sorted(slices.Values(want))
	evidence := fmt.Sprintf("%d of %d signatures verified, delivered %d: %s",
		o.received.Verified, o.received.Requests, o.received.Delivered, strings.Join(got, " "))

	if o.received.Problem != "" {
		return false, evidence + "; " + o.received.Problem
	}

	return slices.Equal(got, want) && o.received.Verified == o.received.Requests, evidence
}

// reported tells whether the status reports a success for each of these event types.
func reported(o observed, types ...string) (bool, string) {
	for _, want := range types {
		i := slices.IndexFunc(o.subscription.Status.DeliveryStatuses, func(s v1alpha1.DeliveryStatus) bool { return s.Event == want })
		if i < 0 || !o.subscription.Status.DeliveryStatuses[i].Success {
			return false, "status has no success for " + want + " yet"
		}
	}

	return true, fmt.Sprintf("status reports %d successes", len(types))
}

// delivering tells whether the condition Delivering has the status.
func delivering(o observed, status metav1.ConditionStatus) (bool, string) {
	c := meta.FindStatusCondition(o.subscription.Status.Conditions, v1alpha1.ConditionDelivering)
	if c == nil {
		return status == metav1.ConditionUnknown, "Delivering is not set"
	}

	return c.Status == status, fmt.Sprintf("Delivering=%s (%s)", c.Status, c.Reason)
}

// identified tells whether the subscription is Ready and has an id.
func identified(o observed) (bool, string) {
	if !isReady(o.subscription) {
		return false, conditionText(o.subscription, v1alpha1.ConditionReady)
	}

	return o.subscription.Status.SubscriptionID != "", "id " + o.subscription.Status.SubscriptionID
}

// all joins checks: all must hold, and all evidence is shown.
func all(checks ...func(observed) (bool, string)) func(observed) (bool, string) {
	return func(o observed) (bool, string) {
		held := true
		evidence := make([]string, 0, len(checks))

		for _, check := range checks {
			ok, text := check(o)
			held = held && ok
			evidence = append(evidence, text)
		}

		return held, strings.Join(evidence, "; ")
	}
}

// delivers is what every healthy sample shows for its event types.
func delivers(types ...string) func(observed) (bool, string) {
	return all(
		identified,
		func(o observed) (bool, string) { return received(o, types...) },
		func(o observed) (bool, string) { return reported(o, types...) },
		func(o observed) (bool, string) { return delivering(o, metav1.ConditionTrue) },
	)
}

// secretIs tells whose the signing Secret is.
func secretIs(generated bool) func(observed) (bool, string) {
	return func(o observed) (bool, string) {
		if o.subscription.Status.Secret == nil {
			return false, "status names no Secret yet"
		}

		text := "Secret " + o.subscription.Status.Secret.Name + " was given"
		if o.generated {
			text = "Secret " + o.subscription.Status.Secret.Name + " was generated"
		}

		return o.generated == generated, text
	}
}

// refusals tells whether the receiver refused as often as its script says.
func refusals(want int) func(observed) (bool, string) {
	return func(o observed) (bool, string) {
		return o.received.Rejected == want, fmt.Sprintf("refused %d times", o.received.Rejected)
	}
}

// silent tells that nothing arrived.
func silent(o observed) (bool, string) {
	return o.received.Requests == 0, fmt.Sprintf("%d requests", o.received.Requests)
}

var expectations = []expectation{
	{
		Name: "exact", Expect: "the one event it names, signed",
		Held: delivers(orderCreated),
	},
	{
		Name: "wildcard", Expect: "both order events, no other",
		Held: delivers(orderCreated, orderCancelled),
	},
	{
		Name: "disabled", Expect: "made, and sent nothing",
		Held: all(identified, silent),
	},
	{
		Name: "flaky", Expect: "refused twice, then delivered",
		Held: all(refusals(failingAttempts), delivers(orderCreated)),
	},
	{
		Name: "gone", Expect: "410 suspends it: Delivering=False, Ready stays True",
		Held: all(
			identified,
			refusals(1),
			func(o observed) (bool, string) { return delivering(o, metav1.ConditionFalse) },
		),
	},
	{
		Name: "given-secret", Expect: "signed with the Secret it names",
		Held: all(secretIs(false), delivers(orderCreated)),
	},
	{
		Name: "generated-secret", Expect: "signed with a Secret made for it",
		Held: all(secretIs(true), delivers(invoicePaid)),
	},
}

// ownsSecret tells whether the subscription's signing Secret was generated for it.
func (d *demo) ownsSecret(ctx context.Context, subscription *v1alpha1.WebhookSubscription) bool {
	if subscription.Status.Secret == nil {
		return false
	}

	secret, err := d.cluster.clients.CoreV1().Secrets(namespace).Get(ctx, subscription.Status.Secret.Name, metav1.GetOptions{})

	return err == nil && metav1.IsControlledBy(secret, subscription)
}
