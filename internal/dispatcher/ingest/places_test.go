package ingest

import (
	"fmt"
	"testing"
)

func TestPlaces(t *testing.T) {
	t.Parallel()

	fill := func(p *places, tenant string) (leaves []func()) {
		for {
			leave, ok := p.enter(tenant)
			if !ok {
				return leaves
			}
			leaves = append(leaves, leave)
		}
	}
	p := newPlaces(512)
	first := fill(p, "slow")
	if len(first) != 384 {
		t.Errorf("alone a tenant has %d places of 512, want three quarters", len(first))
	}
	for i := range 10 {
		if got := fill(p, fmt.Sprintf("next-%d", i)); len(got) == 0 {
			t.Errorf("tenant %d finds no place", i)
		}
	}
	if _, ok := p.enter("slow"); ok {
		t.Error("who holds more than its share gets no more")
	}
	for _, leave := range first {
		leave()
	}
	if again := fill(p, "slow"); len(again) < 100 {
		t.Errorf("places that were left are there again: %d", len(again))
	}
	one := newPlaces(1)
	leave, ok := one.enter("only")
	if !ok {
		t.Fatal("the last place is for whoever comes")
	}
	leave()
	if len(one.held) != 0 || one.all != 0 {
		t.Errorf("nothing is kept of who has left: %v, %d", one.held, one.all)
	}
}
