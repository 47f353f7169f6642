package ingest

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// foundMember is a member as it was found, and its text or why it has none.
type foundMember struct{ Name, Value, Text string }

// membersOf takes an object apart as the package does.
func membersOf(raw []byte) (found []foundMember, err error) {
	err = eachMember(raw, func(name string, value json.RawMessage) error {
		text, err := textOf(name, value)
		if err != nil {
			text = err.Error()
		}
		found = append(found, foundMember{Name: name, Value: string(value), Text: text})

		return nil
	})

	return found, err
}

// membersByDecoder takes it apart with encoding/json alone.
func membersByDecoder(raw []byte) (found []foundMember, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return nil, attributeError("", "the event is not a JSON object")
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		if seen[name] {
			return found, attributeError(clip(name), "it stands twice: remove one")
		}
		seen[name] = true
		var text *string
		one := foundMember{Name: name, Value: string(value)}
		if err := json.Unmarshal(value, &text); err != nil || text == nil {
			one.Text = attributeError(name, "it is not a JSON string").Error()
		} else if halfPair(value) {
			one.Text = halfPairError(name).Error()
		} else {
			one.Text = *text
		}
		found = append(found, one)
	}

	return found, nil
}

// FuzzMembers holds that objects are taken apart, and texts are quoted, as encoding/json does it.
func FuzzMembers(f *testing.F) {
	many := make([]string, 3*commonMembers)
	for i := range many {
		many[i] = `"n` + strconv.Itoa(i) + `":` + strconv.Itoa(i)
	}
	for _, seed := range []string{
		`{"a":1,"b":"x\"y","c":{"d":[1,2,{"e":"}"}]},"f":null ,"g" : [ ] , "\u0061":true}`, ` { } `, `{"a":"\\","b":-1.5e3}`,
		`{"a":{},"a":2}`, `[1]`, `"x"`, `null`, `{"data":"é\ud83d\ude00 ","n":0}`, `{"a":"\ud800","\ud800":1,"\udfff":2}`,
		"{\"a\"\t:\r\n1\n}\n", `{"":""}`, `{"a":"\u0000<>&\u2028"}`, `{"a":[[],{}],"b":[{"c":"]"}],"d":true}`,
		"{" + strings.Join(many, ",") + "}", "{" + strings.Join(many, ",") + `,"n40":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !utf8.Valid(raw) || !json.Valid(raw) {
			return
		}
		want, wantErr := membersByDecoder(raw)
		got, err := membersOf(raw)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Fatalf("%q: -want +got:\n%s%v, want %v", raw, diff, err, wantErr)
		}
		if err := checkSyntax(raw); (err == nil) != (bytes.TrimLeft(raw, " \t\r\n")[0] == '{') {
			t.Fatalf("%q as a body: %v", raw, err)
		}
		for _, one := range got {
			checkHalves(t, json.RawMessage(one.Value))
			for _, text := range []string{one.Name, one.Text} {
				checkQuoted(t, text)
			}
		}
	})
}

// checkHalves holds that what has no half of a pair says the same to every decoder: written anew, it reads alike.
func checkHalves(t *testing.T, value json.RawMessage) {
	t.Helper()
	var text string
	if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &text) != nil {
		return
	}
	// The decoder puts the same character in the place of each half, and takes it as it is where it was sent.
	sent := strings.Count(strings.ToLower(string(value)), `\ufffd`) + strings.Count(string(value), "\ufffd")
	if got := strings.Count(text, "\ufffd") > sent; got && !halfPair(value) {
		t.Fatalf("%s has half of a pair, which was not found", value)
	}
	if !strings.Contains(text, "\ufffd") && halfPair(value) {
		t.Fatalf("%s has no half of a pair", value)
	}
}

// checkQuoted holds that a text's JSON string is the one encoding/json writes.
func checkQuoted(t *testing.T, text string) {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		t.Fatal(err)
	}
	if got, want := string(quote(text)), strings.TrimSuffix(out.String(), "\n"); got != want {
		t.Fatalf("%q is quoted as %s, want %s", text, got, want)
	}
}
