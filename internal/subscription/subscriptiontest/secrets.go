package subscriptiontest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// secretCases are about what must not be read back, and the signing secret.
func secretCases() []conformance {
	settable := func(c subscription.Capabilities) bool {
		return c.Has(subscription.FieldSecret) && c.Secret == subscription.SecretSettable
	}

	return []conformance{
		{name: "SecretIsGenerated", check: checkSecretGenerated},
		{name: "SecretIsGiven", needs: settable, check: checkSecretGiven},
		{name: "SecretIsRotated", needs: settable, check: checkSecretRotated},
		{name: "EmptySecretIsNoRotation", needs: settable, check: checkEmptySecret},
		{name: "CredentialsAreNotReadBack", check: checkCredentials},
	}
}

// randomSecret is a signing secret in the form of Standard Webhooks.
func randomSecret() string {
	key := make([]byte, subscription.GeneratedSecretBytes)
	// It never fails: the process ends where there is no randomness.
	_, _ = rand.Read(key)

	return subscription.SecretPrefix + base64.StdEncoding.EncodeToString(key)
}

func checkSecretGenerated(p *probe) {
	first, second := p.create(p.draft()), p.create(p.draft())
	if first.Secret == "" {
		p.Fatalf("a create without a secret answers none: receivers could verify nothing")
	}
	key, err := subscription.SigningKey(first.Secret)
	if err != nil {
		p.Fatalf("reading the generated secret: %v", err)
	}
	other, err := subscription.SigningKey(second.Secret)
	if err != nil {
		p.Fatalf("reading the generated secret: %v", err)
	}
	if p.caps.Secret == subscription.SecretSettable && len(key) < subscription.MinSecretBytes {
		p.Errorf("the generated secret holds %d bytes of key material: less than a given one must", len(key))
	}
	if bytes.Equal(key, other) {
		p.Errorf("two subscriptions were given the same secret")
	}
	p.keepsTo(first.ID, first.Secret)
}

func checkSecretGiven(p *probe) {
	draft := p.draft()
	draft.Secret = randomSecret()
	created := p.create(draft)
	if created.Secret != "" && created.Secret != draft.Secret {
		p.Errorf("a create with a secret answers another one")
	}
	p.keepsTo(created.ID, draft.Secret)
}

func checkSecretRotated(p *probe) {
	draft := p.draft()
	draft.Secret = randomSecret()
	created := p.create(draft)
	next := randomSecret()
	updated := p.update(created.ID, subscription.Patch{Secret: &next})
	p.equal("a new secret changes nothing else", created.Subscription, updated, "UpdatedAt")
	p.withholds("Update", fmt.Sprintf("%+v", updated), next)
	p.keepsTo(created.ID, draft.Secret)
	p.keepsTo(created.ID, next)
}

func checkEmptySecret(p *probe) {
	created := p.create(p.draft())
	empty := ""
	_, err := p.api.Update(p.ctx, created.ID, subscription.Patch{Secret: &empty})
	p.wantInvalid(subscription.FieldSecret, err)
}

// keepsTo sees to it that neither Get nor List tells a text.
func (p *probe) keepsTo(id, secret string) {
	p.Helper()
	p.withholds("Get", fmt.Sprintf("%+v", p.get(id)), secret)
	p.withholds("List", fmt.Sprintf("%+v", p.listed(byID(id))), secret)
}

func (p *probe) withholds(method, answer, secret string) {
	p.Helper()
	if secret != "" && strings.Contains(answer, secret) {
		p.Errorf("%s tells a secret", method)
	}
}

// checkCredentials sees to it that what deliveries are authorized with is read back only
// where the capabilities say so.
func checkCredentials(p *probe) {
	draft := p.draft()
	switch {
	case p.caps.Has(subscription.FieldBearer):
		draft.Authorization = subscription.Authorization{Scheme: subscription.SchemeBearer, Token: secretText + "token"}
	case p.caps.Has(subscription.FieldBasic):
		draft.Authorization = subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "user", Password: secretText + "password"}
	}
	if p.caps.Has(subscription.FieldHeaderSecrets) {
		draft.Headers = []subscription.Header{{Name: "X-Api-Key", Value: secretText + "header", Sensitive: true}}
	}
	created := p.create(draft)
	if p.caps.CredentialsReadable {
		return
	}
	p.withholds("Create", fmt.Sprintf("%+v", created.Subscription), secretText)
	p.keepsTo(created.ID, secretText)
	on := true
	p.withholds("Update", fmt.Sprintf("%+v", p.update(created.ID, subscription.Patch{Enabled: &on})), secretText)
}
