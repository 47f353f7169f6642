package v1alpha1_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// FuzzEvents holds the rules for spec.events against the grammar itself: what one accepts the other does.
func FuzzEvents(f *testing.F) {
	for _, c := range eventCases() {
		for _, event := range c.object.(*v1alpha1.WebhookSubscription).Spec.Events {
			f.Add(event)
		}
	}

	f.Fuzz(func(t *testing.T, event string) {
		_, err := subscription.ParsePattern(event)
		errs := withEvents(event).Validate()

		if (err == nil) != (len(errs) == 0) {
			t.Errorf("%q: the grammar says %v, the rules say %v", event, err, errs)
		}
	})
}

// FuzzHeaderNames holds the rule for reserved names against the list that deliveries are made by.
func FuzzHeaderNames(f *testing.F) {
	for _, c := range headerCases() {
		for _, header := range c.object.(*v1alpha1.WebhookSubscription).Spec.Headers {
			f.Add(header.Name)
		}
	}

	for _, name := range []string{"te", "Trailers", "proxy-", "Proxy", "ce-", "hookline-x", "date", "Upgrade-Insecure-Requests"} {
		f.Add(name)
	}

	f.Fuzz(func(t *testing.T, name string) {
		if !httpguts.ValidHeaderFieldName(name) {
			return
		}

		var refused bool
		for _, err := range withHeaders(v1alpha1.Header{Name: name, Value: "v"}).Validate() {
			refused = refused || strings.Contains(err.Detail, "is set by Hookline or by HTTP itself")
		}

		if why, reserved := subscription.ReservedHeader(name); reserved != refused {
			t.Errorf("%q: reserved is %t (%s), the rules say %t", name, reserved, why, refused)
		}
	})
}

// FuzzTarget demands that a URL, a name and a header that the resource may have is one that the port takes.
func FuzzTarget(f *testing.F) {
	f.Add("https://example.com/hooks", "presence", "v")

	for _, cases := range []map[string]verdictCase{targetCases(), nameCases(), headerCases()} {
		for _, c := range cases {
			spec := c.object.(*v1alpha1.WebhookSubscription).Spec
			value := "v"

			for _, header := range spec.Headers {
				value = header.Value
			}

			f.Add(spec.URL, spec.Name, value)
		}
	}

	capabilities := subscription.Capabilities{
		Fields:     map[subscription.Field]bool{subscription.FieldName: true, subscription.FieldHeaders: true},
		Wildcards:  true,
		URLSchemes: []string{"http", "https"},
	}

	f.Fuzz(func(t *testing.T, url, name, value string) {
		// JSON carries no other text.
		if !utf8.ValidString(url) || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return
		}

		object := withURL(url)
		object.Spec.Name = name
		object.Spec.Headers = []v1alpha1.Header{{Name: "X-Team", Value: value}}

		if url == "" || name == "" || len(object.Validate()) > 0 {
			return
		}

		draft := subscription.Draft{
			Name: name, URL: url, Events: object.Spec.Events, Enabled: true,
			Headers: []subscription.Header{{Name: "X-Team", Value: value}},
		}
		if err := draft.Validate(capabilities); err != nil {
			t.Errorf("url %q, name %q, value %q: the resource is valid and the port says: %v", url, name, value, err)
		}
	})
}
