package native

import (
	"fmt"
	"time"
)

// pathEndpoint is that of how an endpoint is.
const pathEndpoint = pathSubscription + "/endpoint"

// The circuits of an endpoint.
const (
	// CircuitClosed: deliveries go out.
	CircuitClosed = "Closed"
	// CircuitOpen: too many attempts in a row have failed, so deliveries wait, and one at a time is tried.
	CircuitOpen = "Open"
	// CircuitRecovering: it accepts deliveries again; more and more go out at once.
	CircuitRecovering = "Recovering"
)

// Endpoint is how the dispatcher finds a subscription's endpoint at the moment, on the wire too.
type Endpoint struct {
	Circuit string `json:"circuit"`
	// Since is when the circuit came into this state; zero where it never was in another.
	Since time.Time `json:"since,omitzero"`
	// NextProbe is when a delivery tries an endpoint whose circuit is open; zero where the next one does.
	NextProbe time.Time `json:"nextProbe,omitzero"`
	// Failures are those in a row, up to the last attempt.
	Failures int `json:"failures"`
	// Slow: it takes long for its attempts, and shares a part of the places with others like it.
	Slow bool `json:"slow"`
	// InFlight attempts are under way, Queued deliveries wait for a place, Waiting ones in the journal:
	// for room in the queue or for their next attempt. Those in memory may be among them.
	InFlight int `json:"inFlight"`
	Queued   int `json:"queued"`
	Waiting  int `json:"waiting"`
}

func (s *server) endpoint(r request) (any, error) {
	operations, err := s.operations(r, "endpoint")
	if err != nil {
		return nil, err
	}
	found, err := operations.Endpoint(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("reading how the endpoint is: %w", err)
	}

	return found, nil
}
