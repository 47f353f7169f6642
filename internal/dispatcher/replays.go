package dispatcher

import (
	"context"
	"errors"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// StartReplay implements native.Operations.
func (o operations) StartReplay(ctx context.Context, id string, want native.ReplayRequest) (native.Replay, error) {
	started, err := o.dispatcher.engine.StartReplay(ctx, id, delivery.ReplayRequest{
		From: want.From, To: want.To, FailuresOnly: want.FailuresOnly, RateLimit: want.RateLimit,
	})

	return replayOf(&started, err)
}

// Replays implements native.Operations.
func (o operations) Replays(ctx context.Context, id string) ([]native.Replay, error) {
	found, err := o.dispatcher.engine.Replays(ctx, id)
	if err != nil {
		return nil, err //nolint:wrapcheck // The engine says what it was doing.
	}

	out := make([]native.Replay, 0, len(found))
	for i := range found {
		out = append(out, wireReplay(&found[i]))
	}

	return out, nil
}

// Replay implements native.Operations.
func (o operations) Replay(ctx context.Context, id, replay string) (native.Replay, error) {
	found, err := o.dispatcher.engine.Replay(ctx, id, replay)

	return replayOf(&found, err)
}

// SetReplayState implements native.Operations.
func (o operations) SetReplayState(ctx context.Context, id, replay, state string) (native.Replay, error) {
	changed, err := o.dispatcher.engine.SetReplay(ctx, id, replay, journal.ReplayState(state))

	return replayOf(&changed, err)
}

// CancelReplay implements native.Operations.
func (o operations) CancelReplay(ctx context.Context, id, replay string) error {
	return replayError(o.dispatcher.engine.CancelReplay(ctx, id, replay))
}

// replayOf is the engine's answer in the API's terms.
func replayOf(replay *delivery.Replay, err error) (native.Replay, error) {
	if err != nil {
		return native.Replay{}, replayError(err)
	}

	return wireReplay(replay), nil
}

func replayError(err error) error {
	if conflict, ok := errors.AsType[*delivery.ReplayConflictError](err); ok {
		return &native.ConflictError{Field: conflict.Field, Message: conflict.Message}
	}

	if errors.Is(err, delivery.ErrNoReplay) {
		return native.ErrNoReplay
	}

	return err
}

func wireReplay(replay *delivery.Replay) native.Replay {
	return native.Replay{
		ID: replay.ID, State: string(replay.State), Reason: replay.Reason, Message: replay.Message, WaitsFor: replay.WaitsFor,
		From: replay.From, To: replay.To, AvailableFrom: replay.Available,
		FailuresOnly: replay.FailuresOnly, RateLimit: replay.RateLimit, Position: uint64(replay.Position),
		Progress: native.ReplayProgress{
			Scanned: replay.Scanned, Matched: replay.Matched, Delivered: replay.Delivered, Failed: replay.Failed,
			Waiting: replay.Waiting, Remaining: replay.Remaining,
		},
		StartedAt: replay.StartedAt, UpdatedAt: replay.UpdatedAt,
	}
}
