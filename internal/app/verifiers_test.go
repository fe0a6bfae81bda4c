package app_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/ratelimit"
)

// verifiers are the routes that ask for a secret of their own, with the limit that
// stops guessing at it. "" stands for what proves nothing by itself; a reason says why
// no limit is needed: the secret has too many bits to guess, or is no secret.
var verifiers = map[string]string{
	"POST /signin":                ratelimit.Send.Name,
	"POST /signup":                ratelimit.Send.Name,
	"POST /signin/resend":         ratelimit.Send.Name,
	"POST /signin/forgot":         ratelimit.Send.Name,
	"POST /signin/code":           ratelimit.Redeem.Name,
	"POST /signin/link":           ratelimit.Redeem.Name,
	"POST /signin/reset":          ratelimit.Redeem.Name,
	"POST /signin/password":       ratelimit.SignIn.Name,
	"POST /signin/new-password":   "no secret: the password was proved in the step before",
	"POST /signin/account":        "no secret: the browser's session decides",
	"POST /signin/finish":         "no secret: the attempt was proved elsewhere",
	"POST /signin/second":         ratelimit.SecondFactor.Name,
	"POST /signin/second/send":    ratelimit.Send.Name,
	"POST /signin/second/enroll":  "no secret: the first factor was proved, and there is no second",
	"POST /signin/second/confirm": "no secret: whoever may ask is shown the key",
	"POST /signin/recover":        ratelimit.Redeem.Name,
	"POST /signin/not-me":         ratelimit.Redeem.Name,
	"POST /signout":               "no secret",

	"POST /signin/passkey":               ratelimit.Redeem.Name,
	"POST /signin/passkey/options":       ratelimit.Challenges.Name,
	"POST /signin/passkey/offer":         "no secret: the browser's session decides",
	"POST /signin/passkey/offer/options": "no secret: the browser's session decides",
	"POST /signin/passkey/offer/later":   "no secret",
	"POST /account/passkeys/options":     "no secret: the browser's session decides",
	"POST /account/passkeys/add":         "no secret: the browser's session decides",
	"POST /account/passkeys/rename":      "no secret: the browser's session decides",
	"POST /account/passkeys/remove":      "no secret: the browser's session decides",
	"POST /account/passkeys/confirm":     "no secret: the browser's session decides",

	"POST /account":                       "no secret: the browser's session decides",
	"POST /account/password":              ratelimit.SignIn.Name,
	"POST /account/email":                 ratelimit.Send.Name,
	"POST /account/phone":                 ratelimit.Send.Name,
	"POST /account/email/code":            ratelimit.Redeem.Name,
	"POST /account/phone/code":            ratelimit.Redeem.Name,
	"POST /account/email/resend":          ratelimit.Send.Name,
	"POST /account/phone/resend":          ratelimit.Send.Name,
	"POST /account/email/verify":          ratelimit.Send.Name,
	"POST /account/phone/verify":          ratelimit.Send.Name,
	"POST /account/email/remove":          "no secret: the browser's session decides",
	"POST /account/phone/remove":          "no secret: the browser's session decides",
	"POST /account/email/further":         ratelimit.Send.Name,
	"POST /account/email/further/code":    ratelimit.Redeem.Name,
	"POST /account/email/further/resend":  ratelimit.Send.Name,
	"POST /account/email/further/primary": "no secret: the browser's session decides",
	"POST /account/email/further/remove":  "no secret: the browser's session decides",
	"POST /account/phone/further":         ratelimit.Send.Name,
	"POST /account/phone/further/code":    ratelimit.Redeem.Name,
	"POST /account/phone/further/resend":  ratelimit.Send.Name,
	"POST /account/phone/further/primary": "no secret: the browser's session decides",
	"POST /account/phone/further/remove":  "no secret: the browser's session decides",
	"POST /account/data":                  "no secret: the browser's session decides",
	"POST /account/delete":                "no secret: the browser's session decides",
	"POST /account/sessions/end":          "no secret: the browser's session decides",
	"POST /account/sessions/end-others":   "no secret: the browser's session decides",
	"POST /account/applications/revoke":   "no secret: the browser's session decides",

	"POST /account/security/apps":           "no secret: the browser's session decides",
	"POST /account/security/app":            "no secret: whoever may ask is shown the key",
	"POST /account/security/remove":         "no secret: the browser's session decides",
	"POST /account/security/rename":         "no secret: the browser's session decides",
	"POST /account/security/codes":          "no secret: the browser's session decides",
	"POST /account/security/codes/download": "no secret: it gives back what was sent",
	"POST /account/security/forget":         "no secret: the browser's session decides",

	"POST /signin/social/{connection}":       "no secret: it begins a sign-in elsewhere",
	"POST /signin/social-link":               "no secret: the attempt was proved in the step before",
	"POST /sso/{connection}/callback":        "a state is random and used up by one try",
	"POST /signin/sso":                       "a handle is random and used up by one try",
	"POST /saml/{connection}/acs":            "a response is signed by the provider",
	"POST /saml/{connection}/slo":            "a message is signed by the provider",
	"POST /signin/sso/{connection}":          "no secret: it begins a sign-in elsewhere",
	"POST /signin/sso-link":                  "no secret: the attempt was proved in the step before",
	"POST /signin/invitation":                ratelimit.Redeem.Name,
	"POST /signin/again":                     "no secret: it drops what was proved",
	"POST /signin/organization":              "no secret: the attempt or the browser's session decides",
	"POST /account/linked/with/{connection}": "no secret: the browser's session decides",
	"POST /account/linked/confirm":           "no secret: the browser's session decides",
	"POST /account/linked/mine":              "no secret: the browser's session decides",
	"POST /account/linked/remove":            "no secret: the browser's session decides",

	"POST /api/v1/auth/social/{connection}/nonce": ratelimit.Begin.Name,
	"POST /api/v1/auth/social/{connection}/token": "a state is random and used up by one try",

	"POST /api/v1/auth/mfa/token":    ratelimit.ClientSecret.Name,
	"POST /api/v1/auth/mfa/enroll":   "an MFA token is authentic by itself",
	"POST /api/v1/auth/mfa/initiate": ratelimit.Send.Name,
	"POST /api/v1/auth/mfa/validate": ratelimit.SecondFactor.Name,

	"POST /api/v1/auth/passwordless/magic-link/send":   ratelimit.Send.Name,
	"POST /api/v1/auth/passwordless/magic-link/resend": ratelimit.Send.Name,
	"POST /api/v1/auth/passwordless/magic-otp/send":    ratelimit.Send.Name,
	"POST /api/v1/auth/passwordless/magic-otp/resend":  ratelimit.Send.Name,
	"POST /api/v1/auth/passwordless/magic-otp/verify":  ratelimit.Redeem.Name,
	"POST /api/v1/auth/passwordless/phone-otp/send":    ratelimit.Send.Name,
	"POST /api/v1/auth/passwordless/phone-otp/resend":  ratelimit.Send.Name,
	"POST /api/v1/auth/passwordless/phone-otp/verify":  ratelimit.Redeem.Name,

	"POST /api/v1/auth/passwordless/passkey/login":                     ratelimit.Redeem.Name,
	"POST /api/v1/auth/passwordless/passkey/register":                  "an access token is signed",
	"PATCH /api/v1/auth/passwordless/passkey/credentials/{passkeyid}":  "an access token is signed",
	"DELETE /api/v1/auth/passwordless/passkey/credentials/{passkeyid}": "an access token is signed",

	"POST /oauth2/token":                                               ratelimit.ClientSecret.Name,
	"POST /oauth2/par":                                                 ratelimit.ClientSecret.Name,
	"POST /oauth2/introspect":                                          ratelimit.ClientSecret.Name,
	"POST /oauth2/revoke":                                              ratelimit.ClientSecret.Name,
	"POST /oauth2/device_authorization":                                ratelimit.DeviceStarts.Name,
	"POST /oauth2/register":                                            ratelimit.Registration.Name,
	"POST /oauth2/userinfo":                                            "an access token is signed",
	"POST /oauth2/authorize":                                           ratelimit.Begin.Name,
	"POST /oauth2/authorize/consent":                                   "no secret: the browser's session decides",
	"POST /oauth2/logout":                                              "no secret: a hint is signed",
	"POST /oauth2/logout/confirm":                                      "no secret: the browser's session decides",
	"POST /device":                                                     ratelimit.UserCode.Name,
	"POST /scim/v2/{directory}/Users":                                  ratelimit.APIKey.Name,
	"POST /scim/v2/{directory}/Users/.search":                          ratelimit.APIKey.Name,
	"PUT /scim/v2/{directory}/Users/{id}":                              ratelimit.APIKey.Name,
	"PATCH /scim/v2/{directory}/Users/{id}":                            ratelimit.APIKey.Name,
	"DELETE /scim/v2/{directory}/Users/{id}":                           ratelimit.APIKey.Name,
	"POST /scim/v2/{directory}/Groups":                                 ratelimit.APIKey.Name,
	"POST /scim/v2/{directory}/Groups/.search":                         ratelimit.APIKey.Name,
	"PUT /scim/v2/{directory}/Groups/{id}":                             ratelimit.APIKey.Name,
	"PATCH /scim/v2/{directory}/Groups/{id}":                           ratelimit.APIKey.Name,
	"DELETE /scim/v2/{directory}/Groups/{id}":                          ratelimit.APIKey.Name,
	"POST /scim/v2/{directory}/.search":                                ratelimit.APIKey.Name,
	"POST /scim/v2/{directory}/Bulk":                                   ratelimit.APIKey.Name,
	"POST /scim/v2/{directory}/Me":                                     ratelimit.APIKey.Name,
	"PUT /scim/v2/{directory}/Me":                                      ratelimit.APIKey.Name,
	"PATCH /scim/v2/{directory}/Me":                                    ratelimit.APIKey.Name,
	"DELETE /scim/v2/{directory}/Me":                                   ratelimit.APIKey.Name,
	"POST /device/confirm":                                             "no secret: only the session that typed the code can decide",
	"POST /portal/{link}/connections":                                  "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/connections/{connection}/provider":            "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/connections/{connection}/attributes":          "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/connections/{connection}/test":                "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/connections/{connection}/state":               "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/connections/{connection}/more":                "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/connections/{connection}/delete":              "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/connections/{connection}/certificates":        "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/connections/{connection}/certificates/remove": "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/directory":                                    "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/directory/{directory}/token":                  "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/directory/{directory}/rules":                  "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/directory/{directory}/state":                  "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/domains":                                      "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/domains/verify":                               "no secret: the link has too many bits to guess, and is looked up first",
	"POST /portal/{link}/domains/remove":                               "no secret: the link has too many bits to guess, and is looked up first",
}

// A new route that asks for credentials of its own must say what stops guessing.
func TestEveryVerifierHasItsLimit(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		limits := map[string]bool{}
		for _, l := range ratelimit.Limits {
			limits[l.Name] = true
		}
		seen := map[string]bool{}
		for _, route := range w.Router.Routes() {
			if !route.Own || route.Method == http.MethodGet {
				continue
			}
			name := route.Method + " " + route.Paths[0]
			limit, listed := verifiers[name]
			seen[name] = true
			if !listed {
				t.Errorf("%s is not in the table of verifiers: which limit stops guessing at it?", name)
			} else if !limits[limit] && !strings.Contains(limit, " ") {
				t.Errorf("%s has the limit %q, which there is not", name, limit)
			}
		}
		for name := range verifiers {
			if !seen[name] {
				t.Errorf("%s is in the table, and is no route", name)
			}
		}
	})
}
