package hooklinetest

import (
	"crypto/rand"
	"encoding/base64"
	"net/textproto"
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// generateSecret makes a signing secret as the dispatcher does.
func generateSecret() string {
	key := make([]byte, subscription.GeneratedSecretBytes)
	_, _ = rand.Read(key) // crypto/rand.Read never fails: it ends the program instead.

	return subscription.SecretPrefix + base64.StdEncoding.EncodeToString(key)
}

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
			return subscription.ErrNameTaken
		}
	}

	return nil
}
