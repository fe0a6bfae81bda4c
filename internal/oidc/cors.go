package oidc

import (
	"net/http"
	"slices"
	"strings"
)

// open are the ends of the addresses that pages of every origin may call. What they
// answer depends on what the page itself sends and on no cookie.
var open = []string{pathToken, pathUserinfo, pathRevoke, pathPAR, pathJWKS, "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json",
	"/" + keycloak + "token", "/" + keycloak + "userinfo", "/" + keycloak + "revoke", "/" + keycloak + "certs"}

// CORS lets pages of every origin call what is meant for them, without credentials,
// and answers their preflights. A page without an origin, from a file or a sandbox, is
// not let in. It comes before tenant.Resolve, which knows only the origins that an
// application has listed.
func CORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if origin == "" || !isOpen(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
		if origin != "null" {
			allowOrigin(w.Header(), preflight)
		}
		if preflight {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		r = r.Clone(r.Context())
		r.Header.Del("Origin") // it has been decided about
		next.ServeHTTP(w, r)
	})
}

func isOpen(path string) bool {
	return IsProtocol(path) && slices.ContainsFunc(open, func(end string) bool { return strings.HasSuffix(path, end) })
}

func allowOrigin(h http.Header, preflight bool) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, X-Request-Id, Retry-After")
	if preflight {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP, X-Client-Id")
		h.Set("Access-Control-Max-Age", "600")
	}
}
