package processtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// backup runs hookline backup and returns what it said.
func (w *world) backup(args ...string) (string, error) {
	output, err := exec.Command(w.binary, append([]string{"backup", "--data-dir", w.data}, args...)...).CombinedOutput()

	return string(output), err
}

// TestBackup: a copy that was made while the dispatcher worked delivers what was accepted before, after the
// original is lost.
func TestBackup(t *testing.T) {
	const events = 200

	w := newWorld(t)
	r := newReceiver(t)
	r.shut()

	copied := filepath.Join(t.TempDir(), "copy")

	if output, err := w.backup("--to", copied); err == nil || !strings.Contains(output, "no dispatcher runs") {
		t.Errorf("without a dispatcher: %v: %s", err, output)
	}

	p := w.start()
	w.subscribe(p, "orders", r.url, "order.*")

	ids := make([]string, 0, events)
	for i := range events {
		ids = append(ids, fmt.Sprintf("before-%d", i))
	}

	if accepted, err := publish(t.Context(), p, "order.created.v1", ids); err != nil || len(accepted) != events {
		t.Fatalf("%d were accepted: %v", len(accepted), err)
	}

	if output, err := w.backup("--to", copied); err != nil || !strings.Contains(output, copied) {
		t.Fatalf("%v: %s", err, output)
	}

	if output, err := w.backup("--to", copied); err == nil || !strings.Contains(output, "exist") {
		t.Errorf("over another backup: %v: %s", err, output)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	if output, err := w.backup("--to", filepath.Join(file, "copy")); err == nil || !strings.Contains(output, "hookline: ") {
		t.Errorf("into a file: %v: %s", err, output)
	}

	kept := filepath.Join(t.TempDir(), "kept")
	if output, err := w.backup("--to", kept, "--keep-identity"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}

	// A crash, and the disk is lost with it.
	_ = w.end(p, syscall.SIGKILL)

	identity, err := os.ReadFile(filepath.Join(w.data, "IDENTITY"))
	if err != nil {
		t.Fatal(err)
	}

	if same, err := os.ReadFile(filepath.Join(kept, "IDENTITY")); err != nil || string(same) != string(identity) {
		t.Errorf("a copy that replaces the original has its identity: %q, %v", same, err)
	}

	if err := os.RemoveAll(w.data); err != nil {
		t.Fatal(err)
	}

	w.data = copied
	p = w.start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of the copy's process:\n%s", p.log)
		}
	})

	if own, err := os.ReadFile(filepath.Join(copied, "IDENTITY")); err != nil || string(own) == string(identity) {
		t.Errorf("another copy has an identity of its own: %q, %v", own, err)
	}

	r.open()
	w.eventually("the copy to deliver", func() bool {
		missing, _ := r.missing(ids)

		return len(missing) == 0
	})

	if err := w.end(p, syscall.SIGTERM); err != nil {
		t.Errorf("the end: %v", err)
	}
}
