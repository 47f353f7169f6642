package dixa_test

import (
	"context"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

// TestConformance holds client∘server∘registry on loopback to what the registry itself is held to, less what
// the vendor's wire cannot say.
func TestConformance(t *testing.T) {
	t.Parallel()
	subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
		t.Helper()
		s := newStage(t, clockwork.NewRealClock())

		return subscriptiontest.Subject{
			API: s.client(t, support, nil), Other: s.client(t, sales, nil),
			// The client allows for a delay that Hookline's server does not have.
			Settle: func(context.Context) error { return nil },
			Events: []string{"ConversationCreated", "ConversationClosed", "ConversationNoteAdded"},
			Deliver: func(ctx context.Context, id, eventType string) error {
				// Dixa tells times to the millisecond: two alike within one are the same status.
				defer nextMillisecond()

				return s.settle(ctx, support, id, eventType, nil)
			},
		}
	})
}

func nextMillisecond() {
	for begun := time.Now().UnixMilli(); time.Now().UnixMilli() == begun; {
		time.Sleep(100 * time.Microsecond)
	}
}
