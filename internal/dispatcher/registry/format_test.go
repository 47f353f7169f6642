package registry_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

const (
	// hexSecret is a secretKey of Dixa's. It is Base64 too, of another key.
	hexSecret = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	// phrase is a secret that no vendor decodes.
	phrase = "a pass phrase that is more than long enough"
)

// formats are those of a dispatcher, the real ones.
func formats() registry.Options { return registry.Options{Formats: dispatcher.Formats()} }

func TestConformanceWithFormats(t *testing.T) {
	t.Parallel()
	subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
		t.Helper()

		return newStage(t, formats()).subject()
	})
}

func draftIn(format subscription.Format) subscription.Draft {
	d := draft("presence")
	d.Delivery.Format = format

	return d
}

func dixaFilters(values ...string) *subscription.DixaOptions {
	return &subscription.DixaOptions{Filters: map[string]subscription.DixaFilters{
		"Conversation": {Strategy: "All", Conditions: []subscription.DixaCondition{{Operator: "IsOneOf", Field: "QueueId", Values: values}}},
	}}
}

func TestGeneratedSecretHasTheFormOfTheFormat(t *testing.T) {
	t.Parallel()
	cases := map[subscription.Format]func(text string) int{
		"": func(text string) int {
			key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, subscription.SecretPrefix))

			return len(key)
		},
		subscription.FormatVonage: func(text string) int {
			key, _ := base64.StdEncoding.Strict().DecodeString(text)

			return len(key)
		},
		subscription.FormatDixa: func(text string) int {
			key, _ := hex.DecodeString(text)

			return len(key)
		},
		// The text itself is the key; it is made as the vendor's examples are.
		subscription.FormatBird: func(text string) int {
			key, _ := base64.StdEncoding.Strict().DecodeString(text)

			return len(key)
		},
	}
	want := map[subscription.Format]int{
		"": subscription.GeneratedSecretBytes, subscription.FormatVonage: subscription.GeneratedSecretBytes,
		subscription.FormatDixa: subscription.MinSecretBytes, subscription.FormatBird: subscription.MinSecretBytes,
	}
	for format, decode := range cases {
		t.Run("Format"+string(format), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, formats())
			created := mustCreate(t, s.registry.Tenant(tenant), draftIn(format))
			if got := decode(created.Secret); got != want[format] {
				t.Errorf("the generated secret is not of the form of %q", format)
			}
			if current(t, s, created.ID).Secrets[0].Text != created.Secret {
				t.Error("another secret signs than was told")
			}
		})
	}
}

func TestCreateInAFormat(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		draft  func(*subscription.Draft)
		field  subscription.Field
		text   string
	}{
		"VonageSecret": {
			"a receiver of Vonage's decodes Base64", func(d *subscription.Draft) {
				d.Delivery.Format, d.Secret = subscription.FormatVonage, phrase
			}, subscription.FieldSecret, "Base64",
		},
		"VonageShortSecret": {
			"the strength is that of the key", func(d *subscription.Draft) {
				d.Delivery.Format, d.Secret = subscription.FormatVonage, strings.Repeat("A", 40)
			}, subscription.FieldSecret, "30 bytes",
		},
		"LongSecret": {
			"the text is bounded", func(d *subscription.Draft) {
				d.Delivery.Format, d.Secret = subscription.FormatVonage, strings.Repeat("A", subscription.MaxSecretLength+1)
			}, subscription.FieldSecret, "1024",
		},
		"OwnSecret": {
			"the dispatcher's own format judges as the port does", func(d *subscription.Draft) { d.Secret = "whsec_%" },
			subscription.FieldSecret, "whsec_",
		},
		"DixaOptionsElsewhere": {
			"options belong to one format", func(d *subscription.Draft) {
				d.Delivery.Format, d.Options.Dixa = subscription.FormatVonage, dixaFilters("1")
			}, subscription.FieldDixaOptions, "belong to the format Dixa",
		},
		"DixaOptionsWithoutFormat": {
			"the default format is CloudEvents", func(d *subscription.Draft) { d.Options.Dixa = dixaFilters("1") },
			subscription.FieldDixaOptions, "set delivery.format to Dixa",
		},
		"BirdShortSecret": {
			"Bird's key is the text, which is too short here", func(d *subscription.Draft) {
				d.Delivery.Format, d.Secret = subscription.FormatBird, phrase[:31]
			}, subscription.FieldSecret, "31 bytes",
		},
		"BirdOptionsElsewhere": {
			"options belong to one format", func(d *subscription.Draft) {
				d.Delivery.Format, d.Options.Bird = subscription.FormatDixa, &subscription.BirdOptions{Template: "text"}
			}, subscription.FieldBirdOptions, "belong to the format Bird",
		},
		"DixaOptionsWrong": {
			"the vendor's own check", func(d *subscription.Draft) {
				d.Delivery.Format, d.Options.Dixa = subscription.FormatDixa, dixaFilters()
			}, subscription.FieldDixaOptions, "values",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, formats())
			api := s.registry.Tenant(tenant)
			d := draft("presence")
			tc.draft(&d)
			_, err := api.Create(t.Context(), d)
			wantInvalid(t, tc.reason, err, tc.field, tc.text, d.Secret)
			if list, err := api.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("%s: what was refused is there: %v, %v", tc.reason, list, err)
			}
		})
	}
}

func wantInvalid(t *testing.T, reason string, err error, field subscription.Field, text, secret string) {
	t.Helper()
	invalid, ok := errors.AsType[*subscription.InvalidError](err)
	if !ok || !strings.HasPrefix(invalid.Field, string(field)) || !strings.Contains(invalid.Message, text) {
		t.Errorf("%s: want an error of %s with %q, got %v", reason, field, text, err)
	}
	if secret != "" && err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("%s: the error tells the secret", reason)
	}
}

func TestUnknownFormat(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	_, err := s.registry.Tenant(tenant).Create(t.Context(), draftIn(subscription.FormatVonage))
	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); !ok || unsupported.What[0] != "delivery.format=Vonage" {
		t.Errorf("a registry without the format: got %v", err)
	}
	d := draft("presence")
	d.Options.Dixa = dixaFilters("1")
	_, err = s.registry.Tenant(tenant).Create(t.Context(), d)
	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); !ok || unsupported.What[0] != "vendorOptions.dixa" {
		t.Errorf("a registry without the format has not its options: got %v", err)
	}
}

func TestUpdateOfTheFormat(t *testing.T) {
	t.Parallel()
	to := func(format subscription.Format) *subscription.Delivery { return &subscription.Delivery{Format: format} }
	none := &subscription.Options{}
	filters := &subscription.Options{Dixa: dixaFilters("1", "2")}
	given := hexSecret
	cases := map[string]struct {
		reason string
		start  func(*subscription.Draft)
		patch  subscription.Patch
		// field and text are of the refusal; empty where there is none.
		field subscription.Field
		text  string
		// secrets are those afterwards.
		secrets []string
	}{
		"SecretIsReadable": {
			reason: "one secret serves both", start: func(d *subscription.Draft) { d.Secret = hexSecret },
			patch: subscription.Patch{Delivery: to(subscription.FormatVonage)}, secrets: []string{hexSecret},
		},
		"SecretIsNot": {
			reason: "a receiver of Vonage's could verify nothing", start: func(d *subscription.Draft) { d.Secret = phrase },
			patch: subscription.Patch{Delivery: to(subscription.FormatVonage)},
			field: subscription.FieldFormat, text: "change the secret together with it",
		},
		"WithASecret": {
			reason: "the change brings its own; the one before means nothing to the new format", start: func(d *subscription.Draft) { d.Secret = phrase },
			patch: subscription.Patch{Delivery: to(subscription.FormatVonage), Secret: &given}, secrets: []string{hexSecret},
		},
		"WithAWrongSecret": {
			reason: "what is given is judged by the format that comes", start: func(d *subscription.Draft) { d.Secret = hexSecret },
			patch: subscription.Patch{Delivery: to(subscription.FormatVonage), Secret: new(phrase)},
			field: subscription.FieldSecret, text: "Base64",
		},
		"RotationInTheFormat": {
			reason:  "the one before signs along, as far as the format can",
			start:   func(d *subscription.Draft) { d.Delivery.Format = subscription.FormatDixa; d.Secret = phrase },
			patch:   subscription.Patch{Secret: &given},
			secrets: []string{hexSecret, phrase},
		},
		"OptionsStay": {
			reason: "the options of the old format would hold for nothing",
			start: func(d *subscription.Draft) {
				d.Delivery.Format, d.Secret, d.Options.Dixa = subscription.FormatDixa, hexSecret, dixaFilters("1")
			},
			patch: subscription.Patch{Delivery: to("")}, field: subscription.FieldDixaOptions, text: "remove them",
		},
		"OptionsGoWithIt": {
			reason: "one change may remove both",
			start: func(d *subscription.Draft) {
				d.Delivery.Format, d.Secret, d.Options.Dixa = subscription.FormatDixa, hexSecret, dixaFilters("1")
			},
			patch: subscription.Patch{Delivery: to(""), Options: none}, secrets: []string{hexSecret},
		},
		"OptionsComeWithIt": {
			reason: "one change may bring both", start: func(d *subscription.Draft) { d.Secret = hexSecret },
			patch: subscription.Patch{Delivery: to(subscription.FormatDixa), Options: filters}, secrets: []string{hexSecret},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, formats())
			api := s.registry.Tenant(tenant)
			d := draft("presence")
			tc.start(&d)
			created := mustCreate(t, api, d)
			updated, err := api.Update(t.Context(), created.ID, tc.patch)
			if tc.field != "" {
				wantInvalid(t, tc.reason, err, tc.field, tc.text, phrase)
				if diff := cmp.Diff(created.Subscription, mustGet(t, api, created.ID)); diff != "" {
					t.Errorf("%s: what was refused has changed something:\n%s", tc.reason, diff)
				}

				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if tc.patch.Options != nil {
				if diff := cmp.Diff(*tc.patch.Options, updated.Options); diff != "" {
					t.Errorf("%s: the options, -want +got:\n%s", tc.reason, diff)
				}
			}
			if diff := cmp.Diff(tc.secrets, current(t, s, created.ID).SigningSecrets(time.Now())); diff != "" {
				t.Errorf("%s: the secrets, -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func mustGet(t *testing.T, api subscription.API, id string) subscription.Subscription {
	t.Helper()
	got, err := api.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("getting %s: %v", id, err)
	}

	return got
}

func TestFormatLiftsASuspension(t *testing.T) {
	t.Parallel()
	s := newStage(t, formats())
	api := s.registry.Tenant(tenant)
	id := mustCreate(t, api, draft("presence")).ID
	if err := s.registry.Suspend(t.Context(), id, "Gone", "the endpoint answered 410"); err != nil {
		t.Fatal(err)
	}
	same := subscription.Delivery{Format: subscription.FormatCloudEvents}
	if got := mustUpdate(t, api, id, subscription.Patch{Delivery: &same}); !got.State.IsSuspended() {
		t.Error("the default's own name is no other format")
	}
	other := subscription.Delivery{Format: subscription.FormatDixa}
	if got := mustUpdate(t, api, id, subscription.Patch{Delivery: &other}); got.State.IsSuspended() {
		t.Error("an endpoint that is sent another format may answer otherwise")
	}
}

// TestBirdOptionsAreKept is TestOptionsAreKept for the other vendor's.
func TestBirdOptionsAreKept(t *testing.T) {
	t.Parallel()
	s := newStage(t, formats())
	d := draftIn(subscription.FormatBird)
	d.Secret = phrase
	d.Options.Bird = &subscription.BirdOptions{Template: "text", EventFilters: []subscription.BirdEventFilter{{Key: "channelId", Value: "1"}}}
	id := mustCreate(t, s.registry.Tenant(tenant), d).ID
	d.Options.Bird.EventFilters[0].Value = "changed by the caller"
	want := subscription.Options{Bird: &subscription.BirdOptions{
		Template: "text", EventFilters: []subscription.BirdEventFilter{{Key: "channelId", Value: "1"}},
	}}
	for name, registry := range map[string]*registry.Registry{"the same": s.registry, "another": s.second(t, formats())} {
		if diff := cmp.Diff(want, mustGet(t, registry.Tenant(tenant), id).Options); diff != "" {
			t.Errorf("%s registry, -want +got:\n%s", name, diff)
		}
	}
}

// TestOptionsAreKept writes and reads options over a restart, and shares none of them.
func TestOptionsAreKept(t *testing.T) {
	t.Parallel()
	s := newStage(t, formats())
	api := s.registry.Tenant(tenant)
	d := draftIn(subscription.FormatDixa)
	d.Options.Dixa = dixaFilters("1", "2")
	id := mustCreate(t, api, d).ID
	want := subscription.Options{Dixa: dixaFilters("1", "2")}
	d.Options.Dixa.Filters["Conversation"].Conditions[0].Values[0] = "changed by the caller"
	got := mustGet(t, api, id)
	if diff := cmp.Diff(want, got.Options); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got.Options.Dixa.Filters["Conversation"].Conditions[0].Values[0] = "changed by the reader"
	again := s.second(t, formats())
	for name, registry := range map[string]*registry.Registry{"the same": s.registry, "another": again} {
		if diff := cmp.Diff(want, mustGet(t, registry.Tenant(tenant), id).Options); diff != "" {
			t.Errorf("%s registry, -want +got:\n%s", name, diff)
		}
	}
	before := s.last(t)
	mustUpdate(t, api, id, subscription.Patch{Options: &want})
	if after := s.last(t); after != before {
		t.Error("options that are what they were wrote a version")
	}
	mustUpdate(t, api, id, subscription.Patch{Options: &subscription.Options{Dixa: dixaFilters("3")}})
	if after := s.last(t); after == before {
		t.Error("other options wrote nothing")
	}
}

// TestEncodingVersion: what a Hookline without formats would deliver by half is of the version
// that it refuses; the rest it can still read.
func TestEncodingVersion(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		draft  func(*subscription.Draft)
		want   int
	}{
		"Own":    {"it says nothing new", func(*subscription.Draft) {}, 1},
		"Named":  {"the default by its name", func(d *subscription.Draft) { d.Delivery.Format = subscription.FormatCloudEvents }, 1},
		"Format": {"a vendor's format", func(d *subscription.Draft) { d.Delivery.Format = subscription.FormatVonage }, 2},
		"Options": {"a vendor's options", func(d *subscription.Draft) {
			d.Delivery.Format, d.Options.Dixa = subscription.FormatDixa, dixaFilters("1")
		}, 2},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, formats())
			d := draft("presence")
			tc.draft(&d)
			mustCreate(t, s.registry.Tenant(tenant), d)
			records, err := s.journal.Read(t.Context(), s.last(t), 1)
			if err != nil || records[0].Marker == nil {
				t.Fatalf("reading the marker: %v", err)
			}
			var stored struct {
				Version int `json:"v"`
			}
			if err := json.Unmarshal(records[0].Marker.Value, &stored); err != nil || stored.Version != tc.want {
				t.Errorf("%s: want version %d, got %d: %v", tc.reason, tc.want, stored.Version, err)
			}
		})
	}
}
