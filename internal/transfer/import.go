package transfer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	windowRecords = 300_000 // 12 MB to sort
	chunkRecords  = 1000    // users in a transaction: other writers wait some 50 ms for it
	chunkBytes    = 4 << 20 // of the file, where records are large
	maxRetries    = 5
)

// Import reads a file of users into the actor's tenant and returns when it is done
// or ctx ends. The same file with the same options goes on where an earlier Import
// was stopped, by whatever. Refused records are no error: see Progress.Refused and
// Report. The actor needs users:write and users:read, and roles:write for
// Options.Roles.
func (s *Service) Import(ctx context.Context, by access.Actor, o Options) (Progress, error) {
	file, err := os.Open(o.File)
	if err != nil {
		return Progress{}, fmt.Errorf("open the file: %w", err)
	}
	defer file.Close()
	if err := o.check(by); err != nil {
		return Progress{}, err
	}
	var m kept
	r, err := newReaderOf(ctx, file, &o, func(ctx context.Context) error { return s.stillRuns(ctx, m) })
	if err != nil {
		return Progress{}, err
	}
	m = kept{options: o, Source: filepath.Base(o.File), tenant: by.Tenant}
	m.Size, m.Format, m.State, m.window = r.length, o.Format, Running, position{line: 1}
	if !o.DryRun {
		mark, err := fingerprint(ctx, file, "command", o)
		if err != nil {
			return Progress{}, err
		}
		m.options.Firebase.SignerKey = "" // the next command brings it again
		err = s.DB.Write(ctx, func(tx *database.Tx) error {
			m, err = startImport(ctx, tx, by, m, mark)
			return err
		})
		if err != nil {
			return Progress{}, err
		}
	}
	return s.run(ctx, by, r, m)
}

// check judges options by themselves.
func (o *Options) check(by access.Actor) error {
	for _, p := range []access.Permission{access.UsersRead, access.UsersWrite} {
		if err := by.Require(p); err != nil {
			return err
		}
	}
	if o.Roles {
		if err := by.Require(access.RolesWrite); err != nil {
			return err
		}
	}
	o.OnConflict = cmp.Or(o.OnConflict, Skip)
	if o.OnConflict != Skip && o.OnConflict != Update {
		return ErrOptions.Saying("on_conflict is skip or update.").In("on_conflict")
	}
	return nil
}

func newReaderOf(ctx context.Context, file *os.File, o *Options, still func(context.Context) error) (*reader, error) {
	at, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the file: %w", err)
	}
	if !at.Mode().IsRegular() {
		return nil, ErrOptions.Saying("The file must be a regular file: an import goes back and forth in it.")
	}
	return newReader(&watched{ReaderAt: file, ctx: ctx, still: still}, at.Size(), o)
}

// stillRuns returns ErrLost for an import that has been cancelled.
func (s *Service) stillRuns(ctx context.Context, m kept) error {
	if m.ID == "" { // a dry run of the command, or not begun
		return nil
	}
	m, err := findImport(ctx, s.DB, m.tenant, m.ID)
	if err == nil && m.State != Running {
		err = ErrLost
	}
	return err
}

// order numbers the way in which records are found and sorted. An import can not
// go on under another one.
const order = 2

// fingerprint stands for all of the file and how it is read.
func fingerprint(ctx context.Context, file io.ReaderAt, from string, o Options) (string, error) {
	options, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("encode import options: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %s\n", order, from, options)
	buf := make([]byte, 256<<10)
	for at := int64(0); ctx.Err() == nil; {
		n, err := file.ReadAt(buf, at)
		h.Write(buf[:n])
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("read the file: %w", err)
		}
	}
	return "", ctx.Err()
}

// A run is an import at work.
type run struct {
	*Service
	by      access.Actor
	options Options
	reader  *reader
	roles   map[string]string // id by slug and by id
	window  []found           // room for one
	now     kept              // as of the last transaction
	seen    *seen             // of a dry run
	first   lap               // at the start of this run
	lap     lap               // a second or so ago
	rate    float64           // records a second between the two laps before
}

// A lap is how far an import was at a moment.
type lap struct {
	at      time.Time
	records int64
	bytes   int64
}

// run works on m until its end.
func (s *Service) run(ctx context.Context, by access.Actor, r *reader, m kept) (Progress, error) {
	w := &run{Service: s, by: by, options: *r.options, reader: r, now: m}
	var err error
	if w.roles, err = rolesByName(ctx, s.DB, by.Tenant); err != nil {
		return m.Progress, err
	}
	if w.options.DryRun {
		w.seen = &seen{seed: maphash.MakeSeed(), keys: map[uint64]struct{}{}}
	}
	if w.now.window.record > 0 {
		r.seek(w.now.window)
	}
	for w.now.window.offset < r.length {
		window, next, err := w.scan(ctx)
		if err != nil {
			return w.now.Progress, err
		}
		if len(window) == 0 {
			break
		}
		if err := w.drain(ctx, window, next); err != nil {
			return w.now.Progress, err
		}
	}
	return w.finish(ctx)
}

func rolesByName(ctx context.Context, db database.Reader, tenant string) (map[string]string, error) {
	all, err := role.All(ctx, db, tenant)
	roles := map[string]string{}
	for _, r := range all {
		roles[r.ID] = r.ID
	}
	for _, r := range all {
		roles[r.Slug] = r.ID
	}
	return roles, err
}

// A found record is one that scan has found: where it is, and its key.
type found struct {
	key key
	span
}

// scan finds the records of the next window, in the order in which to import them,
// and where the window after it starts.
func (w *run) scan(ctx context.Context) (window []found, next position, err error) {
	if w.window == nil { // once: growing it would take twice the memory
		w.window = make([]found, 0, min(windowRecords, w.reader.length/64+1))
	}
	window = w.window[:0]
	w.reader.plain = 0 // as for whoever goes on from here
	for len(window) < windowRecords {
		at, err := w.reader.next()
		if errors.Is(err, io.EOF) {
			w.now.Total = int64(w.reader.at.record)
			break
		}
		if err != nil {
			return nil, next, err
		}
		if len(window)%chunkRecords == 0 && ctx.Err() != nil {
			return nil, next, ctx.Err()
		}
		f := found{span: at}
		if !w.options.DryRun {
			f.key = w.reader.key()
		}
		window = append(window, f)
	}
	slices.SortFunc(window, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.key[0], b.key[0]), cmp.Compare(a.key[1], b.key[1]), cmp.Compare(a.record, b.record))
	})
	w.window = window
	return window, w.reader.at, nil
}

// drain imports what is left of a window, judging one chunk while another is
// written.
func (w *run) drain(ctx context.Context, window []found, next position) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	chunks := make(chan []row, 1)
	go func() {
		defer close(chunks)
		for left := window[min(int(w.now.done), len(window)):]; len(left) > 0; {
			n := chunkLength(left)
			rows, err := w.judge(left[:n])
			if err != nil {
				stop(err)
				return
			}
			left = left[n:]
			select {
			case chunks <- rows:
			case <-ctx.Done():
				return
			}
		}
	}()
	start := w.now
	place := func(records int64) int64 { // in the file; about, since the window is sorted
		return start.window.offset + (next.offset-start.window.offset)*(records-int64(start.window.record))/int64(len(window))
	}
	w.lap = lap{w.DB.Now(), w.now.Records, place(w.now.Records)}
	if w.first.at.IsZero() {
		w.first = w.lap
	}
	for rows := range chunks {
		if ctx.Err() != nil {
			break
		}
		to := w.now
		to.done += int64(len(rows))
		if int(to.done) == len(window) {
			to.window, to.done = next, 0
		}
		to.Records += int64(len(rows))
		to.Bytes = place(to.Records)
		if err := w.write(ctx, rows, to); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// chunkLength is how many of the records go into one transaction.
func chunkLength(records []found) int {
	bytes := 0
	for i, at := range records {
		if bytes += int(max(at.size, 0)); i == chunkRecords || bytes > chunkBytes && i > 0 {
			return i
		}
	}
	return len(records)
}

// judge reads records and brings them into the form in which they are stored.
func (w *run) judge(records []found) ([]row, error) {
	rows := make([]row, len(records))
	for i, at := range records {
		record, err := w.reader.read(at.span)
		if _, ok := problem.From(err); err != nil && !ok {
			return nil, err
		}
		rows[i] = record.row(&w.options, w.roles)
		if err != nil {
			rows[i].refused = err
		}
		rows[i].place = at.span
	}
	return rows, nil
}

// write imports rows and moves the import to where to is, in one transaction, which is
// on disk at last when the import's end is. It runs again if somebody else has taken an id or an address meanwhile; then they
// are refused.
func (w *run) write(ctx context.Context, rows []row, to kept) error {
	if w.options.DryRun {
		return w.pretend(ctx, rows, to)
	}
	for attempt := 1; ; attempt++ {
		next := to
		var refusals []Refusal
		err := w.DB.WriteBehind(ctx, func(tx *database.Tx) (err error) { // an import goes on from what is kept of it
			next = to
			if refusals, err = w.apply(ctx, tx, rows, &next); err != nil {
				return err
			}
			return w.keep(ctx, tx, &next, refusals)
		})
		if err == nil {
			w.step(next)
			return nil
		}
		again := database.IsDuplicate(err) || errors.Is(err, user.ErrExists)
		if !again || attempt == maxRetries || ctx.Err() != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
}

// apply adds the users of the rows that are good, with their passwords, changes
// those that are there if that is asked for, and returns what is refused.
func (w *run) apply(ctx context.Context, tx *database.Tx, rows []row, to *kept) ([]Refusal, error) {
	var refusals []Refusal
	good := make([]*row, 0, len(rows))
	users := make([]user.Newcomer, 0, len(rows))
	for i := range rows {
		if rows[i].refused != nil {
			refusals = append(refusals, rows[i].refusal(rows[i].refused))
			continue
		}
		good, users = append(good, &rows[i]), append(users, rows[i].user)
	}
	refused, err := w.Users.Import(ctx, tx, w.by, w.now.ID, users)
	if err != nil {
		return nil, err
	}
	passwords := make([]password.Stored, 0, len(users))
	var there []*row
	for i, r := range good {
		switch {
		case refused[i] == nil:
			to.Created++
			if p := r.password; p.Hash != "" {
				p.UserID = users[i].ID
				passwords = append(passwords, p)
			}
		case errors.Is(refused[i], user.ErrExists) && w.options.OnConflict == Update:
			there = append(there, r)
		default:
			refusals = append(refusals, r.refusal(refused[i]))
		}
	}
	if err := password.Import(ctx, tx, w.by, passwords); err != nil {
		return nil, err
	}
	more, err := w.update(ctx, tx, there, to)
	refusals = append(refusals, more...)
	to.refuse(refusals)
	return refusals, err
}

// update changes users who are there already to what their records give.
func (w *run) update(ctx context.Context, tx *database.Tx, rows []*row, to *kept) (refusals []Refusal, err error) {
	for _, r := range rows { // one by one: two records may be the same user
		clashes, err := w.Users.Clashes(ctx, tx, w.by, []user.Newcomer{r.user})
		if err != nil {
			return nil, err
		}
		if len(clashes[0]) != 1 {
			refusals = append(refusals, r.refusal(user.ErrExists.Saying("The record's identifiers belong to %d different users.", len(clashes[0]))))
			continue
		}
		id := clashes[0][0]
		r.change.Untold = true
		_, err = w.Users.Update(ctx, tx, w.by, id, r.change)
		if _, ok := problem.From(err); ok && !errors.Is(err, user.ErrExists) {
			refusals = append(refusals, r.refusal(err))
			continue
		}
		if err != nil { // ErrExists: somebody took an address since we looked
			return nil, err
		}
		if r.password.Hash != "" {
			r.password.UserID = id
			if err := password.Replace(ctx, tx, w.by, r.password); err != nil {
				return nil, err
			}
		}
		to.Updated++
	}
	return refusals, nil
}

// refuse counts refusals.
func (p *Progress) refuse(refusals []Refusal) {
	p.Refused += int64(len(refusals))
	for _, r := range refusals {
		if r.Code == user.ErrExists.Code {
			p.Present++
		}
	}
}

// keep stores the refusals, as far as there is room for them, and the import's new
// place.
func (w *run) keep(ctx context.Context, tx *database.Tx, to *kept, refusals []Refusal) error {
	room := max(0, maxRefusals-w.now.Refused)
	refusals = refusals[:min(int64(len(refusals)), room)]
	if err := insertRefusals(ctx, tx, w.now.tenant, w.now.ID, refusals); err != nil {
		return err
	}
	return moveImport(ctx, tx, &w.now, to)
}

func (r *row) refusal(why error) Refusal {
	p, ok := problem.From(why)
	if !ok {
		p = errRecord
	}
	return Refusal{Record: int64(r.place.record), Line: int64(r.place.line), Login: r.login, Code: p.Code, Message: p.Message}
}

// pretend judges rows as write would and writes nothing but, for an import that is
// kept, what it found.
func (w *run) pretend(ctx context.Context, rows []row, to kept) error {
	users := make([]user.Newcomer, len(rows))
	for i, r := range rows {
		if r.refused == nil {
			users[i] = r.user
		}
	}
	clashes, err := w.Users.Clashes(ctx, w.DB, w.by, users)
	if err != nil {
		return err
	}
	var refusals []Refusal
	for i := range rows {
		r, there := &rows[i], len(clashes[i])
		if r.refused == nil && !w.seen.first(r.user) {
			there = max(there, 1)
		}
		switch {
		case r.refused != nil:
			refusals = append(refusals, r.refusal(r.refused))
		case there == 0:
			to.Created++
		case there == 1 && w.options.OnConflict == Update:
			to.Updated++
		default:
			refusals = append(refusals, r.refusal(user.ErrExists))
		}
	}
	to.refuse(refusals)
	if w.now.ID != "" {
		err = w.DB.Write(ctx, func(tx *database.Tx) error { return w.keep(ctx, tx, &to, refusals) })
	} else {
		err = w.tell(refusals)
	}
	if err == nil {
		w.step(to)
	}
	return err
}

// seen remembers the ids and identifiers of a file by a hash, in some 20 bytes
// each, so that a dry run finds those that come twice.
type seen struct {
	seed maphash.Seed
	keys map[uint64]struct{}
}

// maxSeen bounds a dry run's memory at some 80 MB. What comes twice after that many
// is not found.
const maxSeen = 4_000_000

// first reports whether nobody before had anything of u's.
func (s *seen) first(u user.Newcomer) bool {
	fresh := true
	for _, x := range append(u.Identifiers(), u.ID) {
		if x == "" {
			continue
		}
		k := maphash.String(s.seed, x)
		if _, ok := s.keys[k]; ok {
			fresh = false
		} else if len(s.keys) < maxSeen {
			s.keys[k] = struct{}{}
		}
	}
	return fresh
}

// tell writes refusals to the report.
func (w *run) tell(refusals []Refusal) error {
	if w.options.Report == nil {
		return nil
	}
	return writeRefusals(w.options.Report, refusals)
}

func writeRefusals(to io.Writer, refusals []Refusal) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	for _, r := range refusals {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if _, err := buf.WriteTo(to); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// step takes over what has been settled and tells how far it is.
func (w *run) step(to kept) {
	now := w.DB.Now()
	if took := now.Sub(w.lap.at).Seconds(); took >= 1 || w.rate == 0 && took > 0 {
		w.rate = float64(to.Records-w.lap.records) / took
		if took >= 1 {
			w.lap = lap{now, to.Records, to.Bytes}
		}
	}
	to.Rate, to.Remaining = int64(w.rate), 0
	if done, left := to.Bytes-w.first.bytes, to.Size-to.Bytes; done > 0 && left > 0 {
		to.Remaining = time.Duration(float64(now.Sub(w.first.at)) * float64(left) / float64(done))
	}
	w.now = to
	if w.options.Progress != nil {
		w.options.Progress(to.Progress)
	}
}

// finish ends the import and writes its report.
func (w *run) finish(ctx context.Context) (Progress, error) {
	m := &w.now
	if m.ID != "" {
		err := w.DB.Write(ctx, func(tx *database.Tx) error { return finishImport(ctx, tx, w.by, m.ID, Done, "", m.Total) })
		if err != nil {
			return m.Progress, err
		}
	}
	m.State, m.Bytes, m.Remaining = Done, m.Size, 0
	if w.options.Progress != nil {
		w.options.Progress(m.Progress)
	}
	if m.ID == "" || w.options.Report == nil {
		return m.Progress, nil
	}
	return m.Progress, refusalsOf(ctx, w.DB, *m, w.tell)
}

// refusalsOf passes an import's refusals on in pages, in the order of the file, and
// in the end how many are not among them.
func refusalsOf(ctx context.Context, db *database.DB, m kept, each func([]Refusal) error) error {
	const page = 1000
	for after := int64(0); ; {
		refusals, err := listRefusals(ctx, db, m.tenant, m.ID, after, page)
		if err != nil {
			return err
		}
		if n := m.leftOut(); len(refusals) == 0 && n > 0 {
			return each([]Refusal{{Code: "more_refused", Message: fmt.Sprintf("%d more records were refused. They are counted, not listed.", n)}})
		}
		if len(refusals) == 0 {
			return nil
		}
		if err := each(refusals); err != nil {
			return err
		}
		after = refusals[len(refusals)-1].Record
	}
}
