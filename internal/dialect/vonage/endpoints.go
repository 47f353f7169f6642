package vonage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// list answers all subscriptions, the oldest first: the vendor has no pages.
func (s *server) list(r request) (any, error) {
	found, err := r.api.List(r.Context())
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	slices.SortFunc(found, func(a, b subscription.Subscription) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	out := subscriptionList{Subscriptions: []Subscription{}}
	for _, one := range found {
		if one.Delivery.Format == subscription.FormatVonage {
			out.Subscriptions = append(out.Subscriptions, wireSubscription(one))
		}
	}

	return out, nil
}

// own is a subscription that the dialect shows.
func (r request) own() (subscription.Subscription, error) {
	found, err := r.api.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("getting a subscription: %w", err)
	}
	if found.Delivery.Format != subscription.FormatVonage {
		return subscription.Subscription{}, subscription.ErrNotFound
	}

	return found, nil
}

func (s *server) get(r request) (any, error) {
	found, err := r.own()
	if err != nil {
		return nil, err
	}

	return wireSubscription(found), nil
}

// create answers the secret too, given or made, as no other operation does. A subscriptionId is
// listed among the body's parameters, but ids are the server's to make: it is passed over.
func (s *server) create(r request) (any, error) {
	asked, err := r.fields()
	if err != nil {
		return nil, err
	}
	if err := asked.requireForCreate(); err != nil {
		return nil, err
	}
	if asked.Secret != nil && *asked.Secret == "" {
		return nil, wrongField(memberSecret, "it is empty: leave it out to have one generated")
	}
	draft, err := checkedDraft(asked.draft(), s.caps)
	if err != nil {
		return nil, err
	}
	created, err := r.api.Create(r.Context(), draft)
	if err != nil {
		return nil, fmt.Errorf("creating a subscription: %w", err)
	}
	out := wireSubscription(created.Subscription)
	if asked.Secret != nil {
		out.Secret = *asked.Secret
	} else {
		// The vendor's text form of the same key.
		out.Secret = strings.TrimPrefix(created.Secret, subscription.SecretPrefix)
	}

	return out, nil
}

// fields are a request's body.
func (r request) fields() (fields, error) {
	body, err := readBody(r.Request, r.readBy)
	if err != nil {
		return fields{}, err
	}

	return readFields(body)
}

// update answers the new value without the secret.
func (s *server) update(r request) (any, error) {
	asked, err := r.fields()
	if err != nil {
		return nil, err
	}
	if asked.SubscriptionID != nil && *asked.SubscriptionID != r.PathValue("id") {
		return nil, wrongField(memberID, "it differs from the path's and cannot be changed: remove it")
	}
	if _, err := r.own(); err != nil {
		return nil, err
	}
	patch, err := checkedPatch(asked.patch(), s.caps)
	if err != nil {
		return nil, err
	}
	updated, err := r.api.Update(r.Context(), r.PathValue("id"), patch)
	if err != nil {
		return nil, fmt.Errorf("updating a subscription: %w", err)
	}

	return wireSubscription(updated), nil
}

// remove answers 200 and an empty object: the vendor says that the whole API's success is 200
// and that answers are JSON, and shows no deletion.
func (s *server) remove(r request) (any, error) {
	if _, err := r.own(); err != nil {
		return nil, err
	}
	if err := r.api.Delete(r.Context(), r.PathValue("id")); err != nil {
		return nil, fmt.Errorf("deleting a subscription: %w", err)
	}

	return struct{}{}, nil
}

// eventTypes answers the catalogue and what else the API knows.
func (s *server) eventTypes(r request) (any, error) {
	known, err := r.api.EventTypes(r.Context())
	if err != nil {
		return nil, fmt.Errorf("reading event types: %w", err)
	}
	out := eventTypeList{EventTypes: []EventType{}}
	for _, eventType := range merged(s.cfg.Catalogue, known) {
		out.EventTypes = append(out.EventTypes, wireEventType(eventType))
	}

	return out, nil
}
