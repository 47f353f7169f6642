package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	markHashBytes = 12
	markSeparator = " "
)

// createMark is the value of the annotation create-pending: a create was about to be asked for.
type createMark struct {
	// At is when, to the millisecond.
	At time.Time
	// Hash stands for the provider and the natural key of the subscription.
	Hash string
}

// String is the annotation's value.
func (m createMark) String() string {
	return m.At.UTC().Format("2006-01-02T15:04:05.000Z07:00") + markSeparator + m.Hash
}

// markOf reads the annotation; found is false where there is none that can be read.
func markOf(sub *v1alpha1.WebhookSubscription) (mark createMark, found bool) {
	at, hash, found := strings.Cut(sub.Annotations[v1alpha1.AnnotationCreatePending], markSeparator)
	if !found || hash == "" {
		return createMark{}, false
	}

	moment, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return createMark{}, false
	}

	return createMark{At: moment, Hash: hash}, true
}

// naturalKeyHash stands for a natural key at a provider. It names the provider by kind and name and not by UID,
// which a restored backup changes.
func naturalKeyHash(p v1alpha1.Provider, caps subscription.Capabilities, name, url string, events []string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(p.ProviderKind()), p.GetName(), caps.KeyOf(name, url, events),
	}, "\x00")))

	return hex.EncodeToString(sum[:markHashBytes])
}
