package v1alpha1_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

func TestDefaults(t *testing.T) {
	empty := sub(func(*v1alpha1.WebhookSubscriptionSpec) {})
	settings := &v1alpha1.ProviderSettings{}

	ref, generated := empty.SecretRefOrDefault()

	cases := map[string]struct {
		reason    string
		got, want any
	}{
		"enabled":          {reason: "a subscription delivers", got: empty.Spec.EnabledOrDefault(), want: true},
		"managementPolicy": {reason: "Hookline manages", got: empty.Spec.ManagementPolicyOrDefault(), want: v1alpha1.ManagementPolicyFull},
		"adoptionPolicy":   {reason: "nothing is taken over", got: empty.Spec.AdoptionPolicyOrDefault(), want: v1alpha1.AdoptionPolicyNever},
		"ordering":         {reason: "no order", got: empty.Spec.Delivery.OrderingOrDefault(), want: v1alpha1.DeliveryOrderingNone},
		"timeout":          {reason: "the provider's own", got: empty.Spec.Delivery.TimeoutOrZero(), want: time.Duration(0)},
		"secretRef":        {reason: "named after the resource", got: ref, want: v1alpha1.SecretKeyReference{Name: "case-signing-secret", Key: "secret"}},
		"generated":        {reason: "nothing was given", got: generated, want: true},
		"interval":         {reason: "five minutes", got: settings.IntervalOrDefault(), want: 5 * time.Minute},
		"request timeout":  {reason: "fifteen seconds", got: settings.TimeoutOrDefault(), want: 15 * time.Second},
		"default":          {reason: "no provider is the default by itself", got: settings.DefaultOrFalse(), want: false},
		"burst":            {reason: "as much as in a second", got: (&v1alpha1.ProviderRateLimit{RequestsPerSecond: 7}).BurstOrDefault(), want: int32(7)},
		"strategy":         {reason: "all conditions", got: (&v1alpha1.DixaFilter{}).StrategyOrDefault(), want: v1alpha1.DixaFilterAll},
	}

	for name, c := range cases {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", name, c.reason, diff)
		}
	}
}

func TestDeletionPolicyOrDefault(t *testing.T) {
	cases := map[string]struct {
		reason  string
		spec    func(*v1alpha1.WebhookSubscriptionSpec)
		adopted bool
		want    v1alpha1.DeletionPolicy
	}{
		"created":  {reason: "Hookline made it", spec: func(*v1alpha1.WebhookSubscriptionSpec) {}, want: v1alpha1.DeletionPolicyDelete},
		"adopted":  {reason: "somebody else made it", spec: func(*v1alpha1.WebhookSubscriptionSpec) {}, adopted: true, want: v1alpha1.DeletionPolicyOrphan},
		"by id":    {reason: "somebody else made it", spec: func(s *v1alpha1.WebhookSubscriptionSpec) { s.SubscriptionID = "a" }, want: v1alpha1.DeletionPolicyOrphan},
		"observed": {reason: "nothing is changed", spec: func(s *v1alpha1.WebhookSubscriptionSpec) { s.ManagementPolicy = v1alpha1.ManagementPolicyObserveOnly }, want: v1alpha1.DeletionPolicyOrphan},
		"asked":    {reason: "the spec says so", spec: func(s *v1alpha1.WebhookSubscriptionSpec) { s.DeletionPolicy = v1alpha1.DeletionPolicyDelete }, adopted: true, want: v1alpha1.DeletionPolicyDelete},
	}

	for name, c := range cases {
		subscription := sub(c.spec)
		subscription.Status.Adopted = c.adopted

		if got := subscription.DeletionPolicyOrDefault(); got != c.want {
			t.Errorf("%s: %s: got %s, want %s", name, c.reason, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	long := sub(func(*v1alpha1.WebhookSubscriptionSpec) {})
	long.Name = strings.Repeat("a", 253)
	other := long.DeepCopy()
	other.Name = long.Name[:252] + "b"

	if got := sub(func(*v1alpha1.WebhookSubscriptionSpec) {}).NameOrDefault("i1"); got != testNamespace+".case.i1" {
		t.Errorf("The derived name is %q", got)
	}

	if got := withName("given").NameOrDefault("i1"); got != "given" {
		t.Errorf("A given name became %q", got)
	}

	for what, name := range map[string]func(*v1alpha1.WebhookSubscription) string{
		"name":   func(s *v1alpha1.WebhookSubscription) string { return s.NameOrDefault("i1") },
		"secret": (*v1alpha1.WebhookSubscription).GeneratedSecretName,
	} {
		limit := map[string]int{"name": v1alpha1.MaxNameLength, "secret": 253}[what]
		if got := name(long); len(got) > limit || got == name(other) || got != name(long.DeepCopy()) {
			t.Errorf("The long %s %q is too long, not unique or not stable", what, got)
		}
	}

	if long.NameOrDefault("i1") == long.NameOrDefault("i2") {
		t.Error("Two installations derive the same name")
	}
}

func TestEffectiveURL(t *testing.T) {
	cases := map[string]struct {
		reason string
		object *v1alpha1.WebhookSubscription
		want   string
	}{
		"url":   {reason: "as written", object: withURL("https://example.com/a?b"), want: "https://example.com/a?b"},
		"http":  {reason: "80 is the port of HTTP", object: withService(v1alpha1.ServiceReference{Name: "in"}), want: "http://in.hookline-demo.svc:80/"},
		"https": {reason: "443 is the port of HTTPS", object: withService(v1alpha1.ServiceReference{Name: "in", Scheme: v1alpha1.ServiceSchemeHTTPS}), want: "https://in.hookline-demo.svc:443/"},
		"full": {
			reason: "as written",
			object: withService(v1alpha1.ServiceReference{Name: "in", Port: ptr.To[int32](8080), Path: "/x?y=z"}),
			want:   "http://in.hookline-demo.svc:8080/x?y=z",
		},
	}

	for name, c := range cases {
		got := c.object.EffectiveURL()
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", name, c.reason, diff)
		}

		// What a serviceRef stands for must pass the rules of spec.url.
		if errs := withURL(got).Validate(); len(errs) > 0 {
			t.Errorf("%s: %q is no valid url: %v", name, got, errs)
		}
	}
}

// TestResolved compares a WebhookProvider in the form of the cluster kind with the provider it was made from.
func TestResolved(t *testing.T) {
	for name, spec := range map[string]v1alpha1.ClusterWebhookProviderSpec{
		"embedded":   embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Interval = "1m" }),
		"dispatcher": dispatcherAt("https://hooks.example.com"),
		"vonage":     vonage(func(*v1alpha1.ClusterVonageProvider) {}),
		"dixa":       dixa(func(*v1alpha1.ClusterDixaProvider) {}),
		"bird":       bird(func(b *v1alpha1.ClusterBirdProvider) { b.URL = "https://bird.example.com" }),
	} {
		want := spec.DeepCopy()
		want.AllowedNamespaces = &v1alpha1.NamespaceSelection{Names: []string{testNamespace}}

		var provider v1alpha1.Provider = namespacedProvider(spec)
		if diff := cmp.Diff(*want, provider.Resolved()); diff != "" {
			t.Errorf("%s: Resolved() (-want +got):\n%s", name, diff)
		}

		if cluster := clusterProvider(spec); cluster.Type() != provider.Type() || provider.Type() == "" {
			t.Errorf("%s: Type() is %q and %q", name, cluster.Type(), provider.Type())
		}
	}

	var unnamed v1alpha1.Provider = namespacedProvider(embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Dispatcher.Tenant = "" }))
	if got := unnamed.Resolved().Dispatcher.Tenant; got != testNamespace {
		t.Errorf("A namespaced provider's tenant is %q, not its namespace", got)
	}
}

func TestSelects(t *testing.T) {
	labelled := map[string]string{"hooks": "yes"}
	cases := map[string]struct {
		reason    string
		selection *v1alpha1.NamespaceSelection
		want      bool
	}{
		"nil":      {reason: "omitted selects none"},
		"name":     {reason: "it is listed", selection: &v1alpha1.NamespaceSelection{Names: []string{"b", "a"}}, want: true},
		"others":   {reason: "it is not listed", selection: &v1alpha1.NamespaceSelection{Names: []string{"b"}}},
		"all":      {reason: "the empty selector selects all", selection: &v1alpha1.NamespaceSelection{Selector: &metav1.LabelSelector{}}, want: true},
		"label":    {reason: "it has the label", selection: &v1alpha1.NamespaceSelection{Selector: &metav1.LabelSelector{MatchLabels: labelled}}, want: true},
		"no label": {reason: "it has another", selection: &v1alpha1.NamespaceSelection{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"hooks": "no"}}}},
		"either":   {reason: "one of both is enough", selection: &v1alpha1.NamespaceSelection{Names: []string{"b"}, Selector: &metav1.LabelSelector{MatchLabels: labelled}}, want: true},
	}

	for name, c := range cases {
		got, err := c.selection.Selects("a", labelled)
		if err != nil || got != c.want {
			t.Errorf("%s: %s: got %t, %v", name, c.reason, got, err)
		}
	}

	broken := &v1alpha1.NamespaceSelection{Selector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Has"}},
	}}
	if _, err := broken.Selects("a", nil); err == nil {
		t.Error("A selector that cannot be read selects without an error")
	}
}
