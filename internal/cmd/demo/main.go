// Command demo shows Hookline's main job on a local control plane: resources become
// subscriptions at the embedded dispatcher, published events become deliveries whose
// signatures an independent library verifies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// errUnmet says that a sample did not reach its state in time.
var errUnmet = errors.New("not every sample reached its expected state")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends the demo at once, even when stopping hangs.
	context.AfterFunc(ctx, stop)

	err := run(ctx, os.Args[1:])

	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

// settings are the demo's flags.
type settings struct {
	hookline     string
	localcluster string
	root         string
	stay         bool
	live         bool
}

func run(ctx context.Context, args []string) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}

	dir, err := os.MkdirTemp("", "hookline-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}

	d := &demo{settings: s, dir: dir, out: os.Stdout, began: time.Now()}

	defer func() {
		d.stop()

		// What failed is easier to understand with the logs at hand.
		if err == nil || ctx.Err() != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		} else {
			fmt.Fprintln(os.Stderr, "The logs are in "+dir)
		}
	}()

	return d.play(ctx)
}

func parse(args []string) (settings, error) {
	var s settings

	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&s.hookline, "binary", "bin/hookline", "the hookline `program`")
	flags.StringVar(&s.localcluster, "localcluster", "bin/localcluster", "the `program` that runs the local control plane")
	flags.StringVar(&s.root, "root", ".", "the `folder` of the project, with config/ in it")

	if err := flags.Parse(args); err != nil {
		return s, fmt.Errorf("reading the command line: %w", err)
	}

	for name, path := range map[string]string{"--binary": s.hookline, "--localcluster": s.localcluster} {
		if _, err := os.Stat(path); err != nil {
			return s, fmt.Errorf("%s: there is no program %s: run make demo, which builds it", name, path)
		}
	}

	s.live = term.IsTerminal(int(os.Stdout.Fd()))
	s.stay = s.live && os.Getenv("CI") != "true"

	return s, nil
}
