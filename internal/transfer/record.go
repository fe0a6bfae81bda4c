package transfer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/user"
)

// Why a record is refused, besides the problems of users.
var (
	errRecord      = problem.New(problem.Invalid, "invalid_record", "The record is not what this format has.")
	errTooLong     = problem.New(problem.TooLarge, "record_too_large", "The record is longer than 1 MiB, or never ends.")
	errCutOff      = problem.New(problem.Invalid, "file_cut_off", "The file ends before its list of users does.")
	errHash        = problem.New(problem.Invalid, "invalid_password_hash", "The password hash can not be used.")
	errUnknownRole = problem.New(problem.Invalid, "unknown_role", "The user has a role that this tenant does not have.")
)

// A Record is a user in our own JSON lines: what Export writes and Import reads,
// and what every other format is turned into. What is empty is not given.
type Record struct {
	ID              string          `json:"id,omitempty"`
	Username        string          `json:"username,omitempty"`
	Email           string          `json:"email,omitempty"`
	EmailVerified   *bool           `json:"email_verified,omitempty"`
	Phone           string          `json:"phone,omitempty"`
	PhoneVerified   *bool           `json:"phone_verified,omitempty"`
	FirstName       string          `json:"first_name,omitempty"`
	LastName        string          `json:"last_name,omitempty"`
	IsActive        *bool           `json:"is_active,omitempty"` // true if not given
	Groups          json.RawMessage `json:"groups,omitempty"`
	Attributes      json.RawMessage `json:"raw_attributes,omitempty"`
	Roles           []string        `json:"roles,omitempty"` // slugs or ids
	RequiredActions []string        `json:"required_actions,omitempty"`
	Addresses       []Address       `json:"addresses,omitempty"` // further ones
	Language        string          `json:"language,omitempty"`  // read last, BCP 47
	CreatedAt       Moment          `json:"created_at,omitzero"`
	ModifiedAt      Moment          `json:"modified_at,omitzero"`
	LastLoginAt     Moment          `json:"last_login_at,omitzero"`

	// PasswordHash is a form of passhash. Where the next four are given it is only
	// the hash itself, in hexadecimal or base64.
	PasswordHash       string `json:"password_hash,omitempty"`
	PasswordAlgorithm  string `json:"password_algorithm,omitempty"` // md5, sha256, pbkdf2-sha256, …
	PasswordSalt       string `json:"password_salt,omitempty"`
	PasswordIterations int    `json:"password_iterations,omitempty"`
	PasswordOrder      string `json:"password_order,omitempty"` // "salt,password" or "password,salt"

	PasswordTemporary bool   `json:"password_temporary,omitempty"` // must be changed at the next sign-in
	PasswordChangedAt Moment `json:"password_changed_at,omitzero"`
}

// An Address is a further address of a user: an e-mail address, or a phone number in
// international form. A text in place of the object is its value.
type Address struct {
	Value   string `json:"value"`
	AddedAt Moment `json:"added_at,omitzero"`
	Held    bool   `json:"held,omitempty"` // signs nobody in until its owner confirms it
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Address) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &a.Value)
	}
	type object Address
	return json.Unmarshal(b, (*object)(a))
}

// stored is the address as package user takes it.
func (a Address) stored() user.Address {
	kind := user.KindFurtherPhone
	if strings.Contains(a.Value, "@") {
		kind = user.KindFurtherEmail
	}
	return user.Address{Kind: kind, Value: a.Value, AddedAt: a.AddedAt.Time, Held: a.Held}
}

// A Moment is a time in a file: written as RFC 3339 in UTC with milliseconds, read
// in any precision, and as Unix milliseconds.
type Moment struct{ time.Time }

const momentForm = "2006-01-02T15:04:05.000Z"

// MarshalJSON implements json.Marshaler.
func (m Moment) MarshalJSON() ([]byte, error) {
	return m.UTC().AppendFormat(make([]byte, 0, 32), `"`+momentForm+`"`), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Moment) UnmarshalJSON(b []byte) (err error) {
	text := string(b)
	if text == "null" {
		return nil
	}
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	*m, err = parseMoment(text)
	return err
}

var errMoment = errRecord.Saying("A time is written as 2026-01-31T12:00:00Z, between the years 1900 and 9999.")

// timeForms are those that exports use besides RFC 3339.
var timeForms = []string{"2006-01-02 15:04:05.999999999-07:00", "2006-01-02 15:04:05.999999999 MST", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02"}

// parseMoment reads RFC 3339, its common misspellings, and Unix milliseconds.
func parseMoment(text string) (Moment, error) {
	if text == "" {
		return Moment{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if ms, number := strconv.ParseInt(text, 10, 64); err != nil && number == nil {
		t, err = time.UnixMilli(ms), nil
	}
	for i := 0; err != nil && i < len(timeForms); i++ {
		t, err = time.Parse(timeForms[i], text)
	}
	if t = t.UTC().Truncate(time.Millisecond); err != nil || t.Year() < 1900 && !t.IsZero() || t.Year() > 9999 {
		return Moment{}, errMoment
	}
	return Moment{t}, nil
}

// decode reads one JSON record. Its errors name the member and never repeat the
// value.
func decode(raw []byte, into any) error {
	switch {
	case !utf8.Valid(raw):
		return errRecord.Saying("The record is not valid UTF-8.")
	case bytes.Contains(raw, []byte(`\u0000`)) || bytes.IndexByte(raw, 0) >= 0:
		return errRecord.Saying("The record contains a NUL character.")
	case tooDeep(raw):
		return errRecord.Saying("The record is nested deeper than %d levels.", maxDepth)
	}
	err := json.Unmarshal(raw, into)
	if err == nil {
		return nil
	}
	if _, ok := problem.From(err); ok {
		return err
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errRecord.Saying("%s has the wrong type: %s.", cmp.Or(wrong.Field, "The record"), kindOf(wrong.Value))
	}
	return errRecord.Saying("The record is not valid JSON.")
}

// kindOf is the first word of what encoding/json says it found: the rest may be
// the value itself.
func kindOf(value string) string {
	word, _, _ := strings.Cut(value, " ")
	return word
}

const maxDepth = 32 // as for the API

func tooDeep(raw []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// A row is a record ready to be imported, or refused.
type row struct {
	place    span
	login    string // for the report
	user     user.Newcomer
	password password.Stored // no hash if there is none
	change   user.Change     // what to change of a user who is there already
	refused  error
}

// row judges the record and brings it into the form in which it is stored.
func (r *Record) row(o *Options, roles map[string]string) (out row) {
	out.login = printable(cmp.Or(r.Email, r.Username, r.Phone))
	out.user, out.refused = r.user(o, roles)
	if out.refused == nil {
		out.password, out.refused = r.password(o)
	}
	out.change = r.change(out.user)
	return out
}

// printable shortens a text of the file and drops what does not print.
func printable(s string) string {
	if len(s) > 254 {
		s = s[:254]
	}
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, s)
}

func (r *Record) user(o *Options, roles map[string]string) (user.Newcomer, error) {
	u := user.Newcomer{User: user.User{
		ID: r.ID, Username: r.Username, Email: r.Email, Phone: r.Phone, FirstName: r.FirstName, LastName: r.LastName,
		EmailVerified: isTrue(r.EmailVerified), PhoneVerified: isTrue(r.PhoneVerified), IsActive: r.IsActive == nil || *r.IsActive,
		Groups: compact(r.Groups), Attributes: compact(r.Attributes),
		CreatedAt: r.CreatedAt.Time, ModifiedAt: r.ModifiedAt.Time, LastLoginAt: r.LastLoginAt.Time,
		Language: known(r.Language),
	}}
	for _, a := range r.Addresses {
		u.Addresses = append(u.Addresses, a.stored())
	}
	if u.ModifiedAt.IsZero() {
		u.ModifiedAt = u.CreatedAt
	}
	for _, action := range r.RequiredActions {
		if action == "" || action != printable(action) {
			return u, errRecord.Saying("A required action has at most 254 printable characters.")
		}
		u.RequiredActions = append(u.RequiredActions, action)
	}
	if o.Roles {
		for _, name := range r.Roles {
			id, ok := roles[name]
			if !ok {
				return u, errUnknownRole
			}
			u.RoleIDs = append(u.RoleIDs, id)
		}
	}
	return u, u.Check()
}

// known is the tag of a language that the product speaks, else empty: the tenant's.
func known(tag string) string {
	if slices.ContainsFunc(lang.All(), func(l *lang.Language) bool { return l.Tag == tag }) {
		return tag
	}
	return ""
}

func isTrue(b *bool) bool { return b != nil && *b }

// compact drops white space, so that what is stored is what is written out again.
func compact(raw json.RawMessage) json.RawMessage {
	var buf bytes.Buffer
	if len(raw) == 0 || json.Compact(&buf, raw) != nil {
		return raw
	}
	return buf.Bytes()
}

func (r *Record) password(o *Options) (password.Stored, error) {
	if r.PasswordHash == "" || o.NoPasswords {
		return password.Stored{}, nil
	}
	p := password.Stored{Hash: r.PasswordHash, Temporary: r.PasswordTemporary, ChangedAt: r.PasswordChangedAt.Time}
	if r.PasswordAlgorithm != "" {
		var err error
		if p.Hash, err = columnHash(r); err != nil {
			return p, err
		}
	}
	if err := passhash.Check(p.Hash); err != nil {
		return p, errHash.Saying("The password hash can not be used: %v.", err)
	}
	return p, nil
}

// change is what the record says of a user who is there already: only what it
// gives.
func (r *Record) change(u user.Newcomer) user.Change {
	text := func(given, value string) *string {
		if given == "" || value == "" {
			return nil
		}
		return &value
	}
	c := user.Change{
		Username: text(r.Username, u.Username), Email: text(r.Email, u.Email), Phone: text(r.Phone, u.Phone),
		FirstName: text(r.FirstName, u.FirstName), LastName: text(r.LastName, u.LastName),
		EmailVerified: r.EmailVerified, PhoneVerified: r.PhoneVerified, IsActive: r.IsActive,
		Groups: u.Groups, Attributes: u.Attributes, Addresses: u.Addresses,
	}
	if u.RoleIDs != nil {
		c.RoleIDs = &u.RoleIDs
	}
	if u.RequiredActions != nil {
		c.RequiredActions = &u.RequiredActions
	}
	return c
}

// external notes the id that the other product gave the user, for whoever has
// stored it, among the attributes; unless one of them has that name.
func external(attributes map[string]any, id string) {
	if _, taken := attributes["external_id"]; id != "" && !taken {
		attributes["external_id"] = id
	}
}

// object encodes attributes; nil if there are none.
func object(attributes map[string]any) (json.RawMessage, error) {
	if len(attributes) == 0 {
		return nil, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(attributes); err != nil {
		return nil, fmt.Errorf("encode attributes: %w", err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

// splitName makes first and last name of a name in one piece.
func splitName(name string) (first, last string) {
	name = strings.TrimSpace(name)
	if i := strings.LastIndexByte(name, ' '); i >= 0 {
		return strings.TrimSpace(name[:i]), name[i+1:]
	}
	return name, ""
}
