package embedded

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// rowVersion begins the value of every row but the log's records, which have their own, and
// bitmaps. As with records fields are only added at the end, and older versions skip them.
const rowVersion = 1

// openRow checks a row's version and returns its fields.
func openRow(value []byte) *fields {
	from := &fields{left: value}
	if from.byte() != rowVersion {
		from.bad = true
	}

	return from
}

// badRow is ErrCorrupt for a row.
func badRow(what, of string) error {
	return fmt.Errorf("%w: %s row of %q cannot be read", journal.ErrCorrupt, what, of)
}

// encodeAttempt writes an attempt with its response's body cut to at most maxBody bytes.
func encodeAttempt(attempt *journal.Attempt, maxBody int) []byte {
	return appendAttempt(nil, attempt, attempt.Seq, maxBody)
}

// appendAttempt writes it as one at a delivery of the event at a position.
func appendAttempt(to []byte, attempt *journal.Attempt, seq journal.Seq, maxBody int) []byte {
	body := attempt.ResponseBody
	if len(body) > maxBody {
		body = body[:maxBody]
	}
	to = binary.AppendUvarint(append(to, rowVersion), uint64(seq))
	for _, field := range [...]string{attempt.DeliveryID, attempt.EventID, attempt.EventType} {
		to = appendBytes(to, field)
	}
	to = binary.AppendVarint(to, int64(attempt.Number))
	to = appendNanos(to, attempt.At)
	to = binary.AppendVarint(to, int64(attempt.Latency))
	to = appendBool(to, attempt.Success)
	to = binary.AppendVarint(to, int64(attempt.ResponseCode))
	to = appendBytes(to, attempt.ResponseText)
	to = appendBytes(to, body)

	return appendBool(to, attempt.Test)
}

func (f *fields) varint() int64 {
	value, n := binary.Varint(f.left)
	if f.bad || n <= 0 {
		f.bad, f.left = true, nil

		return 0
	}
	f.left = f.left[n:]

	return value
}

// decodeAttempt reads an attempt of a subscription.
func decodeAttempt(subscription string, value []byte) (journal.Attempt, error) {
	from := openRow(value)
	attempt := journal.Attempt{Subscription: subscription, Seq: journal.Seq(from.uvarint())}
	for _, field := range []*string{&attempt.DeliveryID, &attempt.EventID, &attempt.EventType} {
		*field = from.text()
	}
	attempt.Number = int32(from.varint()) //nolint:gosec // Written from an int32.
	attempt.At = from.time()
	attempt.Latency = time.Duration(from.varint())
	attempt.Success = from.bool()
	attempt.ResponseCode = int(from.varint())
	attempt.ResponseText = from.text()
	attempt.ResponseBody = from.bytes()
	attempt.Test = from.bool()
	if !from.whole() {
		return journal.Attempt{}, badRow("attempt", subscription)
	}

	return attempt, nil
}

// retry is what a retry row says besides its key.
type retry struct {
	due      time.Time
	attempts int32
	// first is zero too where an older version wrote the row.
	first time.Time
}

func (r retry) row(ref journal.Ref) journal.RetryRow {
	return journal.RetryRow{Ref: ref, Attempts: r.attempts, Due: r.due, First: r.first}
}

func encodeRetry(row retry) []byte {
	to := appendNanos([]byte{rowVersion}, row.due)
	to = binary.AppendVarint(to, int64(row.attempts))

	return appendNanos(to, row.first)
}

func decodeRetry(ref journal.Ref, value []byte) (retry, error) {
	from := openRow(value)
	row := retry{due: from.time(), attempts: int32(from.varint())} //nolint:gosec // Written from an int32.
	if len(from.left) > 0 {
		row.first = from.time()
	}
	if !from.whole() {
		return retry{}, badRow("retry", fmt.Sprintf("%s/%d", ref.Subscription, ref.Seq))
	}

	return row, nil
}

// encodeDead writes a dead letter. The event is kept as its own record, checksum included;
// it is empty where the journal had it no more.
func encodeDead(letter *journal.DeadLetter, record []byte) []byte {
	to := appendBytes([]byte{rowVersion}, letter.Tenant)
	to = appendBytes(to, letter.Reason)
	to = appendNanos(to, letter.At)
	to = binary.AppendVarint(to, int64(letter.Attempts))
	var last []byte
	if letter.Last != nil {
		last = encodeAttempt(letter.Last, journal.MaxFailureBody)
	}
	to = appendBytes(to, last)

	return appendBytes(to, record)
}

func decodeDead(ref journal.Ref, value []byte) (journal.DeadLetter, error) {
	from := openRow(value)
	letter := journal.DeadLetter{Ref: ref, Tenant: from.text(), Reason: from.text(), At: from.time()}
	letter.Attempts = int32(from.varint()) //nolint:gosec // Written from an int32.
	last, record := from.bytes(), from.bytes()
	if !from.whole() {
		return journal.DeadLetter{}, badRow("dead letter", fmt.Sprintf("%s/%d", ref.Subscription, ref.Seq))
	}
	if last != nil {
		attempt, err := decodeAttempt(ref.Subscription, last)
		if err != nil {
			return journal.DeadLetter{}, err
		}
		letter.Last = &attempt
	}
	if record != nil {
		decoded, err := decodeRecord(ref.Seq, record)
		if err != nil {
			return journal.DeadLetter{}, fmt.Errorf("reading the event of a dead letter: %w", err)
		}
		if decoded.Event == nil {
			return journal.DeadLetter{}, badRow("dead letter", ref.Subscription)
		}
		letter.Event = *decoded.Event
	}

	return letter, nil
}

func encodeInterval(interval journal.Interval) []byte {
	to := binary.AppendUvarint([]byte{rowVersion}, uint64(interval.To))

	return appendBytes(to, interval.Reason)
}

func decodeInterval(subscription string, begin journal.Seq, value []byte) (journal.Interval, error) {
	from := openRow(value)
	interval := journal.Interval{
		Subscription: subscription, From: begin, To: journal.Seq(from.uvarint()), Reason: from.text(),
	}
	if !from.whole() {
		return journal.Interval{}, badRow("skipped interval", subscription)
	}

	return interval, nil
}

func encodeSeen(first, last time.Time) []byte {
	return appendNanos(appendNanos([]byte{rowVersion}, first), last)
}

func decodeSeen(name string, value []byte) (first, last time.Time, err error) {
	from := openRow(value)
	first, last = from.time(), from.time()
	if !from.whole() {
		return time.Time{}, time.Time{}, badRow("event type", name)
	}

	return first, last, nil
}

// encodeNumber writes the value of a row that is one number.
func encodeNumber(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{rowVersion}, number)
}

func decodeNumber(what string, value []byte) (uint64, error) {
	from := openRow(value)
	field := from.take(seqBytes)
	if !from.whole() {
		return 0, badRow("number", what)
	}

	return binary.BigEndian.Uint64(field), nil
}

// sighting is where an event of an identity stands and when it was appended.
type sighting struct {
	seq journal.Seq
	at  time.Time
}

func encodeSighting(to []byte, seen sighting) []byte {
	to = binary.AppendUvarint(append(to, rowVersion), uint64(seen.seq))

	return appendNanos(to, seen.at)
}

func decodeSighting(value []byte) (sighting, error) {
	from := openRow(value)
	seen := sighting{seq: journal.Seq(from.uvarint()), at: from.time()}
	if !from.whole() {
		return sighting{}, badRow("identity", "an event")
	}

	return seen, nil
}
