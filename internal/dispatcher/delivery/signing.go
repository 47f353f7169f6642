package delivery

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// The headers of Standard Webhooks 1.0.0.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

const (
	// deliveryIDPrefix begins every webhook-id.
	deliveryIDPrefix = "msg_"
	// deliveryIDBytes of a SHA-256 are kept: 160 bits, so that ids never meet by chance.
	deliveryIDBytes = 20
	// signatureVersion names HMAC-SHA256 with a shared secret.
	signatureVersion = "v1,"
)

// deliveryIDEncoding has no dot, which would blur the signed content's parts.
var deliveryIDEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// DeliveryID is the webhook-id of one event's delivery to one subscription: "msg_" and a
// hash in base32. It is the same over retries, resends, restarts and replicas, so receivers
// may drop what they have seen.
func DeliveryID(tenant, source, id, subscriptionID string) string {
	hash := sha256.New()
	var length [binary.MaxVarintLen64]byte
	for _, part := range []string{tenant, source, id, subscriptionID} {
		// Lengths keep ("ab", "c") and ("a", "bc") apart.
		hash.Write(length[:binary.PutUvarint(length[:], uint64(len(part)))])
		hash.Write([]byte(part))
	}

	return deliveryIDPrefix + deliveryIDEncoding.EncodeToString(hash.Sum(nil)[:deliveryIDBytes])
}

// Sign is one entry of the webhook-signature header: "v1," and the base64 of the
// HMAC-SHA256 of "id.timestamp.body". at is the time of this attempt; its whole seconds count.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id))
	mac.Write([]byte{'.'})
	mac.Write(strconv.AppendInt(nil, at.Unix(), 10))
	mac.Write([]byte{'.'})
	mac.Write(body)

	return signatureVersion + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// setSignature sets the three headers. Every secret that holds then signs, the current one
// first, so that receivers may change over while a secret rotates.
func setSignature(header http.Header, sub *registry.Subscription, id string, at time.Time, body []byte) error {
	secrets := sub.SigningSecrets(at)
	signatures := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		key, err := subscription.SigningKey(secret)
		if err != nil {
			return fmt.Errorf("reading the signing secret: %w", err)
		}
		signatures = append(signatures, Sign(key, id, at, body))
	}
	if len(signatures) == 0 {
		return errNoSecret
	}
	header.Set(HeaderID, id)
	header.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	header.Set(HeaderSignature, strings.Join(signatures, " "))

	return nil
}
