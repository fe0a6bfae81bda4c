package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// A cluster is a temporary PostgreSQL cluster and, once started, its server.
type cluster struct {
	programs string // folder of initdb and postgres
	dir      string // holds data, password and log; removed in the end
	durable  bool
	password string
	account  *syscall.Credential // whom the server runs as; nil: as ourselves

	server *exec.Cmd
	exited chan struct{} // closed when the server has ended
}

func newCluster(programs string, durable bool) (*cluster, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := makeFolder(durable)
	if err != nil {
		return nil, err
	}
	c := &cluster{programs: programs, dir: dir, durable: durable, password: rand.Text(), account: account}
	err = os.WriteFile(c.path("password"), []byte(c.password), 0o600)
	if account != nil {
		err = errors.Join(err,
			os.Chown(c.path("password"), int(account.Uid), int(account.Gid)),
			os.Chown(dir, int(account.Uid), int(account.Gid)))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, nil
}

// serverAccount returns the account to run the server as. PostgreSQL refuses to
// run as root, so root lends it that of postgres or of nobody.
func serverAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("read the account %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither an account postgres nor one nobody to run it as")
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

// start makes the cluster, starts its server and returns its address when it
// answers. It gives up when released is closed.
func (c *cluster) start(released <-chan struct{}) (address string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-released:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := c.initdb(ctx); err != nil {
		return "", err
	}
	for range 5 {
		address, err = c.startOn(ctx, freePort())
		// The port was free when we looked; another may have been faster.
		if err == nil || !strings.Contains(c.logTail(), "could not bind") {
			break
		}
	}
	return address, err
}

// initdb makes the cluster, with the locale C.UTF-8 where the system has it: text
// sorts by byte, yet letters outside of ASCII are letters.
func (c *cluster) initdb(ctx context.Context) error {
	var out []byte
	var err error
	for _, locale := range []string{"C.UTF-8", "C"} {
		cmd := exec.CommandContext(ctx, filepath.Join(c.programs, "initdb"), "--pgdata", c.path("data"),
			"--username=postgres", "--pwfile", c.path("password"), "--auth=scram-sha-256",
			"--encoding=UTF8", "--locale="+locale, "--no-sync")
		c.prepare(cmd)
		if out, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("initdb: %w\n%s", err, out)
}

// prepare makes cmd run under the server's account, in the cluster's folder, with
// none of the caller's PostgreSQL settings.
func (c *cluster) prepare(cmd *exec.Cmd) {
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TZ=UTC", "LC_ALL=C"} // TZ spares initdb a search
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.account}
}

// freePort returns a port that nobody listens on, or 0 if there is none.
func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startOn starts the server on port and waits until it answers.
func (c *cluster) startOn(ctx context.Context, port int) (address string, err error) {
	log, err := os.Create(c.path("log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	args := []string{"-D", c.path("data")}
	for _, s := range c.settings(port) {
		args = append(args, "-c", s)
	}
	c.server = exec.Command(filepath.Join(c.programs, "postgres"), args...)
	c.prepare(c.server)
	c.server.Stdout, c.server.Stderr = log, log
	if err := c.server.Start(); err != nil {
		return "", fmt.Errorf("start postgres: %w", err)
	}
	c.exited = make(chan struct{})
	go func(server *exec.Cmd, exited chan struct{}) {
		_ = server.Wait() // the log says why it ended
		close(exited)
	}(c.server, c.exited)

	address = fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%d/postgres?sslmode=disable", c.password, port)
	if err := c.awaitAnswer(ctx, address); err != nil {
		return "", errors.Join(err, c.stop())
	}
	return address, nil
}

// settings are the server's settings, as name=value.
func (c *cluster) settings(port int) []string {
	// go test runs NumCPU packages at once and NumCPU tests in each, and each
	// test has a pool of connections.
	connections := min(max(300, 8*runtime.NumCPU()*runtime.NumCPU()), 2000)
	s := []string{
		"listen_addresses=127.0.0.1",
		fmt.Sprintf("port=%d", port),
		"unix_socket_directories=" + c.socketFolder(),
		fmt.Sprintf("max_connections=%d", connections),
		"shared_buffers=128MB",
		"timezone=UTC",
		"log_timezone=UTC",
	}
	if c.durable {
		return s
	}
	return append(s,
		"fsync=off", "synchronous_commit=off", "full_page_writes=off",
		// No replicas, hence less to log when a database is copied.
		"wal_level=minimal", "max_wal_senders=0",
		"max_wal_size=256MB", // it may lie in memory
		"checkpoint_timeout=1h",
		// Its workers would visit hundreds of databases that live a second.
		"autovacuum=off",
	)
}

// socketFolder is the folder of the server's Unix socket: the cluster's own, or
// "", which means none, if that would make the socket's name too long.
func (c *cluster) socketFolder() string {
	const longest = 80 // of 104 bytes on macOS, with /.s.PGSQL.65535.lock
	if len(c.dir) > longest {
		return ""
	}
	return c.dir
}

// awaitAnswer waits until the server at address answers and knows that it has the
// extensions that the migrations ask for.
func (c *cluster) awaitAnswer(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		missing, err := missingExtensions(ctx, address)
		switch {
		case err == nil && len(missing) == 0:
			return nil
		case err == nil:
			return fmt.Errorf("the PostgreSQL in %s lacks the extensions %s\n%s", c.programs, strings.Join(missing, ", "), howToInstall)
		}
		select {
		case <-c.exited:
			return fmt.Errorf("the PostgreSQL server did not start: %s", c.logTail())
		case <-ctx.Done():
			return fmt.Errorf("the PostgreSQL server does not answer: %w\n%s", err, c.logTail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func missingExtensions(ctx context.Context, address string) ([]string, error) {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT wanted FROM unnest(ARRAY['pg_trgm', 'btree_gin']) AS wanted
		WHERE NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = wanted)`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// stop ends the server, if it runs. Nobody needs the data any more, so it does
// without the last checkpoint (PostgreSQL's "immediate shutdown").
func (c *cluster) stop() error {
	if c.exited == nil {
		return nil
	}
	_ = c.server.Process.Signal(syscall.SIGQUIT) // an error means that it has ended already
	select {
	case <-c.exited:
		return nil
	case <-time.After(20 * time.Second):
	}
	if err := c.server.Process.Kill(); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	<-c.exited
	return nil
}

// remove ends the server and removes everything.
func (c *cluster) remove() error {
	return errors.Join(c.stop(), os.RemoveAll(c.dir))
}

// logTail returns the last lines of the server's log.
func (c *cluster) logTail() string {
	log, err := os.ReadFile(c.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-10):], []byte("\n")))
}
