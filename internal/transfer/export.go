package transfer

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/user"
)

// ExportOptions say what Export writes.
type ExportOptions struct {
	Format string // "jsonl" or "csv"; jsonl unless set
	Hashes bool   // the password hashes too; the actor then needs users:export_hashes
	// Progress, if set, is called with the number of users after each page.
	Progress func(users int64)
}

// exportPage is how many users are read at a time. No transaction is open between
// two pages, so a user who is changed meanwhile comes as they were before or are
// after.
const exportPage = 500

// Export writes the users of the actor's tenant to w in the order of their ids and
// returns how many there were. The same users give the same bytes: as JSON lines of
// Record, which Import reads again without a loss, or as CSV with its members for
// columns. The event of the export is in the log before the first user is written.
// The actor needs users:read.
func (s *Service) Export(ctx context.Context, by access.Actor, w io.Writer, o ExportOptions) (users int64, err error) {
	e, err := s.startExport(ctx, by, &o)
	if err != nil {
		return 0, err
	}
	return e.write(ctx, w)
}

// An export is one that is allowed and in the log.
type export struct {
	*Service
	by      access.Actor
	options ExportOptions
	slugs   map[string]string // of roles, by id
}

func (s *Service) startExport(ctx context.Context, by access.Actor, o *ExportOptions) (*export, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return nil, err
	}
	if o.Hashes {
		if err := by.Require(access.UsersExportHashes); err != nil {
			return nil, err
		}
	}
	if o.Format = cmp.Or(o.Format, "jsonl"); o.Format != "jsonl" && o.Format != "csv" {
		return nil, ErrOptions.Saying("An export is jsonl or csv.").In("format")
	}
	roles, err := role.All(ctx, s.DB, by.Tenant)
	if err != nil {
		return nil, err
	}
	e := &export{Service: s, by: by, options: *o, slugs: map[string]string{}}
	for _, r := range roles {
		e.slugs[r.ID] = r.Slug
	}
	return e, s.DB.Write(ctx, func(tx *database.Tx) error {
		return audit.Append(tx, by, audit.Event{Action: "user.exported", Target: "tenant", TargetID: by.Tenant,
			Detail: map[string]any{"format": o.Format, "hashes": o.Hashes}})
	})
}

func (e *export) write(ctx context.Context, to io.Writer) (users int64, err error) {
	w := bufio.NewWriterSize(to, 64<<10)
	write := e.line
	if e.options.Format == "csv" {
		write = e.row
		if _, err := w.WriteString(strings.Join(e.columns(), ",") + "\r\n"); err != nil {
			return 0, fmt.Errorf("write the export: %w", err)
		}
	}
	for query := (user.Query{Limit: exportPage}); ; {
		page, next, err := e.Users.List(ctx, e.DB, e.by, query)
		if err != nil {
			return users, err
		}
		ids := idsOf(page)
		passwords, err := e.passwords(ctx, ids)
		if err != nil {
			return users, err
		}
		addresses, err := e.Users.AddressesOf(ctx, e.DB, e.by, ids)
		if err != nil {
			return users, err
		}
		for _, u := range page {
			if err := write(w, e.record(u, addresses[u.ID], passwords[u.ID])); err != nil {
				return users, err
			}
		}
		users += int64(len(page))
		if err := w.Flush(); err != nil {
			return users, fmt.Errorf("write the export: %w", err)
		}
		if e.options.Progress != nil {
			e.options.Progress(users)
		}
		if query.Cursor = next; next == "" {
			return users, nil
		}
	}
}

func idsOf(page []user.User) []string {
	ids := make([]string, len(page))
	for i, u := range page {
		ids[i] = u.ID
	}
	return ids
}

func (e *export) passwords(ctx context.Context, ids []string) (map[string]password.Stored, error) {
	if !e.options.Hashes || len(ids) == 0 {
		return nil, nil
	}
	return password.Export(ctx, e.DB, e.by, ids)
}

func (e *export) record(u user.User, addresses []user.Address, p password.Stored) Record {
	r := Record{
		ID: u.ID, Username: u.Username, Email: u.Email, Phone: u.Phone, FirstName: u.FirstName, LastName: u.LastName, IsActive: &u.IsActive,
		Groups: u.Groups, Attributes: u.Attributes, RequiredActions: u.RequiredActions, Language: u.Language,
		CreatedAt: Moment{u.CreatedAt}, ModifiedAt: Moment{u.ModifiedAt}, LastLoginAt: Moment{u.LastLoginAt},
		PasswordHash: p.Hash, PasswordTemporary: p.Temporary, PasswordChangedAt: Moment{p.ChangedAt},
	}
	if u.Email != "" {
		r.EmailVerified = &u.EmailVerified
	}
	if u.Phone != "" {
		r.PhoneVerified = &u.PhoneVerified
	}
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, Address{Value: a.Value, AddedAt: Moment{a.AddedAt}, Held: a.Held})
	}
	for _, id := range u.RoleIDs {
		r.Roles = append(r.Roles, cmp.Or(e.slugs[id], id))
	}
	return r
}

func (e *export) line(w *bufio.Writer, r Record) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write user %s: %w", r.ID, err)
	}
	return nil
}

// columns are those of the CSV: without hashes it has none for them.
func (e *export) columns() []string {
	if e.options.Hashes {
		return fields
	}
	return fields[:len(fields)-3]
}

func (e *export) row(w *bufio.Writer, r Record) error {
	roles, err := textList(r.Roles)
	if err != nil {
		return err
	}
	actions, err := textList(r.RequiredActions)
	if err != nil {
		return err
	}
	addresses, err := textList(r.Addresses)
	if err != nil {
		return err
	}
	row := []string{
		r.ID, r.Username, r.Email, flagText(r.EmailVerified), r.Phone, flagText(r.PhoneVerified), r.FirstName, r.LastName, flagText(r.IsActive),
		string(compact(r.Groups)), string(compact(r.Attributes)), roles, actions, addresses, r.Language, momentText(r.CreatedAt), momentText(r.ModifiedAt), momentText(r.LastLoginAt),
		r.PasswordHash, "", momentText(r.PasswordChangedAt),
	}
	if r.PasswordTemporary {
		row[len(row)-2] = "true"
	}
	var line []byte
	for _, cell := range row[:len(e.columns())] {
		line = append(appendCell(line, cell), ',')
	}
	if _, err := w.Write(append(line[:len(line)-1], "\r\n"...)); err != nil {
		return fmt.Errorf("write user %s: %w", r.ID, err)
	}
	return nil
}

// appendCell appends a cell of RFC 4180 that no spreadsheet takes for a formula.
func appendCell(b []byte, text string) []byte {
	text = neutral(text)
	if !strings.ContainsAny(text, ",;|\"\r\n\t' ") {
		return append(b, text...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(text, `"`, `""`)...)
	return append(b, '"')
}

func flagText(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

func momentText(m Moment) string {
	if m.IsZero() {
		return ""
	}
	return m.UTC().Format(momentForm)
}

// textList is a JSON array, or nothing for none: a role may be called anything, so
// no separator would do.
func textList[T any](list []T) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(list)
	return strings.TrimSpace(buf.String()), err
}
