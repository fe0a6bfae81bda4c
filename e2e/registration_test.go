package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// prepareRegistration lets applications of the tenant describe themselves, and says which
// certificate their server has: the installation trusts it.
func prepareRegistration(t *testing.T, s *server) []string {
	t.Helper()
	s.stop(t)
	cert, key := certificateOfClients(t, t.TempDir())
	s.env = append(s.env, "SSL_CERT_FILE="+cert)
	settings := exec.CommandContext(t.Context(), binary, "tenant", "settings", "--data", s.dir, "--tenant", "demo", "sign_in.registration=true", "sign_in.client_documents=true")
	settings.Env = append(os.Environ(), "CARDEA_DATABASE_URL="+s.url)
	if out, err := settings.CombinedOutput(); err != nil {
		t.Fatalf("settings: %v\n%s", err, out)
	}
	s.start(t)
	return []string{"CARDEA_CLIENT_CERT=" + cert, "CARDEA_CLIENT_KEY=" + key}
}

// certificateOfClients makes a certificate for 127.0.0.1, and returns the files.
func certificateOfClients(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}
