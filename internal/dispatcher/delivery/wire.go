package delivery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// wire is what the requests to one subscription have in common, made once for each of its versions.
type wire struct {
	sub *registry.Subscription
	// how is nil where the engine has no such format.
	how     *format
	timeout time.Duration
	// request is what each one is a copy of, its headers are copied besides; none may be changed.
	request *http.Request
	// err says why there can be no request.
	err     error
	signers []*signer
}

// newWire prepares requests. The subscription's own headers go first, so that none of them can
// stand in for one of the format's.
func newWire(sub *registry.Subscription, how *format, agent string) *wire {
	w := &wire{sub: sub, how: how}
	if how == nil {
		return w
	}
	w.timeout = how.timeoutFor(sub)
	//nolint:noctx // Each copy gets its own.
	if w.request, w.err = http.NewRequest(http.MethodPost, sub.URL, http.NoBody); w.err != nil {
		w.err = fmt.Errorf("making the request: %w", w.err)

		return w
	}
	header := w.request.Header
	for _, own := range sub.Headers {
		header.Set(own.Name, own.Value)
	}
	switch sub.Authorization.SchemeOrNone() {
	case subscription.SchemeBasic:
		w.request.SetBasicAuth(sub.Authorization.Username, sub.Authorization.Password)
	case subscription.SchemeBearer:
		header.Set("Authorization", "Bearer "+sub.Authorization.Token)
	case subscription.SchemeNone:
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", agent)
	}
	if how.notification != nil {
		return w
	}
	header.Set("Content-Type", contentType)
	w.signers = newSigners(sub.Secrets)

	return w
}

// moments are when a delivery's first attempt began, and when this one does.
type moments struct{ first, now time.Time }

// signed makes a signed request.
func (w *wire) signed(ctx context.Context, event *journal.Event, deliveryID string, at moments) (*http.Request, error) {
	body := event.Body
	var vendor http.Header
	if w.how.notification != nil {
		var err error
		if body, vendor, err = w.how.render(w.sub, event, deliveryID, at); err != nil {
			return nil, err
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	request := w.post(ctx, body)
	if w.how.notification != nil {
		setVendor(request.Header, vendor)

		return request, nil
	}

	return request, setSignature(request.Header, w.signers, deliveryID, at.now, body)
}

// post is one request. Headers may be set in it, but none that stands there be changed.
func (w *wire) post(ctx context.Context, body []byte) *http.Request {
	request := w.request.WithContext(ctx)
	request.Header = make(http.Header, len(w.request.Header)+signatureHeaders)
	maps.Copy(request.Header, w.request.Header)
	if len(body) > 0 {
		request.ContentLength = int64(len(body))
		// The transport knows these types for readers that do not block.
		request.Body = io.NopCloser(bytes.NewReader(body))
		// A connection that turns out closed is no reason to fail: the transport takes another one.
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}

	return request
}
