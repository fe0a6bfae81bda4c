package passhash_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/secret/passhash"
)

const (
	bcryptText = "wvN/E.mvd4wPTNS9154XB.aCHLVz9wzkGkOmmlbS48jtycywAtfqe"
	salt16     = "CCWzw6IIz3unxYi8dR8uAA"
	sum32      = "4iI987UcDKESbnoO6B8GDhz6Q/Lzof0+njRxw9Xda4o"
)

// Every line is one change away from an acceptable hash, or is none at all.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 5000)
	for _, c := range []struct{ name, encoded, says string }{
		{"nothing", "", "not a form"},
		{"text", "password", "not a form"},
		{"dollars", "$$", "not a form"},
		{"one dollar", "$", "not a form"},
		{"one brace", "{", "not a form"},
		{"Django's unusable password", "!kMz", "not a form"},
		{"yescrypt", "$y$j9T$" + salt16 + "$" + sum32, "not a form"},
		{"plain text in LDAP", "{CLEARTEXT}secret", "not a form"},
		{"label within label", "{CRYPT}{CRYPT}$1$saltstr$tspwzLWMRPlhxUd.lKOtS0", "not a form"},
		{"label before a password", "{CRYPT}ab", "not a form"},
		{"too long", "{SSHA}" + long, "longer than"},
		{"line end", "$2b$12$" + bcryptText + "\n", "control"},
		{"NUL", "$2b$12$" + bcryptText[:52] + "\x00", "control"},
		{"line end in base64", "{SHA}rJD/5olTxW7AqKHZorMo\ndWn6ltY=", "control"},
		{"not ASCII", "md5$ö$64d0d85c93b84f5b24a5446d5be6727a", "non-ASCII"},

		{"bcrypt cost 17", "$2b$17$" + bcryptText, "cost"},
		{"bcrypt cost 31", "$2y$31$" + bcryptText, "cost"},
		{"bcrypt cost 3", "$2a$03$" + bcryptText, "cost"},
		{"bcrypt cost of letters", "$2a$1a$" + bcryptText, "cost"},
		{"bcrypt cost of signs", "$2a$+4$" + bcryptText, "cost"},
		{"bcrypt cut short", "$2b$12$" + bcryptText[:52], "53"},
		{"bcrypt too long", "$2b$12$" + bcryptText + "A", "53"},
		{"bcrypt with a plus", "$2b$12$" + bcryptText[:52] + "+", "characters"},
		{"bcrypt of 1997", "$2$12$" + bcryptText, "not a form"},
		{"WordPress cost", "$wp$2y$31$" + bcryptText, "cost"},
		{"WordPress without bcrypt", "$wp$1$saltstr$tspwzLWMRPlhxUd.lKOtS0", "bcrypt"},
		{"Django bcrypt cost", "bcrypt_sha256$$2b$20$" + bcryptText, "cost"},
		{"labelled bcrypt cost", "{bcrypt}$2b$20$" + bcryptText, "cost"},

		{"argon2 4 GiB", "$argon2id$v=19$m=4194304,t=1,p=1$" + salt16 + "$" + sum32, "memory"},
		{"argon2 256 MiB and 1 KiB", "$argon2id$v=19$m=262145,t=1,p=1$" + salt16 + "$" + sum32, "memory"},
		{"argon2 2^32 KiB", "$argon2id$v=19$m=4294967304,t=1,p=1$" + salt16 + "$" + sum32, "memory"},
		{"argon2 beyond integers", "$argon2id$v=19$m=99999999999999999999,t=1,p=1$" + salt16 + "$" + sum32, "memory"},
		{"argon2 negative", "$argon2id$v=19$m=-8,t=1,p=1$" + salt16 + "$" + sum32, "memory"},
		{"argon2 too little memory", "$argon2id$v=19$m=31,t=1,p=4$" + salt16 + "$" + sum32, "memory"},
		{"argon2 no passes", "$argon2id$v=19$m=1024,t=0,p=1$" + salt16 + "$" + sum32, "passes"},
		{"argon2 many passes", "$argon2id$v=19$m=262144,t=9,p=1$" + salt16 + "$" + sum32, "passes"},
		{"argon2 2^32 passes", "$argon2id$v=19$m=1024,t=4294967297,p=1$" + salt16 + "$" + sum32, "passes"},
		{"argon2 no lanes", "$argon2id$v=19$m=1024,t=1,p=0$" + salt16 + "$" + sum32, "lanes"},
		{"argon2 257 lanes", "$argon2id$v=19$m=8192,t=1,p=257$" + salt16 + "$" + sum32, "lanes"},
		{"argon2 swapped", "$argon2id$v=19$t=1,m=1024,p=1$" + salt16 + "$" + sum32, "settings"},
		{"argon2 data", "$argon2id$v=19$m=1024,t=1,p=1,data=AA$" + salt16 + "$" + sum32, "settings"},
		{"argon2 key id", "$argon2id$v=19$m=1024,t=1,p=1,keyid=AA$" + salt16 + "$" + sum32, "secret key"},
		{"argon2 empty key id", "$argon2id$v=19$m=1024,t=1,p=1,keyid=$" + salt16 + "$" + sum32, "keyid"},
		{"argon2 labelled, with key id", "{ARGON2}$argon2id$v=19$m=1024,t=1,p=1,keyid=AA$" + salt16 + "$" + sum32, "secret key"},
		{"argon2 version 16", "$argon2id$v=16$m=1024,t=1,p=1$" + salt16 + "$" + sum32, "version"},
		{"argon2 no version", "$argon2id$m=1024,t=1,p=1$" + salt16 + "$" + sum32, "version"},
		{"argon2 without hash", "$argon2id$v=19$m=1024,t=1,p=1$" + salt16, "parts"},
		{"argon2 empty hash", "$argon2id$v=19$m=1024,t=1,p=1$" + salt16 + "$", "bytes"},
		{"argon2 hash of 3 bytes", "$argon2id$v=19$m=1024,t=1,p=1$" + salt16 + "$AAAA", "bytes"},
		{"argon2 no base64", "$argon2id$v=19$m=1024,t=1,p=1$" + salt16 + "$" + sum32[:42] + "_", "base64"},
		{"argon2d", "$argon2d$v=19$m=1024,t=1,p=1$" + salt16 + "$" + sum32, "Argon2d"},
		{"Django argon2 4 GiB", "argon2$argon2id$v=19$m=4194304,t=1,p=1$" + salt16 + "$" + sum32, "memory"},

		{"scrypt N 2^21", "$scrypt$ln=21,r=1,p=1$" + salt16 + "$" + sum32, "ln"},
		{"scrypt N 2^0", "$scrypt$ln=0,r=8,p=1$" + salt16 + "$" + sum32, "ln"},
		{"scrypt 1 GiB", "$scrypt$ln=20,r=8,p=1$" + salt16 + "$" + sum32, "KiB"},
		{"scrypt much p", "$scrypt$ln=16,r=8,p=16$" + salt16 + "$" + sum32, "KiB"},
		{"scrypt no r", "$scrypt$ln=10,r=0,p=1$" + salt16 + "$" + sum32, "r must"},
		{"scrypt large r", "$scrypt$ln=1,r=1025,p=1$" + salt16 + "$" + sum32, "r must"},
		{"scrypt N no power of two", passhash.Scrypt(1000, 8, 1, nil, count(32)), "power of two"},
		{"scrypt N negative", passhash.Scrypt(-8, 8, 1, nil, count(32)), "power of two"},
		{"Django scrypt 1 GiB", "scrypt$1048576$salt$8$1$" + sum32 + "=", "KiB"},
		{"Django scrypt N", "scrypt$1023$salt$8$1$" + sum32 + "=", "power of two"},
		{"Firebase 1 GiB", passhash.Firebase(8, 20, count(64), nil, count(8), count(64)), "KiB"},
		{"Firebase without signer key", passhash.Firebase(8, 14, nil, nil, count(8), count(64)), "signer key"},
		{"Firebase without hash", passhash.Firebase(8, 14, nil, nil, count(8), nil), "signer key"},

		{"PBKDF2 10,000,001", passhash.PBKDF2("sha256", 10_000_001, count(8), count(32)), "iterations"},
		{"PBKDF2 with many blocks", passhash.PBKDF2("sha256", 1_000_000, count(8), count(352)), "iterations"},
		{"PBKDF2 none", passhash.PBKDF2("sha256", 0, count(8), count(32)), "iterations"},
		{"PBKDF2 negative", passhash.PBKDF2("sha256", -1, count(8), count(32)), "iterations"},
		{"PBKDF2 leading zero", "$pbkdf2-sha256$01000$" + salt16 + "$" + sum32, "iterations"},
		{"PBKDF2 unknown digest", passhash.PBKDF2("whirlpool", 1000, count(8), count(32)), "not a form"},
		{"PBKDF2 false length", "$pbkdf2-sha256$i=1000,l=20$" + salt16 + "$" + sum32, "iterations"},
		{"PBKDF2 huge hash", passhash.PBKDF2("sha256", 1, count(8), count(1025)), "bytes"},
		{"PBKDF2 huge salt", passhash.PBKDF2("sha256", 1, count(513), count(32)), "bytes"},
		{"Django PBKDF2 10,000,001", "pbkdf2_sha256$10000001$salt$" + sum32 + "=", "iterations"},

		{"digest of another size", passhash.Digest("md5", "password", 1, nil, count(20)), "16 bytes"},
		{"digest 10,000,001", passhash.Digest("md5", "password", 10_000_001, nil, count(16)), "iterations"},
		{"digest unused salt", passhash.Digest("md5", "password", 1, count(8), count(16)), "salt"},
		{"digest unknown order", passhash.Digest("md5", "salt,password,salt", 1, count(8), count(16)), "order"},
		{"digest unknown", passhash.Digest("crc32", "password", 1, nil, count(16)), "not a form"},
		{"HMAC without key", passhash.HMAC("sha256", "password", nil, nil, count(32)), "key"},
		{"HMAC unknown order", passhash.HMAC("sha256", "", count(8), nil, count(32)), "order"},
		{"LDAP short", "{SHA}rJD/5olTxW7AqKHZorModWn6lg==", "20 bytes"},
		{"LDAP without salt", "{SSHA}rJD/5olTxW7AqKHZorModWn6ltY=", "bytes"},
		{"LDAP no base64", "{SHA}rJD/5olTxW7AqKHZorModWn6l*Y=", "base64"},
		{"Django md5 short", "md5$salt$64d0d85c93b84f5b24a5446d5be672", "16 bytes"},
		{"Django md5 no hexadecimal", "md5$salt$64d0d85c93b84f5b24a5446d5be6727x", "hexadecimal"},

		{"sha-crypt 1,000,001", "$5$rounds=1000001$salt$VWLqEOjO6gul1yrtUdVJ68xUHkbWOUs0YIewFd5GF63", "rounds"},
		{"sha-crypt 999", "$5$rounds=999$salt$VWLqEOjO6gul1yrtUdVJ68xUHkbWOUs0YIewFd5GF63", "rounds"},
		{"sha-crypt long salt", "$5$seventeencharssal$VWLqEOjO6gul1yrtUdVJ68xUHkbWOUs0YIewFd5GF63", "salt"},
		{"sha-crypt hash of the other", "$6$saltstr$VWLqEOjO6gul1yrtUdVJ68xUHkbWOUs0YIewFd5GF63", "86"},
		{"md5-crypt long salt", "$1$ninechars$tspwzLWMRPlhxUd.lKOtS0", "salt"},
		{"md5-crypt cut short", "$1$saltstr$tspwzLWMRPlhxUd.lKOtS", "22"},
		{"phpass 2^21", "$P$JIQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", "rounds"},
		{"phpass 2^30", "$P$SIQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", "rounds"},
		{"phpass 2^6", "$P$4IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", "rounds"},
		{"phpass cut short", "$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L", "31"},
	} {
		err := passhash.Check(c.encoded)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Check(%.80q) = %v, want an error that says %q", c.name, c.encoded, err, c.says)
		}
		if ok, _, err := cheap().Verify(t.Context(), c.encoded, ""); ok || err == nil {
			t.Errorf("%s: Verify(%.80q) = %v, %v, want false and an error", c.name, c.encoded, ok, err)
		}
	}
}

func TestCheckAcceptsUpToTheBounds(t *testing.T) {
	t.Parallel()
	for _, encoded := range []string{
		"$2b$16$" + bcryptText,
		"$argon2id$v=19$m=262144,t=8,p=1$" + salt16 + "$" + sum32,
		"$argon2id$v=19$m=65536,t=3,p=4$" + salt16 + "$" + sum32,        // RFC 9106, second choice
		"$argon2id$v=19$m=262144,t=3,p=1$" + salt16 + "$" + sum32,       // libsodium, moderate
		"argon2$argon2id$v=19$m=102400,t=2,p=8$" + salt16 + "$" + sum32, // Django
		"$scrypt$ln=18,r=8,p=1$" + salt16 + "$" + sum32,
		"$scrypt$ln=17,r=8,p=1$" + salt16 + "$" + sum32,
		passhash.PBKDF2("sha512", 10_000_000, count(16), count(64)),
		passhash.PBKDF2("sha256", 25_000, count(32), count(512)), // passport-local-mongoose
		passhash.PBKDF2("sha256", 600_000, nil, count(32)),
		"$6$rounds=656000$salt$15HhFCj8ZQ/ypsHBy.5BlPXgmX2yE0n5QTZ4Vskin7MrlNwpTZGhLmYCE6LFvMTCOwt5QV5liHV057ch7qNtI.",
		"sha1$$54e1883f75d202fafd57ce5bfc5f4d641a1fdf11", // Django's unsalted form
		"{ssha}uJCBPVMpyWxcf566y6pJoolrVs+iVCrl",         // RFC 2307: no case
	} {
		if err := passhash.Check(encoded); err != nil {
			t.Errorf("Check(%q) = %v, want nil", encoded, err)
		}
	}
}

func TestCheckDoesNotRepeatTheHash(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		for _, bad := range []string{v.encoded + "*", "x" + v.encoded} {
			err := passhash.Check(bad)
			if tail := v.encoded[len(v.encoded)-8:]; err == nil || strings.Contains(err.Error(), tail) {
				t.Errorf("%s: Check(%q) = %v, want an error without the hash", v.name, bad, err)
			}
		}
	}
}

// FuzzVerify holds Verify to what Check says: the same forms, no panic, and an
// answer in bounded time. Memory is bounded by the parameters, which Check bounds;
// a form that slipped through would show here as a hang or as memory run out.
func FuzzVerify(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.encoded, v.password)
	}
	f.Add("$argon2id$v=19$m=262144,t=1,p=64$"+salt16+"$"+sum32, "large")
	f.Add("$argon2id$v=19$m=4194304,t=1,p=1$"+salt16+"$"+sum32, "too large")
	f.Add("{}$", "")
	f.Add("argon2$", "")
	h := cheap()
	f.Fuzz(func(t *testing.T, encoded, password string) {
		checked := passhash.Check(encoded)
		if len(password) > passhash.MaxPasswordBytes {
			password = password[:passhash.MaxPasswordBytes]
		}
		start := time.Now()
		_, _, err := h.Verify(t.Context(), encoded, password)
		if (checked == nil) != (err == nil) {
			t.Errorf("Check(%q) = %v, but Verify: %v", encoded, checked, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("Verify(%q) took %v", encoded, took)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, c := range []struct{ name, encoded string }{
		{"bcrypt", "$2b$12$" + bcryptText},
		{"argon2id", "$argon2id$v=19$m=19456,t=2,p=1$" + salt16 + "$" + sum32},
		{"pbkdf2", passhash.PBKDF2("sha256", 600_000, count(16), count(32))},
		{"firebase", passhash.Firebase(8, 14, count(64), count(1), count(8), count(64))},
		{"sha512-crypt", "$6$saltstr$15HhFCj8ZQ/ypsHBy.5BlPXgmX2yE0n5QTZ4Vskin7MrlNwpTZGhLmYCE6LFvMTCOwt5QV5liHV057ch7qNtI."},
		{"unknown", "plain text"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = passhash.Check(c.encoded)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	h := passhash.New(passhash.Default, nil)
	encoded, err := h.Hash(b.Context(), typed)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, _, err := h.Verify(b.Context(), encoded, typed); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func ExamplePBKDF2() {
	key := unhex("4b007901b765489abead49d926f721d065a429c1")
	fmt.Println(passhash.PBKDF2("SHA-1", 4096, []byte("salt"), key))
	// Output: $pbkdf2-sha1$4096$c2FsdA$SwB5AbdlSJq.rUnZJvch0GWkKcE
}
