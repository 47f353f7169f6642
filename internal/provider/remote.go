package provider

import (
	"fmt"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// remote is the client of a dispatcher elsewhere.
func (f *Factory) remote(cfg Config) (subscription.API, error) {
	return nil, fmt.Errorf("%w: this release cannot speak to a dispatcher at spec.dispatcher.url yet", ErrNotImplemented)
}
