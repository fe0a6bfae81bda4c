package scim

import (
	"strings"
	"testing"
)

var ada = doc{
	"userName": "Ada@Acme.test", "externalId": "X-1", "active": true, "title": "Countess",
	"name":   map[string]any{"givenName": "Ada", "familyName": "Lovelace"},
	"emails": []any{map[string]any{"type": "work", "value": "ada@acme.test", "primary": true}, map[string]any{"type": "home", "value": "ada@home.example"}},
	"meta":   map[string]any{"lastModified": "2024-05-13T04:42:34.000Z"},
	enterpriseURN: map[string]any{
		"department": "Engines", "manager": map[string]any{"value": "boss-1"}},
}

// RFC 7644, section 3.4.2.2: every operator, their precedence, and what counts of letter case.
func TestFilterMatches(t *testing.T) {
	for filter, want := range map[string]bool{
		`userName eq "ada@acme.test"`:                         true,
		`USERNAME EQ "ADA@ACME.TEST"`:                         true,
		`userName ne "ada@acme.test"`:                         false,
		`externalId eq "x-1"`:                                 false, // letter case counts
		`externalId eq "X-1"`:                                 true,
		`name.familyName co "LOVE"`:                           true,
		`name.familyName sw "Love"`:                           true,
		`name.familyName ew "lace"`:                           true,
		`name.familyName ew "love"`:                           false,
		`title pr`:                                            true,
		`nickName pr`:                                         false,
		`nickName ne "x"`:                                     true,
		`nickName eq null`:                                    true,
		`title eq null`:                                       false,
		`title ne null`:                                       true,
		`active eq true`:                                      true,
		`active eq "True"`:                                    true, // Entra ID
		`active eq false`:                                     false,
		`title gt "countes"`:                                  true,
		`title ge "countess"`:                                 true,
		`title lt "d"`:                                        true,
		`title le "a"`:                                        false,
		`meta.lastModified gt "2024-05-13T04:42:33Z"`:         true,
		`meta.lastModified eq "2024-05-13T06:42:34+02:00"`:    true,
		`meta.lastModified lt "2024-05-13T04:42:34Z"`:         false,
		`emails eq "ada@home.example"`:                        true,
		`emails.value eq "ada@home.example"`:                  true,
		`emails[type eq "work" and value co "home"]`:          false,
		`emails[type eq "home" and value co "home"]`:          true,
		`emails[type eq "work"].value eq "ada@acme.test"`:     true, // Entra ID
		`emails[not (type eq "work")]`:                        true,
		`emails[type pr]`:                                     true,
		`emails[primary eq true]`:                             true,
		`not (title eq "x")`:                                  true,
		`title eq "x" or active eq true and userName pr`:      true,
		`(title eq "x" or active eq true) and nickName pr`:    false,
		`title eq "x" and nickName pr or active eq true`:      true,
		enterpriseURN + `:department eq "engines"`:            true,
		enterpriseURN + `:manager.value eq "boss-1"`:          true,
		userURN + `:userName sw "ada"`:                        true,
		`title eq "Count\u0065ss"`:                            true,
		`title eq "\" or 1 eq 1 or \""`:                       false,
		`name pr`:                                             true,
		`addresses pr`:                                        false,
		`emails[value eq "nobody"] or emails[type eq "HOME"]`: true,
	} {
		e, err := parseFilter(users, filter)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
		} else if got := e.matches(ada); got != want {
			t.Errorf("%s: got %v", filter, got)
		}
	}
}

// C5.81, C5.82: what is no filter is refused with a word, at once, and nothing of it is
// looked for.
func TestFilterIsRefused(t *testing.T) {
	for name, filter := range map[string]string{
		"empty":                   ` `,
		"no operator":             `userName`,
		"no value":                `userName eq`,
		"bare word":               `userName eq ada`,
		"single quotes":           `userName eq 'ada'`,
		"comment":                 `userName eq "a" -- x`,
		"semicolon":               `userName eq "a"; drop table users`,
		"unclosed text":           `userName eq "a`,
		"unknown escape":          `userName eq "\x"`,
		"lone backslash":          `userName eq "\`,
		"NUL":                     `userName eq "` + "\x00" + `"`,
		"escaped NUL":             `userName eq "\u0000"`,
		"broken UTF-8":            "userName eq \"\xff\"",
		"unknown attribute":       `favourite eq "x"`,
		"unknown part":            `name.favourite eq "x"`,
		"attribute of a group":    `displayname2 pr`,
		"of another schema":       `urn:ietf:params:scim:schemas:core:2.0:Group:members pr`,
		"of a foreign extension":  `urn:example:User:x pr`,
		"password":                `password pr`,
		"part of a password":      `password sw "a"`,
		"hash":                    `passwordHash pr`,
		"second factor":           `mfa pr`,
		"tenant":                  `tenant_id eq "x"`,
		"constant":                `1 eq 1`,
		"unknown operator":        `userName like "%"`,
		"number for a text":       `userName eq 1`,
		"order of a boolean":      `active gt true`,
		"part of a moment":        `meta.lastModified co "2024"`,
		"no moment":               `meta.lastModified gt "yesterday"`,
		"whole name":              `name eq "Ada"`,
		"not without parentheses": `not userName pr`,
		"parenthesis":             `(userName pr`,
		"parenthesis too many":    `userName pr)`,
		"bracket":                 `emails[type eq "work"`,
		"bracket in bracket":      `emails[type[x pr]]`,
		"bracket on one value":    `userName[value pr]`,
		"part after brackets":     `emails[type pr].nothing pr`,
		"and":                     `and`,
		"or at the end":           `userName pr or`,
		"two filters":             `userName pr userName pr`,
		"deep":                    strings.Repeat("(", 10_000) + "userName pr" + strings.Repeat(")", 10_000),
		"deeper than allowed":     strings.Repeat("(", 17) + "userName pr" + strings.Repeat(")", 17),
		"a megabyte":              `userName eq "` + strings.Repeat("a", 1<<20) + `"`,
		"many comparisons":        strings.TrimSuffix(strings.Repeat(`title pr or `, 101), " or "),
	} {
		if _, err := parseFilter(users, filter); err == nil {
			t.Errorf("%s: was taken", name)
		} else if !strings.HasPrefix(err.Error(), errFilter.Code) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPathIsRefused(t *testing.T) {
	for _, path := range []string{
		"", " ", ".", "nothing", "name.nothing", "emails[", "emails[]", "emails[type eq]", `emails[type eq "work"`, `emails[type eq "work"]x`, `emails[type eq "work"].`,
		`emails[type eq "work"].nothing`, `emails[type eq "work"].value.more`, `userName[value eq "x"]`, `name.givenName[value eq "x"]`, "urn:example:x", enterpriseURN + ":", enterpriseURN + ":nothing",
		`emails[type eq "work"][type eq "home"]`, "emails..value", "emails value", strings.Repeat("a", 10_000),
	} {
		if _, err := parsePath(users, path); err == nil {
			t.Errorf("%q was taken", path)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{`userName eq "a"`, `emails[type eq "work" and value co "x"].value pr`, `not (a pr)`, enterpriseURN + `:manager.value eq "x" or (active eq true)`, `meta.lastModified gt "2024-05-13T04:42:33Z"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		e, err := parseFilter(users, filter)
		if err != nil {
			return
		}
		e.matches(ada)
		w := &where{args: []any{"t", "d"}}
		if n, ok := tables[users].narrow(w, e); ok && strings.Count(n.cond, "$") == 0 && len(w.args) > 2 {
			t.Errorf("%q: arguments that nothing stands for", filter)
		} else if !ok && len(w.args) != 2 {
			t.Errorf("%q: arguments are left", filter)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"name.givenName", `emails[type eq "work"].value`, enterpriseURN + ":manager", `members[value eq "x"]`, userURN + ":active"} {
		f.Add(seed, `{"value": "x"}`)
	}
	f.Fuzz(func(t *testing.T, path, value string) {
		p, err := parsePath(users, path)
		if err != nil {
			return
		}
		d := clone(ada)
		for _, op := range []operation{{add, path, []byte(value)}, {replace, path, []byte(value)}, {remove, path, nil}} {
			if v, err := op.decode(); err == nil {
				_ = apply(d, op.Op, p, v) // must not panic
			}
		}
		if again, err := newDoc(users, d); err != nil && len(again) > 0 {
			t.Errorf("%q made a resource that is none: %v", path, err)
		}
	})
}
