package scim

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// Kept is for how long requests of directories are kept to look at.
const Kept = 7 * 24 * time.Hour

// A Request is something that a directory asked: enough to see why it does not get
// what it wants. Personal values are masked.
type Request struct {
	ID      string
	At      time.Time
	Method  string
	Path    string // below the base URL
	Status  int
	Problem string // what was wrong with it, empty for nothing
	Form    string // what we made of it
}

const (
	maxWaiting  = 5000 // requests that are not written yet
	maxLogPath  = 512
	maxLogForm  = 2048
	maxRequests = 200 // of a page
)

// A requestLog holds what has been asked until Flush writes it: no request waits for
// its line. What is held when the process dies is lost, which harms a look for
// mistakes only: changes have their events. Beyond its bound lines are dropped.
type requestLog struct {
	mu      sync.Mutex
	waiting []logged
}

type logged struct {
	tenant, directory string
	Request
}

func (l *requestLog) add(tenant, directory string, r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) < maxWaiting {
		r.ID = secret.ID(r.At)
		l.waiting = append(l.waiting, logged{tenant, directory, r})
	}
}

func (l *requestLog) take() []logged {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.waiting
	l.waiting = nil
	return out
}

// Run writes what has been asked, every second until ctx ends.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			s.flush(last)
			return
		case <-tick.C:
			s.flush(ctx)
		}
	}
}

func (s *Service) flush(ctx context.Context) {
	if err := s.Flush(ctx); err != nil {
		s.Log.WarnContext(ctx, "requests of directories could not be kept", "err", err)
	}
}

// Flush writes what has been asked since the last time, and when each directory was
// heard of.
func (s *Service) Flush(ctx context.Context) error {
	all := s.log.take()
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b logged) int {
		return strings.Compare(a.tenant+a.directory+a.ID, b.tenant+b.directory+b.ID)
	})
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		// A directory that has gone meanwhile takes its lines with it.
		for i, r := range all {
			if i+1 == len(all) || all[i+1].directory != r.directory || all[i+1].tenant != r.tenant {
				noteSync(tx, r.tenant, r.directory, r.At.UnixMilli())
			}
			tx.Later(`
				INSERT INTO directory_requests (tenant_id, directory_id, id, method, path, status, problem, form, at)
				SELECT d.tenant_id, d.id, CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS BIGINT), CAST($7 AS TEXT), CAST($8 AS TEXT), CAST($9 AS BIGINT)
				FROM directories d WHERE d.tenant_id = $1 AND d.id = $2`,
				r.tenant, r.directory, r.ID, r.Method, cut(r.Path, maxLogPath), int64(r.Status), cut(r.Problem, maxLogPath), cut(r.Form, maxLogForm), r.At.UnixMilli())
		}
		return nil
	})
}

// cut shortens a text that may come from a stranger, and drops what no database takes.
func cut(s string, n int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
	if len(s) <= n {
		return s
	}
	for s = s[:n]; !utf8.ValidString(s); {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// Requests returns what a directory has asked in the last days, newest first, up to
// 200 at a time, and the cursor of the next page, empty if there is none. The actor
// needs connections:read.
func (s *Service) Requests(ctx context.Context, by access.Actor, organization, id, cursor string, limit int) ([]Request, string, error) {
	if _, err := s.Find(ctx, s.DB, by, organization, id); err != nil {
		return nil, "", err
	}
	if err := s.Flush(ctx); err != nil {
		return nil, "", err
	}
	if cursor != "" && !secret.IsID(cursor) {
		return nil, "", ErrInvalid.Saying("The cursor is not one of ours.").In("cursor")
	}
	if cursor == "" {
		cursor = "g" // behind every id
	}
	limit = min(max(limit, 1), maxRequests)
	rows, err := s.DB.Query(ctx, `
		SELECT id, method, path, status, problem, form, at FROM directory_requests
		WHERE tenant_id = $1 AND directory_id = $2 AND id < $3 AND at > $4 ORDER BY id DESC LIMIT $5`,
		by.Tenant, id, cursor, s.DB.Now().Add(-Kept).UnixMilli(), int64(limit+1))
	all, err := database.Collect(rows, err, "list requests of directory", func(row database.Scanner) (r Request, err error) {
		var ms, status int64
		err = row.Scan(&r.ID, &r.Method, &r.Path, &status, &r.Problem, &r.Form, &ms)
		r.At, r.Status = at(ms), int(status)
		return r, err
	})
	if err != nil || len(all) <= limit {
		return all, "", err
	}
	return all[:limit], all[limit-1].ID, nil
}

// Sweep removes requests that are too old.
func (s *Service) Sweep(ctx context.Context) error {
	for {
		var n int64
		err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
			n, err = tx.Exec(ctx, `
				DELETE FROM directory_requests WHERE (tenant_id, directory_id, id) IN (
					SELECT tenant_id, directory_id, id FROM directory_requests WHERE at <= $1 ORDER BY at LIMIT 5000)`, tx.Now.Add(-Kept).UnixMilli())
			return err
		})
		if err != nil || n < 5000 {
			return err
		}
	}
}

// mask keeps of a value what helps to recognise it and not more.
func mask(s string) string {
	name, domain, found := strings.Cut(s, "@")
	first, _ := utf8.DecodeRuneInString(name)
	switch {
	case s == "":
		return ""
	case found:
		return string(first) + "…@" + domain
	case utf8.RuneCountInString(s) <= 2:
		return "…"
	}
	return string(first) + "…"
}

// maskQuery keeps the query of an address with what stands in quotation marks masked.
func maskQuery(raw string) string {
	if raw == "" {
		return ""
	}
	text, err := url.QueryUnescape(raw)
	if err != nil || len(text) > maxFilter {
		return "?…"
	}
	return "?" + maskQuoted(text)
}

// maskQuoted masks what stands in quotation marks.
func maskQuoted(text string) string {
	parts := strings.Split(text, `"`)
	for i := 1; i < len(parts); i += 2 {
		if !secret.IsID(parts[i]) && !isWordOfSchema(parts[i]) {
			parts[i] = mask(parts[i])
		}
	}
	return strings.Join(parts, `"`)
}

// isWordOfSchema lets those values through that say nothing of anybody.
func isWordOfSchema(s string) bool {
	return slices.Contains([]string{"work", "home", "other", "mobile", "true", "false", "True", "False"}, s)
}

// describe says in one line what a resource or value has, with its values masked.
func describe(v any) string {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for i, name := range names {
			if name == "type" || name == "id" || name == "value" && secret.IsID(stringAt(v, "value")) {
				names[i] = name + "=" + stringAt(v, name)
			} else if name != "schemas" && name != "meta" {
				names[i] = name + "=" + describe(v[name])
			}
		}
		return "{" + strings.Join(names, " ") + "}"
	case []any:
		parts := make([]string, 0, min(len(v), 5))
		for _, each := range v[:min(len(v), 5)] {
			parts = append(parts, describe(each))
		}
		if len(v) > 5 {
			parts = append(parts, "…")
		}
		return "[" + strings.Join(parts, " ") + "]"
	case bool:
		if v {
			return "true"
		}
		return "false"
	case string:
		if secret.IsID(v) {
			return v
		}
		return mask(v)
	}
	return "…"
}
