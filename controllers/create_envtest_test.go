package controllers_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/subscription"
)

var _ = Describe("Creating", func() {
	It("makes a subscription of the least that a user must say", func(ctx context.Context) {
		w := newWorld(ctx)
		sub := w.subscription("minimal")
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)

		Expect(remote.URL).To(Equal(sub.Spec.URL))
		Expect(remote.Events).To(Equal([]string{"agent.presencechanged.v1"}))
		Expect(remote.Enabled).To(BeTrue())
		Expect(remote.Name).To(HavePrefix(w.ns+".minimal."), "the derived name ends with the installation's id")
		Expect(sub.Status.Name).To(Equal(remote.Name))
		Expect(sub.Status.URL).To(Equal(remote.URL))
		Expect(sub.Status.Adopted).To(BeFalse())
		Expect(sub.Status.Provider.Kind).To(Equal(v1alpha1.ProviderKindNamespaced))
		Expect(sub.Status.Provider.Name).To(Equal(providerName))
		Expect(sub.Status.Provider.UID).NotTo(BeEmpty())
		Expect(controllerutil.ContainsFinalizer(sub, v1alpha1.FinalizerSubscription)).To(BeTrue())
		Expect(sub.Annotations).To(HaveKey(v1alpha1.AnnotationCreatePending))

		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "Unknown "+v1alpha1.ReasonNoRecentDelivery)
		secret := w.generatedSecret(ctx, sub)
		Expect(w.account.Secrets(remote.ID)).To(Equal([]string{secret}), "the provider signs with what the Secret holds")
		key, err := subscription.SigningKey(secret)
		Expect(err).NotTo(HaveOccurred())
		Expect(key).To(HaveLen(subscription.GeneratedSecretBytes))
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).
			Should(ContainElements(v1alpha1.EventCreated, v1alpha1.EventSecretGenerated))
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
		w.state(sub, "healthy")
	})

	It("makes a subscription of everything that a user can say", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.secret(ctx, "basic", map[string]string{"username": "a-rare-username", "password": "a-rare-password"})
		w.secret(ctx, "header", map[string]string{"value": "a-rare-header-value\n"})
		sub := w.subscription("full", given, named("everything"), func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.Events = []string{"channel.*", "agent.presencechanged.v1"}
			sub.Spec.Enabled = new(false)
			sub.Spec.Authorization = &v1alpha1.Authorization{
				Basic: &v1alpha1.BasicAuthorization{SecretRef: v1alpha1.SecretReference{Name: "basic"}},
			}
			sub.Spec.Headers = []v1alpha1.Header{
				{Name: "x-team", Value: "support"},
				{Name: "X-Key", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "header", Key: "value"}},
			}
			sub.Spec.Delivery = &v1alpha1.Delivery{
				Format: v1alpha1.DeliveryFormatVonage, Timeout: "7s", MaxAttempts: new(int32(4)),
				MaxInFlight: new(int32(3)), RateLimit: new(int32(20)), Ordering: v1alpha1.DeliveryOrderingByKey,
			}
			sub.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
		})
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)

		Expect(remote.Name).To(Equal("everything"))
		Expect(remote.Events).To(ConsistOf("channel.*", "agent.presencechanged.v1"))
		Expect(remote.Enabled).To(BeFalse())
		Expect(remote.Authorization).To(Equal(hooklinetest.Authorization{
			Scheme: subscription.SchemeBasic, Username: "a-rare-username", Password: "a-rare-password",
		}))
		Expect(remote.Headers).To(Equal([]hooklinetest.Header{
			{Name: "X-Key", Value: "a-rare-header-value", Sensitive: true},
			{Name: "X-Team", Value: "support"},
		}))
		Expect(remote.Delivery).To(Equal(hooklinetest.Delivery{
			Format: subscription.FormatVonage, Timeout: 7 * time.Second, MaxAttempts: 4, MaxInFlight: 3, RateLimit: 20,
			Ordering: subscription.OrderingByKey,
		}))
		Expect(w.account.Secrets(remote.ID)).To(Equal([]string{givenSecret}))
		Expect(sub.Status.Secret.Name).To(Equal("signing"))
		Expect(sub.Status.Secret.Key).To(Equal("key"))
		Expect(sub.Status.Secret.Digest).NotTo(BeEmpty())
		Expect(sub.Status.CredentialsDigest).NotTo(BeEmpty())
		w.becomes(ctx, sub, v1alpha1.ConditionDelivering, "False "+v1alpha1.ReasonDisabled)
		w.rests(sub, hooklinetest.Current)
		w.state(sub, "disabled")
	})

	It("calls a Service by the URL that stands for it", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("service", given, func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.URL = ""
			sub.Spec.ServiceRef = &v1alpha1.ServiceReference{Name: "receiver", Port: new(int32(8080)), Path: "/hooks"}
		})
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		Expect(remote.URL).To(Equal("http://receiver." + w.ns + ".svc:8080/hooks"))
		Expect(sub.Status.URL).To(Equal(remote.URL))
		w.rests(sub, hooklinetest.Current)
	})

	It("writes twice with a given secret, and then no more", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		sub := w.subscription("budget", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		path := "/webhooksubscriptions/budget"
		Expect(w.objectWrites()).To(Equal([]string{"PATCH " + path, "PATCH " + path + "/status"}))

		// The same again, as GitOps tools do all day: nothing changes, and nothing is written because of it.
		w.apply(ctx, w.subscription("budget", given))
		version := refresh(ctx, w, sub).ResourceVersion
		w.apply(ctx, w.subscription("budget", given))
		Expect(refresh(ctx, w, sub).ResourceVersion).To(Equal(version))
		Consistently(w.objectWrites).WithTimeout(2 * time.Second).Should(HaveLen(2))
		w.rests(sub, hooklinetest.Current)
	})

	It("writes three times with a generated secret, and then no more", func(ctx context.Context) {
		w := newWorld(ctx)
		w.becomesReady(ctx, providerName)
		sub := w.subscription("budget")
		w.create(ctx, sub)
		w.synced(ctx, sub)
		path := "/webhooksubscriptions/budget"
		Expect(w.objectWrites()).To(ConsistOf("POST /secrets", "PATCH "+path, "PATCH "+path+"/status"))
		w.rests(sub, hooklinetest.Current)
	})

	It("marks the create before it creates", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		// No write arrives: nothing may be created that could not be found again.
		w.env.Writes.Refuse(func(write hooklinetest.Write) bool { return !write.Event() })
		sub := w.subscription("marked", given)
		w.create(ctx, sub)
		Eventually(w.objectWrites).ShouldNot(BeEmpty())
		Consistently(w.account.Subscriptions).WithTimeout(time.Second).Should(BeEmpty())
		w.env.Writes.Refuse(nil)
		w.synced(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("makes one subscription when the reply to the create is lost", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		sub := w.subscription("lost", given)
		w.create(ctx, sub)
		w.synced(ctx, sub)
		Expect(w.account.Pending()).To(BeZero(), "the reply was lost")
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(1), "it was found, not created again")
		Expect(sub.Status.Adopted).To(BeFalse(), "it is ours")
		Eventually(ctx, func() []string { return w.events(ctx, sub) }).Should(ContainElement(v1alpha1.EventRecovered))
		w.rests(sub, hooklinetest.Current)
	})

	It("waits out the visibility delay after a lost reply", func(ctx context.Context) {
		const lag = 2 * time.Minute
		w := newWorld(ctx, withLag(lag))
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())
		sub := w.subscription("lagging", given)
		w.create(ctx, sub)
		Eventually(w.account.Subscriptions).Should(HaveLen(1))
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProgressing)
		w.state(sub, "progressing")
		Consistently(func() int { return len(w.requests(hooklinetest.OpCreate)) }).WithTimeout(2 * time.Second).Should(Equal(1))
		w.clock.Advance(lag + 10*time.Second)
		w.synced(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(1))
		w.rests(sub, hooklinetest.Current)
	})

	It("is not misled by a list that lags behind its own create", func(ctx context.Context) {
		const lag = 2 * time.Minute
		w := newWorld(ctx, withLag(lag))
		w.signingSecret(ctx)
		sub := w.subscription("unseen", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		// A change within the delay: the provider's lists show no such subscription yet.
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = "https://receiver.example.com/moved" })
		moved := w.synced(ctx, sub)
		Expect(moved.ID).To(Equal(remote.ID))
		Expect(moved.URL).To(Equal("https://receiver.example.com/moved"))
		w.annotate(ctx, sub, v1alpha1.AnnotationReconcileRequested, "now")
		Eventually(func() string { return refresh(ctx, w, sub).Status.LastHandledReconcileAt }).Should(Equal("now"))
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(w.requests(hooklinetest.OpUpdate)).To(HaveLen(1), "the list that still shows the old URL is not drift")
		w.rests(sub, hooklinetest.Current)
	})

	It("finds its subscription after a crash between the create and the status", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.env.Writes.Refuse(func(write hooklinetest.Write) bool { return strings.HasSuffix(write.Path, "crash/status") })
		sub := w.subscription("crash", given)
		w.create(ctx, sub)
		Eventually(w.account.Subscriptions).Should(HaveLen(1))
		w.env.Stop()
		Expect(refresh(ctx, w, sub).Status.SubscriptionID).To(BeEmpty(), "the crash came first")
		w.env.Writes.Refuse(nil)
		w.env.Restart()
		remote := w.synced(ctx, sub)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(1))
		Expect(sub.Status.Adopted).To(BeFalse())
		Expect(w.account.Secrets(remote.ID)).To(HaveEach(givenSecret))
		w.rests(sub, hooklinetest.Current)
	})

	It("finds its subscription when it is restored from a backup without its status", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		sub := w.subscription("restored", given)
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)
		backup := refresh(ctx, w, sub).DeepCopy()
		w.env.Stop()
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Finalizers = nil })
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		restored := &v1alpha1.WebhookSubscription{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: w.ns, Name: "restored", Annotations: backup.Annotations, Finalizers: backup.Finalizers,
			},
			Spec: backup.Spec,
		}
		w.create(ctx, restored)
		w.env.Restart()
		again := w.synced(ctx, restored)
		Expect(again.ID).To(Equal(remote.ID), "by the mark, whatever the adoption policy")
		Expect(restored.Status.Adopted).To(BeFalse())
		Expect(w.requests(hooklinetest.OpCreate)).To(HaveLen(1))
		w.rests(restored, hooklinetest.Current)
	})

	It("does not take the subscription of somebody else who has the name", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		theirs, err := w.account.Add(hooklinetest.Draft{
			Name: "presence-feed", URL: "https://elsewhere.example.com", Events: []string{"a.b"}, Enabled: true,
		})
		Expect(err).NotTo(HaveOccurred())
		sub := w.subscription("conflict", given, named("presence-feed"))
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonNameConflict)
		Expect(condition.Message).To(And(ContainSubstring("presence-feed"), ContainSubstring("spec.adoptionPolicy")))
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNameConflict)
		Expect(w.account.Subscriptions()).To(HaveLen(1))
		Expect(w.account.Subscriptions()[0].ID).To(Equal(theirs))
		w.rests(sub, hooklinetest.Failed)
		w.state(sub, "degraded")
	})

	It("refuses by name what the provider cannot honour", func(ctx context.Context) {
		w := newWorld(ctx, withCapabilities(func(c *hooklinetest.Capabilities) { delete(c.Fields, subscription.FieldOrdering) }))
		w.signingSecret(ctx)
		sub := w.subscription("unsupported", given, func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.Delivery = &v1alpha1.Delivery{Ordering: v1alpha1.DeliveryOrderingByKey}
		})
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonUnsupportedByProvider)
		Expect(condition.Message).To(ContainSubstring("spec.delivery.ordering"))
		Expect(w.requests(hooklinetest.OpCreate)).To(BeEmpty())

		foreign := w.subscription("foreign", given, func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.VendorOptions = &v1alpha1.VendorOptions{Bird: &v1alpha1.BirdOptions{Template: "text"}}
		})
		w.create(ctx, foreign)
		condition = w.becomes(ctx, foreign, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRejected)
		Expect(condition.Message).To(ContainSubstring("vendorOptions.bird"))
		w.rests(sub, hooklinetest.Failed)
		w.rests(foreign, hooklinetest.Failed)
		w.state(sub, "unsupported")
	})

	It("tells what the provider refused, and tries again only when something changes", func(ctx context.Context) {
		w := newWorld(ctx)
		w.signingSecret(ctx)
		w.becomesReady(ctx, providerName)
		w.account.Script(hooklinetest.OpCreate, 1, hooklinetest.Refused("url", "the host does not resolve: correct it"))
		sub := w.subscription("refused", given)
		w.create(ctx, sub)
		condition := w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRejected)
		Expect(condition.Message).To(ContainSubstring("the host does not resolve"))
		Consistently(func() int { return len(w.requests(hooklinetest.OpCreate)) }).WithTimeout(time.Second).Should(Equal(1))
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = "https://corrected.example.com/" })
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})
})

// generatedSecret is the signing secret that Hookline made for a subscription, from its Secret.
func (w *world) generatedSecret(ctx context.Context, sub *v1alpha1.WebhookSubscription) string {
	GinkgoHelper()
	var secret corev1.Secret
	Expect(w.client.Get(ctx, client.ObjectKey{Namespace: w.ns, Name: sub.Name + "-signing-secret"}, &secret)).To(Succeed())
	Expect(metav1.IsControlledBy(&secret, sub)).To(BeTrue(), "the Secret goes when the subscription does")
	Expect(secret.Labels).To(HaveKeyWithValue(v1alpha1.LabelSigningSecret, "true"))
	Expect(secret.Labels).To(HaveKeyWithValue(v1alpha1.LabelManagedBy, v1alpha1.LabelManagedByValue))

	return string(secret.Data[v1alpha1.SecretKeySigning])
}

// apply is a GitOps tool's server-side apply of the manifest that a subscription was made from.
func (w *world) apply(ctx context.Context, sub *v1alpha1.WebhookSubscription) {
	GinkgoHelper()
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&sub.Spec)
	Expect(err).NotTo(HaveOccurred())
	manifest := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(),
		"kind":       v1alpha1.KindWebhookSubscription,
		"metadata":   map[string]any{"namespace": sub.Namespace, "name": sub.Name},
		"spec":       spec,
	}}
	Expect(w.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(manifest), client.FieldOwner("gitops"),
		client.ForceOwnership)).To(Succeed())
}

// becomesReady waits until the world's WebhookProvider of that name is Ready, so that what follows is about
// subscriptions alone.
func (w *world) becomesReady(ctx context.Context, name string) *v1alpha1.WebhookProvider {
	GinkgoHelper()
	provider := &v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}}
	w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)

	return provider
}
