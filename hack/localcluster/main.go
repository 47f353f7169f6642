// Command localcluster runs a real Kubernetes control plane on this machine: etcd, kube-apiserver
// and kube-controller-manager, built from their Go modules. It needs nothing but Go.
//
// The control plane has no nodes, so nothing schedules or runs Pods; everything that the API server
// and the controllers kept here do (RBAC, Pod Security admission, garbage collection, namespaces,
// ServiceAccounts and their tokens, aggregated ClusterRoles) is the real thing.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hookline-dev/hookline/hack/localcluster/assets"
	"github.com/hookline-dev/hookline/hack/localcluster/controlplane"
)

// The versions of what is built are those of this module, so the module file travels in the binary:
// it works from any folder, and a change of version changes the cache folder by itself.
var (
	//go:embed go.mod
	goMod []byte
	//go:embed go.sum
	goSum []byte
)

const usage = `localcluster runs a Kubernetes control plane on this machine, for tests and demos.

Usage:
  localcluster assets
        Print the folder that holds etcd, kube-apiserver, kube-controller-manager and kubectl,
        having built what is missing. KUBEBUILDER_ASSETS, where set, is that folder.
  localcluster up [--kubeconfig PATH] [--data-dir DIR] [--ready-file PATH]
        Start the control plane and keep it up until Ctrl-C or SIGTERM.

Flags of up:
`

// errUsage marks a wrong command line; what is wrong with it has been printed already.
var errUsage = errors.New("wrong usage")

const exitUsage = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A second Ctrl-C must end the program even when stopping hangs, so the first one restores the default.
	context.AfterFunc(ctx, stop)

	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)

	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(exitUsage)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "localcluster: interrupted")
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "localcluster: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("localcluster up", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}

	var opts upOptions

	flags.StringVar(&opts.kubeconfig, "kubeconfig", "",
		"write the administrator's kubeconfig to this `path`; it is removed at the end (default <data-dir>/kubeconfig)")
	flags.StringVar(&opts.dataDir, "data-dir", "",
		"keep etcd's data, certificates and logs in this `folder` and leave it there at the end (default a temporary one, removed)")
	flags.StringVar(&opts.readyFile, "ready-file", "",
		"once the cluster is ready, write the kubeconfig's path into the file at this `path`; it is removed at the end")

	if len(args) == 0 {
		flags.Usage()

		return errUsage
	}

	switch command := args[0]; command {
	case "assets":
		if len(args) > 1 {
			return wrongUsage(stderr, "assets takes no arguments, got %q", args[1:])
		}

		return printAssets(ctx, stdout, stderr)
	case "up":
		if err := flags.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
			return nil
		} else if err != nil {
			return errUsage
		}

		if flags.NArg() > 0 {
			return wrongUsage(stderr, "up takes flags alone, got %q", flags.Args())
		}

		return up(ctx, opts, stdout, stderr)
	case "help", "-h", "-help", "--help":
		flags.Usage()

		return nil
	default:
		return wrongUsage(stderr, "unknown command %q: use assets or up", command)
	}
}

func wrongUsage(stderr io.Writer, format string, args ...any) error {
	fmt.Fprintf(stderr, "localcluster: "+format+"\n", args...)

	return errUsage
}

func printAssets(ctx context.Context, stdout, stderr io.Writer) error {
	dir, err := ensureAssets(ctx, stderr)
	if err != nil {
		return err
	}

	if _, err := fmt.Fprintln(stdout, dir); err != nil {
		return fmt.Errorf("printing the assets folder: %w", err)
	}

	return nil
}

func ensureAssets(ctx context.Context, progress io.Writer) (string, error) {
	builder, err := assets.NewBuilder(goMod, goSum, progress)
	if err != nil {
		return "", err
	}

	return assets.Locate(ctx, builder, os.LookupEnv)
}

type upOptions struct {
	kubeconfig, dataDir, readyFile string
}

func up(ctx context.Context, opts upOptions, stdout, stderr io.Writer) (err error) {
	dir, err := ensureAssets(ctx, stderr)
	if err != nil {
		return err
	}

	dataDir, cleanUp, err := prepareDataDir(opts.dataDir)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, cleanUp()) }()

	began := time.Now()

	fmt.Fprintln(stderr, "localcluster: starting the control plane")

	cluster, err := controlplane.Start(ctx, controlplane.Options{AssetsDir: dir, DataDir: dataDir})
	if err != nil {
		return err
	}

	// Stopping needs no context: it bounds itself, and must happen after ctx is done.
	defer func() {
		fmt.Fprintln(stderr, "localcluster: stopping")
		cluster.Stop()
	}()

	kubeconfig := opts.kubeconfig
	if kubeconfig == "" {
		kubeconfig = filepath.Join(dataDir, "kubeconfig")
	}

	if kubeconfig, err = filepath.Abs(kubeconfig); err != nil {
		return fmt.Errorf("resolving --kubeconfig: %w", err)
	}

	if err := cluster.WriteKubeconfig(kubeconfig); err != nil {
		return err
	}

	defer func() { err = errors.Join(err, remove(kubeconfig)) }()

	fmt.Fprintf(stdout, `The control plane is ready at %s (after %s).

  export KUBECONFIG=%s
  %s get namespaces

Logs are in %s. Press Ctrl-C to stop.
`, cluster.URL(), time.Since(began).Round(100*time.Millisecond), kubeconfig,
		filepath.Join(dir, "kubectl"), cluster.LogDir())

	if opts.readyFile != "" {
		if err := controlplane.WriteFile(opts.readyFile, []byte(kubeconfig+"\n")); err != nil {
			return fmt.Errorf("writing --ready-file: %w", err)
		}

		defer func() { err = errors.Join(err, remove(opts.readyFile)) }()
	}

	select {
	case <-ctx.Done(): // Being told to stop is how up ends when all is well.
		return nil
	case <-cluster.Died():
		return cluster.Err()
	}
}

// prepareDataDir returns the folder to keep the cluster's data in, and what to do with it at the end.
func prepareDataDir(given string) (dir string, cleanUp func() error, err error) {
	if given == "" {
		dir, err := os.MkdirTemp("", "hookline-localcluster-")
		if err != nil {
			return "", nil, fmt.Errorf("making a temporary data folder: %w", err)
		}

		return dir, func() error {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("removing the temporary data folder: %w", err)
			}

			return nil
		}, nil
	}

	dir, err = filepath.Abs(given)
	if err != nil {
		return "", nil, fmt.Errorf("resolving --data-dir: %w", err)
	}

	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("making --data-dir: %w", err)
	}

	return dir, func() error { return nil }, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing what was written: %w", err)
	}

	return nil
}
