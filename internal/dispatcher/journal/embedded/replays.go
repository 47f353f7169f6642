package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// replayRef names a replay.
type replayRef struct{ subscription, id string }

func keyReplay(of replayRef) []byte { return keyText(kindReplay, of.subscription, of.id) }

func encodeReplay(replay *journal.Replay) []byte {
	to := []byte{rowVersion}
	for _, field := range [...]string{replay.Tenant, string(replay.State), replay.Reason, replay.Message} {
		to = appendBytes(to, field)
	}
	to = appendNanos(appendNanos(appendNanos(to, replay.From), replay.To), replay.Available)
	to = appendBool(to, replay.FailuresOnly)
	to = binary.AppendVarint(to, int64(replay.RateLimit))
	for _, field := range [...]uint64{
		uint64(replay.Start), uint64(replay.End), uint64(replay.Position),
		replay.Scanned, replay.Matched, replay.Delivered, replay.Failed, replay.Waiting,
	} {
		to = binary.AppendUvarint(to, field)
	}

	return appendNanos(appendNanos(to, replay.StartedAt), replay.UpdatedAt)
}

func decodeReplay(of replayRef, value []byte) (journal.Replay, error) {
	from := openRow(value)
	replay := journal.Replay{Subscription: of.subscription, ID: of.id, Tenant: from.text(), State: journal.ReplayState(from.text())}
	replay.Reason, replay.Message = from.text(), from.text()
	replay.From, replay.To, replay.Available = from.time(), from.time(), from.time()
	replay.FailuresOnly = from.bool()
	replay.RateLimit = int32(from.varint()) //nolint:gosec // Written from an int32.
	replay.Start, replay.End, replay.Position = journal.Seq(from.uvarint()), journal.Seq(from.uvarint()), journal.Seq(from.uvarint())
	for _, field := range []*uint64{&replay.Scanned, &replay.Matched, &replay.Delivered, &replay.Failed, &replay.Waiting} {
		*field = from.uvarint()
	}
	replay.StartedAt, replay.UpdatedAt = from.time(), from.time()
	if !from.whole() || !replay.State.Known() {
		return journal.Replay{}, badRow("replay", of.subscription+"/"+of.id)
	}

	return replay, nil
}

func checkReplay(replay *journal.Replay) error {
	if err := errors.Join(checkName("Subscription", replay.Subscription), checkName("ID", replay.ID)); err != nil {
		return err
	}
	if !replay.Removed && !replay.State.Known() {
		return fmt.Errorf("State is %q: use one of the five", replay.State)
	}

	return nil
}

// replays writes the rows of replays whose subscription is there.
func (w *settling) replays(replays []journal.Replay) {
	for i := range replays {
		replay := &replays[i]
		if deleted, known := w.j.settled.known[replay.Subscription]; !known || deleted != 0 && !replay.Removed {
			continue
		}
		of := replayRef{replay.Subscription, replay.ID}
		if replay.Removed {
			w.remove(keyReplay(of))
		} else {
			w.set(keyReplay(of), encodeReplay(replay))
		}
		w.replayed = append(w.replayed, *replay)
	}
}

// note keeps the open replays in memory.
func (s *settled) note(replay *journal.Replay) {
	of := replayRef{replay.Subscription, replay.ID}
	if replay.State.Open() && !replay.Removed {
		s.replays[of] = *replay
	} else {
		delete(s.replays, of)
	}
}

// loadReplays finds the open replays of subscriptions that are there.
func (s *settled) loadReplays(j *Journal) error {
	lower, upper := kindRange(kindReplay)
	err := j.scan(lower, upper, func(key, value []byte) (bool, error) {
		replay, err := replayAt(key, value)
		if err != nil {
			return false, err
		}
		if deleted, known := s.known[replay.Subscription]; known && deleted == 0 {
			s.note(&replay)
		}

		return true, nil
	})
	if err != nil {
		return fmt.Errorf("reading the replays: %w", err)
	}

	return nil
}

// forgetReplays drops those of a subscription that is gone.
func (s *settled) forgetReplays(subscription string) {
	for of := range s.replays {
		if of.subscription == subscription {
			delete(s.replays, of)
		}
	}
}

func replayAt(key, value []byte) (journal.Replay, error) {
	name, id, ok := splitNamed(key)
	if !ok {
		return journal.Replay{}, badRow("replay", string(key))
	}

	return decodeReplay(replayRef{name, id}, value)
}

// Replays implements journal.View.
func (v view) Replays(ctx context.Context, subscription string) ([]journal.Replay, error) {
	var replays []journal.Replay
	err := v.read(ctx, "the replays", func() error {
		if err := checkName("subscription", subscription); err != nil {
			return err
		}
		lower, upper := namedRange(kindReplay, subscription)

		return v.j.scan(lower, upper, func(key, value []byte) (bool, error) {
			replay, err := replayAt(key, value)
			replays = append(replays, replay)

			return true, err
		})
	})
	slices.SortStableFunc(replays, func(a, b journal.Replay) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})

	return replays, err
}

// OpenReplays implements journal.View.
func (v view) OpenReplays(ctx context.Context) ([]journal.Replay, error) {
	var replays []journal.Replay
	err := v.read(ctx, "the open replays", func() error {
		s := &v.j.settled
		s.mu.Lock()
		defer s.mu.Unlock()
		for of, replay := range s.replays {
			if s.known[of.subscription] == 0 {
				replays = append(replays, replay)
			}
		}

		return nil
	})
	slices.SortFunc(replays, func(a, b journal.Replay) int {
		return cmp.Or(cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.ID, b.ID))
	})

	return replays, err
}
