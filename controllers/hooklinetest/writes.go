package hooklinetest

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Write is one request by which the controllers changed, or tried to change, something at the API server.
type Write struct {
	// Method is POST, PUT, PATCH or DELETE.
	Method string
	// Path is the URL's path, such as /apis/hookline.dev/v1alpha1/namespaces/team/webhooksubscriptions/a/status.
	Path string
	// Time is when it was sent, by the system's clock.
	Time time.Time
	// Code is the status of the answer, 0 where there was none.
	Code int
}

// Event tells whether an Event was written, which changes no resource.
func (w Write) Event() bool { return slices.Contains(strings.Split(w.Path, "/"), "events") }

// Of tells whether the write is about the object of that plural and name, its subresources included.
func (w Write) Of(plural, namespace, name string) bool {
	parts := strings.Split(strings.Trim(w.Path, "/"), "/")
	at := slices.Index(parts, plural)
	if at < 0 {
		return false
	}
	if namespace != "" && (at < 1 || parts[at-1] != namespace) {
		return false
	}

	return at+1 < len(parts) && parts[at+1] == name || at+1 == len(parts) && name == ""
}

// Writes records every write to the API server through the configurations that it wraps, but for those of
// leases, by which a leader is elected.
type Writes struct {
	mu     sync.Mutex
	all    []Write
	refuse func(Write) bool
}

// errRefused is what a write meets that Refuse picked.
var errRefused = errors.New("the API server could not be reached: the test refuses this write")

// Refuse lets the writes that refuse picks fail as if the API server could not be reached, before they get
// there. nil lets every write pass again. Refused writes are recorded, with the code 0.
func (w *Writes) Refuse(refuse func(Write) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.refuse = refuse
}

func (w *Writes) refuses(write Write) bool {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.refuse != nil && w.refuse(write)
}

func (w *Writes) add(write Write) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.all = append(w.all, write)
}

// Wrap returns a copy of a configuration whose writes are recorded.
func (w *Writes) Wrap(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &recorder{writes: w, next: next}
	})

	return config
}

// All are the writes so far, in the order in which they were answered.
func (w *Writes) All() []Write {
	w.mu.Lock()
	defer w.mu.Unlock()

	return slices.Clone(w.all)
}

// Count is how many writes there were.
func (w *Writes) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()

	return len(w.all)
}

type recorder struct {
	writes *Writes
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	if !isWrite(request) {
		return r.next.RoundTrip(request) //nolint:wrapcheck // a RoundTripper hands on what it was given.
	}
	write := Write{Method: request.Method, Path: request.URL.Path, Time: time.Now()}
	if r.writes.refuses(write) {
		r.writes.add(write)

		return nil, errRefused
	}
	response, err := r.next.RoundTrip(request)
	if err == nil {
		write.Code = response.StatusCode
	}
	r.writes.add(write)

	return response, err //nolint:wrapcheck // a RoundTripper hands on what it was given.
}

// isWrite leaves out leases, and the reviews by which one asks who somebody is, which store nothing.
func isWrite(request *http.Request) bool {
	switch request.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return false
	}
	parts := strings.Split(request.URL.Path, "/")

	return !slices.ContainsFunc(parts, func(part string) bool {
		return part == "leases" || part == "tokenreviews" || part == "subjectaccessreviews"
	})
}
