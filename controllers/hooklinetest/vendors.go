package hooklinetest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// hexSecretBytes is how much randomness a secret of hexadecimal digits, or a plain one, holds.
const hexSecretBytes = 32

// AsVonage makes a provider with the capabilities of Vonage's API: unique names, no patterns, no news of deliveries, and
// signing secrets in bare Base64. Patterns are expanded from what SetEventTypes puts into an account's catalogue.
func AsVonage() Option { return WithCapabilities(func(c *Capabilities) { *c = VonageCapabilities() }) }

// AsDixa makes a provider with the capabilities of Dixa's API: it makes the signing secret itself, see
// Account.ReplaceSecret, tells credentials again, and takes no patterns.
func AsDixa() Option { return WithCapabilities(func(c *Capabilities) { *c = DixaCapabilities() }) }

// AsBird makes a provider with the capabilities of Bird's API: one event for each subscription, which never changes, and
// no names.
func AsBird() Option { return WithCapabilities(func(c *Capabilities) { *c = BirdCapabilities() }) }

// VonageCapabilities are those of Vonage's API, in a fresh value that may be changed.
func VonageCapabilities() Capabilities {
	return Capabilities{
		Provider: vonage.Provider,
		Fields: fieldSet(subscription.FieldName, subscription.FieldURL, subscription.FieldEvents, subscription.FieldEnabled,
			subscription.FieldSecret),
		NamesUnique: true,
		Secret:      subscription.SecretSettable, SecretText: subscription.SecretTextBase64,
		Catalogue:       true,
		VisibilityDelay: vonage.VisibilityDelay,
		NaturalKey:      []Field{subscription.FieldName},
		URLSchemes:      []string{"https"},
	}
}

// DixaCapabilities are those of Dixa's API, in a fresh value that may be changed.
func DixaCapabilities() Capabilities {
	return Capabilities{
		Provider: dixa.Provider,
		Fields: fieldSet(subscription.FieldName, subscription.FieldURL, subscription.FieldEvents, subscription.FieldEnabled,
			subscription.FieldBasic, subscription.FieldBearer, subscription.FieldHeaders, subscription.FieldHeaderSecrets,
			subscription.FieldDixaOptions),
		Secret: subscription.SecretProviderMade, SecretText: subscription.SecretTextHex,
		SecretReadable: true, CredentialsReadable: true,
		Statuses: true, Logs: true, Catalogue: true,
		VisibilityDelay: dixa.VisibilityDelay,
		NaturalKey:      []Field{subscription.FieldName, subscription.FieldURL},
		URLSchemes:      []string{"https", "http"},
	}
}

// BirdCapabilities are those of Bird's API, in a fresh value that may be changed.
func BirdCapabilities() Capabilities {
	return Capabilities{
		Provider: bird.Provider,
		Fields: fieldSet(subscription.FieldURL, subscription.FieldEvents, subscription.FieldEnabled, subscription.FieldSecret,
			subscription.FieldBirdOptions),
		MaxEvents: 1,
		Secret:    subscription.SecretSettable, SecretText: subscription.SecretTextPlain,
		Statuses: true, Logs: true, Catalogue: true,
		VisibilityDelay: bird.VisibilityDelay,
		Immutable:       []Field{subscription.FieldEvents},
		NaturalKey:      []Field{subscription.FieldURL, subscription.FieldEvents, subscription.FieldBirdOptions},
		URLSchemes:      []string{"https"},
	}
}

func fieldSet(fields ...Field) map[Field]bool {
	set := map[Field]bool{}
	for _, field := range fields {
		set[field] = true
	}

	return set
}

// generateSecret makes a signing secret in a form of text.
func generateSecret(form subscription.SecretText) string {
	key := make([]byte, subscription.GeneratedSecretBytes)
	_, _ = rand.Read(key) // crypto/rand.Read never fails: it ends the program instead.

	switch form {
	case subscription.SecretTextBase64:
		return base64.StdEncoding.EncodeToString(key)
	case subscription.SecretTextHex, subscription.SecretTextPlain:
		return hex.EncodeToString(key[:hexSecretBytes])
	default:
		return subscription.SecretPrefix + base64.StdEncoding.EncodeToString(key)
	}
}

var _ subscription.SecretReader = (*Account)(nil)

// Secret implements the reading back of a signing secret, where the provider has it.
func (a *Account) Secret(ctx context.Context, id string) (string, error) {
	var secret string
	err := a.call(ctx, Request{Op: OpSecret, ID: id}, func() (string, error) {
		if !a.capabilities.SecretReadable {
			return id, a.unsupported("reading the signing secret back")
		}
		if _, err := a.see(id); err != nil {
			return id, err
		}
		secrets := a.records[id].secrets
		secret = secrets[len(secrets)-1]

		return id, nil
	})

	return secret, err
}

// ReplaceSecret gives a subscription another signing secret, as somebody else would: in the provider's portal, say. It
// returns the new one.
func (a *Account) ReplaceSecret(id string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()

	r, err := a.living(id)
	if err != nil {
		return "", err
	}
	secret := generateSecret(a.capabilities.SecretTextFor(r.latest().sub.Delivery.Format))
	r.secrets = append(r.secrets, secret)

	return secret, nil
}

// checkImmutable refuses a patch of what cannot be changed; called with the lock held.
func (a *Account) checkImmutable(patch Patch) error {
	for _, field := range a.capabilities.Immutable {
		sets := map[Field]bool{
			subscription.FieldName: patch.Name != nil, subscription.FieldURL: patch.URL != nil,
			subscription.FieldEvents: patch.Events != nil, subscription.FieldEnabled: patch.Enabled != nil,
			subscription.FieldSecret: patch.Secret != nil,
		}
		if sets[field] {
			return a.unsupported(string(field))
		}
	}

	return nil
}
