package user

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// Problems of identifiers.
var (
	ErrEmail    = problem.New(problem.Invalid, "invalid_email", "That is not an e-mail address we can send to.")
	ErrPhone    = problem.New(problem.Invalid, "invalid_phone", "A phone number is written in international form, such as +4915112345678.")
	ErrDomain   = problem.New(problem.Invalid, "invalid_domain", "A domain is written as in an e-mail address: example.com.")
	ErrUsername = problem.New(problem.Invalid, "invalid_username", "A username has letters, digits and $ @ ( . ) - * _ [ ] ~ ! & + only, at most 255 bytes.")
)

// ParseEmail returns the one form of an address in which it is stored, compared
// and sent to: trimmed, lower case, the domain in ASCII. The rule is:
//
//   - one @; a local part of at most 64 bytes, a domain with a dot, at most 254
//     bytes in all; no comments, no quoted local parts, no display name, no
//     trailing dot
//   - plus tags and dots count: a mailbox is its provider's business
//   - letters outside ASCII are taken in the local part (RFC 6531), but not such
//     that turn into ASCII letters when folded, as a full-width letter, a Kelvin
//     sign or a dotless i does: they only serve to look like someone else
func ParseEmail(s string) (string, error) {
	s = strings.Trim(s, " ")
	local, domain, ok := strings.Cut(s, "@")
	if !ok || len(s) > 254 || len(local) == 0 || len(local) > 64 || !utf8.ValidString(s) {
		return "", ErrEmail
	}
	local, ok = foldLocal(local)
	if !ok {
		return "", ErrEmail
	}
	domain, ok = foldDomain(domain)
	if !ok || len(local)+1+len(domain) > 254 {
		return "", ErrEmail
	}
	return local + "@" + domain, nil
}

// foldLocal judges the local part: RFC 5321 dot-string over RFC 6531 letters.
func foldLocal(s string) (string, bool) {
	const special = "!#$&'*+-/=?^_`{|}~." // RFC 5322 atext without %, which old relays read as a second @
	if s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return "", false
	}
	ascii := true
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf:
			if !isAlnum(r) && strings.IndexByte(special, byte(r)) < 0 {
				return "", false
			}
		case !isOwnLetter(r):
			return "", false
		default:
			ascii = false
		}
	}
	if ascii {
		return strings.ToLower(s), true
	}
	return fold(s), looksHonest(s)
}

// isOwnLetter reports whether r is a letter, mark or digit that stays itself:
// folding, compatibility forms and upper case do not turn it into ASCII.
func isOwnLetter(r rune) bool {
	if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) {
		return false
	}
	if unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) { // nobody sees them
		return false
	}
	if unicode.ToUpper(r) < utf8.RuneSelf || unicode.ToLower(r) < utf8.RuneSelf {
		return false
	}
	plain := norm.NFKC.String(string(r))
	return plain == norm.NFC.String(string(r)) && strings.IndexFunc(cases.Fold().String(plain), func(r rune) bool { return r < utf8.RuneSelf }) < 0
}

// looksHonest refuses what is made to look like something else: a mark without a
// letter to stand on, and Latin letters among those of a script that has the same
// shapes (Unicode TR 39, section 5.2).
func looksHonest(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	latin := strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Latin, r) })
	alike := strings.ContainsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Lisu)
	})
	return !unicode.IsMark(first) && !(latin && alike)
}

func foldDomain(s string) (string, bool) {
	plain := true
	for i := range len(s) {
		c := rune(s[i])
		plain = plain && (isAlnum(c) || c == '-' || c == '.')
	}
	if plain && !strings.Contains(s, "--") { // what idna would do, without its cost
		s = strings.ToLower(s)
	} else {
		for _, r := range s {
			if r >= utf8.RuneSelf && !isOwnLetter(r) {
				return "", false
			}
		}
		var err error
		if s, err = idna.Lookup.ToASCII(s); err != nil {
			return "", false
		}
	}
	return s, isDomain(s)
}

func isDomain(s string) bool {
	if len(s) > 253 || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if !isAlnum(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

func isAlnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// ParsePhone returns a number in E.164 form. It takes spaces, dots, hyphens and
// brackets between the digits.
func ParsePhone(s string) (string, error) {
	var b strings.Builder
	for i, r := range strings.TrimSpace(s) {
		switch {
		case r >= '0' && r <= '9', r == '+' && i == 0:
			b.WriteRune(r)
		case strings.ContainsRune(" .-()", r):
		default:
			return "", ErrPhone
		}
	}
	n := b.String()
	if len(n) < 9 || len(n) > 16 || n[0] != '+' || n[1] == '0' {
		return "", ErrPhone
	}
	return n, nil
}

// ParseUsername returns a username as it is kept: its letter case stays, its
// Unicode form is NFC.
func ParseUsername(s string) (string, error) {
	const special = "$@(.)-*_[]~!&+"
	s = norm.NFC.String(strings.TrimSpace(s))
	if s == "" || len(s) > 255 || !utf8.ValidString(s) {
		return "", ErrUsername
	}
	for _, r := range s {
		if r < utf8.RuneSelf {
			if !isAlnum(r) && strings.IndexByte(special, byte(r)) < 0 {
				return "", ErrUsername
			}
		} else if !isOwnLetter(r) {
			return "", ErrUsername
		}
	}
	if !looksHonest(s) || secret.IsID(s) { // an id as a name would name two users
		return "", ErrUsername
	}
	return s, nil
}

// fold is the form in which names are compared: NFKC and lower case, by way of upper
// case, so that letters with several lower-case forms have one. Unlike full case
// folding it is stable for every code point.
func fold(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFKC.String(strings.ToLower(strings.ToUpper(norm.NFKC.String(s))))
		}
	}
	return strings.ToLower(s)
}

// loginKey is the canonical form of whatever somebody types to say who they are.
func loginKey(s string) string {
	if email, err := ParseEmail(s); err == nil {
		return email
	}
	if s = strings.TrimSpace(s); strings.HasPrefix(s, "+") {
		if phone, err := ParsePhone(s); err == nil {
			return phone
		}
	}
	return fold(s)
}

// An identifier is one row of user_identifiers. The id is that of a further address.
type identifier struct{ kind, value, id string }

// isSame reports whether x and y are one row, of whatever kind.
func (x identifier) isSame(y identifier) bool { return x.value == y.value }

// identifiers are what u is found by, with further addresses. One that equals the primary
// address, and a username that equals an address, add nothing.
func (u User) identifiers(further ...Address) []identifier {
	var out []identifier
	add := func(kind, value, id string) {
		x := identifier{kind, value, id}
		if value != "" && !slices.ContainsFunc(out, x.isSame) {
			out = append(out, x)
		}
	}
	add(KindEmail, u.Email, "")
	add(KindPhone, u.Phone, "")
	for _, a := range further {
		add(a.Kind, a.Value, a.ID)
	}
	add(KindUsername, loginKey(u.Username), "")
	return out
}

// ParseDomain returns the one form in which the domain of an address is stored and
// compared: lower case, in ASCII, with a dot in it; or ErrDomain.
func ParseDomain(s string) (string, error) {
	domain, ok := foldDomain(strings.TrimSpace(s))
	if !ok {
		return "", ErrDomain
	}
	return domain, nil
}

// DomainOf is the domain of an address that ParseEmail has returned.
func DomainOf(email string) string {
	_, domain, _ := strings.Cut(email, "@")
	return domain
}
