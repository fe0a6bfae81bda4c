package portal

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/sso"
)

func (s *Service) pageHome(w http.ResponseWriter, r *http.Request, v *visit) error {
	p := &page.PortalHome{PortalView: v.view}
	for _, part := range []struct {
		intent, path, icon, key, text string
		state                         func(ctx context.Context, v *visit) (string, error)
	}{
		{page.PortalSSO, "/connections", "shield", "portal.sso", "portal.sso_text", s.connectionsState},
		{page.PortalCertificates, "/connections", "key", "portal.certificates", "portal.certificates_text", s.connectionsState},
		{page.PortalDirectory, "/directory", "people", "portal.directory", "portal.directory_text", s.directoriesState},
		{page.PortalDomains, "/domains", "globe", "portal.domains", "portal.domains_text", s.domainsState},
	} {
		if !v.view.Allows(part.intent) {
			continue
		}
		state, err := part.state(r.Context(), v)
		if err != nil {
			return err
		}
		p.Parts = append(p.Parts, page.PortalPart{URL: v.base + part.path, Icon: part.icon, Key: part.key, TextKey: part.text, State: state})
	}
	return page.Render(w, r, http.StatusOK, p)
}

// connectionsState is the state of whatever is furthest.
func (s *Service) connectionsState(ctx context.Context, v *visit) (string, error) {
	found, err := s.Connections.List(ctx, s.DB, v.by, v.org.ID)
	state := page.StateNone
	for _, c := range found {
		if state == page.StateNone || c.State == sso.Active || c.State == sso.Draft && state == page.StateDisabled {
			state = c.State
		}
		if state == page.StateActive {
			break
		}
	}
	return state, err
}

func (s *Service) directoriesState(ctx context.Context, v *visit) (string, error) {
	found, err := s.Directories.List(ctx, s.DB, v.by, v.org.ID)
	state := page.StateNone
	for _, d := range found {
		if state != page.StateActive {
			state = d.State
		}
	}
	return state, err
}

func (s *Service) domainsState(ctx context.Context, v *visit) (string, error) {
	found, err := s.Orgs.Domains(ctx, s.DB, v.by.Tenant, v.org.ID)
	state := page.StateNone
	for _, d := range found {
		if !d.IsVerified {
			return page.StateWaiting, err
		}
		state = page.StateActive
	}
	return state, err
}

// logLength is how many events a page shows.
const logLength = 50

func (s *Service) pageLog(w http.ResponseWriter, r *http.Request, v *visit) error {
	events, err := audit.List(r.Context(), s.DB, v.by.Tenant, audit.Filter{TargetID: v.org.ID, Cursor: r.URL.Query().Get("before")}, logLength)
	if err != nil {
		return err
	}
	told, err := s.Orgs.Tell(r.Context(), s.DB, access.System(v.by.Tenant), v.org.ID, v.view.Lang, events)
	if err != nil {
		return err
	}
	p := &page.PortalLogPage{PortalView: v.view}
	for _, e := range told {
		p.Events = append(p.Events, eventOf(v, e))
	}
	if len(events) == logLength {
		p.NextURL = v.base + "/log?before=" + events[logLength-1].ID
	}
	return page.Render(w, r, http.StatusOK, p)
}

// eventOf is an event as the page shows it. Which of the tenant's own people have done
// something, and where they are, is none of a customer's business.
func eventOf(v *visit, e org.Told) page.PortalEvent {
	out := page.PortalEvent{At: e.At, Key: e.Key, Args: e.Args, Roles: strings.Join(e.Roles, ", "), Action: e.Action, Detail: detailOf(e.Detail), OK: e.Result == audit.Success}
	switch {
	case e.By.Kind == "portal":
		out.By, out.Actor, out.IP = v.view.Lang.Text("log.by.other_link"), e.Actor, e.IP
		if e.Actor == v.by.Name {
			out.By = v.view.Lang.Text("portal.this_link")
		}
	case e.By.Kind == "user" && e.By.IsMember:
		out.By, out.Actor = e.By.Name, e.Actor
	case e.By.Kind == "directory":
		out.By, out.Actor = v.view.Lang.Text("log.by.directory"), e.Actor
	case e.By.Kind == "system":
		out.By = v.view.Lang.Text("log.by.system")
	default:
		out.By = v.view.Lang.Text("log.by.operator", "name", v.view.Brand.Name)
	}
	return out
}

// detailOf tells the detail of an event in a line.
func detailOf(raw json.RawMessage) string {
	var detail map[string]any
	if json.Unmarshal(raw, &detail) != nil {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(detail)) {
		if value := fmt.Sprint(detail[name]); value != "" && value != "<nil>" && value != "map[]" {
			parts = append(parts, name+" "+value)
		}
	}
	return strings.Join(parts, ", ")
}
