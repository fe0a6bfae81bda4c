package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// Organizations. Whoever signs in to an application acts in one of their organizations:
// the one that was asked for, the only one they have, or the one they choose. It lets
// them in by the ways that it allows, with as many factors as it asks for, and for as
// long. That is judged at the end of every journey, whatever way it took, and by whom
// the person is a member of: the domain of an address only says where to send a browser.

// Addresses of the organizations.
const (
	pathOrganization = "/signin/organization"
	pathAgain        = "/signin/again"
)

// Problems of getting into an organization.
var (
	ErrSSORequired     = problem.New(problem.Forbidden, "sso_required", "Your organization asks you to sign in on its own page.")
	ErrOrganizationWay = problem.New(problem.Forbidden, "organization_way", "Your organization does not accept this way to sign in. Choose another.")
	ErrChoose          = problem.New(problem.Invalid, "organization_choice_required", "The user has to choose an organization.")
)

// refusals are why an organization does not let somebody in.
var refusals = problems{ErrSSORequired, ErrOrganizationWay, org.ErrNotMember}

// waySSO, with the id of an organization behind it, is the way of who came in by a
// connection of that organization. The others are those of package org.
const waySSO = org.WaySSO + ":"

const waySMS = "sms"

// BySSO is the word in Session.Ways for who came in by a connection of an organization.
func BySSO(organization string) string { return waySSO + organization }

// ways are how somebody has come in, as policies of organizations have it.
func (a attempt) ways() (out []string) {
	switch a.Method {
	case methodEmailCode, methodEmailLink:
		out = append(out, org.WayEmail)
	case methodSMSCode:
		out = append(out, waySMS)
	case methodPassword:
		out = append(out, org.WayPassword)
	case methodPasskey:
		out = append(out, org.WayPasskey)
	case methodSocial:
		out = append(out, org.WaySocial)
	}
	if from := a.vouched(); from != nil {
		out = append(out, waySSO+from.Organization)
		if from.SessionIndex != "" {
			out = append(out, wayIndex(from.Connection, from.SessionIndex))
		}
	}
	return out
}

// wayIndex names the session at an organization's provider that somebody came from, so
// that it can be ended from there.
func wayIndex(connection, index string) string {
	return fmt.Sprintf("idx:%x", secret.Hash(connection + "/" + index)[:8])
}

// memberships are those that a user can act in: active ones, of active organizations.
// They are remembered for a second, unless they are read in a transaction.
func (s *Service) memberships(ctx context.Context, db database.Reader, tenantID, userID string) ([]org.Membership, error) {
	load := func() ([]org.Membership, error) {
		all, err := s.Orgs.Memberships(ctx, db, tenantID, userID)
		return slices.DeleteFunc(all, func(m org.Membership) bool { return !m.IsActive || m.Member.Status != org.Active }), err
	}
	if db != database.Reader(s.DB) {
		return load()
	}
	return s.belongs.Get(s.DB.Now(), tenantID+userID, load)
}

// An entry is how an attempt gets into an organization.
type entry struct {
	org.Membership                  // the zero value for no organization
	choose         bool             // the person has to choose one
	refused        *problem.Problem // why it does not let them in like this; nil if it does
}

// entering finds the organization that an attempt leads into, and whether that lets the
// user in. Pages of our own are not of any. A sign-in begun by the API, which has no page
// to choose on, is of the only one, if there is one only.
func (s *Service) entering(ctx context.Context, db database.Reader, v *visit, a attempt, u user.User) (e entry, err error) {
	all, err := s.memberships(ctx, db, v.by.Tenant, u.ID)
	asked := a.Request.Organization
	switch {
	case err != nil:
		return e, err
	case asked != "":
		i := slices.IndexFunc(all, func(m org.Membership) bool { return isNamed(m.Organization, asked) })
		if i < 0 {
			e.refused = org.ErrNotMember
			return e, nil
		}
		e.Membership = all[i]
	case len(all) == 0:
		return e, nil
	case a.ApplicationID == "" || a.browser == nil && len(all) > 1:
		e.refused, err = s.lockedOutOfAll(ctx, db, v.by.Tenant, all, a.ways())
		return e, err
	case len(all) > 1:
		e.choose = true
		return e, nil
	default:
		e.Membership = all[0]
	}
	e.refused, err = s.judgeWays(ctx, db, v.by.Tenant, e.Membership, a.ways())
	return e, err
}

// isNamed reports whether somebody names an organization by its id, slug or token.
func isNamed(o org.Organization, name string) bool {
	return name != "" && (name == o.ID || name == o.Slug || name == o.Token)
}

// judgeWays says why an organization does not let in a member who came by some ways; nil
// if it does. Break-glass owners come in by any.
func (s *Service) judgeWays(ctx context.Context, db database.Reader, tenantID string, m org.Membership, ways []string) (*problem.Problem, error) {
	p := m.Policy
	vouched := slices.Contains(ways, waySSO+m.ID)
	if vouched && p.Allows(org.WaySSO) || !p.RequireSSO && (len(p.Ways) == 0 || slices.ContainsFunc(ways, p.Allows)) {
		return nil, nil
	}
	free, err := s.Orgs.GetsInWithoutSSO(ctx, db, tenantID, m.Member)
	switch {
	case err != nil || free:
		return nil, err
	case p.RequireSSO, !slices.ContainsFunc(p.Ways, func(way string) bool { return way != org.WaySSO }):
		return ErrSSORequired, nil
	}
	return ErrOrganizationWay, nil
}

// lockedOutOfAll is judgeWays for somebody who enters none of their organizations: who
// could enter none of them like this has no business here without one.
func (s *Service) lockedOutOfAll(ctx context.Context, db database.Reader, tenantID string, all []org.Membership, ways []string) (refused *problem.Problem, err error) {
	for _, m := range all {
		if refused, err = s.judgeWays(ctx, db, tenantID, m, ways); err != nil || refused == nil {
			return nil, err
		}
	}
	return refused, nil
}

// hasOwnWay reports whether a user may have a password of ours: not if all their
// organizations ask for their own sign-in.
func (s *Service) hasOwnWay(ctx context.Context, db database.Reader, tenantID, userID string) (bool, error) {
	all, err := s.memberships(ctx, db, tenantID, userID)
	if err != nil {
		return false, err
	}
	refused, err := s.lockedOutOfAll(ctx, db, tenantID, all, []string{org.WayPassword})
	return refused == nil, err
}

// requireOwnWay is hasOwnWay for who wants to set a password.
func (s *Service) requireOwnWay(ctx context.Context, db database.Reader, tenantID, userID string) error {
	own, err := s.hasOwnWay(ctx, db, tenantID, userID)
	if err == nil && !own {
		err = ErrSSORequired
	}
	return err
}

// session is the entry as sessions have it.
func (e entry) session(a attempt, now time.Time) session.Entry {
	limit := limitOf(e.Policy)
	if from := a.vouched(); from != nil && !from.Until.IsZero() {
		limit.Absolute = session.Lifetimes{Absolute: max(from.Until.Sub(now), time.Second)}.Within(limit).Absolute
	}
	return session.Entry{Organization: e.ID, Limit: limit}
}

// limitOf is how long sessions may last in an organization.
func limitOf(p org.Policy) session.Lifetimes {
	return session.Lifetimes{Idle: time.Duration(p.SessionIdle) * time.Second, Absolute: time.Duration(p.SessionAbsolute) * time.Second}
}

// LimitOf is how long what is granted in an organization may last.
func (s *Service) LimitOf(ctx context.Context, db database.Reader, tenantID, organization string) (session.Lifetimes, error) {
	if organization == "" {
		return session.Lifetimes{}, nil
	}
	o, err := s.Orgs.Find(ctx, db, tenantID, organization)
	return limitOf(o.Policy), err
}

// Place finds the organization that a session acts in for an application: the one that is
// asked for by id or slug, the one it is in, or the only one of its user. What is missing
// for that is ErrChoose, org.ErrNotMember, ErrSSORequired, ErrOrganizationWay,
// ErrSecondFactor or ErrProofTooOld; then the entry names the organization, if there is
// one. Everything it reads is as of at most a second ago.
func (s *Service) Place(ctx context.Context, tenantID string, in session.Session, asked string) (e session.Entry, missing *problem.Problem, err error) {
	all, err := s.memberships(ctx, s.DB, tenantID, in.UserID)
	if err != nil {
		return e, nil, err
	}
	at := func(name string) int {
		return slices.IndexFunc(all, func(m org.Membership) bool { return isNamed(m.Organization, name) })
	}
	i := at(in.OrganizationID)
	switch {
	case asked != "":
		if i = at(asked); i < 0 {
			return e, org.ErrNotMember, nil
		}
	case i >= 0:
	case len(all) == 0:
		return e, nil, nil
	case len(all) == 1:
		i = 0
	default:
		return e, ErrChoose, nil
	}
	m := all[i]
	e = session.Entry{Organization: m.ID, Limit: limitOf(m.Policy)}
	if missing, err = s.judgeWays(ctx, s.DB, tenantID, m, in.Ways); err != nil || missing != nil {
		return e, missing, err
	}
	switch {
	case m.Policy.MFA == org.MFARequired && !showedTwo(in):
		missing = ErrSecondFactor
	case e.Limit.Absolute > 0 && !s.DB.Now().Before(in.AuthAt.Add(e.Limit.Absolute)):
		missing = ErrProofTooOld
	}
	return e, missing, nil
}

// showedTwo reports whether two factors were shown in a session, or in its browser
// before.
func showedTwo(in session.Session) bool {
	return in.ACR == ACRTwoFactors || slices.Contains(in.AMR, amrRemembered)
}

// MayAct returns nil if a user is an active member of an organization, whose row it
// holds until the transaction ends; org.ErrNotMember if not. Everybody may act in none.
func (s *Service) MayAct(ctx context.Context, tx *database.Tx, tenantID, organization, userID string) error {
	if organization == "" {
		return nil
	}
	_, err := s.Orgs.Effective(ctx, tx, tenantID, organization, userID)
	return err
}

// Left ends what was made for an organization when somebody leaves it: sessions and
// grants, in the transaction in which they do. An empty user stands for all its members.
// With other roles nobody leaves: tokens have them from the next one on.
func (s *Service) Left(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID, reason string) error {
	tx.OnCommit(s.belongs.Clear)
	if reason == "roles_changed" {
		return nil
	}
	ended, err := s.Sessions.Leave(ctx, tx, by, organization, userID, reason)
	if err != nil {
		return err
	}
	for _, in := range ended {
		if err := s.tell(ctx, tx, by, in.UserID, []string{in.ID}); err != nil {
			return err
		}
	}
	return nil
}

// showRefused says why an organization does not let the person in like this, and what
// there is instead.
func (s *Service) showRefused(w http.ResponseWriter, r *http.Request, v *visit, a attempt, l lack, u user.User) error {
	p, err := s.stepPage(r.Context(), v, a, l.entry)
	if err != nil {
		return err
	}
	if l.entry.refused.Is(org.ErrNotMember) {
		p.View.Errors = page.ErrorsOf(l.entry.refused)
		return s.notMember(w, r, v, a, p.View.Errors)
	}
	return page.Render(w, r, http.StatusOK, p)
}

// notMember shows the first page again, for another account.
func (s *Service) notMember(w http.ResponseWriter, r *http.Request, v *visit, a attempt, errs page.Errors) error {
	v.view.Errors = errs
	return page.Render(w, r, http.StatusForbidden, s.firstPage(r.Context(), v, a))
}

// stepPage offers the sign-in of an organization, or of all that the person belongs to if
// none was asked for.
func (s *Service) stepPage(ctx context.Context, v *visit, a attempt, e entry) (*page.OrganizationStep, error) {
	p := &page.OrganizationStep{View: v.view, App: s.app(ctx, v.by.Tenant, a), Organization: organizationOf(e.Organization), SSO: e.refused.Is(ErrSSORequired), AgainAction: pathAgain}
	organizations := []org.Organization{e.Organization}
	if e.ID == "" {
		all, err := s.memberships(ctx, s.DB, v.by.Tenant, a.UserID)
		if err != nil {
			return nil, err
		}
		organizations = organizations[:0]
		for _, m := range all {
			organizations = append(organizations, m.Organization)
		}
	}
	for _, o := range organizations {
		p.Ways = append(p.Ways, s.waysInto(ctx, v, o)...)
		if p.Organization.Name == "" {
			p.Organization = organizationOf(o)
		}
	}
	if e.ID != "" && a.Request.Chosen {
		p.ChooseURL = withState(pathOrganization, v.view.State)
	}
	return p, nil
}

// organizationOf is an organization as people see it.
func organizationOf(o org.Organization) page.Organization {
	name := o.Branding.Name
	if name == "" {
		name = o.Label()
	}
	return page.Organization{ID: o.ID, Name: name, LogoURL: o.Branding.LogoURL}
}

// waysInto are the buttons of an organization's connections.
func (s *Service) waysInto(ctx context.Context, v *visit, o org.Organization) (out []page.Way) {
	if o.ID == "" || !o.IsActive || !o.Policy.Allows(org.WaySSO) {
		return nil
	}
	connections, err := s.SSO.Usable(ctx, v.by.Tenant, o.ID)
	if err != nil {
		s.Log.ErrorContext(ctx, "an organization's sign-in is left out of a page", "error", err)
		return nil
	}
	for _, c := range connections {
		out = append(out, page.Way{Label: v.view.Lang.Text("signin.with", "provider", c.Name), Icon: "building", Action: pathSSOStart + c.ID})
	}
	return out
}

// asked is the organization that an attempt is for, if there is such a one; which one it
// is called by is not told apart from none.
func (s *Service) asked(ctx context.Context, v *visit, a attempt) (org.Organization, error) {
	if a.Request.Organization == "" {
		return org.Organization{}, nil
	}
	o, err := s.Orgs.Named(ctx, s.DB, v.by.Tenant, a.Request.Organization)
	if errors.Is(err, org.ErrNotFound) || err == nil && !o.IsActive {
		return org.Organization{}, nil
	}
	return o, err
}

// pageOrganization lets the person choose again.
func (s *Service) pageOrganization(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	if a.ProvedAt.IsZero() && a.Request.Enter == "" || !a.FinishedAt.IsZero() || !a.Request.Chosen && a.Request.Organization != "" {
		return s.show(w, r, v, a)
	}
	return s.showChoice(w, r, v, a, s.chooser(v, a), nil)
}

// chooser is the user who chooses: whom the attempt has proved, or whose session is
// taken on.
func (s *Service) chooser(v *visit, a attempt) string {
	if !a.ProvedAt.IsZero() {
		return a.UserID
	}
	for _, h := range v.sessions {
		if h.ID == a.Request.Enter {
			return h.UserID
		}
	}
	return ""
}

// maxChoices is how many organizations a page shows to choose from; the others are found
// by their name.
const maxChoices = 50

// showChoice lets somebody choose among their organizations.
func (s *Service) showChoice(w http.ResponseWriter, r *http.Request, v *visit, a attempt, userID string, wrong *problem.Problem) error {
	all, err := s.memberships(r.Context(), s.DB, v.by.Tenant, userID)
	if err != nil {
		return err
	}
	p := &page.OrganizationChoice{
		View: v.view, App: s.app(r.Context(), v.by.Tenant, a), Many: len(all) > maxChoices, Search: clip(strings.TrimSpace(r.PostFormValue("search"))),
		Action: pathOrganization, BackURL: withState(pathSignIn, v.view.State, "change", "1"),
	}
	current := ""
	for _, h := range v.sessions {
		if h.UserID == userID {
			current = h.OrganizationID
		}
	}
	for _, m := range all {
		o := organizationOf(m.Organization)
		o.Current = m.ID == current
		if holds(o.Name, p.Search) || holds(m.Name, p.Search) {
			p.Organizations = append(p.Organizations, o)
		}
	}
	slices.SortStableFunc(p.Organizations, func(a, b page.Organization) int { return strings.Compare(a.Name, b.Name) })
	if p.Cut = len(p.Organizations) > maxChoices; p.Cut {
		p.Organizations = p.Organizations[:maxChoices]
	}
	if wrong != nil {
		return again(w, r, &p.View, wrong, p)
	}
	return page.Render(w, r, http.StatusOK, p)
}

// holds reports whether a name has a part, in any letter case.
func holds(name, part string) bool {
	return strings.Contains(strings.ToLower(name), strings.ToLower(part))
}

// postOrganization takes the organization that the person has chosen, or looks for those
// of a name.
func (s *Service) postOrganization(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	ctx, chosen := r.Context(), r.PostFormValue("organization")
	userID := s.chooser(v, a)
	if userID == "" || !a.Request.Chosen && a.Request.Organization != "" {
		return s.show(w, r, v, a)
	}
	if chosen == "" && r.PostForm.Has("search") {
		return s.showChoice(w, r, v, a, userID, nil)
	}
	all, err := s.memberships(ctx, s.DB, v.by.Tenant, userID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(m org.Membership) bool { return m.ID == chosen }) {
		return s.showChoice(w, r, v, a, userID, org.ErrNotMember)
	}
	if a.ProvedAt.IsZero() {
		return s.enterHeld(w, r, v, a, chosen)
	}
	in, finished, err := s.settle(ctx, v, func(tx *database.Tx) (attempt, proof, error) {
		a.Request.Organization, a.Request.Chosen = chosen, true
		b, err := noteRequest(ctx, tx, v.by.Tenant, a)
		if err != nil {
			return a, proof{}, err
		}
		p, err := s.provedBefore(ctx, tx, v, b)
		return b, p, err
	})
	return s.proceed(w, r, v, a, in, finished, err)
}

// postAgain drops what an attempt has proved, for another way or another account.
func (s *Service) postAgain(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	a.forgetSSO()
	a.Identifier, a.Channel = "", ""
	if a.Request.Chosen {
		a.Request.Organization, a.Request.Chosen = "", false
	}
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error {
		_, err := identifyAttempt(r.Context(), tx, v.by.Tenant, a)
		return err
	})
	if err != nil {
		return err
	}
	return to(w, r, pathSignIn, "state", v.view.State, "change", "1", "sso", "no")
}

// enterHeld takes a session that the browser has into an organization, if it shows
// enough for that; else the person shows more.
func (s *Service) enterHeld(w http.ResponseWriter, r *http.Request, v *visit, a attempt, chosen string) error {
	ctx := r.Context()
	i := slices.IndexFunc(v.sessions, func(h held) bool { return h.ID == a.Request.Enter })
	if i < 0 {
		return s.show(w, r, v, a)
	}
	h := v.sessions[i]
	e, missing, err := s.Place(ctx, v.by.Tenant, h.Session, chosen)
	if err != nil {
		return err
	}
	u, err := s.Users.Find(ctx, s.DB, access.System(v.by.Tenant), h.UserID)
	if err != nil {
		return err
	}
	enough, err := s.satisfies(ctx, v, h, a)
	if err != nil {
		return err
	}
	a.Request.Organization, a.Request.Chosen = chosen, true
	if missing != nil || !enough {
		a.Request.Enter, a.Request.UserID, a.Request.LoginHint = "", h.UserID, u.Login()
		if err := s.DB.Write(ctx, func(tx *database.Tx) error { _, err := noteRequest(ctx, tx, v.by.Tenant, a); return err }); err != nil {
			return err
		}
		return to(w, r, pathSignIn, "state", v.view.State)
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := s.MayAct(ctx, tx, v.by.Tenant, chosen, u.ID); err != nil {
			return err
		}
		b, err := shows(a, proof{user: u, method: methodSession}, tx.Now)
		if err == nil {
			finishAttempt(tx, v.by.Tenant, b, h.ID)
			_, err = s.Sessions.Enter(ctx, tx, userActor(v, u), h.ID, e)
		}
		return err
	})
	if errors.Is(err, org.ErrNotMember) {
		return s.showChoice(w, r, v, a, u.ID, org.ErrNotMember)
	}
	if err != nil {
		return err
	}
	keep(w, r, append([]held{h}, append(v.sessions[:i:i], v.sessions[i+1:]...)...))
	return to(w, r, a.Request.returnTo())
}

// firstOf is the first page of an attempt for an organization that asks for its own
// sign-in: the buttons for that, and a way around for who need not.
func (s *Service) firstOf(ctx context.Context, v *visit, a attempt) (page.Page, error) {
	if v.aroundSSO {
		return nil, nil
	}
	o, err := s.asked(ctx, v, a)
	if err != nil || o.ID == "" || !o.Policy.RequireSSO {
		return nil, err
	}
	p, err := s.stepPage(ctx, v, a, entry{Membership: org.Membership{Organization: o}, refused: ErrSSORequired})
	if err != nil || len(p.Ways) == 0 {
		return nil, err
	}
	return p, nil
}

// tighten is a policy on second factors with what an organization asks for.
func (e entry) tighten(mode string) string {
	if e.Policy.MFA == org.MFARequired {
		return tenant.MFARequired
	}
	return mode
}
