package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
)

const (
	bulkURN         = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
	bulkResponseURN = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
	maxBulk         = 1000
	bulkPrefix      = "bulkId:"
)

var (
	errCircle = problem.New(problem.Conflict, "bulk_circular", "Operations of the bulk wait for each other.")
	errBulkID = errValue.Saying("A bulkId is named that no operation has, or whose operation has failed.")
)

// A bulk is a message of several changes (RFC 7644, section 3.7).
type bulk struct {
	Schemas      []string `json:"schemas"`
	FailOnErrors int      `json:"failOnErrors"`
	Operations   []bulkOp `json:"Operations"`
}

type bulkOp struct {
	Method  string          `json:"method"`
	BulkID  string          `json:"bulkId"`
	Version string          `json:"version"`
	Path    string          `json:"path"`
	Data    json.RawMessage `json:"data"`
}

// A bulkResult is what became of one change.
type bulkResult struct {
	Location string   `json:"location,omitempty"`
	Method   string   `json:"method"`
	BulkID   string   `json:"bulkId,omitempty"`
	Version  string   `json:"version,omitempty"`
	Status   string   `json:"status"`
	Response *Failure `json:"response,omitempty"`
}

// A bulkRun is a bulk under way. Each change is a transaction of its own: those before
// one that fails stay.
type bulkRun struct {
	s       *Service
	rq      *request
	ops     []bulkOp
	byID    map[string]int // operations by bulkId
	made    map[string]string
	results []*bulkResult
	waiting []bool // for one they refer to
	failed  int
	limit   int
}

func (s *Service) postBulk(ctx context.Context, rq *request) (answer, error) {
	raw, err := s.body(rq, maxMessage)
	if err != nil {
		return answer{}, err
	}
	var in bulk
	if err := web.Decode(raw, &in); err != nil {
		return answer{}, err
	}
	switch {
	case !hasSchema(in.Schemas, bulkURN):
		return answer{}, errSyntax.Saying("The message of a bulk has the schema %s.", bulkURN)
	case len(in.Operations) == 0:
		return answer{}, errSyntax.Saying("A bulk has Operations.")
	case len(in.Operations) > maxBulk:
		return answer{}, errLarge.Saying("A bulk has at most %d Operations.", maxBulk)
	}
	rq.form = strconv.Itoa(len(in.Operations)) + " operations"
	run := &bulkRun{s: s, rq: rq, ops: in.Operations, byID: map[string]int{}, made: map[string]string{}, limit: in.FailOnErrors,
		results: make([]*bulkResult, len(in.Operations)), waiting: make([]bool, len(in.Operations))}
	if err := run.index(); err != nil {
		return answer{}, err
	}
	for i := range run.ops {
		if run.isOver() {
			break
		}
		run.do(ctx, i)
	}
	done := slices.DeleteFunc(run.results, func(r *bulkResult) bool { return r == nil })
	return answer{status: http.StatusOK, body: map[string]any{"schemas": []string{bulkResponseURN}, "Operations": done}}, nil
}

func (b *bulkRun) isOver() bool { return b.limit > 0 && b.failed >= b.limit }

// index finds operations by their bulkIds.
func (b *bulkRun) index() error {
	for i, op := range b.ops {
		op.Method = strings.ToUpper(op.Method)
		b.ops[i].Method = op.Method
		if op.BulkID == "" {
			if op.Method == http.MethodPost {
				return errSyntax.Saying("POST in a bulk needs a bulkId.")
			}
			continue
		}
		if _, twice := b.byID[op.BulkID]; twice {
			return errSyntax.Saying("A bulkId is there twice.")
		}
		b.byID[op.BulkID] = i
	}
	return nil
}

// do makes a change, after those that it refers to.
func (b *bulkRun) do(ctx context.Context, i int) {
	if b.results[i] != nil {
		return
	}
	op := b.ops[i]
	b.waiting[i] = true
	result := &bulkResult{Method: op.Method, BulkID: op.BulkID}
	status, err := 0, error(nil)
	if err = b.before(ctx, i); err == nil && !b.isOver() {
		status, err = b.run(ctx, op, result)
	}
	b.waiting[i] = false
	if b.isOver() && status == 0 {
		return // stopped by one that it waited for
	}
	if err != nil {
		p, ok := problem.From(plain(err))
		if !ok {
			b.s.Log.ErrorContext(ctx, "an operation of a bulk failed", "err", err)
			p = web.ErrInternal
		}
		var f Failure
		status, f = failureOf(p)
		result.Response = &f
		b.failed++
	}
	result.Status = strconv.Itoa(status)
	b.results[i] = result
}

// before makes the changes that one refers to.
func (b *bulkRun) before(ctx context.Context, i int) error {
	for _, id := range b.references(b.ops[i]) {
		j, ok := b.byID[id]
		switch {
		case !ok:
			return errBulkID
		case b.waiting[j]:
			return errCircle
		}
		if b.do(ctx, j); b.made[id] == "" {
			return errBulkID
		}
	}
	return nil
}

// references are the bulkIds that an operation names.
func (b *bulkRun) references(op bulkOp) (ids []string) {
	if _, id, found := strings.Cut(op.Path, bulkPrefix); found {
		ids = append(ids, id)
	}
	rest := op.Data
	for {
		at := bytes.Index(rest, []byte(`"`+bulkPrefix))
		if at < 0 {
			return ids
		}
		rest = rest[at+1+len(bulkPrefix):]
		end := bytes.IndexByte(rest, '"')
		if end < 0 {
			return ids
		}
		if id := string(rest[:end]); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		if len(ids) > maxBulk {
			return ids
		}
	}
}

// resolve puts ids in the places of bulkIds, and nowhere else than where a whole text
// is one.
func (b *bulkRun) resolve(op bulkOp) bulkOp {
	if start, id, found := strings.Cut(op.Path, bulkPrefix); found {
		op.Path = start + b.made[id]
	}
	for _, id := range b.references(op) {
		quoted := encode(bulkPrefix + id)
		op.Data = bytes.ReplaceAll(op.Data, quoted, encode(b.made[id]))
	}
	return op
}

func (b *bulkRun) run(ctx context.Context, op bulkOp, result *bulkResult) (status int, err error) {
	op = b.resolve(op)
	endpoint, id, _ := strings.Cut(strings.TrimPrefix(op.Path, "/"), "/")
	if op.Method == http.MethodPost != (id == "") {
		return 0, errPath.Saying("POST goes to a kind of resource, everything else to one resource.")
	}
	if op.Method != http.MethodDelete && len(op.Data) == 0 {
		return 0, errSyntax.Saying("The operation has no data.")
	}
	var version int64
	switch endpoint {
	case users.Endpoint:
		status, id, version, err = b.user(ctx, op, id)
	case groups.Endpoint:
		status, id, version, err = b.group(ctx, op, id)
	default:
		return 0, errPath.Saying("The path is one of /Users and /Groups.")
	}
	if err != nil {
		return 0, err
	}
	if op.Method == http.MethodPost {
		b.made[op.BulkID] = id
	}
	if result.Location = b.rq.base + "/" + endpoint + "/" + id; version > 0 {
		result.Version = etag(version)
	}
	return status, nil
}

func (b *bulkRun) user(ctx context.Context, op bulkOp, id string) (int, string, int64, error) {
	s, rq := b.s, *b.rq
	var p person
	var err error
	switch op.Method {
	case http.MethodPost:
		var d doc
		if d, _, err = rq.readUser(op.Data); err == nil {
			p, err = s.createUser(ctx, rq.by, rq.c, d)
		}
		return http.StatusCreated, p.ID, p.version, err
	case http.MethodPut:
		p, err = s.replaceUser(ctx, &rq, id, op.Version, op.Data)
	case http.MethodPatch:
		p, err = s.editUser(ctx, &rq, id, op.Version, op.Data)
	case http.MethodDelete:
		return http.StatusNoContent, id, 0, s.deleteUser(ctx, rq.by, rq.c, id, op.Version)
	default:
		err = errSyntax.Saying("The method of an operation is POST, PUT, PATCH or DELETE.")
	}
	return http.StatusOK, id, p.version, err
}

func (b *bulkRun) group(ctx context.Context, op bulkOp, id string) (int, string, int64, error) {
	s, rq := b.s, *b.rq
	if err := rq.mayGroups(); err != nil {
		return 0, "", 0, err
	}
	var g group
	var err error
	switch op.Method {
	case http.MethodPost:
		g, err = s.makeGroup(ctx, &rq, op.Data)
		return http.StatusCreated, g.ID, g.version, err
	case http.MethodPut:
		g, err = s.replaceGroup(ctx, &rq, id, op.Version, op.Data)
	case http.MethodPatch:
		g, err = s.editGroup(ctx, &rq, id, op.Version, op.Data)
	case http.MethodDelete:
		return http.StatusNoContent, id, 0, s.removeGroup(ctx, rq.by, rq.c, id, op.Version)
	default:
		err = errSyntax.Saying("The method of an operation is POST, PUT, PATCH or DELETE.")
	}
	return http.StatusOK, id, g.version, err
}
