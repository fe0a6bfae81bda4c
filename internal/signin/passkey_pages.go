package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/passkey"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Passkeys on pages. A script asks for options, which makes the challenge, and sends the
// browser's answer with the form; without scripts these parts are not shown.

// Addresses of passkeys on pages.
const (
	pathPasskey        = "/signin/passkey"
	pathPasskeyOptions = "/signin/passkey/options"
	pathOffer          = "/signin/passkey/offer"
	pathOfferOptions   = "/signin/passkey/offer/options"
	pathOfferLater     = "/signin/passkey/offer/later"

	pathAddPasskey     = page.PasskeysPath + "/add"
	pathAddOptions     = page.PasskeysPath + "/options"
	pathRenamePasskey  = page.PasskeysPath + "/rename"
	pathRemovePasskey  = page.PasskeysPath + "/remove"
	pathConfirmPasskey = page.PasskeysPath + "/confirm"
)

// mountPasskeys adds the pages and forms to r.
func (s *Service) mountPasskeys(r *web.Router) {
	home := page.PasskeysPath
	judged := problems{page.ErrForm, ErrAttempt, passkey.ErrChallenge, passkey.ErrRefused, passkey.ErrUnverified, passkey.ErrHeld}
	added := problems{page.ErrForm, passkey.ErrChallenge, passkey.ErrRefused, passkey.ErrUnverified, passkey.ErrExists, passkey.ErrTooMany}
	for _, p := range []struct {
		method, path, summary string
		handler               web.Handler
		errors                problems
	}{
		{"POST", pathPasskey, "Form: a passkey", s.form(s.postPasskey), append(problems{ErrDisabled, ErrCredentials}, judged...)},
		{"GET", pathOffer, "Page: a passkey for the next time", s.offered(s.pageOffer), problems{ErrAttempt}},
		{"POST", pathOffer, "Form: a passkey for the next time", s.offered(s.postOffer), append(problems{ErrAttempt}, added...)},
		{"POST", pathOfferLater, "Form: no passkey now", s.offered(s.postLater), problems{page.ErrForm, ErrAttempt}},
		{"GET", home, "Page: one's passkeys", s.own(home, s.pagePasskeys), nil},
		{"POST", pathAddPasskey, "Form: another passkey", s.own(home, s.fresh(home, s.postAddPasskey)), added},
		{"POST", pathRenamePasskey, "Form: the name of a passkey", s.own(home, s.fresh(home, s.postRenamePasskey)), problems{page.ErrForm, passkey.ErrNotFound, passkey.ErrName}},
		{"POST", pathRemovePasskey, "Form: remove a passkey", s.own(home, s.fresh(home, s.postRemovePasskey)), problems{page.ErrForm, passkey.ErrNotFound, ErrLastPasskey}},
		{"POST", pathConfirmPasskey, "Form: a passkey is one's own", s.own(home, s.fresh(home, s.postConfirmPasskey)), problems{page.ErrForm, passkey.ErrNotFound}},
	} {
		r.Add(pageRoute(p.method, p.path, p.summary, p.handler, p.errors))
	}
	for path, handler := range map[string]web.Handler{
		pathPasskeyOptions: s.postPasskeyOptions, pathOfferOptions: s.offered(s.postOfferOptions), pathAddOptions: s.own(home, s.fresh(home, s.postAddOptions)),
	} {
		route := pageRoute("POST", path, "What to ask the browser for a passkey", handler, problems{page.ErrForm})
		route.Endpoint.Media, route.Endpoint.Status = "application/json", http.StatusOK
		r.Add(route)
	}
}

// passkeyPrompt is the button for a passkey; named says that the page is about one
// person. There is none where passkeys are not offered.
func (v *visit) passkeyPrompt(named bool) page.Ceremony {
	if v.tenant.Settings.SignIn.NoPasskey {
		return page.Ceremony{}
	}
	return page.Ceremony{Action: pathPasskey, OptionsAction: pathPasskeyOptions, Named: named, Autofill: !named}
}

type passkeyOptions struct {
	State     string `json:"state"`
	PublicKey any    `json:"publicKey"`
}

// postPasskeyOptions begins a proof by passkey: of the second factor if that is what is
// missing, of whom the page names, or of anyone. It begins an attempt if there is none.
func (s *Service) postPasskeyOptions(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.CheckForm(w, r); err != nil {
		return err
	}
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	if v.tenant.Settings.SignIn.NoPasskey {
		return ErrNotOffered
	}
	a, err := s.attemptOrNew(ctx, v, r.PostFormValue("state"))
	if err != nil {
		return err
	}
	ask, err := s.passkeyRequest(ctx, v, a, r.PostFormValue("named") == "1")
	if err != nil {
		return err
	}
	var out passkey.RequestOptions
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		out, err = s.askPasskey(ctx, tx, v, ask)
		return err
	})
	if err != nil {
		return err
	}
	if r.PostFormValue("able") == "1" {
		canPasskey.set(w, r, passkeysYes)
	}
	return web.Write(w, http.StatusOK, passkeyOptions{v.view.State, out})
}

func (s *Service) passkeyRequest(ctx context.Context, v *visit, a attempt, named bool) (passkey.Request, error) {
	ask := passkey.Request{Owner: a.ID, Purpose: passkey.SignIn, UserID: passkey.Anyone, RP: v.rp}
	var err error
	switch {
	case !a.ProvedAt.IsZero():
		l, u, err := s.lacksNow(ctx, v, a)
		if err == nil && (!l.Second || !slices.Contains(l.Kinds, mfa.Passkey)) {
			err = ErrNotOffered
		}
		if err != nil {
			return ask, err
		}
		ask.Purpose, ask.UserID = passkey.SecondFactor, u.ID
	case named && a.Identifier != "":
		if ask.UserID, err = s.ownerOf(ctx, v, a.Identifier); err != nil {
			return ask, err
		}
	default:
		return ask, nil
	}
	ask.Allow, err = s.Passkeys.Allow(ctx, s.DB, v.by.Tenant, ask.UserID, a.Identifier, v.rp.ID)
	return ask, err
}

// postPasskey takes the answer: it signs in, or is the second factor.
func (s *Service) postPasskey(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	if v.tenant.Settings.SignIn.NoPasskey {
		return ErrNotOffered
	}
	if !a.ProvedAt.IsZero() {
		return s.orShow(w, r, v, a, s.postSecondPasskey)
	}
	ctx := r.Context()
	failed := func(err error) error { return s.firstAgain(w, r, v, a, s.refusePasskey(ctx, v, a, err)) }
	as, err := s.checkPasskey(r, v, a, passkey.SignIn)
	if err != nil {
		return failed(err)
	}
	return s.finish(w, r, v, a, failed, func(tx *database.Tx) (proof, error) { return s.provePasskey(ctx, tx, v, as) })
}

func (s *Service) checkPasskey(r *http.Request, v *visit, a attempt, purpose string) (passkey.Assertion, error) {
	return s.Passkeys.CheckSignIn(r.Context(), v.by, passkey.Answer{Owner: a.ID, Purpose: purpose, RP: v.rp, Credential: []byte(r.PostFormValue("credential"))})
}

func (s *Service) postSecondPasskey(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack) error {
	ctx := r.Context()
	as, err := s.checkPasskey(r, v, a, passkey.SecondFactor)
	if err == nil && as.Passkey.UserID != u.ID {
		err = passkey.ErrRefused.Because("of another user than the first factor")
	}
	if err != nil {
		p := s.secondChoice(ctx, v, a, u, l)
		return again(w, r, &p.View, s.refusePasskey(ctx, v, a, err), p)
	}
	return s.finishSecond(w, r, v, a, u, l, mfa.Passkey, func(tx *database.Tx, by access.Actor) error {
		_, err := s.Passkeys.FinishSignIn(ctx, tx, by, as)
		return err
	})
}

// A memo is a cookie of a browser that proves nothing and decides little.
type memo string

// canPasskey says of a browser that its device can keep passkeys, or that its user does not
// want to be asked for a while.
const (
	canPasskey    memo = "cardea-passkeys"
	passkeysYes        = "yes"
	passkeysLater      = "later"
	passkeysPause      = 60 * 24 * time.Hour
)

func (m memo) name(r *http.Request) string {
	if web.Of(r.Context()).Secure {
		return "__Host-" + string(m)
	}
	return string(m)
}

func (m memo) get(r *http.Request) string {
	c, err := r.Cookie(m.name(r))
	if err != nil {
		return ""
	}
	return c.Value
}

// set leaves a memo, unless there is one.
func (m memo) set(w http.ResponseWriter, r *http.Request, value string) {
	if value == passkeysYes && m.get(r) != "" {
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: m.name(r), Value: value, Path: "/", MaxAge: int(passkeysPause.Seconds()), Secure: web.Of(r.Context()).Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// afterwards is where an attempt that has ended leads: to what it was begun for, by way
// of the offer of a passkey for somebody who can have one and has none.
func (s *Service) afterwards(r *http.Request, v *visit, a attempt, in signedIn) (string, error) {
	if v.tenant.Settings.SignIn.NoPasskey || canPasskey.get(r) != passkeysYes || a.Request.UserID != "" || slices.Contains(in.session.AMR, "hwk") {
		return a.Request.returnTo(), nil
	}
	own, err := s.Passkeys.List(r.Context(), s.DB, v.by.Tenant, in.user.ID)
	if err != nil || len(own) > 0 {
		return a.Request.returnTo(), err
	}
	return withState(pathOffer, v.view.State), nil
}

// offered is a handler for the offer after an attempt: whoever is not, or not any more,
// signed in by it, goes on without.
func (s *Service) offered(step func(w http.ResponseWriter, r *http.Request, o *owner, a attempt) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		state := r.URL.Query().Get("state")
		if r.Method == http.MethodPost {
			if err := s.CheckForm(w, r); err != nil {
				return err
			}
			state = r.PostFormValue("state")
		}
		o, err := s.owner(w, r)
		if errors.Is(err, errNobody) {
			return to(w, r, pathSignIn)
		}
		if err != nil {
			return err
		}
		a, err := s.attemptOf(r.Context(), o.visit, state)
		if err != nil {
			return err
		}
		if a.FinishedAt.IsZero() || a.SessionID != o.in.ID || a.UserID != o.user.ID || s.DB.Now().Sub(o.in.AuthAt) > freshFor {
			return to(w, r, a.Request.returnTo())
		}
		return step(w, r, o, a)
	}
}

func (s *Service) offerPage(r *http.Request, o *owner, a attempt) *page.PasskeyOffer {
	return &page.PasskeyOffer{
		View: o.view, App: s.app(r.Context(), o.by.Tenant, a), Create: page.Ceremony{Action: pathOffer, OptionsAction: pathOfferOptions}, LaterAction: pathOfferLater,
	}
}

func (s *Service) pageOffer(w http.ResponseWriter, r *http.Request, o *owner, a attempt) error {
	return page.Render(w, r, http.StatusOK, s.offerPage(r, o, a))
}

func (s *Service) postOfferOptions(w http.ResponseWriter, r *http.Request, o *owner, _ attempt) error {
	return s.postAddOptions(w, r, o)
}

func (s *Service) postOffer(w http.ResponseWriter, r *http.Request, o *owner, a attempt) error {
	in, err := s.addOwnPasskey(r, o)
	if err != nil {
		p := s.offerPage(r, o, a)
		return again(w, r, &p.View, err, p)
	}
	o.enter(w, r, in)
	return to(w, r, a.Request.returnTo())
}

func (s *Service) postLater(w http.ResponseWriter, r *http.Request, _ *owner, a attempt) error {
	canPasskey.set(w, r, passkeysLater)
	return to(w, r, a.Request.returnTo())
}

// addOwnPasskey keeps the passkey that a form has brought. Whoever has just made one has
// proved it as well as any: the session counts for both factors from now on, so that the
// next change does not ask for what was shown a moment ago.
func (s *Service) addOwnPasskey(r *http.Request, o *owner) (in signedIn, err error) {
	ctx := r.Context()
	if o.tenant.Settings.SignIn.NoPasskey {
		return in, ErrNotOffered
	}
	answer := passkey.Answer{Owner: o.in.ID, RP: o.rp, Credential: []byte(r.PostFormValue("credential"))}
	_, err = s.addPasskey(ctx, o.visit, o.user, answer, func(tx *database.Tx) error {
		in, err = s.renew(ctx, tx, o, session.Proof{AMR: amrOf(methodPasskey), ACR: ACRTwoFactors, At: tx.Now})
		return err
	})
	return in, err
}

func (s *Service) postAddOptions(w http.ResponseWriter, r *http.Request, o *owner) error {
	ctx := r.Context()
	if o.tenant.Settings.SignIn.NoPasskey {
		return ErrNotOffered
	}
	var out passkey.CreationOptions
	err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		out, err = s.Passkeys.BeginRegistration(ctx, tx, userActor(o.visit, o.user), newPasskey(o.user, o.rp, o.in.ID))
		return err
	})
	if err != nil {
		return err
	}
	return web.Write(w, http.StatusOK, passkeyOptions{o.view.State, out})
}

func (s *Service) pagePasskeys(w http.ResponseWriter, r *http.Request, o *owner) error {
	p, err := s.passkeysPage(r.Context(), o)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) passkeysPage(ctx context.Context, o *owner) (*page.AccountPasskeys, error) {
	p := &page.AccountPasskeys{
		AccountView: s.accountView(o), Create: page.Ceremony{Action: pathAddPasskey, OptionsAction: pathAddOptions},
		RenameAction: pathRenamePasskey, RemoveAction: pathRemovePasskey, ConfirmAction: pathConfirmPasskey,
	}
	if o.tenant.Settings.SignIn.NoPasskey {
		p.Create = page.Ceremony{}
	}
	list, err := s.Passkeys.List(ctx, s.DB, o.by.Tenant, o.user.ID)
	if err != nil {
		return nil, err
	}
	known := []string{}
	for _, k := range list {
		row := page.Passkey{ID: k.ID, Title: k.Title(), Name: k.Name, Since: k.CreatedAt, LastUsed: k.UsedAt, Synced: k.BackupState, Held: !k.HeldAt.IsZero(), Second: !k.Verified}
		if k.RPID != o.rp.ID {
			row.Domain = k.RPID
		} else {
			known = append(known, k.Key())
		}
		p.Passkeys = append(p.Passkeys, row)
	}
	text, err := json.Marshal(map[string]any{"rpId": o.rp.ID, "userId": base64.RawURLEncoding.EncodeToString([]byte(o.user.ID)), "allAcceptedCredentialIds": known})
	p.Known = string(text)
	return p, err
}

func (s *Service) passkeysAgain(w http.ResponseWriter, r *http.Request, o *owner, err error) error {
	p, later := s.passkeysPage(r.Context(), o)
	if later != nil {
		return later
	}
	return again(w, r, &p.View, err, p)
}

func (s *Service) postAddPasskey(w http.ResponseWriter, r *http.Request, o *owner) error {
	if r.PostFormValue("credential") == "" {
		return to(w, r, page.PasskeysPath) // the page asks the browser, which can be done now
	}
	in, err := s.addOwnPasskey(r, o)
	if err != nil {
		return s.passkeysAgain(w, r, o, err)
	}
	o.enter(w, r, in)
	return to(w, r, page.PasskeysPath, "notice", "passkey_added")
}

// changePasskey is a form that changes one passkey.
func (s *Service) changePasskey(w http.ResponseWriter, r *http.Request, o *owner, notice string, change func(tx *database.Tx, id string) error) error {
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error { return change(tx, r.PostFormValue("passkey")) })
	if err != nil {
		return s.passkeysAgain(w, r, o, err)
	}
	return to(w, r, page.PasskeysPath, "notice", notice)
}

func (s *Service) postRenamePasskey(w http.ResponseWriter, r *http.Request, o *owner) error {
	return s.changePasskey(w, r, o, "passkey_renamed", func(tx *database.Tx, id string) error {
		_, err := s.Passkeys.Rename(r.Context(), tx, userActor(o.visit, o.user), o.user.ID, id, r.PostFormValue("name"))
		return err
	})
}

func (s *Service) postConfirmPasskey(w http.ResponseWriter, r *http.Request, o *owner) error {
	return s.changePasskey(w, r, o, "passkey_confirmed", func(tx *database.Tx, id string) error {
		_, err := s.Passkeys.Confirm(r.Context(), tx, userActor(o.visit, o.user), o.user.ID, id)
		return err
	})
}

func (s *Service) postRemovePasskey(w http.ResponseWriter, r *http.Request, o *owner) error {
	if err := s.removePasskey(r.Context(), o.visit, o.user, r.PostFormValue("passkey")); err != nil {
		return s.passkeysAgain(w, r, o, err)
	}
	return to(w, r, page.PasskeysPath, "notice", "passkey_removed")
}
