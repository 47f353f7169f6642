package main

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// faultKind is one kind of fault of the schedule.
type faultKind string

// The kinds.
const (
	faultKill   faultKind = "SIGKILL"
	faultTerm   faultKind = "SIGTERM"
	faultOutage faultKind = "outage"
	faultName   faultKind = "name"
	faultGone   faultKind = "gone"
)

// Mean times between faults of a kind.
const (
	killEvery   = 5 * time.Second
	termEvery   = 20 * time.Second
	outageEvery = 6 * time.Second
	nameEvery   = 7 * time.Second
	goneEvery   = 15 * time.Second
	// calmShare of a run, at its end, has no kills: what leaks then has time to show.
	calmShare = 0.15
)

// nameAnswers are what the name of an endpoint that moves resolves to: its receiver, an
// address that nobody listens on, and one that deliveries may not go to.
var nameAnswers = []string{"127.0.0.1", "127.0.0.2", "10.255.255.1"}

// fault is one entry of the schedule.
type fault struct {
	At   time.Duration
	Kind faultKind
	// Lasts is how long an outage or a wrong name goes on.
	Lasts time.Duration
	// Target is the number of an endpoint or of an answer, to be taken modulo how many there are.
	Target int
}

func (f fault) String() string {
	text := fmt.Sprintf("%8s  %s", f.At.Round(time.Millisecond), f.Kind)
	if f.Lasts > 0 {
		text += fmt.Sprintf(" of #%d for %s", f.Target, f.Lasts.Round(time.Millisecond))
	}

	return text
}

// plan is the schedule of a run: the same for the same seed and duration.
func plan(seed uint64, duration time.Duration) []fault {
	var faults []fault

	for _, kind := range []struct {
		kind        faultKind
		every       time.Duration
		until       time.Duration
		least, most time.Duration
	}{
		{kind: faultKill, every: killEvery, until: calm(duration)},
		{kind: faultTerm, every: termEvery, until: calm(duration)},
		{kind: faultOutage, every: outageEvery, until: duration, least: 200 * time.Millisecond, most: 3 * time.Second},
		{kind: faultName, every: nameEvery, until: duration, least: time.Second, most: 4 * time.Second},
		{kind: faultGone, every: goneEvery, until: duration, least: 500 * time.Millisecond, most: 2 * time.Second},
	} {
		dice := rand.New(rand.NewPCG(seed, hash(string(kind.kind)))) //nolint:gosec // A schedule that reproduces must be guessable.

		for at := draw(dice, kind.every); at < kind.until; at += draw(dice, kind.every) {
			next := fault{At: at, Kind: kind.kind, Target: dice.IntN(1 << 16)}
			if kind.most > 0 {
				next.Lasts = kind.least + time.Duration(dice.Int64N(int64(kind.most-kind.least)))
			}

			faults = append(faults, next)
		}
	}

	slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.At, b.At) })

	return faults
}

// calm is when the last kill of a run may be.
func calm(duration time.Duration) time.Duration {
	return duration - time.Duration(calmShare*float64(duration))
}

// draw is an exponential wait, at most four times its mean.
func draw(dice *rand.Rand, mean time.Duration) time.Duration {
	return min(time.Duration(dice.ExpFloat64()*float64(mean)), 4*mean)
}

func hash(text string) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(text))

	return sum.Sum64()
}

// printPlan writes the schedule down.
func printPlan(w io.Writer, seed uint64, faults []fault) {
	fmt.Fprintf(w, "Schedule of seed %d:\n", seed)

	for _, f := range faults {
		fmt.Fprintf(w, "  %s\n", f)
	}
}
