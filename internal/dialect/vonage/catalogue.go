package vonage

import (
	"fmt"
	"slices"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// The schemas of events' data. They have what the vendor's examples show; members are not
// required and their ids have no type, for examples are no promise.
const (
	presenceSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{` +
		timestampSchema + `,"presence":{"type":"object","properties":{"presenceId":{},"category":{"type":"object",` +
		`"properties":{"type":{"type":"string"},"description":{"type":"string"},"subcategory":{"type":"string"}}},` +
		`"description":{"type":"string"}}},"user":{"type":"object","properties":{"agentId":{},"userId":{}}}}}`
	channelSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{` +
		timestampSchema + `,"channel":{"type":"object","properties":{"conversationId":{},"interactionId":{},"channelId":{},` +
		`"party":{"type":"object","properties":{"role":{"type":"string"},"agentId":{},"userId":{}}}}}%s}}`
	timestampSchema = `"timestamp":{"type":"string","format":"date-time"}`
	reasonSchema    = `,"reason":{"type":"string"}`
)

// Catalogue are the event types that the vendor documents, in the version of its general
// availability, sorted by name. Its whole list is not published, and its pages disagree on
// channel.alerting, which the portal's page calls channel.alerted: the API's examples decide.
func Catalogue() []subscription.EventType {
	channel := func(name, description, more string) subscription.EventType {
		return subscription.EventType{
			Name: "channel." + name + ".v1", Description: description, Schema: fmt.Appendf(nil, channelSchema, more),
		}
	}

	return []subscription.EventType{
		{Name: "agent.presencechanged.v1", Description: "An agent's presence changed.", Schema: []byte(presenceSchema)},
		channel("alerting", "A channel alerts a party.", ""),
		channel("connected", "A channel was connected.", ""),
		channel("disconnected", "A channel was disconnected.", ""),
		channel("ended", "A channel ended.", reasonSchema),
		channel("held", "A channel was put on hold.", ""),
		channel("retrieved", "A channel was taken off hold.", ""),
		channel("wrapstarted", "The wrap-up of a channel began.", ""),
	}
}

// merged are the types of two catalogues, sorted, each name once; the first's entry stands.
func merged(first, second []subscription.EventType) []subscription.EventType {
	all := slices.Concat(first, second)
	slices.SortStableFunc(all, byName)

	return slices.CompactFunc(all, func(a, b subscription.EventType) bool { return a.Name == b.Name })
}
