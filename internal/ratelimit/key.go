package ratelimit

import (
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Key returns the key under which attempts on identifier (a username, an e-mail
// address, a phone number, an id) from the network address ip count together.
// Either may be empty. It maps what reaches the same account or comes from the same
// connection to one key; that two people share one now and then does no harm.
func Key(identifier, ip string) string { return foldIdentifier(identifier) + " " + foldAddress(ip) }

// foldIdentifier drops the differences that a look-up of accounts may overlook:
// case, width, spaces, invisible characters, and what follows a plus in the local
// part of an e-mail address, which many providers deliver to the same person.
func foldIdentifier(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, norm.NFKC.String(s))
	// Folding can undo the normal form and the other way round.
	s = norm.NFKC.String(cases.Fold().String(s))
	if at := strings.LastIndexByte(s, '@'); at > 0 {
		if plus := strings.IndexByte(s[:at], '+'); plus > 0 {
			s = s[:plus] + s[at:]
		}
	}
	return s
}

// foldAddress gives an IPv4 address one form, and all IPv6 addresses of one network
// of 64 bits, which is the least that a connection gets.
func foldAddress(s string) string {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return strings.ToLower(strings.TrimSpace(s))
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	return netip.PrefixFrom(a, 64).Masked().String()
}
