package dixa

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/google/uuid"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// The namespaces of ids. They never change: receivers and clients keep what is derived from them.
var (
	namespaceSubscription = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://hookline.dev/dialects/dixa/subscription"))
	namespaceTenant       = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://hookline.dev/dialects/dixa/tenant"))
	namespaceEvent        = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://hookline.dev/dialects/dixa/event"))
)

// uuidLength is that of a UUID's text.
const uuidLength = 36

// wireID is a subscription's id on the wire, where ids are UUIDs and those of the port are any text: a
// UUID of version 5 of it. It cannot be turned back, so a subscription is found by comparing the tenant's own.
func wireID(id string) uuid.UUID { return uuid.NewSHA1(namespaceSubscription, []byte(id)) }

// parseID reads a UUID in its usual form alone, in either case.
func parseID(text string) (uuid.UUID, bool) {
	if len(text) != uuidLength {
		return uuid.UUID{}, false
	}
	id, err := uuid.Parse(text)

	return id, err == nil
}

// tenantID stands for who a tenant is: its organization, and who created and changed what it has.
func tenantID(tenant string) string { return uuid.NewSHA1(namespaceTenant, []byte(tenant)).String() }

// eventID is an event's id in a notification. One that is a UUID is kept; another becomes one of (tenant,
// source, id), the same over retries, so that events of two sources that share an id stay apart.
func eventID(tenant, source, id string) string {
	if parsed, ok := parseID(id); ok {
		return parsed.String()
	}
	var name []byte
	for _, part := range []string{tenant, source, id} {
		// Lengths keep ("ab", "c") and ("a", "bc") apart.
		name = append(binary.AppendUvarint(name, uint64(len(part))), part...)
	}

	return uuid.NewSHA1(namespaceEvent, name).String()
}

// secretKeyBytes is how much key material Dixa makes: 64 hexadecimal characters.
const secretKeyBytes = 32

// Key is the key that a signing secret's text stands for: what 64 hexadecimal characters decode to, as
// Dixa's secretKey is read; or else, for a subscription that another dialect gave its secret, what
// subscription.SigningKey says. The error never repeats the text.
func Key(text string) ([]byte, error) {
	// A secret that was read from a file may end in a line break.
	text = strings.TrimSpace(text)
	if len(text) == hex.EncodedLen(secretKeyBytes) {
		if key, err := hex.DecodeString(text); err == nil {
			return key, nil
		}
	}

	return subscription.SigningKey(text)
}

// sign is the signature of a body: the HMAC-SHA256 of its time in Unix milliseconds, a dot and itself.
func sign(key []byte, millis string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(millis + "."))
	mac.Write(body)

	return hex.EncodeToString(mac.Sum(nil))
}
