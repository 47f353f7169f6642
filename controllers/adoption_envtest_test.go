package controllers_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/subscription"
)

var _ = Describe("Adoption", func() {
	It("takes over the subscription of an id, and makes it what the spec says", func(ctx context.Context) {
		w := newWorld(ctx, withoutProvider())
		w.signingSecret(ctx)
		w.allowAdoption(ctx)
		id := w.existing("theirs")
		sub := w.subscription("adopted", given, named("ours"), byID(id))
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(remote.ID).To(Equal(id))
		Expect(remote.Name).To(Equal("ours"))
		Expect(remote.URL).To(Equal(sub.Spec.URL))
		Expect(w.account.Secrets(id)[1:]).To(Equal([]string{givenSecret}))
		Expect(sub.Status.Adopted).To(BeTrue())
		Expect(w.requests(hooklinetest.OpCreate)).To(BeEmpty())
		Expect(w.requests(hooklinetest.OpUpdate)).To(HaveLen(1))
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventAdopted))

		By("what was adopted is left behind")
		other := w.subscription("stays", given)
		w.create(ctx, other)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		w.synced(ctx, other)
		_, found := w.account.Find("ours")
		Expect(found).To(BeTrue())
		w.rests(other, hooklinetest.Current)
	})

	It("does not take over without the provider's permission", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		id := w.existing("presence-feed")
		before := w.account.Subscriptions()
		byItsID := w.subscription("by-id", given, byID(id))
		byItsName := w.subscription("by-name", given, named("presence-feed"), ifNameMatches)
		w.create(ctx, byItsID)
		w.create(ctx, byItsName)
		for _, sub := range []*v1alpha1.WebhookSubscription{byItsID, byItsName} {
			condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonAdoptionNotAllowed)
			Expect(condition.Message).To(ContainSubstring("spec.adoption"))
			w.rests(sub, hooklinetest.Current)
		}
		w.state(byItsID, "adoption-not-allowed")
		Expect(w.account.Subscriptions()).To(Equal(before))
		Expect(w.requests(hooklinetest.OpUpdate, hooklinetest.OpCreate)).To(BeEmpty())

		By("permission heals the first; the second then finds it held")
		w.expected = nil
		provider := w.becomesReady(ctx, providerName)
		Expect(w.client.Delete(ctx, byItsName)).To(Succeed())
		w.gone(ctx, byItsName)
		change(ctx, w, provider, func(p *v1alpha1.WebhookProvider) {
			p.Spec.Adoption = &v1alpha1.NamespaceSelection{Names: []string{w.ns}}
		})
		Expect(w.synced(ctx, byItsID).ID).To(Equal(id))
		w.rests(byItsID, hooklinetest.Current)
	})

	It("takes over the subscription of its name where both allow it", func(ctx context.Context) {
		w := newWorld(ctx, withoutProvider())
		w.signingSecret(ctx)
		w.allowAdoption(ctx)
		id := w.existing("presence-feed")
		sub := w.subscription("by-name", given, named("presence-feed"), ifNameMatches)
		w.create(ctx, sub)
		Expect(w.synced(ctx, sub).ID).To(Equal(id))
		Expect(sub.Status.Adopted).To(BeTrue())
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
		w.state(sub, "adopted")
	})

	It("creates where there is none of its name", func(ctx context.Context) {
		w := newWorld(ctx, withoutProvider())
		w.signingSecret(ctx)
		w.allowAdoption(ctx)
		sub := w.subscription("none", given, named("presence-feed"), ifNameMatches)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		Expect(sub.Status.Adopted).To(BeFalse())
		w.rests(sub, hooklinetest.Current)
	})

	It("does not choose among several of its name", func(ctx context.Context) {
		w := newWorld(ctx, withoutProvider(), withCapabilities(func(c *hooklinetest.Capabilities) { c.NamesUnique = false }))
		w.signingSecret(ctx)
		w.allowAdoption(ctx)
		first, second := w.existing("presence-feed"), w.existing("presence-feed")
		sub := w.subscription("ambiguous", given, named("presence-feed"), ifNameMatches)
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonAmbiguousCreate)
		Expect(condition.Message).To(And(ContainSubstring(first), ContainSubstring(second)))
		Expect(w.requests(hooklinetest.OpUpdate, hooklinetest.OpCreate)).To(BeEmpty())

		By("until a human names the one")
		change(ctx, w, sub, byID(second))
		Expect(w.synced(ctx, sub).ID).To(Equal(second))
		w.rests(sub, hooklinetest.Current)
	})

	It("does not take what another resource holds", func(ctx context.Context) {
		w := newWorld(ctx, withoutProvider())
		w.signingSecret(ctx)
		w.allowAdoption(ctx)
		first := w.subscription("first", given, named("presence-feed"))
		w.create(ctx, first)
		remote := w.synced(ctx, first)
		byItsID := w.subscription("by-id", given, byID(remote.ID))
		byItsName := w.subscription("by-name", given, named("presence-feed"), ifNameMatches)
		w.create(ctx, byItsID)
		w.create(ctx, byItsName)
		for _, sub := range []*v1alpha1.WebhookSubscription{byItsID, byItsName} {
			condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonAlreadyManaged)
			Expect(condition.Message).To(ContainSubstring(w.ns + "/first"))
			w.rests(sub, hooklinetest.Failed)
		}
		w.state(byItsID, "already-managed")

		By("deleting those that hold nothing leaves it alone")
		Expect(w.client.Delete(ctx, byItsName)).To(Succeed())
		w.gone(ctx, byItsName)
		w.expected = nil
		Expect(w.synced(ctx, first).URL).To(Equal(first.Spec.URL))
		w.rests(byItsID, hooklinetest.Failed)
		w.rests(first, hooklinetest.Current)
	})

	It("says that there is none of that id", func(ctx context.Context) {
		w := newWorld(ctx, withoutProvider())
		w.signingSecret(ctx)
		w.allowAdoption(ctx)
		sub := w.subscription("nobody", given, byID("2V1lVz6FeKOuVLEpSU6M0aqkM9b"))
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonNotFoundAtProvider)
		Expect(w.requests(hooklinetest.OpCreate)).To(BeEmpty())
		w.rests(sub, hooklinetest.Failed)
	})

	It("observes and changes nothing", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		id := w.existing("presence-feed")
		theirs := w.account.Subscriptions()[0]
		sub := w.subscription("observed", named("presence-feed"), func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.ManagementPolicy = v1alpha1.ManagementPolicyObserveOnly
			sub.Spec.URL, sub.Spec.Events = theirs.URL, []string{"a.b"}
		})
		w.create(ctx, sub)
		Expect(w.synced(ctx, sub).ID).To(Equal(id))
		w.state(sub, "observed")

		By("a difference")
		Expect(w.account.Edit(id, func(s *hooklinetest.Subscription) { s.URL = "https://moved.example.com/" })).To(Succeed())
		w.clock.Advance(pastInterval)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonDrifted)
		Expect(condition.Message).To(ContainSubstring("spec.url"))
		Expect(w.account.Suspend(id, "Gone", "410")).To(Succeed())
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		for _, request := range w.account.Requests() {
			Expect(request.Writes()).To(BeFalse(), "%s", request.Op)
		}
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.rests(w.becomesReady(ctx, providerName), hooklinetest.Current)
	})

	It("says that there is none to observe", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription("nothing", named("presence-feed"), func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.ManagementPolicy = v1alpha1.ManagementPolicyObserveOnly
		})
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonNotFoundAtProvider)
		Consistently(w.account.Subscriptions).WithTimeout(time.Second).Should(BeEmpty())
		w.rests(sub, hooklinetest.Failed)
	})
})

// existing makes a subscription as somebody else did before Hookline came, and returns its id.
func (w *world) existing(name string) string {
	GinkgoHelper()
	id, err := w.account.Add(hooklinetest.Draft{
		Name: name, URL: "https://elsewhere.example.com/hooks", Events: []string{"a.b"}, Enabled: true,
		Authorization: hooklinetest.Authorization{Scheme: subscription.SchemeNone},
	})
	Expect(err).NotTo(HaveOccurred())

	return id
}

// allowAdoption makes the provider, with the permission to take over what exists.
func (w *world) allowAdoption(ctx context.Context) {
	GinkgoHelper()
	provider := w.webhookProvider(providerName)
	provider.Spec.Adoption = &v1alpha1.NamespaceSelection{Names: []string{w.ns}}
	w.create(ctx, provider)
}

func byID(id string) func(*v1alpha1.WebhookSubscription) {
	return func(sub *v1alpha1.WebhookSubscription) { sub.Spec.SubscriptionID = id }
}

func ifNameMatches(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.AdoptionPolicy = v1alpha1.AdoptionPolicyIfNameMatches
}
