package mfa

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

const (
	border    = 4 // modules around a QR code (ISO/IEC 18004, section 6.3.8)
	pngScale  = 6 // pixels a module
	maxQRText = 1024
)

// PNG is a QR code as a picture, black on white.
func PNG(text string) ([]byte, error) {
	code, err := encode(text)
	if err != nil {
		return nil, err
	}
	code.Scale = pngScale
	return code.PNG(), nil
}

// SVG is a QR code as markup for a page, with what it is for a reader that does not
// show it. It is black on white in every theme: cameras want it so.
func SVG(text, title string) (template.HTML, error) {
	code, err := encode(text)
	if err != nil {
		return "", err
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", from+border, y+border, x-from, x-from)
			}
		}
	}
	size := code.Size + 2*border
	return template.HTML(fmt.Sprintf(
		`<svg class="qr" viewBox="0 0 %d %d" role="img" aria-label="%s" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="%s"/></svg>`,
		size, size, template.HTMLEscapeString(title), size, size, path.String())), nil
}

func encode(text string) (*qr.Code, error) {
	if len(text) > maxQRText {
		return nil, fmt.Errorf("encode QR code: %d bytes are too many to be read by a camera", len(text))
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, fmt.Errorf("encode QR code: %w", err)
	}
	return code, nil
}
