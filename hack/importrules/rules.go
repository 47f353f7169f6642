package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The rules, for a package's own files:
//
//   - Imports point down this list: main, controllers, internal/cmd, internal/kube,
//     internal/provider, internal/dispatcher, internal/dialect, internal/subscription. Within one
//     entry they are free.
//   - api may import internal/subscription, and is imported by main, controllers, internal/cmd,
//     internal/kube and internal/provider alone.
//   - A dialect never imports another; native may import vonage, which it extends.
//   - internal/dispatcher knows no Kubernetes: nothing under k8s.io or sigs.k8s.io, not by way of
//     another package either.
//   - internal/subscription imports nothing of ours and does no I/O.
//   - config holds data (the CustomResourceDefinitions): it imports nothing of ours, and what may
//     import api may import it. hack is imported by nobody.
//   - There are no other folders.
//
// For test files the rules are looser: they may also import api, config and any package whose name
// ends in "test" (conformance suites, test support), and a dialect's may import the dispatcher,
// which the dialect's server is tried against. That internal/subscription imports nothing of ours
// and internal/dispatcher no Kubernetes holds for their test files too.

// pkg is what go list says of a package.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// violation is an import that breaks a rule.
type violation struct {
	from, to, rule string
	test           bool
}

func (v violation) String() string {
	files := ""
	if v.test {
		files = " (test files)"
	}

	if v.to == "" {
		return fmt.Sprintf("%s: %s", v.from, v.rule)
	}

	return fmt.Sprintf("%s%s imports %s: %s", v.from, files, v.to, v.rule)
}

const (
	layerMain         = "main"
	layerAPI          = "api"
	layerControllers  = "controllers"
	layerCmd          = "internal/cmd"
	layerKube         = "internal/kube"
	layerProvider     = "internal/provider"
	layerDispatcher   = "internal/dispatcher"
	layerDialect      = "internal/dialect"
	layerSubscription = "internal/subscription"
	layerConfig       = "config"
	layerHack         = "hack"
)

// order returns the layers whose imports point down, from the top.
func order() []string {
	return []string{
		layerMain, layerControllers, layerCmd, layerKube, layerProvider, layerDispatcher, layerDialect, layerSubscription,
	}
}

// apiUsers returns the layers that may import api and config.
func apiUsers() []string {
	return []string{layerMain, layerControllers, layerCmd, layerKube, layerProvider, layerHack}
}

// layerOf returns the layer of a path inside the module, or "" when the house has no such folder.
func layerOf(path string) string {
	if path == "" {
		return layerMain
	}

	for _, layer := range append(order(), layerAPI, layerConfig, layerHack) {
		if path == layer || strings.HasPrefix(path, layer+"/") {
			return layer
		}
	}

	return ""
}

func check(module string, packages []pkg) []violation {
	var found []violation

	for _, p := range packages {
		c := checker{module: module, from: p.ImportPath, path: inside(module, p.ImportPath)}
		c.layer = layerOf(c.path)

		if c.layer == "" {
			c.report("", "there is no such folder in the house; docs/architecture.md lists them")
		}

		for _, to := range p.Imports {
			c.checkImport(to)
		}

		c.checkDeps(p)

		c.test = true
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			c.checkImport(to)
		}

		found = append(found, c.found...)
	}

	slices.SortFunc(found, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})

	return slices.Compact(found)
}

// inside returns the path of a package within the module, "" for its root.
func inside(module, importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// checker looks at the imports of one package.
type checker struct {
	module, from, path, layer string
	test                      bool
	found                     []violation
}

func (c *checker) report(to, rule string) {
	c.found = append(c.found, violation{from: c.from, to: to, rule: rule, test: c.test})
}

func (c *checker) checkImport(to string) {
	switch {
	case to == c.module || strings.HasPrefix(to, c.module+"/"):
		c.checkOurs(to)
	case c.layer == layerDispatcher && isKubernetes(to):
		c.report(to, "the dispatcher knows no Kubernetes")
	case c.layer == layerSubscription && !c.test && doesIO(to):
		c.report(to, "internal/subscription does no I/O")
	}
}

func (c *checker) checkOurs(to string) {
	path := inside(c.module, to)
	layer := layerOf(path)

	switch {
	case c.layer == layerSubscription && layer != layerSubscription:
		c.report(to, "internal/subscription imports nothing of ours")
	case layer == layerHack && c.layer != layerHack:
		c.report(to, "nobody imports hack")
	case c.layer == layerHack, c.layer == "":
		// A tool may look at everything; a folder that should not be has been reported.
	case c.test && c.allowedInTests(path, layer):
	case layer == layerAPI || layer == layerConfig:
		if c.layer != layer && !slices.Contains(apiUsers(), c.layer) {
			c.report(to, layer+" is imported by main, controllers, internal/cmd, internal/kube and internal/provider alone")
		}
	case c.layer == layerAPI && layer != layerSubscription:
		c.report(to, "api imports nothing of ours but internal/subscription")
	case c.layer == layerConfig:
		c.report(to, "config imports nothing of ours")
	case slices.Index(order(), layer) < slices.Index(order(), c.layer):
		if c.layer != layerAPI {
			c.report(to, "imports point down: "+strings.Join(order(), ", "))
		}
	case c.layer == layerDialect && layer == layerDialect:
		c.checkDialect(to, path)
	}
}

func (c *checker) allowedInTests(path, layer string) bool {
	return layer == layerAPI || layer == layerConfig || strings.HasSuffix(path, "test") ||
		c.layer == layerDialect && layer == layerDispatcher
}

func (c *checker) checkDialect(to, path string) {
	ours, theirs := dialectOf(c.path), dialectOf(path)

	// What stands in the layer's own folder belongs to every dialect.
	if ours == theirs || theirs == "" || ours == "native" && theirs == "vonage" {
		return
	}

	c.report(to, "a dialect never imports another (native may import vonage)")
}

// dialectOf returns the name of the dialect that a path in its layer belongs to.
func dialectOf(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, layerDialect), "/"), "/")

	return name
}

// checkDeps looks at what the package reaches by way of others.
func (c *checker) checkDeps(p pkg) {
	if c.layer != layerDispatcher {
		return
	}

	for _, dep := range p.Deps {
		if isKubernetes(dep) && !slices.Contains(p.Imports, dep) {
			c.report(dep, "the dispatcher knows no Kubernetes, by way of other packages neither (go mod why says which)")
		}
	}
}

func isKubernetes(path string) bool {
	return strings.HasPrefix(path, "k8s.io/") || strings.HasPrefix(path, "sigs.k8s.io/")
}

// doesIO reports whether a package of the standard library reaches outside the process.
func doesIO(path string) bool {
	switch path {
	case "net/url", "net/netip", "net/textproto":
		return false
	}

	top, _, _ := strings.Cut(path, "/")

	return top == "os" || top == "net" || top == "syscall" || path == "database/sql"
}
