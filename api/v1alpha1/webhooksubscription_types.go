package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of a WebhookSubscription, enforced by the schema and again in Go. They are those of the port.
const (
	// MinNameLength is the least number of characters in spec.name.
	MinNameLength = subscription.MinNameLength
	// MaxNameLength is the largest number of characters in spec.name, and in a derived name.
	MaxNameLength = subscription.MaxNameLength
	// MaxURLLength is the largest number of characters in a URL.
	MaxURLLength = subscription.MaxURLLength
	// MaxEvents is the largest number of events in spec.events.
	MaxEvents = subscription.MaxEvents
	// MaxEventLength is the largest number of characters in one event.
	MaxEventLength = subscription.MaxPatternLength
	// MaxEventSegments is the largest number of dot-separated segments in one event.
	MaxEventSegments = subscription.MaxPatternSegments
	// MaxHeaders is the largest number of headers in spec.headers.
	MaxHeaders = subscription.MaxHeaders
	// MaxDeliveryStatuses is the largest number of entries in status.deliveryStatuses.
	MaxDeliveryStatuses = 50
)

// DeletionPolicy says what becomes of the remote subscription when the resource is deleted.
// +kubebuilder:validation:Enum=Delete;Orphan
type DeletionPolicy string

// What becomes of the remote subscription when the resource is deleted.
const (
	// DeletionPolicyDelete deletes it.
	DeletionPolicyDelete DeletionPolicy = "Delete"
	// DeletionPolicyOrphan leaves it as it is.
	DeletionPolicyOrphan DeletionPolicy = "Orphan"
)

// ManagementPolicy says what Hookline may do to the remote subscription.
// +kubebuilder:validation:Enum=Full;ObserveOnly
type ManagementPolicy string

// What Hookline may do to the remote subscription.
const (
	// ManagementPolicyFull allows to create, change and delete it.
	ManagementPolicyFull ManagementPolicy = "Full"
	// ManagementPolicyObserveOnly allows to read it, and nothing else.
	ManagementPolicyObserveOnly ManagementPolicy = "ObserveOnly"
)

// AdoptionPolicy says whether an existing remote subscription may be taken over.
// +kubebuilder:validation:Enum=Never;IfNameMatches
type AdoptionPolicy string

// Whether an existing remote subscription may be taken over.
const (
	// AdoptionPolicyNever takes over none but the one named by spec.subscriptionId.
	AdoptionPolicyNever AdoptionPolicy = "Never"
	// AdoptionPolicyIfNameMatches takes over the one that has the same name.
	AdoptionPolicyIfNameMatches AdoptionPolicy = "IfNameMatches"
)

// DeliveryFormat is the body, signature and manner of a delivery.
// +kubebuilder:validation:Enum=CloudEvents;Vonage;Dixa;Bird
type DeliveryFormat string

// Bodies, signatures and manners of delivery.
const (
	// DeliveryFormatCloudEvents is CloudEvents 1.0 JSON, signed by Standard Webhooks.
	DeliveryFormatCloudEvents DeliveryFormat = "CloudEvents"
	// DeliveryFormatVonage is what Vonage Contact Center sends.
	DeliveryFormatVonage DeliveryFormat = "Vonage"
	// DeliveryFormatDixa is what Dixa sends.
	DeliveryFormatDixa DeliveryFormat = "Dixa"
	// DeliveryFormatBird is what Bird sends.
	DeliveryFormatBird DeliveryFormat = "Bird"
)

// DeliveryOrdering says in which order events are delivered.
// +kubebuilder:validation:Enum=None;ByKey
type DeliveryOrdering string

// In which order events are delivered.
const (
	// DeliveryOrderingNone promises no order.
	DeliveryOrderingNone DeliveryOrdering = "None"
	// DeliveryOrderingByKey delivers events of one key one after the other.
	DeliveryOrderingByKey DeliveryOrdering = "ByKey"
)

// ServiceScheme is the scheme by which a Service is called.
// +kubebuilder:validation:Enum=HTTP;HTTPS
type ServiceScheme string

// Schemes by which a Service is called.
const (
	// ServiceSchemeHTTP is http.
	ServiceSchemeHTTP ServiceScheme = "HTTP"
	// ServiceSchemeHTTPS is https.
	ServiceSchemeHTTPS ServiceScheme = "HTTPS"
)

// ProviderKind is the kind of a provider resource.
// +kubebuilder:validation:Enum=WebhookProvider;ClusterWebhookProvider
type ProviderKind string

// Kinds of provider resources.
const (
	// ProviderKindNamespaced is WebhookProvider.
	ProviderKindNamespaced ProviderKind = KindWebhookProvider
	// ProviderKindCluster is ClusterWebhookProvider.
	ProviderKindCluster ProviderKind = KindClusterWebhookProvider
)

// WebhookSubscriptionSpec is what a user wants to be true at the provider.
// +kubebuilder:validation:XValidation:rule="has(self.url) != has(self.serviceRef)",message="spec.url and spec.serviceRef: set exactly one; remove spec.serviceRef or spec.url"
// +kubebuilder:validation:XValidation:rule="!has(self.managementPolicy) || self.managementPolicy != 'ObserveOnly' || has(self.subscriptionId) || has(self.name)",message="spec.managementPolicy: ObserveOnly needs to know which subscription to observe; set spec.subscriptionId or spec.name"
// +kubebuilder:validation:XValidation:rule="!has(self.adoptionPolicy) || self.adoptionPolicy != 'IfNameMatches' || has(self.name)",message="spec.adoptionPolicy: IfNameMatches needs a name to match; set spec.name, or remove spec.adoptionPolicy"
type WebhookSubscriptionSpec struct {
	// name of the subscription at the provider, 3 to 128 characters, unique there. It is what a person sees in
	// the provider's own portal. Omitted: derived from the namespace, the name of this resource and the
	// identity of the Hookline installation; status.name shows the result.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\p{Z}\\\\p{C}]([^\\\\p{C}]*[^\\\\p{Z}\\\\p{C}])?$')",message="spec.name: must not begin or end with a space nor hold control characters; remove them"
	Name string `json:"name,omitempty"`

	// url to which events are delivered: absolute, http or https, at most 2048 characters, without user
	// information and without a fragment. Exactly one of url and serviceRef is set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^https?://[^/?#:]')",message="spec.url: must be an absolute URL that begins with http:// or https:// and names a host; write it like https://example.com/webhooks"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[A-Za-z]+://[^/?#]*@')",message="spec.url: must not hold a user name or password; remove what stands before the @ and use spec.authorization"
	// +kubebuilder:validation:XValidation:rule="!self.contains('#')",message="spec.url: must not hold a fragment; remove the # and what follows it"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$')",message="spec.url: must not hold spaces or characters beyond ASCII; write them percent-encoded, like %20"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[a-z]+://[^/?#]*:[0-9]+([/?#]|$)') || self.matches('^[a-z]+://[^/?#]*:0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])([/?#]|$)')",message="spec.url: has a port that does not exist; use one from 1 to 65535"
	URL string `json:"url,omitempty"`

	// serviceRef names a Service of this namespace to which events are delivered, instead of a url. Only a
	// provider that runs in the same cluster, such as the embedded dispatcher, can honour it. Exactly one of
	// url and serviceRef is set.
	// +optional
	ServiceRef *ServiceReference `json:"serviceRef,omitempty"`

	// events that are delivered, 1 to 100 of them: names, such as agent.presencechanged.v1, or sets of names by
	// wildcard, such as channel.* or *. Names are dot-separated; * inside a segment matches any run of
	// characters within it, a last segment that is exactly * matches one or more segments, and * alone
	// matches everything. One has at most 256 characters and 32 segments.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9_/:~+@#*-]+([.][A-Za-z0-9_/:~+@#*-]+)*$')",message="spec.events: an event is made of segments joined by single dots, and a segment of letters, digits, * and _ - / : ~ + @ #; write it like agent.presencechanged.v1 or channel.*"
	// +kubebuilder:validation:items:XValidation:rule="!self.contains('**')",message="spec.events: ** stands nowhere, because one * already matches any run of characters; write a single *"
	// +kubebuilder:validation:items:XValidation:rule="self.split('.').size() <= 32",message="spec.events: an event has at most 32 segments; use fewer dots"
	Events []string `json:"events,omitempty"`

	// enabled says whether events are delivered. While it is false the subscription stays at the provider and
	// no event is sent. Omitted: true.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// secretRef names the Secret, in this namespace, that holds the secret by which deliveries are signed, in
	// the provider's own text form. Hookline waits until it exists, and pushes it again when it changes.
	// Omitted: a secret is generated and written to a Secret of this resource's name with "-signing-secret"
	// appended, under the key secret.
	// +optional
	SecretRef *SecretKeyReference `json:"secretRef,omitempty"`

	// providerRef names the provider that sends the events. Omitted: the WebhookProvider of this namespace that
	// is marked default, otherwise the ClusterWebhookProvider that is. What was found is kept in status.provider.
	// +optional
	ProviderRef *ProviderReference `json:"providerRef,omitempty"`

	// authorization is sent with every delivery in the Authorization header. Omitted: none.
	// +optional
	Authorization *Authorization `json:"authorization,omitempty"`

	// headers that are sent with every delivery, at most 32, besides those that Hookline and the provider set.
	// Names are told apart without regard to case.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(g, g.name.lowerAscii() == h.name.lowerAscii()))",message="spec.headers: a name occurs twice, and case makes no difference in header names; remove one of them"
	Headers []Header `json:"headers,omitempty"`

	// delivery says how events are delivered. Omitted: as the provider does by itself.
	// +optional
	Delivery *Delivery `json:"delivery,omitempty"`

	// vendorOptions are settings that exist at one kind of provider only. Set the one that belongs to the
	// provider; another is Stalled with the reason UnsupportedByProvider.
	// +optional
	VendorOptions *VendorOptions `json:"vendorOptions,omitempty"`

	// deletionPolicy says what becomes of the remote subscription when this resource is deleted: Delete or
	// Orphan, which leaves it. Omitted: Delete for one that Hookline created, Orphan for one that it adopted
	// or only observes.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// managementPolicy says what Hookline may do to the remote subscription: Full, or ObserveOnly, which
	// reads it and changes nothing. Omitted: Full.
	// +optional
	ManagementPolicy ManagementPolicy `json:"managementPolicy,omitempty"`

	// subscriptionId of an existing subscription at the provider that this resource takes over. The provider
	// must allow adoption to this namespace. Omitted: a subscription is created.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",message="spec.subscriptionId: may hold letters, digits, dots, underscores and dashes only; copy the id as the provider shows it"
	SubscriptionID string `json:"subscriptionId,omitempty"`

	// adoptionPolicy says whether an existing subscription of the same name may be taken over: Never or
	// IfNameMatches. The provider must allow adoption to this namespace as well. Omitted: Never.
	// +optional
	AdoptionPolicy AdoptionPolicy `json:"adoptionPolicy,omitempty"`
}

// ServiceReference names a port of a Service in the namespace of the subscription.
type ServiceReference struct {
	// name of the Service, in the same namespace as this resource. A Service of another namespace cannot be
	// named; use url for an endpoint that is meant to be called from elsewhere.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="spec.serviceRef.name: must be the name of a Service: lower-case letters, digits and dashes, beginning with a letter; correct it"
	Name string `json:"name"`

	// port of the Service, 1 to 65535. Omitted: 80 for HTTP and 443 for HTTPS.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`

	// path that is called, with the query if there is one, such as /webhooks?from=hookline. Omitted: /.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && self.startsWith('/') && !self.startsWith('//') && !self.contains('#')",message="spec.serviceRef.path: must be a path that begins with one / and holds no fragment; write it like /webhooks"
	Path string `json:"path,omitempty"`

	// scheme by which the Service is called: HTTP or HTTPS. Omitted: HTTP.
	// +optional
	Scheme ServiceScheme `json:"scheme,omitempty"`
}

// ProviderReference names a provider resource.
type ProviderReference struct {
	// kind of the provider: WebhookProvider, of the same namespace, or ClusterWebhookProvider.
	// +required
	Kind ProviderKind `json:"kind"`

	// name of the provider.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="spec.providerRef.name: is not the name of a provider; use lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit"
	Name string `json:"name"`
}

// Authorization is the credential that a delivery carries for its receiver.
// +kubebuilder:validation:XValidation:rule="has(self.basic) != has(self.bearer)",message="spec.authorization.basic and spec.authorization.bearer: set exactly one; remove the other, or spec.authorization as a whole"
type Authorization struct {
	// basic sends a user name and a password. Exactly one of basic and bearer is set.
	// +optional
	Basic *BasicAuthorization `json:"basic,omitempty"`

	// bearer sends a token. Exactly one of basic and bearer is set.
	// +optional
	Bearer *BearerAuthorization `json:"bearer,omitempty"`
}

// BasicAuthorization is a user name and a password.
type BasicAuthorization struct {
	// secretRef names a Secret of the type kubernetes.io/basic-auth, in this namespace, with the keys username
	// and password.
	// +required
	SecretRef SecretReference `json:"secretRef,omitzero"`
}

// BearerAuthorization is a token.
type BearerAuthorization struct {
	// secretRef names the Secret, in this namespace, and the key that holds the token, without the word Bearer.
	// +required
	SecretRef SecretKeyReference `json:"secretRef,omitzero"`
}

// Header is a header that a delivery carries.
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.secretKeyRef)",message="spec.headers: value and secretKeyRef: set exactly one for each header; remove the other"
type Header struct {
	// name of the header, 1 to 128 characters. Names that Hookline, HTTP or a provider's signature use are
	// refused: Authorization (use spec.authorization), Connection, Content-Encoding, Content-Length,
	// Content-Type, Date, Expect, Host, Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade,
	// Webhook-*, Ce-*, Hookline-*, Vonage-Signature, X-Dixa-Signature and Messagebird-*.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9!#$%&\\'*+.^_`|~-]+$')",message="spec.headers: name is not the name of an HTTP header; use letters, digits and dashes, like X-Team"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(?i)(authorization|connection|content-encoding|content-length|content-type|date|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade|vonage-signature|x-dixa-signature|(proxy|webhook|ce|hookline|messagebird)-.*)$')",message="spec.headers: name is set by Hookline or by HTTP itself; remove this header (for Authorization use spec.authorization)"
	Name string `json:"name"`

	// value of the header, 1 to 4096 printable ASCII characters, not beginning or ending with a space. It is
	// readable by all who may read this resource: use secretKeyRef for what is secret.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]([ -~]*[!-~])?$')",message="spec.headers: value must be printable ASCII and neither begin nor end with a space; remove other characters"
	Value string `json:"value,omitempty"`

	// secretKeyRef names the Secret, in this namespace, and the key that holds the value.
	// +optional
	SecretKeyRef *SecretKeyReference `json:"secretKeyRef,omitempty"`
}

// Delivery says how events are delivered.
type Delivery struct {
	// format of the body, with the signature, the status codes that count as success, and the timeout and retry
	// schedule where they are not set here: CloudEvents, Vonage, Dixa or Bird. It lets a receiver that was
	// written for a vendor receive from the dispatcher. Omitted: CloudEvents at the dispatcher, the vendor's
	// own at a vendor.
	// +optional
	Format DeliveryFormat `json:"format,omitempty"`

	// timeout of one attempt, from dialling to the end of the answer, 1s to 60s. Omitted: 15s for CloudEvents,
	// the vendor's own for another format.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,9}([.][0-9]{1,9})?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('60s')",message="spec.delivery.timeout: must be a duration from 1s to 60s; write it like 15s"
	Timeout string `json:"timeout,omitempty"`

	// maxAttempts is how often the delivery of one event is tried at most, 1 to 50, before the event goes to the
	// dead letters. Where the retry schedule ends earlier (CloudEvents: 10 attempts over three days) its last wait repeats.
	// Omitted: as often as the retry schedule says.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	MaxAttempts *int32 `json:"maxAttempts,omitempty"`

	// maxInFlight is how many deliveries to this subscription may be under way at once, 1 to 256. Omitted: the
	// dispatcher's own limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	MaxInFlight *int32 `json:"maxInFlight,omitempty"`

	// rateLimit is how many attempts are made per second at most, retries included, 1 to 10000. Events above
	// it wait; none is dropped. Omitted: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	RateLimit *int32 `json:"rateLimit,omitempty"`

	// ordering of deliveries: None, or ByKey, which delivers the events of one key (the CloudEvents attribute
	// partitionkey, otherwise subject) one after the other, a failed one holding back those behind it.
	// Omitted: None.
	// +optional
	Ordering DeliveryOrdering `json:"ordering,omitempty"`
}

// VendorOptions are settings that exist at one kind of provider only.
// +kubebuilder:validation:XValidation:rule="has(self.bird) != has(self.dixa)",message="spec.vendorOptions.bird and spec.vendorOptions.dixa: set exactly one, the one of the provider; remove the other, or spec.vendorOptions as a whole"
type VendorOptions struct {
	// bird is for a provider of the kind bird. Exactly one of bird and dixa is set.
	// +optional
	Bird *BirdOptions `json:"bird,omitempty"`

	// dixa is for a provider of the kind dixa. Exactly one of bird and dixa is set.
	// +optional
	Dixa *DixaOptions `json:"dixa,omitempty"`
}

// BirdOptions are settings that exist at Bird only.
// +kubebuilder:validation:XValidation:rule="has(self.eventFilters) || has(self.template)",message="spec.vendorOptions.bird: is empty; set eventFilters or template, or remove it"
type BirdOptions struct {
	// eventFilters that an event must match, all of them, at most 10.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	EventFilters []BirdEventFilter `json:"eventFilters,omitempty"`

	// template of the body, by the name that Bird gives it, such as text or twilio. Omitted: Bird's own body.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Template string `json:"template,omitempty"`
}

// BirdEventFilter is one condition on an event at Bird.
type BirdEventFilter struct {
	// key that is compared, such as channelId, messageStatus or interactionType.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Key string `json:"key"`

	// value that the key must have.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value"`
}

// DixaOptions are settings that exist at Dixa only.
type DixaOptions struct {
	// filters of events, at most one for each family of events, at most 10.
	// +required
	// +listType=map
	// +listMapKey=family
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	Filters []DixaFilter `json:"filters,omitempty"`
}

// DixaFilterStrategy says how the conditions of a filter combine.
// +kubebuilder:validation:Enum=All;Any
type DixaFilterStrategy string

// How the conditions of a filter at Dixa combine.
const (
	// DixaFilterAll lets an event pass that meets all conditions.
	DixaFilterAll DixaFilterStrategy = "All"
	// DixaFilterAny lets an event pass that meets at least one condition.
	DixaFilterAny DixaFilterStrategy = "Any"
)

// DixaConditionOperator says how a field is compared.
// +kubebuilder:validation:Enum=IsOneOf;IsNotOneOf
type DixaConditionOperator string

// How a field of an event at Dixa is compared.
const (
	// DixaIsOneOf holds when the field has one of the values.
	DixaIsOneOf DixaConditionOperator = "IsOneOf"
	// DixaIsNotOneOf holds when the field has none of the values.
	DixaIsNotOneOf DixaConditionOperator = "IsNotOneOf"
)

// DixaConditionField is a field that a condition compares.
// +kubebuilder:validation:Enum=InitialChannel;OperationOrigin;QueueId
type DixaConditionField string

// Fields of an event at Dixa that a condition can compare.
const (
	// DixaFieldInitialChannel is the channel in which the conversation began.
	DixaFieldInitialChannel DixaConditionField = "InitialChannel"
	// DixaFieldOperationOrigin is where the operation came from.
	DixaFieldOperationOrigin DixaConditionField = "OperationOrigin"
	// DixaFieldQueueID is the queue of the conversation.
	DixaFieldQueueID DixaConditionField = "QueueId"
)

// DixaFilter filters the events of one family at Dixa.
type DixaFilter struct {
	// family of events that the filter is for, such as Conversation.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z]+$')",message="spec.vendorOptions.dixa.filters: family may hold letters only; write it like Conversation"
	Family string `json:"family"`

	// strategy by which the conditions combine: All or Any of them must hold. Omitted: All.
	// +optional
	Strategy DixaFilterStrategy `json:"strategy,omitempty"`

	// conditions of the filter, 1 to 10, at most one for each field and operator.
	// +required
	// +listType=map
	// +listMapKey=field
	// +listMapKey=operator
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	Conditions []DixaCondition `json:"conditions,omitempty"`
}

// DixaCondition is one comparison of a filter at Dixa.
type DixaCondition struct {
	// field that is compared: InitialChannel, OperationOrigin or QueueId.
	// +required
	Field DixaConditionField `json:"field"`

	// operator of the comparison: IsOneOf or IsNotOneOf.
	// +required
	Operator DixaConditionOperator `json:"operator"`

	// values that the field is compared with, 1 to 50.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Values []string `json:"values,omitempty"`
}

// WebhookSubscription asks a provider to deliver events to an endpoint. Hookline makes it true there, keeps it
// true, and tells in the status how deliveries fare.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=whsub,categories=hookline
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the provider holds what the spec asks for"
// +kubebuilder:printcolumn:name="Enabled",type=boolean,JSONPath=`.spec.enabled`,description="Whether events are delivered, as the spec says; empty means true"
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.status.provider.name`,description="The provider in use"
// +kubebuilder:printcolumn:name="ID",type=string,JSONPath=`.status.subscriptionId`,description="The id of the subscription at the provider"
// +kubebuilder:printcolumn:name="Delivering",type=string,JSONPath=`.status.conditions[?(@.type=="Delivering")].status`,description="Whether the latest deliveries succeeded"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the resource was created"
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`,priority=1,description="The URL to which events are delivered"
// +kubebuilder:printcolumn:name="Events",type=string,JSONPath=`.spec.events`,priority=1,description="The events that are delivered"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1,description="Why the resource is or is not ready"
type WebhookSubscription struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec WebhookSubscriptionSpec `json:"spec,omitzero"`

	// status is what was observed, written by Hookline.
	// +optional
	Status WebhookSubscriptionStatus `json:"status,omitzero"`
}

// WebhookSubscriptionList is a list of WebhookSubscription.
// +kubebuilder:object:root=true
type WebhookSubscriptionList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes list.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items of the list.
	Items []WebhookSubscription `json:"items"`
}
