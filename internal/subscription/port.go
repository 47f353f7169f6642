package subscription

import (
	"context"
	"slices"
	"time"
)

// Subscriptions creates, reads and changes subscriptions.
//
// Every method answers with one of the errors of this package where the provider said
// no (see ErrNotFound, ErrNameTaken, *InvalidError, *UnsupportedError, *AuthError,
// *RateLimitedError); any other error is transient and may be retried. After an error
// of the last kind a Create may or may not have happened.
type Subscriptions interface {
	// List returns every subscription of the account, in no promised order. It may lag
	// behind writes by Capabilities.VisibilityDelay.
	List(ctx context.Context) ([]Subscription, error)
	// Get returns one subscription, or ErrNotFound.
	Get(ctx context.Context, id string) (Subscription, error)
	// Create makes a new subscription: never an existing one's twin where names are unique
	// (ErrNameTaken).
	Create(ctx context.Context, draft Draft) (Created, error)
	// Update changes what the patch sets and returns the whole; ErrNotFound where there is none.
	Update(ctx context.Context, id string, patch Patch) (Subscription, error)
	// Delete removes one subscription; ErrNotFound where there is none.
	Delete(ctx context.Context, id string) error
}

// Catalogue tells what there is to subscribe to.
type Catalogue interface {
	// EventTypes returns the event types known to the provider, sorted by name.
	EventTypes(ctx context.Context) ([]EventType, error)
}

// Deliveries tells what became of deliveries. A provider without them answers
// *UnsupportedError, and says so in its Capabilities.
type Deliveries interface {
	// Statuses returns the latest status of each event type of one subscription, sorted by
	// event; ErrNotFound where there is no such subscription.
	Statuses(ctx context.Context, id string) ([]DeliveryStatus, error)
	// StatusesChangedSince returns whose statuses changed after the cursor; an empty cursor
	// stands for the beginning. A cursor the provider no longer knows counts as empty.
	StatusesChangedSince(ctx context.Context, cursor string) (Changes, error)
	// Logs returns attempts of one subscription, newest first.
	Logs(ctx context.Context, id string, query LogQuery) ([]LogEntry, error)
}

// API is the port: what any webhook-subscription API can do, bound to one account.
type API interface {
	Subscriptions
	Catalogue
	Deliveries
	// Capabilities says what this implementation has and lacks. It does not change.
	Capabilities() Capabilities
}

// SecretReader is what an API has besides where Capabilities.SecretReadable: a secret that the provider made can be
// had again, also when the answer to the create was lost.
type SecretReader interface {
	// Secret returns the signing secret in the provider's text form, or ErrNotFound where there is no such
	// subscription.
	Secret(ctx context.Context, id string) (string, error)
}

// Field names one field of a subscription, as the resource's spec spells it.
type Field string

// The fields that a provider may lack or that make up a natural key.
const (
	FieldName          Field = "name"
	FieldURL           Field = "url"
	FieldEvents        Field = "events"
	FieldEnabled       Field = "enabled"
	FieldSecret        Field = "secretRef"
	FieldBasic         Field = "authorization.basic"
	FieldBearer        Field = "authorization.bearer"
	FieldHeaders       Field = "headers"
	FieldFormat        Field = "delivery.format"
	FieldTimeout       Field = "delivery.timeout"
	FieldMaxAttempts   Field = "delivery.maxAttempts"
	FieldMaxInFlight   Field = "delivery.maxInFlight"
	FieldRateLimit     Field = "delivery.rateLimit"
	FieldOrdering      Field = "delivery.ordering"
	FieldBirdOptions   Field = "vendorOptions.bird"
	FieldDixaOptions   Field = "vendorOptions.dixa"
	FieldHeaderSecrets Field = "headers.secretKeyRef"
)

// SecretMode says who makes the signing secret.
type SecretMode string

// The modes.
const (
	// SecretSettable: given on create and replaced by update; generated when omitted.
	SecretSettable SecretMode = "Settable"
	// SecretProviderMade: the provider makes it and nobody can set it.
	SecretProviderMade SecretMode = "ProviderMade"
)

// SecretText is the form that the text of a signing secret has at a provider.
type SecretText string

// The forms. The zero value counts as SecretTextStandardWebhooks.
const (
	// SecretTextStandardWebhooks: "whsec_" and the key in Base64.
	SecretTextStandardWebhooks SecretText = "StandardWebhooks"
	// SecretTextBase64: the key in Base64, with padding and nothing before it.
	SecretTextBase64 SecretText = "Base64"
	// SecretTextHex: 64 hexadecimal digits.
	SecretTextHex SecretText = "Hex"
	// SecretTextPlain: any text, which itself is the key.
	SecretTextPlain SecretText = "Plain"
)

// Capabilities is what an implementation of the port has and lacks.
type Capabilities struct {
	// Provider is the kind's name for humans, such as "dispatcher" or "vonage".
	Provider string
	// Fields are those the provider can honour. A spec that sets another is refused by name.
	Fields map[Field]bool
	// NamesUnique: a second subscription of a name is refused with ErrNameTaken.
	NamesUnique bool
	// Wildcards: events may be patterns of the grammar of ParsePattern.
	Wildcards bool
	// MaxEvents is the most events one subscription may have; 0 means MaxEvents of this package.
	MaxEvents int
	// Secret says who makes the signing secret.
	Secret SecretMode
	// SecretText is the form of its text, where the delivery's format has none of its own.
	SecretText SecretText
	// SecretReadable: the secret can be read back, see SecretReader.
	SecretReadable bool
	// CredentialsReadable: authorization and sensitive headers come back from Get and List.
	CredentialsReadable bool
	// Resumable: Patch.Resume lifts a suspension.
	Resumable bool
	// Statuses and Logs: the Deliveries methods work.
	Statuses bool
	Logs     bool
	// Catalogue: EventTypes is complete, so a wildcard can be expanded from it.
	Catalogue bool
	// VisibilityDelay is how long a write may stay invisible to List and Get.
	VisibilityDelay time.Duration
	// Immutable are fields that Update cannot change, and refuses with *UnsupportedError: another value is another
	// subscription, to be created before this one is deleted.
	Immutable []Field
	// NaturalKey are the fields that identify "the same subscription" in a list: see KeyOf.
	NaturalKey []Field
	// URLSchemes are those an endpoint may have.
	URLSchemes []string
}

// Has tells whether the provider can honour the field.
func (c Capabilities) Has(field Field) bool { return c.Fields[field] }

// SecretTextFor is the form of a signing secret's text where deliveries have that format: the format's own, or the
// provider's where none is chosen.
func (c Capabilities) SecretTextFor(format Format) SecretText {
	switch format {
	case FormatCloudEvents:
		return SecretTextStandardWebhooks
	case FormatVonage:
		return SecretTextBase64
	case FormatDixa:
		return SecretTextHex
	case FormatBird:
		return SecretTextPlain
	}

	if c.SecretText == "" {
		return SecretTextStandardWebhooks
	}

	return c.SecretText
}

// IsImmutable tells whether Update cannot change the field.
func (c Capabilities) IsImmutable(field Field) bool { return slices.Contains(c.Immutable, field) }

// EventLimit is the most events one subscription may have.
func (c Capabilities) EventLimit() int {
	if c.MaxEvents > 0 {
		return c.MaxEvents
	}

	return MaxEvents
}
