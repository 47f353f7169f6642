package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// iterate opens an iterator over a range of keys.
func (j *Journal) iterate(lower, upper []byte) (*pebble.Iterator, error) {
	iter, err := j.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, storeError("reading rows", err)
	}

	return iter, nil
}

// closeIter closes an iterator, which tells whether it met a fault.
func closeIter(iter *pebble.Iterator) error {
	err := iter.Error()
	if err := errors.Join(err, iter.Close()); err != nil {
		return storeError("reading rows", err)
	}

	return nil
}

// scan visits the rows of a range in order, until visit says no more.
func (j *Journal) scan(lower, upper []byte, visit func(key, value []byte) (more bool, err error)) error {
	iter, err := j.iterate(lower, upper)
	if err != nil {
		return err
	}
	for more := iter.First(); more; more = more && iter.Next() {
		value, err := iter.ValueAndErr()
		if err == nil {
			more, err = visit(iter.Key(), value)
		}
		if err != nil {
			return errors.Join(err, closeIter(iter))
		}
	}

	return closeIter(iter)
}

// Read implements journal.Journal. It may return fewer than max records where they are large.
func (j *Journal) Read(ctx context.Context, from journal.Seq, max int) ([]journal.Record, error) {
	if max <= 0 {
		return nil, fmt.Errorf("reading the journal: max is %d: it must be positive", max)
	}
	if from == 0 {
		from = 1
	}
	last, err := j.await(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	if err := j.enter(ctx); err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	defer j.leave()
	records, err := j.records(from, last, max)
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}

	return records, nil
}

// await waits until a position is durable and returns the last one that is.
func (j *Journal) await(ctx context.Context, seq journal.Seq) (journal.Seq, error) {
	for {
		j.grownMu.Lock()
		grown := j.grown
		j.grownMu.Unlock()
		if last := journal.Seq(j.durable.Load()); last >= seq {
			return last, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-j.stop:
			return 0, journal.ErrClosed
		case <-j.failure.down:
			return 0, j.failure.get()
		}
	}
}

// records reads records in order, from a position up to last, and finds every gap.
func (j *Journal) records(from, last journal.Seq, most int) ([]journal.Record, error) {
	if err := j.trimmed(from); err != nil {
		return nil, err
	}
	iter, err := j.iterate(keyEvent(from), keyEvent(last+1))
	if err != nil {
		return nil, err
	}
	var records []journal.Record
	next, bytes := from, 0
	for more := iter.First(); more && len(records) < most && bytes < maxReadBytes; more = iter.Next() {
		record, size, err := recordAt(iter, next)
		if err != nil {
			return nil, j.damagedAt(from, errors.Join(err, iter.Close()))
		}
		records = append(records, record)
		bytes += size
		next++
	}
	if err := closeIter(iter); err != nil {
		return nil, j.damagedAt(from, recordError(next, err))
	}
	if next <= last && len(records) < most && bytes < maxReadBytes {
		return nil, j.damagedAt(from, corrupt(next, "it is missing"))
	}

	return records, nil
}

// trimmed is ErrTrimmed where a position was trimmed.
func (j *Journal) trimmed(seq journal.Seq) error {
	if first := journal.Seq(j.first.Load()); seq < first {
		return &journal.RecordError{Seq: seq, Err: fmt.Errorf("%w: the log begins at %d", journal.ErrTrimmed, first)}
	}

	return nil
}

// damagedAt is the fault of a read that began at a position, unless that was trimmed meanwhile.
func (j *Journal) damagedAt(from journal.Seq, err error) error {
	if trimmed := j.trimmed(from); trimmed != nil {
		return trimmed
	}

	return j.damaged(err)
}

// recordAt decodes the record an iterator stands at, which must be that of a position.
func recordAt(iter *pebble.Iterator, want journal.Seq) (journal.Record, int, error) {
	seq, ok := eventSeq(iter.Key())
	if !ok || seq != want {
		return journal.Record{}, 0, corrupt(want, "it is missing")
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return journal.Record{}, 0, recordError(want, storeError("reading it", err))
	}
	record, err := decodeRecord(seq, value)

	return record, len(value), err
}

// damaged counts what failed its check.
func (j *Journal) damaged(err error) error {
	if errors.Is(err, journal.ErrCorrupt) {
		j.metrics.corrupt.Inc()
	}

	return err
}

// Get implements journal.Journal.
func (j *Journal) Get(ctx context.Context, seqs []journal.Seq) ([]journal.Event, error) {
	if err := j.enter(ctx); err != nil {
		return nil, fmt.Errorf("getting events: %w", err)
	}
	defer j.leave()
	events := make([]journal.Event, 0, len(seqs))
	for _, seq := range seqs {
		stored, err := j.stored(seq)
		if err != nil {
			return nil, fmt.Errorf("getting events: %w", err)
		}
		record, err := decodeRecord(seq, stored)
		if err != nil {
			return nil, fmt.Errorf("getting events: %w", j.damaged(err))
		}
		if record.Event == nil {
			return nil, fmt.Errorf("getting events: %w", &journal.RecordError{
				Seq: seq, Err: fmt.Errorf("%w: it holds a marker", journal.ErrTrimmed),
			})
		}
		events = append(events, *record.Event)
	}

	return events, nil
}

// stored is the durable record at a position as it is stored. Where there is none it is
// ErrTrimmed, unless there must be one: then it is ErrCorrupt.
func (j *Journal) stored(seq journal.Seq) ([]byte, error) {
	first, last := journal.Seq(j.first.Load()), journal.Seq(j.durable.Load())
	if seq < first || seq > last {
		return nil, &journal.RecordError{
			Seq: seq, Err: fmt.Errorf("%w: the log reaches from %d to %d", journal.ErrTrimmed, first, last),
		}
	}
	stored, found, err := j.get(keyEvent(seq))
	switch {
	case err != nil:
		return nil, j.damaged(recordError(seq, err))
	case found:
		return stored, nil
	default:
		return nil, j.damagedAt(seq, corrupt(seq, "it is missing"))
	}
}
