package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// certLifetime is far longer than a control plane made for a test or an afternoon lives.
	certLifetime = 7 * 24 * time.Hour
	// clockSkew makes certificates valid a little before now.
	clockSkew = 5 * time.Minute

	serialBits = 127

	groupMasters = "system:masters"
	// apiServerServiceIP is the first address of the service range, which API clients in the cluster use.
	apiServerServiceIP = "10.0.0.1"

	keyPerm  = 0o600
	certPerm = 0o644
)

// pair names the files of a certificate and its key.
type pair struct {
	cert, key string
}

// pki is the set of files that the processes of one control plane know each other by.
type pki struct {
	caCert  string
	serving pair
	admin   pair
	manager pair
	// serviceAccountKey signs and verifies ServiceAccount tokens. It outlives a restart on the same
	// folder, so that tokens issued before go on to be good.
	serviceAccountKey string
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newPKI makes a fresh authority and fresh certificates in dir.
func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the certificate folder: %w", err)
	}

	p := &pki{
		caCert:            filepath.Join(dir, "ca.crt"),
		serving:           pairIn(dir, "serving"),
		admin:             pairIn(dir, "admin"),
		manager:           pairIn(dir, "kube-controller-manager"),
		serviceAccountKey: filepath.Join(dir, "service-accounts.key"),
	}

	ca, err := newAuthority(p.caCert)
	if err != nil {
		return nil, err
	}

	// etcd's peer and client listeners use the serving certificate as a client too: it calls itself.
	serving := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "hookline-localcluster"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.ParseIP(loopback), net.IPv6loopback, net.ParseIP(apiServerServiceIP)},
		DNSNames: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		},
	}
	admin := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "hookline-localcluster-admin", Organization: []string{groupMasters}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	manager := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "system:kube-controller-manager"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}

	err = errors.Join(
		ca.issue(serving, p.serving),
		ca.issue(admin, p.admin),
		ca.issue(manager, p.manager),
		ensureKey(p.serviceAccountKey),
	)
	if err != nil {
		return nil, err
	}

	return p, nil
}

func pairIn(dir, name string) pair {
	return pair{cert: filepath.Join(dir, name+".crt"), key: filepath.Join(dir, name+".key")}
}

func newAuthority(certFile string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}

	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "hookline-localcluster-ca"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if err := complete(template); err != nil {
		return nil, err
	}

	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %w", err)
	}

	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back the authority's certificate: %w", err)
	}

	// The authority's key is never written: nothing else is to be signed once the processes run.
	return &authority{cert: cert, key: key}, writePEM(certFile, "CERTIFICATE", der, certPerm)
}

func (a *authority) issue(template *x509.Certificate, files pair) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}

	template.KeyUsage = x509.KeyUsageDigitalSignature
	if err := complete(template); err != nil {
		return err
	}

	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("making the certificate of %s: %w", template.Subject.CommonName, err)
	}

	return errors.Join(writeKey(files.key, key), writePEM(files.cert, "CERTIFICATE", der, certPerm))
}

// complete fills in what every certificate has.
func complete(template *x509.Certificate) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return fmt.Errorf("drawing a serial number: %w", err)
	}

	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-clockSkew)
	template.NotAfter = time.Now().Add(certLifetime)

	return nil
}

// ensureKey makes a key at path unless there is one already.
func ensureKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the ServiceAccount key: %w", err)
	}

	return writeKey(path, key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}

	return writePEM(path, "EC PRIVATE KEY", der, keyPerm)
}

func writePEM(path, kind string, der []byte, perm os.FileMode) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), perm); err != nil {
		return fmt.Errorf("writing the certificates: %w", err)
	}

	return nil
}
