package token

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/user"
)

// Scopes of OpenID Connect that the provider knows, in the order they are published.
var Scopes = []string{"openid", "profile", "email", "phone", "address", "offline_access"}

// ClaimNames are the claims about a user, by scope (OpenID Connect Core, section 5.4).
var ClaimNames = map[string][]string{
	"profile": {"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"},
	"email":   {"email", "email_verified"},
	"phone":   {"phone_number", "phone_number_verified"},
	"address": {"address"},
}

// Claims returns what is known of a user, as far as a scope or the claims parameter
// (wanted; its values do not matter) asks for it. "sub" is always there.
func Claims(u user.User, scope string, wanted map[string]any) map[string]any {
	granted := strings.Fields(scope)
	all := profile(u)
	out := map[string]any{"sub": u.ID}
	for s, names := range ClaimNames {
		for _, name := range names {
			_, named := wanted[name]
			value, known := all[name]
			if known && (named || slices.Contains(granted, s)) {
				out[name] = value
			}
		}
	}
	return out
}

// profile is everything known of a user under the standard names. What the user has
// as attributes of these names counts, unless it is for us to say.
func profile(u user.User) map[string]any {
	all := map[string]any{}
	var attributes map[string]any
	if len(u.Attributes) > 0 && json.Unmarshal(u.Attributes, &attributes) == nil {
		for _, name := range slices.Concat(ClaimNames["profile"], ClaimNames["address"]) {
			if v, ok := attributes[name]; ok && v != nil {
				all[name] = v
			}
		}
	}
	all["updated_at"] = u.ModifiedAt.Unix()
	for name, value := range map[string]string{
		"name": strings.TrimSpace(u.FirstName + " " + u.LastName), "given_name": u.FirstName, "family_name": u.LastName, "preferred_username": u.Login(),
	} {
		if value != "" {
			all[name] = value
		}
	}
	if u.Email != "" {
		all["email"], all["email_verified"] = u.Email, u.EmailVerified
	}
	if u.Phone != "" {
		all["phone_number"], all["phone_number_verified"] = u.Phone, u.PhoneVerified
	}
	return all
}

// requested returns the members of one part of the claims parameter ("id_token" or
// "userinfo"); nil if there are none.
func requested(claims json.RawMessage, part string) map[string]any {
	var parts map[string]map[string]any
	if len(claims) == 0 || json.Unmarshal(claims, &parts) != nil {
		return nil
	}
	return parts[part]
}

// Requested is what the claims parameter of a grant asks for at the UserInfo
// endpoint.
func Requested(claims json.RawMessage) map[string]any { return requested(claims, "userinfo") }
