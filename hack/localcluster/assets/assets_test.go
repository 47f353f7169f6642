package assets_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/hack/localcluster/assets"
)

const (
	envBuildDir = "LOCALCLUSTER_TEST_BUILD_DIR"
	// tinyMod requires nothing: what it builds comes with Go.
	tinyMod = "module tiny\n\ngo 1.26.0\n"

	testTimeout = 3 * time.Minute
)

// TestMain lets this binary be a second process that builds: see TestTwoRunsAtOnce.
func TestMain(m *testing.M) {
	if dir := os.Getenv(envBuildDir); dir != "" {
		if _, err := tinyBuilder(dir, os.Stderr).Ensure(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}

		return
	}

	os.Exit(m.Run())
}

func tinyBuilder(dir string, progress io.Writer) *assets.Builder {
	return &assets.Builder{
		Dir:   dir,
		GoMod: []byte(tinyMod),
		Binaries: []assets.Binary{
			{Name: "gofmt", Package: "cmd/gofmt"},
			{Name: "objdump", Package: "cmd/objdump"},
		},
		Notice:   "the notice",
		Progress: progress,
	}
}

func TestTwoRunsAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()

	dir := filepath.Join(t.TempDir(), "bin")

	const runs = 4

	var (
		outputs  [runs]bytes.Buffer
		commands [runs]*exec.Cmd
	)

	for i := range runs {
		commands[i] = exec.CommandContext(ctx, os.Args[0])
		commands[i].Env = append(os.Environ(), envBuildDir+"="+dir)
		commands[i].Stderr = &outputs[i]

		if err := commands[i].Start(); err != nil {
			t.Fatal(err)
		}
	}

	built := map[string]int{}

	for i, cmd := range commands {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("run %d: %v\n%s", i, err, outputs[i].String())
		}

		for line := range strings.Lines(outputs[i].String()) {
			for _, name := range []string{"gofmt", "objdump"} {
				if strings.Contains(line, name+": built in") {
					built[name]++
				}
			}
		}
	}

	if diff := cmp.Diff(map[string]int{"gofmt": 1, "objdump": 1}, built); diff != "" {
		t.Errorf("Each binary must be built once, whoever builds it (-want +got):\n%s", diff)
	}

	wantOnlyBinaries(t, dir)
	wantGofmtRuns(ctx, t, dir)
}

// TestKilledBuild kills a build at its first step and builds again.
func TestKilledBuild(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()

	dir := filepath.Join(t.TempDir(), "bin")

	first := exec.CommandContext(ctx, os.Args[0])
	first.Env = append(os.Environ(), envBuildDir+"="+dir)

	stderr, err := first.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}

	if err := first.Start(); err != nil {
		t.Fatal(err)
	}

	seen := make([]byte, 0, 1024)
	for chunk := make([]byte, 256); !bytes.Contains(seen, []byte("gofmt: building")); {
		n, err := stderr.Read(chunk)
		if err != nil {
			t.Fatalf("Reading what the first run said: %v (%q)", err, seen)
		}

		seen = append(seen, chunk[:n]...)
	}

	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	_ = first.Wait() // It was killed, so it reports that.

	// What a build that was killed while it wrote leaves behind.
	scratch := dir + ".build-left"
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(scratch, "gofmt"), []byte("half a binary"), 0o700); err != nil {
		t.Fatal(err)
	}

	var progress bytes.Buffer

	got, err := tinyBuilder(dir, &progress).Ensure(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if got != dir {
		t.Errorf("Ensure returned %q, want %q", got, dir)
	}

	if !strings.HasPrefix(progress.String(), "localcluster: the notice\n") {
		t.Errorf("The notice must come before the first step, got:\n%s", progress.String())
	}

	wantOnlyBinaries(t, dir)
	wantGofmtRuns(ctx, t, dir)
}

func TestFailedBuildSaysWhy(t *testing.T) {
	builder := tinyBuilder(filepath.Join(t.TempDir(), "bin"), &bytes.Buffer{})
	builder.Binaries = []assets.Binary{{Name: "absent", Package: "cmd/no-such-command"}}

	_, err := builder.Ensure(t.Context())
	if err == nil || !strings.Contains(err.Error(), "building absent") || !strings.Contains(err.Error(), "cmd/no-such-command") {
		t.Errorf("Ensure must name the binary and repeat what go build said, got: %v", err)
	}
}

func TestLocate(t *testing.T) {
	all := []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"}

	dirWith := func(t *testing.T, mode os.FileMode, names ...string) string {
		t.Helper()

		dir := t.TempDir()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
				t.Fatal(err)
			}
		}

		return dir
	}

	complete := dirWith(t, 0o755, all...)
	lacksOne := dirWith(t, 0o755, "etcd", "kube-apiserver", "kubectl")
	notExecutable := dirWith(t, 0o644, all...)

	type want struct {
		dir string
		err string
	}

	tests := map[string]struct {
		reason string
		env    string
		want   want
	}{
		"Complete": {
			reason: "A folder with every binary is used as it is.",
			env:    complete,
			want:   want{dir: complete},
		},
		"LacksOne": {
			reason: "The error names what is missing and what to do, in one line.",
			env:    lacksOne,
			want: want{err: "KUBEBUILDER_ASSETS is " + lacksOne + ", which lacks kube-controller-manager: " +
				"add what is missing, or unset KUBEBUILDER_ASSETS to have it all built"},
		},
		"NotExecutable": {
			reason: "A file that cannot be run is as good as missing.",
			env:    notExecutable,
			want: want{err: "KUBEBUILDER_ASSETS is " + notExecutable +
				", which lacks etcd, kube-apiserver, kube-controller-manager, kubectl: " +
				"add what is missing, or unset KUBEBUILDER_ASSETS to have it all built"},
		},
		"Relative": {
			reason: "A relative path would mean another folder to each program that reads the variable.",
			env:    "bin/k8s",
			want:   want{err: `KUBEBUILDER_ASSETS is "bin/k8s": give an absolute path`},
		},
	}

	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			// A builder without a folder fails: it must not be asked.
			dir, err := assets.Locate(t.Context(), &assets.Builder{}, func(string) (string, bool) { return tc.env, true })

			got := want{dir: dir}
			if err != nil {
				got.err = err.Error()
			}

			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("\n%s\nLocate(...): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestLocateBuildsWhereTheEnvironmentNamesNothing(t *testing.T) {
	for name, lookup := range map[string]func(string) (string, bool){
		"Unset": func(string) (string, bool) { return "", false },
		"Empty": func(string) (string, bool) { return "", true },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bin")

			got, err := assets.Locate(t.Context(), tinyBuilder(dir, &bytes.Buffer{}), lookup)
			if err != nil {
				t.Fatal(err)
			}

			if got != dir {
				t.Errorf("Locate returned %q, want the builder's folder %q", got, dir)
			}
		})
	}
}

func TestNewBuilderKeysTheCacheByVersions(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())

	dirs := map[string]bool{}

	for _, versions := range [][2]string{{"v1.37.2", "v3.7.0"}, {"v1.37.3", "v3.7.0"}, {"v1.37.2", "v3.7.1"}} {
		mod := fmt.Sprintf("module m\n\nrequire (\n\tk8s.io/kubernetes %s\n\tgo.etcd.io/etcd/server/v3 %s\n)\n", versions[0], versions[1])

		builder, err := assets.NewBuilder([]byte(mod), nil, &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}

		if !strings.Contains(builder.Dir, versions[0]) || !strings.Contains(builder.LDFlags, versions[0]) {
			t.Errorf("Version %s must show in the folder %q and the linker's flags %q", versions[0], builder.Dir, builder.LDFlags)
		}

		dirs[builder.Dir] = true
	}

	if len(dirs) != 3 {
		t.Errorf("Each combination of versions needs a folder of its own, got %v", dirs)
	}

	if _, err := assets.NewBuilder([]byte("module m\n"), nil, &bytes.Buffer{}); err == nil {
		t.Error("A go.mod that requires no Kubernetes must be refused")
	}
}

// wantOnlyBinaries fails unless dir holds the binaries and nothing else, and no scratch folder is left.
func wantOnlyBinaries(t *testing.T, dir string) {
	t.Helper()

	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}

	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}

	if diff := cmp.Diff([]string{"gofmt", "objdump"}, names); diff != "" {
		t.Errorf("Content of the cache folder (-want +got):\n%s", diff)
	}

	left, err := filepath.Glob(dir + ".build*")
	if err != nil || len(left) > 0 {
		t.Errorf("No build folder must be left, got %v, %v", left, err)
	}
}

func wantGofmtRuns(ctx context.Context, t *testing.T, dir string) {
	t.Helper()

	cmd := exec.CommandContext(ctx, filepath.Join(dir, "gofmt"))
	cmd.Stdin = strings.NewReader("package  x")

	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "package x\n" {
		t.Errorf("Running the gofmt that was built: %q, %v", out, err)
	}
}
