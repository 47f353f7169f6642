// Package ledger is the read side of the journal: delivery statuses, logs, dead letters and
// counts, in the port's terms.
//
// It speaks of subscriptions by id and does not know whose they are: the caller (the registry,
// the API's server) sees to it that a subscription exists and belongs to the tenant who asks.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits.
const (
	// MaxPayloadBytes bounds the payloads of one answer. Logs leaves out those of the oldest
	// attempts; DeadLetters ends its page, after at least one.
	MaxPayloadBytes = 2 << 20
	// MaxDeadLetters is the most dead letters one page may have.
	MaxDeadLetters = 1000
	// MaxCount is how far Counts counts.
	MaxCount = 1000

	// payloadChunk is how many events or dead letters are read at a time, with their payloads;
	// rowChunk how many rows without.
	payloadChunk = 8
	rowChunk     = 500
	// cursorPrefix begins a cursor of StatusesChangedSince, so that another kind is told apart.
	cursorPrefix = "s1."
	cursorBase   = 36
)

// Ledger reads what became of deliveries. It is safe for concurrent use.
type Ledger struct {
	view journal.View
	get  func(ctx context.Context, seqs []journal.Seq) ([]journal.Event, error)
	body Body
}

// Body is what a delivery of an event to a subscription sends; nil where it sends nothing, as
// where the event cannot be told in the subscription's format.
type Body func(subscriptionID string, event *journal.Event) []byte

// Option changes a Ledger.
type Option func(*Ledger)

// WithBody has logs show what was sent, by the subscription's present format. Without it they
// show the event as it was accepted, as CloudEvents JSON.
func WithBody(body Body) Option { return func(l *Ledger) { l.body = body } }

var _ registry.Ledger = (*Ledger)(nil)

// New reads a journal: its rows through view, its payloads through get, which is Journal.Get.
func New(view journal.View, get func(ctx context.Context, seqs []journal.Seq) ([]journal.Event, error), options ...Option) *Ledger {
	l := &Ledger{view: view, get: get, body: func(_ string, event *journal.Event) []byte { return event.Body }}
	for _, option := range options {
		option(l)
	}

	return l
}

// Statuses implements registry.Ledger.
func (l *Ledger) Statuses(ctx context.Context, id string) ([]subscription.DeliveryStatus, error) {
	rows, err := l.view.Statuses(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading delivery statuses: %w", err)
	}
	statuses := make([]subscription.DeliveryStatus, 0, len(rows))
	for _, row := range rows {
		statuses = append(statuses, subscription.DeliveryStatus{
			Event:        row.EventType,
			Success:      row.Attempt.Success,
			ResponseCode: row.Attempt.ResponseCode,
			ResponseText: row.Attempt.ResponseText,
			Timestamp:    row.Attempt.At,
		})
	}

	return statuses, nil
}

// StatusesChangedSince implements registry.Ledger. A cursor of another ledger, or of this one
// before its journal was put back to an earlier state, counts as empty.
func (l *Ledger) StatusesChangedSince(ctx context.Context, tenant, cursor string) (subscription.Changes, error) {
	after := parseCursor(cursor)
	ids, next, err := l.view.StatusesChangedSince(ctx, tenant, after)
	if err == nil && next < after {
		ids, next, err = l.view.StatusesChangedSince(ctx, tenant, 0)
	}
	if err != nil {
		return subscription.Changes{}, fmt.Errorf("reading changed delivery statuses: %w", err)
	}

	return subscription.Changes{IDs: ids, Next: cursorPrefix + strconv.FormatUint(next, cursorBase)}, nil
}

// parseCursor is the point a cursor stands for, 0 where it is none of ours.
func parseCursor(cursor string) uint64 {
	digits, ours := strings.CutPrefix(cursor, cursorPrefix)
	if !ours {
		return 0
	}
	after, err := strconv.ParseUint(digits, cursorBase, 64)
	if err != nil {
		return 0
	}

	return after
}

// Logs implements registry.Ledger. An entry has its payload while the log has the event and
// the answer stays under MaxPayloadBytes; a test event, which is in no log, has none.
func (l *Ledger) Logs(ctx context.Context, id string, query subscription.LogQuery) ([]subscription.LogEntry, error) {
	limit := query.Limit
	if limit <= 0 {
		limit = subscription.DefaultLogLimit
	}
	attempts, err := l.view.Attempts(ctx, id, journal.AttemptQuery{
		EventType: query.Event, Limit: min(limit, subscription.MaxLogLimit),
	})
	if err != nil {
		return nil, fmt.Errorf("reading attempts: %w", err)
	}
	payloads, err := l.payloads(ctx, id, attempts)
	if err != nil {
		return nil, err
	}
	entries := make([]subscription.LogEntry, 0, len(attempts))
	for i := range attempts {
		entries = append(entries, EntryOf(&attempts[i], payloads[attempts[i].Seq]))
	}

	return entries, nil
}

// EntryOf is an attempt in the port's terms. A test event has no position.
func EntryOf(attempt *journal.Attempt, payload []byte) subscription.LogEntry {
	entry := subscription.LogEntry{
		DeliveryID:   attempt.DeliveryID,
		EventID:      attempt.EventID,
		Event:        attempt.EventType,
		Attempt:      attempt.Number,
		Timestamp:    attempt.At,
		Success:      attempt.Success,
		ResponseCode: attempt.ResponseCode,
		ResponseText: attempt.ResponseText,
		Latency:      attempt.Latency,
		ResponseBody: attempt.ResponseBody,
	}
	if !attempt.Test {
		entry.Position = uint64(attempt.Seq)
		entry.Payload = payload
	}

	return entry
}

// payloads are the bodies of the deliveries that were attempted to a subscription, newest
// attempts first, until they are many bytes. What has been trimmed is left out.
func (l *Ledger) payloads(ctx context.Context, id string, attempts []journal.Attempt) (map[journal.Seq][]byte, error) {
	first, _, err := l.view.Bounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the bounds of the log: %w", err)
	}
	wanted := make([]journal.Seq, 0, len(attempts))
	seen := make(map[journal.Seq]bool, len(attempts))
	for _, attempt := range attempts {
		if !attempt.Test && attempt.Seq >= max(first, 1) && !seen[attempt.Seq] {
			seen[attempt.Seq] = true
			wanted = append(wanted, attempt.Seq)
		}
	}
	payloads := make(map[journal.Seq][]byte, len(wanted))
	size := 0
	for chunk := range slices.Chunk(wanted, payloadChunk) {
		events, err := l.events(ctx, chunk)
		if err != nil {
			return nil, err
		}
		for _, seq := range chunk {
			event, ok := events[seq]
			if !ok {
				continue
			}
			body := l.body(id, &event)
			if size += len(body); size > MaxPayloadBytes {
				return payloads, nil
			}
			payloads[seq] = body
		}
	}

	return payloads, nil
}

// events reads events by position, one by one where a trim has come between.
func (l *Ledger) events(ctx context.Context, seqs []journal.Seq) (map[journal.Seq]journal.Event, error) {
	found := make(map[journal.Seq]journal.Event, len(seqs))
	events, err := l.get(ctx, seqs)
	switch {
	case errors.Is(err, journal.ErrTrimmed) && len(seqs) == 1:
		return found, nil
	case errors.Is(err, journal.ErrTrimmed):
		for _, seq := range seqs {
			one, err := l.events(ctx, []journal.Seq{seq})
			if err != nil {
				return nil, err
			}
			if event, ok := one[seq]; ok {
				found[seq] = event
			}
		}

		return found, nil
	case err != nil:
		return nil, fmt.Errorf("reading payloads: %w", err)
	}
	for i, seq := range seqs {
		found[seq] = events[i]
	}

	return found, nil
}

// EventTypes implements registry.Ledger.
func (l *Ledger) EventTypes(ctx context.Context, tenant string) ([]subscription.EventType, error) {
	rows, err := l.view.EventTypes(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("reading event types: %w", err)
	}
	types := make([]subscription.EventType, 0, len(rows))
	for _, row := range rows {
		types = append(types, subscription.EventType{Name: row.Name, FirstSeen: row.FirstSeen, LastSeen: row.LastSeen})
	}

	return types, nil
}

// DeadLetters returns one page of a subscription's dead letters after a position, in order:
// at most limit of them, at most MaxDeadLetters, and fewer where their payloads are large. The
// page after it begins at the last one's position; an empty page is the end.
func (l *Ledger) DeadLetters(ctx context.Context, tenant, id string, after journal.Seq, limit int) ([]journal.DeadLetter, error) {
	limit = min(limit, MaxDeadLetters)
	var page []journal.DeadLetter
	size := 0
	for len(page) < limit {
		rows, err := l.view.DeadLetters(ctx, id, after, min(payloadChunk, limit-len(page)))
		if err != nil {
			return nil, fmt.Errorf("reading dead letters: %w", err)
		}
		if len(rows) == 0 {
			return page, nil
		}
		after = rows[len(rows)-1].Seq
		for _, row := range rows {
			// A second look at what the caller has checked: a letter is its tenant's alone.
			if row.Tenant != tenant {
				continue
			}
			if size += len(row.Event.Body); size > MaxPayloadBytes && len(page) > 0 {
				return page, nil
			}
			page = append(page, row)
		}
	}

	return page, nil
}

// Counts are what waits for a subscription and what was given up. Each counts up to MaxCount,
// which therefore stands for "that many or more".
type Counts struct {
	// Backlog are deliveries not tried yet, Retries those that wait for their next attempt.
	Backlog int
	Retries int
	// DeadLetters are those given up.
	DeadLetters int
}

// Pending are the deliveries that wait, tried before or not.
func (c Counts) Pending() int { return c.Backlog + c.Retries }

// Counts counts a subscription's deliveries.
func (l *Ledger) Counts(ctx context.Context, id string) (Counts, error) {
	var (
		counts Counts
		err    error
	)
	counts.Backlog, err = count(rowChunk, func(after journal.Seq, limit int) (int, journal.Seq, error) {
		seqs, err := l.view.Backlog(ctx, id, after, limit)
		if len(seqs) > 0 {
			after = seqs[len(seqs)-1]
		}

		return len(seqs), after, err
	})
	if err != nil {
		return Counts{}, fmt.Errorf("counting the backlog: %w", err)
	}
	counts.Retries, err = count(rowChunk, func(after journal.Seq, limit int) (int, journal.Seq, error) {
		rows, err := l.view.Retries(ctx, id, after, limit)
		if len(rows) > 0 {
			after = rows[len(rows)-1].Seq
		}

		return len(rows), after, err
	})
	if err != nil {
		return Counts{}, fmt.Errorf("counting retries: %w", err)
	}
	counts.DeadLetters, err = count(payloadChunk, func(after journal.Seq, limit int) (int, journal.Seq, error) {
		rows, err := l.view.DeadLetters(ctx, id, after, limit)
		if len(rows) > 0 {
			after = rows[len(rows)-1].Seq
		}

		return len(rows), after, err
	})
	if err != nil {
		return Counts{}, fmt.Errorf("counting dead letters: %w", err)
	}

	return counts, nil
}

// count adds up pages until one is empty or MaxCount is reached.
func count(chunk int, page func(after journal.Seq, limit int) (int, journal.Seq, error)) (int, error) {
	var after journal.Seq
	total := 0
	for total < MaxCount {
		n, last, err := page(after, min(chunk, MaxCount-total))
		if err != nil || n == 0 {
			return total, err
		}
		total += n
		after = last
	}

	return total, nil
}
