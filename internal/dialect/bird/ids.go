package bird

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// The namespaces of ids. They never change: receivers and clients keep what is derived from them.
var (
	namespaceSubscription = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://hookline.dev/dialects/bird/subscription"))
	namespaceWorkspace    = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://hookline.dev/dialects/bird/workspace"))
	namespaceOrganization = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://hookline.dev/dialects/bird/organization"))
	namespaceRequest      = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://hookline.dev/dialects/bird/request"))
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

// WorkspaceID is the id of the workspace that a tenant has where none is configured: a UUID of version 5 of
// its name. It never changes.
func WorkspaceID(tenant string) string {
	return uuid.NewSHA1(namespaceWorkspace, []byte(tenant)).String()
}

// OrganizationID is the id of a tenant's organization, made as WorkspaceID is.
func OrganizationID(tenant string) string {
	return uuid.NewSHA1(namespaceOrganization, []byte(tenant)).String()
}

// requestID is a delivery's id on the wire: the same in the notification's header and in the logs, and over
// retries.
func requestID(delivery string) string {
	return uuid.NewSHA1(namespaceRequest, []byte(delivery)).String()
}

// Key is the key that a signing key's text stands for: its UTF-8 bytes as they are, also where they are
// Base64. That is how Bird's receivers read it. The error never repeats the text.
func Key(text string) ([]byte, error) {
	switch {
	case text == "":
		return nil, errors.New("the signing key is empty: give at least 32 random characters, or omit it")
	case len(text) > subscription.MaxSecretLength:
		return nil, fmt.Errorf("the signing key has %d bytes: the most is %d", len(text), subscription.MaxSecretLength)
	case !utf8.ValidString(text):
		return nil, errors.New("the signing key is not valid UTF-8: give text, such as the Base64 of 32 random bytes")
	}

	return []byte(text), nil
}

// GenerateSecret makes a signing key as the vendor's examples are: the Base64 of 32 random bytes.
func GenerateSecret() string {
	key := make([]byte, subscription.MinSecretBytes)
	// It never fails: the process ends where there is no randomness.
	_, _ = rand.Read(key)

	return base64.StdEncoding.EncodeToString(key)
}

// checkSigningKey refuses a signing key that receivers cannot use or that is too short, which the vendor
// does not say of any. Errors are *subscription.InvalidError and never repeat it.
func checkSigningKey(text string) error {
	key, err := Key(text)
	if err != nil {
		return wrongField(string(subscription.FieldSecret), "%s", err)
	}
	if len(key) < subscription.MinSecretBytes {
		return wrongField(string(subscription.FieldSecret), "the signing key has %d bytes: give at least %d, "+
			"such as the Base64 of %d random bytes", len(key), subscription.MinSecretBytes, subscription.MinSecretBytes)
	}

	return nil
}

// placeholderSecret stands for a signing key in the port's checks, which accept it and would read another key
// from the text. It signs nothing.
var placeholderSecret = subscription.SecretPrefix + strings.Repeat("A", base64.StdEncoding.EncodedLen(subscription.MinSecretBytes))

// sign is the signature of a notification: the HMAC-SHA256 of its time in Unix seconds, its URL and the raw
// SHA-256 of its body, parted by line breaks.
func sign(key []byte, seconds, url string, body []byte) string {
	digest := sha256.Sum256(body)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(seconds + "\n" + url + "\n"))
	mac.Write(digest[:])

	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func wrongField(field, format string, args ...any) error {
	return &subscription.InvalidError{Field: field, Message: fmt.Sprintf(format, args...)}
}
