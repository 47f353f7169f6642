package subscription

import (
	"slices"
	"strings"
)

// keySeparator parts the fields of a natural key; it can stand in none of them.
const keySeparator = "\x00"

// KeyOf is the natural key: what identifies the subscription in a list of its provider, where its id
// was lost. Two subscriptions are the same for the provider when their keys are equal.
func (c Capabilities) KeyOf(name, url string, events []string) string {
	parts := make([]string, 0, len(c.NaturalKey))
	for _, field := range c.NaturalKey {
		switch field {
		case FieldName:
			parts = append(parts, name)
		case FieldURL:
			parts = append(parts, url)
		case FieldEvents:
			sorted := slices.Sorted(slices.Values(events))
			parts = append(parts, strings.Join(slices.Compact(sorted), ","))
		default:
			// A key is made of the three fields every provider lists; others say nothing of identity.
		}
	}

	return strings.Join(parts, keySeparator)
}
