package embedded

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the journal's own.
type metrics struct {
	commits    prometheus.Histogram
	group      prometheus.Histogram
	appended   prometheus.Counter
	duplicates prometheus.Counter
	refused    prometheus.Counter
	settles    prometheus.Histogram
	corrupt    prometheus.Counter
	expired    *prometheus.CounterVec

	all        []prometheus.Collector
	registerer prometheus.Registerer
}

// newMetrics registers the metrics of a journal, which unregister takes back.
func newMetrics(j *Journal) (*metrics, error) {
	m := &metrics{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookline_journal_commit_seconds", Help: "Time of one group commit, fsync included.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookline_journal_commit_events", Help: "Events of one group commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
		appended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookline_journal_appended_events_total", Help: "Events appended to the log.",
		}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookline_journal_duplicate_events_total", Help: "Events not appended because they were appended before.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookline_journal_refused_events_total", Help: "Events refused because the disk is nearly full.",
		}),
		settles: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookline_journal_settle_seconds", Help: "Time to apply one settled batch.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 16),
		}),
		corrupt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookline_journal_corruptions_total", Help: "Times stored bytes failed their check.",
		}),
	}
	m.expired = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hookline_journal_dead_letters_expired_total",
		Help: "Dead letters let go of, by the limit that they were beyond: age, subscription, tenant or total.",
	}, []string{"limit"})
	m.all = []prometheus.Collector{m.commits, m.group, m.appended, m.duplicates, m.refused, m.settles, m.corrupt, m.expired}
	m.gauge("hookline_journal_first_position", "First position of the log.", func() float64 { return float64(j.first.Load()) })
	m.gauge("hookline_journal_last_position", "Last durable position of the log.", func() float64 { return float64(j.durable.Load()) })
	m.gauge("hookline_journal_cursor_position", "Cursor of the shard.", func() float64 { return float64(j.cursor.Load()) })
	m.gauge("hookline_journal_free_bytes", "Free space of the journal's disk.", func() float64 { return float64(j.space.free.Load()) })
	m.gauge("hookline_journal_dead_letters", "Dead letters that are kept.", func() float64 { return float64(j.letterTotal().count) })
	m.gauge("hookline_journal_dead_letter_bytes", "Bytes of the dead letters that are kept, before compression.", func() float64 {
		return float64(j.letterTotal().bytes)
	})
	m.gauge("hookline_journal_full", "1 while events are refused because the disk is nearly full.", func() float64 {
		if j.space.full.Load() {
			return 1
		}

		return 0
	})
	if j.options.Metrics == nil {
		return m, nil
	}
	m.registerer = j.options.Metrics
	for i, collector := range m.all {
		if err := m.registerer.Register(collector); err != nil {
			m.all = m.all[:i]
			m.unregister()

			return nil, fmt.Errorf("registering the journal's metrics: %w", err)
		}
	}

	return m, nil
}

func (m *metrics) gauge(name, help string, read func() float64) {
	m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// unregister takes the metrics back, so that the journal can be opened again in the same process.
func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, collector := range m.all {
		m.registerer.Unregister(collector)
	}
}
