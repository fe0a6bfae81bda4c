package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sqlite is one database file: one connection that writes, in a goroutine of its
// own, and a pool of connections that only read.
type sqlite struct {
	read      *sql.DB
	readStmts sync.Map // statement text -> *sql.Stmt

	writer  *sql.DB
	writes  chan *write
	stopped chan struct{} // closed when the goroutine has ended
	busy    atomic.Bool

	// Only the goroutine that writes touches these.
	conn       *sql.Conn
	writeStmts map[string]*sql.Stmt
}

// Statements are constants of the program or grow with a bounded list, so the
// caches of prepared ones are bounded too.

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
	readers := max(4, 2*runtime.NumCPU())
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	s := &sqlite{
		read: read, writer: writer, conn: conn, writeStmts: map[string]*sql.Stmt{},
		writes: make(chan *write), stopped: make(chan struct{}),
	}
	go s.work()
	return s, nil
}

// close must not be called while somebody may still write.
func (s *sqlite) close() error {
	close(s.writes)
	<-s.stopped
	// Leaves one small file behind instead of a long log to replay; where another
	// process still has the file open this fails, which only costs time later.
	s.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(s.read.Close(), s.conn.Close(), s.writer.Close())
}

func (s *sqlite) prepareRead(ctx context.Context, stmt string) (*sql.Stmt, error) {
	if p, ok := s.readStmts.Load(stmt); ok {
		return p.(*sql.Stmt), nil
	}
	p, err := s.read.PrepareContext(ctx, stmt)
	if err != nil {
		return nil, err
	}
	if first, loaded := s.readStmts.LoadOrStore(stmt, p); loaded {
		p.Close()
		return first.(*sql.Stmt), nil
	}
	return p, nil
}

func (s *sqlite) query(ctx context.Context, stmt string, args []any) (*sql.Rows, error) {
	p, err := s.prepareRead(ctx, stmt)
	if err != nil {
		return nil, err
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
	return &Row{lite: p.QueryRowContext(ctx, args...)}
}

// A write is one transaction that somebody waits for.
type write struct {
	tx   *Tx
	fn   func(tx *Tx) error
	done chan struct{}

	err      error
	panicked any
}

// run hands a transaction to the goroutine that writes and waits for its end.
// Waiting for its turn may be cancelled; the transaction itself is short and runs
// to its end.
func (s *sqlite) run(ctx context.Context, tx *Tx, fn func(tx *Tx) error) error {
	w := &write{tx: tx, fn: fn, done: make(chan struct{})}
	tx.lite = s
	select {
	case s.writes <- w:
	case <-ctx.Done():
		return fmt.Errorf("wait to write: %w", ctx.Err())
	}
	<-w.done
	if w.panicked != nil {
		panic(w.panicked)
	}
	return w.err
}

// A commit waits for the disk, and that takes longer than most transactions. So
// those that came in meanwhile share the next one, each in a savepoint, up to
// these bounds.
const (
	maxShared   = 64
	maxSharedIn = 3 * time.Millisecond // no more are taken in after this
)

// work runs transactions until writes is closed.
func (s *sqlite) work() {
	defer close(s.stopped)
	for first := range s.writes {
		s.busy.Store(true)
		batch := s.together(first)
		err := s.end(batch)
		s.busy.Store(false)
		for _, w := range batch {
			if w.err == nil {
				w.err = err
			}
			close(w.done)
		}
	}
}

// together begins a transaction and runs first in it, and whatever else waits.
func (s *sqlite) together(first *write) (batch []*write) {
	ctx := context.Background()
	began := time.Now()
	if _, err := s.exec(ctx, "BEGIN IMMEDIATE", nil); err != nil {
		first.err = fmt.Errorf("begin: %w", err)
		return []*write{first}
	}
	for w := first; w != nil; {
		batch = append(batch, w)
		w.err = s.within(ctx, w)
		w = nil
		if len(batch) < maxShared && time.Since(began) < maxSharedIn {
			select {
			case w = <-s.writes:
			default:
			}
		}
	}
	return batch
}

// within runs one transaction in a savepoint, so that it can fail alone.
func (s *sqlite) within(ctx context.Context, w *write) (err error) {
	if _, err := s.exec(ctx, "SAVEPOINT one", nil); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	released := false
	defer func() {
		if released {
			return
		}
		w.panicked = recover()
		for _, stmt := range []string{"ROLLBACK TO one", "RELEASE one"} {
			if _, rollback := s.exec(ctx, stmt, nil); rollback != nil {
				err = errors.Join(err, rollback)
			}
		}
	}()
	if err := w.fn(w.tx); err != nil {
		return err
	}
	if err := w.tx.flush(ctx); err != nil {
		return err
	}
	if _, err := s.exec(ctx, "RELEASE one", nil); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	released = true
	return nil
}

// end commits a batch, unless nothing in it succeeded.
func (s *sqlite) end(batch []*write) error {
	succeeded := slices.ContainsFunc(batch, func(w *write) bool { return w.err == nil && w.panicked == nil })
	if succeeded {
		_, err := s.exec(context.Background(), "COMMIT", nil)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("commit: %w", err)
		if _, rollback := s.exec(context.Background(), "ROLLBACK", nil); rollback != nil {
			err = errors.Join(err, rollback)
		}
		return err
	}
	// What fails here left no transaction behind: BEGIN itself had failed.
	_, _ = s.exec(context.Background(), "ROLLBACK", nil)
	return nil
}

// prepareWrite returns stmt prepared on the writer.
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
