package dispatcher_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/subscription"
	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

// TestConformance holds clients of a whole dispatcher to what the registry is held to, with real
// deliveries. Dixa's is not among them: ten requests a second would take minutes, so its own
// package does it by a clock that is let go.
func TestConformance(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		client func(t *testing.T, s *stage, tenant string) subscription.API
		events []string
	}{
		"native": {func(t *testing.T, s *stage, tenant string) subscription.API { t.Helper(); return s.native(t, tenant) }, nil},
		"vonage": {func(t *testing.T, s *stage, tenant string) subscription.API { t.Helper(); return s.vonage(t, tenant) }, nil},
		"bird": {
			func(t *testing.T, s *stage, tenant string) subscription.API {
				t.Helper()

				return s.bird(t, tenant, bird.WorkspaceID(tenant))
			},
			[]string{"channels.sms.inbound", "channels.sms.outbound", "conversations.conversation.created"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, func(cfg *dispatcher.Config) { cfg.ConnectTo["conformance.example"] = cfg.ConnectTo[host] })
			var number atomic.Int64
			subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
				t.Helper()

				return subscriptiontest.Subject{
					API: tc.client(t, s, support), Other: tc.client(t, s, sales), Events: tc.events,
					// The clients allow for a delay that the dispatcher does not have.
					Settle: func(context.Context) error { return nil },
					Deliver: func(_ context.Context, _, eventType string) error {
						s.publish(t, support, event(fmt.Sprintf("%s-%d", name, number.Add(1)), eventType, `{}`))

						return nil
					},
				}
			})
		})
	}
}
