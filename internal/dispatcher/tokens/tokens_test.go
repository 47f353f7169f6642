package tokens

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// token makes a valid token that differs by name.
func token(name string) string { return name + strings.Repeat("x", MinTokenLength) }

// write makes a file at once, as a careful operator does: a reader sees all of it or nothing.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	draft := filepath.Join(dir, ".draft")
	if err := os.WriteFile(draft, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(draft, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is a log that a test reads while a goroutine writes it.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.text.String()
}

func logTo(out *lockedBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(out, nil)) }

func request(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/events", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}

	return r
}

// who is the principal of a token, in words.
func who(store *Store, token string) string {
	principal, err := store.Authenticate(request("Bearer " + token))
	var refused *subscription.AuthError
	switch {
	case errors.As(err, &refused) && !refused.Forbidden:
		return "nobody"
	case err != nil:
		return err.Error()
	default:
		return fmt.Sprintf("%s publish=%t admin=%t", principal.Tenant, principal.CanPublish, principal.CanAdminister)
	}
}

func TestTokensAreGoodForWhatTheirFileSays(t *testing.T) {
	long := strings.Repeat("l", MaxTokenLength)
	cases := map[string]struct {
		reason string
		files  map[string]string
		want   map[string]string
		logs   []string
	}{
		"publish and admin": {
			reason: "an admin may publish, a publisher may not administer",
			files:  map[string]string{"support.publish": token("p") + "\n", "support.admin": token("a")},
			want: map[string]string{
				token("p"): "support publish=true admin=false",
				token("a"): "support publish=true admin=true",
			},
			logs: []string{"Loaded tokens", "tenants=1 tokens=2"},
		},
		"layout of a file": {
			reason: "comments, blank lines, spaces and Windows line ends do not count",
			files: map[string]string{
				"a.b-1.publish": "# old\r\n\r\n  " + token("1") + "  # Ann's\r\n" + token("2") + "\t\n" + long,
			},
			want: map[string]string{
				token("1"): "a.b-1 publish=true admin=false",
				token("2"): "a.b-1 publish=true admin=false",
				long:       "a.b-1 publish=true admin=false",
				"":         "nobody",
				"# old":    "nobody",
			},
		},
		"same token in both files": {
			reason: "the rights add up",
			files:  map[string]string{"t.admin": token("x"), "t.publish": token("x")},
			want:   map[string]string{token("x"): "t publish=true admin=true"},
		},
		"same token for two tenants": {
			reason: "nobody can tell whose events those are",
			files:  map[string]string{"a.publish": token("x"), "b.publish": token("x") + "\n" + token("y"), "c.admin": token("x")},
			want:   map[string]string{token("x"): "nobody", token("y"): "b publish=true admin=false"},
			logs:   []string{"b.publish: line 1", "tenant a too", "c.admin: line 1"},
		},
		"unusable lines": {
			reason: "they are named by their line, and the others hold",
			files: map[string]string{
				"t.publish": "short\n" + token("ok") + "\n" + token("sp ace") + "\n" + long + "l\n" + strings.Repeat("é", MinTokenLength),
			},
			want: map[string]string{token("ok"): "t publish=true admin=false", "short": "nobody", long + "l": "nobody"},
			logs: []string{"t.publish: line 1: the token has 5 characters", "line 3", "line 4: the token has 4097", "line 5"},
		},
		"unusable names": {
			reason: "a slip in a name must not pass silently",
			files: map[string]string{
				"Support.publish": token("1"), "-a.publish": token("2"), "a..b.publish": token("3"), ".publish": token("4"),
				"t.publisher": token("5"), strings.Repeat("t", 64) + ".admin": token("6"), "a_b.admin": token("7"),
				strings.Repeat("t", 63) + ".admin": token("8"),
			},
			want: map[string]string{
				token("1"): "nobody", token("2"): "nobody", token("3"): "nobody", token("4"): "nobody",
				token("5"): "nobody", token("6"): "nobody", token("7"): "nobody",
				token("8"): strings.Repeat("t", 63) + " publish=true admin=true",
			},
			logs: []string{"Support.publish: tenant", "-a.publish", "a..b.publish", "t.publisher: its name ends in neither", "64 characters", "a_b.admin"},
		},
		"too large": {
			reason: "a file is bounded",
			files:  map[string]string{"t.publish": token("x") + strings.Repeat("\n", MaxFileBytes)},
			want:   map[string]string{token("x"): "nobody"},
			logs:   []string{"t.publish: it has more than 1048576 bytes", "Found no token"},
		},
		"empty": {
			reason: "nobody may call, and the log says what to do",
			want:   map[string]string{token("x"): "nobody"},
			logs:   []string{"Found no token", "TENANT.publish"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tc.files {
				write(t, dir, file, text)
			}
			var log lockedBuffer
			store := Open(dir, Options{Log: logTo(&log)})
			got := map[string]string{}
			for token := range tc.want {
				got[token] = who(store, token)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			for _, line := range tc.logs {
				if !strings.Contains(log.String(), line) {
					t.Errorf("%s: the log lacks %q:\n%s", tc.reason, line, log.String())
				}
			}
			for _, text := range tc.files {
				for line := range strings.Lines(text) {
					if line = strings.TrimSpace(line); len(line) >= MinTokenLength && strings.Contains(log.String(), line) {
						t.Errorf("the log holds a token:\n%s", log.String())
					}
				}
			}
		})
	}
}

func TestAuthenticateRefusesOtherCredentials(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "t.publish", token("x"))
	store := Open(dir, Options{})
	cases := map[string]struct {
		reason, header, want string
	}{
		"none":        {"nobody publishes anonymously", "", "send Authorization"},
		"basic":       {"tokens alone", "Basic " + token("x"), "not Bearer"},
		"bare":        {"the scheme is missing", token("x"), "not Bearer"},
		"no token":    {"nothing to look up", "Bearer", "not known"},
		"empty token": {"nothing to look up", "Bearer   ", "not known"},
		"near miss":   {"all of it counts", "Bearer " + token("x") + "x", "not known"},
		"endless":     {"what is too long is not even hashed", "Bearer " + strings.Repeat("x", MaxTokenLength+1), "not known"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := store.Authenticate(request(tc.header))
			var refused *subscription.AuthError
			if !errors.As(err, &refused) || refused.Forbidden || !strings.Contains(refused.Message, tc.want) {
				t.Errorf("%s: got %v", tc.reason, err)
			}
			if err != nil && strings.Contains(err.Error(), token("x")) {
				t.Error("the error holds the token")
			}
		})
	}
	for _, header := range []string{"bearer " + token("x"), "BEARER  " + token("x") + " "} {
		if principal, err := store.Authenticate(request(header)); err != nil || principal.Tenant != "t" {
			t.Errorf("the scheme is case-insensitive: got %v, %v", principal, err)
		}
	}
}

// run runs the store until the test ends, and gives what moves its clock by one interval.
func run(t *testing.T, store *Store, clock *clockwork.FakeClock) (tick func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	return func() {
		if err := clock.BlockUntilContext(ctx, 1); err != nil {
			t.Fatal(err)
		}
		clock.Advance(store.interval)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal("never came true: " + what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestMountedSecretIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	// The layout kubelet makes: files are links through ..data, which is swapped by one rename.
	revision := func(name string, files map[string]string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, text := range files {
			write(t, filepath.Join(dir, name), file, text)
		}
		if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		for file := range files {
			_ = os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file))
		}
	}
	revision("..2026_08_01", map[string]string{"support.publish": token("old")})
	var log lockedBuffer
	clock := clockwork.NewFakeClock()
	store := Open(dir, Options{Clock: clock, Log: logTo(&log)})
	if got := who(store, token("old")); got != "support publish=true admin=false" {
		t.Fatalf("the first revision: %s\n%s", got, log.String())
	}

	tick := run(t, store, clock)
	revision("..2026_08_02", map[string]string{"support.publish": token("new"), "support.admin": token("adm")})
	if err := os.RemoveAll(filepath.Join(dir, "..2026_08_01")); err != nil {
		t.Fatal(err)
	}
	tick()
	eventually(t, "the new tokens count", func() bool { return who(store, token("new")) != "nobody" })
	want := []string{"nobody", "support publish=true admin=false", "support publish=true admin=true"}
	if diff := cmp.Diff(want, []string{who(store, token("old")), who(store, token("new")), who(store, token("adm"))}); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(log.String(), "Could not") {
		t.Errorf("kubelet's own folders are no problem:\n%s", log.String())
	}
}

func TestWhatDoesNotChangeIsLoggedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	var log lockedBuffer
	clock := clockwork.NewFakeClock()
	store := Open(dir, Options{Clock: clock, Log: logTo(&log)})
	tick := run(t, store, clock)
	for range 5 {
		tick()
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "t.admin", "short\n"+token("x"))
	eventually(t, "the directory that came later is read", func() bool {
		tick()

		return who(store, token("x")) == "t publish=true admin=true"
	})
	for range 5 {
		tick()
	}
	for _, line := range []string{"Found no token", "t.admin: line 1", "Loaded tokens"} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%q was logged %d times:\n%s", line, n, log.String())
		}
	}
	// Rights are taken away as they are given.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token is good for nothing", func() bool {
		tick()

		return who(store, token("x")) == "nobody"
	})
}

func TestFilesThatCannotBeReadHoldUpNobody(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "good.publish", token("good"))
	if err := os.Mkdir(filepath.Join(dir, "folder.publish"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling.publish")); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	store := Open(dir, Options{Log: logTo(&log)})
	if got := who(store, token("good")); got != "good publish=true admin=false" {
		t.Error(got)
	}
	for _, line := range []string{"folder.publish: it is not a regular file", "dangling.publish: looking at it"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log lacks %q:\n%s", line, log.String())
		}
	}
}

func TestFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range MaxFiles + 1 {
		write(t, dir, fmt.Sprintf("t%05d.publish", i), token(fmt.Sprint(i, "-")))
	}
	var log lockedBuffer
	store := Open(dir, Options{Log: logTo(&log)})
	last := MaxFiles - 1
	if got, want := who(store, token(fmt.Sprint(last, "-"))), fmt.Sprintf("t%05d publish=true admin=false", last); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := who(store, token(fmt.Sprint(MaxFiles, "-"))); got != "nobody" || !strings.Contains(log.String(), "more than 4096 files") {
		t.Errorf("the file after the last: %s\n%s", got, log.String())
	}
}

func TestAdministrator(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "t.publish", token("p"))
	write(t, dir, "t.admin", token("a"))
	administrator := ingest.Administrator(Open(dir, Options{}))
	tenant, err := administrator(request("Bearer " + token("a")))
	if err != nil || tenant != "t" {
		t.Errorf("the administrator: %q, %v", tenant, err)
	}
	var refused *subscription.AuthError
	if _, err := administrator(request("Bearer " + token("p"))); !errors.As(err, &refused) || !refused.Forbidden {
		t.Errorf("a publisher: %v", err)
	}
	if _, err := administrator(request("")); !errors.As(err, &refused) || refused.Forbidden {
		t.Errorf("nobody: %v", err)
	}
}
