package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WebhookProviderSpec says where subscriptions of one namespace are made, and with which credentials.
// +kubebuilder:validation:XValidation:rule="[has(self.dispatcher), has(self.vonage), has(self.dixa), has(self.bird)].filter(x, x).size() == 1",message="spec.dispatcher, spec.vonage, spec.dixa and spec.bird: set exactly one; remove the others"
// +kubebuilder:validation:XValidation:rule="has(self.dispatcher) == has(oldSelf.dispatcher) && has(self.vonage) == has(oldSelf.vonage) && has(self.dixa) == has(oldSelf.dixa) && has(self.bird) == has(oldSelf.bird)",message="spec: the kind of API (dispatcher, vonage, dixa, bird) cannot be changed; create another provider and point spec.providerRef at it"
// +kubebuilder:validation:XValidation:rule="!has(self.dispatcher) || has(self.dispatcher.url) || (!has(self.caBundle) && !has(self.proxyURL) && !has(self.timeout))",message="spec.caBundle, spec.proxyURL and spec.timeout: the embedded dispatcher is not called over a network; remove them, or set spec.dispatcher.url"
type WebhookProviderSpec struct {
	// dispatcher is Hookline's own dispatcher. Exactly one of dispatcher, vonage, dixa and bird is set.
	// +optional
	Dispatcher *DispatcherProvider `json:"dispatcher,omitempty"`

	// vonage is Vonage Contact Center. Exactly one of dispatcher, vonage, dixa and bird is set.
	// +optional
	Vonage *VonageProvider `json:"vonage,omitempty"`

	// dixa is Dixa. Exactly one of dispatcher, vonage, dixa and bird is set.
	// +optional
	Dixa *DixaProvider `json:"dixa,omitempty"`

	// bird is Bird. Exactly one of dispatcher, vonage, dixa and bird is set.
	// +optional
	Bird *BirdProvider `json:"bird,omitempty"`

	ProviderSettings `json:",inline"`
}

// DispatcherProvider is Hookline's own dispatcher, as seen from one namespace.
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(self.tokenSecretRef)",message="spec.dispatcher.url and spec.dispatcher.tokenSecretRef: a dispatcher elsewhere needs both and the embedded one neither; set both, or remove both"
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",message="spec.dispatcher.url: cannot be changed, because subscriptions would be left behind; create another provider"
// +kubebuilder:validation:XValidation:rule="has(self.tenant) == has(oldSelf.tenant) && (!has(self.tenant) || self.tenant == oldSelf.tenant)",message="spec.dispatcher.tenant: cannot be changed, because subscriptions would be left behind; create another provider"
type DispatcherProvider struct {
	// url of a dispatcher that runs elsewhere. It cannot be changed. Omitted: the dispatcher of this Hookline
	// installation.
	// +optional
	URL ProviderURL `json:"url,omitempty"`

	// tenant of the dispatcher in which the subscriptions are made: they receive what is published to it. At the
	// dispatcher of this installation it is always this resource's own namespace; naming another is Stalled with
	// the reason InvalidSpec. It cannot be changed. Omitted: the namespace.
	// +optional
	Tenant TenantName `json:"tenant,omitempty"`

	// tokenSecretRef names the Secret and the key that hold the bearer token for the dispatcher at url. It is set
	// when url is, and not otherwise.
	// +optional
	TokenSecretRef *SecretKeyReference `json:"tokenSecretRef,omitempty"`
}

// VonageProvider is an account at Vonage Contact Center, with credentials from this namespace.
// +kubebuilder:validation:XValidation:rule="has(self.region) != has(self.url)",message="spec.vonage.region and spec.vonage.url: set exactly one; remove the other"
// +kubebuilder:validation:XValidation:rule="has(self.clientCredentials) != has(self.tokenSecretRef)",message="spec.vonage.clientCredentials and spec.vonage.tokenSecretRef: set exactly one; remove the other"
// +kubebuilder:validation:XValidation:rule="!has(self.url) || has(self.tokenSecretRef) || has(self.tokenURL)",message="spec.vonage.tokenURL: spec.vonage.url does not say where tokens are issued; set spec.vonage.tokenURL, or use spec.vonage.tokenSecretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.tokenURL) || has(self.clientCredentials)",message="spec.vonage.tokenURL: is used with spec.vonage.clientCredentials only; remove it"
// +kubebuilder:validation:XValidation:rule="has(self.region) == has(oldSelf.region) && (!has(self.region) || self.region == oldSelf.region)",message="spec.vonage.region: cannot be changed, because subscriptions would be left behind; create another provider"
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",message="spec.vonage.url: cannot be changed, because subscriptions would be left behind; create another provider"
type VonageProvider struct {
	VonageAccount `json:",inline"`

	// clientCredentials obtain tokens by the OAuth 2.0 client credentials grant. Exactly one of clientCredentials
	// and tokenSecretRef is set.
	// +optional
	ClientCredentials *ClientCredentials `json:"clientCredentials,omitempty"`

	// tokenSecretRef names the Secret and the key that hold an access token, which somebody else renews. Exactly
	// one of clientCredentials and tokenSecretRef is set.
	// +optional
	TokenSecretRef *SecretKeyReference `json:"tokenSecretRef,omitempty"`
}

// VonageAccount tells where an account at Vonage Contact Center lives.
type VonageAccount struct {
	// region of the account: EMEA, NAM or APAC. Exactly one of region and url is set. It cannot be changed.
	// +optional
	Region VonageRegion `json:"region,omitempty"`

	// url of the API, in place of the one that region stands for. It cannot be changed.
	// +optional
	URL ProviderURL `json:"url,omitempty"`

	// tokenURL is where tokens are issued, in place of the one that region stands for. It is required when url
	// and clientCredentials are set.
	// +optional
	TokenURL ProviderURL `json:"tokenURL,omitempty"`
}

// ClientCredentials are the credentials of an OAuth 2.0 client, from this namespace.
type ClientCredentials struct {
	// secretRef names the Secret with the keys client_id and client_secret.
	// +required
	SecretRef SecretReference `json:"secretRef,omitzero"`
}

// DixaProvider is an organization at Dixa, with credentials from this namespace.
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",message="spec.dixa.url: cannot be changed, because subscriptions would be left behind; create another provider"
type DixaProvider struct {
	// url of the API. It cannot be changed. Omitted: https://dev.dixa.io.
	// +optional
	URL ProviderURL `json:"url,omitempty"`

	// tokenSecretRef names the Secret and the key that hold the API token. The token decides on the organization.
	// +required
	TokenSecretRef SecretKeyReference `json:"tokenSecretRef,omitzero"`
}

// BirdProvider is a workspace at Bird, with credentials from this namespace.
// +kubebuilder:validation:XValidation:rule="self.workspaceId == oldSelf.workspaceId",message="spec.bird.workspaceId: cannot be changed, because subscriptions would be left behind; create another provider"
// +kubebuilder:validation:XValidation:rule="has(self.organizationId) == has(oldSelf.organizationId) && (!has(self.organizationId) || self.organizationId == oldSelf.organizationId)",message="spec.bird.organizationId: cannot be changed, because subscriptions would be left behind; create another provider"
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",message="spec.bird.url: cannot be changed, because subscriptions would be left behind; create another provider"
type BirdProvider struct {
	BirdAccount `json:",inline"`

	// accessKeySecretRef names the Secret and the key that hold the access key.
	// +required
	AccessKeySecretRef SecretKeyReference `json:"accessKeySecretRef,omitzero"`
}

// BirdID is an id at Bird, a UUID.
// +kubebuilder:validation:MaxLength=36
// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')",message="spec.bird: an id at Bird is a UUID in lower case; copy it as Bird shows it, like 9b3f5a0c-6f1d-4c0e-9a57-0f3f2c1d4e5a"
type BirdID string

// BirdAccount tells which workspace at Bird is meant.
type BirdAccount struct {
	// workspaceId of the workspace whose subscriptions are managed, a UUID. It cannot be changed.
	// +required
	WorkspaceID BirdID `json:"workspaceId"`

	// organizationId of the organization that the workspace belongs to, a UUID. It selects the older form of the
	// API's paths, which names the organization. It cannot be changed. Omitted: the paths without it.
	// +optional
	OrganizationID BirdID `json:"organizationId,omitempty"`

	// url of the API. It cannot be changed. Omitted: https://api.bird.com.
	// +optional
	URL ProviderURL `json:"url,omitempty"`
}

// WebhookProvider says where the WebhookSubscriptions of its namespace are made, and with which credentials:
// at Hookline's own dispatcher, or at a vendor. Its Ready condition says whether the credentials work.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=whprov,categories=hookline
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the credentials work"
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.status.type`,description="The kind of API that the provider speaks"
// +kubebuilder:printcolumn:name="Default",type=boolean,JSONPath=`.spec.default`,description="Whether subscriptions that name no provider use this one; empty means false"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the resource was created"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1,description="Why the provider is or is not ready"
type WebhookProvider struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec WebhookProviderSpec `json:"spec,omitzero"`

	// status is what was observed, written by Hookline.
	// +optional
	Status ProviderStatus `json:"status,omitzero"`
}

// WebhookProviderList is a list of WebhookProvider.
// +kubebuilder:object:root=true
type WebhookProviderList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes list.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items of the list.
	Items []WebhookProvider `json:"items"`
}
