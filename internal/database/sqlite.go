package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sqlite is one database file: one connection that writes, and a pool of
// connections that only read.
type sqlite struct {
	read      *sql.DB
	readStmts sync.Map // statement text -> *sql.Stmt
	prepared  atomic.Int32

	writer *sql.DB
	turn   chan struct{} // holds one token: whoever has it may use what follows

	conn       *sql.Conn // the writer's only connection
	writeStmts map[string]*sql.Stmt
	shared     *commit // the transaction that is open, if any
	closed     bool
}

// synchronous=FULL: a revoked session must stay revoked after a power cut.
const sqlitePragmas = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
	"&_pragma=foreign_keys(1)&_pragma=journal_size_limit(67108864)&_pragma=temp_store(MEMORY)"

func openSQLite(ctx context.Context, path string) (*sqlite, error) {
	// Always a file: address; with a plain path the driver drops the pragmas.
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + sqlitePragmas
	writer, err := sql.Open("sqlite", dsn+"&_pragma=cache_size(-16384)")
	if err != nil {
		return nil, err
	}
	// The writer comes first: it turns the journal to WAL before anyone reads.
	conn, err := writer.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), writer.Close())
	}
	read, err := sql.Open("sqlite", dsn+"&_pragma=query_only(1)&_pragma=cache_size(-4096)")
	if err != nil {
		return nil, errors.Join(err, conn.Close(), writer.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	s := &sqlite{read: read, writer: writer, conn: conn, turn: make(chan struct{}, 1), writeStmts: map[string]*sql.Stmt{}}
	s.turn <- struct{}{}
	return s, nil
}

// readers is how many connections read.
var readers = max(4, 2*runtime.NumCPU())

// forgetReaders closes the connections that read and are idle: what they know of the
// schema, and of its statistics, is of the time when they were opened.
func (s *sqlite) forgetReaders() {
	s.read.SetMaxIdleConns(0)
	s.read.SetMaxIdleConns(readers)
}

var errClosed = errors.New("the database is closed")

// close ends the transaction that is open and lets no other begin.
func (s *sqlite) close() error {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.shared != nil {
		s.end(s.shared)
	}
	// Leaves one small file behind instead of a long log to replay; where another
	// process still has the file open this fails, which only costs time later.
	_, _ = s.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(s.read.Close(), s.conn.Close(), s.writer.Close())
}

// maxPrepared bounds the statements that are kept prepared, per pool. The program
// has far fewer in common use; what filters a caller thinks of together makes the
// rest, and those are prepared when they come.
const maxPrepared = 256

// prepareRead returns stmt prepared on the readers, nil if there are enough such.
func (s *sqlite) prepareRead(ctx context.Context, stmt string) (*sql.Stmt, error) {
	if p, ok := s.readStmts.Load(stmt); ok {
		return p.(*sql.Stmt), nil
	}
	if s.prepared.Load() >= maxPrepared {
		return nil, nil
	}
	p, err := s.read.PrepareContext(ctx, stmt)
	if err != nil {
		return nil, err
	}
	if first, loaded := s.readStmts.LoadOrStore(stmt, p); loaded {
		_ = p.Close() // somebody else was quicker
		return first.(*sql.Stmt), nil
	}
	s.prepared.Add(1)
	return p, nil
}

func (s *sqlite) query(ctx context.Context, stmt string, args []any) (*sql.Rows, error) {
	p, err := s.prepareRead(ctx, stmt)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return s.read.QueryContext(ctx, stmt, args...)
	}
	return p.QueryContext(ctx, args...)
}

// queryRow does not watch for cancellation: a look-up by key is over before
// anyone could cancel it, and watching costs half its speed.
func (s *sqlite) queryRow(ctx context.Context, stmt string, args []any) *Row {
	ctx = context.WithoutCancel(ctx)
	p, err := s.prepareRead(ctx, stmt)
	if err != nil {
		return &Row{err: err}
	}
	if p == nil {
		return &Row{lite: s.read.QueryRowContext(ctx, stmt, args...)}
	}
	return &Row{lite: p.QueryRowContext(ctx, args...)}
}

// A commit waits for the disk, and that takes longer than most transactions. So
// transactions that wait for their turn share one: each runs in a savepoint, passes
// the turn on, and waits to get it back. Turns go round in order, so whoever gets
// it back first knows that all who were waiting have run, and commits for all.
type commit struct {
	began     time.Time
	size      int
	succeeded bool          // at least one savepoint is worth a commit
	done      chan struct{} // closed when err stands
	err       error
}

// Bounds of what shares a commit; whoever reaches one commits at once.
const (
	maxShared   = 64
	maxSharedIn = 3 * time.Millisecond
)

// run is one transaction. Waiting for the turn may be cancelled; the transaction
// itself is short and runs to its end.
func (s *sqlite) run(ctx context.Context, tx *Tx, fn func(tx *Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait to write: %w", err)
	}
	select {
	case <-s.turn:
	case <-ctx.Done():
		return fmt.Errorf("wait to write: %w", ctx.Err())
	}
	c, err := s.join(ctx)
	if err != nil {
		s.turn <- struct{}{}
		return err
	}
	defer func() { // also when fn panics
		if shared := s.leave(c); err == nil {
			err = shared
		}
	}()
	return s.within(ctx, tx, c, fn)
}

// join takes part in the open transaction, or begins one. The caller has the turn.
func (s *sqlite) join(ctx context.Context) (*commit, error) {
	if s.closed {
		return nil, errClosed
	}
	if s.shared == nil {
		if _, err := s.exec(ctx, "BEGIN IMMEDIATE", nil); err != nil {
			return nil, fmt.Errorf("begin: %w", err)
		}
		s.shared = &commit{began: time.Now(), done: make(chan struct{})}
	}
	s.shared.size++
	return s.shared, nil
}

// within runs fn in a savepoint, so that it can fail alone.
func (s *sqlite) within(ctx context.Context, tx *Tx, c *commit, fn func(tx *Tx) error) (err error) {
	if _, err := s.exec(ctx, "SAVEPOINT one", nil); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	released := false
	defer func() { // also when fn panics
		if released {
			return
		}
		for _, stmt := range []string{"ROLLBACK TO one", "RELEASE one"} {
			if _, rollback := s.exec(ctx, stmt, nil); rollback != nil {
				err = errors.Join(err, rollback)
			}
		}
	}()
	tx.lite = s
	if err := fn(tx); err != nil {
		return err
	}
	tx.putRows()
	if err := tx.flush(ctx); err != nil {
		return err
	}
	if _, err := s.exec(ctx, "RELEASE one", nil); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	released, c.succeeded = true, true
	return nil
}

// leave passes the turn on and waits until c is committed, by this caller if the
// turn comes back before. It gives up the turn.
func (s *sqlite) leave(c *commit) error {
	if c.size < maxShared && time.Since(c.began) < maxSharedIn {
		s.turn <- struct{}{}
		select {
		case <-c.done:
			return c.err
		case <-s.turn:
		}
	}
	if s.shared == c {
		s.end(c)
	}
	s.turn <- struct{}{}
	<-c.done
	return c.err
}

// end commits c, unless nothing in it succeeded, and wakes who waits for it. The
// caller has the turn.
func (s *sqlite) end(c *commit) {
	ctx := context.Background()
	stmt := "ROLLBACK"
	if c.succeeded {
		stmt = "COMMIT"
	}
	if _, err := s.exec(ctx, stmt, nil); err != nil {
		c.err = fmt.Errorf("commit: %w", err)
		if _, err := s.exec(ctx, "ROLLBACK", nil); err != nil {
			c.err = errors.Join(c.err, err)
		}
	}
	s.shared = nil
	close(c.done)
}

// prepareWrite returns stmt prepared on the writer. The caller has the turn.
func (s *sqlite) prepareWrite(ctx context.Context, stmt string) (*sql.Stmt, error) {
	if p := s.writeStmts[stmt]; p != nil {
		return p, nil
	}
	p, err := s.conn.PrepareContext(ctx, stmt)
	if err == nil {
		s.writeStmts[stmt] = p
	}
	return p, err
}

func (s *sqlite) exec(ctx context.Context, stmt string, args []any) (int64, error) {
	ctx = context.WithoutCancel(ctx)
	p, err := s.prepareWrite(ctx, stmt)
	if err != nil {
		return 0, err
	}
	res, err := p.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s *sqlite) txQuery(ctx context.Context, stmt string, args []any) (*sql.Rows, error) {
	ctx = context.WithoutCancel(ctx)
	p, err := s.prepareWrite(ctx, stmt)
	if err != nil {
		return nil, err
	}
	return p.QueryContext(ctx, args...)
}

// script runs several statements at once, unprepared; for migrations.
func (s *sqlite) script(ctx context.Context, text string) error {
	_, err := s.conn.ExecContext(ctx, text)
	return err
}

func (s *sqlite) insertAll(ctx context.Context, table string, columns []string, rows [][]any) error {
	marks := make([]string, len(columns))
	for i := range marks {
		marks[i] = "$" + strconv.Itoa(i+1)
	}
	stmt := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
	for _, row := range rows {
		if _, err := s.exec(ctx, stmt, row); err != nil {
			return err
		}
	}
	return nil
}
