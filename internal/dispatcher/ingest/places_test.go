package ingest

import (
	"fmt"
	"testing"
)

func TestPlaces(t *testing.T) {
	t.Parallel()

	fill := func(p *places, tenant string, n int64) (times int) {
		for p.enter(tenant, n) {
			times++
		}

		return times
	}
	p := newPlaces(512)
	first := fill(p, "slow", 1)
	if first != 384 {
		t.Errorf("alone a tenant has %d places of 512, want three quarters", first)
	}
	for i := range 10 {
		if got := fill(p, fmt.Sprintf("next-%d", i), 1); got == 0 {
			t.Errorf("tenant %d finds no place", i)
		}
	}
	if p.enter("slow", 1) {
		t.Error("who holds more than its share gets no more")
	}
	for range first {
		p.leave("slow", 1)
	}
	if again := fill(p, "slow", 1); again < 100 {
		t.Errorf("places that were left are there again: %d", again)
	}
	many := newPlaces(128)
	if got := fill(many, "slow", 8); got != 12 {
		t.Errorf("alone a tenant has %d times 8 places of 128, want three quarters", got)
	}
	if !many.enter("next", 8) || many.enter("slow", 8) {
		t.Error("the next tenant finds room, and who holds more than its share none")
	}
	one := newPlaces(1)
	if !one.enter("only", 1) {
		t.Fatal("the last place is for whoever comes")
	}
	one.leave("only", 1)
	if len(one.held) != 0 || one.all != 0 {
		t.Errorf("nothing is kept of who has left: %v, %d", one.held, one.all)
	}
}
