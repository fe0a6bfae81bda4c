package passwordless

import (
	"strings"
	"unicode"
)

// zeros are the zeros of digits that people type codes in: Latin, Arabic, Persian,
// Devanagari, and the full-width ones of Japanese keyboards.
var zeros = []rune{'0', '٠', '۰', '०', '０'}

// parseCode reads six digits, however they are grouped.
func parseCode(s string) (code string, ok bool) {
	if len(s) > 64 {
		return "", false
	}
	code = strings.Map(func(r rune) rune {
		for _, zero := range zeros {
			if r >= zero && r <= zero+9 {
				return r - zero + '0'
			}
		}
		if unicode.IsSpace(r) || r == '-' || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
	return code, len(code) == 6 && strings.Trim(code, "0123456789") == ""
}

// twoDigits are the calling codes of two digits (ITU-T E.164). Those of one digit are
// 1 and 7, all others have three.
const twoDigits = " 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 "

// country is the calling code of a number, or with +1, which many countries share,
// that and the area code.
func country(number string) string {
	digits := strings.TrimPrefix(number, "+")
	n := 3
	switch {
	case strings.HasPrefix(digits, "1"):
		n = 4
	case strings.HasPrefix(digits, "7"):
		n = 1
	case len(digits) >= 2 && strings.Contains(twoDigits, " "+digits[:2]+" "):
		n = 2
	}
	return "+" + digits[:min(n, len(digits))]
}

// numberRange is a number without its last four digits.
func numberRange(number string) string { return number[:max(len(number)-4, 0)] }
