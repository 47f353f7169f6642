package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/kube"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Keys of a Secret of the type kubernetes.io/basic-auth.
const (
	basicUsername = corev1.BasicAuthUsernameKey
	basicPassword = corev1.BasicAuthPasswordKey
)

// signingSecret is where the signing secret comes from and what it is.
type signingSecret struct {
	ref       v1alpha1.SecretKeyReference
	generated bool
	value     string
	// object is the generated Secret as it is in the cluster; nil where there is none.
	object *corev1.Secret
	// unwritten: value was generated just now and stands in no Secret yet.
	unwritten bool
}

// resolveSecrets reads every value that the spec refers to and puts together what is desired.
func (s *subscriptionScope) resolveSecrets(ctx context.Context) error {
	spec := &s.sub.Spec

	if err := s.resolveSigningSecret(ctx); err != nil {
		return err
	}

	authorization, err := s.authorization(ctx)
	if err != nil {
		return err
	}

	headers, err := s.headers(ctx)
	if err != nil {
		return err
	}

	s.want = desired{
		Draft: subscription.Draft{
			Name: s.desiredName(), URL: s.sub.EffectiveURL(), Events: slices.Clone(spec.Events), Enabled: spec.EnabledOrDefault(),
			Secret: s.signing.value, Authorization: authorization, Headers: headers,
			Delivery: deliveryOf(spec.Delivery), Options: optionsOf(spec.VendorOptions),
		},
		SecretDigest:  secretDigest(s.sub.UID, s.signing.value),
		ObserveOnly:   spec.ManagementPolicyOrDefault() == v1alpha1.ManagementPolicyObserveOnly,
		TakeID:        spec.SubscriptionID,
		AdoptMatching: spec.AdoptionPolicyOrDefault() == v1alpha1.AdoptionPolicyIfNameMatches,
		SpecChanged:   s.sub.Generation != s.before.Status.ObservedGeneration,
		Resume:        requested(s.sub, v1alpha1.AnnotationResumeRequested, s.sub.Status.LastHandledResumeAt),
	}

	if s.want.AdoptionAllowed, err = s.allowed(ctx, s.provider.Settings().Adoption); err != nil {
		return err
	}

	s.want.CredentialsDigest, err = credentialsDigest(s.sub.UID, s.want.Draft)

	return err
}

// desiredName is the name at the provider; none where the provider has no names and the spec sets none.
func (s *subscriptionScope) desiredName() string {
	if !s.caps.Has(subscription.FieldName) && s.sub.Spec.Name == "" {
		return ""
	}

	return s.sub.NameOrDefault(s.options.InstallationID)
}

// requested tells whether an annotation asks for something that was not handled yet.
func requested(sub metav1.Object, annotation, handled string) bool {
	value := sub.GetAnnotations()[annotation]

	return value != "" && value != handled
}

// resolveSigningSecret reads the given signing secret, or the generated one, or generates it. Nothing is
// written before it is known that a subscription will be made with it.
func (s *subscriptionScope) resolveSigningSecret(ctx context.Context) error {
	s.signing = signingSecret{}
	s.signing.ref, s.signing.generated = s.sub.SecretRefOrDefault()

	switch observeOnly := s.sub.Spec.ManagementPolicyOrDefault() == v1alpha1.ManagementPolicyObserveOnly; {
	case observeOnly:
		return nil
	case s.signing.generated && (s.caps.Secret != subscription.SecretSettable || !s.caps.Has(subscription.FieldSecret)):
		return nil
	case s.signing.generated:
		return s.resolveGenerated(ctx)
	default:
		value, err := s.secrets.Value(ctx, s.sub.Namespace, s.signing.ref.Name, s.signing.ref.Key)
		if err != nil {
			return fmt.Errorf("spec.secretRef: %w", err)
		}

		s.signing.value = value

		return nil
	}
}

func (s *subscriptionScope) resolveGenerated(ctx context.Context) error {
	secret := &corev1.Secret{}
	err := s.live.Get(ctx, types.NamespacedName{Namespace: s.sub.Namespace, Name: s.signing.ref.Name}, secret)

	switch {
	case apierrors.IsNotFound(err):
		s.signing.value, s.signing.unwritten = newSigningSecret(), true

		return nil
	case err != nil:
		return fmt.Errorf("reading Secret %s: %w", s.signing.ref.Name, err)
	case !metav1.IsControlledBy(secret, s.sub):
		return terminal(v1alpha1.ReasonSecretInvalid,
			"Secret %s exists and was not generated for this resource, so it is not touched: "+
				"delete it, rename it, or use it by spec.secretRef",
			secret.Name)
	}

	s.signing.object = secret

	value, err := kube.ValueOf(secret, s.signing.ref.Key)
	lost := errors.Is(err, provider.ErrSecretNotFound) || errors.Is(err, provider.ErrSecretInvalid)
	asked := requested(s.sub, v1alpha1.AnnotationRotateRequested, s.sub.Status.LastHandledRotateAt) &&
		requested(s.sub, v1alpha1.AnnotationRotateRequested, secret.Annotations[v1alpha1.AnnotationRotateRequested])

	if lost || asked {
		value, s.signing.unwritten = newSigningSecret(), true
	}

	s.signing.value = value

	return nil
}

// writeSigningSecret stores a generated value before the provider gets it, so that it cannot be lost. The
// rotation it answers is noted in the Secret itself, so that an interrupted one is not done twice.
func (s *subscriptionScope) writeSigningSecret(ctx context.Context) error {
	if !s.signing.unwritten {
		return nil
	}

	secret := s.signing.object.DeepCopy()
	if secret == nil {
		secret = &corev1.Secret{Type: corev1.SecretTypeOpaque}
		secret.Namespace, secret.Name = s.sub.Namespace, s.signing.ref.Name
	}

	metav1.SetMetaDataLabel(&secret.ObjectMeta, v1alpha1.LabelManagedBy, v1alpha1.LabelManagedByValue)
	metav1.SetMetaDataLabel(&secret.ObjectMeta, v1alpha1.LabelSigningSecret, "true")

	if request := s.sub.Annotations[v1alpha1.AnnotationRotateRequested]; request != "" {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, v1alpha1.AnnotationRotateRequested, request)
	}

	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}

	secret.Data[s.signing.ref.Key] = []byte(s.signing.value)

	loose := controllerutil.WithBlockOwnerDeletion(false)
	if err := controllerutil.SetControllerReference(s.sub, secret, s.client.Scheme(), loose); err != nil {
		return fmt.Errorf("owning Secret %s: %w", secret.Name, err)
	}

	if err := s.storeSecret(ctx, secret); err != nil {
		return fmt.Errorf("writing Secret %s: %w", secret.Name, err)
	}

	s.signing.unwritten = false

	if s.signing.object == nil {
		s.event(corev1.EventTypeNormal, v1alpha1.EventSecretGenerated, "Generate", "Generated a signing secret into Secret "+secret.Name)
	}

	return nil
}

// storeSecret creates the Secret, or replaces the one that was read if nobody changed it meanwhile.
func (s *subscriptionScope) storeSecret(ctx context.Context, secret *corev1.Secret) error {
	if s.signing.object == nil {
		return s.client.Create(ctx, secret) //nolint:wrapcheck // the caller says what was done.
	}

	return s.client.Patch(ctx, secret, //nolint:wrapcheck // as above.
		client.MergeFromWithOptions(s.signing.object, client.MergeFromWithOptimisticLock{}))
}

// disownSigningSecret drops our ownerRef, so that the Secret outlives the resource as its subscription does.
func (s *subscriptionScope) disownSigningSecret(ctx context.Context) error {
	name := s.sub.GeneratedSecretName()
	secret := &corev1.Secret{}
	err := s.live.Get(ctx, types.NamespacedName{Namespace: s.sub.Namespace, Name: name}, secret)

	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading Secret %s: %w", name, err)
	case !metav1.IsControlledBy(secret, s.sub):
		return nil
	}

	kept := secret.DeepCopy()
	kept.OwnerReferences = slices.DeleteFunc(kept.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == s.sub.UID })

	if err := s.client.Patch(ctx, kept, client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("dropping the ownerRef of Secret %s: %w", name, err)
	}

	return nil
}
