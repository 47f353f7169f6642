package controllers_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
)

// pastProbe is longer than a provider whose credentials are refused is left alone.
const pastProbe = 20 * time.Minute

var _ = Describe("Providers", func() {
	It("says that it works, and what it can do", func(ctx context.Context) {
		w := newWorld(ctx)
		provider := w.becomesReady(ctx, providerName)
		Expect(provider.Status.Type).To(Equal(v1alpha1.ProviderTypeDispatcher))
		Expect(provider.Status.Account.ID).To(Equal(w.ns), "the tenant is the namespace")
		Expect(provider.Status.Account.URL).To(BeEmpty())
		Expect(provider.Status.Capabilities).NotTo(BeEmpty())
		Expect(slices.IsSorted(provider.Status.Capabilities)).To(BeTrue())
		cluster := w.clusterProvider("shared")
		w.create(ctx, cluster)
		w.becomes(ctx, cluster, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		Expect(cluster.Status.Account.ID).To(Equal(w.ns + "-shared"))
		w.rests(provider, hooklinetest.Current)
		w.rests(cluster, hooklinetest.Current)
		w.state(provider, "ready")
		w.state(cluster, "ready")
	})

	It("tells why a vendor cannot be used, and heals", func(ctx context.Context) {
		w := newWorld(ctx)
		w.secret(ctx, "vendor", map[string]string{"token": "a-rare-vendor-token", "client_id": "a-rare-client", "client_secret": "a-rare-client-secret"})
		token := v1alpha1.SecretKeyReference{Name: "vendor", Key: "token"}
		var healed atomic.Bool
		vendors := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			answerAsVendor(out, r, healed.Load())
		}))
		DeferCleanup(vendors.Close)

		vonageVendor := w.webhookProvider("vonage")
		vonageVendor.Spec = v1alpha1.WebhookProviderSpec{Vonage: &v1alpha1.VonageProvider{
			VonageAccount: v1alpha1.VonageAccount{
				URL: v1alpha1.ProviderURL(vendors.URL), TokenURL: v1alpha1.ProviderURL(vendors.URL + vonage.PathToken),
			},
			ClientCredentials: &v1alpha1.ClientCredentials{SecretRef: v1alpha1.SecretReference{Name: "vendor"}},
		}}
		dixaVendor := w.webhookProvider("dixa")
		dixaVendor.Spec = v1alpha1.WebhookProviderSpec{Dixa: &v1alpha1.DixaProvider{
			URL: v1alpha1.ProviderURL(vendors.URL), TokenSecretRef: token,
		}}
		birdVendor := w.clusterProvider("bird")
		birdVendor.Spec = v1alpha1.ClusterWebhookProviderSpec{Bird: &v1alpha1.ClusterBirdProvider{
			BirdAccount: v1alpha1.BirdAccount{
				URL: v1alpha1.ProviderURL(vendors.URL), WorkspaceID: "9b3f5a0c-6f1d-4c0e-9a57-0f3f2c1d4e5a",
			},
			AccessKeySecretRef: v1alpha1.ClusterSecretKeyReference{Namespace: w.ns, Name: "vendor", Key: "token"},
		}}
		w.create(ctx, vonageVendor)
		w.create(ctx, dixaVendor)
		w.create(ctx, birdVendor)

		condition := w.becomes(ctx, vonageVendor, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonCredentialsRejected)
		Expect(condition.Message).To(ContainSubstring("invalid_client: No such client"), "the vendor's own words")
		condition = w.becomes(ctx, dixaVendor, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRetrying)
		Expect(condition.Message).To(ContainSubstring("502"))
		condition = w.becomes(ctx, birdVendor, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonUnexpectedAnswer)
		Expect(condition.Message).To(And(ContainSubstring("expected"), ContainSubstring("is the URL right?")))

		healed.Store(true)
		w.annotate(ctx, vonageVendor, v1alpha1.AnnotationReconcileRequested, "now")
		for _, vendor := range []client.Object{vonageVendor, dixaVendor, birdVendor} {
			Eventually(func() string {
				w.clock.Advance(time.Minute)

				return reasonOfReady(refresh(ctx, w, vendor))
			}).Should(Equal(v1alpha1.ReasonAvailable))
			w.rests(vendor, hooklinetest.Current)
		}
		Expect(vonageVendor.Status.Account).To(Equal(&v1alpha1.ProviderAccount{URL: vendors.URL}), "nothing of a Secret")
		Expect(dixaVendor.Status.Account.URL).To(Equal(vendors.URL + "/v1"))
		Expect(birdVendor.Status.Account.ID).To(Equal("9b3f5a0c-6f1d-4c0e-9a57-0f3f2c1d4e5a"))
		Expect(vonageVendor.Status.Capabilities).To(ContainElement("namesUnique"))
		Expect(dixaVendor.Status.Capabilities).To(ContainElements("deliveryStatuses", "vendorOptions.dixa"))
		Expect(birdVendor.Status.Capabilities).To(ContainElements("catalogue", "vendorOptions.bird"))
	})

	It("tells an unreachable vendor from a spec that cannot be used", func(ctx context.Context) {
		w := newWorld(ctx)
		w.secret(ctx, "vendor", map[string]string{"token": "a-rare-vendor-token"})
		dixaVendor := w.webhookProvider("dixa")
		dixaVendor.Spec = v1alpha1.WebhookProviderSpec{Dixa: &v1alpha1.DixaProvider{
			URL: "http://127.0.0.1:1", TokenSecretRef: v1alpha1.SecretKeyReference{Name: "vendor", Key: "token"},
		}}
		birdVendor := w.clusterProvider("bird")
		birdVendor.Spec = v1alpha1.ClusterWebhookProviderSpec{Bird: &v1alpha1.ClusterBirdProvider{
			BirdAccount:        v1alpha1.BirdAccount{WorkspaceID: "9b3f5a0c-6f1d-4c0e-9a57-0f3f2c1d4e5a"},
			AccessKeySecretRef: v1alpha1.ClusterSecretKeyReference{Namespace: w.ns, Name: "vendor", Key: "token"},
		}}
		birdVendor.Spec.CABundle = "-----BEGIN CERTIFICATE-----\nMIIBdzCC"
		w.create(ctx, dixaVendor)
		w.create(ctx, birdVendor)
		condition := w.becomes(ctx, dixaVendor, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonUnreachable)
		Expect(condition.Message).To(Equal("Trying again: the provider could not be reached: connection refused"))
		condition = w.becomes(ctx, birdVendor, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonInvalidSpec)
		Expect(condition.Message).To(ContainSubstring("spec.caBundle"))
		sub := w.subscription("vendor", func(sub *v1alpha1.WebhookSubscription) { sub.Spec.ProviderRef.Name = "dixa" })
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProviderNotReady)
		w.state(dixaVendor, "unreachable")
		w.state(birdVendor, "invalid-spec")
		w.rests(dixaVendor, hooklinetest.InProgress)
		w.rests(birdVendor, hooklinetest.Failed)
		w.rests(sub, hooklinetest.InProgress)
	})

	It("waits for a provider that does not exist", func(ctx context.Context) {
		w := newWorld(ctx, withoutProvider())
		w.signingSecret(ctx)
		sub := w.subscription("early", given)
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProviderNotFound)
		Expect(condition.Message).To(ContainSubstring(providerName))
		w.state(sub, "provider-not-found")
		w.create(ctx, w.webhookProvider(providerName))
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("holds refused credentials once, for all its subscriptions, and heals", func(ctx context.Context) {
		w := newWorld(ctx, withoutProvider())
		w.signingSecret(ctx)
		w.account.Script(hooklinetest.OpAny, hooklinetest.Forever, hooklinetest.Unauthorized())
		provider := w.webhookProvider(providerName)
		w.create(ctx, provider)
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonCredentialsRejected)
		var subs []*v1alpha1.WebhookSubscription
		for _, name := range []string{"one", "two", "three"} {
			sub := w.subscription(name, given)
			w.create(ctx, sub)
			w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProviderNotReady)
			subs = append(subs, sub)
		}
		w.state(provider, "credentials-rejected")
		w.state(subs[0], "provider-not-ready")
		before := w.account.RequestCount()
		Consistently(w.account.RequestCount).WithTimeout(3*time.Second).Should(Equal(before), "nobody hammers a provider that refused")
		w.account.Heal()
		w.clock.Advance(pastProbe)
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		for _, sub := range subs {
			w.synced(ctx, sub)
			w.rests(sub, hooklinetest.Current)
		}
		w.rests(provider, hooklinetest.Current)
	})

	It("turns not ready when credentials that worked are refused, and is probed slowly", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("revoked", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		cluster := w.clusterProvider("revoked")
		w.provider.Account(w.ns+"-revoked").Script(hooklinetest.OpAny, hooklinetest.Forever, hooklinetest.Forbidden())
		w.create(ctx, cluster)
		w.becomes(ctx, cluster, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonCredentialsRejected)
		w.state(cluster, "credentials-rejected")

		w.account.Script(hooklinetest.OpAny, hooklinetest.Forever, hooklinetest.Forbidden())
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = "https://moved.example.com/" })
		provider := &v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: providerName}}
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonCredentialsRejected)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProviderNotReady)
		Expect(sub.Status.SubscriptionID).To(Equal(remote.ID), "what is known is kept")

		w.account.Heal()
		w.provider.Account(w.ns + "-revoked").Heal()
		w.annotate(ctx, provider, v1alpha1.AnnotationReconcileRequested, "now")
		w.annotate(ctx, cluster, v1alpha1.AnnotationReconcileRequested, "now")
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		w.becomes(ctx, cluster, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		Expect(provider.Status.LastHandledReconcileAt).To(Equal("now"))
		Expect(w.synced(ctx, sub).URL).To(Equal("https://moved.example.com/"))
		w.rests(sub, hooklinetest.Current)
		w.rests(provider, hooklinetest.Current)
		w.rests(cluster, hooklinetest.Current)
	})

	It("tries again while the provider is down, with one message whatever the provider says", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpAny, hooklinetest.Forever, hooklinetest.ServerError(503))
		sub := w.subscription("down", given)
		w.create(ctx, sub)
		first := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRetrying)
		w.becomes(ctx, sub, v1alpha1.ConditionReconciling, "True "+v1alpha1.ReasonRetrying)
		w.state(sub, "retrying")
		triedAgain := func() {
			GinkgoHelper()
			asked := w.account.RequestCount()
			Eventually(func() int {
				w.clock.Advance(time.Minute)

				return w.account.RequestCount()
			}).Should(BeNumerically(">", asked+2), "it is tried again")
		}
		triedAgain() // The create first, and then the list that tells what became of it: each says what failed.
		before := refresh(ctx, w, sub).DeepCopy()
		triedAgain()
		Expect(cmp.Diff(before.Status, refresh(ctx, w, sub).Status)).To(BeEmpty())
		Expect(sub.ResourceVersion).To(Equal(before.ResourceVersion), "nothing is written that says nothing new")
		Expect(first.Message).To(ContainSubstring("503"))
		Expect(w.account.Subscriptions()).To(BeEmpty())
		w.account.Heal()
		Eventually(func() bool {
			w.clock.Advance(time.Minute)

			return len(w.account.Subscriptions()) == 1
		}).Should(BeTrue())
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("keeps what is Ready while the provider is down, and keeps trying", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("outage", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.account.Script(hooklinetest.OpAny, hooklinetest.Forever, hooklinetest.Unreachable())
		provider := w.becomesReady(ctx, providerName)
		w.clock.Advance(pastInterval)
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonUnreachable)
		w.account.Heal()
		Expect(w.account.Edit(remote.ID, func(s *hooklinetest.Subscription) { s.URL = "https://evil.example.com" })).To(Succeed())
		Eventually(func() string {
			w.clock.Advance(time.Minute)

			return w.account.Subscriptions()[0].URL
		}).Should(Equal(sub.Spec.URL))
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		w.synced(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
		w.rests(provider, hooklinetest.Current)
	})

	It("waits for a provider that is slow, and makes one subscription", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpAny, 5, hooklinetest.Slow(2*time.Second))
		sub := w.subscription("slow", given)
		w.create(ctx, sub)
		Eventually(func() int {
			w.clock.Advance(time.Second)

			return len(w.account.Subscriptions())
		}).Should(Equal(1))
		w.account.Heal()
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("gives up a request that is not answered, and makes one subscription", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Timeout())
		sub := w.subscription("silent", given)
		w.create(ctx, sub)
		Eventually(func() int { return len(w.requests(hooklinetest.OpCreate)) }).Should(Equal(1))
		Eventually(func() int {
			w.clock.Advance(time.Second)

			return len(w.account.Subscriptions())
		}).WithTimeout(2 * patience).Should(Equal(1))
		w.synced(ctx, sub)
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(2))
		w.rests(sub, hooklinetest.Current)
	})

	It("asks again after a reply that cannot be read", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpList, 1, hooklinetest.Malformed())
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Malformed())
		sub := w.subscription("garbled", given)
		w.create(ctx, sub)
		Eventually(func() int {
			w.clock.Advance(time.Second)

			return len(w.account.Subscriptions())
		}).Should(Equal(1))
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("waits as long as the provider asks", func(ctx context.Context) {
		const retryAfter = 10 * time.Minute
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.RateLimited(retryAfter))
		sub := w.subscription("limited", given)
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRateLimited)
		w.becomes(ctx, sub, v1alpha1.ConditionReconciling, "True "+v1alpha1.ReasonRateLimited)
		w.state(sub, "rate-limited")
		asked := w.account.RequestCount()
		w.clock.Advance(retryAfter - time.Minute)
		Consistently(w.account.RequestCount).WithTimeout(2*time.Second).Should(Equal(asked), "not before")
		w.clock.Advance(2 * time.Minute)
		w.synced(ctx, sub)
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(2))
		w.rests(sub, hooklinetest.Current)
	})

	It("waits a while by itself when the provider does not say how long", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.RateLimited(0))
		sub := w.subscription("limited", given)
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRateLimited)
		w.clock.Advance(time.Minute)
		w.synced(ctx, sub)
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(2))
		w.rests(sub, hooklinetest.Current)
	})

	It("needs a default where none is named, and exactly one", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("anywhere", given, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.ProviderRef = nil })
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonNoDefaultProvider)
		w.state(sub, "no-default-provider")

		By("two")
		first, second := w.webhookProvider("first"), w.webhookProvider("second")
		first.Spec.Default, second.Spec.Default = new(true), new(true)
		w.create(ctx, second)
		w.env.Stop()
		w.create(ctx, first)
		other := w.subscription("undecided", given, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.ProviderRef = nil })
		w.create(ctx, other)
		w.env.Restart()
		condition := w.becomes(ctx, other, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonAmbiguousDefaultProvider)
		Expect(condition.Message).To(And(ContainSubstring("first"), ContainSubstring("second")))

		By("one")
		change(ctx, w, first, func(p *v1alpha1.WebhookProvider) { p.Spec.Default = nil })
		w.synced(ctx, other)
		w.synced(ctx, sub)
		Expect(sub.Status.Provider.Name).To(Equal("second"))
		w.rests(sub, hooklinetest.Current)
		w.rests(other, hooklinetest.Current)
	})

	It("prefers the namespace's default to the cluster's", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		cluster := w.clusterProvider("default")
		cluster.Spec.Default = new(true)
		w.create(ctx, cluster)
		sub := w.subscription("cluster", given, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.ProviderRef = nil })
		w.create(ctx, sub)
		w.syncedAt(ctx, sub, w.provider.Account(w.ns+"-default"))
		Expect(sub.Status.Provider.Kind).To(Equal(v1alpha1.ProviderKindCluster))

		provider := w.becomesReady(ctx, providerName)
		change(ctx, w, provider, func(p *v1alpha1.WebhookProvider) { p.Spec.Default = new(true) })
		later := w.subscription("namespace", given, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.ProviderRef = nil })
		w.create(ctx, later)
		w.synced(ctx, later)
		Expect(later.Status.Provider.Kind).To(Equal(v1alpha1.ProviderKindNamespaced))
		w.rests(later, hooklinetest.Current)
	})

	It("serves the namespaces it allows and no other", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		cluster := w.clusterProvider("closed")
		cluster.Spec.AllowedNamespaces = nil
		w.create(ctx, cluster)
		sub := w.subscription("outsider", given, atCluster(cluster))
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonNamespaceNotAllowed)
		Expect(condition.Message).To(ContainSubstring("allowedNamespaces"))
		Expect(w.provider.Account(w.ns + "-closed").Subscriptions()).To(BeEmpty())
		w.state(sub, "namespace-not-allowed")

		change(ctx, w, cluster, func(p *v1alpha1.ClusterWebhookProvider) {
			p.Spec.AllowedNamespaces = &v1alpha1.NamespaceSelection{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.ns}},
			}
		})
		w.syncedAt(ctx, sub, w.provider.Account(w.ns+"-closed"))
		w.rests(sub, hooklinetest.Current)
	})

	It("stays while a subscription uses it", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("user", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		provider := w.becomesReady(ctx, providerName)
		Eventually(func() []string { return refresh(ctx, w, provider).Finalizers }).Should(ContainElement(v1alpha1.FinalizerProviderInUse))
		Expect(w.client.Delete(ctx, provider)).To(Succeed())
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonInUse)
		w.state(provider, "deleting")
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		w.gone(ctx, provider)
		Expect(w.account.Subscriptions()).To(BeEmpty(), "the credentials stayed long enough")
		unused := w.webhookProvider("unused")
		w.create(ctx, unused)
		w.becomesReady(ctx, "unused")
		w.rests(unused, hooklinetest.Current)
	})

	It("lets an unused provider go", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		unused := w.webhookProvider("unused")
		w.create(ctx, unused)
		w.becomesReady(ctx, "unused")
		Expect(w.client.Delete(ctx, unused)).To(Succeed())
		w.gone(ctx, unused)
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("moves a subscription to another provider: first made there, then deleted here", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("moving", given, named("moving-house"))
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		cluster := w.clusterProvider("next")
		w.create(ctx, cluster)
		w.becomes(ctx, cluster, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		next := w.provider.Account(w.ns + "-next")
		next.Script(hooklinetest.OpCreate, 2, hooklinetest.ServerError(502))
		change(ctx, w, sub, atCluster(cluster))
		Eventually(func() int { return len(next.Requests(hooklinetest.OpCreate)) }).ShouldNot(BeZero())
		Expect(w.account.Subscriptions()).To(HaveLen(1), "the old one stays until there is a new one")
		Eventually(func() int {
			w.clock.Advance(time.Second)

			return len(next.Subscriptions())
		}).Should(Equal(1))
		Eventually(w.account.Subscriptions).Should(BeEmpty())
		moved := w.syncedAt(ctx, sub, next)
		Expect(moved.ID).NotTo(Equal(remote.ID))
		Expect(next.Secrets(moved.ID)).To(Equal([]string{givenSecret}))
		Expect(sub.Status.Provider.Name).To(Equal(cluster.Name))
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventProviderChanged))
		provider := &v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: providerName}}
		Expect(w.client.Delete(ctx, provider)).To(Succeed())
		w.gone(ctx, provider) // nothing uses it any more
		w.rests(sub, hooklinetest.Current)
	})

	It("pauses", func(ctx context.Context) {
		w := newWorld(ctx)
		provider := w.becomesReady(ctx, providerName)
		w.annotate(ctx, provider, v1alpha1.AnnotationPaused, v1alpha1.PausedValue)
		w.becomes(ctx, provider, v1alpha1.ConditionPaused, "True "+v1alpha1.ReasonPaused)
		asked := w.account.RequestCount()
		w.clock.Advance(pastInterval)
		Consistently(w.account.RequestCount).WithTimeout(2 * time.Second).Should(Equal(asked))
		w.rests(provider, hooklinetest.Current)
	})
})

func reasonOfReady(object client.Object) string {
	if ready := meta.FindStatusCondition(conditionsOf(object), v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}

	return ""
}

// answerAsVendor answers every request as one vendor or another may: first each in a way of its own that makes it
// useless, and then, once healed, with an empty list.
func answerAsVendor(out http.ResponseWriter, r *http.Request, healed bool) {
	out.Header().Set("Content-Type", "application/json")
	status, body := http.StatusOK, ""
	switch {
	case r.URL.Path == vonage.PathToken && healed:
		body = `{"access_token":"an-access-token","expires_in":7200,"token_type":"Bearer"}`
	case r.URL.Path == vonage.PathToken:
		status, body = http.StatusBadRequest, `{"error":"invalid_client","error_description":"No such client"}`
	case strings.HasPrefix(r.URL.Path, "/v1/webhooks") && !healed:
		status = http.StatusBadGateway
	case strings.HasPrefix(r.URL.Path, "/workspaces/") && !healed:
		body = "<html>Welcome</html>"
	default:
		body = `{"subscriptions":[],"data":[],"results":[]}`
	}
	out.WriteHeader(status)
	_, _ = out.Write([]byte(body)) // What the connection makes of it is the client's business.
}

// atCluster names a cluster provider.
func atCluster(provider *v1alpha1.ClusterWebhookProvider) func(*v1alpha1.WebhookSubscription) {
	return func(sub *v1alpha1.WebhookSubscription) {
		sub.Spec.ProviderRef = &v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindCluster, Name: provider.Name}
	}
}
