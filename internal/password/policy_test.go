package password_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret/passhash"
)

var (
	alone      = password.Policy{}
	withSecond = password.Policy{MinLength: password.MinWithSecondFactor}
	ofAda      = password.Policy{
		MinLength: password.MinWithSecondFactor,
		Context:   []string{"ada.lovelace@analytical.example", "Ada", "Løvelace", "Ünïted Engines", "Billing"},
	}
)

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		password string
		policy   password.Policy
	}{
		"15 characters":                  {"uncommon goose!", alone},
		"8 with a second factor":         {"k7#tVq2z", withSecond},
		"words, no capital, no digit":    {"correct horse battery staple", alone},
		"words without spaces":           {"correcthorsebatterystaple", alone},
		"64 characters":                  {strings.Repeat("kwqzjvbp", 8), alone},
		"1,024 bytes":                    {"mumbling otters" + strings.Repeat("x", 1024-15), alone},
		"only spaces and Unicode":        {"   сложный пароль   ", alone},
		"emoji":                          {"🦦🐘🌵🔑🎈🧊🪁🦴🫖🧵🪐🛶🧲🎷🪴", alone},
		"15 code points in one grapheme": {"e\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u030f\u0311\u0323\u0324\u0325\u0326", alone},
		"NUL counts as any other":        {"zebra\x00crossing\x00q", alone},
		"control characters":             {"tab\tand\nnewline\x7fq", alone},
		"a name and enough more":         {"lovelace k7#tVq2z", ofAda},
		"a common word and enough more":  {"dragon k7#tV", withSecond},
	} {
		if err := password.Check(c.password, c.policy); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		password string
		policy   password.Policy
		want     error
	}{
		"nothing":                      {"", alone, password.ErrTooShort},
		"14 characters":                {"uncommon goose", alone, password.ErrTooShort},
		"14 characters of many bytes":  {strings.Repeat("ж🔑", 7), alone, password.ErrTooShort},
		"7 with a second factor":       {"k7#tVq2", withSecond, password.ErrTooShort},
		"8 that NFC makes 7":           {"k7tVqe\u0301\u0323", withSecond, password.ErrTooShort},
		"1,025 bytes":                  {strings.Repeat("kwqzj", 205), alone, passhash.ErrPasswordTooLong},
		"a megabyte":                   {strings.Repeat("k", 1<<20), alone, passhash.ErrPasswordTooLong},
		"broken UTF-8":                 {"uncommon goose \xff\xfe", alone, password.ErrTooShort},
		"a common one":                 {"baseball", withSecond, password.ErrCommon},
		"a common one in capitals":     {"BaseBall", withSecond, password.ErrCommon},
		"a common one in full width":   {"ｂａｓｅｂａｌｌ", withSecond, password.ErrCommon},
		"a common one in disguise":     {"P@$$w0rd", withSecond, password.ErrCommon},
		"a common one and a sign":      {"Passw0rd123!", withSecond, password.ErrCommon},
		"a common one twice":           {"passwordpassword", alone, password.ErrCommon},
		"a common one and a row":       {"Password1234567!", alone, password.ErrCommon},
		"two common ones and a row":    {"dragonmonkey1234", alone, password.ErrCommon},
		"a common one and a year":      {"Welcome2026Welcome2026!", alone, password.ErrCommon},
		"one character":                {"aaaaaaaaaaaaaaaaaaaaaaaa", alone, password.ErrCommon},
		"one character, 1,024 times":   {strings.Repeat("ж", 512), alone, password.ErrCommon},
		"four characters":              {"abzkabzkabzkabzkabzk", alone, password.ErrCommon},
		"digits in order":              {"123456789012345", alone, password.ErrCommon},
		"letters in order":             {"abcdefghijklmnopqrstuvwxyz", alone, password.ErrCommon},
		"rows of keys":                 {"qwertyuiopasdfghjklzxcvbnm", alone, password.ErrCommon},
		"columns of keys":              {"1qaz2wsx3edc4rfv5tgb", alone, password.ErrCommon},
		"rows of Russian keys":         {"йцукенгшщзхъфывапролджэ", alone, password.ErrCommon},
		"the first name":               {"Ada12345", ofAda, password.ErrPersonal},
		"the last name":                {"L0veLace1815", ofAda, password.ErrPersonal},
		"the last name, other accents": {"Løvelace!!", ofAda, password.ErrPersonal},
		"the address":                  {"ada.lovelace@analytical.example", ofAda, password.ErrPersonal},
		"the tenant":                   {"ünïted-engines-1", ofAda, password.ErrPersonal},
		"the application and a year":   {"Billing2026!!", ofAda, password.ErrPersonal},
		"the application in disguise":  {"b1ll1ng-b1ll1ng", ofAda, password.ErrPersonal},
	} {
		err := password.Check(c.password, c.policy)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
			continue
		}
		if p, _ := problem.From(err); len(p.Fields) == 0 || strings.Contains(p.Message, c.password) && c.password != "" {
			t.Errorf("%s: the refusal is %+v", name, p)
		}
	}
}

func TestCheckSaysHowLong(t *testing.T) {
	t.Parallel()
	for want, policy := range map[string]password.Policy{"15": alone, "8": withSecond, "20": {MinLength: 20}} {
		if p, ok := problem.From(password.Check("short", policy)); !ok || !strings.Contains(p.Message, want) {
			t.Errorf("%+v, want it to say %s", p, want)
		}
	}
}

// ASVS 6.2.4 asks for the 3,000 most common passwords of the allowed length; here
// all of the list, and what people make of it.
func TestCheckRefusesTheCommonOnesAndTheirVariants(t *testing.T) {
	t.Parallel()
	refused := 0
	for _, word := range commonPasswords(t) {
		if utf8.RuneCountInString(word) < 8 {
			continue
		}
		for _, variant := range []string{word, strings.ToUpper(word), strings.ToUpper(word[:1]) + word[1:], word + "1", word + "!", word + "123", word + "2026!", strings.ReplaceAll(word, "a", "@")} {
			if err := password.Check(variant, withSecond); !errors.Is(err, password.ErrCommon) {
				t.Errorf("%q: %v", variant, err)
			}
		}
		if err := password.Check(word+word, alone); !errors.Is(err, password.ErrCommon) {
			t.Errorf("%q twice: %v", word, err)
		}
		refused++
	}
	if refused < 15_000 {
		t.Errorf("only %d common passwords of 8 characters or more", refused)
	}
}

func commonPasswords(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("common.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	file, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "correct horse battery staple", "P@$$w0rd", "\ufdfa\ufdfa", "İıK", "19", "\xff", "🔑"} {
		f.Add(s, "Ada Lovelace")
	}
	f.Fuzz(func(t *testing.T, s, context string) {
		err := password.Check(s, password.Policy{MinLength: 1, Context: []string{context}})
		if _, ok := problem.From(err); err != nil && !ok {
			t.Errorf("%q: %v", s, err)
		}
	})
}

// The worst that 1,024 bytes can do stays far below the cost of the hash.
func BenchmarkCheck(b *testing.B) {
	for name, s := range map[string]string{"sentence": "correct horse battery staple", "worst": strings.Repeat("pass", 256), "ligatures": strings.Repeat("\ufdfa", 341)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_ = password.Check(s, ofAda)
			}
		})
	}
}
