package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/problem"
)

// A Dialect writes a problem in the form that one surface's clients expect.
type Dialect func(w http.ResponseWriter, r *http.Request, p *problem.Problem)

// Fail answers err in the dialect of the surface that was asked. Any error that
// is not a problem is answered as ErrInternal; what it was stands in the log.
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	rec := Of(r.Context())
	rec.err = err
	p, ok := problem.From(err)
	if !ok {
		p = ErrInternal
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((p.RetryAfter+999e6)/1e9)))
	}
	if rec.dialect == nil {
		API(w, r, p)
		return
	}
	rec.dialect(rec.path)(w, r, p)
}

// Status is the HTTP status of a kind of problem.
func Status(k problem.Kind) int {
	switch k {
	case problem.Invalid:
		return http.StatusBadRequest
	case problem.Unauthenticated:
		return http.StatusUnauthorized
	case problem.Forbidden:
		return http.StatusForbidden
	case problem.NotFound:
		return http.StatusNotFound
	case problem.NoMethod:
		return http.StatusMethodNotAllowed
	case problem.Conflict:
		return http.StatusConflict
	case problem.TooLarge:
		return http.StatusRequestEntityTooLarge
	case problem.Misdirected:
		return http.StatusMisdirectedRequest
	case problem.TooMany:
		return http.StatusTooManyRequests
	case problem.Unsupported:
		return http.StatusNotImplemented
	case problem.Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// APIError is the error body of the SSOJet contract, with the request id and
// the fields at fault added.
type APIError struct {
	Error       string          `json:"error"`
	Description string          `json:"error_description"`
	Number      int             `json:"error_code"`
	Fields      []problem.Field `json:"errors,omitempty"`
	RequestID   string          `json:"request_id,omitempty"`
}

// API is the dialect of /api: {"error", "error_description", "error_code"}.
func API(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	if p.Kind == problem.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="cardea"`+challenge(p))
	}
	err := Write(w, Status(p.Kind), APIError{p.Code, p.Message, Number(p.Code), p.Fields, Of(r.Context()).ID})
	if err != nil {
		panic(err) // strings and numbers always encode
	}
}

// A Code is one row of the table of error codes.
type Code struct {
	Number  int    // error_code
	Code    string // error
	Status  int    // HTTP status in the dialect of /api
	Message string // what it usually says
}

// Codes is the table of error codes: every declared problem, by number.
func Codes() []Code {
	var out []Code
	for _, p := range problem.All() {
		out = append(out, Code{Number(p.Code), p.Code, Status(p.Kind), p.Message})
	}
	slices.SortStableFunc(out, func(a, b Code) int { return a.Number - b.Number })
	return out
}

// challenge is what a problem adds to the header WWW-Authenticate (RFC 6750, section 3;
// RFC 9470, section 3).
func challenge(p *problem.Problem) string {
	if p.Challenge == "" {
		return ""
	}
	return `, error="` + p.Code + `", error_description="` + strings.NewReplacer(`"`, "", `\`, "").Replace(p.Message) + `", ` + p.Challenge
}

// numbers is the one table of error codes. Those of the contract keep its
// numbers; ours continue each of its ranges (8xx general, 10xx validation and
// OpenID Connect, 20xx authentication, 22xx links and codes, 25xx roles and
// permissions, 40xx tenants).
var numbers = map[string]int{
	"malformed_request":                 800,
	"resource_not_found":                801,
	"invalid_request_body":              807,
	"method_not_allowed":                810,
	"request_too_large":                 811,
	"rate_limited":                      812,
	"unavailable":                       813,
	"not_supported":                     814,
	"https_required":                    815,
	"job_not_found":                     816,
	"message_not_found":                 817,
	"channel_not_configured":            818,
	"busy":                              819,
	"signing_key_not_found":             820,
	"address_refused":                   821,
	"address_unreachable":               822,
	"imports_not_configured":            830,
	"import_not_found":                  831,
	"import_taken_over":                 832,
	"invalid_import_options":            833,
	"unreadable_import_file":            834,
	"file_cut_off":                      835,
	"record_too_large":                  836,
	"invalid_record":                    837,
	"too_many_imports":                  838,
	"no_room_for_import":                839,
	"invalid_query_parameters":          842,
	"invalid_cursor":                    843,
	"invalid_client":                    1001,
	"access_token_required":             1003,
	"invalid_access_token":              1004,
	"internal_error":                    1006,
	"invalid_email":                     1008,
	"invalid_phone":                     1012,
	"invalid_username":                  1013,
	"invalid_user":                      1014,
	"recipient_invalid":                 1015,
	"message_invalid":                   1016,
	"invalid_password":                  1017,
	"password_too_long":                 1018,
	"invalid_password_hash":             1019,
	"password_too_common":               1020,
	"password_too_personal":             1021,
	"password_breached":                 1022,
	"password_reset_spent":              1023,
	"password_changed_meanwhile":        1024,
	"user_not_found":                    1035,
	"user_exists":                       1049,
	"invalid_scope":                     1060,
	"invalid_token":                     1061,
	"invalid_request":                   1062,
	"invalid_grant":                     1063,
	"unauthorized_client":               1064,
	"unsupported_grant_type":            1065,
	"invalid_target":                    1066,
	"authorization_pending":             1067,
	"slow_down":                         1068,
	"expired_token":                     1069,
	"invalid_dpop_proof":                1070,
	"insufficient_scope":                1071,
	"unsupported_response_type":         1072,
	"request_not_supported":             1073,
	"request_uri_not_supported":         1074,
	"registration_not_supported":        1075,
	"login_required":                    1076,
	"consent_required":                  1077,
	"account_selection_required":        1078,
	"interaction_required":              1079,
	"unmet_authentication_requirements": 1080,
	"invalid_redirect_uri":              1081,
	"registration_not_offered":          1082,
	"invalid_client_metadata":           1083,
	"unapproved_software_statement":     1084,
	"authorization_expired":             1085,
	"user_code_invalid":                 1086,
	"unsupported_token_type":            1087,
	"invalid_request_uri":               1088,
	"user_already_logged_out":           2001,
	"credentials_invalid":               2002,
	"account_disabled":                  2003,
	"identifier_invalid":                2004,
	"way_not_offered":                   2005,
	"session_not_found":                 2006,
	"signed_out":                        2007,
	"invalid_refresh_token":             2008,
	"required":                          844,
	"proof_stale":                       2010,
	"form_expired":                      2009,
	"insufficient_user_authentication":  2011,
	"sso_required":                      2020,
	"organization_way":                  2021,
	"organization_choice_required":      2022,
	"sso_address_taken":                 2023,
	"sso_outside":                       2024,
	"sso_unknown_person":                2025,
	"sso_no_address":                    2026,
	"signin_expired":                    2201,
	"code_invalid":                      2202,
	"link_spent":                        2203,
	"challenge_not_found":               2204,
	"number_wrong":                      2205,
	"connection_not_found":              2206,
	"sso_not_allowed":                   2207,
	"invalid_code":                      2208,
	"mfa_required":                      2301,
	"second_factor_invalid":             2302,
	"mfa_enrollment_not_found":          2303,
	"mfa_factor_not_found":              2304,
	"too_many_authenticators":           2305,
	"last_factor":                       2306,
	"mfa_recovery_spent":                2307,
	"invalid_mfa_token":                 2308,
	"connection_disabled":               2209,
	"social_expired":                    2210,
	"social_cancelled":                  2211,
	"social_failed":                     2212,
	"identity_linked":                   2213,
	"identity_not_found":                2214,
	"no_account":                        2215,
	"address_unproved":                  2216,
	"last_way":                          2217,
	"account_link_required":             2218,
	"invalid_connection":                4011,
	"too_many_connections":              4012,
	"sso_connection_not_found":          2230,
	"sso_connection_disabled":           2231,
	"sso_expired":                       2232,
	"sso_refused":                       2233,
	"sso_identity_linked":               2234,
	"sso_trace_not_found":               2235,
	"sso_identity_held":                 2236,
	"invalid_sso_connection":            4121,
	"sso_connection_incomplete":         4122,
	"sso_connection_changed":            4123,
	"too_many_sso_connections":          4124,
	"passkey_expired":                   2320,
	"passkey_refused":                   2321,
	"user_verification_required":        2322,
	"passkey_exists":                    2323,
	"passkey_not_found":                 2324,
	"too_many_passkeys":                 2325,
	"invalid_passkey_name":              2326,
	"last_passkey":                      2327,
	"passkey_held":                      2328,
	"identity_held":                     2340,
	"not_me_spent":                      2341,
	"confirmation_word":                 2342,
	"address_not_found":                 2350,
	"address_held":                      2351,
	"too_many_addresses":                2352,
	"primary_address":                   2353,
	"access_denied":                     2501,
	"invalid_role":                      2502,
	"role_exists":                       2503,
	"unknown_role":                      2504,
	"role_not_found":                    2505,
	"permission_not_found":              2506,
	"permission_exists":                 2507,
	"invalid_permission":                2508,
	"built_in":                          2509,
	"grant_not_held":                    2510,
	"last_owner":                        2511,
	"too_many_roles":                    2512,
	"unknown_host":                      4001,
	"tenant_not_found":                  4002,
	"tenant_exists":                     4003,
	"invalid_tenant":                    4004,
	"invalid_settings":                  4009,
	"setting_of_owners":                 4010,
	"invalid_application":               4005,
	"application_not_found":             4006,
	"too_many_applications":             4007,
	"too_many_keys":                     4008,
	"directory_not_found":               4030,
	"invalid_directory":                 4031,
	"too_many_directories":              4032,
	"directory_token_not_found":         4033,
	"directory_token_invalid":           4034,
	"directory_disabled":                4035,
	"directory_token_limited":           4036,
	"directory_resource_not_found":      4037,
	"directory_resource_exists":         4038,
	"invalid_filter":                    4039,
	"filter_too_wide":                   4040,
	"invalid_path":                      4041,
	"no_target":                         4042,
	"invalid_value":                     4043,
	"attribute_read_only":               4044,
	"invalid_scim_message":              4045,
	"version_mismatch":                  4046,
	"scim_not_supported":                4047,
	"filter_not_allowed":                4048,
	"directory_address_unproved":        4050,
	"bulk_circular":                     4051,
	"scim_message_too_large":            4049,
	"organization_not_found":            4060,
	"organization_exists":               4061,
	"invalid_organization":              4062,
	"organization_member_not_found":     4063,
	"last_organization_owner":           4064,
	"too_many_memberships":              4065,
	"not_a_member":                      4066,
	"invalid_domain":                    4067,
	"domain_not_found":                  4068,
	"domain_claimed":                    4069,
	"domain_public":                     4070,
	"domain_not_proved":                 4071,
	"domain_check_failed":               4072,
	"too_many_domains":                  4073,
	"invitation_not_found":              4074,
	"invitation_spent":                  4075,
	"invitation_other_address":          4076,
	"invitation_address_refused":        4077,
	"too_many_invitations":              4078,
	"invalid_test_request":              4089,
	"portal_link_gone":                  4090,
	"portal_link_not_found":             4091,
	"invalid_portal_link":               4092,
	"too_many_portal_links":             4093,
	"portal_metadata":                   4094,
	"portal_certificate":                4095,
	"portal_rules":                      4096,
}

// Number is the error_code of a problem's code; 800 for one without a number of
// its own.
func Number(code string) int {
	if n, ok := numbers[code]; ok {
		return n
	}
	return 800
}
