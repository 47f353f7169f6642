package dispatcher_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// The receivers' side of each signature, written from what the vendors document and from none
// of the dispatcher's own code.

// verifyVonage: a JWT by HS256 whose payload_hash is the body's SHA-256; the key is what the
// secret's Base64 decodes to.
func verifyVonage(t *testing.T, secret string, got delivered) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatalf("the secret is not Base64: %v", err)
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(strings.TrimPrefix(got.header.Get("Vonage-Signature"), "Bearer "), claims,
		func(*jwt.Token) (any, error) { return key, nil }, jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	if err != nil {
		t.Errorf("verifying %s: %v", got.path, err)
	}
	hash := sha256.Sum256(got.body)
	if claims["payload_hash"] != hex.EncodeToString(hash[:]) {
		t.Errorf("verifying %s: the signature is of another body", got.path)
	}
}

// verifyDixa: t=<milliseconds>,v1=<hexadecimal>; the key is what the secretKey's hexadecimal
// decodes to.
func verifyDixa(t *testing.T, secret string, got delivered) {
	t.Helper()
	key, err := hex.DecodeString(secret)
	if err != nil || len(key) != 32 {
		t.Fatalf("the secretKey is not 64 hexadecimal characters: %v", err)
	}
	stamp, signature, _ := strings.Cut(got.header.Get("X-Dixa-Signature"), ",v1=")
	stamp = strings.TrimPrefix(stamp, "t=")
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(stamp + "."))
	mac.Write(got.body)
	if hex.EncodeToString(mac.Sum(nil)) != signature {
		t.Errorf("verifying %s: the signature is another", got.path)
	}
	recent(t, got.path, stamp, time.UnixMilli)
}

// verifyBird: Base64 of the HMAC of timestamp, URL and the body's raw SHA-256; the key is the
// signingKey's text.
func verifyBird(t *testing.T, secret string, got delivered) {
	t.Helper()
	stamp := got.header.Get("Messagebird-Request-Timestamp")
	digest := sha256.Sum256(got.body)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "\nhttps://" + host + got.path + "\n"))
	mac.Write(digest[:])
	if base64.StdEncoding.EncodeToString(mac.Sum(nil)) != got.header.Get("Messagebird-Signature") {
		t.Errorf("verifying %s: the signature is another", got.path)
	}
	if got.header.Get("Messagebird-Request-Id") == "" {
		t.Errorf("verifying %s: there is no request id", got.path)
	}
	recent(t, got.path, stamp, func(seconds int64) time.Time { return time.Unix(seconds, 0) })
}

// verifyStandard: Standard Webhooks 1.0.0.
func verifyStandard(t *testing.T, secret string, got delivered) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, subscription.SecretPrefix))
	if err != nil {
		t.Fatalf("the secret is not Base64: %v", err)
	}
	stamp := got.header.Get("Webhook-Timestamp")
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(got.header.Get("Webhook-Id") + "." + stamp + "."))
	mac.Write(got.body)
	if "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) != got.header.Get("Webhook-Signature") {
		t.Errorf("verifying %s: the signature is another", got.path)
	}
	recent(t, got.path, stamp, func(seconds int64) time.Time { return time.Unix(seconds, 0) })
}

// recent sees to it that a timestamp is of now.
func recent(t *testing.T, path, stamp string, at func(int64) time.Time) {
	t.Helper()
	number, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || time.Since(at(number)).Abs() > time.Minute {
		t.Errorf("verifying %s: the timestamp %q is not of now: %v", path, stamp, err)
	}
}

// member is what stands in a JSON body at a path.
func member(t *testing.T, body []byte, path ...string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Fatalf("the body is not JSON: %v: %s", err, body)
	}
	for _, name := range path {
		members, _ := value.(map[string]any)
		value = members[name]
	}

	return value
}
