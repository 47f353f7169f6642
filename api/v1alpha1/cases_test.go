package v1alpha1_test

import (
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

const uuid = "9b3f5a0c-6f1d-4c0e-9a57-0f3f2c1d4e5a"

// sub is a valid subscription, changed.
func sub(change func(*v1alpha1.WebhookSubscriptionSpec)) *v1alpha1.WebhookSubscription {
	s := &v1alpha1.WebhookSubscription{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "case"},
		Spec:       v1alpha1.WebhookSubscriptionSpec{URL: "https://example.com/hooks", Events: []string{"order.created"}},
	}
	change(&s.Spec)

	return s
}

func withURL(url string) *v1alpha1.WebhookSubscription {
	return sub(func(s *v1alpha1.WebhookSubscriptionSpec) { s.URL = url })
}

func withName(name string) *v1alpha1.WebhookSubscription {
	return sub(func(s *v1alpha1.WebhookSubscriptionSpec) { s.Name = name })
}

func withEvents(events ...string) *v1alpha1.WebhookSubscription {
	return sub(func(s *v1alpha1.WebhookSubscriptionSpec) { s.Events = events })
}

func withHeaders(headers ...v1alpha1.Header) *v1alpha1.WebhookSubscription {
	return sub(func(s *v1alpha1.WebhookSubscriptionSpec) { s.Headers = headers })
}

func withDelivery(delivery v1alpha1.Delivery) *v1alpha1.WebhookSubscription {
	return sub(func(s *v1alpha1.WebhookSubscriptionSpec) { s.Delivery = &delivery })
}

func withService(ref v1alpha1.ServiceReference) *v1alpha1.WebhookSubscription {
	return sub(func(s *v1alpha1.WebhookSubscriptionSpec) { s.URL, s.ServiceRef = "", &ref })
}

func withDixa(filters ...v1alpha1.DixaFilter) *v1alpha1.WebhookSubscription {
	return sub(func(s *v1alpha1.WebhookSubscriptionSpec) {
		s.VendorOptions = &v1alpha1.VendorOptions{Dixa: &v1alpha1.DixaOptions{Filters: filters}}
	})
}

func withBird(options v1alpha1.BirdOptions) *v1alpha1.WebhookSubscription {
	return sub(func(s *v1alpha1.WebhookSubscriptionSpec) {
		s.VendorOptions = &v1alpha1.VendorOptions{Bird: &options}
	})
}

func verdictCases() map[string]verdictCase {
	all := map[string]verdictCase{}
	for _, cases := range []map[string]verdictCase{
		targetCases(), nameCases(), eventCases(), headerCases(), referenceCases(), deliveryCases(), vendorOptionCases(),
		providerCases(), clusterProviderCases(), providerUpdateCases(),
	} {
		for name := range cases {
			if _, taken := all[name]; taken {
				panic("two cases are named " + name)
			}
		}

		maps.Copy(all, cases)
	}

	return all
}

func targetCases() map[string]verdictCase {
	const (
		absolute = "spec.url: must be an absolute URL that begins with http:// or https:// and names a host; write it like https://example.com/webhooks"
		exactly  = "spec.url and spec.serviceRef: set exactly one; remove spec.serviceRef or spec.url"
		userInfo = "spec.url: must not hold a user name or password"
		fragment = "spec.url: must not hold a fragment; remove the #"
		ascii    = "spec.url: must not hold spaces or characters beyond ASCII"
		port     = "spec.url: has a port that does not exist; use one from 1 to 65535"
		path     = "spec.serviceRef.path: must be a path that begins with one / and holds no fragment"
		service  = "spec.serviceRef.name: must be the name of a Service"
	)

	return map[string]verdictCase{
		"url/plain":             {reason: "the usual form", object: withURL("https://example.com/hooks?team=a&b=%20")},
		"url/host only":         {reason: "a path is not needed", object: withURL("http://example.com")},
		"url/ip and port":       {reason: "addresses are hosts", object: withURL("http://127.0.0.1:18080/exact")},
		"url/ipv6":              {reason: "addresses are hosts", object: withURL("http://[::1]:8080/hooks")},
		"url/highest port":      {reason: "65535 is a port", object: withURL("http://example.com:65535")},
		"url/at in path":        {reason: "an @ after the host is no user information", object: withURL("https://example.com/@me")},
		"url/longest":           {reason: "2048 characters are allowed", object: withURL("https://example.com/" + strings.Repeat("a", 2028))},
		"url/too long":          {reason: "2049 are not", object: withURL("https://example.com/" + strings.Repeat("a", 2029)), field: "spec.url"},
		"url/relative":          {reason: "a path is not absolute", object: withURL("/hooks"), field: "spec.url", message: absolute},
		"url/no scheme":         {reason: "a host alone is not absolute", object: withURL("example.com/hooks"), field: "spec.url", message: absolute},
		"url/ftp":               {reason: "only http and https are spoken", object: withURL("ftp://example.com"), field: "spec.url", message: absolute},
		"url/upper-case scheme": {reason: "one spelling of a scheme", object: withURL("HTTPS://example.com"), field: "spec.url", message: absolute},
		"url/no host":           {reason: "nothing to dial", object: withURL("https:///hooks"), field: "spec.url", message: absolute},
		"url/port only":         {reason: "nothing to dial", object: withURL("https://:8080/hooks"), field: "spec.url", message: absolute},
		"url/bad escape":        {reason: "it cannot be parsed", object: withURL("https://exa%zz.com/"), field: "spec.url", message: absolute},
		"url/user information":  {reason: "credentials are not written into URLs", object: withURL("https://me:pass@example.com/"), field: "spec.url", message: userInfo},
		"url/user":              {reason: "nor is a name", object: withURL("https://me@example.com"), field: "spec.url", message: userInfo},
		"url/fragment":          {reason: "a fragment is never sent", object: withURL("https://example.com/#top"), field: "spec.url", message: fragment},
		"url/space":             {reason: "a space is percent-encoded", object: withURL("https://example.com/a b"), field: "spec.url", message: ascii},
		"url/not ascii":         {reason: "so are other characters", object: withURL("https://example.com/ü"), field: "spec.url", message: ascii},
		"url/port 0":            {reason: "0 is no port", object: withURL("https://example.com:0/"), field: "spec.url", message: port},
		"url/port 65536":        {reason: "ports end at 65535", object: withURL("https://example.com:65536"), field: "spec.url", message: port},
		"target/none":           {reason: "there must be one", object: withURL(""), field: "spec", message: exactly},
		"target/both": {
			reason: "there must be one only",
			object: sub(func(s *v1alpha1.WebhookSubscriptionSpec) {
				s.ServiceRef = &v1alpha1.ServiceReference{Name: "receiver"}
			}), field: "spec", message: exactly,
		},
		"service/minimal": {reason: "a name is enough", object: withService(v1alpha1.ServiceReference{Name: "receiver"})},
		"service/full": {
			reason: "everything set",
			object: withService(v1alpha1.ServiceReference{Name: "receiver", Port: ptr.To[int32](8443), Path: "/in?a=b", Scheme: v1alpha1.ServiceSchemeHTTPS}),
		},
		"service/no name":       {reason: "the name is required", object: withService(v1alpha1.ServiceReference{}), field: "spec.serviceRef.name"},
		"service/bad name":      {reason: "Services are named so", object: withService(v1alpha1.ServiceReference{Name: "other.namespace"}), field: "spec.serviceRef.name", message: service},
		"service/port 0":        {reason: "0 is no port", object: withService(v1alpha1.ServiceReference{Name: "receiver", Port: ptr.To[int32](0)}), field: "spec.serviceRef.port"},
		"service/port 65536":    {reason: "ports end at 65535", object: withService(v1alpha1.ServiceReference{Name: "receiver", Port: ptr.To[int32](65536)}), field: "spec.serviceRef.port"},
		"service/relative path": {reason: "a path begins with /", object: withService(v1alpha1.ServiceReference{Name: "receiver", Path: "in"}), field: "spec.serviceRef.path", message: path},
		"service/two slashes":   {reason: "// would begin another host", object: withService(v1alpha1.ServiceReference{Name: "receiver", Path: "//evil.example.com/"}), field: "spec.serviceRef.path", message: path},
		"service/fragment":      {reason: "a fragment is never sent", object: withService(v1alpha1.ServiceReference{Name: "receiver", Path: "/in#x"}), field: "spec.serviceRef.path", message: path},
		"service/scheme":        {reason: "the enum has two values", object: withService(v1alpha1.ServiceReference{Name: "receiver", Scheme: "http"}), field: "spec.serviceRef.scheme"},
	}
}

func nameCases() map[string]verdictCase {
	const (
		message = "spec.name: must not begin or end with a space nor hold control characters; remove them"
		observe = "spec.managementPolicy: ObserveOnly needs to know which subscription to observe; set spec.subscriptionId or spec.name"
		adopt   = "spec.adoptionPolicy: IfNameMatches needs a name to match; set spec.name, or remove spec.adoptionPolicy"
		id      = "spec.subscriptionId: may hold letters, digits, dots, underscores and dashes only"
	)

	policies := sub

	return map[string]verdictCase{
		"name/shortest":                {reason: "3 characters", object: withName("abc")},
		"name/longest":                 {reason: "128 characters, not bytes", object: withName(strings.Repeat("ä", 128))},
		"name/spaces inside":           {reason: "people write names", object: withName("Presence feed (EMEA)")},
		"name/too short":               {reason: "2 characters", object: withName("ab"), field: "spec.name"},
		"name/too long":                {reason: "129 characters", object: withName(strings.Repeat("a", 129)), field: "spec.name"},
		"name/leading space":           {reason: "nobody sees it", object: withName(" abc"), field: "spec.name", message: message},
		"name/trailing no-break space": {reason: "nobody sees it", object: withName("abc\u00a0"), field: "spec.name", message: message},
		"name/line break":              {reason: "a name is one line", object: withName("ab\nc"), field: "spec.name", message: message},
		"name/zero width":              {reason: "it would make twins", object: withName("ab\u200bc"), field: "spec.name", message: message},
		"policy/all": {reason: "everything set", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.Name, s.SubscriptionID = "presence", "2V1lVz6FeKOuVLEpSU6M0aqkM9b"
			s.DeletionPolicy, s.ManagementPolicy = v1alpha1.DeletionPolicyOrphan, v1alpha1.ManagementPolicyObserveOnly
			s.AdoptionPolicy = v1alpha1.AdoptionPolicyIfNameMatches
			s.Enabled = new(false)
		})},
		"policy/observe by id": {reason: "an id is enough", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.SubscriptionID, s.ManagementPolicy = uuid, v1alpha1.ManagementPolicyObserveOnly
		})},
		"policy/observe nothing": {reason: "a derived name belongs to nobody", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.ManagementPolicy = v1alpha1.ManagementPolicyObserveOnly
		}), field: "spec", message: observe},
		"policy/adopt nothing": {reason: "a derived name belongs to nobody", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.AdoptionPolicy = v1alpha1.AdoptionPolicyIfNameMatches
		}), field: "spec", message: adopt},
		"policy/deletion": {reason: "the enum has two values", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.DeletionPolicy = "Retain"
		}), field: "spec.deletionPolicy"},
		"policy/management": {reason: "the enum has two values", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.ManagementPolicy = "ReadOnly"
		}), field: "spec.managementPolicy"},
		"policy/adoption": {reason: "the enum has two values", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.AdoptionPolicy = "Always"
		}), field: "spec.adoptionPolicy"},
		"policy/id with slash": {reason: "an id becomes part of a path", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.SubscriptionID = "../other"
		}), field: "spec.subscriptionId", message: id},
		"policy/id too long": {reason: "129 characters", object: policies(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.SubscriptionID = strings.Repeat("a", 129)
		}), field: "spec.subscriptionId"},
	}
}

func eventCases() map[string]verdictCase {
	const (
		grammar = "spec.events: an event is made of segments joined by single dots"
		double  = "spec.events: ** stands nowhere, because one * already matches any run of characters; write a single *"
		many    = "spec.events: an event has at most 32 segments; use fewer dots"
	)

	hundred := make([]string, 0, v1alpha1.MaxEvents+1)
	for i := range v1alpha1.MaxEvents + 1 {
		hundred = append(hundred, "order.created.v"+strings.Repeat("1", i+1))
	}

	return map[string]verdictCase{
		"events/vendors": {reason: "names that vendors use", object: withEvents(
			"agent.presencechanged.v1", "ConversationCreated", "channels.sms.outbound", "com.example/thing:v1", "a_b-c~d+e@f#g")},
		"events/wildcards":       {reason: "every place of a wildcard", object: withEvents("*", "channel.*", "channel.*.v1", "*.created", "order.cre*d", "*a*b*")},
		"events/hundred":         {reason: "100 events", object: withEvents(hundred[:v1alpha1.MaxEvents]...)},
		"events/longest":         {reason: "256 characters", object: withEvents(strings.Repeat("a", 256))},
		"events/most segments":   {reason: "32 segments", object: withEvents(strings.Repeat("a.", 31) + "a")},
		"events/none":            {reason: "there must be one", object: withEvents(), field: "spec.events"},
		"events/too many":        {reason: "101 events", object: withEvents(hundred...), field: "spec.events"},
		"events/twice":           {reason: "a set has each once", object: withEvents("a.b", "a.b"), field: "spec.events[1]"},
		"events/empty":           {reason: "an event has a name", object: withEvents(""), field: "spec.events[0]"},
		"events/too long":        {reason: "257 characters", object: withEvents(strings.Repeat("a", 257)), field: "spec.events[0]"},
		"events/space":           {reason: "no spaces", object: withEvents("apple business chat.inbound"), field: "spec.events[0]", message: grammar},
		"events/leading dot":     {reason: "a segment is not empty", object: withEvents("ok", ".a"), field: "spec.events[1]", message: grammar},
		"events/trailing dot":    {reason: "a segment is not empty", object: withEvents("a."), field: "spec.events[0]", message: grammar},
		"events/two dots":        {reason: "a segment is not empty", object: withEvents("a..b"), field: "spec.events[0]", message: grammar},
		"events/regexp":          {reason: "it is no regular expression", object: withEvents("a.(b|c)"), field: "spec.events[0]", message: grammar},
		"events/not ascii":       {reason: "ASCII only", object: withEvents("größe"), field: "spec.events[0]", message: grammar},
		"events/line break":      {reason: "$ must not match before it", object: withEvents("a.b\n"), field: "spec.events[0]", message: grammar},
		"events/double wildcard": {reason: "** is no operator here", object: withEvents("a.**"), field: "spec.events[0]", message: double},
		"events/segments":        {reason: "33 segments", object: withEvents(strings.Repeat("a.", 32) + "a"), field: "spec.events[0]", message: many},
	}
}

func headerCases() map[string]verdictCase {
	const (
		one      = "spec.headers: value and secretKeyRef: set exactly one for each header; remove the other"
		token    = "spec.headers: name is not the name of an HTTP header; use letters, digits and dashes, like X-Team"
		reserved = "spec.headers: name is set by Hookline or by HTTP itself; remove this header (for Authorization use spec.authorization)"
		value    = "spec.headers: value must be printable ASCII and neither begin nor end with a space; remove other characters"
		twice    = "spec.headers: a name occurs twice, and case makes no difference in header names; remove one of them"
	)

	ref := &v1alpha1.SecretKeyReference{Name: "headers", Key: "token"}
	many := make([]v1alpha1.Header, 0, v1alpha1.MaxHeaders+1)

	for i := range v1alpha1.MaxHeaders + 1 {
		many = append(many, v1alpha1.Header{Name: "X-" + strings.Repeat("a", i+1), Value: "v"})
	}

	cases := map[string]verdictCase{
		"headers/both kinds": {reason: "value and reference", object: withHeaders(
			v1alpha1.Header{Name: "X-Team", Value: "support, tier 1"}, v1alpha1.Header{Name: "X-Token", SecretKeyRef: ref})},
		"headers/most":      {reason: "32 headers", object: withHeaders(many[:v1alpha1.MaxHeaders]...)},
		"headers/too many":  {reason: "33 headers", object: withHeaders(many...), field: "spec.headers"},
		"headers/neither":   {reason: "a header has a value", object: withHeaders(v1alpha1.Header{Name: "X-A"}), field: "spec.headers[0]", message: one},
		"headers/both":      {reason: "one value only", object: withHeaders(v1alpha1.Header{Name: "X-A", Value: "v", SecretKeyRef: ref}), field: "spec.headers[0]", message: one},
		"headers/no name":   {reason: "the name is required", object: withHeaders(v1alpha1.Header{Value: "v"}), field: "spec.headers[0].name"},
		"headers/long name": {reason: "129 characters", object: withHeaders(v1alpha1.Header{Name: strings.Repeat("a", 129), Value: "v"}), field: "spec.headers[0].name"},
		"headers/bad name":  {reason: "no spaces in names", object: withHeaders(v1alpha1.Header{Name: "X Team", Value: "v"}), field: "spec.headers[0].name", message: token},
		"headers/odd name":  {reason: "every token character", object: withHeaders(v1alpha1.Header{Name: "!#$%&'*+-.^_`|~09aZ", Value: "v"})},
		"headers/injection": {reason: "a line break would add a header", object: withHeaders(v1alpha1.Header{Name: "X-A", Value: "v\r\nHost: x"}), field: "spec.headers[0].value", message: value},
		"headers/space":     {reason: "it would be trimmed on the way", object: withHeaders(v1alpha1.Header{Name: "X-A", Value: "v "}), field: "spec.headers[0].value", message: value},
		"headers/longest":   {reason: "4096 characters", object: withHeaders(v1alpha1.Header{Name: "X-A", Value: strings.Repeat("v", 4096)})},
		"headers/too long":  {reason: "4097 characters", object: withHeaders(v1alpha1.Header{Name: "X-A", Value: strings.Repeat("v", 4097)}), field: "spec.headers[0].value"},
		"headers/twice":     {reason: "the list is a map by name", object: withHeaders(v1alpha1.Header{Name: "X-A", Value: "v"}, v1alpha1.Header{Name: "X-A", Value: "w"}), field: "spec.headers[1]"},
		"headers/case":      {reason: "case makes no difference", object: withHeaders(v1alpha1.Header{Name: "X-A", Value: "v"}, v1alpha1.Header{Name: "x-a", Value: "w"}), field: "spec.headers", message: twice},
		"headers/begins alike": {reason: "only whole names and prefixes are reserved", object: withHeaders(
			v1alpha1.Header{Name: "Hostname", Value: "v"}, v1alpha1.Header{Name: "Webhook", Value: "v"}, v1alpha1.Header{Name: "X-Webhook-Id", Value: "v"})},
	}

	for _, name := range []string{"Authorization", "connection", "HOST", "Content-Type", "Transfer-Encoding", "webhook-id", "Webhook-", "ce-type", "Proxy-Connection", "Messagebird-Signature", "X-Dixa-Signature"} {
		cases["headers/reserved "+name] = verdictCase{
			reason: "somebody else sets it", object: withHeaders(v1alpha1.Header{Name: name, Value: "v"}),
			field: "spec.headers[0].name", message: reserved,
		}
	}

	return cases
}

func referenceCases() map[string]verdictCase {
	const (
		one        = "spec.authorization.basic and spec.authorization.bearer: set exactly one"
		secretName = "name: is not the name of a Secret; use lower-case letters"
		secretKey  = "key: is not a key of a Secret; use letters"
		provider   = "spec.providerRef.name: is not the name of a provider"
	)

	auth := func(a v1alpha1.Authorization) *v1alpha1.WebhookSubscription {
		return sub(func(s *v1alpha1.WebhookSubscriptionSpec) { s.Authorization = &a })
	}
	ref := func(r v1alpha1.ProviderReference) *v1alpha1.WebhookSubscription {
		return sub(func(s *v1alpha1.WebhookSubscriptionSpec) { s.ProviderRef = &r })
	}
	secret := func(name, key string) *v1alpha1.WebhookSubscription {
		return sub(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.SecretRef = &v1alpha1.SecretKeyReference{Name: name, Key: key}
		})
	}
	basic := &v1alpha1.BasicAuthorization{SecretRef: v1alpha1.SecretReference{Name: "login"}}
	bearer := &v1alpha1.BearerAuthorization{SecretRef: v1alpha1.SecretKeyReference{Name: "token", Key: "token"}}

	return map[string]verdictCase{
		"authorization/basic":   {reason: "a user and password", object: auth(v1alpha1.Authorization{Basic: basic})},
		"authorization/bearer":  {reason: "a token", object: auth(v1alpha1.Authorization{Bearer: bearer})},
		"authorization/neither": {reason: "empty says nothing", object: auth(v1alpha1.Authorization{}), field: "spec.authorization", message: one},
		"authorization/both":    {reason: "there is one header", object: auth(v1alpha1.Authorization{Basic: basic, Bearer: bearer}), field: "spec.authorization", message: one},
		"authorization/basic without a name": {reason: "the Secret is required", object: auth(v1alpha1.Authorization{
			Basic: &v1alpha1.BasicAuthorization{SecretRef: v1alpha1.SecretReference{Name: "A"}}}), field: "spec.authorization.basic.secretRef.name", message: secretName},
		"authorization/bearer without a key": {reason: "the key is required", object: auth(v1alpha1.Authorization{
			Bearer: &v1alpha1.BearerAuthorization{SecretRef: v1alpha1.SecretKeyReference{Name: "token"}}}), field: "spec.authorization.bearer.secretRef.key"},
		"secret/given":          {reason: "a reference", object: secret("presence-signing", "secret")},
		"secret/dots":           {reason: "names may have dots", object: secret("a.b-c", "tls.key_1-A")},
		"secret/no key":         {reason: "the key is required", object: secret("presence-signing", ""), field: "spec.secretRef.key"},
		"secret/no name":        {reason: "the name is required", object: secret("", "secret"), field: "spec.secretRef.name"},
		"secret/upper case":     {reason: "no Secret is named so", object: secret("Presence", "secret"), field: "spec.secretRef.name", message: secretName},
		"secret/slash":          {reason: "no other namespace is reached", object: secret("other/presence", "secret"), field: "spec.secretRef.name", message: secretName},
		"secret/key with slash": {reason: "no key is named so", object: secret("presence", "a/b"), field: "spec.secretRef.key", message: secretKey},
		"provider/namespaced":   {reason: "one kind", object: ref(v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindNamespaced, Name: "team"})},
		"provider/cluster":      {reason: "the other kind", object: ref(v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindCluster, Name: "embedded"})},
		"provider/kind":         {reason: "there are two kinds", object: ref(v1alpha1.ProviderReference{Kind: "Provider", Name: "team"}), field: "spec.providerRef.kind"},
		"provider/no kind":      {reason: "the kind is required", object: ref(v1alpha1.ProviderReference{Name: "team"}), field: "spec.providerRef.kind"},
		"provider/no name":      {reason: "the name is required", object: ref(v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindCluster}), field: "spec.providerRef.name"},
		"provider/name":         {reason: "no object is named so", object: ref(v1alpha1.ProviderReference{Kind: v1alpha1.ProviderKindCluster, Name: "Embedded"}), field: "spec.providerRef.name", message: provider},
	}
}

func deliveryCases() map[string]verdictCase {
	const timeout = "spec.delivery.timeout: must be a duration from 1s to 60s; write it like 15s"

	cases := map[string]verdictCase{
		"delivery/empty": {reason: "nothing is chosen", object: withDelivery(v1alpha1.Delivery{})},
		"delivery/full": {reason: "everything set", object: withDelivery(v1alpha1.Delivery{
			Format: v1alpha1.DeliveryFormatDixa, Timeout: "15s", MaxAttempts: ptr.To[int32](50), MaxInFlight: ptr.To[int32](256),
			RateLimit: ptr.To[int32](10000), Ordering: v1alpha1.DeliveryOrderingByKey,
		})},
		"delivery/format":           {reason: "the enum has four values", object: withDelivery(v1alpha1.Delivery{Format: "cloudevents"}), field: "spec.delivery.format"},
		"delivery/ordering":         {reason: "the enum has two values", object: withDelivery(v1alpha1.Delivery{Ordering: "Global"}), field: "spec.delivery.ordering"},
		"delivery/maxAttempts 0":    {reason: "one attempt at least", object: withDelivery(v1alpha1.Delivery{MaxAttempts: ptr.To[int32](0)}), field: "spec.delivery.maxAttempts"},
		"delivery/maxAttempts 51":   {reason: "50 at most", object: withDelivery(v1alpha1.Delivery{MaxAttempts: ptr.To[int32](51)}), field: "spec.delivery.maxAttempts"},
		"delivery/maxInFlight 257":  {reason: "256 at most", object: withDelivery(v1alpha1.Delivery{MaxInFlight: ptr.To[int32](257)}), field: "spec.delivery.maxInFlight"},
		"delivery/rateLimit 0":      {reason: "0 would deliver nothing", object: withDelivery(v1alpha1.Delivery{RateLimit: ptr.To[int32](0)}), field: "spec.delivery.rateLimit"},
		"delivery/rateLimit 10001":  {reason: "10000 at most", object: withDelivery(v1alpha1.Delivery{RateLimit: ptr.To[int32](10001)}), field: "spec.delivery.rateLimit"},
		"delivery/rateLimit -1":     {reason: "there is no negative rate", object: withDelivery(v1alpha1.Delivery{RateLimit: ptr.To[int32](-1)}), field: "spec.delivery.rateLimit"},
		"delivery/timeout too long": {reason: "33 characters", object: withDelivery(v1alpha1.Delivery{Timeout: strings.Repeat("0", 32) + "s"}), field: "spec.delivery.timeout"},
	}

	for _, valid := range []string{"1s", "60s", "1m", "1000ms", "1.5s", "0h0m30s"} {
		cases["delivery/timeout "+valid] = verdictCase{reason: "within 1s and 60s", object: withDelivery(v1alpha1.Delivery{Timeout: valid})}
	}

	for _, refused := range []string{"15", "s", "999ms", "61s", "1h", "-5s", "+5s", "5 s", "5S", "5s\n", "10us", ".5m", "999999999h999999999h"} {
		cases["delivery/timeout "+refused] = verdictCase{
			reason: "no duration, or out of bounds", object: withDelivery(v1alpha1.Delivery{Timeout: refused}),
			field: "spec.delivery.timeout", message: timeout,
		}
	}

	return cases
}

func vendorOptionCases() map[string]verdictCase {
	const (
		one    = "spec.vendorOptions.bird and spec.vendorOptions.dixa: set exactly one, the one of the provider"
		empty  = "spec.vendorOptions.bird: is empty; set eventFilters or template, or remove it"
		family = "spec.vendorOptions.dixa.filters: family may hold letters only; write it like Conversation"
	)

	condition := v1alpha1.DixaCondition{Field: v1alpha1.DixaFieldQueueID, Operator: v1alpha1.DixaIsOneOf, Values: []string{"a"}}
	filter := func(change func(*v1alpha1.DixaFilter)) v1alpha1.DixaFilter {
		f := v1alpha1.DixaFilter{Family: "Conversation", Strategy: v1alpha1.DixaFilterAny, Conditions: []v1alpha1.DixaCondition{condition}}
		change(&f)

		return f
	}
	plain := filter(func(*v1alpha1.DixaFilter) {})
	conditions := func(conditions ...v1alpha1.DixaCondition) *v1alpha1.WebhookSubscription {
		return withDixa(filter(func(f *v1alpha1.DixaFilter) { f.Conditions = conditions }))
	}
	both := func(bird *v1alpha1.BirdOptions, dixa *v1alpha1.DixaOptions) *v1alpha1.WebhookSubscription {
		return sub(func(s *v1alpha1.WebhookSubscriptionSpec) {
			s.VendorOptions = &v1alpha1.VendorOptions{Bird: bird, Dixa: dixa}
		})
	}
	negated := condition
	negated.Operator = v1alpha1.DixaIsNotOneOf

	return map[string]verdictCase{
		"vendor/bird": {reason: "filters and template", object: withBird(v1alpha1.BirdOptions{
			EventFilters: []v1alpha1.BirdEventFilter{{Key: "channelId", Value: uuid}, {Key: "messageStatus", Value: "sent"}}, Template: "text"})},
		"vendor/neither": {reason: "empty says nothing", object: both(nil, nil), field: "spec.vendorOptions", message: one},
		"vendor/both": {reason: "one provider only", object: both(&v1alpha1.BirdOptions{Template: "text"},
			&v1alpha1.DixaOptions{Filters: []v1alpha1.DixaFilter{plain}}), field: "spec.vendorOptions", message: one},
		"vendor/bird empty": {reason: "empty says nothing", object: withBird(v1alpha1.BirdOptions{}), field: "spec.vendorOptions.bird", message: empty},
		"vendor/bird twice": {reason: "the list is a map by key", object: withBird(v1alpha1.BirdOptions{
			EventFilters: []v1alpha1.BirdEventFilter{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}}), field: "spec.vendorOptions.bird.eventFilters[1]"},
		"vendor/bird no value": {reason: "a filter compares with something", object: withBird(v1alpha1.BirdOptions{
			EventFilters: []v1alpha1.BirdEventFilter{{Key: "a"}}}), field: "spec.vendorOptions.bird.eventFilters[0].value"},
		"vendor/bird template": {reason: "129 characters", object: withBird(v1alpha1.BirdOptions{Template: strings.Repeat("a", 129)}), field: "spec.vendorOptions.bird.template"},
		"vendor/dixa":          {reason: "a filter", object: withDixa(plain)},
		"vendor/dixa two":      {reason: "one field, two operators", object: conditions(condition, negated)},
		"vendor/dixa none":     {reason: "there must be one", object: withDixa(), field: "spec.vendorOptions.dixa.filters"},
		"vendor/dixa twice":    {reason: "the list is a map by family", object: withDixa(plain, plain), field: "spec.vendorOptions.dixa.filters[1]"},
		"vendor/dixa family": {reason: "families are words", object: withDixa(filter(func(f *v1alpha1.DixaFilter) { f.Family = "Conversation." })),
			field: "spec.vendorOptions.dixa.filters[0].family", message: family},
		"vendor/dixa strategy": {reason: "the enum has two values", object: withDixa(filter(func(f *v1alpha1.DixaFilter) { f.Strategy = "None" })),
			field: "spec.vendorOptions.dixa.filters[0].strategy"},
		"vendor/dixa no conditions":    {reason: "there must be one", object: conditions(), field: "spec.vendorOptions.dixa.filters[0].conditions"},
		"vendor/dixa conditions twice": {reason: "the list is a map by field and operator", object: conditions(condition, condition), field: "spec.vendorOptions.dixa.filters[0].conditions[1]"},
		"vendor/dixa field": {reason: "the enum has three values", object: conditions(v1alpha1.DixaCondition{Field: "Queue", Operator: v1alpha1.DixaIsOneOf, Values: []string{"a"}}),
			field: "spec.vendorOptions.dixa.filters[0].conditions[0].field"},
		"vendor/dixa operator": {reason: "the enum has two values", object: conditions(v1alpha1.DixaCondition{Field: v1alpha1.DixaFieldQueueID, Operator: "In", Values: []string{"a"}}),
			field: "spec.vendorOptions.dixa.filters[0].conditions[0].operator"},
		"vendor/dixa no values": {reason: "there must be one", object: conditions(v1alpha1.DixaCondition{Field: v1alpha1.DixaFieldQueueID, Operator: v1alpha1.DixaIsOneOf}),
			field: "spec.vendorOptions.dixa.filters[0].conditions[0].values"},
		"vendor/dixa values twice": {reason: "a set has each once", object: conditions(v1alpha1.DixaCondition{Field: v1alpha1.DixaFieldQueueID, Operator: v1alpha1.DixaIsOneOf, Values: []string{"a", "a"}}),
			field: "spec.vendorOptions.dixa.filters[0].conditions[0].values[1]"},
	}
}
