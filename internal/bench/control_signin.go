package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // of RFC 6238
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/crypto/argon2"
)

// controlSecret is the one secret that the control knows, and only by its hash.
const controlSecret = "cs_kYq2zTn5wXc8vRb3mHd7fLs4gJp6aEu9"

var controlSecretHash = sha256.Sum256([]byte(controlSecret))

// A maker is what the control needs to answer sign-ins: keys, and turns to hash.
type maker struct {
	ec    *ecdsa.PrivateKey
	rsa   *rsa.PrivateKey
	turns chan struct{}
	proof []byte // a signature of controlSecretHash
}

func newMaker() (*maker, error) {
	m := &maker{turns: make(chan struct{}, runtime.GOMAXPROCS(0))}
	var err error
	if m.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if m.proof, err = ecdsa.SignASN1(rand.Reader, m.ec, controlSecretHash[:]); err != nil {
		return nil, err
	}
	m.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	return m, err
}

// mount adds what the rows about sign-in can not do without.
func (m *maker) mount(mux *http.ServeMux, s store) {
	mux.HandleFunc("GET /static/{size}", getStatic)
	mux.HandleFunc("POST /token/{alg}", func(w http.ResponseWriter, r *http.Request) {
		token, err := m.token(r, r.PathValue("alg"), "bench")
		answer(w, token, err)
	})
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, r *http.Request) {
		token, err := m.refresh(s, r)
		answer(w, token, err)
	})
	mux.HandleFunc("POST /password", func(w http.ResponseWriter, r *http.Request) {
		m.turns <- struct{}{}
		defer func() { <-m.turns }()
		sum := argon2.IDKey([]byte(r.PostFormValue("password")), []byte("0123456789abcdef"), 2, 19<<10, 1, 32)
		answer(w, map[string]bool{"ok": len(sum) == 32}, nil)
	})
}

// mountProofs adds what stands beside a passkey and a code of an authenticator app: each
// proves a user, and updates the user's row durably.
func (m *maker) mountProofs(mux *http.ServeMux, s store) {
	prove := func(target string, check func() bool) {
		mux.HandleFunc(target, func(w http.ResponseWriter, r *http.Request) {
			ok := check()
			answer(w, map[string]bool{"ok": ok}, s.use(r.Context(), r.PostFormValue("user"), time.Now().UnixMilli()))
		})
	}
	prove("POST /passkey", func() bool { return ecdsa.VerifyASN1(&m.ec.PublicKey, controlSecretHash[:], m.proof) })
	prove("POST /totp", func() bool {
		code := hmac.New(sha1.New, controlSecretHash[:20])
		code.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30)))
		return len(code.Sum(nil)) == sha1.Size
	})
}

var filler = make([]byte, 64<<10)

// getStatic answers with so many bytes, which are there already.
func getStatic(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.PathValue("size"))
	if err != nil || size < 0 || size > len(filler) {
		http.Error(w, "no such size", http.StatusBadRequest)
		return
	}
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Content-Length"] = []string{r.PathValue("size")}
	w.Write(filler[:size])
}

// refresh updates the row of a grant, durably, and signs a token.
func (m *maker) refresh(s store, r *http.Request) (tokenAnswer, error) {
	generation, err := strconv.ParseInt(r.PostFormValue("generation"), 10, 64)
	if err != nil {
		return tokenAnswer{}, err
	}
	subject, err := s.rotate(r.Context(), r.PostFormValue("grant"), generation, time.Now().UnixMilli())
	if err != nil {
		return tokenAnswer{}, err
	}
	token, err := m.token(r, "ES256", subject)
	token.Refresh = strconv.FormatInt(generation+1, 10)
	return token, err
}

type tokenAnswer struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"`
	Refresh   string `json:"refresh_token,omitempty"`
	ID        string `json:"id_token,omitempty"`
}

type controlClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"`
	From     int64  `json:"nbf"`
	IssuedAt int64  `json:"iat"`
	ID       string `json:"jti"`
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
}

// token checks the secret of a request, and makes and signs a token; with the form's
// "id" a second one.
func (m *maker) token(r *http.Request, alg, subject string) (tokenAnswer, error) {
	given := sha256.Sum256([]byte(r.PostFormValue("client_secret")))
	if subtle.ConstantTimeCompare(given[:], controlSecretHash[:]) != 1 {
		return tokenAnswer{}, errors.New("wrong secret")
	}
	now := time.Now()
	claims := controlClaims{
		Issuer: "https://big." + baseHost, Subject: subject, Audience: "https://big." + baseHost, Expires: now.Unix() + 900, From: now.Unix(), IssuedAt: now.Unix(),
		ID: newID(now), ClientID: r.PostFormValue("client_id"), Scope: "users:read",
	}
	out := tokenAnswer{Type: "Bearer", ExpiresIn: 900}
	var err error
	if out.Access, err = m.sign(alg, claims); err == nil && r.PostFormValue("id") != "" {
		out.ID, err = m.sign(alg, claims)
	}
	return out, err
}

// sign makes a compact JWS (RFC 7515).
func (m *maker) sign(alg string, claims controlClaims) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	text := enc.AppendEncode(nil, []byte(`{"alg":"`+alg+`","kid":"0123456789abcdef01234567","typ":"at+jwt"}`))
	text = enc.AppendEncode(append(text, '.'), payload)
	digest := sha256.Sum256(text)
	var signature []byte
	if alg == "RS256" {
		signature, err = rsa.SignPKCS1v15(nil, m.rsa, crypto.SHA256, digest[:])
	} else {
		signature = make([]byte, 64)
		r, s, failed := ecdsa.Sign(rand.Reader, m.ec, digest[:])
		if err = failed; err == nil {
			r.FillBytes(signature[:32])
			s.FillBytes(signature[32:])
		}
	}
	return string(enc.AppendEncode(append(text, '.'), signature)), err
}
