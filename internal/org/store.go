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
// PostgreSQL's index of parts, which shows the first only when it has found all.
const window = 1000

// searchOrganizations finds the ids in an index first, which has all that it needs: in
// list order, which ends when the page is full, or by parts, where matches are few.
func searchOrganizations(ctx context.Context, db *database.DB, tenant, after, part string, limit int) ([]Organization, error) {
	const here, matches = `FROM organizations WHERE tenant_id = $1 AND id > $2`, `search_key LIKE $3 ESCAPE '\'`
	pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(fold(part)) + "%"
	read := func(with, hits string) ([]Organization, error) {
		rows, err := db.Query(ctx, with+`
			SELECT `+columnsOfO+` FROM (SELECT id AS hit `+hits+` ORDER BY id LIMIT CAST($4 AS BIGINT)) AS hits
			CROSS JOIN organizations o WHERE o.tenant_id = $1 AND o.id = hit ORDER BY o.id`, tenant, after, pattern, int64(limit))
		return database.Collect(rows, err, "search organizations", scanPlain)
	}
	if db.Engine() == database.SQLite {
		return read("", here+` AND `+matches)
	}
	list, err := read("", fmt.Sprintf(`FROM (SELECT id, search_key %s ORDER BY id LIMIT %d) AS walked WHERE %s`, here, window, matches))
	if err != nil || len(list) == limit {
		return list, err
	}
	return read(`WITH found AS MATERIALIZED (SELECT id `+here+` AND `+matches+`)`, `FROM found`)
}
