package dispatcher

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTokenKey(t *testing.T) {
	t.Parallel()

	var log bytes.Buffer

	dir := t.TempDir()
	read := func(dir string) []byte {
		t.Helper()

		key, err := readTokenKey(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}

		return key
	}

	first := read(dir)
	if !bytes.Equal(read(dir), first) {
		t.Error("the key is another one after a restart")
	}

	if bytes.Equal(read(t.TempDir()), first) {
		t.Error("another dispatcher has the same key")
	}

	info, err := os.Stat(filepath.Join(dir, tokenKeyFile))
	if err != nil || info.Mode().Perm() != identityMode {
		t.Errorf("others may read the key: %v, %v", info, err)
	}

	const short = "c0ffee"
	if err := os.WriteFile(filepath.Join(dir, tokenKeyFile), []byte(short), identityMode); err != nil {
		t.Fatal(err)
	}

	if log.Len() > 0 {
		t.Errorf("it logged %s", log.String())
	}

	replaced := read(dir)
	if !bytes.Equal(read(dir), replaced) || len(replaced) != len(first) {
		t.Error("a short key is not replaced")
	}

	if !strings.Contains(log.String(), "Replaced the key") || strings.Contains(log.String(), short) {
		t.Errorf("it logged %s", log.String())
	}
}
