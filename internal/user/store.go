package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

const columns = `id, username, email, phone, first_name, last_name, email_verified, phone_verified, is_active,
	groups, attributes, role_ids, required_actions, connection_id, created_at, modified_at, last_login_at, language`

// columnsOfU are the columns of users u, for statements with more tables in them.
var columnsOfU = "u." + strings.Join(strings.Fields(strings.ReplaceAll(columns, ",", " ")), ", u.")

func scanOne(row database.Scanner) (User, error) { return scanUser(row) }

// scanUser reads a user, and whatever the statement has behind the user's columns.
func scanUser(row database.Scanner, more ...any) (User, error) {
	var u User
	var username, email, phone, groups, attributes, roles, actions *string
	var created, modified int64
	var login *int64
	err := row.Scan(append([]any{&u.ID, &username, &email, &phone, &u.FirstName, &u.LastName, &u.EmailVerified, &u.PhoneVerified, &u.IsActive,
		&groups, &attributes, &roles, &actions, &u.ConnectionID, &created, &modified, &login, &u.Language}, more...)...)
	if err != nil {
		return User{}, err
	}
	u.Username, u.Email, u.Phone = orEmpty(username), orEmpty(email), orEmpty(phone)
	u.Groups, u.Attributes = rawOrNil(groups), rawOrNil(attributes)
	u.CreatedAt, u.ModifiedAt = time.UnixMilli(created).UTC(), time.UnixMilli(modified).UTC()
	if login != nil {
		u.LastLoginAt = time.UnixMilli(*login).UTC()
	}
	return u, errors.Join(decodeList(roles, &u.RoleIDs), decodeList(actions, &u.RequiredActions))
}

func decodeList(text *string, into *[]string) error {
	if text == nil {
		return nil
	}
	return json.Unmarshal([]byte(*text), into)
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func rawOrNil(s *string) json.RawMessage {
	if s == nil {
		return nil
	}
	return json.RawMessage(*s)
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func listOrNull(s []string) *string {
	if len(s) == 0 {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always encode
	}
	return orNull(string(b))
}

// insertColumns and insertValues keep one order for single inserts and imports.
var insertColumns = []string{
	"tenant_id", "id", "username", "email", "phone", "login_key", "first_name", "last_name", "first_key", "last_key",
	"email_verified", "phone_verified", "is_active", "groups", "attributes", "role_ids", "required_actions", "connection_id",
	"created_at", "modified_at", "last_login_at",
}

func insertValues(tenant string, u User) []any {
	return []any{
		tenant, u.ID, orNull(u.Username), orNull(u.Email), orNull(u.Phone), loginKey(u.Login()), u.FirstName, u.LastName, fold(u.FirstName), fold(u.LastName),
		u.EmailVerified, u.PhoneVerified, u.IsActive, orNull(string(u.Groups)), orNull(string(u.Attributes)), listOrNull(u.RoleIDs), listOrNull(u.RequiredActions), u.ConnectionID,
		u.CreatedAt.UnixMilli(), u.ModifiedAt.UnixMilli(), msOrNull(u.LastLoginAt),
	}
}

var insertStatement = "INSERT INTO users (" + strings.Join(insertColumns, ", ") + ") VALUES (" + placeholders(1, len(insertColumns)) + ")"

// placeholders returns "$from, …" for n parameters.
func placeholders(from, n int) string {
	marks := make([]string, n)
	for i := range marks {
		marks[i] = "$" + strconv.Itoa(from+i)
	}
	return strings.Join(marks, ", ")
}

func insertUser(tx *database.Tx, tenant string, u User) {
	tx.Later(insertStatement, insertValues(tenant, u)...)
	insertRoles(tx, tenant, u)
}

func insertRoles(tx *database.Tx, tenant string, u User) {
	for _, role := range u.RoleIDs {
		tx.Later("INSERT INTO user_roles (tenant_id, user_id, role_id) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, user_id, role_id) DO NOTHING", tenant, u.ID, role)
	}
}

// claim takes identifiers for a user. It is one statement against the primary
// key, so that of two claims of the same value one fails with ErrExists.
func claim(ctx context.Context, tx *database.Tx, tenant, user string, ids []identifier) error {
	if len(ids) == 0 {
		return nil
	}
	args := []any{tenant, user, tx.Millis()}
	rows := make([]string, len(ids))
	for i, x := range ids {
		rows[i] = fmt.Sprintf("($1, $%d, $%d, $2, $%d, $3)", len(args)+1, len(args)+2, len(args)+3)
		args = append(args, x.value, x.kind, orNull(x.id))
	}
	n, err := tx.Exec(ctx, `
		INSERT INTO user_identifiers (tenant_id, value, kind, user_id, id, added_at) VALUES `+strings.Join(rows, ", ")+`
		ON CONFLICT (tenant_id, value) DO NOTHING`, args...)
	if err != nil {
		return fmt.Errorf("claim identifiers: %w", err)
	}
	if n != int64(len(ids)) {
		return ErrExists
	}
	return nil
}

// reclaim gives up what a user was found by and is no more, and takes what is new. What
// has become of another kind stays the user's all the time. The search learns of further
// addresses.
func reclaim(ctx context.Context, tx *database.Tx, tenant, user string, old, now []identifier) error {
	for _, x := range difference(old, now) {
		if !slices.ContainsFunc(now, x.isSame) {
			tx.Later("DELETE FROM user_identifiers WHERE tenant_id = $1 AND value = $2 AND user_id = $3", tenant, x.value, user)
		}
	}
	var wanted []identifier
	for _, x := range difference(now, old) {
		if !slices.ContainsFunc(old, x.isSame) {
			wanted = append(wanted, x)
			continue
		}
		tx.Later("UPDATE user_identifiers SET kind = $4, id = $5, held_at = NULL WHERE tenant_id = $1 AND value = $2 AND user_id = $3", tenant, x.value, user, x.kind, orNull(x.id))
	}
	if was, is := furtherText(old), furtherText(now); was != is {
		noteFurther(tx, tenant, user, is)
		queueSearch(tx, tenant, user, user)
	}
	return claim(ctx, tx, tenant, user, wanted)
}

// furtherText is what users.further holds of the further addresses among ids.
func furtherText(ids []identifier) string {
	var b strings.Builder
	for _, x := range ids {
		if x.id != "" {
			b.WriteString(wordStart + x.value)
		}
	}
	return b.String()
}

func noteFurther(tx *database.Tx, tenant, user, text string) {
	tx.Later("UPDATE users SET further = $3 WHERE tenant_id = $1 AND id = $2", tenant, user, orNull(text))
}

// setFurther gives a further address that a user has just taken what came along with it.
func setFurther(tx *database.Tx, tenant, user string, a Address) {
	tx.Later("UPDATE user_identifiers SET id = $4, added_at = $5, held_at = $6 WHERE tenant_id = $1 AND value = $2 AND user_id = $3",
		tenant, a.Value, user, a.ID, msOrNull(a.AddedAt), heldAt(tx, a))
}

func msOrNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}

func heldAt(tx *database.Tx, a Address) *int64 {
	if !a.Held {
		return nil
	}
	return new(tx.Millis())
}

func difference(a, b []identifier) (out []identifier) {
	for _, x := range a {
		found := false
		for _, y := range b {
			found = found || x == y
		}
		if !found {
			out = append(out, x)
		}
	}
	return out
}

func findUser(ctx context.Context, db database.Reader, tenant, id string) (User, error) {
	u, err := scanUser(db.QueryRow(ctx, "SELECT "+columns+" FROM users WHERE tenant_id = $1 AND id = $2", tenant, id))
	return u, notFound(err, "find user")
}

func notFound(err error, doing string) error {
	if errors.Is(err, database.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// touchUser locks the row by writing to it, and returns what it holds.
func touchUser(ctx context.Context, tx *database.Tx, tenant, id string) (User, error) {
	u, err := scanUser(tx.QueryRow(ctx, "UPDATE users SET modified_at = modified_at WHERE tenant_id = $1 AND id = $2 RETURNING "+columns, tenant, id))
	return u, notFound(err, "lock user")
}

func updateUser(ctx context.Context, tx *database.Tx, tenant string, u User, roles bool) error {
	v := insertValues(tenant, u) // created_at, at v[18], and last_login_at stay
	_, err := tx.Exec(ctx, `
		UPDATE users SET username = $3, email = $4, phone = $5, login_key = $6, first_name = $7, last_name = $8, first_key = $9, last_key = $10,
			email_verified = $11, phone_verified = $12, is_active = $13, groups = $14, attributes = $15, role_ids = $16, required_actions = $17, modified_at = $18
		WHERE tenant_id = $1 AND id = $2`, append(v[:17:17], v[19])...)
	if err != nil {
		return fmt.Errorf("update user: %w", err)
	}
	if roles {
		tx.Later("DELETE FROM user_roles WHERE tenant_id = $1 AND user_id = $2", tenant, u.ID)
		insertRoles(tx, tenant, u)
	}
	return nil
}

func deleteUser(ctx context.Context, tx *database.Tx, tenant, id string) error {
	// The count first: whoever settles the count at the same time waits here, so
	// that the user is counted either by both or by neither.
	tx.Later("UPDATE user_counts SET users = users - 1 WHERE tenant_id = $1 AND (settled_id >= $2 OR $2 >= $3)", tenant, id, foreign)
	u, err := scanUser(tx.QueryRow(ctx, "DELETE FROM users WHERE tenant_id = $1 AND id = $2 RETURNING "+columns, tenant, id))
	if err != nil {
		return notFound(err, "delete user")
	}
	for _, x := range u.identifiers() {
		tx.Later("DELETE FROM user_identifiers WHERE tenant_id = $1 AND value = $2 AND user_id = $3", tenant, x.value, id)
	}
	tx.Later("DELETE FROM user_identifiers WHERE tenant_id = $1 AND user_id = $2 AND id IS NOT NULL", tenant, id)
	queueSearch(tx, tenant, id, id)
	return nil
}

// NoteLanguage notes the language in which a user reads, at the end of the transaction.
func (s *Service) NoteLanguage(tx *database.Tx, tenant, id, language string) {
	tx.Later("UPDATE users SET language = $3 WHERE tenant_id = $1 AND id = $2", tenant, id, language)
}

// NoteSignIn notes that a user has signed in.
func (s *Service) NoteSignIn(tx *database.Tx, tenant, id string) {
	tx.Must(func(noted int64, err error) error {
		if err != nil {
			return fmt.Errorf("note sign-in: %w", err)
		}
		if noted == 0 {
			return ErrNotFound
		}
		return nil
	}, "UPDATE users SET last_login_at = $3 WHERE tenant_id = $1 AND id = $2 AND is_active", tenant, id, tx.Millis())
}
