package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProviderType is the kind of API that a provider speaks.
// +kubebuilder:validation:Enum=Dispatcher;Vonage;Dixa;Bird
type ProviderType string

// Kinds of API that a provider speaks.
const (
	// ProviderTypeDispatcher is Hookline's own dispatcher.
	ProviderTypeDispatcher ProviderType = "Dispatcher"
	// ProviderTypeVonage is Vonage Contact Center.
	ProviderTypeVonage ProviderType = "Vonage"
	// ProviderTypeDixa is Dixa.
	ProviderTypeDixa ProviderType = "Dixa"
	// ProviderTypeBird is Bird.
	ProviderTypeBird ProviderType = "Bird"
)

// VonageRegion is a region of Vonage Contact Center.
// +kubebuilder:validation:Enum=EMEA;NAM;APAC
type VonageRegion string

// Regions of Vonage Contact Center.
const (
	// VonageRegionEMEA is Europe, the Middle East and Africa.
	VonageRegionEMEA VonageRegion = "EMEA"
	// VonageRegionNAM is North America.
	VonageRegionNAM VonageRegion = "NAM"
	// VonageRegionAPAC is Asia and the Pacific.
	VonageRegionAPAC VonageRegion = "APAC"
)

// ProviderSettings are the settings that every provider has.
type ProviderSettings struct {
	// interval at which the provider is asked for all its subscriptions, to find those that somebody changed or
	// deleted there, 10s to 24h. One list serves all subscriptions of the provider. Omitted: 5m.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,9}([.][0-9]{1,9})?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="spec.interval: must be a duration from 10s to 24h; write it like 5m"
	Interval string `json:"interval,omitempty"`

	// timeout of one request to the provider, 1s to 60s. Omitted: 15s.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,9}([.][0-9]{1,9})?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('60s')",message="spec.timeout: must be a duration from 1s to 60s; write it like 15s"
	Timeout string `json:"timeout,omitempty"`

	// rateLimit of requests to the provider, shared by all its subscriptions. Omitted: the limit that the vendor
	// documents, at Dixa 10 a second for each token, and otherwise none.
	// +optional
	RateLimit *ProviderRateLimit `json:"rateLimit,omitempty"`

	// default says that subscriptions that name no provider use this one. Omitted: false.
	// +optional
	Default *bool `json:"default,omitempty"`

	// adoption selects the namespaces whose subscriptions may take over what exists at the provider already.
	// A WebhookProvider serves its own namespace only, so that is the one to select there. Omitted: none.
	// +optional
	Adoption *NamespaceSelection `json:"adoption,omitempty"`

	// caBundle holds the certificates, in PEM, of the authorities that are trusted to vouch for the provider's
	// host, in place of the system's own, at most 65536 characters. Omitted: the system's own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:XValidation:rule="self.contains('-----BEGIN CERTIFICATE-----') && !self.contains('PRIVATE KEY')",message="spec.caBundle: must hold certificates in PEM and no private key; paste the text from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
	CABundle string `json:"caBundle,omitempty"`

	// proxyURL is the HTTP proxy through which the provider is called, such as http://proxy.example.com:3128,
	// without user information. Omitted: none, whatever the environment says.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^https?://[^/?#@:][^/?#@]*/?$')",message="spec.proxyURL: must be http:// or https:// with a host, and neither user information nor a path; write it like http://proxy.example.com:3128"
	ProxyURL string `json:"proxyURL,omitempty"`
}

// ProviderRateLimit limits the requests to a provider.
type ProviderRateLimit struct {
	// requestsPerSecond that are made at most, on average, 1 to 1000.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	RequestsPerSecond int32 `json:"requestsPerSecond"`

	// burst is how many requests may be made at once after a quiet time, 1 to 1000. Omitted: requestsPerSecond.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Burst *int32 `json:"burst,omitempty"`
}

// ProviderURL is the base of a provider's API. With http:// credentials and signing secrets are readable on the way:
// it is for networks that are trusted.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=2048
// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^https?://[^/?#@:][^?#@]*$')",message="url: must be an absolute http:// or https:// URL with a host, and neither user information, query nor fragment; write it like https://api.example.com"
type ProviderURL string

// TenantName is the name of a tenant of a dispatcher.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="spec.dispatcher.tenant: may hold lower-case letters, digits and dashes, and neither begins nor ends with a dash; write it like support"
type TenantName string

// ProviderStatus is what Hookline observed of a provider.
type ProviderStatus struct {
	// type is the kind of API that the provider speaks: Dispatcher, Vonage, Dixa or Bird.
	// +optional
	Type ProviderType `json:"type,omitempty"`

	// account tells which account the provider stands for.
	// +optional
	Account *ProviderAccount `json:"account,omitempty"`

	// capabilities names what this provider can do, sorted.
	// +optional
	// +listType=set
	Capabilities []string `json:"capabilities,omitempty"`

	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions of this resource: Ready, Reconciling, Stalled and Paused.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// lastHandledReconcileAt is the value of the annotation hookline.dev/reconcile-requested-at last handled.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// ProviderAccount tells which account a provider stands for.
type ProviderAccount struct {
	// url is the base of the API in use. It is absent for the embedded dispatcher.
	// +optional
	URL string `json:"url,omitempty"`

	// id of the account: the tenant of a dispatcher, the workspace at Bird. It is absent where the credentials
	// alone decide.
	// +optional
	ID string `json:"id,omitempty"`
}
