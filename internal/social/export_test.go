package social

import "encoding/json"

// Play has a provider of the table answer at another address.
func (s *Service) Play(kind, issuer, base string) {
	p := providers[kind]
	if issuer != "" {
		p.issuer = issuer
	}
	if p.auth != "" {
		p.auth, p.token, p.userinfo = base+"/authorize", base+"/token", base+"/userinfo"
	}
	if p.emails != "" {
		p.emails = base + "/emails"
	}
	if s.replaced == nil {
		s.replaced = map[string]provider{}
	}
	s.replaced[kind] = p
}

// ProfileOf reads what a provider says as a connection would.
func ProfileOf(kind string, o Settings, said string) (Profile, error) {
	c := Connection{ID: "c", Provider: kind, Settings: o}
	in, err := parseClaims(json.RawMessage(said))
	if err != nil {
		return Profile{}, err
	}
	return providers[kind].of(c).profile(c, in)
}

// Trusts is what identities are compared by.
func (s *Service) Trusts(c Connection) []byte { return s.trusts(c) }
