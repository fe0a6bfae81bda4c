package outbound

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// closed are the networks of IPv4 that are not the public internet: the special
// purpose registry of IANA (RFC 6890), multicast, and the address at which Azure
// answers its machines.
var closed = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"168.63.129.16/32",
)

// Of IPv6 only what IANA has given out for the internet is open, less what it has
// given out within for other purposes, tunnels among them, which carry an IPv4
// address past any list: Teredo (2001::/32), 6to4 (2002::/16). Loopback, private,
// link-local, multicast, IPv4-mapped, NAT64 (64:ff9b::/96) and the metadata at
// fd00:ec2::254 are all outside of 2000::/3.
var (
	open6   = netip.MustParsePrefix("2000::/3")
	closed6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// isPublic reports whether an address is on the public internet.
func isPublic(a netip.Addr) bool {
	if a.Is4() {
		return !within(closed, a)
	}
	return a.Zone() == "" && open6.Contains(a) && !within(closed6, a)
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// maxURL is the longest address that is looked at, in bytes.
const maxURL = 2048

// Parse reads an address that somebody has given us and returns ErrAddress if Do
// would refuse it whatever its name resolves to. Say so when the address is set:
// the answer tells nothing but what stands in it.
func (c *Client) Parse(address string) (*url.URL, error) {
	if len(address) > maxURL {
		return nil, ErrAddress.Saying("The address is longer than %d characters.", maxURL)
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, ErrAddress.Because("unreadable") // the error repeats it
	}
	if err := c.check(u); err != nil {
		return nil, err
	}
	return u, nil
}

// check judges what can be judged without asking the name server.
func (c *Client) check(u *url.URL) error {
	switch {
	case u.Scheme == "http" && !c.AllowHTTP:
		return ErrAddress.Saying("The address must start with https://.")
	case u.Scheme != "https" && u.Scheme != "http", u.Opaque != "", u.Host == "":
		return ErrAddress
	case u.User != nil:
		return ErrAddress.Saying("The address must not hold a user name or password.")
	case !c.allowsPort(u):
		return ErrAddress.Saying("The address names a port that is not allowed.")
	}
	return c.checkHost(u.Hostname())
}

func (c *Client) allowsPort(u *url.URL) bool {
	switch port := u.Port(); {
	case strings.HasSuffix(u.Host, ":"): // Go takes it for no port, others may not
		return false
	case c.AnyPort, port == "443", port == "8443":
		return true
	case port == "":
		return true // 443, or 80 where http is allowed
	case port == "80":
		return c.AllowHTTP
	default:
		return slices.Contains(c.Ports, port)
	}
}

// checkHost judges a host by how it is written. Parsers differ on numbers in
// octal, in hex, or with parts left out, and on trailing dots and letters that
// look like others: all of that is refused, so that nobody after us can read
// another host in it.
func (c *Client) checkHost(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Is4In6() || !c.allows(host, a) {
			return ErrAddress.Saying("The address is not on the public internet.")
		}
		return nil
	}
	labels := strings.Split(host, ".")
	if len(host) > 253 || slices.ContainsFunc(labels, isNoLabel) {
		return ErrAddress.Saying("The host of the address is not a name; write one with other letters as xn--….")
	}
	if isNumber(labels[len(labels)-1]) {
		return ErrAddress.Saying("The host of the address is a number; write an IPv4 address as four numbers from 0 to 255.")
	}
	return nil
}

func isNoLabel(label string) bool {
	return label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// isNumber reports whether some parser would take the last part of a host for a
// number, and so the host for an IPv4 address.
func isNumber(label string) bool {
	label = strings.ToLower(label)
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// allows reports whether host may be reached at an address: it is public, or the
// operator's list has one of them.
func (c *Client) allows(host string, a netip.Addr) bool { return isPublic(a) || c.isListed(host, a) }

func (c *Client) isListed(host string, a netip.Addr) bool {
	return within(c.Allow, a) || slices.Contains(c.AllowHosts, strings.ToLower(host))
}
