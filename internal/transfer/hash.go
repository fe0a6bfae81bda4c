package transfer

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/secret/passhash"
)

// The products keep the parts of a hash apart, or write it in a form of their own.
// The functions here make one of the forms of passhash of it; passhash.Check then
// judges that.

// columnHash joins a hash whose parts are in columns or members of their own.
func columnHash(r *Record) (string, error) {
	sum, err := binaryText(r.PasswordHash)
	if err != nil {
		return "", errHash.Saying("password_hash is neither hexadecimal nor base64.")
	}
	algorithm := strings.ToLower(strings.ReplaceAll(r.PasswordAlgorithm, "_", "-"))
	salt := []byte(r.PasswordSalt)
	if digest, ok := strings.CutPrefix(algorithm, "pbkdf2-"); ok {
		return passhash.PBKDF2(digest, r.PasswordIterations, salt, sum), nil
	}
	order := r.PasswordOrder
	switch {
	case len(salt) == 0:
		order = "password"
	case order == "":
		order = "salt,password"
	}
	return passhash.Digest(algorithm, order, max(r.PasswordIterations, 1), salt, sum), nil
}

// binaryText decodes hexadecimal, or else base64 in any of its alphabets.
func binaryText(s string) ([]byte, error) {
	if b, err := hex.DecodeString(s); err == nil {
		return b, nil
	}
	return base64Text(s)
}

// base64Text decodes base64 in either alphabet, padded or not.
func base64Text(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	return base64.RawStdEncoding.DecodeString(s)
}

// keycloakHash joins the two halves of a Keycloak credential.
func keycloakHash(secret keycloakSecret, data keycloakData) (string, error) {
	if strings.HasPrefix(secret.Value, "$") { // an algorithm that was added to Keycloak, as bcrypt often is
		return secret.Value, nil
	}
	sum, err := base64Text(secret.Value)
	if err != nil {
		return "", errHash.Saying("The value of the credential is not base64.")
	}
	salt, err := base64Text(secret.Salt)
	if err != nil {
		return "", errHash.Saying("The salt of the credential is not base64.")
	}
	first := func(name string) string {
		if v := data.Parameters[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	switch data.Algorithm {
	case "pbkdf2":
		return passhash.PBKDF2("sha1", data.Iterations, salt, sum), nil
	case "pbkdf2-sha256", "pbkdf2-sha512":
		return passhash.PBKDF2(strings.TrimPrefix(data.Algorithm, "pbkdf2-"), data.Iterations, salt, sum), nil
	case "argon2":
		if first("version") != "1.3" {
			return "", errHash.Saying("The Argon2 version of the credential is not 1.3.")
		}
		b64 := base64.RawStdEncoding
		return fmt.Sprintf("$argon2%s$v=19$m=%s,t=%d,p=%s$%s$%s", first("type"), first("memory"), data.Iterations, first("parallelism"),
			b64.EncodeToString(salt), b64.EncodeToString(sum)), nil
	}
	return "", errHash.Saying("The credential's algorithm is not known.")
}

// firebaseHash joins a user's salt and hash with the project's parameters.
func firebaseHash(f Firebase, salt, sum string) (string, error) {
	if f.SignerKey == "" || f.Rounds == 0 || f.MemCost == 0 {
		return "", errHash.Saying("The user has a password, but the project's hash parameters are not given.")
	}
	var parts [4][]byte
	for i, text := range [...]string{f.SignerKey, f.SaltSeparator, salt, sum} {
		var err error
		if parts[i], err = base64Text(text); err != nil {
			return "", errHash.Saying("A part of the password hash is not base64.")
		}
	}
	return passhash.Firebase(f.Rounds, f.MemCost, parts[0], parts[1], parts[2], parts[3]), nil
}

// auth0Hash joins a custom_password_hash.
func auth0Hash(c auth0Custom) (string, error) {
	switch c.Algorithm {
	case "bcrypt", "argon2", "pbkdf2", "ldap": // complete by themselves
		return c.Hash.Value, nil
	}
	sum, err := c.Hash.bytes()
	if err != nil {
		return "", err
	}
	salt, err := c.Salt.bytes()
	if err != nil {
		return "", err
	}
	order := "password"
	if len(salt) > 0 {
		order = "salt,password"
		if c.Salt.Position == "suffix" {
			order = "password,salt"
		}
	}
	switch c.Algorithm {
	case "md5", "sha1", "sha256", "sha512":
		return passhash.Digest(c.Algorithm, order, 1, salt, sum), nil
	case "hmac":
		key, err := c.Hash.Key.bytes()
		return passhash.HMAC(c.Hash.Digest, order, key, salt, sum), err
	case "scrypt":
		return passhash.Scrypt(orDefault(c.Cost, 16384), orDefault(c.BlockSize, 8), orDefault(c.Parallelization, 1), salt, sum), nil
	}
	return "", errHash.Saying("The algorithm of custom_password_hash is not known.")
}

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// bytes decodes a text that says how it is encoded.
func (e auth0Encoded) bytes() (b []byte, err error) {
	switch e.Encoding {
	case "hex":
		b, err = hex.DecodeString(e.Value)
	case "base64":
		b, err = base64Text(e.Value)
	case "utf8", "ascii", "":
		b = []byte(e.Value)
	default:
		return nil, errHash.Saying("An encoding in custom_password_hash is not known.")
	}
	if err != nil {
		return nil, errHash.Saying("A value in custom_password_hash is not in its encoding.")
	}
	return b, nil
}

// clerkHash turns a password_digest of Clerk into one of our forms.
func clerkHash(hasher, digest string) (string, error) {
	part := strings.Split(digest, "$")
	broken := errHash.Saying("The password_digest is not in the form of its password_hasher.")
	switch hasher {
	case "bcrypt", "argon2i", "argon2id", "phpass", "md5_phpass", "pbkdf2_sha256_django", "bcrypt_sha256_django", "ldap_ssha", "":
		return digest, nil
	case "md5", "sha256":
		sum, err := hex.DecodeString(digest)
		if err != nil {
			return "", broken
		}
		return passhash.Digest(hasher, "password", 1, nil, sum), nil
	case "pbkdf2_sha1", "pbkdf2_sha256", "pbkdf2_sha512", "pbkdf2_sha512_hex":
		if len(part) < 4 {
			return "", broken
		}
		return clerkPBKDF2(hasher, part)
	case "scrypt_firebase":
		if len(part) != 6 {
			return "", broken
		}
		rounds, roundsErr := strconv.Atoi(part[4])
		cost, costErr := strconv.Atoi(part[5])
		if roundsErr != nil || costErr != nil {
			return "", broken
		}
		return firebaseHash(Firebase{part[2], part[3], rounds, cost}, part[1], part[0])
	case "scrypt_werkzeug":
		return werkzeugHash(part)
	}
	return "", errHash.Saying("The password_hasher is not known.")
}

// clerkPBKDF2 reads name$iterations$salt$hash, where each name has encodings of
// its own.
func clerkPBKDF2(hasher string, part []string) (string, error) {
	iterations, err := strconv.Atoi(part[1])
	salt, sum := []byte(part[2]), []byte(nil)
	if err == nil {
		switch hasher {
		case "pbkdf2_sha256":
			if salt, err = base64Text(part[2]); err == nil {
				sum, err = base64Text(part[3])
			}
		case "pbkdf2_sha512_hex":
			if salt, err = hex.DecodeString(part[2]); err == nil {
				sum, err = hex.DecodeString(part[3])
			}
		default:
			sum, err = hex.DecodeString(part[3])
		}
	}
	if err != nil {
		return "", errHash.Saying("The password_digest is not in the form of its password_hasher.")
	}
	digest, _, _ := strings.Cut(strings.TrimPrefix(hasher, "pbkdf2_"), "_")
	return passhash.PBKDF2(digest, iterations, salt, sum), nil
}

// werkzeugHash reads scrypt:N:r:p$salt$hash, the salt as text and the hash in
// hexadecimal.
func werkzeugHash(part []string) (string, error) {
	var n, r, p int
	if len(part) == 3 {
		if _, err := fmt.Sscanf(part[0], "scrypt:%d:%d:%d", &n, &r, &p); err == nil {
			if sum, err := hex.DecodeString(part[2]); err == nil {
				return passhash.Scrypt(n, r, p, []byte(part[1]), sum), nil
			}
		}
	}
	return "", errHash.Saying("The password_digest is not in the form of its password_hasher.")
}
