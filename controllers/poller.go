package controllers

import (
	"context"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
)

// signals carry what one part of the controllers has to tell another, besides what the cluster tells.
type signals struct {
	// changed: delivery statuses of a WebhookSubscription changed.
	changed chan event.GenericEvent
	// refusals, by kind: a provider refused its credentials.
	refusals map[v1alpha1.ProviderKind]chan event.GenericEvent
}

func newSignals() *signals {
	return &signals{
		changed: make(chan event.GenericEvent),
		refusals: map[v1alpha1.ProviderKind]chan event.GenericEvent{
			v1alpha1.ProviderKindNamespaced: make(chan event.GenericEvent),
			v1alpha1.ProviderKindCluster:    make(chan event.GenericEvent),
		},
	}
}

// refuse asks for a look at a provider that refused its credentials.
func (s *signals) refuse(ctx context.Context, kind v1alpha1.ProviderKind, namespace, name string) {
	// Only the name of the object is looked at.
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}

	select {
	case s.refusals[kind] <- event.GenericEvent{Object: obj}:
	case <-ctx.Done():
	}
}

// poller asks the providers, all at once at each interval, whose delivery statuses changed.
type poller struct {
	client   client.Client
	pool     *provider.Pool
	clock    clockwork.Clock
	interval time.Duration
	changed  chan<- event.GenericEvent
	refused  func(ctx context.Context, kind v1alpha1.ProviderKind, namespace, name string)
}

var (
	_ manager.Runnable               = (*poller)(nil)
	_ manager.LeaderElectionRunnable = (*poller)(nil)
)

// NeedLeaderElection implements manager.LeaderElectionRunnable: who does not reconcile need not know.
func (p *poller) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable.
func (p *poller) Start(ctx context.Context) error {
	ticker := p.clock.NewTicker(p.interval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.Chan():
			p.round(ctx)
		}
	}
}

// round polls all providers at once, so that a slow one holds up no other, and waits for the last.
func (p *poller) round(ctx context.Context) {
	var all sync.WaitGroup

	for _, account := range p.pool.All() {
		if account.Capabilities().Statuses {
			all.Go(func() { p.poll(ctx, account) })
		}
	}

	all.Wait()
}

func (p *poller) poll(ctx context.Context, account *provider.Account) {
	log := ctrl.LoggerFrom(ctx).WithName("poller")

	if held, _ := account.Refused(); held != nil {
		return
	}

	ids, err := account.PollChanges(ctx)
	if err != nil {
		// The provider's own controller tells of what is wrong with it.
		if held, _ := account.Refused(); held != nil {
			p.refused(ctx, account.Config().Kind, account.Config().Namespace, account.Config().Name)
		}

		log.V(1).Info("Could not ask for changed delivery statuses", "provider", account.Config().Name, "error", scrub(err.Error()))

		return
	}

	// What nobody claims may be of a create that ended this moment and is not in the cache yet: it is looked for once
	// more. Then it is a stranger's.
	unclaimed := p.tell(ctx, account, ids)
	if len(unclaimed) == 0 {
		return
	}

	select {
	case <-ctx.Done():
	case <-p.clock.After(unclaimedRetry):
		p.tell(ctx, account, unclaimed)
	}
}

// unclaimedRetry is how soon the resource of a subscription is looked for again: longer than a cache lags behind.
const unclaimedRetry = time.Second

// tell has the resources reconciled that subscriptions stand for, and returns those of the ids that none stands for.
func (p *poller) tell(ctx context.Context, account *provider.Account, ids []string) (unclaimed []string) {
	for _, id := range ids {
		var holders v1alpha1.WebhookSubscriptionList
		if err := p.client.List(ctx, &holders, client.MatchingFields{indexRemote: remoteKey(account.Config().UID, id)}); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not look for the resource of a subscription", "subscription", id)

			continue
		}

		if len(holders.Items) == 0 {
			unclaimed = append(unclaimed, id)
		}

		for i := range holders.Items {
			select {
			case p.changed <- event.GenericEvent{Object: &holders.Items[i]}:
			case <-ctx.Done():
				return nil
			}
		}
	}

	return unclaimed
}
