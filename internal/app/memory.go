package app

import (
	"context"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// softLimit is the memory, in bytes, that collecting garbage tries to stay below: what a
// server of ordinary size holds while it hashes as many passwords as it can.
const softLimit = 88 << 20

// TuneGC lets garbage grow to three times what is in use, which is little, before it
// is collected: a tenth less work for each request, for some ten megabytes. Near
// softLimit it is collected more often. A server does it first of all, so that nothing is
// collected before it is ready. GOGC and GOMEMLIMIT in the environment have the
// last word.
func TuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softLimit)
	}
}

// keepRoom raises the limit where more than half of it is in use, until ctx is done:
// a server that needs more, for a large directory or many tenants, is not to spend its
// time collecting.
func keepRoom(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	limit := int64(softLimit)
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		runtimemetrics.Read(live)
		if want := roomFor(int64(live[0].Value.Uint64())); want != limit {
			limit = want
			debug.SetMemoryLimit(limit)
		}
	}
}

// roomFor is the limit for what is in use, in steps, so that it seldom changes.
func roomFor(live int64) int64 {
	const step = 32 << 20
	if 2*live <= softLimit+step { // the blocks of two password hashes are among it
		return softLimit
	}
	return (2*live + step - 1) / step * step
}
