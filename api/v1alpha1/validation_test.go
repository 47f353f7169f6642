package v1alpha1_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

func testContext() context.Context { return context.Background() }

// verdictCase is an object that both the API server and the Go rules judge.
type verdictCase struct {
	// reason says why the verdict is what it is.
	reason string
	// object is created, or where old is set is what old is updated to.
	object client.Object
	old    client.Object
	// field and message are of the error that is expected; both are empty for an object that is valid. The message
	// is empty for what the schema says without CEL, in words of its own.
	field   string
	message string
	// goOnly marks what the API server cannot see.
	goOnly bool
}

func validate(c verdictCase) field.ErrorList {
	switch object := c.object.(type) {
	case *v1alpha1.WebhookSubscription:
		return object.Validate()
	case *v1alpha1.WebhookProvider:
		if old, ok := c.old.(*v1alpha1.WebhookProvider); ok {
			return object.ValidateUpdate(old)
		}

		return object.Validate()
	case *v1alpha1.ClusterWebhookProvider:
		if old, ok := c.old.(*v1alpha1.ClusterWebhookProvider); ok {
			return object.ValidateUpdate(old)
		}

		return object.Validate()
	default:
		panic("unknown kind")
	}
}

// submit sends the object to the API server, which judges and stores nothing that outlives the test.
func submit(t *testing.T, c verdictCase) []metav1.StatusCause {
	t.Helper()

	api, ctx := apiServer(t), testContext()
	object := c.object.DeepCopyObject().(client.Object)

	if c.old == nil {
		return causes(t, api.Create(ctx, object, client.DryRunAll))
	}

	old := c.old.DeepCopyObject().(client.Object)
	if err := api.Create(ctx, old); err != nil {
		t.Fatalf("creating the object to update: %v", err)
	}

	t.Cleanup(func() {
		if err := api.Delete(ctx, old); err != nil {
			t.Errorf("deleting the object: %v", err)
		}
	})
	object.SetResourceVersion(old.GetResourceVersion())

	return causes(t, api.Update(ctx, object, client.DryRunAll))
}

// TestVerdicts sends each object through the real API server and the rules in Go, and compares what they say.
func TestVerdicts(t *testing.T) {
	apiServer(t)

	for name, c := range verdictCases() {
		t.Run(name, func(t *testing.T) {
			errs := validate(c)
			checkGoVerdict(t, c, errs)

			answered := submit(t, c)
			if c.goOnly {
				if len(answered) > 0 {
					t.Errorf("%s: the API server sees this after all: %v", c.reason, answered)
				}

				return
			}

			checkServerVerdict(t, c, answered, errs)
		})
	}
}

func checkGoVerdict(t *testing.T, c verdictCase, errs field.ErrorList) {
	t.Helper()

	if c.field == "" {
		if len(errs) > 0 {
			t.Errorf("%s: Validate() refuses it: %v", c.reason, errs)
		}

		return
	}

	for _, err := range errs {
		if err.Field == c.field && strings.Contains(err.Detail, c.message) {
			return
		}
	}

	t.Errorf("%s: Validate() does not say %q of %s, but: %v", c.reason, c.message, c.field, errs)
}

func checkServerVerdict(t *testing.T, c verdictCase, answered []metav1.StatusCause, errs field.ErrorList) {
	t.Helper()

	if c.field == "" {
		if len(answered) > 0 {
			t.Errorf("%s: the API server refuses it: %v", c.reason, answered)
		}

		return
	}

	var expected bool

	fields := make(map[string]bool, len(answered))
	for _, cause := range answered {
		fields[cause.Field] = true
		expected = expected || cause.Field == c.field && strings.Contains(cause.Message, c.message)
	}

	if !expected {
		t.Errorf("%s: the API server does not say %q of %s, but: %v", c.reason, c.message, c.field, answered)
	}

	for _, err := range errs {
		if !fields[err.Field] {
			t.Errorf("%s: only Validate() refuses %s: %v", c.reason, err.Field, err)
		}
	}
}

// TestEveryRuleHasAVerdict fails where a CEL rule of a CustomResourceDefinition is not the reason of any refusal in
// the table, so that no rule is untested.
func TestEveryRuleHasAVerdict(t *testing.T) {
	asserted := map[string][]string{}
	for _, c := range verdictCases() {
		kind := kindOf(c.object)
		asserted[kind] = append(asserted[kind], c.message)
	}

	for kind, definition := range definitions(t) {
		for _, found := range rulesOf(definition) {
			var tested bool
			for _, message := range asserted[kind] {
				tested = tested || message != "" && strings.Contains(found.message, message)
			}

			if !tested {
				t.Errorf("%s %s: no case of TestVerdicts is refused with %q", kind, found.path, found.message)
			}
		}
	}
}

func kindOf(object client.Object) string {
	switch object.(type) {
	case *v1alpha1.WebhookSubscription:
		return v1alpha1.KindWebhookSubscription
	case *v1alpha1.WebhookProvider:
		return v1alpha1.KindWebhookProvider
	default:
		return v1alpha1.KindClusterWebhookProvider
	}
}
