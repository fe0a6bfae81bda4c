package page_test

import (
	"maps"
	"time"

	"github.com/cardea-id/cardea/internal/page"
)

func merged(a, b map[string]page.Page) map[string]page.Page {
	maps.Copy(a, b)
	return a
}

// portalSamples are the pages of the portal.
func portalSamples(v page.View) map[string]page.Page {
	const base = "/portal/6694c133565dfee5166d1cb8"
	own := page.PortalView{View: v, Organization: "Acme", Until: v.Now.Add(30 * time.Hour), Base: base, Intents: []string{page.PortalSSO, page.PortalDirectory, page.PortalDomains, page.PortalCertificates, page.PortalLog}}
	noticed, wrong, only := own, own, own
	noticed.Notice, only.Intents = "portal_saved", []string{page.PortalCertificates}
	wrong.Errors = page.Errors{{Field: "metadata", Code: "portal_metadata"}}
	const entity, acs = "https://auth.northwind.example/saml/6694c154565dfee5166d1cc7/metadata", "https://auth.northwind.example/saml/6694c154565dfee5166d1cc7/acs"
	steps := func(current int) (out []page.WizardStep) {
		for i, key := range []string{"portal.step.create", "portal.step.send", "portal.step.map", "portal.step.test"} {
			out = append(out, page.WizardStep{Key: key, URL: base + "/connections/1?step=x", Done: i < current, Current: i == current})
		}
		return out
	}
	certificates := []page.PortalCertificate{
		{ID: "1", Subject: "CN=Okta, O=Acme", Fingerprint: "3f:0a:77:1b:90:ce:55:d2:88:4e", Until: v.Now.Add(9 * 24 * time.Hour), Soon: true},
		{ID: "2", Subject: "CN=Okta next, O=Acme", Fingerprint: "91:aa:0c:42:17:de:f3:1b:00:5a", Until: v.Now.Add(700 * 24 * time.Hour)},
		{ID: "3", Subject: "CN=Old", Fingerprint: "00:11:22:33:44:55:66:77:88:99", Until: v.Now.Add(-time.Hour), Over: true},
	}
	seen := []page.SeenAttribute{{Name: "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress", Sample: "a•••@acme.test", UsedAs: "email"}, {Name: "firstName", Sample: "A••", UsedAs: "first_name"}, {Name: "department", Sample: "E••••"}}
	roles := []page.RoleChoice{{ID: "r1", Name: "Editor"}, {ID: "r2", Name: "Viewer"}}
	rules := []page.PortalRule{{Group: "Engineering", RoleID: "r1"}, {}, {}}
	create := []page.Do{
		{Key: "portal.do.open", Where: "Enterprise applications → New application → Create your own application"},
		{Key: "portal.do.name", What: "Northwind"},
		{Key: "portal.do.choose", What: "Integrate any other application you don't find in the gallery (Non-gallery)"},
		{Key: "portal.do.enter", Where: "Single sign-on → SAML → Basic SAML Configuration", Values: []page.CopyValue{{Label: "Identifier (Entity ID)", Value: entity}, {Label: "Reply URL (Assertion Consumer Service URL)", Value: acs}}},
		{Key: "portal.do.assign", Where: "Users and groups → Add user/group"},
	}
	with := func(step string, n int) *page.PortalConnection {
		return &page.PortalConnection{PortalView: own, Provider: "Microsoft Entra ID", Name: "Microsoft Entra ID", IsSAML: true, Status: page.StateDraft, Step: step, Steps: steps(n), BackURL: base + "/connections", NextURL: base + "/x"}
	}
	first := with(page.StepCreate, 0)
	first.Do, first.MetadataURL = create, entity
	send := with(page.StepSend, 1)
	send.PortalView, send.SendAction, send.EntityID, send.Certificates = wrong, base+"/connections/1/provider", "https://sts.windows.net/acme/", certificates[:2]
	send.Do = []page.Do{{Key: "portal.do.take", Where: "SAML Certificates", What: "App Federation Metadata Url"}}
	openid := with(page.StepSend, 1)
	openid.IsSAML, openid.SendAction, openid.IssuerLabel, openid.IDLabel, openid.SecretName, openid.HasSecret, openid.HasDirectories, openid.Directories = false, base+"/connections/1/provider", "Issuer", "Client ID", "Client secret", true, true, "72f988bf-86f1-41af-91ab-2d7cd011db47"
	mapping := with(page.StepMap, 2)
	mapping.MapAction, mapping.Rules, mapping.Roles, mapping.Seen = base+"/connections/1/attributes", rules, roles, seen
	mapping.Do = []page.Do{{Key: "portal.do.attributes", Where: "Attributes & Claims", Values: []page.CopyValue{{Label: "emailaddress", Value: "user.mail"}}}}
	mapping.Attributes = []page.PortalAttribute{{Name: "email", Label: v.Lang.Text("portal.a_email")}, {Name: "first_name", Label: v.Lang.Text("portal.a_first")}, {Name: "last_name", Label: v.Lang.Text("portal.a_last"), Value: "sn"}}
	test := with(page.StepTest, 3)
	test.TestAction, test.StateAction, test.DeleteAction, test.Tested = base+"/connections/1/test", base+"/connections/1/state", base+"/connections/1/delete", true
	test.More = &page.PortalMore{Action: base + "/connections/1/more", BeginThere: true, Land: "2", Lands: []page.ProviderChoice{{Value: "1", Name: "Shop"}, {Value: "2", Name: "Tickets"}}, CanLogout: true, LogoutThere: true}
	test.Tests = []page.PortalTest{{URL: base + "/t", At: v.Now.Add(-time.Minute), Test: true, OK: true}, {URL: base + "/t", At: v.Now.Add(-time.Hour), Test: true, Text: "The response was made for another Entity ID than ours."}}
	on := with(page.StepTest, 3)
	on.Status, on.StateAction, on.TestAction = page.StateActive, base+"/connections/1/state", base+"/connections/1/test"
	incomplete := with(page.StepTest, 3)
	incomplete.StateAction = base + "/connections/1/state"
	directory := &page.PortalDirectoryPage{PortalView: own, Name: "Okta", Provider: "Okta", Status: page.StateActive, LastSync: v.Now.Add(-2 * time.Minute), TokenAction: base + "/directory/1/token", RulesAction: base + "/directory/1/rules", Rules: rules, Roles: roles, StateAction: base + "/directory/1/state",
		Do:       []page.Do{{Key: "portal.do.enter", Where: "Provisioning → Integration", Values: []page.CopyValue{{Label: "SCIM connector base URL", Value: "https://auth.northwind.example/scim/v2/6694c154565dfee5166d1cc7"}}}},
		Tokens:   []page.PortalToken{{Hint: "x9Qa", Since: v.Now.Add(-time.Hour)}, {Hint: "7bTz", Since: v.Now.Add(-900 * time.Hour), Until: v.Now.Add(100 * time.Hour)}},
		Requests: []page.PortalRequest{{At: v.Now.Add(-2 * time.Minute), Method: "POST", Path: "/Users", Status: 201}, {At: v.Now.Add(-5 * time.Minute), Method: "PATCH", Path: "/Groups/6694c154565dfee5166d1cc7", Status: 400, Problem: "invalid_path"}},
	}
	off := *directory
	off.Status, off.Tokens, off.Requests, off.LastSync = page.StateDisabled, nil, nil, time.Time{}
	return map[string]page.Page{
		"portal-home": &page.PortalHome{PortalView: own, Parts: []page.PortalPart{
			{URL: base + "/connections", Icon: "shield", Key: "portal.sso", TextKey: "portal.sso_text", State: page.StateActive},
			{URL: base + "/connections", Icon: "key", Key: "portal.certificates", TextKey: "portal.certificates_text", State: page.StateActive},
			{URL: base + "/directory", Icon: "people", Key: "portal.directory", TextKey: "portal.directory_text"},
			{URL: base + "/domains", Icon: "globe", Key: "portal.domains", TextKey: "portal.domains_text", State: page.StateWaiting},
		}},
		"portal-connections": &page.PortalConnections{PortalView: own, Action: base + "/connections",
			Connections: []page.PortalConnectionRow{{URL: base + "/connections/1", Name: "Okta", Provider: "Okta", State: page.StateActive, LastSuccess: v.Now.Add(-time.Hour), Ends: v.Now.AddDate(1, 0, 0)}, {URL: base + "/connections/2", Name: "Microsoft Entra ID", Provider: "Microsoft Entra ID", State: page.StateDisabled}},
			SAML:        []page.ProviderChoice{{Value: "okta", Name: "Okta"}, {Value: "entra", Name: "Microsoft Entra ID"}, {Value: "google", Name: "Google Workspace"}, {Value: "custom"}}, OIDC: []page.ProviderChoice{{Value: "okta", Name: "Okta"}, {Value: "custom"}}},
		"portal-connections.none":  &page.PortalConnections{PortalView: only},
		"portal-connection":        first,
		"portal-connection.send":   send,
		"portal-connection.openid": openid,
		"portal-connection.map":    mapping,
		"portal-connection.test":   test,
		"portal-connection.on":     on,
		"portal-connection.lacks":  incomplete,
		"portal-certificates":      &page.PortalCertificatesPage{PortalView: only, Name: "Okta", Certificates: certificates, ReadsItself: "https://acme.okta.com/app/exk1/sso/saml/metadata", Action: base + "/c", RemoveAction: base + "/r", BackURL: base + "/connections"},
		"portal-trace":             &page.PortalTrace{PortalView: own, At: v.Now, Cause: "The response was made for another Entity ID than ours.", Fix: "Put our Entity ID there.", Field: page.CopyValue{Label: "Identifier (Entity ID)", Value: entity}, AtProvider: true, AgainURL: base + "/a", BackURL: base + "/b", Seen: seen, Steps: []page.TraceStep{{Name: "response.signature", Word: v.Lang.Text("sso.check.signature"), OK: true, Received: "RSA-SHA256"}, {Name: "conditions.audience", Word: v.Lang.Text("sso.check.audience"), Expected: entity, Received: "https://wrong.example"}}},
		"portal-trace.good":        &page.PortalTrace{PortalView: own, At: v.Now, OK: true, AgainURL: base + "/a", BackURL: base + "/b", Seen: seen},
		"portal-directories":       &page.PortalDirectories{PortalView: own, Action: base + "/directory", Directories: []page.PortalConnectionRow{{URL: base + "/directory/1", Name: "Okta", Provider: "Okta", State: page.StateActive, LastSuccess: v.Now.Add(-time.Minute)}}, Types: []page.ProviderChoice{{Value: "okta", Name: "Okta"}, {Value: "custom"}}},
		"portal-directory":         directory,
		"portal-directory.off":     &off,
		"portal-directory.token":   &page.PortalDirectoryPage{PortalView: own, Provider: "Okta", Status: page.StateActive, Token: "scim_3Vq9bT0xYt7uQ2eRkLpN8sWz", Do: directory.Do, NextURL: base + "/directory/1"},
		"portal-domains":           &page.PortalDomainsPage{PortalView: noticed, AddAction: base + "/domains", VerifyAction: base + "/domains/verify", RemoveAction: base + "/domains/remove", Domains: []page.PortalDomain{{Name: "acme.test", Verified: true, Since: v.Now.Add(-900 * time.Hour)}, {Name: "acme-europe.test", Record: "_cardea-challenge.acme-europe.test", Value: "cardea-domain-verification=5XQ2M7KTRNBVA3DJHPLZ6WCE4Y"}, {Name: "old.acme.test", Verified: true, Failing: true, Record: "_cardea-challenge.old.acme.test", Value: "cardea-domain-verification=5XQ2M7KTRNBVA3DJHPLZ6WCE4Y"}}},
		"portal-log": &page.PortalLogPage{PortalView: own, NextURL: base + "/log?before=x", Events: []page.PortalEvent{
			{At: v.Now.Add(-time.Minute), Key: "log.sso_connection.activated", Args: []any{"name", "Okta"}, By: v.Lang.Text("portal.this_link"), Action: "sso_connection.activated", Detail: "connection 6694c154565dfee5166d1cc7", Actor: "portal:6694c154565dfee5166d1cc8", IP: "203.0.113.7", OK: true},
			{At: v.Now.Add(-time.Hour), Key: "log.organization.member_roles_changed", Args: []any{"person", v.Lang.Text("log.people", "count", 12)}, Roles: "Developer, Viewer", By: v.Lang.Text("log.by.directory"), Action: "organization.member_roles_changed", Actor: "directory:6694c154565dfee5166d1cc9", OK: true},
			{At: v.Now.Add(-2 * time.Hour), Key: "log.organization.domain_added", Args: []any{"domain", "acme.test"}, By: "Ann Lee", Action: "organization.domain_added", Detail: "domain acme.test", Actor: "user:6694c154565dfee5166d1cc7", OK: true},
			{At: v.Now.Add(-3 * time.Hour), Key: "log.organization.created", By: v.Lang.Text("log.by.operator", "name", "Northwind"), Action: "organization.created", Detail: "name Acme", OK: true},
			{At: v.Now.Add(-4 * time.Hour), Action: "something.else", By: v.Lang.Text("log.by.system"), OK: true}}},
		"portal-log.none": &page.PortalLogPage{PortalView: own},
		"sso-tested":      &page.SSOTested{View: v, OK: true},
		"sso-tested.bad":  &page.SSOTested{View: v},
	}
}
