package embedded

import (
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// Limits of what is kept.
const (
	// MaxAttempts is how many attempts are kept of one subscription, all event types together.
	MaxAttempts = 1000
	// AttemptAge is how long an attempt is shown after it ended.
	AttemptAge = 7 * 24 * time.Hour
	// MaxEventTypes is how many event types are remembered of one tenant. Events of further
	// types are appended all the same: refusing them is ingest's to do.
	MaxEventTypes = 10_000
	// typeResolution is how far the stored time an event type was last seen may lag; the
	// lag shows after a restart alone.
	typeResolution = time.Minute
)

// Limits of the queue before the committer.
const (
	// maxQueuedRequests and maxQueuedBytes bound what waits; a caller beyond them waits for room.
	maxQueuedRequests = 1024
	maxQueuedBytes    = 32 << 20
	// maxGroupBytes and maxGroupRequests bound one group commit; a single larger request makes a group of its own.
	maxGroupBytes    = 4 << 20
	maxGroupRequests = 1024
)

// Limits of reading.
const (
	// maxReadBytes ends one Read early, after at least one record.
	maxReadBytes = 8 << 20
	// watchBuffer is how many versions a watcher may lag behind before it is closed.
	watchBuffer = 1024
)

// syncDelay is how long a settled batch waits for an Append's fsync before it gets its
// own: short enough that the fsync itself fits into the 10 ms of the contract.
const syncDelay = 5 * time.Millisecond

// maintenanceInterval is how often deleted subscriptions and old identities are looked for.
const maintenanceInterval = time.Second

// Defaults of Options.
const (
	DefaultMinFreeBytes   = 256 << 20
	DefaultMinFreePercent = 5
	DefaultBallastBytes   = 64 << 20
	DefaultCacheBytes     = 48 << 20
	DefaultMemTableBytes  = 16 << 20
)

// Space is how much room a file system has, in bytes.
type Space struct {
	Free  uint64
	Total uint64
}

// Options configure Open. Dir alone is needed.
type Options struct {
	// Dir is the journal's folder. It is made where it does not exist, and must be on a local disk.
	Dir string
	// FS is the file system; nil is the operating system's.
	FS vfs.FS
	// Clock tells the time of duplicates, event types and ages; nil is the real one.
	Clock clockwork.Clock
	// Log gets what the store has to say; nil is slog's default.
	Log *slog.Logger
	// Metrics is where the journal's metrics are registered; nil is nowhere.
	Metrics prometheus.Registerer
	// MinFreeBytes and MinFreePercent say when Append begins to answer ErrFull: free space
	// is below the larger of them. It ends at twice that. 0 is the default, and a negative
	// number takes that one out of account.
	MinFreeBytes   int64
	MinFreePercent int
	// FreeSpace measures the room that is left; nil asks the file system of Dir.
	FreeSpace func() (Space, error)
	// BallastBytes is the size of a file whose room is given back when the disk is full all
	// the same, so that settling goes on. 0 is the default, a negative number means none.
	BallastBytes int64
	// DeadLetters bound what dead letters take.
	DeadLetters journal.DeadLetterLimits
	// CacheBytes and MemTableBytes size the store's memory; 0 is the default. The store counts
	// its tables in memory as part of the cache, so a cache must be several times as large as
	// one of them, or nothing is left for blocks and every look-up reads the disk.
	CacheBytes    int64
	MemTableBytes uint64
}

// withDefaults fills in what is not set.
func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("opening the journal: Dir is empty: name a folder on a local disk")
	}
	if o.FS == nil {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return o, err
		}
		o.Dir, o.FS = dir, vfs.Default
	}
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.MinFreeBytes = orDefault(o.MinFreeBytes, DefaultMinFreeBytes)
	o.MinFreePercent = orDefault(o.MinFreePercent, DefaultMinFreePercent)
	o.BallastBytes = orDefault(o.BallastBytes, DefaultBallastBytes)
	o.DeadLetters = o.DeadLetters.WithDefaults()
	o.CacheBytes = orDefault(o.CacheBytes, DefaultCacheBytes)
	o.MemTableBytes = orDefault(o.MemTableBytes, DefaultMemTableBytes)

	return o, nil
}

// orDefault is value, fallback where it is 0.
func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}

	return value
}
