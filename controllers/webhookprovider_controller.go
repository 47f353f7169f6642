package controllers

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
)

// Patch on the providers: the finalizer of one in use is put on and taken off.
// +kubebuilder:rbac:groups=hookline.dev,resources=webhookproviders;clusterwebhookproviders,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=hookline.dev,resources=webhookproviders/status;clusterwebhookproviders/status,verbs=patch

// providerObject is a provider that is also an object of the client.
type providerObject interface {
	v1alpha1.Provider
	client.Object
}

// providerParts are what the controllers of both kinds of provider are made of.
type providerParts struct {
	client   client.Client
	pool     *provider.Pool
	recorder events.EventRecorder
	clock    clockwork.Clock
	metrics  *metrics
	options  Options
}

// providerReconciler tells of providers of one kind whether their credentials work.
type providerReconciler[P providerObject] struct {
	providerParts

	empty func() P
}

// providerScope is one reconcile of one provider.
type providerScope struct {
	providerParts

	log logr.Logger
	// obj is changed as the reconcile goes on; before is as it was read.
	obj     providerObject
	before  providerObject
	account *provider.Account

	released bool
}

// Reconcile implements reconcile.Reconciler.
func (r *providerReconciler[P]) Reconcile(ctx context.Context, request reconcile.Request) (result ctrl.Result, err error) {
	obj := r.empty()
	if err := r.client.Get(ctx, request.NamespacedName, obj); err != nil {
		if err := client.IgnoreNotFound(err); err != nil {
			return ctrl.Result{}, fmt.Errorf("reading the provider: %w", err)
		}

		return ctrl.Result{}, r.forgetGone(ctx, obj.ProviderKind(), request.NamespacedName)
	}

	before, _ := obj.DeepCopyObject().(P)
	s := &providerScope{providerParts: r.providerParts, log: ctrl.LoggerFrom(ctx), obj: obj, before: before}

	defer func() { result, err = s.conclude(ctx, err) }()

	switch {
	case !obj.GetDeletionTimestamp().IsZero():
		return ctrl.Result{}, s.release(ctx)
	case v1alpha1.IsPaused(obj.GetAnnotations()):
		return ctrl.Result{}, &outcome{kind: outcomePaused}
	}

	for _, phase := range []func(context.Context) error{s.open, s.probe} {
		if err := phase(ctx); err != nil {
			return ctrl.Result{}, err
		}
	}

	return ctrl.Result{}, nil
}

// setupProvider adds the controller of one kind of provider.
func setupProvider[P providerObject](mgr ctrl.Manager, parts providerParts, signals *signals, empty func() P) error {
	r := &providerReconciler[P]{providerParts: parts, empty: empty}
	kind := empty().ProviderKind()

	var secret metav1.PartialObjectMetadata

	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))

	asked := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})

	readers := handler.EnqueueRequestsFromMapFunc(r.withSecret)
	used := handler.EnqueueRequestsFromMapFunc(usedBy(kind))

	err := ctrl.NewControllerManagedBy(mgr).
		For(empty(), builder.WithPredicates(asked)).
		WatchesMetadata(&secret, readers, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&v1alpha1.WebhookSubscription{}, used, builder.WithPredicates(leavesProvider())).
		WatchesRawSource(source.Channel(signals.refusals[kind], &handler.EnqueueRequestForObject{})).
		WithOptions(parts.options.controllerOptions(providerWorker)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the controller of %s: %w", kind, err)
	}

	return nil
}

// withSecret are the providers whose credentials stand in a Secret.
func (r *providerReconciler[P]) withSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	key := client.ObjectKeyFromObject(secret).String()

	var requests []reconcile.Request

	if r.empty().ProviderKind() == v1alpha1.ProviderKindCluster {
		var list v1alpha1.ClusterWebhookProviderList
		if err := r.client.List(ctx, &list, client.MatchingFields{indexSecret: key}); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not list ClusterWebhookProviders")
		}

		for i := range list.Items {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}

		return requests
	}

	var list v1alpha1.WebhookProviderList
	if err := r.client.List(ctx, &list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexSecret: key}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not list WebhookProviders")
	}

	for i := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}

	return requests
}

// usedBy is the provider of one kind that a subscription uses.
func usedBy(kind v1alpha1.ProviderKind) handler.MapFunc {
	return func(_ context.Context, obj client.Object) []reconcile.Request {
		sub, same := obj.(*v1alpha1.WebhookSubscription)
		if !same || sub.Status.Provider == nil || sub.Status.Provider.Kind != kind {
			return nil
		}

		request := reconcile.Request{}
		request.Name = sub.Status.Provider.Name

		if kind == v1alpha1.ProviderKindNamespaced {
			request.Namespace = sub.Namespace
		}

		return []reconcile.Request{request}
	}
}

// leavesProvider passes the end of a subscription's use of a provider: a provider may wait for it to be deleted.
func leavesProvider() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, okBefore := e.ObjectOld.(*v1alpha1.WebhookSubscription)
			after, okAfter := e.ObjectNew.(*v1alpha1.WebhookSubscription)

			return okBefore && okAfter && before.Status.Provider != nil &&
				(after.Status.Provider == nil || before.Status.Provider.UID != after.Status.Provider.UID)
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
