package portal

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/web"
)

// Tag is the group of the calls in the API description.
const Tag = "Portal"

func (s *Service) mountLinks(r *web.Router) {
	const links = "/api/v1/tenants/{tenantid}/portal_links"
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{"/api/v1/tenants/{tenantid}/portal/generate_link"}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.generate),
			Doc: web.Doc{Summary: "Make a portal link", Text: "Each call makes another link, which is shown once. It needs organizations:write, too.", Errors: problems{org.ErrNotFound, ErrInvalid, ErrFull}, Example: generated{"6694c154565dfee5166d1cc7.5XQ2M7KTRNBVA3DJHPLZ6WCE4Y", 86400, exampleLink.URL}}},
		{Method: "POST", Paths: []string{links}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusCreated, s.postLink),
			Doc: web.Doc{Summary: "Make a portal link for chosen parts", Text: "url is shown once. It needs organizations:write, too. The link can give no role that makes an administrator.", Errors: problems{org.ErrNotFound, ErrInvalid, ErrFull}, Request: json.RawMessage(`{"intents":["sso","domains"],"expires_in":86400}`), Example: exampleLink}},
		{Method: "GET", Paths: []string{links}, Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getLinks),
			Doc: web.Doc{Summary: "List portal links", Text: "Newest first, at most 100, also those that ended in the last 30 days.", Errors: problems{org.ErrNotFound}, Example: []form{formOf(exampleOf)}}},
		{Method: "DELETE", Paths: []string{links + "/{link}"}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteLink),
			Doc: web.Doc{Summary: "Revoke a portal link", Text: "It ends at once. It needs organizations:write, too.", Errors: problems{ErrNotFound}, Example: revoked{true}}},
	} {
		route.Doc.Tag = Tag
		r.Add(route)
	}
}

// A form is a link as the API has it.
type form struct {
	ID        string     `json:"id"`
	TenantID  string     `json:"tenant_id" doc:"The organization"`
	Intents   []string   `json:"intents"`
	URL       string     `json:"url,omitempty" doc:"In the answer that makes it only"`
	CreatedBy string     `json:"created_by"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

func formOf(l Link) form {
	f := form{ID: l.ID, TenantID: l.OrganizationID, Intents: l.Intents, CreatedBy: l.CreatedBy, CreatedAt: l.CreatedAt, ExpiresAt: l.ExpiresAt}
	if !l.RevokedAt.IsZero() {
		f.RevokedAt = &l.RevokedAt
	}
	return f
}

// URL is the address that opens a link at a tenant's origin.
func URL(origin string, l Link, key string) string { return origin + Path + l.ID + "?key=" + key }

type generateRequest struct {
	Organization string `path:"tenantid" doc:"The organization"`
	ExpiresIn    string `query:"expires_in" doc:"Seconds, one day if absent, 30 days at most"`
	Intents      string `query:"intents" doc:"Of sso, directory, domains, certificates and log, with commas between; all but the log if absent"`
}

type generated struct {
	AccessToken string `json:"access_token" doc:"What opens the link; it is in sso_portal_url, too"`
	ExpiresIn   int64  `json:"expires_in" doc:"Seconds"`
	URL         string `json:"sso_portal_url" doc:"To send to the organization's administrator"`
}

// usualIntents are those of a link that nobody chose any for.
var usualIntents = Intents[:len(Intents)-1]

func (s *Service) generate(ctx context.Context, by access.Actor, in generateRequest) (generated, error) {
	intents, life := usualIntents, int64(0)
	if in.Intents != "" {
		intents = strings.Split(in.Intents, ",")
	}
	if in.ExpiresIn != "" {
		var err error
		if life, err = strconv.ParseInt(in.ExpiresIn, 10, 32); err != nil || life <= 0 {
			return generated{}, ErrInvalid.Saying("expires_in is a number of seconds.").In("expires_in")
		}
	}
	l, key, url, err := s.made(ctx, by, in.Organization, intents, life)
	if err != nil {
		return generated{}, err
	}
	return generated{l.ID + "." + key, int64(l.ExpiresAt.Sub(l.CreatedAt).Seconds()), url}, nil
}

// made makes a link and its address.
func (s *Service) made(ctx context.Context, by access.Actor, organization string, intents []string, seconds int64) (l Link, key, url string, err error) {
	origin, err := s.origin(ctx, by)
	if err != nil {
		return l, "", "", err
	}
	if seconds > int64(MaxLife/time.Second) || seconds < 0 {
		seconds = int64(2 * MaxLife / time.Second) // no overflow: Create refuses it
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		l, key, err = s.Create(ctx, tx, by, organization, intents, time.Duration(seconds)*time.Second)
		return err
	})
	return l, key, URL(origin, l, key), err
}

type postLinkRequest struct {
	Organization string   `path:"tenantid" doc:"The organization"`
	Intents      []string `json:"intents" schema:"required" doc:"Of sso, directory, domains, certificates and log"`
	ExpiresIn    int64    `json:"expires_in" doc:"Seconds, one day if absent, 30 days at most"`
}

func (s *Service) postLink(ctx context.Context, by access.Actor, in postLinkRequest) (form, error) {
	l, _, url, err := s.made(ctx, by, in.Organization, in.Intents, in.ExpiresIn)
	if err != nil {
		return form{}, err
	}
	f := formOf(l)
	f.URL = url
	return f, nil
}

type byOrganization struct {
	Organization string `path:"tenantid" doc:"The organization"`
}

func (s *Service) getLinks(ctx context.Context, by access.Actor, in byOrganization) ([]form, error) {
	found, err := s.List(ctx, s.DB, by, in.Organization)
	out := make([]form, len(found))
	for i, l := range found {
		out[i] = formOf(l)
	}
	return out, err
}

type byLink struct {
	Organization string `path:"tenantid" doc:"The organization"`
	ID           string `path:"link" doc:"24 hex digits"`
}

type revoked struct {
	IsRevoked bool `json:"is_revoked"`
}

func (s *Service) deleteLink(ctx context.Context, by access.Actor, in byLink) (revoked, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Revoke(ctx, tx, by, in.Organization, in.ID) })
	return revoked{err == nil}, err
}

// Examples of the API description.
var (
	exampleOf = Link{ID: "6694c154565dfee5166d1cc7", OrganizationID: "6694c133565dfee5166d1cb8", Intents: []string{"sso", "domains"}, CreatedBy: "key:6694c133565dfee5166d1cb0",
		CreatedAt: time.Date(2024, 7, 15, 6, 27, 32, 0, time.UTC), ExpiresAt: time.Date(2024, 7, 16, 6, 27, 32, 0, time.UTC)}
	exampleLink = func() form {
		f := formOf(exampleOf)
		f.URL = URL("https://shop.example.com", exampleOf, "5XQ2M7KTRNBVA3DJHPLZ6WCE4Y")
		return f
	}()
)
