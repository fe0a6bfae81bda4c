// Package letter writes what the product sends to people: the mail and text
// messages of signing in, of confirming an address and of an account's safety.
//
//	Letter.Message   a letter in somebody's language and a tenant's look, for notify
//	BrandOf          the look of a tenant
//
// A mail has one layout, which also works with images off, in the dark and from
// right to left, and a twin in plain text that says the same. Where there is a link
// there is a code too, for whoever reads mail on another device. The words are in
// words/, one file a language, all with the same keys.
//
// An attacker would have us send their advertising or a trap to somebody else, in a
// name that they may choose: names are shortened and lose what mail programs turn
// into links, and nobody is greeted by a name. They would break out of the markup or
// add a header: html/template escapes by place, and notify refuses line breaks. And
// they would make people pass a code on: each letter says what it is for, for whom,
// where it was asked from, how long it holds, and what to do if it was somebody else.
package letter

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A Kind is what a letter is about. It is the Purpose of its message.
type Kind string

// The kinds. The first five bring a link, a code or both; the others may have a link
// to where something can be done about it.
const (
	SignIn          Kind = "signin"
	SignUp          Kind = "signup"
	Verify          Kind = "verify"     // an e-mail address or a phone number
	Reset           Kind = "reset"      // choose a new password
	Invitation      Kind = "invitation" // to an organization, which is the letter's Application
	PasswordChanged Kind = "password_changed"
	ContactChanged  Kind = "contact_changed" // e-mail address or phone number
	FactorChanged   Kind = "factor_changed"  // second factor
	AccountLinked   Kind = "account_linked"  // with one of another service, or not any more
	NewSignIn       Kind = "new_signin"      // on a device not seen before
	AccountDeleted  Kind = "account_deleted"
	CertificateEnds Kind = "certificate_ends" // of an organization, the letter's Application, after Lasts
)

// Kinds lists them all.
var Kinds = []Kind{SignIn, SignUp, Verify, Reset, Invitation, PasswordChanged, ContactChanged, FactorChanged, AccountLinked, NewSignIn, AccountDeleted, CertificateEnds}

// proves reports whether a letter of this kind proves something to whoever has it.
func (k Kind) proves() bool {
	return k == SignIn || k == SignUp || k == Verify || k == Reset
}

// Changes are the values of Letter.Change.
var Changes = []string{
	"passkey_added", "passkey_removed", "factor_added", "factor_removed", "codes_renewed", "factors_reset",
	"email_changed", "email_removed", "phone_changed", "phone_removed",
	"email_added", "phone_added", "further_email_removed", "further_phone_removed", "account_linked", "account_unlinked",
}

// A Brand is whose letter it is.
type Brand struct {
	Name    string
	LogoURL string // http or https; empty for none
	Accent  string // #rrggbb; anything else means the default
}

// BrandOf returns the look of a tenant.
func BrandOf(t tenant.Tenant) Brand {
	b := t.Settings.Branding
	return Brand{Name: cmp.Or(b.Name, t.Name), LogoURL: b.LogoURL, Accent: b.Accent}
}

// A Letter is one message to one person before it is put into words. What is empty
// is left out.
type Letter struct {
	Kind     Kind
	Channel  string // notify.Email or notify.SMS
	To       string // e-mail address, or phone number in E.164
	Language string // BCP 47; English if it is not one of ours
	Brand    Brand
	// Application is what somebody wants to sign in to, if that is not the brand. Its
	// name may have been chosen by a stranger.
	Application string
	Link        string        // absolute, http or https
	Code        string        // letters and digits
	Lasts       time.Duration // how long link and code can be used
	// NotMe says that Link is for whoever knows nothing of what the letter tells, to end
	// it and begin anew. Only letters that prove nothing have that.
	NotMe bool
	// Change is what was changed, one of Changes; empty if the kind says it all.
	Change string
	// Host is where the code is to be typed, for browsers that fill it in out of a text
	// message: https://wicg.github.io/sms-one-time-codes/.
	Host string

	// Where and when it was asked for, or happened.
	At     time.Time
	Device string // "Firefox on Windows"
	Place  string // "Berlin, Germany"
	IP     string
	// ByAdministrator says that it was not done by who reads this, but for them.
	ByAdministrator bool
}

// Message puts l into words. Anything that may come from outside is made to fit, so
// an error is a mistake of the program. The caller sets the message's ExpiresAt.
func (l Letter) Message() (notify.Message, error) {
	if err := l.check(); err != nil {
		return notify.Message{}, fmt.Errorf("write letter %q: %w", l.Kind, err)
	}
	w := l.words()
	m := notify.Message{Channel: l.Channel, Purpose: string(l.Kind), To: l.To}
	if l.Channel == notify.SMS {
		m.Text = w.sms()
		return m, nil
	}
	page, err := w.html()
	if err != nil {
		return notify.Message{}, fmt.Errorf("write letter %q: %w", l.Kind, err)
	}
	m.Subject, m.Text, m.HTML = w.of("subject"), w.text(), page
	return m, nil
}

var codeForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9A-Za-z-]{4,16}$`) })

func (l Letter) check() error {
	if texts()["en"][string(l.Kind)+".sms"] == "" {
		return fmt.Errorf("there is no such kind")
	}
	if l.Code != "" && !codeForm().MatchString(l.Code) {
		return fmt.Errorf("the code is not one")
	}
	if l.Link != "" && !isWebAddress(l.Link) {
		return fmt.Errorf("the link is not an absolute address")
	}
	if l.NotMe && (l.Kind.proves() || l.Link == "" || l.Lasts <= 0) {
		return fmt.Errorf("only news have a link against them, and it lasts some time")
	}
	if l.Change != "" && !slices.Contains(Changes, l.Change) {
		return fmt.Errorf("there is no such change")
	}
	if l.Kind.proves() && (l.Lasts <= 0 || l.Code == "" && (l.Link == "" || l.Channel == notify.SMS)) {
		return fmt.Errorf("it needs a code or, by mail, a link, and how long they last")
	}
	return nil
}

func isWebAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

//go:embed words/*.json
var files embed.FS

// texts holds the words by language and key.
var texts = sync.OnceValue(load)

func load() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, language := range lang.All() {
		b, err := files.ReadFile("words/" + language.Tag + ".json")
		if err != nil {
			panic(err) // compiled in
		}
		own := map[string]string{}
		if err := json.Unmarshal(b, &own); err != nil {
			panic("letter: words/" + language.Tag + ".json: " + err.Error())
		}
		all[language.Tag] = own
	}
	return all
}

// words are a letter in its language, with names made fit to be sent.
type words struct {
	Letter
	lang  *lang.Language
	texts map[string]string
}

func (l Letter) words() words {
	const maxMail, maxSMS = 60, 30
	most := maxMail
	if l.Channel == notify.SMS {
		most = maxSMS
	}
	l.Brand.Name = cmp.Or(brandName(l.Brand.Name, most), brandName(l.Host, most), "Cardea")
	if l.Application = foreignName(l.Application, most); l.Application == l.Brand.Name {
		l.Application = ""
	}
	l.Device, l.Place, l.IP = foreignName(l.Device, most), foreignName(l.Place, most), brandName(l.IP, most)
	picked := lang.Pick("", l.Language, "")
	return words{l, picked, texts()[picked.Tag]}
}

// key is the full key of a text of the letter's kind.
func (w words) key(name string) string {
	key := string(w.Kind) + "." + name
	if name == "text" && w.Application != "" && w.texts[key+"_app"] != "" {
		key += "_app"
	}
	return key
}

// of is a text of the letter's kind.
func (w words) of(name string) string { return w.say(w.key(name)) }

// say is the text of a key, filled in. A value is never searched for placeholders.
func (w words) say(key string) string {
	return w.fill(w.texts[key], func(_, value string) string { return value })
}

// fill puts the letter's values, as show presents them, where a text has their
// placeholders.
func (w words) fill(text string, show func(name, value string) string) string {
	values := []string{
		"name", w.Brand.Name, "app", w.Application, "address", w.To, "code", w.Code, "time", w.lang.Duration(w.Lasts),
	}
	for i := 0; i < len(values); i += 2 {
		values[i], values[i+1] = "{"+values[i]+"}", show(values[i], values[i+1])
	}
	return strings.NewReplacer(values...).Replace(text)
}

// sms is one line, and where the code belongs on a last one.
func (w words) sms() string {
	line := w.of("sms")
	if w.Code == "" || w.Host == "" {
		return line
	}
	return line + "\n@" + w.Host + " #" + w.Code
}

// text is the letter in plain text, paragraph by paragraph.
func (w words) text() string {
	parts := []string{w.of("subject"), w.of("text")}
	rows := w.rows()
	if !w.Kind.proves() {
		parts, rows = append(parts, rows), ""
	}
	if w.Link != "" {
		parts = append(parts, w.button()+"\n"+w.Link)
	}
	if w.Code != "" {
		parts = append(parts, w.codeLabel()+"\n"+w.Code)
	}
	parts = append(parts, w.valid(), rows, w.aside(), w.keep())
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, "\n\n") + "\n\n-- \n" + w.say("sent_to") + "\n"
}

func (w words) rows() string {
	var lines []string
	for _, row := range w.details() {
		lines = append(lines, row.Label+": "+row.Value)
	}
	return strings.Join(lines, "\n")
}

// button is what the link is called, and aside what there is to do.
func (w words) button() string {
	if w.NotMe {
		return w.say("not_me.button")
	}
	return w.of("button")
}

func (w words) aside() string {
	if w.NotMe {
		return w.say("not_me.aside")
	}
	return w.of("aside")
}

func (w words) codeLabel() string {
	if w.Link != "" {
		return w.say("or_code")
	}
	return w.say("enter_code")
}

// valid says how often and how long link and code can be used.
func (w words) valid() string {
	switch {
	case !w.Kind.proves():
		return ""
	case w.Code == "":
		return w.say("valid_link")
	case w.Link == "":
		return w.say("valid_code")
	}
	return w.say("valid_both")
}

// keep is the warning not to pass the letter on.
func (w words) keep() string {
	if !w.Kind.proves() {
		return ""
	}
	return w.say("keep")
}

// A detail is a line of where and when.
type detail struct{ Label, Value string }

func (w words) details() (rows []detail) {
	add := func(key, value string) {
		if value != "" {
			rows = append(rows, detail{w.say("detail." + key), value})
		}
	}
	if w.Change != "" {
		add("change", w.say("change."+w.Change))
	}
	if w.ByAdministrator {
		add("by", w.say("by_administrator"))
	}
	if !w.At.IsZero() {
		add("time", w.lang.Moment(w.At))
	}
	add("device", w.Device)
	add("place", w.Place)
	add("ip", w.IP)
	return rows
}
