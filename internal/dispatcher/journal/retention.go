package journal

import (
	"context"
	"fmt"
	"time"
)

// DefaultRetention is how long events are kept after they were accepted, where nothing
// needs them any longer.
const DefaultRetention = 72 * time.Hour

// Retain trims what is older than age, but nothing that a shard's cursor has not passed,
// nor anything that a backlog or retry row refers to or an open replay needs. It returns the position before which
// the log was let go of: its first one, where there was nothing to trim.
func Retain(ctx context.Context, j Journal, shards []Shard, now time.Time, age time.Duration) (Seq, error) {
	if age <= 0 {
		return 0, fmt.Errorf("retaining events: the age is %s: it must be positive", age)
	}
	before, err := retainable(ctx, j.View(), shards, now, age)
	if err != nil {
		return 0, fmt.Errorf("looking for what to retain: %w", err)
	}
	if err := j.Trim(ctx, before); err != nil {
		return 0, fmt.Errorf("retaining events from position %d: %w", before, err)
	}

	return before, nil
}

// retainable is the lowest position that must stay. The cursors and what replays need are read
// before the references: what is placed in between lies after the cursor that was read, and what
// a replay hands on to a page or a retry was its own when that was.
func retainable(ctx context.Context, view View, shards []Shard, now time.Time, age time.Duration) (Seq, error) {
	before, err := view.FirstAfter(ctx, now.Add(-age))
	if err != nil {
		return 0, err
	}
	for _, shard := range shards {
		cursor, err := view.Cursor(ctx, shard)
		if err != nil {
			return 0, err
		}
		before = min(before, cursor+1)
	}
	replay, err := held(ctx, view, now)
	if err != nil {
		return 0, err
	}
	if replay != 0 {
		before = min(before, replay)
	}
	reference, err := view.OldestReference(ctx)
	if err != nil {
		return 0, err
	}
	if reference != 0 {
		before = min(before, reference)
	}

	return before, nil
}
