package app

import (
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cardea-id/cardea/internal/database"
)

// metrics counts what the server does. No label holds an id or anything else that
// a caller chooses: their number is bounded by the program's own routes.
type metrics struct {
	registry *prometheus.Registry
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// A request is a matter of a millisecond, a password one of fifty.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

func newMetrics(db *database.DB, version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Time to answer a request, by route.", Buckets: buckets,
		}, []string{"route", "method", "status"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "http_requests_in_flight", Help: "Requests being answered."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cardea_build_info", Help: "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version(), "database": db.Engine()},
	})
	build.Set(1)
	m.registry.MustRegister(m.duration, m.inFlight, build, connections{db},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
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
	m.duration.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}

// count counts the requests under way in next.
func (m *metrics) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.inFlight.Inc()
		defer m.inFlight.Dec()
		next.ServeHTTP(w, r)
	})
}

// handler answers on the management address.
func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}

// connections tells of the database's connections.
type connections struct{ db *database.DB }

var (
	openConnections = prometheus.NewDesc("cardea_database_connections", "Connections to the database, by state.", []string{"state"}, nil)
	maxConnections  = prometheus.NewDesc("cardea_database_connections_max", "The most connections there can be.", nil, nil)
	waits           = prometheus.NewDesc("cardea_database_waits_total", "How often a connection had to be waited for.", nil, nil)
	waited          = prometheus.NewDesc("cardea_database_wait_seconds_total", "Time spent waiting for a connection.", nil, nil)
)

// Describe implements prometheus.Collector.
func (connections) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{openConnections, maxConnections, waits, waited} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c connections) Collect(out chan<- prometheus.Metric) {
	pool := c.db.Pool()
	out <- prometheus.MustNewConstMetric(openConnections, prometheus.GaugeValue, float64(pool.InUse), "in_use")
	out <- prometheus.MustNewConstMetric(openConnections, prometheus.GaugeValue, float64(pool.Idle), "idle")
	out <- prometheus.MustNewConstMetric(maxConnections, prometheus.GaugeValue, float64(pool.Max))
	out <- prometheus.MustNewConstMetric(waits, prometheus.CounterValue, float64(pool.Waits))
	out <- prometheus.MustNewConstMetric(waited, prometheus.CounterValue, pool.Waited.Seconds())
}
