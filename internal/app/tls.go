package app

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// keyPairAge is how long a change of the files may go unseen.
const keyPairAge = 500 * time.Millisecond

// A keyPair serves a certificate and its key from two files, and reads them again
// when they change. What replaces them may write one after the other, so a pair
// that does not fit together only means to go on with the old one.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	state   string // of the files when they were read last
	looked  time.Time
}

func openKeyPair(certFile, keyFile string, log *slog.Logger) (*keyPair, error) {
	k := &keyPair{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	k.state = k.stateOfFiles()
	var err error
	k.current, err = loadCertificate(certFile, keyFile)
	return k, err
}

// config is the TLS of the server: 1.2 is the oldest version (RFC 9325 section
// 3.1.1), and the rest is for Go to choose.
func (k *keyPair) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: k.certificate}
}

func (k *keyPair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) >= keyPairAge {
		k.looked = now
		k.refresh()
	}
	return k.current, nil
}

// refresh reads the files if they are not those of last time. The caller holds the
// lock; reading a few kilobytes once per renewal is no reason to let go of it.
func (k *keyPair) refresh() {
	state := k.stateOfFiles()
	if state == k.state {
		return
	}
	k.state = state
	pair, err := loadCertificate(k.certFile, k.keyFile)
	if err != nil {
		k.log.Error("the new certificate is not used, the old one goes on", "err", err)
		return
	}
	k.current = pair
	k.log.Info("the certificate was read again", "expires", pair.Leaf.NotAfter)
	if err := CheckSecretFile(k.keyFile); err != nil {
		k.log.Warn("the key of the new certificate is not safe", "err", err)
	}
}

// stateOfFiles changes when one of the files does, or the link that leads to it.
func (k *keyPair) stateOfFiles() (state string) {
	for _, file := range []string{k.certFile, k.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			state += err.Error()
			continue
		}
		state += fmt.Sprintf("%d %d %v ", info.ModTime().UnixNano(), info.Size(), info.Mode())
	}
	return state
}
