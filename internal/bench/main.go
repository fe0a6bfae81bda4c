// Command bench measures the product's speed and memory, and what the machine could
// do at most at the same time.
//
//	machine.go     what bounds everything: hashes, signatures, reads and commits
//	control.go     scratch servers that do only the essential work of a row
//	data.go        the people, made from a seed
//	place.go       a database with its tenants, server and control
//	rows.go        what is asked of the product, row by row
//	signin.go      applications, sessions, grants and passwords to ask with
//	signinrows.go  what is asked with them, row by row
//	factors.go     passkeys and codes of authenticator apps
//	provision.go   directories that bring users
//	enterprise.go  many organizations, some with a connection of their own
//	samlrows.go    how their people sign in
//	browser.go     signing in as a browser does
//	keys.go        what tokens must say, and by which key
//	load.go        windows, rates and percentiles
//	client.go      the client: encoded requests over open connections
//	process.go     children, their memory and how long they take to start
//	report.go      the table, the JSON file and the table of docs/performance.md
//
// The product is bin/cardea in a process of its own, as it is delivered. Each row is
// measured directly after its control, with the same client. Everything listens on
// loopback and lives in a temporary folder. An answer that is not right ends the run:
// a wrong answer is no figure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the program, or one of the children that it starts.
func run(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "control":
			return controlMain(args[1:])
		case "serve":
			return serveMain()
		case "import":
			return importMain(args[1:])
		}
	}
	return benchMain(args)
}

// options are the flags.
type options struct {
	users       int
	seed        uint64
	engines     []string
	connections int
	warm        time.Duration
	window      time.Duration
	rows        *regexp.Regexp
	binary      string
	out         string
	markdown    string
	profile     string
}

func parseOptions(args []string) (options, error) {
	var o options
	var quick bool
	var engines, rows string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.users, "users", 1_000_000, "users of the tenant that is measured")
	flags.BoolVar(&quick, "quick", false, "50,000 users and short windows: to see that it works, not to publish")
	flags.Uint64Var(&o.seed, "seed", 1, "seed of the people")
	flags.StringVar(&engines, "engines", "postgres,sqlite", "databases to measure on")
	flags.IntVar(&o.connections, "connections", 16, "connections of the client")
	flags.DurationVar(&o.warm, "warm", 2*time.Second, "warm-up before the windows")
	flags.DurationVar(&o.window, "window", 4*time.Second, "length of each of the three windows")
	flags.StringVar(&rows, "rows", "", "regular expression: measure only the rows whose name it matches")
	flags.StringVar(&o.binary, "binary", "bin/cardea", "the product")
	flags.StringVar(&o.out, "out", "bin/bench.json", "file for the figures")
	flags.StringVar(&o.markdown, "markdown", "", "measure nothing; put the figures of -out into this document, between its markers")
	flags.StringVar(&o.profile, "profile", "", "folder for a CPU profile of each row; the product then runs inside this program, not stripped")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("what is %q? There are only flags, see -help", flags.Arg(0))
	}
	if quick {
		o.quicken(flags)
	}
	if o.users < 1000 {
		return o, errors.New("-users is at least 1000")
	}
	o.engines = strings.Split(engines, ",")
	var err error
	o.rows, err = regexp.Compile("(?i)" + rows)
	return o, err
}

// quicken makes what is not said otherwise small and short.
func (o *options) quicken(flags *flag.FlagSet) {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["users"] {
		o.users = 50_000
	}
	if !given["warm"] {
		o.warm = 500 * time.Millisecond
	}
	if !given["window"] {
		o.window = time.Second
	}
}

func (o options) plan() plan {
	return plan{warm: o.warm, window: o.window, windows: 3, most: 1_000_000}
}

func benchMain(args []string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if o.markdown != "" {
		return publish(o.out, o.markdown)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "cardea-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &report{Users: o.users, Tenants: neighbours + 1, Seed: o.seed, Connections: o.connections, At: time.Now().UTC().Truncate(time.Second)}
	if err := measureAll(ctx, o, dir, r); err != nil {
		return err
	}
	r.print(os.Stdout)
	return r.save(o.out)
}

func measureAll(ctx context.Context, o options, dir string, r *report) (err error) {
	if r.Machine, err = describeMachine(); err != nil {
		return err
	}
	if err := measureBinary(o, r); err != nil {
		return err
	}
	if err := measureMachine(ctx, o, dir, r); err != nil {
		return fmt.Errorf("measure the machine: %w", err)
	}
	for _, engine := range o.engines {
		if err := measureEngine(ctx, o, engine, filepath.Join(dir, engine), r); err != nil {
			return fmt.Errorf("measure on %s: %w", engine, err)
		}
	}
	return nil
}

func measureBinary(o options, r *report) error {
	info, err := os.Stat(o.binary)
	if err != nil {
		return fmt.Errorf("%w; make it with: make build", err)
	}
	mb := float64(info.Size()) / 1e6
	r.add(row{Engine: "–", Name: "size of the binary", Unit: "MB", Figure: figure{Median: mb, Min: mb, Max: mb}}.judge(goal{most: 30}))
	return nil
}

// measureMachine takes the limits that no program on this machine can pass.
func measureMachine(ctx context.Context, o options, dir string, r *report) error {
	if !o.rows.MatchString("machine") {
		return nil
	}
	limits, err := cryptography()
	if err != nil {
		return err
	}
	if err := measureLimits(ctx, o, limits, r); err != nil {
		return err
	}
	if err := measureNetwork(ctx, o, dir, r); err != nil {
		return err
	}
	for _, engine := range o.engines {
		if err := measureDatabase(ctx, o, engine, dir, r); err != nil {
			return err
		}
	}
	return nil
}

// measureNetwork takes what net/http and this client do together: small JSON.
func measureNetwork(ctx context.Context, o options, dir string, r *report) error {
	c, err := startControl(filepath.Join(dir, "control.log"))
	if err != nil {
		return err
	}
	f, err := c.load(ctx, o.plan(), o.connections, pick([]request{encode("GET", "/json", "localhost", nil, nil)}))
	if err := errors.Join(err, c.stop()); err != nil {
		return err
	}
	r.add(row{Engine: "machine", Name: "net/http, small JSON", Unit: "req/s", Connections: o.connections, Figure: f})
	return nil
}

func measureDatabase(ctx context.Context, o options, engine, dir string, r *report) error {
	var limits []limit
	var done func()
	if engine == "postgres" {
		address, drop, err := createDatabase(ctx, r)
		if err != nil {
			return err
		}
		defer drop()
		if limits, done, err = postgresLimits(ctx, address, o.connections); err != nil {
			return err
		}
	} else {
		var err error
		if limits, done, err = sqliteLimits(ctx, dir, o.connections); err != nil {
			return err
		}
	}
	defer done()
	return measureLimits(ctx, o, limits, r)
}

func measureLimits(ctx context.Context, o options, limits []limit, r *report) error {
	for _, l := range limits {
		f, err := measure(ctx, o.plan(), l.workers, l.hire)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		r.add(row{Engine: "machine", Name: l.name, Unit: "/s", Connections: l.workers, Figure: f})
	}
	return nil
}
