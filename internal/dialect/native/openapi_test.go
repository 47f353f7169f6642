package native_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/hookline-dev/hookline/internal/dialect/native"
)

// documentURL is where the document stands for the compiler of its schemas.
const documentURL = "file:///openapi.json"

// methods are all that HTTP has.
var methods = []string{
	http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodPut, http.MethodOptions, http.MethodTrace,
}

// document is the OpenAPI document as JSON values, and a compiler of its schemas.
type document struct {
	root     map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex
}

var loadDocument = sync.OnceValues(func() (*document, error) {
	var tree any
	if err := yaml.Unmarshal(native.OpenAPI(), &tree); err != nil {
		return nil, err
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource(documentURL, value); err != nil {
		return nil, err
	}

	return &document{root: value.(map[string]any), compiler: compiler}, nil
})

func openDocument(t *testing.T) *document {
	t.Helper()
	d, err := loadDocument()
	if err != nil {
		t.Fatalf("reading the document: %v", err)
	}

	return d
}

// at is what stands at a JSON pointer, and its own pointer where that is a reference.
func (d *document) at(t *testing.T, pointer string) (map[string]any, string) {
	t.Helper()
	var value any = d.root
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		members, _ := value.(map[string]any)
		if value = members[part]; value == nil {
			t.Fatalf("the document has nothing at %s", pointer)
		}
	}
	members, ok := value.(map[string]any)
	if !ok {
		t.Fatalf("the document has no object at %s", pointer)
	}
	if reference, ok := members["$ref"].(string); ok {
		return d.at(t, strings.TrimPrefix(reference, "#"))
	}

	return members, pointer
}

// check holds a value to the schema at a pointer.
func (d *document) check(t *testing.T, pointer string, value any) error {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	schema, err := d.compiler.Compile(documentURL + "#" + pointer)
	if err != nil {
		t.Fatalf("compiling the schema at %s: %v", pointer, err)
	}

	return schema.Validate(value)
}

func escape(part string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(part) }

// operations are the document's: path, method in lower case.
func (d *document) operations(t *testing.T) map[string][]string {
	t.Helper()
	paths, _ := d.at(t, "/paths")
	out := map[string][]string{}
	for path := range paths {
		members, _ := d.at(t, "/paths/"+escape(path))
		for member := range members {
			if slices.Contains(methods, strings.ToUpper(member)) {
				out[path] = append(out[path], strings.ToUpper(member))
			}
		}
	}

	return out
}

// TestOpenAPIHandlers sees to it that the server has each operation of the document and no other.
func TestOpenAPIHandlers(t *testing.T) {
	t.Parallel()
	d, s := openDocument(t), newStage(t, clockwork.NewRealClock())
	operations := d.operations(t)
	if len(operations) == 0 {
		t.Fatal("the document has no operations")
	}
	served := map[string][]string{}
	// The server's own paths, and some that there must not be.
	paths := slices.Concat(slices.Collect(maps.Keys(operations)), native.Paths(), []string{"/webhooks", "/webhooks/subscriptions/{id}/attempts", "/"})
	for _, path := range paths {
		for _, method := range methods {
			response, body := s.send(t, method, strings.ReplaceAll(path, "{id}", "2V1lVz6FeKOuVLEpSU6M0aqkM9b"), as(support), "")
			missing := response.StatusCode == http.StatusMethodNotAllowed ||
				response.StatusCode == http.StatusNotFound && strings.Contains(body, "NoSuchPath")
			if !missing && !slices.Contains(served[path], method) {
				served[path] = append(served[path], method)
			}
		}
	}
	for _, list := range []map[string][]string{operations, served} {
		for _, names := range list {
			slices.Sort(names)
		}
	}
	if diff := cmp.Diff(operations, served); diff != "" {
		t.Errorf("what the document has and what is served, -document +served:\n%s", diff)
	}
}

// TestOpenAPIExamples holds each example to its schema.
func TestOpenAPIExamples(t *testing.T) {
	t.Parallel()
	d := openDocument(t)
	found := 0
	var walk func(value any, pointer string)
	walk = func(value any, pointer string) {
		members, ok := value.(map[string]any)
		if !ok {
			return
		}
		if _, ok := members["schema"]; ok {
			for name, example := range examplesOf(members) {
				found++
				if err := d.check(t, pointer+"/schema", example); err != nil {
					t.Errorf("%s: example %s: %v", pointer, name, err)
				}
			}
		}
		for name, member := range members {
			walk(member, pointer+"/"+escape(name))
		}
	}
	walk(d.root["paths"], "/paths")
	walk(d.root["components"], "/components")
	if found < 20 {
		t.Errorf("only %d examples were found", found)
	}
	// A schema that takes anything would find nothing wrong.
	for name, wrong := range map[string]any{
		"Subscription": map[string]any{"name": "presence-feed"}, "Error": map[string]any{}, "Name": "ab", "Events": []any{},
		"NewSubscription": map[string]any{"name": "abc", "url": "ftp://x", "events": []any{"a"}},
		"Delivery":        map[string]any{"format": "Morse"}, "LogEntry": map[string]any{"event": "order.paid"},
		"VendorOptions": map[string]any{"dixa": map[string]any{}}, "SubscriptionChange": map[string]any{"id": "x"},
		"ReplayChange": map[string]any{"state": "Done"}, "NewReplay": map[string]any{"from": 5}, "Replay": map[string]any{"id": "x"},
		"Endpoint": map[string]any{"circuit": "Burnt", "failures": 0, "slow": false, "inFlight": 0, "queued": 0, "waiting": 0},
	} {
		if d.check(t, "/components/schemas/"+name, wrong) == nil {
			t.Errorf("the schema %s takes %v", name, wrong)
		}
	}
}

func examplesOf(media map[string]any) map[string]any {
	out := map[string]any{}
	if example, ok := media["example"]; ok {
		out["example"] = example
	}
	examples, _ := media["examples"].(map[string]any)
	for name, example := range examples {
		out[name] = example.(map[string]any)["value"]
	}

	return out
}

// checkAnswer holds an answer to what the document promises for its operation and status.
func (d *document) checkAnswer(t *testing.T, method, path string, response *http.Response, body string) {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	operations := d.operations(t)
	if rest, ok := strings.CutPrefix(path, "/webhooks/subscriptions/"); ok {
		_, operation, more := strings.Cut(rest, "/")
		if path = "/webhooks/subscriptions/{id}"; more {
			if strings.HasPrefix(operation, "replays/") {
				operation = "replays/{replay}"
			}
			path += "/" + operation
		}
	}
	if !slices.Contains(operations[path], method) {
		return
	}
	_, pointer := d.at(t, "/paths/"+escape(path)+"/"+strings.ToLower(method)+"/responses/"+strconv.Itoa(response.StatusCode))
	if response.StatusCode == http.StatusNoContent {
		return
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		t.Errorf("%s %s: the answer is not JSON: %v", method, path, err)

		return
	}
	if err := d.check(t, pointer+"/content/"+escape(native.MediaType)+"/schema", value); err != nil {
		t.Errorf("%s %s: the answer is not what the document promises: %v", method, path, err)
	}
}
