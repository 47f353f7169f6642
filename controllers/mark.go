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
	markHashBytes  = 12
	markSeparator  = " "
	hashSeparator  = ","
	placeSeparator = "@"
)

// createMark is the value of the annotation create-pending: creates were about to be asked for.
type createMark struct {
	// At is when, to the millisecond.
	At time.Time
	// Hashes stand for the provider and the natural keys of the subscriptions, each once.
	Hashes []string
	// Places are the providers, see placeOf, that they were or are to be asked of, each once.
	Places []string
}

// has tells whether a natural key is in the mark.
func (m createMark) has(hash string) bool { return slices.Contains(m.Hashes, hash) }

// String is the annotation's value.
func (m createMark) String() string {
	text := m.At.UTC().Format("2006-01-02T15:04:05.000Z07:00") + markSeparator + strings.Join(m.Hashes, hashSeparator)
	if len(m.Places) > 0 {
		text += placeSeparator + strings.Join(m.Places, hashSeparator)
	}

	return text
}

// elsewhere are the places but that of a provider: what was asked for there is to be looked for there.
func (m createMark) elsewhere(p v1alpha1.Provider) []string {
	return slices.DeleteFunc(slices.Clone(m.Places), func(place string) bool { return place == placeOf(p) })
}

// placeOf names a provider in a mark.
func placeOf(p v1alpha1.Provider) string { return placeNamed(p.ProviderKind(), p.GetName()) }

func placeNamed(kind v1alpha1.ProviderKind, name string) string { return string(kind) + "/" + name }

// partsOf are the kind and the name of the provider that a place names.
func partsOf(place string) (v1alpha1.ProviderKind, string) {
	kind, name, _ := strings.Cut(place, "/")

	return v1alpha1.ProviderKind(kind), name
}

// markOf reads the annotation; found is false where there is none that can be read.
func markOf(sub *v1alpha1.WebhookSubscription) (mark createMark, found bool) {
	at, rest, _ := strings.Cut(sub.Annotations[v1alpha1.AnnotationCreatePending], markSeparator)

	hashes, places, placed := strings.Cut(rest, placeSeparator)
	if hashes == "" {
		return createMark{}, false
	}

	moment, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return createMark{}, false
	}

	mark = createMark{At: moment, Hashes: strings.Split(hashes, hashSeparator)}
	if placed {
		mark.Places = strings.Split(places, hashSeparator)
	}

	return mark, true
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
