package embedded

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// DamageRecord flips a bit in the middle of a stored record, or takes the record away.
func (j *Journal) DamageRecord(seq journal.Seq, lose bool) error {
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if lose {
		must(batch.Delete(keyEvent(seq), nil))

		return j.apply(batch, pebble.Sync)
	}
	stored, _, err := j.get(keyEvent(seq))
	if err != nil {
		return err
	}
	stored[len(stored)/2] ^= 1
	must(batch.Set(keyEvent(seq), stored, nil))

	return j.apply(batch, pebble.Sync)
}

// Flush writes what the store holds in memory into tables.
func (j *Journal) Flush() error { return j.db.Flush() }

// Compact makes few tables of many.
func (j *Journal) Compact(ctx context.Context) error {
	return j.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
}
