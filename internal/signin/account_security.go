package signin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
)

// Addresses of the account's second factors.
const (
	pathApps    = page.SecurityPath + "/apps"
	pathApp     = page.SecurityPath + "/app"
	pathRemove  = page.SecurityPath + "/remove"
	pathRename  = page.SecurityPath + "/rename"
	pathOwnSet  = page.SecurityPath + "/codes"
	pathCodes   = page.SecurityPath + "/codes/download"
	pathForget  = page.SecurityPath + "/forget"
	codesOfFile = 10
)

// ErrLastFactor says that a user must have a second factor.
var ErrLastFactor = problem.New(problem.Conflict, "last_factor", "A second factor is required here. Set up another one before you remove this.")

// mountSecurity adds the pages of a user's own second factors.
func (s *Service) mountSecurity(r *web.Router) {
	home := page.SecurityPath
	for _, p := range []struct {
		method, path, summary string
		handler               web.Handler
		errors                problems
	}{
		{"GET", home, "Page: one's second factors", s.own(home, s.pageSecurity), nil},
		{"POST", pathApps, "Form: begin with an authenticator app", s.own(home, s.fresh(home, s.postApps)), problems{page.ErrForm, mfa.ErrTooMany}},
		{"GET", pathApp, "Page: the key of an authenticator app", s.own(home, s.fresh(home, s.pageApp)), nil},
		{"POST", pathApp, "Form: the first code of an authenticator app", s.own(home, s.fresh(home, s.postApp)), problems{page.ErrForm, mfa.ErrCode, mfa.ErrEnrollment}},
		{"POST", pathRemove, "Form: remove an authenticator app", s.own(home, s.fresh(home, s.postRemove)), problems{page.ErrForm, mfa.ErrNotFound, ErrLastFactor}},
		{"POST", pathRename, "Form: the name of an authenticator app", s.own(home, s.fresh(home, s.postRename)), problems{page.ErrForm, mfa.ErrNotFound}},
		{"POST", pathOwnSet, "Form: new backup codes", s.own(home, s.fresh(home, s.postOwnCodes)), problems{page.ErrForm}},
		{"POST", pathForget, "Form: forget a remembered device", s.own(home, s.postForget), problems{page.ErrForm}},
	} {
		r.Add(pageRoute(p.method, p.path, p.summary, p.handler, p.errors))
	}
	download := pageRoute("POST", pathCodes, "Form: backup codes as a file", s.own(home, s.postDownload), problems{page.ErrForm})
	download.Endpoint.Media, download.Endpoint.Status = "text/plain", http.StatusOK
	r.Add(download)
}

// ownPolicy is the policy of the tenant, and what the owner has to show.
func (s *Service) ownPolicy(ctx context.Context, db database.Reader, o *owner) (mfa.Policy, mfa.Person, error) {
	who, err := s.factorsOf(ctx, db, o.visit, o.user)
	return mfa.PolicyOf(o.tenant, tenant.Application{}), who, err
}

func (s *Service) pageSecurity(w http.ResponseWriter, r *http.Request, o *owner) error {
	p, err := s.securityPage(r.Context(), o)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) securityPage(ctx context.Context, o *owner) (*page.AccountSecurity, error) {
	policy, who, err := s.ownPolicy(ctx, s.DB, o)
	if err != nil {
		return nil, err
	}
	p := &page.AccountSecurity{AccountView: s.accountView(o), RemoveAction: pathRemove, RenameAction: pathRename, ForgetAction: pathForget, Codes: who.BackupCodes, RemoveRefused: mustStay(policy, who)}
	if policy.Mode != tenant.MFAOff || policy.Requires(o.user.RoleIDs) {
		p.AddAction = pathApps
	}
	if who.Authenticators > 0 {
		p.CodesAction = pathOwnSet
	}
	apps, err := s.MFA.Authenticators(ctx, s.DB, o.by.Tenant, o.user.ID)
	if err != nil {
		return nil, err
	}
	for _, a := range apps {
		p.Apps = append(p.Apps, page.AuthenticatorApp{ID: a.ID, Name: a.Name, Since: a.CreatedAt, LastUsed: a.UsedAt})
	}
	devices, err := s.MFA.Devices(ctx, s.DB, o.by.Tenant, o.user.ID)
	for _, d := range devices {
		shown := deviceOf(d.From)
		shown.At = d.CreatedAt
		p.Remembered = append(p.Remembered, page.Session{ID: d.ID, Device: shown, Phone: d.From.Device != "" && d.From.Device != "desktop", Current: d.IsOf(hashOf(o.browser))})
	}
	return p, err
}

// mustStay reports whether a user would be left without a second factor that they must
// have, if they removed an authenticator.
func mustStay(policy mfa.Policy, who mfa.Person) bool {
	if who.Authenticators--; who.Authenticators <= 0 {
		who.BackupCodes = 0
	}
	return who.Authenticators <= 0 && policy.Decide(who, mfa.Shown{First: methodPassword}).Enroll
}

func (s *Service) securityAgain(w http.ResponseWriter, r *http.Request, o *owner, err error) error {
	p, later := s.securityPage(r.Context(), o)
	if later != nil {
		return later
	}
	return again(w, r, &p.View, err, p)
}

func (s *Service) postApps(w http.ResponseWriter, r *http.Request, o *owner) error {
	e, err := s.MFA.Start(r.Context(), o.self(), o.user.ID, r.PostFormValue("name"))
	if err != nil {
		return s.securityAgain(w, r, o, err)
	}
	return to(w, r, pathApp, "authenticator", e.ID)
}

func (s *Service) pageApp(w http.ResponseWriter, r *http.Request, o *owner) error {
	p, err := s.appPage(r.Context(), o, r.URL.Query().Get("authenticator"))
	if err != nil {
		return to(w, r, page.SecurityPath)
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) appPage(ctx context.Context, o *owner, id string) (*page.AccountEnroll, error) {
	key, err := s.keyPage(ctx, o.visit, o.user, id)
	o.view.Here = pathApp + "?authenticator=" + url.QueryEscape(id)
	return &page.AccountEnroll{AccountView: s.accountView(o), Key: key, Action: pathApp, CloseURL: page.SecurityPath}, err
}

// postApp makes an authenticator the user's. With the first one come backup codes.
func (s *Service) postApp(w http.ResponseWriter, r *http.Request, o *owner) error {
	ctx, id := r.Context(), r.PostFormValue("authenticator")
	confirmed, err := s.MFA.Confirm(ctx, o.self(), o.user.ID, id, r.PostFormValue("code"))
	if err != nil {
		return s.appAgain(w, r, o, id, err)
	}
	codes, err := s.MFA.MakeBackupCodes(ctx, o.by.Tenant, o.user.ID)
	if err != nil {
		return err
	}
	first := false
	in, err := s.changeFactors(ctx, o, "factor_added", func(tx *database.Tx) error {
		has, err := s.MFA.Enrolled(ctx, tx, o.by.Tenant, o.user.ID)
		if err != nil {
			return err
		}
		if has.Authenticators > 0 && o.in.ACR != ACRTwoFactors {
			return ErrAttempt.Because("another authenticator was set up meanwhile")
		}
		if err := s.MFA.Enroll(ctx, tx, o.self(), confirmed); err != nil {
			return err
		}
		if first = has.Authenticators == 0; !first {
			return nil
		}
		return s.MFA.ReplaceBackupCodes(ctx, tx, o.self(), codes)
	})
	if err != nil {
		return s.appAgain(w, r, o, id, err)
	}
	o.enter(w, r, in)
	if !first {
		return to(w, r, page.SecurityPath, "notice", "factor_added")
	}
	return s.showCodes(w, r, o, codes)
}

func (s *Service) appAgain(w http.ResponseWriter, r *http.Request, o *owner, id string, err error) error {
	p, later := s.appPage(r.Context(), o, id)
	if later != nil {
		return s.securityAgain(w, r, o, err)
	}
	return again(w, r, &p.View, err, p)
}

// showCodes shows backup codes in the answer to the form that made them: nowhere else.
func (s *Service) showCodes(w http.ResponseWriter, r *http.Request, o *owner, codes mfa.BackupCodes) error {
	o.view.Here = "" // in another language they would not be there
	return page.Render(w, r, http.StatusOK, &page.AccountCodes{AccountView: s.accountView(o), Codes: codes.Codes, DownloadAction: pathCodes, NextURL: page.SecurityPath})
}

// changeFactors makes a change of the user's factors, together with another token for
// the session it is made in, and tells the user.
func (s *Service) changeFactors(ctx context.Context, o *owner, what string, change func(tx *database.Tx) error) (in signedIn, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if in, err = s.renew(ctx, tx, o, o.proof()); err != nil {
			return err
		}
		if err := change(tx); err != nil {
			return err
		}
		return s.warn(ctx, tx, o, what)
	})
	return in, err
}

func (s *Service) postRemove(w http.ResponseWriter, r *http.Request, o *owner) error {
	ctx := r.Context()
	in, err := s.changeFactors(ctx, o, "factor_removed", func(tx *database.Tx) error {
		policy, who, err := s.ownPolicy(ctx, tx, o)
		if err == nil && mustStay(policy, who) {
			err = ErrLastFactor
		}
		if err != nil {
			return err
		}
		return s.MFA.Remove(ctx, tx, o.self(), o.user.ID, r.PostFormValue("authenticator"))
	})
	if err != nil {
		return s.securityAgain(w, r, o, err)
	}
	o.enter(w, r, in)
	return to(w, r, page.SecurityPath, "notice", "factor_removed")
}

func (s *Service) postRename(w http.ResponseWriter, r *http.Request, o *owner) error {
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error {
		return s.MFA.Rename(r.Context(), tx, o.self(), o.user.ID, r.PostFormValue("authenticator"), r.PostFormValue("name"))
	})
	if err != nil {
		return s.securityAgain(w, r, o, err)
	}
	return to(w, r, page.SecurityPath, "notice", "factor_renamed")
}

// postOwnCodes makes new backup codes, for whoever has an authenticator to lose.
func (s *Service) postOwnCodes(w http.ResponseWriter, r *http.Request, o *owner) error {
	ctx := r.Context()
	codes, err := s.MFA.MakeBackupCodes(ctx, o.by.Tenant, o.user.ID)
	if err != nil {
		return err
	}
	in, err := s.changeFactors(ctx, o, "codes_renewed", func(tx *database.Tx) error {
		has, err := s.MFA.Enrolled(ctx, tx, o.by.Tenant, o.user.ID)
		if err == nil && has.Authenticators == 0 {
			err = mfa.ErrNotFound
		}
		if err != nil {
			return err
		}
		return s.MFA.ReplaceBackupCodes(ctx, tx, o.self(), codes)
	})
	if err != nil {
		return s.securityAgain(w, r, o, err)
	}
	o.enter(w, r, in)
	return s.showCodes(w, r, o, codes)
}

// postDownload gives codes that the page shows back as a file: the product has no copy
// of them. Nothing but codes goes into it.
func (s *Service) postDownload(w http.ResponseWriter, r *http.Request, o *owner) error {
	codes := slices.DeleteFunc(slices.Clone(r.PostForm["code"]), func(code string) bool { return !mfa.IsBackupCode(code) || len(code) > 20 })
	text := o.view.Lang.Text("backup.file", "name", letter.BrandOf(o.tenant).Name, "account", o.user.Login()) + "\n\n" +
		strings.Join(codes[:min(len(codes), codesOfFile)], "\n") + "\n"
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="backup-codes.txt"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, err := fmt.Fprint(w, text)
	return err
}

// postForget ends the remembering of one of the user's browsers. It takes no fresh
// proof: it only asks for more.
func (s *Service) postForget(w http.ResponseWriter, r *http.Request, o *owner) error {
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error {
		return s.MFA.Forget(r.Context(), tx, o.self(), o.user.ID, r.PostFormValue("device"))
	})
	if err != nil {
		return err
	}
	return to(w, r, page.SecurityPath, "notice", "device_forgotten")
}
