package app

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	vm "github.com/VictoriaMetrics/metrics"

	"github.com/cardea-id/cardea/internal/database"
)

// metrics counts what the server does. No label holds an id or anything else that
// a caller chooses: their number is bounded by the program's own routes.
type metrics struct {
	db       *database.DB
	build    string // the name and labels of cardea_build_info
	hashed   func() uint64
	inFlight atomic.Int64
	requests sync.Map // series to *durations
}

// A series is what requests are told apart by.
type series struct {
	route, method string
	status        int
}

// durations are the requests of a series, by how long they took.
type durations struct {
	within [len(buckets) + 1]atomic.Uint64 // the last is for what took longer than any bucket
	total  atomic.Int64                    // nanoseconds
}

// A request is a matter of a millisecond, a password one of fifty.
var buckets = [...]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10} // seconds

func newMetrics(db *database.DB, hashed func() uint64, version string) *metrics {
	return &metrics{db: db, hashed: hashed, build: fmt.Sprintf("cardea_build_info{database=%q,goversion=%q,version=%q}", db.Engine(), runtime.Version(), version)}
}

// observe is web.Edge.Observe.
func (m *metrics) observe(route, method string, status int, took time.Duration) {
	if _, path, ok := strings.Cut(route, " "); ok { // "GET /api/v1/users"
		route = path
	}
	if route == "" {
		route = "none" // the path is the caller's and would make labels without end
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other"
	}
	if status == 0 { // nothing was written, which net/http sends as 200
		status = http.StatusOK
	}
	m.of(series{route, method, status}).add(took)
}

func (m *metrics) of(s series) *durations {
	if d, ok := m.requests.Load(s); ok {
		return d.(*durations)
	}
	d, _ := m.requests.LoadOrStore(s, new(durations))
	return d.(*durations)
}

func (d *durations) add(took time.Duration) {
	i, _ := slices.BinarySearch(buckets[:], took.Seconds())
	d.within[i].Add(1)
	d.total.Add(int64(took))
}

// write adds the series in the text format, where each bucket counts those below it
// too.
func (d *durations) write(w io.Writer, s series) {
	const name = "http_request_duration_seconds"
	labels := fmt.Sprintf("method=%q,route=%q,status=\"%d\"", s.method, s.route, s.status)
	sum := uint64(0)
	for i := range d.within {
		edge := "+Inf"
		if i < len(buckets) {
			edge = strconv.FormatFloat(buckets[i], 'g', -1, 64)
		}
		sum += d.within[i].Load()
		fmt.Fprintf(w, "%s_bucket{%s,le=%q} %d\n", name, labels, edge, sum)
	}
	fmt.Fprintf(w, "%s_sum{%s} %g\n%s_count{%s} %d\n", name, labels, time.Duration(d.total.Load()).Seconds(), name, labels, sum)
}

// count counts the requests under way in next.
func (m *metrics) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.inFlight.Add(1)
		defer m.inFlight.Add(-1)
		next.ServeHTTP(w, r)
	})
}

// handler answers on the management address, in the text format of Prometheus.
func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	asking := make(chan struct{}, 4)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case asking <- struct{}{}:
			defer func() { <-asking }()
		default:
			http.Error(w, "asked too often at once", http.StatusServiceUnavailable)
			return
		}
		var b bytes.Buffer
		m.write(&b)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(b.Bytes()) // who asked has gone
	})
	return mux
}

func (m *metrics) write(w io.Writer) {
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	head("cardea_build_info", "gauge", "Always 1; the labels say what is running.")
	fmt.Fprintf(w, "%s 1\n", m.build)
	head("http_requests_in_flight", "gauge", "Requests being answered.")
	fmt.Fprintf(w, "http_requests_in_flight %d\n", m.inFlight.Load())
	head("http_request_duration_seconds", "histogram", "Time to answer a request, by route.")
	m.requests.Range(func(s, d any) bool {
		d.(*durations).write(w, s.(series))
		return true
	})
	pool := m.db.Pool()
	head("cardea_database_connections", "gauge", "Connections to the database, by state.")
	fmt.Fprintf(w, "cardea_database_connections{state=\"in_use\"} %d\ncardea_database_connections{state=\"idle\"} %d\n", pool.InUse, pool.Idle)
	head("cardea_database_connections_max", "gauge", "The most connections there can be.")
	fmt.Fprintf(w, "cardea_database_connections_max %d\n", pool.Max)
	head("cardea_database_waits_total", "counter", "How often a connection had to be waited for.")
	fmt.Fprintf(w, "cardea_database_waits_total %d\n", pool.Waits)
	head("cardea_database_wait_seconds_total", "counter", "Time spent waiting for a connection.")
	fmt.Fprintf(w, "cardea_database_wait_seconds_total %g\n", pool.Waited.Seconds())
	head("cardea_password_hash_kibibytes_total", "counter", "Memory that password hashes have filled.")
	fmt.Fprintf(w, "cardea_password_hash_kibibytes_total %d\n", m.hashed())
	vm.WriteProcessMetrics(w)
}
