package v1alpha1

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// rule is one condition on a text, and what is said when it does not hold.
type rule struct {
	holds   func(string) bool
	message string
}

func matches(expression *regexp.Regexp, message string) rule {
	return rule{holds: expression.MatchString, message: message}
}

// invalid reports without the value: it may be what somebody meant to keep secret.
func invalid(path *field.Path, message string) *field.Error {
	return field.Invalid(path, field.OmitValueType{}, message)
}

// text checks a text that is required. Its length is counted in characters, as the schema does.
func text(path *field.Path, value string, most int, rules ...rule) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}

	return optional(path, value, 1, most, rules...)
}

// optional checks a text that counts as omitted when it is empty.
func optional(path *field.Path, value string, least, most int, rules ...rule) field.ErrorList {
	if value == "" {
		return nil
	}

	var errs field.ErrorList

	switch n := utf8.RuneCountInString(value); {
	case n < least:
		errs = append(errs, field.TooShort(path, "", least))
	case n > most:
		errs = append(errs, field.TooLong(path, field.OmitValueType{}, most))
	}

	for _, r := range rules {
		if !r.holds(value) {
			errs = append(errs, invalid(path, r.message))
		}
	}

	return errs
}

func items(path *field.Path, n, least, most int) field.ErrorList {
	switch {
	case n < least:
		return field.ErrorList{field.TooFew(path, n, least)}
	case n > most:
		return field.ErrorList{field.TooMany(path, n, most)}
	default:
		return nil
	}
}

func between(path *field.Path, value *int32, most int32) field.ErrorList {
	if value == nil {
		return nil
	}

	return inRange(path, *value, most)
}

func inRange(path *field.Path, value, most int32) field.ErrorList {
	if value >= 1 && value <= most {
		return nil
	}

	return field.ErrorList{field.Invalid(path, value, "must be from 1 to "+strconv.Itoa(int(most)))}
}

func oneOf[T ~string](path *field.Path, value T, supported ...T) field.ErrorList {
	if slices.Contains(supported, value) {
		return nil
	}

	return field.ErrorList{field.NotSupported(path, value, supported)}
}

func oneOfOrEmpty[T ~string](path *field.Path, value T, supported ...T) field.ErrorList {
	if value == "" {
		return nil
	}

	return oneOf(path, value, supported...)
}

func duration(path *field.Path, value string, least, most time.Duration, message string) field.ErrorList {
	return optional(path, value, 1, maxDurationLength, rule{func(s string) bool {
		if !durationExpression.MatchString(s) {
			return false
		}

		d, err := time.ParseDuration(s)

		return err == nil && d >= least && d <= most
	}, message})
}

func isURL(s string) bool {
	if _, err := url.ParseRequestURI(s); err != nil {
		return false
	}

	_, err := url.Parse(s)

	return err == nil
}

func isAbsoluteURL(s string) bool { return isURL(s) && urlExpression.MatchString(s) }

func hasNoFragment(s string) bool { return !strings.Contains(s, "#") }
