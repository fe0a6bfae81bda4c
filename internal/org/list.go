package org

import (
	"context"

	"github.com/cardea-id/cardea/internal/access"
)

// MaxPage is the most that one page of a list holds.
const MaxPage = 500

// A Page asks for a part of a list.
type Page struct {
	Cursor string // what the page before returned as next
	Limit  int    // 1 to MaxPage
}

// List returns a page of organizations by creation, those whose names or slug contain
// search, in any letter case, and the cursor of the next page, empty on the last. The
// actor needs organizations:read.
func (s *Service) List(ctx context.Context, by access.Actor, search string, p Page) (list []Organization, next string, err error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return nil, "", err
	}
	if len(search) > maxName {
		return nil, "", nil // nobody's name is that long
	}
	place, err := s.place(ctx, by, "organizations", search, p)
	if err != nil {
		return nil, "", err
	}
	if search == "" {
		list, err = listOrganizations(ctx, s.DB, by.Tenant, place, p.Limit+1)
	} else {
		list, err = searchOrganizations(ctx, s.DB, by.Tenant, place, search, p.Limit+1)
	}
	if err != nil || len(list) <= p.Limit {
		return list, "", err
	}
	list = list[:p.Limit]
	next, err = s.cursor(ctx, by, "organizations", search, list[p.Limit-1].ID)
	return list, next, err
}

// Members returns a page of an organization's members by the users' creation, and the
// cursor of the next one. The actor needs organizations:read.
func (s *Service) Members(ctx context.Context, by access.Actor, organization string, p Page) (list []Member, next string, err error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return nil, "", err
	}
	if _, err := s.Find(ctx, s.DB, by.Tenant, organization); err != nil {
		return nil, "", err
	}
	place, err := s.place(ctx, by, "members", organization, p)
	if err != nil {
		return nil, "", err
	}
	list, err = listMembers(ctx, s.DB, by.Tenant, organization, place, p.Limit+1)
	if err != nil || len(list) <= p.Limit {
		return list, "", err
	}
	list = list[:p.Limit]
	next, err = s.cursor(ctx, by, "members", organization, list[p.Limit-1].UserID)
	return list, next, err
}

// cursor names the place after last in a list, for the one who reads it.
func (s *Service) cursor(ctx context.Context, by access.Actor, list, filter, last string) (string, error) {
	box, err := s.Tenants.Box(ctx, by.Tenant)
	if err != nil {
		return "", err
	}
	return box.Cursor(listOf(by, list, filter), last), nil
}

// place is where a page begins: behind the id of its cursor.
func (s *Service) place(ctx context.Context, by access.Actor, list, filter string, p Page) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	box, err := s.Tenants.Box(ctx, by.Tenant)
	if err != nil {
		return "", err
	}
	return box.Place(listOf(by, list, filter), p.Cursor)
}

func listOf(by access.Actor, list, filter string) string {
	return list + "\x00" + by.Name + "\x00" + filter
}
