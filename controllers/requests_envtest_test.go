package controllers_test

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

func key(object client.Object) client.ObjectKey { return client.ObjectKeyFromObject(object) }

var _ = Describe("Annotations", func() {
	It("pauses and goes on", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("paused", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.annotate(ctx, sub, v1alpha1.AnnotationPaused, v1alpha1.PausedValue)
		w.becomes(ctx, sub, v1alpha1.ConditionPaused, "True "+v1alpha1.ReasonPaused)
		Expect(meta.IsStatusConditionTrue(sub.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue(), "Paused never flips Ready")
		w.state(sub, "paused")
		w.account.ResetRequests()
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = "https://moved.example.com/" })
		Consistently(func() []hooklinetest.Request {
			return w.requests(hooklinetest.OpUpdate)
		}).WithTimeout(2 * time.Second).Should(BeEmpty())
		w.annotate(ctx, sub, v1alpha1.AnnotationPaused, "")
		w.becomes(ctx, sub, v1alpha1.ConditionPaused, "absent")
		Eventually(func() string { return w.account.Subscriptions()[0].URL }).Should(Equal("https://moved.example.com/"))
		w.synced(ctx, sub)
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).
			Should(ContainElements(v1alpha1.EventPaused, v1alpha1.EventUnpaused))
		w.rests(sub, hooklinetest.Current)
	})

	It("rests while it is paused", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("born-paused", given, func(sub *v1alpha1.WebhookSubscription) {
			sub.Annotations = map[string]string{v1alpha1.AnnotationPaused: v1alpha1.PausedValue}
		})
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionPaused, "True "+v1alpha1.ReasonPaused)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		verdict, err := hooklinetest.VerdictOf(sub)
		Expect(err).NotTo(HaveOccurred())
		Expect(verdict).To(Equal(hooklinetest.InProgress), "nothing was made, so it is not what the spec asks for")
		w.state(sub, "paused-before-create")
		w.rests(sub, hooklinetest.InProgress)
	})

	It("reconciles at once when it is asked to", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("asked", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(w.account.Edit(remote.ID, func(s *hooklinetest.Subscription) { s.URL = "https://evil.example.com" })).To(Succeed())
		w.annotate(ctx, sub, v1alpha1.AnnotationReconcileRequested, "first")
		Eventually(func() string { return w.account.Subscriptions()[0].URL }).Should(Equal(sub.Spec.URL))
		Eventually(func() string { return refresh(ctx, w, sub).Status.LastHandledReconcileAt }).Should(Equal("first"))
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})
})

var _ = Describe("Deliveries", func() {
	It("shows a suspension, does not mend it, and resumes when asked", func(ctx context.Context) {
		w := newWorld(ctx, polling)
		w.signingSecret(ctx)
		sub := w.subscription("suspended", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.account.ResetRequests()
		Expect(w.account.Suspend(remote.ID, "Gone", "the endpoint answered 410 Gone")).To(Succeed())
		w.pollDeliveries()
		condition := w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonSuspended)
		Expect(condition.Message).To(ContainSubstring("410"))
		Expect(meta.IsStatusConditionTrue(sub.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue())
		Expect(sub.Status.Subscriptions).To(HaveLen(1))
		Expect(sub.Status.Subscriptions[0].State).To(Equal(v1alpha1.SubscriptionStateSuspended))
		Expect(sub.Status.Subscriptions[0].StateReason).To(Equal("Gone"))
		w.state(sub, "suspended")
		w.clock.Advance(pastInterval)
		Consistently(func() []hooklinetest.Request {
			return w.requests(hooklinetest.OpUpdate)
		}).WithTimeout(2*time.Second).Should(BeEmpty(), "that is the provider's decision")

		w.annotate(ctx, sub, v1alpha1.AnnotationResumeRequested, "now")
		Eventually(func() bool { return w.account.Subscriptions()[0].State.IsSuspended() }).Should(BeFalse())
		Eventually(func() string { return refresh(ctx, w, sub).Status.LastHandledResumeAt }).Should(Equal("now"))
		w.expectOneUpdate("resume", hooklinetest.Patch{Resume: true})
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "Unknown "+v1alpha1.ReasonNoRecentDelivery)
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).
			Should(ContainElements(v1alpha1.EventSuspended, v1alpha1.EventResumed))
		w.rests(sub, hooklinetest.Current)
	})

	It("rests while it is suspended", func(ctx context.Context) {
		w := newWorld(ctx, polling)
		w.signingSecret(ctx)
		sub := w.subscription("suspended", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(w.account.Suspend(remote.ID, "Gone", "the endpoint answered 410 Gone")).To(Succeed())
		w.clock.Advance(pastInterval)
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonSuspended)
		w.rests(sub, hooklinetest.Current)
	})

	It("resumes when the spec changes", func(ctx context.Context) {
		w := newWorld(ctx, polling)
		w.signingSecret(ctx)
		sub := w.subscription("suspended", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(w.account.Suspend(remote.ID, "Gone", "the endpoint answered 410 Gone")).To(Succeed())
		w.clock.Advance(pastInterval)
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonSuspended)
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = "https://moved.example.com/" })
		Eventually(func() bool { return w.account.Subscriptions()[0].State.IsSuspended() }).Should(BeFalse())
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "Unknown "+v1alpha1.ReasonNoRecentDelivery)
		w.rests(sub, hooklinetest.Current)
	})

	It("tells how deliveries go, and writes it again only when it means something else", func(ctx context.Context) {
		w := newWorld(ctx, polling)
		w.signingSecret(ctx)
		sub := w.subscription("statuses", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		delivered := func(event string, code int, text string) {
			GinkgoHelper()
			Expect(w.account.SetStatuses(remote.ID, hooklinetest.DeliveryStatus{
				Event: event, Success: code/100 == 2, ResponseCode: code, ResponseText: text, Timestamp: w.clock.Now(),
			})).To(Succeed())
			w.pollDeliveries()
		}
		statuses := func() []v1alpha1.DeliveryStatus { return refresh(ctx, w, sub).Status.DeliveryStatuses }

		By("a success")
		delivered("agent.presencechanged.v1", 200, "OK")
		Eventually(statuses).Should(HaveLen(1))
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "True "+v1alpha1.ReasonDelivered)
		Expect(statuses()[0].ResponseText).To(Equal("OK"))
		w.state(sub, "delivering")

		By("the same again, moments later: nothing is written")
		version := refresh(ctx, w, sub).ResourceVersion
		delivered("agent.presencechanged.v1", 200, "OK")
		delivered("agent.presencechanged.v1", 200, "OK")
		Consistently(func() string { return refresh(ctx, w, sub).ResourceVersion }).WithTimeout(2 * time.Second).Should(Equal(version))

		By("a failure: its class turns, which is written at once")
		delivered("agent.presencechanged.v1", 503, "Service Unavailable")
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonFailing)
		Expect(meta.IsStatusConditionTrue(sub.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue(), "Delivering never flips Ready")
		Expect(statuses()[0].ResponseCode).To(Equal(int32(503)))
		Expect(statuses()[0].Success).To(BeFalse())
		w.state(sub, "failing")

		By("another event that succeeds: the failing one comes first")
		delivered("agent.loggedin.v1", 200, "OK")
		Eventually(statuses).Should(HaveLen(2))
		Expect(statuses()[0].Event).To(Equal("agent.presencechanged.v1"))

		By("the same result after more than five minutes: the time is renewed")
		before := statuses()[1].DeliveryTimestamp
		w.clock.Advance(6 * time.Minute)
		delivered("agent.loggedin.v1", 200, "OK")
		Eventually(func() bool { return statuses()[1].DeliveryTimestamp.After(before.Time) }).Should(BeTrue())

		By("all well again")
		delivered("agent.presencechanged.v1", 204, "No Content")
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "True "+v1alpha1.ReasonDelivered)
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).
			Should(ContainElements(v1alpha1.EventDeliveriesFailing, v1alpha1.EventDeliveriesRecovered))
		w.rests(sub, hooklinetest.Current)
	})

	It("tells of at most fifty event types, failing ones first", func(ctx context.Context) {
		w := newWorld(ctx, polling)
		w.signingSecret(ctx)
		sub := w.subscription("many", given, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.Events = []string{"*"} })
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		const all, failing = 70, 7
		statuses := make([]hooklinetest.DeliveryStatus, 0, all)
		for i := range all {
			code, text := 200, "OK"
			if i >= all-failing {
				code, text = 500, "Internal Server Error"
			}
			statuses = append(statuses, hooklinetest.DeliveryStatus{
				Event: fmt.Sprintf("event.%02d", i), Success: code == 200, ResponseCode: code, ResponseText: text, Timestamp: w.clock.Now(),
			})
		}
		Expect(w.account.SetStatuses(remote.ID, statuses...)).To(Succeed())
		w.pollDeliveries()
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonFailing)
		Expect(sub.Status.DeliveryStatuses).To(HaveLen(v1alpha1.MaxDeliveryStatuses))
		for i, status := range sub.Status.DeliveryStatuses {
			Expect(status.Success).To(Equal(i >= failing), status.Event)
		}
		w.rests(sub, hooklinetest.Current)
	})

	It("asks whose deliveries changed, not each subscription in turn", func(ctx context.Context) {
		w := newWorld(ctx, polling)
		w.signingSecret(ctx)
		var changed string
		for _, name := range []string{"one", "two", "three"} {
			sub := w.subscription(name, given)
			w.create(ctx, sub)
			changed = w.synced(ctx, sub).ID
			w.rests(sub, hooklinetest.Current)
		}
		w.account.ResetRequests()
		Expect(w.account.SetStatuses(changed, hooklinetest.DeliveryStatus{
			Event: "agent.presencechanged.v1", Success: true, ResponseCode: 200, ResponseText: "OK", Timestamp: w.clock.Now(),
		})).To(Succeed())
		w.pollDeliveries()
		Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpStatuses) }).ShouldNot(BeEmpty())
		Consistently(func() []hooklinetest.Request {
			return w.requests(hooklinetest.OpStatuses)
		}).WithTimeout(time.Second).Should(HaveEach(HaveField("ID", changed)))
	})

	It("says so where the provider does not tell", func(ctx context.Context) {
		w := newWorld(ctx, polling, withCapabilities(func(c *hooklinetest.Capabilities) { c.Statuses = false }))
		w.signingSecret(ctx)
		sub := w.subscription("untold", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "Unknown "+v1alpha1.ReasonNotReported)
		Expect(w.requests(hooklinetest.OpStatuses, hooklinetest.OpStatusesChangedSince)).To(BeEmpty())
		w.rests(sub, hooklinetest.Current)
	})
})

// pollInterval is how often whose deliveries changed is asked, in the cases that are about that.
const pollInterval = time.Minute

// polling makes a world in which it is asked at all.
func polling(o *worldOptions) { o.poll = pollInterval }

// pollDeliveries puts the clock past the time at which whose deliveries changed is asked next.
func (w *world) pollDeliveries() { w.clock.Advance(pollInterval + time.Second) }
