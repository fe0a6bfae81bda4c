package sso_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/sso"
)

const (
	ourDirectory = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	another      = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

// Anybody may have a directory at Microsoft and write there what they like: of an issuer
// of many, a connection takes the directories that it names.
func TestIssuerOfManyDirectories(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		from := func(issuer, tid string) func(map[string]any) {
			return func(c map[string]any) { c["iss"], c["tid"] = b.op.URL+"/"+issuer+"/v2.0", tid }
		}
		c := b.connect(t, sso.Connection{OrganizationID: b.acme, Kind: sso.OIDC, Provider: "entra",
			Settings: sso.Settings{Issuer: b.op.URL + "/organizations/v2.0", Directories: []string{" " + ourDirectory}, ClientID: clientID}}, clientSecret)
		for name, f := range map[string]struct {
			claims func(map[string]any)
			iss    string // of the answer
			want   sso.Cause
		}{
			"of one that it names":                 {from(ourDirectory, ourDirectory), "", ""},
			"of it, and the answer says so":        {from(ourDirectory, ourDirectory), "/" + ourDirectory + "/v2.0", ""},
			"of another":                           {from(another, another), "", sso.OtherDirectory},
			"of another, which says it is ours":    {from(another, ourDirectory), "", sso.TokenIssuer},
			"of ours, which says it is another":    {from(ourDirectory, another), "", sso.TokenIssuer},
			"of no directory":                      {from(ourDirectory, ""), "", sso.OtherDirectory},
			"of the pattern":                       {from("{tenantid}", ourDirectory), "", sso.TokenIssuer},
			"of the issuer of all":                 {from("organizations", ourDirectory), "", sso.TokenIssuer},
			"an answer of somebody else":           {from(ourDirectory, ourDirectory), "/evil/v2.0", sso.TokenIssuer},
			"of a directory that is none, escaped": {from(ourDirectory+"/..", ourDirectory), "", sso.TokenIssuer},
		} {
			b.pass(time.Second)
			b.op.claims = f.claims
			sent, err := b.Start(t.Context(), b.by, sso.Request{Connection: c.ID, Attempt: attempt, Browser: browser})
			if err != nil {
				t.Fatal(err)
			}
			query := b.callback(t, sent.Location)
			if f.iss != "" {
				query.Set("iss", b.op.URL+f.iss)
			}
			p, _, err := b.FinishOIDC(t.Context(), b.by, c.ID, query, browser)
			got := b.lastTrace(t, c)
			if got.Cause != f.want || (err == nil) != (f.want == "") {
				t.Errorf("%s: the cause is %q (%v), want %q: %+v", name, got.Cause, err, f.want, got.Steps)
			}
			if err == nil && p.Issuer != b.op.URL+"/"+ourDirectory+"/v2.0" {
				t.Errorf("%s: the identity is of %s", name, p.Issuer)
			}
			if f.want == sso.OtherDirectory && got.Fix.Field != "settings.directories" {
				t.Errorf("%s: the advice is %+v", name, got.Fix)
			}
		}
	})
}

func TestIssuerOfManyNamesItsDirectories(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		draft := func(o sso.Settings) (sso.Prepared, error) {
			o.ClientID = clientID
			return b.Prepare(t.Context(), b.admin, sso.Connection{OrganizationID: b.acme, Kind: sso.OIDC, Provider: "entra", Settings: o}, clientSecret)
		}
		for _, id := range []string{"acme.onmicrosoft.com", "*", "", ourDirectory + "0", url.PathEscape("../" + ourDirectory)} {
			if _, err := draft(sso.Settings{Issuer: b.op.URL + "/organizations/v2.0", Directories: []string{id}}); !errors.Is(err, sso.ErrInvalid) {
				t.Errorf("%q is taken for the id of a directory: %v", id, err)
			}
		}
		for _, issuer := range []string{"/common/v2.0", "/organizations/v2.0/"} {
			p, err := draft(sso.Settings{Issuer: b.op.URL + issuer})
			if err != nil {
				t.Fatal(err)
			}
			err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
				c, err := b.Create(t.Context(), tx, b.admin, p)
				if err == nil {
					_, err = b.SetState(t.Context(), tx, b.admin, b.acme, c.ID, sso.Active)
				}
				return err
			})
			if !errors.Is(err, sso.ErrIncomplete) {
				t.Errorf("%s without a directory is switched on: %v", issuer, err)
			}
		}
	})
}
