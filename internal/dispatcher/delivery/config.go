package delivery

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// The defaults of Config.
const (
	// DefaultMaxInFlight is how many attempts may be under way at once, in all.
	DefaultMaxInFlight = 512
	// DefaultEndpointInFlight is how many of them may go to one endpoint whose subscription
	// does not say.
	DefaultEndpointInFlight = 16
	// DefaultQueueLength is how many deliveries a Live endpoint holds before it is Behind.
	DefaultQueueLength = 128
	// DefaultCircuitFailures is how many attempts fail in a row before an endpoint's circuit opens.
	DefaultCircuitFailures = 5
	// DefaultProbeAfter is how long an open circuit waits before its first probe; the wait doubles
	// with each that fails, up to DefaultMaxProbeWait.
	DefaultProbeAfter   = 5 * time.Second
	DefaultMaxProbeWait = 5 * time.Minute
	// DefaultMaxEndpointBacklog and DefaultMaxTenantBacklog are how many deliveries may wait on pages
	// and for their next attempt, of one endpoint and of all of a tenant's.
	DefaultMaxEndpointBacklog = 2_000_000
	DefaultMaxTenantBacklog   = 10_000_000
	// DefaultBacklogAge is how long a delivery may wait, from its event's acceptance. It is longer
	// than DefaultSchedule with its jitter, which therefore ends first.
	DefaultBacklogAge = 120 * time.Hour
	// DefaultShutdownGrace is how long Run takes at the most once its context has ended.
	DefaultShutdownGrace = 25 * time.Second
)

const (
	// settleInterval and settleOutcomes bound how long, and how many, outcomes wait for a Settle.
	settleInterval = 10 * time.Millisecond
	settleOutcomes = 256
	// maxPending stops the reader until a Settle, in entries of the next batch.
	maxPending = 16 * settleOutcomes
	// placeAfter is how long a delivery may hold the cursor before it is placed on its page.
	placeAfter = time.Second
	// readBatch is how many records are read from the log at once.
	readBatch = 256
	// maxPassedOver is how many records of the log may be lost before Run ends for it: damage that is no
	// single flipped bit or block.
	maxPassedOver = 1000
	// rowBatch is how many backlog or retry rows are read at once.
	rowBatch = 256
	// payloadBytes bounds the payloads kept in memory for deliveries that go out at once.
	payloadBytes = 32 << 20
	// settleReserve is the part of the shutdown's grace kept for the last Settle.
	settleReserve = 2 * time.Second
	// suspendTimeout bounds the registry's write of a suspension.
	suspendTimeout = 10 * time.Second
	// pauseAfterError is how long an endpoint waits after its event could not be read.
	pauseAfterError = time.Second
	// maxManual is how many test events and resends may be under way at once.
	maxManual = 16
)

// Config is what an engine is made of. Journal and Registry are required.
type Config struct {
	Journal  journal.Journal
	Registry *registry.Registry
	// Clock tells the time for schedules and records; deadlines of connections are real time.
	Clock clockwork.Clock
	Log   *slog.Logger
	// Metrics is where the engine's metrics are registered; nil registers them nowhere.
	Metrics prometheus.Registerer
	// Egress decides where deliveries may go; nil is NewEgressPolicy() without exceptions.
	Egress EgressPolicy
	// Resolver resolves endpoints' names; nil is the system's.
	Resolver *net.Resolver
	// ConnectTo names, by host in lower case, the address (host:port) that is dialled in its place; the certificate and the
	// request stay the host's. The policy is asked about what is dialled.
	ConnectTo map[string]string
	// RootCAs are the authorities that endpoints' certificates are checked with; nil means the system's.
	RootCAs *x509.CertPool
	// Version is the release, for the User-Agent header "hookline/VERSION".
	Version string
	// Schedule are the waits before each attempt; nil is DefaultSchedule.
	Schedule Schedule
	// Random draws jitter from [0, 1); nil is a source of its own.
	Random func() float64
	// Timeout bounds one attempt where the subscription does not; 0 is DefaultTimeout.
	Timeout time.Duration
	// Notifications render and sign the deliveries of subscriptions with a vendor's format. The
	// formats "" and CloudEvents are the engine's own and not among them. A delivery whose
	// subscription has a format that is not here is dead-lettered as PayloadRejected.
	Notifications map[subscription.Format]subscription.Notification
	// Passes tells whether an event, as CloudEvents JSON, that a subscription matched by its type
	// passes the subscription's own filters; where it does not, it is as unmatched. It is asked
	// with the subscription's version at the event's position, and among all that matched there, itself
	// included, and must always answer alike: a restart asks again. It must not block or keep among. Nil
	// lets all pass.
	Passes func(sub *registry.Subscription, among []*registry.Subscription, eventType string, event []byte) bool
	// BacklogAge is how old an event may grow while a delivery of it waits, whether its endpoint is
	// down, disabled or busy: the delivery is then dead-lettered as BacklogExpired, and the log is
	// free of it. 0 is DefaultBacklogAge. Schedules that take longer are cut short by it.
	BacklogAge time.Duration
	// MaxEndpointBacklog and MaxTenantBacklog are how many deliveries may wait in the journal; the
	// oldest beyond are dead-lettered as BacklogExpired, of a tenant's those of the endpoint that
	// has the most. 0 is the default of that name.
	MaxEndpointBacklog, MaxTenantBacklog int
	// CircuitFailures, ProbeAfter and MaxProbeWait: 0 is the default of that name.
	CircuitFailures          int
	ProbeAfter, MaxProbeWait time.Duration
	// MaxInFlight is how many attempts may be under way at once. Slow endpoints, see SlowAfter, take
	// up a quarter of it; attempts that turn out slow beyond that do not count, up to as many again.
	// MaxInFlight, EndpointInFlight, QueueLength and ShutdownGrace: 0 is the default of that name.
	MaxInFlight      int
	EndpointInFlight int
	QueueLength      int
	ShutdownGrace    time.Duration
}

// complete fills in the defaults and says what is wrong with the rest.
func (c *Config) complete() error {
	if c.Journal == nil || c.Registry == nil {
		return errors.New("the delivery engine needs a journal and a registry")
	}
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Egress == nil {
		c.Egress = NewEgressPolicy()
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Schedule == nil {
		c.Schedule = DefaultSchedule()
	}
	if c.Random == nil {
		c.Random = defaultRandom
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.ShutdownGrace == 0 {
		c.ShutdownGrace = DefaultShutdownGrace
	}
	for _, wait := range []struct {
		name  string
		value *time.Duration
		other time.Duration
	}{
		{"BacklogAge", &c.BacklogAge, DefaultBacklogAge},
		{"ProbeAfter", &c.ProbeAfter, DefaultProbeAfter},
		{"MaxProbeWait", &c.MaxProbeWait, DefaultMaxProbeWait},
	} {
		if *wait.value == 0 {
			*wait.value = wait.other
		}
		if *wait.value < 0 {
			return fmt.Errorf("%s is %s: it must be positive", wait.name, *wait.value)
		}
	}
	if c.Timeout < 0 || c.ShutdownGrace < 0 {
		return errors.New("the timeout and the shutdown grace must be positive")
	}
	for _, limit := range []struct {
		name  string
		value *int
		other int
	}{
		{"MaxInFlight", &c.MaxInFlight, DefaultMaxInFlight},
		{"EndpointInFlight", &c.EndpointInFlight, DefaultEndpointInFlight},
		{"QueueLength", &c.QueueLength, DefaultQueueLength},
		{"CircuitFailures", &c.CircuitFailures, DefaultCircuitFailures},
		{"MaxEndpointBacklog", &c.MaxEndpointBacklog, DefaultMaxEndpointBacklog},
		{"MaxTenantBacklog", &c.MaxTenantBacklog, DefaultMaxTenantBacklog},
	} {
		if *limit.value == 0 {
			*limit.value = limit.other
		}
		if *limit.value < 0 {
			return fmt.Errorf("%s is %d: it must be positive", limit.name, *limit.value)
		}
	}

	return c.Schedule.Validate()
}
