package sso

import (
	"context"
	"errors"
	"net/url"

	"github.com/cardea-id/cardea/internal/access"
)

var errLater = errors.New("not built yet")

// Start remembers the browser and says how to send it to the provider. It asks an OpenID
// provider where that is, if that was not done lately, and has a transaction of its own,
// so call it outside of any. It returns ErrNotFound, ErrDisabled or ErrRefused.
func (s *Service) Start(ctx context.Context, by access.Actor, r Request) (Sent, error) {
	return Sent{}, errLater
}

// ReceiveSAML takes a response that a browser has posted to the ACS of a connection, and
// holds what it says. The browser is sent on to /signin/sso?flow=<handle>, by a GET that
// carries its cookies, and there Claim. A refusal is held in the same way, if it belongs
// to a flow that was begun here: Claim returns it. Otherwise it is returned at once, with
// an empty handle.
func (s *Service) ReceiveSAML(ctx context.Context, by access.Actor, connection, samlResponse, relayState string) (handle string, err error) {
	return "", errLater
}

// Look says which flow a handle belongs to and who came back, without using it up, so
// that somebody can be asked first. A flow that the provider began becomes that of the
// browser that looks at it first. The browser is the hash of what only it has.
func (s *Service) Look(ctx context.Context, by access.Actor, handle string, browser []byte) (Profile, Flow, error) {
	return Profile{}, Flow{}, errLater
}

// Claim returns who came back, once, to the browser that was sent. Of a test, and of a
// refusal (ErrRefused), it returns the Flow and no profile. It returns one of Problems.
func (s *Service) Claim(ctx context.Context, by access.Actor, handle string, browser []byte) (Profile, Flow, error) {
	return Profile{}, Flow{}, errLater
}

// FinishOIDC uses the flow up that query belongs to, asks the provider and returns who it
// is. Of a test, and of a refusal (ErrRefused), it returns the Flow and no profile. It
// asks over the network and has transactions of its own: call it outside of any. It
// returns one of Problems.
func (s *Service) FinishOIDC(ctx context.Context, by access.Actor, connection string, query url.Values, browser []byte) (Profile, Flow, error) {
	return Profile{}, Flow{}, errLater
}
