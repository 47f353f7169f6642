package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// check is one thing that must be so.
type check struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Got  string `json:"got"`
	OK   bool   `json:"ok"`
}

// result is what a phase came to.
type result struct {
	Phase   string         `json:"phase"`
	Passed  bool           `json:"passed"`
	Seconds float64        `json:"seconds"`
	Checks  []check        `json:"checks"`
	Figures map[string]any `json:"figures,omitempty"`
	Notes   []string       `json:"notes,omitempty"`
	// Failures tell more of what did not hold.
	Failures []string `json:"failures,omitempty"`

	began time.Time
}

func newResult(phase string) *result {
	return &result{Phase: phase, Figures: map[string]any{}, began: time.Now()}
}

// check adds one thing that must be so.
func (r *result) check(name, want string, got any, ok bool) {
	r.Checks = append(r.Checks, check{Name: name, Want: want, Got: fmt.Sprint(got), OK: ok})
}

// none adds a count that must be 0.
func (r *result) none(name string, got int) { r.check(name, "0", got, got == 0) }

// must adds a step that must succeed, and tells whether it did.
func (r *result) must(name string, err error) bool {
	if err != nil {
		r.check(name, "done", "failed", false)
		r.Failures = append(r.Failures, name+": "+err.Error())

		return false
	}

	return true
}

func (r *result) notef(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// judge adds what the book says.
func (r *result) judge(b *book, maxDuplicates float64) judgement {
	verdict := b.judge()

	r.Figures["events"] = verdict.total
	r.none("acknowledged events lost", verdict.Lost)
	r.none("events neither acknowledged nor refused", verdict.Unknown)
	r.none("events out of order by key", verdict.Disordered)
	r.check("events acknowledged", "more than 0", verdict.Acknowledged, verdict.Acknowledged > 0)

	share := verdict.DuplicateShare()
	r.check("duplicates", fmt.Sprintf("under %.1f %%", 100*maxDuplicates),
		fmt.Sprintf("%d, %.2f %% of %d", verdict.Duplicates, 100*share, verdict.Delivered), share < maxDuplicates)

	for _, kind := range slices.Sorted(maps.Keys(verdict.Complaints)) {
		if kind != "lost" && kind != "disordered" {
			r.none("complaints: "+kind, verdict.Complaints[kind])
		}
	}

	r.Failures = append(r.Failures, verdict.Examples...)

	return verdict
}

// end closes a phase.
func (r *result) end() *result {
	r.Seconds = time.Since(r.began).Round(time.Millisecond).Seconds()
	r.Passed = len(r.Checks) > 0 && !slices.ContainsFunc(r.Checks, func(c check) bool { return !c.OK })

	return r
}

// report is what a whole run came to.
type report struct {
	Seed    uint64    `json:"seed"`
	Passed  bool      `json:"passed"`
	Results []*result `json:"results"`
}

// print writes the table.
func (r *report) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nPHASE\tWHAT\tWANTED\tGOT\t")

	for _, phase := range r.Results {
		for _, c := range phase.Checks {
			mark := "ok"
			if !c.OK {
				mark = "FAILED"
			}

			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", phase.Phase, c.Name, c.Want, c.Got, mark)
		}
	}

	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}

	for _, phase := range r.Results {
		for _, note := range phase.Notes {
			fmt.Fprintf(w, "%s: %s\n", phase.Phase, note)
		}

		for _, failure := range phase.Failures {
			fmt.Fprintf(w, "%s: FAILED: %s\n", phase.Phase, strings.TrimSpace(failure))
		}
	}

	return nil
}

// write puts the report into a file as JSON.
func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}

	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil { //nolint:gosec // Where the flag says.
		return fmt.Errorf("writing the report: %w", err)
	}

	return nil
}
