package controllers_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	inbound  = "channels.sms.inbound"
	outbound = "channels.sms.outbound"
	email    = "channels.email.inbound"
	// vendorText is why a vendor refuses.
	vendorText = "at most 5 subscriptions may have one filter combination"
)

var _ = Describe("Several subscriptions for one resource", func() {
	It("makes one for each event, with the writes of a single one", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		sub := w.subscription("pair", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		for _, remote := range made {
			Expect(remote.URL).To(Equal(sub.Spec.URL))
			Expect(w.account.Secrets(remote.ID)).To(Equal([]string{givenSecret}))
		}
		Expect(sub.Status.Provider.Name).To(Equal(providerName))
		Expect(sub.Status.URL).To(Equal(sub.Spec.URL))
		path := "/webhooksubscriptions/pair"
		Eventually(w.objectWrites).Should(Equal([]string{"PATCH " + path, "PATCH " + path + "/status"}))
		w.state(sub, "several")
		w.rests(sub, hooklinetest.Current)
	})

	It("generates one secret for all, with three writes", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.becomesReady(ctx, providerName)
		sub := w.subscription("pair", events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		text := w.generatedSecret(ctx, sub)
		Expect(text).To(MatchRegexp("^[0-9a-f]{64}$"), "which is a text to be the key of Bird's signatures as it is")
		for _, remote := range made {
			Expect(w.account.Secrets(remote.ID)).To(Equal([]string{text}))
		}
		path := "/webhooksubscriptions/pair"
		Eventually(w.objectWrites).Should(ConsistOf("POST /secrets", "PATCH "+path, "PATCH "+path+"/status"))
		w.rests(sub, hooklinetest.Current)
	})

	It("says which one the provider refuses and why, and makes the others", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("", vendorText))
		sub := w.subscription("partial", given, events(inbound, outbound))
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonPartiallySynced)
		Expect(condition.Message).To(And(ContainSubstring("1 of 2"), ContainSubstring(inbound+": "), ContainSubstring(vendorText)))
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(sub.Status.SubscriptionID).To(Equal(w.account.Subscriptions()[0].ID))
		Expect(sub.Status.Subscriptions[0].Events).To(Equal([]string{outbound}))
		w.state(sub, "partially-synced")

		By("trying again at the interval")
		w.clock.Advance(pastInterval)
		w.syncedSet(ctx, sub, inbound, outbound)
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(3))
		Expect(w.requests(hooklinetest.OpUpdate)).To(BeEmpty(), "the one that was made has its secret")
		w.rests(sub, hooklinetest.Current)
	})

	It("rests while one is refused", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("", vendorText))
		sub := w.subscription("partial", given, events(inbound, outbound))
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonPartiallySynced)
		w.rests(sub, hooklinetest.Failed)
	})

	It("never makes one twice when the reply to the second create is lost", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Slow(0))
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		sub := w.subscription("lost", given, events(inbound, outbound))
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonPartiallySynced)
		w.goOn(ctx, sub)
		w.syncedSet(ctx, sub, inbound, outbound)
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(2))
		Expect(sub.Status.Adopted).To(BeFalse())
		w.rests(sub, hooklinetest.Current)
	})

	It("never makes one twice when the process dies between two creates", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.env.Writes.Refuse(func(write hooklinetest.Write) bool { return strings.HasSuffix(write.Path, "crash/status") })
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Slow(0))
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Slow(time.Hour))
		sub := w.subscription("crash", given, events(inbound, outbound))
		w.create(ctx, sub)
		Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpCreate) }).Should(HaveLen(2))
		w.env.Stop()
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(refresh(ctx, w, sub).Status.Subscriptions).To(BeEmpty(), "the crash came first")
		w.env.Writes.Refuse(nil)
		w.account.Heal()
		w.env.Restart()
		w.goOn(ctx, sub)
		w.syncedSet(ctx, sub, inbound, outbound)
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(3), "one of them never arrived")
		w.rests(sub, hooklinetest.Current)
	})

	It("leaves nothing behind of an event that was dropped while its create had no answer", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("dropped", given, events(inbound))
		w.create(ctx, sub)
		kept := w.syncedSet(ctx, sub, inbound)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		change(ctx, w, sub, events(inbound, outbound))
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonPartiallySynced)
		Expect(w.account.Subscriptions()).To(HaveLen(2))
		change(ctx, w, sub, events(inbound))
		w.goOn(ctx, sub)
		Eventually(w.account.Subscriptions).Should(HaveLen(1))
		Expect(w.syncedSet(ctx, sub, inbound)[0].ID).To(Equal(kept[0].ID))
		w.rests(sub, hooklinetest.Current)
	})

	It("finds all of them when it is restored from a backup without its status", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("restored", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		backup := refresh(ctx, w, sub).DeepCopy()
		w.env.Stop()
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Finalizers = nil })
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		restored := w.subscription("restored")
		restored.Annotations, restored.Finalizers, restored.Spec = backup.Annotations, backup.Finalizers, backup.Spec
		w.create(ctx, restored)
		w.env.Restart()
		w.goOn(ctx, restored)
		Expect(idsOf(w.syncedSet(ctx, restored, inbound, outbound))).To(Equal(idsOf(made)))
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(2))
		w.rests(restored, hooklinetest.Current)
	})

	It("recreates the one alone that somebody deleted", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("deleted", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		w.clock.Advance(time.Minute)
		Expect(w.account.Remove(made[1].ID)).To(Succeed())
		w.clock.Advance(pastInterval)
		Eventually(w.account.Subscriptions).Should(HaveLen(2))
		// The one that is gone is taken out of the status before it is made again.
		Eventually(func() []v1alpha1.RemoteSubscription { return refresh(ctx, w, sub).Status.Subscriptions }).
			Should(And(HaveLen(2), Not(ContainElement(HaveField("ID", made[1].ID)))))
		again := w.syncedSet(ctx, sub, inbound, outbound)
		Expect(again[0].ID).To(Equal(made[0].ID))
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(3))
		Expect(w.requests(hooklinetest.OpUpdate)).To(BeEmpty())
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventRecreated))
		w.rests(sub, hooklinetest.Current)
	})

	It("mends the one alone that somebody changed", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("drift", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		w.clock.Advance(time.Minute)
		Expect(w.account.Edit(made[0].ID, func(s *hooklinetest.Subscription) { s.Enabled = false })).To(Succeed())
		w.clock.Advance(pastInterval)
		Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpUpdate) }).Should(HaveLen(1))
		Expect(w.requests(hooklinetest.OpUpdate)[0].ID).To(Equal(made[0].ID))
		Expect(w.requests(hooklinetest.OpGet)).To(BeEmpty(), "one list tells of all")
		w.syncedSet(ctx, sub, inbound, outbound)
		w.rests(sub, hooklinetest.Current)
	})

	It("creates before it deletes when the events change, and keeps what stays", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("changed", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		w.account.ResetRequests()
		change(ctx, w, sub, events(email, outbound))
		w.goOn(ctx, sub)
		after := w.syncedSet(ctx, sub, email, outbound)
		Expect(after[1].ID).To(Equal(made[1].ID))
		var order []hooklinetest.Op
		for _, request := range w.requests(hooklinetest.OpCreate, hooklinetest.OpUpdate, hooklinetest.OpDelete) {
			order = append(order, request.Op)
		}
		Expect(order).To(Equal([]hooklinetest.Op{hooklinetest.OpCreate, hooklinetest.OpDelete}))
		Eventually(func() string { return refresh(ctx, w, sub).Annotations[v1alpha1.AnnotationCreatePending] }).
			Should(HaveLen(len("2026-01-01T00:00:00.000Z ")+2*24+1+len("@WebhookProvider/"+providerName)), "the mark is of the two there are")
		w.rests(sub, hooklinetest.Current)
	})

	It("keeps what it has while what is to replace it is refused", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()), withCapabilities(func(c *hooklinetest.Capabilities) { c.MaxEvents = 2 }))
		w.signingSecret(ctx)
		sub := w.subscription("replaced", given, events(inbound, outbound))
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonSynced)
		old := sub.Status.SubscriptionID
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("", vendorText))
		change(ctx, w, sub, events(inbound))
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRejected)
		Expect(condition.Message).To(ContainSubstring(vendorText))
		Expect(sub.Status.SubscriptionID).To(Equal(old), "its events go on")
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL += "/again" })
		w.goOn(ctx, sub)
		Expect(w.syncedSet(ctx, sub, inbound)[0].ID).NotTo(Equal(old))
		w.rests(sub, hooklinetest.Current)
	})

	It("takes nothing of a stranger's, and says which is in the way", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("conflict", given, events(inbound, outbound))
		theirs, err := w.account.Add(hooklinetest.Draft{URL: sub.Spec.URL, Events: []string{outbound}, Enabled: true})
		Expect(err).NotTo(HaveOccurred())
		w.clock.Advance(time.Minute)
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonPartiallySynced)
		Expect(condition.Message).To(And(ContainSubstring(outbound), ContainSubstring(theirs)))
		Expect(sub.Status.Subscriptions).To(HaveLen(1))
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.goOn(ctx, nil)
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(1), "theirs")
		Expect(w.account.Subscriptions()[0].ID).To(Equal(theirs))
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("deletes all of them, and goes on where it was held up", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("deleted", given, events(inbound, outbound, email))
		w.create(ctx, sub)
		w.syncedSet(ctx, sub, inbound, outbound, email)
		w.account.Script(hooklinetest.OpDelete, 1, hooklinetest.Slow(0))
		w.account.Script(hooklinetest.OpDelete, hooklinetest.Forever, hooklinetest.ServerError(http.StatusInternalServerError))
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonDeletionBlocked)
		Expect(sub.Status.Subscriptions).To(HaveLen(2), "what is left")
		Expect(w.account.Subscriptions()).To(HaveLen(2))
		w.account.Heal()
		w.goOn(ctx, nil)
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("deletes also the one whose create has had no answer", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Slow(0))
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		sub := w.subscription("half", given, events(inbound, outbound))
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonPartiallySynced)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.goOn(ctx, nil)
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("leaves all of them behind where the policy says so", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("orphans", given, events(inbound, outbound), func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
		})
		w.create(ctx, sub)
		w.syncedSet(ctx, sub, inbound, outbound)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(2))
		Expect(w.requests(hooklinetest.OpDelete)).To(BeEmpty())
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("moves all of them: created at the new provider before they are deleted at the old", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		shared := w.clusterProvider("shared")
		w.create(ctx, shared)
		w.becomes(ctx, shared, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		next := w.provider.Account(string(shared.Spec.Dispatcher.Tenant))
		sub := w.subscription("moving", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		w.clock.Advance(time.Minute)
		next.Script(hooklinetest.OpCreate, 1, hooklinetest.Slow(0))
		next.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.ProviderRef = &v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindCluster, Name: shared.Name}
		})
		Eventually(next.Subscriptions).Should(HaveLen(2))
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonPartiallySynced)
		Expect(w.account.Subscriptions()).To(HaveLen(2), "not before all are at the new one")
		Expect(sub.Status.Subscriptions).To(HaveLen(2))
		Expect(sub.Status.Subscriptions[0].ID).To(Equal(made[0].ID), "the status stays with the old")
		w.goOn(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonSynced)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		Expect(next.Requests(hooklinetest.OpCreate)).To(HaveLen(2))
		Expect(next.Subscriptions()).To(HaveLen(2))
		Expect(sub.Status.Provider.Name).To(Equal(shared.Name))
		w.rests(sub, hooklinetest.Current)
	})

	It("gives all of them a rotated secret, also the one that was missed at first", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		secret := w.signingSecret(ctx)
		sub := w.subscription("rotated", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		digest := sub.Status.Secret.Digest
		w.account.Script(hooklinetest.OpUpdate, 1, hooklinetest.Slow(0))
		w.account.Script(hooklinetest.OpUpdate, 1, hooklinetest.ServerError(http.StatusBadGateway))
		w.rotate(ctx, secret)
		Eventually(func() string { return w.lastSecret(made[0].ID) }).Should(Equal(otherSecret))
		w.goOn(ctx, nil)
		Eventually(func() string { return w.lastSecret(made[1].ID) }).Should(Equal(otherSecret))
		Eventually(func() string { return refresh(ctx, w, sub).Status.Secret.Digest }).ShouldNot(Equal(digest))
		w.syncedSet(ctx, sub, inbound, outbound)
		w.rests(sub, hooklinetest.Current)
	})

	It("tells how the deliveries of all go, and which one is suspended", func(ctx context.Context) {
		w := newWorld(ctx, polling, as(hooklinetest.AsBird()), withCapabilities(func(c *hooklinetest.Capabilities) { c.Resumable = true }))
		w.signingSecret(ctx)
		sub := w.subscription("delivering", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		w.clock.Advance(time.Minute)
		for i, event := range []string{inbound, outbound} {
			Expect(w.account.Deliver(made[i].ID, hooklinetest.LogEntry{
				Event: event, Success: i == 0, ResponseCode: 200 + 300*i, ResponseText: "told",
			})).To(Succeed())
		}
		w.pollDeliveries()
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonFailing)
		Eventually(func() []v1alpha1.DeliveryStatus { return refresh(ctx, w, sub).Status.DeliveryStatuses }).Should(HaveLen(2))
		Expect(sub.Status.DeliveryStatuses[0].Event).To(Equal(outbound), "failing first")

		By("one of them, which leaves what is known of the other")
		w.account.ResetRequests()
		Expect(w.account.Deliver(made[1].ID, hooklinetest.LogEntry{
			Event: outbound, Success: true, ResponseCode: 200, ResponseText: "OK",
		})).To(Succeed())
		w.pollDeliveries()
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "True "+v1alpha1.ReasonDelivered)
		Expect(sub.Status.DeliveryStatuses).To(HaveLen(2))
		Expect(w.requests(hooklinetest.OpStatuses)).To(HaveEach(HaveField("ID", made[1].ID)))

		By("a suspension")
		Expect(w.account.Suspend(made[1].ID, "Gone", "the endpoint answered 410 Gone")).To(Succeed())
		w.clock.Advance(time.Minute)
		w.pollDeliveries()
		condition := w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonSuspended)
		Expect(condition.Message).To(And(ContainSubstring("1 of 2"), ContainSubstring(outbound), ContainSubstring("410")))
		Eventually(func() v1alpha1.SubscriptionState { return refresh(ctx, w, sub).Status.Subscriptions[1].State }).
			Should(Equal(v1alpha1.SubscriptionStateSuspended))
		w.annotate(ctx, sub, v1alpha1.AnnotationResumeRequested, "now")
		Eventually(func() bool { return w.suspended(made[1].ID) }).Should(BeFalse())
		Expect(w.requests(hooklinetest.OpUpdate)).To(HaveLen(1), "the other needs no resuming")
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "True "+v1alpha1.ReasonDelivered)

		By("an event less")
		change(ctx, w, sub, events(inbound))
		w.goOn(ctx, sub)
		Expect(w.syncedSet(ctx, sub, inbound)[0].ID).To(Equal(made[0].ID))
		Eventually(func() []v1alpha1.DeliveryStatus { return refresh(ctx, w, sub).Status.DeliveryStatuses }).Should(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("refuses what is about one subscription alone", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		sub := w.subscription("named", given, events(inbound, outbound), byID("2V1lVz6FeKOuVLEpSU6M0aqkM9b"))
		observed := w.subscription("observed", events(inbound, outbound), byID("2V1lVz6FeKOuVLEpSU6M0aqkM9b"),
			func(sub *v1alpha1.WebhookSubscription) {
				sub.Spec.ManagementPolicy = v1alpha1.ManagementPolicyObserveOnly
			})
		w.create(ctx, sub)
		w.create(ctx, observed)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonInvalidSpec)
		Expect(condition.Message).To(ContainSubstring("spec.subscriptionId"))
		condition = w.becomes(ctx, observed, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonInvalidSpec)
		Expect(condition.Message).To(ContainSubstring("ObserveOnly"))
		w.rests(sub, hooklinetest.Failed)
		w.rests(observed, hooklinetest.Failed)
	})

	It("takes over one of an event by its id, and says that its event cannot be changed", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()), withoutProvider())
		w.signingSecret(ctx)
		w.allowAdoption(ctx)
		id, err := w.account.Add(hooklinetest.Draft{URL: "https://elsewhere.example.com/hooks", Events: []string{inbound}, Enabled: true})
		Expect(err).NotTo(HaveOccurred())
		w.clock.Advance(time.Minute)
		sub := w.subscription("adopted", given, events(inbound), byID(id))
		w.create(ctx, sub)
		Expect(w.syncedSet(ctx, sub, inbound)[0].ID).To(Equal(id))
		Expect(sub.Status.Adopted).To(BeTrue())
		change(ctx, w, sub, events(outbound))
		condition := w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonInvalidSpec)
		Expect(condition.Message).To(And(ContainSubstring("spec.events"), ContainSubstring("spec.subscriptionId")))
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		change(ctx, w, sub, events(inbound))
		w.syncedSet(ctx, sub, inbound)
		w.rests(sub, hooklinetest.Current)
	})
})

// as makes a world whose provider plays a vendor.
func as(vendor hooklinetest.Option) worldOption {
	return func(o *worldOptions) { o.provider = append(o.provider, vendor) }
}

func events(names ...string) func(*v1alpha1.WebhookSubscription) {
	return func(sub *v1alpha1.WebhookSubscription) { sub.Spec.Events = names }
}

// syncedSet waits until a subscription is Ready, checks that the provider has one for each event and nothing else, and
// returns them in the order of the events.
func (w *world) syncedSet(ctx context.Context, sub *v1alpha1.WebhookSubscription, names ...string) []hooklinetest.Subscription {
	GinkgoHelper()
	w.becomes(ctx, sub, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonSynced)
	all := w.account.Subscriptions()
	Expect(all).To(HaveLen(len(names)))
	Expect(sub.Status.Subscriptions).To(HaveLen(len(names)))
	if len(names) == 1 {
		Expect(sub.Status.SubscriptionID).To(Equal(sub.Status.Subscriptions[0].ID))
	} else {
		Expect(sub.Status.SubscriptionID).To(BeEmpty(), "it is there only when it tells all")
	}
	made := make([]hooklinetest.Subscription, 0, len(names))
	for i, name := range names {
		at := slices.IndexFunc(all, func(s hooklinetest.Subscription) bool { return slices.Equal(s.Events, []string{name}) })
		Expect(at).To(BeNumerically(">=", 0), name)
		Expect(sub.Status.Subscriptions[i].ID).To(Equal(all[at].ID))
		Expect(sub.Status.Subscriptions[i].Events).To(Equal([]string{name}))
		made = append(made, all[at])
	}

	return made
}

// goOn lets the time pass that something waits for: until a subscription is Ready, or, where none is given, until nothing
// more can be waited for.
func (w *world) goOn(ctx context.Context, sub *v1alpha1.WebhookSubscription) {
	GinkgoHelper()
	if sub == nil {
		for range 5 {
			w.clock.Advance(time.Minute)
			time.Sleep(2 * glance)
		}

		return
	}
	Eventually(func() bool {
		w.clock.Advance(10 * time.Second)
		refresh(ctx, w, sub)

		return sub.Status.ObservedGeneration == sub.Generation &&
			slices.ContainsFunc(sub.Status.Conditions, func(c metav1.Condition) bool {
				return c.Type == v1alpha1.ConditionReady && c.Status == "True"
			})
	}).Should(BeTrue(), "%s", asLines{sub})
}

func idsOf(all []hooklinetest.Subscription) []string {
	ids := make([]string, 0, len(all))
	for _, sub := range all {
		ids = append(ids, sub.ID)
	}

	return ids
}

// lastSecret is the present signing secret of a subscription.
func (w *world) lastSecret(id string) string {
	secrets := w.account.Secrets(id)

	return secrets[len(secrets)-1]
}

func (w *world) suspended(id string) bool {
	for _, sub := range w.account.Subscriptions() {
		if sub.ID == id {
			return sub.State.Phase == subscription.Suspended
		}
	}

	return false
}

// rotate puts another signing secret into the Secret that given names.
func (w *world) rotate(ctx context.Context, secret *corev1.Secret) {
	GinkgoHelper()
	change(ctx, w, secret, func(s *corev1.Secret) { s.StringData = map[string]string{"key": otherSecret} })
}
