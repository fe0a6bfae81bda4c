package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// NewLogger returns the log of a server, which goes to w: text for people if
// format is "text", JSON lines if it is "json", and if it is empty whichever w
// calls for, a terminal or not. Nobody waits for w: a pipe that is not read and a
// disk that is full cost lines of the log, never requests. The function returned
// writes what is left, and waits for that two seconds at most.
func NewLogger(w io.Writer, format string) (log *slog.Logger, flush func()) {
	out := &lines{to: w, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if format == "json" || format == "" && !IsTerminal(w) {
		log = slog.New(slog.NewJSONHandler(out, nil))
	} else {
		log = slog.New(&prose{out: out, colour: IsTerminal(w) && os.Getenv("NO_COLOR") == ""})
	}
	out.log = log
	go out.run()
	return log, out.close
}

// IsTerminal reports whether a person reads what is written to w, or types what is
// read from it.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const (
	maxPending = 1 << 20          // bytes of log that may wait to be written
	flushTime  = 2 * time.Second  // how long the end of the program waits for them
	gatherTime = time.Millisecond // between two writes, each of which costs as much as a small request
)

// lines is a writer that never blocks: one goroutine writes what has gathered.
type lines struct {
	to    io.Writer
	log   *slog.Logger // writes to this
	wake  chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	pending []byte
	lost    int // lines that did not fit since the last one that was written
	closed  bool
}

// Write takes one line of the log. It never fails.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending)+len(line) > maxPending {
		l.lost++
		return len(line), nil
	}
	l.pending = append(l.pending, line...)
	l.nudge()
	return len(line), nil
}

func (l *lines) nudge() {
	select {
	case l.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (l *lines) run() {
	defer close(l.ended)
	var spare []byte
	for range l.wake {
		l.mu.Lock()
		text, lost, closed := l.pending, l.lost, l.closed
		l.pending, l.lost = spare[:0], 0
		l.mu.Unlock()
		if _, err := l.to.Write(text); err != nil {
			lost += bytes.Count(text, []byte("\n"))
			l.noteLost(lost) // told once there is room again
		} else if lost > 0 {
			l.log.Warn("lines of the log were lost, because they were not taken in time", "lines", lost)
		}
		if spare = text; cap(spare) > 64<<10 {
			spare = nil // after a burst
		}
		if closed {
			return
		}
		time.Sleep(gatherTime)
	}
}

func (l *lines) noteLost(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost += n
}

func (l *lines) close() {
	l.mu.Lock()
	l.closed = true
	l.nudge()
	l.mu.Unlock()
	select {
	case <-l.ended:
	case <-time.After(flushTime):
	}
}

// prose is the log for people: time of day, level if it is not the usual one,
// what happened, and the rest as name=value. A request is put as one would say it.
type prose struct {
	out    io.Writer
	colour bool
	attrs  []slog.Attr
	prefix string // of the group
}

// Enabled implements slog.Handler.
func (p *prose) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// WithAttrs implements slog.Handler.
func (p *prose) WithAttrs(attrs []slog.Attr) slog.Handler {
	q := *p
	q.attrs = append(q.attrs[:len(q.attrs):len(q.attrs)], p.named(attrs)...)
	return &q
}

// WithGroup implements slog.Handler.
func (p *prose) WithGroup(name string) slog.Handler {
	q := *p
	q.prefix += name + "."
	return &q
}

func (p *prose) named(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = slog.Attr{Key: p.prefix + a.Key, Value: a.Value}
	}
	return out
}

// Handle implements slog.Handler.
func (p *prose) Handle(_ context.Context, r slog.Record) error {
	b := append(make([]byte, 0, 256), p.paint(dim, r.Time.Format("15:04:05.000"))...)
	b = append(b, ' ')
	switch {
	case r.Level >= slog.LevelError:
		b = append(b, p.paint(red, "ERROR ")...)
	case r.Level >= slog.LevelWarn:
		b = append(b, p.paint(yellow, "WARN ")...)
	}
	var attrs []slog.Attr
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	attrs = append(p.attrs[:len(p.attrs):len(p.attrs)], p.named(attrs)...)
	if r.Message == "request" {
		b, attrs = p.request(b, attrs)
	} else {
		b = append(b, r.Message...)
	}
	for _, a := range attrs {
		text := a.Value.Resolve().String()
		if text == "" {
			continue
		}
		b = append(b, ' ')
		b = append(b, p.paint(dim, a.Key+"=")...)
		b = append(b, plain(text)...)
	}
	_, err := p.out.Write(append(b, '\n'))
	return err
}

// request puts the line of a request in the order in which it is read, and returns
// the attributes that are left.
func (p *prose) request(b []byte, attrs []slog.Attr) ([]byte, []slog.Attr) {
	said := map[string]string{}
	var rest []slog.Attr
	for _, a := range attrs {
		switch a.Key {
		case "method", "path", "status", "ms":
			said[a.Key] = a.Value.String()
		default:
			rest = append(rest, a)
		}
	}
	colour := green
	switch {
	case said["status"] >= "500":
		colour = red
	case said["status"] >= "400":
		colour = yellow
	}
	b = append(b, plain(said["method"])+" "+plain(said["path"])+" "...)
	b = append(b, p.paint(colour, said["status"])...)
	return append(b, " "+said["ms"]+"ms"...), rest
}

const (
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (p *prose) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// plain quotes text that a terminal could obey, or that could be taken for
// something else on the line: paths are a stranger's.
func plain(text string) string {
	for _, r := range text {
		if r == ' ' || r == '"' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(text)
		}
	}
	return text
}
