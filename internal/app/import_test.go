package app_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
)

// What files say and do is tested in internal/transfer. Here: keys, tenants, and
// that the description tells of every answer.

const (
	imports = "/api/v1/users/imports"
	hash    = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
)

// imported is what the tests look at of the answer about an import.
type imported struct {
	ID       string
	State    string
	Source   string
	Format   string
	Total    *int64
	Created  int64
	Refused  int64
	Skipped  int64
	Refusals []struct {
		Record int64
		Error  string
	}
}

// bring sends a file of users and returns the import and where it tells how far it is.
func bring(t *testing.T, c apptest.Client, query, text string) (m imported, progress string) {
	t.Helper()
	a := c.Post(t, imports+"?"+query, text).Want(t, 202).Into(t, &m)
	return m, a.Header.Get("Location")
}

// bringAll is bring, and sees that everybody is there at the end.
func bringAll(t *testing.T, w *apptest.World, c apptest.Client, query, text string, users int64) {
	t.Helper()
	_, progress := bring(t, c, query, text)
	w.Work(t)
	var m imported
	if c.Get(t, progress).Want(t, 200).Into(t, &m); m.State != "done" || m.Created != users || m.Refused > 0 {
		t.Fatalf("import: %+v, want %d users", m, users)
	}
}

func TestImportTakesOneScopeFromUploadToReport(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for format, file := range map[string]string{
			"jsonl": `{"username":"ann","password_hash":"` + hash + `"}` + "\n" + `{"username":"ann"}` + "\n" + `{"username":"bob"}` + "\n" + `{`,
			"csv":   "username,password_hash\r\nann," + hash + "\r\nann,\r\nbob,\r\n\"",
		} {
			s := w.Tenant(t, format)
			c := s.As(t, access.UsersWrite)
			made, progress := bring(t, c, "", file)
			if made.State != "running" || made.Format != format || made.Source != "" || progress != imports+"/"+made.ID+"/progress" {
				t.Errorf("%s: accepted %+v at %q", format, made, progress)
			}
			if again, _ := bring(t, c, "", file); again.ID != made.ID {
				t.Errorf("%s: the same file makes a second import", format)
			}
			w.Work(t)
			var got imported
			c.Get(t, progress).Want(t, 200).Into(t, &got)
			if got.State != "done" || got.Created != 2 || got.Refused != 2 || got.Skipped != 1 || len(got.Refusals) != 2 || got.Total == nil || *got.Total != 4 {
				t.Errorf("%s: in the end %+v", format, got)
			}
			report := c.Get(t, imports+"/"+made.ID+"/report").Want(t, 200)
			var codes []string
			for line := range bytes.Lines(report.Body) {
				var r struct {
					Record int64
					Error  string
				}
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatalf("%s: %v in %s", format, err, line)
				}
				codes = append(codes, fmt.Sprint(r.Record, " ", r.Error))
			}
			if want := "[2 user_exists 4 invalid_record]"; fmt.Sprint(codes) != want {
				t.Errorf("%s: report %v, want %v", format, codes, want)
			}
			if list := c.Get(t, imports).Want(t, 200).List(t); len(list) != 1 || list[0]["id"] != made.ID {
				t.Errorf("%s: list %v", format, list)
			}
			c.Get(t, "/api/v1/users").WantError(t, 403, "access_denied")
			c.Post(t, imports+"?roles=true", file).WantError(t, 403, "access_denied")
		}
	})
}

// Whose import it is, nobody else can see, stop, or even tell that it is there.
func TestImportsBelongToTheirTenant(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		stranger := w.Tenant(t, "stranger")
		made, progress := bring(t, w.Demo.Client, "", `{"username":"ann"}`)
		stranger.Get(t, progress).WantError(t, 404, "import_not_found")
		stranger.Get(t, imports+"/"+made.ID+"/report").WantError(t, 404, "import_not_found")
		stranger.Post(t, imports+"/"+made.ID+"/cancel", nil).WantError(t, 404, "import_not_found")
		if list := stranger.Get(t, imports).Want(t, 200).List(t); len(list) > 0 {
			t.Errorf("a stranger sees %v", list)
		}
		if same, _ := bring(t, stranger.Client, "", `{"username":"ann"}`); same.ID == made.ID {
			t.Error("the same file of two tenants is one import")
		}
		w.Work(t)
		for _, c := range []*apptest.Tenant{w.Demo, stranger} {
			if users := c.Get(t, "/api/v1/users").Want(t, 200).List(t); len(users) != 1 || users[0]["account_id"] != c.ID {
				t.Errorf("%s has %v", c.Slug, users)
			}
		}
	})
}

func TestCancelledImportBringsNobody(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		made, progress := bring(t, w.Demo.Client, "", `{"username":"ann"}`)
		w.Demo.Post(t, imports+"/"+made.ID+"/cancel", nil).Want(t, 200)
		w.Work(t)
		var got imported
		if w.Demo.Get(t, progress).Want(t, 200).Into(t, &got); got.State != "cancelled" {
			t.Errorf("cancelled: %+v", got)
		}
		if users := w.Demo.Get(t, "/api/v1/users").Want(t, 200).List(t); len(users) > 0 {
			t.Errorf("it brought %v", users)
		}
	})
}

func TestImportRefusesFiles(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, file := range []string{"", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "<!doctype html><p>404"} {
			w.Demo.Post(t, imports, file).WantError(t, 400, "unreadable_import_file")
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, imports, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = 1<<30 + 1
		w.Demo.SendAs(t, r).WantError(t, 413, "request_too_large")
		w.Demo.Post(t, imports+"?format=palmpilot", `{}`).WantError(t, 400, "invalid_import_options")
		w.Demo.Post(t, imports+"?dry_run=perhaps", `{}`).WantError(t, 400, "invalid_query_parameters")
		if files, err := os.ReadDir(w.Imports.Spool); err != nil || len(files) != 1 { // the spool's id
			t.Errorf("left in the spool: %v, %v", files, err)
		}
	})
}

func TestFewImportsWait(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for i := range 5 {
			bring(t, w.Demo.Client, "", fmt.Sprintf(`{"username":"ann%d"}`, i))
		}
		a := w.Demo.Post(t, imports, `{"username":"ann5"}`)
		if a.WantError(t, 429, "too_many_imports"); a.Header.Get("Retry-After") == "" {
			t.Error("nobody says when to try again")
		}
		bring(t, w.Tenant(t, "neighbour").Client, "", `{"username":"ann"}`)
		w.Work(t)
		bring(t, w.Demo.Client, "", `{"username":"ann5"}`)
	})
}

// What goes out with ids and hashes comes in again as it was.
func TestExportOfAnImportIsTheExport(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		copied := w.Tenant(t, "copied")
		bringAll(t, w, w.Demo.Client, "roles=true", `{"username":"ann","roles":["admin"],"password_hash":"`+hash+`"}`+"\n"+`{"email":"bob@example.com","raw_attributes":{"plan":"pro"}}`, 2)
		id, _ := makeUser(t, w.Demo.Client)
		export := "/api/v1/users/export?hashes=true"
		first := w.Demo.Get(t, export).Want(t, 200)
		if text := string(first.Body); !strings.Contains(text, hash) || !strings.Contains(text, id) || !strings.Contains(text, `"roles":["admin"]`) {
			t.Errorf("export: %s", text)
		}
		bringAll(t, w, copied.Client, "roles=true", string(first.Body), 3)
		if second := copied.Get(t, export).Want(t, 200); !bytes.Equal(first.Body, second.Body) {
			t.Errorf("export of the copy\n%s, want\n%s", second.Body, first.Body)
		}
	})
}

func TestHashesLeaveOnlyWithTheirScope(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		bringAll(t, w, w.Demo.Client, "", `{"username":"ann","password_hash":"`+hash+`"}`, 1)
		most := w.Demo.As(t, access.UsersRead, access.UsersWrite, access.RolesWrite)
		hashes := w.Demo.As(t, access.UsersExportHashes)
		for _, format := range []string{"jsonl", "csv"} {
			address := "/api/v1/users/export?format=" + format
			if a := most.Get(t, address).Want(t, 200); !strings.Contains(string(a.Body), "ann") || strings.Contains(string(a.Body), hash) {
				t.Errorf("%s: %s", format, a.Body)
			}
			most.Get(t, address+"&hashes=true").WantError(t, 403, "access_denied")
			hashes.Get(t, address+"&hashes=true").WantError(t, 403, "access_denied")
			a := w.Demo.As(t, access.UsersRead, access.UsersExportHashes).Get(t, address+"&hashes=true").Want(t, 200)
			if !strings.Contains(string(a.Body), hash) {
				t.Errorf("%s with hashes: %s", format, a.Body)
			}
		}
		w.Demo.Get(t, "/api/v1/users/export?format=palmpilot").WantError(t, 400, "invalid_import_options")
		if strings.Contains(w.Log(), hash) {
			t.Error("a hash is in the log")
		}
	})
}

// pieces is an answer that notes how it was written.
type pieces struct {
	head  http.Header
	sizes []int
	cells bytes.Buffer
}

func (p *pieces) Header() http.Header { return p.head }
func (*pieces) WriteHeader(int)       {}
func (p *pieces) Write(b []byte) (int, error) {
	p.sizes = append(p.sizes, len(b))
	return p.cells.Write(b)
}

// An export is never held as a whole, however many there are, and whoever opens it
// in a spreadsheet runs nothing.
func TestExportLeavesInPieces(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		var file strings.Builder
		for i := range 3000 {
			fmt.Fprintf(&file, `{"username":"user%d","first_name":"=1+%d","last_name":"@SUM"}`+"\n", i, i)
		}
		bringAll(t, w, w.Demo.Client, "", file.String(), 3000)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.Demo.Host+"/api/v1/users/export?format=csv", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr, r.TLS = "192.0.2.7:40000", &tls.ConnectionState{}
		r.Header.Set("Authorization", "Bearer "+w.Demo.Key)
		out := &pieces{head: http.Header{}}
		w.Handler.ServeHTTP(out, r)
		text := out.cells.String()
		if n := strings.Count(text, "\r\n"); n != 3001 || strings.Count(text, `"'=1+`) != 3000 || strings.Count(text, `"'@SUM`) != 3000 {
			t.Errorf("%d lines, such as %.300s", n, text)
		}
		if len(out.sizes) < 3 {
			t.Errorf("%d bytes left in %d pieces", len(text), len(out.sizes))
		}
		for _, size := range out.sizes {
			if size > 256<<10 {
				t.Errorf("a piece has %d bytes", size)
			}
		}
	})
}
