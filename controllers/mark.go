package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	markHashBytes = 12
	markSeparator = " "
	hashSeparator = ","
)

// createMark is the value of the annotation create-pending: creates were about to be asked for.
type createMark struct {
	// At is when, to the millisecond.
	At time.Time
	// Hashes stand for the provider and the natural keys of the subscriptions, each once.
	Hashes []string
}

// has tells whether a natural key is in the mark.
func (m createMark) has(hash string) bool { return slices.Contains(m.Hashes, hash) }

// String is the annotation's value.
func (m createMark) String() string {
	return m.At.UTC().Format("2006-01-02T15:04:05.000Z07:00") + markSeparator + strings.Join(m.Hashes, hashSeparator)
}

// markOf reads the annotation; found is false where there is none that can be read.
func markOf(sub *v1alpha1.WebhookSubscription) (mark createMark, found bool) {
	at, hashes, found := strings.Cut(sub.Annotations[v1alpha1.AnnotationCreatePending], markSeparator)
	if !found || hashes == "" {
		return createMark{}, false
	}

	moment, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return createMark{}, false
	}

	return createMark{At: moment, Hashes: strings.Split(hashes, hashSeparator)}, true
}

// naturalKeyHash stands for a natural key at a provider. It names the provider by kind and name and not by UID,
// which a restored backup changes.
func naturalKeyHash(
	p v1alpha1.Provider, caps subscription.Capabilities, name, url string, events []string, options subscription.Options,
) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(p.ProviderKind()), p.GetName(), caps.KeyOf(name, url, events, options),
	}, "\x00")))

	return hex.EncodeToString(sum[:markHashBytes])
}
