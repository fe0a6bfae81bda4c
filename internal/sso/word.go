package sso

import (
	"slices"
	"strings"
)

// messages are what a check can be of; what is checked comes behind it.
var messages = []string{"response", "assertion", "logout", "query", "post"}

// words say what a check is about. A name that is longer than one of these is about the
// same.
var words = map[string]string{
	"status": "status", "destination": "destination", "in_response_to": "request", "flow": "request", "target": "target", "confirmation.in_response_to": "request", "issue_instant": "time", "issuer": "issuer",
	"signed": "signature", "signature": "signature", "signature.certificate": "certificate", "certificates": "certificate", "encrypted": "encryption", "encryption": "encryption",
	"subject": "name_id", "name_id": "name_id", "confirmation": "confirmation", "confirmation.recipient": "recipient", "confirmation.not_before": "validity", "confirmation.not_on_or_after": "validity",
	"conditions": "conditions", "conditions.audience": "audience", "conditions.not_before": "validity", "conditions.not_on_or_after": "validity", "audience": "audience",
	"authn": "authn", "auth_time": "authn", "authn.context": "context", "attributes": "attributes",
	"profile.subject": "subject", "no_subject": "subject", "profile.email": "email", "settings": "settings", "metadata": "metadata",
	"discovery": "discovery", "discovery_unreachable": "discovery", "discovery_invalid": "discovery", "discovery_issuer": "discovery",
	"keys": "keys", "keys_unreachable": "keys", "keys_invalid": "keys", "unknown_key": "keys", "answer": "answer", "answer_issuer": "answer",
	"token": "token", "token_unreachable": "token", "token_refused": "token", "token_invalid": "token", "no_id_token": "token",
	"id_token": "id_token", "expired": "id_token", "clock": "id_token", "nonce": "id_token", "userinfo": "userinfo",
}

// WordKey is the key of the text, in package lang, that says what a step is about. The
// form of a message is what every other check of one is about.
func WordKey(step string) string {
	name, isPart := step, false
	if first, rest, ok := strings.Cut(step, "."); ok && slices.Contains(messages, first) {
		name, isPart = rest, true
	}
	for {
		if word, ok := words[name]; ok {
			return "sso.check." + word
		}
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	if isPart || slices.Contains(messages, name) {
		return "sso.check.message"
	}
	return ""
}
