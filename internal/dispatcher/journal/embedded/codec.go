package embedded

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// A log record is stored as
//
//	version (1) kind (1) time (8) fields… checksum (4)
//
// where a field is a length (uvarint) and bytes, and the checksum is the CRC32C of all
// before it and of the record's position, so that neither a flipped bit nor a record in
// another's place is taken for good.
//
// Versions: a newer Hookline may write more fields after those named here, and leaves the
// version as it is; an older one skips them. The version becomes another one only together
// with the format of the folder (FORMAT), when what is there comes to mean something else.
const (
	recordVersion  = 1
	recordHeader   = 1 + 1 + 8
	recordChecksum = 4
)

// The kinds of record.
const (
	recordEvent  = 1
	recordMarker = 2
)

// MaxRecordBytes bounds one stored record: an event's body with its attributes, or a
// version of a subscription. It is far above what ingest and the registry let through,
// and keeps a length that was damaged from being believed.
const MaxRecordBytes = 16 << 20

// castagnoli is the polynomial of CRC32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendBytes writes a field.
func appendBytes[T ~string | ~[]byte](to []byte, field T) []byte {
	to = binary.AppendUvarint(to, uint64(len(field)))

	return append(to, field...)
}

// appendNanos writes a time.
func appendNanos(to []byte, at time.Time) []byte {
	return binary.BigEndian.AppendUint64(to, uint64(nanos(at))) //nolint:gosec // Read back as int64.
}

// appendBool writes a truth value.
func appendBool(to []byte, value bool) []byte {
	if value {
		return append(to, 1)
	}

	return append(to, 0)
}

// unsealedEvent is an event's record without its checksum, which depends on the position.
func unsealedEvent(event *journal.Event, accepted time.Time) []byte {
	size := recordHeader + recordChecksum + len(event.Tenant) + len(event.Source) + len(event.ID) +
		len(event.Type) + len(event.Subject) + len(event.PartitionKey) + len(event.Body) + 7*binary.MaxVarintLen32
	to := make([]byte, 0, size)
	to = append(to, recordVersion, recordEvent)
	to = appendNanos(to, accepted)
	for _, field := range [...]string{event.Tenant, event.Source, event.ID, event.Type, event.Subject, event.PartitionKey} {
		to = appendBytes(to, field)
	}

	return appendBytes(to, event.Body)
}

// unsealedMarker is a marker's record without its checksum.
func unsealedMarker(version *journal.Version, at time.Time) []byte {
	to := append(make([]byte, 0, recordHeader+recordChecksum+len(version.Value)), recordVersion, recordMarker)
	to = appendNanos(to, at)
	for _, field := range []string{version.Tenant, version.ID, version.Name} {
		to = appendBytes(to, field)
	}
	to = binary.AppendUvarint(to, uint64(version.Revision))
	to = appendBool(to, version.Deleted)

	return appendBytes(to, version.Value)
}

// seal appends the checksum for a position.
func seal(record []byte, seq journal.Seq) []byte {
	return binary.BigEndian.AppendUint32(record, checksum(record, seq))
}

func checksum(record []byte, seq journal.Seq) uint32 {
	return positioned(crc32.Checksum(record, castagnoli), seq)
}

// positioned goes on with a record's checksum over its position.
func positioned(sum uint32, seq journal.Seq) uint32 {
	var position [seqBytes]byte
	binary.BigEndian.PutUint64(position[:], uint64(seq))

	return crc32.Update(sum, castagnoli, position[:])
}

// corrupt is ErrCorrupt with what was found and where.
func corrupt(seq journal.Seq, found string) error {
	return &journal.RecordError{Seq: seq, Err: fmt.Errorf("%w: %s", journal.ErrCorrupt, found)}
}

// altered is ErrCorrupt for a record that fails its own check.
func altered(seq journal.Seq, found string) error {
	return &journal.RecordError{Seq: seq, Err: fmt.Errorf("%w: %s", journal.ErrCorrupt, found), Altered: true}
}

// decodeRecord reads a record stored at a position. Its error is ErrCorrupt with the position.
func decodeRecord(seq journal.Seq, stored []byte) (journal.Record, error) {
	kind, _, from, err := openRecord(seq, stored)
	if err != nil {
		return journal.Record{}, err
	}
	record := journal.Record{Seq: seq}
	switch kind {
	case recordEvent:
		record.Event = from.event(stored)
	case recordMarker:
		record.Marker = from.version(seq)
	default:
		return journal.Record{}, corrupt(seq, fmt.Sprintf("unknown kind %d", kind))
	}
	if !from.whole() {
		return journal.Record{}, corrupt(seq, "its fields are cut short")
	}

	return record, nil
}

// recordTime is the time of a stored record: when an event was accepted, or a marker written.
func recordTime(seq journal.Seq, stored []byte) (time.Time, error) {
	_, at, _, err := openRecord(seq, stored)

	return at, err
}

// openRecord checks a record and returns what its header says and its fields.
func openRecord(seq journal.Seq, stored []byte) (kind byte, at time.Time, from *fields, err error) {
	if len(stored) < recordHeader+recordChecksum {
		return 0, time.Time{}, nil, altered(seq, fmt.Sprintf("%d bytes are too few", len(stored)))
	}
	body := stored[:len(stored)-recordChecksum]
	if want, got := binary.BigEndian.Uint32(stored[len(body):]), checksum(body, seq); want != got {
		return 0, time.Time{}, nil, altered(seq, fmt.Sprintf("checksum %08x where %08x is stored", got, want))
	}
	if body[0] != recordVersion {
		return 0, time.Time{}, nil, corrupt(seq, fmt.Sprintf("unknown version %d", body[0]))
	}
	at = timeOf(int64(binary.BigEndian.Uint64(body[2:]))) //nolint:gosec // The inverse of appendNanos.

	return body[1], at, &fields{left: body[recordHeader:]}, nil
}

// fields reads what the append functions wrote. After a fault it reads zero values, and
// whole tells of it, so that a decoder needs one check alone.
type fields struct {
	left []byte
	bad  bool
}

func (f *fields) take(n uint64) []byte {
	if f.bad || n > uint64(len(f.left)) {
		f.bad, f.left = true, nil

		return nil
	}
	out := f.left[:n:n]
	f.left = f.left[n:]

	return out
}

func (f *fields) uvarint() uint64 {
	value, n := binary.Uvarint(f.left)
	if f.bad || n <= 0 {
		f.bad, f.left = true, nil

		return 0
	}
	f.left = f.left[n:]

	return value
}

func (f *fields) text() string { return string(f.take(f.uvarint())) }

// bytes is a copy of a field, nil where it is empty.
func (f *fields) bytes() []byte {
	field := f.take(f.uvarint())
	if len(field) == 0 {
		return nil
	}

	return append([]byte(nil), field...)
}

func (f *fields) byte() byte {
	if field := f.take(1); len(field) == 1 {
		return field[0]
	}

	return 0
}

func (f *fields) bool() bool {
	value := f.byte()
	if value > 1 {
		f.bad = true
	}

	return value == 1
}

func (f *fields) time() time.Time {
	field := f.take(seqBytes)
	if len(field) < seqBytes {
		return time.Time{}
	}

	return timeOf(int64(binary.BigEndian.Uint64(field))) //nolint:gosec // The inverse of appendNanos.
}

// whole tells whether all fields were there. What is left over are fields that a newer
// version of Hookline added, which are skipped.
func (f *fields) whole() bool { return !f.bad }

func (f *fields) event(stored []byte) *journal.Event {
	event := &journal.Event{Accepted: timeOf(int64(binary.BigEndian.Uint64(stored[2:])))} //nolint:gosec // The inverse of appendNanos.
	for _, field := range []*string{
		&event.Tenant, &event.Source, &event.ID, &event.Type, &event.Subject, &event.PartitionKey,
	} {
		*field = f.text()
	}
	event.Body = f.bytes()

	return event
}

func (f *fields) version(seq journal.Seq) *journal.Version {
	version := &journal.Version{Seq: seq}
	for _, field := range []*string{&version.Tenant, &version.ID, &version.Name} {
		*field = f.text()
	}
	version.Revision = journal.Revision(f.uvarint())
	version.Deleted = f.bool()
	version.Value = f.bytes()

	return version
}
