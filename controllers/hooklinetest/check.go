package hooklinetest

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// canonical is headers with their names as net/http writes them, sorted.
func canonical(headers []Header) []Header {
	for i := range headers {
		headers[i].Name = textproto.CanonicalMIMEHeaderKey(headers[i].Name)
	}
	slices.SortFunc(headers, func(x, y Header) int { return strings.Compare(x.Name, y.Name) })

	return headers
}

func (a *Account) unsupported(what string) error {
	return &subscription.UnsupportedError{Provider: a.capabilities.Provider, What: []string{what}}
}

// checkUnique refuses a name that another subscription has; called with the lock held.
func (a *Account) checkUnique(id, name string) error {
	if !a.capabilities.NamesUnique {
		return nil
	}
	for other, r := range a.records {
		if v := r.latest(); other != id && !v.deleted && v.sub.Name == name {
			return &subscription.NameTakenError{Message: "the name is in use"}
		}
	}

	return nil
}

// checkOptions refuses, where deliveries have a format, options of another.
func (a *Account) checkOptions(format subscription.Format, options subscription.Options) error {
	if !a.capabilities.Has(subscription.FieldFormat) {
		return nil
	}
	for _, one := range []struct {
		field  subscription.Field
		owner  subscription.Format
		exists bool
	}{
		{subscription.FieldBirdOptions, subscription.FormatBird, options.Bird != nil},
		{subscription.FieldDixaOptions, subscription.FormatDixa, options.Dixa != nil},
	} {
		if one.exists && one.owner != format {
			return &subscription.InvalidError{
				Field: string(one.field), Message: fmt.Sprintf("these options belong to the format %s: remove them", one.owner),
			}
		}
	}

	return nil
}
