package subscription

import (
	"slices"
	"strconv"
	"strings"
)

// keySeparator parts the fields of a natural key; it can stand in none of them.
const keySeparator = "\x00"

// KeyOf is the natural key: what identifies the subscription in a list of its provider, where its id
// was lost. Two subscriptions are the same for the provider when their keys are equal. At most one
// options is looked at, none counts as empty ones.
func (c Capabilities) KeyOf(name, url string, events []string, options ...Options) string {
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
		case FieldBirdOptions:
			parts = append(parts, birdFiltersKey(options))
		default:
			// A key is made of the fields above; others say nothing of identity.
		}
	}

	return strings.Join(parts, keySeparator)
}

// birdFiltersKey stands for the event filters, in whatever order they are. The template is left out:
// where it is omitted the provider may show one of its own.
func birdFiltersKey(options []Options) string {
	if len(options) == 0 || options[0].Bird == nil {
		return ""
	}
	filters := make([]string, 0, len(options[0].Bird.EventFilters))
	for _, filter := range options[0].Bird.EventFilters {
		// Quoted, so that no value can be taken for another's beginning.
		filters = append(filters, strconv.Quote(filter.Key)+"="+strconv.Quote(filter.Value))
	}
	slices.Sort(filters)

	return strings.Join(filters, ",")
}
