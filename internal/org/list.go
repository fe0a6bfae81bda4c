package org

import (
	"context"
	"crypto/hmac"
	"encoding/base64"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// MaxPage is the most that one page of a list holds.
const MaxPage = 500

// ErrCursor refuses a cursor that was not made for the list it comes with.
var ErrCursor = problem.New(problem.Invalid, "invalid_cursor", "The cursor is not one of ours, or belongs to another list.")

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

// cursor names the place after last in a list. It is signed under the tenant's key
// together with the list, its filter and whoever reads it, so that it can neither be
// altered nor carried elsewhere.
func (s *Service) cursor(ctx context.Context, by access.Actor, list, filter, last string) (string, error) {
	mac, err := s.cursorMAC(ctx, by, list, filter, last)
	return base64.RawURLEncoding.EncodeToString(append(mac, last...)), err
}

// place is where a page begins: behind the id of its cursor.
func (s *Service) place(ctx context.Context, by access.Actor, list, filter string, p Page) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	const macLength = 16
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(raw) <= macLength || !secret.IsID(string(raw[macLength:])) {
		return "", ErrCursor
	}
	place := string(raw[macLength:])
	mac, err := s.cursorMAC(ctx, by, list, filter, place)
	if err != nil {
		return "", err
	}
	if !hmac.Equal(raw[:macLength], mac) {
		return "", ErrCursor
	}
	return place, nil
}

func (s *Service) cursorMAC(ctx context.Context, by access.Actor, list, filter, place string) ([]byte, error) {
	box, err := s.Tenants.Box(ctx, by.Tenant)
	if err != nil {
		return nil, err
	}
	return secret.MAC(box.Derive("organization list cursor"), list+"\x00"+by.Name+"\x00"+filter+"\x00"+place), nil
}
