package org

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

// Limits of what an organization may hold.
const (
	maxName      = 256 // bytes, of each text
	maxMetadata  = 16 << 10
	maxWhiteList = 100
	maxRoles     = 100
	year         = 365 * 24 * 3600
)

var (
	slugForm  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })
	colorForm = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
)

// check puts o into its normal form, or says what is wrong with it. What is as it was
// in old is not judged again, where the world around it may have changed.
func (s *Service) check(ctx context.Context, db database.Reader, by access.Actor, old Organization, o *Organization) error {
	if err := o.checkTexts(); err != nil {
		return err
	}
	if o.Slug != old.Slug && (!slugForm().MatchString(o.Slug) || secret.IsID(o.Slug)) {
		return ErrInvalid.Saying("A slug has 1 to 63 lower-case letters, digits and hyphens, and is not in the form of an id.").In("slug")
	}
	if err := o.checkMetadata(); err != nil {
		return err
	}
	if err := o.checkWhiteList(); err != nil {
		return err
	}
	if err := o.Branding.check(); err != nil {
		return err
	}
	if err := o.Policy.check(); err != nil {
		return err
	}
	if slices.Equal(o.Policy.DefaultRoles, old.Policy.DefaultRoles) {
		return nil
	}
	return s.checkDefaults(ctx, db, by, o)
}

// checkDefaults refuses default roles that the actor could not give to a member.
func (s *Service) checkDefaults(ctx context.Context, db database.Reader, by access.Actor, o *Organization) error {
	if len(o.Policy.DefaultRoles) > maxRoles {
		return ErrInvalid.Saying("There are at most %d default roles.", maxRoles).In("policy.default_roles")
	}
	given, err := s.mayGrant(ctx, db, by, o.ID, o.Policy.DefaultRoles)
	if err != nil {
		return err
	}
	for _, r := range given {
		if r.Slug == role.Owner { // or an owner could not be the last
			return ErrInvalid.Saying("Owners are made one by one.").In("policy.default_roles")
		}
	}
	return nil
}

func (o *Organization) checkTexts() error {
	for _, f := range []struct {
		name string
		text *string
	}{
		{"name", &o.Name}, {"display_name", &o.DisplayName}, {"external_id", &o.ExternalID}, {"workspace_name", &o.WorkspaceName}, {"address", &o.Address},
		{"website", &o.Website}, {"time_zone", &o.TimeZone}, {"currency", &o.Currency}, {"branding.name", &o.Branding.Name}, {"branding.logo_url", &o.Branding.LogoURL},
	} {
		*f.text = strings.TrimSpace(*f.text)
		if len(*f.text) > maxName || !utf8.ValidString(*f.text) || strings.ContainsFunc(*f.text, unicode.IsControl) {
			return ErrInvalid.Saying("%s has at most %d bytes and no control characters.", f.name, maxName).In(f.name)
		}
	}
	if o.Name == "" {
		return ErrInvalid.Saying("An organization needs a name.").In("name")
	}
	return nil
}

func (o *Organization) checkMetadata() error {
	if len(o.Metadata) == 0 || string(o.Metadata) == "null" {
		o.Metadata = nil
		return nil
	}
	var members map[string]json.RawMessage
	var compact bytes.Buffer
	if len(o.Metadata) > maxMetadata || json.Unmarshal(o.Metadata, &members) != nil || json.Compact(&compact, o.Metadata) != nil {
		return ErrInvalid.Saying("metadata is a JSON object of at most 16 KiB.").In("metadata")
	}
	o.Metadata = compact.Bytes()
	return nil
}

func (o *Organization) checkWhiteList() error {
	if len(o.WhiteList) > maxWhiteList {
		return ErrInvalid.Saying("There are at most %d domains.", maxWhiteList).In("WhiteListDomains")
	}
	if o.WhiteList == nil {
		return nil
	}
	list := make([]string, 0, len(o.WhiteList))
	for _, d := range o.WhiteList {
		d, err := user.ParseDomain(d)
		if err != nil {
			return user.ErrDomain.In("WhiteListDomains")
		}
		if !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	o.WhiteList = list
	return nil
}

func (b Branding) check() error {
	if b.Accent != "" && !colorForm.MatchString(b.Accent) {
		return ErrInvalid.Saying("A colour looks like #3a5bc7.").In("branding.accent")
	}
	if b.LogoURL == "" {
		return nil
	}
	u, err := url.Parse(b.LogoURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return ErrInvalid.Saying("A logo has an absolute https address.").In("branding.logo_url")
	}
	return nil
}

func (p Policy) check() error {
	switch {
	case p.MFA != "" && p.MFA != MFAOptional && p.MFA != MFARequired:
		return ErrInvalid.Saying("mfa is optional or required, or empty.").In("policy.mfa")
	case min(p.SessionIdle, p.SessionAbsolute) < 0 || max(p.SessionIdle, p.SessionAbsolute) > year:
		return ErrInvalid.Saying("Sessions live at most a year.").In("policy.session_absolute")
	case p.RequireSSO && !p.Allows(WaySSO):
		return ErrInvalid.Saying("Single sign-on is required, so it must be among the ways.").In("policy.ways")
	}
	for _, way := range p.Ways {
		if !slices.Contains([]string{WayEmail, WayPassword, WayPasskey, WaySocial, WaySSO}, way) {
			return ErrInvalid.Saying("The ways are email, password, passkey, social and sso.").In("policy.ways")
		}
	}
	return nil
}

// changes names the fields that differ.
func changes(old, o Organization) (names []string) {
	a, b := reflect.ValueOf(old), reflect.ValueOf(o)
	for i := range a.NumField() {
		if a.Field(i).Type() != reflect.TypeFor[time.Time]() && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, a.Type().Field(i).Name)
		}
	}
	return names
}
