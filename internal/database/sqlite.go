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
)

// sqlite is one database file: one connection that writes, one transaction at a
// time, and a pool of connections that only read.
type sqlite struct {
	read      *sql.DB
	readStmts sync.Map // statement text -> *sql.Stmt

	writer     *sql.DB
	conn       *sql.Conn            // the writer's only connection
	turn       chan struct{}        // holds one token: whoever has it may use conn
	writeStmts map[string]*sql.Stmt // guarded by turn
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
	s := &sqlite{read: read, writer: writer, conn: conn, turn: make(chan struct{}, 1), writeStmts: map[string]*sql.Stmt{}}
	s.turn <- struct{}{}
	return s, nil
}

func (s *sqlite) close() error {
	<-s.turn // waits for the transaction under way, and lets no other begin
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

// run is one transaction. Waiting for the turn may be cancelled; the transaction
// itself is short and runs to its end.
func (s *sqlite) run(ctx context.Context, tx *Tx, fn func(tx *Tx) error) (err error) {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return fmt.Errorf("wait to write: %w", ctx.Err())
	}
	defer func() { s.turn <- struct{}{} }()
	if _, err := s.exec(ctx, "BEGIN IMMEDIATE", nil); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	committed := false
	defer func() { // also when fn panics
		if !committed {
			_, rollback := s.exec(ctx, "ROLLBACK", nil)
			err = errors.Join(err, rollback)
		}
	}()
	tx.lite = s
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.flush(ctx); err != nil {
		return err
	}
	if _, err := s.exec(ctx, "COMMIT", nil); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	committed = true
	return nil
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
