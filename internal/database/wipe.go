package database

import (
	"context"
	"fmt"
)

// DeleteTenant removes every row that carries the tenant's id, and its own. It
// asks the schema which tables those are, so that no package's rows are left
// behind by a list that was not kept up.
func (tx *Tx) DeleteTenant(ctx context.Context, id string) error {
	tables := `SELECT CAST(table_name AS TEXT) FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'tenant_id'`
	if tx.Engine() == SQLite {
		tables = `SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'tenant_id'`
	}
	rows, err := tx.Query(ctx, tables)
	names, err := Collect(rows, err, "list tables", func(row Scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := tx.Exec(ctx, "DELETE FROM "+name+" WHERE tenant_id = $1", id); err != nil {
			return fmt.Errorf("delete tenant from %s: %w", name, err)
		}
	}
	if _, err := tx.Exec(ctx, "DELETE FROM tenants WHERE id = $1", id); err != nil {
		return fmt.Errorf("delete tenant: %w", err)
	}
	return nil
}
