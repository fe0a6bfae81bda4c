package app_test

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/cardea-id/cardea/internal/app/apptest"
)

func TestLogsAreListedPageByPage(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, name := range []string{"ann", "ben", "cid"} {
			w.Demo.Post(t, "/api/v1/users", `{"first_name":"A","last_name":"B","email":"`+name+`@x.test"}`).Want(t, 200)
		}
		var seen []string
		for next := "/api/v1/logs?action=user.created&limit=2"; next != ""; {
			a := w.Demo.Get(t, next).Want(t, 200)
			var page []struct{ Action, ID string }
			if err := json.Unmarshal(a.Body, &page); err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				if e.Action != "user.created" {
					t.Errorf("found a %s", e.Action)
				}
				seen = append(seen, e.ID)
			}
			if next = ""; a.Header.Get("X-Next-Cursor") != "" {
				next = "/api/v1/logs?action=user.created&limit=2&cursor=" + url.QueryEscape(a.Header.Get("X-Next-Cursor"))
			}
		}
		if len(seen) < 3 || seen[0] < seen[1] || seen[1] < seen[2] {
			t.Errorf("found %v, want all, the newest first", seen)
		}
		cursor := w.Demo.Get(t, "/api/v1/logs?limit=1").Header.Get("X-Next-Cursor")
		w.Demo.Get(t, "/api/v1/logs?limit=1&action=user.&cursor="+cursor).WantError(t, 400, "invalid_cursor")
		w.Demo.Get(t, "/api/v1/messages?limit=1&cursor="+cursor).WantError(t, 400, "invalid_cursor")
		w.Demo.Get(t, "/api/v1/logs?since=yesterday").WantError(t, 400, "invalid_query_parameters")
		w.Demo.Get(t, "/api/v1/logs?limit=501").WantError(t, 400, "invalid_query_parameters")
	})
}

func TestMessagesShowWhatBecameOfThem(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		b := w.Browser(apptest.BaseHost)
		b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", "ann@x.test")
		w.Code(t, "ann@x.test") // it has come
		var page []struct{ ID, To, Channel, State string }
		a := w.Demo.Get(t, "/api/v1/messages?to=ann@x.test").Want(t, 200)
		if err := json.Unmarshal(a.Body, &page); err != nil || len(page) != 1 || page[0].State != "sent" || page[0].Channel != "email" {
			t.Fatalf("got %s (%v)", a.Body, err)
		}
		w.Demo.Get(t, "/api/v1/messages/"+page[0].ID).Want(t, 200)
		w.Demo.Get(t, "/api/v1/messages/000000000000000000000000").WantError(t, 404, "message_not_found")
		if a := w.Demo.Get(t, "/api/v1/messages?to=ben@x.test").Want(t, 200); string(a.Body) != "[]\n" {
			t.Errorf("another's: %s", a.Body)
		}
	})
}
