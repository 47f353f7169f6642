package subscription

import "time"

// Outgoing is one attempt about to be made: what a dialect renders and signs.
type Outgoing struct {
	// DeliveryID is the same over the retries of one delivery.
	DeliveryID string
	// Tenant owns the event and the subscription.
	Tenant string
	// URL is the endpoint, as subscribed.
	URL string
	// Event is the event as CloudEvents 1.0 JSON, structured mode.
	Event []byte
	// Accepted is when the event was accepted: its time, where it has none of its own.
	Accepted time.Time
	// First is when the delivery's first attempt began, and stays the same over its retries; Now is when this one
	// does. What is sent again on request is a delivery of its own: its First is its Now.
	First time.Time
	Now   time.Time
	// Secrets are the signing secrets in their text form, the current one first; those after it
	// were replaced a while ago and sign along where the dialect can say so.
	Secrets []string
}

// Notification is how one dialect delivers: body, signature, success and retries. It holds no
// state and is safe for concurrent use.
type Notification interface {
	// Format is the one this notification is for.
	Format() Format
	// Request renders and signs one attempt. The headers, by their names as they are to be sent, are
	// complete but for those of the subscription itself (Authorization, custom ones). An error means that this event cannot be
	// told in this dialect, ever: it holds nothing secret.
	Request(out Outgoing) (body []byte, header map[string][]string, err error)
	// Success tells whether a response's status means that the event was taken.
	Success(status int) bool
	// Timeout is how long one attempt may take.
	Timeout() time.Duration
	// Schedule are the waits before each attempt, the first one included.
	Schedule() []time.Duration
}
