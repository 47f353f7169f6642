package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SecretReference names a Secret in the namespace of the resource that refers to it.
type SecretReference struct {
	// name of the Secret, in the same namespace as this resource.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="name: is not the name of a Secret; use lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit"
	Name string `json:"name"`
}

// SecretKeyReference names one key of a Secret in the namespace of the resource that refers to it.
type SecretKeyReference struct {
	// name of the Secret, in the same namespace as this resource.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="name: is not the name of a Secret; use lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit"
	Name string `json:"name"`

	// key in the Secret's data that holds the value. A trailing newline of the value is dropped.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key: is not a key of a Secret; use letters, digits, dashes, underscores and dots"
	Key string `json:"key"`
}

// ClusterSecretReference names a Secret from a cluster-scoped resource, so it says in which namespace.
type ClusterSecretReference struct {
	// namespace of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="namespace: is not the name of a namespace; use lower-case letters, digits and dashes, beginning and ending with a letter or digit"
	Namespace string `json:"namespace"`

	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="name: is not the name of a Secret; use lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit"
	Name string `json:"name"`
}

// NamespacedName is the reference as a key for a client.
func (r *ClusterSecretReference) NamespacedName() types.NamespacedName {
	return types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
}

// ClusterSecretKeyReference names one key of a Secret from a cluster-scoped resource, so it says in which namespace.
type ClusterSecretKeyReference struct {
	// namespace of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="namespace: is not the name of a namespace; use lower-case letters, digits and dashes, beginning and ending with a letter or digit"
	Namespace string `json:"namespace"`

	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="name: is not the name of a Secret; use lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit"
	Name string `json:"name"`

	// key in the Secret's data that holds the value. A trailing newline of the value is dropped.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key: is not a key of a Secret; use letters, digits, dashes, underscores and dots"
	Key string `json:"key"`
}

// NamespacedName is the Secret of the reference as a key for a client.
func (r *ClusterSecretKeyReference) NamespacedName() types.NamespacedName {
	return types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
}

// NamespaceSelection selects namespaces by name, by label, or both: a namespace that either selects is selected.
// +kubebuilder:validation:XValidation:rule="has(self.names) || has(self.selector)",message="names and selector: set at least one; list namespaces in names, or set selector ({} selects every namespace)"
type NamespaceSelection struct {
	// names of namespaces that are selected, at most 100.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="names: is not the name of a namespace; use lower-case letters, digits and dashes, beginning and ending with a letter or digit"
	Names []string `json:"names,omitempty"`

	// selector selects namespaces by their labels. The empty selector, {}, selects every namespace.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}
