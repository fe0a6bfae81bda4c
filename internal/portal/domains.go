package portal

import (
	"context"
	"net/http"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
)

func (s *Service) pageDomains(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, err := s.domainsPage(r.Context(), v, "")
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) domainsPage(ctx context.Context, v *visit, typed string) (*page.PortalDomainsPage, error) {
	found, err := s.Orgs.Domains(ctx, s.DB, v.by.Tenant, v.org.ID)
	p := &page.PortalDomainsPage{PortalView: v.view, Typed: typed, AddAction: v.base + "/domains", VerifyAction: v.base + "/domains/verify", RemoveAction: v.base + "/domains/remove"}
	for _, d := range found {
		p.Domains = append(p.Domains, page.PortalDomain{Name: d.Domain, Record: d.Record(), Value: d.Value(), Verified: d.IsVerified, Since: d.VerifiedAt, Failing: d.IsVerified && d.Failures > 0})
	}
	return p, err
}

func (s *Service) domainsAgain(w http.ResponseWriter, r *http.Request, v *visit, err error, typed string) error {
	return again(w, r, v, err, func() (page.Page, error) { return s.domainsPage(r.Context(), v, typed) })
}

func (s *Service) postDomain(w http.ResponseWriter, r *http.Request, v *visit) error {
	name := r.PostFormValue("domain")
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error {
		_, err := s.Orgs.AddDomain(r.Context(), tx, v.by, v.org.ID, name)
		return err
	})
	if err != nil {
		return s.domainsAgain(w, r, v, err, name)
	}
	return v.to(w, r, "/domains", "")
}

func (s *Service) postVerify(w http.ResponseWriter, r *http.Request, v *visit) error {
	if _, err := s.Orgs.VerifyDomain(r.Context(), v.by, v.org.ID, r.PostFormValue("domain")); err != nil {
		return s.domainsAgain(w, r, v, err, "")
	}
	return v.to(w, r, "/domains", "domain_verified")
}

func (s *Service) postRemove(w http.ResponseWriter, r *http.Request, v *visit) error {
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error {
		return s.Orgs.RemoveDomain(r.Context(), tx, v.by, v.org.ID, r.PostFormValue("domain"))
	})
	if err != nil {
		return s.domainsAgain(w, r, v, err, "")
	}
	return v.to(w, r, "/domains", "portal_saved")
}
