package scim

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/user"
)

// read fills the columns of a person from the resource, or says what it lacks.
func (p *person) read(d doc) error {
	p.doc, p.UserName, p.ExternalID = d, stringAt(d, "userName"), stringAt(d, "externalId")
	if p.UserName = strings.TrimSpace(p.UserName); p.UserName == "" {
		return errValue.Saying("userName is required.")
	}
	if len(p.UserName) > 320 || len(p.ExternalID) > 1024 {
		return errValue.Saying("userName has at most 320 bytes, externalId at most 1024.")
	}
	d["userName"] = p.UserName
	active, ok := d["active"].(bool)
	if p.isActive = active || !ok; !ok {
		d["active"] = true
	}
	p.display = cmp.Or(stringAt(d, "displayName"), stringAt(d, "name", "formatted"), strings.TrimSpace(stringAt(d, "name", "givenName")+" "+stringAt(d, "name", "familyName")), p.UserName)
	return nil
}

// proverOf is org.ProverOf of an address; outside of a transaction at most a second old.
func (s *Service) proverOf(ctx context.Context, db database.Reader, by access.Actor, email string) (string, error) {
	_, domain, found := strings.Cut(email, "@")
	if !found {
		return "", nil
	}
	ask := func() (string, error) { return s.Orgs.ProverOf(ctx, db, by.Tenant, email) }
	if db != database.Reader(s.DB) {
		return ask()
	}
	return s.provers.Get(s.DB.Now(), by.Tenant+fold(domain), ask)
}

// proves reports whether the directory's organization has proved the domain of an address.
func (s *Service) proves(ctx context.Context, db database.Reader, by access.Actor, c caller, email string) (bool, error) {
	prover, err := s.proverOf(ctx, db, by, email)
	return prover == c.OrganizationID, err
}

// mayUse refuses an address of a domain that another organization has proved: who owns it
// says who has addresses there.
func (s *Service) mayUse(ctx context.Context, db database.Reader, by access.Actor, c caller, email string) error {
	prover, err := s.proverOf(ctx, db, by, email)
	if err == nil && prover != "" && prover != c.OrganizationID {
		err = errTaken.Saying("The address is of a domain that another organization has proved.")
	}
	return err
}

// account is the account that a resource describes. People sign in with the address;
// a userName is a way in only where it is an address of the organization, for a short name
// means somebody else in every organization. Where there is no address the account has a
// name with the organization's behind it, which is nobody's elsewhere.
func (s *Service) account(ctx context.Context, db database.Reader, by access.Actor, c caller, d doc) (u user.User, err error) {
	name := stringAt(d, "userName")
	for _, candidate := range append(emailsOf(d), name) {
		if u.Email, err = user.ParseEmail(candidate); err == nil {
			break
		}
	}
	if u.EmailVerified, err = s.proves(ctx, db, by, c, u.Email); err != nil {
		return u, err
	}
	if email, err := user.ParseEmail(name); err == nil && email != u.Email {
		proved, err := s.proves(ctx, db, by, c, email)
		if err != nil {
			return u, err
		}
		if proved {
			u.Username = name
		}
	}
	if u.Email == "" {
		u.Username = name + "@" + c.slug
	}
	u.FirstName, u.LastName, u.IsActive = stringAt(d, "name", "givenName"), stringAt(d, "name", "familyName"), d["active"] != false
	return u, u.Check()
}

// createUser makes an account, or takes one that is the organization's, and makes it a
// member.
func (s *Service) createUser(ctx context.Context, by access.Actor, c caller, d doc) (p person, err error) {
	if err := p.read(d); err != nil {
		return p, err
	}
	u, err := s.account(ctx, s.DB, by, c, d)
	if err == nil {
		err = s.mayUse(ctx, s.DB, by, c, u.Email)
	}
	if err != nil {
		return p, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		made, err := s.Users.Create(ctx, tx, by, u)
		if err != nil {
			return err
		}
		p.ID, p.made, p.disabled, p.version, p.createdAt, p.modifiedAt = made.ID, true, !p.isActive, 1, tx.Now, tx.Now
		if err := s.Orgs.Join(tx, by, c.OrganizationID, p.ID, org.SourceSCIM); err != nil {
			return err
		}
		if err := insertPerson(tx, by.Tenant, c.ID, p); err != nil {
			return err
		}
		if !p.isActive {
			if err := s.Orgs.Suspend(ctx, tx, by, c.OrganizationID, p.ID, "directory"); err != nil {
				return err
			}
		}
		return s.note(tx, by, c, "user.provisioned", p.ID, "created")
	})
	switch {
	case errors.Is(err, user.ErrExists):
		return s.adopt(ctx, by, c, p, u)
	case database.IsDuplicate(err):
		return p, errTaken
	case database.IsMissingParent(err):
		return p, errToken.Because("the directory or its organization has gone")
	}
	return p, err
}

// note writes the event of a change to a user.
func (s *Service) note(tx *database.Tx, by access.Actor, c caller, action, userID, how string) error {
	return audit.Append(tx, by, audit.Event{Action: action, Target: target, TargetID: c.OrganizationID, Method: "scim", Reason: how,
		Detail: map[string]any{"directory": c.ID, "user_id": userID}})
}

// adopt takes an account that exists. It is the directory's if the directory made it,
// or if its address is of a domain that the organization has proved and the user is a
// member already; for everybody else the address is simply taken.
func (s *Service) adopt(ctx context.Context, by access.Actor, c caller, p person, u user.User) (person, error) {
	proved, err := s.proves(ctx, s.DB, by, c, u.Email)
	if err != nil {
		return p, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		found, err := s.Users.Match(ctx, tx, by, cmp.Or(u.Email, u.Username))
		if errors.Is(err, user.ErrNotFound) || err == nil && found.Is() && !found.IsPrimary() && !found.IsProved() {
			return errTaken
		}
		if err != nil {
			return err
		}
		owner := found.User
		old, err := holdPerson(ctx, tx, by.Tenant, c.ID, owner.ID)
		switch {
		case err == nil && !old.isDeleted:
			return errTaken
		case err == nil:
			if err := s.mayReturn(ctx, tx, by, c, owner, proved); err != nil {
				return err
			}
		case errors.Is(err, errNoResource):
			if err := s.mayAdopt(ctx, tx, by, c, owner, proved); err != nil {
				return err
			}
		default:
			return err
		}
		return s.take(ctx, tx, by, c, owner, old, &p)
	})
	if database.IsDuplicate(err) {
		err = errTaken
	}
	return p, err
}

// mayReturn refuses an account that the directory made and let go, if others trust it
// now.
func (s *Service) mayReturn(ctx context.Context, tx *database.Tx, by access.Actor, c caller, owner user.User, proved bool) error {
	if proved {
		return nil
	}
	elsewhere, err := s.isElsewhere(ctx, tx, by, c, owner)
	if err == nil && elsewhere {
		err = errTaken.Because("user %s is trusted by others", owner.ID)
	}
	return err
}

func (s *Service) mayAdopt(ctx context.Context, tx *database.Tx, by access.Actor, c caller, owner user.User, proved bool) error {
	if !proved {
		return errTaken.Because("user %s has an address that the organization has not proved", owner.ID)
	}
	_, err := s.Orgs.Member(ctx, tx, by.Tenant, c.OrganizationID, owner.ID)
	if errors.Is(err, org.ErrMemberNotFound) {
		return errTaken.Because("user %s is no member", owner.ID)
	}
	return err
}

// take makes an account that exists the directory's. p has what the directory says of
// it, and old what it has said before.
func (s *Service) take(ctx context.Context, tx *database.Tx, by access.Actor, c caller, owner user.User, old person, p *person) error {
	p.ID, p.version, p.createdAt, p.modifiedAt, p.made, p.disabled = owner.ID, old.version+1, tx.Now, tx.Now, old.made, old.disabled
	_, err := s.Orgs.AddMember(ctx, tx, by, c.OrganizationID, owner.ID, nil, org.SourceSCIM)
	if err != nil {
		return err
	}
	if p.isActive {
		err = s.reactivate(ctx, tx, by, c, p)
	} else {
		err = s.deactivate(ctx, tx, by, c, p, "deactivated")
	}
	if err != nil {
		return err
	}
	if old.ID == "" {
		if err := insertPerson(tx, by.Tenant, c.ID, *p); err != nil {
			return err
		}
		return s.note(tx, by, c, "user.provisioned", p.ID, "adopted")
	}
	p.createdAt = old.createdAt
	if err := updatePerson(tx, by.Tenant, c.ID, old, *p); err != nil {
		return err
	}
	return s.note(tx, by, c, "user.provisioned", p.ID, "returned")
}

// isElsewhere reports whether the account is of weight to others than the directory's
// organization: it has roles in the tenant, somebody has shown that its address is theirs
// and the organization has not shown that it is its own, or it is an active member of
// another organization. Who made the account does not matter then.
func (s *Service) isElsewhere(ctx context.Context, tx *database.Tx, by access.Actor, c caller, u user.User) (bool, error) {
	if len(u.RoleIDs) > 0 {
		return true, nil
	}
	if u.EmailVerified {
		own, err := s.proves(ctx, tx, by, c, u.Email)
		if err != nil || !own {
			return true, err
		}
	}
	all, err := s.Orgs.Memberships(ctx, tx, by.Tenant, u.ID)
	return slices.ContainsFunc(all, func(m org.Membership) bool {
		return m.Member.OrganizationID != c.OrganizationID && m.Member.Status == org.Active
	}), err
}

// changeUser changes a user by a function of what the directory has said so far. match
// is the version that the change is meant for, empty for any. The row is held from the
// first statement on, so that of two changes at once none is lost.
func (s *Service) changeUser(ctx context.Context, by access.Actor, c caller, id, match string, change func(doc) (doc, error)) (p person, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		held, err := holdPerson(ctx, tx, by.Tenant, c.ID, id)
		switch {
		case err != nil:
			return err
		case held.isDeleted:
			return errNoResource
		case !matches(match, held.version):
			return errVersion
		}
		next := held
		if next.doc, err = change(clone(held.doc)); err != nil {
			return err
		}
		if _, said := next.doc["active"]; !said { // silence lets nobody in again
			next.doc["active"] = held.isActive
		}
		if err := next.read(next.doc); err != nil {
			return err
		}
		if p = held; reflect.DeepEqual(held.doc, next.doc) {
			return nil
		}
		p, err = s.save(ctx, tx, by, c, held, next)
		return err
	})
	if errors.Is(err, user.ErrExists) || database.IsDuplicate(err) {
		err = errTaken
	}
	return p, err
}

func clone(d doc) doc {
	out, err := decodeObject(encode(d))
	if err != nil {
		panic(err) // it was JSON before
	}
	return out
}

// save writes what has become of a user.
func (s *Service) save(ctx context.Context, tx *database.Tx, by access.Actor, c caller, held, next person) (person, error) {
	next.version, next.modifiedAt = held.version+1, tx.Now
	err := s.follow(ctx, tx, by, c, held, next)
	if err != nil {
		return next, err
	}
	switch {
	case held.isActive && !next.isActive:
		if err = s.deactivate(ctx, tx, by, c, &next, "deactivated"); err == nil {
			err = s.note(tx, by, c, "user.deprovisioned", next.ID, "deactivated")
		}
	case !held.isActive && next.isActive:
		if err = s.reactivate(ctx, tx, by, c, &next); err == nil {
			err = s.note(tx, by, c, "user.provisioned", next.ID, "reactivated")
		}
	}
	if err != nil {
		return next, err
	}
	return next, updatePerson(tx, by.Tenant, c.ID, held, next)
}

// follow brings the account after what has changed of the resource. What somebody has
// changed here stays as long as the directory says the same as before.
func (s *Service) follow(ctx context.Context, tx *database.Tx, by access.Actor, c caller, held, p person) error {
	if held.UserName == p.UserName && reflect.DeepEqual(held.doc["name"], p.doc["name"]) && reflect.DeepEqual(held.doc["emails"], p.doc["emails"]) {
		return nil
	}
	before, err := s.account(ctx, tx, by, c, held.doc)
	if err != nil {
		return err
	}
	after, err := s.account(ctx, tx, by, c, p.doc)
	if err != nil {
		return err
	}
	var ch user.Change
	differs := func(a, b string) *string {
		if a == b {
			return nil
		}
		return &b
	}
	ch.FirstName, ch.LastName = differs(before.FirstName, after.FirstName), differs(before.LastName, after.LastName)
	ch.Email, ch.Username = differs(before.Email, after.Email), differs(before.Username, after.Username)
	if ch.FirstName == nil && ch.LastName == nil && ch.Email == nil && ch.Username == nil {
		return nil
	}
	if ch.Email != nil || ch.Username != nil {
		if err := s.mayMove(ctx, tx, by, c, p, before, after, &ch); err != nil {
			return err
		}
	}
	_, err = s.Users.Update(ctx, tx, by, p.ID, ch)
	return err
}

// mayMove refuses to change what an account is found by, unless it is the directory's
// alone, or the organization has proved the old and the new address: what the directory
// has said before, and what the account has by now.
func (s *Service) mayMove(ctx context.Context, tx *database.Tx, by access.Actor, c caller, p person, before, after user.User, ch *user.Change) error {
	u, err := s.Users.Find(ctx, tx, by, p.ID)
	if err != nil {
		return err
	}
	if err := s.keepPrimary(ctx, tx, by, u, before.Email, ch); err != nil {
		return err
	}
	own := true
	if ch.Email != nil {
		ch.EmailVerified = &after.EmailVerified
		if err := s.mayUse(ctx, tx, by, c, after.Email); err != nil {
			return err
		}
		if own, err = s.proves(ctx, tx, by, c, u.Email); err != nil {
			return err
		}
	}
	elsewhere, err := s.isElsewhere(ctx, tx, by, c, u)
	if err == nil && (!p.made || elsewhere) && !(own && before.EmailVerified && after.EmailVerified) {
		err = errUnproved
	}
	return err
}

// keepPrimary takes the address out of a change if the one that it replaces is only a
// further one of the user's: which is the primary one they say themselves.
func (s *Service) keepPrimary(ctx context.Context, tx *database.Tx, by access.Actor, u user.User, old string, ch *user.Change) error {
	if ch.Email == nil || old == "" || old == u.Email {
		return nil
	}
	m, err := s.Users.Match(ctx, tx, by, old)
	if errors.Is(err, user.ErrNotFound) {
		return nil
	}
	if m.ID == u.ID && m.Is() && !m.IsPrimary() {
		ch.Email, ch.EmailVerified = nil, nil
	}
	return err
}

// deactivate takes a user out of the organization for now: what they are signed in with
// for it ends, and all the rest and the account too if it is nobody else's.
func (s *Service) deactivate(ctx context.Context, tx *database.Tx, by access.Actor, c caller, p *person, reason string) error {
	err := s.Orgs.Suspend(ctx, tx, by, c.OrganizationID, p.ID, "directory")
	if err != nil && !errors.Is(err, org.ErrMemberNotFound) { // somebody took them out by hand
		return err
	}
	return s.leave(ctx, tx, by, c, p, reason)
}

// leave ends what a user is signed in with, and disables an account that the directory
// made, if nobody else has use for it. Of an account that others trust, what was made for
// the organization has ended with the membership, and the rest is not its to end.
func (s *Service) leave(ctx context.Context, tx *database.Tx, by access.Actor, c caller, p *person, reason string) error {
	u, err := s.Users.Find(ctx, tx, by, p.ID)
	if err != nil {
		return err
	}
	elsewhere, err := s.isElsewhere(ctx, tx, by, c, u)
	if err != nil || elsewhere {
		return err
	}
	if err := s.EndAll(ctx, tx, by, p.ID, reason); err != nil || !p.made || p.disabled || !u.IsActive {
		return err
	}
	off := false
	if _, err = s.Users.Update(ctx, tx, by, p.ID, user.Change{IsActive: &off}); err == nil {
		p.disabled = true
	}
	return err
}

// reactivate makes a user a member as before. No session comes back.
func (s *Service) reactivate(ctx context.Context, tx *database.Tx, by access.Actor, c caller, p *person) error {
	err := s.Orgs.Restore(ctx, tx, by, c.OrganizationID, p.ID, "directory")
	if errors.Is(err, org.ErrMemberNotFound) {
		_, err = s.Orgs.AddMember(ctx, tx, by, c.OrganizationID, p.ID, nil, org.SourceSCIM)
	}
	if err != nil {
		return err
	}
	if p.disabled {
		on := true
		if _, err := s.Users.Update(ctx, tx, by, p.ID, user.Change{IsActive: &on}); err != nil {
			return err
		}
		p.disabled = false
	}
	return s.applyRules(ctx, tx, by, c.Directory, []string{p.ID})
}

// deleteUser takes a user out of the organization for good.
func (s *Service) deleteUser(ctx context.Context, by access.Actor, c caller, id, match string) error {
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		p, err := holdPerson(ctx, tx, by.Tenant, c.ID, id)
		switch {
		case err != nil:
			return err
		case p.isDeleted:
			return errNoResource
		case !matches(match, p.version):
			return errVersion
		}
		err = s.Orgs.RemoveMember(ctx, tx, by, c.OrganizationID, id, "directory")
		if err != nil && !errors.Is(err, org.ErrMemberNotFound) {
			return err
		}
		if err := s.leave(ctx, tx, by, c, &p, "deleted"); err != nil {
			return err
		}
		removePerson(tx, by.Tenant, c.ID, p)
		return s.note(tx, by, c, "user.deprovisioned", id, "deleted")
	})
}

// applyRules gives users the roles that the groups stand for which they are in, and
// takes those that no group stands for any more. A thousand users at a time are a good
// measure; it takes a handful of statements.
func (s *Service) applyRules(ctx context.Context, tx *database.Tx, by access.Actor, d Directory, ids []string) error {
	roles, err := rolesOf(ctx, tx, by.Tenant, d, ids)
	if err != nil {
		return err
	}
	byRoles := map[string][]string{}
	for _, id := range ids {
		key := strings.Join(roles[id], " ")
		byRoles[key] = append(byRoles[key], id)
	}
	for _, key := range slices.Sorted(maps.Keys(byRoles)) {
		if err := s.Orgs.SetAutomaticRolesOf(ctx, tx, by, d.OrganizationID, byRoles[key], d.source(), strings.Fields(key)); err != nil {
			return err
		}
	}
	return nil
}

// source names the directory where roles come from.
func (d Directory) source() string { return "scim:" + d.ID }

// rolesOf returns the roles that each user gets by the directory's rules, sorted.
func rolesOf(ctx context.Context, tx *database.Tx, tenant string, d Directory, ids []string) (map[string][]string, error) {
	out := map[string][]string{}
	if len(d.GroupRules) == 0 {
		return out, nil
	}
	var names, exact []string
	for _, r := range d.GroupRules {
		names, exact = append(names, fold(r.Group)), append(exact, r.Group)
	}
	groups, err := ruleGroups(ctx, tx, tenant, d.ID, names, exact)
	if err != nil || len(groups) == 0 {
		return out, err
	}
	given := map[string][]string{} // group -> roles
	var groupIDs []string
	for _, g := range groups {
		given[g.ID] = d.rolesFor(g)
		groupIDs = append(groupIDs, g.ID)
	}
	in, err := inGroups(ctx, tx, tenant, d.ID, groupIDs, ids)
	for _, m := range in {
		out[m.user] = append(out[m.user], given[m.group]...)
	}
	for id, roles := range out {
		slices.Sort(roles)
		out[id] = slices.Compact(roles)
	}
	return out, err
}

// rolesFor are the roles that the members of a group get.
func (d Directory) rolesFor(g group) (roles []string) {
	for _, r := range d.GroupRules {
		if fold(r.Group) == fold(g.Name) || r.Group == g.ExternalID || r.Group == g.ID {
			roles = append(roles, r.RoleID)
		}
	}
	return roles
}
