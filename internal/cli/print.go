package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/cardea-id/cardea/internal/app"
)

// format is for commands that print data.
type format struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// list prints rows: an array for programs, a table under header for people, and
// for people nothing if there are none.
func list[T any](out io.Writer, asJSON bool, rows []T, header string, cells func(T) []any) error {
	if asJSON {
		if rows == nil {
			rows = []T{}
		}
		return printJSON(out, rows)
	}
	if len(rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(strings.Fields(header), "\t"))
	for _, row := range rows {
		values := cells(row)
		text := make([]string, len(values))
		for i, v := range values {
			text[i] = cell(v)
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(text, "\t"), "\t"))
	}
	return t.Flush()
}

// show prints one thing: an object for programs, lines of name and value for
// people.
func show(out io.Writer, asJSON bool, v any, pairs ...any) error {
	if asJSON {
		return printJSON(out, v)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := 0; i < len(pairs); i += 2 {
		if text := cell(pairs[i+1]); text != "" {
			fmt.Fprintf(t, "%s\t%s\n", pairs[i], text)
		}
	}
	return t.Flush()
}

// cell is a value as it stands in a table: on one line, and nothing in it that a
// terminal would obey.
func cell(v any) string {
	switch v := v.(type) {
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format("2006-01-02 15:04:05Z")
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case []string:
		return cell(strings.Join(v, " "))
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, fmt.Sprint(v))
}

// stamp is a time in JSON; the zero time is null.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// confirm asks before something is destroyed. On a terminal the name has to be
// typed; elsewhere nobody can be asked, so the command needs --yes.
func (p *program) confirm(yes bool, what, name string) error {
	if yes {
		return nil
	}
	if !app.IsTerminal(p.in) || !app.IsTerminal(p.err) {
		return usage("this would %s; to do it without being asked add --yes", what)
	}
	fmt.Fprintf(p.err, "This will %s, which can not be undone. Type %s to go on: ", what, cell(name))
	answer, err := p.readLine()
	if err == nil && strings.TrimSpace(answer) != name {
		err = usage("nothing was changed, because %s was not typed", cell(name))
	}
	return err
}

// readLine reads one line of standard input, or returns when the program is
// interrupted.
func (p *program) readLine() (string, error) {
	return waitFor(p.ctx, func() (string, error) {
		line, err := bufio.NewReader(io.LimitReader(p.in, 8<<10)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil // a last line without its end
		}
		return strings.TrimRight(line, "\r\n"), err
	})
}

// readPassword is readLine, but what is typed on a terminal is not shown.
func (p *program) readPassword() (string, error) {
	if !app.IsTerminal(p.in) {
		return p.readLine()
	}
	terminal := int(p.in.Fd())
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	fmt.Fprint(p.err, "Password: ")
	line, err := waitFor(p.ctx, func() (string, error) {
		line, err := term.ReadPassword(terminal)
		return string(line), err
	})
	fmt.Fprintln(p.err)
	return line, errors.Join(err, term.Restore(terminal, before))
}

// waitFor returns what read returns, or the end of ctx if that comes first; then
// read is left behind, and the program about to end.
func waitFor(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// progress shows how far something has come, how fast, and how long it will take,
// if somebody sits before a terminal; nil shows nothing.
type progress struct {
	bar   *progressbar.ProgressBar
	first int64 // what was done before, of something that goes on
	since time.Time
}

func (p *program) progress() *progress {
	if !app.IsTerminal(p.err) {
		return nil
	}
	return &progress{bar: progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(p.err), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30),
	)}
}

// at says that done of total are done; a total of zero is not known yet.
func (g *progress) at(done, total int64) {
	if g == nil {
		return
	}
	if g.since.IsZero() {
		g.first, g.since = done, time.Now()
	}
	if total > 0 && g.bar.GetMax64() != total {
		g.bar.ChangeMax64(total)
	}
	if rate := float64(done-g.first) / time.Since(g.since).Seconds(); total > 0 && rate > 0 {
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		g.bar.Describe(fmt.Sprintf("%.0f/s, %s left", rate, left.Round(time.Second)))
	}
	_ = g.bar.Set64(done) // a bar that can not be drawn is no reason to stop
}

// end takes the bar away.
func (g *progress) end() {
	if g != nil {
		_ = g.bar.Finish()
	}
}

// A build says what is running.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func buildOf(version string) build {
	b := build{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	return b
}

// marshal is json.Marshal without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
