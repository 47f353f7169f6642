// Command bench measures Hookline's dispatcher beside two limits on loopback: bare, the same
// HTTP server and client with nothing between, and discard, the same parts with a journal
// that keeps nothing. It prints tables, writes them as JSON and into docs/benchmarks.md, and
// exits with 1 where a target is missed. docs/benchmarks.md explains what is measured and how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	exitFailed = 1
	exitUsage  = 2
	// longest bounds a whole run, so that a subject that hangs ends it.
	longest = 30 * time.Minute
	// generatorGC makes the publishers and receivers collect less often: their memory is not
	// what is measured, and they share the processors with what is.
	generatorGC = 400
)

var (
	errUsage  = errors.New("wrong usage")
	errMissed = errors.New("targets were missed")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once, even when stopping hangs.
	context.AfterFunc(ctx, stop)

	err := start(ctx, os.Args[1:], os.Stdout, os.Stderr)

	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(exitUsage)
	default:
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(exitFailed)
	}
}

// start runs the benchmark, or one of the parts that it starts itself as processes.
func start(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == roleCommand {
		return runRole(ctx, args[1:], stderr)
	}

	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()

	return run(ctx, s, stdout, stderr)
}

// settings are the command line.
type settings struct {
	out, docs, from, only, profile, binary, dir, memoryLimit string

	quick bool
	scale scale
}

// scale is how much is measured.
type scale struct {
	// Rounds is of how many interleaved measurements the median is taken.
	Rounds int `json:"rounds"`
	// WarmUp and Window are how long each load is applied before and while it is measured.
	WarmUp time.Duration `json:"warmUpNanoseconds"`
	Window time.Duration `json:"windowNanoseconds"`
	// Open is how long a load of fixed rate lasts.
	Open time.Duration `json:"openNanoseconds"`
	// Many is the largest number of subscriptions.
	Many int `json:"subscriptions"`
	// Undelivered, Attempts, Due and Retries are the sizes of those measurements.
	Undelivered int `json:"undelivered"`
	Attempts    int `json:"attempts"`
	Due         int `json:"due"`
	Retries     int `json:"retries"`
}

func fullScale() scale {
	return scale{
		Rounds: 3, WarmUp: 500 * time.Millisecond, Window: 2500 * time.Millisecond, Open: 6 * time.Second, Many: 10_000,
		Undelivered: 1_000_000, Attempts: 10_000_000, Due: 1_000_000, Retries: 1000,
	}
}

func quickScale() scale {
	return scale{
		Rounds: 1, WarmUp: 500 * time.Millisecond, Window: 1500 * time.Millisecond, Open: 3 * time.Second, Many: 2000,
		Undelivered: 50_000, Attempts: 200_000, Due: 20_000, Retries: 100,
	}
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings

	full := fullScale()
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.out, "out", "bin/bench.json", "file that the figures are written to")
	flags.StringVar(&s.docs, "docs", "", "page whose part between the markers is replaced, such as docs/benchmarks.md; omitted: none")
	flags.StringVar(&s.from, "from", "", "measure nothing and show the figures of this file, such as bin/bench.json")
	flags.StringVar(&s.only, "only", "", "run these alone, separated by commas: "+strings.Join(experimentNames(), ", "))
	flags.StringVar(&s.profile, "profile", "",
		"profile the processor under one load instead, and print the top: "+strings.Join(profileNames(), ", "))
	flags.StringVar(&s.binary, "binary", "", "the hookline to measure; omitted: it is built from the current folder")
	flags.StringVar(&s.dir, "dir", "bin", "folder on the disk to measure, for the journals")
	flags.StringVar(&s.memoryLimit, "memory-limit", "256MiB", "GOMEMLIMIT of every process that is measured")
	flags.BoolVar(&s.quick, "quick", false, "less of everything, in under two minutes: for development, its figures mean little")
	rounds := flags.Int("rounds", 0, "interleaved measurements of which the median is taken; 0: 3, or 1 with -quick")
	undelivered := flags.Int("undelivered", full.Undelivered, "undelivered events at the start that is timed")
	attempts := flags.Int("attempts", full.Attempts, "attempts in the journal whose latest 100 are read")
	due := flags.Int("due", full.Due, "retries that are due at once")

	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}

		return s, errUsage
	}

	s.scale = full
	s.scale.Undelivered, s.scale.Attempts, s.scale.Due = *undelivered, *attempts, *due

	if s.quick {
		s.scale = quickScale()
	}
	if *rounds > 0 {
		s.scale.Rounds = *rounds
	}

	if err := s.check(flags.NArg()); err != nil {
		fmt.Fprintln(stderr, "bench: "+err.Error())

		return s, errUsage
	}

	return s, nil
}

// check says what is wrong with the command line.
func (s *settings) check(extra int) error {
	for name := range strings.SplitSeq(s.only, ",") {
		if s.only != "" && !slices.Contains(experimentNames(), name) {
			return fmt.Errorf("-only: there is no %q: use %s", name, strings.Join(experimentNames(), ", "))
		}
	}

	switch {
	case extra > 0:
		return errors.New("unexpected argument: everything is a flag")
	case s.profile != "" && !slices.Contains(profileNames(), s.profile):
		return fmt.Errorf("-profile: there is no %q: use %s", s.profile, strings.Join(profileNames(), ", "))
	case s.scale.Undelivered < 1 || s.scale.Attempts < 1 || s.scale.Due < 1:
		return errors.New("-undelivered, -attempts and -due must be positive")
	default:
		return nil
	}
}

// wants tells whether an experiment is to run.
func (s *settings) wants(name string) bool {
	return s.only == "" || slices.Contains(strings.Split(s.only, ","), name)
}

// bench is one run.
type bench struct {
	settings

	// work is the folder of the journals, tokens and the binary; it is removed at the end.
	work     string
	receiver *receiver
	report   report
	log      io.Writer
	began    time.Time
	journals int
}

// experiment is one part of a run.
type experiment struct {
	name string
	run  func(b *bench, ctx context.Context) error
}

// experiments are the parts, in the order in which they run: later ones use what earlier ones found.
func experiments() []experiment {
	return []experiment{
		{"matching", (*bench).matching},
		{"throughput", (*bench).throughput},
		{"grid", (*bench).grid},
		{"latency", (*bench).latency},
		{"isolation", (*bench).isolation},
		{"retries", (*bench).retries},
		{"drain", (*bench).drain},
		{"outage", (*bench).outage},
		{"start", (*bench).startUp},
		{"attempts", (*bench).attempts},
	}
}

func experimentNames() []string {
	names := []string{}
	for _, e := range experiments() {
		names = append(names, e.name)
	}

	return names
}

func run(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	if s.from != "" {
		return show(s, stdout)
	}

	debug.SetGCPercent(generatorGC)

	b, err := open(ctx, s, stderr)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, b.close()) }()

	if s.profile != "" {
		return b.profileLoad(ctx, stdout)
	}

	for _, e := range experiments() {
		if !s.wants(e.name) {
			continue
		}

		b.sayf("%s", e.name)

		if err := e.run(b, ctx); err != nil {
			return fmt.Errorf("measuring %s: %w", e.name, err)
		}
	}

	return b.finish(stdout)
}

// open makes what every experiment needs.
func open(ctx context.Context, s settings, log io.Writer) (*bench, error) {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return nil, fmt.Errorf("making -dir: %w", err)
	}

	work, err := os.MkdirTemp(s.dir, "bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the journals: %w", err)
	}

	if work, err = filepath.Abs(work); err != nil {
		return nil, fmt.Errorf("making a folder for the journals: %w", err)
	}

	b := &bench{settings: s, work: work, log: log, began: time.Now()}

	if err := b.prepare(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}

	return b, nil
}

func (b *bench) prepare(ctx context.Context) error {
	if err := writeTokens(b.tokensDir()); err != nil {
		return err
	}

	if b.profile == "" {
		if err := b.build(ctx); err != nil {
			return err
		}
	}

	var err error
	if b.receiver, err = listen(ctx); err != nil {
		return err
	}

	b.report.describe(ctx, b)

	return nil
}

func (b *bench) close() error {
	var err error
	if b.receiver != nil {
		err = b.receiver.close()
	}

	if removed := os.RemoveAll(b.work); removed != nil { //nolint:gosec // It was made here.
		err = errors.Join(err, fmt.Errorf("removing the folder of the journals: %w", removed))
	}

	return err
}

// sayf tells on standard error what is under way.
func (b *bench) sayf(format string, args ...any) {
	fmt.Fprintf(b.log, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// finish writes the figures and says which targets were missed.
func (b *bench) finish(stdout io.Writer) error {
	b.report.Took = time.Since(b.began).Round(time.Second).String()
	b.report.judge()

	if err := b.report.writeJSON(b.out); err != nil {
		return err
	}

	return b.report.publish(b.docs, stdout)
}

// show publishes the figures of an earlier run.
func show(s settings, stdout io.Writer) error {
	earlier, err := readJSON(s.from)
	if err != nil {
		return err
	}

	return earlier.publish(s.docs, stdout)
}

// publish prints the tables, writes them into the page where one is named, and fails where a
// target was missed.
func (r *report) publish(docs string, stdout io.Writer) error {
	text := r.markdown()
	fmt.Fprint(stdout, text)

	if docs != "" {
		if err := writeDocs(docs, text); err != nil {
			return err
		}
	}

	if missed := r.missed(); len(missed) > 0 {
		return fmt.Errorf("%w:\n  %s", errMissed, strings.Join(missed, "\n  "))
	}

	return nil
}
