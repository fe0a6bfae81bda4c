package org_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/user"
)

// actionForms are how sources name what happens in an organization.
var actionForms = []struct {
	form   *regexp.Regexp
	before string
}{
	{regexp.MustCompile(`Action: +"([a-z_.]+)", Target: +(?:Target|target|org\.Target|"organization")`), ""},
	{regexp.MustCompile(`noteInvitation\(tx, by, \w+, "([a-z_]+)"`), "organization.invitation_"},
	{regexp.MustCompile(`"(organization\.(?:domain|member)_[a-z_]+)"`), ""},
	{regexp.MustCompile(`note\(tx, by, c, "([a-z_]+)", map`), "sso_connection."},
	{regexp.MustCompile(`(?:Active|Disabled): "([a-z]+)"`), "sso_connection."},
	{regexp.MustCompile(`(?:note|noteGroup)\((?:tx, by, c, )?"((?:user|group)\.[a-z_.]+)"`), ""},
}

// Whatever the log of an organization can hold has words in every language.
func TestEveryEventOfAnOrganizationHasWords(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, pattern := range []string{"*.go", "../sso/*.go", "../scim/*.go", "../portal/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, a := range actionForms {
				for _, m := range a.form.FindAllStringSubmatch(string(text), -1) {
					found[a.before+m[1]] = true
				}
			}
		}
	}
	if len(found) < 38 {
		t.Fatalf("only %d actions are found: the test does not see them", len(found))
	}
	told := func(action string) string {
		one, err := (&org.Service{}).Tell(t.Context(), nil, access.Visitor("", ""), "", lang.Pick("en", "", "en"), []audit.Listed{{Action: action, Detail: []byte("{}")}})
		if err != nil {
			t.Fatal(err)
		}
		return one[0].Key
	}
	for action := range found {
		for _, l := range lang.All() {
			if key := told(action); !l.Has(key) {
				t.Errorf("%s: %s has no words (%q)", l.Tag, action, key)
			}
		}
	}
}

// The log names people and roles, to those who may read them.
func TestEventsAreToldInWords(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.company(t, "Acme")
		ann, ben := b.member(t, o, "developer"), b.member(t, o)
		b.write(t, func(tx *database.Tx) error {
			if _, err := b.Users.Update(t.Context(), tx, b.by, ann.ID, user.Change{FirstName: new("Ann"), LastName: new("Lee")}); err != nil {
				return err
			}
			if err := b.Suspend(t.Context(), tx, b.by, o.ID, ben.ID, ""); err != nil {
				return err
			}
			by := b.by
			by.Name = "user:" + ann.ID
			_, err := b.AddDomain(t.Context(), tx, by, o.ID, "acme.example")
			return err
		})
		b.write(t, func(tx *database.Tx) error {
			return b.SetAutomaticRolesOf(t.Context(), tx, b.by, o.ID, []string{ann.ID, ben.ID}, "sso:x", b.ids("developer"))
		})
		tell := func(by access.Actor, language string) (lines []string, told []org.Told) {
			t.Helper()
			events, err := audit.List(t.Context(), b.DB, b.by.Tenant, audit.Filter{TargetID: o.ID}, 50)
			if err != nil {
				t.Fatal(err)
			}
			words := lang.Pick(language, "", "en")
			if told, err = b.Tell(t.Context(), b.DB, by, o.ID, words, events); err != nil {
				t.Fatal(err)
			}
			for _, e := range told {
				lines = append(lines, e.Sentence(words))
			}
			return lines, told
		}
		lines, told := tell(b.by, "en")
		all := strings.Join(lines, "\n")
		for _, want := range []string{"The roles of 2 people were changed", "The domain acme.example was added", ben.Login() + " was suspended", "Ann Lee became a member", "The organization was created"} {
			if !strings.Contains(all, want) {
				t.Errorf("nothing says %q:\n%s", want, all)
			}
		}
		for _, e := range told {
			if e.Action == "organization.domain_added" && (e.By.Name != "Ann Lee" || !e.By.IsMember || e.By.Kind != "user") {
				t.Errorf("by %+v", e.By)
			}
			if e.Action == "organization.member_roles_changed" && len(e.Roles) != 1 {
				t.Errorf("gives the roles %v", e.Roles)
			}
		}
		if lines, _ := tell(b.by, "de"); !strings.Contains(strings.Join(lines, "\n"), "Ann Lee wurde Mitglied") {
			t.Errorf("in German: %q", lines)
		}
		lines, told = tell(access.Actor{Tenant: b.by.Tenant, Name: "key:x"}.With(access.LogsRead), "en")
		if all := strings.Join(lines, "\n"); strings.Contains(all, "Ann") || !strings.Contains(all, ann.ID+" became a member") {
			t.Errorf("to somebody who may not read users:\n%s", all)
		}
		for _, e := range told {
			if e.By.Name != "" {
				t.Errorf("names %s", e.By.Name)
			}
		}
		b.write(t, func(tx *database.Tx) error { return b.Users.Delete(t.Context(), tx, b.by, ann.ID) })
		if lines, _ := tell(b.by, "en"); !strings.Contains(strings.Join(lines, "\n"), "Somebody who is no longer here became a member") {
			t.Errorf("of somebody who has gone: %q", lines)
		}
	})
}
