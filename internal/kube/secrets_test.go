package kube_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/internal/kube"
	"github.com/hookline-dev/hookline/internal/provider"
)

func TestValueOf(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason string
		data   map[string][]byte
		want   string
		err    error
	}{
		"Plain":         {reason: "The value is as it was written.", data: map[string][]byte{"key": []byte("value")}, want: "value"},
		"Newline":       {reason: "Editors end files with one.", data: map[string][]byte{"key": []byte("value\n")}, want: "value"},
		"WindowsEnding": {reason: "Some with two characters.", data: map[string][]byte{"key": []byte("value\r\n")}, want: "value"},
		"OneOnly":       {reason: "What else is in the value is meant.", data: map[string][]byte{"key": []byte(" value\n\n")}, want: " value\n"},
		"NoKey":         {reason: "It may yet come.", data: map[string][]byte{"other": []byte("x")}, err: provider.ErrSecretNotFound},
		"Empty":         {reason: "Nothing is no secret.", data: map[string][]byte{"key": []byte("\n")}, err: provider.ErrSecretInvalid},
		"Binary":        {reason: "It cannot be sent in a header or in JSON.", data: map[string][]byte{"key": {0xff, 0xfe}}, err: provider.ErrSecretInvalid},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got, err := kube.ValueOf(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Data: tc.data}, "key")
			if diff := cmp.Diff(tc.want, got); diff != "" || !errors.Is(err, tc.err) {
				t.Errorf("%s\nerror %v, want %v; value (-want +got):\n%s", tc.reason, err, tc.err, diff)
			}

			if err != nil && (!strings.Contains(err.Error(), "mine") || strings.Contains(err.Error(), "\xff")) {
				t.Errorf("%s\n%q does not name the Secret, or holds its value", tc.reason, err)
			}
		})
	}
}
