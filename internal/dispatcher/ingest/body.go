package ingest

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// maxPooledBody is the most that a buffer for bodies may have grown to and be used again.
const maxPooledBody = 64 << 10

// bodies are buffers for bodies.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// releaseBody gives a buffer back, of which nothing is used any more.
func releaseBody(body *bytes.Buffer) {
	if body.Cap() <= maxPooledBody {
		body.Reset()
		bodies.Put(body)
	}
}

// readBody reads a request's body into a buffer under a deadline, at most limit bytes after its
// Content-Encoding is undone.
func readBody(into *bytes.Buffer, w http.ResponseWriter, r *http.Request, limit int64, timeout time.Duration) error {
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	if encoding != "" && encoding != "identity" && encoding != "gzip" {
		return unsupported("Content-Encoding %q: send gzip or none", clip(encoding)).with("Accept-Encoding", "gzip")
	}
	if r.ContentLength > limit {
		return tooLarge("the body has %d bytes: the most is %d", r.ContentLength, limit)
	}
	// A writer that knows no deadlines belongs to no connection that could be slow.
	controller := http.NewResponseController(w)
	bounded := controller.SetReadDeadline(time.Now().Add(timeout)) == nil
	err := expand(into, w, r, encoding, limit, timeout)
	// After a refusal it stands: the server reads on for the rest of the body before it answers.
	if err == nil && bounded {
		_ = controller.SetReadDeadline(time.Time{})
	}

	return err
}

// expand reads a body and undoes its Content-Encoding.
func expand(into *bytes.Buffer, w http.ResponseWriter, r *http.Request, encoding string, limit int64, timeout time.Duration) error {
	var source io.Reader = http.MaxBytesReader(w, r.Body, limit)
	if encoding == "gzip" {
		expanded, err := gzip.NewReader(source)
		if err != nil {
			return bodyProblem(err, limit, timeout)
		}
		source = expanded
	}
	if r.ContentLength > 0 {
		into.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := into.ReadFrom(io.LimitReader(source, limit+1))
	switch {
	case err != nil:
		return bodyProblem(err, limit, timeout)
	case n > limit:
		return tooLarge("the body has more than %d bytes once its Content-Encoding is undone", limit)
	}

	return nil
}

func bodyProblem(err error, limit int64, timeout time.Duration) *problem {
	var (
		over    *http.MaxBytesError
		corrupt flate.CorruptInputError
	)
	switch {
	case errors.As(err, &over):
		return tooLarge("the body has more than %d bytes", limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, "slow-request", "The request came too slowly",
			"the body did not arrive within %s", timeout).with("Connection", "close")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return badRequest("the body is not gzip, as its Content-Encoding says")
	default:
		return badRequest("the body could not be read to its end")
	}
}
