package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
)

// The sizes of a page of a list.
const (
	PageSize    = 100 // unless asked for another
	MaxPageSize = 500
)

// A Page is a part of a list: a bare array, with the way to the next page in the head.
type Page[T any] struct {
	Items []T
	Next  string // cursor of the next page; empty on the last
	Link  string // address of the next page, see NextLink
}

// MarshalJSON implements json.Marshaler.
func (p Page[T]) MarshalJSON() ([]byte, error) {
	if p.Items == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(p.Items)
}

// Header tells the way to the next page.
func (p Page[T]) Header(h http.Header) { SetNext(h, p.Next, p.Link) }

// Schema tells the API description what the array holds.
func (Page[T]) Schema() any { return []T{} }

// SetNext tells the way to the next page, if there is one.
func SetNext(h http.Header, cursor, link string) {
	if cursor != "" {
		h.Set("X-Next-Cursor", cursor)
		h.Set("Link", "<"+link+`>; rel="next"`)
	}
}

// NextHeaders describe what SetNext sets.
var NextHeaders = []Param{
	{Name: "X-Next-Cursor", Text: "Cursor of the next page; absent on the last one"},
	{Name: "Link", Text: `Address of the next page, rel="next"; absent on the last one`},
}

// NextLink is the address of the page of a cursor: the path with the query that filled
// in, an endpoint's input, in which the cursor takes the place of the one there was.
func NextLink(path string, in any, cursor string) string {
	query := url.Values{"cursor": {cursor}}
	v := reflect.ValueOf(in)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("query"); name != "" && name != "cursor" && v.Field(i).String() != "" {
			query.Set(name, v.Field(i).String())
		}
	}
	return path + "?" + query.Encode()
}

// ParseLimit reads how many entries a page is to have.
func ParseLimit(text string) (int, error) {
	if text == "" {
		return PageSize, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxPageSize {
		return 0, ErrQuery.Saying("limit is a whole number from 1 to %d.", MaxPageSize).In("limit")
	}
	return n, nil
}
