package signin

import (
	"net/http"

	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/web"
)

type problems = []*problem.Problem

// Mount adds the pages and calls to r.
func (s *Service) Mount(r *web.Router) {
	journey := problems{ErrAttempt}
	seconds := problems{page.ErrForm, ErrAttempt, ErrDisabled, ratelimit.ErrLimited}
	for _, p := range []struct {
		method, path, summary string
		handler               web.Handler
		errors                problems
	}{
		{"GET", pathSignIn, "Page: sign in", s.pageSignIn, journey},
		{"POST", pathSignIn, "Form: who is there", s.postSignIn, problems{page.ErrForm, ErrIdentifier, ratelimit.ErrLimited}},
		{"GET", pathSignUp, "Page: sign up", s.pageSignUp, journey},
		{"POST", pathSignUp, "Form: sign up", s.postSignUp, problems{page.ErrForm, ErrIdentifier, ratelimit.ErrLimited}},
		{"POST", pathCode, "Form: the code from a message", s.form(s.postCode), problems{page.ErrForm, ErrAttempt, passwordless.ErrCode, ErrDisabled, ErrCredentials, ratelimit.ErrLimited}},
		{"POST", pathResend, "Form: send a message again", s.form(s.postResend), problems{page.ErrForm, ErrAttempt, ErrNotOffered, ratelimit.ErrLimited}},
		{"GET", pathPassword, "Page: password", s.see(s.pagePassword), problems{ErrAttempt, ErrNotOffered}},
		{"POST", pathPassword, "Form: password", s.form(s.postPassword), problems{page.ErrForm, ErrAttempt, ErrNotOffered, ErrCredentials, ErrDisabled, password.ErrChanged, ratelimit.ErrLimited}},
		{"POST", pathNewPassword, "Form: another password in place of a temporary or weak one", s.form(s.postNewPassword), append(problems{page.ErrForm, ErrAttempt, password.ErrChanged}, password.Problems...)},
		{"POST", pathAccount, "Form: one of the accounts of the browser", s.form(s.postAccount), problems{page.ErrForm, ErrAttempt}},
		{"GET", pathLink, "Page: the link of a message", s.pageLink, problems{passwordless.ErrLinkSpent, ErrAttempt}},
		{"POST", pathLink, "Form: sign in by the link of a message", s.postLink, problems{page.ErrForm, passwordless.ErrLinkSpent, ErrAttempt, ErrNumber, ErrDisabled, ErrCredentials}},
		{"GET", pathWait, "Was the link opened elsewhere", s.see(s.getWait), journey},
		{"POST", pathFinish, "Form: go on after the link was opened elsewhere", s.form(s.postFinish), problems{page.ErrForm, ErrAttempt}},
		{"GET", pathForgot, "Page: forgotten password", s.pageForgot, problems{ErrNotOffered}},
		{"POST", pathForgot, "Form: forgotten password", s.postForgot, problems{page.ErrForm, ErrNotOffered, ErrIdentifier, ratelimit.ErrLimited}},
		{"GET", pathReset, "Page: the link to a new password", s.pageReset, problems{password.ErrResetSpent}},
		{"POST", pathReset, "Form: a new password", s.postReset, append(problems{page.ErrForm, password.ErrResetSpent, ratelimit.ErrLimited}, password.Problems...)},
		{"GET", pathSecond, "Page: the second factor", s.see(s.pageSecond), journey},
		{"POST", pathSecond, "Form: the code of a second factor", s.form(s.second(s.postSecond)), append(problems{mfa.ErrCode, passwordless.ErrCode}, seconds...)},
		{"POST", pathSecondSend, "Form: send a code as the second factor", s.form(s.second(s.postSecondSend)), append(problems{notify.ErrNoChannel, notify.ErrRecipient}, seconds...)},
		{"POST", pathSecondEnroll, "Form: set up a second factor", s.form(s.second(s.postSecondEnroll)), append(problems{mfa.ErrTooMany}, seconds...)},
		{"POST", pathConfirm, "Form: the first code of a second factor", s.form(s.second(s.postConfirm)), append(problems{mfa.ErrCode, mfa.ErrEnrollment, mfa.ErrRecovery}, seconds...)},
		{"GET", pathRecover, "Page: the link to another second factor", s.pageRecover, problems{mfa.ErrRecovery}},
		{"POST", pathRecover, "Form: set up another second factor", s.postRecover, problems{page.ErrForm, mfa.ErrRecovery, ratelimit.ErrLimited}},
		{"GET", pathSignOut, "Page: sign out", s.pageSignOut, nil},
		{"POST", pathSignOut, "Form: sign out", s.postSignOut, problems{page.ErrForm}},
	} {
		r.Add(pageRoute(p.method, p.path, p.summary, p.handler, p.errors))
	}
	r.Add(web.Route{Method: "GET", Paths: []string{stylePath}, Public: true, Page: true,
		Endpoint: web.Endpoint{Handler: web.Handler(s.getStyle), Media: "text/css"},
		Doc:      web.Doc{Tag: "Hosted pages", Summary: "The tenant's colours, or with organization=<id> those of one of its organizations"}})
	r.Add(pageRoute("GET", "/.well-known/change-password", "Where password managers send people", func(w http.ResponseWriter, r *http.Request) error {
		return to(w, r, page.PasswordPath)
	}, nil))
	s.mountAPI(r)
	s.mountPasskeys(r)
	s.mountAccount(r)
	s.mountSecurity(r)
	s.mountSocial(r)
	s.mountSSO(r)
	s.mountInvitation(r)
	s.mountLinked(r)
	s.mountAlarm(r)
	s.mountData(r)
}

// pageRoute is a page, or a form that leads to one.
func pageRoute(method, path, summary string, handler web.Handler, errors problems) web.Route {
	e := web.Endpoint{Handler: handler, Media: "text/html"}
	if method == http.MethodPost {
		e.Takes = "application/x-www-form-urlencoded"
	}
	return web.Route{Method: method, Paths: []string{path}, Public: true, Own: true, Page: true, Endpoint: e, Doc: web.Doc{Tag: "Hosted pages", Summary: summary, Errors: errors}}
}
