package oidc

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A Consent is what a user has allowed the application of somebody else.
type Consent struct {
	ApplicationID string
	Scope         string // separated by spaces
	CreatedAt     time.Time
	ModifiedAt    time.Time
}

// Consents lists what a user has allowed, newest first, at most 1,000.
func (s *Service) Consents(ctx context.Context, db database.Reader, tenant, user string) ([]Consent, error) {
	return listConsents(ctx, db, tenant, user)
}

// RevokeConsent takes back what a user has allowed an application, and ends all that
// the application holds for the user, whether it ever needed consent or not.
func (s *Service) RevokeConsent(ctx context.Context, tx *database.Tx, by access.Actor, user, application string) error {
	if err := s.Sessions.EndGrants(ctx, tx, by, user, application, "consent_revoked"); err != nil {
		return err
	}
	if err := dropUnspent(ctx, tx, by.Tenant, user, application); err != nil {
		return err
	}
	revoked, err := deleteConsent(ctx, tx, by.Tenant, user, application)
	if err != nil || !revoked {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "consent.revoked", Target: "user", TargetID: user, Detail: map[string]any{"application": application}})
}

// consentMissing is errConsentRequired if the user of a session has to be asked. Only
// applications of others ask, and those that want it asked.
func (s *Service) consentMissing(ctx context.Context, j *journey, in session.Session) (*problem.Problem, error) {
	if j.prompts(promptConsent) {
		return errConsentRequired, nil
	}
	if !j.app.OAuth.ThirdParty {
		return nil, nil
	}
	// What comes back to a program on the user's machine may reach another program than
	// the one that was allowed (OAuth 2.1, section 7.3.1).
	if j.app.IsPublic() && !strings.HasPrefix(j.RedirectURI, "https://") {
		return errConsentRequired, nil
	}
	allowed, found, err := findConsent(ctx, s.DB, j.by.Tenant, in.UserID, j.app.ID)
	if err != nil || found && isWithin(j.Scope, allowed) {
		return nil, err
	}
	return errConsentRequired, nil
}

// isWithin reports whether allowed has every word of scope.
func isWithin(scope, allowed string) bool {
	has := strings.Fields(allowed)
	return !slices.ContainsFunc(strings.Fields(scope), func(word string) bool { return !slices.Contains(has, word) })
}

// askConsent shows the page that asks. Its form names the session of the user who is
// asked: another one, active by then in another tab, has not been.
func (s *Service) askConsent(w http.ResponseWriter, r *http.Request, j *journey, in session.Session) (err error) {
	if err := s.park(w, r, j); err != nil {
		return err
	}
	u, err := s.Users.Find(r.Context(), s.DB, access.System(j.by.Tenant), in.UserID)
	if err != nil {
		return err
	}
	ask := &page.Consent{
		View: s.SignIn.View(w, r), App: appOf(j.app), Person: personOf(u), SwitchURL: address(pathContinue, "request", j.handle, "switch", "1"),
		ReturnsTo: returnsTo(j.RedirectURI), PrivacyURL: j.app.OAuth.PolicyURI, TermsURL: j.app.OAuth.TermsURI,
		Action: address(pathConsent, "session", in.ID),
	}
	s.SignIn.Dress(r.Context(), &ask.View, j.by.Tenant, j.place.Organization)
	for _, scope := range strings.Fields(j.Scope) {
		ask.Scopes = append(ask.Scopes, page.Scope{Name: scope})
	}
	ask.State = j.handle
	if ask.CSRF, err = s.SignIn.FormToken(w, r); err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, ask)
}

// returnsTo is what a person is shown of where an answer goes: the host, or the scheme
// of a program on their machine.
func returnsTo(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	switch {
	case err != nil:
		return ""
	case u.Host != "":
		return u.Host
	}
	return u.Scheme
}

// postConsent takes what the person has decided.
func (s *Service) postConsent(w http.ResponseWriter, r *http.Request) error {
	if err := s.SignIn.CheckForm(w, r); err != nil {
		return err
	}
	j, err := s.stored(w, r, r.PostFormValue("state"))
	if err != nil {
		return err
	}
	j.returned = true
	sessions, err := s.SignIn.Signed(r)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(sessions, func(in session.Session) bool { return in.ID == r.URL.Query().Get("session") })
	changed := i < 0 || j.UserID != "" && j.UserID != sessions[i].UserID || j.lacks(sessions[i]) != nil || !matchesRedirect(j.app, j.RedirectURI)
	if !changed {
		missing, err := s.admit(r.Context(), j, sessions[i])
		if err != nil {
			return err
		}
		changed = missing != nil
	}
	if changed {
		return seeOther(w, pathContinue, "request", r.PostFormValue("state")) // what has changed meanwhile is decided there
	}
	switch r.PostFormValue("decision") {
	case "allow":
		return s.complete(w, r, j, sessions[i], true)
	case "deny":
		return s.refuse(w, r, j, true, errDenied)
	}
	return errRequest.In("decision")
}

// grantConsent remembers what a user allows an application, beside what was allowed
// before.
func (s *Service) grantConsent(ctx context.Context, tx *database.Tx, by access.Actor, user string, app tenant.Application, scope string) error {
	allowed, _, err := findConsent(ctx, tx, by.Tenant, user, app.ID)
	if err != nil {
		return err
	}
	words := strings.Fields(allowed)
	for _, word := range strings.Fields(scope) {
		if !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	if err := saveConsent(ctx, tx, by.Tenant, user, app.ID, strings.Join(words, " ")); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "consent.granted", Target: "user", TargetID: user, Detail: map[string]any{"application": app.ID, "scope": scope}})
}

// SweepRequests removes authorization requests that have expired, codes a day after
// that, and documents of clients that were not read for long, in portions.
func (s *Service) SweepRequests(ctx context.Context) error {
	const portion = 1000
	for _, table := range []struct {
		sweep func(ctx context.Context, tx *database.Tx, before time.Time, limit int) (int64, error)
		kept  time.Duration
	}{{sweepRequests, 0}, {sweepCodes, 24 * time.Hour}, {sweepDocuments, documentKept}} {
		for n := int64(portion); n == portion; {
			err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
				n, err = table.sweep(ctx, tx, tx.Now.Add(-table.kept), portion)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
