package native

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// The members that a dispatcher's answers never lack. What is absent would be taken for empty: a
// list without subscriptions for one whose subscriptions were all deleted.
var (
	subscriptionMembers = []string{"subscriptionId", "name", "url", "events", "enabled", "state"}
	statusMembers       = []string{"event", "success", "responseCode", "responseText", "deliveryTimestamp"}
	logMembers          = []string{
		"deliveryId", "eventId", "event", "attempt", "timestamp", "success", "responseCode", "responseText", "latency",
	}
	eventTypeMembers = []string{"name"}
	changeMembers    = []string{"subscriptionIds", "next"}
	// What an older dispatcher has no word for it cannot do: of those members none has to be there.
	capabilityMembers = []string{"provider", "fields", "secret", "visibilityDelay", "naturalKey", "urlSchemes"}
)

// shapeError answers a response that is not a dispatcher's.
func shapeError(expected string) error {
	return &subscription.ShapeError{Expected: expected}
}

// read reads an object that has the members, none of them null, and passes over unknown ones.
func read[W any](body []byte, members []string) (W, error) {
	var (
		found map[string]json.RawMessage
		out   W
	)
	err := json.Unmarshal(body, &found)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	complete := found != nil
	for _, name := range members {
		value, ok := found[name]
		complete = complete && ok && string(value) != "null"
	}
	if err != nil || !complete {
		var zero W

		return zero, shapeError(skeleton(members))
	}

	return out, nil
}

// readList reads the entries that an envelope's member lists.
func readList[W any](body []byte, member string, members []string) ([]W, error) {
	var (
		envelope map[string]json.RawMessage
		entries  []json.RawMessage
	)
	if json.Unmarshal(body, &envelope) != nil || json.Unmarshal(envelope[member], &entries) != nil || entries == nil {
		return nil, shapeError(`{"` + member + `":[…]}`)
	}
	list := make([]W, 0, len(entries))
	for i, entry := range entries {
		one, err := read[W](entry, members)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		list = append(list, one)
	}

	return list, nil
}

// skeleton writes the members of an object for an error.
func skeleton(members []string) string {
	if len(members) == 0 {
		return "a JSON object"
	}

	return `{"` + strings.Join(members, `","`) + `"}`
}
