package page

import (
	"slices"
	"strings"
)

// An Input is a field of a form as the template "field" shows it.
type Input struct {
	*View
	Name, Kind, Value string
	kind
	Digits int // of a code, 0 for what is none
	focus  bool
	least  int // characters of a new password
}

// A kind is how a browser, a password manager and a phone's keyboard are to treat a
// field.
type kind struct{ Type, Complete, Mode string }

// kinds holds the attributes for each kind of field. The label of a kind is the
// text "field." and the kind.
var kinds = map[string]kind{
	"email":            {"email", "username", "email"},
	"phone":            {"tel", "username", "tel"},
	"email_or_phone":   {"text", "username", ""},
	"any":              {"text", "username", ""},
	"own_email":        {"email", "email", "email"},
	"own_phone":        {"tel", "tel", "tel"},
	"given_name":       {"text", "given-name", ""},
	"family_name":      {"text", "family-name", ""},
	"password":         {"password", "current-password", ""},
	"current_password": {"password", "current-password", ""},
	"new_password":     {"password", "new-password", ""},
	"code":             {"text", "one-time-code", "numeric"},
	"number":           {"text", "off", "numeric"},
	"backup_code":      {"text", "off", ""},
	"app_name":         {"text", "off", ""},
	"user_code":        {"text", "off", ""},
	"passkey_name":     {"text", "off", ""},
	"organization":     {"text", "off", ""},
}

// input is a field of the form that is sent as name.
func input(on shown, name, of, value string) Input {
	return Input{View: on.view(), Name: name, Kind: of, Value: value, kind: kinds[of]}
}

// First marks the field that a person starts with.
func (in Input) First() Input { in.focus = true; return in }

// Autofilled has the browser offer passkeys for the field beside names, if yes (HTML,
// section 4.10.18.7.1).
func (in Input) Autofilled(yes bool) Input {
	if yes {
		in.Complete += " webauthn"
	}
	return in
}

// Focus reports whether typing goes here when the page opens: to what is wrong if
// that is one field, to the first field if nothing is.
func (in Input) Focus() bool {
	if len(in.Errors) == 1 && in.Errors[0].Field != "" {
		return in.Errors[0].Field == in.Name
	}
	return in.focus && len(in.Errors) == 0
}

// Of sets how many digits the code has.
func (in Input) Of(digits int) Input { in.Digits = digits; return in }

// Room is how much may be typed for a code: also the blanks and dashes that come
// with a paste.
func (in Input) Room() int { return 2 * in.Digits }

// Least sets how many characters a new password must have, to tell beforehand.
func (in Input) Least(characters int) Input { in.least = characters; return in }

// Label is what the field is called.
func (in Input) Label() string { return text(in, "field."+in.Kind) }

// Hint is what to know before typing, empty if there is nothing.
func (in Input) Hint() string {
	switch {
	case in.least > 0:
		return text(in, "hint.new_password", "count", in.least)
	case in.Kind == "number":
		return text(in, "hint.number")
	}
	return ""
}

// DescribedBy names the elements that say more about the field.
func (in Input) DescribedBy() string {
	var ids []string
	if wrong(in, in.Name) != "" {
		ids = append(ids, in.Name+"-error")
	}
	if in.Hint() != "" {
		ids = append(ids, in.Name+"-hint")
	}
	return strings.Join(ids, " ")
}

// Secret reports whether what is typed is hidden.
func (in Input) Secret() bool { return in.Type == "password" }

// Optional reports whether the field may stay empty.
func (in Input) Optional() bool { return in.isName() && in.Kind != "organization" }

// Plain reports whether a keyboard must leave what is typed alone.
func (in Input) Plain() bool { return !in.isName() }

func (in Input) isName() bool {
	return in.Kind == "given_name" || in.Kind == "family_name" || in.Kind == "app_name" || in.Kind == "organization"
}

// Latin reports whether what is typed runs from left to right in every language.
func (in Input) Latin() bool { return !in.isName() && !in.Secret() }

// Wide reports whether the characters are set apart, as those of a code are.
func (in Input) Wide() bool { return slices.Contains([]string{"code", "number", "user_code"}, in.Kind) }

// summary are the errors that are told above the form: all of them, unless there
// is but one and it stands beside its field.
func summary(on shown) Errors {
	all := on.view().Errors
	if len(all) == 1 && all[0].Field != "" {
		return nil
	}
	return all
}
