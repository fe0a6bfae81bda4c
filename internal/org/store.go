package org

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

const columns = `id, name, display_name, slug, external_id, white_list, allow_outside, domain, workspace_name, address, website, time_zone, currency,
	token, metadata, policy, branding, is_active, created_at, modified_at`

// columnsOfO are the columns of organizations o, for statements with more tables in them.
var columnsOfO = "o." + strings.Join(strings.Fields(strings.ReplaceAll(columns, ",", " ")), ", o.")

// scanOrganization reads an organization, and whatever the statement has behind it.
func scanOrganization(row database.Scanner, more ...any) (o Organization, err error) {
	var external, list, metadata *string
	var policy, branding string
	var created, modified int64
	err = row.Scan(append([]any{&o.ID, &o.Name, &o.DisplayName, &o.Slug, &external, &list, &o.AllowOutside, &o.Domain, &o.WorkspaceName, &o.Address, &o.Website, &o.TimeZone, &o.Currency,
		&o.Token, &metadata, &policy, &branding, &o.IsActive, &created, &modified}, more...)...)
	if err != nil {
		return o, err
	}
	if external != nil {
		o.ExternalID = *external
	}
	if metadata != nil {
		o.Metadata = json.RawMessage(*metadata)
	}
	if list != nil {
		err = json.Unmarshal([]byte(*list), &o.WhiteList)
	}
	o.CreatedAt, o.ModifiedAt = at(created), at(modified)
	return o, errors.Join(err, json.Unmarshal([]byte(policy), &o.Policy), json.Unmarshal([]byte(branding), &o.Branding))
}

func scanPlain(row database.Scanner) (Organization, error) { return scanOrganization(row) }

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func atOrZero(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return at(*ms)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of ours
	}
	return string(text)
}

func orNull[T ~string | ~[]byte](s T) *string {
	if len(s) == 0 {
		return nil
	}
	text := string(s)
	return &text
}

// orMissing is err of one row that may not be there.
func orMissing(err, missing error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, database.ErrNoRows):
		return missing
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// orNone is err of a statement that should have touched a row.
func orNone(n int64, err, missing error, doing string) error {
	if err == nil && n == 0 {
		return missing
	}
	return orMissing(err, missing, doing)
}

// fold is a text as it is searched for.
func fold(s string) string { return norm.NFKC.String(cases.Fold().String(s)) }

func (o Organization) values(tenant string) []any {
	var list *string
	if o.WhiteList != nil {
		text := encode(o.WhiteList)
		list = &text
	}
	return []any{
		tenant, o.ID, o.Name, o.DisplayName, o.Slug, orNull(o.ExternalID), list, o.AllowOutside, o.WorkspaceName, o.Address, o.Website, o.TimeZone, o.Currency,
		orNull(o.Metadata), encode(o.Policy), encode(o.Branding), o.IsActive, fold(o.Name + "\n" + o.DisplayName + "\n" + o.Slug), o.ModifiedAt.UnixMilli(),
	}
}

// insertOrganization reports whether it could; if not, something unique is taken.
func insertOrganization(ctx context.Context, tx *database.Tx, tenant string, o Organization) (bool, error) {
	n, err := tx.Exec(ctx, `
		INSERT INTO organizations (tenant_id, id, name, display_name, slug, external_id, white_list, allow_outside, workspace_name, address, website, time_zone, currency,
			metadata, policy, branding, is_active, search_key, modified_at, created_at, token, domain)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $19, $20, '')
		ON CONFLICT DO NOTHING`, append(o.values(tenant), o.Token)...)
	if err != nil {
		return false, fmt.Errorf("insert organization: %w", err)
	}
	return n == 1, nil
}

func updateOrganization(ctx context.Context, tx *database.Tx, tenant string, o Organization) error {
	n, err := tx.Exec(ctx, `
		UPDATE organizations SET name = $3, display_name = $4, slug = $5, external_id = $6, white_list = $7, allow_outside = $8, workspace_name = $9, address = $10,
			website = $11, time_zone = $12, currency = $13, metadata = $14, policy = $15, branding = $16, is_active = $17, search_key = $18, modified_at = $19
		WHERE tenant_id = $1 AND id = $2`, o.values(tenant)...)
	if database.IsDuplicate(err) {
		return ErrExists
	}
	return orNone(n, err, ErrNotFound, "update organization")
}

func deleteOrganization(ctx context.Context, tx *database.Tx, tenant, id string) error {
	n, err := tx.Exec(ctx, `DELETE FROM organizations WHERE tenant_id = $1 AND id = $2`, tenant, id)
	return orNone(n, err, ErrNotFound, "delete organization")
}

// hold locks an organization by writing to it, and returns what it holds: whoever else
// changes it or its members waits.
func hold(ctx context.Context, tx *database.Tx, tenant, id string) (Organization, error) {
	if !secret.IsID(id) {
		return Organization{}, ErrNotFound
	}
	o, err := scanPlain(tx.QueryRow(ctx, `UPDATE organizations SET modified_at = modified_at WHERE tenant_id = $1 AND id = $2 RETURNING `+columns, tenant, id))
	return o, orMissing(err, ErrNotFound, "hold organization")
}

// findOrganization finds one by a column that is unique in the tenant.
func findOrganization(ctx context.Context, db database.Reader, tenant, by, value string) (Organization, error) {
	o, err := scanPlain(db.QueryRow(ctx, `SELECT `+columns+` FROM organizations WHERE tenant_id = $1 AND `+by+` = $2`, tenant, value))
	return o, orMissing(err, ErrNotFound, "find organization")
}

func listOrganizations(ctx context.Context, db database.Reader, tenant, after string, limit int) ([]Organization, error) {
	rows, err := db.Query(ctx, `SELECT `+columns+` FROM organizations WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT CAST($3 AS BIGINT)`, tenant, after, int64(limit))
	return database.Collect(rows, err, "list organizations", scanPlain)
}

// window is how many organizations a search walks through in list order before it asks
// the index of parts. Where that fills the page, matches are so many that sorting what the
// index finds would take longer.
const window = 1000

// few is what the matches are fewer than that SQLite takes from its index of parts.
const few = 500

// searchOrganizations finds the ids in an index first, which has all that it needs: in
// list order, which ends when the page is full, or by parts, where matches are few.
func searchOrganizations(ctx context.Context, db *database.DB, tenant, after, part string, limit int) ([]Organization, error) {
	const here, matches = `FROM organizations WHERE tenant_id = $1 AND id > $2`, `search_key LIKE $3 ESCAPE '\'`
	part = fold(part)
	pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(part) + "%"
	read := func(with, hits string, more ...any) ([]Organization, error) {
		rows, err := db.Query(ctx, with+`
			SELECT `+columnsOfO+` FROM (SELECT id AS hit `+hits+` ORDER BY id LIMIT CAST($4 AS BIGINT)) AS hits
			CROSS JOIN organizations o WHERE o.tenant_id = $1 AND o.id = hit ORDER BY o.id`, append([]any{tenant, after, pattern, int64(limit)}, more...)...)
		return database.Collect(rows, err, "search organizations", scanPlain)
	}
	list, err := read("", fmt.Sprintf(`FROM (SELECT id, search_key %s ORDER BY id LIMIT %d) AS walked WHERE %s`, here, window, matches))
	if err != nil || len(list) == limit {
		return list, err
	}
	if db.Engine() == database.PostgreSQL {
		return read(`WITH found AS MATERIALIZED (SELECT id `+here+` AND `+matches+`)`, `FROM found`)
	}
	words := partsOf(tenant, part)
	if words == "" {
		return read("", here+` AND `+matches)
	}
	var found int64
	err = db.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 `+indexed+` LIMIT $4) AS found`, tenant, after, pattern, few, words).Scan(&found)
	if err != nil {
		return nil, fmt.Errorf("probe organization search: %w", err)
	}
	if found == few {
		return read("", here+` AND `+matches)
	}
	return read("", indexed, words)
}

// indexed are the organizations that SQLite's index of parts names and that match.
const indexed = `FROM organization_search_words CROSS JOIN organization_search s CROSS JOIN organizations o
	WHERE o.tenant_id = $1 AND organization_search_words MATCH $5 AND s.entry = organization_search_words.rowid AND s.tenant_id = $1 AND o.id = s.organization_id AND o.id > $2 AND o.search_key LIKE $3 ESCAPE '\'`

// partsOf asks SQLite's index for what begins with the mark of a tenant, see migration
// 0105, and has the parts of three characters of a text; empty if the text is shorter.
func partsOf(tenant, text string) string {
	runes := []rune(text)
	if len(runes) < 3 {
		return ""
	}
	n := len(tenant)
	all := []string{"\ue000" + tenant[n-2:], "\ue001" + tenant[n-4:n-2]}
	for i := range len(runes) - 2 {
		all = append(all, string(runes[i:i+3]))
	}
	for i, part := range all {
		all[i] = `"` + strings.ReplaceAll(part, `"`, `""`) + `"`
	}
	return strings.Join(all, " AND ")
}
