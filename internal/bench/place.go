package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

// baseHost is the host of the product's public address, in a name space that is
// nobody's (RFC 6761).
const baseHost = "id.bench.test"

// A place is a database of one engine with its tenants, the product's server on it
// and the control beside.
type place struct {
	options
	engine   string // "postgres" or "sqlite"
	dir      string
	database string // its address
	env      []string
	profiles string // where a server for profiling serves them
	report   *report

	tenants []tenantKey // the first one is measured
	server  *process
	control *process
	sample  sample
	signIn  signIn
	first   float64 // pages a second at the beginning of the list

	newcomers atomic.Int64 // whom create has asked for, of the product or the control

	postmaster int // PostgreSQL's first process, 0 on SQLite
}

// A tenantKey is a tenant and a key that may do everything in it.
type tenantKey struct{ slug, id, key string }

// measureEngine does everything that is done on one engine.
func measureEngine(ctx context.Context, o options, engine, dir string, r *report) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	p := &place{options: o, engine: engine, dir: dir, report: r}
	drop, err := p.makeDatabase(ctx)
	if err != nil {
		return err
	}
	defer drop()
	defer func() { err = errors.Join(err, p.close()) }()
	for _, step := range []func(context.Context) error{p.makeTenants, p.start, p.importPeople, p.settle, p.startOften, p.walk, p.prepareSignIn, p.startControl, p.rows} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return p.judgeMemory()
}

func (p *place) close() (err error) {
	for _, child := range []*process{p.control, p.server} {
		if child != nil {
			err = errors.Join(err, child.stop())
		}
	}
	return err
}

// makeDatabase settles the address and the configuration of the product.
func (p *place) makeDatabase(ctx context.Context) (drop func(), err error) {
	p.database, drop = "sqlite:"+p.file("cardea.db"), func() {}
	if p.engine == "postgres" {
		if p.database, drop, err = createDatabase(ctx, p.report); err != nil {
			return nil, err
		}
	}
	if p.engine == "postgres" {
		if p.postmaster, err = findPostmaster(ctx, p.database); err != nil {
			return nil, err
		}
	}
	key := make([]byte, 32)
	rand.Read(key)
	p.env = []string{
		"CARDEA_PUBLIC_URL=https://" + baseHost, "CARDEA_DATABASE_URL=" + p.database, "CARDEA_MASTER_KEY=" + hex.EncodeToString(key),
		"CARDEA_TRUSTED_PROXIES=127.0.0.1/32", "CARDEA_LOG_FORMAT=json",
	}
	return drop, nil
}

// findPostmaster returns the process that started the one that answers at address.
func findPostmaster(ctx context.Context, address string) (pid int, err error) {
	err = administer(ctx, address, func(c *pgx.Conn) error {
		var own int
		if err := c.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&own); err != nil {
			return err
		}
		_, pid, err = cpuOf(own)
		return err
	})
	return pid, err
}

func (p *place) file(name string) string { return filepath.Join(p.dir, name) }

// createDatabase makes a database on the server that withpostgres started, and
// returns its address by Unix socket if the server has one.
func createDatabase(ctx context.Context, r *report) (address string, drop func(), err error) {
	const variable = "CARDEA_TEST_POSTGRES"
	u, err := url.Parse(os.Getenv(variable))
	if err != nil || u.Host == "" {
		return "", nil, fmt.Errorf("%s names no PostgreSQL server; start this with: make bench", variable)
	}
	name := "cardea_bench_" + strings.ToLower(rand.Text())
	var version, folders string
	err = administer(ctx, u.String(), func(c *pgx.Conn) error {
		if err := c.QueryRow(ctx, "SELECT current_setting('server_version'), current_setting('unix_socket_directories')").Scan(&version, &folders); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "CREATE DATABASE "+name)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	r.Machine.Postgres, _, _ = strings.Cut(version, " ")
	drop = func() {
		// The run may have been interrupted.
		err := administer(context.WithoutCancel(ctx), u.String(), func(c *pgx.Conn) error {
			_, err := c.Exec(context.WithoutCancel(ctx), "DROP DATABASE "+name+" WITH (FORCE)")
			return err
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: drop the database:", err)
		}
	}
	own := *u
	own.Path = "/" + name
	if folder, _, _ := strings.Cut(folders, ","); folder != "" {
		q := own.Query()
		q.Set("host", folder)
		q.Set("port", u.Port())
		own.Host, own.RawQuery = "", q.Encode()
	}
	return own.String(), drop, nil
}

func administer(ctx context.Context, address string, do func(c *pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close(ctx))
}

// makeTenants makes the tables, the tenants and a key for each.
func (p *place) makeTenants(ctx context.Context) error {
	cfg, err := app.Load(app.Sources{Environ: p.env}, "public_url", "master_key")
	if err != nil {
		return err
	}
	a, err := app.Open(ctx, cfg.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for n := range neighbours + 1 {
		t := tenantKey{slug: bigTenant}
		if n > 0 {
			t.slug = fmt.Sprintf("small%02d", n)
		}
		err = errors.Join(err, a.DB.Write(ctx, func(tx *database.Tx) error {
			made, _, err := a.NewTenant(ctx, tx, access.System(""), t.slug, t.slug, tenant.KindSSMS)
			if err != nil {
				return err
			}
			t.id = made.ID
			_, t.key, err = a.Tenants.CreateKey(ctx, tx, access.System(made.ID), "bench", access.All, time.Time{})
			return err
		}))
		p.tenants = append(p.tenants, t)
	}
	if p.engine == "sqlite" {
		err = errors.Join(err, a.DB.QueryRow(ctx, "SELECT sqlite_version()").Scan(&p.report.Machine.SQLite))
	}
	return errors.Join(err, a.Close())
}

// start starts the server, if it is not running.
func (p *place) start(ctx context.Context) error {
	if p.server != nil {
		return nil
	}
	_, err := p.startTimed(ctx)
	return err
}

func (p *place) startTimed(ctx context.Context) (took time.Duration, err error) {
	command, env := []string{p.binary, "serve"}, p.env
	if p.profile != "" {
		self, err := os.Executable()
		if err != nil {
			return 0, err
		}
		if p.profiles, err = freeAddress(); err != nil {
			return 0, err
		}
		command, env = []string{self, "serve"}, append(env[:len(env):len(env)], profileVariable+"="+p.profiles)
	}
	if p.server, took, err = startServer(ctx, command, env, p.file("server.log")); err != nil {
		return 0, err
	}
	p.server.postmaster = p.postmaster
	return took, nil
}

func (p *place) stopServer() error {
	server := p.server
	p.server = nil
	return server.stop()
}

// startOften measures how long the product takes to be ready on a full database, and
// how little memory it needs when nobody asks.
func (p *place) startOften(ctx context.Context) error {
	var took []float64
	for range 5 {
		if p.server != nil {
			if err := p.stopServer(); err != nil {
				return err
			}
		}
		d, err := p.startTimed(ctx)
		if err != nil {
			return err
		}
		took = append(took, milliseconds(d))
	}
	time.Sleep(2 * time.Second)
	now, peak, err := p.server.memory()
	if err != nil {
		return err
	}
	p.report.add(row{Engine: p.engine, Name: "start to ready", Unit: "ms", Figure: summary(took), Note: "median of 5, tables made before"}.judge(goal{most: 20}))
	p.report.add(row{Engine: p.engine, Name: "memory when idle", Unit: "MB", Figure: summary([]float64{now}), MemoryMB: now, PeakMB: peak}.judge(goal{most: 25}))
	return nil
}

func (p *place) startControl(context.Context) (err error) {
	p.control, err = startControl(p.file("control.log"), "-database", p.database, "-own", p.file("control.db"), "-tenant", p.tenants[0].id)
	if err != nil {
		return err
	}
	p.control.postmaster = p.postmaster
	return nil
}

// importPeople fills the tenants, the big one last and measured: how quickly, with
// how much memory, and how well the API answers meanwhile.
func (p *place) importPeople(ctx context.Context) error {
	file := p.file("people.jsonl")
	defer os.Remove(file)
	bcrypt := func(n int) string { return passwordHash(p.seed, n) }
	for n, t := range p.tenants[1:] {
		from := p.users + n*1000
		if err := writePeople(file, p.seed, from, from+1000, bcrypt); err != nil {
			return err
		}
		if _, err := p.importFile(ctx, t, file); err != nil {
			return err
		}
	}
	if err := writePeople(file, p.seed, 0, p.users, bcrypt); err != nil {
		return err
	}
	if err := p.server.resetPeak(); err != nil {
		return err
	}
	finished := make(chan struct{})
	meanwhile, failed := figure{}, make(chan error, 1)
	go func() {
		var err error
		watch := plan{warm: time.Millisecond, window: 2 * time.Hour, windows: 1, pause: 10 * time.Millisecond, until: finished}
		meanwhile, err = load(ctx, watch, p.server.address, 1, pick([]request{p.get("/api/v1/users?limit=20", nil)}))
		failed <- err
	}()
	start := time.Now()
	memory, err := p.importFile(ctx, p.tenants[0], file)
	took := time.Since(start)
	close(finished)
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	return p.reportImport(ctx, took, memory, meanwhile)
}

// importFile runs the import as an operator would, and returns the most memory it
// took.
func (p *place) importFile(ctx context.Context, t tenantKey, file string) (mb float64, err error) {
	command := []string{p.binary, "user", "import", "--tenant", t.slug, file}
	if p.profile != "" {
		self, err := os.Executable()
		if err != nil {
			return 0, err
		}
		command = []string{self, "import", t.slug, file, p.profileFile("import into " + t.slug)}
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				err = fmt.Errorf("import: %w\n%s", err, out.Bytes())
			}
			return mb, err
		case <-time.After(20 * time.Millisecond):
			// What wait4(2) says of memory begins with that of the process that forked.
			if _, peak, err := memoryOf(cmd.Process.Pid); err == nil { // else it has just ended
				mb = max(mb, peak)
			}
		}
	}
}

func (p *place) reportImport(ctx context.Context, took time.Duration, memory float64, meanwhile figure) error {
	ended := time.Now()
	now, peak, err := p.server.memory()
	if err != nil {
		return err
	}
	rate := float64(p.users) / took.Seconds()
	control, err := p.copyControl(ctx)
	if err != nil {
		return err
	}
	p.report.add(row{Engine: p.engine, Name: "import, bcrypt hashes", Unit: "users/s", Figure: summary([]float64{rate}),
		MemoryMB: now, PeakMB: peak, Note: fmt.Sprintf("%s users in %.1f s; at most %.0f MB in the importing process", number(float64(p.users)), took.Seconds(), memory),
	}.compare(control).judge(goal{rate: 20_000, limit: 121_303}))
	p.report.add(row{Engine: p.engine, Name: "list, first page, during the import", Unit: "req/s", Connections: 1, Figure: meanwhile,
		MemoryMB: now, PeakMB: peak, Note: "with pauses of 10 ms"}.judge(goal{p99: 50}))
	if err := p.pageAfterImport(ctx); err != nil {
		return err
	}
	return p.reportSearch(ctx, took, ended)
}

// copyControl measures how many narrow rows a second PostgreSQL takes by COPY, 5,000 in a
// commit: what an import could do at most. There is none for SQLite.
func (p *place) copyControl(ctx context.Context) (*figure, error) {
	if p.engine != "postgres" {
		return nil, nil
	}
	const batch = 5000
	var took time.Duration
	err := administer(ctx, p.database, func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, limitTable); err != nil {
			return err
		}
		begin := time.Now()
		for n := 0; n < limitRows; n += batch {
			_, err := c.CopyFrom(ctx, pgx.Identifier{"limits"}, limitColumns, pgx.CopyFromSlice(batch, func(i int) ([]any, error) { return limitRow(int64(n + i)), nil }))
			if err != nil {
				return err
			}
		}
		took = time.Since(begin)
		_, err := c.Exec(ctx, "DROP TABLE limits")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("measure COPY: %w", err)
	}
	f := summary([]float64{limitRows / took.Seconds()})
	return &f, nil
}

// pageAfterImport asks for the form of the list that tells how many users there are
// while all of them are new.
func (p *place) pageAfterImport(ctx context.Context) error {
	f, err := p.server.load(ctx, p.plan(), 1, pick([]request{p.get("/digitanium/v4/users?limit=20&pageNumber=1", has(`"username":`, 20))}))
	if err != nil {
		return err
	}
	now, peak, err := p.server.memory()
	if err != nil {
		return err
	}
	p.report.add(row{Engine: p.engine, Name: "KOBIL list, page 1, right after the import", Unit: "req/s", Connections: 1, Figure: f, MemoryMB: now, PeakMB: peak}.
		judge(goal{p99: 10}))
	return nil
}

// reportSearch waits until the search index has caught up with an import that took
// so long. The row before has kept it busy for some seconds.
func (p *place) reportSearch(ctx context.Context, took time.Duration, ended time.Time) error {
	if err := p.awaitSearch(ctx); err != nil {
		return err
	}
	waited := time.Since(ended).Seconds()
	p.report.add(row{Engine: p.engine, Name: "search index up to date, after the import", Unit: "s", Figure: summary([]float64{waited}),
		Note: fmt.Sprintf("at most; the row before ran meanwhile; %s entries/s since the import began", number(float64(p.users)/(waited+took.Seconds())))})
	return nil
}

// awaitSearch waits until every user is in the search index.
func (p *place) awaitSearch(ctx context.Context) error {
	db, err := database.Open(ctx, p.database)
	if err != nil {
		return err
	}
	defer db.Close()
	for {
		var one int64
		err := db.QueryRow(ctx, "SELECT CAST(1 AS BIGINT) FROM user_search_queue LIMIT 1").Scan(&one)
		if errors.Is(err, database.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-p.server.exited:
			return fmt.Errorf("the server ended: %w\n%s", p.server.err, p.server.logTail())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settle does at once what PostgreSQL's own housekeeping does in the minutes after
// an import, so that it does not fall into some row.
func (p *place) settle(ctx context.Context) error {
	if p.engine != "postgres" {
		return nil
	}
	return administer(ctx, p.database, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "VACUUM ANALYZE")
		if err == nil {
			_, err = c.Exec(ctx, "CHECKPOINT")
		}
		return err
	})
}
