package portal

import (
	"encoding/base64"

	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// readMetadata reads what somebody uploads or pastes.
func (s *Service) readMetadata(raw []byte) (sso.IdP, error) {
	read, err := samlxml.ParseMetadata(raw, samlxml.MetadataRules{Now: s.DB.Now(), AllowInsecure: s.Insecure})
	if err != nil {
		return sso.IdP{}, ErrMetadata.In("metadata").Because("%w", err)
	}
	out := sso.IdP{EntityID: read.EntityID, SSORedirect: read.SSORedirect, SSOPost: read.SSOPost, SLORedirect: read.SLORedirect, SLOPost: read.SLOPost, WantSigned: read.WantSigned, ValidUntil: read.ValidUntil}
	for _, c := range read.Certificates {
		out.Certificates = append(out.Certificates, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return out, nil
}
