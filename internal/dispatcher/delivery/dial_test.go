package delivery

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestEgressPolicy(t *testing.T) {
	t.Parallel()

	strict := NewEgressPolicy()
	loose := NewEgressPolicy(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00:1::/32"))
	cases := map[string]struct {
		reason  string
		policy  EgressPolicy
		address string
		denied  bool
	}{
		"Public":           {reason: "an endpoint", policy: strict, address: "93.184.216.34:443"},
		"PublicOddPort":    {reason: "any port", policy: strict, address: "93.184.216.34:8443"},
		"PublicV6":         {reason: "an endpoint", policy: strict, address: "[2606:4700::6810:84e5]:443"},
		"Loopback":         {reason: "loopback", policy: strict, address: "127.0.0.1:80", denied: true},
		"LoopbackHigh":     {reason: "loopback", policy: strict, address: "127.255.3.2:80", denied: true},
		"LoopbackV6":       {reason: "loopback", policy: strict, address: "[::1]:80", denied: true},
		"MappedLoopback":   {reason: "IPv4 written as IPv6", policy: strict, address: "[::ffff:127.0.0.1]:80", denied: true},
		"MappedPublic":     {reason: "the same as the IPv4 address", policy: strict, address: "[::ffff:93.184.216.34]:80"},
		"CompatLoopback":   {reason: "the old way to write IPv4 as IPv6", policy: strict, address: "[::127.0.0.1]:80", denied: true},
		"Private10":        {reason: "RFC 1918", policy: strict, address: "10.1.2.3:80", denied: true},
		"Private172":       {reason: "RFC 1918", policy: strict, address: "172.31.255.255:80", denied: true},
		"Private192":       {reason: "RFC 1918", policy: strict, address: "192.168.0.1:80", denied: true},
		"CarrierGrade":     {reason: "RFC 6598", policy: strict, address: "100.64.0.1:80", denied: true},
		"Metadata":         {reason: "cloud metadata", policy: strict, address: "169.254.169.254:80", denied: true},
		"MetadataV6":       {reason: "cloud metadata", policy: strict, address: "[fd00:ec2::254]:80", denied: true},
		"LinkLocalV6":      {reason: "link-local", policy: strict, address: "[fe80::1]:80", denied: true},
		"UniqueLocal":      {reason: "RFC 4193", policy: strict, address: "[fc00::1]:80", denied: true},
		"Unspecified":      {reason: "means this host", policy: strict, address: "0.0.0.0:80", denied: true},
		"UnspecifiedV6":    {reason: "means this host", policy: strict, address: "[::]:80", denied: true},
		"Multicast":        {reason: "multicast", policy: strict, address: "224.0.0.1:80", denied: true},
		"MulticastV6":      {reason: "multicast", policy: strict, address: "[ff02::1]:80", denied: true},
		"Broadcast":        {reason: "limited broadcast", policy: strict, address: "255.255.255.255:80", denied: true},
		"Benchmarking":     {reason: "RFC 2544", policy: strict, address: "198.18.0.1:80", denied: true},
		"Documentation":    {reason: "RFC 5737", policy: strict, address: "203.0.113.9:80", denied: true},
		"DocumentationV6":  {reason: "RFC 3849", policy: strict, address: "[2001:db8::1]:80", denied: true},
		"SixToFour":        {reason: "leads to an IPv4 address inside", policy: strict, address: "[2002:7f00:1::]:80", denied: true},
		"NAT64":            {reason: "leads to an IPv4 address inside", policy: strict, address: "[64:ff9b::7f00:1]:80", denied: true},
		"Excepted":         {reason: "allowed by prefix", policy: loose, address: "127.0.0.1:80"},
		"ExceptedMapped":   {reason: "the same address", policy: loose, address: "[::ffff:127.0.0.1]:80"},
		"ExceptedV6":       {reason: "allowed by prefix", policy: loose, address: "[fd00:1::5]:80"},
		"BesideExcepted":   {reason: "the exception is no wider than it says", policy: loose, address: "10.0.0.1:80", denied: true},
		"BesideExceptedV6": {reason: "the exception is no wider than it says", policy: loose, address: "[fd00:2::5]:80", denied: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			err := c.policy.Check(netip.MustParseAddrPort(c.address))
			if errors.Is(err, ErrTargetDenied) != c.denied || (err != nil) != c.denied {
				t.Errorf("%s: Check(%s): %v, want denied: %t", c.reason, c.address, err, c.denied)
			}
		})
	}
}

func TestCheckAddressRefusesOtherNetworks(t *testing.T) {
	t.Parallel()

	for _, c := range [][2]string{{"udp4", "93.184.216.34:80"}, {"unix", "/run/socket"}, {"tcp4", "example.com:80"}} {
		if err := checkAddress(NewEgressPolicy(), c[0], c[1]); !errors.Is(err, ErrTargetDenied) {
			t.Errorf("checkAddress(%s, %s): %v, want it denied", c[0], c[1], err)
		}
	}
}

func TestConnectTo(t *testing.T) {
	t.Parallel()

	var asked string
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.Host }))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	instead := map[string]string{"example.com": server.Listener.Addr().String()}
	request := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://Example.com/hooks", nil)
		if err != nil {
			t.Fatal(err)
		}

		return r
	}

	loose := newTransport(NewEgressPolicy(netip.MustParsePrefix("127.0.0.0/8")), nil, roots, instead)
	t.Cleanup(loose.CloseIdleConnections)
	response, err := loose.RoundTrip(request())
	if err != nil {
		t.Fatalf("the host's certificate is checked, whatever is dialled: %v", err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if asked != "Example.com" {
		t.Errorf("the request names the host %q", asked)
	}

	strict := newTransport(NewEgressPolicy(), nil, roots, instead)
	t.Cleanup(strict.CloseIdleConnections)
	if _, err := strict.RoundTrip(request()); !errors.Is(err, ErrTargetDenied) {
		t.Errorf("the policy is asked about what is dialled: %v", err)
	}
}
