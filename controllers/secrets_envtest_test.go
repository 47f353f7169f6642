package controllers_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

var _ = Describe("Secrets", func() {
	It("waits for a Secret that is named and missing, and never makes it", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription("waiting", given)
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonSecretNotFound)
		Expect(condition.Message).To(ContainSubstring("signing"))
		Expect(w.requests(hooklinetest.OpCreate)).To(BeEmpty())
		var secrets corev1.SecretList
		Expect(w.client.List(ctx, &secrets, client.InNamespace(w.ns))).To(Succeed())
		Expect(secrets.Items).To(BeEmpty())
		w.state(sub, "secret-not-found")
		w.signingSecret(ctx)
		remote := w.synced(ctx, sub)
		Expect(w.account.Secrets(remote.ID)).To(Equal([]string{givenSecret}))
		w.rests(sub, hooklinetest.Current)
	})

	It("says that a Secret lacks the key or holds too little, and goes on when it is mended", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.secret(ctx, "signing", map[string]string{"other": "a-value-under-another-key"})
		sub := w.subscription("mended", given)
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonSecretNotFound)
		Expect(condition.Message).To(ContainSubstring("key"))
		change(ctx, w, secret, func(s *corev1.Secret) { s.StringData = map[string]string{"key": "too-short"} })
		w.texts = append(w.texts, "too-short")
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonSecretInvalid)
		Expect(w.requests(hooklinetest.OpCreate)).To(BeEmpty())
		change(ctx, w, secret, func(s *corev1.Secret) { s.StringData = map[string]string{"key": givenSecret + "\n"} })
		remote := w.synced(ctx, sub)
		Expect(w.account.Secrets(remote.ID)).To(Equal([]string{givenSecret}), "less the newline")
		w.rests(sub, hooklinetest.Current)
	})

	It("pushes a given secret that changed, and nothing when a label did", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.signingSecret(ctx)
		sub := w.subscription("rotated", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		digest := sub.Status.Secret.Digest

		By("a label")
		w.account.ResetRequests()
		before := refresh(ctx, w, sub).ResourceVersion
		change(ctx, w, secret, func(s *corev1.Secret) { s.Labels = map[string]string{"edited": "yes"} })
		Consistently(func() []hooklinetest.Request {
			return w.requests(hooklinetest.OpUpdate, hooklinetest.OpCreate)
		}).WithTimeout(2 * time.Second).Should(BeEmpty())
		Expect(refresh(ctx, w, sub).ResourceVersion).To(Equal(before))

		By("the value")
		change(ctx, w, secret, func(s *corev1.Secret) { s.StringData = map[string]string{"key": otherSecret} })
		Eventually(func() []string { return w.account.Secrets(remote.ID) }).Should(Equal([]string{givenSecret, otherSecret}))
		Eventually(func() string { return refresh(ctx, w, sub).Status.Secret.Digest }).ShouldNot(Equal(digest))
		w.expectOneUpdate("the secret alone", hooklinetest.Patch{Secret: new(otherSecret)})
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventSecretRotated))
		w.synced(ctx, sub)

		By("an apply after that, as GitOps tools do")
		w.apply(ctx, w.subscription("rotated", given))
		version := refresh(ctx, w, sub).ResourceVersion
		w.apply(ctx, w.subscription("rotated", given))
		Expect(refresh(ctx, w, sub).ResourceVersion).To(Equal(version))
		w.rests(sub, hooklinetest.Current)
	})

	It("sees a rotation that happened while it was down", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.signingSecret(ctx)
		sub := w.subscription("down", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.env.Stop()
		change(ctx, w, secret, func(s *corev1.Secret) { s.StringData = map[string]string{"key": otherSecret} })
		w.env.Restart()
		Eventually(func() []string { return w.account.Secrets(remote.ID) }).Should(Equal([]string{givenSecret, otherSecret}))
		w.rests(sub, hooklinetest.Current)
	})

	It("rotates a generated secret when it is asked to, once", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription("generated")
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		first := w.generatedSecret(ctx, sub)
		w.annotate(ctx, sub, v1alpha1.AnnotationRotateRequested, "2026-01-01T00:00:00Z")
		Eventually(func() []string { return w.account.Secrets(remote.ID) }).Should(HaveLen(2))
		Eventually(func() string { return refresh(ctx, w, sub).Status.LastHandledRotateAt }).Should(Equal("2026-01-01T00:00:00Z"))
		second := w.generatedSecret(ctx, sub)
		Expect(second).NotTo(Equal(first))
		w.texts = append(w.texts, first)
		Expect(w.account.Secrets(remote.ID)).To(Equal([]string{first, second}))
		Consistently(func() []string { return w.account.Secrets(remote.ID) }).WithTimeout(time.Second).Should(HaveLen(2))
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("says that a given secret is not rotated by asking", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("asked", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.annotate(ctx, sub, v1alpha1.AnnotationRotateRequested, "now")
		Eventually(func() string { return refresh(ctx, w, sub).Status.LastHandledRotateAt }).Should(Equal("now"))
		Expect(w.account.Secrets(remote.ID)).To(Equal([]string{givenSecret}))
		w.rests(sub, hooklinetest.Current)
	})

	It("pushes credentials that changed", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		credentials := w.secret(ctx, "credentials", map[string]string{"token": "a-rare-token", "header": "a-rare-header"})
		sub := w.subscription("credentials", given, func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.Authorization = &v1alpha1.Authorization{Bearer: &v1alpha1.BearerAuthorization{
				SecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "token"},
			}}
			sub.Spec.Headers = []v1alpha1.Header{{
				Name: "X-Key", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "credentials", Key: "header"},
			}}
		})
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.account.ResetRequests()
		w.texts = append(w.texts, "a-new-token", "a-new-header")
		change(ctx, w, credentials, func(s *corev1.Secret) {
			s.StringData = map[string]string{"token": "a-new-token", "header": "a-new-header"}
		})
		Eventually(func() string { return w.account.Subscriptions()[0].Authorization.Token }).Should(Equal("a-new-token"))
		Expect(w.account.Subscriptions()[0].Headers[0].Value).To(Equal("a-new-header"))
		Expect(w.requests(hooklinetest.OpUpdate)).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("does not write a Secret of its name that is somebody else's", func(ctx context.Context) {
		w := newWorld(ctx)
		theirs := w.secret(ctx, "taken-signing-secret", map[string]string{"secret": "somebody-elses-signing-secret-of-enough-bytes"})
		sub := w.subscription("taken")
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonSecretInvalid)
		Expect(condition.Message).To(ContainSubstring("taken-signing-secret"))
		version := theirs.ResourceVersion
		Expect(refresh(ctx, w, theirs).ResourceVersion).To(Equal(version))
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.rests(sub, hooklinetest.Failed)
	})

	It("makes a generated secret again that somebody deleted", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription("lost")
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.texts = append(w.texts, w.generatedSecret(ctx, sub))
		Expect(w.client.Delete(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "lost-signing-secret"},
		})).To(Succeed())
		Eventually(func() []string { return w.account.Secrets(remote.ID) }).Should(HaveLen(2))
		Expect(w.generatedSecret(ctx, sub)).To(Equal(w.account.Secrets(remote.ID)[1]))
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})
})
