package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

const (
	// replayWindow is how many deliveries a replay holds at most: after a crash as many may be sent
	// again. replayBytes bounds their events.
	replayWindow = 256
	replayBytes  = 2 << 20
	// replayReadBatch is how many records of the log, letterBatch how many dead letters with their
	// events, are read for a replay at once.
	replayReadBatch = 128
	letterBatch     = 8
	// replayScanRate is how many of them are looked at in a second for all replays together.
	replayScanRate = 20_000
	// replaySweep is how often replays that take too long are looked for.
	replaySweep = time.Minute
)

// replay is one that is open, or has attempts under way. Its fields belong to the engine's lock.
type replay struct {
	// row counts what is done up to its Position.
	row journal.Replay
	// endpoint is set once it has run.
	endpoint *endpoint
	// items are the deliveries after the position, in order; reach is what was looked at last.
	items []*replayed
	reach journal.Seq
	// bytes are about those of the events of items.
	bytes int
	// inFlight attempts are under way.
	inFlight int
	limiter  *rate.Limiter
	// pause holds its next start back until it fires; nil where nothing does.
	pause clockwork.Timer
	// gone: its subscription is deleted, so no row is written any more.
	gone bool
}

// fate is what became of one delivery of a replay.
type fate uint8

const (
	fateReady fate = iota
	fateUnderWay
	// The others are final. fatePassed: it is none of the replay's.
	fatePassed
	fateWaits
	fateDelivered
	fateFailed
)

// replayed is one delivery of a replay.
type replayed struct {
	seq journal.Seq
	// event is nil where it is to be read again.
	event *journal.Event
	// key is a hash of what its order would be kept by.
	key uint64
	// attempts were made before, of a dead letter.
	attempts int32
	fate     fate
	// counted: it is in the row already.
	counted bool
}

func newReplayLimiter(perSecond int32) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), burst(perSecond))
}

// stopWaiting lets go of the timer for its next start.
func (rp *replay) stopWaiting() {
	if rp.pause != nil {
		rp.pause.Stop()
		rp.pause = nil
	}
}

// forgetEvents frees the memory of one that sends nothing for now.
func (rp *replay) forgetEvents() {
	for _, one := range rp.items {
		if one.fate == fateReady {
			rp.forget(one)
		}
	}
}

func (rp *replay) forget(one *replayed) {
	if one.event != nil {
		rp.bytes -= eventSize(one.event)
		one.event = nil
	}
}

// exhausted tells that there is nothing more to look at.
func (rp *replay) exhausted() bool { return rp.reach+1 >= rp.row.End }

// hungryReplay tells whether there is something to look at for a replay, and room for it.
func (e *Engine) hungryReplay(rp *replay) bool {
	ep := rp.endpoint

	return e.accepting && e.recovered && ep.sendable && !rp.exhausted() && len(rp.items) <= replayWindow-replayReadBatch &&
		rp.bytes < replayBytes && (rp.row.FailuresOnly || rp.reach < e.cursor) && (!ep.circuit.open || len(rp.items) == 0)
}

// feedReplaysSoon has the replays looked after.
func (e *Engine) feedReplaysSoon() {
	select {
	case e.replaying <- struct{}{}:
	default:
	}
}

// runReplays looks for what the running replays are to send, until ctx ends. The error is the
// journal's.
func (e *Engine) runReplays(ctx context.Context) error {
	s := &scanner{
		limiter: rate.NewLimiter(replayScanRate, replayScanRate),
		present: &presentMatcher{registry: e.cfg.Registry, passes: e.cfg.Passes},
	}
	defer s.present.forget()
	sweep := e.cfg.Clock.NewTicker(replaySweep)
	defer sweep.Stop()
	e.expireReplays()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.Chan():
			e.expireReplays()
		case <-e.replaying:
		}
		for rp := e.nextHungry(); rp != nil; rp = e.nextHungry() {
			err := e.scanReplay(ctx, rp, s)
			if ended(ctx) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		if !e.replaysRun() {
			s.present.forget()
		}
	}
}

// scanner is what looking for replays takes.
type scanner struct {
	limiter *rate.Limiter
	present *presentMatcher
}

func (e *Engine) replaysRun() bool {
	e.mu.Lock()
	defer e.mu.Unlock()

	return len(e.running) > 0
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// nextHungry is one of the replays to look after, at random among several.
func (e *Engine) nextHungry() *replay {
	e.mu.Lock()
	defer e.mu.Unlock()
	for rp := range e.running {
		if e.hungryReplay(rp) {
			return rp
		}
	}

	return nil
}

// found is what looking brought.
type found struct {
	items []*replayed
	reach journal.Seq
}

// scanReplay looks at the next records, or dead letters, of a replay.
func (e *Engine) scanReplay(ctx context.Context, rp *replay, s *scanner) error {
	e.mu.Lock()
	row, reach, upTo := rp.row, rp.reach, min(e.cursor, rp.row.End-1)
	e.mu.Unlock()
	sub, ok := e.cfg.Registry.Current(row.Subscription)
	if !ok {
		e.mu.Lock()
		e.dropReplays(row.Subscription)
		e.mu.Unlock()

		return nil
	}
	if !sub.Takes() {
		// The endpoint is to follow in a moment.
		pause(ctx, settleInterval)

		return nil
	}
	s.present.follow(sub)
	n := letterBatch
	if !row.FailuresOnly {
		n = int(min(replayReadBatch, upTo-reach))
	}
	now := e.cfg.Clock.Now()
	if wait := s.limiter.ReserveN(now, n).DelayFrom(now); wait > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-e.cfg.Clock.After(wait):
		}
	}
	var (
		got found
		err error
	)
	if row.FailuresOnly {
		got, err = e.scanLetters(ctx, &row, reach)
	} else {
		got, err = e.scanLog(ctx, s.present, sub, reach, n)
	}
	if err == nil {
		err = e.findWaiting(ctx, sub.ID, got.items)
	}

	return e.scanned(ctx, rp, reach, got, err)
}

// scanned takes up what looking brought.
func (e *Engine) scanned(ctx context.Context, rp *replay, from journal.Seq, got found, err error) error {
	if errors.Is(err, journal.ErrTrimmed) {
		shifted, cause := e.shiftReplay(ctx, rp, from, err)
		if shifted {
			return nil
		}
		err = cause
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, runs := e.running[rp]; !runs || rp.reach != from {
		return nil
	}
	switch {
	case errors.Is(err, journal.ErrTrimmed):
		e.endReplay(rp, journal.ReplayFailed, ReplayLogTrimmed, fmt.Sprintf("the log no longer has position %d", from+1))

		return nil
	case errors.Is(err, journal.ErrCorrupt):
		e.cfg.Log.Error("Ended a replay at what cannot be read", "subscription", rp.row.Subscription, "replay", rp.row.ID, "error", err)
		e.endReplay(rp, journal.ReplayFailed, ReplayLogCorrupt, fmt.Sprintf(
			"what follows position %d is damaged: start another one from a time after it", from))

		return nil
	case err != nil:
		return fmt.Errorf("reading for replay %s: %w", rp.row.ID, err)
	}
	rp.reach = got.reach
	for _, one := range got.items {
		switch {
		case one.event == nil:
		case rp.bytes >= replayBytes:
			// It is read again when its turn comes.
			one.event = nil
		default:
			rp.bytes += eventSize(one.event)
		}
	}
	rp.items = append(rp.items, got.items...)
	e.pumpReplay(rp.endpoint)

	return nil
}

// shiftReplay has one that did not begin yet begin with the log, which may have been trimmed
// between the two.
func (e *Engine) shiftReplay(ctx context.Context, rp *replay, from journal.Seq, cause error) (bool, error) {
	first, last, err := e.cfg.Journal.View().Bounds(ctx)
	if err != nil {
		return false, fmt.Errorf("reading the journal's bounds: %w", err)
	}
	e.mu.Lock()
	row := rp.row
	e.mu.Unlock()
	if row.FailuresOnly || from+1 != row.Start {
		return false, cause
	}
	if row.Start = row.End; first > 0 && first < row.End {
		row.Start = first
		if err := e.findAvailable(ctx, &row, first, last); err != nil {
			return false, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if rp.reach != from || row.Start <= rp.row.Start {
		return false, cause
	}
	rp.row.Start, rp.row.Available = row.Start, row.Available
	rp.reach = row.Start - 1
	rp.row.Position = rp.reach
	e.noteReplay(rp)
	e.advanceReplay(rp)

	return true, nil
}

// scanLog reads records after a position and finds those that a subscription would take now.
func (e *Engine) scanLog(
	ctx context.Context, present *presentMatcher, sub *registry.Subscription, after journal.Seq, n int,
) (found, error) {
	records, err := e.cfg.Journal.Read(ctx, after+1, n)
	if err != nil {
		return found{}, err //nolint:wrapcheck // The caller tells of the replay.
	}
	got := found{reach: after}
	for i := range records {
		got.reach = records[i].Seq
		event := records[i].Event
		if event != nil && event.Tenant == sub.Tenant && present.match(sub.ID, event) {
			got.items = append(got.items, &replayed{seq: records[i].Seq, event: event, key: e.keyOf(event)})
		}
	}

	return got, nil
}

// scanLetters reads dead letters after a position.
func (e *Engine) scanLetters(ctx context.Context, row *journal.Replay, after journal.Seq) (found, error) {
	letters, err := e.cfg.Journal.View().DeadLetters(ctx, row.Subscription, after, letterBatch)
	if err != nil {
		return found{}, err //nolint:wrapcheck // As above.
	}
	got := found{reach: row.End - 1}
	for i := range letters {
		letter := &letters[i]
		if letter.Seq >= row.End {
			return got, nil
		}
		one := &replayed{seq: letter.Seq, attempts: letter.Attempts, fate: fatePassed}
		// One that has lost its event cannot be sent.
		if accepted := letter.Event.Accepted; letter.Event.Type != "" && !accepted.Before(row.From) && !accepted.After(row.To) {
			one.event, one.fate = &letter.Event, fateReady
		}
		got.items = append(got.items, one)
	}
	if len(letters) == letterBatch {
		got.reach = letters[len(letters)-1].Seq
	}

	return got, nil
}

// findWaiting leaves out what still waits for its own delivery. All of it has a row: what is
// looked at lies before the cursor, where nothing is in memory alone.
func (e *Engine) findWaiting(ctx context.Context, subscriptionID string, items []*replayed) error {
	for _, one := range items {
		if one.fate != fateReady {
			continue
		}
		pending, err := e.cfg.Journal.View().Pending(ctx, journal.Ref{Subscription: subscriptionID, Seq: one.seq})
		if err != nil {
			return fmt.Errorf("reading what waits of position %d: %w", one.seq, err)
		}
		if pending {
			one.event, one.fate = nil, fateWaits
		}
	}

	return nil
}
