package signin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// Signing out from an organization's provider. It sends a browser with a signed request;
// what counts is the signature, not whose browser it is. And signing out there when
// somebody has signed out here: sessions here end first, whatever the provider does then.

func (s *Service) getSLO(w http.ResponseWriter, r *http.Request) error {
	m, err := samlxml.DecodeRedirect(r.URL.RawQuery)
	if err != nil {
		return sso.ErrRefused.Because("%w", err)
	}
	return s.logOut(w, r, m)
}

func (s *Service) postSLO(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxResponse)
	if err := r.ParseForm(); err != nil {
		return sso.ErrRefused.Because("%w", err)
	}
	field, isResponse := r.PostForm.Get("SAMLRequest"), false
	if field == "" {
		field, isResponse = r.PostForm.Get("SAMLResponse"), true
	}
	m, err := samlxml.DecodePost(field, r.PostForm.Get("RelayState"), isResponse)
	if err != nil {
		return sso.ErrRefused.Because("%w", err)
	}
	return s.logOut(w, r, m)
}

// logOut ends the sessions that a provider means, and answers it; or goes on after its own
// answer.
func (s *Service) logOut(w http.ResponseWriter, r *http.Request, m samlxml.Message) error {
	by := visitorOf(r)
	l, err := s.SSO.ReceiveLogout(r.Context(), by, r.PathValue("connection"), m, func(tx *database.Tx, l sso.Logout) error {
		return s.endFrom(r.Context(), tx, by, l)
	})
	if m.IsResponse && errors.Is(err, sso.ErrRefused) { // its trace says why; who has signed out here is not held up
		return to(w, r, pathSignOut)
	}
	if err != nil {
		return err
	}
	return s.sendThere(w, r, l.Answer, cmp.Or(l.Next, pathSignIn))
}

// sendThere sends a browser to a provider, or to next if there is nothing to send.
func (s *Service) sendThere(w http.ResponseWriter, r *http.Request, sent sso.Sent, next string) error {
	if sent.Form == nil {
		return to(w, r, cmp.Or(sent.Location, next))
	}
	p := &page.FormPost{View: s.View(w, r), Action: sent.Form.Action}
	for _, f := range []page.Pair{{Name: "SAMLRequest", Value: sent.Form.SAMLRequest}, {Name: "SAMLResponse", Value: sent.Form.SAMLResponse}, {Name: "RelayState", Value: sent.Form.RelayState}} {
		if f.Value != "" {
			p.Fields = append(p.Fields, f)
		}
	}
	p.View.Here = ""
	return page.Render(w, r, http.StatusOK, p)
}

// Farewell is where to send a browser whose sessions have ended here, so that those at the
// providers of organizations end too; and then to next, which is all there is to do if
// nobody is to be told, or that fails: nobody is kept from signing out.
func (s *Service) Farewell(ctx context.Context, by access.Actor, sessions []string, next string) string {
	last := cmp.Or(next, pathSignOut)
	where, err := s.SSO.StartLogout(ctx, by, sessions, last)
	if err != nil {
		s.Log.ErrorContext(ctx, "a provider is not told of a logout", "error", err)
	}
	if err != nil || where == last {
		return next
	}
	return where
}

// getLeave sends the browser on to a provider to sign out there.
func (s *Service) getLeave(w http.ResponseWriter, r *http.Request) error {
	sent, next, err := s.SSO.Leave(r.Context(), visitorOf(r), r.PathValue("connection"), r.URL.Query().Get("request"))
	if err != nil {
		s.Log.WarnContext(r.Context(), "a provider is not told of a logout", "error", err)
	}
	return s.sendThere(w, r, sent, cmp.Or(next, pathSignOut))
}

// endFrom ends the sessions of a user that came from a provider: those it names, or all.
func (s *Service) endFrom(ctx context.Context, tx *database.Tx, by access.Actor, l sso.Logout) error {
	live, err := s.Sessions.List(ctx, tx, by.Tenant, l.UserID)
	if err != nil {
		return err
	}
	for _, in := range live {
		named := len(l.SessionIndexes) == 0 || slices.ContainsFunc(l.SessionIndexes, func(index string) bool { return slices.Contains(in.Ways, wayIndex(l.Connection, index)) })
		if !named || !slices.Contains(in.Ways, BySSO(l.OrganizationID)) {
			continue
		}
		if err := s.Sessions.End(ctx, tx, by, l.UserID, in.ID, "provider_logout"); err != nil {
			return err
		}
		if err := s.tell(ctx, tx, by, l.UserID, []string{in.ID}); err != nil {
			return err
		}
	}
	return nil
}
