package journal

import (
	"context"
	"time"
)

// MaxReplayAge is how long a replay may take from its start, the time it is paused included:
// the log is not trimmed below the position of one that is open, and this bounds for how long.
const MaxReplayAge = 72 * time.Hour

// ReplayState is how far a replay is.
type ReplayState string

// The states of a replay. Running and Paused are open, the others are its end.
const (
	ReplayRunning   ReplayState = "Running"
	ReplayPaused    ReplayState = "Paused"
	ReplayDone      ReplayState = "Done"
	ReplayCancelled ReplayState = "Cancelled"
	ReplayFailed    ReplayState = "Failed"
)

// Open tells whether a replay with this state may go on.
func (s ReplayState) Open() bool { return s == ReplayRunning || s == ReplayPaused }

// Known tells whether there is such a state.
func (s ReplayState) Known() bool {
	return s.Open() || s == ReplayDone || s == ReplayCancelled || s == ReplayFailed
}

// Replay is one wish to send events again to one subscription, and how far it is.
type Replay struct {
	Subscription string
	ID           string
	Tenant       string
	State        ReplayState
	// Reason and Message say why it is Failed.
	Reason, Message string
	// From and To are when the events were accepted, from From on and before To.
	From, To time.Time
	// FailuresOnly: what is sent are the dead letters of that time, not the events in the log.
	FailuresOnly bool
	// RateLimit is how many attempts may start in a second.
	RateLimit int32
	// Start is the first position, End the one after the last.
	Start, End Seq
	// Available is when the first event of the log was accepted where that is after From: what
	// was accepted before cannot be sent any more. Zero where all of the time is there.
	Available time.Time
	// Position is the last one up to which all is done; what follows counts for those alone.
	Position Seq
	// Scanned are the records, or dead letters, that were looked at; Matched those of them to be
	// sent: Delivered were accepted by the endpoint, Failed were not, Waiting were not sent, since
	// their own delivery still waits.
	Scanned, Matched, Delivered, Failed, Waiting uint64
	StartedAt, UpdatedAt                         time.Time
	// Removed takes the row away; of the rest Subscription and ID count alone.
	Removed bool
}

// Holds is the first position of the log that the replay still needs, 0 where it needs none.
func (r *Replay) Holds(now time.Time) Seq {
	if !r.State.Open() || r.FailuresOnly || r.Position+1 >= r.End || now.Sub(r.StartedAt) > MaxReplayAge {
		return 0
	}

	return r.Position + 1
}

// held is the lowest position that open replays need, 0 where they need none.
func held(ctx context.Context, view View, now time.Time) (Seq, error) {
	replays, err := view.OpenReplays(ctx)
	if err != nil {
		return 0, err
	}
	var lowest Seq
	for i := range replays {
		if at := replays[i].Holds(now); at != 0 && (lowest == 0 || at < lowest) {
			lowest = at
		}
	}

	return lowest, nil
}
