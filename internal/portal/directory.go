package portal

import (
	"context"
	"net/http"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/scim"
)

func (s *Service) pageDirectories(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, err := s.directoriesPage(r.Context(), v)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) directoriesPage(ctx context.Context, v *visit) (*page.PortalDirectories, error) {
	found, err := s.Directories.List(ctx, s.DB, v.by, v.org.ID)
	p := &page.PortalDirectories{PortalView: v.view, Action: v.base + "/directory"}
	for _, d := range found {
		p.Directories = append(p.Directories, page.PortalConnectionRow{URL: v.base + "/directory/" + d.ID, Name: d.Name, Provider: directories[d.Type].name, State: d.State, LastSuccess: d.LastSyncAt})
	}
	for _, kind := range scim.Types {
		p.Types = append(p.Types, page.ProviderChoice{Value: kind, Name: directories[kind].name})
	}
	return p, err
}

// postDirectory makes a directory with its first token, which it shows at once.
func (s *Service) postDirectory(w http.ResponseWriter, r *http.Request, v *visit) error {
	kind := r.PostFormValue("type")
	name := directories[kind].name
	if name == "" {
		name = "SCIM"
	}
	var d scim.Directory
	var key string
	err := s.DB.Write(r.Context(), func(tx *database.Tx) (err error) {
		if d, err = s.Directories.Create(r.Context(), tx, v.by, scim.Directory{OrganizationID: v.org.ID, Name: name, Type: kind}); err != nil {
			return err
		}
		_, key, err = s.Directories.NewToken(r.Context(), tx, v.by, v.org.ID, d.ID, scim.NewTokenRequest{})
		return err
	})
	if err != nil {
		return again(w, r, v, err, func() (page.Page, error) { return s.directoriesPage(r.Context(), v) })
	}
	return s.showToken(w, r, v, d, key)
}

// showToken answers the one page that has a token on it.
func (s *Service) showToken(w http.ResponseWriter, r *http.Request, v *visit, d scim.Directory, key string) error {
	base, err := s.Directories.BaseURL(r.Context(), v.by.Tenant, d.ID)
	if err != nil {
		return err
	}
	of := directories[d.Type]
	return page.Render(w, r, http.StatusOK, &page.PortalDirectoryPage{
		PortalView: v.view, Name: d.Name, Provider: of.name, Status: d.State, Token: key, LastSync: d.LastSyncAt,
		Do: of.do(values{base: base, token: key}), NextURL: v.base + "/directory/" + d.ID,
	})
}

func (s *Service) directoryOf(r *http.Request, v *visit) (scim.Directory, error) {
	return s.Directories.Find(r.Context(), s.DB, v.by, v.org.ID, cleanID(r.PathValue("directory")))
}

func (s *Service) pageDirectory(w http.ResponseWriter, r *http.Request, v *visit) error {
	d, err := s.directoryOf(r, v)
	if err != nil {
		return err
	}
	p, err := s.directoryPage(r.Context(), v, d)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) directoryPage(ctx context.Context, v *visit, d scim.Directory) (*page.PortalDirectoryPage, error) {
	base, err := s.Directories.BaseURL(ctx, v.by.Tenant, d.ID)
	if err != nil {
		return nil, err
	}
	tokens, err := s.Directories.Tokens(ctx, s.DB, v.by, v.org.ID, d.ID)
	if err != nil {
		return nil, err
	}
	roles, err := s.grantable(ctx, v)
	if err != nil {
		return nil, err
	}
	of, own := directories[d.Type], v.base+"/directory/"+d.ID
	p := &page.PortalDirectoryPage{
		PortalView: v.view, Name: d.Name, Provider: of.name, Status: d.State, LastSync: d.LastSyncAt, Do: of.do(values{base: base}),
		TokenAction: own + "/token", RulesAction: own + "/rules", StateAction: own + "/state", Roles: roles, Rules: shown(directoryRules(d), roles),
	}
	for _, t := range tokens {
		p.Tokens = append(p.Tokens, page.PortalToken{Hint: t.Hint, Since: t.CreatedAt, Until: t.ExpiresAt})
	}
	return p, s.addRequests(ctx, v, d, p)
}

func directoryRules(d scim.Directory) (out []rule) {
	for _, r := range d.GroupRules {
		out = append(out, rule{r.Group, r.RoleID})
	}
	return out
}

func (s *Service) postToken(w http.ResponseWriter, r *http.Request, v *visit) error {
	d, err := s.directoryOf(r, v)
	if err != nil {
		return err
	}
	var key string
	err = s.DB.Write(r.Context(), func(tx *database.Tx) (err error) {
		_, key, err = s.Directories.NewToken(r.Context(), tx, v.by, v.org.ID, d.ID, scim.NewTokenRequest{Overlap: -1})
		return err
	})
	if err != nil {
		return err
	}
	return s.showToken(w, r, v, d, key)
}

// saveDirectory writes a directory that was changed and shows it.
func (s *Service) saveDirectory(w http.ResponseWriter, r *http.Request, v *visit, notice string, change func(d *scim.Directory) error) error {
	d, err := s.directoryOf(r, v)
	if err != nil {
		return err
	}
	before := d
	if err = change(&d); err == nil {
		err = s.DB.Write(r.Context(), func(tx *database.Tx) error {
			_, err := s.Directories.Save(r.Context(), tx, v.by, d)
			return err
		})
	}
	if err != nil {
		return again(w, r, v, err, func() (page.Page, error) { return s.directoryPage(r.Context(), v, before) })
	}
	return v.to(w, r, "/directory/"+d.ID, notice)
}

func (s *Service) postDirectoryRules(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.saveDirectory(w, r, v, "portal_saved", func(d *scim.Directory) error {
		roles, err := s.grantable(r.Context(), v)
		if err != nil {
			return err
		}
		rules, err := rulesOf(r, directoryRules(*d), roles)
		d.GroupRules = nil
		for _, x := range rules {
			d.GroupRules = append(d.GroupRules, scim.Rule{Group: x.group, RoleID: x.role})
		}
		return err
	})
}

func (s *Service) postDirectoryState(w http.ResponseWriter, r *http.Request, v *visit) error {
	state, notice := scim.Disabled, "portal_off"
	if r.PostFormValue("active") == "yes" {
		state, notice = scim.Active, "portal_on"
	}
	return s.saveDirectory(w, r, v, notice, func(d *scim.Directory) error { d.State = state; return nil })
}

// shownRequests is how many requests of a directory a page shows.
const shownRequests = 20

// addRequests tells what the directory has asked lately.
func (s *Service) addRequests(ctx context.Context, v *visit, d scim.Directory, p *page.PortalDirectoryPage) error {
	found, _, err := s.Directories.Requests(ctx, v.by, v.org.ID, d.ID, "", shownRequests)
	for _, r := range found {
		p.Requests = append(p.Requests, page.PortalRequest{At: r.At, Method: r.Method, Path: r.Path, Status: r.Status, Problem: r.Problem})
	}
	return err
}
