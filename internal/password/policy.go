package password

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret/passhash"
)

// The shortest passwords, in characters (NIST SP 800-63B-4, section 3.1.1.2).
const (
	MinAlone            = 15 // where the password is all it takes to sign in
	MinWithSecondFactor = 8
)

// What may be wrong with a new password. ErrTooShort also covers text that is not
// UTF-8; passwords over 1,024 bytes are passhash.ErrPasswordTooLong.
var (
	ErrTooShort = problem.New(problem.Invalid, "invalid_password", "The password is too short.").In("password")
	ErrCommon   = problem.New(problem.Invalid, "password_too_common", "This password is too easy to guess: it is mostly a common password, a sequence or a repetition. Several unrelated words make a good one.").In("password")
	ErrPersonal = problem.New(problem.Invalid, "password_too_personal", "This password is too easy to guess: it is mostly your name, your address or the name of this service. Several unrelated words make a good one.").In("password")
	ErrBreached = problem.New(problem.Invalid, "password_breached", "This password is in a public list of stolen passwords, so others will try it. Please choose another one.").In("password")
)

// Problems are what Check can return, for descriptions of an API.
var Problems = []*problem.Problem{ErrTooShort, passhash.ErrPasswordTooLong, ErrCommon, ErrPersonal, ErrBreached}

// A Policy is what a new password must meet.
type Policy struct {
	// MinLength counts characters: code points of Unicode form NFC. MinAlone if zero.
	MinLength int
	// Context is what somebody who knows the user or the service would try first:
	// e-mail address, names, username, the names of tenant and application. Each may
	// have several words; words of less than three characters do not count.
	Context []string
	// Breached, if any, is a list of stolen passwords.
	Breached *List
}

// Check judges a new password before it is hashed; its error says why. There are no
// rules of composition: every character of Unicode may stand in a password, spaces
// too, and all of it counts. It belongs wherever a password is chosen, and where an
// imported one is first used, since the other system may not have asked.
func Check(password string, p Policy) error {
	if len(password) > passhash.MaxPasswordBytes {
		return passhash.ErrPasswordTooLong.In("password")
	}
	// JSON and forms treat broken bytes differently: it would not be one password.
	if !utf8.ValidString(password) {
		return ErrTooShort.Saying("A password is text in UTF-8.")
	}
	password = norm.NFC.String(password)
	least := p.MinLength
	if least == 0 {
		least = MinAlone
	}
	if utf8.RuneCountInString(password) < least {
		return ErrTooShort.Saying("A password has at least %d characters. Several unrelated words make a good one.", least)
	}
	switch worth, personal := judge(password, p.words()); {
	case worth < enough && personal:
		return ErrPersonal
	case worth < enough:
		return ErrCommon
	case p.Breached.has(password):
		return ErrBreached
	}
	return nil
}

// words are the words of the context, spelled as judge compares them.
func (p Policy) words() (words []string) {
	for _, text := range p.Context {
		for _, word := range strings.FieldsFunc(fold(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }) {
			if utf8.RuneCountInString(word) >= 3 {
				words = append(words, plain.Replace(word))
			}
		}
	}
	return words
}

func fold(s string) string { return strings.ToLower(norm.NFKC.String(s)) }
