package audit

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/cardea-id/cardea/internal/database"
)

// A row is one event as it is kept. An event not sealed yet has no seq and hash.
type row struct {
	tenant, id, actor, action, target, targetID, result, reason, method, ip, userAgent, requestID, detail string

	at   int64 // Unix milliseconds
	seq  int64
	hash []byte
}

// columns are those of both tables, in the order of texts, then at.
const columns = "tenant_id, id, actor, action, target, target_id, result, reason, method, ip, user_agent, request_id, detail, at"

const insertUnsealed = "INSERT INTO audit_unsealed (" + columns + ") VALUES"

// texts are the text columns. Reading, writing and hashing all go through this
// one list, so that a column can not be kept without being proved.
func (e *row) texts() [13]*string {
	return [...]*string{&e.tenant, &e.id, &e.actor, &e.action, &e.target, &e.targetID, &e.result, &e.reason, &e.method,
		&e.ip, &e.userAgent, &e.requestID, &e.detail}
}

// scan reads columns, and after them more.
func (e *row) scan(from database.Scanner, more ...any) error {
	into := make([]any, 0, 20)
	for _, text := range e.texts() {
		into = append(into, text)
	}
	return from.Scan(append(append(into, &e.at), more...)...)
}

// sealedColumns are those of audit_events, in the order of sealedValues.
var sealedColumns = []string{"tenant_id", "id", "actor", "action", "target", "target_id", "result", "reason", "method",
	"ip", "user_agent", "request_id", "detail", "at", "seq", "hash"}

func (e *row) sealedValues() []any {
	values := make([]any, 0, len(sealedColumns))
	for _, text := range e.texts() {
		values = append(values, *text)
	}
	return append(values, e.at, e.seq, e.hash)
}

// follow is the hash of the row when it stands behind a row with hash prev. Every
// part goes in behind its length, so that nothing can move from one column into
// the next and leave the hash as it was.
func (e *row) follow(prev []byte) []byte {
	text := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
	}
	b := text(make([]byte, 0, 1024), "cardea audit 1") // the form of what is hashed
	b = text(b, string(prev))
	b = binary.BigEndian.AppendUint64(b, uint64(e.seq))
	b = binary.BigEndian.AppendUint64(b, uint64(e.at))
	for _, s := range e.texts() {
		b = text(b, *s)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}
