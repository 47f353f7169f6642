package native

import "github.com/hookline-dev/hookline/internal/subscription"

// VendorOptions are what the format of one vendor alone knows.
type VendorOptions struct {
	Bird *BirdOptions `json:"bird,omitempty"`
	Dixa *DixaOptions `json:"dixa,omitempty"`
}

// BirdOptions belong to the format Bird.
type BirdOptions struct {
	EventFilters []BirdEventFilter `json:"eventFilters,omitempty"`
	Template     string            `json:"template,omitempty"`
}

// BirdEventFilter is one filter; an event must pass all of them.
type BirdEventFilter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// DixaOptions belong to the format Dixa. Filters are by event family.
type DixaOptions struct {
	Filters map[string]DixaFilters `json:"filters"`
}

// DixaFilters combine conditions by the strategy All or Any.
type DixaFilters struct {
	Strategy   string          `json:"strategy"`
	Conditions []DixaCondition `json:"conditions"`
}

// DixaCondition compares one field with a set of values.
type DixaCondition struct {
	Operator string   `json:"operator"`
	Field    string   `json:"field"`
	Values   []string `json:"values"`
}

// wireOptions are a vendor's options; nil where there are none.
func wireOptions(o subscription.Options) *VendorOptions {
	if o.Bird == nil && o.Dixa == nil {
		return nil
	}
	out := &VendorOptions{}
	if o.Bird != nil {
		out.Bird = &BirdOptions{Template: o.Bird.Template}
		for _, filter := range o.Bird.EventFilters {
			out.Bird.EventFilters = append(out.Bird.EventFilters, BirdEventFilter(filter))
		}
	}
	if o.Dixa != nil {
		out.Dixa = &DixaOptions{Filters: make(map[string]DixaFilters, len(o.Dixa.Filters))}
		for family, filters := range o.Dixa.Filters {
			one := DixaFilters{Strategy: filters.Strategy, Conditions: make([]DixaCondition, 0, len(filters.Conditions))}
			for _, condition := range filters.Conditions {
				condition.Values = orEmpty(condition.Values)
				one.Conditions = append(one.Conditions, DixaCondition(condition))
			}
			out.Dixa.Filters[family] = one
		}
	}

	return out
}

func (o *VendorOptions) port() subscription.Options {
	var out subscription.Options
	if o == nil {
		return out
	}
	if o.Bird != nil {
		out.Bird = &subscription.BirdOptions{Template: o.Bird.Template}
		for _, filter := range o.Bird.EventFilters {
			out.Bird.EventFilters = append(out.Bird.EventFilters, subscription.BirdEventFilter(filter))
		}
	}
	if o.Dixa != nil {
		out.Dixa = &subscription.DixaOptions{Filters: make(map[string]subscription.DixaFilters, len(o.Dixa.Filters))}
		for family, filters := range o.Dixa.Filters {
			one := subscription.DixaFilters{Strategy: filters.Strategy}
			for _, condition := range filters.Conditions {
				one.Conditions = append(one.Conditions, subscription.DixaCondition(condition))
			}
			out.Dixa.Filters[family] = one
		}
	}

	return out
}
