package embedded_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// childEnv names what a copy of this test binary is to do instead of testing: some tests
// need a process of their own, to be killed or to fail for good.
const childEnv = "HOOKLINE_JOURNAL_TEST_CHILD"

// children are the things to do.
var children = map[string]func(ctx context.Context, dir string) error{
	"publish": childPublish,
	"hold":    childHold,
	"fail":    childFail,
}

// TestMain looks for goroutines that outlive the journals.
func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		name, dir, _ := strings.Cut(what, ":")
		if err := children[name](context.Background(), dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child is a command that does something with a folder in a process of its own.
func child(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("Executable: %v", err)
	}
	command := exec.CommandContext(t.Context(), self)
	command.Env = append(os.Environ(), childEnv+"="+name+":"+dir)
	command.Stderr = t.Output()

	return command
}
