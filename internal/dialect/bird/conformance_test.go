package bird_test

import (
	"context"
	"testing"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

// TestConformance holds client∘server∘registry on loopback to what the registry itself is held to, less what
// the vendor's wire cannot say. One account uses the current paths, the other those of the older documents.
func TestConformance(t *testing.T) {
	t.Parallel()
	subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
		t.Helper()
		s := newStage(t, clockwork.NewRealClock(), nil)

		return subscriptiontest.Subject{
			API: s.client(t, support, nil), Other: s.client(t, sales, nil),
			// The client allows for a delay that Hookline's server does not have.
			Settle: func(context.Context) error { return nil },
			Events: []string{"channels.sms.outbound", "channels.whatsapp.inbound", "conversations.conversation.created"},
			Deliver: func(ctx context.Context, id, eventType string) error {
				return s.settle(ctx, support, id, eventType, nil)
			},
		}
	})
}
