package v1alpha1

import (
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// The rules of the schema, repeated in Go for objects that no API server has checked. Expressions and messages are
// those of the CEL rules beside the fields; a test sends the same objects through both and compares.
var (
	nameExpression        = regexp.MustCompile(`^[^\p{Z}\p{C}]([^\p{C}]*[^\p{Z}\p{C}])?$`)
	urlExpression         = regexp.MustCompile(`^https?://[^/?#:]`)
	printableExpression   = regexp.MustCompile(`^[!-~]+$`)
	hasPortExpression     = regexp.MustCompile(`^[a-z]+://[^/?#]*:[0-9]+([/?#]|$)`)
	userInfoExpression    = regexp.MustCompile(`^[A-Za-z]+://[^/?#]*@`)
	eventExpression       = regexp.MustCompile(`^[A-Za-z0-9_/:~+@#*-]+([.][A-Za-z0-9_/:~+@#*-]+)*$`)
	remoteIDExpression    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	serviceExpression     = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	headerNameExpression  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	headerValueExpression = regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`)
	durationExpression    = regexp.MustCompile(`^([0-9]{1,9}([.][0-9]{1,9})?(ms|s|m|h))+$`)
	familyExpression      = regexp.MustCompile(`^[A-Za-z]+$`)
	subdomainExpression   = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)
	labelExpression       = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	secretKeyExpression   = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)

	portExpression = regexp.MustCompile(`^[a-z]+://[^/?#]*:0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|` +
		`65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])([/?#]|$)`)
	reservedHeaderExpression = regexp.MustCompile(`^(?i)(authorization|connection|content-encoding|content-length|` +
		`content-type|date|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade|vonage-signature|` +
		`x-dixa-signature|(proxy|webhook|ce|hookline|messagebird)-.*)$`)
)

const (
	maxDurationLength    = 32
	maxObjectName        = 253
	maxLabel             = 63
	maxSubscriptionID    = 128
	maxPath              = 1024
	maxPort              = 65535
	maxHeaderName        = subscription.MaxHeaderNameLength
	maxHeaderValue       = subscription.MaxHeaderValueLength
	maxAttemptsLimit     = subscription.MaxMaxAttempts
	maxInFlightLimit     = subscription.MaxMaxInFlight
	maxRateLimit         = subscription.MaxRateLimit
	maxFilters           = 10
	maxConditionValues   = 50
	maxFilterKey         = 128
	maxFilterValue       = 256
	maxFamily            = 64
	minDeliveryTimeout   = subscription.MinTimeout
	maxDeliveryTimeout   = subscription.MaxTimeout
	messageDeliveryLimit = "spec.delivery.timeout: must be a duration from 1s to 60s; write it like 15s"
)

// Validate checks the resource by the rules of the schema and returns what it refuses, nil when it is valid. An
// optional text that is empty counts as omitted.
func (s *WebhookSubscription) Validate() field.ErrorList {
	spec, path := &s.Spec, field.NewPath("spec")

	var errs field.ErrorList

	errs = append(errs, spec.validateTarget(path)...)
	errs = append(errs, spec.validatePolicies(path)...)
	errs = append(errs, validateEvents(path.Child("events"), spec.Events)...)
	errs = append(errs, validateHeaders(path.Child("headers"), spec.Headers)...)
	errs = append(errs, spec.Authorization.validate(path.Child("authorization"))...)
	errs = append(errs, spec.Delivery.validate(path.Child("delivery"))...)
	errs = append(errs, spec.VendorOptions.validate(path.Child("vendorOptions"))...)
	errs = append(errs, spec.SecretRef.validate(path.Child("secretRef"))...)

	if ref := spec.ProviderRef; ref != nil {
		child := path.Child("providerRef")
		errs = append(errs, oneOf(child.Child("kind"), ref.Kind, ProviderKindNamespaced, ProviderKindCluster)...)
		errs = append(errs, text(child.Child("name"), ref.Name, maxObjectName, matches(subdomainExpression,
			"spec.providerRef.name: is not the name of a provider; use lower-case letters, digits, dashes and dots, "+
				"beginning and ending with a letter or digit"))...)
	}

	return errs
}

func (s *WebhookSubscriptionSpec) validateTarget(path *field.Path) field.ErrorList {
	var errs field.ErrorList

	if (s.URL != "") == (s.ServiceRef != nil) {
		errs = append(errs, invalid(path, "spec.url and spec.serviceRef: set exactly one; remove spec.serviceRef or spec.url"))
	}

	errs = append(errs, optional(path.Child("url"), s.URL, 1, MaxURLLength,
		rule{isAbsoluteURL, "spec.url: must be an absolute URL that begins with http:// or https:// and names a host; " +
			"write it like https://example.com/webhooks"},
		rule{func(s string) bool { return !userInfoExpression.MatchString(s) },
			"spec.url: must not hold a user name or password; remove what stands before the @ and use spec.authorization"},
		rule{hasNoFragment, "spec.url: must not hold a fragment; remove the # and what follows it"},
		matches(printableExpression, "spec.url: must not hold spaces or characters beyond ASCII; write them "+
			"percent-encoded, like %20"),
		rule{func(s string) bool { return !hasPortExpression.MatchString(s) || portExpression.MatchString(s) },
			"spec.url: has a port that does not exist; use one from 1 to 65535"},
	)...)

	if ref := s.ServiceRef; ref != nil {
		errs = append(errs, ref.validate(path.Child("serviceRef"))...)
	}

	return errs
}

func (r *ServiceReference) validate(path *field.Path) field.ErrorList {
	errs := text(path.Child("name"), r.Name, maxLabel, matches(serviceExpression,
		"spec.serviceRef.name: must be the name of a Service: lower-case letters, digits and dashes, beginning with a "+
			"letter; correct it"))
	errs = append(errs, between(path.Child("port"), r.Port, maxPort)...)
	errs = append(errs, optional(path.Child("path"), r.Path, 1, maxPath, rule{
		func(s string) bool {
			return isURL(s) && strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && hasNoFragment(s)
		},
		"spec.serviceRef.path: must be a path that begins with one / and holds no fragment; write it like /webhooks",
	})...)

	return append(errs, oneOfOrEmpty(path.Child("scheme"), r.Scheme, ServiceSchemeHTTP, ServiceSchemeHTTPS)...)
}

func (s *WebhookSubscriptionSpec) validatePolicies(path *field.Path) field.ErrorList {
	var errs field.ErrorList

	if s.ManagementPolicy == ManagementPolicyObserveOnly && s.SubscriptionID == "" && s.Name == "" {
		errs = append(errs, invalid(path, "spec.managementPolicy: ObserveOnly needs to know which subscription to "+
			"observe; set spec.subscriptionId or spec.name"))
	}

	if s.AdoptionPolicy == AdoptionPolicyIfNameMatches && s.Name == "" {
		errs = append(errs, invalid(path, "spec.adoptionPolicy: IfNameMatches needs a name to match; set spec.name, or "+
			"remove spec.adoptionPolicy"))
	}

	errs = append(errs, optional(path.Child("name"), s.Name, MinNameLength, MaxNameLength, matches(nameExpression,
		"spec.name: must not begin or end with a space nor hold control characters; remove them"))...)
	errs = append(errs, optional(path.Child("subscriptionId"), s.SubscriptionID, 1, maxSubscriptionID,
		matches(remoteIDExpression, "spec.subscriptionId: may hold letters, digits, dots, underscores and dashes only; "+
			"copy the id as the provider shows it"))...)
	errs = append(errs, oneOfOrEmpty(path.Child("deletionPolicy"), s.DeletionPolicy,
		DeletionPolicyDelete, DeletionPolicyOrphan)...)
	errs = append(errs, oneOfOrEmpty(path.Child("managementPolicy"), s.ManagementPolicy,
		ManagementPolicyFull, ManagementPolicyObserveOnly)...)

	return append(errs, oneOfOrEmpty(path.Child("adoptionPolicy"), s.AdoptionPolicy,
		AdoptionPolicyNever, AdoptionPolicyIfNameMatches)...)
}

func validateEvents(path *field.Path, events []string) field.ErrorList {
	errs := items(path, len(events), 1, MaxEvents)

	for i, event := range events {
		child := path.Index(i)
		if slices.Contains(events[:i], event) {
			errs = append(errs, field.Duplicate(child, event))
		}

		errs = append(errs, text(child, event, MaxEventLength,
			matches(eventExpression, "spec.events: an event is made of segments joined by single dots, and a segment of "+
				"letters, digits, * and _ - / : ~ + @ #; write it like agent.presencechanged.v1 or channel.*"),
			rule{func(s string) bool { return !strings.Contains(s, "**") },
				"spec.events: ** stands nowhere, because one * already matches any run of characters; write a single *"},
			rule{func(s string) bool { return strings.Count(s, ".") < MaxEventSegments },
				"spec.events: an event has at most 32 segments; use fewer dots"},
		)...)
	}

	return errs
}

func validateHeaders(path *field.Path, headers []Header) field.ErrorList {
	errs := items(path, len(headers), 0, MaxHeaders)
	names := make(map[string]bool, len(headers))
	exact := make(map[string]bool, len(headers))

	for i := range headers {
		header, child := &headers[i], path.Index(i)

		if folded := strings.ToLower(header.Name); exact[header.Name] {
			errs = append(errs, field.Duplicate(child, header.Name))
		} else if names[folded] {
			errs = append(errs, invalid(path, "spec.headers: a name occurs twice, and case makes no difference in header "+
				"names; remove one of them"))
		}

		exact[header.Name], names[strings.ToLower(header.Name)] = true, true
		errs = append(errs, header.validate(child)...)
	}

	return errs
}

func (h *Header) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList

	if (h.Value != "") == (h.SecretKeyRef != nil) {
		errs = append(errs, invalid(path, "spec.headers: value and secretKeyRef: set exactly one for each header; remove "+
			"the other"))
	}

	errs = append(errs, text(path.Child("name"), h.Name, maxHeaderName,
		matches(headerNameExpression, "spec.headers: name is not the name of an HTTP header; use letters, digits and "+
			"dashes, like X-Team"),
		rule{func(s string) bool { return !reservedHeaderExpression.MatchString(s) }, "spec.headers: name is set by " +
			"Hookline or by HTTP itself; remove this header (for Authorization use spec.authorization)"},
	)...)
	errs = append(errs, optional(path.Child("value"), h.Value, 1, maxHeaderValue, matches(headerValueExpression,
		"spec.headers: value must be printable ASCII and neither begin nor end with a space; remove other characters"))...)

	return append(errs, h.SecretKeyRef.validate(path.Child("secretKeyRef"))...)
}

func (a *Authorization) validate(path *field.Path) field.ErrorList {
	if a == nil {
		return nil
	}

	var errs field.ErrorList

	if (a.Basic != nil) == (a.Bearer != nil) {
		errs = append(errs, invalid(path, "spec.authorization.basic and spec.authorization.bearer: set exactly one; "+
			"remove the other, or spec.authorization as a whole"))
	}

	if a.Basic != nil {
		errs = append(errs, secretName(path.Child("basic", "secretRef", "name"), a.Basic.SecretRef.Name)...)
	}

	if a.Bearer != nil {
		errs = append(errs, a.Bearer.SecretRef.validate(path.Child("bearer", "secretRef"))...)
	}

	return errs
}

func (d *Delivery) validate(path *field.Path) field.ErrorList {
	if d == nil {
		return nil
	}

	errs := oneOfOrEmpty(path.Child("format"), d.Format,
		DeliveryFormatCloudEvents, DeliveryFormatVonage, DeliveryFormatDixa, DeliveryFormatBird)
	errs = append(errs, oneOfOrEmpty(path.Child("ordering"), d.Ordering, DeliveryOrderingNone, DeliveryOrderingByKey)...)
	errs = append(errs, duration(path.Child("timeout"), d.Timeout, minDeliveryTimeout, maxDeliveryTimeout,
		messageDeliveryLimit)...)
	errs = append(errs, between(path.Child("maxAttempts"), d.MaxAttempts, maxAttemptsLimit)...)
	errs = append(errs, between(path.Child("maxInFlight"), d.MaxInFlight, maxInFlightLimit)...)

	return append(errs, between(path.Child("rateLimit"), d.RateLimit, maxRateLimit)...)
}

func (o *VendorOptions) validate(path *field.Path) field.ErrorList {
	if o == nil {
		return nil
	}

	var errs field.ErrorList

	if (o.Bird != nil) == (o.Dixa != nil) {
		errs = append(errs, invalid(path, "spec.vendorOptions.bird and spec.vendorOptions.dixa: set exactly one, the one "+
			"of the provider; remove the other, or spec.vendorOptions as a whole"))
	}

	if o.Bird != nil {
		errs = append(errs, o.Bird.validate(path.Child("bird"))...)
	}

	if o.Dixa != nil {
		errs = append(errs, o.Dixa.validate(path.Child("dixa"))...)
	}

	return errs
}

func (o *BirdOptions) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList

	if len(o.EventFilters) == 0 && o.Template == "" {
		errs = append(errs, invalid(path, "spec.vendorOptions.bird: is empty; set eventFilters or template, or remove it"))
	}

	filters := path.Child("eventFilters")
	errs = append(errs, items(filters, len(o.EventFilters), 0, maxFilters)...)

	for i, filter := range o.EventFilters {
		same := func(other BirdEventFilter) bool { return other.Key == filter.Key }
		if slices.ContainsFunc(o.EventFilters[:i], same) {
			errs = append(errs, field.Duplicate(filters.Index(i), filter.Key))
		}

		errs = append(errs, text(filters.Index(i).Child("key"), filter.Key, maxFilterKey)...)
		errs = append(errs, text(filters.Index(i).Child("value"), filter.Value, maxFilterValue)...)
	}

	return append(errs, optional(path.Child("template"), o.Template, 1, maxFilterKey)...)
}

func (o *DixaOptions) validate(path *field.Path) field.ErrorList {
	filters := path.Child("filters")
	errs := items(filters, len(o.Filters), 1, maxFilters)

	for i := range o.Filters {
		filter, child := &o.Filters[i], filters.Index(i)
		same := func(other DixaFilter) bool { return other.Family == filter.Family }

		if slices.ContainsFunc(o.Filters[:i], same) {
			errs = append(errs, field.Duplicate(child, filter.Family))
		}

		errs = append(errs, filter.validate(child)...)
	}

	return errs
}

func (f *DixaFilter) validate(path *field.Path) field.ErrorList {
	errs := text(path.Child("family"), f.Family, maxFamily, matches(familyExpression,
		"spec.vendorOptions.dixa.filters: family may hold letters only; write it like Conversation"))
	errs = append(errs, oneOfOrEmpty(path.Child("strategy"), f.Strategy, DixaFilterAll, DixaFilterAny)...)
	conditions := path.Child("conditions")
	errs = append(errs, items(conditions, len(f.Conditions), 1, maxFilters)...)

	for i := range f.Conditions {
		condition, child := &f.Conditions[i], conditions.Index(i)
		same := func(o DixaCondition) bool { return o.Field == condition.Field && o.Operator == condition.Operator }

		if slices.ContainsFunc(f.Conditions[:i], same) {
			errs = append(errs, field.Duplicate(child, condition.Field))
		}

		errs = append(errs, condition.validate(child)...)
	}

	return errs
}

func (c *DixaCondition) validate(path *field.Path) field.ErrorList {
	errs := oneOf(path.Child("field"), c.Field, DixaFieldInitialChannel, DixaFieldOperationOrigin, DixaFieldQueueID)
	errs = append(errs, oneOf(path.Child("operator"), c.Operator, DixaIsOneOf, DixaIsNotOneOf)...)
	values := path.Child("values")
	errs = append(errs, items(values, len(c.Values), 1, maxConditionValues)...)

	for i, value := range c.Values {
		if slices.Contains(c.Values[:i], value) {
			errs = append(errs, field.Duplicate(values.Index(i), value))
		}

		errs = append(errs, text(values.Index(i), value, maxFilterValue)...)
	}

	return errs
}
