package signin

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// The SSOJet authentication API, by which applications sign people in on pages of
// their own. A "send" begins an attempt and answers its handle, the "state"; a code is
// redeemed by whoever has the state, a link by whoever has the mail, and what a link
// leads to is handed out once to whoever asks with the state. Doubled addresses,
// secrets in the query of a GET and fields of two names are the contract's.

const tagAPI = "Authentication"

// mountAPI adds the calls to r.
func (s *Service) mountAPI(r *web.Router) {
	const root = "/api/v1/auth/passwordless/"
	both := func(call string) []string { return []string{root + "magic-otp/" + call, root + "email-otp/" + call} }
	starts := problems{ErrNotOffered, ratelimit.ErrLimited, notify.ErrNoChannel}
	resends := append(problems{ErrAttempt}, starts...)
	verifies := append(problems{passwordless.ErrCode, ErrDisabled, ErrCredentials, ratelimit.ErrLimited}, refusals...)
	for _, route := range []web.Route{
		{Method: "POST", Paths: []string{root + "magic-link/send"}, Endpoint: api(s, s.postEmail),
			Doc: web.Doc{Summary: "Email a magic link", Text: "The mail has a code as well. The answer is the same whether anybody is known by the address. " +
				"The link leads to a page of ours, whose button uses it up and leads on to the application's first redirect URI with the state in the query.",
				Errors: append(problems{user.ErrEmail}, starts...), Request: exampleEmail, Example: exampleState}},
		{Method: "POST", Paths: []string{root + "magic-link/resend"}, Endpoint: api(s, s.postEmailAgain),
			Doc: web.Doc{Summary: "Email another magic link", Text: "The one before is good no more.", Errors: resends, Request: exampleAgain, Example: nothing{}}},
		{Method: "GET", Paths: []string{root + "magic-link/verify"}, Endpoint: web.Endpoint{Handler: web.Handler(s.getVerify), Status: http.StatusOK, Media: "text/html"},
			Doc: web.Doc{Summary: "Verify a magic link", Text: "Uses the link up and answers a page. The mail itself never leads here: programs that look for viruses open every link.",
				Query:  []web.Param{{Name: "state", Text: "From sending"}, {Name: "magictext", Text: "The token of the link"}},
				Errors: problems{passwordless.ErrLinkSpent, ErrDisabled, ErrCredentials, ratelimit.ErrLimited}}},
		{Method: "GET", Paths: []string{root + "magic-link/status"}, Endpoint: api(s, s.getStatus),
			Doc: web.Doc{Summary: "Ask what became of a sign-in", Text: "Until the link was used: authenticated is false, oauth and user are null. " +
				"The tokens are handed out once; who asks again is told that it is so, with oauth and user null.",
				Errors: append(problems{ErrAttempt, ErrDisabled}, refusals...), Example: exampleStatus}},
		{Method: "POST", Paths: both("send"), Endpoint: api(s, s.postEmail),
			Doc: web.Doc{Summary: "Email a code", Text: "The mail has a link as well. The answer is the same whether anybody is known by the address.",
				Errors: append(problems{user.ErrEmail}, starts...), Request: exampleEmail, Example: exampleState}},
		{Method: "POST", Paths: both("resend"), Endpoint: api(s, s.postEmailAgain),
			Doc: web.Doc{Summary: "Email another code", Text: "The one before is good no more.", Errors: resends, Request: exampleAgain, Example: nothing{}}},
		{Method: "POST", Paths: both("verify"), Endpoint: api(s, s.postEmailCode),
			Doc: web.Doc{Summary: "Sign in with a code from a mail", Text: "Five wrong tries end the code. Who is new is signed up, if the tenant allows it.",
				Errors: verifies, Request: exampleCode, Example: exampleResult}},
		{Method: "POST", Paths: []string{root + "phone-otp/send"}, Endpoint: api(s, s.postPhone),
			Doc: web.Doc{Summary: "Text a code", Text: "The answer is the same whether anybody is known by the number.",
				Errors: append(problems{user.ErrPhone}, starts...), Request: examplePhone, Example: examplePhoneState}},
		{Method: "POST", Paths: []string{root + "phone-otp/resend"}, Endpoint: api(s, s.postPhoneAgain),
			Doc: web.Doc{Summary: "Text another code", Text: "The one before is good no more.", Errors: resends, Request: exampleAgain, Example: nothing{}}},
		{Method: "POST", Paths: []string{root + "phone-otp/verify"}, Endpoint: api(s, s.postPhoneCode),
			Doc: web.Doc{Summary: "Sign in with a code from a text message", Text: "Five wrong tries end the code. Who is new is signed up, if the tenant allows it.",
				Errors: verifies, Request: exampleCode, Example: examplePhoneResult}},
		{Method: "GET", Paths: []string{"/api/v1/auth/status"}, Endpoint: api(s, s.getWays),
			Doc: web.Doc{Summary: "List the ways to sign in", Text: "What the tenant offers for an identifier of this kind. It says nothing of whether anybody is known by it.",
				Errors: problems{ErrIdentifier, user.ErrEmail, user.ErrUsername}, Example: exampleWays}},
		{Method: "GET", Paths: []string{"/api/v1/accesstoken/refresh"}, Endpoint: api(s, s.getRefresh),
			Doc: web.Doc{Summary: "Refresh an access token", Text: "Answers a new refresh token too; the one that was sent is used up. Sent again within ten seconds it gives the same one, " +
				"later it ends the sign-in. What a confidential application got at the token endpoint is refreshed there.",
				Errors: problems{session.ErrGrant}, Example: exampleStatus}},
	} {
		route.Public, route.Own, route.Doc.Tag = true, true, tagAPI
		r.Add(route)
	}
	s.mountMFAAPI(r)
	s.mountPasskeyAPI(r)
	s.mountSessions(r)
}

// A call is a request of an application that signs people in on its own pages.
type call struct {
	*visit
	header http.Header
}

type callKey struct{}

// api makes an endpoint of an operation that is told which application calls.
func api[In, Out any](s *Service, op func(ctx context.Context, c *call, in In) (Out, error)) web.Endpoint {
	e := web.JSON(http.StatusOK, func(ctx context.Context, _ access.Actor, in In) (Out, error) {
		return op(ctx, ctx.Value(callKey{}).(*call), in)
	})
	operation := e.Handler
	e.Handler = web.Handler(func(w http.ResponseWriter, r *http.Request) error {
		c, err := s.call(w, r)
		if err != nil {
			return err
		}
		operation.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
		return nil
	})
	return e
}

// call finds out which application calls. It has no browser: cookies that come along
// say nothing here, nor does a key, but that limits by address are not for a server. HEAD, which http.ServeMux takes for GET, would use
// up what nobody gets to read.
func (s *Service) call(w http.ResponseWriter, r *http.Request) (*call, error) {
	if r.Method == http.MethodHead {
		return nil, web.ErrNoMethod
	}
	ctx := r.Context()
	c := &call{visit: &visit{by: web.ActorOf(ctx)}, header: r.Header}
	c.backend = strings.HasPrefix(c.by.Name, "key:")
	c.by.Name = access.Visitor(c.by.Tenant, c.by.IP).Name
	id, err := web.Query(r, "client_id")
	if err != nil {
		return nil, err
	}
	if id = cmp.Or(id, r.Header.Get("X-Client-Id")); id != "" {
		if c.app, err = s.Tenants.ByClientID(ctx, id); err != nil {
			return nil, err
		}
	}
	if c.tenant, err = s.Tenants.ByID(ctx, c.by.Tenant); err != nil {
		return nil, err
	}
	if c.origin, err = s.Tenants.Origin(ctx, c.tenant); err != nil {
		return nil, err
	}
	if c.rp, err = s.relyingParty(ctx, c.tenant); err != nil {
		return nil, err
	}
	c.from, c.view = s.from(c.by), s.View(w, r)
	c.view.Here = "" // it may hold a link's token
	return c, nil
}

// attempt returns an attempt that the application has begun, by its handle. A request
// that has the handle need not name the application.
func (s *Service) attempt(ctx context.Context, c *call, state string) (attempt, error) {
	if len(state) != 24 {
		return attempt{}, ErrAttempt
	}
	a, err := findAttempt(ctx, s.DB, c.by.Tenant, "handle_hash", secret.Hash(state), s.DB.Now())
	switch {
	case err != nil:
		return attempt{}, err
	case a.browser != nil:
		return attempt{}, ErrAttempt.Because("begun in a browser")
	case c.app.ID == "":
		c.app, err = s.Tenants.ActiveApplication(ctx, c.by.Tenant, a.ApplicationID)
		return a, err
	case c.app.ID != a.ApplicationID:
		return attempt{}, ErrAttempt.Because("begun by another application")
	}
	return a, nil
}

type emailRequest struct {
	Email string `json:"email" schema:"required"`
}

type stateAnswer struct {
	State string `json:"state" doc:"Names this sign-in in the calls that follow, for an hour"`
}

func (s *Service) postEmail(ctx context.Context, c *call, in emailRequest) (stateAnswer, error) {
	email, err := user.ParseEmail(in.Email)
	if err != nil {
		return stateAnswer{}, inField(err, "email")
	}
	state, err := s.start(ctx, c, notify.Email, email)
	return stateAnswer{state}, err
}

type phoneRequest struct {
	PhoneID string `json:"phone_id" doc:"In international form, such as +4915112345678"`
	Phone   string `json:"phone" doc:"The same as phone_id"`
}

type phoneStateAnswer struct {
	StateID string `json:"state_id" doc:"Names this sign-in in the calls that follow, for an hour"`
	State   string `json:"state" doc:"The same as state_id"`
}

func (s *Service) postPhone(ctx context.Context, c *call, in phoneRequest) (phoneStateAnswer, error) {
	phone, err := user.ParsePhone(cmp.Or(in.PhoneID, in.Phone))
	if err != nil {
		return phoneStateAnswer{}, inField(err, "phone_id")
	}
	state, err := s.start(ctx, c, notify.SMS, phone)
	return phoneStateAnswer{state, state}, err
}

func inField(err error, field string) error {
	if p, ok := problem.From(err); ok {
		return p.In(field)
	}
	return err
}

// start begins an attempt and sends its link and code.
func (s *Service) start(ctx context.Context, c *call, channel, target string) (state string, err error) {
	switch {
	case c.app.ID == "":
		return "", tenant.ErrClient
	case c.app.OAuth.ThirdParty:
		return "", ErrNotOffered.Because("the application needs the user's consent, for which this API has no page")
	case !c.app.May(tenant.GrantCode) || c.app.OAuth.RequirePAR:
		return "", ErrNotOffered.Because("the application signs nobody in, or pushes its requests")
	case c.app.OAuth.RequireDPoP:
		return "", ErrNotOffered.Because("the application's tokens are bound to a key, which this API has no place for")
	case !offers(c.tenant.Settings.SignIn, channel):
		return "", ErrNotOffered
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		state = newHandle()
		a, _, err := insertIdentified(tx, c.by.Tenant, state, attempt{Request: request{Application: c.app.ID, From: c.from, Handle: state}, Identifier: target, Channel: channel})
		if err != nil {
			return err
		}
		return s.sendCode(ctx, tx, c.visit, a)
	})
	if err != nil {
		return "", err
	}
	return state, nil
}

// offers reports whether a tenant signs people in by messages of a channel.
func offers(settings tenant.SignIn, channel string) bool {
	return channel == notify.Email && !settings.NoEmail || channel == notify.SMS && settings.SMS
}

type againRequest struct {
	State   string `json:"state" schema:"required" doc:"From sending"`
	StateID string `json:"state_id" doc:"The same as state"`
}

type nothing struct{}

func (s *Service) postEmailAgain(ctx context.Context, c *call, in againRequest) (nothing, error) {
	return nothing{}, s.resend(ctx, c, notify.Email, cmp.Or(in.State, in.StateID))
}

func (s *Service) postPhoneAgain(ctx context.Context, c *call, in againRequest) (nothing, error) {
	return nothing{}, s.resend(ctx, c, notify.SMS, cmp.Or(in.State, in.StateID))
}

func (s *Service) resend(ctx context.Context, c *call, channel, state string) error {
	a, err := s.attempt(ctx, c, state)
	if err != nil {
		return err
	}
	if a.Channel != channel || !a.ProvedAt.IsZero() {
		return ErrAttempt.Because("nothing to send again")
	}
	if !offers(c.tenant.Settings.SignIn, channel) {
		return ErrNotOffered
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error { return s.sendCode(ctx, tx, c.visit, a) })
}

type waysRequest struct {
	Identifier string `query:"identifier" doc:"E-mail address, phone number or username"`
}

type ways struct {
	Identifier string   `json:"identifier"`
	Methods    []string `json:"methods" doc:"magic_link, magic_otp, phone_otp, password"`
}

// getWays looks at the tenant's settings and at the form of the identifier, and at
// nothing that it could give away.
func (s *Service) getWays(ctx context.Context, c *call, in waysRequest) (ways, error) {
	if c.app.ID == "" {
		return ways{}, tenant.ErrClient
	}
	settings := c.tenant.Settings.SignIn
	identifier, channel, err := parseIdentifier(settings, in.Identifier, false)
	if err != nil {
		return ways{}, err
	}
	out := ways{Identifier: identifier, Methods: []string{}}
	if offers(settings, channel) && channel == notify.Email {
		out.Methods = append(out.Methods, "magic_link", "magic_otp")
	}
	if offers(settings, channel) && channel == notify.SMS {
		out.Methods = append(out.Methods, "phone_otp")
	}
	if !settings.NoPassword {
		out.Methods = append(out.Methods, "password")
	}
	return out, nil
}
