package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterWebhookProviderSpec says where subscriptions of the namespaces it allows are made, and with which
// credentials. It is also the form to which a WebhookProvider's spec resolves, see Provider.
// +kubebuilder:validation:XValidation:rule="[has(self.dispatcher), has(self.vonage), has(self.dixa), has(self.bird)].filter(x, x).size() == 1",message="spec.dispatcher, spec.vonage, spec.dixa and spec.bird: set exactly one; remove the others"
// +kubebuilder:validation:XValidation:rule="has(self.dispatcher) == has(oldSelf.dispatcher) && has(self.vonage) == has(oldSelf.vonage) && has(self.dixa) == has(oldSelf.dixa) && has(self.bird) == has(oldSelf.bird)",message="spec: the kind of API (dispatcher, vonage, dixa, bird) cannot be changed; create another provider and point spec.providerRef at it"
// +kubebuilder:validation:XValidation:rule="!has(self.dispatcher) || has(self.dispatcher.url) || (!has(self.caBundle) && !has(self.proxyURL) && !has(self.timeout))",message="spec.caBundle, spec.proxyURL and spec.timeout: the embedded dispatcher is not called over a network; remove them, or set spec.dispatcher.url"
type ClusterWebhookProviderSpec struct {
	// dispatcher is Hookline's own dispatcher. Exactly one of dispatcher, vonage, dixa and bird is set.
	// +optional
	Dispatcher *ClusterDispatcherProvider `json:"dispatcher,omitempty"`

	// vonage is Vonage Contact Center. Exactly one of dispatcher, vonage, dixa and bird is set.
	// +optional
	Vonage *ClusterVonageProvider `json:"vonage,omitempty"`

	// dixa is Dixa. Exactly one of dispatcher, vonage, dixa and bird is set.
	// +optional
	Dixa *ClusterDixaProvider `json:"dixa,omitempty"`

	// bird is Bird. Exactly one of dispatcher, vonage, dixa and bird is set.
	// +optional
	Bird *ClusterBirdProvider `json:"bird,omitempty"`

	// allowedNamespaces selects the namespaces whose subscriptions may use this provider. Omitted: none.
	// +optional
	AllowedNamespaces *NamespaceSelection `json:"allowedNamespaces,omitempty"`

	ProviderSettings `json:",inline"`
}

// ClusterDispatcherProvider is Hookline's own dispatcher, shared by several namespaces.
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(self.tokenSecretRef)",message="spec.dispatcher.url and spec.dispatcher.tokenSecretRef: a dispatcher elsewhere needs both and the embedded one neither; set both, or remove both"
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",message="spec.dispatcher.url: cannot be changed, because subscriptions would be left behind; create another provider"
// +kubebuilder:validation:XValidation:rule="self.tenant == oldSelf.tenant",message="spec.dispatcher.tenant: cannot be changed, because subscriptions would be left behind; create another provider"
type ClusterDispatcherProvider struct {
	// url of a dispatcher that runs elsewhere. It cannot be changed. Omitted: the dispatcher of this Hookline
	// installation.
	// +optional
	URL ProviderURL `json:"url,omitempty"`

	// tenant of the dispatcher in which the subscriptions are made: they receive what is published to it. All
	// namespaces that allowedNamespaces selects share it. It cannot be changed.
	// +required
	Tenant TenantName `json:"tenant"`

	// tokenSecretRef names the Secret and the key that hold the bearer token for the dispatcher at url. It is set
	// when url is, and not otherwise.
	// +optional
	TokenSecretRef *ClusterSecretKeyReference `json:"tokenSecretRef,omitempty"`
}

// ClusterVonageProvider is an account at Vonage Contact Center.
// +kubebuilder:validation:XValidation:rule="has(self.region) != has(self.url)",message="spec.vonage.region and spec.vonage.url: set exactly one; remove the other"
// +kubebuilder:validation:XValidation:rule="has(self.clientCredentials) != has(self.tokenSecretRef)",message="spec.vonage.clientCredentials and spec.vonage.tokenSecretRef: set exactly one; remove the other"
// +kubebuilder:validation:XValidation:rule="!has(self.url) || has(self.tokenSecretRef) || has(self.tokenURL)",message="spec.vonage.tokenURL: spec.vonage.url does not say where tokens are issued; set spec.vonage.tokenURL, or use spec.vonage.tokenSecretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.tokenURL) || has(self.clientCredentials)",message="spec.vonage.tokenURL: is used with spec.vonage.clientCredentials only; remove it"
// +kubebuilder:validation:XValidation:rule="has(self.region) == has(oldSelf.region) && (!has(self.region) || self.region == oldSelf.region)",message="spec.vonage.region: cannot be changed, because subscriptions would be left behind; create another provider"
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",message="spec.vonage.url: cannot be changed, because subscriptions would be left behind; create another provider"
type ClusterVonageProvider struct {
	VonageAccount `json:",inline"`

	// clientCredentials obtain tokens by the OAuth 2.0 client credentials grant. Exactly one of clientCredentials
	// and tokenSecretRef is set.
	// +optional
	ClientCredentials *ClusterClientCredentials `json:"clientCredentials,omitempty"`

	// tokenSecretRef names the Secret and the key that hold an access token, which somebody else renews. Exactly
	// one of clientCredentials and tokenSecretRef is set.
	// +optional
	TokenSecretRef *ClusterSecretKeyReference `json:"tokenSecretRef,omitempty"`
}

// ClusterClientCredentials are the credentials of an OAuth 2.0 client.
type ClusterClientCredentials struct {
	// secretRef names the Secret with the keys client_id and client_secret.
	// +required
	SecretRef ClusterSecretReference `json:"secretRef,omitzero"`
}

// ClusterDixaProvider is an organization at Dixa.
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",message="spec.dixa.url: cannot be changed, because subscriptions would be left behind; create another provider"
type ClusterDixaProvider struct {
	// url of the API. It cannot be changed. Omitted: https://dev.dixa.io.
	// +optional
	URL ProviderURL `json:"url,omitempty"`

	// tokenSecretRef names the Secret and the key that hold the API token. The token decides on the organization.
	// +required
	TokenSecretRef ClusterSecretKeyReference `json:"tokenSecretRef,omitzero"`
}

// ClusterBirdProvider is a workspace at Bird.
// +kubebuilder:validation:XValidation:rule="self.workspaceId == oldSelf.workspaceId",message="spec.bird.workspaceId: cannot be changed, because subscriptions would be left behind; create another provider"
// +kubebuilder:validation:XValidation:rule="has(self.organizationId) == has(oldSelf.organizationId) && (!has(self.organizationId) || self.organizationId == oldSelf.organizationId)",message="spec.bird.organizationId: cannot be changed, because subscriptions would be left behind; create another provider"
// +kubebuilder:validation:XValidation:rule="has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",message="spec.bird.url: cannot be changed, because subscriptions would be left behind; create another provider"
type ClusterBirdProvider struct {
	BirdAccount `json:",inline"`

	// accessKeySecretRef names the Secret and the key that hold the access key.
	// +required
	AccessKeySecretRef ClusterSecretKeyReference `json:"accessKeySecretRef,omitzero"`
}

// ClusterWebhookProvider says where the WebhookSubscriptions of the namespaces it allows are made, and with
// which credentials: at Hookline's own dispatcher, or at a vendor. Its Ready condition says whether the
// credentials work.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cwhprov,categories=hookline
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the credentials work"
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.status.type`,description="The kind of API that the provider speaks"
// +kubebuilder:printcolumn:name="Default",type=boolean,JSONPath=`.spec.default`,description="Whether subscriptions that name no provider use this one; empty means false"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the resource was created"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1,description="Why the provider is or is not ready"
type ClusterWebhookProvider struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec ClusterWebhookProviderSpec `json:"spec,omitzero"`

	// status is what was observed, written by Hookline.
	// +optional
	Status ProviderStatus `json:"status,omitzero"`
}

// ClusterWebhookProviderList is a list of ClusterWebhookProvider.
// +kubebuilder:object:root=true
type ClusterWebhookProviderList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes list.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items of the list.
	Items []ClusterWebhookProvider `json:"items"`
}
