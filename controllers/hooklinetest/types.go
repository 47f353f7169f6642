package hooklinetest

import "github.com/hookline-dev/hookline/internal/subscription"

// The nouns of a provider's API, under names that can be used outside Hookline's module.
type (
	// API is what any webhook-subscription API can do, bound to one account. *Account implements it.
	API = subscription.API
	// Subscription is one subscription as a provider reports it.
	Subscription = subscription.Subscription
	// Draft is a subscription to be created.
	Draft = subscription.Draft
	// Patch is a change of one subscription; nil fields stay as they are.
	Patch = subscription.Patch
	// Created is the answer to a create.
	Created = subscription.Created
	// State is what the provider decided about a subscription.
	State = subscription.State
	// Authorization is what a delivery's Authorization header is made from.
	Authorization = subscription.Authorization
	// Header is one custom header of a delivery.
	Header = subscription.Header
	// Delivery says how deliveries are made.
	Delivery = subscription.Delivery
	// DeliveryStatus is the latest outcome of one event type's deliveries.
	DeliveryStatus = subscription.DeliveryStatus
	// EventType is one entry of the provider's catalogue.
	EventType = subscription.EventType
	// LogEntry is one attempt at a delivery.
	LogEntry = subscription.LogEntry
	// LogQuery selects log entries.
	LogQuery = subscription.LogQuery
	// Changes tells whose delivery statuses changed.
	Changes = subscription.Changes
	// Capabilities is what a provider has and lacks.
	Capabilities = subscription.Capabilities
	// Field names one field of a subscription, as in Capabilities.Fields.
	Field = subscription.Field
)
