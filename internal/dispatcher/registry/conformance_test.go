package registry_test

import (
	"testing"

	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
		t.Helper()

		return newStage(t, registry.Options{}).subject()
	})
}
