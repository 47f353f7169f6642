package embedded

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// identity is what two events of the same tenant, source and id have in common. It is a
// cryptographic hash, since a publisher chooses the ids.
type identity [16]byte

// identityOf hashes what identifies an event.
func identityOf(event *journal.Event) identity {
	// Most are short enough for the array, which then needs no heap.
	const most = 256
	text := make([]byte, 0, most)
	for _, part := range [...]string{event.Tenant, event.Source, event.ID} {
		text = appendBytes(text, part)
	}
	sum := sha256.Sum256(text)

	return identity(sum[:len(identity{})])
}

// The states of a request: whoever moves it on from waiting decides what becomes of it.
const (
	waiting = iota
	taken
	abandoned
)

// pending is one event on its way to the committer, encoded by its publisher's goroutine,
// so that the publisher may go away while it waits.
type pending struct {
	identity identity
	tenant   string
	typ      string
	// record lacks its checksum, sum is that of the record without its position.
	record []byte
	sum    uint32
}

// request is what one caller wants of the committer.
type request struct {
	state atomic.Int32
	// One of the three: events to append, a version to put, or deleted subscriptions to purge.
	events []pending
	put    *putting
	purge  bool
	bytes  int64

	receipts []journal.Receipt
	err      error
	done     chan struct{}
}

// putting is a version to write, and the answer.
type putting struct {
	version journal.Version
	expect  journal.Revision
}

// finish answers a request.
func (r *request) finish(err error) {
	r.err = err
	close(r.done)
}

// Append implements journal.Journal.
func (j *Journal) Append(ctx context.Context, events []journal.Event) ([]journal.Receipt, error) {
	if len(events) == 0 {
		return nil, nil
	}
	r := &request{events: make([]pending, 0, len(events)), done: make(chan struct{})}
	for i := range events {
		event := &events[i]
		if err := checkEvent(event); err != nil {
			return nil, fmt.Errorf("appending event %d: %w", i, err)
		}
		accepted := event.Accepted
		if accepted.IsZero() {
			accepted = j.options.Clock.Now()
		}
		record := unsealedEvent(event, accepted)
		if len(record) > MaxRecordBytes {
			return nil, fmt.Errorf("appending event %d: it takes %d bytes with its attributes: the most is %d",
				i, len(record), MaxRecordBytes)
		}
		r.events = append(r.events, pending{
			identity: identityOf(event), tenant: event.Tenant, typ: event.Type,
			record: record, sum: crc32.Checksum(record, castagnoli),
		})
		r.bytes += int64(len(record))
	}
	if err := j.submit(ctx, r); err != nil {
		return nil, fmt.Errorf("appending to the journal: %w", err)
	}

	return r.receipts, nil
}

// checkEvent refuses what the rows cannot hold.
func checkEvent(event *journal.Event) error {
	if err := checkName("Tenant", event.Tenant); err != nil {
		return err
	}
	if err := checkName("ID", event.ID); err != nil {
		return err
	}

	return checkName("Type", event.Type)
}

// maxNameBytes bounds the names that stand in keys.
const maxNameBytes = 4 << 10

// checkName refuses a name that cannot stand in a key.
func checkName(field, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s is empty: it must be set", field)
	case len(value) > maxNameBytes:
		return fmt.Errorf("%s has %d bytes: the most is %d", field, len(value), maxNameBytes)
	case strings.IndexByte(value, terminator) >= 0:
		return fmt.Errorf("%s holds a zero byte: remove it", field)
	default:
		return nil
	}
}

// submit queues a request and waits for its end.
func (j *Journal) submit(ctx context.Context, r *request) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	j.leave()
	weight := min(r.bytes, maxQueuedBytes)
	if err := j.room.Acquire(ctx, weight); err != nil {
		return context.Cause(ctx)
	}
	defer j.room.Release(weight)
	select {
	case j.queue <- r:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-j.stop:
		return journal.ErrClosed
	case <-j.failure.down:
		return j.failure.get()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		r.state.CompareAndSwap(waiting, abandoned)

		return context.Cause(ctx)
	case <-j.failure.down:
		return j.failure.get()
	case <-j.stop:
		return j.closing(ctx, r)
	}
}

// closing waits for a request that the committer may or may not have taken before it ended.
func (j *Journal) closing(ctx context.Context, r *request) error {
	if r.state.CompareAndSwap(waiting, abandoned) {
		return journal.ErrClosed
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-j.failure.down:
		return j.failure.get()
	}
}

// commitLoop gathers what waits and commits it, one group after the other.
func (j *Journal) commitLoop() {
	for {
		select {
		case <-j.stop:
			return
		case <-j.failure.down:
			return
		case r := <-j.queue:
			j.commit(j.gather(r))
		}
	}
}

// maxYields bounds how often gather lets the publishers go on.
const maxYields = 16

// gather takes what waits in the queue, up to the bounds of a group. As long as it grows, it lets those go on that
// are ready to: where the processors are busy they queue their requests now rather than during the fsync, and fewer
// fsyncs do; where they are idle it costs no time.
func (j *Journal) gather(first *request) []*request {
	for yields, length := 0, -1; yields < maxYields && len(j.queue) > length; yields++ {
		length = len(j.queue)
		runtime.Gosched()
	}
	group := make([]*request, 0, len(j.queue)+1)
	var bytes int64
	for next := first; ; {
		if next.state.CompareAndSwap(waiting, taken) {
			group = append(group, next)
			bytes += next.bytes
		}
		if bytes >= maxGroupBytes || len(group) >= maxGroupRequests {
			return group
		}
		select {
		case next = <-j.queue:
		default:
			return group
		}
	}
}
