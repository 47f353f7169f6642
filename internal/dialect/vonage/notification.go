package vonage

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// HeaderSignature carries a notification's signature: a JWT, bare since October 2024. It stood
// after "Bearer " before, and receivers are told to take both.
const HeaderSignature = "Vonage-Signature"

const (
	// SignatureLifetime is how long a signature holds from when it was made.
	SignatureLifetime = 5 * time.Minute
	// NotificationTimeout is how long a receiver may take.
	NotificationTimeout = 10 * time.Second

	notificationMediaType = "application/cloudevents+json"
	specVersion           = "1.0"
	// timeLayout has the vendor's seven fractional digits.
	timeLayout = "2006-01-02T15:04:05.0000000Z"
	// A receiver takes a notification by answering within these.
	minSuccess = http.StatusOK
	maxSuccess = http.StatusResetContent
)

// Notification is how Vonage delivers: CloudEvents 1.0 JSON in the vendor's envelope, signed by
// the current secret alone, for one header holds one signature.
type Notification struct{}

var _ subscription.Notification = Notification{}

// Format implements subscription.Notification.
func (Notification) Format() subscription.Format { return subscription.FormatVonage }

// Success implements subscription.Notification: 200 to 205.
func (Notification) Success(status int) bool { return status >= minSuccess && status <= maxSuccess }

// Timeout implements subscription.Notification.
func (Notification) Timeout() time.Duration { return NotificationTimeout }

// Schedule implements subscription.Notification. The vendor retries for up to 24 hours and does
// not say when: twelve attempts, of which the last begins 21 h 38 min after the first, or within
// the 24 hours where each wait is varied by 10 %.
func (Notification) Schedule() []time.Duration {
	return []time.Duration{
		0, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 8 * time.Hour,
	}
}

// Request implements subscription.Notification. It refuses an event whose data is no JSON, which
// the envelope cannot carry, and a secret that is no Base64, by which no receiver could verify.
func (Notification) Request(out subscription.Outgoing) (body []byte, header map[string][]string, err error) {
	if len(out.Secrets) == 0 {
		return nil, nil, errors.New("signing a notification: there is no secret")
	}
	key, err := Key(out.Secrets[0])
	if err != nil {
		return nil, nil, fmt.Errorf("signing a notification: %w", err)
	}
	body, err = render(out)
	if err != nil {
		return nil, nil, fmt.Errorf("writing a notification: %w", err)
	}
	signature, err := sign(key, body, out.Now)
	if err != nil {
		return nil, nil, fmt.Errorf("signing a notification: %w", err)
	}

	return body, map[string][]string{"Content-Type": {notificationMediaType}, HeaderSignature: {signature}}, nil
}

// envelope is a notification, in the vendor's order. It has no other members: extensions of the
// event are left out.
type envelope struct {
	SpecVersion     string          `json:"specversion"`
	Type            string          `json:"type"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data,omitempty"`
}

// incoming is what is read of an event.
type incoming struct {
	envelope

	DataBase64 json.RawMessage `json:"data_base64"`
}

// render writes an event in the vendor's envelope; data is kept as it is written.
func render(out subscription.Outgoing) ([]byte, error) {
	var event incoming
	if err := json.Unmarshal(out.Event, &event); err != nil {
		return nil, errors.New("the event is not CloudEvents JSON")
	}
	switch {
	case event.DataBase64 != nil:
		return nil, errors.New("the event's data is binary, and Vonage's envelope carries JSON alone")
	case !isJSON(event.DataContentType):
		return nil, fmt.Errorf("the event's data is %s, and Vonage's envelope carries JSON alone", clip(event.DataContentType))
	case event.Data == nil:
		// The vendor's notifications have data, always an object.
		event.Data = json.RawMessage("{}")
	}
	at := out.Accepted
	if event.Time != "" {
		parsed, err := time.Parse(time.RFC3339, event.Time)
		if err != nil {
			return nil, errors.New("the event's time is not one of RFC 3339")
		}
		at = parsed
	}
	rendered := event.envelope
	rendered.Data = nil
	rendered.SpecVersion, rendered.DataContentType = specVersion, jsonMediaType
	rendered.Time = at.UTC().Format(timeLayout)
	rendered.ID = notificationID(out.Tenant, event.Source, event.ID, at)
	head, err := marshal(rendered)
	if err != nil {
		return nil, err
	}

	return withLast(head, "data", event.Data), nil
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

// notificationID is an event's id as Vonage has it: a KSUID whose second is the event's. An id
// that is one is kept. Another becomes one by a hash of (tenant, source, id), the same over
// retries and subscriptions: it then tells apart events of two sources that share an id, as
// those who drop duplicates by the id alone need.
func notificationID(tenant, source, id string, at time.Time) string {
	if parsed, err := ksuid.Parse(id); err == nil && parsed.String() == id {
		return id
	}
	hash := sha256.New()
	var length [binary.MaxVarintLen64]byte
	for _, part := range []string{tenant, source, id} {
		// Lengths keep ("ab", "c") and ("a", "bc") apart.
		hash.Write(binary.AppendUvarint(length[:0], uint64(len(part))))
		hash.Write([]byte(part))
	}
	payload := hash.Sum(nil)[:ksuidPayloadBytes]
	// A KSUID holds seconds from 2014 to 2150; the ends stand for what lies beyond.
	at = time.Unix(min(max(at.Unix(), ksuidEpoch), ksuidEpoch+ksuidSpan), 0)
	made, err := ksuid.FromParts(at, payload)
	if err != nil {
		// The payload's length is what it must be.
		panic("vonage: making a KSUID: " + err.Error())
	}

	return made.String()
}

// What a KSUID is made of.
const (
	ksuidPayloadBytes = 16
	ksuidEpoch        = 1_400_000_000
	ksuidSpan         = 1<<32 - 1
)

// claims are a signature's: when it was made and ends, in seconds, and what was signed.
type claims struct {
	// For its methods alone: its members would stand in another order.
	jwt.RegisteredClaims `json:"-"`

	IssuedAt    int64  `json:"iat"`
	ExpiresAt   int64  `json:"exp"`
	PayloadHash string `json:"payload_hash"`
}

// sign makes the signature of a body: a JWT by HS256 whose payload_hash is the body's plain
// SHA-256 in lower-case hexadecimal. The vendor's text calls that hash an HMAC, its code does not.
func sign(key, body []byte, at time.Time) (string, error) {
	hash := sha256.Sum256(body)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		IssuedAt: at.Unix(), ExpiresAt: at.Add(SignatureLifetime).Unix(), PayloadHash: hex.EncodeToString(hash[:]),
	}).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("making the JWT: %w", err)
	}

	return signed, nil
}
