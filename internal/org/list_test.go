package org_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
)

// A search finds the same wherever in the list it is, and where few match as where many do.
func TestSearchFindsFewAmongMany(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const others = 1200
		var rare, all []string
		b.write(t, func(tx *database.Tx) error {
			rare, all = nil, nil
			for i := range others {
				name := fmt.Sprintf("Company %04d", i)
				if i%300 == 150 {
					name += " Büro 10%"
				}
				o, err := b.Create(t.Context(), tx, b.by, org.Organization{Name: name, Slug: fmt.Sprintf("slug-%04d", i), IsActive: true})
				if err != nil {
					return err
				}
				all = append(all, o.ID)
				if i%300 == 150 {
					rare = append(rare, o.ID)
				}
			}
			return nil
		})
		slices.Sort(rare)
		slices.Sort(all)
		search := func(part string, limit int) (ids []string) {
			t.Helper()
			for cursor := ""; ; {
				page, next, err := b.List(t.Context(), b.by, part, org.Page{Cursor: cursor, Limit: limit})
				if err != nil || len(page) > limit {
					t.Fatalf("%q: %d organizations, %v", part, len(page), err)
				}
				for _, o := range page {
					ids = append(ids, o.ID)
				}
				if cursor = next; cursor == "" {
					return ids
				}
			}
		}
		for part, want := range map[string][]string{"BÜRO": rare, "büro 10%": rare, "0%": rare, "%": rare, "ü": rare, "ompany": all, "nobody": nil, "_": nil, `\`: nil} {
			limit := 3
			if len(want) > 100 {
				limit = 500
			}
			if diff := cmp.Diff(want, search(part, limit)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", part, diff)
			}
		}
		for part, want := range map[string]int{"slug-0": 1000, "slug-11": 100, "any 0150 b": 1} {
			if got := search(part, 500); len(got) != want {
				t.Errorf("%q finds %d, want %d", part, len(got), want)
			}
		}
	})
}

// What a search finds by parts is what organizations are called now, and nobody else's;
// and no longer that of one that has gone.
func TestSearchKnowsNewNames(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const others = 1100
		var late []org.Organization
		b.write(t, func(tx *database.Tx) error {
			late = nil
			for i := range others {
				o := org.Organization{Name: fmt.Sprintf("Company %04d", i), Slug: fmt.Sprintf("slug-%04d", i), IsActive: true}
				if i%2 == 1 {
					o.DisplayName = fmt.Sprintf("Half %04d", i)
				}
				o, err := b.Create(t.Context(), tx, b.by, o)
				if err != nil {
					return err
				}
				if i >= others-3 {
					late = append(late, o)
				}
			}
			return nil
		})
		want := func(part string, want ...string) {
			t.Helper()
			list, _, err := b.List(t.Context(), b.by, part, org.Page{Limit: 600})
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, o := range list {
				got = append(got, o.ID)
			}
			slices.Sort(want)
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%q finds %v, want %v", part, got, want)
			}
		}
		renamed, gone, stays := late[0], late[1], late[2]
		want("1097", renamed.ID)
		want("y 1098", gone.ID)
		b.write(t, func(tx *database.Tx) error {
			renamed.Name = `Müller "und" Söhne`
			_, err := b.Save(t.Context(), tx, b.by, renamed)
			return err
		})
		want("MÜLLER \"und", renamed.ID)
		want("Company 1097")
		want("slug-1097", renamed.ID)
		want("Company 1099", stays.ID)
		b.write(t, func(tx *database.Tx) error {
			renamed.Name = "Nobody yet"
			if _, err := b.Save(t.Context(), tx, b.by, renamed); err != nil {
				return err
			}
			return b.Delete(t.Context(), tx, b.by, gone.ID)
		})
		want("söhne")
		want("y 1098")
		want("nobody yet", renamed.ID)
		list, _, err := b.List(t.Context(), b.by, "half", org.Page{Limit: 600})
		if err != nil || len(list) != others/2 {
			t.Errorf("half of them are %d, %v", len(list), err)
		}
	})
}
