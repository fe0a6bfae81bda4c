package portal

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso"
)

func (s *Service) pageConnections(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, err := s.connectionsPage(r.Context(), v)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) connectionsPage(ctx context.Context, v *visit) (*page.PortalConnections, error) {
	found, err := s.Connections.List(ctx, s.DB, v.by, v.org.ID)
	p := &page.PortalConnections{PortalView: v.view}
	for _, c := range found {
		row := page.PortalConnectionRow{URL: v.base + "/connections/" + c.ID, Name: c.Name, Provider: providerName(c.Provider), State: c.State, LastSuccess: c.Health.LastSuccess}
		if !v.view.Allows(page.PortalSSO) {
			row.URL += "/certificates"
		}
		for _, known := range s.certificates(c) {
			row.Ends = later(row.Ends, known.Until)
		}
		p.Connections = append(p.Connections, row)
	}
	if v.view.Allows(page.PortalSSO) {
		p.Action, p.SAML, p.OIDC = v.base+"/connections", choices(sso.SAML), choices(sso.OIDC)
	}
	return p, err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *Service) postConnection(w http.ResponseWriter, r *http.Request, v *visit) error {
	kind, provider, ok := parseChoice(r.PostFormValue("provider"))
	wanted := sso.Connection{OrganizationID: v.org.ID, Kind: kind, Provider: provider}
	var err error = sso.ErrInvalid
	var c sso.Connection
	if ok {
		c, err = s.create(r.Context(), v, wanted)
	}
	if err != nil {
		return again(w, r, v, err, func() (page.Page, error) { return s.connectionsPage(r.Context(), v) })
	}
	return v.to(w, r, "/connections/"+c.ID, "")
}

func (s *Service) create(ctx context.Context, v *visit, wanted sso.Connection) (made sso.Connection, err error) {
	prepared, err := s.Connections.Prepare(ctx, v.by, wanted, "")
	if err != nil {
		return made, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		made, err = s.Connections.Create(ctx, tx, v.by, prepared)
		return err
	})
	return made, err
}

// connection is the one that a request names, of the link's organization.
func (s *Service) connection(r *http.Request, v *visit) (sso.Connection, error) {
	return s.Connections.Find(r.Context(), s.DB, v.by, v.org.ID, cleanID(r.PathValue("connection")))
}

// steps of the portal, in order.
var steps = []struct{ name, key string }{
	{page.StepCreate, "portal.step.create"}, {page.StepSend, "portal.step.send"}, {page.StepMap, "portal.step.map"}, {page.StepTest, "portal.step.test"},
}

func (s *Service) pageConnection(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := s.connection(r, v)
	if err != nil {
		return err
	}
	step := r.URL.Query().Get("step")
	if !slices.ContainsFunc(steps, func(x struct{ name, key string }) bool { return x.name == step }) {
		step = firstOpen(c)
	}
	p, err := s.connectionPage(r.Context(), v, c, step)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

// has reports whether the provider is known.
func has(c sso.Connection) bool {
	if c.Kind == sso.SAML {
		return c.Settings.IdP.EntityID != "" && len(c.Settings.IdP.Certificates) > 0
	}
	return c.Settings.Issuer != "" && c.Settings.ClientID != "" && (c.HasSecret || c.Settings.TokenAuth == "none")
}

// firstOpen is where to go on.
func firstOpen(c sso.Connection) string {
	if has(c) {
		return page.StepTest
	}
	return page.StepCreate
}

func (s *Service) connectionPage(ctx context.Context, v *visit, c sso.Connection, step string) (*page.PortalConnection, error) {
	own := v.base + "/connections/" + c.ID
	p := &page.PortalConnection{PortalView: v.view, Provider: providerName(c.Provider), Name: c.Name, IsSAML: c.Kind == sso.SAML, Status: c.State, Step: step, BackURL: v.base + "/connections"}
	at := slices.IndexFunc(steps, func(x struct{ name, key string }) bool { return x.name == step })
	for i, x := range steps {
		done := has(c) && (x.name != page.StepTest || c.State == sso.Active) || x.name == page.StepCreate && at > 0
		p.Steps = append(p.Steps, page.WizardStep{Key: x.key, URL: own + "?step=" + x.name, Done: done && i != at, Current: i == at})
	}
	if at > 0 {
		p.BackURL = own + "?step=" + steps[at-1].name
	}
	if at < len(steps)-1 {
		p.NextURL = own + "?step=" + steps[at+1].name
	}
	ours, err := s.ours(ctx, v, c)
	if err != nil {
		return nil, err
	}
	guide := guideOf(c.Kind, c.Provider)
	switch step {
	case page.StepCreate:
		p.Do = ours.do(guide.create)
		if p.IsSAML {
			p.MetadataURL = ours.metadata
		}
	case page.StepSend:
		p.Do = ours.do(guide.send)
		s.fillProvider(p, c, own)
	case page.StepMap:
		p.Do = ours.do(guide.attributes)
		return p, s.fillMap(ctx, v, p, c, own)
	case page.StepTest:
		return p, s.fillTests(ctx, v, p, c, own)
	}
	return p, nil
}

// ours are the values to put in at the provider.
func (s *Service) ours(ctx context.Context, v *visit, c sso.Connection) (values, error) {
	origin, err := s.origin(ctx, v.by)
	metadata := origin + sso.MetadataPath(c.ID)
	return values{
		acs: origin + sso.ACSPath(c.ID), entity: cmp.Or(c.Settings.EntityID, metadata), metadata: metadata, redirect: origin + sso.CallbackPath(c.ID), name: v.view.Brand.Name, id: c.ID,
	}, err
}

func (s *Service) fillProvider(p *page.PortalConnection, c sso.Connection, own string) {
	p.SendAction = own + "/provider"
	p.GivenURL, p.EntityID, p.Certificates = c.Settings.MetadataURL, c.Settings.IdP.EntityID, s.certificates(c)
	p.Issuer, p.ClientID, p.HasSecret = c.Settings.Issuer, c.Settings.ClientID, c.HasSecret
	p.HasDirectories, p.Directories = c.Provider == entra && c.Kind == sso.OIDC, strings.Join(c.Settings.Directories, "\n")
	p.IssuerLabel, p.IDLabel, p.SecretName = "Issuer", "Client ID", "Client secret"
}

// soon is when the end of a certificate is told of.
const soon = 30 * 24 * time.Hour

// certificates are those of the provider, as the page shows them.
func (s *Service) certificates(c sso.Connection) (out []page.PortalCertificate) {
	now := s.DB.Now()
	for _, text := range c.Settings.IdP.Certificates {
		known, err := parseCertificate(text)
		if err != nil {
			continue // it was checked when it came
		}
		out = append(out, page.PortalCertificate{
			ID: fingerprint(known, ""), Subject: cmp.Or(known.Subject.String(), known.SerialNumber.String()), Fingerprint: fingerprint(known, ":"),
			Until: known.NotAfter, Over: now.After(known.NotAfter), Soon: now.Add(soon).After(known.NotAfter),
		})
	}
	return out
}

// change saves a connection that was changed and shows a step of it.
func (s *Service) change(w http.ResponseWriter, r *http.Request, v *visit, step, next string, do func(c *sso.Connection) (secret string, err error)) error {
	c, err := s.connection(r, v)
	if err != nil {
		return err
	}
	before := c
	if err = s.save(r.Context(), v, c, do); err != nil {
		return again(w, r, v, err, func() (page.Page, error) { return s.connectionPage(r.Context(), v, before, step) })
	}
	return v.to(w, r, "/connections/"+c.ID+"?step="+next, "portal_saved")
}

func (s *Service) save(ctx context.Context, v *visit, c sso.Connection, do func(c *sso.Connection) (string, error)) error {
	given, err := do(&c)
	if err != nil {
		return err
	}
	prepared, err := s.Connections.Prepare(ctx, v.by, c, given)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		_, err := s.Connections.Save(ctx, tx, v.by, prepared)
		return err
	})
}

// entra is the provider whose issuer may be that of many directories.
const entra = "entra"

func (s *Service) postProvider(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.change(w, r, v, page.StepSend, page.StepMap, func(c *sso.Connection) (string, error) {
		if c.Kind == sso.OIDC {
			c.Settings.Issuer, c.Settings.ClientID = strings.TrimSpace(r.PostFormValue("issuer")), strings.TrimSpace(r.PostFormValue("client_id"))
			if c.Provider == entra {
				c.Settings.Directories = strings.Fields(strings.ReplaceAll(r.PostFormValue("directories"), ",", " "))
			}
			return strings.TrimSpace(r.PostFormValue("client_secret")), nil
		}
		raw, err := sent(r, "file", "metadata")
		if err != nil {
			return "", err
		}
		address := strings.TrimSpace(r.PostFormValue("metadata_url"))
		switch {
		case len(raw) > 0 && (address == "" || address == c.Settings.MetadataURL): // what was there before is replaced
			c.Settings.IdP, err = s.Connections.ReadMetadata(raw)
			if err != nil { // it says what is wrong to programs; people are told what to look for
				err = ErrMetadata.In("metadata").Because("%w", err)
			}
			c.Settings.MetadataURL = ""
		case address != "":
			c.Settings.MetadataURL = address
		case !has(*c):
			return "", ErrMetadata.In("metadata")
		}
		return "", err
	})
}

// sent is the file of a form, or else its text.
func sent(r *http.Request, file, text string) ([]byte, error) {
	f, _, err := r.FormFile(file)
	if err != nil { // none was chosen
		return bytes.TrimSpace([]byte(r.PostFormValue(text))), nil
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxForm))
	if raw = bytes.TrimSpace(raw); len(raw) == 0 {
		raw = bytes.TrimSpace([]byte(r.PostFormValue(text)))
	}
	return raw, err
}

// mapped are the values whose names can be said here.
var mapped = []struct{ name, key string }{{"email", "portal.a_email"}, {"first_name", "portal.a_first"}, {"last_name", "portal.a_last"}}

func (s *Service) fillMap(ctx context.Context, v *visit, p *page.PortalConnection, c sso.Connection, own string) (err error) {
	p.MapAction, p.GroupAttribute = own+"/attributes", c.Settings.GroupAttribute
	for _, m := range mapped {
		p.Attributes = append(p.Attributes, page.PortalAttribute{Name: m.name, Label: v.view.Lang.Text(m.key), Value: c.Settings.Attributes[m.name]})
	}
	if p.Roles, err = s.grantable(ctx, v); err != nil {
		return err
	}
	p.Rules = shown(connectionRules(c), p.Roles)
	traces, err := s.Connections.Traces(ctx, s.DB, v.by, v.org.ID, c.ID, "", shownTests)
	for _, t := range traces {
		if len(t.Attributes) > 0 {
			p.Seen = seen(t)
			break
		}
	}
	return err
}

func connectionRules(c sso.Connection) (out []rule) {
	for _, r := range c.Settings.GroupRules {
		out = append(out, rule{r.Group, r.RoleID})
	}
	return out
}

func (s *Service) postAttributes(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.change(w, r, v, page.StepMap, page.StepTest, func(c *sso.Connection) (string, error) {
		roles, err := s.grantable(r.Context(), v)
		if err != nil {
			return "", err
		}
		rules, err := rulesOf(r, connectionRules(*c), roles)
		if err != nil {
			return "", err
		}
		c.Settings.GroupRules = nil
		for _, x := range rules {
			c.Settings.GroupRules = append(c.Settings.GroupRules, sso.Rule{Group: x.group, RoleID: x.role})
		}
		names := map[string]string{}
		for name, value := range c.Settings.Attributes { // others stay as they are
			names[name] = value
		}
		for _, m := range mapped {
			delete(names, m.name)
			if value := strings.TrimSpace(r.PostFormValue("attribute_" + m.name)); value != "" {
				names[m.name] = value
			}
		}
		c.Settings.Attributes, c.Settings.GroupAttribute = names, strings.TrimSpace(r.PostFormValue("group_attribute"))
		return "", nil
	})
}

func (s *Service) postState(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := s.connection(r, v)
	if err != nil {
		return err
	}
	state, notice := sso.Disabled, "portal_off"
	if r.PostFormValue("active") == "yes" {
		state, notice = sso.Active, "portal_on"
	}
	err = s.DB.Write(r.Context(), func(tx *database.Tx) error {
		_, err := s.Connections.SetState(r.Context(), tx, v.by, v.org.ID, c.ID, state)
		return err
	})
	if err != nil {
		return again(w, r, v, err, func() (page.Page, error) { return s.connectionPage(r.Context(), v, c, page.StepTest) })
	}
	return v.to(w, r, "/connections/"+c.ID+"?step="+page.StepTest, notice)
}

// postDelete deletes a connection that is off.
func (s *Service) postDelete(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := s.connection(r, v)
	if err != nil {
		return err
	}
	if c.State == sso.Active {
		return v.to(w, r, "/connections/"+c.ID+"?step="+page.StepTest, "")
	}
	err = s.DB.Write(r.Context(), func(tx *database.Tx) error {
		return s.Connections.Delete(r.Context(), tx, v.by, v.org.ID, c.ID)
	})
	if err != nil {
		return err
	}
	return v.to(w, r, "/connections", "portal_saved")
}

// browser is what only this browser has, as the flows of package sso keep it.
func browser(w http.ResponseWriter, r *http.Request) []byte { return secret.Hash(page.Browser(w, r)) }
