package role

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// listRoles reads the roles that are not deleted. The condition's first parameter is
// $2.
func listRoles(ctx context.Context, db database.Reader, tenant, condition string, args ...any) ([]Role, error) {
	rows, err := db.Query(ctx, `
		SELECT id, name, slug, description, permission_ids, is_admin, built_in, is_active, is_deleted, created_at, modified_at FROM roles
		WHERE tenant_id = $1 AND NOT is_deleted `+condition+` ORDER BY id LIMIT 1000`, append([]any{tenant}, args...)...)
	return database.Collect(rows, err, "list roles", func(row database.Scanner) (r Role, err error) {
		var permissions *string
		var created, modified int64
		err = row.Scan(&r.ID, &r.Name, &r.Slug, &r.Description, &permissions, &r.IsAdmin, &r.BuiltIn, &r.IsActive, &r.IsDeleted, &created, &modified)
		r.CreatedAt, r.ModifiedAt = time.UnixMilli(created).UTC(), time.UnixMilli(modified).UTC()
		if err == nil && permissions != nil {
			err = json.Unmarshal([]byte(*permissions), &r.PermissionIDs)
		}
		return r, err
	})
}

// listPermissions reads the permissions that are not deleted. The condition's first
// parameter is $2.
func listPermissions(ctx context.Context, db database.Reader, tenant, condition string, args ...any) ([]Permission, error) {
	rows, err := db.Query(ctx, `
		SELECT id, name, slug, description, built_in, is_active, is_deleted, created_at, modified_at FROM permissions
		WHERE tenant_id = $1 AND NOT is_deleted `+condition+` ORDER BY id LIMIT 1000`, append([]any{tenant}, args...)...)
	return database.Collect(rows, err, "list permissions", func(row database.Scanner) (p Permission, err error) {
		var created, modified int64
		err = row.Scan(&p.ID, &p.Name, &p.Slug, &p.Description, &p.BuiltIn, &p.IsActive, &p.IsDeleted, &created, &modified)
		p.CreatedAt, p.ModifiedAt = time.UnixMilli(created).UTC(), time.UnixMilli(modified).UTC()
		return p, err
	})
}

func insertRole(ctx context.Context, tx *database.Tx, tenant string, r Role) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO roles (tenant_id, id, name, slug, description, permission_ids, is_admin, built_in, is_active, is_deleted, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) ON CONFLICT (tenant_id, slug) DO NOTHING`,
		tenant, r.ID, r.Name, r.Slug, r.Description, listOrNull(r.PermissionIDs), r.IsAdmin, r.BuiltIn, r.IsActive, r.IsDeleted, tx.Millis())
	if err != nil {
		return fmt.Errorf("insert role: %w", err)
	}
	if n == 0 {
		return ErrExists
	}
	return nil
}

func insertPermission(ctx context.Context, tx *database.Tx, tenant string, p Permission) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO permissions (tenant_id, id, name, slug, description, built_in, is_active, is_deleted, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) ON CONFLICT (tenant_id, slug) DO NOTHING`,
		tenant, p.ID, p.Name, p.Slug, p.Description, p.BuiltIn, p.IsActive, p.IsDeleted, tx.Millis())
	if err != nil {
		return fmt.Errorf("insert permission: %w", err)
	}
	if n == 0 {
		return ErrPermissionExists
	}
	return nil
}

func listOrNull(list []string) *string {
	if len(list) == 0 {
		return nil
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings always encode
	}
	return new(string(b))
}

// count counts what is not deleted in one of the two tables.
func count(ctx context.Context, tx *database.Tx, tenant, table string) (n int64, err error) {
	err = tx.QueryRow(ctx, "SELECT count(*) FROM "+table+" WHERE tenant_id = $1 AND NOT is_deleted", tenant).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", table, err)
	}
	return n, nil
}

// holdPermissions returns those of some permissions that there are, and keeps them
// from being deleted until the transaction ends.
func holdPermissions(ctx context.Context, tx *database.Tx, tenant string, ids []string) ([]Permission, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cond, arg := tx.Among("$2", ids)
	if _, err := tx.Exec(ctx, "UPDATE permissions SET modified_at = modified_at WHERE tenant_id = $1 AND id "+cond, tenant, arg); err != nil {
		return nil, fmt.Errorf("hold permissions: %w", err)
	}
	return listPermissions(ctx, tx, tenant, "AND id "+cond, arg)
}

// holdRole keeps a role as it is until the transaction ends.
func holdRole(ctx context.Context, tx *database.Tx, tenant, id string) error {
	n, err := tx.Exec(ctx, "UPDATE roles SET modified_at = modified_at WHERE tenant_id = $1 AND id = $2 AND NOT is_deleted", tenant, id)
	if err != nil {
		return fmt.Errorf("hold role: %w", err)
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

func updateRole(ctx context.Context, tx *database.Tx, tenant string, r Role) error {
	_, err := tx.Exec(ctx, `
		UPDATE roles SET name = $3, slug = $4, description = $5, permission_ids = $6, modified_at = $7
		WHERE tenant_id = $1 AND id = $2`, tenant, r.ID, r.Name, r.Slug, r.Description, listOrNull(r.PermissionIDs), tx.Millis())
	if database.IsDuplicate(err) {
		return ErrExists
	}
	if err != nil {
		return fmt.Errorf("update role: %w", err)
	}
	return nil
}

func updatePermission(ctx context.Context, tx *database.Tx, tenant string, p Permission) error {
	_, err := tx.Exec(ctx, `
		UPDATE permissions SET name = $3, slug = $4, description = $5, modified_at = $6
		WHERE tenant_id = $1 AND id = $2`, tenant, p.ID, p.Name, p.Slug, p.Description, tx.Millis())
	if database.IsDuplicate(err) {
		return ErrPermissionExists
	}
	if err != nil {
		return fmt.Errorf("update permission: %w", err)
	}
	return nil
}

// markDeleted deletes a row of one of the two tables but for the row itself, and frees
// its slug: no slug has a DEL in it.
func markDeleted(ctx context.Context, tx *database.Tx, tenant, table, id, slug string) error {
	_, err := tx.Exec(ctx, "UPDATE "+table+" SET is_deleted = TRUE, slug = $3, modified_at = $4 WHERE tenant_id = $1 AND id = $2",
		tenant, id, slug+"\x7f"+id, tx.Millis())
	if err != nil {
		return fmt.Errorf("delete from %s: %w", table, err)
	}
	return nil
}

// dropPermission takes a permission out of the lists of all roles.
func dropPermission(ctx context.Context, tx *database.Tx, tenant, id string) error {
	quoted := `"` + id + `"`
	_, err := tx.Exec(ctx, `
		UPDATE roles SET permission_ids = NULLIF(REPLACE(REPLACE(REPLACE(permission_ids, $2, ''), $3, ''), $4, ''), '[]'), modified_at = $5
		WHERE tenant_id = $1 AND permission_ids LIKE $6`, tenant, ","+quoted, quoted+",", quoted, tx.Millis(), "%"+quoted+"%")
	if err != nil {
		return fmt.Errorf("take permission from roles: %w", err)
	}
	return nil
}
