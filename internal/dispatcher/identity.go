package dispatcher

import (
	"errors"
	"fmt"
	"hash/crc32"
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

// identitySum tells a flipped bit from another identity.
func identitySum(id string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(id), crc32.MakeTable(crc32.Castagnoli)))
}

// readIdentity returns the identity of the journal in a folder, a new one where it has none.
// The caller holds the journal, so that nobody else writes it meanwhile.
func readIdentity(dir string) (string, error) {
	path := filepath.Join(dir, identityFile)

	content, err := os.ReadFile(path)
	if err == nil {
		// The sum was not there at first; a file without one gets it.
		id, sum, summed := strings.Cut(strings.TrimSuffix(string(content), "\n"), " ")
		if _, err := ksuid.Parse(id); err != nil || summed && sum != identitySum(id) {
			return "", fmt.Errorf("reading %s: it does not hold an identity, as a bit that flipped on the disk would make it; "+
				"remove it and start again", path)
		}

		if summed {
			return id, nil
		}

		return id, writeIdentity(path, id)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the journal's identity: %w", err)
	}

	id := ksuid.New().String()

	return id, writeIdentity(path, id)
}

// identityContent is what the file holds.
func identityContent(id string) []byte { return []byte(id + " " + identitySum(id) + "\n") }

// writeIdentity writes by way of another name, so that a crash leaves no half of it.
func writeIdentity(path, id string) error {
	//nolint:gosec // The folder is the operator's own, by --data-dir.
	if err := os.WriteFile(path+".new", identityContent(id), identityMode); err != nil {
		return fmt.Errorf("writing the journal's identity: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the journal's identity: %w", err)
	}

	return nil
}
