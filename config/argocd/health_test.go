// Package argocd_test evaluates Argo CD's health customizations, as Argo CD does, on objects
// that the controllers' own tests produced, and compares them with kstatus on the same objects.
package argocd_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const group = "resource_customizations/hookline.dev"

// suite is a health_test.yaml, in the form that Argo CD's own repository has.
type suite struct {
	Tests []struct {
		HealthStatus struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"healthStatus"`
		InputPath string `json:"inputPath"`
	} `json:"tests"`
}

func TestHealth(t *testing.T) {
	kinds, err := os.ReadDir(group)
	if err != nil {
		t.Fatal(err)
	}

	if len(kinds) != 3 {
		t.Fatalf("there are %d kinds with a health check, not 3", len(kinds))
	}

	for _, kind := range kinds {
		t.Run(kind.Name(), func(t *testing.T) { testKind(t, filepath.Join(group, kind.Name())) })
	}
}

func testKind(t *testing.T, folder string) {
	t.Helper()

	script := read(t, filepath.Join(folder, "health.lua"))

	var tests suite
	if err := yaml.UnmarshalStrict(read(t, filepath.Join(folder, "health_test.yaml")), &tests); err != nil {
		t.Fatal(err)
	}

	covered := map[string]bool{}

	for _, tc := range tests.Tests {
		t.Run(filepath.Base(tc.InputPath), func(t *testing.T) {
			covered[filepath.Join(folder, tc.InputPath)] = true

			object := load(t, filepath.Join(folder, tc.InputPath))

			gotStatus, gotMessage := evaluate(t, string(script), object)
			if gotStatus != tc.HealthStatus.Status || gotMessage != tc.HealthStatus.Message {
				t.Errorf("got %s %q, want %s %q", gotStatus, gotMessage, tc.HealthStatus.Status, tc.HealthStatus.Message)
			}

			agree(t, object, gotStatus)
		})
	}

	// Every state that the controllers' tests reach is judged.
	files, err := filepath.Glob(filepath.Join(folder, "testdata", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	for _, file := range files {
		if !covered[file] {
			t.Errorf("%s is in no test", file)
		}
	}

	if len(files) == 0 {
		t.Error("there is no testdata")
	}
}

// agree holds the health to kstatus, which Flux and kubectl wait go by.
func agree(t *testing.T, object *unstructured.Unstructured, health string) {
	t.Helper()

	result, err := status.Compute(object)
	if err != nil {
		t.Fatal(err)
	}

	allowed := map[status.Status][]string{
		status.CurrentStatus:     {"Healthy", "Suspended"},
		status.InProgressStatus:  {"Progressing", "Suspended"},
		status.FailedStatus:      {"Degraded", "Suspended"},
		status.TerminatingStatus: {"Progressing", "Degraded"},
	}

	if slices.Contains(allowed[result.Status], health) {
		return
	}

	t.Errorf("kstatus says %s (%s), health %s", result.Status, result.Message, health)
}

// evaluate runs a script with the object as its global obj.
func evaluate(t *testing.T, script string, object *unstructured.Unstructured) (health, message string) {
	t.Helper()

	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()

	// Argo CD opens these and no more: a script that needs others fails here too.
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString, lua.MathLibName: lua.OpenMath,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}

	state.SetGlobal("obj", toLua(state, object.Object))

	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}

	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returned %s, not a table", state.Get(-1).Type().String())
	}

	return lua.LVAsString(table.RawGetString("status")), lua.LVAsString(table.RawGetString("message"))
}

// toLua converts what JSON can hold.
func toLua(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, item := range v {
			table.RawSetString(key, toLua(state, item))
		}

		return table
	case []any:
		table := state.NewTable()
		for _, item := range v {
			table.Append(toLua(state, item))
		}

		return table
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case float64:
		return lua.LNumber(v)
	case int64:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
}

func load(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()

	// By way of JSON, as from the API server: whole numbers stay whole.
	content, err := yaml.YAMLToJSON(read(t, path))
	if err != nil {
		t.Fatal(err)
	}

	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(content); err != nil {
		t.Fatal(err)
	}

	return object
}

func read(t *testing.T, path string) []byte {
	t.Helper()

	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	return content
}
