package v1alpha1_test

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// clusterProvider is a provider of the cluster kind with this spec.
func clusterProvider(spec v1alpha1.ClusterWebhookProviderSpec) *v1alpha1.ClusterWebhookProvider {
	return &v1alpha1.ClusterWebhookProvider{ObjectMeta: metav1.ObjectMeta{Name: "case"}, Spec: *spec.DeepCopy()}
}

// namespacedProvider is the same provider in the namespaced kind: its references lose their namespaces.
func namespacedProvider(spec v1alpha1.ClusterWebhookProviderSpec) *v1alpha1.WebhookProvider {
	from := spec.DeepCopy()
	to := v1alpha1.WebhookProviderSpec{ProviderSettings: from.ProviderSettings}

	if d := from.Dispatcher; d != nil {
		to.Dispatcher = &v1alpha1.DispatcherProvider{URL: d.URL, Tenant: d.Tenant, TokenSecretRef: local(d.TokenSecretRef)}
	}

	if v := from.Vonage; v != nil {
		to.Vonage = &v1alpha1.VonageProvider{VonageAccount: v.VonageAccount, TokenSecretRef: local(v.TokenSecretRef)}
		if v.ClientCredentials != nil {
			to.Vonage.ClientCredentials = &v1alpha1.ClientCredentials{
				SecretRef: v1alpha1.SecretReference{Name: v.ClientCredentials.SecretRef.Name},
			}
		}
	}

	if d := from.Dixa; d != nil {
		to.Dixa = &v1alpha1.DixaProvider{URL: d.URL, TokenSecretRef: *local(&d.TokenSecretRef)}
	}

	if b := from.Bird; b != nil {
		to.Bird = &v1alpha1.BirdProvider{BirdAccount: b.BirdAccount, AccessKeySecretRef: *local(&b.AccessKeySecretRef)}
	}

	return &v1alpha1.WebhookProvider{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "case"}, Spec: to}
}

func local(ref *v1alpha1.ClusterSecretKeyReference) *v1alpha1.SecretKeyReference {
	if ref == nil {
		return nil
	}

	return &v1alpha1.SecretKeyReference{Name: ref.Name, Key: ref.Key}
}

var tokenRef = v1alpha1.ClusterSecretKeyReference{Namespace: testNamespace, Name: "credentials", Key: "token"}

func embedded(change func(*v1alpha1.ClusterWebhookProviderSpec)) v1alpha1.ClusterWebhookProviderSpec {
	spec := v1alpha1.ClusterWebhookProviderSpec{Dispatcher: &v1alpha1.ClusterDispatcherProvider{Tenant: testNamespace}}
	change(&spec)

	return spec
}

func dispatcherAt(url v1alpha1.ProviderURL) v1alpha1.ClusterWebhookProviderSpec {
	return v1alpha1.ClusterWebhookProviderSpec{Dispatcher: &v1alpha1.ClusterDispatcherProvider{
		URL: url, Tenant: testNamespace, TokenSecretRef: new(tokenRef),
	}}
}

func vonage(change func(*v1alpha1.ClusterVonageProvider)) v1alpha1.ClusterWebhookProviderSpec {
	arm := &v1alpha1.ClusterVonageProvider{
		VonageAccount: v1alpha1.VonageAccount{Region: v1alpha1.VonageRegionEMEA},
		ClientCredentials: &v1alpha1.ClusterClientCredentials{
			SecretRef: v1alpha1.ClusterSecretReference{Namespace: testNamespace, Name: "vonage"},
		},
	}
	change(arm)

	return v1alpha1.ClusterWebhookProviderSpec{Vonage: arm}
}

func dixa(change func(*v1alpha1.ClusterDixaProvider)) v1alpha1.ClusterWebhookProviderSpec {
	arm := &v1alpha1.ClusterDixaProvider{TokenSecretRef: tokenRef}
	change(arm)

	return v1alpha1.ClusterWebhookProviderSpec{Dixa: arm}
}

func bird(change func(*v1alpha1.ClusterBirdProvider)) v1alpha1.ClusterWebhookProviderSpec {
	arm := &v1alpha1.ClusterBirdProvider{
		BirdAccount: v1alpha1.BirdAccount{WorkspaceID: uuid}, AccessKeySecretRef: tokenRef,
	}
	change(arm)

	return v1alpha1.ClusterWebhookProviderSpec{Bird: arm}
}

// providerSpec is a case that both kinds of provider share.
type providerSpec struct {
	reason         string
	spec           v1alpha1.ClusterWebhookProviderSpec
	old            *v1alpha1.ClusterWebhookProviderSpec
	field, message string
	goOnly         bool
}

// inBothKinds makes two cases of each.
func inBothKinds(specs map[string]providerSpec) map[string]verdictCase {
	cases := make(map[string]verdictCase, 2*len(specs))

	for name, s := range specs {
		cluster := verdictCase{reason: s.reason, object: clusterProvider(s.spec), field: s.field, message: s.message, goOnly: s.goOnly}
		namespaced := cluster
		namespaced.object = namespacedProvider(s.spec)

		if s.old != nil {
			cluster.old, namespaced.old = clusterProvider(*s.old), namespacedProvider(*s.old)
		}

		cases["cluster "+name], cases["namespaced "+name] = cluster, namespaced
	}

	return cases
}

func providerCases() map[string]verdictCase {
	const (
		arms      = "spec.dispatcher, spec.vonage, spec.dixa and spec.bird: set exactly one; remove the others"
		network   = "spec.caBundle, spec.proxyURL and spec.timeout: the embedded dispatcher is not called over a network; remove them, or set spec.dispatcher.url"
		token     = "spec.dispatcher.url and spec.dispatcher.tokenSecretRef: a dispatcher elsewhere needs both and the embedded one neither; set both, or remove both"
		tenant    = "spec.dispatcher.tenant: may hold lower-case letters, digits and dashes"
		base      = "url: must be an absolute http:// or https:// URL with a host, and neither user information, query nor fragment"
		interval  = "spec.interval: must be a duration from 10s to 24h; write it like 5m"
		timeout   = "spec.timeout: must be a duration from 1s to 60s; write it like 15s"
		bundle    = "spec.caBundle: must hold certificates in PEM and no private key"
		proxy     = "spec.proxyURL: must be http:// or https:// with a host, and neither user information nor a path"
		selection = "names and selector: set at least one; list namespaces in names, or set selector"
		nsName    = "names: is not the name of a namespace"
		secret    = "name: is not the name of a Secret"
		key       = "key: is not a key of a Secret"
		region    = "spec.vonage.region and spec.vonage.url: set exactly one; remove the other"
		creds     = "spec.vonage.clientCredentials and spec.vonage.tokenSecretRef: set exactly one; remove the other"
		tokenURL  = "spec.vonage.tokenURL: spec.vonage.url does not say where tokens are issued; set spec.vonage.tokenURL, or use spec.vonage.tokenSecretRef"
		tokenUse  = "spec.vonage.tokenURL: is used with spec.vonage.clientCredentials only; remove it"
		birdID    = "spec.bird: an id at Bird is a UUID in lower case; copy it as Bird shows it"
		pem       = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	)

	at := func(change func(*v1alpha1.ClusterWebhookProviderSpec)) v1alpha1.ClusterWebhookProviderSpec {
		spec := dispatcherAt("https://hooks.example.com/base")
		change(&spec)

		return spec
	}
	both := embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) {
		s.Dixa = &v1alpha1.ClusterDixaProvider{TokenSecretRef: tokenRef}
	})
	adopting := func(selection v1alpha1.NamespaceSelection) v1alpha1.ClusterWebhookProviderSpec {
		return embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Adoption = &selection })
	}
	limited := func(limit v1alpha1.ProviderRateLimit) v1alpha1.ClusterWebhookProviderSpec {
		return embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.RateLimit = &limit })
	}
	keep := func(*v1alpha1.ClusterVonageProvider) {}

	specs := map[string]providerSpec{
		"embedded": {reason: "the shortest form", spec: embedded(func(*v1alpha1.ClusterWebhookProviderSpec) {})},
		"settings": {reason: "everything set", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) {
			s.Interval, s.Timeout, s.Default, s.CABundle, s.ProxyURL = "24h", "60s", new(true), pem, "http://proxy.example.com:3128"
			s.RateLimit = &v1alpha1.ProviderRateLimit{RequestsPerSecond: 1000, Burst: ptr.To[int32](1)}
			s.Adoption = &v1alpha1.NamespaceSelection{Names: []string{"support"}, Selector: &metav1.LabelSelector{}}
		})},
		"no arm":      {reason: "there must be one", spec: v1alpha1.ClusterWebhookProviderSpec{ProviderSettings: v1alpha1.ProviderSettings{Interval: "1m"}}, field: "spec", message: arms},
		"two arms":    {reason: "one only", spec: both, field: "spec", message: arms},
		"url alone":   {reason: "a dispatcher elsewhere wants a token", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Dispatcher.TokenSecretRef = nil }), field: "spec.dispatcher", message: token},
		"token alone": {reason: "the embedded one takes none", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Dispatcher.URL = "" }), field: "spec.dispatcher", message: token},
		"token name":  {reason: "no Secret is named so", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Dispatcher.TokenSecretRef.Name = "A" }), field: "spec.dispatcher.tokenSecretRef.name", message: secret},
		"token key":   {reason: "no key is named so", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Dispatcher.TokenSecretRef.Key = "a b" }), field: "spec.dispatcher.tokenSecretRef.key", message: key},
		"tenant":      {reason: "tenants are named like namespaces", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Dispatcher.Tenant = "-a" }), field: "spec.dispatcher.tenant", message: tenant},
		"tenant too long": {reason: "64 characters", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) {
			s.Dispatcher.Tenant = v1alpha1.TenantName(strings.Repeat("a", 64))
		}), field: "spec.dispatcher.tenant"},
		"url query":       {reason: "paths are appended to it", spec: dispatcherAt("https://hooks.example.com?a=b"), field: "spec.dispatcher.url", message: base},
		"url user":        {reason: "credentials are in Secrets", spec: dispatcherAt("https://me@hooks.example.com"), field: "spec.dispatcher.url", message: base},
		"url relative":    {reason: "there must be a host", spec: dispatcherAt("hooks.example.com"), field: "spec.dispatcher.url", message: base},
		"embedded bundle": {reason: "no network, no certificate", spec: embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.CABundle = pem }), field: "spec", message: network},
		"embedded proxy":  {reason: "no network, no proxy", spec: embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.ProxyURL = "http://proxy:3128" }), field: "spec", message: network},
		"interval short":  {reason: "9s", spec: embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Interval = "9s" }), field: "spec.interval", message: interval},
		"interval long":   {reason: "25h", spec: embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Interval = "25h" }), field: "spec.interval", message: interval},
		"interval text":   {reason: "days are no unit", spec: embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Interval = "1d" }), field: "spec.interval", message: interval},
		"timeout":         {reason: "61s", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Timeout = "61s" }), field: "spec.timeout", message: timeout},
		"rate 0":          {reason: "0 would ask nothing", spec: limited(v1alpha1.ProviderRateLimit{}), field: "spec.rateLimit.requestsPerSecond"},
		"burst 1001":      {reason: "1000 at most", spec: limited(v1alpha1.ProviderRateLimit{RequestsPerSecond: 1, Burst: ptr.To[int32](1001)}), field: "spec.rateLimit.burst"},
		"bundle":          {reason: "no PEM", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.CABundle = "MIIB" }), field: "spec.caBundle", message: bundle},
		"bundle key":      {reason: "a key would stand in the open", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.CABundle = pem + "-----BEGIN PRIVATE KEY-----" }), field: "spec.caBundle", message: bundle},
		"proxy user":      {reason: "credentials are in Secrets", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.ProxyURL = "http://me:pass@proxy:3128" }), field: "spec.proxyURL", message: proxy},
		"proxy path":      {reason: "a proxy has no path", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.ProxyURL = "http://proxy:3128/x" }), field: "spec.proxyURL", message: proxy},
		"proxy scheme":    {reason: "socks is not spoken", spec: at(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.ProxyURL = "socks5://proxy:1080" }), field: "spec.proxyURL", message: proxy},
		"adoption all":    {reason: "the empty selector selects all", spec: adopting(v1alpha1.NamespaceSelection{Selector: &metav1.LabelSelector{}})},
		"adoption none":   {reason: "empty says nothing", spec: adopting(v1alpha1.NamespaceSelection{}), field: "spec.adoption", message: selection},
		"adoption name":   {reason: "no wildcards", spec: adopting(v1alpha1.NamespaceSelection{Names: []string{"team-*"}}), field: "spec.adoption.names[0]", message: nsName},
		"adoption twice":  {reason: "a set has each once", spec: adopting(v1alpha1.NamespaceSelection{Names: []string{"a", "a"}}), field: "spec.adoption.names[1]"},
		"adoption selector": {reason: "the schema of a selector is Kubernetes' own and does not look inside", goOnly: true, spec: adopting(v1alpha1.NamespaceSelection{
			Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Has"}}},
		}), field: "spec.adoption.selector.matchExpressions[0].operator"},

		"vonage region": {reason: "a region and client credentials", spec: vonage(keep)},
		"vonage url": {reason: "a URL and a token", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) {
			v.Region, v.URL, v.ClientCredentials, v.TokenSecretRef = "", "https://emea.api.example.com", nil, new(tokenRef)
		})},
		"vonage both urls": {reason: "a URL, and where to get tokens", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) {
			v.Region, v.URL, v.TokenURL = "", "https://emea.api.example.com", "https://emea.example.com/token"
		})},
		"vonage unknown region": {reason: "the enum has three values", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) { v.Region = "emea" }), field: "spec.vonage.region"},
		"vonage nowhere":        {reason: "there must be one", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) { v.Region = "" }), field: "spec.vonage", message: region},
		"vonage twice": {reason: "one place only", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) {
			v.URL, v.TokenURL = "https://emea.api.example.com", "https://emea.example.com/token"
		}), field: "spec.vonage", message: region},
		"vonage no credentials":  {reason: "there must be some", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) { v.ClientCredentials = nil }), field: "spec.vonage", message: creds},
		"vonage two credentials": {reason: "one kind only", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) { v.TokenSecretRef = new(tokenRef) }), field: "spec.vonage", message: creds},
		"vonage no tokenURL":     {reason: "nobody knows where to ask", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) { v.Region, v.URL = "", "https://emea.api.example.com" }), field: "spec.vonage", message: tokenURL},
		"vonage tokenURL":        {reason: "a URL is absolute", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) { v.TokenURL = "token" }), field: "spec.vonage.tokenURL", message: base},
		"vonage needless": {reason: "a token needs no issuer", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) {
			v.ClientCredentials, v.TokenSecretRef, v.TokenURL = nil, new(tokenRef), "https://example.com"
		}), field: "spec.vonage", message: tokenUse},
		"vonage secret":     {reason: "no Secret is named so", spec: vonage(func(v *v1alpha1.ClusterVonageProvider) { v.ClientCredentials.SecretRef.Name = "a/b" }), field: "spec.vonage.clientCredentials.secretRef.name", message: secret},
		"dixa":              {reason: "the shortest form", spec: dixa(func(*v1alpha1.ClusterDixaProvider) {})},
		"dixa url":          {reason: "a URL with a port", spec: dixa(func(d *v1alpha1.ClusterDixaProvider) { d.URL = "http://127.0.0.1:8080" })},
		"dixa no token":     {reason: "the token is required", spec: dixa(func(d *v1alpha1.ClusterDixaProvider) { d.TokenSecretRef.Name = "" }), field: "spec.dixa.tokenSecretRef.name"},
		"dixa bad url":      {reason: "a fragment is never sent", spec: dixa(func(d *v1alpha1.ClusterDixaProvider) { d.URL = "https://example.com/#x" }), field: "spec.dixa.url", message: base},
		"bird":              {reason: "the shortest form", spec: bird(func(*v1alpha1.ClusterBirdProvider) {})},
		"bird organization": {reason: "everything set", spec: bird(func(b *v1alpha1.ClusterBirdProvider) { b.OrganizationID, b.URL = uuid, "https://api.example.com" })},
		"bird no workspace": {reason: "the workspace is required", spec: bird(func(b *v1alpha1.ClusterBirdProvider) { b.WorkspaceID = "" }), field: "spec.bird.workspaceId"},
		"bird workspace":    {reason: "an id is a UUID", spec: bird(func(b *v1alpha1.ClusterBirdProvider) { b.WorkspaceID = "my-workspace" }), field: "spec.bird.workspaceId", message: birdID},
		"bird upper case":   {reason: "one spelling of an id", spec: bird(func(b *v1alpha1.ClusterBirdProvider) { b.OrganizationID = v1alpha1.BirdID(strings.ToUpper(uuid)) }), field: "spec.bird.organizationId", message: birdID},
	}

	return inBothKinds(specs)
}

// clusterProviderCases are what only one of the kinds has.
func clusterProviderCases() map[string]verdictCase {
	const namespace = "namespace: is not the name of a namespace; use lower-case letters"

	allowing := func(selection v1alpha1.NamespaceSelection) *v1alpha1.ClusterWebhookProvider {
		return clusterProvider(embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.AllowedNamespaces = &selection }))
	}
	otherTenant := namespacedProvider(embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Dispatcher.Tenant = "other" }))
	noTenant := namespacedProvider(embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) { s.Dispatcher.Tenant = "" }))
	otherTenantElsewhere := namespacedProvider(dispatcherAt("https://hooks.example.com"))
	otherTenantElsewhere.Spec.Dispatcher.Tenant = "other"

	return map[string]verdictCase{
		"allowed": {reason: "names and labels", object: allowing(v1alpha1.NamespaceSelection{
			Names: []string{"a", "b"}, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"hooks": "yes"}}})},
		"allowed nothing": {reason: "empty says nothing", object: allowing(v1alpha1.NamespaceSelection{}), field: "spec.allowedNamespaces",
			message: "names and selector: set at least one; list namespaces in names, or set selector"},
		"allowed bad name": {reason: "no such namespace", object: allowing(v1alpha1.NamespaceSelection{Names: []string{"A"}}),
			field: "spec.allowedNamespaces.names[0]", message: "names: is not the name of a namespace"},
		"cluster no tenant": {reason: "a cluster provider's tenant is named", object: clusterProvider(embedded(func(s *v1alpha1.ClusterWebhookProviderSpec) {
			s.Dispatcher.Tenant = ""
		})), field: "spec.dispatcher.tenant"},
		"cluster no namespace": {reason: "a cluster provider says where the Secret is", object: clusterProvider(dixa(func(d *v1alpha1.ClusterDixaProvider) {
			d.TokenSecretRef.Namespace = ""
		})), field: "spec.dixa.tokenSecretRef.namespace"},
		"cluster bad namespace": {reason: "no such namespace", object: clusterProvider(bird(func(b *v1alpha1.ClusterBirdProvider) {
			b.AccessKeySecretRef.Namespace = "a.b"
		})), field: "spec.bird.accessKeySecretRef.namespace", message: namespace},
		"cluster client credentials namespace": {reason: "no such namespace", object: clusterProvider(vonage(func(v *v1alpha1.ClusterVonageProvider) {
			v.ClientCredentials.SecretRef.Namespace = "A"
		})), field: "spec.vonage.clientCredentials.secretRef.namespace", message: namespace},
		"namespaced no tenant":              {reason: "it is the namespace", object: noTenant},
		"namespaced other tenant elsewhere": {reason: "the token decides there", object: otherTenantElsewhere},
		"namespaced other tenant": {reason: "the API server shows no namespace to CEL", object: otherTenant, goOnly: true,
			field: "spec.dispatcher.tenant", message: "spec.dispatcher.tenant: at the embedded dispatcher the tenant is the namespace of the provider"},
	}
}

func providerUpdateCases() map[string]verdictCase {
	const (
		kind    = "spec: the kind of API (dispatcher, vonage, dixa, bird) cannot be changed; create another provider and point spec.providerRef at it"
		because = ": cannot be changed, because subscriptions would be left behind; create another provider"
	)

	keep := embedded(func(*v1alpha1.ClusterWebhookProviderSpec) {})
	elsewhere := dispatcherAt("https://hooks.example.com")
	region := vonage(func(*v1alpha1.ClusterVonageProvider) {})
	byURL := func(url v1alpha1.ProviderURL) v1alpha1.ClusterWebhookProviderSpec {
		return vonage(func(v *v1alpha1.ClusterVonageProvider) {
			v.Region, v.URL, v.TokenURL = "", url, "https://example.com/token"
		})
	}
	first, plainDixa, plainBird := byURL("https://a.example.com"), dixa(func(*v1alpha1.ClusterDixaProvider) {}), bird(func(*v1alpha1.ClusterBirdProvider) {})
	otherTenant := dispatcherAt("https://hooks.example.com")
	otherTenant.Dispatcher.Tenant = "other"

	specs := map[string]providerSpec{
		"update settings": {reason: "settings may change", old: &elsewhere, spec: func() v1alpha1.ClusterWebhookProviderSpec {
			spec := dispatcherAt("https://hooks.example.com")
			spec.Interval, spec.Default, spec.Dispatcher.TokenSecretRef.Name = "1m", new(true), "renewed"

			return spec
		}()},
		"update kind":              {reason: "another API", old: &keep, spec: plainDixa, field: "spec", message: kind},
		"update dispatcher away":   {reason: "another account", old: &keep, spec: elsewhere, field: "spec.dispatcher", message: "spec.dispatcher.url" + because},
		"update dispatcher url":    {reason: "another account", old: &elsewhere, spec: dispatcherAt("https://other.example.com"), field: "spec.dispatcher", message: "spec.dispatcher.url" + because},
		"update tenant":            {reason: "another account", old: &elsewhere, spec: otherTenant, field: "spec.dispatcher", message: "spec.dispatcher.tenant" + because},
		"update region":            {reason: "another account", old: &region, spec: vonage(func(v *v1alpha1.ClusterVonageProvider) { v.Region = v1alpha1.VonageRegionNAM }), field: "spec.vonage", message: "spec.vonage.region" + because},
		"update region to url":     {reason: "another account", old: &region, spec: first, field: "spec.vonage", message: "spec.vonage.url" + because},
		"update vonage url":        {reason: "another account", old: &first, spec: byURL("https://b.example.com"), field: "spec.vonage", message: "spec.vonage.url" + because},
		"update dixa url":          {reason: "another account", old: &plainDixa, spec: dixa(func(d *v1alpha1.ClusterDixaProvider) { d.URL = "https://dixa.example.com" }), field: "spec.dixa", message: "spec.dixa.url" + because},
		"update dixa token":        {reason: "a token is renewed", old: &plainDixa, spec: dixa(func(d *v1alpha1.ClusterDixaProvider) { d.TokenSecretRef.Key = "other" })},
		"update bird workspace":    {reason: "another account", old: &plainBird, spec: bird(func(b *v1alpha1.ClusterBirdProvider) { b.WorkspaceID = v1alpha1.BirdID("0" + uuid[1:]) }), field: "spec.bird", message: "spec.bird.workspaceId" + because},
		"update bird organization": {reason: "another account", old: &plainBird, spec: bird(func(b *v1alpha1.ClusterBirdProvider) { b.OrganizationID = uuid }), field: "spec.bird", message: "spec.bird.organizationId" + because},
		"update bird url":          {reason: "another account", old: &plainBird, spec: bird(func(b *v1alpha1.ClusterBirdProvider) { b.URL = "https://bird.example.com" }), field: "spec.bird", message: "spec.bird.url" + because},
	}

	return inBothKinds(specs)
}
