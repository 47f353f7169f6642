package ingest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"time"
)

// problemBase begins the type of every problem; docs/events.md lists them.
const problemBase = "https://hookline.dev/problems/"

// problemMediaType is RFC 9457's.
const problemMediaType = "application/problem+json"

// problem is a refusal: an RFC 9457 body, its status and the headers that go with it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Results tells what became of each event, where the request could be taken apart.
	Results []Result `json:"results,omitempty"`

	retryAfter time.Duration
	header     http.Header
}

// Error implements error.
func (p *problem) Error() string { return p.Title + ": " + p.Detail }

func newProblem(status int, kind, title, format string, args ...any) *problem {
	return &problem{Type: problemBase + kind, Title: title, Status: status, Detail: fmt.Sprintf(format, args...)}
}

// after asks the publisher to wait.
func (p *problem) after(wait time.Duration) *problem {
	p.retryAfter = wait

	return p
}

// with adds a header to the answer.
func (p *problem) with(name, value string) *problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Add(name, value)

	return p
}

func badRequest(format string, args ...any) *problem {
	return newProblem(http.StatusBadRequest, "malformed-request", "The request is malformed", format, args...)
}

func invalidEvents(results []Result, detail string) *problem {
	p := newProblem(http.StatusBadRequest, "invalid-event", "No event was accepted", "%s", detail)
	p.Results = results

	return p
}

func tooLarge(format string, args ...any) *problem {
	return newProblem(http.StatusRequestEntityTooLarge, "too-large", "The request is too large", format, args...)
}

func unsupported(format string, args ...any) *problem {
	return newProblem(http.StatusUnsupportedMediaType, "unsupported-media-type", "The content is of no supported kind",
		format, args...)
}

func busy(format string, args ...any) *problem {
	return newProblem(http.StatusServiceUnavailable, "unavailable", "The dispatcher cannot take events now",
		format, args...).after(BusyRetryAfter)
}

// write sends the problem. What the connection makes of it is the publisher's business.
func (p *problem) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.header)
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(p.retryAfter.Seconds())))))
	}
	writeJSON(w, p.Status, problemMediaType, p)
}

// writeJSON sends a value that always marshals.
func writeJSON(w http.ResponseWriter, status int, mediaType string, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)

		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
