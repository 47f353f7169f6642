package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// table is rows under a heading, as Markdown that can be read as it is.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// String aligns the columns: the first to the left, the others, figures, to the right.
func (t *table) String() string {
	widths := make([]int, len(t.head))

	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}

	var out strings.Builder

	line := func(row []string) {
		for i, text := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if i == 0 {
				text += pad
			} else {
				text = pad + text
			}

			out.WriteString("| " + text + " ")
		}

		out.WriteString("|\n")
	}

	line(t.head)

	for i, width := range widths {
		if i == 0 {
			out.WriteString("|" + strings.Repeat("-", width+2))
		} else {
			out.WriteString("|" + strings.Repeat("-", width+1) + ":")
		}
	}

	out.WriteString("|\n")

	for _, row := range t.rows {
		line(row)
	}

	return out.String()
}

func sizeText(bytes int) string {
	const thousand = 1 << 10
	if bytes < thousand {
		return "0.5 kB"
	}

	return fmt.Sprintf("%d kB", bytes/thousand)
}

func memoryMiB(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/mebibyte) }

// durationText has three digits that count.
func durationText(d time.Duration) string {
	const three = 100

	switch {
	case d >= three*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.2f ms", milliseconds(d))
	case d >= time.Microsecond:
		return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
	default:
		return fmt.Sprintf("%d ns", d)
	}
}

// markdown is the report for people, on the screen and on the page.
func (r *report) markdown() string {
	parts := []string{r.preface()}

	for _, section := range []struct {
		title string
		text  string
	}{
		{"Targets", r.targetTable()},
		{"Throughput", r.throughputTable()},
		{"Latency from publish to receipt", r.latencyTable()},
		{"Isolation", r.isolationText()},
		{"Matching", r.matchingTable()},
		{"Memory", r.memoryTable()},
		{"Journals that are full", r.storedTable()},
	} {
		if section.text != "" {
			parts = append(parts, "### "+section.title+"\n\n"+section.text)
		}
	}

	return strings.Join(parts, "\n")
}

func (r *report) preface() string {
	var out strings.Builder

	fmt.Fprintf(&out, "Measured %s in %s", r.At.Format("2006-01-02 15:04 MST"), r.Took)

	if r.Quick {
		out.WriteString(" with -quick: too short to mean much")
	}

	fmt.Fprintf(&out, ".\n\n- Machine: %s, %d cores, %s, %s; one synced write of 4 KiB takes %s.\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Memory, r.Machine.Kernel, durationText(r.Machine.Fsync))
	fmt.Fprintf(&out, "- Versions: %s; Pebble %s; benchmark built with %s; GOMEMLIMIT=%s.\n",
		r.Versions.Hookline, r.Versions.Pebble, r.Versions.Go, r.MemoryLimit)
	fmt.Fprintf(&out, "- Fsync: %s\n", r.FsyncPolicy)

	return out.String()
}

func (r *report) targetTable() string {
	if len(r.Targets) == 0 {
		return ""
	}

	t := table{head: []string{"target", "measured", "wanted", ""}}
	for _, one := range r.Targets {
		t.add(one.Name, one.text(one.Value), one.bound(), one.verdict())
	}

	return t.String()
}

func (r *report) throughputTable() string {
	if len(r.Throughput) == 0 {
		return ""
	}

	t := table{head: []string{
		"load", "subject", "events/s", "deliveries/s", "of bare", "of discard", "CPU an event", "memory",
	}}

	for _, one := range r.Throughput {
		share := func(by kind) string {
			if ratio, ok := r.ratio(one.cell, one.Subject, string(by)); ok && one.Subject != string(by) {
				return fmt.Sprintf("%.2f", ratio)
			}

			return ""
		}

		t.add(one.cell.String(), one.Subject, fmt.Sprintf("%.0f", one.events()), fmt.Sprintf("%.0f", one.deliveries()),
			share(kindBare), share(kindDiscard), durationText(one.CPU), memoryMiB(one.Memory))
	}

	return t.String()
}

func (r *report) latencyTable() string {
	if len(r.Latency) == 0 {
		return ""
	}

	t := table{head: []string{"load", "subject", "events/s", "p50", "p99", "p99.9", "max"}}

	for _, one := range r.Latency {
		l := one.Latency
		t.add(one.What, one.Subject, fmt.Sprintf("%.0f", one.Rate),
			durationText(l.P50), durationText(l.P99), durationText(l.P999), durationText(l.Max))
	}

	return t.String()
}

func (r *report) isolationText() string {
	if r.Isolation == nil {
		return ""
	}

	t := table{head: []string{"80 endpoints at " + fmt.Sprintf("%.0f", r.Isolation.Rate) + " events/s over 100", "p50", "p99", "p99.9"}}

	for _, one := range []struct {
		name   string
		rounds []latencies
	}{{"the other 20 are well", r.Isolation.Without}, {"10 hang, 10 fail", r.Isolation.With}} {
		l := medianLatencies(one.rounds)
		t.add(one.name, durationText(l.P50), durationText(l.P99), durationText(l.P999))
	}

	return t.String()
}

func (r *report) matchingTable() string {
	if len(r.Matching) == 0 {
		return ""
	}

	t := table{head: []string{"subscriptions", "one event", "matches"}}
	for _, one := range r.Matching {
		t.add(fmt.Sprintf("%d", one.Subscriptions), durationText(one.PerEvent), fmt.Sprintf("%.2f", one.Matches))
	}

	return t.String() + "\nPatterns: " + patternMix + ".\n"
}

func (r *report) memoryTable() string {
	if len(r.Memory) == 0 {
		return ""
	}

	t := table{head: []string{fmt.Sprintf("%d subscriptions", r.Scale.Many), "held"}}
	for _, one := range r.Memory {
		t.add(one.What, memoryMiB(one.Bytes))
	}

	return t.String()
}

// storedTable is what depends on how much a journal holds.
func (r *report) storedTable() string {
	t := table{head: []string{"what", "figure"}}

	if s := r.Start; s != nil {
		what := fmt.Sprintf("start with %d undelivered events: ", s.Undelivered)
		t.add(what+"serves after", durationText(s.Ready))
		t.add(what+"first delivery after", durationText(s.First))
		t.add(what+"memory then", memoryMiB(s.Memory))
	}

	if a := r.Attempts; a != nil {
		what := fmt.Sprintf("latest %d attempts of one of %d subscriptions, %d attempts in all: ", latest, a.Of, a.Attempts)
		cold := fmt.Sprintf("cold, %d KiB read from the disk", a.ColdRead>>10)

		if !a.Dropped {
			cold = "cold, a new process (the page cache could not be dropped)"
		}

		t.add(what+"warm", durationText(a.Warm))
		t.add(what+cold, durationText(a.Cold))
	}

	if d := r.Drain; d != nil {
		t.add(fmt.Sprintf("%d retries due at once", d.Due), fmt.Sprintf("%.0f deliveries/s", d.PerSecond))
		t.add(fmt.Sprintf("%d retries due at once: memory", d.Due), memoryMiB(d.Memory))
	}

	if o := r.Outage; o != nil {
		what := fmt.Sprintf("one endpoint down, %d events wait: ", o.Waiting)
		t.add(what+"memory for them", memoryMiB(o.Memory))
		t.add(what+"catches up with", fmt.Sprintf("%.0f deliveries/s", o.PerSecond))
		t.add(what+fmt.Sprintf("of the first %d, behind more than %d later ones", o.CaughtUp, outageWindow), strconv.Itoa(o.Displaced))
	}

	if l := r.Retries; l != nil {
		what := fmt.Sprintf("%d retries after %s: lateness ", l.Retries, l.Wait)
		t.add(what+"p50", durationText(l.Lateness.P50))
		t.add(what+"p99.9", durationText(l.Lateness.P999))
		t.add(what+"max", durationText(l.Lateness.Max))
	}

	if len(t.rows) == 0 {
		return ""
	}

	return t.String()
}

// profileNames are the loads that can be profiled, with the subject that bears them.
func profileNames() []string {
	return slices.Sorted(slices.Values([]string{"256x1", "64x1", "256x10", "bare", "discard"}))
}
