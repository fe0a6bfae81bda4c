package password

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// A list of common passwords can only name some of what people make of them:
// capitals, digits and a sign at the end, "@" for "a", the same word twice, a year.
// So instead of asking whether a password is on the list, judge cuts it into pieces
// that are easy to guess, in the way that leaves least to guess, and adds up:
//
//	0   a word of the context, a sequence ("12345", "qwertz"), a repetition
//	    ("aaaa"), a year, and any piece or character that came before
//	2   a common password
//	1   any other character
//
// What is worth less than enough is refused. A sentence of three common words
// passes, and anything made by chance.
const (
	enough      = 5
	commonWorth = 2
)

// Lengths of common passwords, in characters.
const (
	minCommon = 4
	maxCommon = 20
)

// judge returns what a password is worth, and whether words of the context are why
// it is not more.
func judge(password string, words []string) (worth int, personal bool) {
	g := newGuesser(password, words)
	best := make([]piece, len(g.typed)) // that begins at each place
	rest := make([]int, len(g.typed)+1) // worth of the text from each place on
	for at := len(g.typed) - 1; at >= 0; at-- {
		best[at] = piece{size: 1, worth: 1}
		for _, p := range g.pieces(at) {
			if p.worth+rest[at+p.size] < best[at].worth+rest[at+best[at].size] {
				best[at] = p
			}
		}
		rest[at] = best[at].worth + rest[at+best[at].size]
	}
	seen := map[string]bool{}
	for at := 0; at < len(best); at += best[at].size {
		personal = personal || best[at].own
		text := g.cut(at, best[at].size)
		if best[at].size == 1 {
			text = string(g.typed[at]) // "0" and "o" are two characters, but one word with either
		}
		if !seen[text] {
			seen[text] = true
			worth += best[at].worth
		}
	}
	return worth, personal
}

// A piece is some part of a password.
type piece struct {
	size  int // in characters
	worth int
	own   bool // is a word of the context
}

// A guesser holds one password in two spellings, whose characters correspond.
type guesser struct {
	typed  []rune   // folded
	plain  string   // with what stands for letters undone, as the list is
	starts []int    // of the characters in plain, and its end
	words  []string // of the context, spelled like plain
}

func newGuesser(password string, words []string) guesser {
	text := fold(password)
	g := guesser{typed: []rune(text), plain: plain.Replace(text), words: words}
	for at := range g.plain {
		g.starts = append(g.starts, at)
	}
	g.starts = append(g.starts, len(g.plain))
	return g
}

// plain undoes what people do to words, in passwords and in the list alike: to a
// guesser "1", "!", "l" and "i" are one. It replaces one character by one.
var plain = strings.NewReplacer("@", "a", "4", "a", "8", "b", "3", "e", "6", "g", "9", "g", "1", "i", "!", "i", "|", "i", "l", "i",
	"0", "o", "$", "s", "5", "s", "7", "t", "+", "t", "2", "z")

// cut returns size characters at a place.
func (g guesser) cut(at, size int) string { return g.plain[g.starts[at]:g.starts[at+size]] }

// pieces are those at a place that are easy to guess. Of equal ones the longest
// comes first, so that a password written twice is cut into the same pieces twice.
func (g guesser) pieces(at int) (found []piece) {
	for _, word := range g.words {
		if strings.HasPrefix(g.plain[g.starts[at]:], word) {
			found = append(found, piece{size: utf8.RuneCountInString(word), own: true})
		}
	}
	if n := sequence(g.typed[at:]); n > 0 {
		found = append(found, piece{size: n})
	}
	list := commonPasswords()
	for size := min(maxCommon, len(g.typed)-at); size >= minCommon; size-- {
		if list[g.cut(at, size)] {
			found = append(found, piece{size: size, worth: commonWorth})
		}
	}
	return found
}

// keys are the rows of keyboards, and the columns as they are typed in passwords.
var keys = func() (rows [][]rune) {
	for _, row := range []string{
		"1234567890", "qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "qsdfghjklm", "zxcvbnm", "yxcvbnm", "wxcvbn",
		"1qaz2wsx3edc4rfv5tgb6yhn7ujm", "qazwsxedcrfvtgbyhnujm", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю",
	} {
		forth := []rune(row)
		back := make([]rune, len(forth))
		for i, r := range forth {
			back[len(back)-1-i] = r
		}
		rows = append(rows, forth, back)
	}
	return rows
}()

// sequence returns the length of the sequence, repetition or year that text begins
// with; 0 if there is none.
func sequence(text []rune) int {
	best := max(row(text), steps(text, 0, 3))
	for _, by := range []rune{1, -1} {
		n := steps(text, by, 4)
		if isDigit(text[0]) {
			n = steps(text, by, 3)
		}
		best = max(best, n)
	}
	if best < 4 && isYear(text) {
		best = 4
	}
	return best
}

// steps returns how many characters at the beginning of text are each by more than
// the one before; 0 if they are fewer than least.
func steps(text []rune, by rune, least int) int {
	n := 1
	for n < len(text) && text[n]-text[n-1] == by {
		n++
	}
	if n < least {
		return 0
	}
	return n
}

// row returns how far text follows a row of keys; 0 if for fewer than 4.
func row(text []rune) (best int) {
	for _, row := range keys {
		for from := range row {
			n := 0
			for n < len(text) && from+n < len(row) && text[n] == row[from+n] {
				n++
			}
			best = max(best, n)
		}
	}
	if best < 4 {
		return 0
	}
	return best
}

func isYear(text []rune) bool {
	if len(text) < 4 || !isDigit(text[2]) || !isDigit(text[3]) {
		return false
	}
	century := string(text[:2])
	return century == "19" || century == "20"
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

// common.txt.gz has some 49,000 passwords from published breaches, in lower case and
// in order, a line each, of 4 to 20 characters. They are those of the npm package
// @zxcvbn-ts/language-common 4.1.3 (MIT, see common.LICENSE.txt).
//
//go:embed common.txt.gz
var commonFile []byte

// commonPasswords is the list as plain spells it. It is read when the first password is judged: a program that judges
// none does not need the memory.
var commonPasswords = sync.OnceValue(func() map[string]bool {
	file, err := gzip.NewReader(bytes.NewReader(commonFile))
	if err != nil {
		panic(err) // it is part of the program
	}
	text, err := io.ReadAll(file)
	if err != nil {
		panic(err)
	}
	list := make(map[string]bool, bytes.Count(text, []byte("\n")))
	for line := range strings.Lines(string(text)) {
		list[plain.Replace(strings.TrimSuffix(line, "\n"))] = true
	}
	return list
})
