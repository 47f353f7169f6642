package subscriptiontest

import (
	"errors"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// wrong is a value that must be refused.
type wrong struct {
	name  string
	field subscription.Field
	// always: every provider has the field.
	always bool
	change func(d *subscription.Draft)
}

func wrongs() []wrong {
	return []wrong{
		{"NameTooShort", subscription.FieldName, false, func(d *subscription.Draft) { d.Name = "ab" }},
		{"NameTooLong", subscription.FieldName, false, func(d *subscription.Draft) { d.Name = strings.Repeat("n", 129) }},
		{"URLEmpty", subscription.FieldURL, true, func(d *subscription.Draft) { d.URL = "" }},
		{"URLRelative", subscription.FieldURL, true, func(d *subscription.Draft) { d.URL = "/webhooks" }},
		{"URLScheme", subscription.FieldURL, true, func(d *subscription.Draft) { d.URL = "ftp://conformance.example" }},
		{"URLWithoutHost", subscription.FieldURL, true, func(d *subscription.Draft) { d.URL = "https:///webhooks" }},
		{"URLWithUser", subscription.FieldURL, true, func(d *subscription.Draft) { d.URL = "https://u:" + secretText + "@conformance.example" }},
		{"URLTooLong", subscription.FieldURL, true, func(d *subscription.Draft) {
			d.URL = "https://conformance.example/" + strings.Repeat("x", subscription.MaxURLLength)
		}},
		{"NoEvents", subscription.FieldEvents, true, func(d *subscription.Draft) { d.Events = []string{} }},
		{"EventWithEmptySegment", subscription.FieldEvents, true, func(d *subscription.Draft) { d.Events = []string{"a..b"} }},
		{"EventWithSpace", subscription.FieldEvents, true, func(d *subscription.Draft) { d.Events = []string{"a b"} }},
		{"SecretTooShort", subscription.FieldSecret, false, func(d *subscription.Draft) { d.Secret = secretText }},
		{"BasicWithoutUser", subscription.FieldBasic, false, func(d *subscription.Draft) {
			d.Authorization = subscription.Authorization{Scheme: subscription.SchemeBasic, Password: secretText}
		}},
		{"BearerWithLineBreak", subscription.FieldBearer, false, func(d *subscription.Draft) {
			d.Authorization = subscription.Authorization{Scheme: subscription.SchemeBearer, Token: secretText + "\nX: y"}
		}},
		{"HeaderReserved", subscription.FieldHeaders, false, func(d *subscription.Draft) {
			d.Headers = []subscription.Header{{Name: "Webhook-Signature", Value: secretText}}
		}},
		{"HeaderName", subscription.FieldHeaders, false, func(d *subscription.Draft) {
			d.Headers = []subscription.Header{{Name: "X Team", Value: secretText}}
		}},
		{"HeaderValue", subscription.FieldHeaders, false, func(d *subscription.Draft) {
			d.Headers = []subscription.Header{{Name: "X-Team", Value: secretText + "\r\nX: y"}}
		}},
		{"HeaderTwice", subscription.FieldHeaders, false, func(d *subscription.Draft) {
			d.Headers = []subscription.Header{{Name: "X-Team", Value: "a"}, {Name: "x-team", Value: "b"}}
		}},
		{"TimeoutTooLong", subscription.FieldTimeout, false, func(d *subscription.Draft) { d.Delivery.Timeout = 24 * time.Hour }},
		{"MaxAttemptsNegative", subscription.FieldMaxAttempts, false, func(d *subscription.Draft) { d.Delivery.MaxAttempts = -1 }},
		{"MaxInFlightTooMany", subscription.FieldMaxInFlight, false, func(d *subscription.Draft) { d.Delivery.MaxInFlight = 1 << 30 }},
		{"RateLimitNegative", subscription.FieldRateLimit, false, func(d *subscription.Draft) { d.Delivery.RateLimit = -1 }},
		{"FormatUnknown", subscription.FieldFormat, false, func(d *subscription.Draft) { d.Delivery.Format = "Morse" }},
		{"OrderingUnknown", subscription.FieldOrdering, false, func(d *subscription.Draft) { d.Delivery.Ordering = "Alphabetic" }},
	}
}

// invalidCases are values out of bounds: refused with the field, changing nothing. What
// the provider lacks altogether is refused as such: see LackingFieldsAreRefusedByName.
func invalidCases() []conformance {
	var cases []conformance
	for _, w := range wrongs() {
		needs := has(w.field)
		if w.always {
			needs = nil
		}
		cases = append(cases, conformance{name: "Invalid/" + w.name, needs: needs, check: w.check})
	}

	return append(cases, conformance{
		name:  "Invalid/PatternWithDoubleStar",
		needs: func(c subscription.Capabilities) bool { return c.Wildcards },
		check: func(p *probe) {
			// Where a pattern is fine, this is none.
			draft := p.draft()
			draft.Events = []string{"a.*"}
			p.create(draft)
			draft = p.draft()
			draft.Events = []string{"a.**"}
			p.wantInvalid(subscription.FieldEvents, p.refused(draft))
		},
	})
}

func (w wrong) check(p *probe) {
	draft := p.draft()
	marker := draft.URL
	w.change(&draft)
	p.wantInvalid(w.field, p.refused(draft))
	if draft.URL == marker && len(p.listed(byURL(marker))) != 0 {
		p.Errorf("the refused subscription was created all the same")
	}

	created := p.create(p.draft())
	_, err := p.api.Update(p.ctx, created.ID, w.patch(draft))
	p.wantInvalid(w.field, err)
	p.settle()
	p.equal("a refused update changes nothing", created.Subscription, p.get(created.ID))
}

// patch sets the wrong field alone.
func (w wrong) patch(draft subscription.Draft) subscription.Patch {
	switch w.field {
	case subscription.FieldName:
		return subscription.Patch{Name: &draft.Name}
	case subscription.FieldURL:
		return subscription.Patch{URL: &draft.URL}
	case subscription.FieldEvents:
		return subscription.Patch{Events: &draft.Events}
	case subscription.FieldSecret:
		return subscription.Patch{Secret: &draft.Secret}
	case subscription.FieldBasic, subscription.FieldBearer:
		return subscription.Patch{Authorization: &draft.Authorization}
	case subscription.FieldHeaders:
		return subscription.Patch{Headers: &draft.Headers}
	default:
		return subscription.Patch{Delivery: &draft.Delivery}
	}
}

// wantInvalid sees to it that an error names the field, or none where the provider did
// not say, explains, and repeats nothing secret.
func (p *probe) wantInvalid(f subscription.Field, err error) {
	p.Helper()
	var invalid *subscription.InvalidError
	if !errors.As(err, &invalid) {
		p.Errorf("a wrong %s: want *InvalidError, got %v", f, err)

		return
	}
	if !strings.HasPrefix(invalid.Field, string(f)) && invalid.Field != "" {
		p.Errorf("a wrong %s: the error names the field %q", f, invalid.Field)
	}
	if invalid.Message == "" {
		p.Errorf("a wrong %s: the error does not say what is wrong", f)
	}
	if strings.Contains(err.Error(), secretText) {
		p.Errorf("a wrong %s: the error repeats a secret", f)
	}
}
