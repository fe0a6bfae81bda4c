package user

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// The SSOJet user management calls. Names in mixed case, the two forms of a user
// and the nulls are the contract's.

// Full is the full user form, with _id and connection_id.
type Full struct {
	ID                string          `json:"_id"`
	AccountID         string          `json:"account_id" doc:"The tenant"`
	OrganizationID    string          `json:"organization_id,omitempty" doc:"Zeros, and only in the answer to create"`
	ConnectionID      string          `json:"connection_id" doc:"How the user came in"`
	Email             string          `json:"email" doc:"Empty if unset"`
	FirstName         string          `json:"first_name"`
	LastName          string          `json:"last_name"`
	Groups            json.RawMessage `json:"groups" doc:"As it was given, null if unset"`
	RawAttributes     json.RawMessage `json:"raw_attributes" doc:"An object of free keys, null if unset"`
	Roles             []string        `json:"roles" schema:"nullable" doc:"Ids of roles, null if there are none"`
	PasskeyCredential json.RawMessage `json:"passkey_credential"`
	PhoneID           string          `json:"phone_id" doc:"Phone number in E.164 form, empty if unset"`
	CreatedAt         stamp           `json:"created_at"`
	ModifiedAt        stamp           `json:"modified_at"`
	EmailVerified     bool            `json:"email_verified"`
	IsActive          bool            `json:"is_active"`
	LastLoginAt       stamp           `json:"LastLoginAt" schema:"nullable" doc:"null before the first sign-in"`
	Tenants           json.RawMessage `json:"tenants"`
	Identities        json.RawMessage `json:"identities"`
	Username          string          `json:"username,omitempty" doc:"Absent if the user has none"` // not in the contract
}

// Short is the short user form, with id and connection_type.
type Short struct {
	ID             string `json:"id"`
	AccountID      string `json:"account_id" doc:"The tenant"`
	ConnectionType string `json:"connection_type" doc:"ManualUser for users made by API"`
	Email          string `json:"email"`
	FirstName      string `json:"first_name"`
	LastName       string `json:"last_name"`
	CreatedAt      stamp  `json:"created_at"`
	ModifiedAt     stamp  `json:"modified_at"`
	IsActive       bool   `json:"is_active"`
	LastLoginAt    stamp  `json:"LastLoginAt" schema:"nullable" doc:"null before the first sign-in"`
}

// stamp is a time as RFC 3339 in UTC with milliseconds; the zero time is null.
type stamp time.Time

const stampForm = "2006-01-02T15:04:05.000Z"

// MarshalJSON implements json.Marshaler.
func (s stamp) MarshalJSON() ([]byte, error) { return s.append(nil), nil }

func (s stamp) append(b []byte) []byte {
	if time.Time(s).IsZero() {
		return append(b, null...)
	}
	return time.Time(s).UTC().AppendFormat(b, `"`+stampForm+`"`)
}

// FullForm returns u in the full form.
func FullForm(tenant string, u User) Full {
	if len(u.RoleIDs) == 0 {
		u.RoleIDs = nil // none is null, also when they have just been taken away
	}
	return Full{
		ID: u.ID, AccountID: tenant, ConnectionID: u.ConnectionID, Email: u.Email, FirstName: u.FirstName, LastName: u.LastName,
		Groups: u.Groups, RawAttributes: u.Attributes, Roles: u.RoleIDs, PhoneID: u.Phone,
		CreatedAt: stamp(u.CreatedAt), ModifiedAt: stamp(u.ModifiedAt), EmailVerified: u.EmailVerified, IsActive: u.IsActive,
		LastLoginAt: stamp(u.LastLoginAt), Username: u.Username,
	}
}

// AppendJSON implements web.Appender: a page of users is sent too often to go
// through reflection. A test holds it against the struct's tags.
func (f Full) AppendJSON(b []byte) []byte {
	text := func(name, value string) { b = web.AppendString(append(b, name...), value) }
	raw := func(name string, value json.RawMessage) {
		if b = append(b, name...); value == nil {
			value = null
		}
		b = append(b, value...)
	}
	text(`{"_id":`, f.ID)
	text(`,"account_id":`, f.AccountID)
	if f.OrganizationID != "" {
		text(`,"organization_id":`, f.OrganizationID)
	}
	text(`,"connection_id":`, f.ConnectionID)
	text(`,"email":`, f.Email)
	text(`,"first_name":`, f.FirstName)
	text(`,"last_name":`, f.LastName)
	raw(`,"groups":`, f.Groups)
	raw(`,"raw_attributes":`, f.RawAttributes)
	b = appendList(append(b, `,"roles":`...), f.Roles)
	raw(`,"passkey_credential":`, f.PasskeyCredential)
	text(`,"phone_id":`, f.PhoneID)
	b = f.CreatedAt.append(append(b, `,"created_at":`...))
	b = f.ModifiedAt.append(append(b, `,"modified_at":`...))
	b = strconv.AppendBool(append(b, `,"email_verified":`...), f.EmailVerified)
	b = strconv.AppendBool(append(b, `,"is_active":`...), f.IsActive)
	b = f.LastLoginAt.append(append(b, `,"LastLoginAt":`...))
	raw(`,"tenants":`, f.Tenants)
	raw(`,"identities":`, f.Identities)
	if f.Username != "" {
		text(`,"username":`, f.Username)
	}
	return append(b, '}')
}

// AppendJSON implements web.Appender.
func (f Short) AppendJSON(b []byte) []byte {
	text := func(name, value string) { b = web.AppendString(append(b, name...), value) }
	text(`{"id":`, f.ID)
	text(`,"account_id":`, f.AccountID)
	text(`,"connection_type":`, f.ConnectionType)
	text(`,"email":`, f.Email)
	text(`,"first_name":`, f.FirstName)
	text(`,"last_name":`, f.LastName)
	b = f.CreatedAt.append(append(b, `,"created_at":`...))
	b = f.ModifiedAt.append(append(b, `,"modified_at":`...))
	b = strconv.AppendBool(append(b, `,"is_active":`...), f.IsActive)
	b = f.LastLoginAt.append(append(b, `,"LastLoginAt":`...))
	return append(b, '}')
}

var null = json.RawMessage("null")

func appendList(b []byte, list []string) []byte {
	if list == nil {
		return append(b, null...)
	}
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = web.AppendString(b, s)
	}
	return append(b, ']')
}

// ShortForm returns u in the short form.
func ShortForm(tenant string, u User) Short {
	return Short{
		ID: u.ID, AccountID: tenant, ConnectionType: "ManualUser", Email: u.Email, FirstName: u.FirstName, LastName: u.LastName,
		CreatedAt: stamp(u.CreatedAt), ModifiedAt: stamp(u.ModifiedAt), IsActive: u.IsActive, LastLoginAt: stamp(u.LastLoginAt),
	}
}

// ErrUnnamed answers a deletion that names nobody.
var ErrUnnamed = problem.New(problem.Invalid, "malformed_request", "Name the user in the address: DELETE /api/v1/users/{userid}.")

// Mount adds the calls to r.
func (s *Service) Mount(r *web.Router) {
	const tag = "Users"
	type problems = []*problem.Problem
	fields := problems{ErrInvalid, ErrEmail, ErrPhone, ErrUsername}
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{"/api/v1/users", "/api/api/users"}, Needs: access.UsersRead, Endpoint: web.JSON(http.StatusOK, s.getUsers),
			Doc: web.Doc{Tag: tag, Summary: "List users", Text: "A bare array of users in the full form, by creation unless sorted otherwise. " +
				"If there are more, the next page's cursor is in X-Next-Cursor and its address in Link. A page through all users shows each of them once, also while others come and go.",
				Headers: web.NextHeaders, Errors: problems{secret.ErrCursor}, Example: []Full{exampleFull()}}},
		{Method: "POST", Paths: []string{"/api/v1/users", "/api/api/users"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.postUser),
			Doc: web.Doc{Tag: tag, Summary: "Create a user", Text: "A user needs an e-mail address, a phone number or a username; each belongs to one user of the tenant. " +
				"Members of other names than those below are ignored. A password can not be set here: import it as a hash, or use cardea user create.",
				Errors: append(problems{ErrExists}, fields...), Request: exampleCreate, Example: exampleCreated()}},
		{Method: "GET", Paths: []string{"/api/v1/users/{userid}"}, Needs: access.UsersRead, Endpoint: web.JSON(http.StatusOK, s.getUser),
			Doc: web.Doc{Tag: tag, Summary: "Get a user by id", Text: "An e-mail address in place of the id is taken too, and answered in the short form.",
				Errors: problems{ErrNotFound, ErrEmail}, Example: exampleFull()}},
		{Method: "GET", Paths: []string{"/api/v1/users/{useremail}/email"}, Needs: access.UsersRead, Endpoint: web.JSON(http.StatusOK, s.getUserByEmail),
			Doc: web.Doc{Tag: tag, Summary: "Get a user by e-mail address", Text: "Answers the short form: id and connection_type instead of _id and connection_id. A further address finds its user too; email is the primary one.",
				Errors: problems{ErrNotFound, ErrEmail}, Example: exampleShort}},
		{Method: "PUT", Paths: []string{"/api/v1/users/{userid}"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.putUser),
			Doc: web.Doc{Tag: tag, Summary: "Update a user", Text: "What the body does not name stays as it is, and names it does not know are ignored. A new e-mail address is unverified, unless it is a further one of the user's, and the one before is the user's no more. A password can not be set here. The last owner can not be disabled.",
				Errors: append(problems{ErrNotFound, ErrExists, ErrLastOwner, ErrOwnsOrganization}, fields...), Request: exampleUpdate, Example: exampleUpdated()}},
		{Method: "POST", Paths: []string{"/api/v1/users/{userid}/verify"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.postVerify),
			Doc: web.Doc{Tag: tag, Summary: "Set whether a user's e-mail address is verified", Text: "The booleans true and false are taken too, and the misspelt name vefification_status.",
				Errors: problems{ErrNotFound}, Request: exampleVerify, Example: exampleVerified()}},
		{Method: "DELETE", Paths: []string{"/api/v1/users/{userid}"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.deleteUser),
			Doc: web.Doc{Tag: tag, Summary: "Delete a user", Text: "The body, if there is one, is not read. The last owner stays.", Errors: problems{ErrNotFound, ErrLastOwner, ErrOwnsOrganization}, Example: deleted{true}}},
		{Method: "DELETE", Paths: []string{"/api/v1/users/{$}", "/api/v1/users"}, Endpoint: web.Refuse(ErrUnnamed),
			Doc: web.Doc{Tag: tag, Summary: "Refuse to delete without an id", Text: "The contract's sample lacks the id. This always answers an error and deletes nobody.",
				Errors: problems{ErrUnnamed}}},
		{Method: "PUT", Paths: []string{"/api/v1/users/{userid}/roles"}, Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusOK, s.putRoles),
			Doc: web.Doc{Tag: tag, Summary: "Replace a user's roles", Text: "A bare array of ids and a single id as a string are taken too. Nobody gives or takes a role that holds more than they do, and the last owner stays.",
				Errors: problems{ErrNotFound, ErrRole, ErrInvalid, role.ErrGrant, ErrLastOwner}, Request: exampleRoles, Example: exampleWithRole()}},
		{Method: "GET", Paths: []string{"/api/v1/users/{userid}/loginlogs"}, Needs: access.LogsRead, Endpoint: web.JSON(http.StatusOK, s.getLoginLogs),
			Doc: web.Doc{Tag: tag, Summary: "List a user's sign-ins", Text: "Newest first, at most 100.", Errors: problems{ErrNotFound}, Example: exampleLoginLogs}},
	} {
		r.Add(route)
	}
	for _, route := range s.addressRoutes() {
		route.Doc.Tag = tag
		r.Add(route)
	}
}

type getUsersRequest struct {
	ClientID       string `query:"client_id" doc:"The application asking; names the tenant"`
	Limit          string `query:"limit" doc:"Users a page: 1 to 500, 100 if absent"`
	Cursor         string `query:"cursor" doc:"X-Next-Cursor of the page before"`
	Email          string `query:"email" doc:"Only the user of this address, which may be a further one"`
	Search         string `query:"search" doc:"Words, each a part of name, e-mail address, username or phone number, further ones too; one or two characters match the start"`
	OrganizationID string `query:"organization_id" doc:"Only members of this organization; goes with limit and cursor only, and needs organizations:read too"`
	RoleID         string `query:"role_id" doc:"Only holders of this role"`
	IsActive       string `query:"is_active" doc:"true or false"`
	CreatedAfter   string `query:"created_after" doc:"RFC 3339, inclusive"`
	CreatedBefore  string `query:"created_before" doc:"RFC 3339, exclusive"`
	Sort           string `query:"sort" doc:"created_at, -created_at, username or -username"`
}

// userList is a page: a bare array, with the way to the next page in the head.
type userList struct {
	users []Full
	next  string
	link  string
}

// AppendJSON implements web.Appender.
func (l userList) AppendJSON(b []byte) []byte {
	b = append(b, '[')
	for i := range l.users {
		if i > 0 {
			b = append(b, ',')
		}
		b = l.users[i].AppendJSON(b)
	}
	return append(b, ']')
}

// Header tells the way to the next page.
func (l userList) Header(h http.Header) { web.SetNext(h, l.next, l.link) }

// Schema tells the API description what the array holds.
func (userList) Schema() any { return []Full{} }

func (s *Service) getUsers(ctx context.Context, by access.Actor, in getUsersRequest) (userList, error) {
	q, err := in.query()
	if err != nil {
		return userList{}, err
	}
	users, next, err := s.page(ctx, by, in, q)
	if err != nil {
		return userList{}, err
	}
	out := userList{users: make([]Full, len(users)), next: next}
	for i, u := range users {
		out.users[i] = FullForm(by.Tenant, u)
	}
	if next != "" {
		out.link = web.NextLink("/api/v1/users", in, next)
	}
	return out, nil
}

// page lists the users that are asked for. Members are listed by themselves, by
// creation: who belongs to an organization is kept with the organization.
func (s *Service) page(ctx context.Context, by access.Actor, in getUsersRequest, q Query) ([]User, string, error) {
	if in.OrganizationID == "" {
		return s.List(ctx, s.DB, by, q)
	}
	if q.Filter != (Filter{}) || q.Sort != "" && q.Sort != ByCreation {
		return nil, "", web.ErrQuery.Saying("organization_id goes with limit and cursor only.").In("organization_id")
	}
	if err := by.Require(access.UsersRead); err != nil {
		return nil, "", err
	}
	return s.Members(ctx, by, in.OrganizationID, q.Cursor, q.Limit)
}

func (in getUsersRequest) query() (Query, error) {
	limit, err := web.ParseLimit(in.Limit)
	q := Query{Filter: Filter{Email: in.Email, Search: in.Search, RoleID: in.RoleID}, Sort: in.Sort, Cursor: in.Cursor, Limit: limit}
	if err != nil {
		return q, err
	}
	if in.IsActive != "" {
		v, err := strconv.ParseBool(in.IsActive)
		if err != nil {
			return q, web.ErrQuery.Saying("is_active is true or false.").In("is_active")
		}
		q.IsActive = &v
	}
	for _, f := range []struct {
		name, value string
		into        *time.Time
	}{{"created_after", in.CreatedAfter, &q.CreatedAfter}, {"created_before", in.CreatedBefore, &q.CreatedBefore}} {
		if f.value == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, f.value)
		if err != nil || t.IsZero() { // the zero time would be no filter
			return q, web.ErrQuery.Saying("%s is a time such as 2026-01-31T12:00:00Z.", f.name).In(f.name)
		}
		*f.into = t
	}
	return q, nil
}

// next is the address of the page after this one.
type userRequest struct {
	UserID string `path:"userid" doc:"Id of the user, 24 hex digits"`
}

// oneUser is a user in either of the contract's forms.
type oneUser struct {
	Full  *Full
	Short *Short
}

// AppendJSON implements web.Appender.
func (o oneUser) AppendJSON(b []byte) []byte {
	if o.Short != nil {
		return o.Short.AppendJSON(b)
	}
	return o.Full.AppendJSON(b)
}

// Schema tells the API description both forms.
func (oneUser) Schema() any { return web.OneOf{Full{}, Short{}} }

func (s *Service) getUser(ctx context.Context, by access.Actor, in userRequest) (oneUser, error) {
	if strings.Contains(in.UserID, "@") {
		short, err := s.getUserByEmail(ctx, by, userByEmailRequest{in.UserID})
		return oneUser{Short: &short}, err
	}
	u, err := s.Find(ctx, s.DB, by, in.UserID)
	full := FullForm(by.Tenant, u)
	return oneUser{Full: &full}, err
}

type userByEmailRequest struct {
	Email string `path:"useremail" doc:"E-mail address of the user, in any letter case"`
}

func (s *Service) getUserByEmail(ctx context.Context, by access.Actor, in userByEmailRequest) (Short, error) {
	if _, err := ParseEmail(in.Email); err != nil {
		return Short{}, err
	}
	m, err := s.Match(ctx, s.DB, by, in.Email)
	if err == nil && !m.Is() {
		return Short{}, ErrNotFound.Because("it is a username")
	}
	return ShortForm(by.Tenant, m.User), err
}

// body is what create and update take.
type body struct {
	Email         *string         `json:"email"`
	FirstName     *string         `json:"first_name"`
	LastName      *string         `json:"last_name"`
	Groups        json.RawMessage `json:"groups" doc:"Anything; kept as it is"`
	RawAttributes json.RawMessage `json:"raw_attributes" doc:"An object of free keys, at most 16 KiB and 500 members"`
	// Not in the contract's old pages:
	Username      *string         `json:"username"`
	Phone         *string         `json:"phone" doc:"In international form, such as +4915112345678"`
	PhoneID       *string         `json:"phone_id" doc:"The same as phone"`
	IsActive      *bool           `json:"is_active"`
	EmailVerified *bool           `json:"email_verified"`
	UserMetadata  json.RawMessage `json:"user_metadata" doc:"The same as raw_attributes"`
}

func (b body) change() Change {
	c := Change{
		Email: b.Email, FirstName: b.FirstName, LastName: b.LastName, Groups: b.Groups, Attributes: b.RawAttributes,
		Username: b.Username, Phone: b.Phone, IsActive: b.IsActive, EmailVerified: b.EmailVerified,
	}
	if c.Attributes == nil {
		c.Attributes = b.UserMetadata
	}
	if c.Phone == nil {
		c.Phone = b.PhoneID
	}
	c.Groups, c.Attributes = compact(c.Groups), compact(c.Attributes)
	return c
}

// compact drops white space, so that what is stored is what is sent out.
func compact(raw json.RawMessage) json.RawMessage {
	var buf bytes.Buffer
	if len(raw) == 0 || json.Compact(&buf, raw) != nil {
		return raw
	}
	return buf.Bytes()
}

type postUserRequest struct{ body }

// UnmarshalJSON implements json.Unmarshaler.
func (r *postUserRequest) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &r.body) }

// Schema tells the API description what the body holds.
func (postUserRequest) Schema() any { return body{} }

func (s *Service) postUser(ctx context.Context, by access.Actor, in postUserRequest) (out Full, err error) {
	if in.Email == nil && in.Phone == nil && in.PhoneID == nil && in.Username == nil {
		return Full{}, web.ErrBody.Saying("email is required.").In("email")
	}
	u := User{IsActive: true}
	in.change().apply(&u)
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		made, err := s.Create(ctx, tx, by, u)
		out = FullForm(by.Tenant, made)
		out.OrganizationID = secret.ZeroID
		return err
	})
	return out, err
}

type putUserRequest struct {
	UserID string `path:"userid" doc:"Id of the user, 24 hex digits"`
	body
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *putUserRequest) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &r.body) }

// Schema tells the API description what the body holds.
func (putUserRequest) Schema() any { return body{} }

func (s *Service) putUser(ctx context.Context, by access.Actor, in putUserRequest) (Full, error) {
	return s.change(ctx, by, in.UserID, in.change())
}

func (s *Service) change(ctx context.Context, by access.Actor, id string, c Change) (out Full, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		u, err := s.Update(ctx, tx, by, id, c)
		out = FullForm(by.Tenant, u)
		return err
	})
	return out, err
}

type postVerifyRequest struct {
	UserID     string `path:"userid" doc:"Id of the user, 24 hex digits"`
	Status     flag   `json:"verification_status" doc:"true or false, as a string"`
	Misspelled flag   `json:"vefification_status" doc:"The same, as one page of the contract spells it"`
}

// flag is "true" or "false" as a string, as the contract has it, or as a boolean.
type flag string

// UnmarshalJSON implements json.Unmarshaler.
func (f *flag) UnmarshalJSON(b []byte) error {
	switch s := strings.ToLower(strings.Trim(string(b), `"`)); s {
	case "true", "false":
		*f = flag(s)
		return nil
	case "null":
		return nil
	}
	return web.ErrBody.Saying(`verification_status is "true" or "false".`).In("verification_status")
}

// Schema tells the API description the documented form.
func (flag) Schema() any { return "" }

func (s *Service) postVerify(ctx context.Context, by access.Actor, in postVerifyRequest) (Full, error) {
	status := in.Status
	if status == "" {
		status = in.Misspelled
	}
	if status == "" {
		return Full{}, web.ErrBody.Saying("verification_status is required.").In("verification_status")
	}
	verified := status == "true"
	return s.change(ctx, by, in.UserID, Change{EmailVerified: &verified})
}

type deleted struct {
	IsDeleted bool `json:"is_deleted"`
}

func (s *Service) deleteUser(ctx context.Context, by access.Actor, in userRequest) (deleted, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Delete(ctx, tx, by, in.UserID) })
	return deleted{err == nil}, err
}

type putRolesRequest struct {
	UserID string `path:"userid" doc:"Id of the user, 24 hex digits"`
	roles
}

type roles struct {
	RoleID []string `json:"role_id" schema:"required" doc:"Ids of all roles the user shall have"`
}

// UnmarshalJSON takes {"role_id": […]}, {"role_id": "…"} or a bare array: the
// example of the contract was not to be had.
func (r *putRolesRequest) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, &r.RoleID)
	}
	var wrapped struct {
		RoleID  json.RawMessage `json:"role_id"`
		RoleIDs []string        `json:"role_ids"`
	}
	if err := json.Unmarshal(b, &wrapped); err != nil {
		return err
	}
	r.RoleID = wrapped.RoleIDs
	if len(wrapped.RoleID) == 0 {
		return nil
	}
	if wrapped.RoleID[0] == '"' {
		r.RoleID = make([]string, 1)
		return json.Unmarshal(wrapped.RoleID, &r.RoleID[0])
	}
	return json.Unmarshal(wrapped.RoleID, &r.RoleID)
}

// Schema tells the API description the documented form.
func (putRolesRequest) Schema() any { return roles{} }

func (s *Service) putRoles(ctx context.Context, by access.Actor, in putRolesRequest) (Full, error) {
	if in.RoleID == nil {
		return Full{}, web.ErrBody.Saying("role_id is required: an array of role ids.").In("role_id")
	}
	if err := by.Require(access.RolesWrite); err != nil {
		return Full{}, err
	}
	// Who may give roles need not be allowed to change users otherwise.
	return s.change(ctx, by.With(append(by.Permissions(), access.UsersWrite)...), in.UserID, Change{RoleIDs: &in.RoleID})
}

type loginLogs struct {
	LoginLogs []loginLog `json:"login_logs"`
}

type loginLog struct {
	IPAddress string `json:"IpAddress"`
	Country   string `json:"Country"`
	City      string `json:"City"`
	UserAgent string `json:"UserAgent"`
	Name      string `json:"Name"`
	OS        string `json:"Os"`
	Device    string `json:"Device"`
	CreatedAt stamp  `json:"CreatedAt"`
}

func (s *Service) getLoginLogs(ctx context.Context, by access.Actor, in userRequest) (loginLogs, error) {
	if err := by.Require(access.LogsRead); err != nil {
		return loginLogs{}, err
	}
	u, err := s.Find(ctx, s.DB, by.With(access.UsersRead), in.UserID)
	if err != nil {
		return loginLogs{}, err
	}
	events, err := audit.List(ctx, s.DB, by.Tenant, audit.Filter{Action: "signin.", TargetID: u.ID, Result: audit.Success}, 100)
	if err != nil {
		return loginLogs{}, err
	}
	out := loginLogs{LoginLogs: make([]loginLog, len(events))}
	for i, e := range events {
		out.LoginLogs[i] = loginLogOf(e)
	}
	return out, nil
}

// loginLogOf reads where a sign-in came from out of the event's detail. What an event
// does not tell stays empty.
func loginLogOf(e audit.Listed) loginLog {
	type place struct{ Name, OS, Device, Country, City string }
	var from place
	if json.Unmarshal(e.Detail, &from) != nil {
		from = place{}
	}
	return loginLog{
		IPAddress: e.IP, Country: from.Country, City: from.City, UserAgent: e.UserAgent,
		Name: from.Name, OS: from.OS, Device: from.Device, CreatedAt: stamp(e.At),
	}
}
