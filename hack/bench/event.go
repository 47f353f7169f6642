package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Sizes of an event as it is published, in bytes.
const (
	payloadSmall  = 512
	payloadMiddle = 7 << 10
	payloadLarge  = 100 << 10
)

// The event types: subscription i takes typeOne of i alone, and typeTen of i/10 with nine others.
const (
	typeOne  = "bench.one.t%05d"
	typeTen  = "bench.ten.t%05d"
	tenfold  = 10
	tenant   = "bench"
	idMarker = `"id":"`
)

// An event's id is the load it belongs to, its number and the time it was meant to be sent,
// in nanoseconds since the load began, each with a fixed number of digits.
const (
	loadDigits   = 6
	numberDigits = 10
	timeDigits   = 14
	idLength     = loadDigits + 1 + numberDigits + 1 + timeDigits
)

// template is an event whose id and type are filled in for each publish, in place.
type template struct {
	body         []byte
	idAt, typeAt int
	typeFormat   string
}

// newTemplate makes an event of a size: a CloudEvent in structured mode whose data are records
// of an application, so that neither parsing nor compressing them is easier than in earnest.
func newTemplate(size, fanOut int) template {
	t := template{typeFormat: typeOne}
	if fanOut > 1 {
		t.typeFormat = typeTen
	}

	var body bytes.Buffer

	body.WriteString(`{"specversion":"1.0",` + idMarker)
	t.idAt = body.Len()
	body.Write(bytes.Repeat([]byte{'0'}, idLength))
	body.WriteString(`","source":"/bench","type":"`)
	t.typeAt = body.Len()
	fmt.Fprintf(&body, t.typeFormat, 0)
	body.WriteString(`","datacontenttype":"application/json","data":{"records":[`)

	const (
		end     = `"}}`
		letters = "abcdefghijklmnopqrstuvwxyz"
	)

	random := rand.New(rand.NewPCG(1, uint64(size))) //nolint:gosec // The same events at each run.

	for first := true; ; first = false {
		record := fmt.Sprintf(`{"agentId":"%016x","state":"ready","skills":["sales","%08x"],"since":%d,"active":true}`,
			random.Uint64(), random.Uint32(), random.Uint32())
		if body.Len()+len(record)+len(`,],"text":"`+end) > size {
			break
		}
		if !first {
			body.WriteByte(',')
		}

		body.WriteString(record)
	}

	body.WriteString(`],"text":"`)

	for body.Len()+len(end) < size {
		body.WriteByte(letters[random.IntN(len(letters))])
	}

	body.WriteString(end)
	t.body = body.Bytes()

	return t
}

// clone is the template for one more publisher.
func (t template) clone() template {
	t.body = bytes.Clone(t.body)

	return t
}

// fill writes the id and the type, and returns the event. It holds until the next fill.
func (t template) fill(load, number int64, meant time.Duration, eventType int) []byte {
	digits(t.body[t.idAt:], load, loadDigits, '-')
	digits(t.body[t.idAt+loadDigits+1:], number, numberDigits, '-')
	digits(t.body[t.idAt+loadDigits+numberDigits+2:], int64(meant), timeDigits, '"')
	copy(t.body[t.typeAt:], fmt.Sprintf(t.typeFormat, eventType))

	return t.body
}

// digits writes a number with leading zeros and what comes after it.
func digits(to []byte, number int64, width int, after byte) {
	for i := width - 1; i >= 0; i-- {
		to[i] = "0123456789"[number%10]
		number /= 10
	}

	to[width] = after
}

// stamp is what an event's id says.
type stamp struct {
	load, number int64
	meant        time.Duration
}

// readStamp finds the id in an event, wherever the dispatcher put it.
func readStamp(event []byte) (stamp, bool) {
	at := bytes.Index(event, []byte(idMarker))
	if at < 0 || len(event) < at+len(idMarker)+idLength {
		return stamp{}, false
	}

	id := string(event[at+len(idMarker) : at+len(idMarker)+idLength])
	load, err1 := strconv.ParseInt(id[:loadDigits], 10, 64)
	number, err2 := strconv.ParseInt(id[loadDigits+1:loadDigits+1+numberDigits], 10, 64)
	meant, err3 := strconv.ParseInt(id[loadDigits+numberDigits+2:], 10, 64)

	return stamp{load: load, number: number, meant: time.Duration(meant)}, err1 == nil && err2 == nil && err3 == nil
}
