package subscription

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	// SecretPrefix begins a signing secret in the text form of Standard Webhooks 1.0.0.
	SecretPrefix = "whsec_"
	// MaxSecretLength bounds a signing secret's text, in bytes.
	MaxSecretLength = 1024
	// minBareKeyBytes is the least key material that Standard Webhooks allows. Text without
	// the prefix that decodes to less is more likely a pass phrase than base64.
	minBareKeyBytes = 24
)

// SigningKey is the key material that a signing secret's text stands for:
//
//   - "whsec_" and standard base64, padded or not: the decoded bytes;
//   - standard base64, padded or not, of at least 24 bytes: the decoded bytes, as the
//     receiving libraries of Standard Webhooks read it, where the prefix is optional;
//   - any other text: its UTF-8 bytes, which those libraries take as a raw key.
//
// It does not judge the key's strength: who accepts a given secret compares its length
// with MinSecretBytes. The error says what is wrong with the text and never repeats it.
func SigningKey(text string) ([]byte, error) {
	if len(text) > MaxSecretLength {
		return nil, fmt.Errorf("the signing secret has %d bytes: the most is %d", len(text), MaxSecretLength)
	}
	encoded, prefixed := strings.CutPrefix(text, SecretPrefix)
	if encoded == "" {
		return nil, errors.New("the signing secret is empty: give whsec_ followed by base64, or omit it to have one generated")
	}
	key, ok := decodeKey(encoded)
	if prefixed && !ok {
		return nil, errors.New("the signing secret begins with whsec_ but what follows is not standard base64: " +
			"encode the key with the alphabet A–Z a–z 0–9 + /, or leave the prefix out to use the text itself as the key")
	}
	if prefixed || ok && len(key) >= minBareKeyBytes {
		return key, nil
	}

	return []byte(text), nil
}

// decodeKey reads standard base64 with or without padding.
func decodeKey(encoded string) ([]byte, bool) {
	// The decoder would skip line breaks; a receiver's might not.
	if strings.ContainsAny(encoded, "\r\n") {
		return nil, false
	}
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(encoded, "=") {
		encoding = base64.StdEncoding
	}
	key, err := encoding.DecodeString(encoded)

	return key, err == nil && len(key) > 0
}
