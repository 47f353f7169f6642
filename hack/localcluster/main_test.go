package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	// startLimit bounds the start of a control plane on a machine that does other work too.
	startLimit = 3 * time.Minute
	// conditionLimit bounds the wait for anything else.
	conditionLimit = time.Minute
	pollEvery      = 50 * time.Millisecond
)

var (
	// launcher is the program under test, assetsDir what it says its binaries are in.
	launcher, assetsDir string
)

// TestMain builds the program once, and with it the control plane where that is missing.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "localcluster-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)

			return 1
		}
		defer os.RemoveAll(dir)

		launcher = filepath.Join(dir, "localcluster")

		build := exec.Command("go", "build", "-o", launcher, ".")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr

		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "Building the program under test:", err)

			return 1
		}

		locate := exec.Command(launcher, "assets")
		locate.Stderr = os.Stderr

		out, err := locate.Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, "Finding the assets:", err)

			return 1
		}

		assetsDir = strings.TrimSuffix(string(out), "\n")

		return m.Run()
	}())
}

// cluster is a running `localcluster up`.
type cluster struct {
	t          *testing.T
	cmd        *exec.Cmd
	stderr     *bytes.Buffer
	kubeconfig string
	dataDir    string
	ended      chan struct{}
	waitErr    error
}

// startUp runs `localcluster up` until it is ready. The test's end stops it, if the test has not.
func startUp(t *testing.T, dataDir string) *cluster {
	t.Helper()

	return startUpFrom(t, assetsDir, dataDir)
}

// startUpFrom does so with the binaries of another folder.
func startUpFrom(t *testing.T, binaries, dataDir string) *cluster {
	t.Helper()

	files := t.TempDir()
	c := &cluster{
		t:          t,
		kubeconfig: filepath.Join(files, "kubeconfig"),
		dataDir:    dataDir,
		stderr:     &bytes.Buffer{},
		ended:      make(chan struct{}),
	}
	ready := filepath.Join(files, "ready")

	c.cmd = exec.Command(launcher, "up", "--kubeconfig", c.kubeconfig, "--data-dir", dataDir, "--ready-file", ready)
	c.cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+binaries)
	c.cmd.Stderr = c.stderr

	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}

	go func() {
		c.waitErr = c.cmd.Wait()
		close(c.ended)
	}()

	t.Cleanup(func() {
		_ = c.cmd.Process.Signal(os.Interrupt) // It may have ended already.
		_ = c.wait()                           // The test that cares how it ends has asked by itself.
	})

	eventually(t, startLimit, "the cluster to be ready", func() bool {
		select {
		case <-c.ended:
			t.Fatalf("The program ended before the cluster was ready: %v\n%s", c.waitErr, c.stderr)
		default:
		}

		content, err := os.ReadFile(ready)

		return err == nil && string(content) == c.kubeconfig+"\n"
	})

	return c
}

// wait returns how the program ended.
func (c *cluster) wait() error {
	c.t.Helper()

	select {
	case <-c.ended:
		return c.waitErr
	case <-time.After(conditionLimit):
		_ = c.cmd.Process.Kill()
		<-c.ended
		c.t.Fatalf("The program had not ended after %s", conditionLimit)

		return nil
	}
}

// kubectl runs kubectl as the administrator and returns what it printed, on both streams.
func (c *cluster) kubectl(stdin string, args ...string) (string, error) {
	c.t.Helper()

	ctx, cancel := context.WithTimeout(c.t.Context(), conditionLimit)
	defer cancel()

	cmd := exec.CommandContext(ctx, filepath.Join(assetsDir, "kubectl"),
		append([]string{"--kubeconfig", c.kubeconfig, "--cache-dir", filepath.Join(c.dataDir, "kubectl-cache")}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)

	out, err := cmd.CombinedOutput()

	return strings.TrimSpace(string(out)), err
}

func (c *cluster) mustKubectl(stdin string, args ...string) string {
	c.t.Helper()

	out, err := c.kubectl(stdin, args...)
	if err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}

	return out
}

func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()

	for deadline := time.Now().Add(limit); !holds(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("Waited %s in vain for %s", limit, what)
		}
	}
}

const (
	restrictedNamespace = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"restricted",
		"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`
	privilegedPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"privileged"},
		"spec":{"containers":[{"name":"c","image":"i","securityContext":{"privileged":true}}]}}`
	restrictedPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"modest"},
		"spec":{"securityContext":{"runAsNonRoot":true,"runAsUser":65532,"seccompProfile":{"type":"RuntimeDefault"}},
		"containers":[{"name":"c","image":"i","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`
	aggregatedRole = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"more-view",
		"labels":{"rbac.authorization.k8s.io/aggregate-to-view":"true"}},
		"rules":[{"apiGroups":["example.com"],"resources":["widgets"],"verbs":["get"]}]}`
)

// TestControlPlane shows that what the parts promise holds: one cluster serves all cases.
func TestControlPlane(t *testing.T) {
	c := startUp(t, t.TempDir())

	t.Run("KubeconfigIsPrivate", func(t *testing.T) {
		info, err := os.Stat(c.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}

		if diff := cmp.Diff(os.FileMode(0o600), info.Mode().Perm()); diff != "" {
			t.Errorf("Permissions of the kubeconfig (-want +got):\n%s", diff)
		}
	})

	t.Run("ListsNamespaces", func(t *testing.T) {
		got := c.mustKubectl("", "get", "namespaces", "--output", "name")
		want := "namespace/default\nnamespace/kube-node-lease\nnamespace/kube-public\nnamespace/kube-system"

		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Namespaces (-want +got):\n%s", diff)
		}
	})

	t.Run("NamespaceGetsItsServiceAccountAndGoesAway", func(t *testing.T) {
		c.mustKubectl("", "create", "namespace", "short-lived")
		eventually(t, conditionLimit, "the default ServiceAccount", func() bool {
			_, err := c.kubectl("", "--namespace", "short-lived", "get", "serviceaccount", "default")

			return err == nil
		})
		c.mustKubectl("", "delete", "namespace", "short-lived", "--timeout", conditionLimit.String())
	})

	t.Run("PodSecurityIsEnforced", func(t *testing.T) {
		c.mustKubectl(restrictedNamespace, "create", "--filename", "-")
		eventually(t, conditionLimit, "the default ServiceAccount", func() bool {
			_, err := c.kubectl("", "--namespace", "restricted", "get", "serviceaccount", "default")

			return err == nil
		})

		out, err := c.kubectl(privilegedPod, "--namespace", "restricted", "create", "--dry-run=server", "--filename", "-")
		if err == nil || !strings.Contains(out, `violates PodSecurity "restricted:latest": privileged`) {
			t.Errorf("A privileged Pod must be refused by Pod Security, got: %v\n%s", err, out)
		}

		c.mustKubectl(privilegedPod, "--namespace", "default", "create", "--dry-run=server", "--filename", "-")
		c.mustKubectl(restrictedPod, "--namespace", "restricted", "create", "--dry-run=server", "--filename", "-")
	})

	t.Run("RBACIsEnforced", func(t *testing.T) {
		c.mustKubectl("", "create", "serviceaccount", "nobody")
		token := c.mustKubectl("", "create", "token", "nobody")

		// The administrator's certificate would win over the token, so it is left out.
		asNobody := []string{
			"--kubeconfig", os.DevNull, "--server", c.mustKubectl("", "config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}"),
			"--certificate-authority", filepath.Join(c.dataDir, "pki", "ca.crt"), "--token", token,
			"get", "secrets", "--namespace", "default",
		}

		out, err := c.kubectl("", asNobody...)
		if want := `"system:serviceaccount:default:nobody" cannot list resource "secrets"`; err == nil || !strings.Contains(out, want) {
			t.Errorf("An unbound ServiceAccount must be denied, got: %v\n%s", err, out)
		}

		c.mustKubectl("", "create", "rolebinding", "nobody-edits", "--clusterrole=edit", "--serviceaccount=default:nobody")
		eventually(t, conditionLimit, "the binding to take effect", func() bool {
			_, err := c.kubectl("", asNobody...)

			return err == nil
		})
	})

	t.Run("ClusterRolesAggregate", func(t *testing.T) {
		c.mustKubectl(aggregatedRole, "create", "--filename", "-")
		eventually(t, conditionLimit, "view to hold the new rule", func() bool {
			return strings.Contains(c.mustKubectl("", "get", "clusterrole", "view", "--output", "jsonpath={.rules}"), "widgets")
		})
	})

	t.Run("GarbageIsCollected", func(t *testing.T) {
		c.mustKubectl("", "create", "configmap", "owner")
		uid := c.mustKubectl("", "get", "configmap", "owner", "--output", "jsonpath={.metadata.uid}")
		c.mustKubectl(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"owned","ownerReferences":[
			{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"`+uid+`"}]}}`, "create", "--filename", "-")
		c.mustKubectl("", "delete", "configmap", "owner")
		eventually(t, conditionLimit, "the owned Secret to go", func() bool {
			out, err := c.kubectl("", "get", "secret", "owned")

			return err != nil && strings.Contains(out, "NotFound")
		})
	})
}
