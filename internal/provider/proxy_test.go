package provider_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
)

// connectProxy is an HTTP proxy that takes CONNECT alone and leads everything to one address. hosts are those that
// were asked for.
type connectProxy struct {
	*httptest.Server

	to string

	mu    sync.Mutex
	hosts map[string]bool
}

func newConnectProxy(t *testing.T, to string) *connectProxy {
	t.Helper()

	p := &connectProxy{to: to, hosts: map[string]bool{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)

	return p
}

// ServeHTTP implements http.Handler.
func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)

		return
	}

	p.mu.Lock()
	p.hosts[r.Host] = true
	p.mu.Unlock()

	there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", p.to)
	if err != nil {
		http.Error(w, "nobody there", http.StatusBadGateway)

		return
	}

	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = there.Close()

		return
	}

	_, _ = here.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))

	var both sync.WaitGroup

	for _, way := range [][2]net.Conn{{here, there}, {there, here}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
		})
	}

	both.Wait()
}

// TestThroughProxy: everything goes through the proxy, tokens too, to hosts that only the proxy can resolve.
func TestThroughProxy(t *testing.T) {
	t.Parallel()

	for name, v := range vendors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			u := newUpstream(t)
			proxy := newConnectProxy(t, u.Listener.Addr().String())
			through := u.resource(v, func(p *v1alpha1.WebhookProvider) {
				// The server's certificate is for example.com and those below.
				ca := p.Spec.CABundle
				p.Spec = v.spec("https://vendor.example.com")
				p.Spec.CABundle, p.Spec.ProxyURL = ca, proxy.URL

				if p.Spec.Vonage != nil && p.Spec.Vonage.TokenURL != "" {
					p.Spec.Vonage.TokenURL = v1alpha1.ProviderURL(strings.Replace(string(p.Spec.Vonage.TokenURL), "vendor", "tokens", 1))
				}
			})

			if _, err := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), through).List(t.Context()); err != nil {
				t.Fatal(err)
			}

			want := map[string]bool{"vendor.example.com:443": true}
			if through.Spec.Vonage != nil && through.Spec.Vonage.TokenURL != "" {
				want["tokens.example.com:443"] = true
			}

			if diff := cmp.Diff(want, proxy.hosts); diff != "" {
				t.Errorf("what the proxy was asked for (-want +got):\n%s", diff)
			}

			proxy.CloseClientConnections()
			proxy.Close()

			_, err := open(t, newPool(v.secrets(goodToken), provider.PoolOptions{}), through).List(t.Context())
			if err == nil || isAuth(err) {
				t.Errorf("without its proxy it was answered %v", err)
			}
		})
	}
}
