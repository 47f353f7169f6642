package native_test

import (
	"context"
	"testing"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

// TestConformance holds client∘server∘registry on loopback to what the registry itself is held to.
func TestConformance(t *testing.T) {
	t.Parallel()
	subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
		t.Helper()
		s := newStage(t, clockwork.NewRealClock())

		return subscriptiontest.Subject{
			API: s.client(t, support), Other: s.client(t, sales),
			Deliver: func(ctx context.Context, id, eventType string) error {
				return s.settle(ctx, support, id, eventType, eventBody(eventType), nil)
			},
			Suspend: func(ctx context.Context, id string) error {
				return s.registry.Suspend(ctx, id, "Gone", "the endpoint answered 410")
			},
		}
	})
}
