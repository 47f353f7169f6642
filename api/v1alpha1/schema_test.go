package v1alpha1_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/config/crd"
)

// maxDefinitionSize bounds a CustomResourceDefinition, in bytes: kubectl apply keeps a second copy in an annotation.
const maxDefinitionSize = 100 << 10

// definitions are the embedded CustomResourceDefinitions by kind.
func definitions(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()

	files, err := crd.Files()
	if err != nil {
		t.Fatal(err)
	}

	byKind := make(map[string]*apiextensionsv1.CustomResourceDefinition, len(files))

	for name, content := range files {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(content, definition); err != nil {
			t.Fatalf("%s: %v", name, err)
		}

		byKind[definition.Spec.Names.Kind] = definition
	}

	if len(byKind) != 3 {
		t.Fatalf("%d kinds are embedded, not 3", len(byKind))
	}

	return byKind
}

// walk calls visit for each property below a schema, with its path and JSON name.
func walk(path string, schema *apiextensionsv1.JSONSchemaProps, visit func(path, name string, s *apiextensionsv1.JSONSchemaProps)) {
	for name := range schema.Properties {
		property := schema.Properties[name]
		child := strings.TrimPrefix(path+"."+name, ".")
		visit(child, name, &property)
		walk(child, &property, visit)
	}

	if schema.Items != nil && schema.Items.Schema != nil {
		visit(path+"[]", "", schema.Items.Schema)
		walk(path+"[]", schema.Items.Schema, visit)
	}

	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		walk(path+"{}", schema.AdditionalProperties.Schema, visit)
	}
}

func walkDefinition(definition *apiextensionsv1.CustomResourceDefinition, visit func(path, name string, s *apiextensionsv1.JSONSchemaProps)) {
	walk("", definition.Spec.Versions[0].Schema.OpenAPIV3Schema, visit)
}

type celRule struct{ path, message string }

func rulesOf(definition *apiextensionsv1.CustomResourceDefinition) []celRule {
	var rules []celRule

	walkDefinition(definition, func(path, _ string, s *apiextensionsv1.JSONSchemaProps) {
		for _, r := range s.XValidations {
			rules = append(rules, celRule{path: path, message: r.Message})
		}
	})

	return rules
}

func TestDefinitionsAreSmall(t *testing.T) {
	for kind, definition := range definitions(t) {
		asJSON, err := json.Marshal(definition)
		if err != nil {
			t.Fatal(err)
		}

		if len(asJSON) >= maxDefinitionSize {
			t.Errorf("%s has %d bytes, not less than %d", kind, len(asJSON), maxDefinitionSize)
		}
	}

	files, err := crd.Files()
	if err != nil {
		t.Fatal(err)
	}

	for name, content := range files {
		if len(content) >= maxDefinitionSize {
			t.Errorf("%s has %d bytes, not less than %d", name, len(content), maxDefinitionSize)
		}
	}
}

// TestDescriptions reads what kubectl explain prints: each field has a text that begins with the field's name, or
// with a capital letter in what Kubernetes describes, and ends as a sentence.
func TestDescriptions(t *testing.T) {
	for kind, definition := range definitions(t) {
		root := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
		if !strings.HasPrefix(root.Description, kind) {
			t.Errorf("%s: the description of the kind does not begin with its name: %q", kind, root.Description)
		}

		walkDefinition(definition, func(path, name string, s *apiextensionsv1.JSONSchemaProps) {
			// kubectl explain describes metadata itself; items are described by the list that holds them.
			if path == "metadata" || name == "" {
				return
			}

			first, _, _ := strings.Cut(s.Description, " ")
			foreign := strings.Contains(path, "elector.") || strings.Contains(path, "onditions[].") || !strings.Contains(path, ".")

			switch {
			case s.Description == "":
				t.Errorf("%s %s has no description", kind, path)
			case foreign && !strings.EqualFold(first, name) && !unicode.IsUpper([]rune(first)[0]):
				t.Errorf("%s %s: the description does not begin as a sentence: %q", kind, path, s.Description)
			case !foreign && first != name:
				t.Errorf("%s %s: the description does not begin with the field's name: %q", kind, path, s.Description)
			case !foreign && !strings.HasSuffix(s.Description, "."):
				t.Errorf("%s %s: the description does not end as a sentence: %q", kind, path, s.Description)
			}
		})
	}
}

// TestSchemaKeepsWhatIsWritten fails on what makes GitOps tools see a difference that nobody made: defaults, and
// lists that are merged as a whole.
func TestSchemaKeepsWhatIsWritten(t *testing.T) {
	for kind, definition := range definitions(t) {
		walkDefinition(definition, func(path, _ string, s *apiextensionsv1.JSONSchemaProps) {
			if s.Default != nil {
				t.Errorf("%s %s has a default", kind, path)
			}

			// metav1.LabelSelector brings lists that are atomic, as in every Kubernetes API.
			if s.Type == "array" && !strings.Contains(path, "elector.matchExpressions") &&
				(s.XListType == nil || *s.XListType != "map" && *s.XListType != "set") {
				t.Errorf("%s %s is a list that is neither a map nor a set", kind, path)
			}

			if s.Type == "integer" && s.Format != "int32" && s.Format != "int64" {
				t.Errorf("%s %s is an integer of the format %q", kind, path, s.Format)
			}
		})
	}
}

// TestRuleMessages demands of each CEL rule's message that it names a field and, after a semicolon, the fix.
func TestRuleMessages(t *testing.T) {
	for kind, definition := range definitions(t) {
		for _, r := range rulesOf(definition) {
			subject, rest, found := strings.Cut(r.message, ": ")
			if !found || strings.ContainsAny(subject, ";") || !strings.Contains(rest, ";") && !strings.Contains(rest, "set exactly one") {
				t.Errorf("%s %s: the message does not name the field and the fix: %q", kind, r.path, r.message)
			}
		}
	}
}

func TestNamesAndColumns(t *testing.T) {
	provider := []string{"Ready", "Type", "Default", "Age", "Reason/wide"}
	want := map[string][]string{
		"WebhookSubscription": {
			"Ready", "Enabled", "Provider", "ID", "Delivering", "Age", "URL/wide", "Events/wide", "Reason/wide",
		},
		"WebhookProvider":        provider,
		"ClusterWebhookProvider": provider,
	}
	shortNames := map[string][]string{
		"WebhookSubscription": {"whsub"}, "WebhookProvider": {"whprov"}, "ClusterWebhookProvider": {"cwhprov"},
	}

	for kind, definition := range definitions(t) {
		var columns []string

		for _, column := range definition.Spec.Versions[0].AdditionalPrinterColumns {
			name := column.Name
			if column.Priority == 1 {
				name += "/wide"
			}

			columns = append(columns, name)
		}

		if diff := cmp.Diff(want[kind], columns); diff != "" {
			t.Errorf("%s: columns (-want +got):\n%s", kind, diff)
		}

		if diff := cmp.Diff(shortNames[kind], definition.Spec.Names.ShortNames); diff != "" {
			t.Errorf("%s: short names (-want +got):\n%s", kind, diff)
		}

		if !slices.Contains(definition.Spec.Names.Categories, "hookline") {
			t.Errorf("%s is not of the category hookline", kind)
		}

		if definition.Spec.Versions[0].Subresources == nil || definition.Spec.Versions[0].Subresources.Status == nil {
			t.Errorf("%s has no status subresource", kind)
		}
	}
}
