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

var _ = Describe("Deletion", func() {
	It("deletes the subscription at the provider", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("deleted", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		Expect(w.requests(hooklinetest.OpDelete)).To(HaveLen(1))
		Expect(w.requests(hooklinetest.OpDelete)[0].ID).To(Equal(remote.ID))
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("is done when the subscription is gone already", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("deleted", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(w.account.Remove(remote.ID)).To(Succeed())
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("leaves it behind where the policy says so, with the Secret it is signed with", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription("orphan", func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
		})
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		text := w.generatedSecret(ctx, sub)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(w.account.Secrets(remote.ID)).To(Equal([]string{text}))
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "orphan-signing-secret"}}
		Expect(refresh(ctx, w, secret).OwnerReferences).To(BeEmpty(), "or it would be collected with its owner")
		Expect(string(secret.Data[v1alpha1.SecretKeySigning])).To(Equal(text))
		Expect(w.requests(hooklinetest.OpDelete)).To(BeEmpty())
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("deletes what a create without an answer may have left", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		w.account.Script(hooklinetest.OpList, hooklinetest.Forever, hooklinetest.ServerError(500))
		w.account.Script(hooklinetest.OpGet, hooklinetest.Forever, hooklinetest.ServerError(500))
		sub := w.subscription("half", given)
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRetrying)
		// The list before the create fails as well, so nothing may have been created; let only the create through.
		w.account.Heal()
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		Eventually(func() int {
			w.clock.Advance(time.Second)

			return len(w.requests(hooklinetest.OpCreate))
		}).Should(Equal(1))
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		Eventually(func() int {
			w.clock.Advance(time.Second)

			return len(w.account.Subscriptions())
		}).Should(BeZero())
		w.gone(ctx, sub)
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("says what to do while the provider does not let it, and goes on when it does", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("blocked", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.account.Script(hooklinetest.OpAny, hooklinetest.Forever, hooklinetest.Unreachable())
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonDeletionBlocked)
		Expect(condition.Message).To(ContainSubstring("Orphan"), "what would let it go: %s", condition.Message)
		Expect(hooklinetest.CheckStatus(sub, hooklinetest.Terminating)).To(Succeed())
		w.state(sub, "deleting")
		w.account.Heal()
		Eventually(func() int {
			w.clock.Advance(time.Minute)

			return len(w.account.Subscriptions())
		}).Should(BeZero())
		w.gone(ctx, sub)
		w.rests(&v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: providerName}}, hooklinetest.Current)
	})

	It("follows a change of mind: Orphan lets a blocked deletion go", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("blocked", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.account.Script(hooklinetest.OpDelete, hooklinetest.Forever, hooklinetest.Forbidden())
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonDeletionBlocked)
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.account.Heal()
		provider := &v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: providerName}}
		w.annotate(ctx, provider, v1alpha1.AnnotationReconcileRequested, "now")
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		w.rests(provider, hooklinetest.Current)
	})

	It("ends with the grace when the provider never lets it", func(ctx context.Context) {
		const grace = 30 * time.Minute
		w := newWorld(ctx, withStart(hooklinetest.DeletionGrace(grace)))
		w.signingSecret(ctx)
		sub := w.subscription("hopeless", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.account.Script(hooklinetest.OpDelete, hooklinetest.Forever, hooklinetest.ServerError(500))
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonDeletionBlocked)
		w.clock.Advance(grace - 5*time.Minute)
		Consistently(func() error { return w.client.Get(ctx, key(sub), sub) }).WithTimeout(time.Second).Should(Succeed())
		w.clock.Advance(10 * time.Minute)
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(1), "left behind")
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventOrphaned))
		w.account.Heal()
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("deletes with a secret that is gone, for the provider holds it", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.signingSecret(ctx)
		sub := w.subscription("secretless", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		Expect(w.client.Delete(ctx, secret)).To(Succeed())
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonSecretNotFound)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("deletes although the provider's spec has become unusable", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("stranded", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		provider := w.becomesReady(ctx, providerName)
		// The provider resource is taken away by force, its finalizer with it.
		w.env.Stop()
		Expect(w.client.Delete(ctx, provider)).To(Succeed())
		change(ctx, w, provider, func(p *v1alpha1.WebhookProvider) { p.Finalizers = nil })
		w.gone(ctx, provider)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.env.Restart()
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonDeletionBlocked)
		Expect(condition.Message).To(ContainSubstring(providerName))
		w.state(sub, "deleting-without-provider")
		w.create(ctx, w.webhookProvider(providerName))
		Eventually(func() int {
			w.clock.Advance(time.Minute)

			return len(w.account.Subscriptions())
		}).Should(BeZero())
		w.gone(ctx, sub)
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("asks nothing of the provider for what was never created", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription("never", given)
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonSecretNotFound)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		Expect(w.requests(hooklinetest.OpDelete)).To(BeEmpty())
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})
})
