package dispatcher

import (
	"testing"

	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

func TestPasses(t *testing.T) {
	t.Parallel()

	const event = `{"type":"channels.sms.inbound","data":{"channelId":"one"}}`

	of := func(format subscription.Format, channel string) *registry.Subscription {
		s := &registry.Subscription{}
		s.Delivery.Format = format
		if channel != "" {
			s.Options.Bird = &subscription.BirdOptions{
				EventFilters: []subscription.BirdEventFilter{{Key: "channelId", Value: channel}},
			}
		}

		return s
	}
	open, one, two := of(subscription.FormatBird, ""), of(subscription.FormatBird, "one"), of(subscription.FormatBird, "two")
	native := of("", "")
	cases := map[string]struct {
		reason string
		sub    *registry.Subscription
		among  []*registry.Subscription
		want   bool
	}{
		"Alone":       {"nobody filters for it", open, []*registry.Subscription{open}, true},
		"Filtered":    {"its filter holds", one, []*registry.Subscription{open, one}, true},
		"FilteredOut": {"its filter does not hold", two, []*registry.Subscription{open, two}, false},
		"Beside":      {"another one filters for it, so it goes there alone", open, []*registry.Subscription{open, one}, false},
		"BesideOther": {"the other one's filter does not hold", open, []*registry.Subscription{open, two}, true},
		"Native":      {"the rule is Bird's own", native, []*registry.Subscription{native, one}, true},
		"BesideNative": {
			"what is no subscription of Bird's has no filters of Bird's", open, []*registry.Subscription{open, native}, true,
		},
	}
	for name, c := range cases {
		if got := passes(c.sub, c.among, "channels.sms.inbound", []byte(event)); got != c.want {
			t.Errorf("%s: %s: %t", name, c.reason, got)
		}
	}
}
