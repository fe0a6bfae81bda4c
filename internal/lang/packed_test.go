package lang_test

import (
	"bytes"
	"compress/gzip"
	"flag"
	"io"
	"os"
	"testing"

	"github.com/cardea-id/cardea/internal/lang"
)

var update = flag.Bool("update", false, "pack the texts anew")

// What is compiled in says what the files say that people edit.
func TestPackedTextsAreThoseOfTheFiles(t *testing.T) {
	for _, l := range lang.All() {
		want, err := os.ReadFile(l.Tag + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			pack(t, l.Tag+".json.gz", want)
		}
		f, err := os.Open(l.Tag + ".json.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is packed from another state (%v): go test ./internal/lang -run Packed -update", l.Tag, err)
		}
	}
}

func pack(t *testing.T, name string, text []byte) {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
