package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// watchBuffer is how many versions a watcher may lag behind before it is closed.
const watchBuffer = 1 << 14

// discardJournal keeps what is needed to deliver, in memory, and lets go of it once it is
// settled: no disk, no checksums, no duplicates, no attempts, no statuses. It shows what the
// dispatcher costs besides its journal. Closed, it has forgotten everything.
type discardJournal struct {
	mu     sync.Mutex
	closed bool
	log    map[journal.Seq]journal.Record
	last   journal.Seq
	cursor journal.Seq
	// grown is closed and replaced when the log grows, where somebody waits for it.
	grown   chan struct{}
	waiting bool

	backlog map[string][]journal.Seq
	retries map[journal.Ref]journal.RetryRow
	// references are how many rows need an event.
	references map[journal.Seq]int

	versions map[string][]journal.Version
	// names are the ids by tenant and name.
	names    map[[2]string]string
	watchers map[chan journal.Version]struct{}
}

var _ journal.Journal = (*discardJournal)(nil)

func newDiscardJournal() *discardJournal {
	return &discardJournal{
		log: map[journal.Seq]journal.Record{}, grown: make(chan struct{}), backlog: map[string][]journal.Seq{},
		retries: map[journal.Ref]journal.RetryRow{}, references: map[journal.Seq]int{},
		versions: map[string][]journal.Version{}, names: map[[2]string]string{}, watchers: map[chan journal.Version]struct{}{},
	}
}

// Append implements journal.Journal.
func (d *discardJournal) Append(_ context.Context, events []journal.Event) ([]journal.Receipt, error) {
	receipts := make([]journal.Receipt, len(events))
	kept := slices.Clone(events)

	for i := range kept {
		kept[i].Body = bytes.Clone(kept[i].Body)
	}

	d.mu.Lock()
	defer d.mu.Unlock()

	if d.closed {
		return nil, journal.ErrClosed
	}

	for i := range kept {
		receipts[i].Seq = d.put(journal.Record{Event: &kept[i]})
	}

	return receipts, nil
}

// put appends a record. The caller holds the lock.
func (d *discardJournal) put(record journal.Record) journal.Seq {
	d.last++
	record.Seq = d.last
	d.log[d.last] = record

	if d.waiting {
		close(d.grown)
		d.grown, d.waiting = make(chan struct{}), false
	}

	return d.last
}

// Read implements journal.Journal.
func (d *discardJournal) Read(ctx context.Context, from journal.Seq, most int) ([]journal.Record, error) {
	for {
		records, grown, err := d.read(from, most)
		if err != nil || len(records) > 0 {
			return records, err
		}

		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-grown:
		}
	}
}

func (d *discardJournal) read(from journal.Seq, most int) ([]journal.Record, <-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if d.closed {
		return nil, nil, journal.ErrClosed
	}

	var records []journal.Record

	for seq := from; seq <= d.last && len(records) < most; seq++ {
		record, held := d.log[seq]
		if !held {
			return nil, nil, fmt.Errorf("reading position %d: %w", seq, journal.ErrTrimmed)
		}

		records = append(records, record)
	}

	d.waiting = d.waiting || len(records) == 0

	return records, d.grown, nil
}

// Get implements journal.Journal.
func (d *discardJournal) Get(_ context.Context, seqs []journal.Seq) ([]journal.Event, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	events := make([]journal.Event, 0, len(seqs))

	for _, seq := range seqs {
		record := d.log[seq]
		if record.Event == nil {
			return nil, fmt.Errorf("reading position %d: %w", seq, journal.ErrTrimmed)
		}

		events = append(events, *record.Event)
	}

	return events, nil
}

// Settle implements journal.Journal.
func (d *discardJournal) Settle(_ context.Context, _ journal.Shard, _ journal.Epoch, batch journal.Batch) error {
	d.mu.Lock()
	defer d.mu.Unlock()

	if d.closed {
		return journal.ErrClosed
	}

	for _, ref := range batch.Backlog {
		pages := d.backlog[ref.Subscription]
		if at, found := slices.BinarySearch(pages, ref.Seq); !found {
			d.backlog[ref.Subscription] = slices.Insert(pages, at, ref.Seq)
			d.references[ref.Seq]++
		}
	}

	for i := range batch.Outcomes {
		if outcome := &batch.Outcomes[i]; !outcome.Resent {
			d.settle(outcome)
		}
	}

	for d.cursor < batch.Cursor {
		d.cursor++
		d.release(d.cursor)
	}

	return nil
}

// settle applies one outcome. The caller holds the lock.
func (d *discardJournal) settle(outcome *journal.Outcome) {
	ref := outcome.Ref
	before, retried := d.retries[ref]
	attempts := before.Attempts

	if outcome.Attempt != nil {
		attempts = outcome.Attempt.Number
	}
	if retried {
		delete(d.retries, ref)
		d.references[ref.Seq]--
	}
	if outcome.Result == journal.Retry {
		d.retries[ref] = journal.RetryRow{Ref: ref, Attempts: attempts, Due: outcome.NextAttempt}
		d.references[ref.Seq]++
	}
	if at, found := slices.BinarySearch(d.backlog[ref.Subscription], ref.Seq); found {
		d.backlog[ref.Subscription] = slices.Delete(d.backlog[ref.Subscription], at, at+1)
		d.references[ref.Seq]--
	}

	d.release(ref.Seq)
}

// release lets go of an event that nothing needs any more. The caller holds the lock.
func (d *discardJournal) release(seq journal.Seq) {
	if d.references[seq] > 0 {
		return
	}

	delete(d.references, seq)

	if seq <= d.cursor {
		delete(d.log, seq)
	}
}

// Own implements journal.Journal.
func (d *discardJournal) Own(ctx context.Context) (<-chan journal.Ownership, error) {
	owned := make(chan journal.Ownership, 1)
	owned <- journal.Ownership{Epoch: 1, Gained: true}

	context.AfterFunc(ctx, func() { close(owned) })

	return owned, nil
}

// Trim implements journal.Journal: nothing is kept that could be trimmed.
func (d *discardJournal) Trim(context.Context, journal.Seq) error { return nil }

// PutSubscription implements journal.Journal.
func (d *discardJournal) PutSubscription(
	_ context.Context, version journal.Version, expect journal.Revision,
) (journal.Version, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if d.closed {
		return journal.Version{}, journal.ErrClosed
	}

	history := d.versions[version.ID]
	if len(history) > 0 && history[len(history)-1].Revision != expect || len(history) == 0 && expect != 0 {
		return journal.Version{}, journal.ErrRevision
	}

	name := [2]string{version.Tenant, version.Name}
	if holder, taken := d.names[name]; taken && holder != version.ID && !version.Deleted {
		return journal.Version{}, journal.ErrNameTaken
	}

	if len(history) > 0 {
		before := history[len(history)-1]
		delete(d.names, [2]string{before.Tenant, before.Name})
	}

	if !version.Deleted {
		d.names[name] = version.ID
	}

	version.Revision = expect + 1
	version.Seq = d.last + 1
	d.put(journal.Record{Marker: &version})
	d.versions[version.ID] = append(history, version)

	for watcher := range d.watchers {
		select {
		case watcher <- version:
		default:
			delete(d.watchers, watcher)
			close(watcher)
		}
	}

	return version, nil
}

// Subscriptions implements journal.Journal.
func (d *discardJournal) Subscriptions(_ context.Context, at journal.Seq) ([]journal.Version, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	var out []journal.Version

	for _, history := range d.versions {
		for _, version := range slices.Backward(history) {
			if version.Seq > at {
				continue
			}
			if !version.Deleted {
				out = append(out, version)
			}

			break
		}
	}

	return out, nil
}

// Watch implements journal.Journal.
func (d *discardJournal) Watch(ctx context.Context) (<-chan journal.Version, error) {
	watcher := make(chan journal.Version, watchBuffer)

	d.mu.Lock()
	d.watchers[watcher] = struct{}{}
	d.mu.Unlock()

	context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()

		if _, open := d.watchers[watcher]; open {
			delete(d.watchers, watcher)
			close(watcher)
		}
	})

	return watcher, nil
}

// View implements journal.Journal.
func (d *discardJournal) View() journal.View { return discardView{d} }

// Close implements journal.Journal.
func (d *discardJournal) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()

	d.closed = true
	close(d.grown)
	d.grown = make(chan struct{})

	for watcher := range d.watchers {
		delete(d.watchers, watcher)
		close(watcher)
	}

	return nil
}

// discardView reads the rows that there are: positions, backlog and retries.
type discardView struct{ d *discardJournal }

// Cursor implements journal.View.
func (v discardView) Cursor(context.Context, journal.Shard) (journal.Seq, error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()

	return v.d.cursor, nil
}

// Bounds implements journal.View.
func (v discardView) Bounds(context.Context) (first, last journal.Seq, err error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()

	return min(v.d.last, v.d.cursor+1), v.d.last, nil
}

// DoneAfterCursor implements journal.View: it is asked for at a start, and the journal was empty then.
func (discardView) DoneAfterCursor(context.Context, journal.Shard) ([]journal.Ref, error) {
	return nil, nil
}

// Backlog implements journal.View.
func (v discardView) Backlog(_ context.Context, subscription string, after journal.Seq, most int) ([]journal.Seq, error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()

	pages := v.d.backlog[subscription]
	from, _ := slices.BinarySearch(pages, after+1)

	return slices.Clone(pages[from:min(from+most, len(pages))]), nil
}

// Backlogged implements journal.View.
func (v discardView) Backlogged(context.Context) ([]string, error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()

	var out []string

	for subscription, pages := range v.d.backlog {
		if len(pages) > 0 {
			out = append(out, subscription)
		}
	}

	slices.Sort(out)

	return out, nil
}

// rows are the retry rows that are wanted, in an order.
func (v discardView) rows(want func(journal.RetryRow) bool, order func(a, b journal.RetryRow) int) []journal.RetryRow {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()

	var out []journal.RetryRow

	for row := range maps.Values(v.d.retries) {
		if want(row) {
			out = append(out, row)
		}
	}

	slices.SortFunc(out, order)

	return out
}

// Retrying implements journal.View.
func (v discardView) Retrying(context.Context) ([]string, error) {
	rows := v.rows(func(journal.RetryRow) bool { return true },
		func(a, b journal.RetryRow) int { return cmp.Compare(a.Subscription, b.Subscription) })

	out := make([]string, 0, len(rows))
	for _, row := range rows {
		out = append(out, row.Subscription)
	}

	return slices.Compact(out), nil
}

// Due implements journal.View.
func (v discardView) Due(_ context.Context, by time.Time, most int) (rows []journal.RetryRow, next time.Time, err error) {
	rows = v.rows(func(journal.RetryRow) bool { return true },
		func(a, b journal.RetryRow) int { return a.Due.Compare(b.Due) })

	for i, row := range rows {
		if i == most || row.Due.After(by) {
			return rows[:i], row.Due, nil
		}
	}

	return rows, time.Time{}, nil
}

// Retries implements journal.View.
func (v discardView) Retries(_ context.Context, subscription string, after journal.Seq, most int) ([]journal.RetryRow, error) {
	rows := v.rows(func(row journal.RetryRow) bool { return row.Subscription == subscription && row.Seq > after },
		func(a, b journal.RetryRow) int { return cmp.Compare(a.Seq, b.Seq) })

	return rows[:min(most, len(rows))], nil
}

// Pending implements journal.View.
func (v discardView) Pending(_ context.Context, ref journal.Ref) (bool, error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()

	_, retried := v.d.retries[ref]
	_, paged := slices.BinarySearch(v.d.backlog[ref.Subscription], ref.Seq)

	return retried || paged, nil
}

// OldestReference implements journal.View.
func (v discardView) OldestReference(context.Context) (journal.Seq, error) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()

	oldest := journal.Seq(0)

	for seq, count := range v.d.references {
		if count > 0 && (oldest == 0 || seq < oldest) {
			oldest = seq
		}
	}

	return oldest, nil
}

// FirstAfter implements journal.View. It is asked for what has grown too old to be delivered, which
// nothing does here: all of it is younger than the process.
func (discardView) FirstAfter(context.Context, time.Time) (journal.Seq, error) { return 1, nil }

// What follows is discarded, so there is none of it.

// Attempts implements journal.View.
func (discardView) Attempts(context.Context, string, journal.AttemptQuery) ([]journal.Attempt, error) {
	return nil, nil
}

// Statuses implements journal.View.
func (discardView) Statuses(context.Context, string) ([]journal.StatusRow, error) { return nil, nil }

// StatusesChangedSince implements journal.View.
func (discardView) StatusesChangedSince(context.Context, string, uint64) (subscriptions []string, next uint64, err error) {
	return nil, 0, nil
}

// DeadLetters implements journal.View.
func (discardView) DeadLetters(context.Context, string, journal.Seq, int) ([]journal.DeadLetter, error) {
	return nil, nil
}

// ExpiredDeadLetters implements journal.View.
func (discardView) ExpiredDeadLetters(context.Context, string) (journal.ExpiredDeadLetters, error) {
	return journal.ExpiredDeadLetters{}, nil
}

// Replays implements journal.View.
func (discardView) Replays(context.Context, string) ([]journal.Replay, error) { return nil, nil }

// OpenReplays implements journal.View.
func (discardView) OpenReplays(context.Context) ([]journal.Replay, error) { return nil, nil }

// IsUnmatched implements journal.View.
func (discardView) IsUnmatched(context.Context, journal.Seq) (bool, error) { return false, nil }

// Skipped implements journal.View.
func (discardView) Skipped(context.Context, string) ([]journal.Interval, error) { return nil, nil }

// EventTypes implements journal.View.
func (discardView) EventTypes(context.Context, string) ([]journal.EventTypeRow, error) {
	return nil, nil
}
