package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keys are those that the product says it signs with.
type keys struct {
	set    jose.JSONWebKeySet
	issuer string
	seen   atomic.Int64
	ids    sync.Map // "jti" of the tokens that were looked at
}

func parseKeys(text []byte, issuer string) (*keys, error) {
	k := &keys{issuer: issuer}
	if err := json.Unmarshal(text, &k.set); err != nil {
		return nil, err
	}
	if len(k.set.Keys) == 0 {
		return nil, errors.New("the product publishes no keys")
	}
	return k, nil
}

// A want is what a token must say.
type want struct{ alg, typ, subject, client string }

// claims are what is looked at of a token.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience any    `json:"aud"`
	ClientID string `json:"client_id"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti"`
	Email    string `json:"email"`
}

// now and then, once in a thousand times, look checks a token with cryptography; it
// would take more of the machine than the product otherwise.
func (k *keys) look(token string, w want) error {
	if k.seen.Add(1)%1000 != 1 {
		return nil
	}
	c, err := k.check(token, w)
	if err != nil {
		return err
	}
	if _, again := k.ids.LoadOrStore(c.ID, true); again || c.ID == "" {
		return fmt.Errorf("two tokens have the id %q", c.ID)
	}
	return nil
}

// check returns what a token says, if one of the keys has signed it and it is what is
// wanted. Empty fields ask for nothing.
func (k *keys) check(token string, w want) (c claims, err error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(w.alg)})
	if err != nil {
		return c, fmt.Errorf("token %.40q: %w", token, err)
	}
	header := signed.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != w.typ {
		return c, fmt.Errorf("token of type %v, want %s", header.ExtraHeaders[jose.HeaderType], w.typ)
	}
	found := k.set.Key(header.KeyID)
	if len(found) != 1 {
		return c, fmt.Errorf("the token's key %s is not published", header.KeyID)
	}
	payload, err := signed.Verify(found[0].Key)
	if err != nil {
		return c, fmt.Errorf("verify token: %w", err)
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return c, err
	}
	if c.Issuer != k.issuer || c.Expires <= time.Now().Unix() || w.subject != "" && c.Subject != w.subject || w.client != "" && c.ClientID != w.client {
		return c, fmt.Errorf("the token says %s, want %+v", payload, w)
	}
	return c, nil
}

// member returns the value of a text member of a flat JSON object that has no escapes,
// empty if there is none. It spares decoding each answer.
func member(body []byte, name string) string {
	_, after, _ := bytes.Cut(body, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(after, []byte(`"`))
	return string(value)
}
