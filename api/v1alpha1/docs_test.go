package v1alpha1_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// pages are the kinds by their page under docs.
var pages = map[string]string{
	v1alpha1.KindWebhookSubscription:    "webhooksubscription.md",
	v1alpha1.KindWebhookProvider:        "webhookprovider.md",
	v1alpha1.KindClusterWebhookProvider: "clusterwebhookprovider.md",
}

func readPage(t *testing.T, name string) string {
	t.Helper()

	content, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}

	return string(content)
}

// TestPagesNameEveryField fails where the page of a kind has no row for a field.
func TestPagesNameEveryField(t *testing.T) {
	for kind, definition := range definitions(t) {
		page := readPage(t, pages[kind])

		walkDefinition(definition, func(path, name string, _ *apiextensionsv1.JSONSchemaProps) {
			foreign := strings.Contains(path, "elector.") || strings.Contains(path, "status.conditions[]") || !strings.Contains(path, ".")
			if foreign || name == "" {
				return
			}

			if !strings.Contains(page, "\n| `"+path+"` |") {
				t.Errorf("docs/%s has no row for %s", pages[kind], path)
			}
		})
	}
}

// constants are the values of the exported string constants of a file whose names begin so.
func constants(t *testing.T, file string, prefixes ...string) map[string]string {
	t.Helper()

	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}

	values := map[string]string{}

	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}

		for i, name := range spec.Names {
			for _, prefix := range prefixes {
				if strings.HasPrefix(name.Name, prefix) && i < len(spec.Values) {
					values[name.Name] = literal(t, spec.Values[i])
				}
			}
		}

		return false
	})

	return values
}

// literal is the value of a string constant, which may begin with the name of the group.
func literal(t *testing.T, expression ast.Expr) string {
	t.Helper()

	switch e := expression.(type) {
	case *ast.BasicLit:
		value, err := strconv.Unquote(e.Value)
		if err != nil {
			t.Fatal(err)
		}

		return value
	case *ast.BinaryExpr:
		return literal(t, e.X) + literal(t, e.Y)
	case *ast.Ident:
		return v1alpha1.GroupName
	default:
		t.Fatalf("a constant is neither a literal nor a sum: %T", expression)

		return ""
	}
}

// TestPagesNameEveryReason fails where no page says what a condition, reason, event or annotation means.
func TestPagesNameEveryReason(t *testing.T) {
	var all strings.Builder
	for _, name := range pages {
		all.WriteString(readPage(t, name))
	}

	found := constants(t, "conditions.go", "Reason", "Condition", "Event")
	maps.Copy(found, constants(t, "annotations.go", "Annotation", "Finalizer", "LabelSigning"))

	if len(found) < 50 {
		t.Errorf("only %d constants were found", len(found))
	}

	for name, value := range found {
		if !strings.Contains(all.String(), "`"+value) {
			t.Errorf("%s: no page of a kind says what %q means", name, value)
		}
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestPagesExamplesAreAccepted applies every example of the pages to the real API server.
func TestPagesExamplesAreAccepted(t *testing.T) {
	var examples int

	for _, name := range pages {
		for _, block := range yamlBlock.FindAllStringSubmatch(readPage(t, name), -1) {
			for _, object := range decode(t, name, []byte(block[1])) {
				examples++

				inNamespace(object)

				if err := apiServer(t).Create(testContext(), object, client.DryRunAll); err != nil {
					t.Errorf("docs/%s: example %s: %v", name, object.GetName(), err)
				}
			}
		}
	}

	if examples < 6 {
		t.Errorf("only %d examples were found", examples)
	}
}

// inNamespace moves an example into the namespace that exists.
func inNamespace(object *unstructured.Unstructured) {
	if object.GetNamespace() != "" {
		object.SetNamespace(testNamespace)
	}
}

var patternRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| (yes|no) \\|$")

var refusedRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| [^|]+ \\|$")

// TestPatternExamples holds the tables of docs/patterns.md against the grammar.
func TestPatternExamples(t *testing.T) {
	page := readPage(t, "patterns.md")
	matching, refused, found := strings.Cut(page, "## What is refused")

	rows := patternRow.FindAllStringSubmatch(matching, -1)
	if !found || len(rows) < 20 {
		t.Fatalf("docs/patterns.md has %d examples, not at least 20", len(rows))
	}

	for _, row := range rows {
		pattern, err := subscription.ParsePattern(row[1])
		if err != nil {
			t.Errorf("%s: %v", row[1], err)

			continue
		}

		if err := subscription.ValidateEventType(row[2]); err != nil {
			t.Errorf("%s: %v", row[2], err)
		}

		if got := pattern.Matches(row[2]); got != (row[3] == "yes") {
			t.Errorf("%s matches %s: %t, the page says %s", row[1], row[2], got, row[3])
		}
	}

	rows = refusedRow.FindAllStringSubmatch(refused, -1)
	if len(rows) < 5 {
		t.Fatalf("docs/patterns.md has %d patterns that are refused, not at least 5", len(rows))
	}

	for _, row := range rows {
		if _, err := subscription.ParsePattern(row[1]); err == nil {
			t.Errorf("%s is accepted, the page says it is refused", row[1])
		}
	}
}
