package provider_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
)

const (
	workspace    = "9b3f5a0c-6f1d-4c0e-9a57-0f3f2c1d4e5a"
	organization = "5d1f9c7e-2b0a-4f1e-8c3d-7a6b5c4d3e2f"
)

func TestConfigureVendors(t *testing.T) {
	t.Parallel()

	key := func(key string) v1alpha1.SecretKeyReference {
		return v1alpha1.SecretKeyReference{Name: "vendor", Key: key}
	}
	client := &v1alpha1.ClientCredentials{SecretRef: v1alpha1.SecretReference{Name: "vendor"}}
	vonage := func(account v1alpha1.VonageAccount) v1alpha1.WebhookProviderSpec {
		return v1alpha1.WebhookProviderSpec{Vonage: &v1alpha1.VonageProvider{VonageAccount: account, ClientCredentials: client}}
	}
	dixa := func(url string) v1alpha1.WebhookProviderSpec {
		return v1alpha1.WebhookProviderSpec{Dixa: &v1alpha1.DixaProvider{URL: v1alpha1.ProviderURL(url), TokenSecretRef: key("token")}}
	}

	cases := map[string]struct {
		reason  string
		spec    v1alpha1.WebhookProviderSpec
		want    provider.Config
		account *v1alpha1.ProviderAccount
	}{
		"VonageRegion": {
			reason: "A region stands for both hosts.",
			spec:   vonage(v1alpha1.VonageAccount{Region: v1alpha1.VonageRegionAPAC}),
			want: provider.Config{
				Type: v1alpha1.ProviderTypeVonage, URL: "https://apac.api.newvoicemedia.com",
				TokenURL: "https://apac.cc.vonage.com/Auth/connect/token", ClientID: "the-client", ClientSecret: "its-secret",
			},
			account: &v1alpha1.ProviderAccount{URL: "https://apac.api.newvoicemedia.com"},
		},
		"VonageTokenURL": {
			reason: "The older token host is reached by its URL.",
			spec: vonage(v1alpha1.VonageAccount{
				Region: v1alpha1.VonageRegionEMEA, TokenURL: "https://emea.newvoicemedia.com/Auth/connect/token",
			}),
			want: provider.Config{
				Type: v1alpha1.ProviderTypeVonage, URL: "https://emea.api.newvoicemedia.com",
				TokenURL: "https://emea.newvoicemedia.com/Auth/connect/token", ClientID: "the-client", ClientSecret: "its-secret",
			},
			account: &v1alpha1.ProviderAccount{URL: "https://emea.api.newvoicemedia.com"},
		},
		"VonageStaticToken": {
			reason: "A token that somebody else renews needs no token endpoint.",
			spec: v1alpha1.WebhookProviderSpec{Vonage: &v1alpha1.VonageProvider{
				VonageAccount: v1alpha1.VonageAccount{Region: v1alpha1.VonageRegionNAM}, TokenSecretRef: new(key("token")),
			}},
			want: provider.Config{
				Type: v1alpha1.ProviderTypeVonage, URL: "https://nam.api.newvoicemedia.com", Token: "the-token",
			},
			account: &v1alpha1.ProviderAccount{URL: "https://nam.api.newvoicemedia.com"},
		},
		"Dixa": {
			reason: "The vendor's own API and limit are the default.",
			spec:   dixa(""),
			want: provider.Config{
				Type: v1alpha1.ProviderTypeDixa, URL: "https://dev.dixa.io/v1", Token: "the-token",
				RequestsPerSecond: 10, Burst: provider.DixaBurst,
			},
			account: &v1alpha1.ProviderAccount{URL: "https://dev.dixa.io/v1"},
		},
		"DixaVersion": {
			reason: "The version is added where the URL has none.",
			spec:   dixa("http://vendors.hooks.svc:8080/"),
			want: provider.Config{
				Type: v1alpha1.ProviderTypeDixa, URL: "http://vendors.hooks.svc:8080/v1", Token: "the-token",
				RequestsPerSecond: 10, Burst: provider.DixaBurst,
			},
			account: &v1alpha1.ProviderAccount{URL: "http://vendors.hooks.svc:8080/v1"},
		},
		"DixaBeta": {
			reason: "The version that the URL has stays.",
			spec:   dixa("https://dev.dixa.io/beta"),
			want: provider.Config{
				Type: v1alpha1.ProviderTypeDixa, URL: "https://dev.dixa.io/beta", Token: "the-token",
				RequestsPerSecond: 10, Burst: provider.DixaBurst,
			},
			account: &v1alpha1.ProviderAccount{URL: "https://dev.dixa.io/beta"},
		},
		"Bird": {
			reason: "The workspace is the account; the organization is a form of the paths.",
			spec: v1alpha1.WebhookProviderSpec{Bird: &v1alpha1.BirdProvider{
				BirdAccount:        v1alpha1.BirdAccount{WorkspaceID: workspace, OrganizationID: organization},
				AccessKeySecretRef: key("token"),
			}},
			want: provider.Config{
				Type: v1alpha1.ProviderTypeBird, URL: "https://api.bird.com", Account: workspace, Organization: organization, Token: "the-token",
			},
			account: &v1alpha1.ProviderAccount{URL: "https://api.bird.com", ID: workspace},
		},
	}

	values := secrets{"team/vendor/token": "the-token", "team/vendor/client_id": "the-client", "team/vendor/client_secret": "its-secret"}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			resource := embedded(func(p *v1alpha1.WebhookProvider) { p.Spec = tc.spec })

			got, err := provider.Configure(t.Context(), resource, values, 0)
			if err != nil {
				t.Fatal(err)
			}

			tc.want.Timeout, tc.want.Interval = v1alpha1.DefaultRequestTimeout, v1alpha1.DefaultInterval
			common := cmpopts.IgnoreFields(provider.Config{}, "UID", "Kind", "Namespace", "Name", "Generation")

			if diff := cmp.Diff(tc.want, got, common); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}

			if diff := cmp.Diff(tc.account, got.AccountStatus()); diff != "" {
				t.Errorf("%s\naccount (-want +got):\n%s", tc.reason, diff)
			}

			resource.Spec.RateLimit = &v1alpha1.ProviderRateLimit{RequestsPerSecond: 2}

			got, err = provider.Configure(t.Context(), resource, values, 0)
			if err != nil || got.RequestsPerSecond != 2 || got.Burst != 2 {
				t.Errorf("%s\nwith a limit of its own it is %d/s, burst %d, %v", tc.reason, got.RequestsPerSecond, got.Burst, err)
			}
		})
	}
}

// TestCredentialsThatCannotBeUsed: what is wrong with a Secret names the field and the key, and never the value.
func TestCredentialsThatCannotBeUsed(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason  string
		vendor  string
		values  secrets
		want    error
		mention []string
	}{
		"NoToken":  {"It is said which Secret lacks.", "Dixa", secrets{}, provider.ErrSecretNotFound, []string{"spec.dixa.tokenSecretRef", "vendor"}},
		"NoClient": {"Both keys are needed.", "Vonage", secrets{"team/vendor/client_id": "x"}, provider.ErrSecretNotFound, []string{"spec.vonage.clientCredentials.secretRef"}},
		"Pasted": {
			"A line too many cannot be sent.", "VonageToken", secrets{"team/vendor/token": "a-secret-text\n\n"},
			provider.ErrSecretInvalid, []string{"spec.vonage.tokenSecretRef", "key token", "line break"},
		},
		"Scheme": {
			"The scheme is not part of the token.", "Dixa", secrets{"team/vendor/token": "Bearer a-secret-text"},
			provider.ErrSecretInvalid, []string{"spec.dixa.tokenSecretRef", "space"},
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			resource := embedded(func(p *v1alpha1.WebhookProvider) { p.Spec = vendors[tc.vendor].spec("https://a.example.com") })

			_, err := provider.Configure(t.Context(), resource, tc.values, 0)
			if !errors.Is(err, tc.want) || strings.Contains(err.Error(), "a-secret-text") {
				t.Fatalf("%s\nthe error is %v, want %v", tc.reason, err, tc.want)
			}

			for _, mention := range tc.mention {
				if !strings.Contains(err.Error(), mention) {
					t.Errorf("%s\n%q does not mention %q", tc.reason, err, mention)
				}
			}
		})
	}
}

// TestConnectionsThatCannotBeMade: a bundle or a proxy that cannot be read is an error of the spec.
func TestConnectionsThatCannotBeMade(t *testing.T) {
	t.Parallel()

	const certificate = "-----BEGIN CERTIFICATE-----\n"

	cases := map[string]struct {
		reason  string
		change  func(*v1alpha1.WebhookProvider)
		mention string
	}{
		"NoCertificate": {"Text is no certificate.", func(p *v1alpha1.WebhookProvider) { p.Spec.CABundle = certificate + "???" }, "spec.caBundle"},
		"NotOne": {
			"What stands in PEM need not be a certificate.",
			func(p *v1alpha1.WebhookProvider) {
				p.Spec.CABundle = certificate + "aGVsbG8gd29ybGQ=\n-----END CERTIFICATE-----\n"
			}, "spec.caBundle: certificate 1",
		},
		"CutOff": {
			"A bundle that was not pasted whole would lack what it should vouch for.",
			func(p *v1alpha1.WebhookProvider) { p.Spec.CABundle += certificate + "MIIBdzCC" }, "cut off",
		},
		"NoURL":    {"A proxy has a host.", func(p *v1alpha1.WebhookProvider) { p.Spec.ProxyURL = "http://" }, "spec.proxyURL"},
		"NoScheme": {"A proxy is spoken to over HTTP.", func(p *v1alpha1.WebhookProvider) { p.Spec.ProxyURL = "proxy:3128" }, "spec.proxyURL"},
		"BadURL":   {"A URL that cannot be read is not repeated.", func(p *v1alpha1.WebhookProvider) { p.Spec.ProxyURL = "http://a%zz" }, "spec.proxyURL"},
	}

	u := newUpstream(t)

	for name, tc := range cases {
		for vendorName, v := range vendors {
			t.Run(vendorName, func(t *testing.T) {
				t.Parallel()

				_, err := newPool(v.secrets(goodToken), provider.PoolOptions{}).Open(t.Context(), u.resource(v, tc.change))
				if !errors.Is(err, provider.ErrInvalid) || !strings.Contains(err.Error(), tc.mention) {
					t.Errorf("%s: %s\nthe error is %v", name, tc.reason, err)
				}
			})
		}
	}
}

func TestSameAccount(t *testing.T) {
	t.Parallel()

	vonage := provider.Config{UID: "1", Type: v1alpha1.ProviderTypeVonage, URL: "https://v", ClientID: "client", ClientSecret: "secret"}
	static := provider.Config{UID: "1", Type: v1alpha1.ProviderTypeVonage, URL: "https://v", Token: "token"}
	dixa := provider.Config{UID: "1", Type: v1alpha1.ProviderTypeDixa, URL: "https://d/v1", Token: "token"}
	bird := provider.Config{UID: "1", Type: v1alpha1.ProviderTypeBird, URL: "https://b", Account: workspace, Token: "key"}
	remote := provider.Config{UID: "1", Type: v1alpha1.ProviderTypeDispatcher, URL: "https://h", Account: tenant, Token: "token"}

	cases := map[string]struct {
		reason string
		one    provider.Config
		change func(*provider.Config)
		same   bool
	}{
		"Renewed":            {"A renewed token is of the provider's one account.", dixa, func(c *provider.Config) { c.Token = "next" }, true},
		"RenewedClient":      {"So is a renewed client.", vonage, func(c *provider.Config) { c.ClientID = "next" }, true},
		"OtherDixaToken":     {"Tokens decide at Dixa.", dixa, func(c *provider.Config) { c.UID, c.Token = "2", "next" }, false},
		"SameDixaToken":      {"One token is of one account.", dixa, func(c *provider.Config) { c.UID = "2" }, true},
		"OtherHost":          {"Another host is another API.", dixa, func(c *provider.Config) { c.UID, c.URL = "2", "https://e/v1" }, false},
		"OtherVonageClient":  {"Nothing says that two clients are of one account.", vonage, func(c *provider.Config) { c.UID, c.ClientID = "2", "next" }, false},
		"OtherClientSecret":  {"A client is the same with a renewed secret.", vonage, func(c *provider.Config) { c.UID, c.ClientSecret = "2", "next" }, true},
		"OtherVonageToken":   {"Nothing says that two tokens are of one account.", static, func(c *provider.Config) { c.UID, c.Token = "2", "next" }, false},
		"OtherAccessKey":     {"A workspace is the same with any key.", bird, func(c *provider.Config) { c.UID, c.Token = "2", "next" }, true},
		"OtherPaths":         {"And by any form of its paths.", bird, func(c *provider.Config) { c.UID, c.Organization = "2", organization }, true},
		"OtherWorkspace":     {"Another workspace is another account.", bird, func(c *provider.Config) { c.UID, c.Account = "2", organization }, false},
		"OtherTenantToken":   {"A tenant is the same with any token.", remote, func(c *provider.Config) { c.UID, c.Token = "2", "next" }, true},
		"OtherTenant":        {"Another tenant is another account.", remote, func(c *provider.Config) { c.UID, c.Account = "2", "other" }, false},
		"OtherKind":          {"Another kind is another account.", remote, func(c *provider.Config) { c.Type = v1alpha1.ProviderTypeBird }, false},
		"ClientAndItsTokens": {"Nothing says whose a token is.", vonage, func(c *provider.Config) { c.UID, c.ClientID, c.Token = "2", "", "token" }, false},
	}

	for name, tc := range cases {
		other := tc.one
		tc.change(&other)

		if got := tc.one.SameAccount(other); got != tc.same {
			t.Errorf("%s: %s\nthe same: %v, want %v", name, tc.reason, got, tc.same)
		}

		if tc.one.SameAccount(other) != other.SameAccount(tc.one) {
			t.Errorf("%s: it depends on which is asked", name)
		}
	}
}
