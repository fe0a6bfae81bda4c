package portal

import (
	"context"
	"errors"
	"net/http"

	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/web"
)

// shownTests is how many attempts a page shows.
const shownTests = 10

func (s *Service) fillTests(ctx context.Context, v *visit, p *page.PortalConnection, c sso.Connection, own string) error {
	p.StateAction = own + "/state"
	if has(c) {
		p.TestAction = own + "/test"
	}
	if c.State != sso.Active {
		p.DeleteAction = own + "/delete"
	}
	var err error
	if p.More, err = s.more(ctx, v, c, own); err != nil {
		return err
	}
	traces, err := s.Connections.Traces(ctx, s.DB, v.by, v.org.ID, c.ID, "", shownTests)
	for i, t := range traces {
		if i == 0 {
			p.Tested = t.Cause == ""
		}
		p.Tests = append(p.Tests, page.PortalTest{URL: own + "/tests/" + t.ID, At: t.At, Test: t.Test, OK: t.Cause == "", Text: causeText(v, t.Cause)})
	}
	return err
}

// causeText says why an attempt failed, in the page's language.
func causeText(v *visit, c sso.Cause) string {
	if key := "sso.cause." + string(c); c != "" && v.view.Lang.Has(key) {
		return v.view.Lang.Text(key)
	}
	return string(c)
}

func fixText(v *visit, c sso.Cause) string {
	if key := "sso.fix." + string(c); v.view.Lang.Has(key) {
		return v.view.Lang.Text(key)
	}
	return ""
}

// postTest sends the browser to the provider. What comes back signs nobody in.
func (s *Service) postTest(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := s.connection(r, v)
	if err != nil {
		return err
	}
	sent, err := s.Connections.Start(r.Context(), v.by, sso.Request{Connection: c.ID, Attempt: v.by.Name, Browser: browser(w, r), Test: true})
	if err != nil {
		return again(w, r, v, err, func() (page.Page, error) { return s.connectionPage(r.Context(), v, c, page.StepTest) })
	}
	if sent.Form != nil {
		fields := []page.Pair{{Name: "SAMLRequest", Value: sent.Form.SAMLRequest}, {Name: "RelayState", Value: sent.Form.RelayState}}
		return page.Render(w, r, http.StatusOK, &page.FormPost{View: v.view.View, App: page.App{Name: c.Name}, Action: sent.Form.Action, Fields: fields})
	}
	http.Redirect(w, r, sent.Location, http.StatusSeeOther)
	return nil
}

func (s *Service) pageTrace(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := s.connection(r, v)
	if err != nil {
		return err
	}
	t, err := s.Connections.Trace(r.Context(), s.DB, v.by, v.org.ID, c.ID, cleanID(r.PathValue("trace")))
	if err != nil {
		return err
	}
	own := v.base + "/connections/" + c.ID
	p := &page.PortalTrace{
		PortalView: v.view, OK: t.Cause == "", At: t.At, Cause: causeText(v, t.Cause), Fix: fixText(v, t.Cause), Field: page.CopyValue{Label: t.Fix.Label, Value: t.Fix.Value},
		AtProvider: t.Fix.Side == sso.AtProvider, Seen: seen(t), AgainURL: own + "?step=" + page.StepTest, BackURL: own + "?step=" + page.StepSend,
	}
	for _, x := range t.Steps {
		p.Steps = append(p.Steps, page.TraceStep{Name: x.Name, Word: v.view.Lang.Text(sso.WordKey(x.Name)), Expected: sso.Say(v.view.Lang, x.Expected), Received: sso.Say(v.view.Lang, x.Received), OK: x.OK})
	}
	return page.Render(w, r, http.StatusOK, p)
}

func seen(t sso.Trace) (out []page.SeenAttribute) {
	for _, a := range t.Attributes {
		out = append(out, page.SeenAttribute{Name: a.Name, Sample: a.Sample, UsedAs: a.UsedAs})
	}
	return out
}

// pageTested is where the browser of a test ends. With the link that the test was
// begun by it goes on to what happened; any other learns whether it went well.
func (s *Service) pageTested(w http.ResponseWriter, r *http.Request) error {
	trace := cleanID(r.PathValue("trace"))
	for _, o := range openedOf(r) {
		l, err := s.opened(r, o.id)
		if errors.Is(err, ErrGone) || err == nil && !l.is([]string{page.PortalSSO}) {
			continue
		}
		if err != nil {
			return err
		}
		connection, err := s.triedAt(r.Context(), l, r, trace)
		if err != nil {
			return err
		}
		if connection != "" {
			http.Redirect(w, r, Path+l.ID+"/connections/"+connection+"/tests/"+trace, http.StatusSeeOther)
			return nil
		}
	}
	worked, err := s.Connections.Worked(r.Context(), web.ActorOf(r.Context()).Tenant, trace)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, &page.SSOTested{View: s.View(w, r), OK: worked})
}

// triedAt finds the connection of the link's organization that a trace is of; empty if
// it is of none.
func (s *Service) triedAt(ctx context.Context, l Link, r *http.Request, trace string) (string, error) {
	by := l.actor(web.ActorOf(r.Context()))
	found, err := s.Connections.List(ctx, s.DB, by, l.OrganizationID)
	for _, c := range found { // at most 20, and who tests has few
		_, err := s.Connections.Trace(ctx, s.DB, by, l.OrganizationID, c.ID, trace)
		if err == nil {
			return c.ID, nil
		}
		if !errors.Is(err, sso.ErrTrace) {
			return "", err
		}
	}
	return "", err
}
