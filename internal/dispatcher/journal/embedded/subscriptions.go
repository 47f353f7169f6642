package embedded

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// PutSubscription implements journal.Journal. A deleted version is the last one of its
// id: any that follows answers ErrRevision. It works while the disk is nearly full.
func (j *Journal) PutSubscription(
	ctx context.Context, version journal.Version, expect journal.Revision,
) (journal.Version, error) {
	for field, value := range map[string]string{"Tenant": version.Tenant, "ID": version.ID, "Name": version.Name} {
		if err := checkName(field, value); err != nil {
			return journal.Version{}, fmt.Errorf("putting a subscription: %w", err)
		}
	}
	if size := len(version.Value); size > MaxRecordBytes/2 {
		return journal.Version{}, fmt.Errorf("putting a subscription: Value has %d bytes: the most is %d", size, MaxRecordBytes/2)
	}
	version.Value = append([]byte(nil), version.Value...)
	r := &request{
		put: &putting{version: version, expect: expect}, bytes: int64(len(version.Value)), done: make(chan struct{}),
	}
	if err := j.submit(ctx, r); err != nil {
		return journal.Version{}, fmt.Errorf("putting subscription %s: %w", version.ID, err)
	}

	return r.put.version, nil
}

// put writes a version and its marker.
func (g *group) put(r *request) error {
	c, version := &g.j.committer, &r.put.version
	if err := c.check(version, r.put.expect); err != nil {
		return err
	}
	prune, err := g.j.prunable(version.ID)
	if err != nil {
		return err
	}
	c.last++
	version.Seq = c.last
	version.Revision = r.put.expect + 1
	record := seal(unsealedMarker(version, g.now), version.Seq)
	g.set(keyEvent(version.Seq), record)
	g.set(keyNumbered(kindVersion, version.ID, uint64(version.Seq)), record)
	if prune > 0 {
		lower, _ := namedRange(kindVersion, version.ID)
		g.deleteRange(lower, keyNumbered(kindVersion, version.ID, uint64(prune)))
		g.j.raiseHorizon(g.batch, prune)
	}
	known := *version
	known.Value = nil
	c.index(&known)
	g.j.settled.mu.Lock()
	g.j.settled.know(&known)
	g.j.settled.mu.Unlock()
	g.versions = append(g.versions, *version)

	return nil
}

// check tells whether a version may follow the newest one.
func (c *committer) check(version *journal.Version, expect journal.Revision) error {
	var current journal.Revision
	if before := c.subscriptions[version.ID]; before != nil {
		current = before.Revision
		if before.Deleted {
			return fmt.Errorf("%w: it was deleted at revision %d", journal.ErrRevision, current)
		}
		if before.Tenant != version.Tenant && expect == current {
			return fmt.Errorf("its tenant is %q and cannot become %q: make a new subscription", before.Tenant, version.Tenant)
		}
	}
	if current != expect {
		return fmt.Errorf("%w: it is at revision %d, not %d", journal.ErrRevision, current, expect)
	}
	if version.Deleted && expect == 0 {
		return errors.New("there is none to delete: put a version first")
	}
	if holder, taken := c.names[tenantName{version.Tenant, version.Name}]; taken && holder != version.ID && !version.Deleted {
		return fmt.Errorf("%w: subscription %s has it", journal.ErrNameTaken, holder)
	}

	return nil
}

// index makes a version the newest of its subscription.
func (c *committer) index(version *journal.Version) {
	if before := c.subscriptions[version.ID]; before != nil {
		if name := (tenantName{before.Tenant, before.Name}); c.names[name] == version.ID {
			delete(c.names, name)
		}
	}
	c.subscriptions[version.ID] = version
	if !version.Deleted {
		c.names[tenantName{version.Tenant, version.Name}] = version.ID
	}
}

// prunable is the place of the newest version at or below the cursor where older ones
// stand before it, else 0.
func (j *Journal) prunable(id string) (journal.Seq, error) {
	lower, _ := namedRange(kindVersion, id)
	iter, err := j.iterate(lower, keyNumbered(kindVersion, id, j.cursor.Load()+1))
	if err != nil {
		return 0, err
	}
	var newest uint64
	if iter.Last() {
		_, seq, ok := splitNumbered(iter.Key())
		if ok && iter.Prev() {
			newest = seq
		}
	}

	return journal.Seq(newest), closeIter(iter)
}

// raiseHorizon notes that Subscriptions knows nothing below a position any more.
func (j *Journal) raiseHorizon(batch *pebble.Batch, to journal.Seq) {
	if uint64(to) <= j.horizon.Load() {
		return
	}
	j.horizon.Store(uint64(to))
	must(batch.Set(keyHorizon, encodeNumber(uint64(to)), nil))
}

// must panics: writing into a batch fails only when the batch is misused.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("filling a batch: %v", err))
	}
}

func (g *group) deleteRange(lower, upper []byte) { must(g.batch.DeleteRange(lower, upper, nil)) }

// decodeVersion reads a version's row.
func decodeVersion(key, value []byte) (*journal.Version, error) {
	_, number, ok := splitNumbered(key)
	if !ok {
		return nil, badRow("subscription", string(key))
	}
	record, err := decodeRecord(journal.Seq(number), value)
	if err != nil {
		return nil, fmt.Errorf("reading a subscription's version: %w", err)
	}
	if record.Marker == nil {
		return nil, badRow("subscription", string(key))
	}

	return record.Marker, nil
}

// Subscriptions implements journal.Journal. Below the place where old versions were let
// go of, which is never after the cursor, it answers ErrTrimmed.
func (j *Journal) Subscriptions(ctx context.Context, at journal.Seq) ([]journal.Version, error) {
	if err := j.enter(ctx); err != nil {
		return nil, fmt.Errorf("reading the subscriptions: %w", err)
	}
	defer j.leave()
	at = min(at, journal.Seq(j.durable.Load()))
	newest := map[string]*journal.Version{}
	lower, upper := kindRange(kindVersion)
	err := j.scan(lower, upper, func(key, value []byte) (bool, error) {
		version, err := decodeVersion(key, value)
		if err != nil {
			return false, err
		}
		if version.Seq <= at {
			newest[version.ID] = version
		}

		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the subscriptions: %w", j.damaged(err))
	}
	if horizon := journal.Seq(j.horizon.Load()); at < horizon {
		return nil, fmt.Errorf("reading the subscriptions: %w: they are known from position %d, not %d",
			journal.ErrTrimmed, horizon, at)
	}
	versions := make([]journal.Version, 0, len(newest))
	for _, version := range newest {
		if !version.Deleted {
			versions = append(versions, *version)
		}
	}
	sort.Slice(versions, func(a, b int) bool { return versions[a].ID < versions[b].ID })

	return versions, nil
}

// purge removes the deleted subscriptions that nothing needs any more, with all their rows.
func (j *Journal) purge() error {
	s := &j.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	var gone []string
	for id, at := range s.known {
		if at == 0 || uint64(at) > j.cursor.Load() {
			continue
		}
		if needed, err := j.referred(id); err != nil || needed {
			if err != nil {
				return err
			}

			continue
		}
		for _, kind := range []byte{kindVersion, kindAttempt, kindStatus, kindDead, kindSkipped, kindReplay} {
			lower, upper := namedRange(kind, id)
			must(batch.DeleteRange(lower, upper, nil))
		}
		if change, changed := s.changes[id]; changed {
			must(batch.Delete(keyNumbered(kindChange, change.tenant, change.number), nil))
		}
		must(batch.Delete(keyNamed(kindDeadSum, id), nil))
		j.raiseHorizon(batch, at)
		gone = append(gone, id)
	}
	if len(gone) == 0 {
		return nil
	}
	if err := j.apply(batch, pebble.NoSync); err != nil {
		return err
	}
	for _, id := range gone {
		delete(s.known, id)
		delete(s.heads, id)
		delete(s.changes, id)
		s.letters.forget(id)
		s.forgetReplays(id)
		delete(j.committer.subscriptions, id)
	}
	s.touch()

	return nil
}

// watchers are those who wait for new versions.
type watchers struct {
	mu     sync.Mutex
	closed bool
	all    map[chan journal.Version]struct{}
}

// send gives each watcher the versions, and closes those that have no room for them.
func (w *watchers) send(versions []journal.Version) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for out := range w.all {
		for _, version := range versions {
			select {
			case out <- version:
				continue
			default:
			}
			delete(w.all, out)
			close(out)

			break
		}
	}
}

// remove closes one watcher, unless it was closed already.
func (w *watchers) remove(out chan journal.Version) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, there := w.all[out]; there {
		delete(w.all, out)
		close(out)
	}
}

// add takes a new watcher in; false when the journal is closed.
func (w *watchers) add(out chan journal.Version) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	if w.all == nil {
		w.all = map[chan journal.Version]struct{}{}
	}
	w.all[out] = struct{}{}

	return true
}

// close closes all watchers.
func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for out := range w.all {
		delete(w.all, out)
		close(out)
	}
}

// Watch implements journal.Journal. A watcher may lag behind by 1024 versions.
func (j *Journal) Watch(ctx context.Context) (<-chan journal.Version, error) {
	if err := j.enter(ctx); err != nil {
		return nil, fmt.Errorf("watching the subscriptions: %w", err)
	}
	defer j.leave()
	out := make(chan journal.Version, watchBuffer)
	if !j.watchers.add(out) {
		return nil, fmt.Errorf("watching the subscriptions: %w", journal.ErrClosed)
	}
	j.done.Go(func() {
		select {
		case <-ctx.Done():
		case <-j.stop:
		}
		j.watchers.remove(out)
	})

	return out, nil
}
