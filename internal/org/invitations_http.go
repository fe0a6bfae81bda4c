package org

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

func (s *Service) invitationRoutes() []web.Route {
	paths := func(rest string) []string {
		return []string{"/api/v1/auth/tenants/{tenantid}/invitations" + rest, "/api/v1/tenants/{tenantid}/invitations" + rest}
	}
	sending := problems{ErrNotFound, ErrInvalid, ErrAddressRefused, ErrRole, ErrInvitationsFull, role.ErrGrant, ratelimit.ErrLimited, notify.ErrNoChannel, notify.ErrRecipient}
	return []web.Route{
		{Method: "GET", Paths: paths(""), Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getInvitations),
			Doc: web.Doc{Summary: "List invitations", Text: "By creation, also those that are over.", Errors: problems{ErrNotFound, secret.ErrCursor}, Example: invitationList{100, nil, []invitationForm{exampleInvitation}}}},
		{Method: "POST", Paths: paths(""), Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusCreated, s.postInvitation),
			Doc: web.Doc{Summary: "Invite somebody", Text: "Mails a link that works once, for a week, and takes back the one that was sent to the address before. Whoever invites must be able to give the roles, now and when the invitation is accepted.",
				Errors: append(problems{user.ErrEmail}, sending...), Request: exampleInvite, Example: exampleInvitation}},
		{Method: "GET", Paths: paths("/{inviteId}"), Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getInvitation),
			Doc: web.Doc{Summary: "Get an invitation", Errors: problems{ErrInvitationNotFound}, Example: exampleInvitation}},
		{Method: "PATCH", Paths: paths("/{inviteId}"), Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.patchInvitation),
			Doc: web.Doc{Summary: "Change an invitation's roles", Errors: problems{ErrNotFound, ErrInvitationNotFound, ErrSpent, ErrRole, role.ErrGrant}, Request: exampleMemberRoles, Example: exampleInvitation}},
		{Method: "DELETE", Paths: paths("/{inviteId}"), Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteInvitation),
			Doc: web.Doc{Summary: "Revoke an invitation", Errors: problems{ErrNotFound, ErrInvitationNotFound, ErrSpent}, Example: success{true}}},
		{Method: "POST", Paths: paths("/{inviteId}/resend"), Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.postResend),
			Doc: web.Doc{Summary: "Send an invitation again", Text: "With a new link that lasts a week; the old one stops working.",
				Errors: append(problems{ErrInvitationNotFound, ErrSpent}, sending...), Example: exampleInvitation}},
	}
}

// An invitationForm is an invitation as the API has it. The link is in the mail only.
type invitationForm struct {
	ID         string     `json:"id"`
	TenantID   string     `json:"tenant_id" doc:"The organization"`
	Email      string     `json:"email"`
	RoleIDs    []string   `json:"role_ids"`
	Status     string     `json:"status" doc:"pending, accepted, expired or revoked"`
	Inviter    string     `json:"invited_by"`
	SentAt     time.Time  `json:"sent_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	AcceptedAt *time.Time `json:"accepted_at" schema:"nullable"`
	AcceptedBy string     `json:"accepted_by" doc:"Id of the user, empty before"`
	CreatedAt  time.Time  `json:"created_at"`
}

func invitationOf(i Invitation, now time.Time) invitationForm {
	f := invitationForm{i.ID, i.OrganizationID, i.Email, orEmpty(i.RoleIDs), i.Status(now), i.Inviter, i.SentAt, i.ExpiresAt, nil, i.AcceptedBy, i.CreatedAt}
	if !i.AcceptedAt.IsZero() {
		f.AcceptedAt = &i.AcceptedAt
	}
	return f
}

type invitationList struct {
	Limit       int              `json:"limit"`
	Next        *string          `json:"next_cursor" schema:"nullable" doc:"null on the last page"`
	Invitations []invitationForm `json:"invitations"`
}

func (s *Service) getInvitations(ctx context.Context, by access.Actor, in getMembersRequest) (invitationList, error) {
	p, err := pageOf(in.Limit, in.Cursor)
	if err != nil {
		return invitationList{}, err
	}
	list, next, err := s.Invitations(ctx, by, in.ID, p)
	out := invitationList{p.Limit, cursorOf(next), make([]invitationForm, len(list))}
	for i, each := range list {
		out.Invitations[i] = invitationOf(each, s.DB.Now())
	}
	return out, err
}

type postInvitationRequest struct {
	ID       string   `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	Email    string   `json:"email" schema:"required"`
	RoleIDs  []string `json:"role_ids" doc:"Roles the member will have"`
	Language string   `json:"language" doc:"Of the mail, such as de; the tenant's if absent"`
}

func (s *Service) postInvitation(ctx context.Context, by access.Actor, in postInvitationRequest) (out invitationForm, err error) {
	look, err := s.Look(ctx, by.Tenant)
	if err != nil {
		return invitationForm{}, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		i, err := s.Invite(ctx, tx, by, look, Invitation{OrganizationID: in.ID, Email: in.Email, RoleIDs: in.RoleIDs, Language: in.Language})
		out = invitationOf(i, tx.Now)
		return err
	})
	return out, err
}

type invitationRequest struct {
	ID       string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	InviteID string `path:"inviteId" doc:"Id of the invitation, 24 hex digits"`
}

func (s *Service) getInvitation(ctx context.Context, by access.Actor, in invitationRequest) (invitationForm, error) {
	i, err := s.FindInvitation(ctx, s.DB, by, in.ID, in.InviteID)
	return invitationOf(i, s.DB.Now()), err
}

type patchInvitationRequest struct {
	ID       string   `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	InviteID string   `path:"inviteId" doc:"Id of the invitation, 24 hex digits"`
	RoleIDs  []string `json:"role_ids" schema:"required"`
}

func (s *Service) patchInvitation(ctx context.Context, by access.Actor, in patchInvitationRequest) (out invitationForm, err error) {
	if in.RoleIDs == nil {
		return invitationForm{}, web.ErrBody.Saying("role_ids is required.").In("role_ids")
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		i, err := s.SetInvitationRoles(ctx, tx, by, in.ID, in.InviteID, in.RoleIDs)
		out = invitationOf(i, tx.Now)
		return err
	})
	return out, err
}

func (s *Service) deleteInvitation(ctx context.Context, by access.Actor, in invitationRequest) (success, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Revoke(ctx, tx, by, in.ID, in.InviteID) })
	return success{err == nil}, err
}

func (s *Service) postResend(ctx context.Context, by access.Actor, in invitationRequest) (out invitationForm, err error) {
	look, err := s.Look(ctx, by.Tenant)
	if err != nil {
		return invitationForm{}, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		i, err := s.Resend(ctx, tx, by, look, in.ID, in.InviteID)
		out = invitationOf(i, tx.Now)
		return err
	})
	return out, err
}

// Examples of the API description.
var (
	exampleInvite     = json.RawMessage(`{"email":"user@example.com","role_ids":["` + exampleRole + `"]}`)
	exampleInvitation = invitationOf(Invitation{
		ID: "6694c201565dfee5166d1cd1", OrganizationID: exampleOrganization.ID, Email: "user@example.com", RoleIDs: []string{exampleRole}, Inviter: "key:6694c133565dfee5166d1cc2",
		SentAt: exampleMade, ExpiresAt: exampleMade.Add(InvitationLife), CreatedAt: exampleMade,
	}, exampleMade)
)
