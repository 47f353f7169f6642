package vendortest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	// providerName is the vendor, in every case.
	providerName = "vendor"
	// providerInterval keeps the provider's list away from cases that don't put the clock forward.
	providerInterval = "1h"
	// pastInterval is more than providerInterval with any jitter, and less than twice as much.
	pastInterval = 75 * time.Minute
	// neverPolls keeps the question whose deliveries changed away: nothing is delivered here.
	neverPolls = 1000 * time.Hour
	// requestTimeout is the provider's.
	requestTimeout = "2s"
)

// world is what one case lives in: its own namespace, which is its tenant too, its own controllers, its proxy
// and clock.
type world struct {
	vendor   vendor
	ns       string
	token    string
	client   client.Client
	proxy    *proxy
	clock    *hooklinetest.Clock
	env      *hooklinetest.Env
	logs     *lockedBuffer
	texts    []string // what must show up nowhere
	expected []expectation
	// refusals: the case has the vendor refuse what it is sent.
	refusals bool
}

type expectation struct {
	object  client.Object
	verdict hooklinetest.Verdict
}

// newWorld makes a world, with the provider Ready in it, whose end is checked, whatever the case: see finish.
func newWorld(ctx context.Context, v vendor, changes ...func(*v1alpha1.WebhookProviderSpec)) *world {
	GinkgoHelper()
	w := newBareWorld(ctx, v)
	w.secret(ctx, credentials, v.credentials(w.ns, w.token))
	provider := w.provider(changes...)
	w.create(ctx, provider)
	w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)

	return w
}

// newBareWorld makes a world without provider and credentials.
func newBareWorld(ctx context.Context, v vendor, options ...hooklinetest.StartOption) *world {
	GinkgoHelper()
	w := &world{vendor: v, clock: hooklinetest.NewClock(), logs: &lockedBuffer{}, token: rand.Text() + rand.Text()}
	var err error
	w.client, err = client.New(apiServer, client.Options{Scheme: hooklinetest.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "case-"}}
	w.create(ctx, namespace)
	w.ns = namespace.Name
	tokens.allow(w.ns, w.token)
	w.proxy, err = newProxy(v, w.clock)
	Expect(err).NotTo(HaveOccurred())
	w.env = hooklinetest.Start(GinkgoTB(), apiServer, append([]hooklinetest.StartOption{
		hooklinetest.UseClock(w.clock), hooklinetest.InNamespaces(w.ns), hooklinetest.LogTo(w.logs),
		hooklinetest.PollDeliveries(neverPolls), hooklinetest.StopMyself(),
	}, options...)...)
	DeferCleanup(w.finish)

	return w
}

// finish is what follows every case: the verdicts that the case expects and the rules of kstatus, no secret in
// sight, nothing asked of the vendor that it does not document, and then the quiet check, for which the world
// stays up while the next case runs.
func (w *world) finish(ctx context.Context) {
	watched := false
	defer func() {
		if watched {
			return
		}
		AddReportEntry("requests", shown(w.proxy.since(0)), ReportEntryVisibilityFailureOrVerbose)
		AddReportEntry("log", w.logs.String(), ReportEntryVisibilityFailureOrVerbose)
		w.stop()
	}()
	if CurrentSpecReport().Failed() {
		return
	}
	Expect(w.expected).NotTo(BeEmpty(), "the case must say, by rests, how its objects end")
	Expect(w.proxy.pending()).To(BeZero(), "every fault that was injected has met its request")
	Eventually(ctx, w.statuses).Should(Succeed())
	Expect(w.leaks()).To(Succeed())
	if !w.refusals {
		Expect(w.proxy.undocumented()).To(BeEmpty())
	}
	watched = true
	quiet.start(CurrentSpecReport().FullText(), w)
}

func (w *world) stop() {
	w.env.Stop()
	w.clock.Stop()
	w.proxy.server.CloseClientConnections()
	w.proxy.server.Close()
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
	texts := append([]string{w.token}, w.texts...)
	var secrets corev1.SecretList
	if err := w.client.List(ctx, &secrets, client.InNamespace(w.ns)); err != nil {
		return fmt.Errorf("listing the Secrets: %w", err)
	}
	for _, secret := range secrets.Items {
		for key, value := range secret.Data {
			// A client's id is no secret: it is the tenant's name here.
			if key != "client_id" {
				texts = append(texts, strings.TrimSpace(string(value)))
			}
		}
	}
	haystacks := map[string]string{"the log": w.logs.String()}
	for name, list := range map[string]client.ObjectList{
		"the subscriptions": &v1alpha1.WebhookSubscriptionList{},
		"the providers":     &v1alpha1.WebhookProviderList{},
		"the events":        &eventsv1.EventList{},
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
				return fmt.Errorf("a secret that begins with %.5s stands in %s", text, where)
			}
		}
	}

	return nil
}

// provider is the vendor's, not created yet.
func (w *world) provider(changes ...func(*v1alpha1.WebhookProviderSpec)) *v1alpha1.WebhookProvider {
	provider := &v1alpha1.WebhookProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: providerName},
		Spec:       w.vendor.spec(w.proxy.server.URL, w.ns),
	}
	provider.Spec.Interval, provider.Spec.Timeout = providerInterval, requestTimeout
	// The vendor's own limit would make the cases slow; that it holds is shown elsewhere.
	provider.Spec.RateLimit = &v1alpha1.ProviderRateLimit{RequestsPerSecond: 1000}
	for _, change := range changes {
		change(&provider.Spec)
	}

	return provider
}

// adopting lets the provider's namespace take over what exists.
func (w *world) adopting(ctx context.Context) {
	GinkgoHelper()
	provider := &v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: providerName}}
	change(ctx, w, provider, func(p *v1alpha1.WebhookProvider) {
		p.Spec.Adoption = &v1alpha1.NamespaceSelection{Names: []string{w.ns}}
	})
	w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
}

// subscription is one with what a user must say, not created yet.
func (w *world) subscription(name string, changes ...func(*v1alpha1.WebhookSubscription)) *v1alpha1.WebhookSubscription {
	sub := &v1alpha1.WebhookSubscription{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
		Spec: v1alpha1.WebhookSubscriptionSpec{
			URL:         receiver,
			Events:      slices.Clone(w.vendor.events),
			ProviderRef: &v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindNamespaced, Name: providerName},
		},
	}
	if w.vendor.names {
		sub.Spec.Name = w.remoteName(name)
	}
	for _, change := range changes {
		change(sub)
	}

	return sub
}

// remoteName is the name of a subscription at the vendor.
func (w *world) remoteName(name string) string { return "feed-" + name }

// given uses the Secret "signing" in place of a generated one.
func given(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "signing", Key: "key"}
}

func (w *world) create(ctx context.Context, object client.Object) {
	GinkgoHelper()
	Expect(w.client.Create(ctx, object)).To(Succeed())
}

// secret makes a Secret.
func (w *world) secret(ctx context.Context, name string, values map[string]string) *corev1.Secret {
	GinkgoHelper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, StringData: values}
	w.create(ctx, secret)

	return secret
}

// fullSecrets are what vendor.full and vendor.fields refer to.
func (w *world) fullSecrets(ctx context.Context) {
	GinkgoHelper()
	w.secret(ctx, "basic", map[string]string{"username": "a-rare-username", "password": "a-rare-password"})
	w.secret(ctx, "header", map[string]string{"value": "a-rare-header-value\n"})
	if w.vendor.secrets {
		w.secret(ctx, "signing", map[string]string{"key": w.vendor.given + "\n"})
	}
}

// change applies a change to the newest version of an object, as a patch.
func change[T client.Object](ctx context.Context, w *world, object T, apply func(T)) {
	GinkgoHelper()
	Expect(w.client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
	before := object.DeepCopyObject().(client.Object)
	apply(object)
	Expect(w.client.Patch(ctx, object, client.MergeFrom(before))).To(Succeed())
}

func statusOf(object client.Object) ([]metav1.Condition, int64) {
	switch o := object.(type) {
	case *v1alpha1.WebhookSubscription:
		return o.Status.Conditions, o.Status.ObservedGeneration
	case *v1alpha1.WebhookProvider:
		return o.Status.Conditions, o.Status.ObservedGeneration
	default:
		return nil, 0
	}
}

// becomes waits until an object has a condition, for its present generation, and leaves it refreshed. status and
// reason are joined: "True Synced".
func (w *world) becomes(ctx context.Context, object client.Object, conditionType, statusAndReason string) metav1.Condition {
	GinkgoHelper()
	var found metav1.Condition
	Eventually(ctx, func(ctx context.Context) (string, error) {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return "", err
		}
		conditions, observed := statusOf(object)
		if observed != object.GetGeneration() {
			return fmt.Sprintf("observedGeneration %d of %d", observed, object.GetGeneration()), nil
		}
		condition := meta.FindStatusCondition(conditions, conditionType)
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
	conditions, _ := statusOf(a.Object)
	for _, c := range conditions {
		fmt.Fprintf(&text, "\n  %s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
	}

	return text.String()
}

// synced waits until a subscription is Ready, and returns what stands for it at the vendor, which is all that the
// vendor has.
func (w *world) synced(ctx context.Context, sub *v1alpha1.WebhookSubscription) []subscription.Subscription {
	GinkgoHelper()
	w.becomes(ctx, sub, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonSynced)
	remotes := w.remotes(ctx)
	Expect(remotes).To(HaveLen(w.units(len(sub.Spec.Events))))
	Expect(sub.Status.Subscriptions).To(HaveLen(len(remotes)))
	if len(remotes) == 1 {
		Expect(sub.Status.SubscriptionID).To(Equal(sub.Status.Subscriptions[0].ID))
	} else {
		Expect(sub.Status.SubscriptionID).To(BeEmpty())
	}

	return remotes
}

// units is how many subscriptions stand for a number of events.
func (w *world) units(events int) int {
	if w.vendor.single {
		return events
	}

	return 1
}

// remotes are the vendor's subscriptions, sorted by their events, which are sorted too.
func (w *world) remotes(ctx context.Context) []subscription.Subscription {
	GinkgoHelper()
	list, err := upstream.Tenant(w.ns).List(ctx)
	Expect(err).NotTo(HaveOccurred())
	for i := range list {
		Expect(list[i].Delivery.Format).To(Equal(w.vendor.format), "it was made through the vendor's API")
		slices.Sort(list[i].Events)
	}
	slices.SortFunc(list, func(a, b subscription.Subscription) int { return slices.Compare(a.Events, b.Events) })

	return list
}

// eventsOf are the events of all remote subscriptions, sorted.
func eventsOf(remotes []subscription.Subscription) []string {
	var all []string
	for _, one := range remotes {
		all = append(all, one.Events...)
	}
	slices.Sort(all)

	return all
}

// byHand makes a subscription at the vendor without the controllers: one for each event where the vendor wants so.
func (w *world) byHand(ctx context.Context, name string) []string {
	GinkgoHelper()
	sets := [][]string{w.vendor.events}
	if w.vendor.single {
		sets = nil
		for _, event := range w.vendor.events {
			sets = append(sets, []string{event})
		}
	}
	var ids []string
	for _, events := range sets {
		remoteName := w.remoteName(name)
		if w.vendor.single {
			// The dispatcher has names where the vendor has none.
			remoteName += "-" + events[0]
		}
		draft := subscription.Draft{
			Name: remoteName, URL: receiver, Events: events, Enabled: true, Delivery: subscription.Delivery{Format: w.vendor.format},
		}
		made, err := upstream.Tenant(w.ns).Create(ctx, draft)
		Expect(err).NotTo(HaveOccurred())
		ids = append(ids, made.ID)
	}

	return ids
}

// gone waits until an object no longer exists.
func (w *world) gone(ctx context.Context, object client.Object) {
	GinkgoHelper()
	Eventually(ctx, func(ctx context.Context) error {
		return w.client.Get(ctx, client.ObjectKeyFromObject(object), object)
	}).Should(MatchError(ContainSubstring("not found")), "%s", asLines{object})
}

// restingProvider is the provider, as something that a case ends with.
func (w *world) restingProvider(verdict hooklinetest.Verdict) {
	w.rests(&v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: providerName}}, verdict)
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
