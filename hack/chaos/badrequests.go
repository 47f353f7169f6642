package main

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"

	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
)

const (
	plainJSON      = "application/json"
	batchJSON      = "application/cloudevents-batch+json"
	structuredJSON = "application/cloudevents+json"

	pathAPI = "/webhooks/subscriptions"
)

// badRequest is a request and the answer it must get.
type badRequest struct {
	// method and path are POST and /events where empty.
	method, path, contentType string
	header                    map[string]string
	// token is a tenant's good one where empty.
	token   string
	noToken bool
	body    []byte
	chunked bool
	want    int
	// says is in the answer.
	says string
}

// plain and structured are requests with one event.
func plain(body []byte, want int, says string) badRequest {
	return badRequest{contentType: plainJSON, body: body, want: want, says: says}
}

func structured(attributes string, want int, says string) badRequest {
	body := `{"specversion":"1.0","type":"a.b","source":"/s",` + attributes + `}`

	return badRequest{contentType: structuredJSON, body: []byte(body), want: want, says: says}
}

func (q badRequest) with(name, value string) badRequest {
	q.header = map[string]string{name: value}

	return q
}

// asking has a client ask first: what is refused by its length alone is not read, and who is
// still writing may not see the answer.
func (q badRequest) asking() badRequest { return q.with("Expect", "100-continue") }

func (q badRequest) inChunks() badRequest {
	q.chunked = true

	return q
}

func (q badRequest) to(path string) badRequest {
	q.path = path

	return q
}

func gzipped(content []byte) []byte {
	var out bytes.Buffer

	w := gzip.NewWriter(&out)
	_, _ = w.Write(content) // To memory.
	_ = w.Close()

	return out.Bytes()
}

// plainEvents is an array of so many sound events.
func plainEvents(count int) []byte {
	return []byte("[" + strings.TrimSuffix(strings.Repeat(`{"type":"a.b","data":1},`, count), ",") + "]")
}

// badRequests are requests with the answer each must get.
func (i *input) badRequests() map[string]badRequest {
	const encoding = "Content-Encoding"

	event := []byte(`{"type":"a.b","data":1}`)
	zeros := make([]byte, 64<<20)
	deep := []byte(`{"type":"a.b","data":` + strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000) + `}`)
	large := `"id":"a","data":"` + strings.Repeat("d", ingest.MaxEventBytes) + `"`
	huge := badRequest{contentType: batchJSON, body: bytes.Repeat([]byte(" "), ingest.MaxBatchBytes+1), want: 413}

	return map[string]badRequest{
		"no token":                 {noToken: true, contentType: plainJSON, body: event, want: 401},
		"unknown token":            {token: strings.Repeat("x", 40), contentType: plainJSON, body: event, want: 401},
		"token far too long":       {token: strings.Repeat("x", 20_000), contentType: plainJSON, body: event, want: 401},
		"publish token at the API": {token: i.publishOnly, method: http.MethodGet, path: pathAPI, want: 403},
		"other method":             {method: http.MethodGet, want: 405},
		"no such path":             {path: "/nowhere", want: 404},

		"no content type":      {body: event, want: 415, says: plainJSON},
		"content type is none": {contentType: "///;;;", body: event, want: 415},
		"charset":              {contentType: plainJSON + "; charset=utf-16", body: event, want: 415, says: "UTF-8"},

		"content encoding":          plain(event, 415, "gzip").with(encoding, "br"),
		"not gzip":                  plain(event, 400, "gzip").with(encoding, "gzip"),
		"gzip cut off":              plain(gzipped(event)[:20], 400, "").with(encoding, "gzip"),
		"gzip that grows to 64 MiB": plain(gzipped(zeros), 413, "").with(encoding, "gzip"),

		"empty body":                 plain(nil, 400, ""),
		"not JSON":                   plain([]byte("\x00\x01\x02"), 400, ""),
		"JSON cut off":               plain(event[:10], 400, ""),
		"JSON and more":              plain([]byte(string(event)+"!"), 400, ""),
		"no UTF-8":                   plain([]byte("{\"type\":\"a.b\",\"id\":\"\xff\xfe\",\"data\":1}"), 400, ""),
		"400,000 brackets":           plain(deep, 400, ""),
		"type with a wildcard":       plain([]byte(`{"type":"a.*","data":1}`), 400, "type"),
		"batch of 1,001":             plain(plainEvents(ingest.MaxBatchEvents+1), 413, "1000"),
		"every event of a batch bad": plain([]byte(`[{"data":1},{"type":"..","data":1}]`), 400, "type"),

		"number for an id":         structured(`"id":7`, 400, "id"),
		"empty id":                 structured(`"id":""`, 400, "id"),
		"id of 257 bytes":          structured(`"id":"`+strings.Repeat("i", 257)+`"`, 400, "256"),
		"id with a control":        structured(`"id":"a\u0000b"`, 400, "id"),
		"member that stands twice": structured(`"id":"a","id":"b"`, 400, "id"),
		"unknown specversion": {
			contentType: structuredJSON, body: []byte(`{"specversion":"9","id":"a","type":"a","source":"/"}`),
			want: 400, says: "specversion",
		},

		"event over 1 MiB":          structured(large, 413, "").asking(),
		"event over 1 MiB, chunked": structured(large, 413, "").inChunks(),
		"batch over 8 MiB":          huge.asking(),
		"subscription of 2 MiB":     plain(bytes.Repeat([]byte("x"), 2<<20), 413, "").to(pathAPI).asking(),
		"subscription that is none": plain([]byte(`{"titel":"x"}`), 400, "titel").to(pathAPI),
	}
}

// brokenConnection is bytes that no HTTP client would send.
type brokenConnection struct {
	sent string
	// want begins the answer.
	want string
	// half closes the sending side, as one that went away does.
	half bool
}

// answer400 begins the answer to what is no request.
const answer400 = "HTTP/1.1 400"

func (i *input) brokenConnections() map[string]brokenConnection {
	start := "POST /events HTTP/1.1\r\n"
	head := "Host: h\r\nAuthorization: Bearer " + i.token + "\r\nContent-Type: application/json\r\n"
	cutOff := "Content-Length: 100\r\n\r\n" + `{"type":"a.b","id":"half","data":1}`

	return map[string]brokenConnection{
		"garbage":                  {sent: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", want: answer400},
		"HTTP/0.9":                 {sent: "GET /events\r\n\r\n", want: answer400},
		"HTTP/7":                   {sent: "POST /events HTTP/7.0\r\n" + head + "\r\n", want: "HTTP/1.1 505"},
		"no host":                  {sent: start + "\r\n", want: answer400},
		"headers without end":      {sent: start + head + "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", want: "HTTP/1.1 431"},
		"a negative length":        {sent: start + head + "Content-Length: -1\r\n\r\n", want: answer400},
		"two lengths":              {sent: start + head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", want: answer400},
		"a chunk that is none":     {sent: start + head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", want: answer400},
		"an encoding twice over":   {sent: start + head + "Transfer-Encoding: chunked, chunked\r\n\r\n", want: "HTTP/1.1 501"},
		"a body that is cut off":   {sent: start + head + cutOff, want: answer400, half: true},
		"headers that are cut off": {sent: start + "Host: h\r\nX-He", half: true},
	}
}
