package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const howToInstallLemonLDAP = `LemonLDAP::NG is needed for the tests with a second SAML provider that others wrote:
	Debian, Ubuntu   apt-get install liblemonldap-ng-portal-perl liblasso-perl libplack-perl libxml-simple-perl libio-string-perl
CARDEA_LEMONLDAP may name its folder, in which portal is`

var lemonPackages = []string{"liblemonldap-ng-portal-perl", "liblasso-perl", "libplack-perl", "libxml-simple-perl", "libio-string-perl"}

// lemonLDAP is an identity provider on the library Lasso, which encrypts what it says. It
// lives at a site of its own. Its people are rtyler, dwho and msmith, whose passwords are
// their names; rtyler is in the group "engineers".
type lemonLDAP struct {
	host, address string
	dir           string
	log           bytes.Buffer
}

func (i *lemonLDAP) url() string { return "http://" + i.host }

// metadata are read from where it listens: only browsers know where its name leads.
func (i *lemonLDAP) metadata() (text string, status int, err error) {
	req, err := http.NewRequest("GET", "http://"+i.address+"/saml/metadata", nil)
	if err != nil {
		return "", 0, err
	}
	req.Host = i.host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), resp.StatusCode, err
}

// prepareLemonLDAP makes two connections of the organization Acme and a provider that knows
// both, and says where they are. For one it encrypts assertions, for the other names.
func prepareLemonLDAP(t *testing.T, s *server) []string {
	t.Helper()
	organization, connections := s.acmeDrafts(t, "assertion", "nameid")
	us := map[string]string{}
	for mode, connection := range connections {
		resp, err := http.Get("http://" + s.address + "/saml/" + connection + "/metadata")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("our metadata: %d, %v\n%s", resp.StatusCode, err, text)
		}
		us[mode] = string(text)
	}
	idp := startLemonLDAP(t, us)
	text, _, err := idp.metadata()
	if err != nil {
		t.Fatal(err)
	}
	metadata := filepath.Join(idp.dir, "metadata.xml")
	if err := os.WriteFile(metadata, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"CARDEA_LEMONLDAP_URL=" + idp.url(), "CARDEA_LEMONLDAP_METADATA=" + metadata, "CARDEA_ORGANIZATION=" + organization, "CARDEA_CONNECTION=" + connections["assertion"], "CARDEA_CONNECTION_OF_NAMES=" + connections["nameid"]}
}

// acmeDrafts adds empty connections to the organization that the developer mode has, and
// switches off the others.
func (s *server) acmeDrafts(t *testing.T, names ...string) (organization string, connections map[string]string) {
	t.Helper()
	call := func(method, path string, in, out any) {
		if status, err := s.call(t.Context(), method, "/api/v1/organizations"+path, in, out); err != nil || status >= 300 {
			t.Fatalf("%s %s: %d, %v", method, path, status, err)
		}
	}
	type named struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	var all, others []named
	call("GET", "", nil, &all)
	for _, o := range all {
		if o.Name == "Acme" {
			organization = o.ID
		}
	}
	call("GET", "/"+organization+"/connections", nil, &others)
	for _, c := range others {
		call("PUT", "/"+organization+"/connections/"+c.ID, map[string]string{"state": "disabled"}, nil)
	}
	connections = map[string]string{}
	for _, name := range names {
		var made named
		call("POST", "/"+organization+"/connections", map[string]string{"kind": "saml", "provider": "custom", "name": name}, &made)
		connections[name] = made.ID
	}
	return organization, connections
}

// startLemonLDAP runs one in the small web server of Plack.
func startLemonLDAP(t *testing.T, serviceProviders map[string]string) *lemonLDAP {
	t.Helper()
	home, err := lemonHome()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	idp := &lemonLDAP{host: "auth.idp.localhost:" + port, address: "127.0.0.1:" + port, dir: t.TempDir()}
	idp.configure(t, home, serviceProviders)
	cmd := exec.Command("plackup", "-s", "HTTP::Server::PSGI", "--access-log", os.DevNull, "--host", "127.0.0.1", "--port", port, filepath.Join(idp.dir, "portal.psgi"))
	cmd.Env = append(os.Environ(), "LLNG_DEFAULTCONFFILE="+filepath.Join(idp.dir, "lemonldap-ng.ini"))
	cmd.Stdout, cmd.Stderr = &idp.log, &idp.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		errors.Join(cmd.Process.Kill(), cmd.Wait())
		if t.Failed() {
			t.Logf("LemonLDAP::NG:\n%s", idp.log.Bytes())
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, status, err := idp.metadata(); err == nil && status == http.StatusOK {
			return idp
		}
		if time.Now().After(deadline) {
			t.Fatal("LemonLDAP::NG does not show its metadata")
		}
	}
}

func lemonHome() (string, error) {
	home := os.Getenv("CARDEA_LEMONLDAP")
	if home == "" {
		home = "/usr/share/lemonldap-ng"
	}
	isThere := func() bool {
		_, err := os.Stat(filepath.Join(home, "portal", "templates"))
		perl := exec.Command("perl", "-MLasso", "-MPlack", "-MXML::Simple", "-MIO::String", "-e", "1")
		return err == nil && lookUp("plackup") != "" && perl.Run() == nil
	}
	if isThere() {
		return home, nil
	}
	unlock, err := lockFolder(clientsFolder)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := aptInstall(lemonPackages...); err != nil {
		return "", fmt.Errorf("%w\n%s", err, howToInstallLemonLDAP)
	}
	if !isThere() {
		return "", errors.New(howToInstallLemonLDAP)
	}
	return home, nil
}

// configure writes what it reads when it starts.
func (i *lemonLDAP) configure(t *testing.T, home string, serviceProviders map[string]string) {
	t.Helper()
	key, certificate := pemPair(t)
	settings, err := json.Marshal(i.settings(key, certificate, serviceProviders))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"conf/lmConf-1.json": string(settings),
		"lemonldap-ng.ini": fmt.Sprintf(`[all]
logLevel = info
logger = Lemonldap::NG::Common::Logger::Std
userLogger = Lemonldap::NG::Common::Logger::Std
[configuration]
type = File
dirName = %[1]s/conf
localStorage = Cache::FileCache
localStorageOptions = { 'namespace' => 'conf', 'default_expires_in' => 600, 'cache_root' => '%[1]s/cache', 'cache_depth' => 1 }
[portal]
staticPrefix = /static
templateDir = %[2]s/portal/templates
languages = en
`, i.dir, home),
		"portal.psgi": fmt.Sprintf(`use Plack::Builder; use Lemonldap::NG::Portal::Main;
my $portal = Lemonldap::NG::Portal::Main->run({});
builder {
	enable 'Static', path => qr{^/static/}, root => '%s/portal/htdocs';
	enable 'Static', path => sub { s{^/javascript/}{} }, root => '/usr/share/javascript';
	$portal;
};
`, home),
	} {
		path := filepath.Join(i.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sessions/lock", "persistent/lock", "cache"} {
		if err := os.MkdirAll(filepath.Join(i.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// settings are its configuration: what is not named is as it is when it is installed.
// Service providers are named by what is encrypted for them.
func (i *lemonLDAP) settings(key, certificate string, serviceProviders map[string]string) map[string]any {
	type object = map[string]any
	files := func(name string) object {
		return object{"Directory": filepath.Join(i.dir, name), "LockDirectory": filepath.Join(i.dir, name, "lock"), "generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256"}
	}
	metadata, attributes, options := object{}, object{}, object{}
	for mode, text := range serviceProviders {
		metadata[mode] = object{"samlSPMetaDataXML": text}
		attributes[mode] = object{"address": "1;mail", "given": "0;givenName", "family": "0;sn", "teams": "0;groups"}
		options[mode] = object{
			"samlSPMetaDataOptionsNameIDFormat": "persistent", "samlSPMetaDataOptionsEncryptionMode": mode, "samlSPMetaDataOptionsEnableIDPInitiatedURL": 1,
			"samlSPMetaDataOptionsSignSSOMessage": 1, "samlSPMetaDataOptionsSignSLOMessage": 1, "samlSPMetaDataOptionsCheckSSOMessageSignature": 1, "samlSPMetaDataOptionsCheckSLOMessageSignature": 1,
		}
	}
	return object{
		"cfgNum": 1, "cfgAuthor": "test", "cfgDate": 1, "cfgVersion": "2.16.1", "key": "key of a test", "whatToTrace": "uid",
		"portal": i.url() + "/", "domain": "idp.localhost", "securedCookie": 1, "locationRules": object{"auth.idp.localhost": object{"default": "accept"}},
		"authentication": "Demo", "userDB": "Same", "passwordDB": "Demo", "registerDB": "Null", "portalDisplayRegister": 0, "portalDisplayResetPassword": 0, "requireToken": 0,
		"captcha":          "::Main::Plugin", // none: the one it has wants ImageMagick
		"demoExportedVars": object{"cn": "cn", "uid": "uid"},
		"globalStorage":    "Apache::Session::File", "globalStorageOptions": files("sessions"),
		"persistentStorage": "Apache::Session::File", "persistentStorageOptions": files("persistent"),
		"localSessionStorage": "Cache::FileCache", "localSessionStorageOptions": object{"cache_root": filepath.Join(i.dir, "cache"), "namespace": "sessions", "default_expires_in": 600},
		"macros":                 object{"address": `"$uid\@acme.test"`, "given": `(split / /, $cn)[0]`, "family": `(split / /, $cn)[1]`, "teams": `$uid eq "rtyler" ? "staff; engineers" : "staff"`},
		"issuerDBSAMLActivation": 1, "samlServicePrivateKeySig": key, "samlServicePublicKeySig": certificate, "samlServicePrivateKeyEnc": key, "samlServicePublicKeyEnc": certificate,
		"samlSPMetaDataXML": metadata, "samlSPMetaDataExportedAttributes": attributes, "samlSPMetaDataOptions": options,
	}
}
