package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
)

// Limits of the calls.
const (
	maxUpload   = 1 << 30     // bytes of a file
	idleTimeout = time.Minute // without a byte of an answer
	maxRunning  = 5           // imports of a tenant, which wait in the spool
	maxShown    = 20          // refusals in the answer about an import; the report has all
)

var (
	errNoSpool        = problem.New(problem.Unsupported, "imports_not_configured", "This server has no folder for files to import. Use the command instead.")
	errUploadLarge    = problem.New(problem.TooLarge, "request_too_large", "The file is larger than 1 GiB. Split it, or use the command.")
	errTooManyImports = problem.New(problem.TooMany, "too_many_imports", "Several imports wait already. Try again when one of them is done.").After(time.Minute)
	errNoRoom         = problem.New(problem.Unavailable, "no_room_for_import", "The server has no room for the file. Try again later, or use the command.").After(10 * time.Minute)
	errUpload         = problem.New(problem.Invalid, "invalid_request_body", "The file did not arrive as a whole.")
)

// Mount adds the calls to r.
func (s *Service) Mount(r *web.Router) {
	const base = "/api/v1/users/imports"
	r.Add(web.Route{Method: "POST", Paths: []string{base}, Needs: access.UsersWrite,
		Endpoint: web.Endpoint{Handler: web.Handler(s.postImport), Status: http.StatusAccepted, Out: reflect.TypeFor[importAnswer](), Takes: "application/json, application/x-ndjson, text/csv"},
		Doc: web.Doc{Tag: "Users", Summary: "Import users from a file",
			Text: "The body is the file, up to 1 GiB. The import runs in the background: ask for its progress. " +
				"The same file sent again with the same options while its import runs is that import.",
			Query: []web.Param{
				{Name: "format", Text: "One of " + formatNames() + "; found out from the file if absent"},
				{Name: "map", Text: "For CSV, field=heading; may come several times"},
				{Name: "on_conflict", Text: "skip (the default) refuses a user who is there already, update changes them"},
				{Name: "dry_run", Text: "true judges every record and writes nobody"},
				{Name: "roles", Text: "true imports roles too; takes roles:write"},
				{Name: "no_passwords", Text: "true leaves password hashes out"},
				{Name: "firebase_salt_separator", Text: "Base64, with format=firebase; the signer key comes in the header X-Firebase-Signer-Key"},
				{Name: "firebase_rounds", Text: "With format=firebase"},
				{Name: "firebase_mem_cost", Text: "With format=firebase"},
				{Name: "filename", Text: "A name for the file, for people"},
			},
			Headers: []web.Param{{Name: "Location", Text: "Where to ask for its progress"}},
			Errors:  []*problem.Problem{errNoSpool, errTooManyImports, errNoRoom, errUploadLarge, errUpload, errFile, ErrOptions, web.ErrQuery},
			Request: exampleFile, Example: exampleStarted()}})
	r.Add(web.Route{Method: "GET", Paths: []string{base}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.getImports),
		Doc: web.Doc{Tag: "Users", Summary: "List imports", Text: "Newest first, at most 100. A finished import is kept for 30 days.", Example: []importAnswer{exampleListed()}}})
	r.Add(web.Route{Method: "GET", Paths: []string{base + "/{importid}/progress"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.getImport),
		Doc: web.Doc{Tag: "Users", Summary: "Get an import's progress", Text: "With the first of its refused records.", Errors: []*problem.Problem{ErrNotFound}, Example: exampleDone()}})
	r.Add(web.Route{Method: "GET", Paths: []string{base + "/{importid}/report"}, Needs: access.UsersWrite,
		Endpoint: web.Endpoint{Handler: web.Handler(s.getReport), Status: http.StatusOK, Media: "application/x-ndjson"},
		Doc: web.Doc{Tag: "Users", Summary: "Get an import's refused records", Text: "A line of JSON for each, in the order of the file. Of more than 10,000 the last line says how many are left out.",
			Errors: []*problem.Problem{ErrNotFound}}})
	r.Add(web.Route{Method: "POST", Paths: []string{base + "/{importid}/cancel"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.postCancel),
		Doc: web.Doc{Tag: "Users", Summary: "Stop an import", Text: "Users it has brought in stay. One that is finished is answered as it is.", Errors: []*problem.Problem{ErrNotFound}, Example: exampleCancelled()}})
	r.Add(web.Route{Method: "GET", Paths: []string{"/api/v1/users/export"}, Needs: access.UsersRead,
		Endpoint: web.Endpoint{Handler: web.Handler(s.getExport), Status: http.StatusOK, Media: "application/x-ndjson, text/csv"},
		Doc: web.Doc{Tag: "Users", Summary: "Export all users", Text: "In the order of their ids, the same bytes for the same users.",
			Query: []web.Param{
				{Name: "format", Text: "jsonl (the default), which an import reads again without a loss, or csv"},
				{Name: "hashes", Text: "true adds the password hashes; takes users:export_hashes"},
			},
			Errors: []*problem.Problem{ErrOptions, web.ErrQuery}}})
}

// importAnswer is an import as the API shows it.
type importAnswer struct {
	ID               string     `json:"id"`
	State            string     `json:"state"` // running, done, failed or cancelled
	Error            string     `json:"error_message,omitempty"`
	Source           string     `json:"source"`
	Format           string     `json:"format"`
	DryRun           bool       `json:"dry_run"`
	Records          int64      `json:"records"` // settled so far
	Total            *int64     `json:"total"`   // null until known
	Created          int64      `json:"created"`
	Updated          int64      `json:"updated"`
	Refused          int64      `json:"refused"`                     // left out, for whatever reason
	Skipped          int64      `json:"skipped"`                     // of the refused, those whose user is there already and stays as they are
	LeftOut          int64      `json:"refused_left_out,omitempty"`  // of the refused, those that the report does not list
	Rate             int64      `json:"rate"`                        // records a second
	RemainingSeconds *int64     `json:"remaining_seconds,omitempty"` // an estimate
	CreatedAt        Moment     `json:"created_at"`
	FinishedAt       *Moment    `json:"finished_at"`
	Refusals         *[]Refusal `json:"refusals,omitempty"` // the first ones
}

func answer(m kept) importAnswer {
	a := importAnswer{
		ID: m.ID, State: m.State, Error: m.Error, Source: m.Source, Format: m.Format, DryRun: m.options.DryRun, Records: m.Records,
		Created: m.Created, Updated: m.Updated, Refused: m.Refused, LeftOut: m.leftOut(), Rate: m.Rate, CreatedAt: Moment{m.CreatedAt},
	}
	if m.options.OnConflict == Skip {
		a.Skipped = m.Present
	}
	if m.Total > 0 || m.State == Done {
		a.Total = &m.Total
	}
	if m.State == Running && m.Total > 0 && m.Rate > 0 {
		left := (m.Total - m.Records) / m.Rate
		a.RemainingSeconds = &left
	}
	if !m.FinishedAt.IsZero() {
		a.FinishedAt = &Moment{m.FinishedAt}
	}
	return a
}

func (s *Service) postImport(w http.ResponseWriter, r *http.Request) error {
	by := web.ActorOf(r.Context())
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	if s.Spool == "" {
		return errNoSpool
	}
	o, name, err := optionsOf(r)
	if err != nil {
		return err
	}
	// Which users are refused as there already says no more than making them would.
	if err := o.check(by.With(append(by.Permissions(), access.UsersRead)...)); err != nil {
		return err
	}
	// Before the file has come: it must not fill the disk.
	free, err := s.takeSlot(r.Context(), by.Tenant)
	if err != nil {
		return err
	}
	defer free()
	path, err := s.receive(w, r)
	if err != nil {
		return err
	}
	defer os.Remove(path) // by then it has another name, unless something went wrong
	o.File = path
	m, err := s.enqueue(r.Context(), by, o, name)
	if err != nil {
		return err
	}
	free() // before whoever gets the answer sends the next file
	w.Header().Set("Location", "/api/v1/users/imports/"+m.ID+"/progress")
	return web.Write(w, http.StatusAccepted, answer(m))
}

// optionsOf reads the options of an import from its address.
func optionsOf(r *http.Request) (o Options, name string, err error) {
	texts := map[string]*string{"format": &o.Format, "on_conflict": &o.OnConflict, "firebase_salt_separator": &o.Firebase.SaltSeparator, "filename": &name}
	for key, into := range texts {
		if *into, err = web.Query(r, key); err != nil {
			return o, "", err
		}
	}
	for key, into := range map[string]*bool{"dry_run": &o.DryRun, "roles": &o.Roles, "no_passwords": &o.NoPasswords} {
		if *into, err = queryFlag(r, key); err != nil {
			return o, "", err
		}
	}
	for key, into := range map[string]*int{"firebase_rounds": &o.Firebase.Rounds, "firebase_mem_cost": &o.Firebase.MemCost} {
		text, err := web.Query(r, key)
		if err != nil {
			return o, "", err
		}
		if text == "" {
			continue
		}
		if *into, err = strconv.Atoi(text); err != nil {
			return o, "", web.ErrQuery.Saying("%s is a whole number.", key).In(key)
		}
	}
	o.Firebase.SignerKey = r.Header.Get("X-Firebase-Signer-Key")
	if name != "" {
		name = printable(filepath.Base(name))
	}
	o.Map, err = ParseMap(r.URL.Query()["map"])
	return o, name, err
}

func queryFlag(r *http.Request, key string) (bool, error) {
	text, err := web.Query(r, key)
	if err != nil || text == "" {
		return false, err
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, web.ErrQuery.Saying("%s is true or false.", key).In(key)
	}
	return v, nil
}

// ParseMap reads the mappings of Options.Map, each as field=heading or several of
// them between commas.
func ParseMap(mappings []string) (map[string]string, error) {
	out := map[string]string{}
	for _, list := range mappings {
		for word := range strings.SplitSeq(list, ",") {
			field, heading, ok := strings.Cut(word, "=")
			if !ok || !isField(strings.TrimSpace(field)) || strings.TrimSpace(heading) == "" {
				return nil, ErrOptions.Saying("A mapping is field=heading, such as email=Mail. Fields are %s, and attributes. with a name.", strings.Join(append(fields[:len(fields):len(fields)], moreFields...), ", ")).In("map")
			}
			out[strings.TrimSpace(field)] = strings.TrimSpace(heading)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// enqueue makes an import of a spooled file and the job that works on it.
func (s *Service) enqueue(ctx context.Context, by access.Actor, o Options, name string) (kept, error) {
	file, err := os.Open(o.File)
	if err != nil {
		return kept{}, fmt.Errorf("open the spooled file: %w", err)
	}
	defer file.Close()
	r, err := newReaderOf(ctx, file, &o, nil)
	if err != nil {
		return kept{}, err
	}
	mark, err := fingerprint(ctx, file, "api", o)
	if err != nil {
		return kept{}, err
	}
	m := kept{options: o, Source: name}
	if o.Roles {
		m.options.Rights = by.Permissions()
	}
	m.ID, m.Size = secret.ID(s.DB.Now()), r.length
	if m.secret, err = s.sealSigner(ctx, by.Tenant, m.ID, o.Firebase.SignerKey); err != nil {
		return kept{}, err
	}
	m.options.Firebase.SignerKey = ""
	kind, err := s.jobKind()
	if err != nil {
		return kept{}, err
	}
	// The file is in its place before anybody can look for it.
	spooled := s.spooled(by.Tenant, m.ID)
	if err := os.Rename(o.File, spooled); err != nil {
		return kept{}, fmt.Errorf("spool the file: %w", err)
	}
	var started kept
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		if err := tenant.Hold(ctx, tx, by.Tenant); err != nil {
			return err
		}
		if started, err = startImport(ctx, tx, by, m, mark); err != nil || started.ID != m.ID {
			return err
		}
		if n, err := countRunning(ctx, tx, by.Tenant); err != nil || n > maxRunning {
			return cmp.Or(err, error(errTooManyImports))
		}
		_, err = jobs.Enqueue(ctx, tx, by.Tenant, kind, jobPayload{m.ID}, jobs.Options{})
		return err
	})
	if err != nil || started.ID != m.ID {
		err = errors.Join(err, os.Remove(spooled))
	}
	return started, err
}

func (s *Service) getImports(ctx context.Context, by access.Actor, _ struct{}) ([]importAnswer, error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return nil, err
	}
	all, err := listImports(ctx, s.DB, by.Tenant, 100)
	answers := make([]importAnswer, len(all))
	for i, m := range all {
		answers[i] = answer(m)
	}
	return answers, err
}

type importRequest struct {
	ImportID string `path:"importid"`
}

func (s *Service) getImport(ctx context.Context, by access.Actor, in importRequest) (importAnswer, error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return importAnswer{}, err
	}
	m, err := findImport(ctx, s.DB, by.Tenant, in.ImportID)
	if err != nil {
		return importAnswer{}, err
	}
	a := answer(m)
	refusals, err := listRefusals(ctx, s.DB, by.Tenant, m.ID, 0, maxShown)
	if refusals == nil {
		refusals = []Refusal{}
	}
	a.Refusals = &refusals
	return a, err
}

// postCancel stops an import: its worker's next transaction fails.
func (s *Service) postCancel(ctx context.Context, by access.Actor, in importRequest) (importAnswer, error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return importAnswer{}, err
	}
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		return finishImport(ctx, tx, by, in.ImportID, Cancelled, "", 0)
	})
	if err != nil && !errors.Is(err, ErrLost) { // finished already: say how
		return importAnswer{}, err
	}
	return s.getImport(ctx, by, in)
}

// stream sends what write writes, for as long as there is something to send. An
// error after the first byte cuts the connection, so that the answer does not look
// whole.
func (s *Service) stream(w http.ResponseWriter, contentType, name string, write func(io.Writer) error) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	control := http.NewResponseController(w)
	err := write(writerFunc(func(p []byte) (int, error) {
		if err := control.SetWriteDeadline(s.DB.Now().Add(idleTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
		return w.Write(p)
	}))
	if err != nil {
		s.log().Error("an answer was cut off", "file", name, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (s *Service) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.Default()
}

func (s *Service) getReport(w http.ResponseWriter, r *http.Request) error {
	by := web.ActorOf(r.Context())
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	id, err := web.PathValue(r, "importid")
	if err != nil {
		return err
	}
	m, err := findImport(r.Context(), s.DB, by.Tenant, id)
	if err != nil {
		return err
	}
	return s.stream(w, "application/x-ndjson", "import-"+m.ID+".jsonl", func(to io.Writer) error {
		return refusalsOf(r.Context(), s.DB, m, func(page []Refusal) error { return writeRefusals(to, page) })
	})
}

func (s *Service) getExport(w http.ResponseWriter, r *http.Request) error {
	var o ExportOptions
	var err error
	if o.Format, err = web.Query(r, "format"); err != nil {
		return err
	}
	if o.Hashes, err = queryFlag(r, "hashes"); err != nil {
		return err
	}
	e, err := s.startExport(r.Context(), web.ActorOf(r.Context()), &o)
	if err != nil {
		return err
	}
	contentType := map[string]string{"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}[o.Format]
	return s.stream(w, contentType, "users."+o.Format, func(to io.Writer) error {
		_, err := e.write(r.Context(), to)
		return err
	})
}
