package oidc

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/web"
)

func (s *Service) discoveryRoutes() []web.Route {
	const text = "The same document at each of its addresses. Its issuer is the origin of the tenant."
	return []web.Route{
		{Method: "GET", Paths: slices.Concat([]string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}, realms(".well-known/openid-configuration")), Public: true,
			Endpoint: web.Endpoint{Handler: web.Handler(s.getMetadata), Status: http.StatusOK, Out: reflect.TypeFor[metadata]()},
			Doc:      web.Doc{Tag: tag, Summary: "Get the provider's metadata", Text: "OpenID Connect Discovery 1.0 and RFC 8414. " + text, Example: metadataOf("https://auth.example.com", tenant.SignIn{})}},
		{Method: "GET", Paths: append([]string{pathJWKS, "/.well-known/jwks.json"}, realms(keycloak+"certs")...), Public: true,
			Endpoint: web.Endpoint{Handler: web.Handler(s.getKeys), Status: http.StatusOK, Media: "application/json"},
			Doc:      web.Doc{Tag: tag, Summary: "Get the keys that tokens are signed with", Text: "A JWK set, RFC 7517. A key stands here a day before it signs, and until the last token it has signed has ended."}},
	}
}

// metadata is what a client finds out about the provider (OpenID Connect Discovery,
// section 3; RFC 8414, section 2).
type metadata struct {
	Issuer              string   `json:"issuer"`
	Authorize           string   `json:"authorization_endpoint"`
	Token               string   `json:"token_endpoint"`
	Userinfo            string   `json:"userinfo_endpoint"`
	JWKS                string   `json:"jwks_uri"`
	Logout              string   `json:"end_session_endpoint"`
	Register            string   `json:"registration_endpoint,omitempty" doc:"If applications may register themselves"`
	Introspect          string   `json:"introspection_endpoint"`
	Revoke              string   `json:"revocation_endpoint"`
	PAR                 string   `json:"pushed_authorization_request_endpoint"`
	Device              string   `json:"device_authorization_endpoint"`
	Scopes              []string `json:"scopes_supported"`
	ResponseTypes       []string `json:"response_types_supported"`
	ResponseModes       []string `json:"response_modes_supported"`
	Grants              []string `json:"grant_types_supported"`
	SubjectTypes        []string `json:"subject_types_supported"`
	ACR                 []string `json:"acr_values_supported"`
	IDTokenAlgs         []string `json:"id_token_signing_alg_values_supported"`
	TokenAuth           []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs       []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectAuth      []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectAuthAlgs  []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevokeAuth          []string `json:"revocation_endpoint_auth_methods_supported"`
	RevokeAuthAlgs      []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	DPoPAlgs            []string `json:"dpop_signing_alg_values_supported"`
	Claims              []string `json:"claims_supported"`
	ClaimTypes          []string `json:"claim_types_supported"`
	Displays            []string `json:"display_values_supported"`
	Prompts             []string `json:"prompt_values_supported"`
	Locales             []string `json:"ui_locales_supported"`
	Challenges          []string `json:"code_challenge_methods_supported"`
	ClaimsParameter     bool     `json:"claims_parameter_supported"`
	RequestParameter    bool     `json:"request_parameter_supported"`
	RequestURIParameter bool     `json:"request_uri_parameter_supported"`
	RequirePAR          bool     `json:"require_pushed_authorization_requests"`
	Iss                 bool     `json:"authorization_response_iss_parameter_supported"`
	BackchannelLogout   bool     `json:"backchannel_logout_supported"`
	BackchannelSession  bool     `json:"backchannel_logout_session_supported"`
	FrontchannelLogout  bool     `json:"frontchannel_logout_supported"`
	FrontchannelSession bool     `json:"frontchannel_logout_session_supported"`
	ClientDocuments     bool     `json:"client_id_metadata_document_supported"`
}

// Ways in which a client proves itself, as their registered names are.
var (
	confidential        = []string{"client_secret_basic", "client_secret_post", tenant.AuthKey}
	everybody           = append(slices.Clone(confidential), tenant.AuthNone)
	proofAlgorithmList  = proofNames()
	proofAlgorithmNames = strings.Join(proofAlgorithmList, " ")
)

func proofNames() (names []string) {
	for _, alg := range proofAlgorithms {
		names = append(names, string(alg))
	}
	return names
}

func metadataOf(issuer string, settings tenant.SignIn) metadata {
	m := metadata{
		Issuer: issuer, Authorize: issuer + pathAuthorize, Token: issuer + pathToken, Userinfo: issuer + pathUserinfo, JWKS: issuer + pathJWKS,
		Logout: issuer + pathLogout, Introspect: issuer + pathIntrospect, Revoke: issuer + pathRevoke, PAR: issuer + pathPAR, Device: issuer + pathDevice,
		Scopes: token.Scopes, ResponseTypes: []string{"code"}, ResponseModes: []string{modeQuery, modeFragment, modeFormPost},
		Grants:       []string{tenant.GrantCode, tenant.GrantRefresh, tenant.GrantCredentials, tenant.GrantDevice, tenant.GrantExchange},
		SubjectTypes: []string{"public"}, ACR: []string{signin.ACROneFactor, signin.ACRTwoFactors},
		IDTokenAlgs: keyring.Algorithms, TokenAuth: everybody, TokenAuthAlgs: proofAlgorithmList,
		IntrospectAuth: confidential, IntrospectAuthAlgs: proofAlgorithmList, RevokeAuth: everybody, RevokeAuthAlgs: proofAlgorithmList,
		DPoPAlgs: proofAlgorithmList, ClaimTypes: []string{"normal"}, Displays: []string{"page"}, Prompts: prompts, Challenges: []string{"S256"},
		Claims:          append([]string{"sub", "iss", "aud", "azp", "exp", "iat", "nonce", "at_hash", "auth_time", "acr", "amr", "sid"}, ofScopes()...),
		ClaimsParameter: true, Iss: true,
		BackchannelLogout: true, BackchannelSession: true, FrontchannelLogout: true, FrontchannelSession: true,
		ClientDocuments: settings.ClientDocuments,
	}
	for _, l := range lang.All() {
		m.Locales = append(m.Locales, l.Tag)
	}
	if settings.Registration {
		m.Register = issuer + pathRegister
	}
	return m
}

// ofScopes are the claims that scopes give, in the order of the scopes.
func ofScopes() (names []string) {
	for _, scope := range token.Scopes {
		names = append(names, token.ClaimNames[scope]...)
	}
	return names
}

// getMetadata answers with bytes that are made at most once a second for a tenant.
func (s *Service) getMetadata(w http.ResponseWriter, r *http.Request) error {
	id := web.ActorOf(r.Context()).Tenant
	text, err := s.metadata.Get(s.now(), id, func() ([]byte, error) {
		_, t, issuer, err := s.asked(r)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(metadataOf(issuer, t.Settings.SignIn))
		if err != nil {
			return nil, fmt.Errorf("encode metadata: %w", err)
		}
		return text, nil
	})
	if err != nil {
		return err
	}
	publish(w, text)
	return nil
}

// getKeys answers with the bytes that the keyring keeps.
func (s *Service) getKeys(w http.ResponseWriter, r *http.Request) error {
	text, err := s.Ring.JWKS(r.Context(), web.ActorOf(r.Context()).Tenant)
	if err != nil {
		return err
	}
	publish(w, text)
	return nil
}

var (
	jsonMedia  = []string{"application/json"}
	shortWhile = []string{"public, max-age=60"}
	// The header may name another tenant than the host does, see tenant.Resolve.
	byClient = []string{"X-Client-Id"}
)

// publish sends what everybody may know and keep for a minute: that long a new key may
// go unseen, which is nothing beside the day that it is there before it signs.
func publish(w http.ResponseWriter, text []byte) {
	h := w.Header()
	h["Content-Type"] = jsonMedia
	h["Cache-Control"] = shortWhile
	h["Vary"] = byClient
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	w.Write(text) //nolint:errcheck // whoever asked has gone
}
