package sso

import (
	"regexp"
	"strings"

	"github.com/cardea-id/cardea/internal/lang"
)

// spoken are the sentences of ours that steps have as what was expected and received, with
// the key of the same in package lang. The API has them in English; programs and people
// who read them there read that. Everything else in a step is a value, which has no
// language.
var spoken = map[string]string{
	"none": "said.none", "several": "said.several", "none, or several": "said.several", "none, or too many": "said.several",
	"elsewhere": "said.elsewhere", "one elsewhere": "said.elsewhere", "another one": "said.another", "no request": "said.no_request",
	"a plain one": "said.plain", "not decrypted": "said.undecrypted", "one that does not verify": "said.unverified", "verified": "said.verified", "any": "said.any",
	"a moment": "said.moment", "an ID": "said.id",
	"a signature": "said.signature", "one signature": "said.signature", "a signature by a certificate of the connection": "said.by_certificate", "a certificate of the connection": "said.certificate",
	"an answer to a request": "said.answer", "the answer to a request of ours that is under way": "said.answer", "nothing, or a request that is under way": "said.answer",
	"one assertion": "said.assertion", "an Assertion": "said.assertion",
	"the assertion directly under the response": "said.place", "the assertion under the signature": "said.place", "signatures directly under what they sign": "said.place",
	"an encrypted assertion": "said.encrypted", "encrypted for one of our keys": "said.our_key", "plain, well-formed XML": "said.xml",
	"a NameID": "said.name_id", "one NameID or EncryptedID": "said.name_id", "a NameID that stays the same": "said.same",
	"who it is, in at most 255 bytes": "said.who", "one e-mail address": "said.email", "an address that the application has registered": "said.target",
	"all that the connection needs": "said.settings", "a value that is not set": "said.unset",
	"keys for signatures": "said.keys", "a key that the provider publishes": "said.keys", "a code": "said.code", "neither code nor error": "said.no_code",
	"tokens": "said.tokens", "tokens for the code": "said.tokens", "claims of the same subject": "said.same_subject", "the subject of the ID token": "said.same_subject",
	"another subject": "said.other_subject", "the session there has ended": "said.session", "of the last 24 hours": "said.day", "of the last five minutes": "said.minutes",
}

// spokenOf are those that end in a value; a longer beginning stands first.
var spokenOf = []struct{ begin, key string }{
	{"at most ", "said.size"}, {"not after ", "said.not_after"}, {"not before the request at ", "said.not_before_request"}, {"not before ", "said.not_before"}, {"after ", "said.after"},
	{"valid at ", "said.valid_at"}, {"one that is valid after ", "said.valid_after"}, {"the metadata of ", "said.metadata"}, {"the document of ", "said.document"},
}

// missing is what a check says of a setting.
var missing = regexp.MustCompile(`^([a-z_.]+) is missing$`)

// Say is what a step says was expected or received in another language. Values stay as
// they are.
func Say(words *lang.Language, text string) string {
	if key, ok := spoken[text]; ok {
		return words.Text(key)
	}
	for _, s := range spokenOf {
		if value, ok := strings.CutPrefix(text, s.begin); ok {
			return words.Text(s.key, "value", value)
		}
	}
	if field := missing.FindStringSubmatch(text); field != nil {
		return words.Text("said.missing", "value", field[1])
	}
	return text
}
