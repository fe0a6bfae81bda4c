package sso_test

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// The next key stands in the metadata and decrypts before it signs; the one before still
// decrypts until it is dropped.
func TestOurKeyIsRenewed(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		roll := func(step string) error {
			p, err := b.RollKey(t.Context(), b.admin, b.acme, c.ID, step)
			if err != nil {
				return err
			}
			return b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
				c, err = b.Save(t.Context(), tx, b.admin, p)
				return err
			})
		}
		shown := func() []sso.Certificate {
			list, err := b.Certificates(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		opens := func(to sso.Certificate) bool {
			_, _, err := b.signIn(t, c, said{encrypt: publicKey(t, to)})
			return err == nil
		}
		old := shown()[0]
		if err := roll(sso.UseKey); !errors.Is(err, sso.ErrInvalid) {
			t.Errorf("the only key is used: %v", err)
		}
		if err := roll(sso.AddKey); err != nil {
			t.Fatal(err)
		}
		next := shown()[1]
		metadata, err := b.Metadata(t.Context(), tenant, c.ID)
		if err != nil || strings.Count(string(metadata), "<ds:X509Certificate>") != 4 {
			t.Errorf("the metadata have not both keys: %s, %v", metadata, err)
		}
		if shown()[0].Fingerprint != old.Fingerprint || !opens(old) || !opens(next) {
			t.Error("added: the old one signs, both decrypt")
		}
		if err := roll(sso.UseKey); err != nil {
			t.Fatal(err)
		}
		if shown()[0].Fingerprint != next.Fingerprint || !opens(old) || !opens(next) {
			t.Error("used: the new one signs, both decrypt")
		}
		if err := roll(sso.DropKey); err != nil {
			t.Fatal(err)
		}
		if opens(old) || !opens(next) {
			t.Error("dropped: the old one decrypts still")
		}
	})
}

func TestCertificatesAreWarnedOf(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t) // its certificate ends in 60 days
		var told []int
		b.Warn = func(_ context.Context, _ *database.Tx, _ access.Actor, of sso.Connection, days int) error {
			if of.ID == c.ID {
				told = append(told, days)
			}
			return nil
		}
		for range 65 {
			if err := b.WarnOfCertificates(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.pass(24 * time.Hour)
		}
		if len(told) != 4 || told[0] != 30 || told[1] != 14 || told[2] != 7 || told[3] != 1 {
			t.Errorf("told of %v", told)
		}
	})
}

// Traces tell no addresses, and end after a week whether they were swept or not.
func TestTracesTellNobody(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		for _, says := range []said{{nameID: "ann.secret@acme.example"}, {emails: []string{"ann.secret"}}, {nameID: "ann.secret", status: "RequestDenied"}} {
			_, _, _ = b.signIn(t, c, says) // some are refused
			if text := strings.Join(texts(b.lastTrace(t, c)), " "); strings.Contains(text, "secret") || strings.Contains(text, "Ann") {
				t.Errorf("it tells %s", text)
			}
		}
		kept := b.lastTrace(t, c)
		b.pass(8 * 24 * time.Hour)
		if _, err := b.Trace(t.Context(), b.DB, b.admin, b.acme, c.ID, kept.ID); !errors.Is(err, sso.ErrTrace) {
			t.Errorf("after a week: %v", err)
		}
		if err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left int64
		for _, table := range []string{"sso_traces", "sso_flows", "sso_messages"} {
			var n int64
			if err := b.DB.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
				t.Fatal(err)
			}
			left += n
		}
		if left != 0 {
			t.Errorf("%d rows are left", left)
		}
	})
}

// Strangers can post what they like; they do not fill the database.
func TestStrangersLeaveFewTraces(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		for range 50 {
			if _, err := b.Service.ReceiveSAML(t.Context(), b.by, c.ID, "PHg+", ""); !errors.Is(err, sso.ErrRefused) {
				t.Fatal(err)
			}
		}
		found, err := b.Traces(t.Context(), b.DB, b.admin, b.acme, c.ID, "", 100)
		if err != nil || len(found) == 0 || len(found) > 20 {
			t.Errorf("%d traces, %v", len(found), err)
		}
	})
}

// C3 73: who is logged out is whom the connection's own provider names, once.
func TestLogoutRequests(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		p, _, err := b.signIn(t, c, said{})
		if err != nil {
			t.Fatal(err)
		}
		ann := b.user(t, "ann")
		if err := b.link(t, ann, p); err != nil {
			t.Fatal(err)
		}
		ended := []string{}
		receive := func(c sso.Connection, query string) (sso.Logout, error) {
			m, err := samlxml.DecodeRedirect(query)
			if err != nil {
				t.Fatal(err)
			}
			b.pass(time.Millisecond)
			return b.ReceiveLogout(t.Context(), b.by, c.ID, m, func(tx *database.Tx, l sso.Logout) error {
				ended = append(ended, l.UserID)
				return audit.Append(tx, b.by, audit.Event{Action: "session.ended", Target: "user", TargetID: l.UserID})
			})
		}
		query := b.logout(t, c, acme(), "ann-1")
		l, err := receive(c, query)
		if err != nil || l.UserID != ann || len(ended) != 1 || !strings.HasPrefix(l.Answer.Location, "https://idp.acme.example/slo?SAMLResponse=") {
			t.Fatalf("got %+v, %v, %v: %+v", l, err, ended, b.lastTrace(t, c))
		}
		if _, err := receive(c, query); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, c).Cause != sso.Replay {
			t.Errorf("again: %v", err)
		}
		if _, err := receive(c, b.logout(t, c, thief(), "ann-1")); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, c).Cause != sso.Signature {
			t.Errorf("signed by another: %v", err)
		}
		if _, err := receive(c, strings.Split(b.logout(t, c, acme(), "ann-1"), "&SigAlg=")[0]); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, c).Cause != sso.Unsigned {
			t.Errorf("not signed: %v, %s", err, b.lastTrace(t, c).Cause)
		}
		if l, err := receive(c, b.logout(t, c, acme(), "bob-1")); err != nil || l.UserID != "" {
			t.Errorf("somebody whom nobody knows: %+v, %v", l, err)
		}
		theirs := b.connect(t, sso.Connection{OrganizationID: b.organization(t, "Globex"), Kind: sso.SAML, Provider: "okta", Settings: sso.Settings{IdP: acme().settings()}}, "")
		if l, err := receive(theirs, b.logout(t, theirs, acme(), "ann-1")); err != nil || l.UserID != "" {
			t.Errorf("by another connection: %+v, %v", l, err)
		}
		if len(ended) != 1 {
			t.Errorf("ended were the sessions of %v", ended)
		}
	})
}

// logout is the query of a logout request by redirect.
func (b *bench) logout(t *testing.T, c sso.Connection, by *idp, nameID string) string {
	t.Helper()
	now := b.DB.Now().UTC()
	text := `<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_l` + rand.Text() + `" Version="2.0" IssueInstant="` + now.Format("2006-01-02T15:04:05.000Z") +
		`" NotOnOrAfter="` + now.Add(time.Minute).Format("2006-01-02T15:04:05.000Z") + `" Destination="` + b.us(t, c).SLO + `"><saml:Issuer>` + entity + `</saml:Issuer><saml:NameID Format="` + persistent + `">` + nameID + `</saml:NameID></samlp:LogoutRequest>`
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestCompression)
	_, _ = w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	query := "SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(packed.Bytes())) + "&SigAlg=" + url.QueryEscape("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256")
	sum := sha256.Sum256([]byte(query))
	signature, err := rsa.SignPKCS1v15(rand.Reader, by.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature))
}
