package delivery

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// maxRejectionText bounds the explanation why an event cannot be told in a format, in bytes.
const maxRejectionText = 500

// rejection tells that an event cannot be told in its subscription's format, ever.
type rejection struct{ text string }

func (r *rejection) Error() string { return r.text }

// format is how one format delivers.
type format struct {
	// notification is nil for the engine's own format, CloudEvents.
	notification subscription.Notification
	timeout      time.Duration
	schedule     Schedule
}

// formats are those that an engine delivers in.
type formats map[subscription.Format]*format

// newFormats checks the notifications; what is wrong with one is a fault of the program.
func newFormats(own *format, notifications map[subscription.Format]subscription.Notification) (formats, error) {
	all := formats{"": own, subscription.FormatCloudEvents: own}
	for _, name := range slices.Sorted(maps.Keys(notifications)) {
		notification := notifications[name]
		switch {
		case all[name] != nil:
			return nil, fmt.Errorf("Notifications has the format %q: it is the engine's own, leave it out", name)
		case notification == nil || notification.Format() != name:
			return nil, fmt.Errorf("Notifications has another format's notification, or none, for %s", name)
		case notification.Timeout() <= 0:
			return nil, fmt.Errorf("the notification for %s has a timeout of %s: it must be positive", name, notification.Timeout())
		}
		one := &format{notification: notification, timeout: notification.Timeout(), schedule: notification.Schedule()}
		if err := one.schedule.Validate(); err != nil {
			return nil, fmt.Errorf("the notification for %s: %w", name, err)
		}
		all[name] = one
	}

	return all, nil
}

// of is a subscription's format; nil where the engine has none by that name.
func (f formats) of(sub *registry.Subscription) *format { return f[sub.Delivery.Format] }

// judge classifies a response's status. Only the engine's own format knows 410 as "no more":
// no vendor says that it heeds it.
func (f *format) judge(code int) verdict {
	switch {
	case f.notification == nil:
		return judge(code)
	case f.notification.Success(code):
		return verdictDelivered
	default:
		return verdictRetry
	}
}

// timeoutFor is how long one attempt may take.
func (f *format) timeoutFor(sub *registry.Subscription) time.Duration {
	if sub.Delivery.Timeout > 0 {
		return sub.Delivery.Timeout
	}

	return f.timeout
}

// render makes a vendor's body and headers.
func (f *format) render(sub *registry.Subscription, event *journal.Event, deliveryID string, at moments) ([]byte, http.Header, error) {
	body, header, err := f.notification.Request(subscription.Outgoing{
		DeliveryID: deliveryID, Tenant: event.Tenant, URL: sub.URL, Event: event.Body,
		Accepted: event.Accepted, First: at.first, Now: at.now, Secrets: sub.SigningSecrets(at.now),
	})
	if err != nil {
		return nil, nil, &rejection{text: rejectionText(f.notification.Format(), err.Error())}
	}

	return body, header, nil
}

func rejectionText(name subscription.Format, why string) string {
	text := fmt.Sprintf("The event cannot be told in the format %s: %s", name, why)
	if len(text) > maxRejectionText {
		text = text[:maxRejectionText]
	}

	return strings.ToValidUTF8(text, "")
}

// noFormat is the rejection where the engine has no notification for a subscription's format.
func noFormat(name subscription.Format) *rejection {
	return &rejection{text: rejectionText(name, "this dispatcher does not deliver in it")}
}

// setVendor puts a vendor's headers over those that are there, spelled as the vendor does:
// HTTP does not mind, some receivers do.
func setVendor(header, vendor http.Header) {
	for name, values := range vendor {
		header.Del(name)
		header[name] = values
	}
}
