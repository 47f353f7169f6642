package bird

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// specOptions are the options as the resource's spec spells them.
const specOptions = string(subscription.FieldBirdOptions)

// CheckOptions refuses options that Bird's server would refuse, by a *subscription.InvalidError that names the
// first at fault as the resource's spec spells it. None are fine.
func CheckOptions(options *subscription.BirdOptions) error {
	if options == nil {
		return nil
	}
	wrong := problems{}
	filters := wireFilters(options)
	given := make([]givenFilter, 0, len(filters))
	for _, filter := range filters {
		given = append(given, givenFilter{key: &filter.Key, value: &filter.Value})
	}
	checkNumber(wrong, len(given))
	checkFilters(wrong, given)
	checkTemplate(wrong, options.Template)
	if len(wrong) == 0 {
		return nil
	}
	path := wrong.paths()[0]

	return wrongField(specOptions+path, "%s", wrong[path][0])
}

// givenFilter is a filter as far as it could be read: nil is what could not.
type givenFilter struct{ key, value *string }

// pathFilters is where filters stand in a body.
const pathFilters = ".eventFilters"

// checkNumber notes that there are too many filters.
func checkNumber(wrong problems, number int) {
	if number > MaxFilters {
		wrong.addf(pathFilters, "%d filters: the most is %d", number, MaxFilters)
	}
}

// checkFilters notes what is wrong with filters.
func checkFilters(wrong problems, filters []givenFilter) {
	for i, filter := range filters {
		at := fmt.Sprintf("%s[%d]", pathFilters, i)
		if filter.value != nil {
			checkText(wrong, at+".value", *filter.value, MaxFilterValue)
		}
		if filter.key == nil {
			continue
		}
		checkText(wrong, at+".key", *filter.key, MaxFilterKey)
		if slices.ContainsFunc(filters[:i], func(other givenFilter) bool { return other.key != nil && *other.key == *filter.key }) {
			wrong.addf(at+".key", "the key stands twice, and filters are ANDed: remove one")
		}
	}
}

func checkText(wrong problems, path, text string, most int) {
	switch length := utf8.RuneCountInString(text); {
	case length == 0:
		wrong.addf(path, "minimum string length is 1")
	case length > most:
		wrong.addf(path, "maximum string length is %d", most)
	}
}

func checkTemplate(wrong problems, template string) {
	if utf8.RuneCountInString(template) > MaxTemplate {
		wrong.addf(".template", "maximum string length is %d", MaxTemplate)
	}
}

// filterMembers are the members of a payload that keys of filters stand for, where the payload has none of the
// key's own name. The vendor does not say; its examples of payloads have these.
var filterMembers = map[string]string{keyMessageStatus: "status", keyInteractionType: "type", keyChannelStatus: "status"}

// Passes tells whether an event, as CloudEvents JSON, passes a subscription's filters: all must hold. A filter
// holds where the payload's member of its name, or the one of filterMembers, has its value; numbers and
// truth values are compared as JSON writes them. A member that is missing has no value.
func Passes(options *subscription.BirdOptions, _ string, event []byte) bool {
	if options == nil || len(options.EventFilters) == 0 {
		return true
	}
	payload := payloadOf(event)

	return !slices.ContainsFunc(options.EventFilters, func(filter subscription.BirdEventFilter) bool {
		value, ok := payload[filter.Key]
		if !ok {
			value, ok = payload[filterMembers[filter.Key]]
		}

		return !ok || plain(value) != filter.Value
	})
}

// PassesAmong is Passes by the vendor's whole rule: a subscription without filters gets no event that passes
// the filters of another one. others are the options of the account's other subscriptions to the same
// event type that take events now.
func PassesAmong(options *subscription.BirdOptions, others []*subscription.BirdOptions, eventType string, event []byte) bool {
	if options != nil && len(options.EventFilters) > 0 {
		return Passes(options, eventType, event)
	}

	return !slices.ContainsFunc(others, func(other *subscription.BirdOptions) bool {
		return other != nil && len(other.EventFilters) > 0 && Passes(other, eventType, event)
	})
}

// payloadOf are the members of the payload that an event is delivered as; none where it has none.
func payloadOf(event []byte) map[string]json.RawMessage {
	var told struct {
		Data json.RawMessage `json:"data"`
	}
	// What cannot be read has no members.
	_ = json.Unmarshal(event, &told)
	data := told.Data
	if relayed, ok := readEnvelope(data); ok {
		data = relayed.Payload
	}
	var members map[string]json.RawMessage
	_ = json.Unmarshal(data, &members)

	return members
}

// plain is a scalar's text.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}

	return string(value)
}
