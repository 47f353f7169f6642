package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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

	if s.want.AdoptionAllowed, err = s.allowed(ctx, s.provider, s.provider.Settings().Adoption); err != nil {
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

	providerMade := s.caps.Secret == subscription.SecretProviderMade

	switch observeOnly := s.sub.Spec.ManagementPolicyOrDefault() == v1alpha1.ManagementPolicyObserveOnly; {
	case observeOnly:
		return nil
	case providerMade && !s.signing.generated:
		return terminal(v1alpha1.ReasonUnsupportedByProvider,
			"The provider does not support spec.secretRef, because it makes the signing secret itself: "+
				"remove it, and Hookline copies the provider's into Secret %s", s.sub.GeneratedSecretName())
	case providerMade:
		return s.resolveCopied(ctx)
	case s.signing.generated && !s.caps.Has(subscription.FieldSecret):
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

// ownSecret reads the Secret that holds, or is to hold, a secret that the spec does not give; nil where there is none.
func (s *subscriptionScope) ownSecret(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := s.live.Get(ctx, types.NamespacedName{Namespace: s.sub.Namespace, Name: s.signing.ref.Name}, secret)

	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // there is none, which is no error.
	case err != nil:
		return nil, fmt.Errorf("reading Secret %s: %w", s.signing.ref.Name, err)
	case !metav1.IsControlledBy(secret, s.sub):
		return nil, terminal(v1alpha1.ReasonSecretInvalid,
			"Secret %s exists and was not generated for this resource, so it is not touched: "+
				"delete it, rename it, or use it by spec.secretRef",
			secret.Name)
	default:
		return secret, nil
	}
}

// resolveCopied makes sure, before anything is created, that there is a place for the secret that the provider makes.
func (s *subscriptionScope) resolveCopied(ctx context.Context) (err error) {
	s.signing.object, err = s.ownSecret(ctx)

	return err
}

func (s *subscriptionScope) resolveGenerated(ctx context.Context) (err error) {
	form := s.caps.SecretTextFor(deliveryOf(s.sub.Spec.Delivery).Format)

	s.signing.object, err = s.ownSecret(ctx)
	if err != nil {
		return err
	}

	if s.signing.object == nil {
		s.signing.value, s.signing.unwritten = newSigningSecret(form), true

		return nil
	}

	secret := s.signing.object
	value, err := kube.ValueOf(secret, s.signing.ref.Key)
	lost := errors.Is(err, provider.ErrSecretNotFound) || errors.Is(err, provider.ErrSecretInvalid)
	asked := requested(s.sub, v1alpha1.AnnotationRotateRequested, s.sub.Status.LastHandledRotateAt) &&
		requested(s.sub, v1alpha1.AnnotationRotateRequested, secret.Annotations[v1alpha1.AnnotationRotateRequested])

	if lost || asked || !hasForm(value, form) {
		value, s.signing.unwritten = newSigningSecret(form), true
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

	if err := s.keepSecret(ctx, map[string]string{s.signing.ref.Key: s.signing.value}); err != nil {
		return err
	}

	s.signing.unwritten = false

	if s.signing.object == nil {
		s.event(corev1.EventTypeNormal, v1alpha1.EventSecretGenerated, "Generate",
			"Generated a signing secret into Secret "+s.signing.ref.Name)
	}

	return nil
}

// keepSecret writes values into the Secret of this resource.
func (s *subscriptionScope) keepSecret(ctx context.Context, values map[string]string) error {
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

	for key, value := range values {
		secret.Data[key] = []byte(value)
	}

	loose := controllerutil.WithBlockOwnerDeletion(false)
	if err := controllerutil.SetControllerReference(s.sub, secret, s.client.Scheme(), loose); err != nil {
		return fmt.Errorf("owning Secret %s: %w", secret.Name, err)
	}

	if err := s.storeSecret(ctx, secret); err != nil {
		return fmt.Errorf("writing Secret %s: %w", secret.Name, err)
	}

	return nil
}

// copySigningSecret keeps the secret that the provider makes in the Secret of this resource, where receivers find it as
// they find a generated one. It is read back when something says that the copy may be wrong, and once in the provider's
// interval.
func (s *subscriptionScope) copySigningSecret(ctx context.Context) error {
	if s.caps.Secret != subscription.SecretProviderMade || s.want.ObserveOnly {
		return nil
	}

	if requested(s.sub, v1alpha1.AnnotationRotateRequested, s.sub.Status.LastHandledRotateAt) {
		s.event(corev1.EventTypeWarning, v1alpha1.EventRotationRefused, "Rotate",
			"The provider makes the signing secret itself and has no rotation: nothing was changed")
	}

	made := s.remotes()
	if len(made) == 0 || !s.mayDiffer(made) {
		return nil
	}

	values, err := s.madeSecrets(ctx, made)
	if err != nil || len(values) == 0 {
		return err
	}

	if err := s.storeCopy(ctx, values); err != nil {
		return err
	}

	s.copied.Store(s.sub.UID, s.clock.Now())

	return nil
}

// storeCopy writes the copy where it is not what the provider has.
func (s *subscriptionScope) storeCopy(ctx context.Context, values map[string]string) error {
	digest := s.digestOf(values)
	known := s.sub.Status.Secret

	if s.signing.object == nil || s.digestOf(s.heldSecrets(values)) != digest {
		if err := s.keepSecret(ctx, values); err != nil {
			return err
		}

		switch {
		case s.signing.object == nil:
			s.event(corev1.EventTypeNormal, v1alpha1.EventSecretGenerated, "Copy",
				"Copied the signing secret that the provider made into Secret "+s.signing.ref.Name)
		case known != nil && known.Digest != digest:
			s.event(corev1.EventTypeNormal, v1alpha1.EventSecretRotated, "Copy",
				"The provider has another signing secret: copied it into Secret "+s.signing.ref.Name)
		}
	}

	s.sub.Status.Secret = &v1alpha1.SecretStatus{Name: s.signing.ref.Name, Key: s.signing.ref.Key, Digest: digest}

	return nil
}

// mayDiffer tells whether the copy may not be what the provider has.
func (s *subscriptionScope) mayDiffer(made []*unitScope) bool {
	fresh := slices.ContainsFunc(made, func(u *unitScope) bool { return u.created || u.taken })
	known := s.sub.Status.Secret

	if fresh || known == nil || s.signing.object == nil ||
		requested(s.sub, v1alpha1.AnnotationReconcileRequested, s.sub.Status.LastHandledReconcileAt) {
		return true
	}

	keys := map[string]string{}
	for i := range made {
		keys[s.secretKey(i)] = ""
	}

	if s.digestOf(s.heldSecrets(keys)) != known.Digest {
		return true
	}

	last, found := s.copied.Load(s.sub.UID)
	at, same := last.(time.Time)
	interval := s.account.Config().Interval

	// A little sooner than lists grow old, so that who comes back for one finds both.
	return !found || !same || s.clock.Since(at) >= interval-interval/jitterParts
}

// madeSecrets are the secrets that the provider made, by their keys in the Secret. It is empty where the provider does not
// tell.
func (s *subscriptionScope) madeSecrets(ctx context.Context, made []*unitScope) (map[string]string, error) {
	values := map[string]string{}

	for i, u := range made {
		value := u.secret

		if value == "" {
			read, err := s.account.Secret(ctx, u.remote.ID)

			var unsupported *subscription.UnsupportedError
			if errors.As(err, &unsupported) || errors.Is(err, subscription.ErrNotFound) {
				return map[string]string{}, nil
			}

			if err != nil {
				return nil, fmt.Errorf("reading the signing secret of subscription %s: %w", u.remote.ID, err)
			}

			value = read
		}

		values[s.secretKey(i)] = value
	}

	return values, nil
}

// secretKey is the key of one of several secrets that the provider made.
func (s *subscriptionScope) secretKey(i int) string {
	if i == 0 {
		return s.signing.ref.Key
	}

	return fmt.Sprintf("%s-%d", s.signing.ref.Key, i+1)
}

// heldSecrets are what the Secret has under some keys.
func (s *subscriptionScope) heldSecrets(keys map[string]string) map[string]string {
	out := map[string]string{}

	for key := range keys {
		if s.signing.object != nil {
			out[key] = string(s.signing.object.Data[key])
		}
	}

	return out
}

// digestOf stands for secrets in a status; that of a single one is its own.
func (s *subscriptionScope) digestOf(values map[string]string) string {
	texts := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		texts = append(texts, values[key])
	}

	return secretDigest(s.sub.UID, strings.Join(texts, "\x00"))
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
