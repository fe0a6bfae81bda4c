package secret

import (
	"crypto/hmac"
	"encoding/base64"

	"github.com/cardea-id/cardea/internal/problem"
)

// ErrCursor refuses a cursor that was not made for the list it comes with.
var ErrCursor = problem.New(problem.Invalid, "invalid_cursor", "The cursor is not one of ours, or belongs to another list.")

// Cursor names a place in a list for a caller who shall come back with it: the list, as
// text, says which one it is, with its filter, its order and, where that matters, its
// reader. The cursor can neither be altered nor be carried to another list or tenant.
func (b *Box) Cursor(list, place string) string {
	return base64.RawURLEncoding.EncodeToString(append(b.cursorMAC(list, place), place...))
}

// Place returns what a cursor of the list names, or ErrCursor.
func (b *Box) Place(list, cursor string) (string, error) {
	const macLength = 16
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) <= macLength {
		return "", ErrCursor
	}
	place := string(raw[macLength:])
	if !hmac.Equal(raw[:macLength], b.cursorMAC(list, place)) {
		return "", ErrCursor
	}
	return place, nil
}

func (b *Box) cursorMAC(list, place string) []byte {
	return MAC(b.Derive("list cursor"), list+"\x00"+place)
}
