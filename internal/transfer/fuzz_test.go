package transfer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/transfer"
)

// FuzzImport judges files that are anything at all: whatever comes, it ends, every
// record is accounted for, and only what can be stored is let through.
func FuzzImport(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range fixtures {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("", text)
	}
	for format := range transfer.Formats() {
		f.Add(format, []byte("[{\"email\":\"a@x.test\"},}]\"{:,"))
		f.Add(format, []byte("email,id\n\"a\"\"\n,\"@x.test"))
		f.Add(format, []byte(`{"users":[{"email":"a@x.test"`))
	}
	db, err := database.Open(f.Context(), dbtest.URL(f, database.SQLite))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	b := newBench(f, db)
	f.Fuzz(func(t *testing.T, format string, text []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		dry, err := b.Import(t.Context(), b.by, transfer.Options{File: path, Format: format, DryRun: true})
		if err != nil {
			if _, ok := problem.From(err); !ok {
				t.Fatal(err)
			}
			return
		}
		if dry.Records != dry.Created+dry.Refused || dry.Records != dry.Total {
			t.Errorf("%+v", dry)
		}
		got, err := b.Import(t.Context(), b.by, transfer.Options{File: path, Format: format, OnConflict: transfer.Update, NoPasswords: true})
		if err != nil || got.Records != dry.Records || got.Records != got.Created+got.Updated+got.Refused {
			t.Errorf("%+v, %v; dry %+v", got, err, dry)
		}
	})
}
