package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// The configuration object of the SSOJet contract: what a login widget needs to
// know before anybody has signed in. Names and odd cases are the contract's.

// A Config is what GET /api/v1/config answers.
type Config struct {
	ID                 string         `json:"id"`
	Name               string         `json:"name"`
	ClientID           string         `json:"client_id"`
	Branding           configBranding `json:"branding"`
	Connection         []configWay    `json:"connection"`
	DefaultRedirectURL string         `json:"default_redirect_url"`
	AuthConfig         configAuth     `json:"auth_config"`
	Localization       localization   `json:"localization"`
}

type configBranding struct {
	Schema                string          `json:"branding_schema" doc:"A JSON document, as a string"`
	AdminSchema           string          `json:"admin_branding_schema"`
	Brand                 string          `json:"brand"`
	Signature             string          `json:"signature"`
	ButtonColor           string          `json:"btn_color"`
	TextColor             string          `json:"text_color"`
	BackgroundImage       string          `json:"background_image"`
	LoginBoxColor         string          `json:"login_box_color"`
	Background            string          `json:"background"`
	BrandLogo             string          `json:"brand_logo"`
	Favicon               string          `json:"favicon"`
	Font                  configFont      `json:"font"`
	Lang                  string          `json:"lang"`
	WhiteLabel            bool            `json:"white_label"`
	PageTitle             string          `json:"page_title"`
	BackgroundStyle       json.RawMessage `json:"background_style"`
	InputStyle            json.RawMessage `json:"input_style"`
	SocialButton          json.RawMessage `json:"social_button"`
	LogoStyle             json.RawMessage `json:"logo_style"`
	LoginBoxStyle         json.RawMessage `json:"login_box_style"`
	PageSubmitButtonStyle json.RawMessage `json:"page_submit_button_style"`
}

type configFont struct {
	URL    string `json:"url"`
	Family string `json:"family"`
}

type configWay struct {
	Provider     string `json:"provider"`
	ConnectionID string `json:"connection_id"`
	IsSSO        bool   `json:"is_sso_connection"`
	IsOAuth      bool   `json:"is_oauth_connection"`
}

type configAuth struct {
	WebAuthn    bool            `json:"webauthn"`
	PasskeyAuth bool            `json:"passkey_auth"`
	Social      json.RawMessage `json:"social"`
}

type localization struct {
	Language  string       `json:"language"`
	ISOCode   string       `json:"iso_code"`
	Direction string       `json:"direction"`
	Login     loginTexts   `json:"login"`
	MagicOTP  magicOTPText `json:"magic_otp"`
}

type loginTexts struct {
	Heading    string    `json:"heading"`
	SubHeading string    `json:"sub_heading"`
	Footer     string    `json:"footer"`
	Or         string    `json:"or"`
	Button     text      `json:"button"`
	Input      inputText `json:"input"`
	PhoneInput inputText `json:"phone_input"`
}

type text struct {
	Text string `json:"text"`
}

type inputText struct {
	Placeholder string `json:"placeholder"`
	Label       string `json:"label"`
}

type magicOTPText struct {
	TitleText string `json:"title_text"`
}

type getConfigRequest struct {
	ClientID string `query:"client_id" doc:"The application. One of client_id and domain is required"`
	Domain   string `query:"domain" doc:"The tenant's host or custom domain"`
}

func (s *Service) getConfig(ctx context.Context, by access.Actor, in getConfigRequest) (Config, error) {
	if in.Domain != "" {
		t, named, err := s.ofHost(ctx, web.CanonicalHost(in.Domain))
		if errors.Is(err, ErrUnknownHost) || err == nil && !named {
			return Config{}, ErrNotFound.Saying("No tenant answers at this domain.")
		}
		if err != nil {
			return Config{}, err
		}
		return s.config(ctx, t, Application{})
	}
	if in.ClientID == "" {
		return Config{}, ErrClient.Saying("Name the application with client_id, or the tenant with domain.")
	}
	app, err := s.ByClientID(ctx, in.ClientID)
	if err != nil {
		return Config{}, err
	}
	t, err := s.ByID(ctx, by.Tenant)
	if err != nil {
		return Config{}, err
	}
	return s.config(ctx, t, app)
}

// config is the object of an application; of the tenant's first one if app is
// empty.
func (s *Service) config(ctx context.Context, t Tenant, app Application) (Config, error) {
	if app.ID == "" {
		var err error
		if app, err = s.firsts.Get(s.DB.Now(), t.ID, func() (Application, error) { return firstApplication(ctx, s.DB, t.ID) }); err != nil {
			return Config{}, err
		}
	}
	c := configOf(t, app)
	if s.Social == nil {
		return c, nil
	}
	var err error
	c.AuthConfig.Social, err = s.Social(ctx, t.ID)
	return c, err
}

func configOf(t Tenant, app Application) Config {
	b := t.Settings.Branding.withDefaults(t)
	c := Config{
		ID: t.ID, Name: t.Name, ClientID: app.ClientID,
		Branding: configBranding{
			Schema: b.schema(), Brand: b.Name, Signature: "Team " + b.Name, ButtonColor: b.Accent, TextColor: b.TextColor,
			BackgroundImage: b.BackgroundImage, Background: b.Background, BrandLogo: b.LogoURL, Favicon: b.FaviconURL,
			Font: configFont{b.FontURL, b.Font}, Lang: b.Language, PageTitle: b.PageTitle,
		},
		Connection:         []configWay{{Provider: "MagicLink", ConnectionID: secret.DerivedID(t.ID, "MagicLink")}},
		DefaultRedirectURL: "",
		Localization: localization{
			Language: "English", ISOCode: "en", Direction: "ltr",
			Login: loginTexts{
				Heading: "Sign in", SubHeading: "to continue to " + b.Name, Or: "or", Button: text{"Continue"},
				Input: inputText{"you@example.com", "E-mail address"}, PhoneInput: inputText{"+49 151 12345678", "Phone number"},
			},
			MagicOTP: magicOTPText{"Enter the code we sent you"},
		},
	}
	if len(app.RedirectURIs) > 0 {
		c.DefaultRedirectURL = app.RedirectURIs[0]
	}
	return c
}

func (b Branding) withDefaults(t Tenant) Branding {
	for field, value := range map[*string]string{
		&b.Name: t.Name, &b.Accent: "#3a5bc7", &b.TextColor: "#21201c", &b.Background: "#ffffff", &b.Font: "system-ui", &b.Language: "en",
	} {
		if *field == "" {
			*field = value
		}
	}
	return b
}

// schema is the branding as the JSON document that the contract carries in a
// string.
func (b Branding) schema() string {
	type m = map[string]any
	return encodeJSON(m{
		"fontStyle":  m{"fontFamily": b.Font, "fontSize": "16px", "color": b.TextColor, "fontWeight": "400", "fontStyle": "normal", "textDecoration": "none"},
		"pageConfig": m{"background": b.Background},
		"inputBox": m{
			"text":   m{"color": b.TextColor, "placeholder": "#6f6e69", "fontSize": "16px", "background": "#ffffff"},
			"border": m{"color": "#cfceca", "radius": 6, "width": 1}, "label": m{"color": b.TextColor, "size": "14px", "fontSize": "14px"}, "bgColor": m{"color": "#ffffff"},
		},
		"socialConfig": m{"position": "bottom", "fontSize": "16px", "fontWeight": "500", "color": b.TextColor, "background": "#ffffff", "borderColor": "#cfceca", "borderWidth": 1},
		"colorConfig":  m{"primary": b.Accent, "secondary": "#9ca3af", "error": "#c62a2f"},
		"imageConfig":  m{"logoUrl": b.LogoURL, "favicon": b.FaviconURL, "brandName": b.Name},

		"browserConfigdata":      m{"url": "", "pageTitle": b.PageTitle},
		"loginBoxConfigData":     m{"backgroundImage": b.BackgroundImage, "background": "#ffffff", "borderRadius": 6},
		"submitButtonConfigData": m{"background": b.Accent, "color": "#ffffff", "borderRadius": 6, "fontSize": "16px", "fontWeight": "500"},
	})
}

// Mount adds the calls to r.
func (s *Service) Mount(r *web.Router) {
	apps, keys, settings := "Applications", "API keys", "Settings"
	type problems = []*problem.Problem
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{"/api/v1/config"}, Public: true, Endpoint: web.JSON(http.StatusOK, s.getConfig),
			Doc: web.Doc{Tag: "Configuration", Summary: "Get the configuration of an application or a domain", Text: "What a sign-in page needs to know before anybody has signed in.",
				Errors: problems{ErrNotFound}, Example: exampleConfig}},
		{Method: "GET", Paths: []string{"/api/v1/settings"}, Needs: access.SettingsRead, Endpoint: web.JSON(http.StatusOK, s.getSettings),
			Doc: web.Doc{Tag: settings, Summary: "Get the tenant's settings", Text: "All of them, with what holds where nothing is set. A text that is empty is the default. None is a secret, and to send the answer back changes nothing.", Errors: problems{ErrNotFound}, Example: exampleSettings}},
		{Method: "PATCH", Paths: []string{"/api/v1/settings"}, Needs: access.SettingsWrite, Endpoint: web.JSON(http.StatusOK, s.patchSettings),
			Doc: web.Doc{Tag: settings, Summary: "Change some of the tenant's settings", Text: "What the body does not name stays as it is, and a list is replaced. Empty, 0, false or null, for a setting or a section, is the default (RFC 7396), and so is the default's own value. A name that there is not is an error. " +
				"They hold within a second, on all servers. What makes signing in less safe takes the scope settings:security, which owners have and keys must name; the log has each with what it was before.",
				Errors: problems{ErrSettings, ErrLoosens, ErrNotFound}, Request: exampleSettingsWanted, Example: exampleSettings}},
		{Method: "GET", Paths: []string{"/api/v1/applications"}, Needs: access.ApplicationsRead, Endpoint: web.JSON(http.StatusOK, s.getApplications),
			Doc: web.Doc{Tag: apps, Summary: "List applications", Text: "By creation, at most 1,000.", Example: []applicationForm{exampleForm}}},
		{Method: "POST", Paths: []string{"/api/v1/applications"}, Needs: access.ApplicationsWrite, Endpoint: web.JSON(http.StatusCreated, s.postApplication),
			Doc: web.Doc{Tag: apps, Summary: "Create an application", Text: "The secret is in this answer and nowhere else.",
				Errors: problems{ErrApplication, ErrApplicationsFull}, Request: exampleApplication, Example: exampleFormMade}},
		{Method: "GET", Paths: []string{"/api/v1/applications/{id}"}, Needs: access.ApplicationsRead, Endpoint: web.JSON(http.StatusOK, s.getApplication),
			Doc: web.Doc{Tag: apps, Summary: "Get an application", Errors: problems{ErrApplicationNotFound}, Example: exampleForm}},
		{Method: "PUT", Paths: []string{"/api/v1/applications/{id}"}, Needs: access.ApplicationsWrite, Endpoint: web.JSON(http.StatusOK, s.putApplication),
			Doc: web.Doc{Tag: apps, Summary: "Update an application", Text: "What the body does not name stays as it is. Whoever changes what it proves itself by needs the scopes that it may have for itself.",
				Errors: problems{ErrApplicationNotFound, ErrApplication}, Request: exampleRename, Example: exampleForm}},
		{Method: "DELETE", Paths: []string{"/api/v1/applications/{id}"}, Needs: access.ApplicationsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteApplication),
			Doc: web.Doc{Tag: apps, Summary: "Delete an application", Errors: problems{ErrApplicationNotFound}, Example: deleted{true}}},
		{Method: "POST", Paths: []string{"/api/v1/applications/{id}/secrets"}, Needs: access.ApplicationsWrite, Endpoint: web.JSON(http.StatusCreated, s.postSecret),
			Doc: web.Doc{Tag: apps, Summary: "Rotate an application's secret", Text: "Those before it work for overlap_seconds more, a day if absent.",
				Errors: problems{ErrApplicationNotFound, ErrApplication}, Request: exampleRotation, Example: exampleSecretMade}},
		{Method: "GET", Paths: []string{"/api/v1/applications/{id}/secrets"}, Needs: access.ApplicationsRead, Endpoint: web.JSON(http.StatusOK, s.getSecrets),
			Doc: web.Doc{Tag: apps, Summary: "List an application's secrets", Text: "Hints and dates, newest first; the secrets themselves are not kept.", Errors: problems{ErrApplicationNotFound}, Example: exampleSecrets}},
		{Method: "GET", Paths: []string{"/api/v1/keys"}, Needs: access.KeysWrite, Endpoint: web.JSON(http.StatusOK, s.getKeys),
			Doc: web.Doc{Tag: keys, Summary: "List API keys", Text: "Those that work before those that have ended, each newest first; at most 1,000.", Example: []keyForm{exampleKeyForm}}},
		{Method: "POST", Paths: []string{"/api/v1/keys"}, Needs: access.KeysWrite, Endpoint: web.JSON(http.StatusCreated, s.postKey),
			Doc: web.Doc{Tag: keys, Summary: "Create an API key", Text: "The key is in this answer and nowhere else. Nobody gives a scope they do not hold; of people, owners alone give roles:write. A key made by a key ends with it.",
				Errors: problems{access.ErrUnknownScope, ErrKeysFull}, Request: exampleKeyWanted, Example: exampleKeyFormMade}},
		{Method: "DELETE", Paths: []string{"/api/v1/keys/{id}"}, Needs: access.KeysWrite, Endpoint: web.JSON(http.StatusOK, s.deleteKey),
			Doc: web.Doc{Tag: keys, Summary: "Revoke an API key", Text: "It and all keys it made are refused from the next request on, by other processes of the installation within a second.",
				Errors: problems{ErrKeyNotFound}, Example: deleted{true}}},
	} {
		r.Add(route)
	}
}
