package dixa

import (
	"context"
	"encoding/json"
	"net/textproto"
	"slices"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// shapeError answers a response that is not what the vendor documents.
func shapeError(expected string) error {
	return &subscription.ShapeError{Expected: expected}
}

// data makes a call and reads the envelope of its answer.
func (c *Client) data(ctx context.Context, call call) (json.RawMessage, error) {
	envelope, err := c.envelope(ctx, call)

	return envelope["data"], err
}

func (c *Client) envelope(ctx context.Context, call call) (map[string]json.RawMessage, error) {
	body, err := c.do(ctx, call)
	if err != nil {
		return nil, err
	}
	var envelope map[string]json.RawMessage
	if json.Unmarshal(body, &envelope) != nil || len(envelope["data"]) == 0 {
		return nil, shapeError(`{"data":…}`)
	}

	return envelope, nil
}

// entries makes a call that answers a list. Other lists of the vendor's have pages, which meta.next tells; those of
// webhooks have none in its documents. One that has is refused: half a list would look like deletions.
func (c *Client) entries(ctx context.Context, call call) ([]json.RawMessage, error) {
	envelope, err := c.envelope(ctx, call)
	if err != nil {
		return nil, err
	}
	var (
		entries []json.RawMessage
		meta    struct {
			Next any `json:"next"`
		}
	)
	if json.Unmarshal(envelope["data"], &entries) != nil || entries == nil {
		return nil, shapeError(`{"data":[…]}`)
	}
	// A meta of another kind says nothing of a next page.
	_ = json.Unmarshal(envelope["meta"], &meta)
	if meta.Next != nil && meta.Next != "" {
		return nil, shapeError(`all of {"data":[…]} at once, with no other page in "meta"`)
	}

	return entries, nil
}

// one makes a call that answers one subscription, the one it names.
func (c *Client) one(ctx context.Context, call call) (Subscription, error) {
	data, err := c.data(ctx, call)
	if err != nil {
		return Subscription{}, err
	}
	answer, err := readSubscription(data)
	if err != nil {
		return Subscription{}, err
	}
	if wanted := call.id; wanted != nil {
		asked, _ := parseID(*wanted)
		if got, ok := parseID(answer.ID); !ok || got != asked {
			return Subscription{}, shapeError("the subscription that was asked for")
		}
	}

	return answer, nil
}

// readSubscription reads one subscription. What is absent would be taken for changed, so the members that
// every example of the vendor's has must be there; url is in its schema and lacks in its examples. Unknown
// members are passed over.
func readSubscription(body []byte) (Subscription, error) {
	var (
		members map[string]json.RawMessage
		out     Subscription
	)
	err := json.Unmarshal(body, &members)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	for _, name := range []string{"id", "name", "headers", "enabled"} {
		if value, ok := members[name]; err != nil || !ok || string(value) == "null" {
			return Subscription{}, shapeError(`{"id","name","url","subscribedEvents":[…],"headers":{…},"secretKey","enabled",…}`)
		}
	}
	if _, ok := parseID(out.ID); !ok {
		return Subscription{}, shapeError(`an "id" that is a UUID`)
	}

	return out, nil
}

// port is a subscription as the port has it. Headers that a custom one cannot be are Dixa's own.
func (s Subscription) port() subscription.Subscription {
	out := subscription.Subscription{
		ID: s.ID, Name: s.Name, URL: s.URL, Events: s.SubscribedEvents, Enabled: s.Enabled,
		Options: subscription.Options{Dixa: portFilters(s.Filters)}, CreatedAt: readTime(s.CreatedAt), UpdatedAt: readTime(s.UpdatedAt),
	}
	for _, header := range portHeaders(s.Headers) {
		if textproto.CanonicalMIMEHeaderKey(header.Name) == authorizationHeader {
			out.Authorization = readHeaderValue(header.Value)

			continue
		}
		if _, reserved := subscription.ReservedHeader(header.Name); !reserved {
			out.Headers = append(out.Headers, header)
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

// maxHidden bounds how many subscriptions' members are remembered.
const maxHidden = 10_000

// hidden are the custom headers and the URLs that were written and that answers do not show. Whether the
// vendor's headers show custom ones is documented nowhere, and the url is in its schema and not in its
// examples; if they did not show, a subscription would seem changed for ever. Only what is known to be
// hidden is filled in, and only where an answer shows none: what shows is the truth.
type hidden struct {
	mu   sync.Mutex
	byID map[string]unshown
}

// unshown is what one subscription hides.
type unshown struct {
	url     string
	headers []subscription.Header
}

func newHidden() *hidden {
	return &hidden{byID: map[string]unshown{}}
}

// wrote remembers what was written where the answer to that does not show it; nil was not written.
func (h *hidden) wrote(answer Subscription, url *string, headers *[]subscription.Header) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, before := h.byID[answer.ID]
	if url != nil {
		known.url = ""
		if answer.URL == "" {
			known.url = *url
		}
	}
	if headers != nil {
		known.headers = nil
		if len(answer.port().Headers) == 0 {
			known.headers = portHeaders(*customHeaders(*headers))
		}
	}
	switch {
	case known.url == "" && len(known.headers) == 0:
		delete(h.byID, answer.ID)
	case before || len(h.byID) < maxHidden:
		h.byID[answer.ID] = known
	}
}

// reveal is an answer as the port has it, with what it hides.
func (h *hidden) reveal(answer Subscription) subscription.Subscription {
	out := answer.port()
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.byID[answer.ID]
	if out.URL == "" {
		out.URL = known.url
	}
	if len(out.Headers) == 0 {
		out.Headers = slices.Clone(known.headers)
	}

	return out
}

func (h *hidden) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.byID, id)
}
