package dispatcher

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hookline-dev/hookline/internal/dialect/vonage"
)

// tokenKeyFile holds the key that signs access tokens of the Vonage API, in hexadecimal, beside the store's own files:
// programs keep a token for as long as they were told that it holds, over restarts of the dispatcher.
const tokenKeyFile = "TOKEN-KEY"

// readTokenKey returns the key of a folder, a new one where it has none that can be used: with it end the tokens of
// the old one, and their programs ask anew. The caller holds the journal, so that nobody else writes it meanwhile.
func readTokenKey(dir string, log *slog.Logger) ([]byte, error) {
	path := filepath.Join(dir, tokenKeyFile)

	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the key of access tokens: %w", err)
	}
	if err == nil {
		key, err := hex.DecodeString(strings.TrimSpace(string(content)))
		if err == nil && len(key) >= vonage.MinIssuerKeyBytes {
			return key, nil
		}
		// What it holds, and the error that would repeat some of it, is nobody's to read.
		log.Warn("Replaced the key of access tokens, which could not be used", "path", path)
	}

	key := random(vonage.MinIssuerKeyBytes)
	// By way of another name, so that a crash leaves no half of it.
	if err := os.WriteFile(path+".new", []byte(hex.EncodeToString(key)+"\n"), identityMode); err != nil {
		return nil, fmt.Errorf("writing the key of access tokens: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, fmt.Errorf("writing the key of access tokens: %w", err)
	}

	return key, nil
}
