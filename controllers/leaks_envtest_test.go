package controllers_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

// Each case leaves, at one moment or another, something at a provider that no status tells of. In the end nobody may have
// made anything twice, nor left anything behind.
var _ = Describe("Nothing is lost", func() {
	It("when a slow create outlives the process, and shows late", func(ctx context.Context) {
		const slow, lag = 3 * time.Minute, 2 * time.Minute
		w := newWorld(ctx, as(hooklinetest.AsBird()), withLag(lag))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.env.Writes.Refuse(func(write hooklinetest.Write) bool { return strings.HasSuffix(write.Path, "late/status") })
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLostAfter(slow))
		sub := w.subscription("late", given, events(inbound))
		w.create(ctx, sub)
		Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpCreate) }).Should(HaveLen(1))
		w.clock.Advance(slow)
		Eventually(w.account.Subscriptions).Should(HaveLen(1))
		w.env.Stop()
		w.env.Writes.Refuse(nil)
		w.env.Restart()
		w.goOn(ctx, sub)
		w.syncedSet(ctx, sub, inbound)
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("when a pattern matches nothing at the provider that is moved to", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.account.SetEventTypes(types("agent.in", "channel.ended")...)
		w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		next.SetEventTypes(types("agent.in")...)
		sub := w.subscription("moving", given, events("agent.*", "channel.*"))
		w.create(ctx, sub)
		old := w.synced(ctx, sub)
		w.clock.Advance(time.Minute)
		change(ctx, w, sub, atCluster(shared))
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNoMatchingEvents)
		Expect(next.Subscriptions()).To(HaveLen(1))
		Expect(sub.Status.SubscriptionID).To(Equal(old.ID), "nothing is given up")
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		next.SetEventTypes(types("agent.in", "channel.ended")...)
		w.clock.Advance(pastInterval)
		Eventually(w.account.Subscriptions).Should(BeEmpty())
		Expect(w.syncedAt(ctx, sub, next).Events).To(ConsistOf("agent.in", "channel.ended"))
		Expect(next.Subscriptions()).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("when the catalogue is empty at the provider that is moved to", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.account.SetEventTypes(types("agent.in")...)
		w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		sub := w.subscription("moving", given, events("agent.*"))
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.clock.Advance(time.Minute)
		change(ctx, w, sub, atCluster(shared))
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNoMatchingEvents)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(next.Subscriptions()).To(BeEmpty(), "what the old one has is no name of the new one's")
		w.rests(sub, hooklinetest.Failed)
	})

	It("when the secret that the provider made cannot be copied after a move", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsDixa()))
		next, shared := w.nextProvider(ctx)
		sub := w.subscription("moving", events("ConversationCreated"))
		w.create(ctx, sub)
		w.synced(ctx, sub)
		next.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		next.Script(hooklinetest.OpSecret, 1, hooklinetest.ServerError(503))
		w.clock.Advance(time.Minute)
		change(ctx, w, sub, atCluster(shared))
		Eventually(next.Subscriptions).Should(HaveLen(1))
		w.goOn(ctx, sub)
		Expect(next.Pending()).To(BeZero())
		Expect(sub.Status.Provider.Name).To(Equal(shared.Name))
		Expect(next.Subscriptions()).To(HaveLen(1))
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.rests(sub, hooklinetest.Current)
	})

	It("when a move that came half the way is taken back", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		sub := w.subscription("undecided", given, events(inbound, outbound))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)
		next.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("", vendorText))
		w.clock.Advance(time.Minute)
		change(ctx, w, sub, atCluster(shared))
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonPartiallySynced)
		Expect(next.Subscriptions()).To(HaveLen(1))
		change(ctx, w, sub, atProvider)
		w.goOn(ctx, sub)
		Expect(next.Subscriptions()).To(BeEmpty())
		Expect(idsOf(w.syncedSet(ctx, sub, inbound, outbound))).To(Equal(idsOf(made)))
		w.rests(sub, hooklinetest.Current)
	})

	It("but at a provider that does not allow the namespace, whatever the mark says", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		sub := w.subscription("outsider", given, events(inbound, outbound))
		w.create(ctx, sub)
		w.syncedSet(ctx, sub, inbound, outbound)
		next.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("", vendorText))
		w.clock.Advance(time.Minute)
		change(ctx, w, sub, atCluster(shared))
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonPartiallySynced)
		w.env.Stop()
		change(ctx, w, shared, func(p *v1alpha1.ClusterWebhookProvider) { p.Spec.AllowedNamespaces = nil })
		change(ctx, w, sub, atProvider)
		w.env.Restart()
		w.goOn(ctx, sub)
		w.syncedSet(ctx, sub, inbound, outbound)
		Expect(next.Subscriptions()).To(HaveLen(1))
		Expect(next.Requests(hooklinetest.OpDelete)).To(BeEmpty())
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventOrphaned))
		w.rests(sub, hooklinetest.Current)
	})

	It("when the provider changes before the answer to the create came", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		next, shared := w.nextProvider(ctx)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		sub := w.subscription("early", given, events(inbound))
		w.create(ctx, sub)
		Eventually(w.account.Subscriptions).Should(HaveLen(1))
		change(ctx, w, sub, atCluster(shared))
		w.goOn(ctx, sub)
		Expect(next.Subscriptions()).To(HaveLen(1))
		Expect(w.account.Subscriptions()).To(BeEmpty())
		Expect(sub.Annotations[v1alpha1.AnnotationCreatePending]).To(HaveSuffix("@ClusterWebhookProvider/" + shared.Name))
		w.rests(sub, hooklinetest.Current)
	})

	It("when it is deleted in the middle of a move that was taken back", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		sub := w.subscription("deleted", given, events(inbound, outbound))
		w.create(ctx, sub)
		w.syncedSet(ctx, sub, inbound, outbound)
		next.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("", vendorText))
		w.clock.Advance(time.Minute)
		change(ctx, w, sub, atCluster(shared))
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonPartiallySynced)
		w.env.Stop()
		change(ctx, w, sub, atProvider)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.env.Restart()
		w.goOn(ctx, nil)
		w.gone(ctx, sub)
		Expect(next.Subscriptions()).To(BeEmpty())
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("when the provider that is left says that there is nothing, and lists it", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		sub := w.subscription("moving", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.account.Script(hooklinetest.OpDelete, 1, hooklinetest.Missing())
		w.clock.Advance(time.Minute)
		change(ctx, w, sub, atCluster(shared))
		Eventually(next.Subscriptions).Should(HaveLen(1))
		w.goOn(ctx, sub)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.rests(sub, hooklinetest.Current)
	})

	It("when a provider comes again under its old name for another account", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		_, shared := w.nextProvider(ctx)
		first := w.provider.Account(string(shared.Spec.Dispatcher.Tenant))
		sub := w.subscription("stranded", given, atCluster(shared))
		w.create(ctx, sub)
		old := w.syncedAt(ctx, sub, first)
		Expect(sub.Status.Provider.Account.ID).To(Equal(string(shared.Spec.Dispatcher.Tenant)))
		w.env.Stop()
		Expect(w.client.Delete(ctx, shared)).To(Succeed())
		change(ctx, w, shared, func(p *v1alpha1.ClusterWebhookProvider) { p.Finalizers = nil })
		w.gone(ctx, shared)
		again := w.clusterProvider("next")
		again.Spec.Dispatcher.Tenant += "-other"
		w.create(ctx, again)
		w.env.Restart()
		second := w.provider.Account(string(again.Spec.Dispatcher.Tenant))
		Eventually(second.Subscriptions).Should(HaveLen(1))
		Eventually(func() string {
			return w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProgressing).Message
		}).Should(ContainSubstring("another account"))
		Expect(sub.Status.SubscriptionID).To(Equal(old.ID), "it is not forgotten")
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
		w.syncedAt(ctx, sub, second)
		Expect(sub.Status.Provider.Account.ID).To(Equal(string(again.Spec.Dispatcher.Tenant)))
		Expect(first.Subscriptions()).To(HaveLen(1), "left behind, as was asked for")
		w.rests(sub, hooklinetest.Current)
	})
})

var _ = Describe("A create that was refused", func() {
	It("claims nothing that a stranger makes of the same name later on", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("url", vendorText))
		sub := w.subscription("refused", given, named("presence-feed"))
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonRejected)
		_, err := w.account.Add(hooklinetest.Draft{
			Name: "presence-feed", URL: "https://elsewhere.example.com", Events: []string{"a.b"}, Enabled: true,
		})
		Expect(err).NotTo(HaveOccurred())
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = "https://moved.example.com/" })
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNameConflict)
		Expect(w.account.Subscriptions()[0].URL).To(Equal("https://elsewhere.example.com"))
		Expect(w.requests(hooklinetest.OpUpdate)).To(BeEmpty())
		w.rests(sub, hooklinetest.Failed)
	})
})

var _ = Describe("Event types by pattern", func() {
	It("are asked for again at the interval when the provider refuses what its catalogue has", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.account.SetEventTypes(types("agent.in", "agent.broken")...)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("events", vendorText))
		sub := w.subscription("refused", given, events("agent.*"))
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonRejected)
		w.account.SetEventTypes(types("agent.in")...)
		w.clock.Advance(pastInterval)
		Expect(w.synced(ctx, sub).Events).To(Equal([]string{"agent.in"}))
		w.rests(sub, hooklinetest.Current)
	})
})

// nextProvider makes another provider, ready to be moved to, and its account.
func (w *world) nextProvider(ctx context.Context) (*hooklinetest.Account, *v1alpha1.ClusterWebhookProvider) {
	GinkgoHelper()
	next := w.clusterProvider("next")
	w.create(ctx, next)
	w.becomes(ctx, next, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)

	return w.provider.Account(string(next.Spec.Dispatcher.Tenant)), next
}

// atProvider names the provider of the namespace.
func atProvider(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.ProviderRef = &v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindNamespaced, Name: providerName}
}
