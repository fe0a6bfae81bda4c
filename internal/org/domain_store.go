package org

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

const domainColumns = `organization_id, domain, token, is_verified, verified_at, checked_at, failures, failing_since, created_at`

func scanDomain(row database.Scanner, more ...any) (d Domain, err error) {
	var verified, failing *int64
	var checked, created int64
	err = row.Scan(append(more, &d.OrganizationID, &d.Domain, &d.Token, &d.IsVerified, &verified, &checked, &d.Failures, &failing, &created)...)
	d.VerifiedAt, d.FailingSince, d.CheckedAt, d.CreatedAt = atOrZero(verified), atOrZero(failing), at(checked), at(created)
	return d, err
}

func millisOrNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

func findDomain(ctx context.Context, db database.Reader, tenant, organization, name string) (Domain, error) {
	d, err := scanDomain(db.QueryRow(ctx, `
		SELECT `+domainColumns+` FROM organization_domains WHERE tenant_id = $1 AND organization_id = $2 AND domain = $3`, tenant, organization, name))
	return d, orMissing(err, ErrDomainNotFound, "find domain")
}

func listDomains(ctx context.Context, db database.Reader, tenant, organization string) ([]Domain, error) {
	rows, err := db.Query(ctx, `
		SELECT `+domainColumns+` FROM organization_domains WHERE tenant_id = $1 AND organization_id = $2 ORDER BY domain LIMIT $3`, tenant, organization, maxDomains)
	return database.Collect(rows, err, "list domains", func(row database.Scanner) (Domain, error) { return scanDomain(row) })
}

func countDomains(ctx context.Context, tx *database.Tx, tenant, organization string) (n int, err error) {
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM organization_domains WHERE tenant_id = $1 AND organization_id = $2`, tenant, organization).Scan(&n); err != nil {
		return 0, fmt.Errorf("count domains: %w", err)
	}
	return n, nil
}

func insertDomain(ctx context.Context, tx *database.Tx, tenant string, d Domain) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO organization_domains (tenant_id, organization_id, domain, token, is_verified, checked_at, failures, created_at)
		VALUES ($1, $2, $3, $4, FALSE, $5, 0, $5)`, tenant, d.OrganizationID, d.Domain, d.Token, d.CreatedAt.UnixMilli())
	if err != nil {
		return fmt.Errorf("insert domain: %w", err)
	}
	return nil
}

// updateDomain returns ErrClaimed if another organization has proved the domain: the
// index lets one.
func updateDomain(ctx context.Context, tx *database.Tx, tenant string, d Domain) error {
	n, err := tx.Exec(ctx, `
		UPDATE organization_domains SET is_verified = $4, verified_at = $5, checked_at = $6, failures = $7, failing_since = $8
		WHERE tenant_id = $1 AND organization_id = $2 AND domain = $3 AND token = $9`,
		tenant, d.OrganizationID, d.Domain, d.IsVerified, millisOrNull(d.VerifiedAt), d.CheckedAt.UnixMilli(), d.Failures, millisOrNull(d.FailingSince), d.Token)
	if database.IsDuplicate(err) {
		return ErrClaimed
	}
	return orNone(n, err, ErrDomainNotFound, "update domain")
}

func deleteDomain(ctx context.Context, tx *database.Tx, tenant, organization, name string) error {
	n, err := tx.Exec(ctx, `DELETE FROM organization_domains WHERE tenant_id = $1 AND organization_id = $2 AND domain = $3`, tenant, organization, name)
	return orNone(n, err, ErrDomainNotFound, "delete domain")
}

// refreshDomain writes the first proved domain into the organization's own row.
func refreshDomain(ctx context.Context, tx *database.Tx, tenant, organization string) error {
	_, err := tx.Exec(ctx, `
		UPDATE organizations SET domain = COALESCE((
			SELECT d.domain FROM organization_domains d WHERE d.tenant_id = $1 AND d.organization_id = $2 AND d.is_verified ORDER BY d.verified_at, d.domain LIMIT 1), '')
		WHERE tenant_id = $1 AND id = $2`, tenant, organization)
	if err != nil {
		return fmt.Errorf("refresh the organization's domain: %w", err)
	}
	return nil
}

// findOwner returns the id of the organization that has proved a domain, or nothing.
func findOwner(ctx context.Context, db database.Reader, tenant, name string) (id string, err error) {
	err = db.QueryRow(ctx, `SELECT organization_id FROM organization_domains WHERE tenant_id = $1 AND domain = $2 AND is_verified`, tenant, name).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the owner of a domain: %w", err)
	}
	return id, nil
}

func organizationOfDomain(ctx context.Context, db database.Reader, tenant, name string) (Organization, error) {
	o, err := scanPlain(db.QueryRow(ctx, `
		SELECT `+columnsOfO+` FROM organization_domains d JOIN organizations o ON o.tenant_id = d.tenant_id AND o.id = d.organization_id
		WHERE d.tenant_id = $1 AND d.domain = $2 AND d.is_verified`, tenant, name))
	return o, orMissing(err, ErrNotFound, "find the organization of a domain")
}

// A dueDomain is one to look at again, whoever's it is.
type dueDomain struct {
	tenant string
	Domain
}

// dueDomains are those of all tenants, each of which names its own.
func dueDomains(ctx context.Context, db database.Reader, before time.Time, limit int) ([]dueDomain, error) {
	rows, err := db.Query(ctx, `
		SELECT tenant_id, `+domainColumns+` FROM organization_domains WHERE is_verified AND checked_at <= $1 ORDER BY checked_at LIMIT $2`, before.UnixMilli(), limit)
	return database.Collect(rows, err, "look for domains to check", func(row database.Scanner) (d dueDomain, err error) {
		d.Domain, err = scanDomain(row, &d.tenant)
		return d, err
	})
}
