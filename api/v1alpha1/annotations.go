package v1alpha1

// Annotations. Those named "-requested-at" take any value, by custom the current time in RFC 3339; a value
// that differs from the one last handled is a request, and the value handled is kept in status.
const (
	// AnnotationCreatePending is written by Hookline in the patch that adds the finalizer, before anything is
	// created at the provider. It holds the time and a hash of the subscription's natural key. It stays for
	// the life of the resource, so that one restored from a backup without its status finds its subscription.
	AnnotationCreatePending = GroupName + "/create-pending"

	// AnnotationReconcileRequested asks for a reconcile now, of a subscription or of a provider.
	AnnotationReconcileRequested = GroupName + "/reconcile-requested-at"

	// AnnotationResumeRequested asks the provider to deliver again to a subscription that it suspended.
	AnnotationResumeRequested = GroupName + "/resume-requested-at"

	// AnnotationRotateRequested asks for a new value of a generated signing secret. A secret that was given by
	// spec.secretRef is rotated by changing the Secret instead.
	AnnotationRotateRequested = GroupName + "/rotate-requested-at"

	// AnnotationPaused stops reconciling while its value is "true": nothing is read from or written to the
	// provider. Deliveries go on; spec.enabled is what stops them.
	AnnotationPaused = GroupName + "/paused"
)

// PausedValue is the only value of AnnotationPaused that pauses.
const PausedValue = "true"

// Finalizers.
const (
	// FinalizerSubscription is held by a WebhookSubscription until its remote subscription is deleted or orphaned.
	FinalizerSubscription = GroupName + "/subscription"

	// FinalizerProviderInUse is held by a provider while a WebhookSubscription uses it, so that the credentials
	// stay long enough to delete what was created with them.
	FinalizerProviderInUse = GroupName + "/in-use"
)

// Labels.
const (
	// LabelManagedBy is the recommended label that says what manages an object.
	LabelManagedBy = "app.kubernetes.io/managed-by"

	// LabelManagedByValue is the value of LabelManagedBy on everything Hookline creates.
	LabelManagedByValue = "hookline"

	// LabelSigningSecret marks, with the value "true", a Secret that Hookline generated for a WebhookSubscription.
	LabelSigningSecret = GroupName + "/signing-secret"
)

// Keys in Secrets.
const (
	// SecretKeySigning is the key under which a generated signing secret stands.
	SecretKeySigning = "secret"

	// SecretKeyClientID is the key of the OAuth 2.0 client identifier, in spec.vonage.clientCredentials.
	SecretKeyClientID = "client_id"

	// SecretKeyClientSecret is the key of the OAuth 2.0 client secret, in spec.vonage.clientCredentials.
	SecretKeyClientSecret = "client_secret"
)

// IsPaused reports whether annotations ask to pause reconciling.
func IsPaused(annotations map[string]string) bool {
	return annotations[AnnotationPaused] == PausedValue
}
