// Package controllers makes the resources of hookline.dev true: it reconciles WebhookSubscriptions with what
// their providers have, and tells of providers whether they can be used. SetupWithManager is its one entry point.
package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/kube"
	"github.com/hookline-dev/hookline/internal/provider"
)

// What omitted options mean.
const (
	// DefaultStatusPollInterval is how often each provider is asked whose delivery statuses changed.
	DefaultStatusPollInterval = 5 * time.Second
	// DefaultStatusRefresh is how old the time of a delivery status may grow whose result stays the same.
	DefaultStatusRefresh = 5 * time.Minute
	// DefaultStatusWritesPerSecond caps the status writes that only tell of deliveries.
	DefaultStatusWritesPerSecond = 20
	// DefaultProbeInterval is how often a provider is probed that refused its credentials.
	DefaultProbeInterval = 5 * time.Minute
	// DefaultMaxConcurrentReconciles is how many WebhookSubscriptions are reconciled at once.
	DefaultMaxConcurrentReconciles = 4
	// DefaultRetryBase and DefaultRetryMax bound the delay before a failed reconcile is tried again.
	DefaultRetryBase = 500 * time.Millisecond
	DefaultRetryMax  = 5 * time.Minute
	// LeaderElectionID names the Lease by which managers elect their leader.
	LeaderElectionID = "hookline"

	recorderName   = "hookline"
	setupTimeout   = 30 * time.Second
	providerWorker = 2
	// reconcileTimeout bounds one reconcile and with it every request to the API server. Requests to a provider, of
	// which one reconcile makes no more than a handful, have the shorter bound of spec.timeout, 60s at most.
	reconcileTimeout = 10 * time.Minute
)

// Options are what the controllers can be told. The zero value of each field means its default.
type Options struct {
	// Factory makes clients of providers; its Embedded is the dispatcher of this process.
	Factory provider.Factory
	// Clock tells the time. Omitted: the system's.
	Clock clockwork.Clock
	// InstallationID is part of derived names, so that two clusters do not claim one subscription. Omitted: the UID
	// of the namespace kube-system, read by SetupWithManager.
	InstallationID string
	// Interval is how old a list of a provider may grow whose spec has no interval. Omitted:
	// v1alpha1.DefaultInterval.
	Interval time.Duration
	// StatusPollInterval, StatusRefresh, StatusWritesPerSecond and ProbeInterval: see their defaults.
	StatusPollInterval    time.Duration
	StatusRefresh         time.Duration
	StatusWritesPerSecond float64
	ProbeInterval         time.Duration
	// DeletionGrace is how long a deletion waits for a provider that cannot be used before it leaves the remote
	// subscription behind. Omitted: for ever.
	DeletionGrace time.Duration
	// MaxConcurrentReconciles: see its default.
	MaxConcurrentReconciles int
	// RetryBase and RetryMax: see their defaults.
	RetryBase time.Duration
	RetryMax  time.Duration
	// UsePriorityQueue says whether changes go before what is only looked at again. Omitted: as
	// controller-runtime does, which is yes.
	UsePriorityQueue *bool
	// NewQueue makes the work queues, for tests with a clock of their own. Omitted: controller-runtime's.
	NewQueue func(string, workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request]
	// Metrics registers the controllers' metrics. Omitted: controller-runtime's registry.
	Metrics prometheus.Registerer
	// Recorder writes Events. Omitted: the manager's.
	Recorder events.EventRecorder
	// SkipNameValidation allows several managers in one process, as tests have.
	SkipNameValidation *bool
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}

	if o.Metrics == nil {
		o.Metrics = ctrlmetrics.Registry
	}

	orDefault(&o.StatusPollInterval, DefaultStatusPollInterval)
	orDefault(&o.StatusRefresh, DefaultStatusRefresh)
	orDefault(&o.StatusWritesPerSecond, DefaultStatusWritesPerSecond)
	orDefault(&o.ProbeInterval, DefaultProbeInterval)
	orDefault(&o.MaxConcurrentReconciles, DefaultMaxConcurrentReconciles)
	orDefault(&o.RetryBase, DefaultRetryBase)
	orDefault(&o.RetryMax, DefaultRetryMax)
	orDefault(&o.Interval, v1alpha1.DefaultInterval)

	return o
}

func orDefault[V int | float64 | time.Duration](value *V, otherwise V) {
	if *value <= 0 {
		*value = otherwise
	}
}

// CacheOptions are how the manager's cache must be made: without managed fields, and refusing to read what
// nothing watches, so that no Secret is ever cached by mistake.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform:            cache.TransformStripManagedFields(),
		ReaderFailOnMissingInformer: true,
	}
}

// ManagerOptions are the options of a manager for these controllers, to be completed with a scheme, addresses
// and leader election.
func ManagerOptions() ctrl.Options {
	return ctrl.Options{
		Cache:                         CacheOptions(),
		LeaderElectionID:              LeaderElectionID,
		LeaderElectionReleaseOnCancel: true,
	}
}

// SetupWithManager adds the controllers of all kinds to a manager made with ManagerOptions.
func SetupWithManager(mgr ctrl.Manager, options Options) error {
	options = options.withDefaults()

	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()

	if options.InstallationID == "" {
		id, err := kube.InstallationID(ctx, mgr.GetAPIReader())
		if err != nil {
			return err
		}

		options.InstallationID = id
	}

	if options.Recorder == nil {
		options.Recorder = mgr.GetEventRecorder(recorderName)
	}

	counters, err := newMetrics(options.Metrics)
	if err != nil {
		return err
	}

	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}

	return setup(mgr, options, counters)
}

func setup(mgr ctrl.Manager, options Options, counters *metrics) error {
	secrets := kube.Secrets{Reader: mgr.GetAPIReader()}
	pool := provider.NewPool(options.Factory, secrets, provider.PoolOptions{
		Clock: options.Clock, Observer: counters.request, Interval: options.Interval, ProbeInterval: options.ProbeInterval,
	})
	signals := newSignals()

	subscriptions := &subscriptionReconciler{
		client: mgr.GetClient(), live: mgr.GetAPIReader(), fresh: newFresh(mgr.GetClient(), mgr.GetAPIReader()),
		secrets: secrets, pool: pool, recorder: options.Recorder, clock: options.Clock, metrics: counters, options: options,
		deliveryWrites: rate.NewLimiter(rate.Limit(options.StatusWritesPerSecond), max(int(options.StatusWritesPerSecond), 1)),
		refused:        signals.refuse,
		since:          sync.OnceValue(options.Clock.Now),
	}
	if err := subscriptions.setup(mgr, signals); err != nil {
		return fmt.Errorf("adding the controller of %s: %w", v1alpha1.KindWebhookSubscription, err)
	}

	providers := providerParts{
		client: mgr.GetClient(), pool: pool, recorder: options.Recorder, clock: options.Clock, metrics: counters, options: options,
	}
	namespaced := func() *v1alpha1.WebhookProvider { return &v1alpha1.WebhookProvider{} }
	if err := setupProvider(mgr, providers, signals, namespaced); err != nil {
		return err
	}

	cluster := func() *v1alpha1.ClusterWebhookProvider { return &v1alpha1.ClusterWebhookProvider{} }
	if err := setupProvider(mgr, providers, signals, cluster); err != nil {
		return err
	}

	if err := mgr.Add(&poller{
		client: mgr.GetClient(), pool: pool, clock: options.Clock, interval: options.StatusPollInterval,
		changed: signals.changed, refused: signals.refuse,
	}); err != nil {
		return fmt.Errorf("adding the poller of delivery statuses: %w", err)
	}

	return nil
}

// controllerOptions are those of every controller.
func (o Options) controllerOptions(workers int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: workers,
		UsePriorityQueue:        o.UsePriorityQueue,
		NewQueue:                o.NewQueue,
		SkipNameValidation:      o.SkipNameValidation,
		ReconciliationTimeout:   reconcileTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](o.RetryBase, o.RetryMax),
	}
}
