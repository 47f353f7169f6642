package controllers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

const (
	// providerName is the provider that cases use unless they say otherwise: the namespace's own tenant of the
	// dispatcher.
	providerName = "dispatcher"
	// providerInterval keeps the provider's list away from cases that don't put the clock forward.
	providerInterval = "1h"
	// pastInterval is more than providerInterval with any jitter, and less than twice as much.
	pastInterval = 75 * time.Minute
	// neverPolls keeps the question whose deliveries changed away from cases that are not about it.
	neverPolls = 1000 * time.Hour
	// givenSecret is a signing secret, and otherSecret the one after its rotation.
	givenSecret = "whsec_ZmlndXJlIG91dCB3aGF0IHRoaXMgc2F5cywgaXQgaXMgbm90IHNlY3JldA=="
	otherSecret = "whsec_YW5vdGhlciBvbmUsIGFmdGVyIGEgcm90YXRpb24sIG5vdCBzZWNyZXQgZWl0aGVy"
)

// world is what one case lives in: its own namespace, its own controllers, provider and clock. Only the API
// server is shared, so that worlds can rest side by side.
type world struct {
	ns       string
	client   client.Client
	provider *hooklinetest.Provider
	account  *hooklinetest.Account
	clock    *hooklinetest.Clock
	env      *hooklinetest.Env
	logs     *lockedBuffer
	poll     time.Duration
	began    time.Time
	texts    []string // what must show up nowhere
	expected []expectation
}

type expectation struct {
	object  client.Object
	verdict hooklinetest.Verdict
}

type worldOptions struct {
	provider []hooklinetest.Option
	start    []hooklinetest.StartOption
	bare     bool
	poll     time.Duration
}

type worldOption func(*worldOptions)

// withLag makes what the provider's readers see lag behind its writers.
func withLag(delay time.Duration) worldOption {
	return func(o *worldOptions) { o.provider = append(o.provider, hooklinetest.WithVisibilityDelay(delay)) }
}

func withCapabilities(change func(*hooklinetest.Capabilities)) worldOption {
	return func(o *worldOptions) { o.provider = append(o.provider, hooklinetest.WithCapabilities(change)) }
}

func withStart(options ...hooklinetest.StartOption) worldOption {
	return func(o *worldOptions) { o.start = append(o.start, options...) }
}

// withoutProvider leaves out the WebhookProvider that is otherwise there.
func withoutProvider() worldOption { return func(o *worldOptions) { o.bare = true } }

// newWorld makes a world whose end is checked, whatever the case: see finish.
func newWorld(ctx context.Context, options ...worldOption) *world {
	GinkgoHelper()
	chosen := worldOptions{poll: neverPolls}
	for _, option := range options {
		option(&chosen)
	}
	w := &world{clock: hooklinetest.NewClock(), logs: &lockedBuffer{}, texts: []string{givenSecret, otherSecret}}
	var err error
	w.client, err = client.New(apiServer, client.Options{Scheme: hooklinetest.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	w.ns = w.namespace(ctx, nil)
	w.provider = hooklinetest.NewProvider(append(chosen.provider, hooklinetest.WithClock(w.clock))...)
	w.account = w.provider.Account(w.ns)
	w.env = hooklinetest.Start(GinkgoTB(), apiServer, append([]hooklinetest.StartOption{
		hooklinetest.UseProvider(w.provider), hooklinetest.UseClock(w.clock), hooklinetest.InNamespaces(w.ns),
		hooklinetest.LogTo(w.logs), hooklinetest.PollDeliveries(chosen.poll), hooklinetest.StopMyself(),
	}, chosen.start...)...)
	w.poll, w.began = chosen.poll, w.clock.Now()
	DeferCleanup(w.finish)
	if !chosen.bare {
		w.create(ctx, w.webhookProvider(providerName))
	}

	return w
}

// finish is what follows every case: the verdicts that the case expects and the rules of kstatus, no secret in
// sight, and then the quiet check, for which the world stays up while the next case runs.
func (w *world) finish(ctx context.Context) {
	watched := false
	defer func() {
		if watched {
			return
		}
		AddReportEntry("activity", w.activity(0, 0), ReportEntryVisibilityFailureOrVerbose)
		AddReportEntry("log", w.logs.String(), ReportEntryVisibilityFailureOrVerbose)
		w.stop()
	}()
	if CurrentSpecReport().Failed() {
		return
	}
	Expect(w.expected).NotTo(BeEmpty(), "the case must say, by rests, how its objects end")
	Eventually(ctx, w.statuses).Should(Succeed())
	Expect(w.leaks()).To(Succeed())
	watched = true
	quiet.start(CurrentSpecReport().FullText(), w)
}

func (w *world) stop() {
	w.env.Stop()
	w.clock.Stop()
}

// rests declares how an object ends; it is checked after the case, and again after the quiet window.
func (w *world) rests(object client.Object, verdict hooklinetest.Verdict) {
	w.expected = append(w.expected, expectation{object: object, verdict: verdict})
}

// statuses checks every object that was declared.
func (w *world) statuses() error {
	var problems []error
	for _, expected := range w.expected {
		object := expected.object.DeepCopyObject().(client.Object)
		err := w.client.Get(context.Background(), client.ObjectKeyFromObject(object), object)
		if err == nil {
			err = hooklinetest.CheckStatus(object, expected.verdict)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%T %s: %w", object, expected.object.GetName(), err))
		}
	}

	return errors.Join(problems...)
}

// leaks looks for secret texts in everything that people may read without the right to read Secrets.
func (w *world) leaks() error {
	ctx := context.Background()
	texts := append([]string{}, w.texts...)
	for _, sub := range w.account.Subscriptions() {
		texts = append(texts, w.account.Secrets(sub.ID)...)
	}
	var secrets corev1.SecretList
	if err := w.client.List(ctx, &secrets, client.InNamespace(w.ns)); err != nil {
		return fmt.Errorf("listing the Secrets: %w", err)
	}
	for _, secret := range secrets.Items {
		for _, value := range secret.Data {
			texts = append(texts, strings.TrimSpace(string(value)))
		}
	}
	haystacks := map[string]string{"the log": w.logs.String()}
	for name, list := range map[string]client.ObjectList{
		"the subscriptions":     &v1alpha1.WebhookSubscriptionList{},
		"the providers":         &v1alpha1.WebhookProviderList{},
		"the cluster providers": &v1alpha1.ClusterWebhookProviderList{},
		"the events":            &eventsv1.EventList{},
	} {
		if err := w.client.List(ctx, list, client.InNamespace(w.ns)); err != nil {
			return fmt.Errorf("listing %s: %w", name, err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("encoding %s: %w", name, err)
		}
		haystacks[name] = string(text)
	}
	for where, haystack := range haystacks {
		for _, text := range texts {
			if text != "" && strings.Contains(haystack, text) {
				return fmt.Errorf("a secret that begins with %.9s stands in %s", text, where)
			}
		}
	}

	return nil
}

// namespace makes a namespace with labels.
func (w *world) namespace(ctx context.Context, labels map[string]string) string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "case-", Labels: labels}}
	w.create(ctx, namespace)

	return namespace.Name
}

// webhookProvider is the dispatcher's tenant of the namespace, not created yet.
func (w *world) webhookProvider(name string) *v1alpha1.WebhookProvider {
	return &v1alpha1.WebhookProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
		Spec: v1alpha1.WebhookProviderSpec{
			Dispatcher:       &v1alpha1.DispatcherProvider{},
			ProviderSettings: v1alpha1.ProviderSettings{Interval: providerInterval},
		},
	}
}

// clusterProvider is a tenant of the dispatcher for all, of this world only, not created yet.
func (w *world) clusterProvider(name string) *v1alpha1.ClusterWebhookProvider {
	return &v1alpha1.ClusterWebhookProvider{
		ObjectMeta: metav1.ObjectMeta{Name: w.ns + "-" + name, Labels: hooklinetest.ClusterProviderLabels(w.ns)},
		Spec: v1alpha1.ClusterWebhookProviderSpec{
			Dispatcher:        &v1alpha1.ClusterDispatcherProvider{Tenant: v1alpha1.TenantName(w.ns + "-" + name)},
			AllowedNamespaces: &v1alpha1.NamespaceSelection{Names: []string{w.ns}},
			ProviderSettings:  v1alpha1.ProviderSettings{Interval: providerInterval},
		},
	}
}

// subscription is one with what a user must say, and the provider, not created yet.
func (w *world) subscription(name string, changes ...func(*v1alpha1.WebhookSubscription)) *v1alpha1.WebhookSubscription {
	sub := &v1alpha1.WebhookSubscription{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
		Spec: v1alpha1.WebhookSubscriptionSpec{
			URL:         "https://receiver.example.com/" + name,
			Events:      []string{"agent.presencechanged.v1"},
			ProviderRef: &v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindNamespaced, Name: providerName},
		},
	}
	for _, change := range changes {
		change(sub)
	}

	return sub
}

// given uses the Secret "signing" in place of a generated one; see signingSecret.
func given(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "signing", Key: "key"}
}

// named sets spec.name.
func named(name string) func(*v1alpha1.WebhookSubscription) {
	return func(sub *v1alpha1.WebhookSubscription) { sub.Spec.Name = name }
}

func (w *world) create(ctx context.Context, object client.Object) {
	GinkgoHelper()
	Expect(w.client.Create(ctx, object)).To(Succeed())
}

// secret makes a Secret of a few values, all of which must not show up anywhere.
func (w *world) secret(ctx context.Context, name string, values map[string]string) *corev1.Secret {
	GinkgoHelper()
	for _, value := range values {
		w.texts = append(w.texts, strings.TrimSpace(value))
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, StringData: values}
	w.create(ctx, secret)

	return secret
}

// signingSecret makes the Secret that given names.
func (w *world) signingSecret(ctx context.Context) *corev1.Secret {
	GinkgoHelper()

	return w.secret(ctx, "signing", map[string]string{"key": givenSecret})
}

// refresh reads an object again, and returns it.
func refresh[T client.Object](ctx context.Context, w *world, object T) T {
	GinkgoHelper()
	Expect(w.client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())

	return object
}

// change applies a change to the newest version of an object, as a patch.
func change[T client.Object](ctx context.Context, w *world, object T, apply func(T)) {
	GinkgoHelper()
	refresh(ctx, w, object)
	before := object.DeepCopyObject().(client.Object)
	apply(object)
	Expect(w.client.Patch(ctx, object, client.MergeFrom(before))).To(Succeed())
}

// annotate sets an annotation; an empty value removes it.
func (w *world) annotate(ctx context.Context, object client.Object, key, value string) {
	GinkgoHelper()
	change(ctx, w, object, func(o client.Object) {
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		if value == "" {
			delete(annotations, key)
		} else {
			annotations[key] = value
		}
		o.SetAnnotations(annotations)
	})
}

func conditionsOf(object client.Object) []metav1.Condition {
	switch o := object.(type) {
	case *v1alpha1.WebhookSubscription:
		return o.Status.Conditions
	case *v1alpha1.WebhookProvider:
		return o.Status.Conditions
	case *v1alpha1.ClusterWebhookProvider:
		return o.Status.Conditions
	default:
		return nil
	}
}

func observedGenerationOf(object client.Object) int64 {
	switch o := object.(type) {
	case *v1alpha1.WebhookSubscription:
		return o.Status.ObservedGeneration
	case *v1alpha1.WebhookProvider:
		return o.Status.ObservedGeneration
	case *v1alpha1.ClusterWebhookProvider:
		return o.Status.ObservedGeneration
	default:
		return 0
	}
}

// becomes waits until an object has a condition, for its present generation, and leaves it refreshed. status
// and reason are joined: "True Synced". A condition that is absent is "absent".
func (w *world) becomes(ctx context.Context, object client.Object, conditionType, statusAndReason string) metav1.Condition {
	GinkgoHelper()
	var found metav1.Condition
	Eventually(ctx, func(ctx context.Context) (string, error) {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return "", err
		}
		if observedGenerationOf(object) != object.GetGeneration() && conditionType != v1alpha1.ConditionPaused {
			return fmt.Sprintf("observedGeneration %d of %d", observedGenerationOf(object), object.GetGeneration()), nil
		}
		condition := meta.FindStatusCondition(conditionsOf(object), conditionType)
		if condition == nil {
			return "absent", nil
		}
		found = *condition

		return string(condition.Status) + " " + condition.Reason, nil
	}).Should(Equal(statusAndReason), "condition %s of %s; all: %s", conditionType, object.GetName(), asLines{object})

	return found
}

// asLines prints an object's conditions when it is asked to, so that a failure shows the newest.
type asLines struct{ client.Object }

// String implements fmt.Stringer.
func (a asLines) String() string {
	var text strings.Builder
	for _, c := range conditionsOf(a.Object) {
		fmt.Fprintf(&text, "\n  %s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
	}

	return text.String()
}

// synced waits until a subscription is Ready, and returns what stands for it at the provider.
func (w *world) synced(ctx context.Context, sub *v1alpha1.WebhookSubscription) hooklinetest.Subscription {
	GinkgoHelper()

	return w.syncedAt(ctx, sub, w.account)
}

func (w *world) syncedAt(
	ctx context.Context, sub *v1alpha1.WebhookSubscription, account *hooklinetest.Account,
) hooklinetest.Subscription {
	GinkgoHelper()
	w.becomes(ctx, sub, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonSynced)
	Expect(sub.Status.SubscriptionID).NotTo(BeEmpty())
	for _, remote := range account.Subscriptions() {
		if remote.ID == sub.Status.SubscriptionID {
			return remote
		}
	}
	Fail("the provider has no subscription " + sub.Status.SubscriptionID)

	return hooklinetest.Subscription{}
}

// gone waits until an object no longer exists.
func (w *world) gone(ctx context.Context, object client.Object) {
	GinkgoHelper()
	Eventually(ctx, func(ctx context.Context) error {
		return w.client.Get(ctx, client.ObjectKeyFromObject(object), object)
	}).Should(MatchError(ContainSubstring("not found")), "%s", asLines{object})
}

// events are the reasons of the Events about an object.
func (w *world) events(ctx context.Context, object client.Object) []string {
	GinkgoHelper()
	var list eventsv1.EventList
	Expect(w.client.List(ctx, &list, client.InNamespace(w.ns))).To(Succeed())
	var reasons []string
	for _, event := range list.Items {
		if event.Regarding.UID == object.GetUID() {
			reasons = append(reasons, event.Reason)
		}
	}

	return reasons
}

// requests are the operations that the account has received since its requests were last reset.
func (w *world) requests(ops ...hooklinetest.Op) []hooklinetest.Request {
	return w.account.Requests(ops...)
}

// objectWrites are the writes of one subscription and of what belongs to it, Events aside.
func (w *world) objectWrites() []string {
	var lines []string
	for _, write := range w.env.Writes.All() {
		if !write.Event() && !strings.Contains(write.Path, "providers/") {
			lines = append(lines, write.Method+" "+write.Path[strings.LastIndex(write.Path, w.ns)+len(w.ns):])
		}
	}

	return lines
}

// lockedBuffer is a buffer for a log that several goroutines write.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.buffer.Write(text)
}

// String is what was written so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.buffer.String()
}
