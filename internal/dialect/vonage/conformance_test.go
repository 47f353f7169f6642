package vonage_test

import (
	"context"
	"testing"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

// TestConformance holds client∘server∘registry on loopback to what the registry itself is held
// to, less what the vendor's wire cannot say.
func TestConformance(t *testing.T) {
	t.Parallel()
	subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
		t.Helper()
		clock := clockwork.NewRealClock()
		s := newStage(t, clock)

		return subscriptiontest.Subject{
			API: s.client(t, support, clock), Other: s.client(t, sales, clock),
			// The vendor's delay is not Hookline's: its writes show at once.
			Settle: func(context.Context) error { return nil },
		}
	})
}
