package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	// sampleEvery is the time between two samples, calibrateFor how long the maximum is looked for.
	sampleEvery  = 10 * time.Second
	calibrateFor = 10 * time.Second
	// loadShare of the maximum is what the soak puts on.
	loadShare = 0.5
	// warmUp is the part of the samples that is not judged: caches fill.
	warmUp = 0.2
	// minSamples is how many samples a judgement takes.
	minSamples = 5
)

// The thresholds of flatness: how much a figure may grow over the judged part of the soak, by
// the line of least squares through its samples.
const (
	maxGrowthRSS      = 32 << 20
	maxGrowthSockets  = 8
	maxGrowthFiles    = 32
	maxGrowthThreads  = 4
	maxGrowthLatency  = 0.5 // Of its median, and at least:
	leastGrowthMillis = 5
)

// sample is what the process and its deliveries were like at one time.
type sample struct {
	at       time.Duration
	vitals   vitals
	p50, p99 time.Duration
	rate     float64
	open     int
}

// soakPhase puts an even load on the binary and looks for growth.
func soakPhase(ctx context.Context, cfg *config, duration time.Duration, out string, fixedRate bool) *result {
	r := newResult("soak")

	lab, err := newLab(ctx, cfg, r.Phase, []*endpoint{
		{tenant: tenantPlain, name: nameEverything, events: []string{patternAll}},
		{tenant: tenantPlain, name: nameOrders, events: []string{patternOrders}},
		{tenant: tenantMixed, name: nameEverything, events: []string{patternAll}},
		{tenant: tenantMixed, name: "inner-wildcard", events: []string{"*.eu.*"}},
	})
	if !r.must("preparing", err) {
		return r.end()
	}

	defer lab.close()

	lab.book.forgets = true

	p, err := lab.launcher.start(ctx)
	if !r.must("starting", err) {
		return r.end()
	}

	defer func() { _ = p.kill() }()

	if !r.must("subscribing", lab.subscribe(ctx)) {
		return r.end()
	}

	publishing, cancel := context.WithCancel(ctx)
	defer cancel()

	if !fixedRate {
		calibrate(ctx, publishing, lab, r)
	} else {
		r.notef("%.0f events a second, as the flag says", cfg.rate)
		lab.publish(publishing)
	}

	samples, err := observe(ctx, lab, p, duration)
	r.must("sampling", err)

	stopping := time.AfterFunc(cfg.drain, cancel)
	lab.pubs.finish()
	stopping.Stop()
	r.must("draining", lab.drain(ctx, cfg.drain))
	r.judge(lab.book, maxDuplicates)
	judgeGrowth(r, samples)

	if r.must("writing the samples", writeSamples(out, samples)) {
		r.notef("samples and plot are in %s", out)
	}

	_, err = p.terminate()
	r.must("ending in good order", err)

	return r.end()
}

// calibrate looks for the maximum, and sets the pace to its share.
func calibrate(ctx, publishing context.Context, l *lab, r *result) {
	l.pubs.pace.SetLimit(rate.Inf)
	l.publish(publishing)

	select {
	case <-ctx.Done():
	case <-time.After(calibrateFor):
	}

	// What was published faster than it was delivered is no rate to hold.
	judged := l.book.finished()
	most := float64(judged) / calibrateFor.Seconds()

	l.pubs.pace.SetLimit(rate.Limit(most * loadShare))
	r.Figures["maximum"] = most
	r.notef("%.0f events a second came to their end at most; the load is %.0f", most, most*loadShare)

	// The backlog of the calibration is not part of the soak.
	waiting, cancel := context.WithTimeout(ctx, calibrateFor)
	defer cancel()

	for waiting.Err() == nil {
		if _, open := l.book.open(); open < int(most) {
			break
		}

		time.Sleep(100 * time.Millisecond)
	}

	_ = l.book.takeLatencies()
}

// observe takes samples until the time is over.
func observe(ctx context.Context, l *lab, p *process, duration time.Duration) ([]sample, error) {
	every := min(sampleEvery, duration/(2*minSamples))
	ticker := time.NewTicker(every)

	defer ticker.Stop()

	began, finished := time.Now(), l.book.finished()

	var samples []sample

	for time.Since(began) < duration {
		select {
		case <-ctx.Done():
			return samples, fmt.Errorf("waiting for the next sample: %w", ctx.Err())
		case <-p.done:
			return samples, fmt.Errorf("the dispatcher ended: %w: %s", p.err, l.launcher.lastWords())
		case <-ticker.C:
		}

		now, err := vitalsOf(p.pid())
		if err != nil {
			return samples, err
		}

		s := sample{at: time.Since(began), vitals: now}
		s.p50, s.p99 = percentiles(l.book.takeLatencies())
		_, s.open = l.book.open()

		total := l.book.finished()
		s.rate = float64(total-finished) / every.Seconds()
		finished = total
		samples = append(samples, s)

		fmt.Fprintf(l.out, "%8s  %6.0f/s  rss %4d MiB  sockets %3d  files %3d  p50 %6s  p99 %6s  open %d\n", s.at.Round(time.Second),
			s.rate, now.RSS>>20, now.Sockets, now.Files, s.p50.Round(100*time.Microsecond), s.p99.Round(100*time.Microsecond), s.open)
	}

	return samples, nil
}

func percentiles(latencies []time.Duration) (p50, p99 time.Duration) {
	if len(latencies) == 0 {
		return 0, 0
	}

	slices.Sort(latencies)

	return latencies[len(latencies)/2], latencies[len(latencies)*99/100]
}

// series is one figure over time.
type series struct {
	name, unit string
	of         func(sample) float64
	// most is how much it may grow; 0 is a share of the median.
	most float64
}

func allSeries() []series {
	const mib = 1 << 20

	millis := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

	return []series{
		{"memory", "MiB", func(s sample) float64 { return float64(s.vitals.RSS) / mib }, maxGrowthRSS / mib},
		{"sockets", "", func(s sample) float64 { return float64(s.vitals.Sockets) }, maxGrowthSockets},
		{"files", "", func(s sample) float64 { return float64(s.vitals.Files) }, maxGrowthFiles},
		{"threads", "", func(s sample) float64 { return float64(s.vitals.Threads) }, maxGrowthThreads},
		{"p50", "ms", func(s sample) float64 { return millis(s.p50) }, 0},
		{"p99", "ms", func(s sample) float64 { return millis(s.p99) }, 0},
	}
}

// judgeGrowth says of each figure whether it is flat.
func judgeGrowth(r *result, samples []sample) {
	judged := samples[int(warmUp*float64(len(samples))):]
	r.check("samples", fmt.Sprintf("at least %d", minSamples), len(judged), len(judged) >= minSamples)

	if len(judged) < minSamples {
		return
	}

	for _, s := range allSeries() {
		values := make([]float64, 0, len(judged))
		for _, one := range judged {
			values = append(values, s.of(one))
		}

		most := s.most
		if most == 0 {
			most = max(leastGrowthMillis, maxGrowthLatency*median(values))
		}

		grown := growth(values)
		r.check("growth of "+s.name, fmt.Sprintf("at most %.3g %s", most, s.unit),
			fmt.Sprintf("%.3g %s, median %.4g", grown, s.unit, median(values)), grown <= most)
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))

	return sorted[len(sorted)/2]
}

// growth is how much the line of least squares through evenly spaced values rises from the
// first to the last.
func growth(values []float64) float64 {
	n := float64(len(values))
	meanX, meanY := (n-1)/2, 0.0

	for _, value := range values {
		meanY += value / n
	}

	var above, below float64

	for i, value := range values {
		above += (float64(i) - meanX) * (value - meanY)
		below += (float64(i) - meanX) * (float64(i) - meanX)
	}

	if below == 0 {
		return 0
	}

	return above / below * (n - 1)
}

// writeSamples writes the samples as CSV and as a plot.
func writeSamples(dir string, samples []sample) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the folder of the samples: %w", err)
	}

	var text strings.Builder

	text.WriteString("seconds,events_per_second,rss_bytes,sockets,files,threads,p50_ms,p99_ms,open\n")

	for _, s := range samples {
		fmt.Fprintf(&text, "%.1f,%.1f,%d,%d,%d,%d,%.3f,%.3f,%d\n", s.at.Seconds(), s.rate, s.vitals.RSS, s.vitals.Sockets, s.vitals.Files,
			s.vitals.Threads, float64(s.p50)/float64(time.Millisecond), float64(s.p99)/float64(time.Millisecond), s.open)
	}

	if err := os.WriteFile(filepath.Join(dir, "samples.csv"), []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("writing the samples: %w", err)
	}

	if err := os.WriteFile(filepath.Join(dir, "soak.svg"), []byte(plot(samples)), 0o600); err != nil {
		return fmt.Errorf("writing the plot: %w", err)
	}

	return nil
}

// The plot's measures, in its own units.
const (
	plotWidth  = 800
	plotHeight = 120
	plotMargin = 60
)

// plot draws each figure in a strip of its own.
func plot(samples []sample) string {
	var out strings.Builder

	strips := allSeries()
	height := len(strips)*(plotHeight+plotMargin/2) + plotMargin

	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		plotWidth+2*plotMargin, height)
	fmt.Fprintln(&out, `<rect width="100%" height="100%" fill="white"/>`)

	for i, s := range strips {
		top := plotMargin/2 + i*(plotHeight+plotMargin/2)
		most := 0.0

		for _, one := range samples {
			most = max(most, s.of(one))
		}

		fmt.Fprintf(&out, `<text x="%d" y="%d">%s, %s 0 to %.4g</text>`+"\n", plotMargin, top-4, s.name, s.unit, most)
		fmt.Fprintf(&out, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#bbb"/>`+"\n",
			plotMargin, top, plotWidth, plotHeight)

		var points []string

		for n, one := range samples {
			x := plotMargin + float64(n)*plotWidth/float64(max(1, len(samples)-1))
			y := float64(top) + plotHeight*(1-s.of(one)/max(most, math.SmallestNonzeroFloat64))
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		}

		fmt.Fprintf(&out, `<polyline fill="none" stroke="#06c" points="%s"/>`+"\n", strings.Join(points, " "))
	}

	if len(samples) > 0 {
		fmt.Fprintf(&out, `<text x="%d" y="%d">%s</text>`+"\n", plotMargin, height-8, samples[len(samples)-1].at.Round(time.Second))
	}

	fmt.Fprintln(&out, "</svg>")

	return out.String()
}
