package vendortest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// op is one operation of a vendor's API, as its method and path tell.
type op string

const (
	opAny      op = "*"
	opCreate   op = "create"
	opList     op = "list"
	opGet      op = "get"
	opUpdate   op = "update"
	opDelete   op = "delete"
	opToken    op = "token"
	opStatuses op = "statuses"
	opTypes    op = "types"
)

// maxProxied bounds a body that passes the proxy, in bytes.
const maxProxied = 4 << 20

// forever is a number of times that lets a fault stay until heal.
const forever = -1

// fault is one way in which a request goes wrong. forward has the vendor answer it.
type fault func(w http.ResponseWriter, r *http.Request, forward func() *answer)

// answer is a whole response of the vendor's.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// fails answers with a status and a body that differs each time, as those of real services do.
func fails(status int) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func() *answer) {
		http.Error(w, fmt.Sprintf(`{"message":"something went wrong at %d"}`, time.Now().UnixNano()), status)
	}
}

// limited answers 429 with a Retry-After in seconds.
func limited(seconds int) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func() *answer) {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		http.Error(w, `{"message":"too many requests"}`, http.StatusTooManyRequests)
	}
}

// hangs never answers: the request ends when its client gives up.
func hangs(_ http.ResponseWriter, r *http.Request, _ func() *answer) { <-r.Context().Done() }

// replyLost has the vendor carry the request out, and cuts the connection in place of its answer.
func replyLost(w http.ResponseWriter, _ *http.Request, forward func() *answer) {
	forward()
	cut(w)
}

// resets cuts the connection before the vendor sees the request.
func resets(w http.ResponseWriter, _ *http.Request, _ func() *answer) { cut(w) }

func cut(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = connection.Close()
	}
}

// slow answers properly, a while later.
func slow(delay time.Duration) fault {
	return func(w http.ResponseWriter, r *http.Request, forward func() *answer) {
		select {
		case <-r.Context().Done():
		case <-time.After(delay):
			forward().write(w)
		}
	}
}

// malformed has the vendor carry the request out, and answers with what no documentation describes.
func malformed(w http.ResponseWriter, _ *http.Request, forward func() *answer) {
	status := forward().status
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<html><body>Welcome to the corporate portal</body></html>"))
}

// scripted is a fault that waits for its requests.
type scripted struct {
	op    op
	left  int
	fault fault
}

// passed is one request that the proxy has seen, and how it was answered.
type passed struct {
	Op     op
	Method string
	Path   string
	Status int
	// Sent and Got are the bodies.
	Sent, Got string `json:"-"`
}

// snapshot is a list as it was until a change.
type snapshot struct {
	until time.Time
	list  *answer
}

// proxy stands between the controllers and the dispatcher that plays a vendor. It injects faults, lets lists
// lag, counts what passes, and tells when a request is one that the vendor does not document.
type proxy struct {
	server *httptest.Server
	target *url.URL
	vendor vendor
	clock  clockwork.Clock

	mu      sync.Mutex
	script  []*scripted
	seen    []passed
	lag     time.Duration
	history []snapshot
}

func newProxy(v vendor, clock clockwork.Clock) (*proxy, error) {
	target, err := url.Parse(upstreamURL)
	if err != nil {
		return nil, fmt.Errorf("reading the dispatcher's URL: %w", err)
	}
	p := &proxy{target: target, vendor: v, clock: clock}
	p.server = httptest.NewServer(p)

	return p, nil
}

// inject lets the next requests of one operation fail, as many as times says, or all until heal when it is forever.
func (p *proxy) inject(which op, times int, f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = append(p.script, &scripted{op: which, left: times, fault: f})
}

// heal forgets every fault that was injected.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = nil
}

// pending is how many injected faults have not had their requests yet.
func (p *proxy) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := 0
	for _, s := range p.script {
		left += max(s.left, 0)
	}

	return left
}

// lags makes lists show what there was that long ago by the case's clock.
func (p *proxy) lags(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag = delay
}

// count is how many requests of these operations have passed; of all, without any.
func (p *proxy) count(which ...op) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(which) == 0 {
		return len(p.seen)
	}
	n := 0
	for _, one := range p.seen {
		for _, wanted := range which {
			if one.Op == wanted {
				n++
			}
		}
	}

	return n
}

// taken is how many requests of these operations the vendor has carried out. It may have refused others for
// coming too fast.
func (p *proxy) taken(which ...op) int {
	n := 0
	for _, one := range p.since(0) {
		if one.Status/100 == 2 && slices.Contains(which, one.Op) {
			n++
		}
	}

	return n
}

// since are the requests after the first n.
func (p *proxy) since(n int) []passed {
	p.mu.Lock()
	defer p.mu.Unlock()

	return append([]passed(nil), p.seen[n:]...)
}

func (p *proxy) next(which op) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.script {
		if s.left != 0 && (s.op == opAny || s.op == which) {
			if s.left > 0 {
				s.left--
			}

			return s.fault
		}
	}

	return nil
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	which := p.vendor.operation(r)
	body, err := io.ReadAll(io.LimitReader(r.Body, maxProxied))
	if err != nil {
		cut(w)

		return
	}
	p.mu.Lock()
	place := len(p.seen)
	p.seen = append(p.seen, passed{Op: which, Method: r.Method, Path: r.URL.Path, Sent: string(body)})
	p.mu.Unlock()
	forward := func() *answer {
		if which == opCreate || which == opUpdate || which == opDelete {
			p.remember(r)
		}
		got := p.lagging(which)
		if got == nil {
			got = p.send(r.Context(), r, body)
		}
		p.mu.Lock()
		p.seen[place].Status, p.seen[place].Got = got.status, string(got.body)
		p.mu.Unlock()

		return got
	}
	if f := p.next(which); f != nil {
		f(w, r, forward)

		return
	}
	forward().write(w)
}

// send has the vendor answer a request, whose client may be gone by now: what was sent is carried out.
func (p *proxy) send(ctx context.Context, r *http.Request, body []byte) *answer {
	target := *r.URL
	target.Scheme, target.Host = p.target.Scheme, p.target.Host
	request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), r.Method, target.String(), bytes.NewReader(body))
	if err != nil {
		return &answer{status: http.StatusBadGateway, body: []byte(err.Error())}
	}
	request.Header = r.Header.Clone()
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return &answer{status: http.StatusBadGateway, body: []byte(err.Error())}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxProxied))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return &answer{status: http.StatusBadGateway, body: []byte(err.Error())}
	}
	response.Header.Del("Content-Length")

	return &answer{status: response.StatusCode, header: response.Header, body: text}
}

// remember keeps the list as it is before a change, where lists lag.
func (p *proxy) remember(change *http.Request) {
	p.mu.Lock()
	lag := p.lag
	p.mu.Unlock()
	if lag == 0 {
		return
	}
	list := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: p.vendor.collection(change)}, Header: change.Header.Clone()}
	list.Header.Del("Content-Type")
	list.Header.Del("Content-Length")
	before := p.send(change.Context(), list, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history = append(p.history, snapshot{until: p.clock.Now(), list: before})
}

// lagging is the list as it was a while ago; nil where the present one serves.
func (p *proxy) lagging(which op) *answer {
	if which != opList {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.clock.Now().Add(-p.lag)
	for _, old := range p.history {
		if p.lag > 0 && old.until.After(from) {
			return old.list
		}
	}

	return nil
}

// undocumented are the requests that the vendor's server refused as none of its own: a wrong path, method, media
// type or body.
func (p *proxy) undocumented() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for _, one := range p.seen {
		switch one.Status {
		case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
			lines = append(lines, fmt.Sprintf("%s %s was answered %d", one.Method, one.Path, one.Status))
		}
	}

	return lines
}
