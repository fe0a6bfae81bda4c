package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/crypto/argon2"
)

// A machine says what it was measured on.
type machine struct {
	CPU      string  `json:"cpu"`
	Cores    int     `json:"cores"`
	MemoryMB float64 `json:"memory_mb"`
	System   string  `json:"system"`
	Go       string  `json:"go"`
	Postgres string  `json:"postgresql,omitempty"`
	SQLite   string  `json:"sqlite,omitempty"`
}

func describeMachine() (machine, error) {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, fmt.Errorf("this program measures memory through /proc, as Linux has it: %w", err)
	}
	if m.MemoryMB, err = procMB(string(info), "MemTotal"); err != nil {
		return m, err
	}
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, after, _ := strings.Cut(string(cpu), "model name")
		name, _, _ := strings.Cut(after, "\n")
		m.CPU = strings.TrimLeft(name, "\t: ")
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += ", Linux " + strings.TrimSpace(string(kernel))
	}
	return m, nil
}

// A limit is something of which the machine can do only so much, whatever program
// asks.
type limit struct {
	name    string
	workers int
	hire    func(i int) (worker, error)
}

func repeat(do func() error) (worker, error) { return worker{do, func() {}}, nil }

// cryptography lists what sign-in and tokens are bound by.
func cryptography() ([]limit, error) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("header.payload"))
	signature, err := ecdsa.SignASN1(rand.Reader, ecKey, digest[:])
	if err != nil {
		return nil, err
	}
	return []limit{
		{"Argon2id, 19 MiB, t=2, p=1", runtime.GOMAXPROCS(0), func(int) (worker, error) {
			return repeat(func() error {
				argon2.IDKey([]byte("correct horse battery staple"), []byte("0123456789abcdef"), 2, 19<<10, 1, 32)
				return nil
			})
		}},
		{"RS256 sign, 2,048 bits", runtime.GOMAXPROCS(0), func(int) (worker, error) {
			return repeat(func() error {
				_, err := rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, digest[:])
				return err
			})
		}},
		{"ES256 sign", runtime.GOMAXPROCS(0), func(int) (worker, error) {
			return repeat(func() error {
				_, err := ecdsa.SignASN1(rand.Reader, ecKey, digest[:])
				return err
			})
		}},
		{"ES256 verify", runtime.GOMAXPROCS(0), func(int) (worker, error) {
			return repeat(func() error {
				if !ecdsa.VerifyASN1(&ecKey.PublicKey, digest[:], signature) {
					return fmt.Errorf("a good signature was refused")
				}
				return nil
			})
		}},
	}, nil
}

// The databases are measured on narrow rows: id, address, 70 bytes of JSON, time.
const (
	limitRows   = 100_000
	limitTable  = "CREATE TABLE limits (id BIGINT PRIMARY KEY, email TEXT NOT NULL UNIQUE, data TEXT NOT NULL, at BIGINT NOT NULL)"
	limitInsert = "INSERT INTO limits (id, email, data, at) VALUES ($1, $2, $3, $4)"
	limitSelect = "SELECT id, email, data, at FROM limits WHERE id = $1"
	limitData   = `{"given":"Ada","family":"Lovelace","locale":"en-GB","zone":"Etc/UTC"}`
)

var limitColumns = []string{"id", "email", "data", "at"}

func limitRow(id int64) []any {
	return []any{id, fmt.Sprintf("user%d@example.com", id), limitData, id}
}

// limitLast is the greatest id; inserted rows follow on it.
var limitLast atomic.Int64

func init() { limitLast.Store(limitRows) }

// postgresLimits measures reads and commits of single rows, with as many
// connections as callers.
func postgresLimits(ctx context.Context, address string, callers int) ([]limit, func(), error) {
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, nil, err
	}
	cfg.MaxConns = int32(callers)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	if _, err := pool.Exec(ctx, limitTable); err != nil {
		return nil, nil, err
	}
	i := int64(0)
	_, err = pool.CopyFrom(ctx, pgx.Identifier{"limits"}, limitColumns, pgx.CopyFromFunc(func() ([]any, error) {
		if i++; i > limitRows {
			return nil, nil
		}
		return limitRow(i), nil
	}))
	if err != nil {
		return nil, nil, err
	}
	read := func(id int64) error {
		var row struct {
			id, at      int64
			email, data string
		}
		return pool.QueryRow(ctx, limitSelect, id).Scan(&row.id, &row.email, &row.data, &row.at)
	}
	write := func(id int64) error {
		_, err := pool.Exec(ctx, limitInsert, limitRow(id)...)
		return err
	}
	return databaseLimits("PostgreSQL", callers, read, write), pool.Close, nil
}

// sqliteLimits does the same on a file in dir. Writers take turns.
func sqliteLimits(ctx context.Context, dir string, callers int) ([]limit, func(), error) {
	path := filepath.Join(dir, "limits.db")
	writer, err := openLiteFile(path, 16<<10, 1)
	if err != nil {
		return nil, nil, err
	}
	if _, err := writer.ExecContext(ctx, limitTable); err != nil {
		return nil, nil, err
	}
	tx, err := writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	for i := int64(1); i <= limitRows; i++ {
		if _, err := tx.ExecContext(ctx, limitInsert, limitRow(i)...); err != nil {
			return nil, nil, err
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, nil, err
	}
	reader, err := openLiteFile(path, 4<<10, max(4, 2*runtime.NumCPU()))
	if err != nil {
		return nil, nil, err
	}
	selecting, err := reader.PrepareContext(ctx, limitSelect)
	if err != nil {
		return nil, nil, err
	}
	inserting, err := writer.PrepareContext(ctx, limitInsert)
	if err != nil {
		return nil, nil, err
	}
	read := func(id int64) error {
		var row struct {
			id, at      int64
			email, data string
		}
		return selecting.QueryRowContext(context.Background(), id).Scan(&row.id, &row.email, &row.data, &row.at)
	}
	write := func(id int64) error {
		_, err := inserting.ExecContext(context.Background(), limitRow(id)...)
		return err
	}
	return databaseLimits("SQLite", callers, read, write), func() { _ = reader.Close(); _ = writer.Close() }, nil
}

func databaseLimits(engine string, callers int, read, write func(id int64) error) []limit {
	return []limit{
		{engine + ", read a row by its key", callers, func(i int) (worker, error) {
			x := newXorshift(1, uint64(i))
			return repeat(func() error { return read(int64(x.below(limitRows)) + 1) })
		}},
		{engine + ", insert a row, durable", callers, func(int) (worker, error) {
			return repeat(func() error { return write(limitLast.Add(1)) })
		}},
	}
}
