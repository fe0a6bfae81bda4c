// Package scim takes in the people of an organization from its own directory:
// Okta, Entra ID, OneLogin, JumpCloud, Ping or whatever else speaks SCIM 2.0
// (RFC 7643, RFC 7644).
//
//	Create, Save, Delete    a directory of an organization
//	NewToken, RevokeToken   what the other side proves itself with; two at a time work
//	Mount                   the calls that manage directories, and the SCIM server itself
//	Requests                what the other side has asked in the last days
//	Flush, Sweep            keep and forget those
//
// A request is authenticated by its directory's token, read (filter.go, path.go,
// resource.go), applied to what the directory has said before (patch.go), and then
// made true here (provision.go): an account, its membership of the organization, the
// roles that groups stand for. All of it is one transaction with its events.
//
// A directory speaks for its organization and for nobody else. An attacker who runs
// one would describe a user with somebody else's address to get their account, move
// an account that other organizations trust to an address of their own, name users of
// other directories in filters and groups, read passwords by asking whether one starts
// with "a", or have the server search and answer without end: an existing account is
// taken only if the organization has proved the address and the user is its member,
// addresses follow, and accounts end, only where the organization alone is concerned.
// They would make an account for an address before its owner comes: from when the owner
// has proved it the account is theirs, and an address of a domain that another
// organization has proved is refused. Everything is looked up under (tenant, directory),
// filters know the attributes of the schema and no others, and all that can be asked is
// bounded.
package scim

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Service keeps directories and answers them. Its fields are set once, before use.
type Service struct {
	DB     *database.DB
	Log    *slog.Logger
	Users  *user.Service
	Orgs   *org.Service
	Limits *ratelimit.Limiter
	// Origin returns the address of a tenant, without a path.
	Origin func(ctx context.Context, tenant string) (string, error)
	// EndAll ends everything a user is signed in with and revokes the API keys they
	// have made, in the transaction that takes them out of their organization.
	EndAll func(ctx context.Context, tx *database.Tx, by access.Actor, userID, reason string) error

	callers database.Fresh[caller]
	provers database.Fresh[string] // of domains, organizations
	totals  database.Fresh[int64]  // of lists
	places  bookmarks
	log     requestLog
	large   chan struct{} // one for each large message that is being read
	once    sync.Once
}

// Problems of directories, as those who manage them see them.
var (
	ErrNotFound      = problem.New(problem.NotFound, "directory_not_found", "There is no such directory.")
	ErrInvalid       = problem.New(problem.Invalid, "invalid_directory", "The directory is not valid.")
	ErrFull          = problem.New(problem.Conflict, "too_many_directories", "An organization has at most 20 directories. Delete one that is not used.")
	ErrTokenNotFound = problem.New(problem.NotFound, "directory_token_not_found", "There is no such token of this directory.")
)

// Problems of requests, as directories see them. The names of RFC 7644, table 9,
// stand in scimTypes.
var (
	errToken      = problem.New(problem.Unauthenticated, "directory_token_invalid", "The token is not one of this directory: unknown, replaced or expired.")
	errOff        = problem.New(problem.Forbidden, "directory_disabled", "This directory is switched off.")
	errUsersOnly  = problem.New(problem.Forbidden, "directory_token_limited", "This token may not touch groups.")
	errNoResource = problem.New(problem.NotFound, "directory_resource_not_found", "There is no such resource.")
	errTaken      = problem.New(problem.Conflict, "directory_resource_exists", "The userName, an address or the displayName is taken.")
	errFilter     = problem.New(problem.Invalid, "invalid_filter", "The filter is not one this server understands.")
	errTooMany    = problem.New(problem.Invalid, "filter_too_wide", "The filter has to look at more resources than this server is willing to. Compare userName, externalId, id, displayName or an address with eq.")
	errPath       = problem.New(problem.Invalid, "invalid_path", "The path is not one of this resource.")
	errNoTarget   = problem.New(problem.Invalid, "no_target", "The path leads to nothing that could be changed.")
	errValue      = problem.New(problem.Invalid, "invalid_value", "A value is missing or not of the kind the attribute takes.")
	errMutability = problem.New(problem.Invalid, "attribute_read_only", "The attribute can not be changed.")
	errSyntax     = problem.New(problem.Invalid, "invalid_scim_message", "The message is not one of SCIM.")
	errVersion    = problem.New(problem.Conflict, "version_mismatch", "The resource has changed since the version that If-Match names.")
	errUnproved   = problem.New(problem.Forbidden, "directory_address_unproved", "The account belongs to others as well: its address can only become one of a domain that the organization has proved.")
	errNotHere    = problem.New(problem.Unsupported, "scim_not_supported", "This server does not offer that.")
	errNoFilter   = problem.New(problem.Forbidden, "filter_not_allowed", "This address takes no filter.")
	errLarge      = problem.New(problem.TooLarge, "scim_message_too_large", "The message is larger than this server takes.")
)

// scimTypes are the words of RFC 7644, table 9, by code of the problem.
var scimTypes = map[string]string{
	errTaken.Code: "uniqueness", user.ErrExists.Code: "uniqueness",
	errFilter.Code: "invalidFilter", errTooMany.Code: "tooMany", errPath.Code: "invalidPath", errNoTarget.Code: "noTarget",
	errValue.Code: "invalidValue", user.ErrInvalid.Code: "invalidValue", user.ErrEmail.Code: "invalidValue", user.ErrPhone.Code: "invalidValue", user.ErrUsername.Code: "invalidValue",
	errMutability.Code: "mutability", errSyntax.Code: "invalidSyntax", web.ErrBody.Code: "invalidSyntax", web.ErrQuery.Code: "invalidSyntax",
}

const errorSchema = "urn:ietf:params:scim:api:messages:2.0:Error"

// A Failure is the body of an error (RFC 7644, section 3.12).
type Failure struct {
	Schemas  []string `json:"schemas"`
	Status   string   `json:"status"`
	ScimType string   `json:"scimType,omitempty"`
	Detail   string   `json:"detail"`
}

func failureOf(p *problem.Problem) (int, Failure) {
	status := web.Status(p.Kind)
	if p.Code == errVersion.Code {
		status = http.StatusPreconditionFailed
	}
	return status, Failure{[]string{errorSchema}, strconv.Itoa(status), scimTypes[p.Code], p.Message}
}

// Prefix is where the SCIM server answers.
const Prefix = "/scim/v2/"

// IsProtocol reports whether an address is the SCIM server's, which asks for tokens of
// its own.
func IsProtocol(path string) bool { return strings.HasPrefix(path, Prefix) }

// Dialect writes a problem as SCIM has it.
func Dialect(w http.ResponseWriter, _ *http.Request, p *problem.Problem) {
	if p.Kind == problem.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="scim"`)
	}
	status, body := failureOf(p)
	write(w, status, encode(body))
}

const media = "application/scim+json"

// write sends a message of SCIM.
func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // nobody to tell if the other side has gone
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and what was JSON before always encode
	}
	return text
}

// A caller is a directory that has proved itself.
type caller struct {
	Directory
	slug    string // of the organization
	token   string // id
	limited bool   // to users
	until   time.Time
}

// authenticate returns the directory of a bearer token and the actor it is. What can
// be wrong with the token, and a directory there is not, takes the same statement and
// says the same. Only failures count against the limit.
func (s *Service) authenticate(ctx context.Context, by access.Actor, directory, bearer string) (access.Actor, caller, error) {
	c, err := s.find(ctx, by.Tenant, directory, bearer)
	if p, ok := problem.From(err); ok && p.Code == errToken.Code {
		if limited := s.Limits.Take(ctx, by.Tenant, ratelimit.APIKey.For(ratelimit.Key("", by.IP))); limited != nil {
			err = limited
		}
	}
	if err != nil {
		return by, c, err
	}
	if c.State != Active {
		return by, c, errOff
	}
	by.Name = "directory:" + c.ID
	return by.With(access.UsersRead, access.UsersWrite, access.OrganizationsRead, access.OrganizationsWrite), c, nil
}

func (s *Service) find(ctx context.Context, tenant, directory, bearer string) (caller, error) {
	if !secret.LooksLikeKey(tokenPrefix, bearer) || !secret.IsID(directory) {
		return caller{}, errToken.Because("not in the form of a token")
	}
	hash := secret.Hash(bearer)
	now := s.DB.Now()
	c, err := s.callers.Get(now, tenant+directory+string(hash), func() (caller, error) {
		c, err := findCaller(ctx, s.DB, tenant, directory, hash)
		if err != nil {
			return c, err
		}
		o, err := s.Orgs.Find(ctx, s.DB, tenant, c.OrganizationID)
		if c.slug = o.Slug; !o.IsActive {
			c.State = Disabled
		}
		return c, err
	})
	if err == nil && !c.until.IsZero() && !now.Before(c.until) {
		err = errToken.Because("token %s expired", c.token)
	}
	return c, err
}
