package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// controlPlanePIDs finds the processes of the control plane that keeps its data in dataDir, by the
// name of their program.
func controlPlanePIDs(t *testing.T, dataDir string) map[string]int {
	t.Helper()

	found := map[string]int{}

	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}

	for _, file := range files {
		cmdline, err := os.ReadFile(file)
		if err != nil {
			continue // It ended meanwhile.
		}

		name := filepath.Base(string(bytes.SplitN(cmdline, []byte{0}, 2)[0]))
		if name == filepath.Base(launcher) || !bytes.Contains(cmdline, []byte(dataDir)) {
			continue
		}

		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}

		found[name] = pid
	}

	return found
}

func wantAllRunning(t *testing.T, dataDir string) map[string]int {
	t.Helper()

	found := controlPlanePIDs(t, dataDir)

	names := map[string]bool{}
	for name := range found {
		names[name] = true
	}

	if diff := cmp.Diff(map[string]bool{"etcd": true, "kube-apiserver": true, "kube-controller-manager": true}, names); diff != "" {
		t.Fatalf("Processes of the running control plane (-want +got):\n%s", diff)
	}

	return found
}

func wantNoneRunning(t *testing.T, dataDir string) {
	t.Helper()

	if left := controlPlanePIDs(t, dataDir); len(left) > 0 {
		t.Errorf("Processes are left behind: %v", left)
	}
}

// TestListenersAreClosedToOthers takes the addresses from the running processes themselves.
func TestListenersAreClosedToOthers(t *testing.T) {
	c := startUp(t, t.TempDir())

	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(wantAllRunning(t, c.dataDir)["etcd"]), "cmdline"))
	if err != nil {
		t.Fatal(err)
	}

	// Whether the server proves who it is does not matter here, only whether the client has to.
	stranger := &http.Client{
		Timeout:   conditionLimit,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	checked := 0

	for arg := range strings.SplitSeq(string(cmdline), "\x00") {
		flag, url, _ := strings.Cut(arg, "=")
		if flag != "--listen-client-urls" && flag != "--listen-peer-urls" {
			continue
		}

		checked++

		if !strings.HasPrefix(url, "https://127.0.0.1:") {
			t.Errorf("%s must be on the loopback address, over TLS, got %s", flag, url)
		}

		resp, err := stranger.Get(url + "/version")
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s must refuse a client without a certificate, got %s", flag, resp.Status)
		} else if !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("%s must ask for a certificate, got: %v", flag, err)
		}
	}

	if checked != 2 {
		t.Errorf("Checked %d listeners of etcd, want 2", checked)
	}
}

func TestSignalsStopEverything(t *testing.T) {
	tests := map[string]struct {
		reason string
		signal os.Signal
	}{
		"Interrupt": {reason: "Ctrl-C is how a person ends it.", signal: os.Interrupt},
		"Terminate": {reason: "SIGTERM is how a program ends it.", signal: syscall.SIGTERM},
	}

	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := startUp(t, t.TempDir())
			wantAllRunning(t, c.dataDir)

			if err := c.cmd.Process.Signal(tc.signal); err != nil {
				t.Fatal(err)
			}

			if err := c.wait(); err != nil {
				t.Errorf("%s It must exit with 0, got: %v\n%s", tc.reason, err, c.stderr)
			}

			// No wait here: the program may not end before its children.
			wantNoneRunning(t, c.dataDir)

			if _, err := os.Stat(c.kubeconfig); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("The kubeconfig must be removed, got: %v", err)
			}
		})
	}
}

func TestKilledLauncherLeavesNoOrphans(t *testing.T) {
	c := startUp(t, t.TempDir())
	wantAllRunning(t, c.dataDir)

	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	_ = c.wait() // It was killed, so it reports that.

	eventually(t, conditionLimit, "the children to be gone", func() bool {
		return len(controlPlanePIDs(t, c.dataDir)) == 0
	})
}

func TestChildDeathEndsTheRest(t *testing.T) {
	for _, victim := range []string{"etcd", "kube-controller-manager"} {
		t.Run(victim, func(t *testing.T) {
			c := startUp(t, t.TempDir())
			pids := wantAllRunning(t, c.dataDir)

			if err := syscall.Kill(pids[victim], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}

			var exit *exec.ExitError
			if err := c.wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("It must exit with 1, got: %v", err)
			}

			wantNoneRunning(t, c.dataDir)

			want := victim + " ended by itself (signal: killed); its last log lines:\n"

			_, lines, found := strings.Cut(c.stderr.String(), want)
			if !found || strings.TrimSpace(lines) == "" {
				t.Errorf("The error must contain %q and log lines, got:\n%s", want, c.stderr)
			}
		})
	}
}

func TestRestartOnTheSameFolderKeepsTheObjects(t *testing.T) {
	dir := t.TempDir()

	first := startUp(t, dir)
	first.mustKubectl("", "create", "configmap", "kept")

	if err := first.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}

	if err := first.wait(); err != nil {
		t.Fatalf("Stopping the first one: %v\n%s", err, first.stderr)
	}

	startUp(t, dir).mustKubectl("", "get", "configmap", "kept")
}

func TestTemporaryDataIsRemoved(t *testing.T) {
	temp := t.TempDir()

	cmd := exec.Command(launcher, "up", "--ready-file", filepath.Join(temp, "ready"))
	cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+assetsDir, "TMPDIR="+temp)

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(t, startLimit, "the cluster to be ready", func() bool {
		_, err := os.Stat(filepath.Join(temp, "ready"))

		return err == nil
	})
	wantAllRunning(t, temp)

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}

	if err := cmd.Wait(); err != nil {
		t.Errorf("It must exit with 0, got: %v", err)
	}

	entries, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}

	if len(entries) > 0 {
		t.Errorf("Nothing must be left in the temporary folder, got %v", entries)
	}

	wantNoneRunning(t, temp)
}

func TestForeignKubeconfigIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	foreign := []byte("apiVersion: v1\nkind: Config\ncurrent-context: production\n")

	if err := os.WriteFile(path, foreign, 0o600); err != nil {
		t.Fatal(err)
	}

	dataDir := t.TempDir()
	cmd := exec.Command(launcher, "up", "--kubeconfig", path, "--data-dir", dataDir)
	cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+assetsDir)

	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), path+" holds a kubeconfig that is not of a local cluster") {
		t.Errorf("It must refuse, got: %v\n%s", err, out)
	}

	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(string(foreign), string(content)); diff != "" {
		t.Errorf("The file must stay as it was (-want +got):\n%s", diff)
	}

	wantNoneRunning(t, dataDir)
}

// withOtherEtcd returns an assets folder in which etcd is a shell script.
func withOtherEtcd(t *testing.T, script string) string {
	t.Helper()

	dir := t.TempDir()
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kubectl"} {
		if err := os.Symlink(filepath.Join(assetsDir, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}

	if err := os.WriteFile(filepath.Join(dir, "etcd"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}

	return dir
}

func TestBrokenBinaryIsReportedWithItsOutput(t *testing.T) {
	cmd := exec.Command(launcher, "up", "--data-dir", t.TempDir())
	cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+withOtherEtcd(t, "echo no such thing as a data folder >&2\nexit 3\n"))

	out, err := cmd.CombinedOutput()
	want := "etcd ended by itself (exit status 3); its last log lines:\nno such thing as a data folder"

	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("The error must contain %q, got: %v\n%s", want, err, out)
	}
}

// TestTakenPortIsRetried has another program be faster to take a port, twice.
func TestTakenPortIsRetried(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "starts")
	script := "echo >> " + starts + "\n" +
		"if [ $(wc -l < " + starts + ") -lt 3 ]; then echo listen tcp: bind: address already in use; exit 1; fi\n" +
		"exec " + filepath.Join(assetsDir, "etcd") + ` "$@"` + "\n"

	c := startUpFrom(t, withOtherEtcd(t, script), t.TempDir())

	if got := c.mustKubectl("", "get", "--raw", "/readyz"); got != "ok" {
		t.Errorf("The cluster must be ready, got %q", got)
	}
}

func TestInterruptedStartLeavesNothing(t *testing.T) {
	dataDir := t.TempDir()
	cmd := exec.Command(launcher, "up", "--data-dir", dataDir)
	cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+assetsDir)

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(t, startLimit, "the API server to be started", func() bool {
		return controlPlanePIDs(t, dataDir)["kube-apiserver"] != 0
	})

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}

	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("It must exit with 1, got: %v", err)
	}

	wantNoneRunning(t, dataDir)
}
