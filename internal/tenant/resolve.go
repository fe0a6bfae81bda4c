package tenant

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/web"
)

// Resolve finds the tenant of each request and who is asking, and leaves both in
// the request's record: from the host, else the client id, else the path, else
// the default tenant. A host, a client id and a path that name different tenants
// are refused.
func (s *Service) Resolve(next http.Handler) http.Handler {
	return web.Handler(func(w http.ResponseWriter, r *http.Request) error {
		if isPlain(r.URL.Path) {
			next.ServeHTTP(w, r)
			return nil
		}
		rec := web.Of(r.Context())
		t, app, err := s.resolve(r)
		if err != nil {
			return err
		}
		rec.Actor = access.Visitor(t.ID, rec.IP)
		rec.Actor.RequestID, rec.Actor.UserAgent = rec.ID, r.UserAgent()
		if origin := r.Header.Get("Origin"); origin != "" {
			if done := s.cors(w, r, t, app, origin); done {
				return nil
			}
		}
		if bearer, ok := bearerOf(r); ok && (s.Own == nil || !s.Own(r.URL.Path)) {
			rec.Actor, rec.AuthErr = s.Authenticate(r.Context(), rec.Actor, bearer)
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// isPlain lists what belongs to no tenant.
func isPlain(path string) bool {
	return path == "/livez" || path == "/readyz" || path == "/openapi.json" || path == "/docs" ||
		strings.HasPrefix(path, "/docs/") || strings.HasPrefix(path, "/ui/")
}

// bearerOf returns the bearer token of RFC 6750 section 2.1.
func bearerOf(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

func (s *Service) resolve(r *http.Request) (t Tenant, app Application, err error) {
	ctx := r.Context()
	named := false // by host or client id
	if t, named, err = s.ofHost(ctx, web.Of(ctx).Host); err != nil {
		return t, app, err
	}
	clientID, err := clientIDOf(r)
	if s.Foreign != nil && s.Foreign(r.URL.Path) {
		clientID, err = "", nil
	}
	if err != nil {
		return t, app, err
	}
	if clientID != "" {
		if app, err = s.ByClientID(ctx, clientID); err != nil {
			return t, app, err
		}
		if named && app.TenantID != t.ID {
			return t, app, ErrClient.Because("client of another tenant")
		}
		named = true
		if t, err = s.ByID(ctx, app.TenantID); err != nil {
			return t, app, err
		}
	}
	if realm, ok := realmOf(r.URL.Path); ok {
		if named && realm != t.Slug {
			return t, app, ErrNotFound.Because("the path names another tenant than host or client id")
		}
		t, err = s.BySlug(ctx, realm)
		return t, app, err
	}
	if !named {
		t, err = s.BySlug(ctx, s.Default)
	}
	return t, app, err
}

// ofHost returns the tenant a host names. The base host names none.
func (s *Service) ofHost(ctx context.Context, host string) (t Tenant, named bool, err error) {
	if host == s.BaseHost || slices.Contains(s.Aliases, host) {
		return Tenant{}, false, nil
	}
	if slug, ok := strings.CutSuffix(host, "."+s.BaseHost); ok {
		t, err = s.BySlug(ctx, slug)
	} else if _, isAddress := netip.ParseAddr(host); isAddress == nil {
		err = ErrNotFound
	} else {
		t, err = s.byHost(ctx, host)
	}
	if errors.Is(err, ErrNotFound) {
		return Tenant{}, false, ErrUnknownHost
	}
	return t, true, err
}

// AnswersAt reports whether a host, as web.CanonicalHost has it, is one of this
// installation's.
func (s *Service) AnswersAt(ctx context.Context, host string) bool {
	_, _, err := s.ofHost(ctx, host)
	return err == nil
}

// clientIDOf returns the first client_id in the query that is not empty, else
// the header.
func clientIDOf(r *http.Request) (string, error) {
	if r.URL.RawQuery != "" {
		id, err := web.Query(r, "client_id")
		if strings.HasPrefix(id, "https://") { // of an application that describes itself there, in whatever tenant
			return "", err
		}
		if id != "" || err != nil {
			return id, err
		}
	}
	id := r.Header.Get("X-Client-Id")
	if !utf8.ValidString(id) || strings.IndexByte(id, 0) >= 0 {
		return "", ErrClient
	}
	return id, nil
}

// realmOf returns the tenant that a KOBIL path names.
func realmOf(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/auth/realms/")
	if !ok {
		rest, ok = strings.CutPrefix(path, "/realms/")
	}
	realm, _, _ := strings.Cut(rest, "/")
	return realm, ok
}

// cors lets pages of an application's allowed origins call the API; it reports
// whether the request was a preflight and is answered. Cookies are never let
// through, so a page can only do what its own key or token allows.
func (s *Service) cors(w http.ResponseWriter, r *http.Request, t Tenant, app Application, origin string) (done bool) {
	h := w.Header()
	h.Add("Vary", "Origin")
	preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	if s.allows(r.Context(), t, app, strings.ToLower(origin)) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Link, X-Next-Cursor, X-Request-Id, Retry-After")
		if preflight {
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Client-Id")
			h.Set("Access-Control-Max-Age", "600")
		}
	}
	if preflight {
		w.WriteHeader(http.StatusNoContent)
	}
	return preflight
}

// allows reports whether the request's application, or one of the tenant's if it
// names none, has the origin on its list. A page from a file or a sandbox has
// the origin "null", which is on no list.
func (s *Service) allows(ctx context.Context, t Tenant, app Application, origin string) bool {
	if app.ID != "" {
		return slices.Contains(app.AllowedOrigins, origin)
	}
	origins, err := s.origins.Get(s.DB.Now(), t.ID, func() (map[string]bool, error) { return listOrigins(ctx, s.DB, t.ID) })
	// Without an answer from the database the permission is left out; the page may ask
	// again.
	return err == nil && origins[origin]
}
