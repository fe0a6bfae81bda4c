package password_test

import (
	"encoding/hex"

	"github.com/cardea-id/cardea/internal/secret/passhash"
)

const typed = "correct h\u00f6rse"

// imported has a hash of typed in each form that an import takes, made by other
// programs: see the vectors of passhash.
var imported = []struct{ name, hash string }{
	{"bcrypt 2a", "$2a$05$HVjXpl6KDKg6NupskwdNE.1G/UoWir5U7IA0c3gRdrIhZ4ZyRogJa"},
	{"bcrypt 2b", "$2b$05$wvN/E.mvd4wPTNS9154XB.aCHLVz9wzkGkOmmlbS48jtycywAtfqe"},
	{"Spring bcrypt", "{bcrypt}$2a$05$i2bMi2bE0NjfL948grQhmeyN8/wGvEcZ1Z7lKZXYqp872/TWlAciu"},
	{"bcrypt 2y", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.lwHW2q1Nqa8IodS4egHQdi3Pa9DjaNm"},
	{"bcrypt 2x", "$2x$05$/OK.fbVrR/bpIqNJ5ianF.3TKtXMHMys1Qn7zbf/BK4H/0HCmhYOW"},
	{"sha256-crypt with rounds", "$5$rounds=1234$sixteencharssalt$2O8wa2G4AbDpjCiiApocZ59IkBeopDqRzk/TIdRUMP9"},
	{"sha512-crypt", "$6$saltstr$15HhFCj8ZQ/ypsHBy.5BlPXgmX2yE0n5QTZ4Vskin7MrlNwpTZGhLmYCE6LFvMTCOwt5QV5liHV057ch7qNtI."},
	{"md5-crypt", "$1$saltstr$tspwzLWMRPlhxUd.lKOtS0"},
	{"apr1", "$apr1$saltstr$1NIFmeZBT/qmDZcHj3W7f0"},
	{"argon2id", "$argon2id$v=19$m=1024,t=2,p=1$CCWzw6IIz3unxYi8dR8uAA$4iI987UcDKESbnoO6B8GDhz6Q/Lzof0+njRxw9Xda4o"},
	{"argon2i", "$argon2i$v=19$m=512,t=3,p=2$PGcFSnjzlMbMpX6r9KGPAA$dinupmnwsWBYM2A20UuABVqNxz5/W+lwufG+W59I5ac"},
	{"LDAP ARGON2", "{ARGON2}$argon2id$v=19$m=512,t=2,p=1$s6z8dSDFBWw2y2UN4LSyqA$1aoIRC+gnAYlpzFAR4mCnE2d91sFv7faWLvuwkaBVhQ"},
	{"scrypt", "$scrypt$ln=10,r=8,p=1$3XuP0dpbKwVgbM35/997bw$mueusKsplFyFDHiUhv8oS7Len/AHxVhvTPPTQpg8siM"},
	{"pbkdf2, sha1 as passlib names it", "$pbkdf2$1000$Nkao1VprDYGw1to7R4hxrg$G63RntOQy2HIQWFSvIRwkQ4PJCQ"},
	{"pbkdf2-sha1, PHC", "$pbkdf2-sha1$i=1000,l=20$idI5PPWjc5hXD3C5cA0tIA$Eveq4nPmkmUhl1AlfJLW8SwpZSY"},
	{"pbkdf2-sha256", "$pbkdf2-sha256$1000$NybkPKd0bu197x1DSOm9lw$tgUHnrqL1flKZNWqeThQ.o0VUrbUvDPQgJxgpxIVgmU"},
	{"pbkdf2-sha384", "$pbkdf2-sha384$1000$idI5PPWjc5hXD3C5cA0tIA$CukGC0WDdXsv8b4H1Ruxnn6EY2kzrAgJka1Vl/S5/QpGwmENha01ytQchi22MG2Y"},
	{"pbkdf2-sha512", "$pbkdf2-sha512$1000$.9/be49RqpUyhrDW2rs3hg$ohKiCbP4BJIVFLCECUiyNj1aJDoTTn.ck3Sg8x945k5LsxdDXVqX7QbVQukKmsjNAq55RALG7.cUc/TUkLg8fw"},
	{"LDAP PBKDF2", "{PBKDF2}1000$UwqBUKoVQkjpfW9NaY1Rig$tOSM63YD3BKLkSszKojyhJcNldY"},
	{"LDAP PBKDF2-SHA256", "{PBKDF2-SHA256}1000$r3UuBYAQorQ2JiQkxLhXag$y2Rc57gdZFkeDVLwZOpdt16POMXOCyyAflTATUjydsg"},
	{"LDAP PBKDF2-SHA512", "{PBKDF2-SHA512}1000$2Ns751zL2btXSomRkjIGIA$3un5biTbT1oFM1kmhXi4O2AI7Qnxq7z40NrYktmlQxiQV.04b1abf7QykXt13rpQbyMvqmbWvNcu9JNdc9ITOw"},
	{"LDAP SHA", "{SHA}rJD/5olTxW7AqKHZorModWn6ltY="},
	{"LDAP SSHA", "{SSHA}uJCBPVMpyWxcf566y6pJoolrVs+iVCrl"},
	{"LDAP MD5", "{MD5}MPGMX14/WpyXUAPsEPAZWA=="},
	{"LDAP SMD5", "{SMD5}3d2AwOdrO1EkWLnRaqSa+9i7t9Y="},
	{"LDAP SHA256", "{SHA256}j7uNwFVXQoiOuXBvoNRPDcadMD6uTMsvpYwtIqw2Qis="},
	{"LDAP SSHA256", "{SSHA256}IJUIASC2fM0IgN22tYVA8Ypv3yG9Vzk5JeIoyd5+qfxPqbWWsnbuPQ=="},
	{"LDAP SHA384", "{SHA384}boOIvHNeE6j+I06T5GNGTLRcA7fWUo3ua/zpzf6yjFjjBx3tp9NmPsqVl/+6ZeEE"},
	{"LDAP SSHA384", "{SSHA384}oqIlE9WRxkCwln2dyU/6XnGnmM2o97WwfZ5bEJ7X5guE1/mMV6wdy1jCbOM8Bzrd5N9YVyCt8hg="},
	{"LDAP SHA512", "{SHA512}KOgXCcz7iHiZUaic8uZYaMq4YfwFsrtwAfXAAjpETGA3sBgscoFX14piOfb0ci6gVEJVhpDeFYVW1xwG2ZUIHQ=="},
	{"LDAP SSHA512", "{SSHA512}tLZOCe3+iAvWrMDFsYApA9gRDuhZpzMUvP8YMyOEL3qiwC6eHyCAhMNxYuCu883unv0bHuVX23WLGQL5mkyR0rUWIqR0rhUi"},
	{"LDAP CRYPT", "{CRYPT}$6$rounds=1000$KJWP6MnoKAFQB0bC$n.TMs5P82gS0xzkwezvceSHGlbhO6NhEhj6i9S026UHWGB0aQ78ZhNVViKinBOUWZb2Wo0OHCqqViOgbTBO5X1"},
	{"phpass P", "$P$5pZ4WcujBUBYweOa8Oj7Osez9kBgKb1"},
	{"phpass H", "$H$9m.k2BrMcLtun.YkE2kYb5w4z/QLKc0"},
	{"Django sha1", "sha1$VBpYpSHuCboa$54e1883f75d202fafd57ce5bfc5f4d641a1fdf11"},
	{"Django md5", "md5$seasalt$64d0d85c93b84f5b24a5446d5be6727a"},
	{"Django bcrypt_sha256", "bcrypt_sha256$$2b$05$39vez6kksvpUmzJlFI68auOy9n5LOSXyboG2w8vHhxQtAo0l5mxVe"},
	{"Django bcrypt", "bcrypt$$2b$05$JdxPUsbnAoGD9Zmvv88RJ.nj63P4lYVcXp9AJXCwASInjNqCedZBu"},
	{"Django pbkdf2_sha256", "pbkdf2_sha256$1000$seasalt$6lTPl3ULAbP65rYxBhCDx6v5h8VizL7zsdlFFZ3nbUk="},
	{"Django pbkdf2_sha1", "pbkdf2_sha1$1000$seasalt$L90bMcUsYxmX2enralv1gbkiG70="},
	{"Django argon2", "argon2$argon2id$v=19$m=1024,t=2,p=8$c2FsdG9mdGhlc2Vh$3SlgxENKdU5j1GUrOmabREZt1AVQgRgS5RIfYxd35eI"},
	{"Django scrypt", "scrypt$1024$seasalt$8$5$gZ1MvP8B52nplfKnBTWEjDaqzWKGoyHOWLrTO6nml5XdCVc4iTZtQvh6h/SISu5r0JdRKqyYrHKOqvcnnY27Jw=="},
	{"WordPress 6.8", "$wp$2y$05$vbT5Q8WH6KoDatUJSniea.eH/rs.7fOp1ryPuSGbCnmx1ls.0squ6"},
	{"Firebase, small", passhash.Firebase(8, 10, count(64), []byte{7}, []byte("seasalt!"), unhex("b26ecd8e8d5c0a706e4440fc754eefc1a1b7b99d9b9355a098d77a0d14d10f00"+
		"820e077b14ca601b179ec75ea773be03cbe857c0efb92c5be9b46ac25a9a2548"))},
	{"digest md5 of password and salt, 3 times", passhash.Digest("MD5", "password,salt", 3, []byte("seasalt!"), unhex("006e0e2ea6848e6becf7a56873e76e40"))},
	{"digest sha1 of salt and password", passhash.Digest("sha1", "salt,password", 1, []byte("seasalt!"), unhex("8e4c31fa850b3b93941b8641eae287cabb129fa5"))},
	{"digest sha256 of password", passhash.Digest("SHA-256", "password", 1, nil, unhex("8fbb8dc0555742888eb9706fa0d44f0dc69d303eae4ccb2fa58c2d22ac36422b"))},
	{"digest sha384 of password", passhash.Digest("sha_384", "password", 1, nil, unhex("6e8388bc735e13a8fe234e93e463464cb45c03b7d6528dee6bfce9cdfeb28c58"+
		"e3071deda7d3663eca9597ffba65e104"))},
	{"digest sha512 of salt and password", passhash.Digest("SHA512", "salt,password", 1, []byte("seasalt!"), unhex("0f4f0960c2fb1dfec551636c50b40084d8fad5124652c587a7dd7644cdfed2f2"+
		"86c985a07f1686b4776a33f8f33ae1fe7d8c6eccb53b818fb6c1d4131fa7d410"))},
	{"HMAC of md5", passhash.HMAC("MD5", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("82f00f3f759ed33290e8a5f1907be6f0"))},
	{"HMAC of sha1", passhash.HMAC("sha1", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("8cdb5a22ce129f26fbc8ae03327dcc1e70e054f1"))},
	{"HMAC of sha256", passhash.HMAC("SHA-256", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("54aec10a79bf469c244709590f13cce3b2e75ff575aace0c2b8a092f81fd57d8"))},
	{"HMAC of sha384", passhash.HMAC("sha_384", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("da8855917b7350b5558b08aee308f5e3facf79067960b80f23341a0605216483"+
		"3521ba08f47b4a3d33687668cea6fbbe"))},
	{"HMAC of sha512", passhash.HMAC("SHA512", "password,salt", []byte("signing key"), []byte("seasalt!"), unhex("d13f50fe38766d4b12ecd56939e2b9829004fadf2a02aa9d8fcefd3d28bf27f1"+
		"9b99c7ab86c6c9d9afd3321f9d8b548faf2130e3ad38cbf830f99a5f4397d5bb"))},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
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
