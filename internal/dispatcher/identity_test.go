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

func TestIdentityIsChecked(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, identityFile)

	first, err := readIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}

	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	for i := range whole {
		for bit := range 8 {
			flipped := append([]byte(nil), whole...)
			flipped[i] ^= 1 << bit

			if err := os.WriteFile(path, flipped, identityMode); err != nil {
				t.Fatal(err)
			}

			if id, err := readIdentity(dir); err == nil && id != first {
				t.Fatalf("bit %d of byte %d makes the identity %s of %s", bit, i, id, first)
			}
		}
	}

	// As it was written before it had a sum.
	if err := os.WriteFile(path, []byte(first+"\n"), identityMode); err != nil {
		t.Fatal(err)
	}

	if id, err := readIdentity(dir); err != nil || id != first {
		t.Errorf("an identity without a sum: %s, %v", id, err)
	}

	if now, err := os.ReadFile(path); err != nil || string(now) != string(whole) {
		t.Errorf("an identity without a sum gets one: %q, %v", now, err)
	}
}
