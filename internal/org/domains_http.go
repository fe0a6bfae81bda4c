package org

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

func (s *Service) domainRoutes() []web.Route {
	paths := func(rest string) []string {
		return []string{"/api/v1/organizations/{tenantid}/domains" + rest, "/api/v1/tenants/{tenantid}/domains" + rest}
	}
	return []web.Route{
		{Method: "GET", Paths: paths(""), Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getDomains),
			Doc: web.Doc{Summary: "List an organization's domains", Errors: problems{ErrNotFound}, Example: domainList{[]domainForm{exampleDomain}}}},
		{Method: "POST", Paths: paths(""), Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusCreated, s.postDomain),
			Doc: web.Doc{Summary: "Add a domain", Text: "Publish record as a TXT record with the text value, then verify the domain. Adding it again answers the same.",
				Errors: problems{ErrNotFound, user.ErrDomain, ErrPublicDomain, ErrClaimed, ErrDomainsFull}, Request: exampleDomainWanted, Example: exampleDomain}},
		{Method: "POST", Paths: paths("/{domain}/verify"), Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.postVerify),
			Doc: web.Doc{Summary: "Verify a domain", Text: "Looks for the record now. A proved domain is looked at again each day, and no longer counts when the record was missing for three days.",
				Errors: problems{ErrDomainNotFound, ErrNotFound, ErrNotProved, ErrCheckFailed, ErrClaimed}, Example: exampleVerified()}},
		{Method: "DELETE", Paths: paths("/{domain}"), Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteDomain),
			Doc: web.Doc{Summary: "Remove a domain", Errors: problems{ErrDomainNotFound}, Example: success{true}}},
	}
}

// A domainForm is a domain as the API has it.
type domainForm struct {
	Domain       string     `json:"domain"`
	IsVerified   bool       `json:"is_verified"`
	Record       string     `json:"record" doc:"Name of the TXT record that proves it"`
	Value        string     `json:"value" doc:"Text of the TXT record"`
	VerifiedAt   *time.Time `json:"verified_at" schema:"nullable"`
	CheckedAt    time.Time  `json:"checked_at"`
	FailingSince *time.Time `json:"failing_since" schema:"nullable" doc:"Since when the record of a proved domain is missing"`
	CreatedAt    time.Time  `json:"created_at"`
}

func domainOf(d Domain) domainForm {
	f := domainForm{Domain: d.Domain, IsVerified: d.IsVerified, Record: d.Record(), Value: d.Value(), CheckedAt: d.CheckedAt, CreatedAt: d.CreatedAt}
	if !d.VerifiedAt.IsZero() {
		f.VerifiedAt = &d.VerifiedAt
	}
	if !d.FailingSince.IsZero() {
		f.FailingSince = &d.FailingSince
	}
	return f
}

type domainList struct {
	Domains []domainForm `json:"domains"`
}

func (s *Service) getDomains(ctx context.Context, by access.Actor, in tenantRequest) (domainList, error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return domainList{}, err
	}
	if _, err := s.Find(ctx, s.DB, by.Tenant, in.ID); err != nil {
		return domainList{}, err
	}
	list, err := s.Domains(ctx, s.DB, by.Tenant, in.ID)
	out := domainList{make([]domainForm, len(list))}
	for i, d := range list {
		out.Domains[i] = domainOf(d)
	}
	return out, err
}

type postDomainRequest struct {
	ID     string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	Domain string `json:"domain" schema:"required"`
}

func (s *Service) postDomain(ctx context.Context, by access.Actor, in postDomainRequest) (out domainForm, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		d, err := s.AddDomain(ctx, tx, by, in.ID, in.Domain)
		out = domainOf(d)
		return err
	})
	return out, err
}

type domainRequest struct {
	ID     string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	Domain string `path:"domain"`
}

func (s *Service) postVerify(ctx context.Context, by access.Actor, in domainRequest) (domainForm, error) {
	d, err := s.VerifyDomain(ctx, by, in.ID, in.Domain)
	return domainOf(d), err
}

func (s *Service) deleteDomain(ctx context.Context, by access.Actor, in domainRequest) (success, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.RemoveDomain(ctx, tx, by, in.ID, in.Domain) })
	return success{err == nil}, err
}

// Examples of the API description.
var (
	exampleDomainWanted = json.RawMessage(`{"domain":"acme.example"}`)
	exampleDomain       = domainOf(Domain{Domain: "acme.example", Token: "NB2HI4DTHIXS6ZLYMFWXA3DFCE", CheckedAt: exampleMade, CreatedAt: exampleMade})
)

func exampleVerified() domainForm {
	f := exampleDomain
	f.IsVerified, f.VerifiedAt = true, &exampleMade
	return f
}
