package controllers

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	// digestBytes is how much of a digest is kept.
	digestBytes = 16
	// credentialRounds makes guessing a password from its digest slow. A signing secret holds at least
	// subscription.MinSecretBytes of key material, which nobody guesses, so it needs none.
	credentialRounds = 20_000
	// digestPrefix says how a digest was made, so that another way can follow.
	digestPrefix = "v1:"
)

// secretDigest stands for a signing secret in a status. It is salted with the UID of the resource, so that equal
// secrets of two resources do not show; empty for an empty secret.
func secretDigest(uid types.UID, secret string) string {
	if secret == "" {
		return ""
	}

	mac := hmac.New(sha256.New, []byte(uid))
	mac.Write([]byte(secret))

	return digestPrefix + hex.EncodeToString(mac.Sum(nil)[:digestBytes])
}

// credentialsDigest stands for the values from Secrets in a draft's authorization and headers; empty where there
// are none. It is salted as secretDigest is.
func credentialsDigest(uid types.UID, draft subscription.Draft) (string, error) {
	parts := []string{}

	if a := draft.Authorization; a.SchemeOrNone() != subscription.SchemeNone {
		parts = append(parts, string(a.Scheme), a.Username, a.Password, a.Token)
	}

	for _, header := range draft.Headers {
		if header.Sensitive {
			parts = append(parts, header.Name, header.Value)
		}
	}

	if len(parts) == 0 {
		return "", nil
	}

	key, err := pbkdf2.Key(sha256.New, strings.Join(parts, "\x00"), []byte(uid), credentialRounds, digestBytes)
	if err != nil {
		return "", fmt.Errorf("computing the digest of the credentials: %w", err)
	}

	return digestPrefix + hex.EncodeToString(key), nil
}

// Sizes of generated signing secrets, in bytes of randomness. Dixa's are of 64 hexadecimal digits, and a plain one of
// the same length holds as much.
const (
	hexSecretBytes = 32
	hexSecretChars = 2 * hexSecretBytes
)

// newSigningSecret is a random signing secret in a form of text.
func newSigningSecret(form subscription.SecretText) string {
	key := make([]byte, subscription.GeneratedSecretBytes)
	// crypto/rand.Read never fails: it ends the program where the system has no randomness.
	_, _ = rand.Read(key)

	switch form {
	case subscription.SecretTextBase64:
		return base64.StdEncoding.EncodeToString(key)
	case subscription.SecretTextHex, subscription.SecretTextPlain:
		return hex.EncodeToString(key[:hexSecretBytes])
	default:
		return subscription.SecretPrefix + base64.StdEncoding.EncodeToString(key)
	}
}

// hasForm tells whether a generated signing secret is of a form, which it may not be after its subscription has moved to
// another provider or format.
func hasForm(secret string, form subscription.SecretText) bool {
	switch form {
	case subscription.SecretTextBase64:
		_, err := base64.StdEncoding.Strict().DecodeString(secret)

		return err == nil
	case subscription.SecretTextHex:
		_, err := hex.DecodeString(secret)

		return err == nil && len(secret) == hexSecretChars
	case subscription.SecretTextPlain:
		return !strings.HasPrefix(secret, subscription.SecretPrefix)
	default:
		return strings.HasPrefix(secret, subscription.SecretPrefix)
	}
}
