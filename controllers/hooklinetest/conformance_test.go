package hooklinetest_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

// TestConformance holds the fake to what every implementation of the port must do, whatever it lacks: a fake
// that behaves in a way of its own would prove nothing.
func TestConformance(t *testing.T) {
	lacking := func(fields ...hooklinetest.Field) func(*hooklinetest.Capabilities) {
		return func(c *hooklinetest.Capabilities) {
			for _, field := range fields {
				delete(c.Fields, field)
			}
		}
	}
	for name, tc := range map[string]struct {
		reason  string
		options []hooklinetest.Option
	}{
		"Dispatcher": {reason: "what the dispatcher has"},
		"Lagging": {
			reason:  "writes that show late",
			options: []hooklinetest.Option{hooklinetest.WithVisibilityDelay(time.Minute)},
		},
		"Rich": {
			reason: "all that a provider can have",
			options: []hooklinetest.Option{hooklinetest.WithCapabilities(func(c *hooklinetest.Capabilities) {
				c.CredentialsReadable = true
			})},
		},
		"Vonage": {reason: "a vendor with unique names", options: []hooklinetest.Option{hooklinetest.AsVonage()}},
		"Dixa":   {reason: "a vendor that makes secrets", options: []hooklinetest.Option{hooklinetest.AsDixa()}},
		"Bird":   {reason: "a vendor of one event each", options: []hooklinetest.Option{hooklinetest.AsBird()}},
		"Poor": {
			reason: "a vendor that lacks most",
			options: []hooklinetest.Option{
				hooklinetest.WithCapabilities(lacking(
					subscription.FieldHeaders, subscription.FieldHeaderSecrets, subscription.FieldFormat, subscription.FieldTimeout,
					subscription.FieldMaxAttempts, subscription.FieldMaxInFlight, subscription.FieldRateLimit,
				)),
				hooklinetest.WithCapabilities(func(c *hooklinetest.Capabilities) {
					c.Statuses, c.Logs, c.Wildcards, c.Resumable = false, false, false, false
				}),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
				t.Helper()
				clock := clockwork.NewFakeClockAt(time.Now())
				provider := hooklinetest.NewProvider(append(tc.options, hooklinetest.WithClock(clock))...)
				account := provider.Account("team")
				if account.Capabilities().Catalogue {
					account.SetEventTypes(hooklinetest.EventType{Name: "a.b"}, hooklinetest.EventType{Name: "a.a"})
				}

				subject := subscriptiontest.Subject{
					API:   account,
					Other: provider.Account("other"),
					Settle: func(context.Context) error {
						clock.Advance(account.Capabilities().VisibilityDelay)

						return nil
					},
					Suspend: func(_ context.Context, id string) error {
						defer clock.Advance(account.Capabilities().VisibilityDelay)

						return account.Suspend(id, "Gone", "410 Gone")
					},
				}
				// Nothing of a delivery shows where nothing is told of deliveries.
				if account.Capabilities().Statuses {
					subject.Deliver = func(_ context.Context, id, eventType string) error {
						return account.Deliver(id, hooklinetest.LogEntry{
							Event: eventType, Success: true, ResponseCode: 200, ResponseText: "OK",
						})
					}
				}

				return subject
			})
		})
	}
}

// TestVendorCapabilities holds the profiles to the clients of the vendors that they stand for.
func TestVendorCapabilities(t *testing.T) {
	token := func(context.Context) (string, error) { return "token", nil }
	ofVonage, err := vonage.NewClient(vonage.ClientConfig{BaseURL: "https://vonage.example.com", Tokens: vonage.StaticToken(token)})
	if err != nil {
		t.Fatal(err)
	}
	ofDixa, err := dixa.NewClient(dixa.ClientConfig{BaseURL: "https://dixa.example.com/v1", Token: token})
	if err != nil {
		t.Fatal(err)
	}
	ofBird, err := bird.NewClient(bird.ClientConfig{
		BaseURL: "https://bird.example.com", WorkspaceID: "a1405560-c8d3-4b1a-877d-3f449ad95352", AccessKey: token,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		client  subscription.API
		profile hooklinetest.Capabilities
	}{
		"Vonage": {ofVonage, hooklinetest.VonageCapabilities()},
		"Dixa":   {ofDixa, hooklinetest.DixaCapabilities()},
		"Bird":   {ofBird, hooklinetest.BirdCapabilities()},
	} {
		if diff := cmp.Diff(tc.client.Capabilities(), tc.profile); diff != "" {
			t.Errorf("the profile of %s is not what its client has, -client +profile:\n%s", name, diff)
		}
	}
}

// TestDispatcherCapabilities holds the fake's capabilities to those of the dispatcher that it stands for.
func TestDispatcherCapabilities(t *testing.T) {
	memory, err := embedded.Open(t.Context(), embedded.Options{
		Dir: "journal", FS: vfs.NewMem(), BallastBytes: -1, Log: slog.New(slog.DiscardHandler),
		FreeSpace: func() (embedded.Space, error) { return embedded.Space{Free: 1 << 40, Total: 1 << 40}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	}()
	ours, err := registry.New(t.Context(), memory, registry.Options{
		Log: slog.New(slog.DiscardHandler), Ledger: ledger.New(memory.View(), memory.Get), Formats: dispatcher.Formats(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if diff := cmp.Diff(ours.Tenant("team").Capabilities(), hooklinetest.DispatcherCapabilities()); diff != "" {
		t.Errorf("the fake's capabilities are not the dispatcher's, -dispatcher +fake:\n%s", diff)
	}
}
