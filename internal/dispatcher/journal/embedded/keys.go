package embedded

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// Every row's key begins with one byte that names its kind. Numbers are big-endian, so
// that rows of one kind stand in their order; names end with a zero byte, which no name
// may hold, so that one name is never a prefix of another's rows.
const (
	kindEvent     = 'e' // seq → record
	kindIdentity  = 'i' // day, hash → seq, time
	kindVersion   = 'v' // subscription, seq → record (a marker)
	kindBacklog   = 'b' // subscription, seq → nothing
	kindRetry     = 'r' // subscription, seq → due time, attempts, first attempt's time
	kindDue       = 'u' // due time, subscription, seq → attempts
	kindDone      = 'f' // seq, subscription → nothing
	kindAttempt   = 'a' // subscription, number → attempt
	kindStatus    = 's' // subscription, event type → attempt
	kindChange    = 'c' // tenant, change → subscription
	kindDead      = 'd' // subscription, seq → dead letter
	kindDeadTime  = 'x' // time, subscription, seq → nothing
	kindDeadSum   = 'y' // subscription → counts of its dead letters
	kindUnmatched = 'n' // block → bitmap
	kindSkipped   = 'k' // subscription, from → to, reason
	kindReplay    = 'p' // subscription, id → replay
	kindType      = 't' // tenant, event type → first and last seen
	kindMeta      = 'm' // name → value
)

// terminator ends a name within a key.
const terminator = 0

// The single rows.
var (
	keyEpoch   = []byte("mepoch")
	keyCursor  = []byte("mcursor")
	keyFirst   = []byte("mfirst")
	keyHorizon = []byte("mhorizon")
	// keyCounted is the last epoch that counted dead letters.
	keyCounted = []byte("mcounted")
)

// seqBytes is the length of a position in a key.
const seqBytes = 8

// keyEvent is the key of a log record.
func keyEvent(seq journal.Seq) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindEvent}, uint64(seq))
}

// eventSeq is the position of a log record's key.
func eventSeq(key []byte) (journal.Seq, bool) {
	if len(key) != 1+seqBytes || key[0] != kindEvent {
		return 0, false
	}

	return journal.Seq(binary.BigEndian.Uint64(key[1:])), true
}

// keyNamed begins the rows of one kind that belong to a name.
func keyNamed(kind byte, name string) []byte {
	key := make([]byte, 0, len(name)+2+seqBytes)
	key = append(key, kind)
	key = append(key, name...)

	return append(key, terminator)
}

// keyNumbered is the key of the row of a name and a number.
func keyNumbered(kind byte, name string, number uint64) []byte {
	return appendNumbered(make([]byte, 0, len(name)+2+seqBytes), kind, name, number)
}

// appendNumbered writes that key.
func appendNumbered(key []byte, kind byte, name string, number uint64) []byte {
	key = append(key, kind)
	key = append(key, name...)

	return binary.BigEndian.AppendUint64(append(key, terminator), number)
}

// keyRef is the key of a delivery's row.
func keyRef(kind byte, ref journal.Ref) []byte {
	return keyNumbered(kind, ref.Subscription, uint64(ref.Seq))
}

// splitNumbered is the inverse of keyNumbered.
func splitNumbered(key []byte) (name string, number uint64, ok bool) {
	if len(key) < 2+seqBytes || key[len(key)-seqBytes-1] != terminator {
		return "", 0, false
	}

	return string(key[1 : len(key)-seqBytes-1]), binary.BigEndian.Uint64(key[len(key)-seqBytes:]), true
}

// splitNamed is the name that begins a key, and what follows it.
func splitNamed(key []byte) (name, rest string, ok bool) {
	if len(key) == 0 {
		return "", "", false
	}

	return strings.Cut(string(key[1:]), string(rune(terminator)))
}

// timeBytes is a time as eight bytes that sort as the times do.
func appendTime(key []byte, at time.Time) []byte {
	return binary.BigEndian.AppendUint64(key, uint64(nanos(at))^(1<<63)) //nolint:gosec // The sign bit is turned over on purpose.
}

// keyDue is the key of a row that says when a delivery is due.
func keyDue(due time.Time, ref journal.Ref) []byte {
	key := make([]byte, 0, 2+2*seqBytes+len(ref.Subscription))
	key = appendTime(append(key, kindDue), due)
	key = append(key, ref.Subscription...)
	key = append(key, terminator)

	return binary.BigEndian.AppendUint64(key, uint64(ref.Seq))
}

// keyDueFrom stands before every row due at a time or after it.
func keyDueFrom(due time.Time) []byte { return appendTime([]byte{kindDue}, due) }

// keyDeadTime is the key of a row that says since when there has been a dead letter. splitDue
// takes it apart.
func keyDeadTime(at time.Time, ref journal.Ref) []byte {
	key := keyDue(at, ref)
	key[0] = kindDeadTime

	return key
}

// keyDeadTimeFrom stands before every dead letter's row of a time or after it.
func keyDeadTimeFrom(at time.Time) []byte { return appendTime([]byte{kindDeadTime}, at) }

// splitDue is the inverse of keyDue.
func splitDue(key []byte) (time.Time, journal.Ref, bool) {
	if len(key) < 1+seqBytes {
		return time.Time{}, journal.Ref{}, false
	}
	at := int64(binary.BigEndian.Uint64(key[1:]) ^ (1 << 63)) //nolint:gosec // The inverse of appendTime.
	name, seq, ok := splitNumbered(key[seqBytes:])

	return timeOf(at), journal.Ref{Subscription: name, Seq: journal.Seq(seq)}, ok
}

// keyDone is the key of the mark that a delivery after the cursor is final.
func keyDone(ref journal.Ref) []byte {
	return appendDone(make([]byte, 0, 1+seqBytes+len(ref.Subscription)), ref)
}

// appendDone writes that key.
func appendDone(key []byte, ref journal.Ref) []byte {
	key = binary.BigEndian.AppendUint64(append(key, kindDone), uint64(ref.Seq))

	return append(key, ref.Subscription...)
}

// keyDoneFrom stands before every mark at a position or after it.
func keyDoneFrom(seq journal.Seq) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindDone}, uint64(seq))
}

// splitDone is the inverse of keyDone.
func splitDone(key []byte) (journal.Ref, bool) {
	if len(key) < 1+seqBytes {
		return journal.Ref{}, false
	}

	return journal.Ref{
		Seq:          journal.Seq(binary.BigEndian.Uint64(key[1:])),
		Subscription: string(key[1+seqBytes:]),
	}, true
}

// keyText is the key of the row of a name and a text, such as a subscription's event type.
func keyText(kind byte, name, text string) []byte {
	return append(keyNamed(kind, name), text...)
}

// appendIdentityKey writes the key of an event's identity, remembered under the day it was appended.
func appendIdentityKey(key []byte, day uint32, hash identity) []byte {
	key = binary.BigEndian.AppendUint32(append(key, kindIdentity), day)

	return append(key, hash[:]...)
}

// splitIdentity is the inverse of appendIdentityKey.
func splitIdentity(key []byte) (day uint32, hash identity, ok bool) {
	const dayBytes = 4
	if len(key) != 1+dayBytes+len(hash) {
		return 0, hash, false
	}
	copy(hash[:], key[1+dayBytes:])

	return binary.BigEndian.Uint32(key[1:]), hash, true
}

// keyIdentityDay stands before every identity of a day.
func keyIdentityDay(day uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{kindIdentity}, day)
}

// keyBlock is the key of a block of the unmatched bitmap.
func keyBlock(block uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindUnmatched}, block)
}

// kindRange is the range of all rows of a kind.
func kindRange(kind byte) (lower, upper []byte) { return []byte{kind}, []byte{kind + 1} }

// namedRange is the range of all rows of a kind that belong to a name.
func namedRange(kind byte, name string) (lower, upper []byte) {
	lower = keyNamed(kind, name)
	upper = keyNamed(kind, name)
	upper[len(upper)-1] = terminator + 1

	return lower, upper
}

// nanos is a time as it is stored: nanoseconds since 1970, 0 for the zero time.
func nanos(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	switch {
	case at.Before(minTime):
		return math.MinInt64
	case at.After(maxTime):
		return math.MaxInt64
	default:
		return at.UnixNano()
	}
}

// timeOf is the inverse of nanos, in UTC.
func timeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}

	return time.Unix(0, nanos).UTC()
}

// What an int64 of nanoseconds can say.
var (
	minTime = time.Unix(0, math.MinInt64)
	maxTime = time.Unix(0, math.MaxInt64)
)
