package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/kube"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Every write to a resource is a patch; leases are in a role of the manager's own namespace.
// +kubebuilder:rbac:groups=hookline.dev,resources=webhooksubscriptions,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=hookline.dev,resources=webhooksubscriptions/status,verbs=patch
// Secrets: list and watch are of metadata only, so that a change of one is seen; get reads the value of one that a
// resource refers to; create and patch write generated signing secrets, only those whose ownerRef is ours.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch
// Namespaces: their labels decide whether a cluster provider allows them, metadata only.
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// subscriptionReconciler makes WebhookSubscriptions true at their providers.
type subscriptionReconciler struct {
	client   client.Client
	live     client.Reader
	fresh    *fresh
	secrets  kube.Secrets
	pool     *provider.Pool
	recorder events.EventRecorder
	clock    clockwork.Clock
	metrics  *metrics
	options  Options
	// deliveryWrites caps the status writes that only tell of deliveries, for the whole manager.
	deliveryWrites *rate.Limiter
	// since is when this process began to reconcile: what another asked for before it had ended by then.
	since func() time.Time
	// attempts are when creates ended without an answer, by UID.
	attempts sync.Map
	// arrivals are what moves that are not over have at the provider that is moved to, by UID.
	arrivals sync.Map
	// copied are when secrets that providers made were last read back, by UID.
	copied sync.Map
	// refused asks for a look at a provider that refused its credentials.
	refused func(ctx context.Context, kind v1alpha1.ProviderKind, namespace, name string)
}

// phase is one step of a reconcile. An error ends it; see outcomeOf for what becomes of it.
type phase func(*subscriptionScope, context.Context) error

// syncPhases make the provider as the spec says.
func syncPhases() []phase {
	return []phase{
		(*subscriptionScope).resolveProvider,
		(*subscriptionScope).resolveSecrets,
		(*subscriptionScope).resolveEvents,
		(*subscriptionScope).observe,
		(*subscriptionScope).plan,
		(*subscriptionScope).act,
		(*subscriptionScope).readDeliveries,
	}
}

// deletionPhases let go of what stands for a deleted resource.
func deletionPhases() []phase {
	return []phase{
		(*subscriptionScope).resolveForDeletion,
		(*subscriptionScope).partWithElsewhere,
		(*subscriptionScope).partWithRemote,
		(*subscriptionScope).release,
	}
}

// subscriptionScope is one reconcile of one WebhookSubscription.
type subscriptionScope struct {
	*subscriptionReconciler

	log logr.Logger
	// sub is changed as the reconcile goes on; before is as it was read.
	sub    *v1alpha1.WebhookSubscription
	before *v1alpha1.WebhookSubscription

	provider v1alpha1.Provider
	account  *provider.Account
	caps     subscription.Capabilities
	// began is when this reconcile began, in the order of the provider's lists.
	began provider.Mark

	signing signingSecret
	// want is what is desired, as if it were one subscription: each unit has its own name and part of the events.
	want desired
	// unmatched are the patterns that no event type of the catalogue matches.
	unmatched []string
	// entries are what stands for the resource at the present provider; known is how many of them the status told of,
	// and moved that what it told of is at another provider.
	entries []entry
	known   int
	moved   bool
	// units are the subscriptions that are desired, extra the indexes of entries that no longer are.
	units   []*unitScope
	extra   []int
	actions []action
	// gone is what came of what is no longer asked for.
	gone []unitOutcome
	// told are the Events about what was done so far.
	told []told
	// farewell is the input of planDeletion.
	farewell farewell

	flow flow
}

// unitScope is one unit in one reconcile.
type unitScope struct {
	pair

	// hash stands for its natural key.
	hash string
	// remote is the subscription as it is after acting; nil where there is none.
	remote *subscription.Subscription
	// asked are the events that remote asks for.
	asked []string
	// created, taken and updated say what was done; secret is what the provider made.
	created, taken, updated bool
	secret                  string
	// failure is why it is not as asked for; unreached: it was not tried.
	failure   error
	unreached bool
}

// Reconcile implements reconcile.Reconciler.
func (r *subscriptionReconciler) Reconcile(ctx context.Context, request reconcile.Request) (result ctrl.Result, err error) {
	r.since()

	sub := &v1alpha1.WebhookSubscription{}
	if err := r.fresh.get(ctx, request.NamespacedName, sub); err != nil {
		if err := client.IgnoreNotFound(err); err != nil {
			return ctrl.Result{}, fmt.Errorf("reading the WebhookSubscription: %w", err)
		}

		return ctrl.Result{}, nil
	}

	s := &subscriptionScope{subscriptionReconciler: r, log: ctrl.LoggerFrom(ctx), sub: sub, before: sub.DeepCopy()}

	defer func() { result, err = s.conclude(ctx, err) }()

	switch deleting := !sub.DeletionTimestamp.IsZero(); {
	case deleting && !controllerutil.ContainsFinalizer(sub, v1alpha1.FinalizerSubscription):
		s.flow.released = true

		return ctrl.Result{}, nil
	case v1alpha1.IsPaused(sub.Annotations):
		return ctrl.Result{}, &outcome{kind: outcomePaused}
	case deleting:
		return ctrl.Result{}, s.run(ctx, deletionPhases())
	default:
		return ctrl.Result{}, s.run(ctx, syncPhases())
	}
}

func (s *subscriptionScope) run(ctx context.Context, phases []phase) error {
	for _, phase := range phases {
		if err := phase(s, ctx); err != nil {
			return err
		}
	}

	return nil
}
