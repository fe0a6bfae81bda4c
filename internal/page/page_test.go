package page_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/page"
)

func render(t *testing.T, p page.Page) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := page.Render(w, httptest.NewRequest("GET", "/", nil), http.StatusOK, p); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEveryPageRenders(t *testing.T) {
	for _, l := range lang.All() {
		for name, p := range samples(sampleView(l)) {
			t.Run(l.Tag+"/"+name, func(t *testing.T) {
				render(t, p)
				render(t, emptied(p))
			})
		}
	}
}
