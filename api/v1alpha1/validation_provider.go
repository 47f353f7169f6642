package v1alpha1

import (
	"regexp"
	"slices"
	"strings"
	"time"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	baseURLExpression  = regexp.MustCompile(`^https?://[^/?#@:][^?#@]*$`)
	proxyURLExpression = regexp.MustCompile(`^https?://[^/?#@:][^/?#@]*/?$`)
	birdIDExpression   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

const (
	maxCABundle        = 65536
	maxBirdID          = 36
	maxRequestRate     = 1000
	maxNamespaceNames  = 100
	minInterval        = 10 * time.Second
	maxInterval        = 24 * time.Hour
	minRequestTimeout  = time.Second
	maxRequestTimeout  = time.Minute
	messageOneArm      = "spec.dispatcher, spec.vonage, spec.dixa and spec.bird: set exactly one; remove the others"
	messageOneRegion   = "spec.vonage.region and spec.vonage.url: set exactly one; remove the other"
	messageCredentials = "spec.vonage.clientCredentials and spec.vonage.tokenSecretRef: set exactly one; remove the other"
	messageTokenURL    = "spec.vonage.tokenURL: spec.vonage.url does not say where tokens are issued; set " +
		"spec.vonage.tokenURL, or use spec.vonage.tokenSecretRef"
	messageTokenURLUse = "spec.vonage.tokenURL: is used with spec.vonage.clientCredentials only; remove it"
	messageKindOfAPI   = "spec: the kind of API (dispatcher, vonage, dixa, bird) cannot be changed; create another " +
		"provider and point spec.providerRef at it"
	messageImmutable = "cannot be changed, because subscriptions would be left behind; create another provider"
	messageEmbedded  = "spec.caBundle, spec.proxyURL and spec.timeout: the embedded dispatcher is not called over a " +
		"network; remove them, or set spec.dispatcher.url"
	messageDispatcherToken = "spec.dispatcher.url and spec.dispatcher.tokenSecretRef: a dispatcher elsewhere needs both " +
		"and the embedded one neither; set both, or remove both"
)

// Validate checks the resource by the rules of the schema and returns what it refuses, nil when it is valid. Beyond
// the schema, which cannot see them, it checks that the tenant of the embedded dispatcher is the namespace and that
// label selectors can be read.
func (p *WebhookProvider) Validate() field.ErrorList {
	path := field.NewPath("spec")

	var errs field.ErrorList

	// Resolving fills in the tenant and namespaces, which makes the cluster kind's rules those of this kind.
	resolved := p.Resolved()
	resolved.AllowedNamespaces = nil
	namespaceOf := func(*field.Path, string) field.ErrorList { return nil }

	if d := p.Spec.Dispatcher; d != nil && d.URL == "" && d.Tenant != "" && string(d.Tenant) != p.Namespace {
		errs = append(errs, field.Invalid(path.Child("dispatcher", "tenant"), string(d.Tenant),
			"spec.dispatcher.tenant: at the embedded dispatcher the tenant is the namespace of the provider; remove "+
				"spec.dispatcher.tenant, or use a ClusterWebhookProvider"))
	}

	return append(errs, resolved.validate(path, namespaceOf)...)
}

// ValidateUpdate checks what Validate checks, and that nothing was changed that cannot be.
func (p *WebhookProvider) ValidateUpdate(old *WebhookProvider) field.ErrorList {
	// A tenant that is written out later is a change, even of the one that was meant.
	before, after := old.Resolved(), p.Resolved()
	if before.Dispatcher != nil && after.Dispatcher != nil {
		before.Dispatcher.Tenant, after.Dispatcher.Tenant = old.Spec.Dispatcher.Tenant, p.Spec.Dispatcher.Tenant
	}

	return append(p.Validate(), after.validateUpdate(field.NewPath("spec"), &before)...)
}

// Validate checks the resource by the rules of the schema and returns what it refuses, nil when it is valid. Beyond
// the schema, which cannot see them, it checks that label selectors can be read.
func (p *ClusterWebhookProvider) Validate() field.ErrorList {
	path := field.NewPath("spec")
	errs := p.Spec.validate(path, validateNamespace)

	if p.Spec.Dispatcher != nil && p.Spec.Dispatcher.Tenant == "" {
		errs = append(errs, field.Required(path.Child("dispatcher", "tenant"), ""))
	}

	return errs
}

// ValidateUpdate checks what Validate checks, and that nothing was changed that cannot be.
func (p *ClusterWebhookProvider) ValidateUpdate(old *ClusterWebhookProvider) field.ErrorList {
	return append(p.Validate(), p.Spec.validateUpdate(field.NewPath("spec"), &old.Spec)...)
}

// namespaceCheck checks the namespace of a reference to a Secret, where the kind has one.
type namespaceCheck func(path *field.Path, namespace string) field.ErrorList

func validateNamespace(path *field.Path, namespace string) field.ErrorList {
	return text(path, namespace, maxLabel, matches(labelExpression, "namespace: is not the name of a namespace; use "+
		"lower-case letters, digits and dashes, beginning and ending with a letter or digit"))
}

func (s *ClusterWebhookProviderSpec) arms() []bool {
	return []bool{s.Dispatcher != nil, s.Vonage != nil, s.Dixa != nil, s.Bird != nil}
}

func (s *ClusterWebhookProviderSpec) validate(path *field.Path, ns namespaceCheck) field.ErrorList {
	var errs field.ErrorList

	set := slices.DeleteFunc(s.arms(), func(set bool) bool { return !set })
	if len(set) != 1 {
		errs = append(errs, invalid(path, messageOneArm))
	}

	if s.Dispatcher != nil && s.Dispatcher.URL == "" && (s.CABundle != "" || s.ProxyURL != "" || s.Timeout != "") {
		errs = append(errs, invalid(path, messageEmbedded))
	}

	errs = append(errs, s.ProviderSettings.validate(path)...)
	errs = append(errs, s.AllowedNamespaces.validate(path.Child("allowedNamespaces"))...)
	errs = append(errs, s.Dispatcher.validate(path.Child("dispatcher"), ns)...)
	errs = append(errs, s.Vonage.validate(path.Child("vonage"), ns)...)
	errs = append(errs, s.Dixa.validate(path.Child("dixa"), ns)...)

	return append(errs, s.Bird.validate(path.Child("bird"), ns)...)
}

func (s *ProviderSettings) validate(path *field.Path) field.ErrorList {
	errs := duration(path.Child("interval"), s.Interval, minInterval, maxInterval,
		"spec.interval: must be a duration from 10s to 24h; write it like 5m")
	errs = append(errs, duration(path.Child("timeout"), s.Timeout, minRequestTimeout, maxRequestTimeout,
		"spec.timeout: must be a duration from 1s to 60s; write it like 15s")...)

	if limit := s.RateLimit; limit != nil {
		errs = append(errs, inRange(path.Child("rateLimit", "requestsPerSecond"), limit.RequestsPerSecond, maxRequestRate)...)
		errs = append(errs, between(path.Child("rateLimit", "burst"), limit.Burst, maxRequestRate)...)
	}

	errs = append(errs, s.Adoption.validate(path.Child("adoption"))...)
	errs = append(errs, optional(path.Child("caBundle"), s.CABundle, 1, maxCABundle, rule{
		func(s string) bool {
			return strings.Contains(s, "-----BEGIN CERTIFICATE-----") && !strings.Contains(s, "PRIVATE KEY")
		},
		"spec.caBundle: must hold certificates in PEM and no private key; paste the text from -----BEGIN " +
			"CERTIFICATE----- to -----END CERTIFICATE-----",
	})...)

	return append(errs, optional(path.Child("proxyURL"), s.ProxyURL, 1, MaxURLLength, rule{
		func(s string) bool { return isURL(s) && proxyURLExpression.MatchString(s) },
		"spec.proxyURL: must be http:// or https:// with a host, and neither user information nor a path; write it " +
			"like http://proxy.example.com:3128",
	})...)
}

func (s *NamespaceSelection) validate(path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}

	var errs field.ErrorList

	if len(s.Names) == 0 && s.Selector == nil {
		errs = append(errs, invalid(path, "names and selector: set at least one; list namespaces in names, or set "+
			"selector ({} selects every namespace)"))
	}

	names := path.Child("names")
	errs = append(errs, items(names, len(s.Names), 0, maxNamespaceNames)...)

	for i, name := range s.Names {
		if slices.Contains(s.Names[:i], name) {
			errs = append(errs, field.Duplicate(names.Index(i), name))
		}

		errs = append(errs, text(names.Index(i), name, maxLabel, matches(labelExpression, "names: is not the name of a "+
			"namespace; use lower-case letters, digits and dashes, beginning and ending with a letter or digit"))...)
	}

	if s.Selector != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(s.Selector,
			metav1validation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
	}

	return errs
}

func (u ProviderURL) validate(path *field.Path) field.ErrorList {
	return optional(path, string(u), 1, MaxURLLength, rule{
		func(s string) bool { return isURL(s) && baseURLExpression.MatchString(s) },
		"url: must be an absolute http:// or https:// URL with a host, and neither user information, query nor " +
			"fragment; write it like https://api.example.com",
	})
}

func (d *ClusterDispatcherProvider) validate(path *field.Path, ns namespaceCheck) field.ErrorList {
	if d == nil {
		return nil
	}

	var errs field.ErrorList

	if (d.URL != "") != (d.TokenSecretRef != nil) {
		errs = append(errs, invalid(path, messageDispatcherToken))
	}

	errs = append(errs, d.URL.validate(path.Child("url"))...)
	errs = append(errs, optional(path.Child("tenant"), string(d.Tenant), 1, maxLabel, matches(labelExpression,
		"spec.dispatcher.tenant: may hold lower-case letters, digits and dashes, and neither begins nor ends with a "+
			"dash; write it like support"))...)

	return append(errs, d.TokenSecretRef.validate(path.Child("tokenSecretRef"), ns)...)
}

func (v *ClusterVonageProvider) validate(path *field.Path, ns namespaceCheck) field.ErrorList {
	if v == nil {
		return nil
	}

	var errs field.ErrorList

	if (v.Region != "") == (v.URL != "") {
		errs = append(errs, invalid(path, messageOneRegion))
	}

	if (v.ClientCredentials != nil) == (v.TokenSecretRef != nil) {
		errs = append(errs, invalid(path, messageCredentials))
	}

	if v.URL != "" && v.TokenSecretRef == nil && v.TokenURL == "" {
		errs = append(errs, invalid(path, messageTokenURL))
	}

	if v.TokenURL != "" && v.ClientCredentials == nil {
		errs = append(errs, invalid(path, messageTokenURLUse))
	}

	errs = append(errs, oneOfOrEmpty(path.Child("region"), v.Region,
		VonageRegionEMEA, VonageRegionNAM, VonageRegionAPAC)...)
	errs = append(errs, v.URL.validate(path.Child("url"))...)
	errs = append(errs, v.TokenURL.validate(path.Child("tokenURL"))...)

	if v.ClientCredentials != nil {
		ref, child := v.ClientCredentials.SecretRef, path.Child("clientCredentials", "secretRef")
		errs = append(errs, ns(child.Child("namespace"), ref.Namespace)...)
		errs = append(errs, secretName(child.Child("name"), ref.Name)...)
	}

	return append(errs, v.TokenSecretRef.validate(path.Child("tokenSecretRef"), ns)...)
}

func (d *ClusterDixaProvider) validate(path *field.Path, ns namespaceCheck) field.ErrorList {
	if d == nil {
		return nil
	}

	return append(d.URL.validate(path.Child("url")), d.TokenSecretRef.validate(path.Child("tokenSecretRef"), ns)...)
}

func (b *ClusterBirdProvider) validate(path *field.Path, ns namespaceCheck) field.ErrorList {
	if b == nil {
		return nil
	}

	isID := matches(birdIDExpression, "spec.bird: an id at Bird is a UUID in lower case; copy it as Bird shows it, like "+
		"9b3f5a0c-6f1d-4c0e-9a57-0f3f2c1d4e5a")
	errs := text(path.Child("workspaceId"), string(b.WorkspaceID), maxBirdID, isID)
	errs = append(errs, optional(path.Child("organizationId"), string(b.OrganizationID), 1, maxBirdID, isID)...)
	errs = append(errs, b.URL.validate(path.Child("url"))...)

	return append(errs, b.AccessKeySecretRef.validate(path.Child("accessKeySecretRef"), ns)...)
}

func (r *SecretKeyReference) validate(path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}

	return append(secretName(path.Child("name"), r.Name), secretKey(path.Child("key"), r.Key)...)
}

func (r *ClusterSecretKeyReference) validate(path *field.Path, ns namespaceCheck) field.ErrorList {
	if r == nil {
		return nil
	}

	errs := ns(path.Child("namespace"), r.Namespace)
	errs = append(errs, secretName(path.Child("name"), r.Name)...)

	return append(errs, secretKey(path.Child("key"), r.Key)...)
}

func secretName(path *field.Path, name string) field.ErrorList {
	return text(path, name, maxObjectName, matches(subdomainExpression, "name: is not the name of a Secret; use "+
		"lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit"))
}

func secretKey(path *field.Path, key string) field.ErrorList {
	return text(path, key, maxObjectName, matches(secretKeyExpression, "key: is not a key of a Secret; use letters, "+
		"digits, dashes, underscores and dots"))
}

// unchanged is one field that says which account is meant.
type unchanged struct {
	name        string
	before, now string
}

func (s *ClusterWebhookProviderSpec) validateUpdate(path *field.Path, old *ClusterWebhookProviderSpec) field.ErrorList {
	if !slices.Equal(s.arms(), old.arms()) {
		return field.ErrorList{invalid(path, messageKindOfAPI)}
	}

	var (
		arm      string
		identity []unchanged
	)

	switch {
	case s.Dispatcher != nil:
		arm, identity = "dispatcher", []unchanged{
			{"url", string(old.Dispatcher.URL), string(s.Dispatcher.URL)},
			{"tenant", string(old.Dispatcher.Tenant), string(s.Dispatcher.Tenant)},
		}
	case s.Vonage != nil:
		arm, identity = "vonage", []unchanged{
			{"region", string(old.Vonage.Region), string(s.Vonage.Region)},
			{"url", string(old.Vonage.URL), string(s.Vonage.URL)},
		}
	case s.Dixa != nil:
		arm, identity = "dixa", []unchanged{{"url", string(old.Dixa.URL), string(s.Dixa.URL)}}
	case s.Bird != nil:
		arm, identity = "bird", []unchanged{
			{"workspaceId", string(old.Bird.WorkspaceID), string(s.Bird.WorkspaceID)},
			{"organizationId", string(old.Bird.OrganizationID), string(s.Bird.OrganizationID)},
			{"url", string(old.Bird.URL), string(s.Bird.URL)},
		}
	}

	var errs field.ErrorList

	for _, u := range identity {
		if u.before != u.now {
			errs = append(errs, invalid(path.Child(arm), "spec."+arm+"."+u.name+": "+messageImmutable))
		}
	}

	return errs
}
