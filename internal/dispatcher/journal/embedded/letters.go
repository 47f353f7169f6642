package embedded

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// letterChunk is how many dead letters one batch lets go of, which bounds how long it holds
// up those who settle.
const letterChunk = 256

// tally counts dead letters and the bytes of their rows.
type tally struct{ count, bytes int64 }

func (t *tally) add(count, bytes int64) { t.count, t.bytes = t.count+count, t.bytes+bytes }

// letters is what is kept in memory of the dead letters: a few numbers for each subscription
// that has any, or had. settled.mu guards it.
type letters struct {
	subscriptions map[string]letterSum
	tenants       map[string]tally
	total         tally
}

// letterSum is what one subscription has, and what of it expired. It is a row too, written
// along with what it counts.
type letterSum struct {
	tally

	tenant  string
	expired journal.ExpiredDeadLetters
}

func encodeLetterSum(sum letterSum) []byte {
	to := appendBytes([]byte{rowVersion}, sum.tenant)
	to = binary.AppendVarint(binary.AppendVarint(to, sum.count), sum.bytes)
	to = binary.AppendUvarint(to, sum.expired.Count)
	to = binary.AppendUvarint(to, uint64(sum.expired.Last))

	return appendNanos(to, sum.expired.At)
}

func decodeLetterSum(subscription string, value []byte) (letterSum, error) {
	from := openRow(value)
	sum := letterSum{tenant: from.text(), tally: tally{count: from.varint(), bytes: from.varint()}}
	sum.expired = journal.ExpiredDeadLetters{Count: from.uvarint(), Last: journal.Seq(from.uvarint()), At: from.time()}
	if !from.whole() {
		return letterSum{}, badRow("dead letter count", subscription)
	}

	return sum, nil
}

// letter is what counting needs of a dead letter.
type letter struct {
	tenant string
	at     time.Time
	bytes  int64
}

// letterOf reads it from a dead letter's row. Of a row that cannot be read the size is known alone.
func letterOf(value []byte) letter {
	from := openRow(value)
	out := letter{tenant: from.text(), bytes: int64(len(value))}
	_ = from.text() // The reason.
	out.at = from.time()

	return out
}

// replace puts a subscription's new sum in the place of the one before.
func (l *letters) replace(subscription string, sum letterSum) {
	before := l.subscriptions[subscription]
	l.move(before.tenant, -before.count, -before.bytes)
	l.move(sum.tenant, sum.count, sum.bytes)
	l.subscriptions[subscription] = sum
}

// move changes what a tenant has, and with it the total.
func (l *letters) move(tenant string, count, bytes int64) {
	of := l.tenants[tenant]
	of.add(count, bytes)
	if l.tenants[tenant] = of; of == (tally{}) {
		delete(l.tenants, tenant)
	}
	l.total.add(count, bytes)
}

// forget takes a subscription out.
func (l *letters) forget(subscription string) {
	l.replace(subscription, letterSum{})
	delete(l.subscriptions, subscription)
}

// letterTotal counts all dead letters.
func (j *Journal) letterTotal() tally {
	j.settled.mu.Lock()
	defer j.settled.mu.Unlock()

	return j.settled.letters.total
}

// load reads the sums. Where the folder was last open in a version of Hookline that kept
// none, they are counted anew.
func (l *letters) load(j *Journal, epochBefore uint64) error {
	l.subscriptions, l.tenants = map[string]letterSum{}, map[string]tally{}
	lower, upper := kindRange(kindDeadSum)
	err := j.scan(lower, upper, func(key, value []byte) (bool, error) {
		name, _, ok := splitNamed(key)
		if !ok {
			return false, badRow("dead letter count", string(key))
		}
		sum, err := decodeLetterSum(name, value)
		if err == nil {
			l.replace(name, sum)
		}

		return true, err
	})
	if err != nil {
		return err
	}
	counted, err := j.number(keyCounted)
	if err != nil || counted == epochBefore {
		return err
	}

	return l.recount(j)
}

// recount counts all letters and writes by when they are to go. It may be cut short: it is
// done again then.
func (l *letters) recount(j *Journal) error {
	sums := map[string]letterSum{}
	for name, sum := range l.subscriptions {
		sums[name] = letterSum{tenant: sum.tenant, expired: sum.expired}
	}
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	must(batch.DeleteRange([]byte{kindDeadTime}, []byte{kindDeadTime + 1}, nil))
	lower, upper := kindRange(kindDead)
	err := j.scan(lower, upper, func(key, value []byte) (bool, error) {
		name, seq, ok := splitNumbered(key)
		if !ok {
			return false, badRow("dead letter", string(key))
		}
		found, sum := letterOf(value), sums[name]
		sum.tenant = found.tenant
		sum.add(1, found.bytes)
		sums[name] = sum
		must(batch.Set(keyDeadTime(found.at, journal.Ref{Subscription: name, Seq: journal.Seq(seq)}), nil, nil))
		if batch.Count() < letterChunk {
			return true, nil
		}
		if err := j.apply(batch, pebble.NoSync); err != nil {
			return false, err
		}
		batch.Reset()

		return true, nil
	})
	if err != nil {
		return err
	}
	for name, sum := range sums {
		must(batch.Set(keyNamed(kindDeadSum, name), encodeLetterSum(sum), nil))
		l.replace(name, sum)
	}

	return j.apply(batch, pebble.NoSync)
}

// letterAt is a dead letter as the batch leaves it, nil where there is none.
func (w *settling) letterAt(ref journal.Ref) (*letter, error) {
	if found, staged := w.dead[ref]; staged {
		return found, nil
	}
	value, found, err := w.j.get(keyRef(kindDead, ref))
	if err != nil || !found {
		return nil, err
	}
	out := letterOf(value)

	return &out, nil
}

// sum is a subscription's sum as the batch leaves it.
func (w *settling) sum(subscription string) letterSum {
	if sum, staged := w.sums[subscription]; staged {
		return sum
	}

	return w.j.settled.letters.subscriptions[subscription]
}

// setLetter writes a dead letter, or removes it where value is nil, and counts it.
func (w *settling) setLetter(ref journal.Ref, value []byte) error {
	before, err := w.letterAt(ref)
	if err != nil || before == nil && value == nil {
		return err
	}
	sum := w.sum(ref.Subscription)
	if before != nil {
		sum.add(-1, -before.bytes)
		w.remove(keyDeadTime(before.at, ref))
	}
	w.dead[ref] = nil
	if value == nil {
		w.remove(keyRef(kindDead, ref))
	} else {
		after := letterOf(value)
		sum.add(1, after.bytes)
		sum.tenant = after.tenant
		w.dead[ref] = &after
		w.set(keyRef(kindDead, ref), value)
		w.set(keyDeadTime(after.at, ref), nil)
	}
	w.sums[ref.Subscription] = sum

	return nil
}

// expireLetters lets go of the dead letters beyond the limits, a chunk at a time.
func (j *Journal) expireLetters() error {
	total := map[string]int{}
	defer func() {
		for limit, count := range total {
			j.options.Log.Warn("Let go of dead letters beyond a limit", "limit", limit, "count", count)
			j.metrics.expired.WithLabelValues(limit).Add(float64(count))
		}
	}()
	for {
		select {
		case <-j.stop:
			return nil
		default:
		}
		limit, count, err := j.expireChunk()
		if err != nil || limit == "" {
			return err
		}
		total[limit] += count
	}
}

// expireChunk lets go of one chunk, and tells for which limit; there is none where all are kept.
func (j *Journal) expireChunk() (limit string, count int, err error) {
	s := &j.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &expiry{j: j, batch: j.db.NewBatch(), now: j.options.Clock.Now(), sums: map[string]letterSum{}}
	defer func() { _ = x.batch.Close() }()
	if limit, err = x.choose(); err != nil || limit == "" {
		return "", 0, err
	}
	for name, sum := range x.sums {
		must(x.batch.Set(keyNamed(kindDeadSum, name), encodeLetterSum(sum), nil))
	}
	if err := j.apply(x.batch, pebble.NoSync); err != nil {
		return "", 0, err
	}
	for name, sum := range x.sums {
		s.letters.replace(name, sum)
	}
	s.touch()
	j.space.want()

	return limit, x.count, nil
}

// The limits, as the metric's label names them.
const (
	limitAge          = "age"
	limitSubscription = "subscription"
	limitTenant       = "tenant"
	limitTotal        = "total"
)

// expiry is one chunk in the making.
type expiry struct {
	j     *Journal
	batch *pebble.Batch
	now   time.Time
	count int
	sums  map[string]letterSum
}

// choose puts into the batch what the first of the limits that is exceeded takes.
func (x *expiry) choose() (limit string, err error) {
	l, limits := &x.j.settled.letters, &x.j.options.DeadLetters
	if limits.Age > 0 {
		if err := x.aged(x.now.Add(-limits.Age)); err != nil || !x.batch.Empty() {
			return limitAge, err
		}
	}
	for name, sum := range l.subscriptions {
		if limits.Subscription.Exceeded(sum.count, sum.bytes) {
			return limitSubscription, x.oldest(name, limits.Subscription, sum.tally)
		}
	}
	for tenant, of := range l.tenants {
		if limits.Tenant.Exceeded(of.count, of.bytes) {
			return limitTenant, x.oldest(l.largest(func(sum *letterSum) bool { return sum.tenant == tenant }), limits.Tenant, of)
		}
	}
	if limits.Total.Exceeded(l.total.count, l.total.bytes) {
		return limitTotal, x.oldest(l.largest(func(*letterSum) bool { return true }), limits.Total, l.total)
	}

	return "", nil
}

// largest is the subscription with the most bytes of those that are asked for.
func (l *letters) largest(of func(*letterSum) bool) string {
	most, name := int64(math.MinInt64), ""
	for id, sum := range l.subscriptions {
		if of(&sum) && sum.count > 0 && (sum.bytes > most || sum.bytes == most && id < name) {
			most, name = sum.bytes, id
		}
	}

	return name
}

// gone counts a letter that goes.
func (x *expiry) gone(ref journal.Ref, bytes int64) {
	sum, staged := x.sums[ref.Subscription]
	if !staged {
		sum = x.j.settled.letters.subscriptions[ref.Subscription]
	}
	sum.add(-1, -bytes)
	sum.expired.Count++
	sum.expired.Last = max(sum.expired.Last, ref.Seq)
	sum.expired.At = x.now
	x.sums[ref.Subscription] = sum
	x.count++
}

// aged takes the letters that are from before a time or of it, oldest first.
func (x *expiry) aged(oldest time.Time) error {
	var last []byte
	rows := 0
	err := x.j.scan([]byte{kindDeadTime}, keyDeadTimeFrom(oldest.Add(1)), func(key, _ []byte) (bool, error) {
		_, ref, ok := splitDue(key)
		if !ok {
			return false, badRow("dead letter's time", string(key))
		}
		last = append(last[:0], key...)
		rows++
		// A deleted subscription leaves such rows without their letters.
		value, found, err := x.j.get(keyRef(kindDead, ref))
		if err != nil {
			return false, fmt.Errorf("subscription %s, position %d: %w", ref.Subscription, ref.Seq, err)
		}
		if found {
			must(x.batch.Delete(keyRef(kindDead, ref), nil))
			x.gone(ref, int64(len(value)))
		}

		return rows < letterChunk, nil
	})
	if err != nil || rows == 0 {
		return err
	}
	must(x.batch.DeleteRange([]byte{kindDeadTime}, append(last, 0), nil))

	return nil
}

// oldest takes a subscription's letters of the lowest positions until what is counted is
// within a cap, or the chunk is full.
func (x *expiry) oldest(subscription string, bound journal.DeadLetterCap, of tally) error {
	first, upper := namedRange(kindDead, subscription)
	var last []byte
	rows := 0
	err := x.j.scan(first, upper, func(key, value []byte) (bool, error) {
		name, seq, ok := splitNumbered(key)
		if !ok {
			return false, badRow("dead letter", string(key))
		}
		ref, found := journal.Ref{Subscription: name, Seq: journal.Seq(seq)}, letterOf(value)
		must(x.batch.Delete(keyDeadTime(found.at, ref), nil))
		x.gone(ref, found.bytes)
		of.add(-1, -found.bytes)
		last = append(last[:0], key...)
		rows++

		return rows < letterChunk && bound.Exceeded(of.count, of.bytes), nil
	})
	if err != nil {
		return err
	}
	if rows == 0 {
		// The sum says that there are letters, and there are none: it is made right.
		x.j.options.Log.Error("Dead letters were counted that are not there", "subscription", subscription, "count", of.count)
		sum := x.j.settled.letters.subscriptions[subscription]
		sum.tally = tally{}
		x.sums[subscription] = sum

		return nil
	}
	must(x.batch.DeleteRange(first, append(last, 0), nil))

	return nil
}
