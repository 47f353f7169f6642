package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// clusterTimeout bounds the control plane's start, its first build included.
	clusterTimeout = 40 * time.Minute
	// stepTimeout bounds one call to the API server or to the operator.
	stepTimeout = 30 * time.Second
	// stopTimeout is how long a child may take to end by itself.
	stopTimeout = 40 * time.Second
	// pollInterval is how often a condition is looked at.
	pollInterval = 100 * time.Millisecond
	// tokenLifetime of the operator's ServiceAccount token, in seconds.
	tokenLifetime = 24 * 60 * 60
	// logTail is how much of a child's log an error shows, in bytes.
	logTail = 2000
)

// child is a program the demo started and stops.
type child struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error
}

// start runs a program with its output in a log file.
func start(name, logFile string, extra io.Writer, command string, args ...string) (*child, error) {
	file, err := os.Create(logFile)
	if err != nil {
		return nil, fmt.Errorf("creating the log of %s: %w", name, err)
	}

	//nolint:noctx // A context would end the child with SIGKILL; stop asks first.
	cmd := exec.Command(command, args...)
	cmd.Stdout, cmd.Stderr = file, file
	if extra != nil {
		cmd.Stderr = io.MultiWriter(file, extra)
	}
	// A group of its own: Ctrl-C reaches the demo alone, which then stops its children in order.
	cmd.SysProcAttr = attributes()

	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), file.Close())
	}

	c := &child{name: name, cmd: cmd, log: logFile, done: make(chan struct{})}

	go func() {
		c.err = errors.Join(cmd.Wait(), file.Close())
		close(c.done)
	}()

	return c, nil
}

// stop asks the child to end, and ends it where it does not.
func (c *child) stop() {
	if c == nil {
		return
	}

	_ = c.cmd.Process.Signal(syscall.SIGTERM)

	select {
	case <-c.done:
	case <-time.After(stopTimeout):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// failure says that the child ended too soon, with the end of its log.
func (c *child) failure() error {
	return fmt.Errorf("%s ended too soon (%w); the end of its log:\n%s", c.name, c.err, c.tail())
}

// tail is the end of the child's log.
func (c *child) tail() []byte {
	tail, err := os.ReadFile(c.log)
	if err != nil {
		tail = []byte(err.Error())
	}
	if len(tail) > logTail {
		tail = tail[len(tail)-logTail:]
	}

	return bytes.TrimSpace(tail)
}

// await polls until ready answers true, the child ends or the time is up.
func (c *child) await(ctx context.Context, limit time.Duration, what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()

	for !ready() {
		select {
		case <-c.done:
			return c.failure()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; the end of the log of %s:\n%s", what, context.Cause(ctx), c.name, c.tail())
		case <-ticker.C:
		}
	}

	return nil
}

// cluster is the local control plane as the demo uses it.
type cluster struct {
	child      *child
	kubeconfig string
	kubectl    string
	config     *rest.Config
	clients    kubernetes.Interface
}

// startCluster starts the control plane and connects to it as its administrator.
func startCluster(ctx context.Context, launcher, dir string, progress io.Writer) (*cluster, error) {
	assets, err := assetsFolder(ctx, launcher, progress)
	if err != nil {
		return nil, err
	}

	kubeconfig := filepath.Join(dir, "kubeconfig")
	ready := filepath.Join(dir, "cluster-ready")

	c, err := start("the local control plane", filepath.Join(dir, "cluster.log"), nil, launcher,
		"up", "--kubeconfig", kubeconfig, "--ready-file", ready)
	if err != nil {
		return nil, err
	}

	out := &cluster{child: c, kubeconfig: kubeconfig, kubectl: filepath.Join(assets, "kubectl")}

	err = c.await(ctx, clusterTimeout, "the local control plane", func() bool {
		_, err := os.Stat(ready)

		return err == nil
	})
	if err != nil {
		return out, err
	}

	if out.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return out, fmt.Errorf("reading the administrator's kubeconfig: %w", err)
	}

	if out.clients, err = kubernetes.NewForConfig(out.config); err != nil {
		return out, fmt.Errorf("connecting to the local control plane: %w", err)
	}

	return out, nil
}

func assetsFolder(ctx context.Context, launcher string, progress io.Writer) (string, error) {
	cmd := exec.CommandContext(ctx, launcher, "assets")
	cmd.Stderr = progress

	folder, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("preparing the local control plane: %w", err)
	}

	return strings.TrimSpace(string(folder)), nil
}

// run runs kubectl with input on its standard input.
func (c *cluster) run(ctx context.Context, input []byte, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()

	//nolint:gosec // The program is the control plane's own kubectl, the arguments are the demo's.
	cmd := exec.CommandContext(ctx, c.kubectl, append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
	cmd.Stdin = bytes.NewReader(input)

	var stdout, stderr bytes.Buffer

	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}

	return stdout.String(), nil
}

// operatorKubeconfig writes a kubeconfig that speaks as the operator's ServiceAccount, with
// the rights that config/rbac gives it and no others.
func (c *cluster) operatorKubeconfig(ctx context.Context, namespace, account, path string) error {
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenLifetime))},
	}

	token, err := c.clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("requesting a token for ServiceAccount %s/%s: %w", namespace, account, err)
	}

	admin, err := clientcmd.LoadFromFile(c.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the administrator's kubeconfig: %w", err)
	}

	current := admin.Contexts[admin.CurrentContext]
	config := clientcmdapi.NewConfig()
	config.Clusters["local"] = admin.Clusters[current.Cluster]
	config.AuthInfos[account] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["local"] = &clientcmdapi.Context{Cluster: "local", AuthInfo: account, Namespace: namespace}
	config.CurrentContext = "local"

	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("writing the operator's kubeconfig: %w", err)
	}

	return nil
}

// secretValue reads one key of a Secret.
func (c *cluster) secretValue(ctx context.Context, namespace, name, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()

	var secret *corev1.Secret

	secret, err := c.clients.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading Secret %s/%s: %w", namespace, name, err)
	}

	value, ok := secret.Data[key]
	if !ok {
		return "", fmt.Errorf("reading Secret %s/%s: it has no key %q", namespace, name, key)
	}

	return strings.TrimSuffix(string(value), "\n"), nil
}
