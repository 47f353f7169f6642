// Package controlplane runs etcd, kube-apiserver and kube-controller-manager as child processes
// that listen on the loopback address alone.
package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// startTimeout bounds the start of each process, also on a machine that is busy.
	startTimeout = 2 * time.Minute
	// pollInterval is how often readiness is asked for.
	pollInterval = 100 * time.Millisecond
	// probeTimeout bounds one question for readiness.
	probeTimeout = 5 * time.Second
	// startAttempts is how often a start is tried when another program has taken a port that was free.
	startAttempts = 3

	loopback = "127.0.0.1"
)

// Options say what to run and where.
type Options struct {
	// AssetsDir holds the binaries.
	AssetsDir string
	// DataDir is an existing folder for etcd's data, certificates, keys and logs. A later start on the
	// same folder finds the objects of the earlier one.
	DataDir string
}

// ControlPlane is a running control plane. Stop must be called to end it.
type ControlPlane struct {
	opts      Options
	pki       *pki
	ports     ports
	processes []*process // in the order in which they were started

	died     chan struct{}
	diedOnce sync.Once
	err      error // may be read once died is closed

	stopOnce sync.Once
	stopping chan struct{}
	watchers sync.WaitGroup
}

type ports struct {
	etcdClient, etcdPeer, apiServer int
}

// Start starts the control plane and returns when it is ready: the API server answers that it is,
// and the controllers have given the default namespace its ServiceAccount. When it fails, or ctx is
// done before that, everything it started has been stopped.
func Start(ctx context.Context, opts Options) (*ControlPlane, error) {
	var err error

	for range startAttempts {
		var c *ControlPlane

		c, err = start(ctx, opts)
		if err == nil {
			return c, nil
		}

		// A free port is found by asking for one and giving it back, so another program may take it first.
		var death *DeathError
		if !errors.As(err, &death) || !strings.Contains(death.Log, "address already in use") {
			return nil, err
		}
	}

	return nil, err
}

func start(ctx context.Context, opts Options) (_ *ControlPlane, err error) {
	c := &ControlPlane{opts: opts, died: make(chan struct{}), stopping: make(chan struct{})}

	if err := os.MkdirAll(c.LogDir(), 0o700); err != nil {
		return nil, fmt.Errorf("making the log folder: %w", err)
	}

	if c.pki, err = newPKI(filepath.Join(opts.DataDir, "pki")); err != nil {
		return nil, err
	}

	if c.ports, err = freePorts(ctx); err != nil {
		return nil, err
	}

	defer func() {
		if err != nil {
			c.Stop()
		}
	}()

	client, err := c.httpClient()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()

	etcdHealth := fmt.Sprintf("https://%s/health", net.JoinHostPort(loopback, strconv.Itoa(c.ports.etcdClient)))

	steps := []struct {
		name     string
		args     func() ([]string, error)
		readyURL string
	}{
		{"etcd", c.etcdArgs, etcdHealth},
		{"kube-apiserver", c.apiServerArgs, c.URL() + "/readyz"},
		{"kube-controller-manager", c.controllerManagerArgs, c.URL() + "/api/v1/namespaces/default/serviceaccounts/default"},
	}

	for _, step := range steps {
		args, err := step.args()
		if err != nil {
			return nil, err
		}

		p, err := startProcess(opts.AssetsDir, c.LogDir(), step.name, args)
		if err != nil {
			return nil, err
		}

		c.processes = append(c.processes, p)
		c.watch(p)

		if err := c.waitReady(ctx, client, p, step.readyURL); err != nil {
			return nil, err
		}
	}

	return c, nil
}

// URL is where the API server listens.
func (c *ControlPlane) URL() string {
	return "https://" + net.JoinHostPort(loopback, strconv.Itoa(c.ports.apiServer))
}

// LogDir is the folder with one log file for each process.
func (c *ControlPlane) LogDir() string {
	return filepath.Join(c.opts.DataDir, "logs")
}

// WriteKubeconfig writes the administrator's kubeconfig to path, readable by the owner alone. It
// replaces a kubeconfig of an earlier local cluster and refuses to replace any other file.
func (c *ControlPlane) WriteKubeconfig(path string) error {
	content, err := renderKubeconfig(c.URL(), c.pki.caCert, c.pki.admin)
	if err != nil {
		return err
	}

	return writeKubeconfig(path, content)
}

// Died is closed when a process has ended though nobody stopped it.
func (c *ControlPlane) Died() <-chan struct{} {
	return c.died
}

// Err returns a *DeathError once Died is closed, and nil before.
func (c *ControlPlane) Err() error {
	select {
	case <-c.died:
		return c.err
	default:
		return nil
	}
}

// Stop ends all processes, the last started first, and returns when they are gone. It takes at most
// ten seconds for each, after which that one is killed. It may be called more than once.
func (c *ControlPlane) Stop() {
	c.stopOnce.Do(func() {
		close(c.stopping)

		for _, p := range slices.Backward(c.processes) {
			p.stop()
		}
	})
	c.watchers.Wait()
}

// watch reports the end of a process, unless that is Stop's doing.
func (c *ControlPlane) watch(p *process) {
	c.watchers.Go(func() {
		select {
		case <-c.stopping:
		case <-p.ended:
			c.diedOnce.Do(func() {
				c.err = p.deathError()
				close(c.died)
			})
		}
	})
}

// waitReady returns when url answers 200, or fails when a process ends or the time is over.
func (c *ControlPlane) waitReady(ctx context.Context, client *http.Client, p *process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()

	last := errors.New("it was not asked yet")

	for {
		err := probe(ctx, client, url)
		if err == nil {
			return nil
		}

		// The answer to a question cut short by the deadline says less than the one before.
		if ctx.Err() == nil {
			last = err
		}

		select {
		case <-c.died:
			return c.err
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("waiting for %s: %w", p.name, ctx.Err())
			}

			return fmt.Errorf("%s was not ready after %s (%w); its last log lines:\n%s",
				p.name, startTimeout, last, lastLines(p.logFile, logLines))
		case <-ticker.C:
		}
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking for readiness: %w", err)
	}

	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking for readiness: %w", err)
	}
	defer resp.Body.Close()

	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) //nolint:mnd // Enough of it to say what is wrong.

		return fmt.Errorf("asking for readiness: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}

	return nil
}

// httpClient returns a client that is the administrator.
func (c *ControlPlane) httpClient() (*http.Client, error) {
	ca, err := os.ReadFile(c.pki.caCert)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)

	cert, err := tls.LoadX509KeyPair(c.pki.admin.cert, c.pki.admin.key)
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's certificate: %w", err)
	}

	return &http.Client{
		Timeout: probeTimeout,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{cert},
		}},
	}, nil
}

// freePorts finds ports that nobody listens on at this moment, all different.
func freePorts(ctx context.Context) (ports, error) {
	var (
		config net.ListenConfig
		found  [3]int
	)

	for i := range found {
		listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(loopback, "0"))
		if err != nil {
			return ports{}, fmt.Errorf("finding a free port: %w", err)
		}
		// Kept open until all are found, or the same one could be found twice.
		defer listener.Close()

		addr, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			return ports{}, fmt.Errorf("finding a free port: unexpected address %s", listener.Addr())
		}

		found[i] = addr.Port
	}

	return ports{etcdClient: found[0], etcdPeer: found[1], apiServer: found[2]}, nil
}
