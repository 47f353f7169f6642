package controllers_test

import (
	"context"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

// pastMoveRetry is more than the time after which a provider that is left is asked again.
const pastMoveRetry = 31 * time.Second

var _ = Describe("A move that the provider before holds up", func() {
	It("pushes nothing again, and tells nothing again", func(ctx context.Context) {
		w := newWorld(ctx)
		secret := w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		sub := w.subscription("held-up", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.clock.Advance(time.Minute)
		w.account.Script(hooklinetest.OpDelete, hooklinetest.Forever, hooklinetest.ServerError(http.StatusInternalServerError))
		change(ctx, w, sub, atCluster(shared))
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProgressing)
		w.refusesAgain(4)
		Expect(next.Requests(hooklinetest.OpCreate)).To(HaveLen(1))
		Expect(next.Requests(hooklinetest.OpUpdate)).To(BeEmpty())
		Expect(w.events(ctx, sub)).NotTo(ContainElements(v1alpha1.EventRecovered))
		Expect(w.events(ctx, sub)).NotTo(ContainElements(v1alpha1.EventSecretRotated))

		By("but a secret that is rotated meanwhile is pushed, once")
		w.rotate(ctx, secret)
		Eventually(func() []hooklinetest.Request { return next.Requests(hooklinetest.OpUpdate) }).Should(HaveLen(1))
		w.refusesAgain(2)
		Expect(next.Requests(hooklinetest.OpUpdate)).To(HaveLen(1))

		By("and it ends as any move does")
		w.account.Heal()
		w.clock.Advance(pastMoveRetry)
		moved := w.syncedAt(ctx, sub, next)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		Expect(next.Secrets(moved.ID)).To(Equal([]string{givenSecret, otherSecret}))
		Expect(sub.Status.Secret.Digest).NotTo(BeEmpty())
		Expect(next.Requests(hooklinetest.OpUpdate)).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("tells the provider that refused the credentials, and not the other", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		sub := w.subscription("refused", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.clock.Advance(time.Minute)
		w.account.Script(hooklinetest.OpDelete, 1, hooklinetest.Unauthorized())
		change(ctx, w, sub, atCluster(shared))
		provider := w.webhookProvider(providerName)
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonCredentialsRejected)
		w.annotate(ctx, provider, v1alpha1.AnnotationReconcileRequested, "now")
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		Eventually(func() []hooklinetest.Subscription {
			w.clock.Advance(time.Second)

			return w.account.Subscriptions()
		}).Should(BeEmpty())
		w.syncedAt(ctx, sub, next)
		w.rests(sub, hooklinetest.Current)
	})
})

var _ = Describe("A move", func() {
	It("leaves at the provider before what another resource stands for too", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		next, shared := w.nextProvider(ctx)
		holder := w.subscription("holder", given)
		w.create(ctx, holder)
		remote := w.synced(ctx, holder)
		sub := w.subscription("confused", given)
		w.create(ctx, sub)
		own := w.synced(ctx, sub)
		Expect(w.account.Remove(own.ID)).To(Succeed())

		By("a status that names it too, as that of a copied resource may")
		before := sub.DeepCopy()
		sub.Status.SubscriptionID, sub.Status.Subscriptions[0].ID = remote.ID, remote.ID
		Expect(w.client.Status().Patch(ctx, sub, client.MergeFrom(before))).To(Succeed())
		w.clock.Advance(time.Minute)
		change(ctx, w, sub, atCluster(shared))
		w.syncedAt(ctx, sub, next)
		Expect(w.requests(hooklinetest.OpDelete)).To(BeEmpty())
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
		w.rests(holder, hooklinetest.Current)
	})
})

// refusesAgain puts the clock forward until the provider that is left was asked to delete that many times more.
func (w *world) refusesAgain(times int) {
	GinkgoHelper()
	for range times {
		asked := len(w.requests(hooklinetest.OpDelete))
		w.clock.Advance(pastMoveRetry)
		Eventually(func() int { return len(w.requests(hooklinetest.OpDelete)) }).Should(BeNumerically(">", asked))
	}
}
