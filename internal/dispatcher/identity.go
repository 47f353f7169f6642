package dispatcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/segmentio/ksuid"
)

// identityFile holds the journal's identity, beside the store's own files.
const identityFile = "IDENTITY"

// identityMode: nobody else's to change.
const identityMode = 0o600

// readIdentity returns the identity of the journal in a folder, a new one where it has none.
// The caller holds the journal, so that nobody else writes it meanwhile.
func readIdentity(dir string) (string, error) {
	path := filepath.Join(dir, identityFile)

	content, err := os.ReadFile(path)
	if err == nil {
		if _, err := ksuid.Parse(strings.TrimSpace(string(content))); err != nil {
			return "", fmt.Errorf("reading %s: it does not hold an identity; remove it and start again: %w", path, err)
		}

		return strings.TrimSpace(string(content)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the journal's identity: %w", err)
	}

	id := ksuid.New().String()

	// By way of another name, so that a crash leaves no half of it.
	if err := os.WriteFile(path+".new", []byte(id+"\n"), identityMode); err != nil {
		return "", fmt.Errorf("writing the journal's identity: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("writing the journal's identity: %w", err)
	}

	return id, nil
}
