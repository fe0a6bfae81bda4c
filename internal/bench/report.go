package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A report is all that was measured in one run.
type report struct {
	At          time.Time `json:"at"`
	Machine     machine   `json:"machine"`
	Users       int       `json:"users"`
	Tenants     int       `json:"tenants"`
	Seed        uint64    `json:"seed"`
	Connections int       `json:"connections"`
	Rows        []row     `json:"rows"`
}

// A row is one line of the table.
type row struct {
	Engine      string  `json:"engine"`
	Name        string  `json:"name"`
	Connections int     `json:"connections,omitempty"`
	Unit        string  `json:"unit"` // of the figure: "req/s", "ms", "MB"
	Figure      figure  `json:"figure"`
	Control     *figure `json:"control,omitempty"` // the same work by the control
	Share       float64 `json:"share,omitempty"`   // of the control's rate
	Goal        string  `json:"goal,omitempty"`
	Met         *bool   `json:"met,omitempty"`            // unset without a goal
	MemoryMB    float64 `json:"memory_mb,omitempty"`      // of the server after the row
	PeakMB      float64 `json:"memory_peak_mb,omitempty"` // during it
	Hashing     bool    `json:"hashing,omitempty"`        // passwords were hashed
	Note        string  `json:"note,omitempty"`
}

// A goal is what a row should reach. Fields that are zero ask for nothing.
type goal struct {
	rate    float64 // at least
	share   float64 // of the control's rate, at least
	p99     float64 // ms, at most
	most    float64 // of a value that is no rate
	peak    float64 // MB that the server holds, at most
	first   float64 // the rate that this row's must be within a tenth of
	ofFirst bool    // first is asked for
	// limit is what the machine could do at most where rate was set as a goal, and limitP99
	// the p99 that went with it. A machine of another speed is asked for the same part of
	// its control.
	limit, limitP99 float64
}

// judge writes down the goal and whether the row met it.
func (r row) judge(g goal) row {
	var words []string
	met := true
	ask := func(asked, good bool, format string, args ...any) {
		if asked {
			words = append(words, fmt.Sprintf(format, args...))
			met = met && good
		}
	}
	ask(g.rate > 0, r.Figure.Median >= g.rate, "≥ %s", number(g.rate))
	ask(g.share > 0, r.Share >= g.share, "≥ %.0f %% of the control", 100*g.share)
	ask(g.ofFirst, r.Figure.Median >= 0.9*g.first, "≥ 90 %% of the first page (%s)", number(0.9*g.first))
	ask(g.p99 > 0, r.Figure.P99 <= g.p99, "p99 ≤ %g ms", g.p99)
	ask(g.most > 0, r.Figure.Median <= g.most, "≤ %g %s", g.most, r.Unit)
	ask(g.peak > 0, r.PeakMB <= g.peak, "at most %g MB", g.peak)
	if r.Goal = strings.Join(words, ", "); r.Goal != "" {
		r.Met = &met
	}
	if shares := r.judgeShares(g); len(shares) > 0 {
		r.Goal += "; as a share " + strings.Join(shares, ", ")
	}
	return r
}

// judgeShares says of each part of the goal that the machine's speed decides about
// whether the row met it beside its control.
func (r row) judgeShares(g goal) (words []string) {
	if r.Control == nil {
		return nil
	}
	if g.limit > 0 {
		words = append(words, fmt.Sprintf("≥ %.0f %%: %s", 100*g.rate/g.limit, yesNo[r.Share >= g.rate/g.limit]))
	}
	if g.limitP99 > 0 && r.Control.P99 > 0 {
		times := g.p99 / g.limitP99
		words = append(words, fmt.Sprintf("p99 ≤ %.1f times: %s", times, yesNo[r.Figure.P99 <= times*r.Control.P99]))
	}
	return words
}

// compare takes down what the control did.
func (r row) compare(control *figure) row {
	if control != nil && control.Median > 0 {
		r.Control, r.Share = control, r.Figure.Median/control.Median
	}
	return r
}

// add keeps a row and says on standard error that it is there: a run is long.
func (r *report) add(x row) {
	r.Rows = append(r.Rows, x)
	fmt.Fprintln(os.Stderr, strings.Join(x.cells(), "  "))
}

var yesNo = map[bool]string{true: "yes", false: "NO"}

var headings = []string{"engine", "row", "clients", "median (min–max)", "p50 ms", "p99 ms (control)", "CPU µs (control)", "PostgreSQL µs", "control", "share", "goal", "met", "memory (peak) MB", "note"}

func (r row) cells() []string {
	var clients, p50, p99, cpu, database, control, part, met, memory string
	if r.Connections > 0 {
		clients = strconv.Itoa(r.Connections)
	}
	if r.Figure.Count > 0 {
		p50, p99 = decimals(r.Figure.P50), decimals(r.Figure.P99)
	}
	if r.Figure.CPU > 0 {
		cpu = fmt.Sprintf("%.0f", r.Figure.CPU)
	}
	if r.Control != nil {
		control, part = number(r.Control.Median), share(r.Share)
		if r.Control.P99 > 0 {
			p99 += " (" + decimals(r.Control.P99) + ")"
		}
		if r.Control.CPU > 0 {
			cpu += fmt.Sprintf(" (%.0f)", r.Control.CPU)
		}
	}
	if r.Figure.DatabaseCPU > 0 {
		database = fmt.Sprintf("%.0f", r.Figure.DatabaseCPU)
		if r.Control != nil {
			database += fmt.Sprintf(" (%.0f)", r.Control.DatabaseCPU)
		}
	}
	if r.Met != nil {
		met = yesNo[*r.Met]
	}
	if r.MemoryMB > 0 {
		memory = fmt.Sprintf("%.0f (%.0f)", r.MemoryMB, r.PeakMB)
	}
	return []string{r.Engine, r.Name, clients, r.Figure.text(r.Unit), p50, p99, cpu, database, control, part, r.Goal, met, memory, r.Note}
}

func (f figure) text(unit string) string {
	if f.Min == f.Max {
		return number(f.Median) + " " + unit
	}
	return fmt.Sprintf("%s (%s–%s) %s", number(f.Median), number(f.Min), number(f.Max), unit)
}

// share is a part of one hundred, or how many times as much.
func share(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.0f %%", 100*x)
	}
	return fmt.Sprintf("%.0f times", x)
}

// number writes large numbers whole, with commas, and small ones with a decimal.
func number(x float64) string {
	if math.Abs(x) < 100 {
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	s := strconv.FormatFloat(x, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func decimals(ms float64) string { return strconv.FormatFloat(ms, 'f', 2, 64) }

// goals counts those that were met.
func (r *report) goals() (met, all int) {
	for _, x := range r.Rows {
		if x.Met != nil {
			all++
			if *x.Met {
				met++
			}
		}
	}
	return met, all
}

// about says in a few lines what was measured on what.
func (r *report) about() string {
	m := r.Machine
	return fmt.Sprintf("%s, %d cores (%s), %s MB of memory, %s, PostgreSQL %s, SQLite %s, %s.\n%s users in one of %d tenants, %d connections, seed %d, %s.\n",
		m.System, m.Cores, m.CPU, number(m.MemoryMB), m.Go, orDash(m.Postgres), orDash(m.SQLite), "server, database and client on the same cores",
		number(float64(r.Users)), r.Tenants, r.Connections, r.Seed, r.At.Format(time.RFC3339))
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", r.about())
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(headings, "\t"))
	for _, x := range r.Rows {
		fmt.Fprintln(table, strings.Join(x.cells(), "\t"))
	}
	_ = table.Flush() // to a terminal; the file is what counts
	met, all := r.goals()
	fmt.Fprintf(w, "\n%d of %d goals met.\n", met, all)
}

func (r *report) save(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// The table of the document stands between these.
const (
	beginMarker = "<!-- bench: begin -->"
	endMarker   = "<!-- bench: end -->"
)

// publish puts the figures of an earlier run into a document.
func publish(from, document string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	page, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), beginMarker)
	_, after, closed := strings.Cut(rest, endMarker)
	if !ok || !closed {
		return fmt.Errorf("%s lacks the lines %s and %s", document, beginMarker, endMarker)
	}
	return os.WriteFile(document, []byte(before+beginMarker+"\n"+r.markdown()+endMarker+after), 0o644)
}

// markdown is the table for the document, in which cells align by themselves.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", strings.ReplaceAll(r.about(), "\n", "  \n"))
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(headings)
	line(strings.Split(strings.Repeat("--- ", len(headings)-1)+"---", " "))
	for _, x := range r.Rows {
		line(x.cells())
	}
	met, all := r.goals()
	fmt.Fprintf(&b, "\n%d of %d goals met.\n", met, all)
	return b.String()
}
