package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// letterPage is how many dead letters are asked for at once.
const letterPage = 500

// admin is one tenant's side of the subscription API.
type admin struct {
	url, token string
	client     *http.Client
}

func newAdmin(url, token string) *admin {
	return &admin{url: url, token: token, client: &http.Client{Timeout: requestLimit, Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, DisableKeepAlives: true,
	}}}
}

// port is the API as the port has it.
func (a *admin) port(ctx context.Context) (*native.Client, error) {
	client, err := native.NewClient(ctx, native.ClientConfig{
		BaseURL: a.url, Transport: a.client.Transport,
		Token: func(context.Context) (string, error) { return a.token, nil },
	})
	if err != nil {
		return nil, fmt.Errorf("asking the dispatcher what it can do: %w", err)
	}

	return client, nil
}

// subscribe makes the subscription of an endpoint. Where the dispatcher does not offer what
// the endpoint asks for, offered is false.
func (a *admin) subscribe(ctx context.Context, e *endpoint) (offered bool, err error) {
	client, err := a.port(ctx)
	if err != nil {
		return false, err
	}

	created, err := client.Create(ctx, subscription.Draft{
		Name: e.name, URL: e.url, Events: e.events, Enabled: true, Secret: e.secret, Delivery: e.delivery,
	})

	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); ok && e.delivery.Ordering != "" {
		return false, unsupported
	}

	if err != nil {
		return true, fmt.Errorf("subscribing %s: %w", e, err)
	}

	e.id = created.ID

	return true, nil
}

// letter is one dead letter.
type letter struct {
	Position uint64 `json:"position"`
	EventID  string `json:"eventId"`
	Reason   string `json:"reason"`
}

// deadLetters are those of a subscription after a position.
func (a *admin) deadLetters(ctx context.Context, id string, after uint64) ([]letter, error) {
	var all []letter

	for {
		url := a.url + "/webhooks/subscriptions/" + id + "/dead-letters?limit=" + strconv.Itoa(letterPage) +
			"&after=" + strconv.FormatUint(after, 10)

		var page struct {
			DeadLetters []letter `json:"deadLetters"`
		}

		if err := a.get(ctx, url, &page); err != nil {
			return nil, err
		}

		if len(page.DeadLetters) == 0 {
			return all, nil
		}

		all = append(all, page.DeadLetters...)
		after = all[len(all)-1].Position
	}
}

func (a *admin) get(ctx context.Context, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}

	request.Header.Set("Authorization", "Bearer "+a.token)

	response, err := a.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the dispatcher: %w", err)
	}

	defer func() { _ = response.Body.Close() }()

	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}

	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the dispatcher: %d %s", response.StatusCode, text)
	}

	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}

	return nil
}
