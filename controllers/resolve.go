package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
)

// resolveProvider finds the provider, checks that it may be used, and opens its account.
func (s *subscriptionScope) resolveProvider(ctx context.Context) error {
	if errs := s.sub.Validate(); len(errs) > 0 {
		return terminal(v1alpha1.ReasonInvalidSpec, "%s", scrub(errs.ToAggregate().Error()))
	}

	found, err := s.findProvider(ctx)
	if err != nil {
		return err
	}

	s.provider = found

	if err := s.mayUse(ctx, found); err != nil {
		return err
	}

	if err := providerReady(found); err != nil {
		return err
	}

	s.account, err = s.open(ctx, found)
	if err != nil {
		return unopened(found, err)
	}

	s.caps, s.began = s.account.Capabilities(), s.account.Mark()

	return nil
}

// mayUse refuses a provider that does not allow the namespace.
func (s *subscriptionScope) mayUse(ctx context.Context, p v1alpha1.Provider) error {
	allowed, err := s.allowed(ctx, p, p.Resolved().AllowedNamespaces)
	if err != nil || allowed {
		return err
	}

	return terminal(v1alpha1.ReasonNamespaceNotAllowed,
		"%s does not allow namespace %s: add it to spec.allowedNamespaces there, or choose another provider",
		describe(p), s.sub.Namespace)
}

// openRetry is how soon an account is opened again that could not be. Its provider may be Ready all the while: what
// failed here need not have failed there, so no change of it may come that could be waited for.
const openRetry = 30 * time.Second

// unopened waits for an account that could not be opened. What is transient says nothing of the subscription.
func unopened(p v1alpha1.Provider, err error) error {
	out := waiting(openRetry, v1alpha1.ReasonProviderNotReady, "%s cannot be used yet: see its conditions", describe(p)).because(err)
	if kind := outcomeOf(err).kind; kind == outcomeTransient || kind == outcomeRateLimited {
		return out.quietly()
	}

	return out
}

// open is the account of a provider, without reading its credentials again where its spec is as it was: the
// provider's own controller sees to changed credentials.
func (s *subscriptionScope) open(ctx context.Context, p v1alpha1.Provider) (*provider.Account, error) {
	if account, found := s.pool.Last(p.GetUID()); found && account.Config().Generation == p.GetGeneration() {
		return account, nil
	}

	account, err := s.pool.Open(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", describe(p), err)
	}

	return account, nil
}

// passingReasons are those for which a provider is not Ready that say nothing of its subscriptions.
var passingReasons = []string{
	v1alpha1.ReasonUnreachable, v1alpha1.ReasonUnexpectedAnswer, v1alpha1.ReasonRateLimited, v1alpha1.ReasonRetrying,
}

// providerReady waits for a provider that cannot be used at present.
func providerReady(p v1alpha1.Provider) error {
	ready := meta.FindStatusCondition(p.ProviderStatus().Conditions, v1alpha1.ConditionReady)

	switch {
	case !p.GetDeletionTimestamp().IsZero():
		return waiting(0, v1alpha1.ReasonProviderNotReady, "%s is being deleted: choose another provider", describe(p)).quietly()
	case ready == nil:
		return waiting(0, v1alpha1.ReasonProviderNotReady, "%s has not been looked at yet", describe(p)).quietly()
	case ready.Status == metav1.ConditionTrue:
		return nil
	case slices.Contains(passingReasons, ready.Reason):
		return waiting(0, v1alpha1.ReasonProviderNotReady, "%s is not ready (%s), see its conditions", describe(p), ready.Reason).quietly()
	default:
		return waiting(0, v1alpha1.ReasonProviderNotReady, "%s is not ready (%s), see its conditions", describe(p), ready.Reason)
	}
}

// describe names a provider as a user would.
func describe(p v1alpha1.Provider) string {
	return string(p.ProviderKind()) + " " + p.GetName()
}

// findProvider is the provider that spec.providerRef names, or the default. A subscription whose default can
// no longer be told stays where it is.
func (s *subscriptionScope) findProvider(ctx context.Context) (v1alpha1.Provider, error) {
	if ref := s.sub.Spec.ProviderRef; ref != nil {
		return s.getProvider(ctx, ref.Kind, ref.Name)
	}

	found, err := s.defaultProvider(ctx)

	var out *outcome
	if pinned := s.sub.Status.Provider; errors.As(err, &out) && pinned != nil {
		if used, usedErr := s.getProvider(ctx, pinned.Kind, pinned.Name); usedErr == nil && used.GetUID() == pinned.UID {
			return used, nil
		}
	}

	return found, err
}

func (s *subscriptionScope) getProvider(ctx context.Context, kind v1alpha1.ProviderKind, name string) (v1alpha1.Provider, error) {
	var (
		found v1alpha1.Provider
		key   types.NamespacedName
		obj   client.Object
	)

	if kind == v1alpha1.ProviderKindCluster {
		p := &v1alpha1.ClusterWebhookProvider{}
		found, obj, key = p, p, types.NamespacedName{Name: name}
	} else {
		p := &v1alpha1.WebhookProvider{}
		found, obj, key = p, p, types.NamespacedName{Namespace: s.sub.Namespace, Name: name}
	}

	err := s.client.Get(ctx, key, obj)

	switch {
	case apierrors.IsNotFound(err):
		return nil, waiting(0, v1alpha1.ReasonProviderNotFound,
			"There is no %s %s: create it, or correct spec.providerRef", kind, name)
	case err != nil:
		return nil, fmt.Errorf("reading %s %s: %w", kind, name, err)
	default:
		return found, nil
	}
}

// defaultProvider is the one WebhookProvider of the namespace that is marked default, otherwise the one
// ClusterWebhookProvider that is.
func (s *subscriptionScope) defaultProvider(ctx context.Context) (v1alpha1.Provider, error) {
	var namespaced v1alpha1.WebhookProviderList
	if err := s.client.List(ctx, &namespaced, client.InNamespace(s.sub.Namespace)); err != nil {
		return nil, fmt.Errorf("listing WebhookProviders: %w", err)
	}

	var cluster v1alpha1.ClusterWebhookProviderList
	if err := s.client.List(ctx, &cluster); err != nil {
		return nil, fmt.Errorf("listing ClusterWebhookProviders: %w", err)
	}

	candidates := make([]v1alpha1.Provider, 0, 1)

	for i := range namespaced.Items {
		candidates = appendDefault(candidates, &namespaced.Items[i])
	}

	if len(candidates) == 0 {
		for i := range cluster.Items {
			candidates = appendDefault(candidates, &cluster.Items[i])
		}
	}

	switch len(candidates) {
	case 0:
		return nil, waiting(0, v1alpha1.ReasonNoDefaultProvider,
			"No provider is marked default: set spec.providerRef, or spec.default of one provider")
	case 1:
		return candidates[0], nil
	default:
		return nil, terminal(v1alpha1.ReasonAmbiguousDefaultProvider,
			"Several providers are marked default (%s): leave spec.default on one of them, or set spec.providerRef", names(candidates))
	}
}

func appendDefault(candidates []v1alpha1.Provider, p v1alpha1.Provider) []v1alpha1.Provider {
	if p.Settings().DefaultOrFalse() && p.GetDeletionTimestamp().IsZero() {
		return append(candidates, p)
	}

	return candidates
}

func names(providers []v1alpha1.Provider) string {
	matches := make([]match, len(providers))
	for i, p := range providers {
		matches[i].ID = describe(p)
	}

	return joinIDs(matches)
}

// allowed tells whether a selection of a provider has this resource's namespace.
func (s *subscriptionScope) allowed(ctx context.Context, p v1alpha1.Provider, selection *v1alpha1.NamespaceSelection) (bool, error) {
	if selection == nil {
		return false, nil
	}

	var labels map[string]string

	if selection.Selector != nil {
		namespace := &metav1.PartialObjectMetadata{}
		namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))

		if err := s.client.Get(ctx, types.NamespacedName{Name: s.sub.Namespace}, namespace); err != nil {
			return false, fmt.Errorf("reading the labels of namespace %s: %w", s.sub.Namespace, err)
		}

		labels = namespace.Labels
	}

	selects, err := selection.Selects(s.sub.Namespace, labels)
	if err != nil {
		return false, terminal(v1alpha1.ReasonInvalidSpec, "%s: %s", describe(p), scrub(err.Error()))
	}

	return selects, nil
}
