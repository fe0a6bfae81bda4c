package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/user"
)

// BenchmarkRequests takes the time and the memory of what is measured, without network
// and client: what to look at when a row has become slower.
func BenchmarkRequests(b *testing.B) {
	p, a := openPlace(b)
	u := p.signIn.signed[0]
	for _, c := range []struct {
		name string
		request
	}{
		{"discovery", encode("GET", discoveryPath, p.host(), secure, nil)},
		{"keys", encode("GET", keysPath, p.host(), secure, nil)},
		{"client credentials", p.ownToken(p.signIn.machineES, "ES256")},
		{"introspection", p.introspection(u)},
		{"session check", p.sessionCheck(u)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serve(b, a.Handler, c.request)
			}
		})
	}
	b.Run("refresh", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u.plain.last = member(serve(b, a.Handler, p.refreshRequest(u.plain.last)), "refresh_token")
		}
	})
}

// openPlace opens the product on a new database with one user, who is signed in.
func openPlace(b *testing.B) (*place, *app.App) {
	key := make([]byte, 32)
	rand.Read(key)
	log, flush := app.NewLogger(io.Discard, "json")
	b.Cleanup(flush)
	a, err := app.Open(b.Context(), app.Config{
		PublicURL: "https://" + baseHost, DatabaseURL: "sqlite:" + b.TempDir() + "/cardea.db", MasterKey: hex.EncodeToString(key), TrustedProxies: "127.0.0.1/32",
	}, log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { a.Close() })
	p := &place{options: options{users: 10}}
	err = a.DB.Write(b.Context(), func(tx *database.Tx) error {
		t, _, err := a.NewTenant(b.Context(), tx, access.System(""), bigTenant, bigTenant, "")
		if err != nil {
			return err
		}
		p.tenants = []tenantKey{{slug: t.Slug, id: t.ID}}
		u, err := a.Users.Create(b.Context(), tx, access.System(t.ID), user.User{Email: "ann@example.com", IsActive: true})
		p.sample.ids, p.sample.emails = []string{u.ID}, []string{u.Email}
		return err
	})
	if err == nil {
		err = p.makeApplications(b.Context(), a)
	}
	if err == nil {
		err = p.signPeopleIn(b.Context(), a)
	}
	if err != nil {
		b.Fatal(err)
	}
	return p, a
}

// serve has a request answered, and returns the body of the answer, which must be 200.
func serve(b *testing.B, h http.Handler, r request) []byte {
	in, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(r.raw)))
	if err != nil {
		b.Fatal(err)
	}
	in.RemoteAddr = "127.0.0.1:40000"
	w := answerWriter{header: http.Header{}}
	h.ServeHTTP(&w, in)
	if w.status != http.StatusOK {
		b.Fatalf("%s: status %d: %.300s", firstLine(r.raw), w.status, w.body)
	}
	return w.body
}

// answerWriter keeps an answer.
type answerWriter struct {
	header http.Header
	status int
	body   []byte
}

func (w *answerWriter) Header() http.Header { return w.header }

func (w *answerWriter) WriteHeader(status int) { w.status = status }

func (w *answerWriter) Write(body []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.body = append(w.body, body...)
	return len(body), nil
}
