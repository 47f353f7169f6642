package dispatcher

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// secretBytes is how much key material a secret made for Dixa holds.
const secretBytes = 32

// Formats are the vendors' formats as the registry of a dispatcher has them.
func Formats() map[subscription.Format]registry.Format {
	return map[subscription.Format]registry.Format{
		subscription.FormatVonage: {
			Key:            vonage.Key,
			GenerateSecret: func() string { return base64.StdEncoding.EncodeToString(random(subscription.GeneratedSecretBytes)) },
		},
		subscription.FormatDixa: {
			Key:            dixa.Key,
			GenerateSecret: func() string { return hex.EncodeToString(random(secretBytes)) },
			CheckOptions:   func(options subscription.Options) error { return dixa.CheckOptions(options.Dixa) },
		},
		subscription.FormatBird: {
			Key:            bird.Key,
			GenerateSecret: bird.GenerateSecret,
			CheckOptions:   func(options subscription.Options) error { return bird.CheckOptions(options.Bird) },
		},
	}
}

// random are as many bytes as wanted.
func random(count int) []byte {
	out := make([]byte, count)
	// It never fails: the process ends where there is no randomness.
	_, _ = rand.Read(out)

	return out
}

// notifications are the vendors' ways to deliver.
func (cfg *Config) notifications() map[subscription.Format]subscription.Notification {
	all := map[subscription.Format]subscription.Notification{}
	for _, one := range []subscription.Notification{vonage.Notification{}, cfg.dixa(), bird.Notification{}} {
		all[one.Format()] = one
	}

	return all
}

// dixa is how Dixa's deliveries are written, and shown in its logs.
func (cfg *Config) dixa() dixa.Notification {
	return dixa.Notification{Organization: cfg.DixaOrganization}
}

// passes tells whether an event passes the filters that a subscription has in its vendor's options. At Bird those
// of the others count too: what one of them filters for goes to none without filters.
func passes(s *registry.Subscription, among []*registry.Subscription, eventType string, event []byte) bool {
	if s.Delivery.Format != subscription.FormatBird {
		return dixa.Passes(s.Options.Dixa, eventType, event)
	}

	var others []*subscription.BirdOptions

	for _, other := range among {
		if other != s && other.Delivery.Format == subscription.FormatBird {
			others = append(others, other.Options.Bird)
		}
	}

	return bird.PassesAmong(s.Options.Bird, others, eventType, event)
}

// sent is the body that a delivery of an event to a subscription sends, for the logs: nil where its
// format cannot tell the event. No attempt's time is in a body, so it is what each attempt sent, unless
// the subscription's format, or what is configured of the tenant's organization, has changed since.
func (d *Dispatcher) sent(id string, event *journal.Event) []byte {
	s, ok := d.registry.Current(id)
	if !ok {
		return event.Body
	}
	notification, ok := d.notifications[s.Delivery.Format]
	if !ok {
		return event.Body
	}
	now := d.clock.Now()
	body, _, err := notification.Request(subscription.Outgoing{
		Tenant: event.Tenant, URL: s.URL, Event: event.Body, Accepted: event.Accepted, First: now, Now: now,
		Secrets: s.SigningSecrets(now),
	})
	if err != nil {
		return nil
	}

	return body
}
