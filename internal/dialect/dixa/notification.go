package dixa

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// HeaderSignature carries a notification's signature: t=<Unix milliseconds>,v1=<hexadecimal>.
const HeaderSignature = "X-DIXA-SIGNATURE"

const (
	// NotificationTimeout is how long a receiver may take; the vendor does not say.
	NotificationTimeout = 10 * time.Second

	eventVersion  = "1"
	timeLayout    = "2006-01-02T15:04:05.000Z"
	jsonMediaType = "application/json"
	// maxQuoted bounds how much of another's text an error repeats, in bytes.
	maxQuoted = 64
)

// Organization is whose events a notification tells.
type Organization struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Notification is how Dixa delivers: its envelope as JSON, signed by the current secret alone, since the
// vendor documents one signature.
//
// An event becomes a notification so: event_id is the event's id where that is a UUID, and a UUID made of
// tenant, source and id elsewhere; event_fqn is its type in capitals; event_timestamp its time, or when it
// was accepted; data its data, {} where there is none. Source, subject and extensions have no place.
// An event whose data is a whole envelope of Dixa's, as one relayed has, is that envelope, to the byte.
type Notification struct {
	// Organization tells a tenant's; nil, or an empty answer, is the tenant's name with a UUID made of it.
	Organization func(tenant string) Organization
}

var _ subscription.Notification = Notification{}

// Format implements subscription.Notification.
func (Notification) Format() subscription.Format { return subscription.FormatDixa }

// Success implements subscription.Notification: 200 to 299. The vendor does not say.
func (Notification) Success(status int) bool {
	return status >= http.StatusOK && status < http.StatusMultipleChoices
}

// Timeout implements subscription.Notification.
func (Notification) Timeout() time.Duration { return NotificationTimeout }

// Schedule implements subscription.Notification. The vendor says that a notification may come twice and
// not how often it tries: nine attempts within 15 h 22 min.
func (Notification) Schedule() []time.Duration {
	return []time.Duration{
		0, 10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour,
	}
}

// Request implements subscription.Notification. It refuses an event whose data is not JSON.
func (n Notification) Request(out subscription.Outgoing) (body []byte, header map[string][]string, err error) {
	if len(out.Secrets) == 0 {
		return nil, nil, errors.New("signing a notification: there is no secret")
	}
	key, err := Key(out.Secrets[0])
	if err != nil {
		return nil, nil, fmt.Errorf("signing a notification: %w", err)
	}
	body, err = n.render(out.Tenant, out.Event, out.Accepted)
	if err != nil {
		return nil, nil, fmt.Errorf("writing a notification: %w", err)
	}
	millis := strconv.FormatInt(out.Now.UnixMilli(), 10)

	signature := "t=" + millis + ",v1=" + sign(key, millis, body)

	return body, map[string][]string{"Content-Type": {jsonMediaType}, HeaderSignature: {signature}}, nil
}

// envelope is a notification, in the vendor's order.
type envelope struct {
	EventID        string          `json:"event_id"`
	EventFQN       string          `json:"event_fqn"`
	EventVersion   string          `json:"event_version"`
	EventTimestamp string          `json:"event_timestamp"`
	Organization   Organization    `json:"organization"`
	Data           json.RawMessage `json:"data,omitempty"`
}

// isEnvelope tells whether JSON is a notification already.
func isEnvelope(text []byte) bool {
	var found struct {
		envelope

		Organization json.RawMessage `json:"organization"`
	}
	if json.Unmarshal(text, &found) != nil {
		return false
	}
	_, isID := parseID(found.EventID)

	return isID && found.EventFQN != "" && found.EventVersion != "" && found.EventTimestamp != "" && isObject(found.Data)
}

func isObject(text []byte) bool { return strings.HasPrefix(strings.TrimSpace(string(text)), "{") }

// event is what is read of a CloudEvent.
type event struct {
	ID              string          `json:"id"`
	Type            string          `json:"type"`
	Source          string          `json:"source"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
	DataBase64      json.RawMessage `json:"data_base64"`
}

// render writes an event, as CloudEvents JSON, in Dixa's envelope. An event without a time has the one given.
func (n Notification) render(tenant string, text []byte, at time.Time) ([]byte, error) {
	var told event
	if err := json.Unmarshal(text, &told); err != nil {
		return nil, errors.New("the event is not CloudEvents JSON")
	}
	switch {
	case told.DataBase64 != nil:
		return nil, errors.New("the event's data is binary, and Dixa's envelope carries JSON alone")
	case !isJSON(told.DataContentType):
		return nil, fmt.Errorf("the event's data is %s, and Dixa's envelope carries JSON alone", clip(told.DataContentType))
	case isEnvelope(told.Data):
		return told.Data, nil
	case len(told.Data) == 0:
		told.Data = json.RawMessage("{}")
	}
	if told.Time != "" {
		parsed, err := time.Parse(time.RFC3339, told.Time)
		if err != nil {
			return nil, errors.New("the event's time is not one of RFC 3339")
		}
		at = parsed
	}

	head, err := marshal(envelope{
		EventID: eventID(tenant, told.Source, told.ID), EventFQN: fqn(told.Type), EventVersion: eventVersion,
		EventTimestamp: wireTime(at), Organization: n.organization(tenant),
	})
	if err != nil {
		return nil, err
	}

	return withLast(head, "data", told.Data), nil
}

// withLast is an object with one member more at its end, whose value stands to the byte: encoding/json would
// take the blanks out of it.
func withLast(object []byte, name string, value []byte) []byte {
	return slices.Concat(object[:len(object)-1], []byte(`,"`+name+`":`), value, []byte("}"))
}

func (n Notification) organization(tenant string) Organization {
	var out Organization
	if n.Organization != nil {
		out = n.Organization(tenant)
	}
	if out.ID == "" {
		out.ID = tenantID(tenant)
	}
	if out.Name == "" {
		out.Name = tenant
	}

	return out
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)

	return err == nil && (mediaType == jsonMediaType || strings.HasSuffix(mediaType, "+json"))
}

// wireTime writes a time as the vendor does.
func wireTime(at time.Time) string { return at.UTC().Format(timeLayout) }

// clip shortens a text for an error and leaves it valid UTF-8.
func clip(text string) string {
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "…"
	}

	return strings.ToValidUTF8(text, "�")
}
