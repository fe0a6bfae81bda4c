package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Signing in by the identity provider of an organization. Whom it shows is a user here by
// the identity that was linked, and by nothing else. An address finds a user only for an
// organization that has proved the address's domain, and only one of its own members;
// anybody else, and whoever holds roles in the whole tenant, shows first which account is
// theirs, or is told what is in the way.

// Addresses of signing in by an organization.
const (
	pathSSO      = "/signin/sso"
	pathSSOStart = "/signin/sso/" // and the id of a connection
	pathSSOLink  = "/signin/sso-link"
	pathACS      = "/saml/{connection}/acs"
	pathSLO      = "/saml/{connection}/slo"
	pathLeave    = "/saml/{connection}/leave"
)

// Problems of signing in by an organization. They say what its administrators can do.
var (
	ErrSSOAddressTaken = problem.New(problem.Conflict, "sso_address_taken", "There is an account for this address already, and the organization has not proved that the address's domain is its own. Its administrators can verify the domain.")
	ErrSSOOutside      = problem.New(problem.Forbidden, "sso_outside", "The organization lets in nobody with an address of this domain.")
	ErrSSOUnknown      = problem.New(problem.Forbidden, "sso_unknown_person", "The organization has not set this person up here yet.")
	ErrSSONoAddress    = problem.New(problem.Forbidden, "sso_no_address", "The organization's identity provider has not told the e-mail address. Its administrators can add it to the connection.")
)

// A fromSSO is what an attempt remembers of an organization's provider.
type fromSSO struct {
	Organization string `json:"organization"`
	Connection   string `json:"connection,omitempty"`
	// Vouched says that the provider has shown that the user of the attempt is there.
	// Who says whom: it counts for nobody else.
	Vouched bool   `json:"vouched,omitempty"`
	Who     string `json:"who,omitempty"`
	// Held is somebody who has to show first which account is theirs; Unproved is the user
	// who had the address at the time and had not proved it.
	Held     *sso.Profile `json:"held,omitempty"`
	Unproved string       `json:"unproved,omitempty"`
	// Of the session there, for logout, and until when it lasts.
	There        sso.There `json:"there,omitzero"`
	SessionIndex string    `json:"session_index,omitempty"`
	Until        time.Time `json:"until,omitzero"`
	// Led says that the attempt is for the organization because of this alone.
	Led bool `json:"led,omitempty"`
}

// forgetSSO takes out of an attempt what it remembers of an organization's provider.
func (a *attempt) forgetSSO() {
	if a.Request.SSO != nil && a.Request.SSO.Led {
		a.Request.Organization = ""
	}
	a.Request.SSO = nil
}

// holdsSSO reports whether somebody whom an organization's provider has shown waits to be
// connected with an account.
func (a attempt) holdsSSO() bool { return a.Request.SSO != nil && a.Request.SSO.Held != nil }

// vouched is what an attempt remembers of a provider that has shown that the user of the
// attempt is there; nil if it has shown nobody, or somebody else.
func (a attempt) vouched() *fromSSO {
	if from := a.Request.SSO; from != nil && from.Vouched && from.Who == a.UserID && a.UserID != "" {
		return from
	}
	return nil
}

// ssoOf is the connection of an organization that an attempt came by, for the log.
func (a attempt) ssoOf() string {
	if a.Request.SSO == nil {
		return ""
	}
	return a.Request.SSO.Connection
}

func (s *Service) mountSSO(r *web.Router) {
	back := append(problems{ErrAttempt, ErrDisabled, ErrCredentials, ErrSSOAddressTaken, ErrSSOOutside, ErrSSOUnknown, ErrSSONoAddress, org.ErrNotMember}, sso.Problems...)
	for _, p := range []struct {
		method, path, summary string
		handler               web.Handler
		errors                problems
	}{
		{"POST", pathSSOStart + "{connection}", "Form: sign in by an organization", s.postSSOStart, append(problems{page.ErrForm}, back...)},
		{"GET", pathSSO, "Where an organization's provider leads back to", s.getSSO, back},
		{"POST", pathSSO, "Form: go on as whom an organization has sent", s.postSSO, append(problems{page.ErrForm}, back...)},
		{"POST", pathACS, "Where a SAML provider has browsers post its responses", s.postACS, sso.Problems},
		{"GET", pathSLO, "Where a SAML provider sends browsers to sign out", s.getSLO, sso.Problems},
		{"POST", pathSLO, "The same by a form", s.postSLO, sso.Problems},
		{"GET", pathLeave, "To a SAML provider, to sign out there", s.getLeave, problems{sso.ErrFlow}},
		{"POST", pathSSOLink, "Form: connect an account of an organization", s.form(s.postSSOLink), append(problems{page.ErrForm}, back...)},
		{"POST", pathAgain, "Form: begin again with another way or account", s.form(s.postAgain), problems{page.ErrForm, ErrAttempt}},
		{"GET", pathOrganization, "Page: choose an organization", s.see(s.pageOrganization), problems{ErrAttempt}},
		{"POST", pathOrganization, "Form: choose an organization", s.form(s.postOrganization), problems{page.ErrForm, ErrAttempt, org.ErrNotMember}},
	} {
		r.Add(pageRoute(p.method, p.path, p.summary, p.handler, p.errors))
	}
}

// homeRealm sends the browser to the provider of the organization that has proved the
// domain of an address, whoever has that address. It reports whether it did.
func (s *Service) homeRealm(w http.ResponseWriter, r *http.Request, v *visit, a attempt) (sent bool, err error) {
	ctx := r.Context()
	if a.Channel != notify.Email || v.aroundSSO {
		return false, nil
	}
	_, domain, _ := strings.Cut(a.Identifier, "@")
	o, found, err := s.Orgs.ByDomain(ctx, v.by.Tenant, domain)
	if err != nil || !found || !o.Policy.Allows(org.WaySSO) {
		return false, err
	}
	connections, err := s.SSO.Usable(ctx, v.by.Tenant, o.ID)
	if err != nil || len(connections) == 0 {
		return false, err
	}
	again := a.Request.SSO != nil && a.Request.SSO.Organization == o.ID
	a.forgetSSO()
	a.Request.SSO, a.Request.LoginHint = &fromSSO{Organization: o.ID}, a.Identifier
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		a, err = identifyAttempt(ctx, tx, v.by.Tenant, a)
		return err
	})
	if err != nil {
		return false, err
	}
	if again || len(connections) > 1 {
		return true, to(w, r, pathSignIn, "state", v.view.State)
	}
	return true, s.toProvider(w, r, v, a, connections[0].ID)
}

// toProvider sends the browser to the provider of a connection.
func (s *Service) toProvider(w http.ResponseWriter, r *http.Request, v *visit, a attempt, connection string) error {
	sent, err := s.startSSO(r.Context(), v, a, connection)
	if err != nil {
		return s.firstAgain(w, r, v, a, err)
	}
	if sent.Form == nil {
		return to(w, r, sent.Location)
	}
	s.dress(r, v, a)
	p := &page.FormPost{View: v.view, Action: sent.Form.Action, Fields: []page.Pair{{Name: "SAMLRequest", Value: sent.Form.SAMLRequest}}}
	if sent.Form.RelayState != "" {
		p.Fields = append(p.Fields, page.Pair{Name: "RelayState", Value: sent.Form.RelayState})
	}
	p.View.Here = ""
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) startSSO(ctx context.Context, v *visit, a attempt, connection string) (sso.Sent, error) {
	return s.SSO.Start(ctx, v.by, sso.Request{
		Connection: connection, Attempt: a.ID, Browser: hashOf(v.browser), ForceAuthn: !a.Request.After.IsZero(), LoginHint: a.Request.LoginHint,
	})
}

// showSSO shows the connections of the organization that the typed address led to, and
// the way around them.
func (s *Service) showSSO(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	o, err := s.Orgs.Find(r.Context(), s.DB, v.by.Tenant, a.Request.SSO.Organization)
	if errors.Is(err, org.ErrNotFound) {
		return page.Render(w, r, http.StatusOK, s.firstPage(r.Context(), v, a))
	}
	if err != nil {
		return err
	}
	p, err := s.stepPage(r.Context(), v, a, entry{Membership: org.Membership{Organization: o}, refused: ErrSSORequired})
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

// straightAway returns where a connection wants the browser, if it can be sent there by an
// address; empty if the person has to press a button first.
func (s *Service) straightAway(ctx context.Context, v *visit, a attempt, connection string) string {
	c, err := s.SSO.ByID(ctx, s.DB, v.by.Tenant, connection)
	var location string
	switch {
	case err == nil:
		var sent sso.Sent
		if sent, err = s.startSSO(ctx, v, a, c.ID); err == nil && sent.Form == nil {
			location = sent.Location
		}
	case errors.Is(err, sso.ErrNotFound):
		location, err = s.sendAway(ctx, v, connection, a.ID, a.Request.LoginHint)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "a connection that was asked for does not start", "connection", connection, "error", err)
	}
	return location
}

// Connections lists the ids of what somebody may sign in by to an organization, named by
// id, slug, token or proved domain: its active connections. It is org.ErrNotFound if there
// is no such organization.
func (s *Service) Connections(ctx context.Context, tenantID, name, domain string) (organization string, ids []string, err error) {
	var o org.Organization
	if domain != "" {
		var found bool
		if o, found, err = s.Orgs.ByDomain(ctx, tenantID, domain); err == nil && !found {
			err = org.ErrNotFound
		}
	} else {
		o, err = s.Orgs.Named(ctx, s.DB, tenantID, name)
	}
	if err == nil && !o.IsActive {
		err = org.ErrNotFound
	}
	if err != nil {
		return "", nil, err
	}
	all, err := s.SSO.Usable(ctx, tenantID, o.ID)
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	return o.ID, ids, err
}

// Connection returns the organization whose connection an id is, empty for one to another
// service that people sign in by; sso.ErrNotFound if it is neither, or is switched off.
func (s *Service) Connection(ctx context.Context, tenantID, id string) (organization string, err error) {
	c, err := s.SSO.ByID(ctx, s.DB, tenantID, id)
	if !errors.Is(err, sso.ErrNotFound) {
		return c.OrganizationID, err
	}
	enabled, err := s.Social.Enabled(ctx, tenantID)
	if err == nil && !slices.ContainsFunc(enabled, func(c social.Connection) bool { return c.ID == id }) {
		err = sso.ErrNotFound
	}
	return "", err
}

// firstWays are the buttons of the first page: of the organization that is asked for, and
// of other services.
func (s *Service) firstWays(ctx context.Context, v *visit, a attempt) []page.Way {
	o, err := s.asked(ctx, v, a)
	if err != nil {
		s.Log.ErrorContext(ctx, "an organization's sign-in is left out of a page", "error", err)
	}
	return append(s.waysInto(ctx, v, o), s.ways(ctx, v, "/signin/social/")...)
}

// postSSOStart sends the browser to an organization's provider.
func (s *Service) postSSOStart(w http.ResponseWriter, r *http.Request) error {
	if err := s.CheckForm(w, r); err != nil {
		return err
	}
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	a, err := s.attemptOrNew(r.Context(), v, r.PostFormValue("state"))
	if err != nil {
		return err
	}
	return s.toProvider(w, r, v, a, r.PathValue("connection"))
}

// postACS takes what a SAML provider has a browser post. Such a form comes without our
// cookies: what it says is held, and the browser that was sent takes it by a GET.
func (s *Service) postACS(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxResponse)
	if err := r.ParseForm(); err != nil {
		return sso.ErrRefused.Because("%w", err)
	}
	handle, err := s.SSO.ReceiveSAML(r.Context(), visitorOf(r), r.PathValue("connection"), r.PostForm.Get("SAMLResponse"), r.PostForm.Get("RelayState"))
	if err != nil {
		return err
	}
	return to(w, r, pathSSO, "flow", handle)
}

// maxResponse is the longest form with a SAML response that is read, in bytes.
const maxResponse = 512 << 10

func visitorOf(r *http.Request) access.Actor {
	by := web.ActorOf(r.Context())
	by.Name = access.Visitor(by.Tenant, by.IP).Name // a bearer key signs nobody in
	return by
}

// getSSO goes on with whom a SAML provider has shown. Whom it has sent without being
// asked is asked first: somebody else may have had the browser post that.
func (s *Service) getSSO(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	v.view.Here = "" // it holds a handle
	handle := r.URL.Query().Get("flow")
	who, f, err := s.SSO.Look(r.Context(), v.by, handle, hashOf(v.browser))
	if _, known := problem.From(err); err != nil && (!known || errors.Is(err, sso.ErrFlow)) {
		return err
	}
	if err != nil || !f.Unsolicited || f.Test {
		return s.claim(w, r, v, handle) // which tells of a refusal as well
	}
	o, err := s.Orgs.Find(r.Context(), s.DB, v.by.Tenant, who.OrganizationID)
	if err != nil {
		return err
	}
	v.view.Brand = brandOf(v.view.Brand, o)
	p := &page.SSOContinue{View: v.view, App: appOf(f.Landing), Organization: organizationOf(o), Person: personThere(who), Flow: handle, Action: pathSSO, BackURL: pathSignIn}
	return page.Render(w, r, http.StatusOK, p)
}

// appOf is the application that somebody lands at who began at a provider.
func appOf(to *sso.Landing) page.App {
	if to == nil {
		return page.App{}
	}
	return page.App{Name: to.Application.Name, LogoURL: to.Application.OAuth.LogoURI}
}

// personThere is somebody as an organization's provider knows them.
func personThere(who sso.Profile) page.Person {
	p := page.Person{Name: strings.TrimSpace(who.FirstName + " " + who.LastName), Login: who.Email}
	if p.Login == "" {
		p.Login = who.Subject
	}
	return p
}

func (s *Service) postSSO(w http.ResponseWriter, r *http.Request) error {
	if err := s.CheckForm(w, r); err != nil {
		return err
	}
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	return s.claim(w, r, v, r.PostFormValue("flow"))
}

func (s *Service) claim(w http.ResponseWriter, r *http.Request, v *visit, handle string) error {
	who, f, err := s.SSO.Claim(r.Context(), v.by, handle, hashOf(v.browser))
	return s.backFromSSO(w, r, v, who, f, err)
}

// comeBackSSO goes on with a browser that an organization's OpenID provider sends back.
func (s *Service) comeBackSSO(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	v.view.Here = "" // it holds a code
	who, f, err := s.SSO.FinishOIDC(r.Context(), v.by, r.PathValue("connection"), r.Form, hashOf(v.browser))
	return s.backFromSSO(w, r, v, who, f, err)
}

// backFromSSO goes on with whom an organization's provider has shown, or with why it has
// not.
func (s *Service) backFromSSO(w http.ResponseWriter, r *http.Request, v *visit, who sso.Profile, f sso.Flow, failed error) error {
	ctx := r.Context()
	if f.Test {
		return to(w, r, sso.TestPath(f.Trace))
	}
	if failed != nil && f.Attempt == "" {
		return failed
	}
	var a attempt
	var err error
	if f.Attempt == "" {
		a, v.view.State, err = s.begin(ctx, v, begunThere(f.Landing))
	} else {
		a, err = s.attemptBack(ctx, v, f.Attempt)
	}
	if err != nil {
		return err
	}
	if !a.FinishedAt.IsZero() {
		return to(w, r, pathSignIn, "state", v.view.State)
	}
	if failed == nil {
		if failed = s.takeSSO(w, r, v, a, who); failed == nil {
			return nil
		}
	}
	p, ok := problem.From(failed)
	if !ok {
		return failed
	}
	from := &fromSSO{Organization: who.OrganizationID, Connection: f.Connection}
	if before := a.Request.SSO; from.Organization == "" && before != nil {
		from.Organization = before.Organization
	}
	a.Request.SSO = from
	if err := s.fail(ctx, v, a, "", methodSSO, p.Code); err != nil {
		return err
	}
	return s.firstAgain(w, r, v, a, failed)
}

// begunThere is what an attempt is for that a provider has begun.
func begunThere(to *sso.Landing) request {
	if to == nil {
		return request{}
	}
	return request{Application: to.Application.ID, ReturnTo: to.Address}
}

// takeSSO goes on with whom a provider has shown: they are signed in, signed up, or asked
// for more.
func (s *Service) takeSSO(w http.ResponseWriter, r *http.Request, v *visit, a attempt, who sso.Profile) error {
	ctx := r.Context()
	in, finished, err := s.settle(ctx, v, func(tx *database.Tx) (attempt, proof, error) {
		u, b, err := s.bySSO(ctx, tx, v, a, who)
		if err != nil || u.ID == "" {
			return b, proof{}, err
		}
		p := proof{u, methodSSO, amrOf(methodSSO)}
		b, err = shows(b, p, tx.Now)
		return b, p, err
	})
	return s.proceed(w, r, v, a, in, finished, err)
}

// bySSO returns the user whom a profile signs in or up; an empty one if it is held until
// they have shown which account is theirs. The attempt remembers where they come from.
func (s *Service) bySSO(ctx context.Context, tx *database.Tx, v *visit, a attempt, who sso.Profile) (u user.User, b attempt, err error) {
	from := &fromSSO{Organization: who.OrganizationID, Connection: who.Connection, There: who.There, SessionIndex: who.SessionIndex, Until: who.SessionUntil}
	a.forgetSSO()
	if from.Led = a.Request.Organization == ""; from.Led {
		a.Request.Organization = who.OrganizationID
	}
	a.Identifier, a.Channel, a.Request.SSO, a.Request.Social = "", "", from, nil
	id, found, err := s.SSO.SignIn(ctx, tx, v.by, who)
	if err != nil {
		return u, a, err
	}
	o, err := s.Orgs.Find(ctx, tx, v.by.Tenant, who.OrganizationID)
	if err == nil && !o.IsActive {
		err = sso.ErrDisabled.Because("the organization is disabled")
	}
	if err != nil {
		return u, a, err
	}
	if found {
		u, err = s.known(ctx, tx, v, id, who, from)
	} else {
		u, err = s.whose(ctx, tx, v, o, who, from)
	}
	if err == nil && u.ID != "" {
		err = s.join(ctx, tx, v, o, u, who)
		from.Vouched, from.Who = err == nil, u.ID
	}
	if err != nil {
		return u, a, err
	}
	b, err = identifyAttempt(ctx, tx, v.by.Tenant, a)
	return u, b, err
}

// system is the actor of what happens by itself as people sign in.
func (s *Service) system(v *visit) access.Actor {
	by := access.System(v.by.Tenant)
	by.IP, by.UserAgent, by.RequestID = v.by.IP, v.by.UserAgent, v.by.RequestID
	return by
}

// known is the user whose identity a profile is; nobody if it is held, because they hold
// something in the whole tenant and have not shown themselves that it is theirs.
func (s *Service) known(ctx context.Context, tx *database.Tx, v *visit, id string, who sso.Profile, from *fromSSO) (user.User, error) {
	u, err := s.Users.Find(ctx, tx, s.system(v), id)
	if err != nil || len(u.RoleIDs) == 0 {
		return u, err
	}
	proved, err := s.SSO.IsProved(ctx, tx, v.by, who)
	if err == nil && !proved {
		from.Held, u = &who, user.User{}
	}
	return u, err
}

// whose finds or makes the user of a profile that is no identity of anybody's yet. Nobody
// is returned if it is held: of somebody who is no member, or who holds something in the
// whole tenant, which is more than an organization can give.
func (s *Service) whose(ctx context.Context, tx *database.Tx, v *visit, o org.Organization, who sso.Profile, from *fromSSO) (user.User, error) {
	if who.Email == "" {
		return user.User{}, ErrSSONoAddress
	}
	m, err := s.match(ctx, tx, v, who.Email)
	owner := m.User
	if err != nil {
		return owner, err
	}
	if owner.ID == "" {
		return s.provision(ctx, tx, v, o, who)
	}
	if !who.EmailVerified {
		return user.User{}, ErrSSOAddressTaken
	}
	_, err = s.Orgs.Member(ctx, tx, v.by.Tenant, o.ID, owner.ID)
	if errors.Is(err, org.ErrMemberNotFound) || err == nil && (!m.IsPrimary() && !m.IsProved() || len(owner.RoleIDs) > 0) { // a username, or held, or more than a member
		if m.IsPrimary() && !m.IsProved() {
			from.Unproved = owner.ID
		}
		from.Held = &who
		return user.User{}, nil
	}
	if err != nil {
		return user.User{}, err
	}
	if !m.IsProved() {
		if owner, err = s.claimAddress(ctx, tx, v, owner); err != nil {
			return owner, err
		}
	}
	return owner, s.SSO.Link(ctx, tx, userActor(v, owner), owner.ID, who)
}

// claimAddress takes from a member whose address was not proved what somebody else may
// have left in the account: the organization vouches for the address now.
func (s *Service) claimAddress(ctx context.Context, tx *database.Tx, v *visit, u user.User) (user.User, error) {
	if err := s.disown(ctx, tx, userActor(v, u), u.ID); err != nil {
		return u, err
	}
	return s.Users.Update(ctx, tx, s.system(v), u.ID, user.Change{EmailVerified: new(true)})
}

// provision makes the user of a profile, if the organization lets such in.
func (s *Service) provision(ctx context.Context, tx *database.Tx, v *visit, o org.Organization, who sso.Profile) (user.User, error) {
	if err := s.mayJoin(ctx, tx, v, o, who); err != nil {
		return user.User{}, err
	}
	if !who.EmailVerified { // its domain may be another organization's
		prover, err := s.Orgs.ProverOf(ctx, tx, v.by.Tenant, who.Email)
		if err == nil && prover != "" {
			err = ErrSSOOutside.Because("organization %s has proved the domain", prover)
		}
		if err != nil {
			return user.User{}, err
		}
	}
	u, err := s.Users.Create(ctx, tx, s.system(v), user.User{Email: who.Email, EmailVerified: who.EmailVerified, FirstName: who.FirstName, LastName: who.LastName, IsActive: true})
	if err != nil {
		return u, err
	}
	return u, s.SSO.Link(ctx, tx, userActor(v, u), u.ID, who)
}

// mayJoin says why somebody may not become a member by coming from an organization's
// provider; nil if they may.
func (s *Service) mayJoin(ctx context.Context, tx *database.Tx, v *visit, o org.Organization, who sso.Profile) error {
	if who.NoSignUp {
		return ErrSSOUnknown
	}
	takes, err := s.Orgs.Takes(ctx, tx, v.by.Tenant, o, who.Email)
	if err == nil && !takes {
		err = ErrSSOOutside
	}
	return err
}

// join makes a user a member, with the roles that the connection gives.
func (s *Service) join(ctx context.Context, tx *database.Tx, v *visit, o org.Organization, u user.User, who sso.Profile) error {
	by := s.system(v)
	m, err := s.Orgs.Member(ctx, tx, v.by.Tenant, o.ID, u.ID)
	if errors.Is(err, org.ErrMemberNotFound) {
		if err := s.mayJoin(ctx, tx, v, o, who); err != nil {
			return err
		}
		tx.OnCommit(s.belongs.Clear)
		m, err = s.Orgs.AddMember(ctx, tx, by, o.ID, u.ID, nil, org.SourceSSO)
	}
	if err == nil && m.Status != org.Active {
		err = org.ErrNotMember.Because("suspended")
	}
	if err != nil {
		return err
	}
	return s.Orgs.SetAutomaticRoles(ctx, tx, by, o.ID, u.ID, "sso:"+who.Connection, who.RoleIDs)
}

// showSSOProve asks somebody from an organization to show which account is theirs. The
// organization has proved the domain, so the address may be named.
func (s *Service) showSSOProve(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	who := a.Request.SSO.Held
	return page.Render(w, r, http.StatusOK, &page.SocialProve{
		View: v.view, App: s.app(r.Context(), v.by.Tenant, a), Provider: who.Label, Known: who.Email, Takes: takes(v.tenant.Settings.SignIn),
		Identifier: who.Email, Action: pathSignIn + "?sso=no", BackURL: withState(pathSignIn, v.view.State, "change", "1"),
	})
}

// showSSOLink asks whether to connect the account there with the one here.
func (s *Service) showSSOLink(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User) error {
	return page.Render(w, r, http.StatusOK, s.ssoLinkPage(r.Context(), v, a, u))
}

func (s *Service) ssoLinkPage(ctx context.Context, v *visit, a attempt, u user.User) *page.SocialLink {
	who := a.Request.SSO.Held
	return &page.SocialLink{
		View: v.view, App: s.app(ctx, v.by.Tenant, a), Provider: who.Label, Icon: "building", There: personThere(*who), Here: personOf(u), Flow: heldName(a), Action: pathSSOLink,
	}
}

// heldName names what is held, so that a form that was made for something else is none.
func heldName(a attempt) string {
	who := a.Request.SSO.Held
	return url.QueryEscape(who.Connection + "/" + who.Issuer + "/" + who.Subject)
}

// postSSOLink connects whom an organization has shown with the user whom the attempt has
// proved, or leaves it, and goes on.
func (s *Service) postSSOLink(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	ctx := r.Context()
	if a.ProvedAt.IsZero() || !a.holdsSSO() || r.PostFormValue("flow") != heldName(a) {
		return s.show(w, r, v, a)
	}
	lacking, u, err := s.lacksNow(ctx, v, a)
	if err != nil {
		return err
	}
	if lacking.Second {
		return s.show(w, r, v, a)
	}
	in, finished, err := s.settle(ctx, v, func(tx *database.Tx) (attempt, proof, error) {
		p, err := s.provedBefore(ctx, tx, v, a)
		if err != nil {
			return a, p, err
		}
		b, err := s.settleSSO(ctx, tx, v, a, p.user, r.PostFormValue("choice") == "link")
		return b, p, err
	})
	if known, ok := problem.From(err); ok && !errors.Is(err, ErrAttempt) && !errors.Is(err, ErrDisabled) {
		p := s.ssoLinkPage(ctx, v, a, u)
		return again(w, r, &p.View, known, p)
	}
	return s.proceed(w, r, v, a, in, finished, err)
}

// settleSSO connects what is held, or drops it.
func (s *Service) settleSSO(ctx context.Context, tx *database.Tx, v *visit, a attempt, u user.User, link bool) (attempt, error) {
	from := *a.Request.SSO
	who := *from.Held
	from.Held, a.Request.SSO = nil, &from
	if !link {
		a.forgetSSO()
		return noteRequest(ctx, tx, v.by.Tenant, a)
	}
	o, err := s.Orgs.Find(ctx, tx, v.by.Tenant, who.OrganizationID)
	if err == nil && !o.IsActive {
		err = sso.ErrDisabled.Because("the organization is disabled")
	}
	if err == nil {
		err = s.needProved(ctx, tx, v, u, who.Email)
	}
	if err != nil {
		return a, err
	}
	if from.Unproved == u.ID {
		if err := s.disown(ctx, tx, userActor(v, u), u.ID); err != nil {
			return a, err
		}
	}
	if err := s.SSO.LinkProved(ctx, tx, userActor(v, u), u.ID, who); err != nil {
		return a, err
	}
	if err := s.join(ctx, tx, v, o, u, who); err != nil {
		return a, err
	}
	if err := s.warn(ctx, tx, &owner{visit: v, user: u}, "account_linked"); err != nil {
		return a, err
	}
	from.Vouched, from.Who = true, u.ID
	b, err := noteRequest(ctx, tx, v.by.Tenant, a)
	if err != nil {
		return b, err
	}
	// What was ended in the account was ended by this very proof.
	return proveAttempt(ctx, tx, v.by.Tenant, b.ID, b.UserID, b.Method)
}
