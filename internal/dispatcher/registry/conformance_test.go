package registry_test

import (
	"context"
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

// TestConformanceWithoutLedger proves the opt-outs: what the registry lacks then, its
// capabilities say, and the suite finds each of those cases to fail.
func TestConformanceWithoutLedger(t *testing.T) {
	t.Parallel()
	subscriptiontest.Run(t, func(t *testing.T) subscriptiontest.Subject {
		t.Helper()
		s := newStage(t, registry.Options{})
		subject, bare := s.subject(), s.second(t, registry.Options{})
		subject.API, subject.Other = bare.Tenant(tenant), bare.Tenant(other)
		subject.Suspend = func(ctx context.Context, id string) error { return bare.Suspend(ctx, id, "Gone", "") }

		return subject
	})
}
