package controllers

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the controllers' own, besides those of controller-runtime:
//
//   - hookline_reconcile_total{kind,outcome}: reconciles by what came of them;
//   - hookline_provider_requests_total{provider,operation,result} and
//     hookline_provider_request_duration_seconds{provider,operation}: calls to providers;
//   - hookline_status_writes_total{kind,cause}: writes of status, cause being "state" or "deliveries".
type metrics struct {
	reconciles   *prometheus.CounterVec
	requests     *prometheus.CounterVec
	durations    *prometheus.HistogramVec
	statusWrites *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookline_reconcile_total",
			Help: "Reconciles by kind of resource and what came of them.",
		}, []string{"kind", "outcome"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookline_provider_requests_total",
			Help: "Calls to providers by kind of API, operation and result.",
		}, []string{"provider", "operation", "result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "hookline_provider_request_duration_seconds",
			Help:    "Time of calls to providers.",
			Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 15, 60},
		}, []string{"provider", "operation"}),
		statusWrites: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookline_status_writes_total",
			Help: "Writes of status by kind of resource and cause (state or deliveries).",
		}, []string{"kind", "cause"}),
	}

	// A second manager in one process, as tests have, counts into the same metrics.
	return m, errors.Join(
		register(registerer, &m.reconciles), register(registerer, &m.requests),
		register(registerer, &m.durations), register(registerer, &m.statusWrites))
}

func register[C prometheus.Collector](registerer prometheus.Registerer, collector *C) error {
	err := registerer.Register(*collector)

	if known, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); twice {
		if existing, same := known.ExistingCollector.(C); same {
			*collector = existing

			return nil
		}
	}

	if err != nil {
		return fmt.Errorf("registering a metric: %w", err)
	}

	return nil
}

// request implements provider.Observer.
func (m *metrics) request(api, operation, result string, took time.Duration) {
	m.requests.WithLabelValues(api, operation, result).Inc()
	m.durations.WithLabelValues(api, operation).Observe(took.Seconds())
}
