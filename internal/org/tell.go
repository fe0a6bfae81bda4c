package org

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
)

// sentences are the texts of package lang that tell what happens in an organization: "log."
// and the action of an event.
var sentences = []string{
	"log.organization.created", "log.organization.updated", "log.organization.deleted",
	"log.organization.member_added", "log.organization.member_removed", "log.organization.member_suspended", "log.organization.member_restored",
	"log.organization.member_roles_changed", "log.organization.owner_kept", "log.organization.break_glass_changed.on", "log.organization.break_glass_changed.off",
	"log.organization.domain_added", "log.organization.domain_verified", "log.organization.domain_lost", "log.organization.domain_removed",
	"log.organization.invitation_sent", "log.organization.invitation_accepted", "log.organization.invitation_revoked", "log.organization.invitation_resent", "log.organization.invitation_changed",
	"log.organization.portal_link_created", "log.organization.portal_link_revoked",
	"log.sso_connection.created", "log.sso_connection.updated", "log.sso_connection.activated", "log.sso_connection.disabled", "log.sso_connection.deleted",
	"log.sso_connection.metadata_changed", "log.sso_connection.certificate_ends",
	"log.directory.created", "log.directory.updated", "log.directory.deleted", "log.directory.token.created", "log.directory.token.revoked",
	"log.user.provisioned", "log.user.deprovisioned", "log.user.group.added", "log.user.group.removed", "log.group.created", "log.group.updated", "log.group.deleted",
}

// A Told is an event of an organization as people read it.
type Told struct {
	audit.Listed
	Key   string   // of the sentence in package lang; empty if there is none
	Args  []any    // that the sentence is filled with, in pairs
	Roles []string // names of those it gives
	By    Who
}

// A Who is who has done something.
type Who struct {
	Kind     string // user, portal, directory, system, or what else works for the tenant
	ID       string
	Name     string // of a user; empty of one who is gone, or whom the reader may not read
	IsMember bool   // of the organization, now
}

// detail is what events of an organization tell.
type detail struct {
	UserID     string    `json:"user_id"`
	UserIDs    []string  `json:"user_ids"`
	Invitation string    `json:"invitation_id"`
	RoleIDs    []string  `json:"role_ids"`
	Name       string    `json:"name"`
	Domain     string    `json:"domain"`
	On         bool      `json:"on"`
	Ends       time.Time `json:"ends_at"`
}

// people are the users that an event tells of.
func (d detail) people() []string {
	if d.UserID != "" {
		return []string{d.UserID}
	}
	return d.UserIDs
}

// Tell reads events of an organization for people, in their language. Users are named to
// an actor with users:read, and are ids to others. It asks four statements, however many
// events there are.
func (s *Service) Tell(ctx context.Context, db database.Reader, by access.Actor, organization string, words *lang.Language, events []audit.Listed) ([]Told, error) {
	out, details := make([]Told, len(events)), make([]detail, len(events))
	for i, e := range events {
		_ = json.Unmarshal(e.Detail, &details[i]) // what is of another form is told without
		out[i] = Told{Listed: e, Key: sentenceOf(e.Action, details[i])}
		out[i].By.Kind, out[i].By.ID, _ = strings.Cut(e.Actor, ":")
	}
	known, err := s.tellers(ctx, db, by, organization, out, details)
	if err != nil {
		return nil, err
	}
	for i, d := range details {
		t := &out[i]
		if t.By.Kind == "user" {
			t.By.Name, t.By.IsMember = known.users[t.By.ID], known.members[t.By.ID]
		}
		for _, id := range d.RoleIDs {
			if name := known.roles[id]; name != "" {
				t.Roles = append(t.Roles, name)
			}
		}
		t.Args = []any{"person", known.person(words, d), "name", d.Name, "domain", d.Domain, "date", words.Date(d.Ends)}
	}
	return out, nil
}

// Sentence is the event in one language, without marks; empty if there is none.
func (t Told) Sentence(words *lang.Language) string {
	if t.Key == "" {
		return ""
	}
	return words.Text(t.Key, t.Args...)
}

func sentenceOf(action string, d detail) string {
	key := "log." + action
	if action == "organization.break_glass_changed" {
		key += map[bool]string{true: ".on", false: ".off"}[d.On]
	}
	if !slices.Contains(sentences, key) {
		return ""
	}
	return key
}

// names are what ids stand for.
type idNames struct {
	users, roles, invitations map[string]string
	members                   map[string]bool
	mayRead                   bool
}

// person is whom an event tells of: a name, or how many of them there are.
func (n idNames) person(words *lang.Language, d detail) string {
	ids := d.people()
	if len(ids) > 1 {
		return words.Text("log.people", "count", len(ids))
	}
	if len(ids) == 1 {
		return n.user(words, ids[0])
	}
	to := n.invitations[d.Invitation]
	switch {
	case d.Invitation == "":
		return ""
	case !n.mayRead:
		return d.Invitation
	case to == "":
		return words.Text("log.somebody")
	}
	return to
}

func (n idNames) user(words *lang.Language, id string) string {
	if name := n.users[id]; name != "" {
		return name
	}
	if !n.mayRead {
		return id
	}
	return words.Text("log.somebody")
}

// tellers looks up all that events name by an id.
func (s *Service) tellers(ctx context.Context, db database.Reader, by access.Actor, organization string, events []Told, details []detail) (n idNames, err error) {
	var users, actors, roles, invitations []string
	for i, d := range details {
		if ids := d.people(); len(ids) == 1 {
			users = append(users, ids...)
		}
		if events[i].By.Kind == "user" {
			actors = append(actors, events[i].By.ID)
		}
		roles = append(roles, d.RoleIDs...)
		if d.Invitation != "" {
			invitations = append(invitations, d.Invitation)
		}
	}
	n = idNames{users: map[string]string{}, roles: map[string]string{}, members: map[string]bool{}, mayRead: by.May(access.UsersRead)}
	if n.mayRead {
		if n.users, err = s.userNames(ctx, db, by, idsIn(users, actors)); err != nil {
			return n, err
		}
	}
	set, err := role.Resolve(ctx, db, by.Tenant, idsIn(roles))
	if err != nil {
		return n, err
	}
	for _, r := range set.Roles {
		n.roles[r.ID] = r.Name
	}
	if n.invitations, err = invitedTo(ctx, db, by.Tenant, organization, idsIn(invitations)); err != nil {
		return n, err
	}
	members, err := membersAmong(ctx, db, by.Tenant, organization, idsIn(actors))
	for _, id := range members {
		n.members[id] = true
	}
	return n, err
}

// idsIn are the ids of some lists, each once.
func idsIn(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(id string) bool { return !secret.IsID(id) })
}

// userNames are what users are called, by id: their name, or else what they sign in by.
func (s *Service) userNames(ctx context.Context, db database.Reader, by access.Actor, ids []string) (map[string]string, error) {
	found, err := s.Users.ByIDs(ctx, db, by, ids)
	out := map[string]string{}
	for _, u := range found {
		if out[u.ID] = strings.TrimSpace(u.FirstName + " " + u.LastName); out[u.ID] == "" {
			out[u.ID] = u.Login()
		}
	}
	return out, err
}

// invitedTo are the addresses of some invitations, by id.
func invitedTo(ctx context.Context, db database.Reader, tenant, organization string, ids []string) (map[string]string, error) {
	out := map[string]string{}
	if len(ids) == 0 {
		return out, nil
	}
	among, arg := db.Among("$3", ids)
	rows, err := db.Query(ctx, `SELECT id, email FROM organization_invitations WHERE tenant_id = $1 AND organization_id = $2 AND id `+among, tenant, organization, arg)
	_, err = database.Collect(rows, err, "list addresses of invitations", func(row database.Scanner) (id string, err error) {
		var email string
		err = row.Scan(&id, &email)
		out[id] = email
		return id, err
	})
	return out, err
}

// membersAmong are those of some users who are members.
func membersAmong(ctx context.Context, db database.Reader, tenant, organization string, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	among, arg := db.Among("$3", ids)
	rows, err := db.Query(ctx, `SELECT user_id FROM organization_members WHERE tenant_id = $1 AND organization_id = $2 AND user_id `+among, tenant, organization, arg)
	return database.Collect(rows, err, "list members among users", scanUserID)
}
