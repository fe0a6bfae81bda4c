package tenant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// Problems of settings.
var (
	ErrSettings = problem.New(problem.Invalid, "invalid_settings", "A setting has a value that is not allowed.")
	ErrLoosens  = problem.New(problem.Forbidden, "setting_of_owners", "This makes signing in less safe. An owner may do it, or a key with the scope settings:security.")
)

// Settings are what a tenant may choose. The zero value is the default.
type Settings struct {
	Branding Branding `json:"branding" doc:"How the tenant's pages and mails look"`
	Kobil    Kobil    `json:"kobil" doc:"The KOBIL form of the user API, where its contract is silent"`
	SignIn   SignIn   `json:"sign_in" doc:"How people get in"`
	MFA      MFA      `json:"mfa" doc:"When a second factor is asked for"`
}

// When a second factor is asked for.
const (
	MFAOff      = "off"
	MFAOptional = "optional"
	MFARequired = "required"
)

// MFA says when users need a second factor. The zero value asks those who have set one
// up. Codes that are sent are weaker than an authenticator app or a passkey.
type MFA struct {
	Mode             string   `json:"mode" doc:"off, optional (asked of whoever has set one up) or required; optional by default"`
	RequiredForRoles []string `json:"required_for_roles" schema:"nullable" doc:"Ids of roles whose holders need one whatever the mode"`
	Email            bool     `json:"email" doc:"A code by e-mail will do, for whoever has nothing better"`
	SMS              bool     `json:"sms" doc:"A code by text message will do"`
	NoRemember       bool     `json:"no_remember" doc:"Ask every time, in every browser"`
}

// SignIn says how users get in. The zero value allows links, codes by e-mail and
// passwords, and lets newcomers sign up.
type SignIn struct {
	First      string `json:"first" doc:"What comes after the address: email (link and code) or password; email by default"`
	NoEmail    bool   `json:"no_email" doc:"No links and codes by e-mail"`
	NoPassword bool   `json:"no_password" doc:"No passwords, no resets"`
	NoPasskey  bool   `json:"no_passkey" doc:"No passkeys, neither to sign in with nor to add"`
	NoSignUp   bool   `json:"no_sign_up" doc:"Only users who are there already"`
	SMS        bool   `json:"sms" doc:"Codes by text message"`
	// PasskeyDomain is the RP ID of new passkeys (WebAuthn Level 3, section 4). Passkeys are
	// good for the domain they were made for, and no other.
	PasskeyDomain   string `json:"passkey_domain" doc:"The tenant's own domain that new passkeys are for; that of its address if empty"`
	NoAdminLetters  bool   `json:"no_admin_letters" doc:"People are not told by mail when an administrator or an API key changes their password, second factor or address"`
	MinPassword     int    `json:"min_password" doc:"Least length of a password that stands alone, 8 to 64 characters; 15 by default"`
	KeepImported    bool   `json:"keep_imported" doc:"Imported passwords that do not meet the rules need not be changed"`
	SessionIdle     int64  `json:"session_idle" doc:"Seconds that a session lives without being used, at most a year; a day by default"`
	SessionAbsolute int64  `json:"session_absolute" doc:"Seconds that a session lives in all, at most a year; 30 days by default"`
	Registration    bool   `json:"registration" doc:"Applications may register themselves (RFC 7591)"`
	ClientDocuments bool   `json:"client_documents" doc:"The address of a metadata document is taken for a client id"`
}

// inForce is what those settings are that stand for something else when they are empty or
// zero. All others are the default when they are zero, and mean that.
var inForce = Settings{
	SignIn: SignIn{First: "email", MinPassword: 15, SessionIdle: 24 * 3600, SessionAbsolute: 30 * 24 * 3600},
	MFA:    MFA{Mode: MFAOptional},
}

// InForce returns s with what holds in place of what is not set.
func (s Settings) InForce() Settings {
	s.SignIn, s.MFA.Mode = s.SignIn.InForce(), cmp.Or(s.MFA.Mode, inForce.MFA.Mode)
	return s
}

// InForce returns s with what holds in place of what is not set.
func (s SignIn) InForce() SignIn {
	d := inForce.SignIn
	s.First, s.MinPassword = cmp.Or(s.First, d.First), cmp.Or(s.MinPassword, d.MinPassword)
	s.SessionIdle, s.SessionAbsolute = cmp.Or(s.SessionIdle, d.SessionIdle), cmp.Or(s.SessionAbsolute, d.SessionAbsolute)
	return s
}

// kept is s as it is stored: what is the default is not set, so that to write back what
// was read sets nothing, and has the next version's default as others do.
func (s Settings) kept() Settings {
	d := inForce.SignIn
	s.MFA.Mode, s.SignIn.First = unset(s.MFA.Mode, inForce.MFA.Mode), unset(s.SignIn.First, d.First)
	s.SignIn.MinPassword = unset(s.SignIn.MinPassword, d.MinPassword)
	s.SignIn.SessionIdle, s.SignIn.SessionAbsolute = unset(s.SignIn.SessionIdle, d.SessionIdle), unset(s.SignIn.SessionAbsolute, d.SessionAbsolute)
	return s
}

func unset[T comparable](value, standard T) (zero T) {
	if value == standard {
		return zero
	}
	return value
}

// Kobil settings tune the KOBIL form of the user API where its contract is
// silent.
type Kobil struct {
	ListProfileFields bool `json:"list_profile_fields" doc:"Lists have id, email, firstName and lastName of each user"`
}

// Branding is how the tenant's pages look. Empty fields mean the default.
type Branding struct {
	Name            string `json:"name" doc:"What pages and mails call the tenant; its name if empty"`
	LogoURL         string `json:"logo_url" doc:"Absolute https address"`
	FaviconURL      string `json:"favicon_url" doc:"Absolute https address"`
	Accent          string `json:"accent" doc:"Colour of what can be pressed, such as #3a5bc7"`
	TextColor       string `json:"text_color" doc:"Colour, for your own pages: it is in the configuration object"`
	Background      string `json:"background" doc:"Colour behind the sign-in page"`
	BackgroundImage string `json:"background_image" doc:"Absolute https address, for your own pages"`
	Font            string `json:"font" doc:"Name of a font, for your own pages"`
	FontURL         string `json:"font_url" doc:"Absolute https address, for your own pages"`
	Language        string `json:"language" doc:"What people read who have chosen no language and whose browser names none that there is, such as de; en if empty"`
	PageTitle       string `json:"page_title" doc:"For your own pages"`
}

// ChangeSettings puts what patch names in place of what a tenant's settings were and
// returns what is in force then, see Settings.Apply; what it does not name stays, whoever else changes
// something meanwhile. The actor needs settings:write, and settings:security for what
// makes signing in less safe. It returns ErrSettings and ErrLoosens.
func (s *Service) ChangeSettings(ctx context.Context, tx *database.Tx, by access.Actor, id string, patch []byte) (Settings, error) {
	return s.replaceSettings(ctx, tx, by, id, func(old Settings) (Settings, error) { return old.Apply(patch) })
}

// SaveSettings is ChangeSettings for all of them at once.
func (s *Service) SaveSettings(ctx context.Context, tx *database.Tx, by access.Actor, id string, settings Settings) error {
	_, err := s.replaceSettings(ctx, tx, by, id, func(Settings) (Settings, error) { return settings, nil })
	return err
}

// Settings returns the settings in force of the actor's tenant. The actor needs
// settings:read.
func (s *Service) Settings(ctx context.Context, db database.Reader, by access.Actor) (Settings, error) {
	if err := by.Require(access.SettingsRead); err != nil {
		return Settings{}, err
	}
	t, err := findTenant(ctx, db, "id", by.Tenant)
	return t.Settings.InForce(), err
}

func (s *Service) replaceSettings(ctx context.Context, tx *database.Tx, by access.Actor, id string, change func(Settings) (Settings, error)) (Settings, error) {
	if err := by.Require(access.SettingsWrite); err != nil {
		return Settings{}, err
	}
	if err := Hold(ctx, tx, id); err != nil {
		return Settings{}, err
	}
	t, err := findTenant(ctx, tx, "id", id)
	if err != nil {
		return Settings{}, err
	}
	now, err := change(t.Settings)
	if err == nil {
		err = now.check()
	}
	if err == nil {
		err = s.checkPasskeyDomain(t, now.SignIn.PasskeyDomain)
	}
	if err != nil {
		return Settings{}, err
	}
	changed, loosened := difference(t.Settings.InForce(), now.InForce()), now.InForce().loosened(t.Settings.InForce())
	if len(changed) == 0 {
		return now.InForce(), nil
	}
	if len(loosened) > 0 && !by.May(access.SettingsSecurity) {
		return Settings{}, ErrLoosens.In(loosened[0]).Because("%s would loosen %s", by.Name, strings.Join(loosened, ", "))
	}
	if err := updateSettings(ctx, tx, id, now.kept()); err != nil {
		return Settings{}, err
	}
	tx.OnCommit(s.forget)
	return now.InForce(), audit.Append(tx, by, audit.Event{Action: "tenant.updated", Target: "tenant", TargetID: id,
		Detail: map[string]any{"settings": changed, "loosened": loosened}})
}

// Apply returns s with what patch names in place of what it was: a JSON object in the
// form of Settings (RFC 7396), in which null stands for the default. ErrSettings names
// a member that there is not, or that is of the wrong type.
func (s Settings) Apply(patch []byte) (out Settings, err error) {
	var named map[string]any
	if err := json.Unmarshal(patch, &named); err != nil || named == nil {
		return s, ErrSettings.Saying("Settings are an object, such as {\"sign_in\": {\"sms\": true}}.")
	}
	tree := s.tree()
	if err := merge("", tree, named); err != nil {
		return s, err
	}
	err = json.Unmarshal([]byte(encodeJSON(tree)), &out)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return s, ErrSettings.Saying("%s does not take that: it is a %s.", wrong.Field, kindOf(wrong.Type)).In(wrong.Field)
	}
	if len(out.MFA.RequiredForRoles) == 0 {
		out.MFA.RequiredForRoles = nil // one form for none
	}
	return out, err
}

// tree is the JSON form of s, taken apart.
func (s Settings) tree() (tree map[string]any) {
	if err := json.Unmarshal([]byte(encodeJSON(s)), &tree); err != nil {
		panic(err) // it was encoded a moment ago
	}
	return tree
}

func merge(prefix string, into, named map[string]any) error {
	for name, value := range named {
		old, known := into[name]
		section, isSection := old.(map[string]any)
		part, isPart := value.(map[string]any)
		switch {
		case !known:
			return ErrSettings.Saying("There is no setting %.100q.", prefix+name)
		case value == nil:
			delete(into, name)
		case isSection && isPart:
			if err := merge(prefix+name+".", section, part); err != nil {
				return err
			}
		case isSection || isPart:
			return ErrSettings.Saying("%s does not take that.", prefix+name).In(prefix + name)
		default:
			into[name] = value
		}
	}
	return nil
}

// kindOf is a type in the words of JSON.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "whole number"
	case reflect.Slice:
		return "list of texts"
	}
	return "text"
}

// A before and after of one setting, for the log.
type change struct {
	Before any `json:"before"`
	After  any `json:"after"`
}

// difference tells what is not the same in two settings, by name.
func difference(old, now Settings) map[string]change {
	before, after, out := map[string]any{}, map[string]any{}, map[string]change{}
	flatten("", old.tree(), before)
	flatten("", now.tree(), after)
	for name, is := range after {
		if was := before[name]; encodeJSON(was) != encodeJSON(is) {
			out[name] = change{was, is}
		}
	}
	return out
}

func flatten(prefix string, tree map[string]any, into map[string]any) {
	for name, value := range tree {
		if section, ok := value.(map[string]any); ok {
			flatten(prefix+name+".", section, into)
			continue
		}
		into[prefix+name] = value
	}
}

// loosened names what makes signing in less safe than it was with old, or lets the
// people concerned know less; both as they are in force. An attacker with the key of an
// integration would begin with these.
func (s Settings) loosened(old Settings) (names []string) {
	was, is := old.SignIn, s.SignIn
	for _, x := range []struct {
		name string
		is   bool
	}{
		{"mfa.mode", old.MFA.rank() > s.MFA.rank()},
		{"mfa.required_for_roles", slices.ContainsFunc(old.MFA.RequiredForRoles, func(id string) bool { return !slices.Contains(s.MFA.RequiredForRoles, id) })},
		{"mfa.email", s.MFA.Email && !old.MFA.Email},
		{"mfa.sms", s.MFA.SMS && !old.MFA.SMS},
		{"mfa.no_remember", old.MFA.NoRemember && !s.MFA.NoRemember},
		{"sign_in.no_email", was.NoEmail && !is.NoEmail},
		{"sign_in.no_password", was.NoPassword && !is.NoPassword},
		{"sign_in.no_passkey", is.NoPasskey && !was.NoPasskey},
		{"sign_in.no_sign_up", was.NoSignUp && !is.NoSignUp},
		{"sign_in.sms", is.SMS && !was.SMS},
		{"sign_in.passkey_domain", is.PasskeyDomain != was.PasskeyDomain},
		{"sign_in.no_admin_letters", is.NoAdminLetters && !was.NoAdminLetters},
		{"sign_in.min_password", is.MinPassword < was.MinPassword},
		{"sign_in.keep_imported", is.KeepImported && !was.KeepImported},
		{"sign_in.session_idle", is.SessionIdle > was.SessionIdle},
		{"sign_in.session_absolute", is.SessionAbsolute > was.SessionAbsolute},
		{"sign_in.registration", is.Registration && !was.Registration},
		{"sign_in.client_documents", is.ClientDocuments && !was.ClientDocuments},
	} {
		if x.is {
			names = append(names, x.name)
		}
	}
	return names
}

// rank orders the modes by how much they ask for.
func (m MFA) rank() int {
	return slices.Index([]string{MFAOff, MFAOptional, MFARequired}, cmp.Or(m.Mode, MFAOptional))
}

var domainForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
})

// checkPasskeyDomain refuses domains that tenants share: passkeys that are for the
// installation's domain could be asked for by the pages of all of them.
func (s *Service) checkPasskeyDomain(t Tenant, domain string) error {
	if domain == "" || domain == "localhost" && s.BaseHost == "localhost" {
		return nil
	}
	own := domain == t.Slug+"."+s.BaseHost || domain == s.BaseHost && t.Slug == s.Default
	common := domain == s.BaseHost || strings.HasSuffix(s.BaseHost, "."+domain) || strings.HasSuffix(domain, "."+s.BaseHost)
	if !domainForm().MatchString(domain) || common && !own {
		return ErrSettings.Saying("It is a domain of the tenant's own, in small letters: its host, or one that its host is below.").In("sign_in.passkey_domain")
	}
	return nil
}

var (
	colorForm    = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
	languageForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$`) })
)

// Limits of settings, in bytes and in number.
const (
	maxSettingText    = 200
	maxSettingAddress = 2048
	maxSettingRoles   = 100
)

// check judges what stands on every page of the tenant.
func (b Branding) check() error {
	for field, color := range map[string]string{"accent": b.Accent, "text_color": b.TextColor, "background": b.Background} {
		if color != "" && !colorForm.MatchString(color) {
			return ErrSettings.Saying("A colour looks like #3a5bc7.").In("branding." + field)
		}
	}
	for field, address := range map[string]string{"logo_url": b.LogoURL, "favicon_url": b.FaviconURL, "background_image": b.BackgroundImage, "font_url": b.FontURL} {
		if address != "" && (!isWebAddress(address) || len(address) > maxSettingAddress) {
			return ErrSettings.Saying("It is an absolute https address without a fragment; http only for loopback.").In("branding." + field)
		}
	}
	for field, text := range map[string]string{"name": b.Name, "font": b.Font, "page_title": b.PageTitle} {
		if len(text) > maxSettingText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return ErrSettings.Saying("It has at most %d bytes and no control characters.", maxSettingText).In("branding." + field)
		}
	}
	if b.Language != "" && (len(b.Language) > 35 || !languageForm().MatchString(b.Language)) {
		return ErrSettings.Saying("A language looks like de or pt-BR.").In("branding.language")
	}
	return nil
}

// check judges what a tenant may choose.
func (s Settings) check() error {
	if err := s.Branding.check(); err != nil {
		return err
	}
	const year = 365 * 24 * 3600
	in := s.SignIn
	switch {
	case in.First != "" && in.First != "email" && in.First != "password":
		return ErrSettings.Saying("What comes first is email or password.").In("sign_in.first")
	case in.NoEmail && in.NoPassword && !in.SMS:
		return ErrSettings.Saying("Nobody could sign in: leave e-mail, passwords or text messages on.").In("sign_in")
	case in.MinPassword != 0 && (in.MinPassword < 8 || in.MinPassword > 64):
		return ErrSettings.Saying("The least length of a password is 8 to 64 characters.").In("sign_in.min_password")
	case in.SessionIdle < 0 || in.SessionIdle > year:
		return ErrSettings.Saying("Sessions live at most a year.").In("sign_in.session_idle")
	case in.SessionAbsolute < 0 || in.SessionAbsolute > year:
		return ErrSettings.Saying("Sessions live at most a year.").In("sign_in.session_absolute")
	}
	return s.MFA.check()
}

func (m MFA) check() error {
	if m.rank() < 0 {
		return ErrSettings.Saying("A second factor is off, optional or required.").In("mfa.mode")
	}
	if len(m.RequiredForRoles) > maxSettingRoles || slices.ContainsFunc(m.RequiredForRoles, func(id string) bool { return !secret.IsID(id) }) {
		return ErrSettings.Saying("Roles are named by their ids, at most %d.", maxSettingRoles).In("mfa.required_for_roles")
	}
	return nil
}
