package bird

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Statuses implements subscription.Deliveries. A subscription has one event, so the youngest of its logs is its
// status: the delivery that began last, as its last attempt ended.
func (c *Client) Statuses(ctx context.Context, id string) ([]subscription.DeliveryStatus, error) {
	found, err := c.Get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading delivery statuses: %w", err)
	}
	youngest, err := c.youngest(ctx, id, 1)
	if err != nil {
		return nil, fmt.Errorf("reading delivery statuses: %w", err)
	}
	statuses := make([]subscription.DeliveryStatus, 0, 1)
	for _, one := range youngest {
		statuses = append(statuses, subscription.DeliveryStatus{
			Event: found.Events[0], Success: one.succeeded(), ResponseCode: one.HTTPStatusCode, ResponseText: one.text(),
			Timestamp: readTime(one.CreatedAt),
		})
	}

	return statuses, nil
}

func (e LogEntry) succeeded() bool { return e.ExecutionStatus == executionSucceeded }

// text is the response's status text, or why there was none.
func (e LogEntry) text() string {
	if text := http.StatusText(e.HTTPStatusCode); text != "" {
		return text
	}

	return e.ExecutionStatus
}

// youngest are the youngest entries of a subscription's logs, the youngest first: at most most, and those of
// MaxLogPages pages. The vendor does not say how logs are sorted: where the oldest come first, the
// pages are turned to their end.
func (c *Client) youngest(ctx context.Context, id string, most int) ([]LogEntry, error) {
	var (
		all   []LogEntry
		token string
		// Two entries are the least that tell an order.
		limit = max(2, min(most, MaxPageSize))
	)
	for range MaxLogPages {
		raw, next, err := c.page(ctx, call{method: http.MethodGet, path: pathLogs, id: &id}, limit, token)
		if err != nil {
			return nil, err
		}
		for i, text := range raw {
			var one LogEntry
			if json.Unmarshal(text, &one) != nil || one.RequestID == "" || one.ExecutionStatus == "" {
				return nil, fmt.Errorf("log entry %d: %w", i,
					shapeError(`{"requestId","attemptCount","httpStatusCode","executionStatus","createdAt"}`))
			}
			all = append(all, one)
		}
		oldestFirst := len(all) > 1 && readTime(all[0].CreatedAt).Before(readTime(all[len(all)-1].CreatedAt))
		if next == "" || next == token || len(raw) == 0 || len(all) >= most && !oldestFirst {
			break
		}
		token, limit = next, MaxPageSize
	}
	slices.SortStableFunc(all, func(a, b LogEntry) int { return readTime(b.CreatedAt).Compare(readTime(a.CreatedAt)) })

	return all[:min(len(all), most)], nil
}

// Logs implements subscription.Deliveries. Bird logs deliveries, and tells the attempts of each when asked: those
// of the MaxDetails youngest that were retried are asked for; of others their last attempt stands alone. An event
// has no id at Bird: the delivery's stands for it.
func (c *Client) Logs(ctx context.Context, id string, query subscription.LogQuery) ([]subscription.LogEntry, error) {
	query, err := query.Validated()
	if err != nil {
		return nil, err
	}
	found, err := c.Get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	event := found.Events[0]
	if query.Event != "" && query.Event != event {
		return nil, nil
	}
	deliveries, err := c.youngest(ctx, id, query.Limit)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	var entries []subscription.LogEntry
	asked := 0
	for _, one := range deliveries {
		last := subscription.LogEntry{
			DeliveryID: one.RequestID, EventID: one.RequestID, Event: event,
			Attempt: max(1, one.AttemptCount), Timestamp: readTime(one.CreatedAt),
			Success: one.succeeded(), ResponseCode: one.HTTPStatusCode, ResponseText: one.text(),
		}
		if one.AttemptCount <= 1 || asked == MaxDetails {
			entries = append(entries, last)

			continue
		}
		asked++
		attempts, err := c.attempts(ctx, id, last)
		if err != nil {
			return nil, fmt.Errorf("reading logs: %w", err)
		}
		entries = append(entries, attempts...)
	}
	slices.SortStableFunc(entries, func(a, b subscription.LogEntry) int { return b.Timestamp.Compare(a.Timestamp) })

	return entries[:min(len(entries), query.Limit)], nil
}

// attempts are a delivery's, of which the last is given. The vendor does not show their members: those that an
// answer lacks are taken from the delivery, and an answer without attempts is the last one alone.
func (c *Client) attempts(ctx context.Context, id string, last subscription.LogEntry) ([]subscription.LogEntry, error) {
	body, err := c.do(ctx, call{
		method: http.MethodGet, path: pathDetails, id: &id, query: url.Values{paramRequestID: {last.DeliveryID}},
	})
	if errors.Is(err, subscription.ErrNotFound) {
		// It has been dropped from the logs meanwhile.
		return []subscription.LogEntry{last}, nil
	}
	if err != nil {
		return nil, err
	}
	raw, _, err := readPageOf(body)
	if err != nil && json.Unmarshal(body, &raw) != nil {
		return nil, err
	}
	entries := make([]subscription.LogEntry, 0, len(raw))
	for _, text := range raw {
		var one struct {
			Attempt

			// Pointers tell what an answer lacks.
			HTTPStatusCode  *int    `json:"httpStatusCode"`
			ExecutionStatus *string `json:"executionStatus"`
		}
		if json.Unmarshal(text, &one) != nil {
			return nil, fmt.Errorf("details of a log: %w", shapeError("objects"))
		}
		entry := last
		entry.Attempt = one.Attempt.Attempt
		if at := readTime(one.CreatedAt); !at.IsZero() {
			entry.Timestamp = at
		}
		if one.HTTPStatusCode != nil {
			entry.ResponseCode = *one.HTTPStatusCode
			entry.Success = entry.ResponseCode >= http.StatusOK && entry.ResponseCode < http.StatusMultipleChoices
			entry.ResponseText = http.StatusText(entry.ResponseCode)
		}
		if one.ExecutionStatus != nil {
			entry.Success = *one.ExecutionStatus == executionSucceeded
		}
		if one.Error != "" {
			entry.ResponseText = one.Error
		}
		entry.ResponseBody, entry.Payload = bytesOf(one.ResponseBody), bytesOf(one.RequestBody)
		entries = append(entries, entry)
	}
	if len(entries) == 0 {
		return []subscription.LogEntry{last}, nil
	}
	slices.SortStableFunc(entries, func(a, b subscription.LogEntry) int { return b.Timestamp.Compare(a.Timestamp) })
	for i := range entries {
		if entries[i].Attempt < 1 {
			entries[i].Attempt = int32(len(entries) - i) //nolint:gosec // There are not that many in MaxResponseBytes.
		}
	}

	return entries, nil
}

// bytesOf is a text's; nil where it is empty.
func bytesOf(text string) []byte {
	if text == "" {
		return nil
	}

	return []byte(text)
}

// changesPerCall is how many subscriptions one call of StatusesChangedSince asks after: Bird tells of no
// changes, so each is asked in turn. A change among n subscriptions shows within n/20 calls.
const changesPerCall = 20

// changes is what is known of the logs.
type changes struct {
	// turn is held by the one who asks.
	turn chan struct{}
	// nonce tells this client's cursors from another's.
	nonce string
	// generation counts the changes that were seen.
	generation uint64
	seen       map[string]seenLog
	// last is the id that was asked after last.
	last string
}

// seenLog is the youngest log entry of one subscription when it was last asked for.
type seenLog struct {
	digest [sha256.Size]byte
	// changed is the generation of its last change; 0 while there is none.
	changed uint64
}

func newChanges() *changes {
	return &changes{turn: make(chan struct{}, 1), nonce: rand.Text(), seen: map[string]seenLog{}}
}

// StatusesChangedSince implements subscription.Deliveries. The cursor is this client's own: after a restart it
// counts as empty. One call asks for the list and the logs of 20 subscriptions at most.
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
		youngest, err := c.youngest(ctx, id, 1)
		if errors.Is(err, subscription.ErrNotFound) {
			// It was deleted meanwhile.
			continue
		}
		if err != nil {
			// The next call goes on here.
			return subscription.Changes{}, fmt.Errorf("reading changed delivery statuses: %w", err)
		}
		k.note(id, youngest)
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
func (k *changes) note(id string, youngest []LogEntry) {
	k.last = id
	before, known := k.seen[id]
	now := seenLog{digest: digest(youngest), changed: before.changed}
	if known && now.digest != before.digest || !known && len(youngest) > 0 {
		k.generation++
		now.changed = k.generation
	}
	k.seen[id] = now
}

func digest(youngest []LogEntry) [sha256.Size]byte {
	hash := sha256.New()
	for _, one := range youngest {
		_, _ = fmt.Fprintf(hash, "%q %d %d %q %q\n",
			one.RequestID, one.AttemptCount, one.HTTPStatusCode, one.ExecutionStatus, one.CreatedAt)
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
