package device

import (
	"fmt"
	"net/netip"
	"runtime/debug"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Places knows where addresses are, from a file in MaxMind's format with cities or
// countries (GeoLite2-City.mmdb and the like), which the operator brings along: none
// may be shipped. It is safe for concurrent use. The nil Places knows no place.
type Places struct {
	file *maxminddb.Reader
}

// Open opens the file at path. It is read from disk as needed, so a new edition must
// replace it under its name (as rename does) instead of being written into it, and is
// seen after a restart.
func Open(path string) (*Places, error) {
	file, err := maxminddb.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the file of places: %w", err)
	}
	return &Places{file}, nil
}

// Close closes the file. Nobody may be locating meanwhile.
func (p *Places) Close() error {
	if p == nil {
		return nil
	}
	return p.file.Close()
}

// Locate returns the English names of the country and the city of an address; each
// is empty if it is not known, and so are both for what is no address. A file that
// is broken knows nothing: that is no reason to turn somebody away.
func (p *Places) Locate(ip string) (country, city string) {
	addr, err := netip.ParseAddr(ip)
	if p == nil || err != nil {
		return "", ""
	}
	// The file is mapped into memory. If somebody cuts it off under us, reading it is
	// a fault that would end the process; this makes it a panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			country, city = "", ""
		}
	}()
	found := p.file.Lookup(addr.Unmap().WithZone(""))
	return name(found, "country"), name(found, "city")
}

func name(found maxminddb.Result, of string) string {
	var name string
	if err := found.DecodePath(&name, of, "names", "en"); err != nil {
		return ""
	}
	return printable(name, maxName)
}
