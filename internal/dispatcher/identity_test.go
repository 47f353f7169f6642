package dispatcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	dir := t.TempDir()

	first, err := readIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}

	if again, err := readIdentity(dir); err != nil || again != first {
		t.Errorf("the identity was %s, then %s: %v", first, again, err)
	}

	if other, err := readIdentity(t.TempDir()); err != nil || other == first {
		t.Errorf("another journal has the identity %s, as this one: %v", other, err)
	}

	if err := os.WriteFile(filepath.Join(dir, identityFile), nil, identityMode); err != nil {
		t.Fatal(err)
	}

	if _, err := readIdentity(dir); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("an empty identity: %v", err)
	}
}
