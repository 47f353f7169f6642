package delivery

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the label result of hookline_delivery_attempts_total.
const (
	resultDelivered    = "delivered"
	resultRetry        = "retry"
	resultDeadLettered = "dead_lettered"
	resultManualOK     = "manual_delivered"
	resultManualFailed = "manual_failed"
)

// The values of the label result of hookline_replay_deliveries_total.
const (
	replayDelivered = "delivered"
	replayFailed    = "failed"
	replayWaiting   = "waiting"
)

// metrics are the engine's. None has a label for subscriptions, whose number is not bounded.
type metrics struct {
	attempts    *prometheus.CounterVec
	latency     prometheus.Histogram
	firstDelay  prometheus.Histogram
	inFlight    prometheus.Gauge
	queued      prometheus.Gauge
	behind      prometheus.Gauge
	deadLetters *prometheus.CounterVec
	dropped     prometheus.Counter
	// circuitsOpen are now, circuitsOpened were in all; slow are endpoints.
	circuitsOpen   prometheus.Gauge
	circuitsOpened prometheus.Counter
	slow           prometheus.Gauge
	lost           prometheus.Counter

	replaysRunning   prometheus.Gauge
	replayScanned    prometheus.Counter
	replayDeliveries *prometheus.CounterVec
	replaysEnded     *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookline_delivery_attempts_total",
			Help: "Attempts that ended, by what they meant for their delivery.",
		}, []string{"result"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hookline_delivery_attempt_duration_seconds",
			Help:    "How long attempts took, from dial to the response's end.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60},
		}),
		firstDelay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hookline_delivery_first_attempt_delay_seconds",
			Help:    "Time from an event's acceptance to the start of a delivery's first attempt.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300, 3600},
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookline_delivery_in_flight",
			Help: "Attempts under way.",
		}),
		queued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookline_delivery_queued",
			Help: "Deliveries that wait in the queues of endpoints.",
		}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookline_delivery_endpoints_behind",
			Help: "Endpoints whose deliveries wait on pages of the journal.",
		}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookline_delivery_dead_letters_total",
			Help: "Deliveries that were dead-lettered, by reason.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookline_delivery_dropped_total",
			Help: "Deliveries that were dropped because their subscription was deleted.",
		}),
		circuitsOpen: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookline_delivery_circuits_open",
			Help: "Endpoints that failed too often in a row and are probed now and then.",
		}),
		circuitsOpened: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookline_delivery_circuits_opened_total",
			Help: "Times that an endpoint's circuit opened.",
		}),
		slow: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookline_delivery_slow_endpoints",
			Help: "Endpoints that take long for their attempts and share a quarter of the places.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookline_delivery_records_lost_total",
			Help: "Records of the log that were passed over because they are corrupt.",
		}),
		replaysRunning: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookline_replay_running",
			Help: "Replays that run.",
		}),
		replayScanned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookline_replay_scanned_total",
			Help: "Records of the log and dead letters that replays are done with.",
		}),
		replayDeliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookline_replay_deliveries_total",
			Help: "Deliveries that replays are done with, by what became of them.",
		}, []string{"result"}),
		replaysEnded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookline_replay_ended_total",
			Help: "Replays that ended, by their state.",
		}, []string{fieldState}),
	}
	if err := m.register(registerer); err != nil {
		return nil, err
	}

	return m, nil
}

// register does nothing without a registerer.
func (m *metrics) register(registerer prometheus.Registerer) error {
	if registerer == nil {
		return nil
	}
	for _, collector := range []prometheus.Collector{
		m.attempts, m.latency, m.firstDelay, m.inFlight, m.queued, m.behind, m.deadLetters, m.dropped,
		m.circuitsOpen, m.circuitsOpened, m.slow, m.lost,
		m.replaysRunning, m.replayScanned, m.replayDeliveries, m.replaysEnded,
	} {
		if err := registerer.Register(collector); err != nil {
			return fmt.Errorf("registering the delivery metrics: %w", err)
		}
	}

	return nil
}

func (m *metrics) attempt(result string, took time.Duration) {
	m.attempts.WithLabelValues(result).Inc()
	m.latency.Observe(took.Seconds())
}
