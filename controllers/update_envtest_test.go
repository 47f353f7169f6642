package controllers_test

import (
	"context"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// updates are changes of one field each, and the patch that alone may come of each. They build on each other.
var updates = []struct {
	reason string
	change func(*v1alpha1.WebhookSubscriptionSpec)
	want   hooklinetest.Patch
}{
	{
		reason: "name",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Name = "renamed" },
		want:   hooklinetest.Patch{Name: new("renamed")},
	},
	{
		reason: "url",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.URL = "https://moved.example.com/hooks?a=b" },
		want:   hooklinetest.Patch{URL: new("https://moved.example.com/hooks?a=b")},
	},
	{
		reason: "events",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Events = []string{"a.b", "channel.*"} },
		want:   hooklinetest.Patch{Events: &[]string{"a.b", "channel.*"}},
	},
	{
		reason: "enabled",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Enabled = new(false) },
		want:   hooklinetest.Patch{Enabled: new(false)},
	},
	{
		reason: "enabled, omitted again",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Enabled = nil },
		want:   hooklinetest.Patch{Enabled: new(true)},
	},
	{
		reason: "authorization.bearer",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.Authorization = &v1alpha1.Authorization{Bearer: &v1alpha1.BearerAuthorization{
				SecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "token"},
			}}
		},
		want: hooklinetest.Patch{Authorization: &hooklinetest.Authorization{
			Scheme: subscription.SchemeBearer, Token: "a-rare-token",
		}},
	},
	{
		reason: "authorization, omitted again",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Authorization = nil },
		want:   hooklinetest.Patch{Authorization: &hooklinetest.Authorization{Scheme: subscription.SchemeNone}},
	},
	{
		reason: "headers",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.Headers = []v1alpha1.Header{{Name: "X-Team", Value: "support"}}
		},
		want: hooklinetest.Patch{Headers: &[]hooklinetest.Header{{Name: "X-Team", Value: "support"}}},
	},
	{
		reason: "headers, from a Secret",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.Headers = []v1alpha1.Header{{
				Name: "X-Team", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "credentials", Key: "header"},
			}}
		},
		want: hooklinetest.Patch{Headers: &[]hooklinetest.Header{
			{Name: "X-Team", Value: "a-rare-header", Sensitive: true},
		}},
	},
	{
		reason: "delivery.format",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.Delivery = &v1alpha1.Delivery{Format: v1alpha1.DeliveryFormatCloudEvents}
		},
		want: hooklinetest.Patch{Delivery: &hooklinetest.Delivery{Format: subscription.FormatCloudEvents}},
	},
	{
		reason: "delivery.timeout",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Delivery = &v1alpha1.Delivery{Timeout: "9s"} },
		want:   hooklinetest.Patch{Delivery: &hooklinetest.Delivery{Timeout: 9 * time.Second}},
	},
	{
		reason: "delivery.maxAttempts",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Delivery = &v1alpha1.Delivery{MaxAttempts: new(int32(3))} },
		want:   hooklinetest.Patch{Delivery: &hooklinetest.Delivery{MaxAttempts: 3}},
	},
	{
		reason: "delivery.maxInFlight",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Delivery = &v1alpha1.Delivery{MaxInFlight: new(int32(5))} },
		want:   hooklinetest.Patch{Delivery: &hooklinetest.Delivery{MaxInFlight: 5}},
	},
	{
		reason: "delivery.rateLimit",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Delivery = &v1alpha1.Delivery{RateLimit: new(int32(6))} },
		want:   hooklinetest.Patch{Delivery: &hooklinetest.Delivery{RateLimit: 6}},
	},
	{
		reason: "delivery.ordering",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.Delivery = &v1alpha1.Delivery{Ordering: v1alpha1.DeliveryOrderingByKey}
		},
		want: hooklinetest.Patch{Delivery: &hooklinetest.Delivery{Ordering: subscription.OrderingByKey}},
	},
	{
		reason: "delivery, omitted again",
		change: func(s *v1alpha1.WebhookSubscriptionSpec) { s.Delivery = nil },
		want:   hooklinetest.Patch{Delivery: &hooklinetest.Delivery{}},
	},
}

// drifts are changes that somebody makes at the provider, one field each, and the patch that mends each. The
// resource is that of the case below.
var drifts = []struct {
	reason string
	edit   func(*hooklinetest.Subscription)
	want   hooklinetest.Patch
}{
	{"name", func(s *hooklinetest.Subscription) { s.Name = "mine-now" }, hooklinetest.Patch{Name: new("drifting")}},
	{
		"url", func(s *hooklinetest.Subscription) { s.URL = "https://evil.example.com" },
		hooklinetest.Patch{URL: new("https://receiver.example.com/drift")},
	},
	{
		"events", func(s *hooklinetest.Subscription) { s.Events = []string{"*"} },
		hooklinetest.Patch{Events: &[]string{"agent.presencechanged.v1"}},
	},
	{"enabled", func(s *hooklinetest.Subscription) { s.Enabled = false }, hooklinetest.Patch{Enabled: new(true)}},
	{
		"authorization", func(s *hooklinetest.Subscription) { s.Authorization = hooklinetest.Authorization{} },
		hooklinetest.Patch{Authorization: &hooklinetest.Authorization{
			Scheme: subscription.SchemeBearer, Token: "a-rare-token",
		}},
	},
	{
		"headers", func(s *hooklinetest.Subscription) { s.Headers = nil },
		hooklinetest.Patch{Headers: &[]hooklinetest.Header{{Name: "X-Team", Value: "support"}}},
	},
	{
		"delivery.timeout", func(s *hooklinetest.Subscription) { s.Delivery.Timeout = 0 },
		hooklinetest.Patch{Delivery: &hooklinetest.Delivery{Timeout: 9 * time.Second, MaxAttempts: 3}},
	},
	{
		"delivery.maxAttempts", func(s *hooklinetest.Subscription) { s.Delivery.MaxAttempts = 50 },
		hooklinetest.Patch{Delivery: &hooklinetest.Delivery{Timeout: 9 * time.Second, MaxAttempts: 3}},
	},
}

var _ = Describe("Keeping", func() {
	It("pushes each field that a user changes, alone and once", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.secret(ctx, "credentials", map[string]string{"token": "a-rare-token", "header": "a-rare-header"})
		sub := w.subscription("update", given, named("before"))
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		for _, update := range updates {
			By(update.reason)
			w.account.ResetRequests()
			change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { update.change(&sub.Spec) })
			Expect(w.synced(ctx, sub).ID).To(Equal(remote.ID))
			w.expectOneUpdate(update.reason, update.want)
		}
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("mends each field that somebody changes at the provider, alone and once", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.secret(ctx, "credentials", map[string]string{"token": "a-rare-token"})
		sub := w.subscription("drift", given, named("drifting"), func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.Authorization = &v1alpha1.Authorization{Bearer: &v1alpha1.BearerAuthorization{
				SecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "token"},
			}}
			sub.Spec.Headers = []v1alpha1.Header{{Name: "X-Team", Value: "support"}}
			sub.Spec.Delivery = &v1alpha1.Delivery{Timeout: "9s", MaxAttempts: new(int32(3))}
		})
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		for _, drift := range drifts {
			By(drift.reason)
			w.account.ResetRequests()
			Expect(w.account.Edit(remote.ID, drift.edit)).To(Succeed())
			w.clock.Advance(pastInterval)
			Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpUpdate) }).ShouldNot(BeEmpty(), drift.reason)
			w.expectOneUpdate(drift.reason, drift.want)
			Eventually(func() hooklinetest.Subscription {
				mended := w.account.Subscriptions()[0]
				mended.UpdatedAt = remote.UpdatedAt

				return mended
			}).Should(Equal(remote))
			Expect(len(w.requests(hooklinetest.OpList))).To(BeNumerically("<=", 2), "one list finds the drift of all")
		}
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventDriftCorrected))
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("mends several fields with one patch of what differs", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("drift", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.account.ResetRequests()
		Expect(w.account.Edit(remote.ID, func(s *hooklinetest.Subscription) {
			s.URL, s.Enabled = "https://evil.example.com", false
		})).To(Succeed())
		w.clock.Advance(pastInterval)
		Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpUpdate) }).ShouldNot(BeEmpty())
		w.expectOneUpdate("url and enabled", hooklinetest.Patch{URL: &sub.Spec.URL, Enabled: new(true)})
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("finds the drift of many subscriptions with one list", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		subs := []*v1alpha1.WebhookSubscription{}
		for _, name := range []string{"one", "two", "three", "four", "five"} {
			sub := w.subscription(name, given)
			w.create(ctx, sub)
			subs = append(subs, sub)
		}
		for _, sub := range subs {
			remote := w.synced(ctx, sub)
			Expect(w.account.Edit(remote.ID, func(s *hooklinetest.Subscription) { s.URL = "https://evil.example.com" })).To(Succeed())
			w.rests(sub, hooklinetest.Current)
		}
		w.account.ResetRequests()
		w.clock.Advance(pastInterval)
		Eventually(func() []hooklinetest.Request { return w.requests(hooklinetest.OpUpdate) }).Should(HaveLen(len(subs)))
		Expect(len(w.requests(hooklinetest.OpList))).To(BeNumerically("<=", 2), "not one for each")
		Expect(w.requests(hooklinetest.OpGet)).To(BeEmpty(), "the list tells")
	})

	It("recreates what somebody deleted at the provider", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("deleted", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(w.account.Remove(remote.ID)).To(Succeed())
		w.clock.Advance(pastInterval)
		Eventually(w.account.Subscriptions).Should(HaveLen(1))
		Eventually(func() string { return refresh(ctx, w, sub).Status.SubscriptionID }).ShouldNot(Equal(remote.ID))
		again := w.synced(ctx, sub)
		Expect(w.account.Secrets(again.ID)).To(Equal([]string{givenSecret}), "receivers go on with the secret they have")
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventRecreated))
		w.rests(sub, hooklinetest.Current)
	})

	It("does not recreate because a Get alone says that nothing is there", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("hidden", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		w.account.Script(hooklinetest.OpGet, hooklinetest.Forever, hooklinetest.Missing())
		w.account.Script(hooklinetest.OpUpdate, 1, hooklinetest.Missing())
		w.account.ResetRequests()
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = "https://moved.example.com/" })
		Expect(w.synced(ctx, sub).ID).To(Equal(remote.ID))
		Expect(w.requests(hooklinetest.OpCreate)).To(BeEmpty())
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.account.Heal()
		w.rests(sub, hooklinetest.Current)
	})
})

// noneIsEmpty lets the two ways to say that there is no authorization be one.
var noneIsEmpty = cmp.Transformer("SchemeOrNone", func(s subscription.Scheme) string {
	return string(subscription.Authorization{Scheme: s}.SchemeOrNone())
})

// expectOneUpdate checks that exactly one update was asked for since the requests were reset, and with what.
func (w *world) expectOneUpdate(reason string, want hooklinetest.Patch) {
	GinkgoHelper()
	asked := w.requests(hooklinetest.OpUpdate)
	Expect(asked).To(HaveLen(1), reason)
	Expect(cmp.Diff(want, *asked[0].Patch, noneIsEmpty)).To(BeEmpty(), reason)
	Expect(w.requests(hooklinetest.OpCreate, hooklinetest.OpDelete)).To(BeEmpty(), reason)
}
