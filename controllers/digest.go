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

// newSigningSecret is a random signing secret in the text form of Standard Webhooks.
func newSigningSecret() string {
	key := make([]byte, subscription.GeneratedSecretBytes)
	// crypto/rand.Read never fails: it ends the program where the system has no randomness.
	_, _ = rand.Read(key)

	return subscription.SecretPrefix + base64.StdEncoding.EncodeToString(key)
}
