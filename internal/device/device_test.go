package device_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/cardea-id/cardea/internal/device"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]device.Client{
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1": {"Safari", "iOS 17", "iPhone"},
		"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/120.0.6099.119 Mobile/15E148 Safari/604.1":    {"Chrome", "iOS 16", "iPad"},
		"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36":                     {"Chrome", "Android 14", "Pixel 8"},
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15":                     {"Safari", "macOS", "desktop"},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0":             {"Edge", "Windows", "desktop"},
		"Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0":                                                                    {"Firefox", "Linux", "desktop"},
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                                                                  {"Googlebot", "", "bot"},
		"Amazon CloudFront": {"Amazon CloudFront", "", ""},
		"curl/8.5.0":        {"curl", "", ""},
		"":                  {},
	} {
		if got := device.Describe(header); got != want {
			t.Errorf("%q:\n got %q\nwant %q", header, got, want)
		}
	}
}

func TestDescribeTakesWhatStrangersSend(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		" ", "/", "(", ")", "((((((", ";;;;", "\x00\x00", "\r\nSet-Cookie: a=b", "\xff\xfe\xfd", "\u202egnp.exe", "\x1b[2J\x1b[31mred",
		strings.Repeat("(", 1<<20), strings.Repeat("Android;", 1<<17), strings.Repeat("😀", 1<<18), "Mozilla/5.0 (" + strings.Repeat("x", 4096) + ")",
		"Android", "Android; ", "iPhone OS _", "Windows NT", "XiaoMi/", "Instagram", "FBAN/", "Chrome Safari /", "+http://",
	} {
		isHarmless(t, header)
	}
}

func FuzzDescribe(f *testing.F) {
	for _, header := range []string{"", "Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/126.0 Mobile Safari/537.36", "Instagram 1.2 (iPhone9,1; iOS 12_1)", "a/(;\x00\u202e"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) { isHarmless(t, header) })
}

func isHarmless(t *testing.T, header string) {
	t.Helper()
	got := device.Describe(header)
	for _, s := range []string{got.Name, got.OS, got.Kind} {
		if len(s) > 64 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%.80q gave %q", header, s)
		}
	}
}

// placesFile writes a small file in MaxMind's format.
func placesFile(t *testing.T) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test-City", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	named := func(name mmdbtype.String) mmdbtype.Map {
		return mmdbtype.Map{"names": mmdbtype.Map{"de": mmdbtype.String("?"), "en": name}}
	}
	for network, record := range map[string]mmdbtype.Map{
		"192.0.2.0/24":    {"country": named("Germany"), "city": named("Berlin")},
		"198.51.100.0/24": {"country": named("France")},
		"203.0.113.0/24":  {"country": mmdbtype.String("not a map"), "city": named("bad\x1b[31m\ncity")},
		"2001:db8::/32":   {"country": named("Japan"), "city": named("Tokyo")},
	} {
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, record); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "places.mmdb")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := tree.WriteTo(file); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLocate(t *testing.T) {
	t.Parallel()
	places, err := device.Open(placesFile(t))
	if err != nil {
		t.Fatal(err)
	}
	defer places.Close()
	for ip, want := range map[string][2]string{
		"192.0.2.7":           {"Germany", "Berlin"},
		"::ffff:192.0.2.7":    {"Germany", "Berlin"},
		"198.51.100.1":        {"France", ""},
		"203.0.113.1":         {"", "bad[31mcity"},
		"2001:db8:1::9":       {"Japan", "Tokyo"},
		"2001:DB8:1::9%eth0":  {"Japan", "Tokyo"},
		"127.0.0.1":           {"", ""},
		"":                    {"", ""},
		"not an address":      {"", ""},
		"192.0.2.7:443":       {"", ""},
		"192.0.2.7, 10.0.0.1": {"", ""},
	} {
		if country, city := places.Locate(ip); country != want[0] || city != want[1] {
			t.Errorf("%q is in %q, %q; want %q", ip, country, city, want)
		}
	}
}

func TestNoFileLocatesNothing(t *testing.T) {
	t.Parallel()
	var places *device.Places
	if country, city := places.Locate("192.0.2.7"); country != "" || city != "" || places.Close() != nil {
		t.Errorf("nowhere is %q, %q", country, city)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken.mmdb")
	if err := os.WriteFile(broken, []byte(strings.Repeat("no such thing ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{broken, broken + ".missing", t.TempDir(), os.DevNull} {
		if places, err := device.Open(path); err == nil || places != nil {
			t.Errorf("%s was taken", filepath.Base(path))
		}
	}
}

// A file that is cut off while it is open must not take the server with it.
func TestLocateOutlivesItsFile(t *testing.T) {
	t.Parallel()
	path := placesFile(t)
	places, err := device.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer places.Close()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if country, city := places.Locate("192.0.2.7"); country != "" || city != "" {
		t.Errorf("found %q, %q in a file that is gone", country, city)
	}
}
