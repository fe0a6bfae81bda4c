package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const howToInstallSimpleSAML = `SimpleSAMLphp is needed for the tests with an identity provider that others wrote:
	Debian, Ubuntu   apt-get install simplesamlphp php-cli php-xml php-mbstring php-curl
CARDEA_SIMPLESAMLPHP may name its folder, in which www is`

// simpleSAML is an identity provider with the people "ann" and "ben" in it, whose
// passwords are "<name>pass".
type simpleSAML struct {
	url string
	dir string // of its configuration; a service provider is made known by a file in metadata
	log bytes.Buffer
}

func (i *simpleSAML) metadataURL() string { return i.url + "/saml2/idp/metadata.php" }

// partners is the file in which service providers stand.
func (i *simpleSAML) partners() string {
	return filepath.Join(i.dir, "metadata", "saml20-sp-remote.php")
}

// startSimpleSAML runs one in PHP's own server.
func startSimpleSAML(t *testing.T) *simpleSAML {
	t.Helper()
	home, err := simpleSAMLHome()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	idp := &simpleSAML{url: "http://" + address, dir: t.TempDir()}
	idp.configure(t)
	cmd := exec.Command("php", "-d", "session.save_path="+idp.dir, "-d", "error_reporting=E_ALL & ~E_DEPRECATED & ~E_WARNING", "-S", address, "-t", filepath.Join(home, "www"))
	cmd.Env = append(os.Environ(), "SIMPLESAMLPHP_CONFIG_DIR="+idp.dir)
	cmd.Stdout, cmd.Stderr = &idp.log, &idp.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { errors.Join(cmd.Process.Kill(), cmd.Wait()) })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(idp.metadataURL())
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return idp
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("SimpleSAMLphp does not show its metadata: %v\n%s", err, idp.log.Bytes())
		}
	}
}

func simpleSAMLHome() (string, error) {
	home := os.Getenv("CARDEA_SIMPLESAMLPHP")
	if home == "" {
		home = "/usr/share/simplesamlphp"
	}
	isThere := func() bool {
		_, err := os.Stat(filepath.Join(home, "www", "saml2", "idp", "metadata.php"))
		return err == nil && lookUp("php") != ""
	}
	if isThere() {
		return home, nil
	}
	unlock, err := lockFolder(clientsFolder)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := aptInstall("simplesamlphp", "php-cli", "php-xml", "php-mbstring", "php-curl"); err != nil {
		return "", fmt.Errorf("%w\n%s", err, howToInstallSimpleSAML)
	}
	if !isThere() {
		return "", errors.New(howToInstallSimpleSAML)
	}
	return home, nil
}

func (i *simpleSAML) configure(t *testing.T) {
	t.Helper()
	key, cert := pemPair(t)
	for name, text := range map[string]string{
		"cert/idp.crt": cert,
		"cert/idp.pem": key,
		"config.php": fmt.Sprintf(`<?php $config = [
			'baseurlpath' => '%[1]s/', 'certdir' => '%[2]s/cert/', 'loggingdir' => '%[2]s/', 'datadir' => '%[2]s/', 'tempdir' => '%[2]s/tmp', 'metadatadir' => '%[2]s/metadata',
			'secretsalt' => 'salt of a test', 'auth.adminpassword' => 'not used', 'enable.saml20-idp' => true, 'module.enable' => ['exampleauth' => true],
			'store.type' => 'phpsession', 'session.cookie.secure' => false, 'session.cookie.samesite' => null, 'logging.handler' => 'errorlog', 'logging.level' => 6,
			'timezone' => 'UTC', 'technicalcontact_email' => 'it@example.test', 'language.default' => 'en', 'showerrors' => true, 'errorreporting' => false,
			'metadata.sources' => [['type' => 'flatfile']],
		];`, i.url, i.dir),
		"authsources.php": `<?php $config = ['people' => ['exampleauth:UserPass',
			'ann:annpass' => ['uid' => ['ann'], 'mail' => ['ann@acme.test'], 'givenName' => ['Ann'], 'sn' => ['Arbor'], 'groups' => ['staff', 'engineers']],
			'ben:benpass' => ['uid' => ['ben'], 'mail' => ['ben@acme.test'], 'givenName' => ['Ben'], 'sn' => ['Birch'], 'groups' => ['staff']],
		]];`,
		"metadata/saml20-idp-hosted.php": `<?php $metadata['__DYNAMIC:1__'] = ['host' => '__DEFAULT__', 'privatekey' => 'idp.pem', 'certificate' => 'idp.crt', 'auth' => 'people',
			'signature.algorithm' => 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256', 'attributes.NameFormat' => 'urn:oasis:names:tc:SAML:2.0:attrname-format:basic',
			'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
			'authproc' => [3 => ['class' => 'saml:AttributeNameID', 'attribute' => 'uid', 'Format' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent']]];`,
		"metadata/saml20-sp-remote.php": "<?php\n",
	} {
		path := filepath.Join(i.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(i.dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// pemPair makes a key and a certificate that carries it, as files have them.
func pemPair(t *testing.T) (key, certificate string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
