// Package journal declares the dispatcher's durable memory: one append-only log of
// events and registry markers, read in order, and a small state of rows that only
// Settle changes. Engines (embedded: one Pebble store on a local disk) implement
// Journal; the conformance suite in journaltest tells whether they keep the contract.
package journal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Seq is a position in the log. The first record has 1; 0 stands before every record.
type Seq uint64

// Shard numbers a part of the subscriptions; the embedded engine has shard 0 alone.
type Shard uint16

// Epoch counts the owners of a shard.
type Epoch uint64

// Revision counts the versions of a subscription, from 1; 0 stands for "there is none yet".
type Revision uint64

// Errors an engine answers with. Anything else means that the outcome is not known.
var (
	// ErrFull: free space is under the threshold; nothing was written. Settle goes on working.
	ErrFull = errors.New("the journal's disk is nearly full")
	// ErrFenced: the caller no longer owns the shard; nothing was written.
	ErrFenced = errors.New("the shard has another owner")
	// ErrClosed: the journal is closed or closing; nothing was written.
	ErrClosed = errors.New("the journal is closed")
	// ErrRevision: the subscription is at another revision than expected; nothing was written.
	ErrRevision = errors.New("the subscription has changed meanwhile")
	// ErrNameTaken: another subscription of the tenant has the name; nothing was written.
	ErrNameTaken = errors.New("the name is taken")
	// ErrTrimmed: a record that was asked for has been trimmed.
	ErrTrimmed = errors.New("the record has been trimmed")
	// ErrCorrupt: stored bytes fail their check. It is wrapped with what was found and where.
	ErrCorrupt = errors.New("the journal is corrupt")
)

// RecordError is what Get and Read answer with where one record cannot be had. It wraps
// ErrTrimmed, where there is none any more, or ErrCorrupt, where what is stored fails its
// check or is missing from the midst of the log: asking again gives the same answer. Any
// other error of Get may pass.
type RecordError struct {
	Seq Seq
	// File is the damaged file, where the engine knows it.
	File string
	// Altered: what is stored fails its checksum, so this record is lost and those of other positions
	// may be sound. Without it ErrCorrupt says that the engine cannot tell what it has: a record
	// of an unknown version, or none where one must be.
	Altered bool
	// Err says what was found.
	Err error
}

// Error implements error.
func (e *RecordError) Error() string {
	if e.File != "" {
		return fmt.Sprintf("record at position %d in %s: %v", e.Seq, e.File, e.Err)
	}

	return fmt.Sprintf("record at position %d: %v", e.Seq, e.Err)
}

// Unwrap gives Err.
func (e *RecordError) Unwrap() error { return e.Err }

// Journal is the contract. All methods are safe for concurrent use.
type Journal interface {
	// Append writes events in the order given, contiguous among themselves. A nil error
	// means that every one of them is durable: fsynced, or on a quorum. Each receipt tells
	// its event's place, or that the event is a duplicate and where the first one stands,
	// which is durable too. After an error other than those named above, some may be durable.
	// The events' slices must not change until Append returns.
	Append(ctx context.Context, events []Event) ([]Receipt, error)
	// Read returns records from a position on, in order, at most max, at least one: at the
	// end it waits. Gaps do not occur, but for what Trim took: reading from a trimmed
	// position answers ErrTrimmed.
	Read(ctx context.Context, from Seq, max int) ([]Record, error)
	// Get returns events by position, in the order asked for. One that cannot be had fails the
	// call with a *RecordError that names it: ErrTrimmed where the position holds no event or was
	// trimmed, ErrCorrupt where it is damaged. The others can be had without it.
	Get(ctx context.Context, seqs []Seq) ([]Event, error)
	// Settle applies one batch atomically. It is durable within 10 ms, or with the next
	// Append: a crash may lose a suffix of settled batches, never one from the middle.
	Settle(ctx context.Context, shard Shard, epoch Epoch, batch Batch) error
	// Own tells which shards are gained and lost, until the context ends, then closes.
	Own(ctx context.Context) (<-chan Ownership, error)
	// Trim lets go of the log's records before a position and of what refers to them alone.
	// The caller sees to it that no cursor, backlog or retry still needs them.
	Trim(ctx context.Context, before Seq) error
	// PutSubscription writes a new version of a subscription and its marker in the log, both
	// durable on return: an event appended afterwards has a higher position than the marker.
	// It fails with ErrRevision or ErrNameTaken.
	PutSubscription(ctx context.Context, version Version, expect Revision) (Version, error)
	// Subscriptions returns, for each subscription of shard, the version that holds at a
	// position of the log: the newest whose marker stands at or before it. Deleted ones are
	// left out. At LatestSeq it is the present.
	Subscriptions(ctx context.Context, at Seq) ([]Version, error)
	// Watch sends the versions written after the call, in order, until the context ends,
	// then closes. A watcher that does not keep up is closed: it must start again.
	Watch(ctx context.Context) (<-chan Version, error)
	// View is the read side of the rows.
	View() View
	// Close settles what is under way, syncs and lets go of the files.
	Close() error
}

// LatestSeq stands for the end of the log.
const LatestSeq = Seq(^uint64(0))

// Event is one accepted event.
type Event struct {
	Tenant string
	// Source, ID and Type are the CloudEvents attributes. (Tenant, Source, ID) identifies the event.
	Source string
	ID     string
	Type   string
	// Subject and PartitionKey are the CloudEvents attributes; empty where absent.
	Subject      string
	PartitionKey string
	// Accepted is when ingest took it.
	Accepted time.Time
	// Body is the event as CloudEvents 1.0 JSON, structured mode: what a native delivery sends.
	Body []byte
}

// Receipt is Append's answer for one event.
type Receipt struct {
	Seq Seq
	// Duplicate: an event of the same identity was appended within the window before; Seq is its place.
	Duplicate bool
}

// DuplicateWindow is how long an event's identity is remembered.
const DuplicateWindow = 24 * time.Hour

// Record is one entry of the log: an event or a marker.
type Record struct {
	Seq Seq
	// Event is set for an event.
	Event *Event
	// Marker is set for a registry marker.
	Marker *Version
}

// Version is one version of a subscription, as the registry writes it.
type Version struct {
	Tenant string
	ID     string
	// Name is unique among the tenant's subscriptions that are not deleted.
	Name     string
	Revision Revision
	// Seq is the place of its marker; the journal sets it.
	Seq     Seq
	Deleted bool
	// Value is the registry's own encoding; opaque here.
	Value []byte
}

// Ownership tells that a shard was gained or lost.
type Ownership struct {
	Shard  Shard
	Epoch  Epoch
	Gained bool
}

// Ref names one delivery: one event for one subscription.
type Ref struct {
	Subscription string
	Seq          Seq
}

// Result is what became of a delivery.
type Result uint8

// The results. All but Retry are final.
const (
	// Delivered: the endpoint accepted it.
	Delivered Result = iota + 1
	// Retry: it is to be tried again at Outcome.NextAttempt.
	Retry
	// DeadLettered: it will not be tried again by itself; the payload is kept with the reason,
	// unless the event is trimmed or corrupt: then the letter stands without it.
	DeadLettered
	// Dropped: the subscription is gone, so there is nowhere to deliver to.
	Dropped
)

// Dead letter reasons.
const (
	ReasonAttemptsExhausted = "AttemptsExhausted"
	ReasonGone              = "Gone"
	// ReasonBacklogExpired: it was the oldest on pages that had reached their cap, so no
	// attempt was made.
	ReasonBacklogExpired = "BacklogExpired"
	ReasonTargetDenied   = "TargetDenied"
	// ReasonPayloadRejected: the event cannot be told in the subscription's format, so nothing was sent.
	ReasonPayloadRejected = "PayloadRejected"
	// ReasonEventCorrupt: the event's stored bytes fail their check, so nothing was sent. The
	// letter has no event; so it is with ReasonEventMissing.
	ReasonEventCorrupt = "EventCorrupt"
	// ReasonEventMissing: the journal has the event no more, so nothing was sent.
	ReasonEventMissing = "EventMissing"
)

// Outcome is the end of one attempt, or of a delivery without one.
type Outcome struct {
	Ref
	Tenant string
	Result Result
	// NextAttempt is when to try again; for Retry alone.
	NextAttempt time.Time
	// First is when the delivery's first attempt began, to be kept with the retry; zero where nothing
	// needs it. For Retry alone.
	First time.Time
	// Reason is why it is dead-lettered.
	Reason string
	// Attempt is nil where none was made.
	Attempt *Attempt
	// Resent marks an attempt outside the schedule (resend, test event): it writes its attempt
	// and, unless it is a test, its status, and with Delivered clears the dead letter, but it touches no backlog or retry
	// row and marks nothing done. So any Result may stand with it, and only Delivered counts.
	Resent bool
}

// Attempt is one request to an endpoint, and its answer.
type Attempt struct {
	Subscription string
	Seq          Seq
	// DeliveryID is the webhook-id: the same over retries and resends.
	DeliveryID string
	EventID    string
	EventType  string
	// Number counts from 1 within the delivery.
	Number int32
	// At is when it ended.
	At      time.Time
	Latency time.Duration
	Success bool
	// ResponseCode is 0 where there was no response.
	ResponseCode int
	// ResponseText is the status's text, or why there was no response; nothing secret.
	ResponseText string
	// ResponseBody is cut: MaxFailureBody for failures and the latest of each type, MaxSuccessBody otherwise.
	ResponseBody []byte
	// Test marks a test event, which is in no log.
	Test bool
}

// How much of a response's body is kept, in bytes.
const (
	MaxFailureBody = 4 << 10
	MaxSuccessBody = 256
)

// Interval is a stretch of the log during which a subscription took no events.
type Interval struct {
	Subscription string
	// From is the marker's place that stopped it; To the one that started it again, 0 while it lasts.
	From Seq
	To   Seq
	// Reason is Disabled or Suspended.
	Reason string
}

// Batch is what one Settle changes. Backlog is applied before Outcomes, so that a delivery
// that is both placed and final, or to be retried, in one batch has no backlog row after it.
type Batch struct {
	// Cursor moves the shard's cursor forward; 0 leaves it. Every event up to it is placed or
	// final for every subscription that it matched.
	Cursor Seq
	// Outcomes: an attempt row, the latest status of the event type, and, by Result: Delivered,
	// DeadLettered, Dropped remove the delivery's backlog and retry rows and mark it done while it
	// stands after the cursor, and Delivered clears a dead letter that such a row stood beside; Retry
	// writes the retry row and removes the backlog row. A Retry without an Attempt moves the row's
	// time and keeps its count of attempts and First, 0 where there was no row. See Outcome.Resent for those
	// outside the schedule.
	Outcomes []Outcome
	// Backlog appends deliveries to their subscription's pages.
	Backlog []Ref
	// Unmatched are events that matched no subscription, also for want of what they were: see
	// RecordError.Altered.
	Unmatched []Seq
	// Skipped are intervals opened or closed.
	Skipped []Interval
	// Replays writes or removes replays, the last of each counts. Those of a subscription that is
	// not there are left out.
	Replays []Replay
	// Durable: Settle returns when the batch is durable.
	Durable bool
}

// Empty tells whether the batch changes nothing.
func (b Batch) Empty() bool {
	return b.Cursor == 0 && len(b.Outcomes) == 0 && len(b.Backlog) == 0 && len(b.Unmatched) == 0 && len(b.Skipped) == 0 &&
		len(b.Replays) == 0
}

// RetryRow is a delivery that waits for its next attempt.
type RetryRow struct {
	Ref
	// Attempts were made so far.
	Attempts int32
	// Due is when the engine asked to look at it again, which may be an appointment of its own
	// far in the future where the endpoint is paused: nothing to show as the next attempt.
	Due time.Time
	// First is the last attempt's Outcome.First; zero where that was, or an older version wrote the row.
	First time.Time
}

// StatusRow is the latest outcome for one event type of one subscription.
type StatusRow struct {
	EventType string
	Attempt   Attempt
}

// DeadLetter is a delivery that ended without success, with its payload.
type DeadLetter struct {
	Ref
	Tenant string
	Reason string
	At     time.Time
	// Attempts were made.
	Attempts int32
	// Last is the last attempt; nil where none was made.
	Last *Attempt
	// Event is empty where the log could not give it any more.
	Event Event
}

// EventTypeRow is an event type a tenant's publishers have used.
type EventTypeRow struct {
	Name      string
	FirstSeen time.Time
	LastSeen  time.Time
}

// AttemptQuery selects attempts of one subscription.
type AttemptQuery struct {
	// EventType restricts to one; empty means all.
	EventType string
	// Limit is the most attempts wanted; it must be positive.
	Limit int
}

// View reads the rows. It sees every settled batch at once, durable or not.
type View interface {
	// Cursor is the shard's cursor.
	Cursor(ctx context.Context, shard Shard) (Seq, error)
	// Bounds are the first and last positions of the log; both 0 where it is empty.
	Bounds(ctx context.Context) (first, last Seq, err error)
	// DoneAfterCursor are deliveries after the shard's cursor that are final already.
	DoneAfterCursor(ctx context.Context, shard Shard) ([]Ref, error)
	// Backlog returns the positions on a subscription's pages after one, in order, at most max.
	Backlog(ctx context.Context, subscription string, after Seq, max int) ([]Seq, error)
	// Backlogged returns the subscriptions that have a backlog, sorted.
	Backlogged(ctx context.Context) ([]string, error)
	// Retrying returns the subscriptions that have retry rows, sorted.
	Retrying(ctx context.Context) ([]string, error)
	// Due returns retry rows due by a time, earliest first, at most max, and when the next one
	// after those is due (zero where there is none).
	Due(ctx context.Context, by time.Time, max int) (rows []RetryRow, next time.Time, err error)
	// Retries returns a subscription's retry rows after a position, in order of position, at most max.
	Retries(ctx context.Context, subscription string, after Seq, max int) ([]RetryRow, error)
	// Pending tells whether a delivery has a backlog or a retry row.
	Pending(ctx context.Context, ref Ref) (bool, error)
	// Attempts returns attempts newest first.
	Attempts(ctx context.Context, subscription string, query AttemptQuery) ([]Attempt, error)
	// Statuses returns the latest status of each event type, sorted by type.
	Statuses(ctx context.Context, subscription string) ([]StatusRow, error)
	// StatusesChangedSince returns the tenant's subscriptions whose statuses changed after a
	// point, each once, and the point to ask with the next time. 0 is the beginning.
	StatusesChangedSince(ctx context.Context, tenant string, after uint64) (subscriptions []string, next uint64, err error)
	// DeadLetters returns a subscription's dead letters after a position, in order, at most max.
	DeadLetters(ctx context.Context, subscription string, after Seq, max int) ([]DeadLetter, error)
	// ExpiredDeadLetters tells how many dead letters of a subscription DeadLetterLimits took.
	ExpiredDeadLetters(ctx context.Context, subscription string) (ExpiredDeadLetters, error)
	// IsUnmatched tells whether the event at a position matched no subscription.
	IsUnmatched(ctx context.Context, seq Seq) (bool, error)
	// Skipped returns the intervals during which a subscription took no events, in order.
	Skipped(ctx context.Context, subscription string) ([]Interval, error)
	// EventTypes returns the types a tenant's publishers have used, sorted by name.
	EventTypes(ctx context.Context, tenant string) ([]EventTypeRow, error)
	// Replays returns a subscription's replays, oldest first.
	Replays(ctx context.Context, subscription string) ([]Replay, error)
	// OpenReplays returns all that are Running or Paused, sorted by subscription and id.
	OpenReplays(ctx context.Context) ([]Replay, error)
	// OldestReference is the lowest position that a backlog or retry row refers to; 0 where none does.
	OldestReference(ctx context.Context) (Seq, error)
	// FirstAfter returns the position of the first record accepted at or after a time; the end
	// of the log plus one where all are older.
	FirstAfter(ctx context.Context, at time.Time) (Seq, error)
}
