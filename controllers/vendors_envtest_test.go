package controllers_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

var _ = Describe("Patterns at a provider that takes names alone", func() {
	It("become the names that they stand for, in one subscription where it takes them all", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.account.SetEventTypes(types("agent.loggedin.v1", "agent.presencechanged.v1", "channel.ended.v1")...)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		sub := w.subscription("expanded", given, events("interaction.started.v1", "agent.*"))
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		want := []string{"interaction.started.v1", "agent.loggedin.v1", "agent.presencechanged.v1"}
		Expect(remote.Events).To(Equal(want), "an exact name stands for itself, whatever the catalogue has")
		Expect(sub.Status.Subscriptions[0].Events).To(Equal(want))
		path := "/webhooksubscriptions/expanded"
		Eventually(w.objectWrites).Should(Equal([]string{"PATCH " + path, "PATCH " + path + "/status"}))

		By("a catalogue that is the same: nothing is written")
		w.clock.Advance(time.Minute)
		version := refresh(ctx, w, sub).ResourceVersion
		asked := len(w.requests(hooklinetest.OpEventTypes))
		w.clock.Advance(pastInterval)
		Eventually(func() int { return len(w.requests(hooklinetest.OpEventTypes)) }).Should(Equal(asked + 1))
		Consistently(func() string { return refresh(ctx, w, sub).ResourceVersion }).WithTimeout(time.Second).Should(Equal(version))

		By("a type that comes")
		w.account.SetEventTypes(types("agent.added.v1", "agent.loggedin.v1", "agent.presencechanged.v1")...)
		w.clock.Advance(pastInterval)
		Eventually(func() []string { return w.account.Subscriptions()[0].Events }).Should(ContainElement("agent.added.v1"))
		Expect(w.requests(hooklinetest.OpUpdate)).To(HaveLen(1))

		By("types that go, asked for at once: one look may be an outage's")
		w.account.SetEventTypes(types("agent.added.v1")...)
		w.annotate(ctx, sub, v1alpha1.AnnotationReconcileRequested, "now")
		Eventually(func() string { return refresh(ctx, w, sub).Status.LastHandledReconcileAt }).Should(Equal("now"))
		Expect(w.account.Subscriptions()[0].Events).To(HaveLen(4))

		By("which a look an interval later bears out")
		w.clock.Advance(pastInterval)
		Eventually(func() []string { return w.account.Subscriptions()[0].Events }).
			Should(Equal([]string{"interaction.started.v1", "agent.added.v1"}))
		Expect(w.synced(ctx, sub).ID).To(Equal(remote.ID))
		w.rests(sub, hooklinetest.Current)
	})

	It("share one look at the catalogue", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.account.SetEventTypes(types("agent.loggedin.v1")...)
		w.signingSecret(ctx)
		for _, name := range []string{"one", "two", "three"} {
			sub := w.subscription(name, given, events("agent.*"))
			w.create(ctx, sub)
			w.synced(ctx, sub)
			w.rests(sub, hooklinetest.Current)
		}
		Expect(w.requests(hooklinetest.OpEventTypes)).To(HaveLen(1))
	})

	It("follow the catalogue one subscription for each, and lose none to an empty one", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsBird()))
		w.account.SetEventTypes(types(inbound, outbound, email)...)
		w.signingSecret(ctx)
		sub := w.subscription("set", given, events("channels.sms.*"))
		w.create(ctx, sub)
		made := w.syncedSet(ctx, sub, inbound, outbound)

		By("one that comes")
		const interaction = "channels.sms.interaction"
		w.account.SetEventTypes(types(inbound, outbound, email, interaction)...)
		w.clock.Advance(pastInterval)
		Eventually(w.account.Subscriptions).Should(HaveLen(3))
		Eventually(func() []v1alpha1.RemoteSubscription { return refresh(ctx, w, sub).Status.Subscriptions }).Should(HaveLen(3))
		w.syncedSet(ctx, sub, inbound, interaction, outbound)

		By("one that goes, which two looks must tell")
		w.account.SetEventTypes(types(inbound, outbound, email)...)
		looks := len(w.requests(hooklinetest.OpEventTypes))
		w.clock.Advance(pastInterval)
		Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpEventTypes) }).Should(HaveLen(looks + 1))
		Consistently(w.account.Subscriptions).WithTimeout(time.Second).Should(HaveLen(3))
		w.clock.Advance(pastInterval)
		Eventually(w.account.Subscriptions).Should(HaveLen(2))
		Eventually(func() []v1alpha1.RemoteSubscription { return refresh(ctx, w, sub).Status.Subscriptions }).Should(HaveLen(2))
		Expect(idsOf(w.syncedSet(ctx, sub, inbound, outbound))).To(Equal(idsOf(made)))

		By("a catalogue with nothing in it")
		w.account.SetEventTypes()
		w.clock.Advance(pastInterval)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNoMatchingEvents)
		Expect(condition.Message).To(ContainSubstring("channels.sms.*"))
		Expect(idsOf(w.account.Subscriptions())).To(ConsistOf(idsOf(made)), "it may be back in a moment")
		w.account.SetEventTypes(types(inbound, outbound, email)...)
		w.clock.Advance(pastInterval)
		w.syncedSet(ctx, sub, inbound, outbound)
		w.rests(sub, hooklinetest.Current)
	})

	It("that match nothing wait until something does", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.account.SetEventTypes(types("agent.loggedin.v1")...)
		w.signingSecret(ctx)
		sub := w.subscription("nothing", given, events("chanel.*"))
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNoMatchingEvents)
		Expect(condition.Message).To(ContainSubstring("chanel.*"))
		Expect(w.requests(hooklinetest.OpCreate)).To(BeEmpty())
		Expect(refresh(ctx, w, sub).Finalizers).To(BeEmpty(), "nothing was made")
		w.state(sub, "no-matching-events")
		w.account.SetEventTypes(types("chanel.ended.v1")...)
		w.clock.Advance(pastInterval)
		Expect(w.synced(ctx, sub).Events).To(Equal([]string{"chanel.ended.v1"}))
		w.rests(sub, hooklinetest.Current)
	})

	It("that match nothing rest beside those that do", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.account.SetEventTypes(types("agent.loggedin.v1")...)
		w.signingSecret(ctx)
		sub := w.subscription("half", given, events("chanel.*", "agent.*"))
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNoMatchingEvents)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(w.account.Subscriptions()[0].Events).To(Equal([]string{"agent.loggedin.v1"}))
		Expect(sub.Status.SubscriptionID).To(Equal(w.account.Subscriptions()[0].ID))
		w.rests(sub, hooklinetest.Failed)
	})

	It("are refused by name where there is no catalogue either", func(ctx context.Context) {
		w := newWorld(ctx, withCapabilities(func(c *hooklinetest.Capabilities) { c.Wildcards = false }))
		w.signingSecret(ctx)
		sub := w.subscription("unsupported", given, events("agent.loggedin.v1", "agent.*"))
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonUnsupportedByProvider)
		Expect(condition.Message).To(And(ContainSubstring("spec.events"), ContainSubstring("agent.*")))
		w.rests(sub, hooklinetest.Failed)
	})

	It("leave a Ready subscription Ready when the catalogue cannot be read", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.account.SetEventTypes(types("agent.loggedin.v1")...)
		w.signingSecret(ctx)
		sub := w.subscription("settled", given, events("agent.*"))
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.clock.Advance(time.Minute)
		w.account.Script(hooklinetest.OpEventTypes, 2, hooklinetest.ServerError(500))
		w.clock.Advance(pastInterval)
		Eventually(func() int {
			w.clock.Advance(time.Second)

			return w.account.Pending()
		}).Should(BeZero())
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})
})

var _ = Describe("Secrets of vendors", func() {
	It("are generated in the vendor's own form", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsVonage()))
		w.becomesReady(ctx, providerName)
		sub := w.subscription("form")
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		text := w.generatedSecret(ctx, sub)
		Expect(text).To(MatchRegexp("^[A-Za-z0-9+/]{86}==$"), "the Base64 of 64 bytes, with nothing before it")
		Expect(w.account.Secrets(remote.ID)).To(Equal([]string{text}))
		w.rests(sub, hooklinetest.Current)
	})

	It("are generated anew when the format of deliveries asks for another form", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription("format", func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.Delivery = &v1alpha1.Delivery{Format: v1alpha1.DeliveryFormatCloudEvents}
		})
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.texts = append(w.texts, w.generatedSecret(ctx, sub))
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.Delivery.Format = v1alpha1.DeliveryFormatDixa })
		w.synced(ctx, sub)
		text := w.generatedSecret(ctx, sub)
		Expect(text).To(MatchRegexp("^[0-9a-f]{64}$"))
		Expect(w.lastSecret(remote.ID)).To(Equal(text))
		Expect(w.requests(hooklinetest.OpUpdate)).To(HaveLen(1), "with the format, in one patch")
		w.rests(sub, hooklinetest.Current)
	})

	It("that a provider makes are copied out, with three writes, and kept true", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsDixa()))
		w.becomesReady(ctx, providerName)
		sub := w.subscription("copied")
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(w.generatedSecret(ctx, sub)).To(Equal(w.lastSecret(remote.ID)))
		Expect(sub.Status.Secret.Name).To(Equal("copied-signing-secret"))
		Expect(sub.Status.Secret.Digest).NotTo(BeEmpty())
		path := "/webhooksubscriptions/copied"
		Eventually(w.objectWrites).Should(ConsistOf("POST /secrets", "PATCH "+path, "PATCH "+path+"/status"))
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventSecretGenerated))
		w.clock.Advance(time.Minute)

		By("the same, an interval later: nothing is written")
		written := len(w.objectWrites())
		w.clock.Advance(pastInterval)
		Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpSecret) }).ShouldNot(BeEmpty())
		Consistently(func() int { return len(w.objectWrites()) }).WithTimeout(time.Second).Should(Equal(written))

		By("another that somebody had the provider make")
		digest := sub.Status.Secret.Digest
		w.texts = append(w.texts, w.lastSecret(remote.ID))
		text, err := w.account.ReplaceSecret(remote.ID)
		Expect(err).NotTo(HaveOccurred())
		w.clock.Advance(pastInterval)
		Eventually(func() string { return refresh(ctx, w, sub).Status.Secret.Digest }).ShouldNot(Equal(digest))
		Expect(w.generatedSecret(ctx, sub)).To(Equal(text))
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventSecretRotated))

		By("a copy that somebody changed, and one that somebody deleted")
		copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "copied-signing-secret"}}
		change(ctx, w, copied, func(s *corev1.Secret) { s.StringData = map[string]string{"secret": "not-what-the-provider-has"} })
		Eventually(func() string { return w.generatedSecret(ctx, sub) }).Should(Equal(text))
		Expect(w.client.Delete(ctx, copied)).To(Succeed())
		Eventually(func() error { return w.client.Get(ctx, key(copied), copied) }).Should(Succeed())
		Expect(w.generatedSecret(ctx, sub)).To(Equal(text))
		Expect(w.requests(hooklinetest.OpUpdate)).To(BeEmpty())
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("that a provider made are found again when the reply to the create was lost", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsDixa()))
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		sub := w.subscription("lost")
		w.create(ctx, sub)
		Eventually(w.account.Subscriptions).Should(HaveLen(1))
		w.goOn(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(w.generatedSecret(ctx, sub)).To(Equal(w.lastSecret(remote.ID)))
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("that a provider makes cannot be given, nor rotated", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsDixa()))
		w.signingSecret(ctx)
		refused := w.subscription("given", given)
		w.create(ctx, refused)
		condition := w.becomes(ctx, refused, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonUnsupportedByProvider)
		Expect(condition.Message).To(ContainSubstring("spec.secretRef"))
		sub := w.subscription("asked")
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.annotate(ctx, sub, v1alpha1.AnnotationRotateRequested, "now")
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventRotationRefused))
		Eventually(func() string { return refresh(ctx, w, sub).Status.LastHandledRotateAt }).Should(Equal("now"))
		Expect(w.account.Secrets(remote.ID)).To(HaveLen(1))
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
		w.rests(refused, hooklinetest.Failed)
	})

	It("of deliveries that come back are compared, and mended where somebody changed them", func(ctx context.Context) {
		w := newWorld(ctx, as(hooklinetest.AsDixa()))
		credentials := w.secret(ctx, "credentials", map[string]string{"token": "a-rare-token", "header": "a-rare-header"})
		sub := w.subscription("readable", func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.Authorization = &v1alpha1.Authorization{Bearer: &v1alpha1.BearerAuthorization{
				SecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "token"},
			}}
			sub.Spec.Headers = []v1alpha1.Header{{
				Name: "X-Key", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "credentials", Key: "header"},
			}}
		})
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.clock.Advance(time.Minute)
		Expect(w.account.Edit(remote.ID, func(s *hooklinetest.Subscription) {
			s.Authorization.Token = "somebody-elses-token"
			s.Headers[0].Value, s.Headers[0].Sensitive = "somebody-elses-header", false
		})).To(Succeed())
		w.clock.Advance(pastInterval)
		Eventually(func() string { return w.account.Subscriptions()[0].Authorization.Token }).Should(Equal("a-rare-token"))
		Expect(w.account.Subscriptions()[0].Headers[0].Value).To(Equal("a-rare-header"))
		Expect(w.requests(hooklinetest.OpUpdate)).To(HaveLen(1))
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventDriftCorrected))

		By("a rotation of them")
		w.texts = append(w.texts, "a-new-token")
		w.clock.Advance(time.Minute)
		change(ctx, w, credentials, func(s *corev1.Secret) { s.StringData = map[string]string{"token": "a-new-token"} })
		Eventually(func() string { return w.account.Subscriptions()[0].Authorization.Token }).Should(Equal("a-new-token"))
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventSecretRotated))
		Expect(w.requests(hooklinetest.OpUpdate)).To(HaveLen(2))
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})
})

// types are a catalogue of names.
func types(names ...string) []hooklinetest.EventType {
	out := make([]hooklinetest.EventType, 0, len(names))
	for _, name := range names {
		out = append(out, hooklinetest.EventType{Name: name})
	}

	return out
}
