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
