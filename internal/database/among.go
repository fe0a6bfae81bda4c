package database

import "encoding/json"

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
