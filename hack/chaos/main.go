package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// The defaults of flags.
const (
	defaultDuration = 2 * time.Minute
	defaultRate     = 150
	defaultDrain    = 90 * time.Second
	defaultSoak     = 30 * time.Minute
)

// phase is one part of a run.
type phase struct {
	name string
	// share of the duration it gets.
	share float64
	run   func(ctx context.Context, cfg *config) *result
}

// phases are all of them, in the order in which they run. The shares make one.
func phases() []phase {
	return []phase{
		{"kill", 0.5, killPhase},
		{"powerloss", 0.15, powerPhase},
		{"diskfull", 0.1, diskFullPhase},
		{"flip", 0.1, flipPhase},
		{"clock", 0.1, clockPhase},
		{"input", 0.05, inputPhase},
	}
}

// config is what a run is made of.
type config struct {
	seed     uint64
	duration time.Duration
	drain    time.Duration
	rate     float64
	events   int64
	binary   string
	dir      string
	progress io.Writer
	// enclosed tells why no process here can have mounts of its own; nil where it can.
	enclosed error
}

// flags are the command line.
type flags struct {
	config

	only []string
	out  string
	keep bool
	soak bool
	// fixedRate: the soak's load is the flag's, not half of the maximum.
	fixedRate bool
	soakFor   time.Duration
	soakOut   string
}

// errBroken answers that a promise was broken; the table says which.
var errBroken = errors.New("not every promise was kept")

func main() {
	if os.Getenv(probeVariable) != "" && os.Getenv(enclosureVariable) == "" {
		return
	}

	if err := enter(); err != nil {
		fmt.Fprintln(os.Stderr, "chaos: "+err.Error())
		os.Exit(1)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)

	stop()

	switch {
	case errors.Is(err, pflag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos: "+err.Error())
		os.Exit(1)
	}
}

func parse(args []string) (*flags, error) {
	f := &flags{}
	set := pflag.NewFlagSet("chaos", pflag.ContinueOnError)
	set.SortFlags = false
	set.Uint64Var(&f.seed, "seed", 0, "what the schedule follows from; 0 draws one, which is printed")
	set.DurationVar(&f.duration, "duration", defaultDuration, "how long the phases take together, their drains not counted")
	set.StringSliceVar(&f.only, "phase", nil, "the phases to run: "+strings.Join(phaseNames(), ", ")+"; omitted: all")
	set.Float64Var(&f.rate, "rate", defaultRate, "events that are published in a second")
	set.Int64Var(&f.events, "events", math.MaxInt64, "the most events that a phase publishes")
	set.DurationVar(&f.drain, "drain", defaultDrain, "how long deliveries may take to come to their end after a phase")
	set.StringVar(&f.out, "out", "", "file for the result as JSON")
	set.StringVar(&f.binary, "binary", "", "the hookline to run; omitted: it is built")
	set.StringVar(&f.dir, "dir", "", "folder for journals and logs; omitted: a temporary one")
	set.BoolVar(&f.keep, "keep", false, "keep the temporary folder; a run that failed keeps it anyhow")
	set.BoolVar(&f.soak, "soak", false, "put an even load on the dispatcher and look for growth, instead of the phases")
	set.DurationVar(&f.soakFor, "soak-duration", defaultSoak, "how long the soak takes")
	set.StringVar(&f.soakOut, "soak-out", "soak", "folder for the soak's samples and plot")

	if err := set.Parse(args); err != nil {
		return nil, err
	}

	f.fixedRate = set.Changed("rate")

	switch {
	case set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: everything is a flag", set.Arg(0))
	case f.duration <= 0 || f.drain <= 0 || f.soakFor <= 0:
		return nil, errors.New("--duration, --drain, --soak-duration: give more than 0s")
	case f.rate <= 0 || f.events <= 0:
		return nil, errors.New("--rate, --events: give more than 0")
	}

	for _, name := range f.only {
		if !slices.Contains(phaseNames(), name) {
			return nil, fmt.Errorf("--phase: there is no %q; there are %s", name, strings.Join(phaseNames(), ", "))
		}
	}

	return f, nil
}

func phaseNames() (names []string) {
	for _, p := range phases() {
		names = append(names, p.name)
	}

	return names
}

func run(ctx context.Context, args []string, w io.Writer) (err error) {
	f, err := parse(args)
	if err != nil {
		return err
	}

	if f.seed == 0 {
		f.seed = uint64(time.Now().UnixNano())
	}

	f.progress = w

	if err := prepare(ctx, f); err != nil {
		return err
	}

	defer func() {
		if err != nil || f.keep {
			fmt.Fprintf(w, "Journals and logs are in %s\n", f.dir)

			return
		}

		err = os.RemoveAll(f.dir) //nolint:gosec // The folder is this program's own, or empty before.
	}()

	out := &report{Seed: f.seed, Passed: true}

	defer func() { fmt.Fprintf(w, "Seed %d\n", f.seed) }()

	if f.soak {
		r := soakPhase(ctx, &f.config, f.soakFor, f.soakOut, f.fixedRate)
		out.Results, out.Passed = append(out.Results, r), r.Passed

		return f.close(out)
	}

	for _, p := range phases() {
		if len(f.only) > 0 && !slices.Contains(f.only, p.name) {
			continue
		}

		cfg := f.config
		cfg.duration = time.Duration(float64(f.duration) * p.share / share(f.only))

		fmt.Fprintf(w, "Phase %s, %s\n", p.name, cfg.duration.Round(time.Millisecond))

		r := p.run(ctx, &cfg)
		out.Results = append(out.Results, r)
		out.Passed = out.Passed && r.Passed
	}

	return f.close(out)
}

// close prints what the run came to, and answers errBroken where that is not well.
func (f *flags) close(out *report) error {
	if err := out.print(f.progress); err != nil {
		return err
	}

	if f.out != "" {
		if err := out.write(f.out); err != nil {
			return err
		}
	}

	if !out.Passed {
		return errBroken
	}

	return nil
}

// share is what the phases that run have of the whole.
func share(only []string) (sum float64) {
	for _, p := range phases() {
		if len(only) == 0 || slices.Contains(only, p.name) {
			sum += p.share
		}
	}

	return sum
}

// prepare makes the folder and the binary, and finds out what the machine allows.
func prepare(ctx context.Context, f *flags) error {
	if f.dir == "" {
		dir, err := os.MkdirTemp("", "hookline-chaos-")
		if err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}

		f.dir = dir
	}

	if f.binary == "" {
		f.binary = filepath.Join(f.dir, "hookline")
		if err := build(ctx, f.binary); err != nil {
			return err
		}
	}

	f.enclosed = canEnclose(f.dir)

	return nil
}
