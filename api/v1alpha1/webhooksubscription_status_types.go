package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SubscriptionState is what the provider has decided about a remote subscription.
// +kubebuilder:validation:Enum=Active;Suspended
type SubscriptionState string

// What a provider has decided about a remote subscription.
const (
	// SubscriptionStateActive means that the provider delivers when spec.enabled asks for it.
	SubscriptionStateActive SubscriptionState = "Active"
	// SubscriptionStateSuspended means that the provider stopped by itself.
	SubscriptionStateSuspended SubscriptionState = "Suspended"
)

// WebhookSubscriptionStatus is what Hookline observed. Nothing in it is read from users.
type WebhookSubscriptionStatus struct {
	// subscriptionId is the provider's id of the subscription. It is absent while there is none, and when there
	// are several: see subscriptions.
	// +optional
	SubscriptionID string `json:"subscriptionId,omitempty"`

	// subscriptions are all that stand for this resource at the provider. There are several where a provider
	// takes one event for each.
	// +optional
	// +listType=map
	// +listMapKey=id
	Subscriptions []RemoteSubscription `json:"subscriptions,omitempty"`

	// name of the subscription at the provider: spec.name, or the one derived in its place.
	// +optional
	Name string `json:"name,omitempty"`

	// url to which events are delivered: spec.url, or the one that spec.serviceRef stands for.
	// +optional
	URL string `json:"url,omitempty"`

	// provider in use. When spec.providerRef resolves to another, the subscription moves there.
	// +optional
	Provider *ResolvedProvider `json:"provider,omitempty"`

	// adopted says that the subscription existed before this resource and was taken over.
	// +optional
	Adopted bool `json:"adopted,omitempty"`

	// secret tells which signing secret the provider was last given.
	// +optional
	Secret *SecretStatus `json:"secret,omitempty"`

	// credentialsDigest stands for the values from Secrets, in spec.authorization and spec.headers, that the
	// provider was last given. It is salted with the uid of this resource.
	// +optional
	CredentialsDigest string `json:"credentialsDigest,omitempty"`

	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions of this resource: Ready, Reconciling, Stalled, Delivering and Paused.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// deliveryStatuses tell how the latest delivery of each event type went, at most 50, failing ones first.
	// The time of an entry whose result stays the same is renewed every five minutes at most.
	// +optional
	// +listType=map
	// +listMapKey=event
	// +kubebuilder:validation:MaxItems=50
	DeliveryStatuses []DeliveryStatus `json:"deliveryStatuses,omitempty"`

	// lastHandledReconcileAt is the value of the annotation hookline.dev/reconcile-requested-at last handled.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`

	// lastHandledResumeAt is the value of the annotation hookline.dev/resume-requested-at last handled.
	// +optional
	LastHandledResumeAt string `json:"lastHandledResumeAt,omitempty"`

	// lastHandledRotateAt is the value of the annotation hookline.dev/rotate-requested-at last handled.
	// +optional
	LastHandledRotateAt string `json:"lastHandledRotateAt,omitempty"`
}

// RemoteSubscription is one subscription at the provider.
type RemoteSubscription struct {
	// id of the subscription at the provider.
	// +required
	ID string `json:"id"`

	// events that the subscription asks for, in the order of the spec.
	// +optional
	// +listType=set
	Events []string `json:"events,omitempty"`

	// state that the provider has decided on: Active, or Suspended, when it stopped delivering by itself.
	// +optional
	State SubscriptionState `json:"state,omitempty"`

	// stateReason says why the provider suspended the subscription.
	// +optional
	StateReason string `json:"stateReason,omitempty"`
}

// ResolvedProvider is the provider that a subscription uses, told apart from a later one of the same name.
type ResolvedProvider struct {
	// kind of the provider: WebhookProvider or ClusterWebhookProvider.
	// +required
	Kind ProviderKind `json:"kind"`

	// name of the provider.
	// +required
	Name string `json:"name"`

	// uid of the provider.
	// +required
	UID types.UID `json:"uid"`

	// account that the provider stands for. A later provider of the same name that stands for another one is another
	// provider.
	// +optional
	Account *ProviderAccount `json:"account,omitempty"`
}

// SecretStatus tells which signing secret the provider was last given, without telling the secret.
type SecretStatus struct {
	// name of the Secret in use, in the namespace of this resource.
	// +required
	Name string `json:"name"`

	// key in the Secret.
	// +required
	Key string `json:"key"`

	// digest of the value that the provider was last given. It is salted with the uid of this resource, so that
	// equal secrets of two resources do not show.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// DeliveryStatus tells how the latest delivery of one event type went.
type DeliveryStatus struct {
	// event is the type of the event that was delivered.
	// +required
	Event string `json:"event"`

	// success says whether the receiver accepted the delivery.
	// +required
	Success bool `json:"success"`

	// responseCode is the HTTP status code of the answer. It is absent when there was no answer.
	// +optional
	ResponseCode int32 `json:"responseCode,omitempty"`

	// responseText says in words what came back: the text of the status, or why there was no answer.
	// +optional
	ResponseText string `json:"responseText,omitempty"`

	// deliveryTimestamp is the time of the delivery. While the result stays the same it is renewed every five
	// minutes at most.
	// +optional
	DeliveryTimestamp *metav1.Time `json:"deliveryTimestamp,omitempty"`
}
