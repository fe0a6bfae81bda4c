package app_test

import (
	"context"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
)

// send puts a message into the mailbox of a tenant.
func send(t *testing.T, w *apptest.World, tenant *apptest.Tenant, m notify.Message) {
	t.Helper()
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := w.Notify.Send(ctx, tx, tenant.ID, m)
		return err
	})
	w.Work(t)
}

var mails = []notify.Message{
	{
		Channel: notify.Email, Purpose: "signin_link", To: "ann@example.com", Subject: "Sign in to <Demo>",
		Text: "Go to https://demo.cardea.test/l/abc?x=1&y=2.\nYour code: 123456", HTML: `<!doctype html><html><head><style>p{color:red}</style></head><body><p onclick="x()">Hi</p><script>alert(1)</script></body></html>`,
	},
	{Channel: notify.SMS, Purpose: "signin_code", To: "+4917012345678", Text: "<b>123456</b> is your code"},
	{Channel: notify.Email, Purpose: "signin_link", To: "bob@example.com", Subject: "Only text", Text: "javascript:alert(1) http://a.example/(x)"},
}

func TestMailboxIsJSONForPrograms(t *testing.T) {
	t.Parallel()
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		other := w.Tenant(t, "other")
		programs := w.Demo.With("Accept", "application/json")
		if body := programs.Get(t, "/dev/mailbox").Want(t, 200).Body; strings.TrimSpace(string(body)) != "[]" {
			t.Errorf("an empty mailbox is %s", body)
		}
		for _, m := range mails {
			send(t, w, w.Demo, m)
		}
		send(t, w, other, mails[0])
		get := func(query string) (seen []string) {
			for _, letter := range programs.Get(t, "/dev/mailbox"+query).Want(t, 200).List(t) {
				seen = append(seen, letter["to"].(string))
			}
			return seen
		}
		for query, want := range map[string][]string{
			"": {"bob@example.com", "+4917012345678", "ann@example.com"}, "?limit=1": {"bob@example.com"}, "?limit=9999": {"bob@example.com", "+4917012345678", "ann@example.com"},
			"?to=ANN@example.com": {"ann@example.com"}, "?to=%2B4917012345678": {"+4917012345678"}, "?to=eve@example.com": nil,
		} {
			if diff := cmp.Diff(want, get(query)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", query, diff)
			}
		}
		var raw []map[string]json.RawMessage
		programs.Get(t, "/dev/mailbox?to=ann@example.com").Into(t, &raw)
		for _, field := range []string{"to", "channel", "subject", "text", "html", "sent_at"} {
			if raw[0][field] == nil {
				t.Errorf("a letter has no %s", field)
			}
		}
		if len(raw[0]) != 6 {
			t.Errorf("a letter has %d fields, want 6: %s", len(raw[0]), raw)
		}
		for _, limit := range []string{"0", "-1", "many"} {
			programs.Get(t, "/dev/mailbox?limit="+limit).WantError(t, 400, "invalid_query_parameters")
		}
	})
}

func TestMailboxBelongsToTheTenantOfTheHost(t *testing.T) {
	t.Parallel()
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		other := w.Tenant(t, "other")
		send(t, w, other, mails[0])
		if got := other.With("Accept", "application/json").Get(t, "/dev/mailbox").List(t); len(got) != 1 {
			t.Errorf("the tenant sees %d letters", len(got))
		}
		letter := link(t, other, "")
		if got := w.Demo.With("Accept", "application/json").Get(t, "/dev/mailbox").List(t); len(got) != 0 {
			t.Errorf("another tenant sees %v", got)
		}
		for _, path := range []string{letter, letter + "/html", "/dev/mailbox/none", "/dev/mailbox/none/html"} {
			w.Demo.Get(t, path).WantError(t, 404, "message_not_found")
		}
		stranger := w.Demo.Client
		stranger.Host = "attacker.example" // a name that was made to lead here
		stranger.Get(t, "/dev/mailbox").WantError(t, 421, "unknown_host")
	})
}

// link returns the address of the first letter in the list.
func link(t *testing.T, tenant *apptest.Tenant, query string) string {
	t.Helper()
	page := tenant.Get(t, "/dev/mailbox"+query).Want(t, 200)
	found := regexp.MustCompile(`<a class="letter" href="([^"]+)"`).FindSubmatch(page.Body)
	if found == nil {
		t.Fatalf("no letter in %s", page.Body)
	}
	return html.UnescapeString(string(found[1]))
}

func TestMailboxShowsLettersWithoutRunningThem(t *testing.T) {
	t.Parallel()
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		empty := w.Demo.Get(t, "/dev/mailbox").Want(t, 200)
		if !strings.Contains(string(empty.Body), "No messages yet") {
			t.Errorf("an empty mailbox: %s", empty.Body)
		}
		for _, m := range mails {
			send(t, w, w.Demo, m)
		}
		index := w.Demo.Get(t, "/dev/mailbox").Want(t, 200)
		ann := w.Demo.Get(t, link(t, w.Demo, "?to=ann@example.com")).Want(t, 200)
		sms := w.Demo.Get(t, link(t, w.Demo, "?to=%2B4917012345678")).Want(t, 200)
		for name, c := range map[string]struct {
			page apptest.Answer
			want []string
		}{
			"index": {index, []string{"Sign in to &lt;Demo&gt;", "Only text", `<a href="http://a.example/%28x" target="_blank" rel="noopener">`}},
			"mail": {ann, []string{`<a href="https://demo.cardea.test/l/abc?x=1&amp;y=2" target="_blank" rel="noopener">https://demo.cardea.test/l/abc?x=1&amp;y=2</a>.`, "Your code: 123456",
				`sandbox="allow-popups allow-popups-to-escape-sandbox"`, "?to=ann%40example.com"}},
			"text message": {sms, []string{"&lt;b&gt;123456&lt;/b&gt; is your code"}},
		} {
			for _, want := range c.want {
				if !strings.Contains(string(c.page.Body), want) {
					t.Errorf("%s: no %s in\n%s", name, want, c.page.Body)
				}
			}
			checkPolicy(t, name, c.page)
		}
		if strings.Contains(string(sms.Body), "<iframe") {
			t.Error("a text message has a frame")
		}
		frame := w.Demo.Get(t, strings.SplitN(link(t, w.Demo, "?to=ann@example.com"), "?", 2)[0]+"/html").Want(t, 200)
		policy := frame.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "sandbox allow-popups allow-popups-to-escape-sandbox;") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script") {
			t.Errorf("the policy of a letter is %q", policy)
		}
		if !strings.Contains(string(frame.Body), `<head><base target="_blank"><style>`) {
			t.Errorf("links of a letter open within it: %s", frame.Body)
		}
		w.Demo.Get(t, strings.SplitN(link(t, w.Demo, "?to=bob@example.com"), "?", 2)[0]+"/html").WantError(t, 404, "message_not_found")
	})
}

// checkPolicy looks for what the page's own policy forbids.
func checkPolicy(t *testing.T, name string, page apptest.Answer) {
	t.Helper()
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("%s: the policy is %q", name, policy)
	}
	if bad := regexp.MustCompile(`(?i)<script>|<script [^>]*[^>]*>[^<]|<style|\sstyle=|\son\w+=|href="javascript:`).Find(page.Body); bad != nil {
		t.Errorf("%s holds %q", name, bad)
	}
}

// What shows sign-in links to anyone must not be there for anyone.
func TestMailboxIsForDevelopersOnly(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, path := range []string{"/dev/mailbox", "/dev/mailbox/1", "/dev/mailbox/1/html", "/dev/"} {
			w.Demo.Get(t, path).WantError(t, http.StatusNotFound, "resource_not_found")
		}
		if strings.Contains(string(w.Demo.Get(t, "/openapi.json").Body), "/dev/") {
			t.Error("the description of a server speaks of /dev")
		}
	})
}
