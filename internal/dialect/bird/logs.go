package bird

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// delivery is one delivery with those of its attempts that are known, the newest first.
type delivery struct {
	id       string
	attempts []subscription.LogEntry
}

// deliveries are a subscription's, made from its latest subscription.MaxLogLimit attempts, the youngest first.
func (r request) deliveries(id string) ([]delivery, error) {
	attempts, err := r.api.Logs(r.Context(), id, subscription.LogQuery{Limit: subscription.MaxLogLimit})
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	at := map[string]int{}
	var out []delivery
	for _, attempt := range attempts {
		index, known := at[attempt.DeliveryID]
		if !known {
			index = len(out)
			at[attempt.DeliveryID] = index
			out = append(out, delivery{id: requestID(attempt.DeliveryID)})
		}
		out[index].attempts = append(out[index].attempts, attempt)
	}
	slices.SortFunc(out, func(a, b delivery) int { return b.position().compare(a.position()) })

	return out, nil
}

func (d delivery) last() subscription.LogEntry { return d.attempts[0] }

// position is where a delivery stands in the logs: at its first attempt, as far as that is known.
func (d delivery) position() position {
	return position{at: d.attempts[len(d.attempts)-1].Timestamp, id: d.id}
}

func (d delivery) wire() LogEntry {
	last := d.last()

	return LogEntry{
		RequestID: d.id, AttemptCount: last.Attempt, HTTPStatusCode: last.ResponseCode, ExecutionStatus: executionStatus(last.Success),
		CreatedAt: wireTime(d.position().at),
	}
}

// logs answers a page of the deliveries, the youngest first.
func (s *server) logs(r request) (int, any, error) {
	query, err := r.query()
	if err != nil {
		return 0, nil, err
	}
	pages, err := readPage(query)
	if err != nil {
		return 0, nil, err
	}
	status, given, err := param(query, paramExecution)
	if err != nil {
		return 0, nil, err
	}
	if given && status != executionSucceeded && status != executionFailed {
		return 0, nil, badRequest("The parameter " + paramExecution + " must be one of " + executionSucceeded + ", " + executionFailed)
	}
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	deliveries, err := r.deliveries(found.ID)
	if err != nil {
		return 0, nil, err
	}
	if given {
		deliveries = slices.DeleteFunc(deliveries, func(one delivery) bool { return executionStatus(one.last().Success) != status })
	}
	youngestFirst := func(a, b position) int { return b.compare(a) }
	out, err := pageOf(deliveries, pages, youngestFirst, delivery.position, delivery.wire)

	return http.StatusOK, out, err
}

// details answers the attempts of one delivery, the newest first, with what was sent and answered as far as it
// is kept and MaxResponseBytes have room.
func (s *server) details(r request) (int, any, error) {
	query, err := r.query()
	if err != nil {
		return 0, nil, err
	}
	wanted, _, err := param(query, paramRequestID)
	if err != nil {
		return 0, nil, err
	}
	if wanted == "" {
		return 0, nil, badRequest("The parameter " + paramRequestID + " is missing: give one of the logs")
	}
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	deliveries, err := r.deliveries(found.ID)
	if err != nil {
		return 0, nil, err
	}
	at := slices.IndexFunc(deliveries, func(one delivery) bool { return strings.EqualFold(one.id, wanted) })
	if at < 0 {
		return 0, nil, &refusal{status: http.StatusNotFound, code: codeNotFound, message: "The logs have no such request"}
	}
	out := results[Attempt]{Results: []Attempt{}}
	room := MaxResponseBytes - len(`{"results":[]}`)
	for _, attempt := range deliveries[at].attempts {
		entry := wireAttempt(deliveries[at].id, attempt)
		text, err := marshal(entry)
		if err == nil && len(text) > room {
			entry.RequestBody, entry.ResponseBody = "", ""
			text, err = marshal(entry)
		}
		if err != nil {
			return 0, nil, fmt.Errorf("writing a log entry: %w", err)
		}
		if room -= len(text) + len(","); room < 0 {
			break
		}
		out.Results = append(out.Results, entry)
	}

	return http.StatusOK, out, nil
}

func wireAttempt(id string, attempt subscription.LogEntry) Attempt {
	out := Attempt{
		RequestID: id, Attempt: attempt.Attempt, HTTPStatusCode: attempt.ResponseCode, ExecutionStatus: executionStatus(attempt.Success),
		CreatedAt: wireTime(attempt.Timestamp), RequestBody: delivered(attempt.Payload),
		ResponseBody: strings.ToValidUTF8(string(attempt.ResponseBody), "�"),
	}
	if attempt.ResponseCode == 0 {
		out.Error = attempt.ResponseText
	}

	return out
}

// delivered is the JSON that an attempt sent; empty where it is no longer kept. The port keeps the event, from
// which it is written again, or what was sent.
func delivered(payload []byte) string {
	var event struct {
		SpecVersion string `json:"specversion"`
	}
	if json.Unmarshal(payload, &event) != nil {
		return ""
	}
	if event.SpecVersion == "" {
		return string(payload)
	}
	body, err := render(payload)
	if err != nil {
		// It was never sent so.
		return ""
	}

	return string(body)
}
