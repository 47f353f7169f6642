package bird

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pageQuery selects a page of a list that is sorted by time and id.
type pageQuery struct {
	limit int
	after *position
}

// position is where in a list a page ends.
type position struct {
	at time.Time
	id string
}

func (p position) compare(other position) int {
	if order := p.at.Compare(other.at); order != 0 {
		return order
	}

	return strings.Compare(p.id, other.id)
}

// token is a position as the vendor writes it: the Base64 of a JSON array of time and id.
func (p position) token() (string, error) {
	text, err := marshal([]string{wireTime(p.at), p.id})

	return base64.StdEncoding.EncodeToString(text), err
}

// readPosition reads a page token.
func readPosition(token string) (position, bool) {
	// A "+" that was not percent-encoded arrives as a space.
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(token, " ", "+"))
	if err != nil {
		return position{}, false
	}
	var parts []string
	if json.Unmarshal(text, &parts) != nil || len(parts) != 2 {
		return position{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, parts[0])
	id, ok := parseID(parts[1])

	return position{at: at, id: id.String()}, err == nil && ok
}

// query are the request's parameters. What cannot be read of them would else be passed over, and with it a filter.
func (r request) query() (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("The query is not percent-encoded as it should be")
	}

	return values, nil
}

// param is a query parameter's value, which may be given once.
func param(query url.Values, name string) (value string, given bool, err error) {
	values := query[name]
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	default:
		return "", false, badRequest(fmt.Sprintf("The parameter %s stands %d times: give it once", name, len(values)))
	}
}

// readPage reads the parameters of a list.
func readPage(query url.Values) (pageQuery, error) {
	out := pageQuery{limit: DefaultPageSize}
	text, given, err := param(query, paramLimit)
	if err != nil {
		return out, err
	}
	if given {
		out.limit, err = strconv.Atoi(text)
		if err != nil || out.limit < 1 || out.limit > MaxPageSize {
			return out, badRequest(fmt.Sprintf("The parameter %s must be a number of 1 to %d", paramLimit, MaxPageSize))
		}
	}
	token, given, err := param(query, paramPageToken)
	if err != nil || !given || token == "" {
		return out, err
	}
	after, ok := readPosition(token)
	if len(token) > MaxPageToken || !ok {
		return out, badRequest(fmt.Sprintf("The parameter %s is none that this API answered: give the nextPageToken of the page before, "+
			"percent-encoded", paramPageToken))
	}
	out.after = &after

	return out, nil
}

// pageOf is the part of a sorted list that a query selects. order compares positions as the list is sorted.
func pageOf[E, R any](
	list []E, query pageQuery, order func(a, b position) int, where func(E) position, wire func(E) R,
) (page[R], error) {
	from := 0
	if query.after != nil {
		from, _ = slices.BinarySearchFunc(list, *query.after, func(one E, after position) int {
			if order(where(one), after) <= 0 {
				return -1
			}

			return 1
		})
	}
	out := page[R]{Results: []R{}}
	to := min(len(list), from+query.limit)
	for _, one := range list[from:to] {
		out.Results = append(out.Results, wire(one))
	}
	if to == len(list) || to == from {
		return out, nil
	}
	var err error
	out.NextPageToken, err = where(list[to-1]).token()

	return out, err
}
