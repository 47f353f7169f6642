package main

import (
	"cmp"
	"slices"
	"time"
)

// Percentiles that are shown.
const (
	p50  = 0.50
	p99  = 0.99
	p999 = 0.999
)

// percentile is the smallest of the sorted values that a part of them does not exceed
// (nearest rank): of 100 values, 0.99 is the 99th. It is zero where there are none.
func percentile[T cmp.Ordered](sorted []T, part float64) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}

	rank := int(part * float64(len(sorted)))
	if float64(rank) < part*float64(len(sorted)) {
		rank++
	}

	return sorted[min(max(rank, 1), len(sorted))-1]
}

// median is the middle one of the values, the mean of the two where their number is even.
func median[T int64 | float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}

	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2

	if len(sorted)%2 == 1 {
		return sorted[middle]
	}

	return (sorted[middle-1] + sorted[middle]) / 2
}

// ratios are the quotients of values that were measured side by side.
func ratios(of, by []float64) []float64 {
	var out []float64

	for i := range min(len(of), len(by)) {
		if by[i] > 0 {
			out = append(out, of[i]/by[i])
		}
	}

	return out
}

// latencies is a distribution.
type latencies struct {
	Count int           `json:"count"`
	P50   time.Duration `json:"p50Nanoseconds"`
	P99   time.Duration `json:"p99Nanoseconds"`
	P999  time.Duration `json:"p999Nanoseconds"`
	Max   time.Duration `json:"maxNanoseconds"`
}

// distribution sorts the samples and sums them up.
func distribution(samples []time.Duration) latencies {
	slices.Sort(samples)

	return latencies{
		Count: len(samples), P50: percentile(samples, p50), P99: percentile(samples, p99), P999: percentile(samples, p999),
		Max: percentile(samples, 1),
	}
}

// medianLatencies takes the median of each figure over the rounds; Count is of all of them, Max the largest.
func medianLatencies(rounds []latencies) latencies {
	var (
		out             latencies
		half, most, far []time.Duration
	)

	for _, round := range rounds {
		out.Count += round.Count
		out.Max = max(out.Max, round.Max)
		half, most, far = append(half, round.P50), append(most, round.P99), append(far, round.P999)
	}

	out.P50, out.P99, out.P999 = median(half), median(most), median(far)

	return out
}
