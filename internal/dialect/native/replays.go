package native

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Paths of replays.
const (
	pathReplays = pathSubscription + "/replays"
	pathReplay  = pathReplays + "/{replay}"
)

// The states of a replay.
const (
	ReplayRunning = "Running"
	ReplayPaused  = "Paused"
)

// fieldState is the field that says whether a replay is to run.
const fieldState = "state"

// ErrNoReplay answers that a subscription has no such replay.
var ErrNoReplay = errors.New("no such replay")

// ConflictError answers that something else stands in the way, which the caller can change.
type ConflictError struct {
	// Field is the field at fault, empty where none is.
	Field   string
	Message string
}

// Error implements error.
func (e *ConflictError) Error() string {
	if e.Field == "" {
		return e.Message
	}

	return e.Field + ": " + e.Message
}

// ReplayRequest is what is to be sent again. Zero times and a nil rate were left out.
type ReplayRequest struct {
	From, To     time.Time
	FailuresOnly bool
	RateLimit    *int32
}

// Replay is one wish to send events again, and how far it is.
type Replay struct {
	ID string `json:"id"`
	// State is Running, Paused, Done, Cancelled or Failed; Reason and Message say why it is Failed.
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// WaitsFor is why a running one sends nothing at the moment.
	WaitsFor string `json:"waitsFor,omitempty"`
	// From is zero where all dead letters are meant.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to"`
	// AvailableFrom is set where the log no longer has the beginning.
	AvailableFrom time.Time `json:"availableFrom,omitzero"`
	FailuresOnly  bool      `json:"failuresOnly"`
	RateLimit     int32     `json:"rateLimit"`
	// Position is the last one of the log that it is done with.
	Position  uint64         `json:"position"`
	Progress  ReplayProgress `json:"progress"`
	StartedAt time.Time      `json:"startedAt"`
	UpdatedAt time.Time      `json:"updatedAt"`
}

// ReplayProgress counts up to a replay's position. Remaining is an estimate.
type ReplayProgress struct {
	Scanned   uint64 `json:"scanned"`
	Matched   uint64 `json:"matched"`
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
	Waiting   uint64 `json:"waiting"`
	Remaining uint64 `json:"remaining"`
}

// Replays are the operations on replays. They answer ErrNoReplay, *ConflictError and the port's errors.
type Replays interface {
	// StartReplay begins to send events of the past again, and returns once that is durable.
	StartReplay(ctx context.Context, id string, want ReplayRequest) (Replay, error)
	// Replays are a subscription's, newest first.
	Replays(ctx context.Context, id string) ([]Replay, error)
	Replay(ctx context.Context, id, replay string) (Replay, error)
	// SetReplayState has a replay be ReplayPaused, or ReplayRunning again.
	SetReplayState(ctx context.Context, id, replay, state string) (Replay, error)
	// CancelReplay ends a replay; one that is cancelled stays so.
	CancelReplay(ctx context.Context, id, replay string) error
}

// replayRequest and replayChange are bodies; times are RFC 3339.
type replayRequest struct {
	From         string `json:"from,omitempty"`
	To           string `json:"to,omitempty"`
	FailuresOnly bool   `json:"failuresOnly,omitempty"`
	RateLimit    *int32 `json:"rateLimit,omitempty"`
}

type replayChange struct {
	State string `json:"state"`
}

type replayList struct {
	Replays []Replay `json:"replays"`
}

func (r *replayRequest) wanted() (ReplayRequest, error) {
	want := ReplayRequest{FailuresOnly: r.FailuresOnly, RateLimit: r.RateLimit}
	for _, field := range []struct {
		name, text string
		into       *time.Time
	}{{"from", r.From, &want.From}, {"to", r.To, &want.To}} {
		if field.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, field.text)
		if err != nil {
			return ReplayRequest{}, &subscription.InvalidError{
				Field: field.name, Message: "it is not a time: write one such as 2026-08-01T12:00:00Z",
			}
		}
		*field.into = at
	}

	return want, nil
}

func (s *server) startReplay(r request) (any, error) {
	var body replayRequest
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	want, err := body.wanted()
	if err != nil {
		return nil, err
	}
	operations, err := s.replayOperations(r)
	if err != nil {
		return nil, err
	}
	started, err := operations.StartReplay(r.Context(), r.PathValue("id"), want)
	if err != nil {
		return nil, fmt.Errorf("starting a replay: %w", err)
	}

	return started, nil
}

func (s *server) replays(r request) (any, error) {
	operations, err := s.replayOperations(r)
	if err != nil {
		return nil, err
	}
	found, err := operations.Replays(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("reading replays: %w", err)
	}

	if found == nil {
		found = []Replay{}
	}

	return replayList{Replays: found}, nil
}

func (s *server) replay(r request) (any, error) {
	operations, err := s.replayOperations(r)
	if err != nil {
		return nil, err
	}
	found, err := operations.Replay(r.Context(), r.PathValue("id"), r.PathValue("replay"))
	if err != nil {
		return nil, fmt.Errorf("reading a replay: %w", err)
	}

	return found, nil
}

func (s *server) setReplay(r request) (any, error) {
	var body replayChange
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.State != ReplayPaused && body.State != ReplayRunning {
		return nil, &subscription.InvalidError{
			Field: fieldState, Message: "give " + ReplayPaused + " or " + ReplayRunning + "; to end a replay, delete it",
		}
	}
	operations, err := s.replayOperations(r)
	if err != nil {
		return nil, err
	}
	changed, err := operations.SetReplayState(r.Context(), r.PathValue("id"), r.PathValue("replay"), body.State)
	if err != nil {
		return nil, fmt.Errorf("changing a replay: %w", err)
	}

	return changed, nil
}

func (s *server) cancelReplay(r request) (any, error) {
	operations, err := s.replayOperations(r)
	if err != nil {
		return nil, err
	}
	if err := operations.CancelReplay(r.Context(), r.PathValue("id"), r.PathValue("replay")); err != nil {
		return nil, fmt.Errorf("cancelling a replay: %w", err)
	}

	return nil, nil //nolint:nilnil // Nothing is what a deletion answers.
}

func (s *server) replayOperations(r request) (Replays, error) { return s.operations(r, "replays") }
