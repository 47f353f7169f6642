package delivery

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// The first vector of Standard Webhooks 1.0.0.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func TestSignVector(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason string
		secret string
		id     string
		at     int64
		body   string
		same   bool
	}{
		"Vector":       {reason: "the standard's own", secret: vectorSecret, id: vectorID, at: vectorTime, body: vectorBody, same: true},
		"NoPrefix":     {reason: "the prefix is optional", secret: strings.TrimPrefix(vectorSecret, "whsec_"), id: vectorID, at: vectorTime, body: vectorBody, same: true},
		"OtherSecret":  {reason: "the key counts", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx", id: vectorID, at: vectorTime, body: vectorBody},
		"OtherID":      {reason: "the id is signed", secret: vectorSecret, id: vectorID + "x", at: vectorTime, body: vectorBody},
		"OtherTime":    {reason: "the time is signed", secret: vectorSecret, id: vectorID, at: vectorTime + 1, body: vectorBody},
		"OtherBody":    {reason: "every byte of the body is signed", secret: vectorSecret, id: vectorID, at: vectorTime, body: `{"test":2432232314}`},
		"ShiftedParts": {reason: "the dots do not shift", secret: vectorSecret, id: vectorID + ".1614265330", at: vectorTime, body: vectorBody},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			key, err := subscription.SigningKey(c.secret)
			if err != nil {
				t.Fatal(err)
			}
			got := Sign(key, c.id, time.Unix(c.at, 999_999_999), []byte(c.body))
			if (got == vectorSignature) != c.same {
				t.Errorf("%s: signature %s, same as the vector's: want %t", c.reason, got, c.same)
			}
		})
	}
}

func TestSetSignatureDuringRotation(t *testing.T) {
	t.Parallel()

	now := time.Now()
	texts := map[string]string{
		"current":  "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("c", 64))),
		"previous": "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("p", 32))),
		"expired":  "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("e", 32))),
	}
	header := http.Header{}
	err := setSignature(header, newSigners([]registry.Secret{
		{Text: texts["current"]},
		{Text: texts["previous"], Until: now.Add(time.Nanosecond)},
		{Text: texts["expired"], Until: now},
	}), vectorID, now, []byte(vectorBody))
	if err != nil {
		t.Fatal(err)
	}
	verifies := map[string]bool{}
	for name, text := range texts {
		verifier, err := standardwebhooks.NewWebhook(text)
		if err != nil {
			t.Fatal(err)
		}
		verifies[name] = verifier.Verify([]byte(vectorBody), header) == nil
	}
	if diff := cmp.Diff(map[string]bool{"current": true, "previous": true, "expired": false}, verifies); diff != "" {
		t.Errorf("who verifies (-want +got):\n%s", diff)
	}
	first, _, _ := strings.Cut(header.Get(HeaderSignature), " ")
	key, err := subscription.SigningKey(texts["current"])
	if err != nil {
		t.Fatal(err)
	}
	if first != Sign(key, vectorID, now, []byte(vectorBody)) {
		t.Error("the current secret's signature is not the first")
	}
}

func TestSetSignatureWithoutSecret(t *testing.T) {
	t.Parallel()

	now := time.Now()
	for name, secrets := range map[string][]registry.Secret{
		"None":    nil,
		"Expired": {{Text: vectorSecret, Until: now}},
		"Garbage": {{Text: "whsec_?"}},
	} {
		header := http.Header{}
		err := setSignature(header, newSigners(secrets), vectorID, now, nil)
		if err == nil || len(header) > 0 {
			t.Errorf("%s: error %v, headers %v: nothing must go out unsigned", name, err, header)
		}
	}
}

func TestDeliveryID(t *testing.T) {
	t.Parallel()

	base := DeliveryID("tenant", "source", "id", "sub")
	if base != DeliveryID("tenant", "source", "id", "sub") {
		t.Error("the id of one delivery changed")
	}
	// Written down once: an id that changed between releases would make receivers take retries for news.
	if want := "msg_rt5iv4q4tku75h11mrbl5o14hpfo1g01"; base != want {
		t.Errorf("id %s, want %s as in every release", base, want)
	}
	seen := map[string]bool{base: true}
	for _, parts := range [][4]string{
		{"tenants", "ource", "id", "sub"}, {"tenan", "tsource", "id", "sub"},
		{"tenant", "sourcei", "d", "sub"}, {"tenant", "source", "ids", "ub"},
		{"", "tenantsource", "id", "sub"}, {"tenant", "source", "id", "sub2"},
	} {
		id := DeliveryID(parts[0], parts[1], parts[2], parts[3])
		if seen[id] {
			t.Errorf("%q has the id of another delivery", parts)
		}
		if len(id) != 36 || strings.ContainsAny(id, ". ") {
			t.Errorf("id %q: want 36 characters without a dot", id)
		}
		seen[id] = true
	}
}
