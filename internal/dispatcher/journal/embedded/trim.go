package embedded

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// Trim implements journal.Journal. With the records go the unmatched marks and the skipped
// intervals that lie wholly before them. A position after the end stands for the end.
func (j *Journal) Trim(ctx context.Context, before journal.Seq) error {
	if err := j.enter(ctx); err != nil {
		return fmt.Errorf("trimming the journal: %w", err)
	}
	defer j.leave()
	s := &j.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	first := journal.Seq(j.first.Load())
	before = min(before, journal.Seq(j.durable.Load()+1))
	if before <= first {
		return nil
	}
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	must(batch.DeleteRange(keyEvent(first), keyEvent(before), nil))
	must(batch.DeleteRange(keyBlock(0), keyBlock(uint64(before)/blockPositions), nil))
	must(batch.Set(keyFirst, encodeNumber(uint64(before)), nil))
	if err := j.trimSkipped(batch, before); err != nil {
		return fmt.Errorf("trimming the journal: %w", err)
	}
	// First, so that a reader who finds a record gone finds that it was trimmed.
	j.first.Store(uint64(before))
	if err := j.apply(batch, pebble.NoSync); err != nil {
		return fmt.Errorf("trimming the journal: %w", err)
	}
	s.touch()
	j.space.want()

	return nil
}

// trimSkipped removes the intervals that ended before a position.
func (j *Journal) trimSkipped(batch *pebble.Batch, before journal.Seq) error {
	lower, upper := kindRange(kindSkipped)

	return j.scan(lower, upper, func(key, value []byte) (bool, error) {
		name, from, ok := splitNumbered(key)
		if !ok {
			return false, badRow("skipped interval", string(key))
		}
		interval, err := decodeInterval(name, journal.Seq(from), value)
		if err == nil && interval.To != 0 && interval.To <= before {
			must(batch.Delete(key, nil))
		}

		return true, err
	})
}
