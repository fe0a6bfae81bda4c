package mfa

import (
	"fmt"
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

// Path is a QR code as the path of a picture in SVG, in a square of so many units, the
// border included. It is to be black on white in every theme: cameras want it so.
func Path(text string) (path string, size int, err error) {
	code, err := encode(text)
	if err != nil {
		return "", 0, err
	}
	var out strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&out, "M%d %dh%dv1h-%dz", from+border, y+border, x-from, x-from)
			}
		}
	}
	return out.String(), code.Size + 2*border, nil
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
