package database

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Among returns a condition that a text column is one of values, and the
// argument for it: "id " + cond. The placeholder, such as "$2", stands for all
// of them, so that the statement is the same for any number of values.
func (db *DB) Among(placeholder string, values []string) (cond string, arg any) {
	return among(db.Engine(), placeholder, values)
}

// Among is DB.Among.
func (tx *Tx) Among(placeholder string, values []string) (cond string, arg any) {
	return among(tx.Engine(), placeholder, values)
}

func among(engine, placeholder string, values []string) (string, any) {
	if engine == PostgreSQL {
		return "= ANY(" + placeholder + ")", values
	}
	list, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings always encode
	}
	return "IN (SELECT value FROM json_each(" + placeholder + "))", string(list)
}

// AmongMany is Among for hundreds of values, whose column comes first in the condition:
// "m.user_id" and 4 say that m.user_id is one of values, which take the arguments $4, $5
// and $6. PostgreSQL that has not counted the rows yet, as after a first synchronisation,
// looks through all that the rest of the statement leaves and holds every row against
// every value. So it is told the range that the values are in, which leads it to the part
// of an index, and holds each row against a hash table; callers that work in portions
// sort the values first, so that no two portions look at the same rows.
func (db *DB) AmongMany(column string, first int, values []string) (cond string, args []any) {
	return amongMany(db.Engine(), column, first, values)
}

// AmongMany is DB.AmongMany.
func (tx *Tx) AmongMany(column string, first int, values []string) (cond string, args []any) {
	return amongMany(tx.Engine(), column, first, values)
}

func amongMany(engine, column string, first int, values []string) (cond string, args []any) {
	low, high := "", ""
	if len(values) > 0 {
		low, high = slices.Min(values), slices.Max(values)
	}
	isIn, list := among(engine, fmt.Sprintf("$%d", first), values)
	if engine == PostgreSQL {
		// IS TRUE keeps it from becoming a join, whose order would be a guess as well.
		isIn = fmt.Sprintf("IN (SELECT unnest(CAST($%d AS TEXT[]))) IS TRUE", first)
	}
	return fmt.Sprintf("%s BETWEEN $%d AND $%d AND (%s %s)", column, first+1, first+2, column, isIn), []any{list, low, high}
}
