package registry

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Format is a vendor's format of deliveries, as far as subscriptions depend on it. Key and
// GenerateSecret must be set. Its functions hold no state.
type Format struct {
	// Key is the key that a signing secret's text stands for. The error says what is wrong with
	// the text and never repeats it.
	Key func(secret string) ([]byte, error)
	// GenerateSecret makes a signing secret in the vendor's own text form.
	GenerateSecret func() string
	// CheckOptions refuses options that the vendor does not have, by a *subscription.InvalidError;
	// nil takes all. They belong to this format.
	CheckOptions func(subscription.Options) error
}

// formatOf is a subscription's format; the dispatcher's own where it names none.
func formatOf(s *Subscription) subscription.Format { return normalFormat(s.Delivery.Format) }

func normalFormat(format subscription.Format) subscription.Format {
	if format == "" {
		return subscription.FormatCloudEvents
	}

	return format
}

// checkDraft refuses what the dispatcher cannot honour.
func (a *account) checkDraft(draft subscription.Draft) error {
	secret := draft.Secret
	// Judged by what the text means to the format, which the port does not know.
	draft.Secret = ""
	if err := draft.Validate(a.Capabilities()); err != nil {
		return err
	}
	format := normalFormat(draft.Delivery.Format)
	if err := a.registry.checkFormat(format); err != nil {
		return err
	}
	if secret != "" {
		if err := a.registry.checkSecret(format, secret); err != nil {
			return &subscription.InvalidError{Field: string(subscription.FieldSecret), Message: err.Error()}
		}
	}

	return a.registry.checkOptions(format, draft.Options)
}

// checkPatch refuses what the dispatcher cannot honour, as far as the patch alone tells.
func (a *account) checkPatch(patch subscription.Patch) error {
	// Judged together with the format that the subscription then has.
	patch.Secret = nil
	if err := patch.Validate(a.Capabilities()); err != nil {
		return err
	}
	if patch.Delivery == nil {
		return nil
	}

	return a.registry.checkFormat(normalFormat(patch.Delivery.Format))
}

// checkFit refuses a next version whose secret or options do not fit its format. given is the
// secret that the change gives, if it gives one. What was there and is left alone is not
// judged again.
func (r *Registry) checkFit(current, next *Subscription, given *string) error {
	from, to := formatOf(current), formatOf(next)
	if given != nil {
		if err := r.checkSecret(to, *given); err != nil {
			return &subscription.InvalidError{Field: string(subscription.FieldSecret), Message: err.Error()}
		}
	} else if from != to {
		if err := r.checkSecret(to, next.Secrets[0].Text); err != nil {
			return &subscription.InvalidError{
				Field: string(subscription.FieldFormat),
				Message: fmt.Sprintf("the subscription's signing secret does not fit the format %s: %s; "+
					"or leave the format, or change the secret together with it", to, err),
			}
		}
	}

	if from == to && reflect.DeepEqual(current.Options, next.Options) {
		return nil
	}

	return r.checkOptions(to, next.Options)
}

// checkFormat refuses a format that the dispatcher does not have.
func (r *Registry) checkFormat(format subscription.Format) error {
	if _, ok := r.options.Formats[format]; ok || format == subscription.FormatCloudEvents {
		return nil
	}

	return &subscription.UnsupportedError{
		Provider: Provider, What: []string{fmt.Sprintf("%s=%s", subscription.FieldFormat, format)},
	}
}

// checkSecret refuses a signing secret that a format cannot read, or that is too short to it.
// The error never repeats it.
func (r *Registry) checkSecret(format subscription.Format, text string) error {
	vendor, ok := r.options.Formats[format]
	if !ok {
		err := subscription.ValidateSecret(text)
		if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
			return errors.New(invalid.Message)
		}

		return err
	}
	if text == "" {
		return errors.New("the signing secret is empty: give one, or leave it out")
	}
	if len(text) > subscription.MaxSecretLength {
		return fmt.Errorf("the signing secret has %d bytes: the most is %d", len(text), subscription.MaxSecretLength)
	}
	key, err := vendor.Key(text)
	if err != nil {
		return err
	}
	if len(key) < subscription.MinSecretBytes {
		return fmt.Errorf("the signing secret holds %d bytes of key material: "+
			"give at least %d random bytes in the form that the format %s has", len(key), subscription.MinSecretBytes, format)
	}

	return nil
}

// checkOptions refuses options of another format, and those that the format's vendor does not have.
func (r *Registry) checkOptions(format subscription.Format, options subscription.Options) error {
	for _, one := range []struct {
		field   subscription.Field
		owner   subscription.Format
		present bool
	}{
		{subscription.FieldBirdOptions, subscription.FormatBird, options.Bird != nil},
		{subscription.FieldDixaOptions, subscription.FormatDixa, options.Dixa != nil},
	} {
		if one.present && one.owner != format {
			return &subscription.InvalidError{
				Field: string(one.field),
				Message: fmt.Sprintf("these options belong to the format %s and the subscription's is %s: remove them, or set %s to %s",
					one.owner, format, subscription.FieldFormat, one.owner),
			}
		}
	}
	if check := r.options.Formats[format].CheckOptions; check != nil {
		return check(options)
	}

	return nil
}

// readable are the secrets whose text a format reads: one that was replaced under another
// format may mean nothing to this one. The current one has been judged.
func (r *Registry) readable(format subscription.Format, secrets []Secret) []Secret {
	out := secrets[:1:1]
	for _, old := range secrets[1:] {
		if r.checkSecret(format, old.Text) == nil {
			out = append(out, old)
		}
	}

	return out
}

// generateSecret makes a signing secret in the text form that a format has: the dispatcher's
// own is that of Standard Webhooks.
func (r *Registry) generateSecret(format subscription.Format) string {
	if vendor, ok := r.options.Formats[format]; ok {
		return vendor.GenerateSecret()
	}
	key := make([]byte, subscription.GeneratedSecretBytes)
	// It never fails: the process ends where there is no randomness.
	_, _ = rand.Read(key)

	return subscription.SecretPrefix + base64.StdEncoding.EncodeToString(key)
}
