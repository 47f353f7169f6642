package native

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// list answers all subscriptions, as Vonage does, or a page of them where the query asks for one.
func (s *server) list(r request) (any, error) {
	params, err := query(r, paramAfter, paramLimit)
	if err != nil {
		return nil, err
	}
	found, err := r.api.List(r.Context())
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	slices.SortFunc(found, func(a, b subscription.Subscription) int { return cmp.Compare(a.ID, b.ID) })
	if len(params) == 0 {
		all := subscriptionList{Subscriptions: make([]Subscription, 0, len(found))}
		for _, one := range found {
			all.Subscriptions = append(all.Subscriptions, wireSubscription(one))
		}

		return all, nil
	}
	limit, err := pageLimit(params[paramLimit])
	if err != nil {
		return nil, err
	}
	page := subscriptionList{Subscriptions: []Subscription{}}
	size := 0
	for _, one := range found {
		if one.ID <= params[paramAfter] {
			continue
		}
		if len(page.Subscriptions) == limit || size > pageBytes {
			page.Next = page.Subscriptions[len(page.Subscriptions)-1].SubscriptionID

			break
		}
		entry := wireSubscription(one)
		size += sizeOf(entry)
		page.Subscriptions = append(page.Subscriptions, entry)
	}

	return page, nil
}

// sizeOf is how many bytes a value takes on the wire; 0 where it cannot be written, which
// writing it will tell.
func sizeOf(value any) int {
	body, err := marshal(value)
	if err != nil {
		return 0
	}

	return len(body)
}

func (s *server) create(r request) (any, error) {
	var body createRequest
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	draft, err := body.port()
	if err != nil {
		return nil, err
	}
	created, err := r.api.Create(r.Context(), draft)
	if err != nil {
		return nil, fmt.Errorf("creating a subscription: %w", err)
	}
	out := wireSubscription(created.Subscription)
	out.Secret = created.Secret

	return out, nil
}

func (s *server) get(r request) (any, error) {
	found, err := r.api.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("getting a subscription: %w", err)
	}

	return wireSubscription(found), nil
}

func (s *server) update(r request) (any, error) {
	var body updateRequest
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	patch, err := body.port()
	if err != nil {
		return nil, err
	}
	updated, err := r.api.Update(r.Context(), r.PathValue("id"), patch)
	if err != nil {
		return nil, fmt.Errorf("updating a subscription: %w", err)
	}

	return wireSubscription(updated), nil
}

func (s *server) remove(r request) (any, error) {
	if err := r.api.Delete(r.Context(), r.PathValue("id")); err != nil {
		return nil, fmt.Errorf("deleting a subscription: %w", err)
	}

	return nil, nil //nolint:nilnil // Nothing is what a deletion answers.
}

func (s *server) statuses(r request) (any, error) {
	found, err := r.api.Statuses(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("reading delivery statuses: %w", err)
	}
	out := statusList{DeliveryStatuses: make([]DeliveryStatus, 0, len(found))}
	for _, status := range found {
		out.DeliveryStatuses = append(out.DeliveryStatuses, wireStatus(status))
	}

	return out, nil
}

func (s *server) changes(r request) (any, error) {
	params, err := query(r, paramSince)
	if err != nil {
		return nil, err
	}
	found, err := r.api.StatusesChangedSince(r.Context(), params[paramSince])
	if err != nil {
		return nil, fmt.Errorf("reading changed delivery statuses: %w", err)
	}

	return changes{SubscriptionIDs: orEmpty(found.IDs), Next: found.Next}, nil
}

func (s *server) eventTypes(r request) (any, error) {
	found, err := r.api.EventTypes(r.Context())
	if err != nil {
		return nil, fmt.Errorf("reading event types: %w", err)
	}
	out := eventTypeList{EventTypes: make([]EventType, 0, len(found))}
	for _, eventType := range found {
		out.EventTypes = append(out.EventTypes, wireEventType(eventType))
	}

	return out, nil
}

func (s *server) capabilities(r request) (any, error) {
	return wireCapabilities(r.api.Capabilities()), nil
}

// logs answers attempts, newest first. Where the answer would be larger than MaxResponseBytes,
// it leaves payloads out, and then the oldest attempts.
func (s *server) logs(r request) (any, error) {
	params, err := query(r, paramEvent, paramLimit)
	if err != nil {
		return nil, err
	}
	asked := subscription.LogQuery{Event: params[paramEvent]}
	if text, ok := params[paramLimit]; ok {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > subscription.MaxLogLimit {
			return nil, &subscription.InvalidError{
				Field: paramLimit, Message: fmt.Sprintf("it is not a number within 1 to %d", subscription.MaxLogLimit),
			}
		}
		asked.Limit = limit
	}
	found, err := r.api.Logs(r.Context(), r.PathValue("id"), asked)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	out := logList{Logs: make([]LogEntry, 0, len(found))}
	room := MaxResponseBytes - len(`{"logs":[]}`) - 1
	for _, attempt := range found {
		entry := wireLogEntry(attempt)
		size := sizeOf(entry)
		if size > room {
			entry.Payload, entry.PayloadBase64 = "", ""
			size = sizeOf(entry)
		}
		if room -= size; room < 0 {
			break
		}
		out.Logs = append(out.Logs, entry)
	}

	return out, nil
}

// operations are those of the request's tenant, once the subscription is seen to be its own.
func (s *server) operations(r request, what string) (Operations, error) {
	if _, err := r.api.Get(r.Context(), r.PathValue("id")); err != nil {
		return nil, fmt.Errorf("getting a subscription: %w", err)
	}
	if s.cfg.Operations == nil {
		return nil, &subscription.UnsupportedError{Provider: r.api.Capabilities().Provider, What: []string{what}}
	}

	return s.cfg.Operations(r.tenant), nil
}

func (s *server) deadLetters(r request) (any, error) {
	params, err := query(r, paramAfter, paramLimit)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(params[paramLimit])
	if err != nil {
		return nil, err
	}
	var after uint64
	if text, ok := params[paramAfter]; ok {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, &subscription.InvalidError{Field: paramAfter, Message: "it is not a position"}
		}
	}
	operations, err := s.operations(r, "dead letters")
	if err != nil {
		return nil, err
	}
	found, err := operations.DeadLetters(r.Context(), r.PathValue("id"), after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading dead letters: %w", err)
	}
	page := deadLetterList{DeadLetters: []deadLetter{}}
	size := 0
	for _, letter := range found {
		if size > pageBytes {
			break
		}
		entry := wireDeadLetter(letter)
		size += sizeOf(entry)
		page.DeadLetters = append(page.DeadLetters, entry)
		page.Next = letter.Position
	}

	return page, nil
}

func (s *server) resend(r request) (any, error) {
	var body resendRequest
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.Position == 0 {
		return nil, &subscription.InvalidError{
			Field: "position", Message: "it is missing: give the position of a log entry or a dead letter",
		}
	}
	operations, err := s.operations(r, "resend")
	if err != nil {
		return nil, err
	}
	attempt, err := operations.Resend(r.Context(), r.PathValue("id"), body.Position)
	if errors.Is(err, subscription.ErrNotFound) {
		return nil, &statusError{
			status: http.StatusNotFound, reason: reasonNotFound, message: "no event is kept at this position: it may have been trimmed",
		}
	}
	if err != nil {
		return nil, fmt.Errorf("resending an event: %w", err)
	}

	return wireLogEntry(attempt), nil
}

func (s *server) test(r request) (any, error) {
	var body testRequest
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.Event != "" {
		if err := subscription.ValidateEventType(body.Event); err != nil {
			return nil, &subscription.InvalidError{Field: paramEvent, Message: err.Error()}
		}
	}
	operations, err := s.operations(r, "test events")
	if err != nil {
		return nil, err
	}
	attempt, err := operations.SendTest(r.Context(), r.PathValue("id"), body.Event)
	if err != nil {
		return nil, fmt.Errorf("sending a test event: %w", err)
	}

	return wireLogEntry(attempt), nil
}
