package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// doneSweep is how many marks of final deliveries may lie below the cursor before they
// are removed, all with one range.
const doneSweep = 4096

// blockPositions is how many positions one block of the unmatched bitmap covers.
const blockPositions = 2048

// settling is one Settle in the making. What it changes in memory is kept here until the
// batch is applied.
type settling struct {
	j      *Journal
	batch  *pebble.Batch
	cursor journal.Seq
	now    time.Time
	// retries are the retry rows as the batch leaves them; nil where it removes one.
	retries  map[journal.Ref]*retry
	heads    map[string]uint64
	statuses map[statusKey]status
	// changed are the tenants of the subscriptions whose statuses change, changes what is written of it.
	changed map[string]string
	changes map[string]change
	blocks  map[uint64][]byte
	// dead are the dead letters as the batch leaves them, nil where it removes one; sums count them.
	dead     map[journal.Ref]*letter
	sums     map[string]letterSum
	done     []journal.Ref
	dueFloor time.Time
	// replayed are the replays that change.
	replayed []journal.Replay
	// key and value are scratch for rows, which the batch copies.
	key, value []byte
}

// status is the latest attempt of one type, at the event of a position.
type status struct {
	attempt *journal.Attempt
	seq     journal.Seq
}

type statusKey struct{ subscription, eventType string }

// Settle implements journal.Journal. Backlog is applied before Outcomes, so that a
// delivery that is both placed and final in one batch is final. A cursor that is not
// higher than the present one changes nothing.
func (j *Journal) Settle(ctx context.Context, shard journal.Shard, epoch journal.Epoch, batch journal.Batch) error {
	if err := j.enter(ctx); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	defer j.leave()
	if shard != 0 || epoch != j.epoch {
		return fmt.Errorf("settling: %w: shard %d at epoch %d, this is shard 0 at epoch %d",
			journal.ErrFenced, shard, epoch, j.epoch)
	}
	if err := j.checkBatch(&batch); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	if batch.Empty() {
		return nil
	}
	began := time.Now()
	j.settled.mu.Lock()
	defer j.settled.mu.Unlock()
	w := &settling{
		j: j, batch: j.db.NewBatch(), now: j.options.Clock.Now(),
		cursor:  max(batch.Cursor, journal.Seq(j.cursor.Load())),
		retries: map[journal.Ref]*retry{}, heads: map[string]uint64{},
		statuses: map[statusKey]status{}, changed: map[string]string{},
		changes: map[string]change{},
		dead:    map[journal.Ref]*letter{}, sums: map[string]letterSum{},
		blocks: map[uint64][]byte{}, dueFloor: j.settled.dueFloor,
	}
	defer func() { _ = w.batch.Close() }()
	if err := w.write(&batch); err != nil {
		return fmt.Errorf("settling: %w", j.damaged(err))
	}
	durability := pebble.NoSync
	if batch.Durable {
		durability = pebble.Sync
	}
	if err := j.apply(w.batch, durability); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	if batch.Durable {
		j.tail.write(j, j.durable.Load())
	}
	w.commit()
	j.metrics.settles.Observe(time.Since(began).Seconds())

	return nil
}

// checkBatch refuses a batch that cannot be right, before any of it is written.
func (j *Journal) checkBatch(batch *journal.Batch) error {
	last := journal.Seq(j.durable.Load())
	if batch.Cursor > last {
		return fmt.Errorf("Cursor is %d: the log ends at %d", batch.Cursor, last)
	}
	for i := range batch.Outcomes {
		if err := checkOutcome(&batch.Outcomes[i]); err != nil {
			return fmt.Errorf("Outcomes[%d]: %w", i, err)
		}
	}
	for i, ref := range batch.Backlog {
		if err := checkRef(ref); err != nil {
			return fmt.Errorf("Backlog[%d]: %w", i, err)
		}
	}
	for i, interval := range batch.Skipped {
		if err := checkRef(journal.Ref{Subscription: interval.Subscription, Seq: interval.From}); err != nil {
			return fmt.Errorf("Skipped[%d]: %w", i, err)
		}
	}
	for i := range batch.Replays {
		if err := checkReplay(&batch.Replays[i]); err != nil {
			return fmt.Errorf("Replays[%d]: %w", i, err)
		}
	}

	return nil
}

func checkRef(ref journal.Ref) error {
	if ref.Seq == 0 {
		return errors.New("the position is 0: the first record has 1")
	}

	return checkName("Subscription", ref.Subscription)
}

func checkOutcome(outcome *journal.Outcome) error {
	if outcome.Result < journal.Delivered || outcome.Result > journal.Dropped {
		return fmt.Errorf("Result is %d: use one of the four", outcome.Result)
	}
	if outcome.Attempt != nil {
		if err := checkName("Tenant", outcome.Tenant); err != nil {
			return err
		}
		if err := checkName("Attempt.EventType", outcome.Attempt.EventType); err != nil {
			return err
		}
	}
	if outcome.Resent {
		return checkName("Subscription", outcome.Subscription)
	}
	if outcome.Result == journal.Retry && outcome.NextAttempt.IsZero() {
		return errors.New("NextAttempt is not set: Retry needs it")
	}

	return checkRef(outcome.Ref)
}

// write fills the batch.
func (w *settling) write(batch *journal.Batch) error {
	s := &w.j.settled
	w.backlog(batch.Backlog)
	if err := w.outcomes(batch.Outcomes); err != nil {
		return err
	}
	for _, seq := range batch.Unmatched {
		if err := w.unmatched(seq); err != nil {
			return err
		}
	}
	for _, interval := range batch.Skipped {
		w.set(keyNumbered(kindSkipped, interval.Subscription, uint64(interval.From)), encodeInterval(interval))
	}
	w.replays(batch.Replays)
	w.writeStatuses()
	for subscription, sum := range w.sums {
		w.set(keyNamed(kindDeadSum, subscription), encodeLetterSum(sum))
	}
	for block, bits := range w.blocks {
		w.set(keyBlock(block), bits)
	}
	if uint64(w.cursor) > w.j.cursor.Load() {
		w.set(keyCursor, encodeNumber(uint64(w.cursor)))
		if s.doneRows >= doneSweep {
			must(w.batch.DeleteRange(keyDoneFrom(0), keyDoneFrom(w.cursor+1), nil))
		}
	}

	return nil
}

func (w *settling) set(key, value []byte) { must(w.batch.Set(key, value, nil)) }

func (w *settling) remove(key []byte) { must(w.batch.Delete(key, nil)) }

// backlog writes the pages' rows. Rows are written in their order where that is no trouble:
// it is several times the work for the store to sort them.
func (w *settling) backlog(refs []journal.Ref) {
	if !slices.IsSortedFunc(refs, compareRefs) {
		refs = slices.SortedFunc(slices.Values(refs), compareRefs)
	}
	for _, ref := range refs {
		w.setNumbered(kindBacklog, ref.Subscription, uint64(ref.Seq), nil)
		w.j.settled.floor(ref.Subscription, kindBacklog, ref.Seq)
	}
}

func compareRefs(a, b journal.Ref) int {
	return cmp.Or(cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.Seq, b.Seq))
}

// setNumbered writes the row of a name and a number.
func (w *settling) setNumbered(kind byte, name string, number uint64, value []byte) {
	w.key = appendNumbered(w.key[:0], kind, name, number)
	w.set(w.key, value)
}

func (w *settling) removeNumbered(kind byte, name string, number uint64) {
	w.key = appendNumbered(w.key[:0], kind, name, number)
	w.remove(w.key)
}

// outcomes writes what outcomes change: those of one subscription in the order given.
func (w *settling) outcomes(outcomes []journal.Outcome) error {
	order := make([]*journal.Outcome, 0, len(outcomes))
	for i := range outcomes {
		// The rows of a subscription that was deleted while a resend was under way are gone.
		if _, known := w.j.settled.known[outcomes[i].Subscription]; known || !outcomes[i].Resent {
			order = append(order, &outcomes[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *journal.Outcome) int { return cmp.Compare(a.Subscription, b.Subscription) })
	for _, outcome := range order {
		if err := w.attempt(outcome); err != nil {
			return err
		}
	}
	for _, outcome := range order {
		if err := w.outcome(outcome); err != nil {
			return err
		}
	}
	slices.SortFunc(w.done, func(a, b journal.Ref) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Subscription, b.Subscription))
	})
	for _, ref := range w.done {
		w.key = appendDone(w.key[:0], ref)
		w.set(w.key, nil)
	}

	return nil
}

// outcome writes what one outcome changes besides its attempt.
func (w *settling) outcome(outcome *journal.Outcome) error {
	if outcome.Resent {
		return w.resent(outcome)
	}
	before, err := w.retryRow(outcome.Ref)
	if err != nil {
		return err
	}
	attempts, first := int32(0), time.Time{}
	if before != nil {
		attempts, first = before.attempts, before.first
		w.remove(keyDue(before.due, outcome.Ref))
	}
	if outcome.Attempt != nil {
		attempts, first = outcome.Attempt.Number, outcome.First
	}
	paged := w.j.settled.may(outcome.Subscription, kindBacklog)
	if paged {
		w.removeNumbered(kindBacklog, outcome.Subscription, uint64(outcome.Seq))
	}
	if outcome.Result == journal.Retry {
		w.retry(outcome.Ref, retry{due: outcome.NextAttempt, attempts: attempts, first: first})

		return nil
	}
	if before != nil {
		w.removeNumbered(kindRetry, outcome.Subscription, uint64(outcome.Seq))
		w.retries[outcome.Ref] = nil
	}
	if outcome.Seq > w.cursor {
		w.done = append(w.done, outcome.Ref)
	}
	switch {
	case outcome.Result == journal.DeadLettered:
		return w.deadLetter(outcome, attempts)
	case outcome.Result == journal.Delivered && (before != nil || paged) && w.sum(outcome.Subscription).count > 0:
		// A replay had it tried again.
		return w.setLetter(outcome.Ref, nil)
	default:
		return nil
	}
}

// resent clears the dead letter that an attempt outside the schedule delivered.
func (w *settling) resent(outcome *journal.Outcome) error {
	if outcome.Result == journal.Delivered && outcome.Seq != 0 {
		return w.setLetter(outcome.Ref, nil)
	}

	return nil
}

// retryRow is a delivery's retry row as the batch has it so far.
func (w *settling) retryRow(ref journal.Ref) (*retry, error) {
	if row, staged := w.retries[ref]; staged {
		return row, nil
	}
	if !w.j.settled.may(ref.Subscription, kindRetry) {
		return nil, nil //nolint:nilnil // There is no such row, which is no fault.
	}
	value, found, err := w.j.get(keyRef(kindRetry, ref))
	if err != nil || !found {
		return nil, err
	}
	row, err := decodeRetry(ref, value)
	if err != nil {
		return nil, err
	}

	return &row, nil
}

// retry writes a retry row.
func (w *settling) retry(ref journal.Ref, row retry) {
	value := encodeRetry(row)
	w.setNumbered(kindRetry, ref.Subscription, uint64(ref.Seq), value)
	w.set(keyDue(row.due, ref), value)
	w.retries[ref] = &row
	w.j.settled.floor(ref.Subscription, kindRetry, ref.Seq)
	if row.due.Before(w.dueFloor) {
		w.dueFloor = row.due
	}
}

// attemptSweep is how many attempts too many are let go of at once, with one range: row by row it would be
// nearly one more row to write for each attempt.
const attemptSweep = 512

// attempt writes an attempt's row, lets those too many go, and notes the status.
func (w *settling) attempt(outcome *journal.Outcome) error {
	if outcome.Attempt == nil {
		return nil
	}
	attempt, subscription := outcome.Attempt, outcome.Subscription
	head, err := w.head(subscription)
	if err != nil {
		return err
	}
	head++
	w.heads[subscription] = head
	body := journal.MaxFailureBody
	if attempt.Success {
		body = journal.MaxSuccessBody
	}
	w.value = appendAttempt(w.value[:0], attempt, outcome.Seq, body)
	w.setNumbered(kindAttempt, subscription, head, w.value)
	if head > MaxAttempts && head%attemptSweep == 0 {
		lower, _ := namedRange(kindAttempt, subscription)
		must(w.batch.DeleteRange(lower, keyNumbered(kindAttempt, subscription, head-MaxAttempts+1), nil))
	}
	if attempt.Test {
		return nil
	}
	key := statusKey{subscription, attempt.EventType}
	if before := w.statuses[key]; before.attempt == nil || !attempt.At.Before(before.attempt.At) {
		w.statuses[key] = status{attempt: attempt, seq: outcome.Seq}
	}
	w.changed[subscription] = outcome.Tenant

	return nil
}

// head is the number of a subscription's newest attempt, 0 where there is none.
func (w *settling) head(subscription string) (uint64, error) {
	if head, staged := w.heads[subscription]; staged {
		return head, nil
	}
	if head, known := w.j.settled.heads[subscription]; known {
		return head, nil
	}
	iter, err := w.j.iterate(namedRange(kindAttempt, subscription))
	if err != nil {
		return 0, err
	}
	var head uint64
	if iter.Last() {
		_, head, _ = splitNumbered(iter.Key())
	}

	return head, closeIter(iter)
}

// writeStatuses writes the latest status of each event type, and that they changed.
func (w *settling) writeStatuses() {
	for key, latest := range w.statuses {
		w.value = appendAttempt(w.value[:0], latest.attempt, latest.seq, journal.MaxFailureBody)
		w.set(keyText(kindStatus, key.subscription, key.eventType), w.value)
	}
	s := &w.j.settled
	number := s.nextChange
	for subscription, tenant := range w.changed {
		before, changed := s.changes[subscription]
		if changed && before.number > s.told {
			// Whoever asks is told of it as it stands.
			continue
		}
		number++
		if changed {
			w.remove(keyNumbered(kindChange, before.tenant, before.number))
		}
		w.set(keyNumbered(kindChange, tenant, number), []byte(subscription))
		w.changes[subscription] = change{tenant: tenant, number: number}
	}
}

// deadLetter copies the event, so that the letter outlives the log.
func (w *settling) deadLetter(outcome *journal.Outcome, attempts int32) error {
	letter := journal.DeadLetter{
		Ref: outcome.Ref, Tenant: outcome.Tenant, Reason: outcome.Reason, At: w.now,
		Attempts: attempts, Last: outcome.Attempt,
	}
	if outcome.Attempt != nil {
		letter.At = outcome.Attempt.At
	}
	record, err := w.j.stored(outcome.Seq)
	if err == nil {
		_, _, _, err = openRecord(outcome.Seq, record)
	}
	switch {
	case errors.Is(err, journal.ErrTrimmed), errors.Is(err, journal.ErrCorrupt):
		// What is known is kept: refusing the outcome would have the delivery tried for ever.
		record = nil
		w.j.options.Log.Error("Dead letter was kept without its event",
			"subscription", outcome.Subscription, "position", outcome.Seq, "error", err)
	case err != nil:
		return err
	}

	return w.setLetter(outcome.Ref, encodeDead(&letter, record))
}

// unmatched sets a bit of the bitmap.
func (w *settling) unmatched(seq journal.Seq) error {
	block, bit := uint64(seq)/blockPositions, uint64(seq)%blockPositions
	bits := w.blocks[block]
	if bits == nil {
		bits = make([]byte, blockPositions/8)
		s := &w.j.settled
		if s.blockSet != nil && s.block == block {
			copy(bits, s.blockSet)
		} else if stored, found, err := w.j.get(keyBlock(block)); err != nil {
			return err
		} else if found {
			copy(bits, stored)
		}
		w.blocks[block] = bits
	}
	bits[bit/8] |= 1 << (bit % 8)

	return nil
}

// commit makes what the applied batch changed hold in memory too.
func (w *settling) commit() {
	j, s := w.j, &w.j.settled
	if uint64(w.cursor) > j.cursor.Load() {
		j.cursor.Store(uint64(w.cursor))
		if s.doneRows >= doneSweep {
			s.doneRows = 0
		}
	}
	s.doneRows += len(w.done)
	s.dueFloor = w.dueFloor
	maps.Copy(s.heads, w.heads)
	for block, bits := range w.blocks {
		if s.blockSet == nil || block >= s.block {
			s.block, s.blockSet = block, bits
		}
	}
	for subscription, change := range w.changes {
		s.changes[subscription] = change
		s.nextChange = max(s.nextChange, change.number)
	}
	for subscription, sum := range w.sums {
		s.letters.replace(subscription, sum)
	}
	for i := range w.replayed {
		s.note(&w.replayed[i])
	}
	s.touch()
}
