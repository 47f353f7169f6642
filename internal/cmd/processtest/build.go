package processtest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// root is the module's folder, seen from a package two levels below internal.
const root = "../../.."

// Build builds a program of a module in a folder below the root into a file. It is to be
// called from the tests of a package two levels below internal.
//
// It looks at every source file first: go test reuses a result as long as the files that the
// test looked at are the same, and what a program is built from would not be among them.
func Build(ctx context.Context, module, output string) error {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == "bin" || name == "dist" || strings.HasPrefix(name, ".git")) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") || strings.HasPrefix(entry.Name(), "go.") {
			_, err = os.Stat(path)
		}

		return err
	})
	if err != nil {
		return fmt.Errorf("looking at the sources: %w", err)
	}

	cmd := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(root, module), "-o", output, ".")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", module, err, text)
	}

	return nil
}
