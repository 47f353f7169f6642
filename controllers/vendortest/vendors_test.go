package vendortest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// vendor is what the cases must know of one.
type vendor struct {
	name   string
	format subscription.Format
	// spec is the arm of a provider whose API is at url and whose account is tenant; it reads secret.
	spec func(url, tenant string) v1alpha1.WebhookProviderSpec
	// credentials are the Secret's values for a token of the tenant.
	credentials func(tenant, token string) map[string]string
	// operation tells what a request asks for.
	operation func(*http.Request) op
	// collection is the path of the list that a request is about.
	collection func(*http.Request) string
	// events are a set for one resource, otherEvents another.
	events, otherEvents []string
	// wildcard stands for more than one of the vendor's event types.
	wildcard string
	// names: subscriptions have names; unique: no two the same.
	names, unique bool
	// one event for each subscription.
	single bool
	// secrets can be given. given and other are two in the vendor's text form.
	secrets      bool
	given, other string
	// full adds all that the vendor honours besides, and needs the Secrets of fullSecrets.
	full func(*v1alpha1.WebhookSubscription)
	// fields changes one field each.
	fields map[string]func(*v1alpha1.WebhookSubscription)
	// unsupported is a field that the vendor has not.
	unsupported func(*v1alpha1.WebhookSubscription)
}

const (
	receiver      = "https://receiver.example.com/hooks"
	otherReceiver = "https://other.example.com/hooks"
	credentials   = "credentials"
)

// byPath tells operations from a method and from where a request's path ends, beside the collection's name.
func byPath(collection string) func(*http.Request) op {
	return func(r *http.Request) op {
		path := r.URL.Path
		if path == vonage.PathToken {
			return opToken
		}
		_, below, _ := strings.Cut(path, collection)
		switch {
		case below == "" && strings.HasSuffix(path, collection):
			return map[string]op{http.MethodPost: opCreate, http.MethodGet: opList}[r.Method]
		case strings.Count(below, "/") == 1:
			return map[string]op{http.MethodGet: opGet, http.MethodPatch: opUpdate, http.MethodDelete: opDelete}[r.Method]
		case below != "":
			return opStatuses
		default:
			return opTypes
		}
	}
}

// below is the path up to the collection's name.
func below(collection string) func(*http.Request) string {
	return func(r *http.Request) string {
		before, _, _ := strings.Cut(r.URL.Path, collection)

		return before + collection
	}
}

func basicAuthorization(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.Authorization = &v1alpha1.Authorization{
		Basic: &v1alpha1.BasicAuthorization{SecretRef: v1alpha1.SecretReference{Name: "basic"}},
	}
}

func teamHeaders(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.Headers = []v1alpha1.Header{
		{Name: "X-Key", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "header", Key: "value"}},
		{Name: "X-Team", Value: "support"},
	}
}

func disabled(sub *v1alpha1.WebhookSubscription) { sub.Spec.Enabled = new(false) }

func elsewhere(sub *v1alpha1.WebhookSubscription) { sub.Spec.URL = otherReceiver }

func renamed(sub *v1alpha1.WebhookSubscription) { sub.Spec.Name = "renamed-by-git" }

func ordered(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.Delivery = &v1alpha1.Delivery{Ordering: v1alpha1.DeliveryOrderingByKey}
}

var vonageVendor = vendor{
	name: "Vonage", format: subscription.FormatVonage,
	spec: func(url, _ string) v1alpha1.WebhookProviderSpec {
		return v1alpha1.WebhookProviderSpec{Vonage: &v1alpha1.VonageProvider{
			VonageAccount: v1alpha1.VonageAccount{
				URL: v1alpha1.ProviderURL(url), TokenURL: v1alpha1.ProviderURL(url + vonage.PathToken),
			},
			ClientCredentials: &v1alpha1.ClientCredentials{SecretRef: v1alpha1.SecretReference{Name: credentials}},
		}}
	},
	credentials: func(tenant, token string) map[string]string {
		return map[string]string{"client_id": tenant, "client_secret": token}
	},
	operation:   byPath("/webhooks/subscriptions"),
	collection:  below("/webhooks/subscriptions"),
	events:      []string{"agent.presencechanged.v1", "channel.ended.v1"},
	otherEvents: []string{"channel.held.v1"},
	wildcard:    "channel.*",
	names:       true, unique: true, secrets: true,
	given: "c5hgQuOnivQjqH3gHYabCl4QGxFCsl31rXRnX+3+z64=",
	other: "ZmlndXJlIG91dCB3aGF0IHRoaXMgc2F5cywgaXQgaXMgbm90IHNlY3JldA==",
	full:  disabled,
	fields: map[string]func(*v1alpha1.WebhookSubscription){
		"name": renamed, "url": elsewhere, "enabled": disabled,
	},
	unsupported: basicAuthorization,
}

var dixaVendor = vendor{
	name: "Dixa", format: subscription.FormatDixa,
	spec: func(url, _ string) v1alpha1.WebhookProviderSpec {
		return v1alpha1.WebhookProviderSpec{Dixa: &v1alpha1.DixaProvider{
			URL:            v1alpha1.ProviderURL(url + "/v1"),
			TokenSecretRef: v1alpha1.SecretKeyReference{Name: credentials, Key: "token"},
		}}
	},
	credentials: func(_, token string) map[string]string { return map[string]string{"token": token} },
	operation:   byPath("/v1/webhooks"),
	collection:  below("/v1/webhooks"),
	events:      []string{"ConversationCreated", "ConversationClosed"},
	otherEvents: []string{"ConversationRated"},
	wildcard:    "SLAEvaluation*",
	names:       true,
	full: func(sub *v1alpha1.WebhookSubscription) {
		disabled(sub)
		basicAuthorization(sub)
		teamHeaders(sub)
		dixaFilters(sub)
	},
	fields: map[string]func(*v1alpha1.WebhookSubscription){
		"name": renamed, "url": elsewhere, "enabled": disabled, "authorization": basicAuthorization,
		"headers": teamHeaders, "filters": dixaFilters,
	},
	unsupported: ordered,
}

func dixaFilters(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.VendorOptions = &v1alpha1.VendorOptions{Dixa: &v1alpha1.DixaOptions{Filters: []v1alpha1.DixaFilter{{
		Family: "Conversation", Strategy: v1alpha1.DixaFilterAny,
		Conditions: []v1alpha1.DixaCondition{{Field: "InitialChannel", Operator: "IsOneOf", Values: []string{"Email"}}},
	}}}}
}

var birdVendor = vendor{
	name: "Bird", format: subscription.FormatBird,
	spec: func(url, tenant string) v1alpha1.WebhookProviderSpec {
		return v1alpha1.WebhookProviderSpec{Bird: &v1alpha1.BirdProvider{
			BirdAccount: v1alpha1.BirdAccount{
				WorkspaceID: v1alpha1.BirdID(bird.WorkspaceID(tenant)), URL: v1alpha1.ProviderURL(url),
			},
			AccessKeySecretRef: v1alpha1.SecretKeyReference{Name: credentials, Key: "accessKey"},
		}}
	},
	credentials: func(_, token string) map[string]string { return map[string]string{"accessKey": token} },
	operation:   byPath("/webhook-subscriptions"),
	collection:  below("/webhook-subscriptions"),
	events:      []string{"channels.sms.inbound", "channels.sms.outbound"},
	otherEvents: []string{"channels.email.inbound"},
	wildcard:    "channels.sms.*",
	single:      true, secrets: true,
	given: "a signing key of Bird's, which is any text",
	other: "another signing key, after the rotation of it",
	full: func(sub *v1alpha1.WebhookSubscription) {
		disabled(sub)
		birdFilters(sub)
	},
	fields: map[string]func(*v1alpha1.WebhookSubscription){
		"url": elsewhere, "enabled": disabled, "filters": birdFilters,
	},
	unsupported: teamHeaders,
}

func birdFilters(sub *v1alpha1.WebhookSubscription) {
	sub.Spec.VendorOptions = &v1alpha1.VendorOptions{Bird: &v1alpha1.BirdOptions{
		EventFilters: []v1alpha1.BirdEventFilter{{Key: "channelId", Value: "5d1f9c7e-2b0a-4f1e-8c3d-7a6b5c4d3e2f"}},
	}}
}

var vendors = []vendor{vonageVendor, dixaVendor, birdVendor}

// tenantTokens are the tokens that the dispatcher takes, by tenant.
type tenantTokens struct {
	mu      sync.Mutex
	tenants map[string]string
}

// allow gives a tenant a token.
func (t *tenantTokens) allow(tenant, token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tenants == nil {
		t.tenants = map[string]string{}
	}
	t.tenants[token] = tenant
}

// Authenticate implements ingest.Authenticator.
func (t *tenantTokens) Authenticate(r *http.Request) (ingest.Principal, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	t.mu.Lock()
	defer t.mu.Unlock()
	tenant, known := t.tenants[token]
	if !known {
		return ingest.Principal{}, &subscription.AuthError{Message: "the token is not known"}
	}

	return ingest.Principal{Tenant: tenant, CanPublish: true, CanAdminister: true}, nil
}

// shown is a value as JSON, for failures.
func shown(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}

	return string(text)
}
