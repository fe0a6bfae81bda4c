// Package ui holds what browsers load: style sheets, scripts and icons. They are
// embedded as they stand; there is no build. Scripts are small modules that only add
// to pages that work without; page.js loads those of the hosted pages.
//
//	Path   the address of a file, for pages to refer to
//	Serve  answers these addresses
//
// The address holds a hash over all files, so a browser may keep what it has
// for good and never mixes files of two versions; modules refer to one another by
// relative addresses. An attacker finds nothing here but what is public.
package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"sync"
	"time"
)

//go:embed *.css *.js *.svg
var files embed.FS

// Pattern is where Serve belongs, in the form of http.ServeMux.
const Pattern = "/ui/{version}/{file...}"

// version is found when it is first asked for: the start of a server need not wait for it.
var version = sync.OnceValue(func() string { return hashOf(files) })

func hashOf(files fs.FS) string {
	h := sha256.New()
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		h.Write([]byte(name + "\x00"))
		h.Write(content)
		return err
	})
	if err != nil {
		panic(err) // reading what is compiled in does not fail
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Path is the address of a file. It panics if there is no such file: a page that
// refers to it is a mistake of ours.
func Path(name string) string {
	if _, err := fs.Stat(files, name); err != nil {
		panic(err)
	}
	return "/ui/" + version() + "/" + name
}

// Serve answers a request to Pattern, or returns fs.ErrNotExist. A request for
// another version comes from a page that another process made; what it gets may
// not be what the page was made for, so it must not be kept.
func Serve(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	if !fs.ValidPath(name) {
		return fs.ErrNotExist
	}
	content, err := files.ReadFile(name)
	if err != nil {
		return fs.ErrNotExist
	}
	if r.PathValue("version") == version() {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	return nil
}
