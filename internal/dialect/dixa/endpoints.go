package dixa

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// list answers all subscriptions: the vendor's list has no pages.
func (s *server) list(r request) (int, any, error) {
	found, err := r.own()
	if err != nil {
		return 0, nil, err
	}
	out := []Subscription{}
	for _, one := range found {
		wire, err := s.wire(r, one, "")
		if errors.Is(err, subscription.ErrNotFound) {
			// It was deleted meanwhile.
			continue
		}
		if err != nil {
			return 0, nil, err
		}
		out = append(out, wire)
	}

	return http.StatusOK, out, nil
}

// own are the subscriptions that the dialect shows, in the order of their creation.
func (r request) own() ([]subscription.Subscription, error) {
	found, err := r.api.List(r.Context())
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	found = slices.DeleteFunc(found, func(one subscription.Subscription) bool {
		return one.Delivery.Format != subscription.FormatDixa
	})
	slices.SortFunc(found, func(a, b subscription.Subscription) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})

	return found, nil
}

// named is the subscription that the path names.
func (r request) named() (subscription.Subscription, error) {
	wanted, ok := parseID(r.PathValue("id"))
	if !ok {
		return subscription.Subscription{}, invalidValue("path parameter webhookSubscriptionId: it is not a UUID")
	}
	found, err := r.own()
	if err != nil {
		return subscription.Subscription{}, err
	}
	for _, one := range found {
		if wireID(one.ID) == wanted {
			return one, nil
		}
	}

	return subscription.Subscription{}, subscription.ErrNotFound
}

// wire is a subscription with what the port does not tell of it. Its secret is looked up where it is
// not given.
func (s *server) wire(r request, one subscription.Subscription, secret string) (Subscription, error) {
	if secret == "" {
		var err error
		if secret, err = s.cfg.Secrets(r.Context(), r.tenant, one.ID); err != nil {
			return Subscription{}, fmt.Errorf("reading a signing secret: %w", err)
		}
	}
	// Another dialect may have given it in another form; this one is read by hex-decoding it.
	key, err := Key(secret)
	if err != nil {
		return Subscription{}, fmt.Errorf("reading a signing secret: %w", err)
	}
	auth, headers, err := s.cfg.Credentials(r.Context(), r.tenant, one.ID)
	if err != nil {
		return Subscription{}, fmt.Errorf("reading credentials: %w", err)
	}
	// The registry does not know who: the tenant is.
	by := tenantID(r.tenant)

	return Subscription{
		ID: wireID(one.ID).String(), Name: one.Name, SubscribedEvents: shownEvents(one.Events), URL: one.URL,
		Headers: wireHeaders(auth, headers), SecretKey: hex.EncodeToString(key), Enabled: one.Enabled,
		CreatedAt: wireTime(one.CreatedAt), CreatedBy: by, UpdatedAt: wireTime(one.UpdatedAt), UpdatedBy: by,
		Filters: wireFilters(one.Options.Dixa),
	}, nil
}

// create makes the secretKey: Dixa takes none.
func (s *server) create(r request) (int, any, error) {
	asked, err := readFields(r.Request, r.readBy)
	if err != nil {
		return 0, nil, err
	}
	draft, err := asked.draft()
	if err != nil {
		return 0, nil, err
	}
	key := make([]byte, secretKeyBytes)
	// It never fails: the process ends where there is no randomness.
	_, _ = rand.Read(key)
	draft.Secret = hex.EncodeToString(key)
	created, err := r.api.Create(r.Context(), draft)
	if err != nil {
		return 0, nil, fmt.Errorf("creating a subscription: %w", err)
	}
	out, err := s.wire(r, created.Subscription, draft.Secret)

	return http.StatusCreated, out, err
}

func (s *server) get(r request) (int, any, error) {
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	out, err := s.wire(r, found, "")

	return http.StatusOK, out, err
}

// update answers 404 for an unknown id, which the vendor's page leaves out.
func (s *server) update(r request) (int, any, error) {
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	asked, err := readFields(r.Request, r.readBy)
	if err != nil {
		return 0, nil, err
	}
	patch, err := asked.patch()
	if err != nil {
		return 0, nil, err
	}
	updated, err := r.api.Update(r.Context(), found.ID, patch)
	if err != nil {
		return 0, nil, fmt.Errorf("updating a subscription: %w", err)
	}
	out, err := s.wire(r, updated, "")

	return http.StatusOK, out, err
}

func (s *server) remove(r request) (int, any, error) {
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	if err := r.api.Delete(r.Context(), found.ID); err != nil {
		return 0, nil, fmt.Errorf("deleting a subscription: %w", err)
	}

	return http.StatusNoContent, nil, nil
}

// statuses answers one entry for each event that is subscribed to.
func (s *server) statuses(r request) (int, any, error) {
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	statuses, err := r.api.Statuses(r.Context(), found.ID)
	if err != nil {
		return 0, nil, fmt.Errorf("reading delivery statuses: %w", err)
	}
	latest := make(map[string]DeliveryDetail, len(statuses))
	for _, status := range statuses {
		detail := wireDetail(status.Timestamp, status.Success, status.ResponseCode, status.ResponseText)
		detail.Type = deliveryDetail
		latest[status.Event] = detail
	}
	out := []EventStatus{}
	for _, event := range shownEvents(found.Events) {
		detail, ok := latest[event]
		if !ok {
			detail = DeliveryDetail{Type: noRecentDelivery}
		}
		out = append(out, EventStatus{Event: event, Status: detail})
	}

	return http.StatusOK, out, nil
}

// logs answers the latest attempts of one event type, newest first, whose payload is still kept: at most
// LogDepth, and no more than MaxResponseBytes.
func (s *server) logs(r request) (int, any, error) {
	event := r.PathValue("event")
	if !slices.Contains(knownEvents, event) {
		return 0, nil, invalidValue("path parameter event: it is no event type of Dixa's")
	}
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	attempts, err := r.api.Logs(r.Context(), found.ID, subscription.LogQuery{Event: event, Limit: LogDepth})
	if err != nil {
		return 0, nil, fmt.Errorf("reading logs: %w", err)
	}
	first := firstAttempts(attempts)
	out := []LogEntry{}
	room := MaxResponseBytes - len(`{"data":[]}`)
	for _, attempt := range attempts {
		payload, ok := s.delivered(r.tenant, attempt, first[attempt.DeliveryID])
		if !ok {
			continue
		}
		entry := LogEntry{
			Detail:  wireDetail(attempt.Timestamp, attempt.Success, attempt.ResponseCode, attempt.ResponseText),
			Payload: payload,
		}
		text, err := marshal(entry)
		if err != nil {
			return 0, nil, fmt.Errorf("writing a log entry: %w", err)
		}
		if room -= len(text) + len(","); room < 0 {
			break
		}
		out = append(out, entry)
	}

	return http.StatusOK, out, nil
}

// firstAttempts are the times of the first attempts known of each delivery.
func firstAttempts(attempts []subscription.LogEntry) map[string]time.Time {
	first := make(map[string]time.Time, len(attempts))
	for _, attempt := range attempts {
		if at, ok := first[attempt.DeliveryID]; !ok || attempt.Timestamp.Before(at) {
			first[attempt.DeliveryID] = attempt.Timestamp
		}
	}

	return first
}

// isCloudEvent tells an event from a notification, which has no such member.
func isCloudEvent(text []byte) bool {
	var found struct {
		SpecVersion string `json:"specversion"`
	}

	return json.Unmarshal(text, &found) == nil && found.SpecVersion != ""
}

// delivered is the JSON that an attempt sent. The port keeps the event, from which it is written again, or
// what was sent.
func (s *server) delivered(tenant string, attempt subscription.LogEntry, first time.Time) (string, bool) {
	switch {
	case len(attempt.Payload) == 0:
		return "", false
	case !isCloudEvent(attempt.Payload):
		return string(attempt.Payload), true
	}
	body, err := s.cfg.Notification.render(tenant, attempt.Payload, first)

	return string(body), err == nil
}
