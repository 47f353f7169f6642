package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

// Reasons of skipped intervals.
const (
	skippedDisabled  = "Disabled"
	skippedSuspended = "Suspended"
)

// reader reads the log in order, matches, and places. It alone owns the matcher.
type reader struct {
	engine  *Engine
	matcher *registry.Matcher
	// next is the position to read.
	next journal.Seq
	// done are deliveries after the cursor that were final at the start; nil once past them.
	done map[journal.Ref]bool
	// skipped are the open intervals by subscription.
	skipped map[string]journal.Interval
	matches []*registry.Subscription
	// passed are the positions that were passed over.
	passed int
	// among is what filter passes on; it holds nothing between events.
	among []*registry.Subscription
}

// recover restores the state at the cursor: the matcher as it was there, the endpoints
// with rows, and what is final already after it.
func (e *Engine) recover(ctx context.Context) (*reader, error) {
	store, view := e.cfg.Journal, e.cfg.Journal.View()
	cursor, err := view.Cursor(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the cursor: %w", err)
	}
	first, last, err := view.Bounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the journal's bounds: %w", err)
	}
	if first > 0 && cursor+1 < first {
		// Nothing before the first record is left to deliver.
		cursor = first - 1
	}
	done, err := view.DoneAfterCursor(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("reading what is delivered after the cursor: %w", err)
	}
	r := &reader{
		engine: e, matcher: registry.NewMatcher(), next: cursor + 1,
		done: make(map[journal.Ref]bool, len(done)), skipped: make(map[string]journal.Interval),
	}
	for _, ref := range done {
		r.done[ref] = true
	}
	versions, err := store.Subscriptions(ctx, cursor)
	if err != nil {
		return nil, fmt.Errorf("reading the subscriptions at the cursor: %w", err)
	}
	for _, version := range versions {
		if err := r.restore(ctx, view, version, cursor); err != nil {
			return nil, err
		}
	}
	present, err := store.Subscriptions(ctx, journal.LatestSeq)
	if err != nil {
		return nil, fmt.Errorf("reading the subscriptions: %w", err)
	}
	backlogged, err := view.Backlogged(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading which subscriptions have a backlog: %w", err)
	}
	retrying, err := view.Retrying(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading which subscriptions have retries: %w", err)
	}
	rows := make(map[string]int, len(backlogged)+len(retrying))
	for _, id := range slices.Concat(backlogged, retrying) {
		if _, counted := rows[id]; counted {
			continue
		}
		if rows[id], err = e.countRows(ctx, id); err != nil {
			return nil, err
		}
	}
	e.restore(cursor, last, present, backlogged, retrying, rows)

	return r, nil
}

// restore makes the endpoints that have rows. A subscription without a present version was
// deleted: neither the log nor the registry may tell of it again, so its rows are cleared now.
func (e *Engine) restore(
	cursor, last journal.Seq, present []journal.Version, backlogged, retrying []string, rows map[string]int,
) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cursor, e.read, e.startedAt = cursor, cursor, last
	e.recovered = cursor >= last
	e.present = make(map[string]bool, len(present))
	for _, version := range present {
		e.present[version.ID] = true
	}
	for _, id := range retrying {
		// Which of its retries are parked is not known before the rows are read.
		ep := e.endpointOf(id, !e.present[id])
		ep.parked = true
		if ep.order != nil {
			ep.order = newOrder(false)
			e.setBehind(ep, true)
		}
		e.hungry[ep.id] = ep
	}
	for _, id := range backlogged {
		ep := e.endpointOf(id, !e.present[id])
		e.setBehind(ep, true)
		e.hungry[ep.id] = ep
	}
	for id, n := range rows {
		e.addRows(e.endpoints[id], n)
	}
}

// restore puts a version into the matcher, and finds the interval that is open at the
// cursor where it does not take events.
func (r *reader) restore(ctx context.Context, view journal.View, version journal.Version, cursor journal.Seq) error {
	sub, err := registry.Decode(version)
	if err != nil {
		return fmt.Errorf("reading the subscriptions at the cursor: %w", err)
	}
	r.matcher.Put(sub)
	reason := skipReason(sub)
	if reason == "" {
		return nil
	}
	intervals, err := view.Skipped(ctx, sub.ID)
	if err != nil {
		return fmt.Errorf("reading the skipped intervals of subscription %s: %w", sub.ID, err)
	}
	open := journal.Interval{Subscription: sub.ID, From: sub.Seq, Reason: reason}
	for _, interval := range intervals {
		// It may have been closed by a marker after the cursor, which is read again.
		if interval.From <= cursor && (interval.To == 0 || interval.To > cursor) {
			open.From = interval.From
		}
	}
	r.skipped[sub.ID] = open

	return nil
}

// skipReason says why a version takes no events; empty where it does, or is deleted.
func skipReason(sub *registry.Subscription) string {
	switch {
	case sub.Deleted || sub.Takes():
		return ""
	case !sub.Enabled:
		return skippedDisabled
	default:
		return skippedSuspended
	}
}

// run reads until ctx ends. The error is of the journal.
func (r *reader) run(ctx context.Context) error {
	for {
		if !r.engine.room(ctx) {
			return nil
		}
		records, err := r.read(ctx)
		if ended(ctx) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the journal from position %d: %w", r.next, err)
		}
		for i := range records {
			err := r.take(ctx, &records[i])
			if ended(ctx) {
				return nil
			}
			if err != nil {
				return err
			}
			r.next = records[i].Seq + 1
		}
	}
}

// read returns the next records, none where the next one was passed over.
func (r *reader) read(ctx context.Context) ([]journal.Record, error) {
	store := r.engine.cfg.Journal
	records, err := store.Read(ctx, r.next, readBatch)
	damage, ok := errors.AsType[*journal.RecordError](err)
	switch {
	case !ok || !damage.Altered || !errors.Is(damage, journal.ErrCorrupt) || damage.Seq < r.next:
		return records, err //nolint:wrapcheck // The caller does.
	case damage.Seq > r.next:
		// Those before it are sound.
		sound := int(min(damage.Seq-r.next, readBatch))

		return store.Read(ctx, r.next, sound) //nolint:wrapcheck // The caller does.
	default:
		return nil, r.passOver(ctx, damage)
	}
}

// passOver goes on behind a record that is lost, loudly: to stop at it would be to stop at each start,
// and to lose what follows as well. A marker is told by the version that it stood for, so nothing is
// lost with it; an event is written down as one that no subscription got.
func (r *reader) passOver(ctx context.Context, damage *journal.RecordError) error {
	e := r.engine
	if r.passed++; r.passed > maxPassedOver {
		return fmt.Errorf("more than %d records are lost: restore the journal from a backup: %w", maxPassedOver, damage)
	}
	versions, err := e.cfg.Journal.Subscriptions(ctx, damage.Seq)
	if err != nil {
		return fmt.Errorf("reading the subscriptions at position %d, whose record is lost: %w", damage.Seq, err)
	}
	e.metrics.lost.Inc()
	// It may have been the marker of one that was deleted, of which there is no version to read.
	matcher := registry.NewMatcher()
	var marker *journal.Version
	for i := range versions {
		sub, err := registry.Decode(versions[i])
		if err != nil {
			return fmt.Errorf("reading the subscriptions at position %d, whose record is lost: %w", damage.Seq, err)
		}
		matcher.Put(sub)
		if versions[i].Seq == damage.Seq {
			marker = &versions[i]
		}
	}
	r.matcher = matcher
	r.next = damage.Seq + 1
	if marker != nil {
		e.cfg.Log.Error("Passed over a corrupt record of the log, which a subscription's stored version stands in for",
			"position", damage.Seq, "file", damage.File, "subscription", marker.ID, "error", damage)

		return r.mark(damage.Seq, *marker)
	}
	e.cfg.Log.Error("Passed over a corrupt record of the log: where it was an event, no subscription gets it",
		"position", damage.Seq, "file", damage.File, "error", damage)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending.unmatched = append(e.pending.unmatched, damage.Seq)
	e.advance(damage.Seq)

	return nil
}

// ended tells that reading is to end, which is no failure of whatever it interrupts.
func ended(ctx context.Context) bool { return ctx.Err() != nil }

func (r *reader) take(ctx context.Context, record *journal.Record) error {
	switch {
	case record.Marker != nil:
		return r.mark(record.Seq, *record.Marker)
	case record.Event != nil:
		return r.match(ctx, record.Seq, record.Event)
	default:
		return fmt.Errorf("reading position %d: %w: the record is neither an event nor a marker", record.Seq, journal.ErrCorrupt)
	}
}

// mark makes a subscription's version hold for the events after it.
func (r *reader) mark(seq journal.Seq, version journal.Version) error {
	version.Seq = seq
	sub, err := registry.Decode(version)
	if err != nil {
		return fmt.Errorf("reading the marker at position %d: %w", seq, err)
	}
	r.matcher.Put(sub)

	var changed []journal.Interval
	reason := skipReason(sub)
	open, skipping := r.skipped[sub.ID]
	if skipping && open.Reason != reason {
		open.To = seq
		changed = append(changed, open)
		delete(r.skipped, sub.ID)
		skipping = false
	}
	if !skipping && reason != "" {
		begun := journal.Interval{Subscription: sub.ID, From: seq, Reason: reason}
		r.skipped[sub.ID] = begun
		changed = append(changed, begun)
	}

	e := r.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending.skipped = append(e.pending.skipped, changed...)
	if sub.Deleted {
		e.markDeleted(e.endpointOf(sub.ID, true))
	}
	e.advance(seq)

	return nil
}

// match places an event with every subscription it is for.
func (r *reader) match(ctx context.Context, seq journal.Seq, event *journal.Event) error {
	r.matches = r.matcher.Match(event.Tenant, event.Type, r.matches[:0])
	r.filter(event)
	matched := len(r.matches) > 0
	if err := r.skipKnown(ctx, seq); err != nil {
		return err
	}
	if len(r.matches) > 0 {
		r.engine.payloads.add(seq, event, len(r.matches))
	}

	e := r.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if !matched {
		e.pending.unmatched = append(e.pending.unmatched, seq)
	}
	from := &origin{seq: seq, since: e.cfg.Clock.Now()}
	if len(r.matches) > 0 {
		from.items = make([]*item, 0, len(r.matches))
	}
	for _, sub := range r.matches {
		e.place(sub, event, from)
	}
	if from.open > 0 {
		e.origins = append(e.origins, from)
	}
	for _, it := range from.items {
		e.pump(it.endpoint)
	}
	e.advance(seq)

	return nil
}

// filter takes out of the matches the subscriptions whose own filters the event does not pass.
func (r *reader) filter(event *journal.Event) {
	passes := r.engine.cfg.Passes
	if passes == nil {
		return
	}
	r.among = append(r.among[:0], r.matches...)
	r.matches = slices.DeleteFunc(r.matches, func(sub *registry.Subscription) bool {
		return !passes(sub, r.among, event.Type, event.Body)
	})
	clear(r.among)
}

// skipKnown takes out of the matches what the rows of before the start already stand for.
// Until the reader is past them nothing feeds on those rows, so they hold still.
func (r *reader) skipKnown(ctx context.Context, seq journal.Seq) error {
	if seq > r.engine.startedAt {
		r.done = nil

		return nil
	}
	kept := r.matches[:0]
	for _, sub := range r.matches {
		ref := journal.Ref{Subscription: sub.ID, Seq: seq}
		if r.done[ref] {
			continue
		}
		pending, err := r.engine.cfg.Journal.View().Pending(ctx, ref)
		if err != nil {
			return fmt.Errorf("reading what waits of position %d: %w", seq, err)
		}
		if !pending {
			kept = append(kept, sub)
		}
	}
	r.matches = kept

	return nil
}

// advance takes note that a position was taken in. The caller holds the lock.
func (e *Engine) advance(seq journal.Seq) {
	e.read = seq
	if !e.recovered && seq >= e.startedAt {
		e.recovered = true
	}
	e.wake()
}

// room waits until the next batch has room, so that a slow disk slows the reader down
// rather than filling the memory. It tells whether to go on: not when ctx has ended.
func (e *Engine) room(ctx context.Context) bool {
	for {
		e.mu.Lock()
		size, settled := e.pending.size(), e.settled
		e.mu.Unlock()
		if size < maxPending {
			return !ended(ctx)
		}
		select {
		case <-ctx.Done():
			return false
		case <-settled:
		}
	}
}
