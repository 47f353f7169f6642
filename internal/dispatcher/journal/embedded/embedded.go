package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/semaphore"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// bloomBits per key make one in a hundred look-ups of an absent row touch the disk.
const bloomBits = 10

// The store's shape. Values of the log are large and written once, so blocks are larger
// than Pebble's default; the rest keeps memory small.
const (
	blockBytes        = 16 << 10
	maxOpenFiles      = 256
	memTablesInFlight = 4
	bytesPerSync      = 512 << 10
	storeFormat       = pebble.FormatTableFormatV6
	targetFileBytes   = 8 << 20
	// Tables wait in the top level until there are l0CompactThreshold of them over each other: the
	// more come down at once, the fewer times what is below is written again. Writes wait for
	// l0StopThreshold.
	l0CompactThreshold = 8
	l0StopThreshold    = 24
	// noTombstoneCompactions has no table written again for the deletions in it alone: nearly every table has
	// some of what was delivered, and all looks begin behind them (floors).
	noTombstoneCompactions = -1
	// reclaimTables is how many tables in memory there must be room for on the disk before one
	// is flushed to make more room.
	reclaimTables = 2
	// reclaimInterval is how often that is done.
	reclaimInterval = 5 * time.Second
	// reclaimTimeout bounds how long it takes.
	reclaimTimeout = 30 * time.Second
	// rangeFlushDelay is how long what was let go of may wait for its room to be given back: as
	// long as its deletion is in memory alone, that cannot be.
	rangeFlushDelay = 10 * time.Second
	// complaintInterval is how often a background task that fails again and again is logged.
	complaintInterval = 10 * time.Second
)

// Journal implements journal.Journal on one Pebble store.
type Journal struct {
	options Options
	db      *pebble.DB
	lock    io.Closer
	failure *failure
	space   *space
	tail    tail
	seals   seals
	metrics *metrics
	epoch   journal.Epoch

	// durable is the last position that is fsynced, first the first that is not trimmed.
	durable atomic.Uint64
	first   atomic.Uint64
	cursor  atomic.Uint64
	// horizon is the lowest position of which Subscriptions still knows the truth.
	horizon atomic.Uint64

	// complained is when a failed background task was logged last.
	complained atomic.Int64

	// grown is closed and replaced when durable moves.
	grownMu sync.Mutex
	grown   chan struct{}

	queue     chan *request
	room      *semaphore.Weighted
	committer committer
	watchers  watchers
	types     types
	settled   settled

	// use is held for reading by whoever uses the store, and by Close for good.
	use    sync.RWMutex
	closed bool
	// stop ends the goroutines, done waits for them.
	stop     chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup
}

var _ journal.Journal = (*Journal)(nil)

// Open opens the journal in a folder, or makes a new one there. No other process can open
// it until Close. The epoch is one more than at the Open before.
func Open(ctx context.Context, options Options) (*Journal, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := &Journal{
		options: options,
		failure: newFailure(options.Log),
		seals:   seals{log: options.Log},
		space:   newSpace(options),
		grown:   make(chan struct{}),
		queue:   make(chan *request, maxQueuedRequests),
		room:    semaphore.NewWeighted(maxQueuedBytes),
		stop:    make(chan struct{}),
	}
	if err := j.open(); err != nil {
		return nil, fmt.Errorf("opening the journal: %w", errors.Join(err, j.release()))
	}
	j.done.Go(j.commitLoop)
	j.done.Go(j.remember)
	j.done.Go(j.syncLoop)
	j.done.Go(j.maintainLoop)

	return j, nil
}

// open takes the folder and loads what is kept in memory.
func (j *Journal) open() error {
	fs, dir := j.options.FS, j.options.Dir
	if err := makeDir(fs, dir); err != nil {
		return err
	}
	lock, err := lockDir(fs, dir)
	if err != nil {
		return err
	}
	j.lock = lock
	if err := checkFormat(fs, dir); err != nil {
		return err
	}
	j.space.refresh()
	j.space.restoreBallast()
	metrics, err := newMetrics(j)
	if err != nil {
		return err
	}
	j.metrics = metrics
	store := fs.PathJoin(dir, dirStore)
	if err := j.readTail(); err != nil {
		return err
	}
	// Pebble deletes the files that it takes for nobody's, so not before all have been looked at.
	found, err := j.checkStore(store)
	if err != nil {
		return err
	}
	if err := j.seals.open(fs, dir, found); err != nil {
		return err
	}
	j.db, err = pebble.Open(store, j.storeOptions(store))
	if err != nil {
		return storeError("opening the store "+suspect(fs, store, err), err)
	}

	return j.load()
}

// storeOptions configure Pebble.
func (j *Journal) storeOptions(store string) *pebble.Options {
	options := &pebble.Options{
		FS:                          vfs.OnDiskFull(sealingFS{j.options.FS, store, &j.seals}, j.space.dropBallast),
		Logger:                      storeLog{j.failure},
		FormatMajorVersion:          storeFormat,
		CacheSize:                   j.options.CacheBytes,
		MemTableSize:                j.options.MemTableBytes,
		MemTableStopWritesThreshold: memTablesInFlight,
		MaxOpenFiles:                maxOpenFiles,
		BytesPerSync:                bytesPerSync,
		FlushDelayDeleteRange:       rangeFlushDelay,
		L0CompactionThreshold:       l0CompactThreshold,
		L0StopWritesThreshold:       l0StopThreshold,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		EventListener: &pebble.EventListener{
			// The call that met the damage answers ErrCorrupt; the store itself can go on.
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				j.metrics.corrupt.Inc()
				j.options.Log.Error("Store found damaged data", "file", info.Path, "error", info.Details.Error())
			},
			BackgroundError: func(err error) {
				j.space.want()
				// It tries again at once, so one line of many is enough. Its errors have stack traces,
				// which are nobody's business.
				if now := time.Now().UnixNano(); now-j.complained.Load() > int64(complaintInterval) {
					j.complained.Store(now)
					j.options.Log.Error("Store failed at a background task and will try again", "error", err.Error())
				}
			},
		},
	}
	options.Experimental.EnableColumnarBlocks = func() bool { return true }
	options.Experimental.TombstoneDenseCompactionThreshold = noTombstoneCompactions
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	for i := range options.Levels {
		options.Levels[i].BlockSize = blockBytes
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	options.TargetFileSizes[0] = targetFileBytes

	return options
}

// load reads what is kept in memory, and begins a new epoch.
func (j *Journal) load() error {
	numbers := map[string]*uint64{}
	for _, key := range [][]byte{keyEpoch, keyCursor, keyFirst, keyHorizon} {
		value, err := j.number(key)
		if err != nil {
			return err
		}
		numbers[string(key)] = &value
	}
	first := max(*numbers[string(keyFirst)], 1)
	last, err := j.lastEvent()
	if err != nil {
		return err
	}
	last = max(last, first-1)
	if err := j.openTail(last); err != nil {
		return err
	}
	j.first.Store(first)
	j.durable.Store(last)
	j.cursor.Store(*numbers[string(keyCursor)])
	j.horizon.Store(*numbers[string(keyHorizon)])
	j.epoch = journal.Epoch(*numbers[string(keyEpoch)] + 1)
	j.settled.init()
	if err := j.committer.load(j, journal.Seq(last)); err != nil {
		return err
	}
	if err := j.types.load(j); err != nil {
		return err
	}
	if err := j.settled.load(j); err != nil {
		return err
	}
	if err := j.settled.letters.load(j, *numbers[string(keyEpoch)]); err != nil {
		return fmt.Errorf("counting the dead letters: %w", err)
	}

	return j.writeEpoch()
}

func (j *Journal) writeEpoch() error {
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := batch.Set(keyEpoch, encodeNumber(uint64(j.epoch)), nil); err != nil {
		return fmt.Errorf("writing the epoch: %w", err)
	}
	must(batch.Set(keyCounted, encodeNumber(uint64(j.epoch)), nil))

	if err := j.apply(batch, pebble.Sync); err != nil {
		return err
	}
	j.tail.write(j, j.durable.Load())

	return nil
}

// number reads a row that is one number, 0 where there is none.
func (j *Journal) number(key []byte) (uint64, error) {
	value, found, err := j.get(key)
	if err != nil || !found {
		return 0, err
	}

	return decodeNumber(string(key), value)
}

// lastEvent is the position of the last record, 0 where there is none.
func (j *Journal) lastEvent() (uint64, error) {
	lower, upper := kindRange(kindEvent)
	iter, err := j.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return 0, storeError("looking for the end of the log", err)
	}
	var last uint64
	if iter.Last() {
		last = binary.BigEndian.Uint64(iter.Key()[1:])
	}
	if err := iter.Close(); err != nil {
		return 0, storeError("looking for the end of the log", err)
	}

	return last, nil
}

// get copies the value of a row.
func (j *Journal) get(key []byte) (value []byte, found bool, err error) {
	stored, closer, err := j.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, storeError("reading a row", err)
	}
	value = append([]byte{}, stored...)
	if err := closer.Close(); err != nil {
		return nil, false, storeError("reading a row", err)
	}

	return value, true, nil
}

// enter lets the caller use the store until it calls leave.
func (j *Journal) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.use.RLock()
	if j.closed {
		j.use.RUnlock()

		return journal.ErrClosed
	}
	if err := j.failure.get(); err != nil {
		j.use.RUnlock()

		return err
	}

	return nil
}

func (j *Journal) leave() { j.use.RUnlock() }

// Own implements journal.Journal: the process has shard 0 from Open to Close.
func (j *Journal) Own(ctx context.Context) (<-chan journal.Ownership, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	out := make(chan journal.Ownership, 1)
	out <- journal.Ownership{Shard: 0, Epoch: j.epoch, Gained: true}
	j.done.Go(func() {
		defer close(out)
		select {
		case <-ctx.Done():
		case <-j.stop:
		}
	})

	return out, nil
}

// View implements journal.Journal.
func (j *Journal) View() journal.View { return view{j} }

// Close implements journal.Journal. Appends that are not yet being committed answer
// ErrClosed. After a failure it answers that failure, and leaves the files as they are.
func (j *Journal) Close() error {
	j.stopOnce.Do(func() { close(j.stop) })
	if err := j.failure.get(); err != nil {
		return err
	}
	j.use.Lock()
	if j.closed {
		j.use.Unlock()

		return nil
	}
	j.closed = true
	j.use.Unlock()
	j.done.Wait()
	j.watchers.close()

	if err := errors.Join(j.syncNow(), j.release()); err != nil {
		return fmt.Errorf("closing the journal: %w", err)
	}

	return nil
}

// release lets go of what open took.
func (j *Journal) release() error {
	var errs []error
	j.tail.sync(j)
	errs = append(errs, j.tail.close())
	if j.db != nil && j.failure.get() == nil {
		errs = append(errs, j.db.Close())
	}
	errs = append(errs, j.seals.close())
	if j.metrics != nil {
		j.metrics.unregister()
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
	}

	return errors.Join(errs...)
}
