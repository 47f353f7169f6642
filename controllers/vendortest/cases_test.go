package vendortest_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/subscription"
)

var _ = Describe("At every vendor", func() {
	for _, v := range vendors {
		Describe(v.name, func() { cases(v) })
	}
})

// cases are the same for every vendor, less what it cannot say.
func cases(v vendor) {
	creating(v)
	adopting(v)
	changing(v)
	enduring(v)
	deleting(v)
}

func creating(v vendor) {
	It("creates what a user must say, with a secret of its own", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("minimal")
		w.create(ctx, sub)
		remotes := w.synced(ctx, sub)

		Expect(eventsOf(remotes)).To(Equal(slices.Sorted(slices.Values(v.events))))
		for _, remote := range remotes {
			Expect(remote.URL).To(Equal(receiver))
			Expect(remote.Enabled).To(BeTrue())
		}
		Expect(w.proxy.taken(opCreate)).To(Equal(len(remotes)))
		w.holdsSecret(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("creates all that a user can say", func(ctx context.Context) {
		w := newWorld(ctx, v)
		w.fullSecrets(ctx)
		sub := w.subscription("full", v.full)
		if v.secrets {
			given(sub)
		}
		w.create(ctx, sub)
		for _, remote := range w.synced(ctx, sub) {
			Expect(remote.Enabled).To(BeFalse())
			if v.name == dixaVendor.name {
				Expect(remote.Authorization.Username).To(Equal("a-rare-username"))
				Expect(remote.Headers).To(HaveLen(2))
				Expect(remote.Options.Dixa.Filters).To(HaveKey("Conversation"))
			}
			if v.name == birdVendor.name {
				Expect(remote.Options.Bird.EventFilters).To(HaveLen(1))
			}
		}
		if v.secrets {
			Expect(sub.Status.Secret.Name).To(Equal("signing"))
		}
		w.rests(sub, hooklinetest.Current)
	})

	It("refuses by name what the vendor has not", func(ctx context.Context) {
		w := newWorld(ctx, v)
		w.fullSecrets(ctx)
		before := w.proxy.count(opCreate)
		sub := w.subscription("unsupported", v.unsupported)
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonUnsupportedByProvider)
		Expect(w.proxy.count(opCreate)).To(Equal(before))
		w.rests(sub, hooklinetest.Failed)
	})

	It("makes a set of names of a wildcard", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("wildcard", func(sub *v1alpha1.WebhookSubscription) { sub.Spec.Events = []string{v.wildcard} })
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonSynced)
		events := eventsOf(w.remotes(ctx))
		Expect(len(events)).To(BeNumerically(">", 1))
		pattern, err := subscription.ParsePattern(v.wildcard)
		Expect(err).NotTo(HaveOccurred())
		for _, event := range events {
			Expect(pattern.Matches(event)).To(BeTrue(), event)
		}
		w.rests(sub, hooklinetest.Current)
	})

	It("never creates twice when the reply was lost", func(ctx context.Context) {
		w := newWorld(ctx, v)
		w.proxy.inject(opCreate, 1, replyLost)
		sub := w.subscription("lost")
		w.create(ctx, sub)
		w.advanceUntilSynced(ctx, sub)
		Expect(eventsOf(w.synced(ctx, sub))).To(Equal(slices.Sorted(slices.Values(v.events))))
		w.rests(sub, hooklinetest.Current)
	})

	It("never creates twice while lists lag", func(ctx context.Context) {
		w := newWorld(ctx, v)
		w.proxy.lags(30 * time.Second)
		w.proxy.inject(opCreate, 1, replyLost)
		sub := w.subscription("lagging")
		w.create(ctx, sub)
		w.advanceUntilSynced(ctx, sub)
		Expect(eventsOf(w.synced(ctx, sub))).To(Equal(slices.Sorted(slices.Values(v.events))))
		w.rests(sub, hooklinetest.Current)
	})

	It("never creates twice when it is stopped before it could write down what it made", func(ctx context.Context) {
		w := newWorld(ctx, v)
		w.proxy.inject(opCreate, 1, func(rw http.ResponseWriter, r *http.Request, forward func() *answer) {
			forward()
			<-r.Context().Done()
		})
		sub := w.subscription("stopped")
		w.create(ctx, sub)
		Eventually(ctx, func() []subscription.Subscription { return w.remotes(ctx) }).ShouldNot(BeEmpty())
		w.env.Stop()
		w.env.Restart()
		w.advanceUntilSynced(ctx, sub)
		Expect(eventsOf(w.synced(ctx, sub))).To(Equal(slices.Sorted(slices.Values(v.events))))
		w.rests(sub, hooklinetest.Current)
	})
}

func adopting(v vendor) {
	It("leaves alone what it did not make", func(ctx context.Context) {
		w := newWorld(ctx, v)
		w.byHand(ctx, "theirs")
		sub := w.subscription("theirs")
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonNameConflict)
		Expect(w.remotes(ctx)).To(HaveLen(w.units(len(v.events))))
		w.refusals = true
		w.rests(sub, hooklinetest.Failed)
	})

	It("takes over what exists where the provider allows it", func(ctx context.Context) {
		w := newWorld(ctx, v)
		w.adopting(ctx)
		ids := w.byHand(ctx, "taken")
		sub := w.subscription("taken", func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.Enabled = new(false)
			if v.names {
				sub.Spec.AdoptionPolicy = v1alpha1.AdoptionPolicyIfNameMatches

				return
			}
			// Without names, what is taken over is named by its id, and the rest is somebody else's.
			sub.Spec.SubscriptionID = w.birdID(ctx, v.events[0])
			sub.Spec.Events = v.events[:1]
		})
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonSynced)
		remotes := w.remotes(ctx)
		Expect(remotes).To(HaveLen(len(ids)))
		Expect(remotes[0].ID).To(Equal(ids[0]))
		Expect(remotes[0].Enabled).To(BeFalse(), "what was taken over is made as the spec says")
		Expect(sub.Status.Adopted).To(BeTrue())
		Expect(w.proxy.count(opCreate)).To(BeZero())
		w.rests(sub, hooklinetest.Current)
	})
}

func changing(v vendor) {
	for _, field := range slices.Sorted(maps.Keys(v.fields)) {
		It("updates "+field+" and nothing besides", func(ctx context.Context) {
			w := newWorld(ctx, v)
			w.fullSecrets(ctx)
			sub := w.subscription("field")
			w.create(ctx, sub)
			before := w.synced(ctx, sub)
			change(ctx, w, sub, v.fields[field])
			after := w.synced(ctx, sub)
			for i := range after {
				Expect(after[i].ID).To(Equal(before[i].ID))
				Expect(shown(after[i])).NotTo(Equal(shown(before[i])))
				Expect(after[i].Events).To(Equal(before[i].Events))
			}
			Expect(w.proxy.taken(opUpdate)).To(Equal(len(after)), "one change each")
			Expect(w.proxy.taken(opCreate, opDelete)).To(Equal(len(after)))
			w.rests(sub, hooklinetest.Current)
		})
	}

	It("changes the events", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("events")
		w.create(ctx, sub)
		before := w.synced(ctx, sub)
		wanted := append([]string{v.events[0]}, v.otherEvents...)
		change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.Events = wanted })
		after := w.synced(ctx, sub)
		Expect(eventsOf(after)).To(Equal(slices.Sorted(slices.Values(wanted))))
		kept := slices.ContainsFunc(after, func(s subscription.Subscription) bool {
			return slices.ContainsFunc(before, func(b subscription.Subscription) bool { return b.ID == s.ID })
		})
		Expect(kept).To(BeTrue(), "what can stay stays")
		w.rests(sub, hooklinetest.Current)
	})

	It("mends what somebody changed at the vendor", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("drift")
		w.create(ctx, sub)
		remote := w.synced(ctx, sub)[0]
		_, err := upstream.Tenant(w.ns).Update(ctx, remote.ID, subscription.Patch{URL: new(otherReceiver), Enabled: new(false)})
		Expect(err).NotTo(HaveOccurred())
		w.clock.Advance(pastInterval)
		w.advanceWhile(ctx, func() bool { return w.remotes(ctx)[0].URL != receiver })
		mended := w.synced(ctx, sub)[0]
		Expect(mended.ID).To(Equal(remote.ID))
		Expect(mended.Enabled).To(BeTrue())
		Expect(w.proxy.taken(opUpdate)).To(Equal(1), "one PATCH of what differs")
		w.rests(sub, hooklinetest.Current)
	})

	It("makes again what somebody deleted at the vendor", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("deleted")
		w.create(ctx, sub)
		before := w.synced(ctx, sub)
		Expect(upstream.Tenant(w.ns).Delete(ctx, before[0].ID)).To(Succeed())
		w.clock.Advance(pastInterval)
		w.advanceWhile(ctx, func() bool { return len(w.remotes(ctx)) < len(before) })
		after := w.synced(ctx, sub)
		Expect(after[0].ID).NotTo(Equal(before[0].ID))
		Expect(w.proxy.taken(opCreate)).To(Equal(len(before) + 1))
		w.rests(sub, hooklinetest.Current)
	})

	if v.secrets {
		It("gives the vendor a rotated secret", func(ctx context.Context) {
			w := newWorld(ctx, v)
			w.fullSecrets(ctx)
			sub := w.subscription("rotated", given)
			w.create(ctx, sub)
			before := w.synced(ctx, sub)
			digest := sub.Status.Secret.Digest
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "signing"}}
			change(ctx, w, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"key": []byte(v.other)} })
			Eventually(ctx, func() int { return w.proxy.taken(opUpdate) }).Should(Equal(len(before)))
			Eventually(ctx, func(ctx context.Context) (string, error) {
				err := w.client.Get(ctx, client.ObjectKeyFromObject(sub), sub)

				return sub.Status.Secret.Digest, err
			}).ShouldNot(Equal(digest))
			w.rests(sub, hooklinetest.Current)
		})
	} else {
		It("refuses a secret, because the vendor makes its own", func(ctx context.Context) {
			w := newWorld(ctx, v)
			w.secret(ctx, "signing", map[string]string{"key": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"})
			sub := w.subscription("given", given)
			w.create(ctx, sub)
			w.becomes(ctx, sub, v1alpha1.ConditionStalled, "True "+v1alpha1.ReasonUnsupportedByProvider)
			w.rests(sub, hooklinetest.Failed)
		})
	}
}

// faults are what goes wrong with a request once, by name. Those of a malformed answer and of a lost reply have the
// vendor carry it out.
var faults = map[string]fault{
	"an error of the vendor's": fails(http.StatusInternalServerError),
	"an overloaded vendor":     fails(http.StatusServiceUnavailable),
	"a reset connection":       resets,
	"a vendor that hangs":      hangs,
	"a slow vendor":            slow(300 * time.Millisecond),
	"a rate limit":             limited(5),
	"a malformed answer":       malformed,
	"a reply that is lost":     replyLost,
}

func enduring(v vendor) {
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		It("outlives "+name, func(ctx context.Context) {
			w := newWorld(ctx, v)
			w.proxy.inject(opCreate, 1, faults[name])
			w.proxy.inject(opList, 1, faults[name])
			sub := w.subscription("hardship")
			w.create(ctx, sub)
			w.advanceUntilSynced(ctx, sub)
			// A create at a vendor that keeps names unique looks at no list; the drift check does.
			for w.proxy.pending() > 0 {
				w.clock.Advance(pastInterval)
				Eventually(ctx, w.proxy.pending).Should(BeZero())
			}
			w.advanceUntilSynced(ctx, sub)
			Expect(eventsOf(w.synced(ctx, sub))).To(Equal(slices.Sorted(slices.Values(v.events))))
			w.rests(sub, hooklinetest.Current)
		})
	}

	It("outlives whatever goes wrong with a change", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("changing")
		w.create(ctx, sub)
		before := w.synced(ctx, sub)
		for i, name := range slices.Sorted(maps.Keys(faults)) {
			By(name)
			wanted := receiver + "/" + strconv.Itoa(i)
			w.proxy.inject(opUpdate, 1, faults[name])
			change(ctx, w, sub, func(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = wanted })
			w.advanceUntilSynced(ctx, sub)
			after := w.synced(ctx, sub)
			for j := range after {
				Expect(after[j].ID).To(Equal(before[j].ID))
				Expect(after[j].URL).To(Equal(wanted))
			}
		}
		Expect(w.proxy.taken(opCreate)).To(Equal(len(before)), "none is made again for a change")
		Expect(w.proxy.count(opDelete)).To(BeZero())
		w.rests(sub, hooklinetest.Current)
	})

	It("asks no more than it was told to after a rate limit", func(ctx context.Context) {
		w := newWorld(ctx, v)
		w.proxy.inject(opCreate, 1, limited(600))
		sub := w.subscription("limited")
		w.create(ctx, sub)
		Eventually(ctx, w.proxy.pending).Should(BeZero())
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonRateLimited)
		before := w.proxy.count()
		w.clock.Advance(5 * time.Minute)
		Consistently(func() int { return w.proxy.count() }).WithTimeout(time.Second).Should(Equal(before))
		w.clock.Advance(6 * time.Minute)
		w.synced(ctx, sub)
		w.rests(sub, hooklinetest.Current)
	})

	It("waits for credentials that work, and goes on with them", func(ctx context.Context) {
		w := newBareWorld(ctx, v)
		wrong := "wrong-wrong-wrong-wrong-wrong-wrong-wrong"
		w.texts = append(w.texts, wrong)
		secret := w.secret(ctx, credentials, v.credentials(w.ns, wrong))
		provider := w.provider()
		w.create(ctx, provider)
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonCredentialsRejected)
		sub := w.subscription("waiting")
		w.create(ctx, sub)
		w.becomes(ctx, sub, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonProviderNotReady)
		change(ctx, w, secret, func(s *corev1.Secret) {
			for key, value := range v.credentials(w.ns, w.token) {
				s.Data[key] = []byte(value)
			}
		})
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "True "+v1alpha1.ReasonAvailable)
		w.synced(ctx, sub)
		w.refusals = true
		w.rests(sub, hooklinetest.Current)
		w.restingProvider(hooklinetest.Current)
	})

	It("tells an unreachable vendor from wrong credentials", func(ctx context.Context) {
		w := newBareWorld(ctx, v)
		w.secret(ctx, credentials, v.credentials(w.ns, w.token))
		w.proxy.inject(opAny, forever, resets)
		provider := w.provider()
		w.create(ctx, provider)
		w.becomes(ctx, provider, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonUnreachable)
		w.proxy.heal()
		w.advanceUntil(ctx, provider)
		w.restingProvider(hooklinetest.Current)
	})
}

func deleting(v vendor) {
	It("deletes what it made", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("farewell")
		w.create(ctx, sub)
		w.synced(ctx, sub)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		Expect(w.remotes(ctx)).To(BeEmpty())
		w.restingProvider(hooklinetest.Current)
	})

	It("outlives whatever goes wrong with a deletion", func(ctx context.Context) {
		w := newWorld(ctx, v)
		for i, name := range slices.Sorted(maps.Keys(faults)) {
			By(name)
			sub := w.subscription("farewell-" + strconv.Itoa(i))
			w.create(ctx, sub)
			w.advanceUntilSynced(ctx, sub)
			w.synced(ctx, sub)
			w.proxy.inject(opDelete, 1, faults[name])
			Expect(w.client.Delete(ctx, sub)).To(Succeed())
			w.advanceWhile(ctx, func() bool { return w.client.Get(ctx, client.ObjectKeyFromObject(sub), sub) == nil })
			Expect(w.remotes(ctx)).To(BeEmpty())
		}
		w.restingProvider(hooklinetest.Current)
	})

	It("leaves behind what it is told to", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("orphan", func(sub *v1alpha1.WebhookSubscription) {
			sub.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
		})
		w.create(ctx, sub)
		before := w.synced(ctx, sub)
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		Expect(w.remotes(ctx)).To(HaveLen(len(before)))
		Expect(w.proxy.count(opDelete)).To(BeZero())
		w.restingProvider(hooklinetest.Current)
	})

	It("deletes what it made with the credentials it had, when they and the provider go first", func(ctx context.Context) {
		w := newWorld(ctx, v)
		sub := w.subscription("bereft")
		w.create(ctx, sub)
		w.synced(ctx, sub)
		provider := &v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: providerName}}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: credentials}}
		Expect(w.client.Delete(ctx, secret)).To(Succeed())
		Expect(w.client.Delete(ctx, provider)).To(Succeed())
		Expect(w.client.Delete(ctx, sub)).To(Succeed())
		w.gone(ctx, sub)
		Expect(w.remotes(ctx)).To(BeEmpty())
		w.gone(ctx, provider)
		other := &v1alpha1.WebhookProvider{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "dispatcher"},
			Spec:       v1alpha1.WebhookProviderSpec{Dispatcher: &v1alpha1.DispatcherProvider{}},
		}
		w.create(ctx, other)
		w.rests(other, hooklinetest.Current)
	})
}

// holdsSecret checks that the Secret of a generated signing secret holds what the vendor signs with.
func (w *world) holdsSecret(ctx context.Context, sub *v1alpha1.WebhookSubscription) {
	GinkgoHelper()
	Expect(sub.Status.Secret).NotTo(BeNil())
	var secret corev1.Secret
	Expect(w.client.Get(ctx, client.ObjectKey{Namespace: w.ns, Name: sub.Status.Secret.Name}, &secret)).To(Succeed())
	Expect(metav1.IsControlledBy(&secret, sub)).To(BeTrue())
	text := string(secret.Data[sub.Status.Secret.Key])
	Expect(text).NotTo(BeEmpty())
	asJSON := shown(text)
	for _, exchange := range w.proxy.since(0) {
		if exchange.Op == opCreate && exchange.Status/100 == 2 {
			Expect(exchange.Sent+exchange.Got).To(ContainSubstring(asJSON), "the vendor signs with what the Secret holds")
		}
	}
}

// birdID is the id by which Bird knows the subscription of one event.
func (w *world) birdID(ctx context.Context, event string) string {
	GinkgoHelper()
	api, err := bird.NewClient(bird.ClientConfig{
		BaseURL: upstreamURL, WorkspaceID: bird.WorkspaceID(w.ns),
		AccessKey: func(context.Context) (string, error) { return w.token, nil },
	})
	Expect(err).NotTo(HaveOccurred())
	list, err := api.List(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, one := range list {
		if slices.Equal(one.Events, []string{event}) {
			return one.ID
		}
	}
	Fail("Bird has no subscription of " + event)

	return ""
}

// advanceUntilSynced puts the clock forward, as time goes by where something has to be waited for, until a
// subscription is Ready.
func (w *world) advanceUntilSynced(ctx context.Context, sub *v1alpha1.WebhookSubscription) {
	GinkgoHelper()
	w.advanceUntil(ctx, sub)
}

// advanceWhile puts the clock forward while something has not happened yet: a jump of the clock makes requests
// come so fast that a vendor may have one wait. Vendors count by real time, so this goes on slowly.
func (w *world) advanceWhile(ctx context.Context, waiting func() bool) {
	GinkgoHelper()
	Eventually(ctx, func() bool {
		still := waiting()
		if still {
			w.clock.Advance(5 * time.Second)
		}

		return still
	}).WithPolling(time.Second).Should(BeFalse())
}

func (w *world) advanceUntil(ctx context.Context, object client.Object) {
	GinkgoHelper()
	Eventually(ctx, func(ctx context.Context) (bool, error) {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return false, err
		}
		conditions, observed := statusOf(object)
		ready := slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
			return c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue
		})
		if !ready {
			w.clock.Advance(5 * time.Second)
		}

		return ready && observed == object.GetGeneration(), nil
	}).Should(BeTrue(), "%s", asLines{object})
}
