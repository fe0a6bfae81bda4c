package signin_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/cardea-id/cardea/internal/testidp"
)

const thereSLO = "https://idp.acme.example/slo"

// bySLO has the provider take logouts by redirect.
func bySLO(s *sso.Settings) { s.IdP.SLORedirect, s.IdP.SLOPost = thereSLO, "" }

// signsOut signs out on our page, and returns where that leads.
func (b *bench) signsOut(t *testing.T, decision string) apptest.Page {
	t.Helper()
	p := b.Submit(t, b.Get(t, "/signout"), "/signout", "decision", decision)
	b.wantIn(t, false) // whatever the provider does then
	return p
}

// asked reads what the provider is sent to sign somebody out there, as it would.
func (b *bench) asked(t *testing.T, e *enterprise, p apptest.Page) samlxml.LogoutRequest {
	t.Helper()
	var m samlxml.Message
	var err error
	address := thereSLO
	if at := p.Location(); at != nil {
		m, err = samlxml.DecodeRedirect(at.RawQuery)
		at.RawQuery = ""
		address = at.String()
	} else {
		form := p.Forms()[0]
		address = form.Action
		m, err = samlxml.DecodePost(form.Fields.Get("SAMLRequest"), "", false)
	}
	if err != nil || !strings.HasPrefix(address, thereSLO) {
		t.Fatalf("sent to %s, %v: %s", address, err, p.Text())
	}
	us, err := b.SSO.Us(t.Context(), b.Demo.ID, e.c)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := b.SSO.Certificates(t.Context(), e.c)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := samlxml.ParseCertificate([]byte(ours[0].PEM))
	if err != nil {
		t.Fatal(err)
	}
	expect := samlxml.LogoutExpect{SP: samlxml.SP{EntityID: e.c.Settings.IdP.EntityID, SLO: address}, IdP: samlxml.IdP{EntityID: us.EntityID}, Now: b.Clock.Now()}
	expect.IdP.Certificates = append(expect.IdP.Certificates, certificate)
	wish, _, err := samlxml.VerifyLogoutRequest(m, expect)
	if err != nil {
		t.Fatal(err)
	}
	return wish
}

// answers is the provider's answer to a request of ours, by redirect.
func (b *bench) answers(t *testing.T, e *enterprise, k testidp.Key, l samlxml.LogoutResponse) string {
	t.Helper()
	l.ID = samlxml.NewID()
	provider := samlxml.SP{EntityID: e.c.Settings.IdP.EntityID, Keys: []samlxml.Key{{Private: k.Private, Certificate: k.Certificate}}}
	sent, err := provider.LogoutResponse(l, samlxml.IdP{SLORedirect: "https://" + apptest.BaseHost + sso.SLOPath(e.c.ID)}, "", b.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return sent.Redirect
}

func (b *bench) lastCause(t *testing.T, e *enterprise) sso.Cause {
	t.Helper()
	list, err := b.SSO.Traces(t.Context(), b.DB, access.System(b.Demo.ID), e.ID, e.c.ID, "", 1)
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	return list[0].Cause
}

func TestSigningOutEndsTheSessionAtTheProvider(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		e, key := b.saml(t, bySLO)
		b.byButtonSAML(t, e)
		u, _ := b.user(t, annThere)
		list, err := b.SSO.Identities(t.Context(), b.DB, b.Demo.ID, u.ID)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		wish := b.asked(t, e, b.signsOut(t, "one"))
		if wish.NameID != list[0].Subject || len(wish.SessionIndexes) != 1 {
			t.Errorf("it is asked for %+v", wish)
		}
		stranger, err := testidp.NewKey(b.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			answer string
			want   sso.Cause
		}{
			"signed by a stranger":       {b.answers(t, e, stranger, samlxml.LogoutResponse{InResponseTo: wish.ID, Success: true}), sso.Signature},
			"not signed":                 {strings.Split(b.answers(t, e, key, samlxml.LogoutResponse{InResponseTo: wish.ID, Success: true}), "&SigAlg=")[0], sso.Unsigned},
			"to a request of nobody":     {b.answers(t, e, key, samlxml.LogoutResponse{InResponseTo: samlxml.NewID(), Success: true}), sso.OtherRequest},
			"to no request":              {b.answers(t, e, key, samlxml.LogoutResponse{Success: true}), sso.OtherRequest},
			"to a request of a sign-in":  {b.answers(t, e, key, samlxml.LogoutResponse{InResponseTo: "_" + strings.Repeat("a", 43), Success: true}), sso.OtherRequest},
			"of more than can be looked": {b.answers(t, e, key, samlxml.LogoutResponse{InResponseTo: "_" + strings.Repeat("a", 4000), Success: true}), sso.OtherRequest},
		} {
			b.Clock.Advance(time.Millisecond)
			if p := b.Get(t, c.answer); !p.Says("You are signed out") {
				t.Errorf("%s: %d %s", name, p.Status, p.Text())
			}
			if got := b.lastCause(t, e); got != c.want {
				t.Errorf("%s: the trace says %q, want %q", name, got, c.want)
			}
		}
		right := b.answers(t, e, key, samlxml.LogoutResponse{InResponseTo: wish.ID, Success: true})
		b.Clock.Advance(time.Millisecond)
		b.follow(t, b.Get(t, right)).WantText(t, "You are signed out")
		if got := b.lastCause(t, e); got != "" {
			t.Errorf("the trace says %q", got)
		}
		b.Clock.Advance(time.Millisecond)
		b.Get(t, right)
		if got := b.lastCause(t, e); got != sso.OtherRequest {
			t.Errorf("a second time: the trace says %q", got)
		}
	})
}

func TestSigningOutAtTheProviderByForm(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		e, key := b.saml(t, func(s *sso.Settings) { s.IdP.SLORedirect, s.IdP.SLOPost = "", thereSLO })
		b.byButtonSAML(t, e)
		wish := b.asked(t, e, b.signsOut(t, "one"))
		provider := samlxml.SP{EntityID: e.c.Settings.IdP.EntityID, Keys: []samlxml.Key{{Private: key.Private, Certificate: key.Certificate}}}
		sent, err := provider.LogoutResponse(samlxml.LogoutResponse{ID: samlxml.NewID(), InResponseTo: wish.ID, Success: false}, samlxml.IdP{SLOPost: "https://" + apptest.BaseHost + sso.SLOPath(e.c.ID)}, "", b.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		// It says that it failed: that holds nobody up.
		b.Clock.Advance(time.Millisecond)
		b.follow(t, b.PostForm(t, sent.Form.Action, url.Values{"SAMLResponse": {sent.Form.SAMLResponse}})).WantText(t, "You are signed out")
		if got := b.lastCause(t, e); got != sso.ProviderError {
			t.Errorf("the trace says %q", got)
		}
	})
}

// Nothing that a provider does, or is, keeps anybody from signing out.
func TestSigningOutTellsOnlyWhomItMay(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*sso.Settings)
		then func(*testing.T, *bench, *enterprise)
	}{
		"no address for it":        {func(s *sso.Settings) { s.IdP.SLORedirect, s.IdP.SLOPost = "", "" }, nil},
		"the organization forbids": {func(s *sso.Settings) { bySLO(s); s.NoLogout = true }, nil},
		"switched off meanwhile":   {bySLO, func(t *testing.T, b *bench, e *enterprise) { t.Helper(); b.connection(t, e, sso.Disabled) }},
		"deleted meanwhile": {bySLO, func(t *testing.T, b *bench, e *enterprise) {
			t.Helper()
			b.Write(t, func(ctx context.Context, tx *database.Tx) error {
				return b.SSO.Delete(ctx, tx, access.System(b.Demo.ID), e.ID, e.c.ID)
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dev(t, func(t *testing.T, b *bench) {
				e, _ := b.saml(t, c.set)
				b.byButtonSAML(t, e)
				if c.then != nil {
					c.then(t, b, e)
				}
				b.signsOut(t, "one").Want(t, 200).WantText(t, "You are signed out")
			})
		})
	}
}

func TestLeavingWithoutAReasonLeadsToOurOwnPage(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		e, _ := b.saml(t, bySLO)
		for _, token := range []string{"", "nobody's", strings.Repeat("a", 5000)} {
			b.follow(t, b.Get(t, sso.LeavePath(e.c.ID)+"?request="+token)).WantText(t, "You are signed out")
		}
	})
}

// An application signs somebody out: the provider comes before the application.
func TestApplicationsLogoutGoesByTheProvider(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		b.spa(t)
		e, key := b.saml(t, bySLO)
		const back = "https://app.example.com/bye"
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			app, err := b.Tenants.ByClientID(ctx, b.Demo.ClientID)
			if err != nil {
				return err
			}
			app.OAuth.PostLogoutRedirectURIs = []string{back}
			_, err = b.Tenants.SaveApplication(ctx, tx, access.System(b.Demo.ID), app)
			return err
		})
		b.Clock.Advance(2 * time.Second)
		got := b.swap(t, b.byButtonSAML(t, e))
		p := b.Get(t, "/oauth2/logout?"+url.Values{"id_token_hint": {got.ID}, "post_logout_redirect_uri": {back}, "state": {"s"}}.Encode())
		wish := b.asked(t, e, p)
		b.wantIn(t, false)
		last := b.Get(t, b.answers(t, e, key, samlxml.LogoutResponse{InResponseTo: wish.ID, Success: true}))
		if at := last.Location(); at == nil || at.String() != back+"?state=s" {
			t.Errorf("it ends at %v: %s", at, last.Text())
		}
	})
}

// A person's sessions there are forgotten with them, and what is over is swept.
func TestWhatIsKnownOfSessionsAtProvidersGoes(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		e, _ := b.saml(t, bySLO)
		count := func() (n int64) {
			t.Helper()
			for _, table := range []string{"sso_sessions", "sso_logouts"} {
				var some int64
				if err := b.DB.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` WHERE tenant_id = $1`, b.Demo.ID).Scan(&some); err != nil {
					t.Fatal(err)
				}
				n += some
			}
			return n
		}
		b.another().byButtonSAML(t, e)
		b.byButtonSAML(t, e)
		b.asked(t, e, b.signsOut(t, "all"))
		if n := count(); n != 2 {
			t.Errorf("%d rows of one session and one logout", n)
		}
		b.Clock.Advance(time.Hour)
		if err := b.SSO.Sweep(t.Context()); err != nil || count() != 1 {
			t.Errorf("%d rows are left, %v", count(), err)
		}
		u, _ := b.user(t, annThere)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return b.Users.Delete(ctx, tx, access.System(b.Demo.ID), u.ID)
		})
		if n := count(); n != 0 {
			t.Errorf("%d rows of nobody", n)
		}
	})
}
