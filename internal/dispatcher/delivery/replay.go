package delivery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of replays.
const (
	// MaxRunningReplays is how many may run at once, at most one of each subscription.
	MaxRunningReplays = 16
	// MaxReplays is how many are kept of one subscription: the oldest that have ended go first.
	MaxReplays = 100
	// DefaultReplayRate is how many attempts a replay starts in a second where it does not say,
	// MaxReplayRate the most it may ask for.
	DefaultReplayRate = 50
	MaxReplayRate     = 1000
)

// Why a replay is Failed.
const (
	// ReplayExpired: it took longer than journal.MaxReplayAge.
	ReplayExpired = "Expired"
	// ReplayLogTrimmed: the log no longer has what came next.
	ReplayLogTrimmed = "LogTrimmed"
	// ReplayLogCorrupt: what came next is damaged.
	ReplayLogCorrupt = "LogCorrupt"
)

// What a running replay may wait for.
const (
	// ReplayWaitsDisabled and ReplayWaitsSuspended: for its subscription.
	ReplayWaitsDisabled  = "Disabled"
	ReplayWaitsSuspended = "Suspended"
	// ReplayWaitsCircuit: for its endpoint to answer a probe.
	ReplayWaitsCircuit = "CircuitOpen"
	// ReplayWaitsBacklog: for deliveries that came before it.
	ReplayWaitsBacklog = "Backlog"
)

// fieldState is the field of a replay's state, and the label of its metric.
const fieldState = "state"

// ErrNoReplay answers where the subscription has no such replay, or not any more.
var ErrNoReplay = errors.New("there is no such replay")

// ReplayConflictError says what stands in the way of a replay.
type ReplayConflictError struct {
	// Field is the one at fault, empty where none is.
	Field   string
	Message string
}

// Error implements error.
func (e *ReplayConflictError) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}

	return e.Message
}

// ReplayRequest is what is to be sent again.
type ReplayRequest struct {
	// From and To are when the events were accepted: From is needed unless FailuresOnly, and
	// included; To is not, and is the present where it is zero or later.
	From, To time.Time
	// FailuresOnly sends dead letters, whatever the subscription's patterns are now.
	FailuresOnly bool
	// RateLimit is how many attempts may start in a second; nil is DefaultReplayRate.
	RateLimit *int32
}

// Replay is how far a replay is.
type Replay struct {
	journal.Replay

	// Remaining is about how many deliveries are still to come. Until some were looked at it is
	// the most there can be.
	Remaining uint64
	// WaitsFor is why a running one sends nothing at the moment, empty where it does.
	WaitsFor string
}

// check completes a request and says what is wrong with it.
func (r *ReplayRequest) check(now time.Time) error {
	rate := int32(DefaultReplayRate)
	if r.RateLimit == nil {
		r.RateLimit = &rate
	}
	if r.To.IsZero() || r.To.After(now) {
		r.To = now
	}
	invalid := func(field, format string, args ...any) error {
		return &subscription.InvalidError{Field: field, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case r.From.IsZero() && !r.FailuresOnly:
		return invalid("from", "it is missing: give the time from which accepted events are sent again, or failuresOnly")
	case r.From.After(now):
		return invalid("from", "it lies in the future: a replay sends events again that were accepted before it")
	case !r.From.Before(r.To):
		return invalid("to", "it is not after from")
	case *r.RateLimit < 1 || *r.RateLimit > MaxReplayRate:
		return invalid("rateLimit", "it is %d: give 1 to %d attempts a second", *r.RateLimit, MaxReplayRate)
	}
	r.From, r.To = r.From.UTC(), r.To.UTC()

	return nil
}

// StartReplay begins to send events of the past again, and returns once that outlives the
// process. An event in the log goes to the subscription where it matches as the subscription is
// now, under the webhook-id it always had; where that fails, it is tried again by the schedule
// and in the end dead-lettered, as any other. A dead letter is tried once: a success clears it.
// What still waits for its own delivery is left to that. Replays use what the endpoint's other
// deliveries leave, see the package's documentation. The errors are subscription.ErrNotFound, a
// *subscription.InvalidError, a *ReplayConflictError, ErrNotRunning, or the context's.
func (e *Engine) StartReplay(ctx context.Context, subscriptionID string, want ReplayRequest) (Replay, error) {
	sub, ok := e.cfg.Registry.Current(subscriptionID)
	if !ok {
		return Replay{}, subscription.ErrNotFound
	}
	now := e.cfg.Clock.Now().UTC()
	if err := want.check(now); err != nil {
		return Replay{}, err
	}
	release, err := e.changingReplays(ctx)
	if err != nil {
		return Replay{}, err
	}
	defer release()
	removed, err := e.replaysTooMany(ctx, sub.ID)
	if err != nil {
		return Replay{}, err
	}
	row := journal.Replay{
		Subscription: sub.ID, ID: ksuid.New().String(), Tenant: sub.Tenant, State: journal.ReplayRunning,
		From: want.From, To: want.To, FailuresOnly: want.FailuresOnly, RateLimit: *want.RateLimit, StartedAt: now, UpdatedAt: now,
	}
	if err := e.boundReplay(ctx, &row); err != nil {
		return Replay{}, err
	}

	return e.changeReplay(ctx, func() (*replay, error) {
		rp := &replay{row: row, reach: row.Position}
		if err := e.attach(rp); err != nil {
			return nil, err
		}
		e.replays[row.ID] = rp
		e.pending.removed = append(e.pending.removed, removed...)
		e.cfg.Log.Info("Started a replay", "subscription", row.Subscription, "tenant", row.Tenant, "replay", row.ID,
			"from", row.From, "to", row.To, "failuresOnly", row.FailuresOnly, "rateLimit", row.RateLimit)

		return rp, nil
	})
}

// changingReplays lets one caller at a time change which replays there are.
func (e *Engine) changingReplays(ctx context.Context) (release func(), err error) {
	select {
	case e.changing <- struct{}{}:
		return func() { <-e.changing }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for other changes of replays: %w", ctx.Err())
	}
}

// replaysTooMany are the rows to remove before a subscription gets one more.
func (e *Engine) replaysTooMany(ctx context.Context, subscriptionID string) ([]journal.Replay, error) {
	rows, err := e.cfg.Journal.View().Replays(ctx, subscriptionID)
	if err != nil {
		return nil, fmt.Errorf("reading the replays of subscription %s: %w", subscriptionID, err)
	}
	tooMany := len(rows) + 1 - MaxReplays
	var removed []journal.Replay
	for i := range rows {
		if len(removed) < tooMany && !rows[i].State.Open() {
			removed = append(removed, journal.Replay{Subscription: subscriptionID, ID: rows[i].ID, Removed: true})
		}
	}
	if len(removed) < tooMany {
		return nil, &ReplayConflictError{
			Message: fmt.Sprintf("the subscription has %d replays that are paused or running: cancel one first", MaxReplays),
		}
	}

	return removed, nil
}

// boundReplay finds the positions of a replay's time.
func (e *Engine) boundReplay(ctx context.Context, row *journal.Replay) error {
	view := e.cfg.Journal.View()
	first, last, err := view.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("reading the journal's bounds: %w", err)
	}
	row.Start, row.End = 1, last+1
	switch {
	case row.FailuresOnly:
		err = e.boundLetters(ctx, row)
	case first > 0:
		err = e.boundLog(ctx, row, first, last)
	}
	row.Position = row.Start - 1

	return err
}

// boundLetters finds where the dead letters begin. They outlive the log, so that none may be left.
func (e *Engine) boundLetters(ctx context.Context, row *journal.Replay) error {
	letters, err := e.cfg.Journal.View().DeadLetters(ctx, row.Subscription, 0, 1)
	if err != nil {
		return fmt.Errorf("reading the dead letters of subscription %s: %w", row.Subscription, err)
	}
	e.mu.Lock()
	row.End = max(row.End, e.read+1)
	e.mu.Unlock()
	if row.Start = row.End; len(letters) > 0 {
		row.Start = min(row.End, letters[0].Seq)
	}

	return nil
}

func (e *Engine) boundLog(ctx context.Context, row *journal.Replay, first, last journal.Seq) error {
	var err error
	if row.Start, err = e.cfg.Journal.View().FirstAfter(ctx, row.From); err != nil {
		return fmt.Errorf("looking for the events to replay: %w", err)
	}
	// What was accepted at this very moment belongs to it where it reaches to the present.
	if row.To.Before(row.StartedAt) {
		if row.End, err = e.cfg.Journal.View().FirstAfter(ctx, row.To); err != nil {
			return fmt.Errorf("looking for the events to replay: %w", err)
		}
	}
	row.End = max(row.End, row.Start)
	if row.Start > first || first <= 1 {
		return nil
	}

	return e.findAvailable(ctx, row, first, last)
}

// findAvailable notes from when on the log has events, where it begins within the time asked for.
func (e *Engine) findAvailable(ctx context.Context, row *journal.Replay, first, last journal.Seq) error {
	const most = 64
	records, err := e.cfg.Journal.Read(ctx, first, int(min(most, last-first+1)))
	if err != nil && !errors.Is(err, journal.ErrTrimmed) {
		return fmt.Errorf("looking for the events to replay: %w", err)
	}
	for i := range records {
		if event := records[i].Event; event != nil {
			if event.Accepted.After(row.From) {
				row.Available = event.Accepted.UTC()
			}

			return nil
		}
	}

	return nil
}

// changeReplay changes a replay under the engine's lock, and waits until that is durable.
func (e *Engine) changeReplay(ctx context.Context, change func() (*replay, error)) (Replay, error) {
	if err := e.awaitBegin(ctx); err != nil {
		return Replay{}, err
	}
	done := make(chan struct{})
	e.mu.Lock()
	if !e.accepting {
		e.mu.Unlock()

		return Replay{}, ErrNotRunning
	}
	rp, err := change()
	if err != nil {
		e.mu.Unlock()

		return Replay{}, err
	}
	e.noteReplay(rp)
	e.pending.durable = true
	e.pending.waiters = append(e.pending.waiters, done)
	e.noted()
	if e.advanceReplay(rp); rp.row.State == journal.ReplayRunning {
		e.pumpReplay(rp.endpoint)
	}
	out := e.shownReplay(rp.row)
	e.mu.Unlock()
	select {
	case <-done:
		return out, nil
	case <-ctx.Done():
		return Replay{}, fmt.Errorf("waiting for the replay to be recorded: %w", ctx.Err())
	case <-e.stopped:
		select {
		case <-done:
			return out, nil
		default:
		}

		return Replay{}, fmt.Errorf("waiting for the replay to be recorded: %w", ErrNotRunning)
	}
}

// Replays are a subscription's, newest first.
func (e *Engine) Replays(ctx context.Context, subscriptionID string) ([]Replay, error) {
	if _, ok := e.cfg.Registry.Current(subscriptionID); !ok {
		return nil, subscription.ErrNotFound
	}
	rows, err := e.cfg.Journal.View().Replays(ctx, subscriptionID)
	if err != nil {
		return nil, fmt.Errorf("reading the replays of subscription %s: %w", subscriptionID, err)
	}
	slices.Reverse(rows)
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Replay, 0, len(rows))
	for i := range rows {
		if rp := e.replays[rows[i].ID]; rp != nil {
			rows[i] = rp.row
		}
		out = append(out, e.shownReplay(rows[i]))
	}

	return out, nil
}

// Replay is one of a subscription's; ErrNoReplay where there is none.
func (e *Engine) Replay(ctx context.Context, subscriptionID, id string) (Replay, error) {
	all, err := e.Replays(ctx, subscriptionID)
	if err != nil {
		return Replay{}, err
	}
	for i := range all {
		if all[i].ID == id {
			return all[i], nil
		}
	}

	return Replay{}, ErrNoReplay
}

// SetReplay pauses a replay, or has it run again from where it was: state is
// journal.ReplayPaused or journal.ReplayRunning. Attempts under way end. The errors are
// StartReplay's, and ErrNoReplay.
func (e *Engine) SetReplay(ctx context.Context, subscriptionID, id string, state journal.ReplayState) (Replay, error) {
	if !state.Open() {
		return Replay{}, &subscription.InvalidError{
			Field: fieldState, Message: fmt.Sprintf("give %s or %s", journal.ReplayPaused, journal.ReplayRunning),
		}
	}

	return e.moveReplay(ctx, subscriptionID, id, state)
}

// CancelReplay ends a replay; one that is cancelled already stays so.
func (e *Engine) CancelReplay(ctx context.Context, subscriptionID, id string) error {
	_, err := e.moveReplay(ctx, subscriptionID, id, journal.ReplayCancelled)

	return err
}

func (e *Engine) moveReplay(ctx context.Context, subscriptionID, id string, to journal.ReplayState) (Replay, error) {
	release, err := e.changingReplays(ctx)
	if err != nil {
		return Replay{}, err
	}
	defer release()
	now, err := e.Replay(ctx, subscriptionID, id)
	if err != nil || now.State == to {
		return now, err
	}

	return e.changeReplay(ctx, func() (*replay, error) {
		rp := e.replays[id]
		switch {
		case rp == nil || rp.row.Subscription != subscriptionID:
			return nil, &ReplayConflictError{
				Field: fieldState, Message: "the replay has ended: only one that is Running or Paused changes",
			}
		case to == journal.ReplayRunning:
			err := e.attach(rp)
			if conflict, ok := errors.AsType[*ReplayConflictError](err); ok {
				conflict.Field = fieldState
			}

			return rp, err
		case to == journal.ReplayPaused:
			e.detach(rp)
			rp.row.State = to
			rp.forgetEvents()
		default:
			e.endReplay(rp, to, "", "")
		}

		return rp, nil
	})
}

// attach has a replay run, where it may. The caller holds the lock.
func (e *Engine) attach(rp *replay) error {
	ep := e.endpointOf(rp.row.Subscription, false)
	switch {
	case ep.deleted:
		return subscription.ErrNotFound
	case ep.replay != nil:
		return &ReplayConflictError{
			Message: fmt.Sprintf("replay %s of the subscription is running: pause or cancel it, or wait for its end", ep.replay.row.ID),
		}
	case len(e.running) >= MaxRunningReplays:
		return &ReplayConflictError{
			Message: fmt.Sprintf("%d replays are running, which is the most: pause or cancel one, or wait for an end", MaxRunningReplays),
		}
	}
	rp.row.State = journal.ReplayRunning
	rp.endpoint, ep.replay = ep, rp
	rp.limiter = newReplayLimiter(rp.row.RateLimit)
	e.running[rp] = struct{}{}
	e.metrics.replaysRunning.Set(float64(len(e.running)))
	e.feedReplaysSoon()

	return nil
}

// detach has a replay send nothing more.
func (e *Engine) detach(rp *replay) {
	if _, runs := e.running[rp]; !runs {
		return
	}
	delete(e.running, rp)
	e.metrics.replaysRunning.Set(float64(len(e.running)))
	rp.endpoint.replay = nil
	rp.stopWaiting()
}

// endReplay ends a replay for good.
func (e *Engine) endReplay(rp *replay, state journal.ReplayState, reason, message string) {
	e.detach(rp)
	delete(e.replays, rp.row.ID)
	rp.row.State, rp.row.Reason, rp.row.Message = state, reason, message
	rp.forgetEvents()
	e.metrics.replaysEnded.WithLabelValues(string(state)).Inc()
	e.noteReplay(rp)
	e.cfg.Log.Info("Ended a replay", "subscription", rp.row.Subscription, "tenant", rp.row.Tenant, "replay", rp.row.ID,
		"state", string(state), "reason", reason, "scanned", rp.row.Scanned, "delivered", rp.row.Delivered, "failed", rp.row.Failed)
}

// dropReplays lets go of those of a subscription that is deleted. Their rows go with its own.
func (e *Engine) dropReplays(subscriptionID string) {
	for id, rp := range e.replays {
		if rp.row.Subscription == subscriptionID {
			e.detach(rp)
			delete(e.replays, id)
			delete(e.pending.replays, rp)
			rp.gone = true
		}
	}
}

// expireReplays ends those that have taken too long.
func (e *Engine) expireReplays() {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.cfg.Clock.Now()
	for _, rp := range e.replays {
		if now.Sub(rp.row.StartedAt) > journal.MaxReplayAge {
			e.endReplay(rp, journal.ReplayFailed, ReplayExpired, fmt.Sprintf(
				"it was open for more than %s, pauses included: start another one from where it stands", journal.MaxReplayAge,
			))
		}
	}
}

// noteReplay has a replay's row written with the next Settle. The caller holds the lock.
func (e *Engine) noteReplay(rp *replay) {
	if rp.gone {
		return
	}
	rp.row.UpdatedAt = e.cfg.Clock.Now().UTC()
	if e.pending.replays == nil {
		e.pending.replays = make(map[*replay]struct{})
	}
	e.pending.replays[rp] = struct{}{}
	e.wake()
}

// takeReplays are the rows of the next batch. All that a position stands for is in it, or was before.
func (p *pending) takeReplays() []journal.Replay {
	rows := p.removed
	for rp := range p.replays {
		rows = append(rows, rp.row)
	}

	return rows
}

// restoreReplays takes up the replays that are open.
func (e *Engine) restoreReplays(ctx context.Context) error {
	rows, err := e.cfg.Journal.View().OpenReplays(ctx)
	if err != nil {
		return fmt.Errorf("reading the open replays: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range rows {
		if _, ok := e.cfg.Registry.Current(rows[i].Subscription); !ok {
			continue
		}
		rp := &replay{row: rows[i], reach: rows[i].Position}
		e.replays[rows[i].ID] = rp
		if rows[i].State != journal.ReplayRunning {
			continue
		}
		if err := e.attach(rp); err != nil {
			// More ran than may run now.
			e.cfg.Log.Warn("Paused a replay", "subscription", rp.row.Subscription, "replay", rp.row.ID, "reason", err)
			rp.row.State = journal.ReplayPaused
			e.noteReplay(rp)
		}
	}

	return nil
}

// shownReplay is a row with what can be told beside it. The caller holds the lock.
func (e *Engine) shownReplay(row journal.Replay) Replay {
	out := Replay{Replay: row, Remaining: remaining(&row)}
	if row.State != journal.ReplayRunning {
		return out
	}
	ep := e.endpoints[row.Subscription]
	sub, ok := e.cfg.Registry.Current(row.Subscription)
	switch {
	case !ok || ep == nil:
	case !sub.Takes():
		out.WaitsFor = waitsFor(sub)
	case ep.circuit.open:
		out.WaitsFor = ReplayWaitsCircuit
	case ep.behind:
		out.WaitsFor = ReplayWaitsBacklog
	}

	return out
}

func waitsFor(sub *registry.Subscription) string {
	if !sub.Enabled {
		return ReplayWaitsDisabled
	}

	return ReplayWaitsSuspended
}

// remaining goes by how many matched so far.
func remaining(row *journal.Replay) uint64 {
	if row.State == journal.ReplayDone || row.Position+1 >= row.End {
		return 0
	}
	left := uint64(row.End - 1 - row.Position)
	looked := uint64(row.Position + 1 - row.Start)
	if looked == 0 {
		return left
	}

	return uint64(math.Ceil(float64(row.Matched) / float64(looked) * float64(left)))
}
