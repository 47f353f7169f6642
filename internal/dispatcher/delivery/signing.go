package delivery

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	stdhash "hash"
	"net/http"
	"strconv"
	"sync/atomic"
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
	// Most are short enough for the array, which then needs no heap.
	const most = 256
	content := make([]byte, 0, most)
	for _, part := range [...]string{tenant, source, id, subscriptionID} {
		// Lengths keep ("ab", "c") and ("a", "bc") apart.
		content = binary.AppendUvarint(content, uint64(len(part)))
		content = append(content, part...)
	}
	sum := sha256.Sum256(content)
	text := make([]byte, 0, len(deliveryIDPrefix)+2*deliveryIDBytes)

	return string(deliveryIDEncoding.AppendEncode(append(text, deliveryIDPrefix...), sum[:deliveryIDBytes]))
}

// Sign is one entry of the webhook-signature header: "v1," and the base64 of the
// HMAC-SHA256 of "id.timestamp.body". at is the time of this attempt; its whole seconds count.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	making := signature{mac: hmac.New(sha256.New, key)}

	return string(making.sign(nil, id, at, body))
}

// signatureHeaders is how many headers setSignature sets.
const signatureHeaders = 3

// setSignature sets the three headers. Every secret that holds then signs, the current one
// first, so that receivers may change over while a secret rotates.
func setSignature(header http.Header, signers []*signer, id string, at time.Time, body []byte) error {
	const most = 128
	signatures := make([]byte, 0, most)
	for _, one := range signers {
		if !one.secret.Holds(at) {
			continue
		}
		if one.err != nil {
			return one.err
		}
		if len(signatures) > 0 {
			signatures = append(signatures, ' ')
		}
		signatures = one.sign(signatures, id, at, body)
	}
	if len(signatures) == 0 {
		return errNoSecret
	}
	values := [signatureHeaders]string{id, strconv.FormatInt(at.Unix(), 10), string(signatures)}
	header[HeaderID], header[HeaderTimestamp], header[HeaderSignature] = values[0:1:1], values[1:2:2], values[2:3:3]

	return nil
}

// signer signs with one secret.
type signer struct {
	secret registry.Secret
	key    []byte
	// err says why it cannot.
	err error
	// idle is what the last one to sign has left behind, so that the next one need not make it.
	idle atomic.Pointer[signature]
}

// signature is one signature in the making.
type signature struct {
	mac     stdhash.Hash
	scratch []byte
}

// newSigners are one for each secret, in their order.
func newSigners(secrets []registry.Secret) []*signer {
	signers := make([]*signer, 0, len(secrets))
	for _, secret := range secrets {
		one := &signer{secret: secret}
		if one.key, one.err = subscription.SigningKey(secret.Text); one.err != nil {
			one.err = fmt.Errorf("reading the signing secret: %w", one.err)
		}
		signers = append(signers, one)
	}

	return signers
}

// sign appends what Sign returns.
func (s *signer) sign(to []byte, id string, at time.Time, body []byte) []byte {
	making := s.idle.Swap(nil)
	if making == nil {
		making = &signature{mac: hmac.New(sha256.New, s.key)}
	}
	to = making.sign(to, id, at, body)
	making.mac.Reset()
	s.idle.Store(making)

	return to
}

func (s *signature) sign(to []byte, id string, at time.Time, body []byte) []byte {
	s.scratch = append(append(s.scratch[:0], id...), '.')
	s.scratch = append(strconv.AppendInt(s.scratch, at.Unix(), 10), '.')
	s.mac.Write(s.scratch)
	s.mac.Write(body)
	s.scratch = s.mac.Sum(s.scratch[:0])

	return base64.StdEncoding.AppendEncode(append(to, signatureVersion...), s.scratch)
}
