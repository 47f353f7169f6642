package main

import (
	"bufio"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// act is one way to misbehave. It gets a request that was read to its end, and returns once it
// is through with it.
type act struct {
	// reply is what the dispatcher must make of it.
	reply reply
	do    func(w http.ResponseWriter, r *http.Request)
}

// hostility is how an endpoint's receiver misbehaves now and then.
type hostility struct {
	name string
	// share of the requests are misbehaved to, until an event has come patience times.
	share    float64
	patience int
	acts     []act
	// tls: its certificate is expired, or another's, now and then.
	tls bool
	// moves: its name resolves to other addresses now and then.
	moves bool
}

// picks tells whether a request is misbehaved to, and how: a function of the seed, the
// delivery and how often it came, so that a run can be made again.
func (h *hostility) picks(seed uint64, deliveryID string, tries int) (act, bool) {
	if h == nil || len(h.acts) == 0 || tries >= h.patience {
		return act{}, false
	}

	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s/%s/%d", h.name, deliveryID, tries)
	dice := rand.New(rand.NewPCG(seed, sum.Sum64())) //nolint:gosec // A schedule that reproduces must be guessable.

	if dice.Float64() >= h.share {
		return act{}, false
	}

	return h.acts[dice.IntN(len(h.acts))], true
}

// drip is how long a slow answer waits between two bytes; endless is where an endless one ends
// all the same, should the dispatcher read on for ever.
const (
	drip          = 50 * time.Millisecond
	endlessBytes  = 64 << 20
	hugeHeader    = 1 << 20
	hostileShare  = 0.3
	patience      = 5
	retryAfterFor = time.Second
)

// trapPath is where redirects lead. Nothing may ever come there.
const trapPath = "/trap"

func status(code int) act {
	return act{replyBad, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }}
}

func redirect(code int) act {
	return act{replyBad, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+r.Host+trapPath)
		w.WriteHeader(code)
	}}
}

func retryAfter(code int, value func() string) act {
	return act{replyBad, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", value())
		w.WriteHeader(code)
	}}
}

// raw takes the connection over and answers with bytes of its own.
func raw(made reply, do func(conn net.Conn, out *bufio.ReadWriter)) act {
	return act{made, func(w http.ResponseWriter, _ *http.Request) {
		conn, out, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}

		defer func() { _ = conn.Close() }()

		// Nobody misbehaves for longer than a run can wait.
		_ = conn.SetDeadline(time.Now().Add(receiverLimit))

		do(conn, out)
	}}
}

// says answers with a text, to the byte, and closes.
func says(made reply, text string) act {
	return raw(made, func(_ net.Conn, out *bufio.ReadWriter) {
		_, _ = out.WriteString(text)
		_ = out.Flush()
	})
}

// dripped answers byte by byte until the other side has enough.
func dripped(made reply, head string) act {
	return raw(made, func(_ net.Conn, out *bufio.ReadWriter) {
		_, _ = out.WriteString(head)

		for out.Flush() == nil {
			time.Sleep(drip)

			if out.WriteByte('x') != nil {
				return
			}
		}
	})
}

func endless(made reply, head, part string, most int) act {
	return raw(made, func(_ net.Conn, out *bufio.ReadWriter) {
		_, _ = out.WriteString(head)

		for sent := 0; sent < most; sent += len(part) {
			if _, err := out.WriteString(part); err != nil {
				return
			}
		}

		_ = out.Flush()
	})
}

// hang waits until the other side goes away.
func hang() act {
	return act{replyBad, func(_ http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), receiverLimit)
		defer cancel()

		<-ctx.Done()
		panic(http.ErrAbortHandler)
	}}
}

func reset() act {
	return raw(replyBad, func(conn net.Conn, _ *bufio.ReadWriter) {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	})
}

// hostilities are all the ways a receiver may misbehave, one endpoint each.
func hostilities() []*hostility {
	fixed := func(value string) func() string { return func() string { return value } }
	asDate := func() string { return time.Now().Add(retryAfterFor).UTC().Format(http.TimeFormat) }

	list := []*hostility{
		{name: "redirect", acts: []act{
			redirect(http.StatusFound), redirect(http.StatusMovedPermanently), redirect(http.StatusTemporaryRedirect),
		}},
		{name: "status-3xx", acts: []act{
			status(http.StatusMultipleChoices), status(http.StatusNotModified), status(http.StatusUseProxy),
		}},
		{name: "status-4xx-5xx", acts: []act{
			status(http.StatusBadRequest), status(http.StatusNotFound), status(http.StatusInternalServerError),
		}},
		{name: "slow-headers", acts: []act{hang(), dripped(replyBad, "HTTP/1.1 200 OK\r\nX-Slow: ")}},
		{name: "slow-body", acts: []act{
			dripped(replyAmbiguous, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
			dripped(replyBad, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 100000\r\n\r\n"),
		}},
		{name: "endless-body", acts: []act{
			endless(replyAmbiguous, "HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("endless ", 4<<10), endlessBytes),
			endless(replyBad, "HTTP/1.1 503 Service Unavailable\r\n\r\n", strings.Repeat("endless ", 4<<10), endlessBytes),
		}},
		{name: "huge-header", acts: []act{
			endless(replyBad, "HTTP/1.1 200 OK\r\nX-Huge: ", strings.Repeat("h", 1<<10), hugeHeader),
			endless(replyBad, "HTTP/1.1 200 OK\r\n", "X-Many: many\r\n", hugeHeader),
		}},
		{name: "early-close", acts: []act{says(replyBad, ""), says(replyBad, "HTTP/1.1 200 OK\r\nContent-Le")}},
		{name: "reset", acts: []act{reset()}},
		{name: "garbage-status", acts: []act{
			says(replyBad, "\x00\xff\xfe garbage\r\n\r\n"), says(replyBad, "HTTP/1.1 OK 200\r\n\r\n"),
			says(replyBad, "SSH-2.0-OpenSSH_9.9\r\n"),
			says(replyBad, "HTTP/1.1 99999 Far Too Much\r\n\r\n"),
		}},
		{name: "wrong-length", acts: []act{
			says(replyAmbiguous, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"),
			says(replyAmbiguous, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nmuch longer than that"),
			says(replyBad, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
			says(replyBad, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
			says(replyAmbiguous, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk"),
		}},
		{name: "informational", acts: []act{
			says(replyBad, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"),
			endless(replyBad, "", "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n", hugeHeader),
		}},
		{name: "retry-after", acts: []act{
			retryAfter(http.StatusTooManyRequests, fixed("1")), retryAfter(http.StatusServiceUnavailable, asDate),
			retryAfter(http.StatusTooManyRequests, fixed("0.3")), retryAfter(http.StatusServiceUnavailable, fixed("-5")),
			retryAfter(http.StatusTooManyRequests, fixed("soon")), retryAfter(http.StatusServiceUnavailable, fixed("")),
			retryAfter(http.StatusServiceUnavailable, fixed("1e9")), retryAfter(http.StatusTooManyRequests, fixed("٣")),
			retryAfter(http.StatusServiceUnavailable, fixed("Mon, 01 Jan 1990 00:00:00 GMT")),
		}},
		{name: "certificate", tls: true},
		{name: "moving-name", moves: true},
	}

	for _, h := range list {
		h.share, h.patience = hostileShare, patience
	}

	return list
}
