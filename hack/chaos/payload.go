package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// payload is an event's data. Its pad follows from the event's id, so that a receiver can
// tell whether it came through whole.
type payload struct {
	Event string    `json:"event"`
	Sent  time.Time `json:"sent"`
	Pad   string    `json:"pad"`
}

// wireEvent is a CloudEvent as publishers send it and receivers get it.
type wireEvent struct {
	SpecVersion  string          `json:"specversion"`
	ID           string          `json:"id"`
	Source       string          `json:"source"`
	Type         string          `json:"type"`
	PartitionKey string          `json:"partitionkey,omitempty"`
	Data         json.RawMessage `json:"data"`
}

// padOf is the pad of an event, size bytes that nobody guesses without the id.
func padOf(id string, size int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz012345"

	sum := fnv.New64a()
	_, _ = sum.Write([]byte(id))
	state := sum.Sum64() | 1
	pad := make([]byte, size)

	for i := range pad {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		pad[i] = alphabet[state%uint64(len(alphabet))]
	}

	return string(pad)
}

// newEvent is an event that is sent now.
func newEvent(source, id, eventType, key string, size int) (wireEvent, error) {
	data, err := json.Marshal(payload{Event: id, Sent: time.Now(), Pad: padOf(id, size)})
	if err != nil {
		return wireEvent{}, fmt.Errorf("writing an event's data: %w", err)
	}

	return wireEvent{SpecVersion: "1.0", ID: id, Source: source, Type: eventType, PartitionKey: key, Data: data}, nil
}

// errAltered answers that an event is not what was published.
var errAltered = errors.New("the data is not what was published")

// readEvent takes a delivery apart and checks that its data came through whole.
func readEvent(body []byte) (wireEvent, payload, error) {
	var (
		event wireEvent
		data  payload
	)

	if err := json.Unmarshal(body, &event); err != nil {
		return event, data, fmt.Errorf("reading the event: %w", err)
	}

	if err := json.Unmarshal(event.Data, &data); err != nil {
		return event, data, fmt.Errorf("reading the event's data: %w", err)
	}

	if data.Event != event.ID || data.Pad != padOf(event.ID, len(data.Pad)) {
		return event, data, errAltered
	}

	return event, data, nil
}
