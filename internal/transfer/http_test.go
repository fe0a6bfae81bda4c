package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/transfer"
	"github.com/cardea-id/cardea/internal/web"
)

// server is the service behind a real server, with a queue that is emptied by hand.
type server struct {
	*bench
	url   string
	queue *jobs.Queue
}

func runServer(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	run(t, func(t *testing.T, b *bench) {
		test(t, newServer(t, b))
	})
}

func newServer(t *testing.T, b *bench) *server {
	t.Helper()
	b.Spool = filepath.Join(t.TempDir(), "spool")
	s := &server{bench: b, queue: &jobs.Queue{DB: b.DB, Log: slog.New(slog.DiscardHandler)}}
	b.Log = s.queue.Log
	if err := b.Handle(s.queue); err != nil {
		t.Fatal(err)
	}
	router := &web.Router{}
	b.Users.Mount(router) // whose addresses must not clash with ours
	b.Mount(router)
	edge := &web.Edge{Log: s.queue.Log, AllowHTTP: true, Dialect: func(string) web.Dialect { return web.API },
		Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { router.ServeHTTP(w, web.WithActor(r, b.by)) })}
	listener := httptest.NewServer(edge)
	t.Cleanup(listener.Close)
	s.url = listener.URL
	return s
}

// send sends a request and returns status and body.
func (s *server) send(t *testing.T, method, path string, body io.Reader, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// imported is what the tests look at of the answer about an import.
type imported struct {
	ID       string             `json:"id"`
	State    string             `json:"state"`
	Message  string             `json:"error_message"`
	Format   string             `json:"format"`
	Records  int64              `json:"records"`
	Total    *int64             `json:"total"`
	Created  int64              `json:"created"`
	Refused  int64              `json:"refused"`
	Refusals []transfer.Refusal `json:"refusals"`
}

func (s *server) post(t *testing.T, query string, body io.Reader, header ...string) imported {
	t.Helper()
	status, text := s.send(t, "POST", "/api/v1/users/imports?"+query, body, header...)
	if status != http.StatusAccepted {
		t.Fatalf("post: %d %s", status, text)
	}
	return decodeImport(t, text)
}

func decodeImport(t *testing.T, text string) (m imported) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

func (s *server) progress(t *testing.T, id string) imported {
	t.Helper()
	status, text := s.send(t, "GET", "/api/v1/users/imports/"+id+"/progress", nil)
	if status != http.StatusOK {
		t.Fatalf("progress: %d %s", status, text)
	}
	return decodeImport(t, text)
}

// spool lists the files that wait.
func (s *server) spool(t *testing.T) (names []string) {
	t.Helper()
	files, err := os.ReadDir(s.Spool)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != "spool.id" {
			names = append(names, f.Name())
		}
	}
	return names
}

func TestImportOverHTTP(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		text, err := os.ReadFile("testdata/keycloak.json")
		if err != nil {
			t.Fatal(err)
		}
		made := s.post(t, "filename=/tmp/realm.json", bytes.NewReader(text))
		if made.State != transfer.Running || made.Format != "keycloak" || made.Total != nil || len(s.spool(t)) != 1 {
			t.Errorf("accepted %+v, spool %v", made, s.spool(t))
		}
		if again := s.post(t, "filename=/tmp/realm.json", bytes.NewReader(text)); again.ID != made.ID || len(s.spool(t)) != 1 {
			t.Errorf("the same file again is %+v, spool %v", again, s.spool(t))
		}
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := s.progress(t, made.ID)
		if got.State != transfer.Done || got.Created != 5 || got.Refused != 2 || got.Total == nil || *got.Total != 7 || len(got.Refusals) != 2 {
			t.Errorf("in the end %+v", got)
		}
		status, report := s.send(t, "GET", "/api/v1/users/imports/"+made.ID+"/report", nil)
		if diff := cmp.Diff([]string{"6 invalid_record", "7 invalid_password_hash"}, codes(refusals(t, []byte(report)))); status != 200 || diff != "" {
			t.Errorf("report %d (-want +got):\n%s", status, diff)
		}
		if left := s.spool(t); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
		if status, list := s.send(t, "GET", "/api/v1/users/imports", nil); status != 200 || strings.Count(list, made.ID) != 1 {
			t.Errorf("list: %d %s", status, list)
		}
		if status, text := s.send(t, "GET", "/api/v1/users/export?format=csv", nil); status != 200 || strings.Count(text, "\r\n") != 6 {
			t.Errorf("export: %d %s", status, text)
		}
	})
}

func TestImportOverHTTPKeepsTheSignerKeySealed(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		text, err := os.ReadFile("testdata/firebase.json")
		if err != nil {
			t.Fatal(err)
		}
		made := s.post(t, "format=firebase&firebase_salt_separator=Bw%3D%3D&firebase_rounds=8&firebase_mem_cost=14", bytes.NewReader(text), "X-Firebase-Signer-Key", firebase.SignerKey)
		var options string
		var sealed []byte
		read := func() {
			if err := s.DB.QueryRow(t.Context(), "SELECT options, secret FROM imports WHERE tenant_id = $1 AND id = $2", s.by.Tenant, made.ID).Scan(&options, &sealed); err != nil {
				t.Fatal(err)
			}
		}
		if read(); strings.Contains(options, firebase.SignerKey) || len(sealed) == 0 || bytes.Contains(sealed, []byte(firebase.SignerKey)) {
			t.Errorf("stored %s and %q", options, sealed)
		}
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.checkPassword(t, s.find(t, "user1@example.com"), "user1password")
		if read(); sealed != nil {
			t.Error("the key is kept after the import")
		}
	})
}

func TestImportOverHTTPRefuses(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		for _, c := range []struct{ query, body, code string }{
			{"", "", "unreadable_import_file"},
			{"format=xml", `{"email":"a@x.test"}`, "invalid_import_options"},
			{"on_conflict=merge", `{"email":"a@x.test"}`, "invalid_import_options"},
			{"dry_run=perhaps", `{"email":"a@x.test"}`, "invalid_query_parameters"},
			{"firebase_rounds=many", `{"email":"a@x.test"}`, "invalid_query_parameters"},
			{"map=email", "mail\na@x.test", "invalid_import_options"},
		} {
			status, text := s.send(t, "POST", "/api/v1/users/imports?"+c.query, strings.NewReader(c.body))
			if status != http.StatusBadRequest || !strings.Contains(text, `"error":"`+c.code+`"`) {
				t.Errorf("%s: %d %s, want %s", c.query, status, text, c.code)
			}
		}
		if status, text := s.send(t, "GET", "/api/v1/users/imports/0123456789abcdef01234567/progress", nil); status != http.StatusNotFound {
			t.Errorf("unknown import: %d %s", status, text)
		}
		r, _ := http.NewRequest("POST", s.url+"/api/v1/users/imports", strings.NewReader("x"))
		r.ContentLength = 2 << 30
		r.Body = io.NopCloser(io.LimitReader(nothing{}, 2<<30))
		if answer, err := http.DefaultClient.Do(r); err == nil {
			answer.Body.Close()
			if answer.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("2 GiB: %d", answer.StatusCode)
			}
		}
		s.by = s.by.With(access.UsersRead)
		for _, c := range []struct{ method, path string }{
			{"POST", "/api/v1/users/imports"}, {"GET", "/api/v1/users/imports"}, {"GET", "/api/v1/users/imports/0123456789abcdef01234567/progress"},
			{"GET", "/api/v1/users/imports/0123456789abcdef01234567/report"}, {"POST", "/api/v1/users/imports/0123456789abcdef01234567/cancel"}, {"GET", "/api/v1/users/export?hashes=true"},
		} {
			if status, text := s.send(t, c.method, c.path, strings.NewReader(`{"email":"a@x.test"}`)); status != http.StatusForbidden {
				t.Errorf("%s %s by a reader: %d %s", c.method, c.path, status, text)
			}
		}
		if left := s.spool(t); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

type nothing struct{}

func (nothing) Read(p []byte) (int, error) { return len(p), nil }

func TestImportsOverHTTPAreFew(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		for i := range 5 {
			s.post(t, "", strings.NewReader(fmt.Sprintf(`{"email":"%d@x.test"}`, i)))
		}
		if status, text := s.send(t, "POST", "/api/v1/users/imports", strings.NewReader(`{"email":"6@x.test"}`)); status != http.StatusTooManyRequests {
			t.Errorf("the sixth: %d %s", status, text)
		}
		s.drain(t)
		s.post(t, "", strings.NewReader(`{"email":"6@x.test"}`))
	})
}

// Two servers that do not share a spool, and files that come at the same moment.
func TestImportsAtOnceAreFew(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		other := newServer(t, &bench{Service: &transfer.Service{DB: s.DB, Users: s.Users}, by: s.by})
		var sent sync.WaitGroup
		var accepted, refused atomic.Int64
		for i := range 16 {
			at := []*server{s, other}[i%2]
			sent.Go(func() {
				switch status, text := at.send(t, "POST", "/api/v1/users/imports", strings.NewReader(fmt.Sprintf(`{"email":"%d@x.test"}`, i))); status {
				case http.StatusAccepted:
					accepted.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Errorf("%d %s", status, text)
				}
			})
		}
		sent.Wait()
		if a, n := accepted.Load(), s.count(t, "imports"); a == 0 || a > 5 || n != a || len(s.spool(t))+len(other.spool(t)) != int(a) {
			t.Errorf("%d accepted, %d refused, %d in the database", a, refused.Load(), n)
		}
	})
}

// slow sends a hundred bytes in ten seconds, for ever.
type slow struct{ s *server }

func (b slow) Read(p []byte) (int, error) {
	b.s.pass(10 * time.Second)
	return min(len(p), 100), nil
}

func TestUploadsKeepAPace(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/api/v1/users/imports", slow{s})
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := http.DefaultClient.Do(r); err == nil { // else the connection was cut
			answer.Body.Close()
			if answer.StatusCode != http.StatusBadRequest {
				t.Errorf("a slow file: %d", answer.StatusCode)
			}
		}
		if left := s.spool(t); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
		for i := range 5 { // whose slot is free again
			s.post(t, "", strings.NewReader(fmt.Sprintf(`{"email":"%d@x.test"}`, i)))
		}
	})
}

func TestUploadsLeaveRoom(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		const length = 600 << 20
		for free, want := range map[int64]int{1<<30 - 1: 503, 1 << 30: 202} {
			s.Room = func(string) (int64, error) { return free, nil }
			if status, text := s.send(t, "POST", "/api/v1/users/imports", strings.NewReader(`{"email":"a@x.test"}`)); status != want {
				t.Errorf("%d free: %d %s", free, status, text)
			}
		}
		r, _ := http.NewRequest("POST", s.url+"/api/v1/users/imports", io.LimitReader(nothing{}, length))
		r.ContentLength = length
		if answer, err := http.DefaultClient.Do(r); err == nil { // else the connection was cut
			answer.Body.Close()
			if answer.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("more than half of what is free: %d", answer.StatusCode)
			}
		}
	})
}

func TestSpoolForgetsFilesWithoutImport(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		s.post(t, "", strings.NewReader(`{"email":"a@x.test"}`))
		gone := s.spool(t)[0]
		sweep := func() {
			if err := s.Handle(&jobs.Queue{DB: s.DB}); err != nil {
				t.Fatal(err)
			}
		}
		if sweep(); len(s.spool(t)) != 1 {
			t.Fatal("the file of an import that waits is gone")
		}
		err := s.DB.Write(t.Context(), func(tx *database.Tx) error { return tx.DeleteTenant(t.Context(), s.by.Tenant) })
		if err != nil {
			t.Fatal(err)
		}
		if sweep(); len(s.spool(t)) != 1 {
			t.Error("a young file, whose import may be about to come, is gone")
		}
		s.pass(time.Hour)
		s.by = s.newTenant(t, "second")
		s.post(t, "", strings.NewReader(`{"email":"b@x.test"}`))
		s.pass(time.Hour)
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := s.spool(t); len(left) != 0 {
			t.Errorf("left in the spool: %v, of %s", left, gone)
		}
	})
}

// request is the actor as of a request.
func request(by access.Actor, name, id string) access.Actor {
	by.Name, by.IP, by.UserAgent, by.RequestID = name, "192.0.2.7", "curl", id
	return by
}

// drain works until no import of the tenant is left, also those that are put off.
func (s *server) drain(t *testing.T) {
	t.Helper()
	for range 10 {
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		var n int64
		if err := s.DB.QueryRow(t.Context(), "SELECT count(*) FROM imports WHERE tenant_id = $1 AND state = 'running'", s.by.Tenant).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		s.pass(time.Minute)
	}
	t.Fatal("the imports do not end")
}

// events lists the events about imports, oldest first, as action, actor, address,
// client, request and result.
func (s *server) events(t *testing.T) (out []string) {
	t.Helper()
	all, err := audit.List(t.Context(), s.DB, s.by.Tenant, audit.Filter{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	for _, e := range all {
		if e.Target == "import" {
			out = append(out, strings.Join([]string{e.Action, e.Actor, e.IP, e.UserAgent, e.RequestID, e.Result}, " "))
		}
	}
	return out
}

func TestImportsAreInTheLogWithTheirRequest(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		s.by = request(s.by, "user:1", "r1")
		s.post(t, "", strings.NewReader(`{"email":"a@x.test"}`))
		s.post(t, "", strings.NewReader(`{"email":"a@x.test"}`)) // is the same
		s.by = request(s.by, "user:2", "r2")
		s.drain(t)
		made := s.post(t, "", strings.NewReader(`{"email":"b@x.test"}`))
		s.by = request(s.by, "user:3", "r3")
		s.send(t, "POST", "/api/v1/users/imports/"+made.ID+"/cancel", nil)
		s.send(t, "POST", "/api/v1/users/imports/"+made.ID+"/cancel", nil)
		lost := s.post(t, "", strings.NewReader(`{"email":"c@x.test"}`))
		if err := os.Remove(filepath.Join(s.Spool, s.by.Tenant+"."+lost.ID+".import")); err != nil {
			t.Fatal(err)
		}
		s.by = request(s.by, "user:4", "r4")
		s.drain(t)
		if diff := cmp.Diff([]string{
			"import.started user:1 192.0.2.7 curl r1 success",
			"user.imported user:1 192.0.2.7 curl r1 success",
			"import.finished user:1 192.0.2.7 curl r1 success",
			"import.started user:2 192.0.2.7 curl r2 success",
			"import.cancelled user:3 192.0.2.7 curl r3 success",
			"import.started user:3 192.0.2.7 curl r3 success",
			"import.finished user:3 192.0.2.7 curl r3 failure",
		}, s.events(t)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestImportOfAnEndedKeyDoesNotRun(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		keys, system := &tenant.Service{DB: s.DB}, s.by
		ids := map[string]string{}
		err := s.DB.Write(t.Context(), func(tx *database.Tx) error {
			for name, end := range map[string]time.Time{"revoked": {}, "expired": tx.Now.Add(time.Hour), "live": {}} {
				k, _, err := keys.CreateKey(t.Context(), tx, system, name, []access.Permission{access.UsersWrite}, end)
				if err != nil {
					return err
				}
				ids[name] = k.ID
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		made := map[string]imported{}
		for name, id := range ids {
			s.by.Name = "key:" + id
			made[name] = s.post(t, "", strings.NewReader(`{"username":"`+name+`"}`))
		}
		s.by = system
		if err := s.DB.Write(t.Context(), func(tx *database.Tx) error { return keys.RevokeKey(t.Context(), tx, system, ids["revoked"]) }); err != nil {
			t.Fatal(err)
		}
		s.pass(time.Hour)
		s.drain(t)
		for name, want := range map[string]string{"revoked": transfer.Failed, "expired": transfer.Failed, "live": transfer.Done} {
			if got := s.progress(t, made[name].ID); got.State != want {
				t.Errorf("%s: %+v, want %s", name, got, want)
			}
		}
		if left := s.spool(t); len(left) > 0 || s.count(t, "users") != 1 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

func TestTenantsDoNotWaitForOneAnother(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		path, _ := many(t, 5000)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		first, made := s.by, []string{}
		for i := range 3 {
			made = append(made, s.post(t, fmt.Sprintf("dry_run=true&filename=x&format=jsonl&map=first_name=%d", i), bytes.NewReader(text)).ID)
		}
		s.by = s.newTenant(t, "second")
		other := s.post(t, "", strings.NewReader(`{"email":"a@x.test"}`)).ID
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.progress(t, other); got.State != transfer.Done {
			t.Errorf("behind three of somebody else's: %+v", got)
		}
		s.by = first
		s.drain(t)
		for _, id := range made {
			if got := s.progress(t, id); got.State != transfer.Done {
				t.Errorf("one of three: %+v", got)
			}
		}
	})
}

func TestCancelledImportStops(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		made := s.post(t, "", strings.NewReader(`{"email":"a@x.test"}`))
		if status, text := s.send(t, "POST", "/api/v1/users/imports/"+made.ID+"/cancel", nil); status != 200 || decodeImport(t, text).State != transfer.Cancelled {
			t.Errorf("cancel: %d %s", status, text)
		}
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.count(t, "users"); n != 0 || len(s.spool(t)) > 0 {
			t.Errorf("%d users, spool %v", n, s.spool(t))
		}
		if status, text := s.send(t, "POST", "/api/v1/users/imports/"+made.ID+"/cancel", nil); status != 200 || decodeImport(t, text).State != transfer.Cancelled {
			t.Errorf("cancel again: %d %s", status, text)
		}
	})
}

func TestImportWithoutItsFileFails(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		made := s.post(t, "", strings.NewReader(`{"email":"a@x.test"}`))
		if err := os.Remove(filepath.Join(s.Spool, s.spool(t)[0])); err != nil {
			t.Fatal(err)
		}
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.progress(t, made.ID); got.State != transfer.Failed || got.Message == "" {
			t.Errorf("without its file %+v", got)
		}
	})
}

func TestKilledJobGoesOn(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		path, good := many(t, 5000)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		made := s.post(t, "roles=true", bytes.NewReader(text))
		s.breakImports(t)
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.count(t, "users"); n != 0 {
			t.Errorf("%d users of a transaction that failed", n)
		}
		s.repairImports(t)
		s.pass(time.Hour)
		// A server that stops in the middle, and its successor.
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- s.queue.Run(ctx) }()
		for s.progress(t, made.ID).Records == 0 {
			select {
			case <-t.Context().Done():
				t.Fatal("nothing was imported")
			default:
			}
		}
		stop()
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		s.pass(time.Hour)
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.progress(t, made.ID); got.State != transfer.Done || got.Created != int64(good) || got.Records != 5000 {
			t.Errorf("in the end %+v, want %d", got, good)
		}
		s.checkMany(t, good)
	})
}

func TestDryRunOverHTTPReports(t *testing.T) {
	runServer(t, func(t *testing.T, s *server) {
		made := s.post(t, "dry_run=true", strings.NewReader(fmt.Sprintf("%s\n%s\n%s\n", `{"email":"a@x.test"}`, `{"email":"A@x.test"}`, `{`)))
		if err := s.queue.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.progress(t, made.ID); got.State != transfer.Done || got.Created != 1 || got.Refused != 2 || s.count(t, "users") != 0 {
			t.Errorf("%+v", got)
		}
	})
}
