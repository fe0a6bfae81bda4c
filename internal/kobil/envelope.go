package kobil

import (
	"net/http"
	"strings"

	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Numbers of subSystem: the family a call belongs to.
const (
	ofRealm   = 1 // tenants, their settings, roles
	ofMonitor = 2 // statistics and transactions
	ofUser    = 5
	ofDevice  = 6
)

// An answer is the envelope of a call that returns data.
type answer[T any] struct {
	Message   string `json:"message"`
	Status    string `json:"status"`
	SubSystem int    `json:"subSystem"`
	Data      T      `json:"data"`
}

// done is the envelope of a call that returns none.
type done struct {
	Message   string `json:"message"`
	Status    string `json:"status"`
	SubSystem int    `json:"subSystem"`
}

// What calls say that went well. Which of them says Success and which OK has no
// rule in the contract, nor has the full stop.
var (
	profileUpdated = done{"User profile updated successfully.", "OK", ofUser}
	userUpdated    = done{"User updated successfully", "Success", ofUser} // enable and disable
	userSignedOut  = answer[bool]{"User logged out successfully", "OK", ofUser, true}
	userDeleted    = done{"User deleted successfully", "OK", ofUser}
	roleCreated    = done{"Role created successfully", "OK", ofRealm}
	tenantDeleted  = done{"Tenant deleted successfully", "OK", ofRealm}
)

func usersFetched(l userList) answer[userList] {
	return answer[userList]{"Users fetched successfully", "Success", ofUser, l}
}

func userFetched(u userForm) answer[userForm] {
	return answer[userForm]{"User info fetched successfully", "Success", ofUser, u}
}

func userCreated(u userForm) answer[userForm] {
	return answer[userForm]{"User created successfully", "OK", ofUser, u}
}

func userReplaced(u userForm) answer[userForm] {
	return answer[userForm]{"User updated successfully", "OK", ofUser, u}
}

func tenantsFetched(l []listedTenant) answer[[]listedTenant] {
	return answer[[]listedTenant]{"Tenant list fetched successfully", "OK", ofRealm, l}
}

func tenantFetched(t tenantForm) answer[tenantForm] {
	return answer[tenantForm]{"Tenant info fetched successfully", "OK", ofRealm, t}
}

func tenantCreated(t tenantForm) answer[tenantForm] {
	return answer[tenantForm]{"Tenant created successfully", "OK", ofRealm, t}
}

// A Failure is the envelope of a call that failed. Its last three fields are not
// in the contract.
type Failure struct {
	Message   string `json:"message"`
	Status    string `json:"status"`
	SubSystem int    `json:"subSystem"`
	Error     string `json:"error,omitempty" doc:"For an unknown tenant, where Keycloak itself would answer"`
	Details   string `json:"details,omitempty" doc:"What is wrong, where the contract's message does not say"`
	RequestID string `json:"requestId,omitempty"`
}

// Problems that only this surface has.
var (
	errNoName       = problem.New(problem.Invalid, "invalid_username", "Username should not be null or empty")
	errSignedOut    = problem.New(problem.Conflict, "user_already_logged_out", "User is not logged in state to perform this action.")
	errNotSupported = problem.New(problem.Unsupported, "not_supported", "This call is not supported.")
)

// statuses are the words for problems that have one of their own; the message is
// the contract's, or empty for the problem's.
var statuses = map[string]struct{ status, message string }{
	user.ErrNotFound.Code:   {"USER_NOT_FOUND", "User does not exist"},
	user.ErrExists.Code:     {"USER_ALREADY_EXISTS", ""},
	errSignedOut.Code:       {"USER_ALREADY_LOGGED_OUT", ""},
	tenant.ErrNotFound.Code: {"TENANT_NOT_FOUND", "Tenant does not exist"},
	tenant.ErrExists.Code:   {"TENANT_ALREADY_EXISTS", ""},
	role.ErrExists.Code:     {"CONFLICT", "Role already exists"},
	web.ErrPlainHTTP.Code:   {"HTTPS_REQUIRED", ""},
}

var statusOfKind = map[problem.Kind]string{
	problem.Internal:    "INTERNAL_SERVER_ERROR",
	problem.Invalid:     "BAD_REQUEST",
	problem.NotFound:    "NOT_FOUND",
	problem.NoMethod:    "METHOD_NOT_ALLOWED",
	problem.Conflict:    "CONFLICT",
	problem.TooLarge:    "REQUEST_TOO_LARGE",
	problem.Misdirected: "UNKNOWN_HOST",
	problem.TooMany:     "TOO_MANY_REQUESTS",
	problem.Unsupported: "NOT_SUPPORTED",
	problem.Unavailable: "SERVICE_UNAVAILABLE",
}

// fieldNames turns the names by which package user complains of fields into those
// of this surface.
var fieldNames = strings.NewReplacer("first_name", "firstName", "last_name", "lastName", "raw_attributes", "attributes")

// Dialect writes a problem as an envelope.
func Dialect(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	if p.Kind == problem.Forbidden && !p.Is(web.ErrPlainHTTP) {
		p = web.ErrNobody // whoever lacks a right is told the same as whoever has no key
	}
	f := Failure{Message: fieldNames.Replace(p.Message), Status: statusOfKind[p.Kind], SubSystem: subSystem(r.URL.Path), RequestID: web.Of(r.Context()).ID}
	if own, known := statuses[p.Code]; known {
		f.Status = own.status
		if own.message != "" {
			f.Message = own.message
		}
	}
	switch {
	case p.Kind == problem.Unauthenticated:
		w.Header().Set("WWW-Authenticate", `Bearer realm="cardea"`)
		f.Message, f.Status = "HTTP 401 Unauthorized", "Unauthorized"
	case p.Is(tenant.ErrNotFound):
		f.Error = "Realm does not exist"
	case p.Kind == problem.Invalid && isProfileUpdate(r):
		// The words are the contract's, and all it has for a bad request here.
		f.Message, f.Status, f.Details = "Failed to update profileCaused by null", "GENERAL ERROR", f.Message
	}
	if err := web.Write(w, web.Status(p.Kind), f); err != nil {
		panic(err) // strings and a number always encode
	}
}

func isProfileUpdate(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/profile")
}

// subSystem is the family of an address; that of users where the contract knows
// none.
func subSystem(path string) int {
	family, rest, _ := strings.Cut(afterForm(path), "/")
	switch family {
	case "tenants", "v3_realm", "v4_realm", "role", "v3_role":
		return ofRealm
	case "devices", "v3_device":
		return ofDevice
	case "monitor", "v3_monitor":
		return ofMonitor
	case "v3_user":
		if strings.HasPrefix(rest, "tms/") || strings.HasSuffix(strings.TrimSuffix(rest, "/"), "/tms") {
			return ofMonitor
		}
	}
	return ofUser
}

// afterForm is what follows the part of an address that all calls of a form
// share.
func afterForm(path string) string {
	if rest, found := strings.CutPrefix(path, ssms); found {
		return rest
	}
	_, rest, _ := strings.Cut(path, "/realms/")
	_, rest, _ = strings.Cut(rest, "/")
	return rest
}
