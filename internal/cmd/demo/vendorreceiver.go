package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// vendorHost is where the samples of config/samples/vendors want their deliveries.
const vendorHost = "your-application.example.com"

// certificateLife is how long the receiver's certificate is good.
const certificateLife = 24 * time.Hour

// vendorReceiver is an application that was written for the vendors: it speaks TLS and verifies each delivery as
// the vendor's documentation says.
type vendorReceiver struct {
	server *http.Server
	addr   string
	// secret returns the signing secret of a sample.
	secret func(ctx context.Context, name string) (string, error)

	mu       sync.Mutex
	verified map[string][]string
	problem  string
}

// check verifies one delivery of a vendor, and tells the event's name.
type check struct {
	sample string
	verify func(secret, url string, body []byte, header http.Header) (event string, err error)
}

// checks by the path at the receiver.
var checks = map[string]check{
	"/webhooks/events": {sample: vonageSample, verify: verifyVonage},
	"/webhooks/dixa":   {sample: dixaSample, verify: verifyDixa},
	"/webhooks/bird":   {sample: birdSample, verify: verifyBird},
}

// listen opens the receiver on a free port and writes the authority of its certificate to a file.
func (r *vendorReceiver) listen(ctx context.Context, authority string) error {
	certificate, pemText, err := selfSigned(vendorHost)
	if err != nil {
		return err
	}

	if err := os.WriteFile(authority, pemText, fileMode); err != nil {
		return fmt.Errorf("writing the receiver's certificate: %w", err)
	}

	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening the receiver: %w", err)
	}

	r.addr = listener.Addr().String()
	r.verified = map[string][]string{}
	r.server = &http.Server{
		Handler: r, ReadHeaderTimeout: stepTimeout, ReadTimeout: stepTimeout,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}

	go func() {
		if err := r.server.ServeTLS(listener, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
			r.note(err.Error())
		}
	}()

	return nil
}

// selfSigned is a certificate for one host, and it as PEM.
func selfSigned(host string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("making a key: %w", err)
	}

	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}

	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("making a certificate: %w", err)
	}

	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// ServeHTTP takes one delivery.
func (r *vendorReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxReceived))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)

		return
	}

	which, known := checks[req.URL.Path]
	if !known {
		http.NotFound(w, req)

		return
	}

	secret, err := r.secret(req.Context(), which.sample)

	var event string
	if err == nil {
		event, err = which.verify(secret, "https://"+vendorHost+req.URL.RequestURI(), body, req.Header)
	}

	if err != nil {
		r.note(which.sample + ": " + err.Error())
		http.Error(w, "the signature does not verify", http.StatusUnauthorized)

		return
	}

	r.mu.Lock()
	r.verified[which.sample] = append(r.verified[which.sample], event)
	r.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}

func (r *vendorReceiver) note(problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()

	r.problem = problem
}

// snapshot is what arrived for a sample and verified, and the latest problem of all.
func (r *vendorReceiver) snapshot(sample string) (events []string, problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()

	return append([]string(nil), r.verified[sample]...), r.problem
}

// verifyVonage checks the token in Vonage-Signature: HS256 with the Base64-decoded secret, and the body's hash in it.
func verifyVonage(secret, _ string, body []byte, header http.Header) (string, error) {
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		return "", fmt.Errorf("reading the signing secret: %w", err)
	}

	var claims struct {
		jwt.RegisteredClaims

		PayloadHash string `json:"payload_hash"` //nolint:tagliatelle // The vendor's own name.
	}

	_, err = jwt.ParseWithClaims(header.Get("Vonage-Signature"), &claims,
		func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired())
	if err != nil {
		return "", fmt.Errorf("verifying Vonage-Signature: %w", err)
	}

	if sum := sha256.Sum256(body); claims.PayloadHash != hex.EncodeToString(sum[:]) {
		return "", errors.New("the hash in Vonage-Signature is not the body's")
	}

	return eventType(body), nil
}

// verifyDixa checks X-DIXA-SIGNATURE: HMAC-SHA256 of the time and the body with the hex-decoded secret.
func verifyDixa(secret, _ string, body []byte, header http.Header) (string, error) {
	key, err := hex.DecodeString(secret)
	if err != nil {
		return "", fmt.Errorf("reading the signing secret: %w", err)
	}

	at, signature, _ := strings.Cut(header.Get("X-Dixa-Signature"), ",")
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s", strings.TrimPrefix(at, "t="), body)

	if !hmac.Equal([]byte(strings.TrimPrefix(signature, "v1=")), []byte(hex.EncodeToString(mac.Sum(nil)))) {
		return "", errors.New("X-DIXA-SIGNATURE does not verify")
	}

	var event struct {
		Name string `json:"event_fqn"` //nolint:tagliatelle // The vendor's own name.
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return "", fmt.Errorf("reading the body: %w", err)
	}

	return event.Name, nil
}

// verifyBird checks messagebird-signature: HMAC-SHA256 of the time, the URL and the body's hash with the key's text.
func verifyBird(secret, url string, body []byte, header http.Header) (string, error) {
	sum := sha256.Sum256(body)
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s\n%s\n%s", header.Get("Messagebird-Request-Timestamp"), url, sum[:])

	if !hmac.Equal([]byte(header.Get("Messagebird-Signature")), []byte(base64.StdEncoding.EncodeToString(mac.Sum(nil)))) {
		return "", errors.New("messagebird-signature does not verify")
	}

	var event struct {
		Service string `json:"service"`
		Event   string `json:"event"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return "", fmt.Errorf("reading the body: %w", err)
	}

	return event.Service + "." + event.Event, nil
}
