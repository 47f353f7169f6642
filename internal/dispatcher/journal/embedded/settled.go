package embedded

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// settled is what Settle keeps in memory beside the rows. Its size grows with the number
// of subscriptions, never with that of deliveries.
type settled struct {
	// applied counts batches, synced those of them that are durable.
	applied atomic.Uint64
	synced  atomic.Uint64
	// kick wakes the syncer.
	kick chan struct{}

	mu sync.Mutex
	// known are the subscriptions the journal has versions of, with the place of the
	// marker that deleted them, 0 while they live.
	known map[string]journal.Seq
	// refs are the subscriptions that may have backlog or retry rows.
	refs map[string]*floors
	// heads are the numbers of the newest attempts.
	heads map[string]uint64
	// changes tell when a subscription's statuses last changed.
	changes    map[string]change
	nextChange uint64
	// told is the highest of their numbers that a reader may have gone on from.
	told    uint64
	letters letters
	// replays are the open ones.
	replays map[replayRef]journal.Replay
	// dueFloor: no delivery is due before it.
	dueFloor time.Time
	// doneRows is about how many marks stand below the cursor.
	doneRows int
	// block is the block of the unmatched bitmap written last.
	block    uint64
	blockSet []byte
}

// floors are where a subscription's rows may begin, 0 where it has none of a kind. They
// keep a look for the first row from passing over all that were removed before it.
type floors struct{ backlog, retry journal.Seq }

// change is when a subscription's statuses last changed, on a clock of the journal's own.
type change struct {
	tenant string
	number uint64
}

// epochShift puts the epoch above the count of changes, so that a crash, which may lose
// the last counts, never makes a number stand for two changes.
const epochShift = 40

func (s *settled) init() {
	s.kick = make(chan struct{}, 1)
	s.known = map[string]journal.Seq{}
	s.refs = map[string]*floors{}
	s.heads = map[string]uint64{}
	s.changes = map[string]change{}
	s.replays = map[replayRef]journal.Replay{}
	s.dueFloor = minTime
}

// know notes the newest version of a subscription; s.mu is held, or nobody else is there yet.
func (s *settled) know(version *journal.Version) {
	s.known[version.ID] = 0
	if version.Deleted {
		s.known[version.ID] = version.Seq
	}
}

// load reads the rows.
func (s *settled) load(j *Journal) error {
	s.nextChange = uint64(j.epoch) << epochShift
	s.told = s.nextChange
	lower, upper := kindRange(kindChange)
	err := j.scan(lower, upper, func(key, value []byte) (bool, error) {
		tenant, number, ok := splitNumbered(key)
		if !ok {
			return false, badRow("change", string(key))
		}
		s.changes[string(value)] = change{tenant: tenant, number: number}

		return true, nil
	})
	if err != nil {
		return fmt.Errorf("reading the changes of statuses: %w", err)
	}
	for _, kind := range []byte{kindBacklog, kindRetry} {
		if err := s.loadRefs(j, kind); err != nil {
			return fmt.Errorf("reading the backlog and retries: %w", err)
		}
	}
	if err := s.loadReplays(j); err != nil {
		return err
	}
	lower, upper = kindRange(kindDone)

	return j.scan(lower, upper, func(_, _ []byte) (bool, error) {
		s.doneRows++

		return true, nil
	})
}

// loadRefs finds the subscriptions that have rows of a kind, with one seek for each.
func (s *settled) loadRefs(j *Journal, kind byte) error {
	lower, upper := kindRange(kind)
	iter, err := j.iterate(lower, upper)
	if err != nil {
		return err
	}
	for more := iter.First(); more; {
		name, seq, ok := splitNumbered(iter.Key())
		if !ok {
			_ = iter.Close()

			return badRow("reference", string(iter.Key()))
		}
		s.floor(name, kind, journal.Seq(seq))
		_, after := namedRange(kind, name)
		more = iter.SeekGE(after)
	}

	return closeIter(iter)
}

// floor notes that a row of a kind is there.
func (s *settled) floor(subscription string, kind byte, seq journal.Seq) {
	of := s.refs[subscription]
	if of == nil {
		of = &floors{}
		s.refs[subscription] = of
	}
	at := of.of(kind)
	if *at == 0 || seq < *at {
		*at = seq
	}
}

func (f *floors) of(kind byte) *journal.Seq {
	if kind == kindBacklog {
		return &f.backlog
	}

	return &f.retry
}

// may tells whether a subscription may have rows of a kind.
func (s *settled) may(subscription string, kind byte) bool {
	of := s.refs[subscription]

	return of != nil && *of.of(kind) != 0
}

// firstRef is the first row of a kind that a subscription has, 0 where it has none; s.mu is held.
func (j *Journal) firstRef(subscription string, kind byte) (journal.Seq, error) {
	s := &j.settled
	if !s.may(subscription, kind) {
		return 0, nil
	}
	at := s.refs[subscription].of(kind)
	_, upper := namedRange(kind, subscription)
	iter, err := j.iterate(keyNumbered(kind, subscription, uint64(*at)), upper)
	if err != nil {
		return 0, err
	}
	var first uint64
	if iter.First() {
		_, first, _ = splitNumbered(iter.Key())
	}
	if err := closeIter(iter); err != nil {
		return 0, err
	}
	*at = journal.Seq(first)
	if of := s.refs[subscription]; of.backlog == 0 && of.retry == 0 {
		delete(s.refs, subscription)
	}

	return journal.Seq(first), nil
}

// referred tells whether a subscription has backlog or retry rows; s.mu is held.
func (j *Journal) referred(subscription string) (bool, error) {
	for _, kind := range []byte{kindBacklog, kindRetry} {
		if first, err := j.firstRef(subscription, kind); err != nil || first != 0 {
			return first != 0, err
		}
	}

	return false, nil
}

// touch notes that a batch was applied which must become durable soon.
func (s *settled) touch() {
	s.applied.Add(1)
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// markSynced notes how many applied batches are durable.
func (s *settled) markSynced(count uint64) {
	for {
		before := s.synced.Load()
		if before >= count || s.synced.CompareAndSwap(before, count) {
			return
		}
	}
}

// syncLoop makes settled batches durable when no append does so first. Its delay is one
// of real time: it is a promise about the disk, not about the events.
func (j *Journal) syncLoop() {
	timer := time.NewTimer(syncDelay)
	defer timer.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-j.settled.kick:
		}
		timer.Reset(syncDelay)
		select {
		case <-j.stop:
			return
		case <-timer.C:
		}
		if err := j.syncNow(); err != nil {
			return
		}
	}
}

// syncNow makes all settled batches durable: an fsync of the log takes all before it along.
func (j *Journal) syncNow() error {
	applied := j.settled.applied.Load()
	if j.settled.synced.Load() >= applied {
		return nil
	}
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	must(batch.LogData([]byte("sync"), nil))
	if err := j.apply(batch, pebble.Sync); err != nil {
		return err
	}
	j.settled.markSynced(applied)
	j.tail.write(j, j.durable.Load())

	return nil
}

// maintainLoop forgets old identities, dead letters and deleted subscriptions, and watches free space.
func (j *Journal) maintainLoop() {
	ticker := j.options.Clock.NewTicker(maintenanceInterval)
	defer ticker.Stop()
	var swept uint32
	for {
		select {
		case <-j.stop:
			return
		case <-j.failure.down:
			return
		case <-ticker.Chan():
		}
		j.space.refresh()
		j.tail.sync(j)
		if err := j.reclaim(); err != nil {
			return
		}
		if err := j.sweep(&swept); err != nil {
			j.options.Log.Error("Old identities could not be removed", "error", err)
		}
		if err := j.expireLetters(); err != nil && j.failure.get() == nil {
			j.options.Log.Error("Dead letters beyond their limits could not be removed", "error", j.damaged(err))
		}
		j.askPurge()
	}
}

// sweep removes the identities of the days before yesterday, with one range for all.
func (j *Journal) sweep(swept *uint32) error {
	today := dayOf(j.options.Clock.Now())
	if today < 1 || *swept >= today-1 {
		return nil
	}
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	must(batch.DeleteRange(keyIdentityDay(0), keyIdentityDay(today-1), nil))
	if err := j.apply(batch, pebble.NoSync); err != nil {
		return err
	}
	*swept = today - 1
	j.committer.remembered.swept.Store(today - 1)

	return nil
}

// askPurge lets the committer purge, where there is anything to purge.
func (j *Journal) askPurge() {
	j.settled.mu.Lock()
	cursor, due := journal.Seq(j.cursor.Load()), false
	for _, deleted := range j.settled.known {
		due = due || deleted != 0 && deleted <= cursor
	}
	j.settled.mu.Unlock()
	if !due {
		return
	}
	r := &request{purge: true, done: make(chan struct{})}
	select {
	case j.queue <- r:
	case <-j.stop:
		return
	}
	select {
	case <-r.done:
		if r.err != nil {
			j.options.Log.Error("Deleted subscriptions could not be removed", "error", r.err)
		}
	case <-j.stop:
	case <-j.failure.down:
	}
}
