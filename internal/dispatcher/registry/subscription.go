package registry

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Secret is one signing secret of a subscription.
type Secret struct {
	// Text is the secret's text form; subscription.SigningKey reads it.
	Text string
	// Until is zero for the current secret. One that was replaced signs along until then.
	Until time.Time
}

// Holds tells whether a secret signs at a time.
func (s Secret) Holds(at time.Time) bool { return !s.expired(at) }

func (s Secret) expired(at time.Time) bool { return !s.Until.IsZero() && !s.Until.After(at) }

// Subscription is one version of a subscription with everything that is needed to
// deliver, credentials included. It must not be changed: readers share it.
type Subscription struct {
	subscription.Subscription

	Tenant   string
	Revision journal.Revision
	// Seq is the place of the version's marker in the log.
	Seq     journal.Seq
	Deleted bool
	// Secrets are the current one and then those before it, the youngest first. Some may be
	// past their time, until the next change drops them: see SigningSecrets.
	Secrets []Secret
}

// Takes tells whether events that come after this version match it: it is not deleted,
// enabled by its owner and not suspended.
func (s *Subscription) Takes() bool {
	return !s.Deleted && s.Enabled && !s.State.IsSuspended()
}

// SigningSecrets are the texts of the secrets that sign at a time, the current one first.
func (s *Subscription) SigningSecrets(at time.Time) []string {
	texts := make([]string, 0, len(s.Secrets))
	for _, secret := range s.Secrets {
		if !secret.expired(at) {
			texts = append(texts, secret.Text)
		}
	}

	return texts
}

// public is what the port shows of it: nothing secret, nothing shared.
func (s *Subscription) public() subscription.Subscription {
	out := s.Subscription.Clone()
	out.Authorization.Password = ""
	out.Authorization.Token = ""
	for i := range out.Headers {
		if out.Headers[i].Sensitive {
			out.Headers[i].Value = ""
		}
	}

	return out
}

// Versions of the value's encoding. A reader refuses what a later Hookline wrote rather than
// deliver by half of it. So a value is of the second version only where it says what readers
// of the first do not know: the format or the options of a vendor.
const (
	firstEncoding   = 1
	vendorEncoding  = 2
	encodingVersion = vendorEncoding
)

// The value of a journal.Version: JSON with these names. Secrets are in it as they are:
// who can read the journal's volume can read them, as is so for the Secrets of a cluster.
type (
	value struct {
		Encoding      int            `json:"v"`
		URL           string         `json:"url"`
		Events        []string       `json:"events"`
		Enabled       bool           `json:"enabled"`
		State         *stateValue    `json:"state,omitempty"`
		Authorization *authorization `json:"authorization,omitempty"`
		Headers       []header       `json:"headers,omitempty"`
		Delivery      *delivery      `json:"delivery,omitempty"`
		Options       *options       `json:"options,omitempty"`
		Secrets       []secret       `json:"secrets"`
		CreatedAt     time.Time      `json:"createdAt"`
		UpdatedAt     time.Time      `json:"updatedAt"`
	}
	stateValue struct {
		Phase   subscription.Phase `json:"phase"`
		Reason  string             `json:"reason,omitempty"`
		Message string             `json:"message,omitempty"`
		Since   time.Time          `json:"since,omitzero"`
	}
	authorization struct {
		Scheme   subscription.Scheme `json:"scheme"`
		Username string              `json:"username,omitempty"`
		Password string              `json:"password,omitempty"`
		Token    string              `json:"token,omitempty"`
	}
	header struct {
		Name      string `json:"name"`
		Value     string `json:"value"`
		Sensitive bool   `json:"sensitive,omitempty"`
	}
	delivery struct {
		Format      subscription.Format   `json:"format,omitempty"`
		Timeout     time.Duration         `json:"timeoutNanoseconds,omitempty"`
		MaxAttempts int32                 `json:"maxAttempts,omitempty"`
		MaxInFlight int32                 `json:"maxInFlight,omitempty"`
		RateLimit   int32                 `json:"rateLimit,omitempty"`
		Ordering    subscription.Ordering `json:"ordering,omitempty"`
	}
	// What is nil and what is empty stay apart in options, so that they compare equal to what they were.
	options struct {
		Bird *birdOptions `json:"bird,omitempty"`
		Dixa *dixaOptions `json:"dixa,omitempty"`
	}
	birdOptions struct {
		EventFilters []birdEventFilter `json:"eventFilters"`
		Template     string            `json:"template,omitempty"`
	}
	birdEventFilter struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	dixaOptions struct {
		Filters map[string]dixaFilters `json:"filters"`
	}
	dixaFilters struct {
		Strategy   string          `json:"strategy"`
		Conditions []dixaCondition `json:"conditions"`
	}
	dixaCondition struct {
		Operator string   `json:"operator"`
		Field    string   `json:"field"`
		Values   []string `json:"values"`
	}
	secret struct {
		Text  string    `json:"text"`
		Until time.Time `json:"until,omitzero"`
	}
)

// encode makes the journal's version of a subscription.
func encode(s *Subscription) (journal.Version, error) {
	version := journal.Version{Tenant: s.Tenant, ID: s.ID, Name: s.Name, Deleted: s.Deleted}
	if s.Deleted {
		// Nothing of a deleted subscription is needed again, its secrets least of all.
		return version, nil
	}
	stored := value{
		Encoding: firstEncoding, URL: s.URL, Events: s.Events, Enabled: s.Enabled,
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
	if s.State != (subscription.State{}) {
		state := stateValue(s.State)
		stored.State = &state
	}
	if s.Authorization != (subscription.Authorization{}) {
		auth := authorization(s.Authorization)
		stored.Authorization = &auth
	}
	if s.Delivery != (subscription.Delivery{}) {
		settings := delivery(s.Delivery)
		stored.Delivery = &settings
	}
	stored.Options = storedOptions(s.Options)
	if stored.Options != nil || formatOf(s) != subscription.FormatCloudEvents {
		stored.Encoding = vendorEncoding
	}
	for _, h := range s.Headers {
		stored.Headers = append(stored.Headers, header(h))
	}
	for _, one := range s.Secrets {
		stored.Secrets = append(stored.Secrets, secret(one))
	}
	encoded, err := json.Marshal(stored)
	if err != nil {
		return journal.Version{}, fmt.Errorf("encoding subscription %s: %w", s.ID, err)
	}
	version.Value = encoded

	return version, nil
}

// Decode reads a version that a Registry wrote. A deleted one has its tenant, id, name,
// revision and place alone. The error names the subscription and nothing secret.
func Decode(v journal.Version) (*Subscription, error) {
	out := &Subscription{Tenant: v.Tenant, Revision: v.Revision, Seq: v.Seq, Deleted: v.Deleted}
	out.ID, out.Name = v.ID, v.Name
	if v.Deleted {
		return out, nil
	}
	var stored value
	if err := json.Unmarshal(v.Value, &stored); err != nil {
		return nil, fmt.Errorf("decoding subscription %s, revision %d: %w: %w", v.ID, v.Revision, journal.ErrCorrupt, err)
	}
	if stored.Encoding < firstEncoding || stored.Encoding > encodingVersion {
		return nil, fmt.Errorf("decoding subscription %s, revision %d: "+
			"its encoding is version %d and this Hookline reads versions %d to %d: run the Hookline that wrote it, or a later one",
			v.ID, v.Revision, stored.Encoding, firstEncoding, encodingVersion)
	}
	if _, err := subscription.ParsePatterns(stored.Events); err != nil {
		return nil, fmt.Errorf("decoding subscription %s, revision %d: %w: %w", v.ID, v.Revision, journal.ErrCorrupt, err)
	}
	if len(stored.Secrets) == 0 {
		return nil, fmt.Errorf("decoding subscription %s, revision %d: %w: it has no signing secret", v.ID, v.Revision, journal.ErrCorrupt)
	}
	stored.into(out)

	return out, nil
}

func (v *value) into(out *Subscription) {
	out.URL, out.Events, out.Enabled = v.URL, v.Events, v.Enabled
	out.CreatedAt, out.UpdatedAt = v.CreatedAt, v.UpdatedAt
	if v.State != nil {
		out.State = subscription.State(*v.State)
	}
	if v.Authorization != nil {
		out.Authorization = subscription.Authorization(*v.Authorization)
	}
	if v.Delivery != nil {
		out.Delivery = subscription.Delivery(*v.Delivery)
	}
	out.Options = v.Options.port()
	for _, h := range v.Headers {
		out.Headers = append(out.Headers, subscription.Header(h))
	}
	for _, one := range v.Secrets {
		out.Secrets = append(out.Secrets, Secret(one))
	}
}

// storedOptions are a vendor's options as they are written; nil where there are none.
func storedOptions(o subscription.Options) *options {
	if o.Bird == nil && o.Dixa == nil {
		return nil
	}
	out := &options{}
	if o.Bird != nil {
		out.Bird = &birdOptions{Template: o.Bird.Template}
		if o.Bird.EventFilters != nil {
			out.Bird.EventFilters = make([]birdEventFilter, 0, len(o.Bird.EventFilters))
		}
		for _, filter := range o.Bird.EventFilters {
			out.Bird.EventFilters = append(out.Bird.EventFilters, birdEventFilter(filter))
		}
	}
	if o.Dixa != nil {
		out.Dixa = &dixaOptions{Filters: make(map[string]dixaFilters, len(o.Dixa.Filters))}
		for family, filters := range o.Dixa.Filters {
			one := dixaFilters{Strategy: filters.Strategy}
			if filters.Conditions != nil {
				one.Conditions = make([]dixaCondition, 0, len(filters.Conditions))
			}
			for _, condition := range filters.Conditions {
				one.Conditions = append(one.Conditions, dixaCondition(condition))
			}
			out.Dixa.Filters[family] = one
		}
	}

	return out
}

func (o *options) port() subscription.Options {
	var out subscription.Options
	if o == nil {
		return out
	}
	if o.Bird != nil {
		out.Bird = &subscription.BirdOptions{Template: o.Bird.Template}
		if o.Bird.EventFilters != nil {
			out.Bird.EventFilters = make([]subscription.BirdEventFilter, 0, len(o.Bird.EventFilters))
		}
		for _, filter := range o.Bird.EventFilters {
			out.Bird.EventFilters = append(out.Bird.EventFilters, subscription.BirdEventFilter(filter))
		}
	}
	if o.Dixa != nil {
		out.Dixa = &subscription.DixaOptions{Filters: make(map[string]subscription.DixaFilters, len(o.Dixa.Filters))}
		for family, filters := range o.Dixa.Filters {
			one := subscription.DixaFilters{Strategy: filters.Strategy}
			if filters.Conditions != nil {
				one.Conditions = make([]subscription.DixaCondition, 0, len(filters.Conditions))
			}
			for _, condition := range filters.Conditions {
				one.Conditions = append(one.Conditions, subscription.DixaCondition(condition))
			}
			out.Dixa.Filters[family] = one
		}
	}

	return out
}
