package dispatcher_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	support = "support"
	sales   = "sales"
	// host is the endpoints', which the vendors' examples have too. Deliveries to it reach the receiver.
	host = "your-application.com"
	// otherHost is another of them.
	otherHost = "example.com"
	// patience is how long a condition may take to hold.
	patience = 20 * time.Second
)

// tokenOf is a tenant's token for a right.
func tokenOf(tenant, right string) string {
	return tenant + "-" + right + "-" + strings.Repeat("0", tokens.MinTokenLength)
}

// log is what the dispatcher logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.Write(line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.String()
}

// stage is a whole dispatcher on a journal on disk and a real listener, and a receiver that
// its deliveries reach over TLS.
type stage struct {
	url      string
	receiver *receiver
	log      *log

	mu sync.Mutex
	// paces are what each tenant's clients of Dixa share, as they share its token.
	paces map[string]*rate.Limiter
}

func newStage(t *testing.T, change func(*dispatcher.Config)) *stage {
	t.Helper()
	s := &stage{receiver: newReceiver(t), log: &log{}, paces: map[string]*rate.Limiter{}}
	dir := t.TempDir()
	for _, tenant := range []string{support, sales} {
		for _, right := range []string{"admin", "publish"} {
			if err := os.WriteFile(filepath.Join(dir, tenant+"."+right), []byte(tokenOf(tenant, right)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cfg := dispatcher.Config{
		DataDir: t.TempDir(), Authenticator: tokens.Open(dir, tokens.Options{}), Log: slog.New(slog.NewTextHandler(s.log, nil)),
		Egress:      delivery.NewEgressPolicy(netip.MustParsePrefix("127.0.0.0/8")),
		EndpointCAs: s.receiver.roots, ConnectTo: map[string]string{host: s.receiver.address, otherHost: s.receiver.address},
	}
	if change != nil {
		change(&cfg)
	}
	d, err := dispatcher.New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("building the dispatcher: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, d.Close()); err != nil {
			t.Errorf("stopping the dispatcher: %v", err)
		}
		for _, secret := range []string{tokenOf(support, "admin"), tokenOf(sales, "admin")} {
			if strings.Contains(s.log.String(), secret) {
				t.Error("the log holds a token")
			}
		}
	})
	<-d.Ready()

	return s
}

// delivered is one request that the receiver got.
type delivered struct {
	path   string
	header http.Header
	body   []byte
}

// receiver answers 200 to all, over TLS with a certificate for the hosts, and keeps what it got.
type receiver struct {
	address string
	roots   *x509.CertPool

	mu  sync.Mutex
	got []delivered
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{roots: x509.NewCertPool()}
	server := httptest.NewUnstartedServer(r)
	certificate := selfSigned(t)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	r.address = server.Listener.Addr().String()
	r.roots.AddCert(certificate.Leaf)

	return r
}

// selfSigned is a certificate for the endpoints' hosts, which stands for itself.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host, otherHost, "conformance.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}

	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)

		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, delivered{path: request.URL.Path, header: request.Header.Clone(), body: body})
}

// at are the deliveries to a path so far.
func (r *receiver) at(path string) []delivered {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []delivered
	for _, one := range r.got {
		if one.path == path {
			found = append(found, one)
		}
	}

	return found
}

// wait waits until a path has as many deliveries.
func (r *receiver) wait(t *testing.T, path string, count int) []delivered {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has %d deliveries", path, count), func() bool { return len(r.at(path)) >= count })

	return r.at(path)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %s it does not hold that %s", patience, what)
		}
	}
}

// publish publishes events, as CloudEvents, for a tenant.
func (s *stage) publish(t *testing.T, tenant string, events ...string) {
	t.Helper()
	response := s.send(t, http.MethodPost, "/events", http.Header{
		"Authorization": {"Bearer " + tokenOf(tenant, "publish")}, "Content-Type": {"application/cloudevents-batch+json"},
	}, "["+strings.Join(events, ",")+"]")
	if response.status != http.StatusAccepted || strings.Count(response.body, `"accepted"`) != len(events) {
		t.Fatalf("publishing: %d %s", response.status, response.body)
	}
}

// event is a CloudEvent.
func event(id, eventType, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":%q,"time":"2026-08-01T11:59:59.123456Z","data":%s}`, id, eventType, data)
}

// answer is what a request was answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes one request.
func (s *stage) send(t *testing.T, method, path string, header http.Header, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}

	return answer{response.StatusCode, response.Header, string(text)}
}

// The clients of each dialect for a tenant, with its administrator's token.

func (s *stage) native(t *testing.T, tenant string) *native.Client {
	t.Helper()
	client, err := native.NewClient(t.Context(), native.ClientConfig{BaseURL: s.url, Token: admin(tenant)})

	return must(t, client, err)
}

// vonage gets its access token by OAuth 2.0, as programs for Vonage do.
func (s *stage) vonage(t *testing.T, tenant string) *vonage.Client {
	t.Helper()
	source, err := vonage.NewClientCredentials(vonage.ClientCredentials{
		TokenURL: s.url + vonage.PathToken, ClientID: tenant, ClientSecret: tokenOf(tenant, "admin"),
	})
	if err != nil {
		t.Fatalf("making a token source: %v", err)
	}
	client, err := vonage.NewClient(vonage.ClientConfig{BaseURL: s.url, Tokens: source})

	return must(t, client, err)
}

func (s *stage) dixa(t *testing.T, tenant, version string) *dixa.Client {
	t.Helper()
	client, err := dixa.NewClient(dixa.ClientConfig{BaseURL: s.url + version, Token: admin(tenant), Limiter: s.pace(tenant)})

	return must(t, client, err)
}

// pace spaces a tenant's requests to Dixa's API, of both its versions, by less than the bound.
func (s *stage) pace(tenant string) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paces[tenant] == nil {
		s.paces[tenant] = rate.NewLimiter(dixa.RequestsPerSecond, dixa.Burst-1)
	}

	return s.paces[tenant]
}

func (s *stage) bird(t *testing.T, tenant, workspace string) *bird.Client {
	t.Helper()
	client, err := bird.NewClient(bird.ClientConfig{BaseURL: s.url, AccessKey: admin(tenant), WorkspaceID: workspace})

	return must(t, client, err)
}

func admin(tenant string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return tokenOf(tenant, "admin"), nil }
}

func must[V any](t *testing.T, value V, err error) V {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}

	return value
}

// names are the names, or where there is none the URLs, of an account's subscriptions.
func names(t *testing.T, api subscription.API) []string {
	t.Helper()
	list, err := api.List(t.Context())
	if err != nil {
		t.Fatalf("listing: %v", err)
	}
	out := []string{}
	for _, one := range list {
		out = append(out, one.URL[strings.LastIndex(one.URL, "/")+1:])
	}

	return out
}
