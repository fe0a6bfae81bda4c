package signin

import (
	"context"
	"errors"
	"net/http"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/session"
)

// pageSignUp is pageSignIn for newcomers.
func (s *Service) pageSignUp(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	a := attempt{}
	if handle := r.URL.Query().Get("state"); handle != "" {
		if a, err = s.attemptOf(r.Context(), v, handle); err != nil {
			return err
		}
	}
	a.Request.SignUp = true
	return page.Render(w, r, http.StatusOK, s.firstPage(r.Context(), v, a))
}

// pageSignOut asks whether to sign out: a link alone must not do it.
func (s *Service) pageSignOut(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	if len(v.sessions) == 0 {
		return page.Render(w, r, http.StatusOK, &page.SignedOut{View: v.view, SignInURL: pathSignIn})
	}
	u, err := s.Users.Find(r.Context(), s.DB, access.System(v.by.Tenant), v.sessions[0].UserID)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, &page.SignOut{View: v.view, Person: personOf(u), Several: len(v.sessions) > 1, Action: pathSignOut, BackURL: page.ProfilePath})
}

// postSignOut ends the active session of the browser, or all of them.
func (s *Service) postSignOut(w http.ResponseWriter, r *http.Request) error {
	if err := s.CheckForm(w, r); err != nil {
		return err
	}
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	ending := v.sessions[:min(1, len(v.sessions))]
	if r.PostFormValue("decision") == "all" {
		ending = v.sessions
	}
	for _, h := range ending {
		if err := s.EndSession(r.Context(), v.by, h.UserID, h.ID, "logout"); err != nil {
			return err
		}
	}
	keep(w, r, v.sessions[len(ending):])
	if next := s.Farewell(r.Context(), v.by, idsOf(ending), ""); next != "" {
		return to(w, r, next)
	}
	return page.Render(w, r, http.StatusOK, &page.SignedOut{View: v.view, SignInURL: pathSignIn})
}

func idsOf(sessions []held) (ids []string) {
	for _, in := range sessions {
		ids = append(ids, in.ID)
	}
	return ids
}

// EndSession ends a session of a user on the user's own behalf, and has applications
// told. It is no error if it has ended already.
func (s *Service) EndSession(ctx context.Context, by access.Actor, user, id, reason string) error {
	by.Name = "user:" + user
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		err := s.Sessions.End(ctx, tx, by, user, id, reason)
		if errors.Is(err, session.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return s.tell(ctx, tx, by, user, []string{id})
	})
}
