package page_test

import (
	"flag"
	"fmt"
	"log"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/ui"
)

// To look at the pages: go test ./internal/page -serve 127.0.0.1:9090
var serve = flag.String("serve", "", "serve the sample pages at this address instead of testing")

func TestMain(m *testing.M) {
	flag.Parse()
	if *serve == "" {
		os.Exit(m.Run())
	}
	log.Fatal(http.ListenAndServe(*serve, previews()))
}

var now = time.Date(2026, 3, 5, 14, 5, 0, 0, time.UTC)

// previews serves each sample under its name, in the language of ?lang, and with a
// tenant's colours for ?accent.
func previews() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+ui.Pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := ui.Serve(w, r); err != nil {
			http.NotFound(w, r)
		}
	})
	mux.HandleFunc("GET /logo.svg", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/svg+xml")
		fmt.Fprint(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><rect width="40" height="40" rx="9" fill="#0f766e"/><path d="M12 28V12l16 16V12" fill="none" stroke="#fff" stroke-width="3.5"/></svg>`)
	})
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		w.Write(page.StyleSheet(page.Colors{Accent: "#" + r.URL.Query().Get("accent"), Background: "#" + r.URL.Query().Get("background")})) //nolint:errcheck
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { // for programs that look at all of them
		for _, name := range slices.Sorted(maps.Keys(samples(sampleView(lang.All()[0])))) {
			fmt.Fprintln(w, name)
		}
	})
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		v := sampleView(page.Language(w, r, "", "en"))
		v.Now = time.Now()
		v.Here = r.URL.RequestURI()
		if accent := r.URL.Query().Get("accent"); accent != "" {
			v.Brand.StyleURL = "/style.css?accent=" + accent + "&background=" + r.URL.Query().Get("background")
		}
		p, ok := samples(v)[r.PathValue("name")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if err := page.Render(w, r, http.StatusOK, p); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

func sampleView(l *lang.Language) page.View {
	return page.View{
		Lang: l, Now: now, CSRF: "c5rf", State: "st4te", Here: "/signin?state=st4te",
		Brand: page.Brand{Name: "Northwind", HelpURL: "https://northwind.example/help", PrivacyURL: "https://northwind.example/privacy", TermsURL: "https://northwind.example/terms"},
	}
}

// samples are the pages with everything in them that they can show, and some in
// further states. The name before the first dot is that of the template.
func samples(v page.View) map[string]page.Page {
	app := page.App{Name: "Orders", HomeURL: "https://orders.example"}
	logo := page.App{Name: "Ledger", LogoURL: "/logo.svg", HomeURL: "https://ledger.example"}
	ann := page.Person{Name: "Ann Lindqvist", Login: "ann.lindqvist@northwind.example"}
	bo := page.Person{Login: "bo@northwind.example"}
	there := page.Device{Name: "Firefox on Windows", Place: "Berlin, Germany", IP: "203.0.113.7", At: v.Now.Add(-3 * time.Minute)}
	scopes := []page.Scope{{Name: "openid"}, {Name: "profile"}, {Name: "email"}, {Name: "phone"}, {Name: "offline_access"}, {Name: "invoices:read", Text: "See your invoices"}}
	own := page.AccountView{View: v, Person: ann, SignOutURL: "/signout", BackURL: "https://orders.example"}
	with := func(v page.View, errors ...page.FieldError) page.View { v.Errors = errors; return v }
	branded, dev, noticed := v, v, own
	branded.Brand.LogoURL = "/logo.svg"
	dev.Dev = []string{"redirect_uri: https://orders.example/callbak is not registered for client 66f0c1. Register it, or correct the spelling: https://orders.example/callback is."}
	noticed.Notice = "profile_saved"
	mistaken := own
	mistaken.Errors = page.Errors{{Field: "current_password", Code: "credentials_invalid"}, {Field: "password", Code: "invalid_password"}}
	wordless := own
	wordless.NoLinked, wordless.Errors = true, page.Errors{{Field: "word", Code: "confirmation_word"}}
	ways := []page.Way{{Label: "Continue with Acme", Icon: "building", Action: "/signin/acme"}, {Label: "Continue with a passkey", Icon: "key", Action: "/signin/passkey"}}
	key := page.Key{ID: "6694c154565dfee5166d1cc7", Secret: "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ", URI: "otpauth://totp/Northwind:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}
	key.Path, key.Size, _ = mfa.Path(key.URI)
	codes := []string{"7K2M-9QXR-3TB5H", "0C4N-8WZE-6VJ1P", "5YHD-2RGA-7MKQ9", "3FST-1XBV-8CN0W", "9PJE-4TZ6-2HRYK", "6DMG-0QAS-5WX7B", "1VNC-3EK8-9PTJF", "8RZH-7YD2-4BGM6", "2WQX-5SAV-0KEN3", "4TBP-6JFC-1RHZ9"}
	passkey := page.Ceremony{Action: "/signin/passkey", OptionsAction: "/signin/passkey/options"}
	create := page.Ceremony{Action: "/account/passkeys/add", OptionsAction: "/account/passkeys/options"}
	return merged(portalSamples(v), map[string]page.Page{
		"sign-in.passkey":       &page.SignIn{View: v, App: app, Action: "/signin", Passkey: page.Ceremony{Action: "/signin/passkey", OptionsAction: "/signin/passkey/options", Autofill: true}},
		"password.passkey":      &page.Password{View: v, Identifier: ann.Login, Action: "/password", Passkey: page.Ceremony{Action: "/signin/passkey", OptionsAction: "/signin/passkey/options", Named: true}},
		"second-choice.passkey": &page.SecondChoice{View: v, App: app, Passkey: passkey, BackURL: "/signin"},
		"passkey-offer":         &page.PasskeyOffer{View: v, App: app, Create: create, LaterAction: "/later"},
		"account-passkeys": &page.AccountPasskeys{AccountView: own, Create: create, RenameAction: "/r", RemoveAction: "/d", ConfirmAction: "/c", Known: `{"rpId":"id.example"}`, Passkeys: []page.Passkey{
			{ID: "1", Title: "My phone", Name: "My phone", Since: v.Now.Add(-900 * time.Hour), LastUsed: v.Now.Add(-2 * time.Hour), Synced: true},
			{ID: "2", Title: "Windows Hello", Since: v.Now.Add(-90 * time.Hour), Held: true},
			{ID: "3", Since: v.Now.Add(-9000 * time.Hour), Domain: "old.example.com", Second: true},
		}},
		"account-passkeys.none": &page.AccountPasskeys{AccountView: own, Create: create},
		"sign-in":               &page.SignIn{View: v, App: app, Action: "/signin", SignUpURL: "/signup"},
		"sign-in.full":          &page.SignIn{View: branded, App: app, Takes: page.TakesAny, Identifier: "ann", Action: "/signin", SignUpURL: "/signup", Ways: ways, Known: []page.Person{ann, bo}},
		"sign-in.wrong":         &page.SignIn{View: with(v, page.FieldError{Field: "identifier", Code: "invalid_email"}), App: app, Identifier: "ann@", Action: "/signin", SignUpURL: "/signup"},
		"sign-up":               &page.SignUp{View: v, App: app, Takes: page.TakesEmailOrPhone, Names: true, Identifier: "ann@northwind.example", GivenName: "Ann", FamilyName: "Lindqvist", Action: "/signup", SignInURL: "/signin", Ways: ways[:1]},
		"sign-up.wrong":         &page.SignUp{View: with(v, page.FieldError{Field: "identifier", Code: "invalid_email"}, page.FieldError{Field: "family_name", Code: "required"}), Names: true, Action: "/signup", SignInURL: "/signin"},
		"code-sent":             &page.CodeSent{View: v, Address: ann.Login, Action: "/code", Number: "47", ResendAction: "/resend", ResendAt: v.Now.Add(24 * time.Second), PasswordURL: "/password", BackURL: "/signin", WaitURL: "/wait", FinishAction: "/finish"},
		"code-sent.sms":         &page.CodeSent{View: with(v, page.FieldError{Field: "code", Code: "code_invalid"}), SMS: true, Address: "+49 151 •••• 678", Code: "482 913", Action: "/code", ResendAction: "/resend", ResendAt: v.Now, BackURL: "/signin"},
		"password":              &page.Password{View: v, Identifier: ann.Login, Action: "/password", NotYouURL: "/signin", CodeAction: "/code", ForgotURL: "/forgot"},
		"password.wrong": &page.Password{View: with(v, page.FieldError{Field: "password", Code: "credentials_invalid"}), Identifier: ann.Login, Action: "/password", NotYouURL: "/signin",
			CodeAction: "/code", CodeSMS: true, ForgotURL: "/forgot"},
		"password.limited":    &page.Password{View: with(v, page.FieldError{Code: "rate_limited", Wait: 5 * time.Minute}), Identifier: ann.Login, Action: "/password", NotYouURL: "/signin", CodeAction: "/code"},
		"forgot-password":     &page.ForgotPassword{View: v, Identifier: ann.Login, Action: "/forgot", BackURL: "/password"},
		"reset-sent":          &page.ResetSent{View: v, Identifier: ann.Login, ResendAction: "/forgot", ResendAt: v.Now.Add(30 * time.Second), BackURL: "/signin"},
		"reset-password":      &page.ResetPassword{View: with(v, page.FieldError{Field: "password", Code: "password_breached"}), Identifier: ann.Login, Token: "t0ken", MinLength: 15, Action: "/reset"},
		"new-password":        &page.NewPassword{View: v, Identifier: ann.Login, MinLength: 15, Action: "/new", BackURL: "/signin"},
		"new-password.weak":   &page.NewPassword{View: v, Weak: true, Identifier: ann.Login, MinLength: 15, Action: "/new", BackURL: "/signin"},
		"link-confirm":        &page.LinkConfirm{View: v, Purpose: page.LinkSignIn, App: app, Address: ann.Login, Token: "t0ken", AskNumber: true, AskedFrom: there, Action: "/link"},
		"link-confirm.here":   &page.LinkConfirm{View: v, Purpose: page.LinkSignUp, App: app, Address: ann.Login, Token: "t0ken", Action: "/link"},
		"link-confirm.verify": &page.LinkConfirm{View: v, Purpose: page.LinkVerify, Address: ann.Login, Token: "t0ken", Action: "/link"},
		"link-done":           &page.LinkDone{View: v, Purpose: page.LinkSignIn, App: app},
		"link-done.verify":    &page.LinkDone{View: v, Purpose: page.LinkVerify, NextURL: "/account"},
		"account-picker":      &page.AccountPicker{View: v, App: app, Accounts: []page.Account{{Person: ann, ID: "1"}, {Person: bo, ID: "2", Expired: true}}, Action: "/pick", AnotherURL: "/signin"},
		"consent":             &page.Consent{View: v, App: logo, Person: ann, SwitchURL: "/pick", Scopes: scopes, ReturnsTo: "ledger.example", PrivacyURL: "https://ledger.example/privacy", TermsURL: "https://ledger.example/terms", Action: "/consent"},
		"device-code":         &page.DeviceCode{View: with(v, page.FieldError{Field: "user_code", Code: "user_code_invalid"}), UserCode: "WDJB-MJHT", Action: "/device"},
		"device-confirm":      &page.DeviceConfirm{View: v, App: app, Person: ann, SwitchURL: "/pick", UserCode: "WDJB-MJHT", AskedFrom: there, Scopes: scopes[:3], Action: "/device"},
		"device-done":         &page.DeviceDone{View: v, App: app, Allowed: true},
		"device-done.denied":  &page.DeviceDone{View: v, App: app},
		"sign-out":            &page.SignOut{View: v, App: app, Person: ann, Several: true, Action: "/signout", BackURL: "/account", Hidden: []page.Pair{{Name: "id_token_hint", Value: "e30"}}},
		"not-me":              &page.NotMe{View: v, Since: v.Now.Add(-26 * time.Hour), Token: "t0ken", Action: "/signin/not-me"},
		"not-me-done":         &page.NotMeDone{View: v, Mailed: true, NextURL: "/signin"},
		"not-me-done.coded":   &page.NotMeDone{View: v, Coded: true, NextURL: "/signin"},
		"not-me-done.other":   &page.NotMeDone{View: v, NextURL: "/signin"},
		"signed-out":          &page.SignedOut{View: v, App: app, Frames: []string{"http://127.0.0.1:1/logout?iss=x"}, SignInURL: "/signin"},
		"signed-out.back":     &page.SignedOut{View: v, App: app, NextURL: "com.example.app:/bye", SignInURL: "/signin"},
		"form-post":           &page.FormPost{View: v, App: app, Action: "https://orders.example/callback", Fields: []page.Pair{{Name: "code", Value: "c0de"}, {Name: "state", Value: "theirs"}}},
		"error": func() page.Page {
			p := page.Problem(dev, page.ErrForm, "6694c154565dfee5166d1cc7")
			p.NextURL = "/signin"
			return p
		}(),
		"error.internal":       page.Problem(v, &problem.Problem{Kind: problem.Internal, Code: "internal_error"}, "6694c154565dfee5166d1cc7"),
		"account-profile":      &page.AccountProfile{AccountView: noticed, GivenName: "Ann", FamilyName: "Lindqvist", Username: "ann", SaveAction: "/account", Email: page.Contact{Address: ann.Login, Verified: true, ChangeURL: "/account/email", RemoveAction: "/account/email/remove"}, Phone: page.Contact{Address: "+49 151 12345678", VerifyAction: "/account/phone/verify", ChangeURL: "/account/phone", RemoveAction: "/account/phone/remove"}, DataAction: "/account/data", DeleteURL: "/account/delete"},
		"account-profile.bare": &page.AccountProfile{AccountView: own, GivenName: "Ann", Email: page.Contact{Address: ann.Login, VerifyAction: "/v", ChangeURL: "/c"}, Phone: page.Contact{ChangeURL: "/c"}},
		"account-profile.further": &page.AccountProfile{AccountView: own, GivenName: "Ann", FamilyName: "Lindqvist", SaveAction: "/account",
			Email: page.Contact{Address: ann.Login, Verified: true, ChangeURL: "/account/email", AddURL: "/account/email/further", Further: []page.Further{
				{ID: "6694c133565dfee5166d1cb8", Address: "ann.lindqvist@lindqvist-and-daughters.example", PrimaryAction: "/account/email/further/primary", RemoveAction: "/account/email/further/remove"},
				{ID: "6694c133565dfee5166d1cb9", Address: "ann@old.example", Held: true, ConfirmAction: "/account/email/further", RemoveAction: "/account/email/further/remove"},
			}},
			Phone: page.Contact{Address: "+49 151 12345678", Verified: true, ChangeURL: "/account/phone", AddURL: "/account/phone/further", Further: []page.Further{
				{ID: "6694c133565dfee5166d1cba", Address: "+44 7700 900123", PrimaryAction: "/account/phone/further/primary", RemoveAction: "/account/phone/further/remove"},
			}}, DataAction: "/account/data", DeleteURL: "/account/delete"},
		"account-contact.further":     &page.AccountContact{AccountView: own, Further: true, Action: "/account/email/further", CloseURL: "/account"},
		"account-contact.further-sms": &page.AccountContact{AccountView: own, SMS: true, Further: true, Action: "/account/phone/further", CloseURL: "/account"},
		"account-delete":              &page.AccountDelete{AccountView: own, Action: "/account/delete", DataAction: "/account/data", CloseURL: "/account"},
		"account-delete.wrong":        &page.AccountDelete{AccountView: wordless, Action: "/account/delete", DataAction: "/account/data", CloseURL: "/account"},
		"account-contact":             &page.AccountContact{AccountView: own, Old: ann.Login, Action: "/account/email", CloseURL: "/account"},
		"account-contact.sms":         &page.AccountContact{AccountView: own, SMS: true, Address: "+49", Action: "/account/phone", CloseURL: "/account"},
		"account-password":            &page.AccountPassword{AccountView: own, Has: true, ChangedAt: v.Now.Add(-900 * time.Hour), MinLength: 15, Action: "/account/password", ForgotURL: "/forgot"},
		"account-password.wrong":      &page.AccountPassword{AccountView: mistaken, Has: true, MinLength: 15, Action: "/account/password", ForgotURL: "/forgot"},
		"account-sessions": &page.AccountSessions{AccountView: own, EndAction: "/account/sessions/end", EndOthersAction: "/account/sessions/end-others", Sessions: []page.Session{
			{ID: "1", Device: page.Device{Name: "Firefox on Windows", Place: "Berlin, Germany", IP: "203.0.113.7", At: v.Now.Add(-50 * time.Hour)}, LastSeen: v.Now, Current: true},
			{ID: "2", Device: page.Device{Name: "Safari on iPhone", Place: "Lisbon, Portugal", IP: "2001:db8:1234:5678:9abc:def0:1234:5678", At: v.Now.Add(-300 * time.Hour)}, LastSeen: v.Now.Add(-3 * time.Hour), Phone: true},
			{ID: "3", LastSeen: v.Now.Add(-9 * 24 * time.Hour)},
		}},
		"social-prove":         &page.SocialProve{View: v, App: app, Provider: "Google", Known: "ann@northwind.example", Identifier: "ann@northwind.example", Action: "/signin", BackURL: "/signin"},
		"social-prove.address": &page.SocialProve{View: v, App: app, Provider: "GitHub", Action: "/signin", BackURL: "/signin"},
		"social-link":          &page.SocialLink{View: v, App: app, Provider: "Google", Icon: "google", There: page.Person{Name: "Ann Lindqvist", Login: "ann@gmail.example"}, Here: ann, Flow: "6694c133565dfee5166d1cb8", Action: "/signin/social/link"},
		"account-linked": &page.AccountLinked{AccountView: own, UnlinkAction: "/account/linked/remove", Linked: []page.Linked{
			{ID: "1", Provider: "Google", Icon: "google", Account: "ann@gmail.example", Since: now.AddDate(0, -2, 0), LastUsed: now.Add(-time.Hour)},
			{ID: "2", Provider: "GitHub", Icon: "github", Account: "octo-ann", Since: now.AddDate(0, -1, 0), Held: true},
			{ID: "3", Provider: "Intranet", Icon: "connection", Account: "ann", Since: now.AddDate(0, -1, 0), Waits: true},
		}, ConfirmAction: "/account/linked/mine", Ways: brands()},
		"account-link": &page.AccountLink{AccountView: own, Provider: "GitHub", Icon: "github", There: page.Person{Name: "Ann", Login: "octo-ann"}, Flow: "6694c133565dfee5166d1cb8", Action: "/account/linked/confirm", CloseURL: "/account/linked"},
		"account-applications": &page.AccountApplications{AccountView: own, RevokeAction: "/account/applications/revoke", Access: []page.Access{
			{ID: "1", App: logo, Scopes: scopes, Since: v.Now.Add(-2000 * time.Hour), LastUsed: v.Now.Add(-2 * time.Hour)},
			{ID: "2", App: app, Scopes: scopes[:2], Since: v.Now.Add(-100 * time.Hour)},
		}},

		"organization-choice.many": &page.OrganizationChoice{View: v, App: app, Organizations: []page.Organization{{ID: "1", Name: "Acme"}, {ID: "2", Name: "Globex"}}, Many: true, Cut: true, Action: "/organization", BackURL: "/signin"},
		"organization-choice.none": &page.OrganizationChoice{View: v, App: app, Many: true, Search: "Initech", Action: "/organization", BackURL: "/signin"},
		"organization-choice":      &page.OrganizationChoice{View: v, App: app, Organizations: []page.Organization{{ID: "1", Name: "Acme", LogoURL: "/logo.svg", Current: true}, {ID: "2", Name: "Globex Corporation of Springfield"}}, Action: "/organization", BackURL: "/signin"},
		"organization-step":        &page.OrganizationStep{View: v, App: app, Organization: page.Organization{Name: "Acme"}, SSO: true, Ways: ways[:1], ChooseURL: "/organization", AgainAction: "/again"},
		"organization-step.way":    &page.OrganizationStep{View: v, App: app, Organization: page.Organization{Name: "Acme"}, AgainAction: "/again"},
		"invitation":               &page.Invitation{View: v, Organization: page.Organization{Name: "Acme"}, Address: "ann@northwind.example", Token: "t0ken", Action: "/invitation"},
		"invitation.self":          &page.Invitation{View: v, Organization: page.Organization{Name: "Acme", LogoURL: "/logo.svg"}, Address: "ann@northwind.example", Person: ann, Token: "t0ken", Action: "/invitation", SwitchAction: "/switch"},
		"invitation.other":         &page.Invitation{View: v, Organization: page.Organization{Name: "Acme"}, Address: "ann@northwind.example", Person: bo, Other: true, Token: "t0ken", Action: "/invitation", SwitchAction: "/switch"},
		"sso-continue":             &page.SSOContinue{View: v, App: page.App{Name: "Shop"}, Organization: page.Organization{Name: "Acme"}, Person: ann, Flow: "t0ken", Action: "/continue", BackURL: "/signin"},

		"second-choice":      &page.SecondChoice{View: v, App: app, BackURL: "/signin", Ways: []page.SecondWay{{Kind: "totp", URL: "/t"}, {Kind: "sms", Address: "••• 678", Action: "/s"}, {Kind: "email", Address: "a•••@northwind.example", Action: "/s"}, {Kind: "backup_code", URL: "/b"}}},
		"second-code":        &page.SecondCode{View: v, Kind: "totp", Action: "/second", Remember: true, OtherURL: "/choose", BackURL: "/signin"},
		"second-code.sms":    &page.SecondCode{View: with(v, page.FieldError{Field: "code", Code: "code_invalid"}), Kind: "sms", Address: "••• 678", Action: "/second", ResendAction: "/send", ResendAt: v.Now.Add(20 * time.Second)},
		"second-code.mail":   &page.SecondCode{View: v, Kind: "email", Address: "a•••@northwind.example", Action: "/second"},
		"second-code.backup": &page.SecondCode{View: with(v, page.FieldError{Field: "code", Code: "second_factor_invalid"}), Kind: "backup_code", Action: "/second", OtherURL: "/choose"},
		"second-enroll":      &page.SecondEnroll{View: v, App: app, BeginAction: "/enroll", BackURL: "/signin"},
		"second-enroll.key":  &page.SecondEnroll{View: v, App: app, Key: key, Action: "/confirm", BackURL: "/signin"},
		"backup-codes":       &page.BackupCodes{View: v, Codes: codes, DownloadAction: "/download", NextURL: "/next"},
		"recover":            &page.Recover{View: v, Token: "t0ken", Action: "/recover"},
		"account-security": &page.AccountSecurity{AccountView: own, AddAction: "/add", RemoveAction: "/remove", RenameAction: "/rename", Codes: 7, CodesAction: "/codes", ForgetAction: "/forget",
			Apps:       []page.AuthenticatorApp{{ID: "1", Name: "My old phone", Since: v.Now.Add(-9000 * time.Hour), LastUsed: v.Now.Add(-3 * time.Hour)}, {ID: "2", Since: v.Now.Add(-90 * time.Hour)}},
			Remembered: []page.Session{{ID: "1", Device: there, Current: true}, {ID: "2", Device: page.Device{At: v.Now.Add(-90 * time.Hour)}, Phone: true}}},
		"account-security.none":     &page.AccountSecurity{AccountView: own, AddAction: "/add"},
		"account-enroll":            &page.AccountEnroll{AccountView: own, Key: key, Action: "/confirm", CloseURL: "/account/security"},
		"account-codes":             &page.AccountCodes{AccountView: own, Codes: codes, DownloadAction: "/download", NextURL: "/account/security"},
		"account-applications.none": &page.AccountApplications{AccountView: own},
	})
}

// emptied is a page of the same kind with nothing in it.
func emptied(p page.Page) page.Page {
	return reflect.New(reflect.TypeOf(p).Elem()).Interface().(page.Page)
}

// brands are a way for each service with a picture of its own.
func brands() (out []page.Way) {
	for _, icon := range []string{"google", "microsoft", "github", "apple", "facebook", "linkedin", "gitlab", "discord", "slack", "x", "connection"} {
		out = append(out, page.Way{Label: icon, Icon: icon, Action: "/account/linked/" + icon})
	}
	return out
}
