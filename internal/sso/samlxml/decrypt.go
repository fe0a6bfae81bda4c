package samlxml

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"

	"github.com/beevik/etree"
)

const maxEncryptedKeys = 4

// ciphers are the ways to encrypt content, with the length of their keys in
// bytes. CBC says nothing of who wrote it, and what is decrypted by it leaks
// through every difference in our answers: it is for what came under a signature.
var ciphers = map[string]struct {
	key int
	cbc bool
}{
	nsXMLEnc11 + "aes128-gcm": {16, false},
	nsXMLEnc11 + "aes192-gcm": {24, false},
	nsXMLEnc11 + "aes256-gcm": {32, false},
	nsXMLEnc + "aes128-cbc":   {16, true},
	nsXMLEnc + "aes192-cbc":   {24, true},
	nsXMLEnc + "aes256-cbc":   {32, true},
}

// oaepHashes are those of the digest and of the mask. SHA-1 is sound in this
// place, and what most providers use.
var oaepHashes = map[string]crypto.Hash{
	"":                        crypto.SHA1,
	nsSignature + "sha1":      crypto.SHA1,
	nsXMLEnc + "sha256":       crypto.SHA256,
	nsXMLEnc + "sha512":       crypto.SHA512,
	nsXMLEnc11 + "mgf1sha1":   crypto.SHA1,
	nsXMLEnc11 + "mgf1sha256": crypto.SHA256,
	nsXMLEnc11 + "mgf1sha512": crypto.SHA512,
	"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384,
	nsXMLEnc11 + "mgf1sha384":                       crypto.SHA384,
}

var errDecrypt = errors.New("not decrypted")

// decrypt opens an EncryptedAssertion or an EncryptedID, which checks are named after,
// with any of our keys (XML Encryption 1.1).
// That it could be decrypted proves nothing of who made it: our public key is
// public. Whatever goes wrong after the algorithms are known looks the same.
func (t *trace) decrypt(what string, encrypted *etree.Element, keys []Key, signed bool) ([]byte, error) {
	data := child(encrypted, nsXMLEnc, "EncryptedData")
	if data == nil {
		return nil, t.refuse(CauseMalformed, what+".encryption", "one EncryptedData", "none, or several")
	}
	algorithm := attrBelow(data, "EncryptionMethod")
	content, known := ciphers[algorithm]
	want := "AES-GCM"
	if signed {
		want = "AES-GCM or AES-CBC"
	}
	if err := t.hold(known && (signed || !content.cbc), CauseAlgorithm, what+".encryption.method", want, algorithm); err != nil {
		return nil, err
	}
	wrapped := children(encrypted, nsXMLEnc, "EncryptedKey")
	for _, info := range children(data, nsSignature, "KeyInfo") {
		wrapped = append(wrapped, children(info, nsXMLEnc, "EncryptedKey")...)
	}
	if err := t.hold(len(wrapped) > 0 && len(wrapped) <= maxEncryptedKeys, CauseEncryptedKey, what+".encryption.key", "an encrypted key", "none, or too many"); err != nil {
		return nil, err
	}
	for _, w := range wrapped {
		if method := attrBelow(w, "EncryptionMethod"); method != nsXMLEnc+"rsa-oaep-mgf1p" && method != nsXMLEnc11+"rsa-oaep" {
			return nil, t.refuse(CauseAlgorithm, what+".encryption.key.method", "RSA-OAEP", method)
		}
	}
	plain, err := unwrap(wrapped, keys, content.key, func(key []byte) ([]byte, error) { return decryptContent(data, key, content.cbc) })
	return plain, t.hold(err == nil, CauseEncryptedKey, what+".encryption", "encrypted for one of our keys", "not decrypted")
}

// unwrap tries each of our keys on each of the encrypted keys. One that can not
// be decrypted becomes a random key, so that the same work follows; what that
// opens is never taken, because CBC opens with any key once in sixteen times.
func unwrap(wrapped []*etree.Element, keys []Key, length int, open func(key []byte) ([]byte, error)) ([]byte, error) {
	for _, w := range wrapped {
		sealed, options, readable := keyTransport(w)
		for _, ours := range keys {
			key, real := make([]byte, length), false
			_, _ = rand.Read(key) // it never fails
			if decrypter, can := ours.Private.(crypto.Decrypter); can && readable {
				if got, err := decrypter.Decrypt(rand.Reader, sealed, options); err == nil && len(got) == length {
					key, real = got, true
				}
			}
			if plain, err := open(key); err == nil && real {
				return plain, nil
			}
		}
	}
	return nil, errDecrypt
}

// keyTransport reads how a key was encrypted. The older of the two algorithms
// always makes its mask with SHA-1, whatever the digest is.
func keyTransport(e *etree.Element) (sealed []byte, options *rsa.OAEPOptions, ok bool) {
	method := child(e, nsXMLEnc, "EncryptionMethod")
	digest, mask := "", ""
	if d := child(method, nsSignature, "DigestMethod"); d != nil {
		digest = attr(d, "Algorithm")
	}
	if m := child(method, nsXMLEnc11, "MGF"); m != nil && attr(method, "Algorithm") == nsXMLEnc11+"rsa-oaep" {
		mask = attr(m, "Algorithm")
	}
	hash, knownHash := oaepHashes[digest]
	mgf, knownMask := oaepHashes[mask]
	sealed, err := cipherValue(e)
	return sealed, &rsa.OAEPOptions{Hash: hash, MGFHash: mgf}, knownHash && knownMask && err == nil
}

func decryptContent(data *etree.Element, key []byte, cbc bool) ([]byte, error) {
	sealed, err := cipherValue(data)
	if err != nil {
		return nil, errDecrypt
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errDecrypt
	}
	if cbc {
		return decryptCBC(block, sealed)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil || len(sealed) < gcm.NonceSize() {
		return nil, errDecrypt
	}
	return gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
}

func decryptCBC(block cipher.Block, sealed []byte) ([]byte, error) {
	if len(sealed) < 2*aes.BlockSize || len(sealed)%aes.BlockSize != 0 {
		return nil, errDecrypt
	}
	plain := make([]byte, len(sealed)-aes.BlockSize)
	cipher.NewCBCDecrypter(block, sealed[:aes.BlockSize]).CryptBlocks(plain, sealed[aes.BlockSize:])
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > aes.BlockSize {
		return nil, errDecrypt
	}
	return bytes.TrimSpace(slices.Clip(plain[:len(plain)-padding])), nil
}

func cipherValue(e *etree.Element) ([]byte, error) {
	data := child(e, nsXMLEnc, "CipherData")
	if data == nil {
		return nil, errDecrypt
	}
	return decode64(token(child(data, nsXMLEnc, "CipherValue")))
}

// attrBelow is the Algorithm of the only element of that name; empty if none.
func attrBelow(e *etree.Element, tag string) string {
	c := child(e, nsXMLEnc, tag)
	if c == nil {
		return ""
	}
	return attr(c, "Algorithm")
}
