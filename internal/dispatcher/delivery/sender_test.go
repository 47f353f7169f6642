package delivery

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

func testSender(t *testing.T, policy EgressPolicy, resolver *net.Resolver, roots *x509.CertPool) *sender {
	t.Helper()
	own, err := newFormats(&format{timeout: 500 * time.Millisecond, schedule: DefaultSchedule()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &sender{
		formats:   own,
		transport: newTransport(policy, resolver, roots, nil),
		clock:     clockwork.NewRealClock(), agent: "hookline/1.2.3",
	}
	t.Cleanup(s.transport.CloseIdleConnections)

	return s
}

func testSubscription(url string) *registry.Subscription {
	return &registry.Subscription{
		Subscription: subscription.Subscription{ID: "sub", URL: url, Enabled: true},
		Tenant:       "tenant",
		Secrets:      []registry.Secret{{Text: vectorSecret}},
	}
}

func testEventAt(url string) *journal.Event {
	return &journal.Event{
		Tenant: "tenant", Source: "/test", ID: "1", Type: "a.b",
		Body: []byte(`{"specversion":"1.0","id":"1","source":"/test","type":"a.b","data":{"url":"` + url + `"}}`),
	}
}

// raw answers each connection's request with text, and then does what after says.
func raw(t *testing.T, answer string, after func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request, err := http.ReadRequest(bufio.NewReader(conn))
			if err == nil {
				_, _ = io.Copy(io.Discard, request.Body)
			}
			_, _ = io.WriteString(conn, answer)
			if after != nil {
				after(conn)
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})

	return "http://" + listener.Addr().String()
}

// linger holds a connection open until its other end closes it.
func linger(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

func TestHostileReceivers(t *testing.T) {
	t.Parallel()

	var followed atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	t.Cleanup(other.Close)
	refused := func() string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()

		return "http://" + listener.Addr().String()
	}()
	endless := func(conn net.Conn) {
		block := []byte(strings.Repeat("x", 1<<15))
		for {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	}
	drip := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			for {
				if _, err := io.WriteString(conn, text); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	redirect := func(code int) string {
		return fmt.Sprintf("HTTP/1.1 %d Elsewhere\r\nLocation: %s/\r\nContent-Length: 0\r\n\r\n", code, other.URL)
	}
	const ok = "HTTP/1.1 200 Whatever It Says\r\n"

	type answer struct {
		Code int
		Text string
		Body int
		Kind verdict
	}
	cases := map[string]struct {
		reason string
		url    string
		want   answer
	}{
		"OK":          {reason: "the text is the standard's, not the receiver's", url: raw(t, ok+"Content-Length: 2\r\n\r\nhi", nil), want: answer{200, "OK", 2, verdictDelivered}},
		"NoContent":   {reason: "2xx", url: raw(t, "HTTP/1.1 204 No Content\r\n\r\n", nil), want: answer{204, "No Content", 0, verdictDelivered}},
		"Moved":       {reason: "not followed", url: raw(t, redirect(301), nil), want: answer{301, "Moved Permanently", 0, verdictRetry}},
		"Found":       {reason: "not followed", url: raw(t, redirect(302), nil), want: answer{302, "Found", 0, verdictRetry}},
		"Temporary":   {reason: "not followed with its body either", url: raw(t, redirect(307), nil), want: answer{307, "Temporary Redirect", 0, verdictRetry}},
		"Permanent":   {reason: "not followed with its body either", url: raw(t, redirect(308), nil), want: answer{308, "Permanent Redirect", 0, verdictRetry}},
		"NotModified": {reason: "3xx is a failure", url: raw(t, "HTTP/1.1 304 Not Modified\r\n\r\n", nil), want: answer{304, "Not Modified", 0, verdictRetry}},
		"BadLocation": {reason: "a redirect's target does not matter", url: raw(t, "HTTP/1.1 302 F\r\nLocation: http://[::bad\r\nContent-Length: 0\r\n\r\n", nil), want: answer{302, "Found", 0, verdictRetry}},
		"Gone":        {reason: "410 stops", url: raw(t, "HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\nbye!", nil), want: answer{410, "Gone", 4, verdictGone}},
		"Odd":         {reason: "a status nobody knows", url: raw(t, "HTTP/1.1 799 Secret Words\r\nContent-Length: 0\r\n\r\n", nil), want: answer{799, "", 0, verdictRetry}},
		"Upgrade": {
			reason: "a protocol we did not ask for", url: raw(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", linger),
			want: answer{101, "Switching Protocols", 0, verdictRetry},
		},
		"LongSuccess": {reason: "4 KiB go to the journal, which keeps less of all but the latest", url: raw(t, ok+"Content-Length: 9000\r\n\r\n"+strings.Repeat("b", 9000), nil), want: answer{200, "OK", 4096, verdictDelivered}},
		"LongFailure": {
			reason: "4 KiB of a failure are kept", url: raw(t, "HTTP/1.1 500 No\r\nContent-Length: 9000\r\n\r\n"+strings.Repeat("b", 9000), nil),
			want: answer{500, "Internal Server Error", 4096, verdictRetry},
		},
		"EndlessBody":      {reason: "reading stops at a bound; the status has decided", url: raw(t, ok+"\r\n", endless), want: answer{200, "OK", 4096, verdictDelivered}},
		"EndlessChunks":    {reason: "reading stops at a bound", url: raw(t, "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n", drip("1000\r\n"+strings.Repeat("x", 0x1000)+"\r\n")), want: answer{503, "Service Unavailable", 4096, verdictRetry}},
		"SlowBody":         {reason: "the deadline ends the body, not the verdict", url: raw(t, ok+"Content-Length: 100000\r\n\r\n", drip("x")), want: answer{200, "OK", -1, verdictDelivered}},
		"EarlyClose":       {reason: "the status has decided", url: raw(t, ok+"Content-Length: 100\r\n\r\nshort", nil), want: answer{200, "OK", 5, verdictDelivered}},
		"LongerThanSaid":   {reason: "what exceeds the length is not read as an answer", url: raw(t, ok+"Content-Length: 2\r\n\r\nhi"+strings.Repeat("z", 100), nil), want: answer{200, "OK", 2, verdictDelivered}},
		"BadChunks":        {reason: "the status has decided", url: raw(t, ok+"Transfer-Encoding: chunked\r\n\r\nzzz\r\n", nil), want: answer{200, "OK", 0, verdictDelivered}},
		"SlowHeaders":      {reason: "the whole attempt has one deadline", url: raw(t, "HTTP/1.1 200 OK\r\n", drip("X-More: y\r\n")), want: answer{0, "The endpoint did not answer in time", 0, verdictRetry}},
		"Silence":          {reason: "no answer", url: raw(t, "", linger), want: answer{0, "The endpoint did not answer in time", 0, verdictRetry}},
		"CloseAtOnce":      {reason: "no answer", url: raw(t, "", nil), want: answer{0, "The endpoint closed the connection without an answer", 0, verdictRetry}},
		"Reset":            {reason: "no answer", url: raw(t, "", reset), want: answer{0, "The endpoint reset the connection", 0, verdictRetry}},
		"GarbageStatus":    {reason: "what it says is not repeated", url: raw(t, "ICY 200 token=hunter2\r\n\r\n", nil), want: answer{0, "The request failed: malformed HTTP version", 0, verdictRetry}},
		"GarbageCode":      {reason: "what it says is not repeated", url: raw(t, "HTTP/1.1 2OO hunter2\r\n\r\n", nil), want: answer{0, "The request failed: malformed HTTP status code", 0, verdictRetry}},
		"GarbageHeader":    {reason: "what it says is not repeated", url: raw(t, ok+"hunter2 without a colon\r\n\r\n", nil), want: answer{0, "The request failed: malformed MIME header", 0, verdictRetry}},
		"BadLength":        {reason: "not a number", url: raw(t, ok+"Content-Length: hunter2\r\n\r\n", nil), want: answer{0, "The request failed: bad Content-Length", 0, verdictRetry}},
		"TwoLengths":       {reason: "request smuggling", url: raw(t, ok+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", nil), want: answer{0, "The request failed: message cannot contain multiple Content-Length headers", 0, verdictRetry}},
		"EndlessHeaders":   {reason: "headers are bounded", url: raw(t, ok+"X: "+strings.Repeat("h", 1<<20), nil), want: answer{0, "The request failed: server response headers exceeded 65536 bytes", 0, verdictRetry}},
		"Refused":          {reason: "nobody listens", url: refused, want: answer{0, "The endpoint refused the connection", 0, verdictRetry}},
		"PlainForTLS":      {reason: "wrong scheme", url: strings.Replace(raw(t, "HTTP/1.1 400 Bad Request\r\n\r\n", nil), "http:", "https:", 1), want: answer{0, "The endpoint does not speak TLS", 0, verdictRetry}},
		"InformationFirst": {reason: "1xx goes before the answer", url: raw(t, "HTTP/1.1 103 Early Hints\r\n\r\n"+ok+"Content-Length: 0\r\n\r\n", nil), want: answer{200, "OK", 0, verdictDelivered}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			sender := testSender(t, NewEgressPolicy(loopback), nil, nil)
			started := time.Now()
			x := sender.send(t.Context(), testSubscription(c.url+"/hook?token=hunter2"), testEventAt(c.url), "msg_1")
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("%s: the attempt took %s with a timeout of %s", c.reason, took, sender.formats[""].timeout)
			}
			got := answer{x.code, x.text, len(x.body), x.verdict}
			if c.want.Body < 0 {
				got.Body = c.want.Body
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: answer (-want +got):\n%s", c.reason, diff)
			}
			if strings.Contains(x.text, "hunter2") || strings.Contains(x.text, "127.0.0.1") {
				t.Errorf("%s: the text %q tells a secret or an address", c.reason, x.text)
			}
		})
	}
	t.Cleanup(func() {
		if followed.Load() > 0 {
			t.Errorf("%d redirects were followed", followed.Load())
		}
	})
}

func TestRetryAfterOfReceivers(t *testing.T) {
	t.Parallel()

	date := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	cases := map[string]struct {
		reason string
		code   int
		header string
		least  time.Duration
		most   time.Duration
	}{
		"Seconds429":  {reason: "429 may ask", code: 429, header: "120", least: 2 * time.Minute, most: 2 * time.Minute},
		"Seconds503":  {reason: "503 may ask", code: 503, header: "120", least: 2 * time.Minute, most: 2 * time.Minute},
		"Date503":     {reason: "as a date", code: 503, header: date, least: 59 * time.Minute, most: time.Hour},
		"Date429":     {reason: "as a date", code: 429, header: date, least: 59 * time.Minute, most: time.Hour},
		"Fraction":    {reason: "fractional", code: 429, header: "0.25", least: 250 * time.Millisecond, most: 250 * time.Millisecond},
		"Negative":    {reason: "negative", code: 503, header: "-10"},
		"Garbage":     {reason: "garbage", code: 429, header: "after lunch"},
		"Absent":      {reason: "absent", code: 429},
		"Redirect":    {reason: "speaks of the other place", code: 301, header: "120"},
		"ServerError": {reason: "has no meaning here", code: 500, header: "120"},
		"Success":     {reason: "nothing to retry", code: 200, header: "120"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				w.WriteHeader(c.code)
			}))
			defer server.Close()
			x := testSender(t, NewEgressPolicy(loopback), nil, nil).
				send(t.Context(), testSubscription(server.URL), testEventAt(""), "msg_1")
			if x.code != c.code || x.retryAfter < c.least || x.retryAfter > c.most {
				t.Errorf("%s: status %d, Retry-After %s: want %s to %s", c.reason, x.code, x.retryAfter, c.least, c.most)
			}
		})
	}
}

func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()

	type got struct {
		method, path string
		header       http.Header
		body         string
		verified     error
	}
	verifier, err := standardwebhooks.NewWebhook(vectorSecret)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan got, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- got{r.Method, r.URL.RequestURI(), r.Header, string(body), verifier.Verify(body, r.Header)}
	}))
	defer server.Close()
	cases := map[string]struct {
		reason string
		change func(*registry.Subscription)
		want   map[string]string
	}{
		"Plain": {
			reason: "the least", change: func(*registry.Subscription) {},
			want: map[string]string{"Content-Type": "application/cloudevents+json", "User-Agent": "hookline/1.2.3", "Webhook-Id": "msg_1", "Authorization": ""},
		},
		"Basic": {
			reason: "RFC 7617", change: func(s *registry.Subscription) {
				s.Authorization = subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "Aladdin", Password: "open sesame"}
			},
			want: map[string]string{"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		},
		"Bearer": {
			reason: "RFC 6750", change: func(s *registry.Subscription) {
				s.Authorization = subscription.Authorization{Scheme: subscription.SchemeBearer, Token: "abc"}
			},
			want: map[string]string{"Authorization": "Bearer abc"},
		},
		"Headers": {
			reason: "its own headers go along, and cannot stand in for ours", change: func(s *registry.Subscription) {
				s.Headers = []subscription.Header{
					{Name: "X-Team", Value: "support"}, {Name: "Webhook-Id", Value: "forged"},
					{Name: "Webhook-Signature", Value: "v1,forged"}, {Name: "Content-Type", Value: "text/plain"},
				}
			},
			want: map[string]string{"X-Team": "support", "Webhook-Id": "msg_1", "Content-Type": "application/cloudevents+json"},
		},
	}
	for name, c := range cases {
		sub := testSubscription(server.URL + "/path?x=y")
		c.change(sub)
		event := testEventAt(server.URL)
		before := time.Now().Unix()
		x := testSender(t, NewEgressPolicy(loopback), nil, nil).send(t.Context(), sub, event, "msg_1")
		if x.code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, x.code, x.text)
		}
		request := <-seen
		if request.method != http.MethodPost || request.path != "/path?x=y" || request.body != string(event.Body) {
			t.Errorf("%s: %s %s %s", name, request.method, request.path, request.body)
		}
		if request.verified != nil {
			t.Errorf("%s: the independent library: %v", name, request.verified)
		}
		for header, want := range c.want {
			if diff := cmp.Diff(want, request.header.Get(header)); diff != "" {
				t.Errorf("%s: %s: %s (-want +got):\n%s", name, c.reason, header, diff)
			}
		}
		if at := request.header.Get("Webhook-Timestamp"); at < fmt.Sprint(before) || at > fmt.Sprint(time.Now().Unix()) {
			t.Errorf("%s: webhook-timestamp %s is not this attempt's", name, at)
		}
	}
}

// authority signs certificates for tests.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)

	return &authority{certificate: certificate, key: key, pool: pool}
}

func (a *authority) issue(t *testing.T, name string, from, until time.Time) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "endpoint"}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}

	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

func TestCertificates(t *testing.T) {
	t.Parallel()

	ca := newAuthority(t)
	now := time.Now()
	cases := map[string]struct {
		reason      string
		certificate tls.Certificate
		roots       *x509.CertPool
		maxVersion  uint16
		want        string
	}{
		"Good":         {reason: "signed by the given authority", certificate: ca.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour)), roots: ca.pool, want: "OK"},
		"Expired":      {reason: "out of date", certificate: ca.issue(t, "127.0.0.1", now.Add(-2*time.Hour), now.Add(-time.Hour)), roots: ca.pool, want: "The endpoint's certificate has expired or is not yet valid"},
		"NotYet":       {reason: "out of date", certificate: ca.issue(t, "127.0.0.1", now.Add(time.Minute), now.Add(time.Hour)), roots: ca.pool, want: "The endpoint's certificate has expired or is not yet valid"},
		"WrongName":    {reason: "somebody else's", certificate: ca.issue(t, "elsewhere.example", now.Add(-time.Hour), now.Add(time.Hour)), roots: ca.pool, want: "The endpoint's certificate is for another name"},
		"Unknown":      {reason: "not of the system's authorities", certificate: ca.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour)), roots: x509.NewCertPool(), want: "The endpoint's certificate is signed by an unknown authority"},
		"TLSTooOld":    {reason: "TLS 1.2 at least", certificate: ca.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour)), roots: ca.pool, maxVersion: tls.VersionTLS11, want: "The connection to the endpoint failed (remote error)"},
		"TLS12Allowed": {reason: "TLS 1.2 at least", certificate: ca.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour)), roots: ca.pool, maxVersion: tls.VersionTLS12, want: "OK"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			var reached atomic.Bool
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{c.certificate}, MinVersion: tls.VersionTLS10, MaxVersion: c.maxVersion}
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			defer server.Close()
			x := testSender(t, NewEgressPolicy(loopback), nil, c.roots).
				send(t.Context(), testSubscription(server.URL), testEventAt(""), "msg_1")
			if diff := cmp.Diff(c.want, x.text); diff != "" {
				t.Errorf("%s: text (-want +got):\n%s", c.reason, diff)
			}
			if reached.Load() != (c.want == "OK") {
				t.Errorf("%s: the request reached the endpoint: %t", c.reason, reached.Load())
			}
		})
	}
}

// nameServer answers each question for an address with the next of its answers.
func nameServer(t *testing.T, answers func(name string) []netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if query.Unpack(buffer[:n]) != nil || len(query.Questions) != 1 {
				continue
			}
			question := query.Questions[0]
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true}, Questions: query.Questions}
			if question.Type == dnsmessage.TypeA {
				addresses := answers(question.Name.String())
				if addresses == nil {
					reply.RCode = dnsmessage.RCodeNameError
				}
				for _, address := range addresses {
					reply.Answers = append(reply.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: address.As4()},
					})
				}
			}
			packed, err := reply.Pack()
			if err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})

	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestNameThatChangesItsAnswer(t *testing.T) {
	t.Parallel()

	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.Header().Set("Connection", "close")
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	allowed, inside := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	var asked atomic.Int32
	resolver := nameServer(t, func(name string) []netip.Addr {
		switch {
		case strings.HasPrefix(name, "missing."):
			return nil
		case asked.Add(1) == 1:
			return []netip.Addr{allowed}
		default:
			return []netip.Addr{inside}
		}
	})
	// The server listens on every loopback address in effect; the policy allows one of them.
	sender := testSender(t, NewEgressPolicy(netip.PrefixFrom(allowed, 32)), resolver, nil)
	sub := testSubscription("http://rebinding.example.test.:" + port)
	first := sender.send(t.Context(), sub, testEventAt(""), "msg_1")
	second := sender.send(t.Context(), sub, testEventAt(""), "msg_2")
	if first.code != http.StatusOK || second.code != 0 || !second.denied || reached.Load() != 1 {
		t.Errorf("first %d %q, second %d %q denied %t, requests that got through %d: want the second denied",
			first.code, first.text, second.code, second.text, second.denied, reached.Load())
	}
	if second.text != "The egress policy denies the target's address" {
		t.Errorf("text %q: want it to name the policy and no address", second.text)
	}
	missing := sender.send(t.Context(), testSubscription("http://missing.example.test.:"+port), testEventAt(""), "msg_3")
	if missing.text != "The endpoint's name does not resolve" {
		t.Errorf("text of a name that does not exist: %q", missing.text)
	}
}

func TestDeniedTargetIsNotDialled(t *testing.T) {
	t.Parallel()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	accepted := make(chan struct{}, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			accepted <- struct{}{}
			_ = conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sender := testSender(t, NewEgressPolicy(), nil, nil)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::1]"} {
		x := sender.send(t.Context(), testSubscription("http://"+host+":"+port), testEventAt(""), "msg_1")
		if !x.denied || x.verdict != verdictRetry {
			t.Errorf("%s: %d %q, denied %t: want it denied", host, x.code, x.text, x.denied)
		}
	}
	// A connection made would stand in the listener's queue before this one.
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	local := conn.LocalAddr()
	_ = conn.Close()
	select {
	case <-accepted:
	case <-time.After(5 * time.Second):
		t.Fatalf("the connection from %s was not accepted", local)
	}
}

func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	var proxied atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Store(true) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	x := testSender(t, NewEgressPolicy(loopback), nil, nil).
		send(t.Context(), testSubscription("http://192.0.2.1:9/"), testEventAt(""), "msg_1")
	if proxied.Load() || !x.denied {
		t.Errorf("went through the proxy: %t; %d %q", proxied.Load(), x.code, x.text)
	}
}
