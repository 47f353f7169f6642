package vonage

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Key is the key that a signing secret's text stands for. The vendor's text form is Base64, and
// the key its decoded bytes. The vendor's own example is no strict Base64: it ends in a "=" that
// pads nothing. So padding is looked at nowhere: absent, right or too much, it changes no byte of
// the key, and the receivers of the vendor's samples decode alike. The prefix of Standard Webhooks
// is taken off, so that one secret serves a subscription whose format changes.
//
// It does not judge the key's strength. The error says what is wrong and never repeats the text.
func Key(text string) ([]byte, error) {
	encoded := strings.TrimRight(strings.TrimPrefix(text, subscription.SecretPrefix), "=")
	if encoded == "" {
		return nil, errors.New("the signing secret is empty: give the Base64 of at least 32 random bytes, or omit it")
	}
	// The decoder would skip line breaks; a receiver's might not.
	key, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return nil, errors.New("the signing secret is not Base64, which Vonage's receivers decode it by: " +
			"give the Base64 of at least 32 random bytes")
	}

	return key, nil
}

// normalSecret checks a given secret and answers it as strict Base64 of the same key, which every
// decoder reads. Errors are *subscription.InvalidError.
func normalSecret(text string) (string, error) {
	if len(text) > subscription.MaxSecretLength {
		return "", secretError("the signing secret has %d bytes: the most is %d", len(text), subscription.MaxSecretLength)
	}
	key, err := Key(text)
	if err != nil {
		return "", secretError("%s", err)
	}
	// The vendor says "should"; who signs with less is refused all the same.
	if len(key) < subscription.MinSecretBytes {
		return "", secretError("the signing secret holds %d bytes: give the Base64 of at least %d random bytes",
			len(key), subscription.MinSecretBytes)
	}

	return base64.StdEncoding.EncodeToString(key), nil
}

func secretError(format string, args ...any) error {
	return &subscription.InvalidError{Field: string(subscription.FieldSecret), Message: fmt.Sprintf(format, args...)}
}

// checkedDraft is a draft with its secret in normal form, where a provider of these capabilities
// takes it. Errors are *subscription.UnsupportedError and *subscription.InvalidError.
func checkedDraft(draft subscription.Draft, caps subscription.Capabilities) (subscription.Draft, error) {
	secret := draft.Secret
	if secret != "" {
		// Judged here, by what the text means to Vonage; the port would take it for another key.
		draft.Secret = placeholderSecret
	}
	if err := draft.Validate(caps); err != nil {
		return subscription.Draft{}, err
	}
	if secret == "" {
		return draft, nil
	}
	normal, err := normalSecret(secret)
	draft.Secret = normal

	return draft, err
}

// checkedPatch is checkedDraft for a patch.
func checkedPatch(patch subscription.Patch, caps subscription.Capabilities) (subscription.Patch, error) {
	secret := patch.Secret
	if secret != nil {
		placeholder := placeholderSecret
		patch.Secret = &placeholder
	}
	if err := patch.Validate(caps); err != nil {
		return subscription.Patch{}, err
	}
	if secret == nil {
		return patch, nil
	}
	normal, err := normalSecret(*secret)
	patch.Secret = &normal

	return patch, err
}

// placeholderSecret stands for a secret in the port's checks, which accept it. It signs nothing.
var placeholderSecret = subscription.SecretPrefix + strings.Repeat("A", base64.StdEncoding.EncodedLen(subscription.MinSecretBytes))
