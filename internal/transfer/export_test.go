package transfer_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/transfer"
)

// fill brings in people with everything a user can have.
func (b *bench) fill(t *testing.T) {
	t.Helper()
	b.load(t, transfer.Options{File: "testdata/own.jsonl", Roles: true})
	b.load(t, transfer.Options{File: file(t,
		`{"email":"formula@x.test","first_name":"=HYPERLINK(\"http://evil.test\")","last_name":"+1","phone":"+491511111111","raw_attributes":{"html":"<b>&\u2028</b>","q":"a \"b\" \\ c"}}`,
		`{"username":"@user","first_name":"'-quoted","last_name":"O'Hara, Jr.","groups":[]}`,
		`{"username":"-minus","first_name":"''=","last_name":"＝1+1","raw_attributes":{}}`,
		`{"email":"several@x.test","email_verified":true,"language":"ar","addresses":[{"value":"several@y.test","added_at":"2024-01-02T03:04:05.678Z","held":true},"+4930555666",{"value":"=several@y.test"}]}`)})
}

func TestExportAndImportGiveTheSameBytes(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t)
		for _, o := range []transfer.ExportOptions{{Hashes: true}, {Format: "csv", Hashes: true}, {}, {Format: "csv"}} {
			first := b.export(t, o)
			for _, want := range []string{"several@y.test", "2024-01-02T03:04:05.678Z", "+4930555666", "=several@y.test"} {
				if !bytes.Contains(first, []byte(want)) {
					t.Errorf("%+v: no %s in the export", o, want)
				}
			}
			if again := b.export(t, o); !bytes.Equal(first, again) {
				t.Errorf("%+v: the same users gave other bytes", o)
			}
			path := filepath.Join(t.TempDir(), "export")
			if err := os.WriteFile(path, first, 0o600); err != nil {
				t.Fatal(err)
			}
			origin := b.by
			b.by = b.newTenant(t, "copy-"+o.Format+strings.Repeat("x", len(first)%7)+map[bool]string{true: "h"}[o.Hashes])
			got, report := b.load(t, transfer.Options{File: path, Roles: true})
			if got.Created != 18 || len(report) > 0 {
				t.Errorf("%+v: %+v, %+v", o, got, report)
			}
			if diff := cmp.Diff(string(first), string(b.export(t, o))); diff != "" {
				t.Errorf("%+v: export of the import (-want +got):\n%s", o, diff)
			}
			if u := b.find(t, "several@y.test"); u.Language != "ar" || u.Email != "several@x.test" {
				t.Errorf("%+v: %+v", o, u)
			}
			if o.Hashes {
				b.checkPassword(t, b.find(t, "phpass@example.com"), typed)
			}
			b.by = origin
		}
	})
}

func TestExportHasHashesOnlyForWhoMay(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t)
		for _, format := range []string{"jsonl", "csv"} {
			if out := b.export(t, transfer.ExportOptions{Format: format}); bytes.Contains(out, []byte("password")) || bytes.Contains(out, []byte("$2a$")) {
				t.Errorf("%s has hashes that nobody asked for", format)
			}
		}
		most := b.by.With(access.UsersRead, access.UsersWrite, access.RolesWrite)
		if _, err := b.Export(t.Context(), most, &bytes.Buffer{}, transfer.ExportOptions{Hashes: true}); !errors.Is(err, access.ErrDenied) {
			t.Errorf("hashes without the permission: %v", err)
		}
		if _, err := b.Export(t.Context(), b.by.With(access.UsersWrite), &bytes.Buffer{}, transfer.ExportOptions{}); !errors.Is(err, access.ErrDenied) {
			t.Errorf("users without the permission: %v", err)
		}
		if _, err := (&audit.Sealer{DB: b.DB}).Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		events, err := audit.List(t.Context(), b.DB, b.by.Tenant, audit.Filter{Action: "user.exported"}, 10)
		if err != nil || len(events) != 2 {
			t.Errorf("events %+v, %v", events, err)
		}
	})
}

func TestExportedSheetsHaveNoFormulas(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t)
		rows, err := csv.NewReader(bytes.NewReader(b.export(t, transfer.ExportOptions{Format: "csv", Hashes: true}))).ReadAll()
		if err != nil || len(rows) != 19 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.ContainsAny(string([]rune(cell)[:1]), "=+-@\t\r＝＋－＠") {
					t.Errorf("a sheet would run %q", cell)
				}
			}
		}
	})
}

func TestExportPages(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		path, good := many(t, 1600)
		b.load(t, transfer.Options{File: path})
		var seen []int64
		lines := bytes.Count(b.export(t, transfer.ExportOptions{Hashes: true, Progress: func(n int64) { seen = append(seen, n) }}), []byte("\n"))
		if lines != good || seen[len(seen)-1] != int64(good) || len(seen) < 3 {
			t.Errorf("%d lines, progress %v, want %d", lines, seen, good)
		}
		var previous string
		for line := range bytes.Lines(b.export(t, transfer.ExportOptions{})) {
			var r transfer.Record
			if err := json.Unmarshal(line, &r); err != nil || r.ID <= previous {
				t.Fatalf("%s after %s, %v", line, previous, err)
			}
			previous = r.ID
		}
	})
}
