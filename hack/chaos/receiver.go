package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	// receiverLimit bounds one request at a receiver, a hanging one included.
	receiverLimit = 20 * time.Second
	// maxDelivery bounds the body of a delivery.
	maxDelivery = 4 << 20
	// hookPath begins the path of every endpoint; its number follows.
	hookPath = "/hook/"
)

// receivers are all endpoints' receivers: one plain listener and one with TLS.
type receivers struct {
	book *book
	seed uint64
	// healed: nobody misbehaves any more.
	healed atomic.Bool
	// out are endpoints that answer 503 for now, gone those that answer 410.
	mu        sync.Mutex
	out, gone map[int]bool

	// connections are those open now, to look for ones that nobody closes.
	connections   atomic.Int64
	plain, secure *http.Server
	address       string
	secureAddress string
	certificates  []*tls.Certificate
	hellos        atomic.Uint64
	done          sync.WaitGroup
	// agentGeneration: the User-Agent's release numbers the dispatcher.
	agentGeneration bool
}

// listen starts the receivers. certificates are those of the TLS listener: the first is good.
func listen(ctx context.Context, b *book, seed uint64, certificates []*tls.Certificate) (*receivers, error) {
	r := &receivers{book: b, seed: seed, out: map[int]bool{}, gone: map[int]bool{}, certificates: certificates}

	plain, err := listenLoopback(ctx)
	if err != nil {
		return nil, err
	}

	r.address = plain.Addr().String()
	r.plain = r.server()
	r.done.Go(func() { _ = r.plain.Serve(plain) })

	if len(certificates) == 0 {
		return r, nil
	}

	secure, err := listenLoopback(ctx)
	if err != nil {
		return nil, errors.Join(err, r.plain.Close())
	}

	r.secureAddress = secure.Addr().String()
	r.secure = r.server()
	r.secure.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: r.certificate}
	r.done.Go(func() { _ = r.secure.ServeTLS(secure, "", "") })

	return r, nil
}

// listenLoopback takes a free port.
func listenLoopback(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening on loopback: %w", err)
	}

	return listener, nil
}

func (r *receivers) server() *http.Server {
	return &http.Server{
		Handler: r, ReadHeaderTimeout: receiverLimit, ReadTimeout: receiverLimit, IdleTimeout: time.Minute,
		// Handshakes that fail on purpose are no news.
		ErrorLog: nowhere(),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				r.connections.Add(1)
			case http.StateClosed, http.StateHijacked:
				r.connections.Add(-1)
			case http.StateActive, http.StateIdle:
			}
		},
	}
}

// close ends the receivers.
func (r *receivers) close() {
	_ = r.plain.Close()
	if r.secure != nil {
		_ = r.secure.Close()
	}

	r.done.Wait()
}

// certificate is a good one, an expired one or another's, as the seed says.
func (r *receivers) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	dice := rand.New(rand.NewPCG(r.seed, r.hellos.Add(1))) //nolint:gosec // A schedule that reproduces must be guessable.
	if r.healed.Load() || dice.Float64() >= hostileShare {
		return r.certificates[0], nil
	}

	return r.certificates[dice.IntN(len(r.certificates))], nil
}

// url is where an endpoint's deliveries go.
func (r *receivers) url(e *endpoint, host string) string {
	path := hookPath + strconv.Itoa(e.index)

	switch _, port, _ := net.SplitHostPort(r.address); {
	case e.hostile != nil && e.hostile.tls:
		return "https://" + r.secureAddress + path
	case e.hostile != nil && e.hostile.moves && host != "":
		return "http://" + net.JoinHostPort(host, port) + path
	default:
		return "http://" + r.address + path
	}
}

// set puts an endpoint into one of the sets, or takes it out.
func (r *receivers) set(which map[int]bool, e *endpoint, in bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	which[e.index] = in
}

func (r *receivers) is(which map[int]bool, e *endpoint) bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	return which[e.index]
}

// ServeHTTP implements http.Handler.
func (r *receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == trapPath {
		r.book.complainf("redirect", "a redirect was followed to %s", trapPath)
	}

	index, err := strconv.Atoi(strings.TrimPrefix(req.URL.Path, hookPath))
	e := r.book.endpoint(index)

	if err != nil || e == nil {
		http.NotFound(w, req)

		return
	}

	got, err := r.read(e, req)
	if err != nil {
		// A dispatcher that was killed, or gave up, leaves half a request: that is no delivery.
		if req.Context().Err() == nil && !errors.Is(err, errHalf) {
			r.book.complainf("unsound", "a delivery to %s: %v", e, err)
		}

		http.Error(w, "not a delivery", http.StatusBadRequest)

		return
	}

	r.answer(w, req, e, got)
}

// errHalf answers that a request was cut off.
var errHalf = errors.New("the request was cut off")

// read takes a delivery apart: its signature must be right and its event whole.
func (r *receivers) read(e *endpoint, req *http.Request) (arrival, error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxDelivery))
	if err != nil {
		return arrival{}, fmt.Errorf("%w: %w", errHalf, err)
	}

	verifier, err := standardwebhooks.NewWebhook(e.secret)
	if err != nil {
		return arrival{}, fmt.Errorf("reading the secret of %s: %w", e, err)
	}

	// The time that is signed is the dispatcher's, whose clock may be stepped.
	if err := verifier.VerifyIgnoringTimestamp(body, req.Header); err != nil {
		return arrival{}, fmt.Errorf("checking the signature: %w", err)
	}

	event, data, err := readEvent(body)
	if err != nil {
		return arrival{}, err
	}

	got := arrival{
		id: event.ID, eventType: event.Type, source: event.Source, sent: data.Sent,
		deliveryID: req.Header.Get(standardwebhooks.HeaderWebhookID), reply: replyGood,
	}
	if r.agentGeneration {
		got.generation, err = generationOf(req.UserAgent())
	}

	return got, err
}

// answer decides, writes it into the book, and then does it.
func (r *receivers) answer(w http.ResponseWriter, req *http.Request, e *endpoint, got arrival) {
	var does act

	switch {
	case r.is(r.gone, e):
		does = status(http.StatusGone)
	case r.is(r.out, e):
		does = status(http.StatusServiceUnavailable)
	case !r.healed.Load():
		does, _ = e.hostile.picks(r.seed, got.deliveryID, r.book.tries(e, got.id))
	}

	if does.do != nil {
		got.reply = does.reply
	}

	if !r.book.arrived(e, got) {
		// From beyond a power cut: this dispatcher is no more.
		does = status(http.StatusServiceUnavailable)
	}

	if does.do == nil {
		w.WriteHeader(http.StatusNoContent)

		return
	}

	does.do(w, req)
}

// agentPrefix begins the User-Agent of every delivery; the release follows, which in a run
// with power cuts is the number of the dispatcher.
const agentPrefix = "hookline/"

func generationOf(agent string) (int, error) {
	number, err := strconv.Atoi(strings.TrimPrefix(agent, agentPrefix))
	if err != nil {
		return 0, fmt.Errorf("reading the User-Agent %q: %w", agent, err)
	}

	return number, nil
}
