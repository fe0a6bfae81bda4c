package sso_test

import (
	"crypto/rand"
	"testing"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/user"
)

// BenchmarkSAML is a response received and claimed, its user made and linked: all of a
// first sign-in but the session. The provider's own signature is outside of the measure.
func BenchmarkSAML(b *testing.B) {
	for _, engine := range dbtest.Engines {
		b.Run(engine, func(b *testing.B) {
			db, err := database.Open(b.Context(), dbtest.URL(b, engine))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			s := newBench(b, db)
			c := s.saml(b)
			responses := make([]string, 0, b.N)
			for range b.N {
				responses = append(responses, s.answer(b, c, said{nameID: rand.Text(), emails: []string{rand.Text() + "@acme.example"}}))
			}
			b.ResetTimer()
			for _, response := range responses {
				handle, err := s.Service.ReceiveSAML(b.Context(), s.by, c.ID, response, "")
				if err != nil {
					b.Fatal(err)
				}
				p, _, err := s.Claim(b.Context(), s.by, handle, browser)
				if err != nil {
					b.Fatal(err)
				}
				s.write(b, func(tx *database.Tx) error {
					if _, _, err := s.SignIn(b.Context(), tx, s.by, p); err != nil {
						return err
					}
					u, err := s.users.Create(b.Context(), tx, s.admin, user.User{Email: p.Email})
					if err != nil {
						return err
					}
					return s.Link(b.Context(), tx, s.by, u.ID, p)
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signins/s")
		})
	}
}
