package signin

import (
	"context"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
)

// An application whose own page gets an ID token from a provider, as with Google's One
// Tap, swaps it here. It asks for a nonce first and gives that to the provider's
// script: a token without it is somebody else's, or was used before.

// ErrLinkRequired says that the account elsewhere has to be connected first, which takes
// the pages of the product.
var ErrLinkRequired = problem.New(problem.Conflict, "account_link_required", "This account of the other service is not connected with an account here yet. Send the user to the sign-in page once.")

func (s *Service) mountSocialAPI(r *web.Router) {
	const root = "/api/v1/auth/social/{connection}/"
	wrong := problems{social.ErrNotFound, social.ErrDisabled, ErrNotOffered}
	for _, route := range []web.Route{
		{Method: "POST", Paths: []string{root + "nonce"}, Endpoint: api(s, s.postNonce),
			Doc: web.Doc{Summary: "Begin a sign-in by an ID token", Text: "Give the nonce to the provider's script, such as Google's One Tap. It is good for half an hour.", Errors: append(problems{ratelimit.ErrLimited}, wrong...), Example: exampleNonce}},
		{Method: "POST", Paths: []string{root + "token"}, Endpoint: api(s, s.postCredential),
			Doc: web.Doc{Summary: "Sign in by an ID token", Text: "Takes the provider's ID token with the nonce, once. Who is new is signed up if the provider vouches for their e-mail address and the tenant allows it.",
				Errors:  append(problems{social.ErrFlow, social.ErrUpstream, social.ErrCancelled, ErrAttempt, ErrDisabled, ErrNoAccount, ErrLinkRequired, ErrSecondFactor, ErrSSORequired, ErrOrganizationWay}, wrong...),
				Request: exampleCredential, Example: exampleResult}},
	} {
		route.Public, route.Own, route.Doc.Tag = true, true, tagAPI
		r.Add(route)
	}
}

type nonceRequest struct {
	Connection string `path:"connection" doc:"24 hex digits"`
}

type nonceAnswer struct {
	State string `json:"state" doc:"Names this sign-in in the call that follows"`
	Nonce string `json:"nonce" doc:"For the provider"`
}

func (s *Service) postNonce(ctx context.Context, c *call, in nonceRequest) (out nonceAnswer, err error) {
	switch {
	case c.app.ID == "":
		return out, tenant.ErrClient
	case c.app.OAuth.ThirdParty, c.app.OAuth.RequireDPoP:
		return out, ErrNotOffered.Because("the application's users are asked for consent, or its tokens are bound to a key")
	}
	var a attempt
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := s.countAttempt(ctx, tx, c.visit); err != nil {
			return err
		}
		a, _, err = insertAttempt(tx, c.by.Tenant, request{Application: c.app.ID, From: c.from}, nil)
		return err
	})
	if err != nil {
		return out, err
	}
	out.State, out.Nonce, err = s.Social.StartCredential(ctx, c.by, in.Connection, a.ID)
	return out, err
}

type credentialRequest struct {
	Connection string `path:"connection" doc:"24 hex digits"`
	State      string `json:"state" schema:"required" doc:"From the call before"`
	Credential string `json:"credential" schema:"required" doc:"The ID token"`
}

func (s *Service) postCredential(ctx context.Context, c *call, in credentialRequest) (authResult, error) {
	who, f, err := s.Social.FinishCredential(ctx, c.by, in.Connection, in.State, in.Credential)
	if f.Attempt == "" {
		return authResult{}, err
	}
	a, missing := findAttempt(ctx, s.DB, c.by.Tenant, "id", f.Attempt, s.DB.Now())
	if missing != nil {
		return authResult{}, missing
	}
	if c.app.ID != a.ApplicationID || a.browser != nil {
		return authResult{}, ErrAttempt.Because("begun by another application")
	}
	if err != nil {
		return authResult{}, s.refuse(ctx, c, a, methodSocial, err)
	}
	var admitted admission
	var lacking lack
	err = s.writeNew(ctx, func(tx *database.Tx) error {
		admitted, lacking, err = s.admitSocial(ctx, tx, c, a, f, who)
		return err
	})
	if err != nil {
		return authResult{}, s.refuse(ctx, c, a, methodSocial, err)
	}
	if lacking.Second {
		needed, err := s.needed(ctx, c, a, lacking)
		return authResult{TokenType: "Bearer", mfaNeeded: needed}, err
	}
	return s.result(ctx, c, admitted)
}

// admitSocial ends an attempt with whom a service has shown, if nothing more is needed.
func (s *Service) admitSocial(ctx context.Context, tx *database.Tx, c *call, a attempt, f social.Flow, who social.Profile) (out admission, l lack, err error) {
	u, err := s.bySocial(ctx, tx, c.visit, a, f, who)
	if err == nil && u.ID == "" {
		err = ErrLinkRequired // and nothing is held: there is no page to go on with
	}
	if err != nil {
		return out, l, err
	}
	return s.admitFirst(ctx, tx, c, a, proof{u, methodSocial, amrOf(methodSocial)}, ErrAttempt.Because("handed out already"))
}

var (
	exampleNonce      = nonceAnswer{State: "4XR6GVT2ZBSDLW7E5QJ3KUYAHM", Nonce: "QJ3KUYAHM4XR6GVT2ZBSDLW7E5"}
	exampleCredential = map[string]string{"state": "4XR6GVT2ZBSDLW7E5QJ3KUYAHM", "credential": "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.e30.c2lnbmF0dXJl"}
)
