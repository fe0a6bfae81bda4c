package main

import (
	"context"
	"database/sql" //nolint:depguard // a control must not run through the product's own package for databases
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "modernc.org/sqlite" // the driver
)

// A control is a scratch server that does only what a row can not do without: no
// layers, tenants, keys, permissions, audit or log. Its tables have as many users and
// grants as the tenant that is measured, each as wide; they are filled from the
// product's.
// How near the product comes to its control is what a row is judged by.

// controlMain is the child process.
func controlMain(args []string) error {
	flags := flag.NewFlagSet("control", flag.ContinueOnError)
	address := flags.String("database", "", "address of the product's database; without one there is only /json")
	own := flags.String("own", "", "file of the control's own SQLite database")
	tenant := flags.String("tenant", "", "id of the tenant to copy")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var s store
	if *address != "" {
		var err error
		if s, err = openStore(ctx, *address, *own, *tenant); err != nil {
			return err
		}
		defer s.close()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m, err := newMaker()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: controlHandler(s, m), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody waits for an answer any more
	fmt.Println(listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func openStore(ctx context.Context, address, own, tenant string) (store, error) {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return openLite(ctx, own, path, tenant)
	}
	return openPostgres(ctx, address, tenant)
}

// A store is what the two engines do differently.
type store interface {
	page(ctx context.Context, after string) ([]record, error)
	find(ctx context.Context, statement, value string) (record, error)
	insert(ctx context.Context, r record) error
	scan(ctx context.Context, part string) (int, error) // looks at every user
	// rotate moves a grant on from a generation and returns its user.
	rotate(ctx context.Context, grant string, generation, now int64) (user string, err error)
	// use notes the moment at which a user was last there.
	use(ctx context.Context, user string, now int64) error
	close()
}

// A record is a user, as wide as the product's.
type record struct {
	ID              string          `json:"_id"`
	Username        *string         `json:"username,omitempty"`
	Email           *string         `json:"email"`
	Phone           *string         `json:"phone_id"`
	FirstName       string          `json:"first_name"`
	LastName        string          `json:"last_name"`
	EmailVerified   bool            `json:"email_verified"`
	PhoneVerified   bool            `json:"phone_verified"`
	IsActive        bool            `json:"is_active"`
	Groups          *string         `json:"groups"`
	Attributes      json.RawMessage `json:"raw_attributes"`
	Roles           *string         `json:"roles"`
	RequiredActions *string         `json:"required_actions"`
	ConnectionID    string          `json:"connection_id"`
	CreatedAt       int64           `json:"created_at"`
	ModifiedAt      int64           `json:"modified_at"`
	LastLoginAt     *int64          `json:"LastLoginAt"`
}

func scanRecord(scan func(dest ...any) error) (r record, err error) {
	var attributes *string
	err = scan(&r.ID, &r.Username, &r.Email, &r.Phone, &r.FirstName, &r.LastName, &r.EmailVerified, &r.PhoneVerified, &r.IsActive,
		&r.Groups, &attributes, &r.Roles, &r.RequiredActions, &r.ConnectionID, &r.CreatedAt, &r.ModifiedAt, &r.LastLoginAt)
	if attributes != nil {
		r.Attributes = json.RawMessage(*attributes)
	}
	return r, err
}

func (r record) values() []any {
	attributes := string(r.Attributes)
	return []any{r.ID, r.Username, r.Email, r.Phone, r.FirstName, r.LastName, r.EmailVerified, r.PhoneVerified, r.IsActive,
		r.Groups, &attributes, r.Roles, r.RequiredActions, r.ConnectionID, r.CreatedAt, r.ModifiedAt, r.LastLoginAt}
}

const (
	recordColumns = `id, username, email, phone, first_name, last_name, email_verified, phone_verified, is_active,
		groups, attributes, role_ids, required_actions, connection_id, created_at, modified_at, last_login_at`

	selectPage    = "SELECT " + recordColumns + " FROM control_users WHERE id > $1 ORDER BY id LIMIT 20"
	selectByID    = "SELECT " + recordColumns + " FROM control_users WHERE id = $1"
	selectByEmail = "SELECT " + recordColumns + " FROM control_users WHERE email = $1"
	selectByScan  = "SELECT count(*) FROM control_users WHERE email LIKE $1"
	insertRecord  = "INSERT INTO control_users (" + recordColumns + ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
)

func controlHandler(s store, m *maker) http.Handler {
	mux := http.NewServeMux()
	m.mount(mux, s)
	m.mountProofs(mux, s)
	mux.HandleFunc("GET /json", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"status": "ok"}, nil) })
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		page, err := s.page(r.Context(), r.URL.Query().Get("after"))
		answer(w, page, err)
	})
	mux.HandleFunc("GET /id/{value}", func(w http.ResponseWriter, r *http.Request) {
		found, err := s.find(r.Context(), selectByID, r.PathValue("value"))
		answer(w, found, err)
	})
	mux.HandleFunc("GET /email/{value}", func(w http.ResponseWriter, r *http.Request) {
		found, err := s.find(r.Context(), selectByEmail, r.PathValue("value"))
		answer(w, found, err)
	})
	mux.HandleFunc("GET /scan", func(w http.ResponseWriter, r *http.Request) {
		n, err := s.scan(r.Context(), r.URL.Query().Get("part"))
		answer(w, n, err)
	})
	mux.HandleFunc("POST /users", func(w http.ResponseWriter, r *http.Request) {
		made, err := create(s, r)
		answer(w, made, err)
	})
	return mux
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, v any, err error) {
	var body []byte
	if err == nil {
		body, err = json.Marshal(v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // spares the pieces of a chunked answer
	w.Write(body)
}

func create(s store, r *http.Request) (record, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return record{}, err
	}
	var made record
	if err := json.Unmarshal(body, &made); err != nil {
		return record{}, err
	}
	now := time.Now()
	made.ID, made.ConnectionID, made.IsActive = newID(now), "0123456789abcdef01234567", true
	made.CreatedAt, made.ModifiedAt = now.UnixMilli(), now.UnixMilli()
	return made, s.insert(r.Context(), made)
}

// newID is an id of the product's form: it sorts by time.
func newID(now time.Time) string {
	ids.Lock()
	defer ids.Unlock()
	ids.last++
	return fmt.Sprintf("%012x%012x", now.UnixMilli(), ids.last)
}

var ids struct {
	sync.Mutex
	last int64
}

// createTable is the control's table; the key of a user is the key of the row.
const createTable = `CREATE TABLE control_users (
	id TEXT /*C*/ NOT NULL PRIMARY KEY, username TEXT, email TEXT /*C*/ UNIQUE, phone TEXT, first_name TEXT NOT NULL, last_name TEXT NOT NULL,
	email_verified BOOLEAN NOT NULL, phone_verified BOOLEAN NOT NULL, is_active BOOLEAN NOT NULL, groups TEXT, attributes TEXT, role_ids TEXT,
	required_actions TEXT, connection_id TEXT NOT NULL, created_at BIGINT NOT NULL, modified_at BIGINT NOT NULL, last_login_at BIGINT)`

// createGrants is the control's other table.
const createGrants = `CREATE TABLE control_grants (
	id TEXT /*C*/ NOT NULL PRIMARY KEY, user_id TEXT NOT NULL, scope TEXT NOT NULL, detail TEXT NOT NULL, generation BIGINT NOT NULL, rotated_at BIGINT NOT NULL)`

const (
	copyGrants  = "INSERT INTO control_grants SELECT id, user_id, scope, detail, generation, rotated_at FROM "
	rotateGrant = "UPDATE control_grants SET generation = generation + 1, rotated_at = $3 WHERE id = $1 AND generation = $2 RETURNING user_id"
	useRecord   = "UPDATE control_users SET last_login_at = $2 WHERE id = $1"
)

// postgresStore keeps its tables in the product's database.
type postgresStore struct{ pool *pgxpool.Pool }

func openPostgres(ctx context.Context, address, tenant string) (*postgresStore, error) {
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 16
	cfg.ConnConfig.RuntimeParams["jit"] = "off"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, statement := range []string{
		strings.ReplaceAll(createTable, "/*C*/", `COLLATE "C"`),
		"INSERT INTO control_users (" + recordColumns + ") SELECT " + recordColumns + " FROM users WHERE tenant_id = '" + tenant + "' ORDER BY id",
		strings.ReplaceAll(createGrants, "/*C*/", `COLLATE "C"`),
		copyGrants + "grants WHERE tenant_id = '" + tenant + "' ORDER BY id",
		"VACUUM ANALYZE control_users, control_grants",
		"CHECKPOINT",
	} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("fill the control: %w", err)
		}
	}
	return &postgresStore{pool}, nil
}

func (p *postgresStore) close() { p.pool.Close() }

func (p *postgresStore) page(ctx context.Context, after string) ([]record, error) {
	rows, err := p.pool.Query(ctx, selectPage, after)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (record, error) { return scanRecord(row.Scan) })
}

func (p *postgresStore) find(ctx context.Context, statement, value string) (record, error) {
	return scanRecord(p.pool.QueryRow(ctx, statement, value).Scan)
}

func (p *postgresStore) insert(ctx context.Context, r record) error {
	_, err := p.pool.Exec(ctx, insertRecord, r.values()...)
	return err
}

func (p *postgresStore) scan(ctx context.Context, part string) (n int, err error) {
	err = p.pool.QueryRow(ctx, selectByScan, "%"+part+"%").Scan(&n)
	return n, err
}

func (p *postgresStore) rotate(ctx context.Context, grant string, generation, now int64) (user string, err error) {
	err = p.pool.QueryRow(ctx, rotateGrant, grant, generation, now).Scan(&user)
	return user, err
}

func (p *postgresStore) use(ctx context.Context, user string, now int64) error {
	_, err := p.pool.Exec(ctx, useRecord, user, now)
	return err
}

// liteStore has a file of its own: one connection writes, others read.
type liteStore struct {
	read, write *sql.DB
	statements  map[string]*sql.Stmt
}

func openLite(ctx context.Context, own, from, tenant string) (*liteStore, error) {
	s := &liteStore{statements: map[string]*sql.Stmt{}}
	var err error
	if s.write, err = openLiteFile(own, 16<<10, 1); err != nil {
		return nil, err
	}
	if err := s.fill(ctx, from, tenant); err != nil {
		return nil, fmt.Errorf("fill the control: %w", err)
	}
	if s.read, err = openLiteFile(own, 4<<10, max(4, 2*runtime.NumCPU())); err != nil {
		return nil, err
	}
	for _, text := range []string{selectPage, selectByID, selectByEmail, selectByScan} {
		if s.statements[text], err = s.read.PrepareContext(ctx, text); err != nil {
			return nil, err
		}
	}
	for _, text := range []string{insertRecord, rotateGrant, useRecord} {
		if s.statements[text], err = s.write.PrepareContext(ctx, text); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// openLiteFile opens a SQLite file with durable commits, cache in KiB.
func openLiteFile(path string, cache, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", fmt.Sprintf("file:%s?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-%d)",
		(&url.URL{Path: path}).EscapedPath(), cache))
	if err == nil {
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
	}
	return db, err
}

func (s *liteStore) fill(ctx context.Context, from, tenant string) error {
	for _, statement := range []string{
		createTable + " WITHOUT ROWID",
		"ATTACH DATABASE 'file:" + (&url.URL{Path: from}).EscapedPath() + "?mode=ro' AS product",
		"INSERT INTO control_users (" + recordColumns + ") SELECT " + recordColumns + " FROM product.users WHERE tenant_id = '" + tenant + "' ORDER BY id",
		createGrants + " WITHOUT ROWID",
		copyGrants + "product.grants WHERE tenant_id = '" + tenant + "' ORDER BY id",
		"DETACH DATABASE product",
		"PRAGMA wal_checkpoint(TRUNCATE)",
	} {
		if _, err := s.write.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func (s *liteStore) close() {
	_ = s.read.Close() // nothing is lost: every commit is on disk
	_ = s.write.Close()
}

func (s *liteStore) page(ctx context.Context, after string) ([]record, error) {
	rows, err := s.statements[selectPage].QueryContext(ctx, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	page := make([]record, 0, 20)
	for rows.Next() {
		r, err := scanRecord(rows.Scan)
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

// find, like the product, does not watch for a caller who goes away.
func (s *liteStore) find(ctx context.Context, statement, value string) (record, error) {
	return scanRecord(s.statements[statement].QueryRowContext(context.WithoutCancel(ctx), value).Scan)
}

func (s *liteStore) insert(ctx context.Context, r record) error {
	_, err := s.statements[insertRecord].ExecContext(context.WithoutCancel(ctx), r.values()...)
	return err
}

func (s *liteStore) scan(ctx context.Context, part string) (n int, err error) {
	err = s.statements[selectByScan].QueryRowContext(ctx, "%"+part+"%").Scan(&n)
	return n, err
}

func (s *liteStore) rotate(ctx context.Context, grant string, generation, now int64) (user string, err error) {
	err = s.statements[rotateGrant].QueryRowContext(context.WithoutCancel(ctx), grant, generation, now).Scan(&user)
	return user, err
}

func (s *liteStore) use(ctx context.Context, user string, now int64) error {
	_, err := s.statements[useRecord].ExecContext(context.WithoutCancel(ctx), user, now)
	return err
}
