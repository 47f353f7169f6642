// Package assets finds the binaries of a Kubernetes control plane, or builds them from their Go
// modules into the user's cache folder.
package assets

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/modfile"
)

// EnvDir is the environment variable that names a folder with ready binaries. It is the variable
// that envtest reads.
const EnvDir = "KUBEBUILDER_ASSETS"

const (
	moduleKubernetes = "k8s.io/kubernetes"
	moduleEtcd       = "go.etcd.io/etcd/server/v3"
)

// Binary is one program of the control plane.
type Binary struct {
	// Name is the file's name in the assets folder.
	Name string
	// Package is the import path of its main package.
	Package string
}

// Binaries returns what an assets folder must hold, in the order in which it is built.
func Binaries() []Binary {
	return []Binary{
		{Name: "etcd", Package: moduleEtcd},
		{Name: "kube-apiserver", Package: moduleKubernetes + "/cmd/kube-apiserver"},
		{Name: "kube-controller-manager", Package: moduleKubernetes + "/cmd/kube-controller-manager"},
		{Name: "kubectl", Package: moduleKubernetes + "/cmd/kubectl"},
	}
}

// Locate returns the absolute path of a folder that holds every one of Binaries: the one that the
// environment names, or else the builder's, built first where it is missing. A folder named by the
// environment is checked and never written to.
func Locate(ctx context.Context, builder *Builder, lookupEnv func(string) (string, bool)) (string, error) {
	dir, ok := lookupEnv(EnvDir)
	if !ok || dir == "" {
		return builder.Ensure(ctx)
	}

	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%s is %q: give an absolute path", EnvDir, dir)
	}

	if missing := missingFrom(dir, Binaries()); len(missing) > 0 {
		return "", fmt.Errorf("%s is %s, which lacks %s: add what is missing, or unset %s to have it all built",
			EnvDir, dir, strings.Join(missing, ", "), EnvDir)
	}

	return dir, nil
}

// missingFrom names the binaries that are not executable files in dir.
func missingFrom(dir string, binaries []Binary) []string {
	var missing []string

	for _, b := range binaries {
		info, err := os.Stat(filepath.Join(dir, b.fileName()))
		if err != nil || !info.Mode().IsRegular() || (runtime.GOOS != "windows" && info.Mode().Perm()&0o111 == 0) {
			missing = append(missing, b.Name)
		}
	}

	return missing
}

func (b Binary) fileName() string {
	if runtime.GOOS == "windows" {
		return b.Name + ".exe"
	}

	return b.Name
}

// NewBuilder returns a builder of Binaries in the versions that the given go.mod requires, with a
// folder of its own in the user's cache for each combination of versions and platform.
func NewBuilder(goMod, goSum []byte, progress io.Writer) (*Builder, error) {
	parsed, err := modfile.Parse("go.mod", goMod, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the versions to build: %w", err)
	}

	versions := make(map[string]string, len(parsed.Require))
	for _, r := range parsed.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}

	kubernetes, etcd := versions[moduleKubernetes], versions[moduleEtcd]
	if kubernetes == "" || etcd == "" {
		return nil, fmt.Errorf("reading the versions to build: go.mod requires no %s or no %s", moduleKubernetes, moduleEtcd)
	}

	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the cache folder: %w; set %s to a folder with the binaries instead", err, EnvDir)
	}

	key := fmt.Sprintf("kubernetes-%s-etcd-%s-%s-%s", kubernetes, etcd, runtime.GOOS, runtime.GOARCH)

	return &Builder{
		Dir:      filepath.Join(cache, "hookline", "localcluster", key),
		GoMod:    goMod,
		GoSum:    goSum,
		Binaries: Binaries(),
		LDFlags:  "-s -w -X k8s.io/component-base/version.gitVersion=" + kubernetes,
		Notice: fmt.Sprintf("building Kubernetes %s and etcd %s from their Go modules; "+
			"the first build takes about seven minutes on two cores, later runs reuse it", kubernetes, etcd),
		Progress: progress,
	}, nil
}
