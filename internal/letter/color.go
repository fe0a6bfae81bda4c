package letter

import (
	"fmt"
	"math"
	"strconv"
)

// A theme is the tenant's accent on a light or a dark ground: a button and what is
// written on it. Mail programs know no light-dark() and no custom properties, so
// unlike those of the hosted pages the colours are worked out here.
type theme struct{ Button, Ink string }

const defaultAccent = "#3a5bc7"

// themes returns how an accent is used on white and on near black.
func themes(accent string) (light, dark theme) {
	c, ok := parseColor(accent)
	if !ok {
		c, _ = parseColor(defaultAccent)
	}
	ground, _ := parseColor("#191918")
	lifted := c
	for share := 0.; contrast(lifted, ground) < 3 && share < 1; share += .02 { // WCAG 2.2, 1.4.11
		lifted = c.mix(color{1, 1, 1}, share)
	}
	return theme{c.String(), c.ink()}, theme{lifted.String(), lifted.ink()}
}

// A color is one of sRGB, each part from 0 to 1.
type color [3]float64

func parseColor(s string) (c color, ok bool) {
	if len(s) != 7 || s[0] != '#' {
		return c, false
	}
	n, err := strconv.ParseUint(s[1:], 16, 24)
	if err != nil {
		return c, false
	}
	return color{float64(n>>16) / 255, float64(n>>8&255) / 255, float64(n&255) / 255}, true
}

func (c color) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(c[0]*255)), int(math.Round(c[1]*255)), int(math.Round(c[2]*255)))
}

func (c color) mix(d color, share float64) color {
	for i := range c {
		c[i] += (d[i] - c[i]) * share
	}
	return c
}

// ink is what can be read on c: one of the two always can.
func (c color) ink() string {
	if contrast(color{1, 1, 1}, c) >= 4.5 {
		return "#ffffff"
	}
	return "#000000"
}

// contrast is the ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b color) float64 {
	la, lb := a.luminance(), b.luminance()
	return (max(la, lb) + .05) / (min(la, lb) + .05)
}

func (c color) luminance() float64 {
	linear := func(v float64) float64 {
		if v <= .04045 {
			return v / 12.92
		}
		return math.Pow((v+.055)/1.055, 2.4)
	}
	return .2126*linear(c[0]) + .7152*linear(c[1]) + .0722*linear(c[2])
}
