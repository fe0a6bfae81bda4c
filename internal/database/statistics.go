package database

import (
	"context"
	"fmt"
	"strings"
)

// SQLite plans by how many rows it believes an index has for each value. Nobody tells it,
// unless ANALYZE does, and then it takes a table for one of a million rows of which a
// column has ten of a value: so the rows of a tenant, which are first in each key, are ten
// to it, and reading all of them beats an index. Counting would make plans depend on when
// it was done. So it is told once what holds for every table that grows: a tenant has many rows, and
// a tenant together with something else has few.

const (
	manyRows   = 1_000_000 // of a table
	ofTenant   = 100_000   // of one tenant
	ofAnything = 10        // of a value of any other column
)

// listIndexes lists them with the columns of each. The key of a table WITHOUT ROWID goes by
// the table's name.
const listIndexes = `
	SELECT m.name, CASE WHEN i.origin = 'pk' AND t.wr THEN m.name ELSE i.name END, i."unique", i.partial,
		(SELECT group_concat(c.name, ' ') FROM (SELECT COALESCE(name, '') AS name FROM pragma_index_info(i.name) ORDER BY seqno) AS c)
	FROM sqlite_schema AS m JOIN pragma_table_list(m.name) AS t JOIN pragma_index_list(m.name) AS i
	WHERE m.type = 'table' AND t.type = 'table' AND m.name NOT LIKE 'sqlite%'`

// An index as SQLite lists it.
type index struct {
	table, name, columns string
	unique, partial      bool
}

// stat is what ANALYZE would write of the index: the rows, and how many of them are alike
// in the first column, the first two, and so on.
func (x index) stat() string {
	rows, alike := manyRows, ofTenant
	if x.partial { // few rows are worth one
		rows, alike = manyRows/10, ofTenant/10
	}
	columns := strings.Split(x.columns, " ")
	text := fmt.Sprint(rows)
	for i, column := range columns {
		if i > 0 || column != "tenant_id" {
			alike = min(alike, ofAnything)
		}
		if i == len(columns)-1 && x.unique {
			alike = 1
		}
		text += fmt.Sprint(" ", alike)
	}
	return text + " noskipscan" // it would try every tenant
}

// settleStatistics writes what SQLite is to believe of each index.
func settleStatistics(ctx context.Context, tx *Tx) error {
	if _, err := tx.Exec(ctx, "ANALYZE schema_migrations"); err != nil { // makes the table of statistics
		return fmt.Errorf("make statistics: %w", err)
	}
	rows, err := tx.Query(ctx, listIndexes)
	indexes, err := Collect(rows, err, "list indexes", func(row Scanner) (x index, err error) {
		err = row.Scan(&x.table, &x.name, &x.unique, &x.partial, &x.columns)
		return x, err
	})
	if err != nil {
		return err
	}
	tx.Later("DELETE FROM sqlite_stat1")
	for _, x := range indexes {
		tx.Later("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ($1, $2, $3)", x.table, x.name, x.stat())
	}
	if _, err := tx.Exec(ctx, "ANALYZE sqlite_schema"); err != nil { // reads them
		return fmt.Errorf("read statistics: %w", err)
	}
	return nil
}
