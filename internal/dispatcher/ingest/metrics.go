package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what ingest measures.
type metrics struct {
	events   *prometheus.CounterVec
	bytes    prometheus.Counter
	requests *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	factory := promauto.With(registerer)

	return &metrics{
		events: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "hookline_ingest_events_total",
			Help: "Events published, by result: accepted, duplicate, invalid or failed.",
		}, []string{"result"}),
		bytes: factory.NewCounter(prometheus.CounterOpts{
			Name: "hookline_ingest_bytes_total",
			Help: "Bytes of accepted events in their CloudEvents JSON form.",
		}),
		requests: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "hookline_ingest_request_duration_seconds",
			Help:    "Time from a publisher's request to its answer, by status code.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"code"}),
		inFlight: factory.NewGauge(prometheus.GaugeOpts{
			Name: "hookline_ingest_requests_in_flight",
			Help: "Publishers' requests under way.",
		}),
	}
}

func (m *metrics) answered(status int, took time.Duration) {
	m.requests.WithLabelValues(strconv.Itoa(status)).Observe(took.Seconds())
}

func (m *metrics) count(results []Result) {
	for _, result := range results {
		m.events.WithLabelValues(string(result.Status)).Inc()
	}
}
