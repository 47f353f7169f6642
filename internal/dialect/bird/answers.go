package bird

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// shapeError answers a response that is not what the vendor documents.
func shapeError(expected string) error {
	return &subscription.ShapeError{Expected: expected}
}

// readPageOf reads one page of a list.
func readPageOf(body []byte) (entries []json.RawMessage, next string, err error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || json.Unmarshal(members["results"], &entries) != nil || entries == nil {
		return nil, "", shapeError(`{"results":[…],"nextPageToken":"…"}`)
	}
	token, ok := members["nextPageToken"]
	if !ok || string(token) == "null" {
		return entries, "", nil
	}
	if json.Unmarshal(token, &next) != nil {
		return nil, "", shapeError(`a "nextPageToken" that is a string`)
	}

	return entries, next, nil
}

// pages makes a call that answers a list, page by page, and hands each entry on until one is an error. More pages
// than most are an error, and so is a token that comes again: half a list would look like deletions.
func (c *Client) pages(ctx context.Context, call call, most int, entry func([]byte) error) error {
	token := ""
	seen := map[string]bool{}
	for range most {
		entries, next, err := c.page(ctx, call, MaxPageSize, token)
		if err != nil {
			return err
		}
		for i, one := range entries {
			if err := entry(one); err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
		}
		if next == "" {
			return nil
		}
		if seen[next] {
			return shapeError(`another "nextPageToken" on each page`)
		}
		seen[next] = true
		token = next
	}

	return fmt.Errorf("the list has more than %d pages of %d, the most that are read", most, MaxPageSize)
}

// page makes a call that answers one page of a list.
func (c *Client) page(ctx context.Context, call call, limit int, token string) (entries []json.RawMessage, next string, err error) {
	query := url.Values{}
	maps.Copy(query, call.query)
	query.Set(paramLimit, strconv.Itoa(limit))
	if token != "" {
		query.Set(paramPageToken, token)
	}
	call.query = query
	body, err := c.do(ctx, call)
	if err != nil {
		return nil, "", err
	}

	return readPageOf(body)
}

// one makes a call that answers one subscription, the one it names.
func (c *Client) one(ctx context.Context, call call) (Subscription, error) {
	body, err := c.do(ctx, call)
	if err != nil {
		return Subscription{}, err
	}
	answer, err := readSubscription(body)
	if err != nil {
		return Subscription{}, err
	}
	if wanted := call.id; wanted != nil {
		asked, _ := parseID(*wanted)
		if got, _ := parseID(answer.ID); got != asked {
			return Subscription{}, shapeError("the subscription that was asked for")
		}
	}

	return answer, nil
}

// readSubscription reads one subscription. The members that the vendor's schema requires must be there, but for
// the ids of organization and workspace, which say nothing new; unknown ones are passed over.
func readSubscription(body []byte) (Subscription, error) {
	var (
		members map[string]json.RawMessage
		out     Subscription
	)
	err := json.Unmarshal(body, &members)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	for _, text := range []string{out.ID, out.Service, out.Event, out.URL, out.Status} {
		if err != nil || text == "" {
			return Subscription{}, shapeError(`{"id","service","event","url","status",…}`)
		}
	}
	if _, ok := parseID(out.ID); !ok {
		return Subscription{}, shapeError(`an "id" that is a UUID`)
	}
	// The vendor's page names the explanation and not its member.
	for _, name := range []string{"statusDescription", "statusDetails", "statusMessage"} {
		var text string
		if out.StatusReason == "" && json.Unmarshal(members[name], &text) == nil {
			out.StatusReason = text
		}
	}

	return out, nil
}

// reasonUnknownStatus is why a subscription of a status that is not documented counts as suspended.
const reasonUnknownStatus = "UnknownStatus"

// port is a subscription as the port has it. A status that is neither active nor inactive is the provider's
// decision: nothing says that a patch could change it.
func (s Subscription) port() subscription.Subscription {
	out := subscription.Subscription{
		ID: s.ID, URL: s.URL, Events: []string{joinEvent(s.Service, s.Event)}, Enabled: s.Status != statusInactive,
		Options:   subscription.Options{Bird: portOptions(s.EventFilters, s.Template)},
		CreatedAt: readTime(s.CreatedAt), UpdatedAt: readTime(s.UpdatedAt),
	}
	if s.Status != statusActive && s.Status != statusInactive {
		out.State = subscription.State{
			Phase: subscription.Suspended, Reason: reasonUnknownStatus,
			Message: stable(subscription.ScrubExplanation(fmt.Sprintf("Bird says %s: %s", s.Status, s.StatusReason), nil)),
		}
	}

	return out
}

// readTime reads a time; one that cannot be read is none.
func readTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}

	return at
}

// available reads the events of one service.
func (c *Client) available(ctx context.Context, service string) ([]AvailableWebhooks, error) {
	body, err := c.do(ctx, call{
		method: http.MethodGet, path: pathAvailable, plain: true, query: url.Values{paramService: {service}},
	})
	if err != nil {
		return nil, err
	}
	entries, _, err := readPageOf(body)
	if err != nil {
		return nil, err
	}
	out := make([]AvailableWebhooks, 0, len(entries))
	for i, entry := range entries {
		var one AvailableWebhooks
		nameless := func(event AvailableEvent) bool { return event.Name == "" }
		if json.Unmarshal(entry, &one) != nil || one.Service == "" || slices.ContainsFunc(one.Events, nameless) {
			return nil, fmt.Errorf("entry %d: %w", i, shapeError(`{"service":"…","events":[{"name":"…","filterKeys":[…]}]}`))
		}
		out = append(out, one)
	}

	return out, nil
}
