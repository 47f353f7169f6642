// Package tokens authenticates publishers and API clients by bearer tokens that stand in a
// directory of files, such as a mounted Kubernetes Secret.
//
// TENANT.publish holds the tokens that may publish events for TENANT; TENANT.admin those that
// may call the subscription API, and publish too. One token stands on a line, at least
// MinTokenLength characters; "#" begins a comment. The directory is read again every few
// seconds, so tokens come and go without a restart: to rotate one, add the new line, change
// the clients over, take the old line out.
//
// What cannot be used is logged with its file and line, never with its text, and authenticates
// nobody; the rest of the directory holds all the same.
package tokens

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits.
const (
	// MinTokenLength and MaxTokenLength bound a token, in characters.
	MinTokenLength = 32
	MaxTokenLength = 4096
	// MaxTenantLength bounds a tenant's name, in characters.
	MaxTenantLength = 63
	// MaxFiles bounds the files that are read, in order of their names.
	MaxFiles = 4096
	// MaxFileBytes bounds one file; a Kubernetes Secret as a whole has at most as much.
	MaxFileBytes = 1 << 20
	// DefaultInterval is how often the directory is read again. The files are small and a
	// symlink swap leaves times and sizes alone, so what they hold is compared, not their times.
	DefaultInterval = 5 * time.Second
	// readTries and readPause: a directory that is being swapped is read again.
	readTries = 3
	readPause = 20 * time.Millisecond
)

// The ends of the files' names.
const (
	publishSuffix = ".publish"
	adminSuffix   = ".admin"
)

// Options are what a Store may be given. Zero values stand for the defaults.
type Options struct {
	Clock clockwork.Clock
	Log   *slog.Logger
	// Interval is how often the directory is read again.
	Interval time.Duration
}

// Store is the tokens of one directory. It implements ingest.Authenticator.
type Store struct {
	dir      string
	clock    clockwork.Clock
	log      *slog.Logger
	interval time.Duration
	current  atomic.Pointer[snapshot]
}

var _ ingest.Authenticator = (*Store)(nil)

// digest is a token's SHA-256: the token itself is not kept.
type digest [sha256.Size]byte

// entry is one token's digest and what it is good for.
type entry struct {
	digest    digest
	principal ingest.Principal
}

// snapshot is what the directory held once. It is never changed after it is published.
type snapshot struct {
	// entries by the first bytes of their digests; those with the same are compared in full.
	entries map[uint64][]entry
	tenants int
	tokens  int
	// complaints are what could not be used, in order.
	complaints []string
	// sum tells one snapshot from another.
	sum digest
}

// Open reads the directory. It does not fail where the directory is missing, unreadable or
// empty: then nobody may call, which is logged with what to do, and Run looks again.
func Open(dir string, options Options) *Store {
	store := &Store{dir: dir, clock: options.Clock, log: options.Log, interval: options.Interval}
	if store.clock == nil {
		store.clock = clockwork.NewRealClock()
	}
	if store.log == nil {
		store.log = slog.New(slog.DiscardHandler)
	}
	if store.interval <= 0 {
		store.interval = DefaultInterval
	}
	store.reload()

	return store
}

// Run reads the directory again at each interval until the context ends. It answers nil.
func (s *Store) Run(ctx context.Context) error {
	ticker := s.clock.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.Chan():
			s.reload()
		}
	}
}

// Authenticate tells who a request speaks for by its bearer token.
func (s *Store) Authenticate(r *http.Request) (ingest.Principal, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return ingest.Principal{}, &subscription.AuthError{Message: "send Authorization: Bearer and a token"}
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ingest.Principal{}, &subscription.AuthError{Message: "the Authorization header's scheme is not Bearer"}
	}
	token = strings.TrimSpace(token)
	if len(token) <= MaxTokenLength {
		if principal, ok := s.current.Load().lookup(sha256.Sum256([]byte(token))); ok {
			return principal, nil
		}
	}

	return ingest.Principal{}, &subscription.AuthError{Message: "the token is not known here"}
}

// lookup finds a token by its digest. How long it takes tells about digests at the most,
// never about tokens; digests are compared in constant time besides.
func (s *snapshot) lookup(sum digest) (ingest.Principal, bool) {
	for _, candidate := range s.entries[bucket(sum)] {
		if subtle.ConstantTimeCompare(candidate.digest[:], sum[:]) == 1 {
			return candidate.principal, true
		}
	}

	return ingest.Principal{}, false
}

func bucket(sum digest) uint64 { return binary.BigEndian.Uint64(sum[:8]) }

// reload reads the directory and publishes what it holds, where that has changed.
func (s *Store) reload() {
	next := s.read()
	last := s.current.Load()
	if last != nil && last.sum == next.sum {
		return
	}
	s.current.Store(next)
	for _, complaint := range next.complaints {
		s.log.Warn("Could not use a token file", "dir", s.dir, "problem", complaint)
	}
	if next.tokens == 0 {
		s.log.Warn("Found no token, so nobody may publish or call the API: put files TENANT.publish and TENANT.admin "+
			"into the directory, one token of at least 32 characters on a line", "dir", s.dir)

		return
	}
	s.log.Info("Loaded tokens", "dir", s.dir, "tenants", next.tenants, "tokens", next.tokens)
}

// read reads the directory; again after a pause where a file vanished or changed underfoot.
func (s *Store) read() *snapshot {
	for try := 1; ; try++ {
		files, err := readDir(s.dir)
		if err == nil || try == readTries {
			return parse(files, err)
		}
		time.Sleep(readPause)
	}
}

// file is one file that was read, or why it could not be.
type file struct {
	name string
	text []byte
	err  error
}

// readDir reads the directory's files in order of their names. The error joins what failed;
// the files that could be read are returned with it.
func readDir(dir string) ([]file, error) {
	found, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the token directory: %w", err)
	}
	var (
		files []file
		errs  []error
	)
	for _, item := range found {
		// A mounted Secret keeps its revisions in folders that begin with two dots.
		if strings.HasPrefix(item.Name(), ".") {
			continue
		}
		if len(files) == MaxFiles {
			tooMany := fmt.Errorf("more than %d files: it and those after it were left out", MaxFiles)
			files = append(files, file{name: item.Name(), err: tooMany})

			break
		}
		var text []byte
		if _, err = principalOf(item.Name()); err == nil {
			text, err = readFile(filepath.Join(dir, item.Name()))
		}
		if errors.As(err, new(*fs.PathError)) {
			errs = append(errs, err)
		}
		files = append(files, file{name: item.Name(), text: text, err: err})
	}

	return files, errors.Join(errs...)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("looking at it: %w", err)
	}
	// Opening a pipe would wait for its writer.
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	opened, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening it: %w", err)
	}
	defer func() { _ = opened.Close() }()
	text, err := io.ReadAll(io.LimitReader(opened, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	if len(text) > MaxFileBytes {
		return nil, fmt.Errorf("it has more than %d bytes", MaxFileBytes)
	}

	return text, nil
}

// parse makes a snapshot of files; unread is why the directory could not be read, if it could not.
func parse(files []file, unread error) *snapshot {
	next := &snapshot{entries: map[uint64][]entry{}}
	sum := sha256.New()
	tenants := map[string]bool{}
	principals := map[digest]ingest.Principal{}
	shared := map[digest]bool{}
	if len(files) == 0 && unread != nil {
		next.complaints = append(next.complaints, unread.Error())
	}
	for _, f := range files {
		fmt.Fprintf(sum, "%d %s %d %v\n", len(f.name), f.name, len(f.text), f.err)
		sum.Write(f.text)
		if f.err != nil {
			next.complaints = append(next.complaints, f.name+": "+f.err.Error())

			continue
		}
		principal, err := principalOf(f.name)
		if err != nil {
			next.complaints = append(next.complaints, f.name+": "+err.Error())

			continue
		}
		tokens, complaints := scan(f.text)
		for _, complaint := range complaints {
			next.complaints = append(next.complaints, f.name+": "+complaint)
		}
		for _, token := range tokens {
			before, known := principals[token.sum]
			if known && before.Tenant != principal.Tenant {
				shared[token.sum] = true
				next.complaints = append(next.complaints, fmt.Sprintf(
					"%s: line %d: the token stands in a file of tenant %s too, so it is good for neither: give each tenant its own",
					f.name, token.line, before.Tenant))

				continue
			}
			before.Tenant = principal.Tenant
			before.CanPublish = before.CanPublish || principal.CanPublish
			before.CanAdminister = before.CanAdminister || principal.CanAdminister
			principals[token.sum] = before
		}
	}
	for key, principal := range principals {
		if shared[key] {
			continue
		}
		next.entries[bucket(key)] = append(next.entries[bucket(key)], entry{digest: key, principal: principal})
		next.tokens++
		tenants[principal.Tenant] = true
	}
	for _, complaint := range next.complaints {
		fmt.Fprintln(sum, complaint)
	}
	next.tenants = len(tenants)
	copy(next.sum[:], sum.Sum(nil))

	return next
}

// principalOf tells by its name what a file's tokens are good for.
func principalOf(name string) (ingest.Principal, error) {
	var principal ingest.Principal
	if tenant, ok := strings.CutSuffix(name, publishSuffix); ok {
		principal = ingest.Principal{Tenant: tenant, CanPublish: true}
	} else if tenant, ok := strings.CutSuffix(name, adminSuffix); ok {
		principal = ingest.Principal{Tenant: tenant, CanPublish: true, CanAdminister: true}
	} else {
		return principal, fmt.Errorf("its name ends in neither %s nor %s: it was left out", publishSuffix, adminSuffix)
	}
	if err := ValidateTenant(principal.Tenant); err != nil {
		return principal, err
	}

	return principal, nil
}

// ValidateTenant checks a tenant's name: a DNS label or subdomain (RFC 1123) of at most
// MaxTenantLength characters, as a Kubernetes namespace has.
func ValidateTenant(tenant string) error {
	if tenant == "" || len(tenant) > MaxTenantLength {
		return fmt.Errorf("the tenant's name has %d characters: it must have 1 to %d", len(tenant), MaxTenantLength)
	}
	for label := range strings.SplitSeq(tenant, ".") {
		wrong := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, wrong) {
			return fmt.Errorf("tenant %q: a name has lower-case letters, digits and -, in parts divided by dots, "+
				"and each part begins and ends with a letter or digit", tenant)
		}
	}

	return nil
}

// found is one token of a file.
type found struct {
	line int
	sum  digest
}

// scan reads a file's tokens. A complaint names its line and never repeats it.
func scan(text []byte) (tokens []found, complaints []string) {
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, MaxFileBytes+1)
	for line := 1; scanner.Scan(); line++ {
		token, _, _ := bytes.Cut(scanner.Bytes(), []byte("#"))
		token = bytes.TrimSpace(token)
		switch {
		case len(token) == 0:
		case len(token) < MinTokenLength || len(token) > MaxTokenLength:
			complaints = append(complaints, fmt.Sprintf("line %d: the token has %d characters: it must have %d to %d",
				line, len(token), MinTokenLength, MaxTokenLength))
		case slices.ContainsFunc(token, func(b byte) bool { return !isTokenByte(b) }):
			complaints = append(complaints, fmt.Sprintf(
				"line %d: the token has a character that a bearer token cannot have: use letters, digits and - . _ ~ + / =", line))
		default:
			tokens = append(tokens, found{line: line, sum: sha256.Sum256(token)})
		}
	}

	return tokens, complaints
}

// isTokenByte tells what a bearer token is made of (RFC 6750, section 2.1).
func isTokenByte(b byte) bool {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		return true
	default:
		return strings.IndexByte("-._~+/=", b) >= 0
	}
}
