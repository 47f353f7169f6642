package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Limits of a connection to an endpoint.
const (
	dialTimeout         = 10 * time.Second
	tlsHandshakeTimeout = 10 * time.Second
	idleConnTimeout     = 60 * time.Second
	keepAlivePeriod     = 30 * time.Second
	// maxIdleConnsPerHost and maxIdleConns bound what is kept open between deliveries; what is
	// open during them is bounded by the caps on attempts in flight.
	maxIdleConnsPerHost = 16
	maxIdleConns        = 1024
	// maxResponseHeader bounds a response's headers, in bytes.
	maxResponseHeader = 64 << 10
)

// ErrTargetDenied answers that the egress policy does not allow the target.
var ErrTargetDenied = errors.New("the egress policy denies the target's address")

// EgressPolicy decides where deliveries may go.
type EgressPolicy interface {
	// Check is asked for each address a target's name resolved to, immediately before that
	// very address is dialled: a name that answers differently later is asked about again.
	// It returns an error that wraps ErrTargetDenied to deny it. It must not block.
	Check(address netip.AddrPort) error
}

// publicOnly allows public addresses and what was excepted.
type publicOnly struct{ guardian *ssrf.Guardian }

// NewEgressPolicy denies whatever is not on the public Internet: private, loopback,
// link-local (cloud metadata with it), unique local, carrier-grade NAT, multicast and every
// other special-purpose range of the IANA registries, IPv4 written as IPv6 included. What
// allow names is excepted; naming a wide range there opens all of it, metadata services too.
func NewEgressPolicy(allow ...netip.Prefix) EgressPolicy {
	var v4, v6 []netip.Prefix
	for _, prefix := range allow {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}

	return publicOnly{guardian: ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))}
}

// Check implements EgressPolicy.
func (p publicOnly) Check(address netip.AddrPort) error {
	// The error does not name the address: what a name resolves to inside is nobody's business outside.
	if err := p.guardian.SafeAddr(address.Addr().Unmap()); err != nil {
		return ErrTargetDenied
	}

	return nil
}

// newTransport is the one place where connections to endpoints come from: the policy sees
// every address, and proxies of the environment are not used. A transport, not a client:
// redirects are answers like any other.
func newTransport(policy EgressPolicy, resolver *net.Resolver, roots *x509.CertPool, connectTo map[string]string) *http.Transport {
	dialer := &net.Dialer{
		Timeout:   dialTimeout,
		KeepAlive: keepAlivePeriod,
		Resolver:  resolver,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			return checkAddress(policy, network, address)
		},
	}

	return &http.Transport{
		Proxy: nil,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(address); err == nil && connectTo[strings.ToLower(host)] != "" {
				address = connectTo[strings.ToLower(host)]
			}

			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxIdleConnsPerHost,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		// A body that grows when unpacked is no use to the log of attempts.
		DisableCompression: true,
		// One attempt, one connection: attempts that shared one would wait for each other.
		ForceAttemptHTTP2: false,
	}
}

func checkAddress(policy EgressPolicy, network, address string) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("network %s: %w", network, ErrTargetDenied)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading the resolved address: %w", ErrTargetDenied)
	}

	return policy.Check(target)
}
