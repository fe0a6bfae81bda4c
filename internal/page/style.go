package page

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Colors are a tenant's own. Both are #rrggbb; one that is empty or anything else
// is left as it is by default.
type Colors struct {
	Accent string
	// Background is behind the pages in the light theme. The dark theme keeps its own:
	// few brands have a colour for it.
	Background string
}

// Contrast that WCAG 2.2 AA asks for.
const (
	textContrast    = 4.5
	controlContrast = 3
)

// Colours of ui/cardea.css that the accent must stand off: what panels are made of,
// and in each theme the one nearest to the middle that links stand on.
var (
	lightSurface = rgb{1, 1, 1}
	lightSunken  = rgb{0xf9 / 255., 0xf9 / 255., 0xf8 / 255.}
	darkSurface  = rgb{0x19 / 255., 0x19 / 255., 0x18 / 255.}
	darkRaised   = rgb{0x22 / 255., 0x22 / 255., 0x21 / 255.}
	lightMuted   = rgb{0x5c / 255., 0x5b / 255., 0x57 / 255.}
)

// StyleSheet sets the custom properties of ui/cardea.css to the tenant's colours,
// for the light and the dark theme. An accent too close to what is behind it is
// shifted only where it would carry meaning: as text, in links, and in the ring of
// the focus. As a button's ground it stays as it is in the light theme, under
// black or white text, whichever is easier to read.
func StyleSheet(c Colors) []byte {
	var b strings.Builder
	b.WriteString("@layer tokens {\n  :root {\n")
	if accent, ok := parseColor(c.Accent); ok {
		lightSoft, darkSoft := lightSurface.mix(accent, .09), darkSurface.mix(accent, .22)
		darkGround := accent.toward(white, controlContrast, darkSurface)
		property(&b, "accent", accent, darkGround)
		property(&b, "accent-hover", accent.hover(), darkGround.hover())
		property(&b, "accent-strong", accent.toward(black, textContrast, lightSunken, lightSoft), accent.toward(white, textContrast, darkRaised, darkSoft))
		property(&b, "accent-soft", lightSoft, darkSoft)
		property(&b, "on-accent", accent.ink(), darkGround.ink())
	}
	if ground, ok := parseColor(c.Background); ok && contrast(ground, lightMuted) >= textContrast {
		fmt.Fprintf(&b, "    --page: light-dark(%s, var(--n2));\n", ground)
	}
	b.WriteString("  }\n}\n")
	return []byte(b.String())
}

func property(b *strings.Builder, name string, light, dark rgb) {
	fmt.Fprintf(b, "    --%s: light-dark(%s, %s);\n", name, light, dark)
}

// An rgb is a colour of sRGB, each part from 0 to 1.
type rgb [3]float64

var black, white = rgb{}, rgb{1, 1, 1}

func parseColor(s string) (c rgb, ok bool) {
	if len(s) != 7 || s[0] != '#' {
		return c, false
	}
	n, err := strconv.ParseUint(s[1:], 16, 24)
	if err != nil {
		return c, false
	}
	return rgb{float64(n>>16) / 255, float64(n>>8&255) / 255, float64(n&255) / 255}, true
}

func (c rgb) String() string {
	return fmt.Sprintf("#%02x%02x%02x", round(c[0]), round(c[1]), round(c[2]))
}

func round(part float64) int { return int(math.Round(part * 255)) }

// mix goes a share of the way from c to d. The result is one that can be written, so
// that its contrast is that of what is shown.
func (c rgb) mix(d rgb, share float64) (out rgb) {
	for i := range c {
		out[i] = float64(round(c[i]+(d[i]-c[i])*share)) / 255
	}
	return out
}

// toward moves c in small steps to an end, until it stands off every ground.
func (c rgb) toward(end rgb, want float64, grounds ...rgb) rgb {
	for share := 0.; share < 1; share += .02 {
		d := c.mix(end, share)
		if !slices.ContainsFunc(grounds, func(g rgb) bool { return contrast(d, g) < want }) {
			return d
		}
	}
	return end
}

// ink is what can be read on c. Black or white always can.
func (c rgb) ink() rgb {
	if contrast(white, c) >= textContrast {
		return white
	}
	return black
}

// hover is c a shade away from its ink, so that the text on it only gets clearer.
func (c rgb) hover() rgb {
	if c.ink() == white {
		return c.mix(black, .14)
	}
	return c.mix(white, .22)
}

// contrast is the ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b rgb) float64 {
	la, lb := a.luminance(), b.luminance()
	return (max(la, lb) + .05) / (min(la, lb) + .05)
}

func (c rgb) luminance() float64 {
	linear := func(v float64) float64 {
		if v <= .04045 {
			return v / 12.92
		}
		return math.Pow((v+.055)/1.055, 2.4)
	}
	return .2126*linear(c[0]) + .7152*linear(c[1]) + .0722*linear(c[2])
}
