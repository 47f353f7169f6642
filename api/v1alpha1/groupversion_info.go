// Package v1alpha1 holds the resources that users write: WebhookSubscription, WebhookProvider and
// ClusterWebhookProvider, of the API group hookline.dev, with the condition types, reasons,
// annotations, labels and finalizers that belong to them. The schema has no defaults: what an
// omitted field means is answered by an accessor, so that no GitOps tool ever sees a field that
// nobody wrote.
//
// +kubebuilder:object:generate=true
// +groupName=hookline.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every resource in this package.
const GroupName = "hookline.dev"

// The kinds of this package.
const (
	// KindWebhookSubscription is the kind of WebhookSubscription.
	KindWebhookSubscription = "WebhookSubscription"
	// KindWebhookProvider is the kind of WebhookProvider.
	KindWebhookProvider = "WebhookProvider"
	// KindClusterWebhookProvider is the kind of ClusterWebhookProvider.
	KindClusterWebhookProvider = "ClusterWebhookProvider"
)

var (
	// GroupVersion is the group and version of every resource in this package.
	GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

	// SchemeBuilder collects the functions that register this package's types.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme registers this package's types with a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&WebhookSubscription{}, &WebhookSubscriptionList{},
		&WebhookProvider{}, &WebhookProviderList{},
		&ClusterWebhookProvider{}, &ClusterWebhookProviderList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)

	return nil
}
