package controllers

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// Indexes of the cache.
const (
	// indexProvider finds WebhookSubscriptions by the provider they name or use, see providerKey.
	indexProvider = "hookline.provider"
	// indexSecret finds WebhookSubscriptions by a Secret of their namespace that they refer to, and providers by
	// "namespace/name" of one.
	indexSecret = "hookline.secret"
	// indexRemote finds WebhookSubscriptions by what stands for them at a provider, see remoteKey.
	indexRemote = "hookline.remote"
)

// anyDefault is the key, in indexProvider, of those that name no provider.
const anyDefault = "default"

// providerKey is a provider in indexProvider. namespace is empty for the cluster kind.
func providerKey(kind v1alpha1.ProviderKind, namespace, name string) string {
	if kind == v1alpha1.ProviderKindCluster {
		namespace = ""
	}

	return string(kind) + "/" + namespace + "/" + name
}

// remoteKey is a remote subscription in indexRemote.
func remoteKey(uid types.UID, id string) string { return string(uid) + "/" + id }

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, index := range []struct {
		obj   client.Object
		field string
		keys  client.IndexerFunc
	}{
		{&v1alpha1.WebhookSubscription{}, indexProvider, onSubscription(providerKeys)},
		{&v1alpha1.WebhookSubscription{}, indexSecret, onSubscription(secretNames)},
		{&v1alpha1.WebhookSubscription{}, indexRemote, onSubscription(remoteKeys)},
		{&v1alpha1.WebhookProvider{}, indexSecret, providerSecrets},
		{&v1alpha1.ClusterWebhookProvider{}, indexSecret, providerSecrets},
	} {
		if err := indexer.IndexField(ctx, index.obj, index.field, index.keys); err != nil {
			return fmt.Errorf("adding the index %s of %T: %w", index.field, index.obj, err)
		}
	}

	return nil
}

func onSubscription(keys func(*v1alpha1.WebhookSubscription) []string) client.IndexerFunc {
	return func(obj client.Object) []string {
		sub, same := obj.(*v1alpha1.WebhookSubscription)
		if !same {
			return nil
		}

		return keys(sub)
	}
}

func providerKeys(sub *v1alpha1.WebhookSubscription) []string {
	var keys []string

	if ref := sub.Spec.ProviderRef; ref != nil {
		keys = append(keys, providerKey(ref.Kind, sub.Namespace, ref.Name))
	} else {
		keys = append(keys, anyDefault)
	}

	if used := sub.Status.Provider; used != nil {
		keys = append(keys, providerKey(used.Kind, sub.Namespace, used.Name))
	}

	mark, _ := markOf(sub)
	for _, place := range mark.Places {
		kind, name := partsOf(place)
		keys = append(keys, providerKey(kind, sub.Namespace, name))
	}

	slices.Sort(keys)

	return slices.Compact(keys)
}

// secretNames are the Secrets a subscription refers to, the one that would be generated included.
func secretNames(sub *v1alpha1.WebhookSubscription) []string {
	ref, _ := sub.SecretRefOrDefault()
	out := []string{ref.Name}

	if authorization := sub.Spec.Authorization; authorization != nil {
		if authorization.Basic != nil {
			out = append(out, authorization.Basic.SecretRef.Name)
		}

		if authorization.Bearer != nil {
			out = append(out, authorization.Bearer.SecretRef.Name)
		}
	}

	for _, header := range sub.Spec.Headers {
		if header.SecretKeyRef != nil {
			out = append(out, header.SecretKeyRef.Name)
		}
	}

	slices.Sort(out)

	return slices.Compact(out)
}

func remoteKeys(sub *v1alpha1.WebhookSubscription) []string {
	if sub.Status.Provider == nil {
		return nil
	}

	var keys []string
	for _, remote := range remotesOf(&sub.Status) {
		keys = append(keys, remoteKey(sub.Status.Provider.UID, remote.ID))
	}

	return keys
}

// providerSecrets are the Secrets that hold a provider's credentials.
func providerSecrets(obj client.Object) []string {
	p, same := obj.(v1alpha1.Provider)
	if !same {
		return nil
	}

	spec := p.Resolved()
	keys := []types.NamespacedName{}

	if spec.Dispatcher != nil && spec.Dispatcher.TokenSecretRef != nil {
		keys = append(keys, spec.Dispatcher.TokenSecretRef.NamespacedName())
	}

	if spec.Vonage != nil && spec.Vonage.TokenSecretRef != nil {
		keys = append(keys, spec.Vonage.TokenSecretRef.NamespacedName())
	}

	if spec.Vonage != nil && spec.Vonage.ClientCredentials != nil {
		keys = append(keys, spec.Vonage.ClientCredentials.SecretRef.NamespacedName())
	}

	if spec.Dixa != nil {
		keys = append(keys, spec.Dixa.TokenSecretRef.NamespacedName())
	}

	if spec.Bird != nil {
		keys = append(keys, spec.Bird.AccessKeySecretRef.NamespacedName())
	}

	out := make([]string, 0, len(keys))
	for _, key := range keys {
		out = append(out, key.String())
	}

	return out
}

// setup adds the controller of WebhookSubscriptions, with everything that may change what it does.
func (r *subscriptionReconciler) setup(mgr ctrl.Manager, signals *signals) error {
	var secret, namespace metav1.PartialObjectMetadata

	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))

	users := handler.EnqueueRequestsFromMapFunc(r.usersOf)
	readers := handler.EnqueueRequestsFromMapFunc(r.readersOf)
	inhabitants := handler.EnqueueRequestsFromMapFunc(r.livingIn)

	err := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.WebhookSubscription{}, builder.WithPredicates(asksForWork())).
		Watches(&v1alpha1.WebhookProvider{}, users, builder.WithPredicates(providerChanged())).
		Watches(&v1alpha1.ClusterWebhookProvider{}, users, builder.WithPredicates(providerChanged())).
		WatchesMetadata(&secret, readers, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		WatchesMetadata(&namespace, inhabitants, builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(source.Channel(signals.changed, &handler.EnqueueRequestForObject{})).
		WithOptions(r.options.controllerOptions(r.options.MaxConcurrentReconciles)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("building the controller: %w", err)
	}

	return nil
}

// asksForWork passes what a user changes: the spec, and annotations that ask for something. What is written
// here, status, finalizer and mark, does not come back as work.
func asksForWork() predicate.Predicate {
	asked := func(obj client.Object) [4]string {
		annotations := obj.GetAnnotations()

		return [4]string{
			annotations[v1alpha1.AnnotationPaused], annotations[v1alpha1.AnnotationReconcileRequested],
			annotations[v1alpha1.AnnotationResumeRequested], annotations[v1alpha1.AnnotationRotateRequested],
		}
	}

	return predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return asked(e.ObjectOld) != asked(e.ObjectNew) },
	})
}

// providerChanged passes what may change what a provider's subscriptions can do.
func providerChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(v1alpha1.Provider)
		after, okAfter := e.ObjectNew.(v1alpha1.Provider)

		if !okBefore || !okAfter || before.GetGeneration() != after.GetGeneration() {
			return true
		}

		was, is := before.ProviderStatus().Conditions, after.ProviderStatus().Conditions

		return isReady(was) != isReady(is) ||
			reasonOf(was, v1alpha1.ConditionReady) != reasonOf(is, v1alpha1.ConditionReady)
	}}
}

// usersOf are the subscriptions that a provider matters to.
func (r *subscriptionReconciler) usersOf(ctx context.Context, obj client.Object) []reconcile.Request {
	p, same := obj.(v1alpha1.Provider)
	if !same {
		return nil
	}

	in := []client.ListOption{}
	if p.ProviderKind() == v1alpha1.ProviderKindNamespaced {
		in = append(in, client.InNamespace(p.GetNamespace()))
	}

	byName := providerKey(p.ProviderKind(), p.GetNamespace(), p.GetName())

	return slices.Concat(
		r.requests(ctx, append(in, client.MatchingFields{indexProvider: byName})...),
		r.requests(ctx, append(in, client.MatchingFields{indexProvider: anyDefault})...))
}

// readersOf are the subscriptions that refer to a Secret.
func (r *subscriptionReconciler) readersOf(ctx context.Context, secret client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexSecret: secret.GetName()})
}

// livingIn are the subscriptions of a namespace.
func (r *subscriptionReconciler) livingIn(ctx context.Context, namespace client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(namespace.GetName()))
}

func (r *subscriptionReconciler) requests(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	var list v1alpha1.WebhookSubscriptionList
	if err := r.client.List(ctx, &list, options...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not list WebhookSubscriptions")

		return nil
	}

	out := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}

	return out
}
