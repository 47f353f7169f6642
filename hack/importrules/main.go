// Command importrules checks that the packages of this module import one another in the one
// direction that docs/architecture.md draws. It prints each import that breaks a rule, with the
// rule, and then exits with 1.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	violations, checked, err := run(ctx, ".")

	stop()

	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "importrules: "+err.Error())
		os.Exit(1)
	case len(violations) > 0:
		for _, v := range violations {
			fmt.Fprintln(os.Stderr, v)
		}

		os.Exit(1)
	default:
		fmt.Fprintf(os.Stdout, "importrules: %d packages keep the rules\n", checked)
	}
}

// run checks the module that dir is in, and says how many packages it looked at.
func run(ctx context.Context, dir string) (violations []violation, checked int, err error) {
	module, err := goList(ctx, dir, "-m")
	if err != nil {
		return nil, 0, err
	}

	out, err := goList(ctx, dir, "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	if err != nil {
		return nil, 0, err
	}

	var packages []pkg

	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg

		err := decoder.Decode(&p) //nolint:musttag // The fields have go list's own names.
		if errors.Is(err, io.EOF) {
			break
		}

		if err != nil {
			return nil, 0, fmt.Errorf("reading what go list printed: %w", err)
		}

		packages = append(packages, p)
	}

	return check(strings.TrimSpace(string(module)), packages), len(packages), nil
}

func goList(ctx context.Context, dir string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer

	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, args...)...) //nolint:gosec // The arguments are constants.
	cmd.Dir = dir
	cmd.Stdout = &stdout
	cmd.Stderr = &stderr

	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running go list: %w: %s", err, strings.TrimSpace(stderr.String()))
	}

	return stdout.Bytes(), nil
}
