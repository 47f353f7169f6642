package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
)

const (
	// idleConnections are opened at once and left alone.
	idleConnections = 10_000
	// descriptorsElsewhere are those that this program needs besides.
	descriptorsElsewhere = 500
	// slowConnections send a byte now and then, half of them headers, half of them bodies.
	slowConnections = 200
	// slowLimit is when the last of them must have been answered or cut off: the dispatcher's 10 s
	// and a little.
	slowLimit = 15 * time.Second
	// maxIdleMemory is what one idle connection may cost, in bytes of resident memory.
	maxIdleMemory = 48 << 10
	// maxInputMemory is how much larger the process may be after all of it, and memoryLimit how
	// long it may take to be so. Without GOMEMLIMIT and with nothing to do, Go would keep for many
	// minutes what it does not need.
	maxInputMemory   = 96 << 20
	memoryLimit      = 60 * time.Second
	inputMemoryLimit = "128MiB"
	// maxSoundWait is the longest a sound request may take meanwhile.
	maxSoundWait = 2 * time.Second
	// tenantTypes invents event types, tenantInput sends everything else that is bad, and
	// tenantReader may publish and nothing more.
	tenantTypes  = "inventor"
	tenantInput  = "sloppy"
	tenantReader = "reader"
)

// inputPhase sends what no publisher should, and expects a clear answer to each, at a bounded
// cost, while a publisher that behaves is served.
func inputPhase(ctx context.Context, cfg *config) *result {
	r := newResult("input")

	lab, err := newLab(ctx, cfg, r.Phase, []*endpoint{{tenant: tenantPlain, name: nameEverything, events: []string{patternAll}}})
	if !r.must("preparing", err) {
		return r.end()
	}

	defer lab.close()

	for _, tenant := range []string{tenantTypes, tenantInput} {
		if !r.must("adding a tenant", lab.addTenant(tenant)) {
			return r.end()
		}
	}

	publishOnly := strings.Repeat("p", 40)
	err = os.WriteFile(filepath.Join(lab.launcher.tokens, tenantReader+".publish"), []byte(publishOnly+"\n"), 0o600)

	if !r.must("adding a token", err) {
		return r.end()
	}

	lab.launcher.environment = append(lab.launcher.environment, "GOMEMLIMIT="+inputMemoryLimit)

	p, err := lab.launcher.start(ctx)
	if !r.must("starting", err) {
		return r.end()
	}

	defer func() { _ = p.kill() }()

	fresh, err := vitalsOf(p.pid())
	if !r.must("looking at the process", err) || !r.must("subscribing", lab.subscribe(ctx)) {
		return r.end()
	}

	i := &input{lab: lab, r: r, process: p, fresh: fresh, token: lab.tokens[tenantInput], publishOnly: publishOnly}
	i.sound(ctx)
	i.idle(ctx)
	i.requests(ctx)
	i.bytesOfConnections(ctx)
	i.lastOfBatchInvalid(ctx)
	i.anyID(ctx)
	i.inventedTypes(ctx)
	i.slow(ctx)
	i.finish(ctx, cfg)

	return r.end()
}

// input sends bad requests.
type input struct {
	*lab

	r                  *result
	process            *process
	fresh              vitals
	token, publishOnly string

	slowest  atomic.Int64
	refused  atomic.Int64
	stopFunc func()
}

// sound starts the publisher that behaves.
func (i *input) sound(ctx context.Context) {
	ctx, i.stopFunc = context.WithCancel(ctx)
	i.pubs.watch = func(status int, took time.Duration) {
		if status != http.StatusAccepted {
			i.refused.Add(1)
		}

		for {
			now := i.slowest.Load()
			if int64(took) <= now || i.slowest.CompareAndSwap(now, int64(took)) {
				return
			}
		}
	}
	i.pubs.start(ctx, "sound-0", tenantPlain, i.tokens[tenantPlain], eventTypes)
}

// finish stops it and looks at what is left.
func (i *input) finish(ctx context.Context, cfg *config) {
	stopping := time.AfterFunc(cfg.drain, i.stopFunc)
	i.pubs.finish()
	stopping.Stop()

	i.r.must("draining", i.drain(ctx, cfg.drain))
	i.r.none("sound requests refused meanwhile", int(i.refused.Load()))
	i.r.none("sound requests cut off meanwhile", int(i.pubs.cutOff.Load()))

	slowest := time.Duration(i.slowest.Load())
	i.r.check("slowest sound request meanwhile", "under "+maxSoundWait.String(), slowest.Round(time.Millisecond), slowest < maxSoundWait)
	i.r.judge(i.book, maxDuplicates)

	i.receivers.plain.SetKeepAlivesEnabled(false)

	began := time.Now()

	after, err := comesDown(ctx, i.process.pid(), memoryLimit, func(v vitals) bool {
		return v.Sockets <= i.fresh.Sockets && v.RSS <= i.fresh.RSS+maxInputMemory
	})
	if i.r.must("looking at the process", err) {
		i.r.check("sockets afterwards", fmt.Sprintf("at most %d", i.fresh.Sockets), after.Sockets, after.Sockets <= i.fresh.Sockets)
		i.r.check("memory afterwards", fmt.Sprintf("at most %d MiB more than %d MiB", maxInputMemory>>20, i.fresh.RSS>>20),
			fmt.Sprintf("%d MiB, after %s", after.RSS>>20, time.Since(began).Round(time.Second)), after.RSS <= i.fresh.RSS+maxInputMemory)
	}

	_, err = i.process.terminate()
	i.r.must("ending in good order", err)

	faults, _, err := faultsIn(i.launcher.logs)
	if i.r.must("reading the log", err) {
		i.r.none("panics in the log", len(faults))
		i.r.Failures = append(i.r.Failures, faults...)
	}
}

// send makes one request on a connection of its own.
func (i *input) send(ctx context.Context, q badRequest) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, slowLimit)
	defer cancel()

	var body io.Reader = bytes.NewReader(q.body)
	if q.chunked {
		// A reader of no known length is sent in chunks.
		body = io.MultiReader(body)
	}

	method, path := q.method, q.path
	if method == "" {
		method = http.MethodPost
	}

	if path == "" {
		path = "/events"
	}

	sent, err := http.NewRequestWithContext(ctx, method, i.launcher.url()+path, body)
	if err != nil {
		return 0, "", fmt.Errorf("making a request: %w", err)
	}

	token := q.token
	if token == "" {
		token = i.token
	}

	if !q.noToken {
		sent.Header.Set("Authorization", "Bearer "+token)
	}

	if q.contentType != "" {
		sent.Header.Set("Content-Type", q.contentType)
	}

	for name, value := range q.header {
		sent.Header.Set(name, value)
	}

	response, err := (&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, ExpectContinueTimeout: requestLimit,
	}}).Do(sent)
	if err != nil {
		return 0, "", fmt.Errorf("sending: %w", err)
	}

	defer func() { _ = response.Body.Close() }()

	text, err := io.ReadAll(io.LimitReader(response.Body, maxDelivery))
	if err != nil {
		return 0, "", fmt.Errorf("reading the answer: %w", err)
	}

	return response.StatusCode, string(text), nil
}

// requests sends them all.
func (i *input) requests(ctx context.Context) {
	wrong := 0

	for name, q := range i.badRequests() {
		status, text, err := i.send(ctx, q)
		if err == nil && status == q.want && strings.Contains(text, q.says) && text != "" {
			continue
		}

		wrong++

		i.r.Failures = append(i.r.Failures,
			fmt.Sprintf("%s: answered %d %.300q %v, right is %d with %q", name, status, text, err, q.want, q.says))
	}

	i.r.none("bad requests with a wrong answer, of "+strconv.Itoa(len(i.badRequests())), wrong)
}

// bytesOfConnections sends bytes that no HTTP client would.
func (i *input) bytesOfConnections(ctx context.Context) {
	cases := i.brokenConnections()
	wrong := 0

	for name, c := range cases {
		answer, err := i.exchange(ctx, c.sent, c.half)
		if err == nil && strings.HasPrefix(answer, c.want) {
			continue
		}

		wrong++

		i.r.Failures = append(i.r.Failures, fmt.Sprintf("%s: answered %.200q %v, right is %q", name, answer, err, c.want))
	}

	i.r.none("broken connections with a wrong answer, of "+strconv.Itoa(len(cases)), wrong)
}

func (i *input) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: requestLimit}).DialContext(ctx, "tcp", i.launcher.listen)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}

	return conn, nil
}

// exchange sends bytes and reads what comes back.
func (i *input) exchange(ctx context.Context, sent string, half bool) (string, error) {
	conn, err := i.dial(ctx)
	if err != nil {
		return "", err
	}

	defer func() { _ = conn.Close() }()

	_ = conn.SetDeadline(time.Now().Add(slowLimit))

	// The other side may close before it has it all.
	_, _ = io.WriteString(conn, sent)

	if tcp, ok := conn.(*net.TCPConn); ok && half {
		_ = tcp.CloseWrite()
	}

	line, err := bufio.NewReader(conn).ReadString('\n')
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		err = nil
	}

	return line, err
}

// lastOfBatchInvalid: a batch whose last event is invalid has all others accepted, and says so.
func (i *input) lastOfBatchInvalid(ctx context.Context) {
	batch := bytes.TrimSuffix(plainEvents(ingest.MaxBatchEvents-1), []byte("]"))
	batch = append(batch, []byte(`,{"type":"","data":1}]`)...)

	status, text, err := i.send(ctx, badRequest{contentType: plainJSON, body: batch})

	var answer outcome
	if err == nil {
		err = json.Unmarshal([]byte(text), &answer)
	}

	got := map[string]int{}
	for _, one := range answer.Results {
		got[one.Status]++
	}

	ok := err == nil && status == http.StatusAccepted && got["accepted"] == ingest.MaxBatchEvents-1 && got["invalid"] == 1 &&
		strings.Contains(answer.Results[len(answer.Results)-1].Reason, "type")
	i.r.check("batch whose last event is invalid", "202: 999 accepted, the last invalid with its reason", fmt.Sprint(status, got), ok)
}

// anyID publishes ids of every kind of character and expects them to come back as they were.
func (i *input) anyID(ctx context.Context) {
	var ids []string

	for b := 0x20; b < 0x7f; b++ {
		ids = append(ids, "byte "+string(rune(b))+" end")
	}

	ids = append(ids, "…", "\u00a0", "\u65e5\u672c\u8a9e", "🎉", "\u202e", "<script>", "../../etc/passwd", "%00",
		"' OR 1=1 --", "\ufffd", strings.Repeat("é", 128))
	wrong := 0

	for _, id := range ids {
		event, err := json.Marshal(wireEvent{SpecVersion: "1.0", ID: id, Source: "/ids", Type: "id.any", Data: []byte("1")})
		if err != nil {
			i.r.must("writing an event", err)

			return
		}

		status, text, err := i.send(ctx, badRequest{contentType: structuredJSON, body: event})

		var answer outcome
		if err == nil {
			err = json.Unmarshal([]byte(text), &answer)
		}

		accepted := status == http.StatusAccepted && len(answer.Results) == 1 && answer.Results[0].ID == id
		refused := status == http.StatusBadRequest && strings.Contains(text, "id")

		if err != nil || !accepted && !refused {
			wrong++

			i.r.Failures = append(i.r.Failures, fmt.Sprintf("id %q: answered %d %.200q %v", id, status, text, err))
		}
	}

	i.r.none("ids of any bytes without a clear answer, of "+strconv.Itoa(len(ids)), wrong)
}

// inventedTypes: a tenant that invents event types is refused from the 10,001st on, and the
// types it has go on, as do all other tenants.
func (i *input) inventedTypes(ctx context.Context) {
	token := i.tokens[tenantTypes]
	send := func(from, count int) (int, map[string]int, string) {
		var batch []string
		for n := range count {
			batch = append(batch, fmt.Sprintf(`{"type":"invented.t%d","data":1}`, from+n))
		}

		body := []byte("[" + strings.Join(batch, ",") + "]")
		status, text, err := i.send(ctx, badRequest{token: token, contentType: plainJSON, body: body})

		var answer outcome
		if err == nil {
			err = json.Unmarshal([]byte(text), &answer)
		}

		got, reason := map[string]int{}, ""
		for _, one := range answer.Results {
			got[one.Status]++
			reason = one.Reason
		}

		if err != nil {
			reason = err.Error()
		}

		return status, got, reason
	}

	accepted := 0

	for from := 0; from < ingest.MaxEventTypes; from += ingest.MaxBatchEvents {
		_, got, _ := send(from, ingest.MaxBatchEvents)
		accepted += got["accepted"]
	}

	status, got, reason := send(ingest.MaxEventTypes, 5)
	i.r.check("event types of one tenant", "10000 taken", accepted, accepted == ingest.MaxEventTypes)
	i.r.check("one more", "400 with the limit in the reason", fmt.Sprint(status, got),
		status == http.StatusBadRequest && got["invalid"] == 5 && strings.Contains(reason, strconv.Itoa(ingest.MaxEventTypes)))

	status, got, _ = send(0, 5)
	i.r.check("a type it has", "202", fmt.Sprint(status, got), status == http.StatusAccepted && got["accepted"] == 5)
}

// slow opens connections that send a byte every half second: all are ended in time.
func (i *input) slow(ctx context.Context) {
	head := "POST /events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + i.token + "\r\nContent-Type: application/json\r\n"

	var (
		group   sync.WaitGroup
		late    atomic.Int64
		unclear atomic.Int64
	)

	for n := range slowConnections {
		body := n%2 == 0

		group.Go(func() {
			conn, err := i.dial(ctx)
			if err != nil {
				late.Add(1)

				return
			}

			defer func() { _ = conn.Close() }()

			_ = conn.SetDeadline(time.Now().Add(slowLimit))
			start := head + "X-Slow: "

			if body {
				start = head + "Content-Length: 1000\r\n\r\n{"
			}

			_, _ = io.WriteString(conn, start)
			dripping, stop := context.WithCancel(ctx)

			go dripInto(dripping, conn)

			answer, err := bufio.NewReader(conn).ReadString('\n')

			stop()

			var timeout net.Error

			switch {
			case errors.As(err, &timeout) && timeout.Timeout():
				late.Add(1)
			case body && !strings.HasPrefix(answer, "HTTP/1.1 408"):
				unclear.Add(1)
			}
		})
	}

	group.Wait()
	i.r.none(fmt.Sprintf("slow connections open after %s, of %d", slowLimit, slowConnections), int(late.Load()))
	i.r.none("slow bodies without a 408", int(unclear.Load()))
}

// dripInto sends a byte now and then.
func dripInto(ctx context.Context, conn net.Conn) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
		}
	}
}

// idle opens connections, has each answered once, and leaves them alone.
func (i *input) idle(ctx context.Context) {
	limit, err := raiseDescriptors()
	if !i.r.must("raising the limit of descriptors", err) {
		return
	}

	count := idleConnections
	if limit < idleConnections+descriptorsElsewhere {
		count = int(limit) - descriptorsElsewhere
		i.r.notef("%d idle connections rather than %d: this process may have %d descriptors", count, idleConnections, limit)
	}

	before, err := vitalsOf(i.process.pid())
	if !i.r.must("looking at the process", err) {
		return
	}

	conns := make([]net.Conn, 0, count)

	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()

	failed := 0

	for range count {
		conn, err := i.dial(ctx)
		if err != nil {
			failed++

			continue
		}

		conns = append(conns, conn)
		_ = conn.SetDeadline(time.Now().Add(slowLimit))
		_, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n")

		if line, err := bufio.NewReaderSize(conn, 1024).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 405") {
			failed++
		}
	}

	i.r.none("idle connections without an answer, of "+strconv.Itoa(count), failed)

	during, err := vitalsOf(i.process.pid())
	if !i.r.must("looking at the process", err) {
		return
	}

	each := (during.RSS - before.RSS) / int64(max(1, count))
	i.r.check("memory of an idle connection", fmt.Sprintf("at most %d KiB", maxIdleMemory>>10),
		fmt.Sprintf("%d KiB", each>>10), each <= maxIdleMemory)

	held := during.Sockets - before.Sockets
	i.r.check("idle connections held", "all", held, held >= count-failed-100)

	status, text, err := i.send(ctx, badRequest{contentType: plainJSON, body: []byte(`{"type":"a.b","data":1}`)})
	i.r.check("publishing beside them", "202", fmt.Sprint(status, err), err == nil && status == http.StatusAccepted && text != "")
}
