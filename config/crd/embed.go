// Package crd holds the CustomResourceDefinitions of Hookline, as generated, for programs and test suites that
// install them without the files.
package crd

import (
	"embed"
	"fmt"
	"io/fs"
)

// Directory is the folder of FS that holds the CustomResourceDefinitions, one YAML file for each.
const Directory = "bases"

// FS holds the generated CustomResourceDefinitions in Directory.
//
//go:embed bases/*.yaml
var FS embed.FS

// Files returns each CustomResourceDefinition as YAML, by its file name. The error is of reading FS.
func Files() (map[string][]byte, error) {
	names, err := fs.Glob(FS, Directory+"/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("listing the embedded CustomResourceDefinitions: %w", err)
	}

	files := make(map[string][]byte, len(names))

	for _, name := range names {
		content, err := FS.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded file %s: %w", name, err)
		}

		files[name[len(Directory)+1:]] = content
	}

	return files, nil
}
