package controllers_test

import (
	"context"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

var _ = Describe("Hardships", func() {
	It("claims nothing of a stranger's although somebody changes the resource during the create", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		theirs, err := w.account.Add(hooklinetest.Draft{
			Name: "presence-feed", URL: "https://elsewhere.example.com", Events: []string{"a.b"}, Enabled: true,
		})
		Expect(err).NotTo(HaveOccurred())
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Slow(time.Minute))
		sub := w.subscription("crossed", given, named("presence-feed"))
		w.create(ctx, sub)
		Eventually(func() int { return len(w.requests(hooklinetest.OpCreate)) }).Should(Equal(1))
		w.annotate(ctx, sub, "example.com/note", "changed meanwhile")
		w.clock.Advance(time.Minute)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonNameConflict)
		Expect(sub.Status.SubscriptionID).NotTo(Equal(theirs))
		Expect(sub.Annotations).To(HaveKey("example.com/note"))
		Expect(sub.Annotations).NotTo(HaveKey(v1alpha1.AnnotationCreatePending))
		Expect(w.requests(hooklinetest.OpUpdate)).To(BeEmpty())
		w.rests(sub, hooklinetest.Failed)
	})

	It("says that the name of a rename is taken, and keeps the mark of what it has", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		_, err := w.account.Add(hooklinetest.Draft{
			Name: "taken-name", URL: "https://elsewhere.example.com", Events: []string{"a.b"}, Enabled: true,
		})
		Expect(err).NotTo(HaveOccurred())
		sub := w.subscription("renamed", given, named("first-name"))
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		mark := sub.Annotations[v1alpha1.AnnotationCreatePending]
		change(ctx, w, sub, named("taken-name"))
		condition := w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNameConflict)
		Expect(condition.Message).To(And(ContainSubstring(`"taken-name"`), ContainSubstring("spec.name"),
			ContainSubstring("The provider says: the name is in use")))
		Expect(sub.Status.SubscriptionID).To(Equal(remote.ID))
		Expect(sub.Annotations[v1alpha1.AnnotationCreatePending]).To(Equal(mark), "it would claim a stranger's")

		By("another name")
		change(ctx, w, sub, named("free-name"))
		Expect(w.synced(ctx, sub).Name).To(Equal("free-name"))
		Expect(sub.Status.SubscriptionID).To(Equal(remote.ID))
		Expect(sub.Annotations[v1alpha1.AnnotationCreatePending]).NotTo(Equal(mark), "it finds what there is by its new name")
		w.rests(sub, hooklinetest.Current)
	})

	It("tells of deliveries although the API server refused the first time", func(ctx context.Context) {
		w := newWorld(ctx, polling)
		w.signingSecret(ctx)
		sub := w.subscription("told", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "Unknown "+v1alpha1.ReasonNoRecentDelivery)
		written := len(w.objectWrites())
		w.env.Writes.Refuse(func(write hooklinetest.Write) bool { return strings.HasSuffix(write.Path, "told/status") })
		Expect(w.account.Deliver(remote.ID, hooklinetest.LogEntry{
			Event: "agent.presencechanged.v1", ResponseCode: http.StatusTeapot, ResponseText: "I'm a teapot",
		})).To(Succeed())
		Eventually(func() int {
			w.clock.Advance(pollInterval)

			return len(w.objectWrites())
		}).Should(BeNumerically(">", written), "the status was to be written")
		w.env.Writes.Refuse(nil)
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonFailing)
		w.rests(sub, hooklinetest.Current)
	})

	It("does not take what another resource holds through another provider of the account", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		holder := w.subscription("holder", given, named("presence-feed"))
		w.create(ctx, holder)
		remote := w.synced(ctx, holder)
		// The tenant of the namespace, by another provider.
		twin := w.webhookProvider("twin")
		twin.Spec.Adoption = &v1alpha1.NamespaceSelection{Names: []string{w.ns}}
		w.create(ctx, twin)
		w.becomesReady(ctx, "twin")
		sub := w.subscription("second", given, named("presence-feed"), func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.ProviderRef.Name = "twin"
			sub.Spec.SubscriptionID = remote.ID
		})
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonAlreadyManaged)
		Expect(condition.Message).To(ContainSubstring(w.ns + "/holder"))
		Expect(w.requests(hooklinetest.OpUpdate)).To(BeEmpty())
		w.rests(sub, hooklinetest.Failed)
		w.rests(holder, hooklinetest.Current)
	})

	It("does not believe a delete alone that says that nothing is there", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("doubted", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		w.account.Script(hooklinetest.OpDelete, 1, hooklinetest.Missing())
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		Eventually(func() int {
			w.clock.Advance(time.Second)

			return len(w.account.Subscriptions())
		}).Should(BeZero())
		w.gone(ctx, sub)
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("lets a provider go whose last subscription had not come to anything", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		provider := w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, hooklinetest.Forever, hooklinetest.ServerError(http.StatusInternalServerError))
		sub := w.subscription("never", given)
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRetrying)
		Expect(w.client.Delete(ctx, provider)).To(Succeed())
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonInUse)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		// Long before the provider would be looked at for its own sake.
		w.clock.Advance(2 * time.Minute)
		w.gone(ctx, provider)
		other := w.webhookProvider("other")
		w.create(ctx, other)
		w.rests(w.becomesReady(ctx, "other"), hooklinetest.Current)
	})

	It("deletes at the account where it created, though another stands under the provider's name", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		first := w.clusterProvider("shared")
		w.create(ctx, first)
		w.becomes(ctx, first, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		tenant := w.provider.Account(string(first.Spec.Dispatcher.Tenant))
		sub := w.subscription("faithful", given, func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.ProviderRef = &v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindCluster, Name: first.Name}
		})
		w.create(ctx, sub)
		w.syncedAt(ctx, sub, tenant)
		w.annotate(ctx, sub, v1alpha1.AnnotationPaused, v1alpha1.PausedValue)
		w.becomes(ctx, sub, v1alpha1.ConditionPaused, "True "+v1alpha1.ReasonPaused)
		// Taken away by force, and made again for another tenant.
		Expect(w.client.Delete(ctx, first)).To(Succeed())
		change(ctx, w, first, func(p *v1alpha1.ClusterWebhookProvider) { p.Finalizers = nil })
		w.gone(ctx, first)
		second := w.clusterProvider("shared")
		second.Spec.Dispatcher.Tenant += "-2"
		w.create(ctx, second)
		w.becomes(ctx, second, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.annotate(ctx, sub, v1alpha1.AnnotationPaused, "")
		w.gone(ctx, sub)
		Expect(tenant.Subscriptions()).To(BeEmpty())
		w.rests(&v1alpha1.ClusterWebhookProvider{ObjectMeta: metav1.ObjectMeta{Name: second.Name}}, hooklinetest.Current)
	})

	It("deletes on both sides of a move that was under way", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		shared := w.clusterProvider("shared")
		w.create(ctx, shared)
		w.becomes(ctx, shared, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		old := w.provider.Account(string(shared.Spec.Dispatcher.Tenant))
		sub := w.subscription("moving", given, func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.ProviderRef = &v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindCluster, Name: shared.Name}
		})
		w.create(ctx, sub)
		w.syncedAt(ctx, sub, old)
		old.Script(hooklinetest.OpDelete, hooklinetest.Forever, hooklinetest.ServerError(http.StatusInternalServerError))
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.ProviderRef = &v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindNamespaced, Name: providerName}
		})
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProgressing)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(old.Subscriptions()).To(HaveLen(1))
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		old.Heal()
		Eventually(func() int {
			w.clock.Advance(time.Minute)

			return len(old.Subscriptions())
		}).Should(BeZero())
		w.gone(ctx, sub)
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})
})
