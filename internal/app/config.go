package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/secret/passhash"
)

// Config is everything an operator can set. The comments of its fields are the
// manual: docs/guides/configuration.md is made of them.
type Config struct {
	// PublicURL is the address at which users and programs reach the installation,
	// such as `https://id.example.com`: scheme and host, with a port if it is not the
	// usual one, and nothing behind it. Links in mails, redirects and the issuer of
	// tokens are made from it, never from what a request says. A tenant answers at
	// its own name under this host: tenant acme at `https://acme.id.example.com`.
	// `cardea serve` does not start without it, and wants https.
	PublicURL string `name:"public_url" placeholder:"URL" help:"Address that users see, such as https://id.example.com."`

	// Listen is the address to take connections on, as `HOST:PORT`. The default can be
	// reached from this machine only, which is right behind a proxy on the same
	// machine. To be reached from elsewhere write `:443`, or `0.0.0.0:8080` in a
	// container.
	Listen string `name:"listen" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to take connections on."`

	// DatabaseURL names the database. `sqlite:PATH` is one file, made if it is missing,
	// in a folder that exists: `/var/lib/cardea/cardea.db` is written
	// `sqlite:/var/lib/cardea/cardea.db`. For PostgreSQL 13 or newer write
	// `postgres://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full`; the options
	// of the PostgreSQL client, and `pool_max_conns`, can follow behind the question
	// mark.
	DatabaseURL string `name:"database_url" default:"sqlite:cardea.db" secret:"url" placeholder:"URL" help:"Database: sqlite:PATH or postgres://…"`

	// MasterKey seals what the database must not show: the data keys of the tenants,
	// and through them every secret that has to be read back. It is 32 random bytes
	// written as hex or base64; make one with `openssl rand -hex 32`. Keep a copy in
	// another place than the backups of the database: without it what was sealed is
	// lost, and with both everything can be read. There is no default. A database
	// belongs to the key it was made with, and no other opens it.
	MasterKey string `name:"master_key" secret:"text" placeholder:"KEY" help:"Key that seals the secrets in the database: 32 bytes as hex or base64."`

	// PasswordPepper is mixed into every password hash made from now on, so that a
	// copy of the database alone is of no use to somebody who wants to guess
	// passwords. At least 32 bytes, random, as any text. Passwords that were set with
	// a pepper can not be checked without it: keep it as long as they are in use.
	PasswordPepper string `name:"password_pepper" secret:"text" placeholder:"TEXT" help:"Secret mixed into password hashes, at least 32 bytes."`

	// DefaultTenant is the tenant that the public address itself stands for, when
	// neither host nor client id nor path of a request names another.
	DefaultTenant string `name:"default_tenant" default:"master" placeholder:"SLUG" help:"Tenant that the public address itself stands for."`

	// TLSCert is the file of the certificate, in PEM, the server's own first and then
	// those of the authorities between. With TLSCert and TLSKey Cardea speaks TLS (1.2
	// or newer) itself. Files that change are read again within a second, without a
	// restart; if the new ones do not fit together the old ones stay in use and the
	// log says why.
	TLSCert string `name:"tls_cert" placeholder:"FILE" help:"Certificate in PEM, to speak TLS without a proxy."`

	// TLSKey is the file of the certificate's private key, in PEM. Nobody but its
	// owner and its group may have access to it.
	TLSKey string `name:"tls_key" placeholder:"FILE" help:"Private key of the certificate in PEM."`

	// TrustedProxies are the proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and
	// `X-Forwarded-Host` are believed: addresses or networks such as `10.0.0.0/8`,
	// separated by commas. Name your own proxies and nobody else, because whoever is
	// on the list can claim to be any client. When TLS ends at a proxy it has to be
	// on the list, or every request counts as plain http and is refused.
	TrustedProxies string `name:"trusted_proxies" placeholder:"LIST" help:"Proxies to believe, as addresses or networks separated by commas."`

	// MetricsListen is the address of `/metrics`, for Prometheus, as `HOST:PORT`. It asks
	// for no password: choose an address that only your monitoring reaches. Empty
	// turns it off. `/metrics` is never on the main address.
	MetricsListen string `name:"metrics_listen" placeholder:"HOST:PORT" help:"Separate address of /metrics; off if empty."`

	// LogFormat is text or json. Unset, it is text if standard error is a terminal
	// and JSON if not.
	LogFormat string `name:"log_format" placeholder:"text|json" help:"Form of the log; by default text on a terminal, else JSON."`

	// SMTPURL is the mail server: `smtp://USER:PASSWORD@HOST:587` with STARTTLS,
	// `smtps://USER:PASSWORD@HOST:465` with TLS from the first byte, or
	// `smtp://HOST:25?tls=none` without any, which is for a server on this machine.
	// Without it no e-mail is sent.
	SMTPURL string `name:"smtp_url" secret:"url" placeholder:"URL" help:"Mail server: smtp://USER:PASSWORD@HOST:587 or smtps://…"`

	// SMTPFrom is the sender of e-mail, as `Name <address>`. Unset, it is
	// no-reply at the host of PublicURL.
	SMTPFrom string `name:"smtp_from" placeholder:"ADDRESS" help:"Sender of e-mail, as Name <address>."`

	// SMSProvider is who sends text messages: `twilio`, `vonage`, or `http` for any
	// service that takes them in a simple form, which may be a few lines of your own.
	// Without it no text message is sent.
	SMSProvider string `name:"sms_provider" placeholder:"twilio|vonage|http" help:"Provider of text messages: twilio, vonage or http."`

	// SMSAccount is the account at the provider: for twilio the account SID, which
	// starts with AC, for vonage the API key. With http there is none.
	SMSAccount string `name:"sms_account" placeholder:"ID" help:"Account at the provider of text messages."`

	// SMSSecret proves to the provider who is asking: for twilio the auth token, for
	// vonage the API secret, for http any text, which is sent as
	// `Authorization: Bearer TEXT`.
	SMSSecret string `name:"sms_secret" secret:"text" placeholder:"TEXT" help:"Secret of the account at the provider of text messages."`

	// SMSFrom is the sender of text messages: a number of yours such as
	// `+15005550006`, a name of up to eleven letters and digits where the recipient's
	// country allows that, or with twilio a messaging service, which starts with MG.
	// With http there is none.
	SMSFrom string `name:"sms_from" placeholder:"NUMBER" help:"Sender of text messages: a number or a name."`

	// SMSURL is the address of the provider. With http it is needed: each message is
	// sent there as a POST of the JSON object `{"id", "to", "text", "purpose",
	// "expires_at"}`; any answer of 2xx says that it is taken, 429 and 5xx that it
	// should be sent again later, 400 and 422 that it can not be. A message that is
	// sent again has the same id, which is also in the header `Idempotency-Key`. With
	// twilio and vonage it is only for another region than the usual one, such as
	// `https://api.dublin.ie1.twilio.com`. It starts with https, unless the service is
	// on this machine.
	SMSURL string `name:"sms_url" placeholder:"URL" help:"Address of the provider of text messages."`

	// GeoIP is a MaxMind file with cities or countries, such as GeoLite2-City.mmdb, by
	// which the log and the pages of an account say where somebody signed in. Without
	// it they do not.
	GeoIP string `name:"geoip" placeholder:"FILE" help:"MaxMind file by which addresses are located."`

	// BreachedPasswords is a file of stolen passwords, made with `cardea
	// breached-passwords` from the public list of SHA-1 hashes. Nobody can choose one of
	// them. Without it the built-in list of common ones counts.
	BreachedPasswords string `name:"breached_passwords" placeholder:"FILE" help:"File of stolen passwords that nobody may choose."`

	// OutboundAllow lists what Cardea may call although it is not on the public
	// internet: networks, addresses and names of hosts, separated by commas, such as
	// `10.1.0.0/16, hooks.corp.example`. Addresses of webhooks, keys and logout
	// endpoints are set by tenants and applications, who would otherwise use Cardea to
	// look around in your network. Each use is logged. It is always https, at port 443
	// or 8443. `cardea dev` may call this machine, by http and at any port.
	OutboundAllow string `name:"outbound_allow" placeholder:"LIST" help:"Internal networks and hosts that tenants may have called, separated by commas."`

	// Spool is the folder where files of users that are sent over HTTP wait for their
	// import. They hold password hashes: choose a folder on a disk of your own. Unset,
	// it is the folder `spool` beside a SQLite database or in the data folder of
	// `cardea dev`; with PostgreSQL there is none, and such imports are refused.
	Spool string `name:"spool" placeholder:"DIR" help:"Folder where files sent over HTTP wait for their import."`

	// Dev is the developer mode: plain http is let through, mail is kept to be looked
	// at. No setting turns it on, only the command cardea dev.
	Dev bool
	// DataDir is the folder of the developer mode.
	DataDir string
	// Version is the program's own, for metrics.
	Version string
}

// A Setting is one field of Config that an operator can set.
type Setting struct {
	Name        string // "public_url", as it is in the file
	Placeholder string // what a value looks like, in a word
	Help        string // one line
	Default     string
	Secret      bool // never shown; its value may also come from a file

	index int  // of the field
	isURL bool // only the password in it is secret
}

// Settings lists what can be set, in the order of the manual.
var Settings = readSettings()

func readSettings() []Setting {
	t := reflect.TypeFor[Config]()
	var out []Setting
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		if tag.Get("name") == "" {
			continue
		}
		out = append(out, Setting{
			Name: tag.Get("name"), Placeholder: tag.Get("placeholder"), Help: tag.Get("help"), Default: tag.Get("default"),
			Secret: tag.Get("secret") != "", index: i, isURL: tag.Get("secret") == "url",
		})
	}
	return out
}

// Flag is the setting's name on the command line, without the hyphens before it.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Name, "_", "-") }

// Env is the setting's name in the environment.
func (s Setting) Env() string { return envPrefix + strings.ToUpper(s.Name) }

func (s Setting) of(c *Config) *string {
	return reflect.ValueOf(c).Elem().Field(s.index).Addr().Interface().(*string)
}

const hidden = "****"

// mask returns value as it may be shown.
func (s Setting) mask(value string) string {
	switch {
	case !s.Secret || value == "":
		return value
	case !s.isURL:
		return hidden
	case strings.HasPrefix(value, "sqlite:"):
		return value
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return hidden // who knows what it is
	}
	// A password may also stand behind the question mark.
	q := u.Query()
	for name := range q {
		if strings.Contains(name, "password") {
			q.Set(name, hidden)
			u.RawQuery = q.Encode()
		}
	}
	if _, ok := u.User.Password(); ok {
		u.User = url.UserPassword(u.User.Username(), hidden)
	}
	return strings.ReplaceAll(u.String(), url.QueryEscape(hidden), hidden)
}

// check reports everything that is wrong with the values that are set. Whether
// what is needed is set is another question, see Load.
func (c *Config) check(report func(setting, format string, args ...any)) {
	c.checkAddresses(report)
	c.checkDatabase(report)
	c.checkSecrets(report)
	c.checkTLS(report)
	c.checkMail(report)
	c.checkSMS(report)
	if _, _, err := outbound.ParseAllow(c.OutboundAllow); err != nil {
		report("outbound_allow", "%v", err)
	}
	if _, err := parsePrefixes(c.TrustedProxies); err != nil {
		report("trusted_proxies", "%v", err)
	}
	if c.LogFormat != "" && c.LogFormat != "text" && c.LogFormat != "json" {
		report("log_format", "it is text or json, not %q", c.LogFormat)
	}
	if c.DefaultTenant == "" || strings.Trim(c.DefaultTenant, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		report("default_tenant", "%q is not the name of a tenant: those have lower-case letters, digits and hyphens", c.DefaultTenant)
	}
}

func (c *Config) checkAddresses(report func(setting, format string, args ...any)) {
	if c.PublicURL != "" {
		if err := c.checkPublicURL(); err != nil {
			report("public_url", "%v", err)
		}
	}
	for _, a := range []struct{ setting, value string }{{"listen", c.Listen}, {"metrics_listen", c.MetricsListen}} {
		if a.value == "" && a.setting == "metrics_listen" {
			continue
		}
		if err := checkHostPort(a.value); err != nil {
			report(a.setting, "%v", err)
		}
	}
	if c.MetricsListen != "" && c.MetricsListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		report("metrics_listen", "it is the main address: choose another port, so that metrics are not open to everybody")
	}
}

// checkPublicURL also puts the address into its normal form.
func (c *Config) checkPublicURL() error {
	u, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("%q is not an address such as https://id.example.com", c.PublicURL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return errors.New("it is scheme and host only, such as https://id.example.com, with nothing behind")
	case u.Scheme != "https" && (!c.Dev || u.Scheme != "http"):
		return errors.New("it must start with https:// (cardea dev is the one that works without TLS)")
	}
	c.PublicURL = u.Scheme + "://" + strings.ToLower(u.Host)
	return nil
}

func checkHostPort(s string) error {
	_, port, err := net.SplitHostPort(s)
	n, numberErr := strconv.Atoi(port)
	switch {
	case err != nil || numberErr != nil || n < 0:
		return fmt.Errorf("%q is not HOST:PORT, such as 127.0.0.1:8080 or :443", s)
	case n > 65535:
		return fmt.Errorf("the port %d is too large, 65535 is the last", n)
	}
	return nil
}

func (c *Config) checkDatabase(report func(setting, format string, args ...any)) {
	path, isSQLite := strings.CutPrefix(c.DatabaseURL, "sqlite:")
	isPostgres := strings.HasPrefix(c.DatabaseURL, "postgres://") || strings.HasPrefix(c.DatabaseURL, "postgresql://")
	switch {
	case isSQLite && path == "":
		report("database_url", "it names no file: write sqlite:PATH")
	case !isSQLite && !isPostgres:
		// Without the value: it may hold a password.
		report("database_url", "it starts with sqlite: or postgres://")
	case isPostgres:
		if _, err := url.Parse(c.DatabaseURL); err != nil {
			report("database_url", "it can not be read as an address; characters such as # and @ in a password are written %%23 and %%40")
		}
	}
}

func (c *Config) checkSecrets(report func(setting, format string, args ...any)) {
	if c.MasterKey != "" {
		key, err := secret.ParseMasterKey(c.MasterKey)
		if err != nil {
			report("master_key", "%v", err)
		} else if isGuessable(key) {
			report("master_key", "it is not random (make one with: openssl rand -hex %d)", secret.KeySize)
		}
	}
	if n := len(c.PasswordPepper); n > 0 && n < passhash.MinPepperBytes {
		report("password_pepper", "it has %d bytes and needs %d (make one with: openssl rand -hex %d)", n, passhash.MinPepperBytes, passhash.MinPepperBytes)
	}
}

// isGuessable finds keys that somebody typed: 32 random bytes have fewer than
// twelve different values less than once in 10^20.
func isGuessable(key []byte) bool {
	kinds := 0
	for v := range 256 {
		if bytes.IndexByte(key, byte(v)) >= 0 {
			kinds++
		}
	}
	return kinds < 12
}

func (c *Config) checkTLS(report func(setting, format string, args ...any)) {
	if c.TLSCert == "" && c.TLSKey == "" {
		return
	}
	if c.TLSCert == "" || c.TLSKey == "" {
		missing := map[bool]string{true: "tls_cert", false: "tls_key"}[c.TLSCert == ""]
		report(missing, "it is missing: certificate and key go together")
		return
	}
	_, certErr := os.Stat(c.TLSCert)
	if certErr != nil {
		report("tls_cert", "the file can not be read: %v", certErr)
	}
	keyErr := CheckSecretFile(c.TLSKey)
	if keyErr != nil {
		report("tls_key", "%v", keyErr)
	}
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := loadCertificate(c.TLSCert, c.TLSKey); err != nil {
		report("tls_cert", "%v", err)
	}
}

func (c *Config) checkMail(report func(setting, format string, args ...any)) {
	if c.SMTPURL == "" {
		if c.SMTPFrom != "" {
			report("smtp_url", "it is missing: smtp_from is the sender of mail, and there is no server to send it")
		}
		return
	}
	if _, err := c.mailer(); err != nil {
		report("smtp_url", "%v", err)
	}
}

// mailer makes the sender of e-mail; call it only with SMTPURL set.
func (c *Config) mailer() (*notify.SMTP, error) {
	from := c.SMTPFrom
	if from == "" {
		host := "localhost"
		if u, err := url.Parse(c.PublicURL); err == nil && u.Hostname() != "" {
			host = u.Hostname()
		}
		from = "no-reply@" + host
	}
	return notify.NewSMTP(c.SMTPURL, from)
}

// smsNeeds lists, for each provider of text messages, the settings that it has to
// have, and those that it may have.
var smsNeeds = map[string]struct{ must, may []string }{
	"":       {},
	"twilio": {must: []string{"sms_account", "sms_secret", "sms_from"}, may: []string{"sms_url"}},
	"vonage": {must: []string{"sms_account", "sms_secret", "sms_from"}, may: []string{"sms_url"}},
	"http":   {must: []string{"sms_url", "sms_secret"}},
}

func (c *Config) checkSMS(report func(setting, format string, args ...any)) {
	needs, ok := smsNeeds[c.SMSProvider]
	if !ok {
		report("sms_provider", "it is twilio, vonage or http, not %q", c.SMSProvider)
		return
	}
	for _, name := range []string{"sms_account", "sms_secret", "sms_from", "sms_url"} {
		isSet := *setting(name).of(c) != ""
		switch must := slices.Contains(needs.must, name); {
		case must && !isSet:
			report(name, "it is missing: sms_provider is %s", c.SMSProvider)
		case isSet && c.SMSProvider == "":
			report(name, "it has no effect: set sms_provider too")
		case isSet && !must && !slices.Contains(needs.may, name):
			report(name, "it has no effect with the sms_provider %s: remove it", c.SMSProvider)
		}
	}
	if c.SMSURL != "" {
		if err := notify.CheckProvider(c.SMSURL); err != nil {
			report("sms_url", "%v", err)
		}
	}
	if c.SMSProvider == "twilio" && c.SMSAccount != "" && !strings.HasPrefix(c.SMSAccount, "AC") {
		report("sms_account", "it is not the SID of an account, which starts with AC")
	}
}

// texter makes the sender of text messages, nil if there is none.
func (c *Config) texter() notify.Sender {
	switch c.SMSProvider {
	case "twilio":
		return &notify.Twilio{Account: c.SMSAccount, Token: c.SMSSecret, From: c.SMSFrom, Address: c.SMSURL}
	case "vonage":
		return &notify.Vonage{Key: c.SMSAccount, Secret: c.SMSSecret, From: c.SMSFrom, Address: c.SMSURL}
	case "http":
		return &notify.Gateway{Address: c.SMSURL, Secret: c.SMSSecret}
	}
	return nil
}

// outbound makes the client for addresses that others name. A developer's
// applications run on this machine.
func (c *Config) outbound(log *slog.Logger) (*outbound.Client, error) {
	allow, hosts, err := outbound.ParseAllow(c.OutboundAllow)
	if err != nil {
		return nil, err
	}
	client := &outbound.Client{Allow: allow, AllowHosts: hosts}
	if c.Dev {
		client.Allow = append(client.Allow, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
		client.AllowHTTP, client.AnyPort = true, true
		return client, nil
	}
	client.Listed = func(ctx context.Context, host string, a netip.Addr) {
		log.InfoContext(ctx, "an internal address is called, as outbound_allow says", "host", host, "address", a)
	}
	return client, nil
}

// warnings are things that may be meant, but are more often a mistake.
func (c *Config) warnings(now time.Time) (out []string) {
	if !c.Dev && c.TLSCert == "" && c.TrustedProxies == "" {
		out = append(out, "neither tls_cert nor trusted_proxies is set: every request counts as plain http and is refused")
	}
	proxies, _ := parsePrefixes(c.TrustedProxies) // check has reported the error
	for _, p := range proxies {
		if p.Bits() == 0 {
			out = append(out, fmt.Sprintf("trusted_proxies has %s: any client can claim any address and https", p))
		}
	}
	if leaf := c.Certificate(); leaf != nil {
		switch {
		case now.After(leaf.NotAfter):
			out = append(out, "the certificate in tls_cert expired on "+leaf.NotAfter.Format(time.DateOnly))
		case now.Before(leaf.NotBefore):
			out = append(out, "the certificate in tls_cert is valid only from "+leaf.NotBefore.Format(time.DateOnly))
		case leaf.VerifyHostname(c.publicHost()) != nil && c.publicHost() != "":
			out = append(out, "the certificate in tls_cert is not for "+c.publicHost())
		}
	}
	return out
}

// Certificate returns the certificate in TLSCert, nil if there is none that can be
// used.
func (c *Config) Certificate() *x509.Certificate {
	if c.TLSCert == "" || c.TLSKey == "" {
		return nil
	}
	pair, err := loadCertificate(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil // check has reported it
	}
	return pair.Leaf
}

func (c *Config) publicHost() string {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// publicAuthority is publicHost with brackets and port where the public URL has
// them.
func (c *Config) publicAuthority() string {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return ""
	}
	return u.Host
}

func loadCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate and key can not be used: %w", err)
	}
	return &pair, nil
}

// CheckSecretFile says what is wrong with the access to a file that holds a
// secret: everybody may read it, or others than its owner may change it. Its
// group may read it, which is how a service that is not root gets at files of
// root's. What a container platform mounts below /run/secrets is left alone: the
// mount is what keeps others out there.
func CheckSecretFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("the file can not be read: %w", err)
	}
	const othersAny, groupWrite = 0o007, 0o020
	if info.Mode().IsRegular() && info.Mode().Perm()&(othersAny|groupWrite) != 0 && runtime.GOOS != "windows" &&
		!strings.HasPrefix(path, "/run/secrets/") && !strings.HasPrefix(path, "/var/run/secrets/") {
		return fmt.Errorf("%s has mode %04o, so that others have access to a secret; run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}

func parsePrefixes(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			a, addrErr := netip.ParseAddr(word)
			if addrErr != nil {
				return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", word)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
