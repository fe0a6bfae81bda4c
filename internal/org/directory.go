package org

import (
	"context"
	"fmt"
	"slices"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
)

// What directories do to many members at once. A thousand users at a time are a good
// measure.

// Join makes a user who was made in the same transaction a member. Unlike AddMember it
// asks nothing, and what it writes travels with the commit: if the organization has gone
// meanwhile, the transaction fails with an error that satisfies
// database.IsMissingParent. The actor needs organizations:write.
func (s *Service) Join(tx *database.Tx, by access.Actor, organization, userID, source string) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	tx.Later(`
		INSERT INTO organization_members (tenant_id, organization_id, user_id, status, source, break_glass, created_at, modified_at)
		VALUES ($1, $2, $3, 'active', $4, FALSE, $5, $5)`, by.Tenant, organization, userID, source, tx.Millis())
	return audit.Append(tx, by, audit.Event{Action: "organization.member_added", Target: Target, TargetID: organization, Method: source, Detail: map[string]any{"user_id": userID}})
}

// SetAutomaticRolesOf is SetAutomaticRoles for several members, who get the same roles;
// whoever is no member is left out. Of many one event tells.
func (s *Service) SetAutomaticRolesOf(ctx context.Context, tx *database.Tx, by access.Actor, organization string, users []string, source string, roleIDs []string) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	if source == "" || len(roleIDs) > maxRoles {
		return ErrRole.Saying("A source has a name, and gives at most %d roles.", maxRoles)
	}
	lost, gained, err := s.replaceAutomatic(ctx, tx, by, organization, users, source, roleIDs)
	changed := append(slices.Clone(lost), gained...)
	if err != nil || len(changed) == 0 {
		return err
	}
	tx.OnCommit(s.forget)
	slices.Sort(changed)
	for part := range slices.Chunk(slices.Compact(changed), 200) {
		e := audit.Event{Action: "organization.member_roles_changed", Target: Target, TargetID: organization, Detail: map[string]any{"user_ids": part, "source": source, "role_ids": roleIDs}}
		if err := audit.Append(tx, by, e); err != nil {
			return err
		}
	}
	for _, user := range lost {
		if err := s.left(ctx, tx, by, organization, user, "roles_changed"); err != nil {
			return err
		}
	}
	return nil
}

// replaceAutomatic gives users the roles of a source and takes its others, and returns
// who has lost and who has gained some, sorted. If nobody were an active owner any more,
// the first of those who were keeps that role until a later change, for rules are written
// elsewhere, where nobody sees that somebody else has to be made an owner first. The
// organization's row is held.
func (s *Service) replaceAutomatic(ctx context.Context, tx *database.Tx, by access.Actor, organization string, users []string, source string, wanted []string) (lost, gained []string, err error) {
	var taken []given
	err = s.keepingOwner(ctx, tx, by.Tenant, organization, func(owner string, before bool) error {
		if taken, err = takeAutomatic(ctx, tx, by.Tenant, organization, users, source, wanted); err != nil {
			return err
		}
		if gained, err = giveAutomatic(ctx, tx, by.Tenant, organization, users, source, wanted); err != nil || !before {
			return err
		}
		if slices.Contains(wanted, owner) {
			return unkeep(ctx, tx, by.Tenant, organization, users, source, owner)
		}
		taken, err = s.keepOne(ctx, tx, by, organization, source, owner, taken)
		return err
	})
	for _, t := range taken {
		lost = append(lost, t.user)
	}
	slices.Sort(lost)
	slices.Sort(gained)
	return slices.Compact(lost), slices.Compact(gained), err
}

// keepOne gives the owner's role back to one of those who have lost it from a source, if
// there is no other owner, and returns what is lost then.
func (s *Service) keepOne(ctx context.Context, tx *database.Tx, by access.Actor, organization, source, owner string, taken []given) ([]given, error) {
	var users []string
	for _, t := range taken {
		if t.role == owner {
			users = append(users, t.user)
		}
	}
	if len(users) == 0 {
		return taken, nil
	}
	if found, err := hasOwner(ctx, tx, by.Tenant, organization, owner); err != nil || found {
		return taken, err
	}
	kept, err := giveBack(ctx, tx, by.Tenant, organization, source, owner, users)
	if err != nil || len(kept) == 0 {
		return taken, err
	}
	known := slices.Contains(taken, given{user: kept[0], role: owner, kept: true})
	taken = slices.DeleteFunc(taken, func(t given) bool { return t.role == owner && t.user == kept[0] })
	if known { // it was told when it was kept first, and every sign-in comes by here
		return taken, nil
	}
	return taken, audit.Append(tx, by, audit.Event{Action: "organization.owner_kept", Target: Target, TargetID: organization,
		Detail: map[string]any{"user_id": kept[0], "source": source}})
}

// takeAutomatic takes the roles of a source that are not among those wanted, and
// returns which.
func takeAutomatic(ctx context.Context, tx *database.Tx, tenant, organization string, users []string, source string, wanted []string) ([]given, error) {
	isRole, roleArg := tx.Among("$4", slices.Concat(wanted, []string{""}))
	isUser, args := tx.AmongMany("user_id", 5, users)
	rows, err := tx.Query(ctx, `
		DELETE FROM organization_member_roles
		WHERE tenant_id = $1 AND organization_id = $2 AND source = $3 AND NOT role_id `+isRole+` AND `+isUser+` RETURNING user_id, role_id, is_kept`,
		append([]any{tenant, organization, source, roleArg}, args...)...)
	return database.Collect(rows, err, "take roles", func(row database.Scanner) (g given, err error) {
		err = row.Scan(&g.user, &g.role, &g.kept)
		return g, err
	})
}

// giveAutomatic returns who did not have all of them.
func giveAutomatic(ctx context.Context, tx *database.Tx, tenant, organization string, users []string, source string, wanted []string) (gained []string, err error) {
	isUser, args := tx.AmongMany("m.user_id", 5, users)
	for _, role := range wanted {
		rows, err := tx.Query(ctx, `
			INSERT INTO organization_member_roles (tenant_id, organization_id, user_id, source, role_id)
			SELECT m.tenant_id, m.organization_id, m.user_id, CAST($3 AS TEXT), CAST($4 AS TEXT) FROM organization_members m
			WHERE m.tenant_id = $1 AND m.organization_id = $2 AND `+isUser+`
			ON CONFLICT DO NOTHING RETURNING user_id`, append([]any{tenant, organization, source, role}, args...)...)
		more, err := database.Collect(rows, err, fmt.Sprintf("give role %s", role), scanUserID)
		if err != nil {
			return nil, err
		}
		gained = append(gained, more...)
	}
	return gained, nil
}

// unkeep notes that a source gives the owner's role itself to those who had only kept it.
func unkeep(ctx context.Context, tx *database.Tx, tenant, organization string, users []string, source, owner string) error {
	isUser, args := tx.AmongMany("user_id", 5, users)
	_, err := tx.Exec(ctx, `
		UPDATE organization_member_roles SET is_kept = FALSE
		WHERE tenant_id = $1 AND organization_id = $2 AND source = $3 AND role_id = $4 AND is_kept AND `+isUser, append([]any{tenant, organization, source, owner}, args...)...)
	if err != nil {
		return fmt.Errorf("note who gives the owner's role: %w", err)
	}
	return nil
}

func scanUserID(row database.Scanner) (id string, err error) {
	err = row.Scan(&id)
	return id, err
}
