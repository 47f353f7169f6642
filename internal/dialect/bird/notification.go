package bird

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Headers of a notification.
const (
	// HeaderSignature is the signature in Base64.
	HeaderSignature = "messagebird-signature"
	// HeaderTimestamp is when the delivery's first attempt began, in Unix seconds: retries keep it.
	HeaderTimestamp = "messagebird-request-timestamp"
	// HeaderRequestID is the delivery's id, which the logs have too.
	HeaderRequestID = "messagebird-request-id"
)

const (
	// NotificationTimeout is how long a receiver may take; the vendor does not say.
	NotificationTimeout = 10 * time.Second
	// Attempts is how often a notification is tried: as often as the vendor's example of a log shows.
	Attempts = 36
	// firstRetry is the first wait, and retryGrowth how waits grow, so that the last attempt is within the
	// vendor's eight hours.
	firstRetry  = 5 * time.Second
	retryGrowth = 1.2275

	jsonMediaType = "application/json"
	// maxQuoted bounds how much of another's text an error repeats, in bytes.
	maxQuoted = 64
)

// Notification is how Bird delivers: its envelope as JSON, signed by the current secret alone, since the
// vendor documents one signature, with the time that stays over retries.
//
// An event becomes a notification so: its type, which must begin with one of the vendor's services, parts into
// service and event; its data is the payload, {} where there is none. Its id, time, source, subject and
// extensions have no place. An event whose data is a whole envelope of Bird's, as one relayed has, is that
// envelope, to the byte.
type Notification struct{}

var _ subscription.Notification = Notification{}

// Format implements subscription.Notification.
func (Notification) Format() subscription.Format { return subscription.FormatBird }

// Success implements subscription.Notification: 200 to 299.
func (Notification) Success(status int) bool {
	return status >= http.StatusOK && status < http.StatusMultipleChoices
}

// Timeout implements subscription.Notification.
func (Notification) Timeout() time.Duration { return NotificationTimeout }

// Schedule implements subscription.Notification. The vendor says: at increasing intervals for eight hours.
func (Notification) Schedule() []time.Duration {
	schedule := make([]time.Duration, Attempts)
	for i := range schedule[1:] {
		wait := firstRetry.Seconds() * math.Pow(retryGrowth, float64(i))
		schedule[i+1] = time.Duration(math.Floor(wait)) * time.Second
	}

	return schedule
}

// Request implements subscription.Notification. It refuses an event whose type has no service of Bird's, and one
// whose data is not JSON.
func (Notification) Request(out subscription.Outgoing) (body []byte, header map[string][]string, err error) {
	if len(out.Secrets) == 0 {
		return nil, nil, errors.New("signing a notification: there is no signing key")
	}
	key, err := Key(out.Secrets[0])
	if err != nil {
		return nil, nil, fmt.Errorf("signing a notification: %w", err)
	}
	body, err = render(out.Event)
	if err != nil {
		return nil, nil, fmt.Errorf("writing a notification: %w", err)
	}
	seconds := strconv.FormatInt(out.First.Unix(), 10)

	return body, map[string][]string{
		"Content-Type":  {jsonMediaType},
		HeaderSignature: {sign(key, seconds, out.URL, body)}, HeaderTimestamp: {seconds}, HeaderRequestID: {requestID(out.DeliveryID)},
	}, nil
}

// envelope is a notification, in the vendor's order.
type envelope struct {
	Service string          `json:"service"`
	Event   string          `json:"event"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// readEnvelope reads JSON that is a notification already: the envelope's members and no other, with a service
// of the vendor's.
func readEnvelope(text []byte) (envelope, bool) {
	var (
		members map[string]json.RawMessage
		out     envelope
	)
	if json.Unmarshal(text, &members) != nil || len(members) != 3 || json.Unmarshal(text, &out) != nil {
		return envelope{}, false
	}

	return out, slices.Contains(services, out.Service) && out.Event != "" && isObject(out.Payload)
}

func isObject(text []byte) bool { return strings.HasPrefix(strings.TrimSpace(string(text)), "{") }

// render writes an event, as CloudEvents JSON, in Bird's envelope.
func render(text []byte) ([]byte, error) {
	var told struct {
		Type            string          `json:"type"`
		DataContentType string          `json:"datacontenttype"`
		Data            json.RawMessage `json:"data"`
		DataBase64      json.RawMessage `json:"data_base64"`
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return nil, errors.New("the event is not CloudEvents JSON")
	}
	_, relayed := readEnvelope(told.Data)
	service, event, ok := splitEvent(told.Type)
	switch {
	case told.DataBase64 != nil:
		return nil, errors.New("the event's data is binary, and Bird's envelope carries JSON alone")
	case !isJSON(told.DataContentType):
		return nil, fmt.Errorf("the event's data is %s, and Bird's envelope carries JSON alone", clip(told.DataContentType))
	case relayed:
		return told.Data, nil
	case !ok:
		return nil, fmt.Errorf("the event's type %q does not begin with a service of Bird's: publish it as one of %s "+
			"and the event's name, such as channels.sms.outbound", clip(told.Type), strings.Join(services, ", "))
	case len(told.Data) == 0:
		told.Data = json.RawMessage("{}")
	}

	head, err := marshal(envelope{Service: service, Event: wireEvent(event)})
	if err != nil {
		return nil, err
	}

	return withLast(head, "payload", told.Data), nil
}

// withLast is an object with one member more at its end, whose value stands to the byte: encoding/json would
// take the blanks out of it.
func withLast(object []byte, name string, value []byte) []byte {
	return slices.Concat(object[:len(object)-1], []byte(`,"`+name+`":`), value, []byte("}"))
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)

	return err == nil && (mediaType == jsonMediaType || strings.HasSuffix(mediaType, "+json"))
}

// clip shortens a text for an error and leaves it valid UTF-8.
func clip(text string) string {
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "…"
	}

	return strings.ToValidUTF8(text, "�")
}
