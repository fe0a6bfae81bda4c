package org

import (
	"context"
	_ "embed"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

// Problems of domains.
var (
	ErrDomainNotFound = problem.New(problem.NotFound, "domain_not_found", "The organization has no such domain.")
	ErrClaimed        = problem.New(problem.Conflict, "domain_claimed", "Another organization has proved that this domain is its own.")
	ErrPublicDomain   = problem.New(problem.Invalid, "domain_public", "This domain belongs to a mail service for everybody, so nobody can claim it.")
	ErrNotProved      = problem.New(problem.Conflict, "domain_not_proved", "The record was not found in the DNS of the domain. A new record can take hours to be seen.")
	ErrCheckFailed    = problem.New(problem.Unavailable, "domain_check_failed", "The DNS of the domain did not answer. Try again later.")
	ErrDomainsFull    = problem.New(problem.Conflict, "too_many_domains", "An organization has at most 100 domains.")
)

const maxDomains = 100

// How a proof is looked at again: every Recheck, and given up after MaxFailures checks
// without the record over at least MaxMissing.
const (
	Recheck     = 24 * time.Hour
	MaxFailures = 3
	MaxMissing  = 72 * time.Hour
)

// lookupWait bounds one look at the DNS.
const lookupWait = 10 * time.Second

// A Domain is one that an organization says is its own.
type Domain struct {
	OrganizationID string
	Domain         string
	Token          string    // to be published, see Record and Value
	IsVerified     bool      // the token was found there
	VerifiedAt     time.Time // when it was found first since it was last missing; zero if never
	CheckedAt      time.Time
	Failures       int64     // checks in a row that did not find it any more
	FailingSince   time.Time // the first of these; zero if there is none
	CreatedAt      time.Time
}

// Record is the name of the TXT record that proves the domain.
func (d Domain) Record() string { return "_cardea-challenge." + d.Domain }

// Value is what the TXT record says.
func (d Domain) Value() string { return "cardea-domain-verification=" + d.Token }

//go:embed mailservices.txt
var mailServices string

// isPublic reports whether everybody can have an address of a domain.
var isPublic = sync.OnceValue(func() func(domain string) bool {
	all := map[string]bool{}
	for name := range strings.FieldsSeq(mailServices) {
		all[name] = true
	}
	return func(domain string) bool { return all[domain] }
})

// AddDomain notes that an organization says a domain is its own, and returns what to
// publish. Until it is proved that means nothing. Subdomains are domains of their own.
// One that is there already is returned as it is. The actor needs organizations:write.
func (s *Service) AddDomain(ctx context.Context, tx *database.Tx, by access.Actor, organization, name string) (Domain, error) {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return Domain{}, err
	}
	name, err := user.ParseDomain(name)
	if err != nil {
		return Domain{}, user.ErrDomain.In("domain")
	}
	if isPublic()(name) {
		return Domain{}, ErrPublicDomain.In("domain")
	}
	if _, err := hold(ctx, tx, by.Tenant, organization); err != nil {
		return Domain{}, err
	}
	if d, err := findDomain(ctx, tx, by.Tenant, organization, name); !errors.Is(err, ErrDomainNotFound) {
		return d, err
	}
	if err := s.checkClaim(ctx, tx, by.Tenant, organization, name); err != nil {
		return Domain{}, err
	}
	token, _ := secret.NewToken()
	d := Domain{OrganizationID: organization, Domain: name, Token: token, CheckedAt: tx.Now, CreatedAt: tx.Now}
	if err := insertDomain(ctx, tx, by.Tenant, d); err != nil {
		return Domain{}, err
	}
	return d, audit.Append(tx, by, audit.Event{Action: "organization.domain_added", Target: Target, TargetID: organization, Detail: map[string]any{"domain": name}})
}

// checkClaim refuses a domain that another organization has proved, and one too many.
func (s *Service) checkClaim(ctx context.Context, tx *database.Tx, tenant, organization, name string) error {
	owner, err := findOwner(ctx, tx, tenant, name)
	if err != nil {
		return err
	}
	if owner != "" && owner != organization {
		return ErrClaimed.In("domain")
	}
	n, err := countDomains(ctx, tx, tenant, organization)
	if err == nil && n >= maxDomains {
		err = ErrDomainsFull
	}
	return err
}

// VerifyDomain looks for the record in the domain's DNS and notes that the domain is
// proved: ErrNotProved if it is not there, ErrCheckFailed if the DNS does not answer,
// ErrClaimed if another organization has proved it. The actor needs
// organizations:write.
func (s *Service) VerifyDomain(ctx context.Context, by access.Actor, organization, name string) (Domain, error) {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return Domain{}, err
	}
	d, err := s.domain(ctx, s.DB, by.Tenant, organization, name)
	if err != nil {
		return Domain{}, err
	}
	// Asked before the transaction: somebody else's DNS may take its time.
	if proved, err := s.isPublished(ctx, d); err != nil {
		return Domain{}, ErrCheckFailed.Because("%s: %w", d.Record(), err)
	} else if !proved {
		return Domain{}, ErrNotProved
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error { return s.markProved(ctx, tx, by, &d) })
	return d, err
}

// markProved notes that a record was found just now.
func (s *Service) markProved(ctx context.Context, tx *database.Tx, by access.Actor, d *Domain) error {
	if _, err := hold(ctx, tx, by.Tenant, d.OrganizationID); err != nil {
		return err
	}
	first := !d.IsVerified
	if first {
		d.IsVerified, d.VerifiedAt = true, tx.Now
	}
	d.CheckedAt, d.Failures, d.FailingSince = tx.Now, 0, time.Time{}
	if err := updateDomain(ctx, tx, by.Tenant, *d); err != nil {
		return err
	}
	if !first {
		return nil
	}
	return s.domainChanged(ctx, tx, by, *d, "organization.domain_verified")
}

func (s *Service) domainChanged(ctx context.Context, tx *database.Tx, by access.Actor, d Domain, action string) error {
	tx.OnCommit(s.domains.Clear)
	if err := refreshDomain(ctx, tx, by.Tenant, d.OrganizationID); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: action, Target: Target, TargetID: d.OrganizationID, Detail: map[string]any{"domain": d.Domain}})
}

// isPublished asks the DNS. An error means that it did not answer; that there is no
// such name is an answer.
func (s *Service) isPublished(ctx context.Context, d Domain) (bool, error) {
	if s.NeedsNoDNS != nil && s.NeedsNoDNS(d.Domain) {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupWait)
	defer cancel()
	lookup := s.TXT
	if lookup == nil {
		lookup = net.DefaultResolver.LookupTXT
	}
	values, err := lookup(ctx, d.Record()+".") // with the root, or a search list is tried
	if missing, ok := errors.AsType[*net.DNSError](err); ok && missing.IsNotFound {
		return false, nil
	}
	return slices.Contains(values, d.Value()), err
}

// RemoveDomain forgets a domain, proved or not. The actor needs organizations:write.
func (s *Service) RemoveDomain(ctx context.Context, tx *database.Tx, by access.Actor, organization, name string) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	d, err := s.domain(ctx, tx, by.Tenant, organization, name)
	if err != nil {
		return err
	}
	if err := deleteDomain(ctx, tx, by.Tenant, organization, d.Domain); err != nil {
		return err
	}
	return s.domainChanged(ctx, tx, by, d, "organization.domain_removed")
}

// Domains lists the domains of an organization by name, at most 100.
func (s *Service) Domains(ctx context.Context, db database.Reader, tenant, organization string) ([]Domain, error) {
	if !secret.IsID(organization) {
		return nil, ErrNotFound
	}
	return listDomains(ctx, db, tenant, organization)
}

func (s *Service) domain(ctx context.Context, db database.Reader, tenant, organization, name string) (Domain, error) {
	name, err := user.ParseDomain(name)
	if err != nil || !secret.IsID(organization) {
		return Domain{}, ErrDomainNotFound
	}
	return findDomain(ctx, db, tenant, organization, name)
}

// found is what ByDomain remembers.
type found struct {
	organization Organization
	ok           bool
}

// ByDomain returns the active organization that has proved a domain, if there is one.
// It is remembered for a second.
func (s *Service) ByDomain(ctx context.Context, tenant, domain string) (Organization, bool, error) {
	domain, err := user.ParseDomain(domain)
	if err != nil {
		return Organization{}, false, nil
	}
	f, err := s.domains.Get(s.DB.Now(), tenant+domain, func() (found, error) {
		o, err := organizationOfDomain(ctx, s.DB, tenant, domain)
		if errors.Is(err, ErrNotFound) {
			return found{}, nil
		}
		return found{o, o.IsActive}, err
	})
	if !f.ok {
		return Organization{}, false, err
	}
	return f.organization, true, err
}

// Proves reports whether an organization has proved the domain of an address.
func (s *Service) Proves(ctx context.Context, db database.Reader, tenant, organization, email string) (bool, error) {
	if !secret.IsID(organization) {
		return false, nil
	}
	prover, err := s.ProverOf(ctx, db, tenant, email)
	return prover == organization, err
}

// ProverOf returns the organization that has proved the domain of an address, empty if
// none has. It may be disabled.
func (s *Service) ProverOf(ctx context.Context, db database.Reader, tenant, email string) (organization string, err error) {
	email, err = user.ParseEmail(email)
	if err != nil {
		return "", nil
	}
	return findOwner(ctx, db, tenant, user.DomainOf(email))
}

// Takes reports whether an address may be a member's: the organization takes any, has
// it on its white list, or has proved its domain.
func (s *Service) Takes(ctx context.Context, db database.Reader, tenant string, o Organization, email string) (bool, error) {
	email, err := user.ParseEmail(email)
	if err != nil {
		return o.AllowOutside, nil
	}
	if o.AllowOutside || slices.Contains(o.WhiteList, user.DomainOf(email)) {
		return true, nil
	}
	return s.Proves(ctx, db, tenant, o.ID, email)
}

// CheckDomains looks again at the domains whose last look is Recheck ago. One whose
// record is missing MaxFailures times over MaxMissing is not proved any more. A DNS
// that does not answer counts neither way.
func (s *Service) CheckDomains(ctx context.Context) error {
	const page = 100
	for {
		due, err := dueDomains(ctx, s.DB, s.DB.Now().Add(-Recheck), page)
		if err != nil {
			return err
		}
		for _, d := range due {
			proved, lookup := s.isPublished(ctx, d.Domain)
			err := s.DB.Write(ctx, func(tx *database.Tx) error {
				return s.noteCheck(ctx, tx, access.System(d.tenant), d.Domain, proved, lookup)
			})
			if err != nil && !errors.Is(err, ErrDomainNotFound) && !errors.Is(err, ErrNotFound) { // removed meanwhile
				return err
			}
		}
		if len(due) < page || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// noteCheck writes down what a look at the DNS has found.
func (s *Service) noteCheck(ctx context.Context, tx *database.Tx, by access.Actor, d Domain, proved bool, lookup error) error {
	if proved {
		return s.markProved(ctx, tx, by, &d)
	}
	d.CheckedAt = tx.Now
	if lookup != nil {
		return updateDomain(ctx, tx, by.Tenant, d)
	}
	if d.Failures++; d.FailingSince.IsZero() {
		d.FailingSince = tx.Now
	}
	if d.Failures < MaxFailures || tx.Now.Sub(d.FailingSince) < MaxMissing {
		return updateDomain(ctx, tx, by.Tenant, d)
	}
	d.IsVerified, d.VerifiedAt = false, time.Time{}
	if err := updateDomain(ctx, tx, by.Tenant, d); err != nil {
		return err
	}
	return s.domainChanged(ctx, tx, by, d, "organization.domain_lost")
}
