package subscription

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSigningKey(t *testing.T) {
	t.Parallel()

	bytes24, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	bytes64 := []byte(strings.Repeat("k", GeneratedSecretBytes))

	cases := map[string]struct {
		reason string
		text   string
		want   []byte
		fails  bool
	}{
		"Prefixed":         {reason: "the standard's own form", text: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", want: bytes24},
		"Bare":             {reason: "the prefix is optional", text: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", want: bytes24},
		"PrefixedPadded":   {reason: "64 bytes need padding", text: "whsec_" + base64.StdEncoding.EncodeToString(bytes64), want: bytes64},
		"PrefixedUnpadded": {reason: "padding may be missing", text: "whsec_" + base64.RawStdEncoding.EncodeToString(bytes64), want: bytes64},
		"BareUnpadded":     {reason: "padding may be missing here too", text: base64.RawStdEncoding.EncodeToString(bytes64), want: bytes64},
		"PrefixedShort":    {reason: "strength is judged elsewhere", text: "whsec_" + base64.StdEncoding.EncodeToString([]byte("short")), want: []byte("short")},
		"BareShortBase64":  {reason: "under 24 bytes it is a pass phrase", text: "abcd", want: []byte("abcd")},
		"PassPhrase":       {reason: "other text is the key itself", text: "correct horse battery staple, all of it", want: []byte("correct horse battery staple, all of it")},
		"URLSafeBase64":    {reason: "receivers know standard base64 alone, so this is text", text: "-_" + strings.Repeat("A", 38), want: []byte("-_" + strings.Repeat("A", 38))},
		"LineBreakInside":  {reason: "a decoder that skips line breaks is not every decoder", text: strings.Repeat("A", 20) + "\n" + strings.Repeat("A", 20), want: []byte(strings.Repeat("A", 20) + "\n" + strings.Repeat("A", 20))},
		"Empty":            {reason: "no key", text: "", fails: true},
		"PrefixAlone":      {reason: "no key", text: "whsec_", fails: true},
		"PrefixedGarbage":  {reason: "the prefix promises base64", text: "whsec_not base64 at all", fails: true},
		"PrefixedPadding":  {reason: "padding alone is no key", text: "whsec_==", fails: true},
		"TooLong":          {reason: "bounded", text: strings.Repeat("a", MaxSecretLength+1), fails: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got, err := SigningKey(c.text)
			if (err != nil) != c.fails {
				t.Fatalf("%s: SigningKey: %v, want an error: %t", c.reason, err, c.fails)
			}
			if err != nil && len(c.text) > 6 && strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: the error repeats the secret: %v", c.reason, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: key (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
