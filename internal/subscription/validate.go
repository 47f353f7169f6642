package subscription

import (
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// Bounds of a subscription's delivery settings and credentials. Zero settings mean the
// provider's default and are always allowed.
const (
	// MinTimeout and MaxTimeout bound how long one attempt may take.
	MinTimeout = time.Second
	MaxTimeout = time.Minute
	// MaxMaxAttempts bounds how often one delivery is tried.
	MaxMaxAttempts = 50
	// MaxMaxInFlight bounds how many attempts may be under way at once.
	MaxMaxInFlight = 256
	// MaxRateLimit bounds how many attempts may start in a second.
	MaxRateLimit = 10_000
	// MaxHeaderNameLength bounds a custom header's name, in bytes.
	MaxHeaderNameLength = 128
	// MaxCredentialLength bounds a username, a password and a token, in bytes each.
	MaxCredentialLength = 4096
	// FieldResume names the operation Patch.Resume in an *UnsupportedError.
	FieldResume Field = "resume"
	// maxPort is the highest TCP port.
	maxPort = 65535
)

// Why a custom header may not have a name.
const (
	ownedByConnection = "it belongs to the connection"
	ownedByFormat     = "the format of the delivery decides it"
)

// reservedHeaders are set by the delivery itself, sign it, or belong to one connection.
var reservedHeaders = map[string]string{
	"Authorization":     "set authorization instead",
	"Connection":        ownedByConnection,
	"Content-Encoding":  ownedByFormat,
	"Content-Length":    ownedByFormat,
	"Content-Type":      ownedByFormat,
	"Date":              "the delivery sets it",
	"Expect":            ownedByConnection,
	"Host":              "the url decides it",
	"Keep-Alive":        ownedByConnection,
	"Te":                ownedByConnection,
	"Trailer":           ownedByConnection,
	"Transfer-Encoding": ownedByConnection,
	"Upgrade":           ownedByConnection,
	"Vonage-Signature":  ownedByFormat,
	"X-Dixa-Signature":  ownedByFormat,
}

// reservedHeaderPrefixes are the beginnings of further reserved names.
var reservedHeaderPrefixes = map[string]string{
	"Ce-":          ownedByFormat,
	"Hookline-":    "the delivery sets it",
	"Messagebird-": ownedByFormat,
	"Proxy-":       ownedByConnection,
	"Webhook-":     "the delivery is signed with it",
}

// ReservedHeader tells whether a custom header may not have this name, in whatever case,
// and why.
func ReservedHeader(name string) (why string, reserved bool) {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if why, reserved = reservedHeaders[canonical]; reserved {
		return why, true
	}
	beginning, _, found := strings.Cut(canonical, "-")
	if !found {
		return "", false
	}
	why, reserved = reservedHeaderPrefixes[beginning+"-"]

	return why, reserved
}

// Validate checks a draft against the limits of this package and what a provider has.
// The error is an *UnsupportedError that names every field the provider cannot honour,
// or else an *InvalidError for the first field that is wrong.
func (d Draft) Validate(c Capabilities) error {
	if err := c.refuse(d.setFields()); err != nil {
		return err
	}
	if c.Has(FieldName) {
		if err := validateName(d.Name); err != nil {
			return err
		}
	}
	if err := c.validateURL(d.URL); err != nil {
		return err
	}
	if err := c.validateEvents(d.Events); err != nil {
		return err
	}
	if d.Secret != "" {
		if err := ValidateSecret(d.Secret); err != nil {
			return err
		}
	}
	if err := d.Authorization.validate(); err != nil {
		return err
	}
	if err := validateHeaders(d.Headers); err != nil {
		return err
	}

	return d.Delivery.validate()
}

// Validate checks what a patch sets, as Draft.Validate does; what it leaves alone is not
// looked at.
func (p Patch) Validate(c Capabilities) error {
	if err := c.refuse(p.setFields(c)); err != nil {
		return err
	}
	checks := []func() error{
		optional(p.Name, validateName),
		optional(p.URL, c.validateURL),
		optional(p.Events, c.validateEvents),
		optional(p.Secret, ValidateSecret),
		optional(p.Authorization, Authorization.validate),
		optional(p.Headers, validateHeaders),
		optional(p.Delivery, Delivery.validate),
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}

	return nil
}

// optional is a check that passes where there is nothing to look at.
func optional[V any](value *V, check func(V) error) func() error {
	return func() error {
		if value == nil {
			return nil
		}

		return check(*value)
	}
}

// refuse answers *UnsupportedError for the fields the provider does not have.
func (c Capabilities) refuse(set []Field) error {
	var lacking []string
	for _, field := range set {
		if !c.Has(field) {
			lacking = append(lacking, string(field))
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	slices.Sort(lacking)

	return &UnsupportedError{Provider: c.Provider, What: slices.Compact(lacking)}
}

// setFields are the fields a draft asks for. URL and events are left out: every provider
// has them.
func (d Draft) setFields() []Field {
	set := slices.Concat(d.Authorization.setFields(), headerFields(d.Headers), d.Delivery.setFields(), d.Options.setFields())
	if d.Name != "" {
		set = append(set, FieldName)
	}
	if !d.Enabled {
		// A subscription that its provider cannot switch off would deliver all the same.
		set = append(set, FieldEnabled)
	}
	if d.Secret != "" {
		set = append(set, FieldSecret)
	}

	return set
}

func (p Patch) setFields(c Capabilities) []Field {
	var set []Field
	if p.Name != nil {
		set = append(set, FieldName)
	}
	if p.Enabled != nil && !*p.Enabled {
		set = append(set, FieldEnabled)
	}
	if p.Secret != nil {
		set = append(set, FieldSecret)
	}
	if p.Authorization != nil {
		set = append(set, p.Authorization.setFields()...)
	}
	if p.Headers != nil {
		set = append(set, headerFields(*p.Headers)...)
	}
	if p.Delivery != nil {
		set = append(set, p.Delivery.setFields()...)
	}
	if p.Options != nil {
		set = append(set, p.Options.setFields()...)
	}
	if p.Resume && !c.Resumable {
		set = append(set, FieldResume)
	}

	return set
}

func (a Authorization) setFields() []Field {
	switch a.SchemeOrNone() {
	case SchemeBasic:
		return []Field{FieldBasic}
	case SchemeBearer:
		return []Field{FieldBearer}
	default:
		return nil
	}
}

func headerFields(headers []Header) []Field {
	var set []Field
	if len(headers) > 0 {
		set = append(set, FieldHeaders)
	}
	if slices.ContainsFunc(headers, func(h Header) bool { return h.Sensitive }) {
		set = append(set, FieldHeaderSecrets)
	}

	return set
}

func (d Delivery) setFields() []Field {
	var set []Field
	for field, isSet := range map[Field]bool{
		FieldFormat:      d.Format != "",
		FieldTimeout:     d.Timeout != 0,
		FieldMaxAttempts: d.MaxAttempts != 0,
		FieldMaxInFlight: d.MaxInFlight != 0,
		FieldRateLimit:   d.RateLimit != 0,
		FieldOrdering:    d.Ordering != "" && d.Ordering != OrderingNone,
	} {
		if isSet {
			set = append(set, field)
		}
	}

	return set
}

func (o Options) setFields() []Field {
	var set []Field
	if o.Bird != nil {
		set = append(set, FieldBirdOptions)
	}
	if o.Dixa != nil {
		set = append(set, FieldDixaOptions)
	}

	return set
}

func invalid(field Field, format string, args ...any) error {
	return &InvalidError{Field: string(field), Message: fmt.Sprintf(format, args...)}
}

func validateName(name string) error {
	switch length := utf8.RuneCountInString(name); {
	case !utf8.ValidString(name):
		return invalid(FieldName, "the name is not valid UTF-8")
	case length < MinNameLength || length > MaxNameLength:
		return invalid(FieldName, "the name has %d characters: use %d to %d", length, MinNameLength, MaxNameLength)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.C, r) }):
		return invalid(FieldName, "the name holds a control character: remove it")
	case strings.TrimSpace(name) != name:
		return invalid(FieldName, "the name begins or ends with a space: remove it")
	}

	return nil
}

// validateURL never repeats the URL: its query may hold a credential.
func (c Capabilities) validateURL(text string) error {
	if text == "" {
		return invalid(FieldURL, "the url is empty: give an absolute one such as https://example.com/hooks")
	}
	if len(text) > MaxURLLength {
		return invalid(FieldURL, "the url has %d bytes: the most is %d", len(text), MaxURLLength)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return invalid(FieldURL, "the url holds white space or a control character: remove it, or write it percent-encoded")
	}
	parsed, err := url.Parse(text)
	if err != nil {
		// The parser's error repeats the URL.
		return invalid(FieldURL, "the url cannot be read: check its host, port and percent-encoding")
	}
	switch {
	case !slices.Contains(c.URLSchemes, strings.ToLower(parsed.Scheme)):
		return invalid(FieldURL, "the url must be absolute and begin with %s", schemeChoice(c.URLSchemes))
	case parsed.Hostname() == "":
		return invalid(FieldURL, "the url names no host: write it as %s://host/path", parsed.Scheme)
	case parsed.User != nil && (c.Has(FieldBasic) || c.Has(FieldBearer)):
		return invalid(FieldURL, "the url holds user information: remove it and set authorization instead")
	case parsed.User != nil:
		return invalid(FieldURL, "the url holds user information: remove it; "+
			"deliveries carry no credentials here, their signature tells whose they are")
	case parsed.Fragment != "" || strings.Contains(text, "#"):
		return invalid(FieldURL, "the url has a fragment, which is never sent: remove \"#\" and what follows")
	}
	if port := parsed.Port(); port != "" {
		if number, err := strconv.Atoi(port); err != nil || number < 1 || number > maxPort {
			return invalid(FieldURL, "the url's port %s is not within 1 to %d", port, maxPort)
		}
	}

	return nil
}

func schemeChoice(schemes []string) string {
	choice := make([]string, 0, len(schemes))
	for _, scheme := range schemes {
		choice = append(choice, scheme+"://")
	}

	return strings.Join(choice, " or ")
}

func (c Capabilities) validateEvents(events []string) error {
	if limit := c.EventLimit(); len(events) > limit {
		return invalid(FieldEvents, "%d events: the most is %d at this provider", len(events), limit)
	}
	patterns, err := ParsePatterns(events)
	if err != nil {
		return invalid(FieldEvents, "%s", err)
	}
	for _, pattern := range patterns {
		if !c.Wildcards && !pattern.IsExact() {
			return invalid(FieldEvents, "%q is a pattern and this provider has no wildcards: name each event type", pattern)
		}
	}

	return nil
}

// ValidateSecret checks a given signing secret: text that SigningKey reads, with at least
// MinSecretBytes of key material. The error is an *InvalidError and never repeats it.
func ValidateSecret(secret string) error {
	key, err := SigningKey(secret)
	if err != nil {
		return invalid(FieldSecret, "%s", err)
	}
	if len(key) < MinSecretBytes {
		return invalid(FieldSecret, "the signing secret holds %d bytes of key material: give at least %d random bytes, "+
			"such as whsec_ followed by their base64", len(key), MinSecretBytes)
	}

	return nil
}

func (a Authorization) validate() error {
	switch a.SchemeOrNone() {
	case SchemeNone:
		if a.Username != "" || a.Password != "" || a.Token != "" {
			return invalid("authorization", "there are credentials but no scheme: set the scheme to %s or %s", SchemeBasic, SchemeBearer)
		}

		return nil
	case SchemeBasic:
		return a.validateBasic()
	case SchemeBearer:
		return a.validateBearer()
	default:
		return invalid("authorization", "the scheme %q is unknown: use %s, %s or %s", a.Scheme, SchemeBasic, SchemeBearer, SchemeNone)
	}
}

func (a Authorization) validateBasic() error {
	switch {
	case a.Token != "":
		return invalid(FieldBasic, "there is a token, which belongs to %s: remove it", SchemeBearer)
	case a.Username == "":
		return invalid(FieldBasic, "the username is empty")
	case strings.Contains(a.Username, ":"):
		return invalid(FieldBasic, "the username holds a colon, which basic authorization cannot carry")
	}
	if err := checkCredential("username", a.Username); err != nil {
		return invalid(FieldBasic, "%s", err)
	}
	if err := checkCredential("password", a.Password); err != nil {
		return invalid(FieldBasic, "%s", err)
	}

	return nil
}

func (a Authorization) validateBearer() error {
	switch {
	case a.Username != "" || a.Password != "":
		return invalid(FieldBearer, "there is a username or a password, which belong to %s: remove them", SchemeBasic)
	case a.Token == "":
		return invalid(FieldBearer, "the token is empty")
	case strings.ContainsAny(a.Token, " \t"):
		return invalid(FieldBearer, "the token holds white space: remove it, and any scheme before the token")
	}
	if err := checkCredential("token", a.Token); err != nil {
		return invalid(FieldBearer, "%s", err)
	}

	return nil
}

// checkCredential says what is wrong with a secret text without repeating it.
func checkCredential(what, text string) error {
	switch {
	case len(text) > MaxCredentialLength:
		return fmt.Errorf("the %s has %d bytes: the most is %d", what, len(text), MaxCredentialLength)
	case !utf8.ValidString(text):
		return fmt.Errorf("the %s is not valid UTF-8", what)
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("the %s holds a control character, such as a line break: remove it", what)
	}

	return nil
}

func validateHeaders(headers []Header) error {
	if len(headers) > MaxHeaders {
		return invalid(FieldHeaders, "%d headers: the most is %d", len(headers), MaxHeaders)
	}
	seen := make(map[string]bool, len(headers))
	for i, header := range headers {
		canonical := textproto.CanonicalMIMEHeaderKey(header.Name)
		if err := header.validate(); err != nil {
			return invalid(Field(fmt.Sprintf("%s[%d]", FieldHeaders, i)), "%s", err)
		}
		if seen[canonical] {
			return invalid(FieldHeaders, "the header %s stands twice, and case makes no difference: remove one", canonical)
		}
		seen[canonical] = true
	}

	return nil
}

func (h Header) validate() error {
	switch {
	case h.Name == "":
		return errors.New("the header's name is empty")
	case len(h.Name) > MaxHeaderNameLength:
		return fmt.Errorf("the header's name has %d bytes: the most is %d", len(h.Name), MaxHeaderNameLength)
	case !httpguts.ValidHeaderFieldName(h.Name):
		return fmt.Errorf("%q is no header name: use letters, digits and - _", h.Name)
	case len(h.Value) > MaxHeaderValueLength:
		return fmt.Errorf("the value of %s has %d bytes: the most is %d", h.Name, len(h.Value), MaxHeaderValueLength)
	case h.Value == "":
		// What List returns lacks sensitive values: writing it back must not wipe them.
		return fmt.Errorf("the value of %s is empty: give one, or remove the header", h.Name)
	case strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("the value of %s holds a character that is not printable ASCII, such as a line break: remove it", h.Name)
	case strings.TrimSpace(h.Value) != h.Value:
		return fmt.Errorf("the value of %s begins or ends with a space: remove it", h.Name)
	}
	if why, reserved := ReservedHeader(h.Name); reserved {
		return fmt.Errorf("%s cannot be set: %s", h.Name, why)
	}

	return nil
}

func (d Delivery) validate() error {
	switch d.Format {
	case "", FormatCloudEvents, FormatVonage, FormatDixa, FormatBird:
	default:
		return invalid(FieldFormat, "%q is no format: use %s, %s, %s or %s",
			d.Format, FormatCloudEvents, FormatVonage, FormatDixa, FormatBird)
	}
	switch d.Ordering {
	case "", OrderingNone, OrderingByKey:
	default:
		return invalid(FieldOrdering, "%q is no ordering: use %s or %s", d.Ordering, OrderingNone, OrderingByKey)
	}
	if d.Timeout != 0 && (d.Timeout < MinTimeout || d.Timeout > MaxTimeout) {
		return invalid(FieldTimeout, "%s is not within %s to %s", d.Timeout, MinTimeout, MaxTimeout)
	}
	for _, bound := range []struct {
		field Field
		value int32
		most  int32
	}{
		{FieldMaxAttempts, d.MaxAttempts, MaxMaxAttempts},
		{FieldMaxInFlight, d.MaxInFlight, MaxMaxInFlight},
		{FieldRateLimit, d.RateLimit, MaxRateLimit},
	} {
		if bound.value < 0 || bound.value > bound.most {
			return invalid(bound.field, "%d is not within 1 to %d", bound.value, bound.most)
		}
	}

	return nil
}

// Validated is the query with its limit filled in. The error is an *InvalidError.
func (q LogQuery) Validated() (LogQuery, error) {
	switch {
	case q.Limit < 0 || q.Limit > MaxLogLimit:
		return LogQuery{}, invalid("limit", "%d is not within 1 to %d", q.Limit, MaxLogLimit)
	case q.Limit == 0:
		q.Limit = DefaultLogLimit
	}

	return q, nil
}
