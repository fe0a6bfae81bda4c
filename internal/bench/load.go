package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A plan says for how long something is measured: a warm-up that does not count,
// then windows one after the other.
type plan struct {
	warm, window time.Duration
	windows      int
	most         int             // pieces of work in all windows together; they are cut short to keep to it
	pause        time.Duration   // of a worker between two pieces of work
	until        <-chan struct{} // ends it before its time, if it is not nil
}

// slack is how long the last pieces of work may take after the last window.
const slack = 10 * time.Second

// end is when everything must be over.
func (p plan) end() time.Time {
	return time.Now().Add(p.warm + time.Duration(p.windows)*p.window + slack)
}

// A figure is what was measured: a rate over the windows, and the time that single
// pieces of work took in all of them together. Values that are no rates have no
// times.
type figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	P50    float64 `json:"p50_ms,omitempty"`
	P99    float64 `json:"p99_ms,omitempty"`
	Count  int     `json:"count,omitempty"`  // pieces of work that P50 and P99 are of
	CPU    float64 `json:"cpu_us,omitempty"` // of the answering process, for a piece of work

	DatabaseCPU float64 `json:"database_cpu_us,omitempty"` // of PostgreSQL, likewise

	all int // pieces of work with those of the warm-up
}

// A worker does one piece of work after the other.
type worker struct {
	do    func() error
	close func()
}

// measure lets workers work for as long as the plan says. The first error of any of
// them ends it.
func measure(ctx context.Context, p plan, workers int, hire func(i int) (worker, error)) (figure, error) {
	m := &measurement{plan: p, took: make([][][]time.Duration, workers)}
	m.window.Store(warming)
	group, ctx := errgroup.WithContext(ctx)
	for i := range workers {
		w, err := hire(i)
		if err != nil {
			m.window.Store(over)
			return figure{}, fmt.Errorf("hire a worker: %w", err)
		}
		m.took[i] = make([][]time.Duration, p.windows)
		group.Go(func() error {
			defer w.close()
			return m.work(w, m.took[i])
		})
	}
	m.conduct(ctx)
	if err := group.Wait(); err != nil {
		return figure{}, err
	}
	if err := context.Cause(ctx); err != nil && len(m.length) < p.windows {
		return figure{}, err
	}
	return m.figure(), nil
}

// What measurement.window says beside the number of a window.
const (
	warming = -1
	over    = math.MaxInt32
)

type measurement struct {
	plan
	window atomic.Int32
	warmed atomic.Int64 // pieces of work during the warm-up

	length []time.Duration     // of each window
	took   [][][]time.Duration // by worker and window
}

func (m *measurement) work(w worker, took [][]time.Duration) error {
	for m.window.Load() != over {
		start := time.Now()
		if err := w.do(); err != nil {
			return err
		}
		d := time.Since(start)
		// What began in one window and ended in the next belongs to the next.
		switch at := m.window.Load(); at {
		case warming:
			m.warmed.Add(1)
		case over:
			return nil
		default:
			took[at] = append(took[at], d)
		}
		if m.pause > 0 {
			time.Sleep(m.pause)
		}
	}
	return nil
}

// conduct moves from window to window.
func (m *measurement) conduct(ctx context.Context) {
	defer m.window.Store(over)
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
		case <-m.until:
		case <-ctx.Done():
			return false
		}
		return true
	}
	if !wait(m.warm) {
		return
	}
	window := m.plan.window
	if expected := float64(m.warmed.Load()) / m.warm.Seconds() * window.Seconds() * float64(m.windows); m.most > 0 && expected > float64(m.most) {
		window = time.Duration(float64(window) * float64(m.most) / expected)
	}
	for i := range m.windows {
		start := time.Now()
		m.window.Store(int32(i))
		if !wait(window) {
			return
		}
		m.length = append(m.length, time.Since(start))
	}
}

func (m *measurement) figure() figure {
	rates, all := make([]float64, m.windows), []time.Duration(nil)
	for i := range rates {
		n := 0
		for _, took := range m.took {
			n += len(took[i])
			all = append(all, took[i]...)
		}
		rates[i] = float64(n) / m.length[i].Seconds()
	}
	f := summary(rates)
	slices.Sort(all)
	f.P50, f.P99, f.Count = milliseconds(percentile(all, 50)), milliseconds(percentile(all, 99)), len(all)
	f.all = f.Count + int(m.warmed.Load())
	return f
}

// summary is the median and the range of values.
func summary(values []float64) figure {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return figure{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1]}
}

// percentile is the smallest of the sorted times that p per cent of them are not
// above.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*p+99)/100-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A xorshift is a small generator (Marsaglia, "Xorshift RNGs", 2003) whose numbers
// are the same in every run with the same seed. Nothing secret comes from it.
type xorshift uint64

// newXorshift starts a sequence of its own for each number.
func newXorshift(seed, number uint64) xorshift {
	// SplitMix64's last step, so that neighbours have nothing in common.
	z := seed*0x9e3779b97f4a7c15 + number*0xd1342543de82ef95 + 1
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return xorshift(max(z^z>>31, 1))
}

// below returns a number from 0 to n-1.
func (x *xorshift) below(n int) int {
	v := uint64(*x)
	v ^= v << 13
	v ^= v >> 7
	v ^= v << 17
	*x = xorshift(v)
	return int((v >> 11) % uint64(n))
}
