package subscription_test

import (
	"strings"
	"testing"

	"github.com/hookline-dev/hookline/internal/subscription"
)

func TestScrubExplanation(t *testing.T) {
	t.Parallel()
	const secret = `a<b>"c\d/é "`
	cases := map[string]struct {
		reason  string
		text    string
		secrets []string
		want    string
	}{
		"AsItIs":   {reason: "The secret itself.", text: `secret ` + secret + ` is too short`, secrets: []string{secret}, want: "secret *** is too short"},
		"JSON":     {reason: "The request's body is quoted.", text: `{"secret":"a<b>\"c\\d/é \""}`, secrets: []string{secret}, want: `{"secret":"***"}`},
		"HTML":     {reason: "It is quoted by an encoder that escapes for HTML.", text: `"a\u003cb\u003e\"c\\d/é \""`, secrets: []string{secret}, want: `"***"`},
		"Query":    {reason: "It is quoted as a form.", text: "secret=a%3Cb%3E%22c%5Cd%2F%C3%A9+%22&x=1", secrets: []string{secret}, want: "secret=***&x=1"},
		"Path":     {reason: "It is quoted as part of a path.", text: "/a%3Cb%3E%22c%5Cd%2F%C3%A9%20%22/x", secrets: []string{secret}, want: "/***/x"},
		"Longest":  {reason: "None is cut by one that it contains.", text: "abcdef abc", secrets: []string{"abc", "abcdef"}, want: "*** ***"},
		"Empty":    {reason: "What is empty stands everywhere and is no secret.", text: "abc", secrets: []string{""}, want: "abc"},
		"Bounded":  {reason: "A long text is cut.", text: strings.Repeat("x", 600), want: strings.Repeat("x", 512) + "…"},
		"NoUTF8":   {reason: "A text that is not UTF-8 becomes so.", text: "a\xffb", want: "ab"},
		"CutAtEnd": {reason: "A secret is taken out before the text is cut.", text: strings.Repeat("x", 510) + "secret", secrets: []string{"secret"}, want: strings.Repeat("x", 510) + "**" + "…"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := subscription.ScrubExplanation(tc.text, tc.secrets); got != tc.want {
				t.Errorf("%s\ngot  %s\nwant %s", tc.reason, got, tc.want)
			}
		})
	}
}
