package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// What omitted fields mean. They stand here and not in the schema, so that a resource is stored as it was written.
const (
	// DefaultInterval is spec.interval of a provider when it is omitted.
	DefaultInterval = 5 * time.Minute
	// DefaultRequestTimeout is spec.timeout of a provider when it is omitted.
	DefaultRequestTimeout = 15 * time.Second
	// DefaultDixaURL is spec.dixa.url when it is omitted.
	DefaultDixaURL = "https://dev.dixa.io"
	// DefaultBirdURL is spec.bird.url when it is omitted.
	DefaultBirdURL = "https://api.bird.com"

	defaultHTTPPort  = 80
	defaultHTTPSPort = 443
)

const (
	signingSecretSuffix = "-signing-secret"
	maxObjectNameLength = 253
	nameHashLength      = 10
)

// EnabledOrDefault is spec.enabled, true when omitted.
func (s *WebhookSubscriptionSpec) EnabledOrDefault() bool {
	return s.Enabled == nil || *s.Enabled
}

// ManagementPolicyOrDefault is spec.managementPolicy, Full when omitted.
func (s *WebhookSubscriptionSpec) ManagementPolicyOrDefault() ManagementPolicy {
	if s.ManagementPolicy == "" {
		return ManagementPolicyFull
	}

	return s.ManagementPolicy
}

// AdoptionPolicyOrDefault is spec.adoptionPolicy, Never when omitted.
func (s *WebhookSubscriptionSpec) AdoptionPolicyOrDefault() AdoptionPolicy {
	if s.AdoptionPolicy == "" {
		return AdoptionPolicyNever
	}

	return s.AdoptionPolicy
}

// DeletionPolicyOrDefault is spec.deletionPolicy. When omitted it is Orphan for a subscription that was adopted or
// is only observed, and Delete for one that Hookline created.
func (s *WebhookSubscription) DeletionPolicyOrDefault() DeletionPolicy {
	switch {
	case s.Spec.DeletionPolicy != "":
		return s.Spec.DeletionPolicy
	case s.Status.Adopted, s.Spec.SubscriptionID != "", s.Spec.ManagementPolicyOrDefault() == ManagementPolicyObserveOnly:
		return DeletionPolicyOrphan
	default:
		return DeletionPolicyDelete
	}
}

// SecretRefOrDefault is spec.secretRef, or the reference to the Secret that Hookline generates when it is omitted;
// generated tells which.
func (s *WebhookSubscription) SecretRefOrDefault() (ref SecretKeyReference, generated bool) {
	if s.Spec.SecretRef != nil {
		return *s.Spec.SecretRef, false
	}

	return SecretKeyReference{Name: s.GeneratedSecretName(), Key: SecretKeySigning}, true
}

// GeneratedSecretName is the name of the Secret that holds a generated signing secret: this resource's name with
// "-signing-secret" appended, a name that is too long being cut and told apart by a hash.
func (s *WebhookSubscription) GeneratedSecretName() string {
	return cutWithHash(s.Name, maxObjectNameLength-len(signingSecretSuffix)) + signingSecretSuffix
}

// NameOrDefault is spec.name. When omitted it is derived: the namespace, the name and the identity of the Hookline
// installation, joined by dots, and cut to 128 characters with a hash, so that two never become one.
func (s *WebhookSubscription) NameOrDefault(installation string) string {
	if s.Spec.Name != "" {
		return s.Spec.Name
	}

	return cutWithHash(s.Namespace+"."+s.Name+"."+installation, MaxNameLength)
}

// cutWithHash returns the text, or where it is longer than the limit its beginning and a hash of the whole.
func cutWithHash(text string, limit int) string {
	if len(text) <= limit {
		return text
	}

	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:])[:nameHashLength]

	return strings.TrimRight(text[:limit-nameHashLength-1], "-.") + "-" + hash
}

// EffectiveURL is the URL to which events are delivered: spec.url, or the cluster-internal one of spec.serviceRef.
func (s *WebhookSubscription) EffectiveURL() string {
	if s.Spec.ServiceRef == nil {
		return s.Spec.URL
	}

	ref := s.Spec.ServiceRef
	scheme, port, path := "http", int32(defaultHTTPPort), "/"

	if ref.Scheme == ServiceSchemeHTTPS {
		scheme, port = "https", defaultHTTPSPort
	}

	if ref.Port != nil {
		port = *ref.Port
	}

	if ref.Path != "" {
		path = ref.Path
	}

	return fmt.Sprintf("%s://%s.%s.svc:%s%s", scheme, ref.Name, s.Namespace, strconv.Itoa(int(port)), path)
}

// TimeoutOrZero is spec.delivery.timeout, zero when omitted: the provider's or format's own. Text that is not a
// duration, which validation refuses, is zero as well.
func (d *Delivery) TimeoutOrZero() time.Duration {
	if d == nil {
		return 0
	}

	return durationOr(d.Timeout, 0)
}

// OrderingOrDefault is spec.delivery.ordering, None when omitted.
func (d *Delivery) OrderingOrDefault() DeliveryOrdering {
	if d == nil || d.Ordering == "" {
		return DeliveryOrderingNone
	}

	return d.Ordering
}

// StrategyOrDefault is the strategy of a filter, All when omitted.
func (f *DixaFilter) StrategyOrDefault() DixaFilterStrategy {
	if f.Strategy == "" {
		return DixaFilterAll
	}

	return f.Strategy
}

// IntervalOrDefault is spec.interval, 5m when omitted.
func (s *ProviderSettings) IntervalOrDefault() time.Duration {
	return durationOr(s.Interval, DefaultInterval)
}

// TimeoutOrDefault is spec.timeout, 15s when omitted.
func (s *ProviderSettings) TimeoutOrDefault() time.Duration {
	return durationOr(s.Timeout, DefaultRequestTimeout)
}

// DefaultOrFalse is spec.default, false when omitted.
func (s *ProviderSettings) DefaultOrFalse() bool {
	return s.Default != nil && *s.Default
}

// BurstOrDefault is the burst of a rate limit, requestsPerSecond when omitted.
func (l *ProviderRateLimit) BurstOrDefault() int32 {
	if l.Burst == nil {
		return l.RequestsPerSecond
	}

	return *l.Burst
}

func durationOr(text string, otherwise time.Duration) time.Duration {
	if text == "" {
		return otherwise
	}

	d, err := time.ParseDuration(text)
	if err != nil {
		return otherwise
	}

	return d
}

// Provider is what WebhookProvider and ClusterWebhookProvider have in common, so that code that uses a provider
// need not tell the two apart.
//
// +kubebuilder:object:generate=false
type Provider interface {
	metav1.Object
	runtime.Object

	// ProviderKind is the kind of the resource.
	ProviderKind() ProviderKind
	// Resolved is the spec in the form of the cluster kind: the references of a WebhookProvider name its namespace,
	// its tenant is filled in, and it allows its own namespace. The caller may change what is returned.
	Resolved() ClusterWebhookProviderSpec
	// Settings are the settings that every provider has.
	Settings() *ProviderSettings
	// ProviderStatus is the status, for reading and writing.
	ProviderStatus() *ProviderStatus
	// Type is the kind of API that the provider speaks, by which arm of the spec is set; empty when none is.
	Type() ProviderType
}

var (
	_ Provider = &WebhookProvider{}
	_ Provider = &ClusterWebhookProvider{}
)

// ProviderKind is WebhookProvider.
func (p *WebhookProvider) ProviderKind() ProviderKind { return ProviderKindNamespaced }

// ProviderKind is ClusterWebhookProvider.
func (p *ClusterWebhookProvider) ProviderKind() ProviderKind { return ProviderKindCluster }

// Settings are the settings that every provider has.
func (p *WebhookProvider) Settings() *ProviderSettings { return &p.Spec.ProviderSettings }

// Settings are the settings that every provider has.
func (p *ClusterWebhookProvider) Settings() *ProviderSettings { return &p.Spec.ProviderSettings }

// ProviderStatus is the status, for reading and writing.
func (p *WebhookProvider) ProviderStatus() *ProviderStatus { return &p.Status }

// ProviderStatus is the status, for reading and writing.
func (p *ClusterWebhookProvider) ProviderStatus() *ProviderStatus { return &p.Status }

// Type is the kind of API that the provider speaks; empty when no arm of the spec is set.
func (p *WebhookProvider) Type() ProviderType {
	return providerType(p.Spec.Dispatcher != nil, p.Spec.Vonage != nil, p.Spec.Dixa != nil, p.Spec.Bird != nil)
}

// Type is the kind of API that the provider speaks; empty when no arm of the spec is set.
func (p *ClusterWebhookProvider) Type() ProviderType {
	return providerType(p.Spec.Dispatcher != nil, p.Spec.Vonage != nil, p.Spec.Dixa != nil, p.Spec.Bird != nil)
}

func providerType(dispatcher, vonage, dixa, bird bool) ProviderType {
	switch {
	case dispatcher:
		return ProviderTypeDispatcher
	case vonage:
		return ProviderTypeVonage
	case dixa:
		return ProviderTypeDixa
	case bird:
		return ProviderTypeBird
	default:
		return ""
	}
}

// Resolved is a copy of the spec.
func (p *ClusterWebhookProvider) Resolved() ClusterWebhookProviderSpec { return *p.Spec.DeepCopy() }

// Resolved is the spec in the form of the cluster kind, seen from the provider's own namespace.
func (p *WebhookProvider) Resolved() ClusterWebhookProviderSpec {
	own := p.Spec.DeepCopy()
	resolved := ClusterWebhookProviderSpec{
		ProviderSettings:  own.ProviderSettings,
		AllowedNamespaces: &NamespaceSelection{Names: []string{p.Namespace}},
	}

	if d := own.Dispatcher; d != nil {
		if d.Tenant == "" {
			d.Tenant = TenantName(p.Namespace)
		}

		resolved.Dispatcher = &ClusterDispatcherProvider{
			URL: d.URL, Tenant: d.Tenant, TokenSecretRef: d.TokenSecretRef.inNamespace(p.Namespace),
		}
	}

	if v := own.Vonage; v != nil {
		resolved.Vonage = &ClusterVonageProvider{
			VonageAccount: v.VonageAccount, TokenSecretRef: v.TokenSecretRef.inNamespace(p.Namespace),
		}
		if v.ClientCredentials != nil {
			resolved.Vonage.ClientCredentials = &ClusterClientCredentials{
				SecretRef: ClusterSecretReference{Namespace: p.Namespace, Name: v.ClientCredentials.SecretRef.Name},
			}
		}
	}

	if d := own.Dixa; d != nil {
		resolved.Dixa = &ClusterDixaProvider{URL: d.URL, TokenSecretRef: *d.TokenSecretRef.inNamespace(p.Namespace)}
	}

	if b := own.Bird; b != nil {
		resolved.Bird = &ClusterBirdProvider{
			BirdAccount: b.BirdAccount, AccessKeySecretRef: *b.AccessKeySecretRef.inNamespace(p.Namespace),
		}
	}

	return resolved
}

func (r *SecretKeyReference) inNamespace(namespace string) *ClusterSecretKeyReference {
	if r == nil {
		return nil
	}

	return &ClusterSecretKeyReference{Namespace: namespace, Name: r.Name, Key: r.Key}
}

// Selects reports whether the selection has a namespace, given the namespace's labels. A nil selection has none.
// The error is of a selector that cannot be parsed.
func (s *NamespaceSelection) Selects(namespace string, labelsOfNamespace map[string]string) (bool, error) {
	if s == nil {
		return false, nil
	}

	if slices.Contains(s.Names, namespace) {
		return true, nil
	}

	if s.Selector == nil {
		return false, nil
	}

	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	if err != nil {
		return false, fmt.Errorf("reading the namespace selector: %w", err)
	}

	return selector.Matches(labels.Set(labelsOfNamespace)), nil
}
