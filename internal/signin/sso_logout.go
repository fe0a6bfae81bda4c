package signin

import (
	"context"
	"net/http"
	"slices"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// Signing out from an organization's provider. It sends a browser with a signed request;
// what counts is the signature, not whose browser it is.

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

// logOut ends the sessions that a provider means, and answers it.
func (s *Service) logOut(w http.ResponseWriter, r *http.Request, m samlxml.Message) error {
	by := visitorOf(r)
	l, err := s.SSO.ReceiveLogout(r.Context(), by, r.PathValue("connection"), m, func(tx *database.Tx, l sso.Logout) error {
		return s.endFrom(r.Context(), tx, by, l)
	})
	if err != nil {
		return err
	}
	switch {
	case l.Answer.Form != nil:
		p := &page.FormPost{View: s.View(w, r), Action: l.Answer.Form.Action, Fields: []page.Pair{{Name: "SAMLResponse", Value: l.Answer.Form.SAMLResponse}}}
		if l.Answer.Form.RelayState != "" {
			p.Fields = append(p.Fields, page.Pair{Name: "RelayState", Value: l.Answer.Form.RelayState})
		}
		p.View.Here = ""
		return page.Render(w, r, http.StatusOK, p)
	case l.Answer.Location != "":
		return to(w, r, l.Answer.Location)
	}
	return to(w, r, pathSignIn)
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
