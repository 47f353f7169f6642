package ingest

import (
	"net/http"
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

	// accepted and took are those of events and requests that nearly all of them are.
	accepted prometheus.Counter
	took     prometheus.Observer
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	factory := promauto.With(registerer)

	m := &metrics{
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
	m.accepted = m.events.WithLabelValues(string(Accepted))
	m.took = m.requests.WithLabelValues(strconv.Itoa(http.StatusAccepted))

	return m
}

func (m *metrics) answered(status int, took time.Duration) {
	if status == http.StatusAccepted {
		m.took.Observe(took.Seconds())

		return
	}
	m.requests.WithLabelValues(strconv.Itoa(status)).Observe(took.Seconds())
}

func (m *metrics) count(results []Result) {
	for i := range results {
		if results[i].Status == Accepted {
			m.accepted.Inc()

			continue
		}
		m.events.WithLabelValues(string(results[i].Status)).Inc()
	}
}
