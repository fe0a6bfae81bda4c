package user_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/cardea-id/cardea/internal/user"
)

func TestParseEmail(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ann@example.com":           "ann@example.com",
		" Ann.LEE@Example.COM ":     "ann.lee@example.com",
		"ann+tag@example.com":       "ann+tag@example.com",
		"a.n.n@gmail.com":           "a.n.n@gmail.com", // dots are the provider's business
		"o'neil@example.com":        "o'neil@example.com",
		"ann@bücher.example":        "ann@xn--bcher-kva.example",
		"ann@XN--BCHER-KVA.example": "ann@xn--bcher-kva.example",
		"jörg@example.com":          "jörg@example.com",
		"JÖRG@example.com":          "jörg@example.com",
		"jo\u0308rg@example.com":    "jörg@example.com", // decomposed
		"用户@example.com":            "用户@example.com",
		"अजय@example.com":           "अजय@example.com",
	} {
		if got, err := user.ParseEmail(in); err != nil || got != want {
			t.Errorf("ParseEmail(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseEmailRefuses(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"empty": "", "no at": "ann", "nothing before": "@example.com", "nothing after": "ann@", "two ats": "a@b@example.com", "no dot": "ann@localhost",
		"line break": "ann@example.com\r\nBcc: x@example.com", "trailing line break": "ann@example.com\n", "encoded line break": "ann%0a@example.com",
		"comma": "ann,bob@example.com", "second address": "ann@example.com,bob@example.com", "display name": "Ann <ann@example.com>", "quoted": `"ann"@example.com`,
		"comment": "ann(x)@example.com", "space": "an n@example.com", "trailing dot": "ann@example.com.", "leading dot": ".ann@example.com", "double dot": "a..n@example.com",
		"literal address": "ann@[127.0.0.1]", "hyphen first": "ann@-example.com", "NUL": "a\x00nn@example.com", "invalid UTF-8": "a\xff@example.com",
		"long local part": strings.Repeat("a", 65) + "@example.com", "long": "ann@" + strings.Repeat("a.", 130) + "com", "underscore domain": "ann@exa_mple.com",
		// look-alikes that fold into ASCII
		"full-width at": "ann＠example.com", "full-width letter": "ａnn@example.com", "Kelvin sign": "\u212Aate@example.com", "dotless i": "m\u0131ke@example.com",
		"long s": "\u017Fam@example.com", "ligature": "\uFB01n@example.com", "dotted capital I": "\u0130an@example.com", "full-width domain": "ann@ｅxample.com",
		"ideographic full stop": "ann@example\u3002com", "superscript": "ann²@example.com", "zero-width joiner": "an\u200Dn@example.com", "right-to-left mark": "ann\u200F@example.com",
		"soft hyphen": "an\u00ADn@example.com", "emoji": "ann😀@example.com",
	} {
		if got, err := user.ParseEmail(in); err == nil {
			t.Errorf("%s: ParseEmail(%q) = %q, want an error", name, in, got)
		}
	}
}

func TestParsePhone(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"+4915112345678": "+4915112345678", "+49 (151) 123-456.78": "+4915112345678", "+15555550100": "+15555550100",
		"015112345678": "", "+0151123456": "", "+49": "", "+491511234567890123": "", "+49abc12345": "", "": "", "+49151\n12345678": "", "1+4915112345": "",
	} {
		if got, err := user.ParsePhone(in); got != want || (err == nil) != (want != "") {
			t.Errorf("ParsePhone(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseUsername(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"ann", "Ann.Lee", "$@(.)-*_[]~!&+", "çelik", "用户"} {
		if got, err := user.ParseUsername(in); err != nil || got != in {
			t.Errorf("ParseUsername(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", " ", "a b", "a/b", "a#b", "a\nb", "a\x00b", "ａnn", "m\u0131ke", "a\xff", strings.Repeat("a", 256), "a'b", `a"b`, "a,b"} {
		if got, err := user.ParseUsername(in); err == nil {
			t.Errorf("ParseUsername(%q) = %q, want an error", in, got)
		}
	}
}

// Every letter that identifiers take has one form, whatever case it comes in.
func TestEveryLetterHasOneForm(t *testing.T) {
	t.Parallel()
	taken := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		once, err := user.ParseEmail("x" + string(r) + "@example.com")
		if err != nil {
			once, err = user.ParseEmail(string(r) + "@example.com") // not beside a Latin letter
		}
		if err != nil {
			continue
		}
		taken++
		for _, s := range []string{once, strings.ToUpper(once), strings.ToLower(once)} {
			if again, err := user.ParseEmail(s); err == nil && again != once {
				t.Errorf("%U: %q becomes %q", r, s, again)
			}
		}
	}
	if taken < 50_000 {
		t.Errorf("only %d letters are taken", taken)
	}
}

func TestLookAlikesAreRefused(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]string{
		"grapheme joiner": "admin\u034f", "variation selector": "admin\ufe0f", "variation selector supplement": "admin\U000E0100", "Khmer inherent vowel": "admin\u17b4",
		"Mongolian variation selector": "admin\u180b", "Hangul fillers": "ad\u115fmin", "Hangul filler": "ad\u1160min", "Cyrillic a": "\u0430dmin", "Greek o": "r\u03bfot", "a mark first": "\u0301admin",
		"an id": "6694c154565dfee5166d1cc7",
	} {
		if got, err := user.ParseUsername(s); err == nil {
			t.Errorf("%s: ParseUsername(%q) = %q", name, s, got)
		}
		if name == "an id" { // as an address it is one
			continue
		}
		if got, err := user.ParseEmail(s + "@example.com"); err == nil {
			t.Errorf("%s: ParseEmail = %q", name, got)
		}
	}
	for _, s := range []string{"админ", "διαχειριστής", "müller", "山田taro", "أحمد"} {
		if _, err := user.ParseUsername(s); err != nil {
			t.Errorf("ParseUsername(%q): %v", s, err)
		}
	}
}

// Whatever ParseEmail takes stays the same when parsed again, so that two
// spellings of one address can never become two users.
func FuzzParseEmail(f *testing.F) {
	for _, s := range []string{"ann@example.com", "JÖRG@bücher.example", "a@b.c", "\u017F@x.y", "用户@例子.中国", "A@xn--a.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, err := user.ParseEmail(s)
		if err != nil {
			return
		}
		if twice, err := user.ParseEmail(once); err != nil || twice != once {
			t.Errorf("ParseEmail(%q) = %q, but parsed again %q, %v", s, once, twice, err)
		}
		if upper, err := user.ParseEmail(strings.ToUpper(once)); err == nil && upper != once {
			t.Errorf("in upper case %q becomes %q", once, upper)
		}
	})
}
