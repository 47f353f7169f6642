package bird

import (
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// services are the vendor's. In the port an event is written service.event, such as channels.sms.outbound.
var services = []string{serviceChannels, serviceNumbers, servicePayments, serviceConversations}

const (
	serviceChannels      = "channels"
	serviceNumbers       = "numbers"
	servicePayments      = "payments"
	serviceConversations = "conversations"
)

// Keys of filters.
const (
	keyChannelID       = "channelId"
	keyMessageStatus   = "messageStatus"
	keyInteractionType = "interactionType"
	keyPlatformID      = "platformId"
	keyChannelStatus   = "channelStatus"
	keyStatus          = "status"
)

// The one platform whose name has spaces, which the port's names have not.
const (
	spacedPlatform = "apple business chat"
	dashedPlatform = "apple-business-chat"
)

// platforms are those whose messages channels tell of. The vendor does not show how events spell the one with
// spaces.
var platforms = []string{
	"sms", "whatsapp", "email", "line", "instagram", "facebook", "viber", "linkedin", "tiktok", spacedPlatform, "telegram",
}

// available are the documented events by service, sorted. The vendor's whole list is not published: numbers and
// payments have none here, and events that are not listed can be subscribed to all the same.
var available = func() []AvailableWebhooks {
	channels := []AvailableEvent{
		{Name: "channel.created", FilterKeys: []string{keyPlatformID, keyChannelStatus}},
		{Name: "channel.updated", FilterKeys: []string{keyPlatformID, keyChannelStatus}},
		{Name: "voice.inbound", FilterKeys: []string{keyChannelID, keyStatus}},
	}
	for _, platform := range platforms {
		channels = append(channels,
			AvailableEvent{Name: platform + ".inbound", FilterKeys: []string{keyChannelID}},
			AvailableEvent{Name: platform + ".interaction", FilterKeys: []string{keyChannelID, keyInteractionType}},
			AvailableEvent{Name: platform + ".outbound", FilterKeys: []string{keyChannelID, keyMessageStatus}},
		)
	}
	slices.SortFunc(channels, func(a, b AvailableEvent) int { return strings.Compare(a.Name, b.Name) })

	return []AvailableWebhooks{
		{Service: serviceChannels, Events: channels},
		{Service: serviceConversations, Events: []AvailableEvent{
			{Name: "conversation.created", FilterKeys: []string{keyChannelID}},
			{Name: "conversation.deleted", FilterKeys: []string{keyChannelID}},
			{Name: "conversation.updated", FilterKeys: []string{keyChannelID}},
		}},
		{Service: serviceNumbers, Events: []AvailableEvent{}},
		{Service: servicePayments, Events: []AvailableEvent{}},
	}
}()

// Catalogue are the events that the vendor documents, as the port names them, sorted by name.
func Catalogue() []subscription.EventType { return portCatalogue(available) }

// portCatalogue leaves out names that the port cannot write.
func portCatalogue(webhooks []AvailableWebhooks) []subscription.EventType {
	types := []subscription.EventType{}
	for _, one := range webhooks {
		for _, event := range one.Events {
			name := joinEvent(one.Service, event.Name)
			if subscription.ValidateEventType(name) != nil {
				continue
			}
			description := "It cannot be filtered."
			if len(event.FilterKeys) > 0 {
				description = "It can be filtered by " + strings.Join(event.FilterKeys, ", ") + "."
			}
			types = append(types, subscription.EventType{Name: name, Description: description})
		}
	}
	slices.SortFunc(types, func(a, b subscription.EventType) int { return strings.Compare(a.Name, b.Name) })

	return slices.CompactFunc(types, func(a, b subscription.EventType) bool { return a.Name == b.Name })
}

// joinEvent is an event of the wire as the port names it.
func joinEvent(service, event string) string {
	if rest, ok := strings.CutPrefix(event, spacedPlatform+"."); ok {
		event = dashedPlatform + "." + rest
	}

	return service + "." + event
}

// wireEvent is an event's name without its service as the wire has it. Also one that came with dashes has
// spaces.
func wireEvent(event string) string {
	if rest, ok := strings.CutPrefix(event, dashedPlatform+"."); ok {
		return spacedPlatform + "." + rest
	}

	return event
}

// splitEvent parts an event of the port; ok is false where it is of none of the vendor's services.
func splitEvent(name string) (service, event string, ok bool) {
	service, event, _ = strings.Cut(name, ".")

	return service, event, event != "" && slices.Contains(services, service)
}

// checkEvents refuses events that the vendor could not be asked for, by a *subscription.InvalidError.
func checkEvents(events []string) error {
	for _, name := range events {
		if _, _, ok := splitEvent(name); !ok {
			return wrongField(string(subscription.FieldEvents), "%q is no event of Bird's: write it as service.event with a service "+
				"of %s, such as channels.sms.outbound", clip(name), strings.Join(services, ", "))
		}
	}

	return nil
}
