package embedded

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// view implements journal.View.
type view struct{ j *Journal }

// read runs a function that uses the store.
func (v view) read(ctx context.Context, what string, run func() error) error {
	err := v.j.enter(ctx)
	if err == nil {
		defer v.j.leave()
		err = v.j.damaged(run())
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}

	return nil
}

// checkMax refuses a limit that would answer nothing.
func checkMax(field string, most int) error {
	if most <= 0 {
		return fmt.Errorf("%s is %d: it must be positive", field, most)
	}

	return nil
}

// Cursor implements journal.View.
func (v view) Cursor(ctx context.Context, shard journal.Shard) (journal.Seq, error) {
	var cursor journal.Seq
	err := v.read(ctx, "the cursor", func() error {
		cursor = journal.Seq(v.j.cursor.Load())

		return checkShard(shard)
	})

	return cursor, err
}

// checkShard refuses a shard there is not.
func checkShard(shard journal.Shard) error {
	if shard != 0 {
		return fmt.Errorf("shard %d: the embedded journal has shard 0 alone", shard)
	}

	return nil
}

// Bounds implements journal.View.
func (v view) Bounds(ctx context.Context) (first, last journal.Seq, err error) {
	err = v.read(ctx, "the bounds", func() error {
		last, first = journal.Seq(v.j.durable.Load()), journal.Seq(v.j.first.Load())
		if first > last {
			first, last = 0, 0
		}

		return nil
	})

	return first, last, err
}

// DoneAfterCursor implements journal.View.
func (v view) DoneAfterCursor(ctx context.Context, shard journal.Shard) ([]journal.Ref, error) {
	var refs []journal.Ref
	err := v.read(ctx, "the final deliveries", func() error {
		if err := checkShard(shard); err != nil {
			return err
		}
		_, upper := kindRange(kindDone)

		return v.j.scan(keyDoneFrom(journal.Seq(v.j.cursor.Load()+1)), upper, func(key, _ []byte) (bool, error) {
			ref, ok := splitDone(key)
			if !ok {
				return false, badRow("final delivery", string(key))
			}
			refs = append(refs, ref)

			return true, nil
		})
	})

	return refs, err
}

// Backlog implements journal.View.
func (v view) Backlog(
	ctx context.Context, subscription string, after journal.Seq, max int,
) ([]journal.Seq, error) {
	var seqs []journal.Seq
	err := v.read(ctx, "the backlog", func() error {
		return v.numbered(kindBacklog, subscription, after, max, func(seq uint64, _ []byte) error {
			seqs = append(seqs, journal.Seq(seq))

			return nil
		})
	})

	return seqs, err
}

// numbered visits the numbered rows of a name after a number, at most most.
func (v view) numbered(
	kind byte, name string, after journal.Seq, most int, visit func(number uint64, value []byte) error,
) error {
	if err := checkMax("max", most); err != nil {
		return err
	}
	if err := checkName("subscription", name); err != nil {
		return err
	}
	if after == journal.LatestSeq {
		return nil
	}
	left := most
	_, upper := namedRange(kind, name)
	lower := keyNumbered(kind, name, uint64(max(after+1, v.floor(kind, name))))

	return v.j.scan(lower, upper, func(key, value []byte) (bool, error) {
		_, number, ok := splitNumbered(key)
		if !ok {
			return false, badRow(string(rune(kind)), name)
		}
		left--

		return left > 0, visit(number, value)
	})
}

// floor is where the rows of a name begin at the earliest, which spares passing over
// those that were removed.
func (v view) floor(kind byte, name string) journal.Seq {
	if kind != kindBacklog && kind != kindRetry {
		return 0
	}
	s := &v.j.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.may(name, kind) {
		return 0
	}

	return *s.refs[name].of(kind)
}

// Backlogged implements journal.View.
func (v view) Backlogged(ctx context.Context) ([]string, error) {
	return v.having(ctx, "the backlog", kindBacklog)
}

// Retrying implements journal.View.
func (v view) Retrying(ctx context.Context) ([]string, error) {
	return v.having(ctx, "the retries", kindRetry)
}

// having are the subscriptions that have rows of a kind.
func (v view) having(ctx context.Context, what string, kind byte) ([]string, error) {
	var names []string
	err := v.read(ctx, what, func() error {
		return v.firsts([]byte{kind}, func(name string, _ journal.Seq) { names = append(names, name) })
	})
	sort.Strings(names)

	return names, err
}

// firsts visits the first row of each kind that each subscription has.
func (v view) firsts(kinds []byte, visit func(subscription string, first journal.Seq)) error {
	s := &v.j.settled
	s.mu.Lock()
	names := make([]string, 0, len(s.refs))
	for name := range s.refs {
		names = append(names, name)
	}
	s.mu.Unlock()
	for _, name := range names {
		if err := v.firstsOf(name, kinds, visit); err != nil {
			return err
		}
	}

	return nil
}

// firstsOf visits the first rows of one subscription, all kinds at the same moment.
func (v view) firstsOf(name string, kinds []byte, visit func(subscription string, first journal.Seq)) error {
	v.j.settled.mu.Lock()
	defer v.j.settled.mu.Unlock()
	for _, kind := range kinds {
		first, err := v.j.firstRef(name, kind)
		if err != nil {
			return err
		}
		if first != 0 {
			visit(name, first)
		}
	}

	return nil
}

// OldestReference implements journal.View.
func (v view) OldestReference(ctx context.Context) (journal.Seq, error) {
	var oldest journal.Seq
	err := v.read(ctx, "the oldest reference", func() error {
		return v.firsts([]byte{kindBacklog, kindRetry}, func(_ string, first journal.Seq) {
			if oldest == 0 || first < oldest {
				oldest = first
			}
		})
	})

	return oldest, err
}

// Due implements journal.View.
func (v view) Due(
	ctx context.Context, by time.Time, max int,
) (rows []journal.RetryRow, next time.Time, err error) {
	err = v.read(ctx, "the due retries", func() error {
		if err := checkMax("max", max); err != nil {
			return err
		}
		s := &v.j.settled
		s.mu.Lock()
		defer s.mu.Unlock()
		floor := maxTime
		_, upper := kindRange(kindDue)
		err := v.j.scan(keyDueFrom(s.dueFloor), upper, func(key, value []byte) (bool, error) {
			due, ref, ok := splitDue(key)
			if !ok {
				return false, badRow("due retry", string(key))
			}
			if due.Before(floor) {
				floor = due
			}
			if due.After(by) || len(rows) >= max {
				next = due

				return false, nil
			}
			row, err := decodeRetry(ref, value)
			if err != nil {
				return false, err
			}
			rows = append(rows, row.row(ref))

			return true, nil
		})
		if err == nil {
			s.dueFloor = floor
		}

		return err
	})

	return rows, next, err
}

// Retries implements journal.View.
func (v view) Retries(
	ctx context.Context, subscription string, after journal.Seq, max int,
) ([]journal.RetryRow, error) {
	var rows []journal.RetryRow
	err := v.read(ctx, "the retries", func() error {
		return v.numbered(kindRetry, subscription, after, max, func(seq uint64, value []byte) error {
			ref := journal.Ref{Subscription: subscription, Seq: journal.Seq(seq)}
			row, err := decodeRetry(ref, value)
			rows = append(rows, row.row(ref))

			return err
		})
	})

	return rows, err
}

// Pending implements journal.View.
func (v view) Pending(ctx context.Context, ref journal.Ref) (bool, error) {
	pending := false
	err := v.read(ctx, "a delivery", func() error {
		for _, kind := range []byte{kindBacklog, kindRetry} {
			_, found, err := v.j.get(keyRef(kind, ref))
			if err != nil || found {
				pending = found

				return err
			}
		}

		return nil
	})

	return pending, err
}

// Attempts implements journal.View. It looks through the attempts that are kept, at most
// MaxAttempts, for those of the event type asked for.
func (v view) Attempts(
	ctx context.Context, subscription string, query journal.AttemptQuery,
) ([]journal.Attempt, error) {
	var attempts []journal.Attempt
	err := v.read(ctx, "the attempts", func() error {
		if err := checkMax("Limit", query.Limit); err != nil {
			return err
		}
		if err := checkName("subscription", subscription); err != nil {
			return err
		}
		iter, err := v.j.iterate(namedRange(kindAttempt, subscription))
		if err != nil {
			return err
		}
		oldest := v.j.options.Clock.Now().Add(-AttemptAge)
		seen := 0
		for more := iter.Last(); more && len(attempts) < query.Limit && seen < MaxAttempts; more = iter.Prev() {
			seen++
			attempt, err := decodeAttempt(subscription, iter.Value())
			if err != nil {
				return errors.Join(err, closeIter(iter))
			}
			if attempt.At.Before(oldest) {
				continue
			}
			if query.EventType == "" || query.EventType == attempt.EventType {
				attempts = append(attempts, attempt)
			}
		}

		return closeIter(iter)
	})

	return attempts, err
}

// Statuses implements journal.View.
func (v view) Statuses(ctx context.Context, subscription string) ([]journal.StatusRow, error) {
	var rows []journal.StatusRow
	err := v.read(ctx, "the statuses", func() error {
		if err := checkName("subscription", subscription); err != nil {
			return err
		}
		lower, upper := namedRange(kindStatus, subscription)

		return v.j.scan(lower, upper, func(key, value []byte) (bool, error) {
			attempt, err := decodeAttempt(subscription, value)
			if err != nil {
				return false, err
			}
			rows = append(rows, journal.StatusRow{EventType: string(key[len(lower):]), Attempt: attempt})

			return true, nil
		})
	})

	return rows, err
}

// StatusesChangedSince implements journal.View. A point that this journal never gave out
// counts as the beginning, as after a restore from a backup.
func (v view) StatusesChangedSince(
	ctx context.Context, tenant string, after uint64,
) (subscriptions []string, next uint64, err error) {
	err = v.read(ctx, "the changed statuses", func() error {
		if err := checkName("tenant", tenant); err != nil {
			return err
		}
		v.j.settled.mu.Lock()
		newest := v.j.settled.nextChange
		// What changes from now on gets a number after it, which the next call asks for.
		v.j.settled.told = newest
		v.j.settled.mu.Unlock()
		if after > newest {
			after = 0
		}
		next = after
		lower, upper := keyNumbered(kindChange, tenant, after+1), keyNumbered(kindChange, tenant, newest+1)

		return v.j.scan(lower, upper, func(key, value []byte) (bool, error) {
			_, number, ok := splitNumbered(key)
			if !ok {
				return false, badRow("change", string(key))
			}
			subscriptions = append(subscriptions, string(value))
			next = number

			return true, nil
		})
	})

	return subscriptions, next, err
}

// DeadLetters implements journal.View.
func (v view) DeadLetters(
	ctx context.Context, subscription string, after journal.Seq, max int,
) ([]journal.DeadLetter, error) {
	var letters []journal.DeadLetter
	err := v.read(ctx, "the dead letters", func() error {
		return v.numbered(kindDead, subscription, after, max, func(seq uint64, value []byte) error {
			letter, err := decodeDead(journal.Ref{Subscription: subscription, Seq: journal.Seq(seq)}, value)
			letters = append(letters, letter)

			return err
		})
	})

	return letters, err
}

// ExpiredDeadLetters implements journal.View.
func (v view) ExpiredDeadLetters(ctx context.Context, subscription string) (journal.ExpiredDeadLetters, error) {
	var expired journal.ExpiredDeadLetters
	err := v.read(ctx, "the expired dead letters", func() error {
		v.j.settled.mu.Lock()
		defer v.j.settled.mu.Unlock()
		expired = v.j.settled.letters.subscriptions[subscription].expired

		return checkName("subscription", subscription)
	})
	expired.At = timeOf(nanos(expired.At))

	return expired, err
}

// IsUnmatched implements journal.View.
func (v view) IsUnmatched(ctx context.Context, seq journal.Seq) (bool, error) {
	unmatched := false
	err := v.read(ctx, "the unmatched events", func() error {
		bits, found, err := v.j.get(keyBlock(uint64(seq) / blockPositions))
		if err != nil || !found {
			return err
		}
		if len(bits) != blockPositions/8 {
			return badRow("unmatched events", fmt.Sprint(seq))
		}
		bit := uint64(seq) % blockPositions
		unmatched = bits[bit/8]&(1<<(bit%8)) != 0

		return nil
	})

	return unmatched, err
}

// Skipped implements journal.View.
func (v view) Skipped(ctx context.Context, subscription string) ([]journal.Interval, error) {
	var intervals []journal.Interval
	err := v.read(ctx, "the skipped intervals", func() error {
		if err := checkName("subscription", subscription); err != nil {
			return err
		}
		lower, upper := namedRange(kindSkipped, subscription)

		return v.j.scan(lower, upper, func(key, value []byte) (bool, error) {
			_, from, ok := splitNumbered(key)
			if !ok {
				return false, badRow("skipped interval", subscription)
			}
			interval, err := decodeInterval(subscription, journal.Seq(from), value)
			intervals = append(intervals, interval)

			return true, err
		})
	})

	return intervals, err
}

// EventTypes implements journal.View.
func (v view) EventTypes(ctx context.Context, tenant string) ([]journal.EventTypeRow, error) {
	var rows []journal.EventTypeRow
	err := v.read(ctx, "the event types", func() error {
		rows = v.j.types.list(tenant)

		return nil
	})

	return rows, err
}

// FirstAfter implements journal.View by bisection. Where the clock was set back, so that
// times do not rise with positions, the answer is one of the places where they pass it.
func (v view) FirstAfter(ctx context.Context, at time.Time) (journal.Seq, error) {
	var first journal.Seq
	err := v.read(ctx, "the log's times", func() error {
		low, end := v.j.first.Load(), v.j.durable.Load()+1
		for high := end; low < high; {
			middle := low + (high-low)/2
			stored, err := v.j.stored(journal.Seq(middle))
			if errors.Is(err, journal.ErrTrimmed) {
				low = middle + 1 // Trimmed while this looked.

				continue
			}
			if err != nil {
				return err
			}
			written, err := recordTime(journal.Seq(middle), stored)
			if err != nil {
				return err
			}
			if written.Before(at) {
				low = middle + 1
			} else {
				high = middle
			}
		}
		first = journal.Seq(low)

		return nil
	})

	return first, err
}
