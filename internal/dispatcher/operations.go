package dispatcher

import (
	"context"
	"errors"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// operations are what the native API has beyond the port, for one tenant.
type operations struct {
	dispatcher *Dispatcher
	tenant     string
}

func (d *Dispatcher) operations(tenant string) native.Operations {
	return operations{dispatcher: d, tenant: tenant}
}

// SendTest implements native.Operations.
func (o operations) SendTest(ctx context.Context, id, eventType string) (subscription.LogEntry, error) {
	attempt, err := o.dispatcher.engine.SendTest(ctx, id, eventType)
	if err != nil {
		return subscription.LogEntry{}, err //nolint:wrapcheck // The port's own errors reach the caller as they are.
	}

	return ledger.EntryOf(&attempt, nil), nil
}

// Resend implements native.Operations.
func (o operations) Resend(ctx context.Context, id string, position uint64) (subscription.LogEntry, error) {
	attempt, err := o.dispatcher.engine.Resend(ctx, id, journal.Seq(position))
	if errors.Is(err, delivery.ErrNoEvent) {
		return subscription.LogEntry{}, subscription.ErrNotFound
	}
	if err != nil {
		return subscription.LogEntry{}, err //nolint:wrapcheck // As above.
	}

	return ledger.EntryOf(&attempt, nil), nil
}

// Endpoint implements native.Operations. Of an endpoint that nothing was for yet there is nothing to tell.
func (o operations) Endpoint(_ context.Context, id string) (native.Endpoint, error) {
	state, ok := o.dispatcher.engine.Endpoint(id)
	if !ok {
		state.Circuit = delivery.CircuitClosed
	}

	return native.Endpoint{
		Circuit: string(state.Circuit), Since: state.Since.UTC(), NextProbe: state.NextProbe.UTC(), Failures: state.Failures,
		Slow: state.Slow, InFlight: state.InFlight, Queued: state.Queued, Waiting: state.Waiting,
	}, nil
}

// DeadLetters implements native.Operations.
func (o operations) DeadLetters(ctx context.Context, id string, after uint64, limit int) ([]native.DeadLetter, error) {
	letters, err := o.dispatcher.ledger.DeadLetters(ctx, o.tenant, id, journal.Seq(after), limit)
	if err != nil {
		return nil, err //nolint:wrapcheck // The ledger says what it was doing.
	}

	out := make([]native.DeadLetter, 0, len(letters))
	for i := range letters {
		out = append(out, deadLetterOf(&letters[i]))
	}

	return out, nil
}

func deadLetterOf(letter *journal.DeadLetter) native.DeadLetter {
	out := native.DeadLetter{
		Position: uint64(letter.Seq), EventID: letter.Event.ID, Event: letter.Event.Type,
		Reason: letter.Reason, At: letter.At, Attempts: letter.Attempts, Payload: letter.Event.Body,
	}
	if letter.Last != nil {
		entry := ledger.EntryOf(letter.Last, nil)
		out.Last, out.DeliveryID = &entry, entry.DeliveryID
	}

	return out
}
