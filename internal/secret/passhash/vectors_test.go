package passhash_test

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/secret/passhash"
)

const typed = "correct h\u00f6rse"

var digits = strings.Repeat("0123456789", 20)

// A vector is a hash made elsewhere.
type vector struct {
	name, password, encoded string
}

// vectors are grouped by the tool or the document they come from.
var vectors = []vector{
	// python bcrypt 5.0.0
	{"bcrypt 2a", typed, "$2a$05$HVjXpl6KDKg6NupskwdNE.1G/UoWir5U7IA0c3gRdrIhZ4ZyRogJa"},
	{"bcrypt 2b", typed, "$2b$05$wvN/E.mvd4wPTNS9154XB.aCHLVz9wzkGkOmmlbS48jtycywAtfqe"},
	{"Spring bcrypt", typed, "{bcrypt}$2a$05$i2bMi2bE0NjfL948grQhmeyN8/wGvEcZ1Z7lKZXYqp872/TWlAciu"},
	// libxcrypt through python crypt
	{"bcrypt 2y", typed, "$2y$05$/OK.fbVrR/bpIqNJ5ianF.lwHW2q1Nqa8IodS4egHQdi3Pa9DjaNm"},
	{"bcrypt 2x", typed, "$2x$05$/OK.fbVrR/bpIqNJ5ianF.3TKtXMHMys1Qn7zbf/BK4H/0HCmhYOW"},
	{"bcrypt 2x ascii", "abc", "$2x$05$/OK.fbVrR/bpIqNJ5ianF.gKRT/33uSp/5nsjXQyeItpMwPZHQxa2"},
	{"sha256-crypt with rounds", typed, "$5$rounds=1234$sixteencharssalt$2O8wa2G4AbDpjCiiApocZ59IkBeopDqRzk/TIdRUMP9"},
	{"sha512-crypt with rounds", typed, "$6$rounds=1234$ab$2URxqmXA8EozPdiskl/r0kAKGslIqPwXjwhNEdGumMBZGwZcS6mrTUEhgRrytybwj/guPqk8aH.j7hlFgl1pw1"},
	{"sha512-crypt, long", digits, "$6$rounds=1000$longpw$bQjW6l1noLQ6uKgiGSxirYBlLQOS71vYjOvxibP3DRP.HSd5lNVQv27lYBJUA8FHzqj7HLJ1tUUaRaDb/5gx9/"},
	{"sha256-crypt, empty", "", "$5$rounds=1000$emptypw$R/wgStrZGb87DR54ZFXPAjKAgm.1oPmQZlw4WtZza5B"},
	// argon2-cffi 25.1.0
	{"argon2id", typed, "$argon2id$v=19$m=1024,t=2,p=1$CCWzw6IIz3unxYi8dR8uAA$4iI987UcDKESbnoO6B8GDhz6Q/Lzof0+njRxw9Xda4o"},
	{"argon2id, 4 lanes", typed, "$argon2id$v=19$m=4096,t=1,p=4$ZgrWKM9ycaM$+oAV+AZ6D/CqfLu81yrGmw"},
	{"argon2i", typed, "$argon2i$v=19$m=512,t=3,p=2$PGcFSnjzlMbMpX6r9KGPAA$dinupmnwsWBYM2A20UuABVqNxz5/W+lwufG+W59I5ac"},
	{"LDAP ARGON2", typed, "{ARGON2}$argon2id$v=19$m=512,t=2,p=1$s6z8dSDFBWw2y2UN4LSyqA$1aoIRC+gnAYlpzFAR4mCnE2d91sFv7faWLvuwkaBVhQ"},
	// passlib 1.7.4
	{"scrypt", typed, "$scrypt$ln=10,r=8,p=1$3XuP0dpbKwVgbM35/997bw$mueusKsplFyFDHiUhv8oS7Len/AHxVhvTPPTQpg8siM"},
	{"pbkdf2, sha1 as passlib names it", typed, "$pbkdf2$1000$Nkao1VprDYGw1to7R4hxrg$G63RntOQy2HIQWFSvIRwkQ4PJCQ"},
	{"pbkdf2-sha256", typed, "$pbkdf2-sha256$1000$NybkPKd0bu197x1DSOm9lw$tgUHnrqL1flKZNWqeThQ.o0VUrbUvDPQgJxgpxIVgmU"},
	{"pbkdf2-sha512", typed, "$pbkdf2-sha512$1000$.9/be49RqpUyhrDW2rs3hg$ohKiCbP4BJIVFLCECUiyNj1aJDoTTn.ck3Sg8x945k5LsxdDXVqX7QbVQukKmsjNAq55RALG7.cUc/TUkLg8fw"},
	{"LDAP PBKDF2", typed, "{PBKDF2}1000$UwqBUKoVQkjpfW9NaY1Rig$tOSM63YD3BKLkSszKojyhJcNldY"},
	{"LDAP PBKDF2-SHA256", typed, "{PBKDF2-SHA256}1000$r3UuBYAQorQ2JiQkxLhXag$y2Rc57gdZFkeDVLwZOpdt16POMXOCyyAflTATUjydsg"},
	{"LDAP PBKDF2-SHA512", typed, "{PBKDF2-SHA512}1000$2Ns751zL2btXSomRkjIGIA$3un5biTbT1oFM1kmhXi4O2AI7Qnxq7z40NrYktmlQxiQV.04b1abf7QykXt13rpQbyMvqmbWvNcu9JNdc9ITOw"},
	{"LDAP SHA", typed, "{SHA}rJD/5olTxW7AqKHZorModWn6ltY="},
	{"LDAP SSHA", typed, "{SSHA}uJCBPVMpyWxcf566y6pJoolrVs+iVCrl"},
	{"LDAP MD5", typed, "{MD5}MPGMX14/WpyXUAPsEPAZWA=="},
	{"LDAP SMD5", typed, "{SMD5}3d2AwOdrO1EkWLnRaqSa+9i7t9Y="},
	{"LDAP SSHA256", typed, "{SSHA256}IJUIASC2fM0IgN22tYVA8Ypv3yG9Vzk5JeIoyd5+qfxPqbWWsnbuPQ=="},
	{"LDAP SSHA512", typed, "{SSHA512}tLZOCe3+iAvWrMDFsYApA9gRDuhZpzMUvP8YMyOEL3qiwC6eHyCAhMNxYuCu883unv0bHuVX23WLGQL5mkyR0rUWIqR0rhUi"},
	{"LDAP CRYPT", typed, "{CRYPT}$6$rounds=1000$KJWP6MnoKAFQB0bC$n.TMs5P82gS0xzkwezvceSHGlbhO6NhEhj6i9S026UHWGB0aQ78ZhNVViKinBOUWZb2Wo0OHCqqViOgbTBO5X1"},
	{"md5-crypt, empty", "", "$1$XAwC1WqG$1ZsccFF0yfzMj2ldySDDW0"},
	{"phpass P", typed, "$P$5pZ4WcujBUBYweOa8Oj7Osez9kBgKb1"},
	{"phpass H", typed, "$H$9m.k2BrMcLtun.YkE2kYb5w4z/QLKc0"},
	{"Django sha1", typed, "sha1$VBpYpSHuCboa$54e1883f75d202fafd57ce5bfc5f4d641a1fdf11"},
	// python hashlib
	{"pbkdf2-sha1, PHC", typed, "$pbkdf2-sha1$i=1000,l=20$idI5PPWjc5hXD3C5cA0tIA$Eveq4nPmkmUhl1AlfJLW8SwpZSY"},
	{"pbkdf2-sha256, PHC", typed, "$pbkdf2-sha256$i=1000,l=40$idI5PPWjc5hXD3C5cA0tIA$+bI1GytiGpwuXFZzqwJFD/HBekXnqBHXAmw+kd/WEHyk+m/cEXgFmg"},
	{"pbkdf2-sha384", typed, "$pbkdf2-sha384$1000$idI5PPWjc5hXD3C5cA0tIA$CukGC0WDdXsv8b4H1Ruxnn6EY2kzrAgJka1Vl/S5/QpGwmENha01ytQchi22MG2Y"},
	// openssl dgst
	{"LDAP SHA256", typed, "{SHA256}j7uNwFVXQoiOuXBvoNRPDcadMD6uTMsvpYwtIqw2Qis="},
	{"LDAP SHA512", typed, "{SHA512}KOgXCcz7iHiZUaic8uZYaMq4YfwFsrtwAfXAAjpETGA3sBgscoFX14piOfb0ci6gVEJVhpDeFYVW1xwG2ZUIHQ=="},
	{"LDAP SHA384", typed, "{SHA384}boOIvHNeE6j+I06T5GNGTLRcA7fWUo3ua/zpzf6yjFjjBx3tp9NmPsqVl/+6ZeEE"},
	{"LDAP SSHA384", typed, "{SSHA384}oqIlE9WRxkCwln2dyU/6XnGnmM2o97WwfZ5bEJ7X5guE1/mMV6wdy1jCbOM8Bzrd5N9YVyCt8hg="},
	// openssl passwd
	{"md5-crypt", typed, "$1$saltstr$tspwzLWMRPlhxUd.lKOtS0"},
	{"apr1", typed, "$apr1$saltstr$1NIFmeZBT/qmDZcHj3W7f0"},
	{"sha256-crypt", typed, "$5$saltstr$VWLqEOjO6gul1yrtUdVJ68xUHkbWOUs0YIewFd5GF63"},
	{"sha512-crypt", typed, "$6$saltstr$15HhFCj8ZQ/ypsHBy.5BlPXgmX2yE0n5QTZ4Vskin7MrlNwpTZGhLmYCE6LFvMTCOwt5QV5liHV057ch7qNtI."},
	{"md5-crypt, long", digits, "$1$saltstr$92ejuy6CBuE2juwS16zX61"},
	// python hmac and bcrypt 5.0.0, after wp_hash_password
	{"WordPress 6.8", typed, "$wp$2y$05$vbT5Q8WH6KoDatUJSniea.eH/rs.7fOp1ryPuSGbCnmx1ls.0squ6"},
	// Django 5.2.19
	{"Django bcrypt_sha256", typed, "bcrypt_sha256$$2b$05$39vez6kksvpUmzJlFI68auOy9n5LOSXyboG2w8vHhxQtAo0l5mxVe"},
	{"Django bcrypt", typed, "bcrypt$$2b$05$JdxPUsbnAoGD9Zmvv88RJ.nj63P4lYVcXp9AJXCwASInjNqCedZBu"},
	{"Django pbkdf2_sha256", typed, "pbkdf2_sha256$1000$seasalt$6lTPl3ULAbP65rYxBhCDx6v5h8VizL7zsdlFFZ3nbUk="},
	{"Django pbkdf2_sha1", typed, "pbkdf2_sha1$1000$seasalt$L90bMcUsYxmX2enralv1gbkiG70="},
	{"Django argon2", typed, "argon2$argon2id$v=19$m=1024,t=2,p=8$c2FsdG9mdGhlc2Vh$3SlgxENKdU5j1GUrOmabREZt1AVQgRgS5RIfYxd35eI"},
	{"Django scrypt", typed, "scrypt$1024$seasalt$8$5$gZ1MvP8B52nplfKnBTWEjDaqzWKGoyHOWLrTO6nml5XdCVc4iTZtQvh6h/SISu5r0JdRKqyYrHKOqvcnnY27Jw=="},
	{"Django md5", typed, "md5$seasalt$64d0d85c93b84f5b24a5446d5be6727a"},
	// crypt_blowfish, its self-test
	{"bcrypt of U*U", "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"bcrypt 2x of one high byte", "\xa3", "$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e"},
	{"bcrypt 2x that hides bytes", "\xff\xff\xa3", "$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e"},
	{"bcrypt 2y of three high bytes", "\xff\xff\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e"},
	// Drepper, "Unix crypt using SHA-256 and SHA-512"
	{"sha256-crypt, specification", "Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
	{"sha512-crypt, specification", "Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
	// phpass, its test program
	{"phpass, test program", "test12345", "$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0"},
	// RFC 6070
	{"PBKDF2 of SHA-1", "password", passhash.PBKDF2("SHA-1", 4096, []byte("salt"), unhex("4b007901b765489abead49d926f721d065a429c1"))},
	// RFC 7914 sections 11 and 12
	{"PBKDF2 of SHA-256", "passwd", passhash.PBKDF2("HmacSHA256", 1, []byte("salt"), unhex("55ac046e56e3089fec1691c22544b605"+
		"f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"))},
	{"scrypt, constructed", "pleaseletmein", passhash.Scrypt(16384, 8, 1, []byte("SodiumChloride"), unhex("7023bdcb3afd7348461c06cd81fd38eb"+
		"fda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"))},
	{"scrypt with p", "password", passhash.Scrypt(1024, 8, 16, []byte("NaCl"), unhex("fdbabe1c9d3472007856e7190d01e9fe"+
		"7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"))},
	// firebase/scrypt, its README
	{"Firebase", "user1password", passhash.Firebase(8, 14,
		unbase64("jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="),
		unbase64("Bw=="), unbase64("42xEC+ixf3L2lw=="),
		unbase64("lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="))},
	// python hashlib.scrypt and openssl enc -aes-256-ctr
	{"Firebase, small", typed, passhash.Firebase(8, 10, count(64), []byte{7}, []byte("seasalt!"), unhex("b26ecd8e8d5c0a706e4440fc754eefc1a1b7b99d9b9355a098d77a0d14d10f00"+
		"820e077b14ca601b179ec75ea773be03cbe857c0efb92c5be9b46ac25a9a2548"))},
	// openssl dgst, and openssl dgst -mac HMAC
	{"digest md5 of password", typed, passhash.Digest("MD5", "password", 1, nil, unhex("30f18c5f5e3f5a9c975003ec10f01958"))},
	{"digest md5 of salt and password", typed, passhash.Digest("MD5", "salt,password", 1, []byte("seasalt!"), unhex("dcaeef0db60413f1097432acbcb1a970"))},
	{"digest md5 of password and salt, 3 times", typed, passhash.Digest("MD5", "password,salt", 3, []byte("seasalt!"), unhex("006e0e2ea6848e6becf7a56873e76e40"))},
	{"HMAC of md5", typed, passhash.HMAC("MD5", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("82f00f3f759ed33290e8a5f1907be6f0"))},
	{"digest sha1 of password", typed, passhash.Digest("sha1", "password", 1, nil, unhex("ac90ffe68953c56ec0a8a1d9a2b3287569fa96d6"))},
	{"digest sha1 of salt and password", typed, passhash.Digest("sha1", "salt,password", 1, []byte("seasalt!"), unhex("8e4c31fa850b3b93941b8641eae287cabb129fa5"))},
	{"digest sha1 of password and salt, 3 times", typed, passhash.Digest("sha1", "password,salt", 3, []byte("seasalt!"), unhex("627f0371017e04dc59c1defaa39e636c71566388"))},
	{"HMAC of sha1", typed, passhash.HMAC("sha1", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("8cdb5a22ce129f26fbc8ae03327dcc1e70e054f1"))},
	{"digest sha256 of password", typed, passhash.Digest("SHA-256", "password", 1, nil, unhex("8fbb8dc0555742888eb9706fa0d44f0dc69d303eae4ccb2fa58c2d22ac36422b"))},
	{"digest sha256 of salt and password", typed, passhash.Digest("SHA-256", "salt,password", 1, []byte("seasalt!"), unhex("7475ab31c963b7a039b10b16a7a1f540e81a8c4d6de468865d20a2ca3ef2e7b5"))},
	{"digest sha256 of password and salt, 3 times", typed, passhash.Digest("SHA-256", "password,salt", 3, []byte("seasalt!"), unhex("a407b26baa4f6d70d939720d1ae5e536b02418ee456d69748b03f387670a8a07"))},
	{"HMAC of sha256", typed, passhash.HMAC("SHA-256", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("54aec10a79bf469c244709590f13cce3b2e75ff575aace0c2b8a092f81fd57d8"))},
	{"digest sha384 of password", typed, passhash.Digest("sha_384", "password", 1, nil, unhex("6e8388bc735e13a8fe234e93e463464cb45c03b7d6528dee6bfce9cdfeb28c58"+
		"e3071deda7d3663eca9597ffba65e104"))},
	{"digest sha384 of salt and password", typed, passhash.Digest("sha_384", "salt,password", 1, []byte("seasalt!"), unhex("c17ad89fd223ffe074470e03761bee547e884b69d2ffd7eb44372e468bacf200"+
		"a3fcba536c9a881fe48b27e9df240268"))},
	{"digest sha384 of password and salt, 3 times", typed, passhash.Digest("sha_384", "password,salt", 3, []byte("seasalt!"), unhex("149acb1695614f7d14b0635f9abb734046344d3a0ee84e402fdd61b6b1b07f86"+
		"c06244439162caa9025b120f510acd01"))},
	{"HMAC of sha384", typed, passhash.HMAC("sha_384", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("da8855917b7350b5558b08aee308f5e3facf79067960b80f23341a0605216483"+
		"3521ba08f47b4a3d33687668cea6fbbe"))},
	{"digest sha512 of password", typed, passhash.Digest("SHA512", "password", 1, nil, unhex("28e81709ccfb88789951a89cf2e65868cab861fc05b2bb7001f5c0023a444c60"+
		"37b0182c728157d78a6239f6f4722ea05442558690de158556d71c06d995081d"))},
	{"digest sha512 of salt and password", typed, passhash.Digest("SHA512", "salt,password", 1, []byte("seasalt!"), unhex("0f4f0960c2fb1dfec551636c50b40084d8fad5124652c587a7dd7644cdfed2f2"+
		"86c985a07f1686b4776a33f8f33ae1fe7d8c6eccb53b818fb6c1d4131fa7d410"))},
	{"digest sha512 of password and salt, 3 times", typed, passhash.Digest("SHA512", "password,salt", 3, []byte("seasalt!"), unhex("0dcbe9d8cf281b3f80be5e6ba033d61d21d549f16e7201518d02680f053ec1dd"+
		"725cf77cae80f460725e72cb7ddd7013a9ec761da19a5bfa15761e59b6435dc5"))},
	{"HMAC of sha512", typed, passhash.HMAC("SHA512", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("d13f50fe38766d4b12ecd56939e2b9829004fadf2a02aa9d8fcefd3d28bf27f1"+
		"9b99c7ab86c6c9d9afd3321f9d8b548faf2130e3ad38cbf830f99a5f4397d5bb"))},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func unbase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// count returns the bytes from 0 to n-1.
func count(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestVerifyKnowsHashesOfOtherSystems(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if err := passhash.Check(v.encoded); err != nil {
				t.Fatalf("Check(%q) = %v, want nil", v.encoded, err)
			}
			ok, upgrade := verify(t, cheap(), v.encoded, v.password)
			if !ok || !upgrade {
				t.Errorf("Verify(%q, %q) = %v, upgrade %v, want true, upgrade true", v.encoded, v.password, ok, upgrade)
			}
		})
	}
}

func TestVerifyRefusesWrongPasswords(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			h := cheap()
			for _, wrong := range []string{"", v.password + "x", "x" + v.password, strings.ToUpper(v.password), v.encoded} {
				if wrong == v.password || len(wrong) > passhash.MaxPasswordBytes {
					continue
				}
				if ok, upgrade := verify(t, h, v.encoded, wrong); ok || upgrade {
					t.Errorf("Verify(%q, %q) = %v, upgrade %v, want false, upgrade false", v.encoded, wrong, ok, upgrade)
				}
			}
		})
	}
}

// The last character before any padding belongs to the hash in every form.
func TestVerifyRefusesChangedHashes(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			body := strings.TrimRight(v.encoded, "=")
			i := len(body) - 6
			if v.encoded[0] == '{' && strings.HasPrefix(strings.ToUpper(v.encoded), "{S") {
				i = len("{SSHA512}") + 2 // the salt comes last
			}
			changed := v.encoded[:i] + string(other(v.encoded[i])) + v.encoded[i+1:]
			if ok, _ := verify(t, cheap(), changed, v.password); ok {
				t.Errorf("Verify(%q, %q) = true, want false", changed, v.password)
			}
		})
	}
}

// other is a character that base64, crypt64 and hexadecimal all know.
func other(c byte) byte {
	if c == '4' {
		return '5'
	}
	return '4'
}
