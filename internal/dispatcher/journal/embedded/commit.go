package embedded

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// A day is the unit in which identities are remembered and forgotten: with the window of
// duplicates no longer than a day, a look-up needs this day and the one before.
const day = journal.DuplicateWindow

// committer is what the commit loop alone touches.
type committer struct {
	// last is the last position given out.
	last journal.Seq
	// subscriptions are the newest versions, without their values.
	subscriptions map[string]*journal.Version
	// names are the ids by tenant and name of those that are not deleted.
	names map[tenantName]string
	// newest is the highest day that has identities.
	newest     uint32
	remembered remembered
}

type tenantName struct{ tenant, name string }

// group is one group commit in the making.
type group struct {
	j     *Journal
	batch *pebble.Batch
	now   time.Time
	// seen are the identities the group itself appends.
	seen     map[identity]sighting
	events   int
	versions []journal.Version
	failed   map[*request]error
	// scratch and key are for rows that are copied into the batch.
	scratch, key []byte
}

// commit writes a group and answers its requests.
func (j *Journal) commit(requests []*request) {
	if len(requests) == 0 {
		return
	}
	began := time.Now()
	j.space.refresh()
	g := &group{
		j: j, batch: j.db.NewBatchWithSize(groupSize(requests)), now: j.options.Clock.Now(),
		seen: map[identity]sighting{}, failed: map[*request]error{},
	}
	defer func() { _ = g.batch.Close() }()
	for _, r := range requests {
		if err := g.add(r); err != nil {
			g.failed[r] = err
		}
	}
	err := g.write()
	if err == nil {
		j.tail.write(j, uint64(j.committer.last))
		j.advance(j.committer.last)
		j.watchers.send(g.versions)
		j.metrics.commits.Observe(time.Since(began).Seconds())
		j.metrics.group.Observe(float64(g.events))
		j.metrics.appended.Add(float64(g.events))
	}
	for _, r := range requests {
		if own := g.failed[r]; own != nil {
			r.finish(own)
		} else {
			r.finish(err)
		}
	}
}

// groupSize is about what a group takes in a batch.
func groupSize(requests []*request) int {
	const perEvent = 128
	size := 0
	for _, r := range requests {
		size += int(r.bytes) + perEvent*(len(r.events)+1)
	}

	return size
}

// write commits the batch with an fsync, which also makes all settled batches before it durable.
func (g *group) write() error {
	if g.batch.Empty() {
		return nil
	}
	settled := g.j.settled.applied.Load()
	if err := g.j.apply(g.batch, pebble.Sync); err != nil {
		return err
	}
	g.j.settled.markSynced(settled)

	return nil
}

// add puts one request into the batch. An error means that it put nothing there.
func (g *group) add(r *request) error {
	switch {
	case r.put != nil:
		return g.put(r)
	case r.purge:
		return g.j.purge()
	default:
		return g.append(r)
	}
}

// append gives each event its place, or finds the place of the one before it.
func (g *group) append(r *request) error {
	receipts := make([]journal.Receipt, len(r.events))
	if len(r.events) > 1 {
		return g.appendMany(r, receipts)
	}
	event := &r.events[0]
	seen, found, err := g.lookup(event.identity)
	switch {
	case err != nil:
		return err
	case found:
		g.j.metrics.duplicates.Inc()
		receipts[0] = journal.Receipt{Seq: seen.seq, Duplicate: true}
	case g.j.space.full.Load():
		g.j.metrics.refused.Inc()

		return journal.ErrFull
	default:
		receipts[0] = journal.Receipt{Seq: g.place(event)}
	}
	r.receipts = receipts

	return nil
}

// appendMany does so for events that may be duplicates of each other, all or none.
func (g *group) appendMany(r *request, receipts []journal.Receipt) error {
	fresh := make(map[identity]int, len(r.events))
	for i := range r.events {
		seen, found, err := g.lookup(r.events[i].identity)
		if err != nil {
			return err
		}
		if found {
			receipts[i] = journal.Receipt{Seq: seen.seq, Duplicate: true}
		} else if _, again := fresh[r.events[i].identity]; !again {
			fresh[r.events[i].identity] = i
		}
	}
	if len(fresh) > 0 && g.j.space.full.Load() {
		g.j.metrics.refused.Add(float64(len(fresh)))

		return journal.ErrFull
	}
	for i := range r.events {
		if receipts[i].Duplicate {
			continue
		}
		event := &r.events[i]
		if first := fresh[event.identity]; first != i {
			receipts[i] = journal.Receipt{Seq: receipts[first].Seq, Duplicate: true}

			continue
		}
		receipts[i] = journal.Receipt{Seq: g.place(event)}
	}
	g.j.metrics.duplicates.Add(float64(len(r.events) - len(fresh)))
	r.receipts = receipts

	return nil
}

// place writes one event at the next position.
func (g *group) place(event *pending) journal.Seq {
	c := &g.j.committer
	c.last++
	g.events++
	seen := sighting{seq: c.last, at: g.now}
	g.seen[event.identity] = seen
	g.setRecord(event)
	today := dayOf(g.now)
	c.newest = max(c.newest, today)
	g.key = appendIdentityKey(g.key[:0], today, event.identity)
	g.scratch = encodeSighting(g.scratch[:0], seen)
	g.set(g.key, g.scratch)
	c.remembered.add(event.identity, today)
	if row, changed := g.j.types.see(event.tenant, event.typ, g.now); changed {
		g.set(keyText(kindType, event.tenant, event.typ), row)
	}

	return c.last
}

// setRecord writes an event's record at the newest position, straight into the batch.
func (g *group) setRecord(event *pending) {
	seq := g.j.committer.last
	row := g.batch.SetDeferred(1+seqBytes, len(event.record)+recordChecksum)
	row.Key[0] = kindEvent
	binary.BigEndian.PutUint64(row.Key[1:], uint64(seq))
	copy(row.Value, event.record)
	binary.BigEndian.PutUint32(row.Value[len(event.record):], positioned(event.sum, seq))
	must(row.Finish())
}

// set writes a row. Setting in a batch fails only when the batch is misused.
func (g *group) set(key, value []byte) {
	must(g.batch.Set(key, value, nil))
}

// lookup finds the event of an identity within the window.
func (g *group) lookup(of identity) (sighting, bool, error) {
	if seen, found := g.seen[of]; found {
		return seen, true, nil
	}
	if g.j.committer.remembered.absent(of) {
		return sighting{}, false, nil
	}
	today := dayOf(g.now)
	// A day after today has identities where the clock was set back.
	for at := min(g.j.committer.newest, today+1); at+1 >= today; at-- {
		g.key = appendIdentityKey(g.key[:0], at, of)
		value, found, err := g.j.get(g.key)
		if err != nil {
			return sighting{}, false, fmt.Errorf("looking for duplicates: %w", err)
		}
		if found {
			seen, err := decodeSighting(value)
			if err != nil {
				return sighting{}, false, fmt.Errorf("looking for duplicates: %w", err)
			}

			return seen, g.now.Sub(seen.at) < journal.DuplicateWindow, nil
		}
		if at == 0 {
			break
		}
	}

	return sighting{}, false, nil
}

// dayOf is the day of a time, counted from 1970; days before are the first.
func dayOf(at time.Time) uint32 {
	days := at.UnixNano() / int64(day)

	return uint32(max(days, 0)) //nolint:gosec // Nanoseconds of an int64 make no more days than fit.
}

// advance makes positions up to last readable.
func (j *Journal) advance(last journal.Seq) {
	if uint64(last) == j.durable.Load() {
		return
	}
	j.durable.Store(uint64(last))
	j.grownMu.Lock()
	close(j.grown)
	j.grown = make(chan struct{})
	j.grownMu.Unlock()
}

// load reads the newest version of each subscription and where the identities stand.
func (c *committer) load(j *Journal, last journal.Seq) error {
	c.last = last
	c.subscriptions = map[string]*journal.Version{}
	c.names = map[tenantName]string{}
	lower, upper := kindRange(kindVersion)
	err := j.scan(lower, upper, func(key, value []byte) (bool, error) {
		version, err := decodeVersion(key, value)
		if err != nil {
			return false, err
		}
		version.Value = nil
		c.subscriptions[version.ID] = version

		return true, nil
	})
	if err != nil {
		return fmt.Errorf("reading the subscriptions: %w", err)
	}
	for _, version := range c.subscriptions {
		c.index(version)
		j.settled.know(version)
	}

	return c.loadDays(j)
}

// loadDays finds the last day that has identities.
func (c *committer) loadDays(j *Journal) error {
	lower, upper := kindRange(kindIdentity)
	iter, err := j.iterate(lower, upper)
	if err != nil {
		return err
	}
	if iter.Last() {
		c.newest = binary.BigEndian.Uint32(iter.Key()[1:])
	}

	return closeIter(iter)
}
