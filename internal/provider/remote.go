package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of connections to providers. A request as a whole is bounded by Config.Timeout.
const (
	dialTimeout         = 10 * time.Second
	tlsHandshakeTimeout = 10 * time.Second
	idleTimeout         = 90 * time.Second
	maxIdlePerHost      = 16
	maxConnsPerHost     = 64
	maxResponseHeader   = 64 << 10
)

// remote is the client of a dispatcher elsewhere. It asks the dispatcher what it can do, so its error may be
// of any kind that the port has.
func (f *Factory) remote(ctx context.Context, cfg Config) (subscription.API, error) {
	transport, err := f.transport(cfg)
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()

	client, err := native.NewClient(ctx, native.ClientConfig{
		BaseURL: cfg.URL, Timeout: cfg.Timeout, Transport: transport,
		Token: func(context.Context) (string, error) { return cfg.Token, nil },
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to the dispatcher: %w", invalidSpec("spec.dispatcher", err))
	}

	return client, nil
}

// transport makes the connections to one provider. The environment's proxies are not used: the spec says which.
func (f *Factory) transport(cfg Config) (http.RoundTripper, error) {
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		MaxConnsPerHost:        maxConnsPerHost,
		MaxResponseHeaderBytes: maxResponseHeader,
		ForceAttemptHTTP2:      true,
	}

	if cfg.CABundle != "" {
		authorities, err := authorities(cfg.CABundle)
		if err != nil {
			return nil, err
		}

		transport.TLSClientConfig.RootCAs = authorities
	}

	if cfg.ProxyURL != "" {
		proxy, err := url.Parse(cfg.ProxyURL)
		if err != nil || proxy.Host == "" || proxy.Scheme != "http" && proxy.Scheme != "https" {
			return nil, fmt.Errorf("%w: spec.proxyURL: it is no http or https URL; write it like http://proxy.example.com:3128", ErrInvalid)
		}

		transport.Proxy = http.ProxyURL(proxy)
	}

	return &userAgent{name: f.UserAgent, next: transport}, nil
}

// authorities reads the certificates of a CA bundle. One that cannot be read is an error: what it vouches for would not
// be trusted, and nobody would see why.
func authorities(bundle string) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), 0

	for rest := []byte(bundle); ; {
		var block *pem.Block

		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}

		if block.Type != "CERTIFICATE" {
			continue
		}

		found++

		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: spec.caBundle: certificate %d cannot be read; paste it in PEM again", ErrInvalid, found)
		}

		pool.AddCert(certificate)
	}

	// A block that is cut off is none to the decoder.
	begun := strings.Count(bundle, "-----BEGIN CERTIFICATE-----")

	switch {
	case found == 0:
		return nil, fmt.Errorf("%w: spec.caBundle: it holds no certificate that can be read; paste it in PEM", ErrInvalid)
	case found < begun:
		return nil, fmt.Errorf("%w: spec.caBundle: %d of its %d certificates are cut off; paste them whole", ErrInvalid, begun-found, begun)
	default:
		return pool, nil
	}
}

// userAgent names the program in every request.
type userAgent struct {
	name string
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (u *userAgent) RoundTrip(request *http.Request) (*http.Response, error) {
	if u.name != "" {
		request = request.Clone(request.Context())
		request.Header.Set("User-Agent", u.name)
	}

	return u.next.RoundTrip(request) //nolint:wrapcheck // a RoundTripper hands on what it was given.
}
