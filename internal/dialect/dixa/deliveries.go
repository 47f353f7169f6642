package dixa

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Statuses implements subscription.Deliveries: the events with a recent delivery.
func (c *Client) Statuses(ctx context.Context, id string) ([]subscription.DeliveryStatus, error) {
	entries, err := c.entries(ctx, call{method: http.MethodGet, path: pathStatuses, id: &id})
	if err != nil {
		return nil, fmt.Errorf("reading delivery statuses: %w", err)
	}
	statuses := make([]subscription.DeliveryStatus, 0, len(entries))
	for i, entry := range entries {
		var one EventStatus
		err := json.Unmarshal(entry, &one)
		none := one.Status.Type == noRecentDelivery
		if err != nil || one.Event == "" || !none && one.Status.Success == nil {
			return nil, fmt.Errorf("reading delivery statuses: entry %d: %w", i,
				shapeError(`{"event","deliveryStatus":{"_type":"DeliveryDetail","success",…}} or {"_type":"NoRecentDelivery"}`))
		}
		if none {
			continue
		}
		statuses = append(statuses, subscription.DeliveryStatus{
			Event: one.Event, Success: *one.Status.Success, ResponseCode: one.Status.code(), ResponseText: one.Status.text(),
			Timestamp: readTime(one.Status.Timestamp),
		})
	}
	slices.SortFunc(statuses, func(a, b subscription.DeliveryStatus) int { return cmp.Compare(a.Event, b.Event) })

	return statuses, nil
}

func (d DeliveryDetail) code() int {
	if d.ResponseCode == nil {
		return 0
	}

	return *d.ResponseCode
}

func (d DeliveryDetail) text() string {
	if d.ResponseText == nil {
		return ""
	}

	return *d.ResponseText
}

// Logs implements subscription.Deliveries. Dixa has one log for each event type: where none is named, all
// those with a recent delivery are asked for, one after the other. An attempt has no id or number of its own:
// the delivery's is the event's, which tells duplicates apart, and attempts are numbered within the log.
func (c *Client) Logs(ctx context.Context, id string, query subscription.LogQuery) ([]subscription.LogEntry, error) {
	query, err := query.Validated()
	if err != nil {
		return nil, err
	}
	events, err := c.loggedEvents(ctx, id, query.Event)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	var all []subscription.LogEntry
	for _, event := range events {
		entries, err := c.log(ctx, id, event)
		if err != nil {
			return nil, fmt.Errorf("reading logs: %w", err)
		}
		all = append(all, entries...)
	}
	slices.SortStableFunc(all, func(a, b subscription.LogEntry) int { return b.Timestamp.Compare(a.Timestamp) })

	return all[:min(len(all), query.Limit)], nil
}

// loggedEvents are the event types whose logs to read.
func (c *Client) loggedEvents(ctx context.Context, id, event string) ([]string, error) {
	if slices.Contains(knownEvents, event) {
		return []string{event}, nil
	}
	if event != "" {
		// The vendor may have types that this client does not know; asking for one it lacks too is an error.
		found, err := c.Get(ctx, id)
		if err != nil || !slices.Contains(found.Events, event) {
			return nil, err
		}

		return []string{event}, nil
	}
	statuses, err := c.Statuses(ctx, id)
	if err != nil {
		return nil, err
	}
	events := make([]string, 0, len(statuses))
	for _, status := range statuses {
		events = append(events, status.Event)
	}

	return events, nil
}

// log reads the log of one event type, newest first.
func (c *Client) log(ctx context.Context, id, event string) ([]subscription.LogEntry, error) {
	raw, err := c.entries(ctx, call{method: http.MethodGet, path: pathLogs, id: &id, event: event})
	if err != nil {
		return nil, err
	}
	entries := make([]subscription.LogEntry, 0, len(raw))
	for i, text := range raw {
		var one LogEntry
		if json.Unmarshal(text, &one) != nil || one.Detail.Success == nil {
			return nil, fmt.Errorf("entry %d: %w", i, shapeError(`{"deliveryDetail":{…},"payload":"…"}`))
		}
		var payload struct {
			EventID string `json:"event_id"`
		}
		// A payload that is no envelope has no event id to tell.
		_ = json.Unmarshal([]byte(one.Payload), &payload)
		entries = append(entries, subscription.LogEntry{
			DeliveryID: payload.EventID, EventID: payload.EventID, Event: event, Timestamp: readTime(one.Detail.Timestamp),
			Success: *one.Detail.Success, ResponseCode: one.Detail.code(), ResponseText: one.Detail.text(),
			Payload: []byte(one.Payload),
		})
	}
	slices.SortStableFunc(entries, func(a, b subscription.LogEntry) int { return b.Timestamp.Compare(a.Timestamp) })
	attempts := make(map[string]int32, len(entries))
	for i := range slices.Backward(entries) {
		attempts[entries[i].EventID]++
		entries[i].Attempt = attempts[entries[i].EventID]
	}

	return entries, nil
}

// changesPerCall is how many subscriptions one call of StatusesChangedSince asks after: Dixa tells of no
// changes, so each is asked in turn. A change among n subscriptions shows within n/20 calls.
const changesPerCall = 20

// changes is what is known of delivery statuses.
type changes struct {
	// turn is held by the one who asks.
	turn chan struct{}
	// nonce tells this client's cursors from another's.
	nonce string
	// generation counts the changes that were seen.
	generation uint64
	seen       map[string]seenStatuses
	// last is the id that was asked after last.
	last string
}

// seenStatuses are the statuses of one subscription when they were last asked for.
type seenStatuses struct {
	digest [sha256.Size]byte
	// changed is the generation of their last change; 0 while there are none.
	changed uint64
}

func newChanges() *changes {
	return &changes{turn: make(chan struct{}, 1), nonce: rand.Text(), seen: map[string]seenStatuses{}}
}

// StatusesChangedSince implements subscription.Deliveries. The cursor is this client's own: after a restart it
// counts as empty. One call makes 21 requests at most.
func (c *Client) StatusesChangedSince(ctx context.Context, cursor string) (subscription.Changes, error) {
	k := c.changes
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return subscription.Changes{}, fmt.Errorf("waiting to read changed delivery statuses: %w", ctx.Err())
	}
	list, err := c.List(ctx)
	if err != nil {
		return subscription.Changes{}, fmt.Errorf("reading changed delivery statuses: %w", err)
	}
	ids := make([]string, 0, len(list))
	for _, one := range list {
		ids = append(ids, one.ID)
	}
	slices.Sort(ids)
	for id := range k.seen {
		if _, stands := slices.BinarySearch(ids, id); !stands {
			delete(k.seen, id)
		}
	}
	for _, id := range k.next(ids) {
		statuses, err := c.Statuses(ctx, id)
		if errors.Is(err, subscription.ErrNotFound) {
			// It was deleted meanwhile.
			continue
		}
		if err != nil {
			// The next call goes on here.
			return subscription.Changes{}, fmt.Errorf("reading changed delivery statuses: %w", err)
		}
		k.note(id, statuses)
	}
	since := k.parse(cursor)
	out := subscription.Changes{Next: k.nonce + "." + strconv.FormatUint(k.generation, 10)}
	for _, id := range ids {
		if k.seen[id].changed > since {
			out.IDs = append(out.IDs, id)
		}
	}

	return out, nil
}

// next are the ids whose turn it is, of sorted ones.
func (k *changes) next(ids []string) []string {
	at, found := slices.BinarySearch(ids, k.last)
	if found {
		at++
	}
	turn := slices.Concat(ids[at:], ids[:at])

	return turn[:min(len(turn), changesPerCall)]
}

// note keeps what was seen of one subscription.
func (k *changes) note(id string, statuses []subscription.DeliveryStatus) {
	k.last = id
	before, known := k.seen[id]
	now := seenStatuses{digest: digest(statuses), changed: before.changed}
	if known && now.digest != before.digest || !known && len(statuses) > 0 {
		k.generation++
		now.changed = k.generation
	}
	k.seen[id] = now
}

// digest stands for statuses, whose texts may be long.
func digest(statuses []subscription.DeliveryStatus) [sha256.Size]byte {
	hash := sha256.New()
	for _, status := range statuses {
		_, _ = fmt.Fprintf(hash, "%q %t %d %q %s\n", status.Event, status.Success, status.ResponseCode, status.ResponseText,
			status.Timestamp.UTC().Format(time.RFC3339Nano))
	}

	return [sha256.Size]byte(hash.Sum(nil))
}

// parse reads a cursor; one of another client is the beginning.
func (k *changes) parse(cursor string) uint64 {
	nonce, text, _ := strings.Cut(cursor, ".")
	generation, err := strconv.ParseUint(text, 10, 64)
	if nonce != k.nonce || err != nil {
		return 0
	}

	return generation
}
