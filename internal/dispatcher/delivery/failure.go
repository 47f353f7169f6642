package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// maxFailureText bounds the explanation of a failure that has no wording of its own, in bytes.
const maxFailureText = 200

var errNoSecret = errors.New("the subscription has no signing secret that holds: set one")

// explain says why there was no response, in words that stay the same from attempt to
// attempt and hold no address, URL or credential.
func explain(err error) string {
	var (
		dns         *net.DNSError
		unknownCA   x509.UnknownAuthorityError
		wrongName   x509.HostnameError
		invalid     x509.CertificateInvalidError
		tlsRecord   tls.RecordHeaderError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, ErrTargetDenied):
		return "The egress policy denies the target's address"
	case errors.Is(err, errNoSecret):
		return "The subscription has no signing secret that holds"
	case errors.As(err, &dns):
		return explainDNS(dns)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), isTimeout(err):
		return "The endpoint did not answer in time"
	case errors.As(err, &wrongName):
		return "The endpoint's certificate is for another name"
	case errors.As(err, &unknownCA):
		return "The endpoint's certificate is signed by an unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "The endpoint's certificate has expired or is not yet valid"
	case errors.As(err, &certificate):
		return "The endpoint's certificate is not valid"
	case errors.As(err, &tlsRecord):
		return "The endpoint does not speak TLS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "The endpoint refused the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "The endpoint reset the connection"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "The endpoint closed the connection without an answer"
	default:
		return explainOther(err)
	}
}

func explainDNS(err *net.DNSError) string {
	switch {
	case err.IsNotFound:
		return "The endpoint's name does not resolve"
	case err.IsTimeout:
		return "Resolving the endpoint's name took too long"
	default:
		return "The endpoint's name could not be resolved"
	}
}

func isTimeout(err error) bool {
	var timeout net.Error

	return errors.As(err, &timeout) && timeout.Timeout()
}

// explainOther keeps the kind of a failure and leaves out what may vary or tell a secret:
// whatever the endpoint said, which the HTTP library quotes or puts after a colon.
func explainOther(err error) string {
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		return "The connection to the endpoint failed (" + operation.Op + ")"
	}
	for wrapped := errors.Unwrap(err); wrapped != nil; wrapped = errors.Unwrap(err) {
		err = wrapped
	}
	// The library's own name goes first, where it stands.
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "net/"), "http: ")
	if end := strings.IndexAny(text, ":;\""); end >= 0 {
		text = text[:end]
	}
	if len(text) > maxFailureText {
		text = text[:maxFailureText]
	}

	return "The request failed: " + strings.TrimSpace(strings.ToValidUTF8(text, ""))
}
