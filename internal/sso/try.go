package sso

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// Check tries all of a connection that can be tried without a person, and keeps what it
// found as the trace of a test: what is missing, the provider's documents, keys and
// certificates. It asks over the network: call it outside of any transaction. The actor
// needs connections:write.
func (s *Service) Check(ctx context.Context, by access.Actor, organization, connection string) (Trace, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Trace{}, err
	}
	c, err := findConnection(ctx, s.DB, by.Tenant, organization, connection)
	if err != nil {
		return Trace{}, err
	}
	t := Trace{ID: secret.ID(s.DB.Now()), Connection: c.ID, At: s.DB.Now(), Test: true}
	t.Steps = append(t.Steps, Step{Name: "settings", Expected: "all that the connection needs", OK: true})
	if p, ok := problem.From(c.complete()); ok {
		t.Cause, t.Fix = Incomplete, Fix{Side: Here, Field: fieldOf(p)}
		t.Steps[0].OK, t.Steps[0].Received = false, fieldOf(p)+" is missing"
	} else if err := s.checkProvider(ctx, c, &t); err != nil {
		return Trace{}, err
	}
	v := verdict{answer: answer{Cause: t.Cause}, trace: t, unasked: true}
	if err := s.stepLanding(ctx, c, &v); err != nil {
		return Trace{}, err
	}
	t.Steps, t.Cause = v.trace.Steps, v.Cause
	if t.Fix == (Fix{}) {
		t.Fix = s.fix(c, t.Cause, Us{})
	}
	return t, s.keep(ctx, by, t)
}

func fieldOf(p *problem.Problem) string {
	if len(p.Fields) == 0 {
		return ""
	}
	return p.Fields[0].Name
}

// checkProvider asks the provider for what it publishes.
func (s *Service) checkProvider(ctx context.Context, c Connection, t *Trace) error {
	if c.Kind == OIDC {
		return s.checkDocuments(ctx, c, t)
	}
	certificates := Step{Name: "certificates", Expected: "one that is valid after " + s.DB.Now().UTC().Format(time.RFC3339), Received: validUntil(c).UTC().Format(time.RFC3339)}
	if certificates.OK = validUntil(c).After(s.DB.Now()); !certificates.OK {
		t.Cause = CertificateExpired
	}
	t.Steps = append(t.Steps, certificates)
	if t.Cause != "" || c.Settings.MetadataURL == "" {
		return nil
	}
	read, err := s.fetchMetadata(ctx, c.Settings.MetadataURL)
	p, isProblem := problem.From(err)
	step := Step{Name: "metadata", Expected: "the metadata of " + c.Settings.IdP.EntityID, Received: read.EntityID, OK: err == nil && read.EntityID == c.Settings.IdP.EntityID}
	switch {
	case err != nil && !isProblem:
		return err
	case err != nil && !p.Is(ErrInvalid):
		t.Cause = MetadataUnreachable
	case !step.OK:
		t.Cause = MetadataInvalid
	}
	t.Steps = append(t.Steps, step)
	return nil
}

func (s *Service) checkDocuments(ctx context.Context, c Connection, t *Trace) error {
	s.towards().Forget(c.client())
	at, err := s.towards().Open(ctx, c.client())
	if err == nil {
		t.Steps = append(t.Steps, Step{Name: "discovery", Expected: "the document of " + c.Settings.Issuer, OK: true})
		err = at.CheckKeys(ctx)
	}
	if err == nil {
		t.Steps = append(t.Steps, Step{Name: "keys", Expected: "keys for signatures", OK: true})
		return nil
	}
	cause, step, ok := faultOf(err)
	if !ok {
		return err
	}
	t.Cause, t.Steps = cause, append(t.Steps, step)
	return nil
}

// A Preview is what a connection would make of attributes.
type Preview struct {
	Cause      Cause    `json:"cause,omitempty" doc:"Why nobody could be signed in with these"`
	Subject    string   `json:"subject"`
	Email      string   `json:"email"`
	FirstName  string   `json:"first_name"`
	LastName   string   `json:"last_name"`
	Username   string   `json:"username"`
	Groups     []string `json:"groups"`
	RoleIDs    []string `json:"role_ids"`
	Attributes []Seen   `json:"attributes"`
}

// Preview maps attributes as a connection would, or as it would with other settings (nil
// for its own). Nothing is kept. The actor needs connections:write.
func (s *Service) Preview(ctx context.Context, by access.Actor, organization, connection, subject string, attributes map[string][]string, with *Settings) (Preview, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Preview{}, err
	}
	c, err := findConnection(ctx, database.Reader(s.DB), by.Tenant, organization, connection)
	if err != nil {
		return Preview{}, err
	}
	if with != nil {
		if err := with.check(); err != nil {
			return Preview{}, err
		}
		c.Settings = *with
	}
	in := said{subject: subject, isAddress: c.Kind == SAML && strings.Contains(subject, "@")}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		in.attributes = append(in.attributes, samlxml.Attribute{Name: name, Values: attributes[name]})
	}
	r := c.read(in)
	p := r.profile
	return Preview{
		Cause: r.cause, Subject: p.Subject, Email: p.Email, FirstName: p.FirstName, LastName: p.LastName, Username: p.Username,
		Groups: append([]string{}, p.Groups...), RoleIDs: append([]string{}, p.RoleIDs...), Attributes: append([]Seen{}, r.seen...),
	}, nil
}
