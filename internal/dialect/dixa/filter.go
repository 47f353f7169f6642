package dixa

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// What filters are made of.
const (
	combinedFilters = "CombinedFilters"
	strategyAll     = "All"
	strategyAny     = "Any"
	isOneOf         = "IsOneOf"
	isNotOneOf      = "IsNotOneOf"
	initialChannel  = "InitialChannel"
	operationOrigin = "OperationOrigin"
	queueID         = "QueueId"

	// MaxFilterValues bounds the values of one condition, MaxConditions the conditions of one family; the
	// vendor names no bounds.
	MaxFilterValues = 100
	MaxConditions   = 20
)

// families are the beginnings of the enumeration's names, by which filters are keyed. The vendor shows
// Conversation alone.
var families = []string{"Conversation", "Agent", "Typing", "SLAEvaluation"}

// CheckOptions refuses options that Dixa's document does not have, by a *subscription.InvalidError that names
// the filter at fault as the resource's spec spells it. None are fine.
func CheckOptions(options *subscription.DixaOptions) error { return checkFilters(specFilters, options) }

// checkFilters refuses filters that the vendor's document does not have. Errors are *subscription.InvalidError
// whose fields begin with the name of the filters.
func checkFilters(name string, options *subscription.DixaOptions) error {
	if options == nil {
		return nil
	}
	for family, filters := range options.Filters {
		at := name + "." + clip(family)
		switch {
		case !slices.Contains(families, family):
			return wrongField(at, "there is no such event family: use one of %s", strings.Join(families, ", "))
		case filters.Strategy != strategyAll && filters.Strategy != strategyAny:
			return wrongField(at+".strategy", "use %s or %s", strategyAll, strategyAny)
		case len(filters.Conditions) > MaxConditions:
			return wrongField(at+".conditions", "%d conditions: the most is %d", len(filters.Conditions), MaxConditions)
		}
		for i, condition := range filters.Conditions {
			if err := checkCondition(fmt.Sprintf("%s.conditions[%d]", at, i), condition); err != nil {
				return err
			}
		}
	}

	return nil
}

func checkCondition(at string, condition subscription.DixaCondition) error {
	switch {
	case condition.Operator != isOneOf && condition.Operator != isNotOneOf:
		return wrongField(at+"._type", "use %s or %s", isOneOf, isNotOneOf)
	case condition.Field != initialChannel && condition.Field != operationOrigin && condition.Field != queueID:
		return wrongField(at+".field", "use %s, %s or %s", initialChannel, operationOrigin, queueID)
	case len(condition.Values) == 0 || len(condition.Values) > MaxFilterValues:
		return wrongField(at+".values", "%d values: use 1 to %d", len(condition.Values), MaxFilterValues)
	}

	return nil
}

// Passes tells whether an event, as CloudEvents JSON, passes a subscription's filters. Events of a family
// without filters pass. The vendor does not say which members the fields stand for: QueueId is taken as
// data.conversation.queue.id, InitialChannel as data.conversation.channel, OperationOrigin as
// data.operation_origin. Values are compared by letters and digits without case, so that WidgetChat is
// WIDGET_CHAT. A member that is missing is one of no values.
func Passes(options *subscription.DixaOptions, eventType string, text []byte) bool {
	if options == nil {
		return true
	}
	for family, filters := range options.Filters {
		if strings.HasPrefix(eventType, family) && !passes(filters, filterable(text)) {
			return false
		}
	}

	return true
}

func passes(filters subscription.DixaFilters, values map[string]string) bool {
	if len(filters.Conditions) == 0 {
		return true
	}
	holds := func(condition subscription.DixaCondition) bool {
		found := values[condition.Field]
		one := found != "" && slices.ContainsFunc(condition.Values, func(value string) bool { return plain(value) == found })

		return one == (condition.Operator == isOneOf)
	}
	if filters.Strategy == strategyAny {
		return slices.ContainsFunc(filters.Conditions, holds)
	}

	return !slices.ContainsFunc(filters.Conditions, func(condition subscription.DixaCondition) bool { return !holds(condition) })
}

// filterable are the values of an event that filters look at, by field.
func filterable(text []byte) map[string]string {
	type subject struct {
		Conversation struct {
			Channel string `json:"channel"`
			Queue   struct {
				ID string `json:"id"`
			} `json:"queue"`
		} `json:"conversation"`
		OperationOrigin string `json:"operation_origin"`
	}
	var told struct {
		Data json.RawMessage `json:"data"`
	}
	// What cannot be read has none of the values.
	_ = json.Unmarshal(text, &told)
	data := told.Data
	if isEnvelope(data) {
		var relayed envelope
		_ = json.Unmarshal(data, &relayed)
		data = relayed.Data
	}
	var found subject
	_ = json.Unmarshal(data, &found)

	return map[string]string{
		queueID: plain(found.Conversation.Queue.ID), initialChannel: plain(found.Conversation.Channel),
		operationOrigin: plain(found.OperationOrigin),
	}
}

// plain are a text's letters and digits without case.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}

		return unicode.ToLower(r)
	}, text)
}
