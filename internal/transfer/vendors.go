package transfer

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the other products' files have, and what becomes of it. The id a user had
// there goes to the attribute external_id. Second factors, sessions and linked
// accounts are not taken over.

// ssojetUser is the full user form of the SSOJet API, which is also ours.
type ssojetUser struct {
	ID            string          `json:"_id"`
	Email         string          `json:"email"`
	FirstName     string          `json:"first_name"`
	LastName      string          `json:"last_name"`
	Username      string          `json:"username"`
	PhoneID       string          `json:"phone_id"`
	Groups        json.RawMessage `json:"groups"`
	Attributes    json.RawMessage `json:"raw_attributes"`
	Roles         []string        `json:"roles"`
	CreatedAt     Moment          `json:"created_at"`
	ModifiedAt    Moment          `json:"modified_at"`
	LastLoginAt   Moment          `json:"LastLoginAt"`
	EmailVerified *bool           `json:"email_verified"`
	IsActive      *bool           `json:"is_active"`
}

func readSSOJet(raw []byte, _ *Options) (Record, error) {
	var u ssojetUser
	if err := decode(raw, &u); err != nil {
		return Record{}, err
	}
	r := Record{
		ID: u.ID, Email: u.Email, FirstName: u.FirstName, LastName: u.LastName, Username: u.Username, Groups: u.Groups, Attributes: u.Attributes,
		Roles: u.Roles, CreatedAt: u.CreatedAt, ModifiedAt: u.ModifiedAt, LastLoginAt: u.LastLoginAt, EmailVerified: u.EmailVerified, IsActive: u.IsActive,
	}
	if strings.HasPrefix(u.PhoneID, "+") {
		r.Phone = u.PhoneID
	}
	return r, nil
}

// keycloakUser is an element of users in a realm export.
type keycloakUser struct {
	ID              string                     `json:"id"`
	Username        string                     `json:"username"`
	Email           string                     `json:"email"`
	EmailVerified   *bool                      `json:"emailVerified"`
	FirstName       string                     `json:"firstName"`
	LastName        string                     `json:"lastName"`
	Enabled         *bool                      `json:"enabled"`
	CreatedAt       Moment                     `json:"createdTimestamp"`
	Attributes      map[string]json.RawMessage `json:"attributes"`
	Groups          json.RawMessage            `json:"groups"`
	RealmRoles      []string                   `json:"realmRoles"`
	RequiredActions []string                   `json:"requiredActions"`
	Credentials     []keycloakCredential       `json:"credentials"`
	ServiceAccount  string                     `json:"serviceAccountClientId"`
}

// keycloakCredential holds its two halves as JSON in a string since Keycloak 8,
// and in members of its own before.
type keycloakCredential struct {
	Type           string `json:"type"`
	Value          string `json:"value"` // a plain password, in files written by hand
	SecretData     string `json:"secretData"`
	CredentialData string `json:"credentialData"`
	CreatedAt      Moment `json:"createdDate"`
	Temporary      bool   `json:"temporary"`

	OldValue      string `json:"hashedSaltedValue"`
	OldSalt       string `json:"salt"`
	OldIterations int    `json:"hashIterations"`
	OldAlgorithm  string `json:"algorithm"`
}

type keycloakSecret struct {
	Value string `json:"value"`
	Salt  string `json:"salt"`
}

type keycloakData struct {
	Iterations int                 `json:"hashIterations"`
	Algorithm  string              `json:"algorithm"`
	Parameters map[string][]string `json:"additionalParameters"`
}

func readKeycloak(raw []byte, o *Options) (Record, error) {
	var u keycloakUser
	if err := decode(raw, &u); err != nil {
		return Record{}, err
	}
	r := Record{
		Username: u.Username, Email: u.Email, EmailVerified: u.EmailVerified, FirstName: u.FirstName, LastName: u.LastName, IsActive: u.Enabled,
		CreatedAt: u.CreatedAt, Groups: u.Groups, Roles: u.RealmRoles, RequiredActions: u.RequiredActions,
	}
	dropTwin(&r)
	if u.ServiceAccount != "" {
		return r, errRecord.Saying("This is the service account of a client, not a person.")
	}
	attributes := map[string]any{}
	for name, values := range u.Attributes { // lists of values, and kept as that
		attributes[name] = values
	}
	external(attributes, u.ID)
	var err error
	if r.Attributes, err = object(attributes); err != nil {
		return r, err
	}
	i := slices.IndexFunc(u.Credentials, func(c keycloakCredential) bool { return c.Type == "password" })
	if i < 0 || o.NoPasswords {
		return r, nil
	}
	r.PasswordTemporary = u.Credentials[i].Temporary || slices.Contains(u.RequiredActions, "UPDATE_PASSWORD")
	r.PasswordChangedAt = u.Credentials[i].CreatedAt
	r.PasswordHash, err = u.Credentials[i].hash()
	return r, err
}

func (c keycloakCredential) hash() (string, error) {
	if c.Value != "" {
		return "", errHash.Saying("The credential is a plain password. Imports take hashes only.")
	}
	secret := keycloakSecret{c.OldValue, c.OldSalt}
	data := keycloakData{Iterations: c.OldIterations, Algorithm: c.OldAlgorithm}
	if c.SecretData != "" {
		if json.Unmarshal([]byte(c.SecretData), &secret) != nil || json.Unmarshal([]byte(c.CredentialData), &data) != nil {
			return "", errHash.Saying("The credential's data is not JSON.")
		}
	}
	return keycloakHash(secret, data)
}

// dropTwin forgets a username that is the e-mail address: the user is found by it
// anyway, and it would stay behind when the address changes.
func dropTwin(r *Record) {
	if strings.EqualFold(strings.TrimSpace(r.Username), strings.TrimSpace(r.Email)) {
		r.Username = ""
	}
}

// auth0User has the members of the user export, of the import file, and of the
// export of password hashes that Auth0's support makes.
type auth0User struct {
	UserID        string          `json:"user_id"`
	OID           auth0ID         `json:"_id"`
	AltID         string          `json:"alt_id"`
	Email         string          `json:"email"`
	EmailVerified *bool           `json:"email_verified"`
	Username      string          `json:"username"`
	Phone         string          `json:"phone_number"`
	PhoneVerified *bool           `json:"phone_verified"`
	Name          string          `json:"name"`
	GivenName     string          `json:"given_name"`
	FamilyName    string          `json:"family_name"`
	Nickname      string          `json:"nickname"`
	Picture       string          `json:"picture"`
	Blocked       bool            `json:"blocked"`
	UserMetadata  json.RawMessage `json:"user_metadata"`
	AppMetadata   json.RawMessage `json:"app_metadata"`
	CreatedAt     Moment          `json:"created_at"`
	UpdatedAt     Moment          `json:"updated_at"`
	LastLogin     Moment          `json:"last_login"`
	LastReset     Moment          `json:"last_password_reset"`

	Hash        string       `json:"passwordHash"`
	OtherHash   string       `json:"password_hash"`
	Custom      *auth0Custom `json:"custom_password_hash"`
	SetDate     auth0Date    `json:"password_set_date"`
	Identifiers []struct {
		Type     string `json:"type"`
		Value    string `json:"value"`
		Verified *bool  `json:"verified"`
	} `json:"identifiers"`
}

// auth0ID is an id as a string or as MongoDB writes it.
type auth0ID string

// UnmarshalJSON implements json.Unmarshaler.
func (id *auth0ID) UnmarshalJSON(b []byte) error {
	var wrapped struct {
		OID string `json:"$oid"`
	}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(id))
	}
	err := json.Unmarshal(b, &wrapped)
	*id = auth0ID(wrapped.OID)
	return err
}

// auth0Date is a time as a string or as MongoDB writes it.
type auth0Date struct{ Moment }

// UnmarshalJSON implements json.Unmarshaler.
func (d *auth0Date) UnmarshalJSON(b []byte) error {
	var wrapped struct {
		Date Moment `json:"$date"`
	}
	if len(b) == 0 || b[0] != '{' {
		return d.Moment.UnmarshalJSON(b)
	}
	err := json.Unmarshal(b, &wrapped)
	d.Moment = wrapped.Date
	return err
}

type auth0Custom struct {
	Algorithm string `json:"algorithm"`
	Hash      struct {
		auth0Encoded
		Digest string       `json:"digest"`
		Key    auth0Encoded `json:"key"`
	} `json:"hash"`
	Salt struct {
		auth0Encoded
		Position string `json:"position"`
	} `json:"salt"`
	Cost            int `json:"cost"`
	BlockSize       int `json:"blockSize"`
	Parallelization int `json:"parallelization"`
}

type auth0Encoded struct {
	Value    string `json:"value"`
	Encoding string `json:"encoding"`
}

func readAuth0(raw []byte, o *Options) (Record, error) {
	var u auth0User
	if err := decode(raw, &u); err != nil {
		return Record{}, err
	}
	active := !u.Blocked
	r := Record{
		Email: u.Email, EmailVerified: u.EmailVerified, Username: u.Username, Phone: u.Phone, PhoneVerified: u.PhoneVerified,
		FirstName: u.GivenName, LastName: u.FamilyName, IsActive: &active, CreatedAt: u.CreatedAt, ModifiedAt: u.UpdatedAt, LastLoginAt: u.LastLogin,
		PasswordChangedAt: u.SetDate.Moment,
	}
	if r.PasswordChangedAt.IsZero() {
		r.PasswordChangedAt = u.LastReset
	}
	for _, x := range u.Identifiers {
		if x.Type == "email" && r.Email == "" {
			r.Email, r.EmailVerified = x.Value, x.Verified
		}
	}
	dropTwin(&r)
	if r.FirstName == "" && r.LastName == "" && !strings.Contains(u.Name, "@") { // Auth0 puts the address there for want of a name
		r.FirstName, r.LastName = splitName(u.Name)
	}
	var err error
	if r.Attributes, err = u.attributes(); err != nil || o.NoPasswords {
		return r, err
	}
	switch {
	case u.Custom != nil:
		r.PasswordHash, err = auth0Hash(*u.Custom)
	case u.Hash != "":
		r.PasswordHash = u.Hash
	default:
		r.PasswordHash = u.OtherHash
	}
	return r, err
}

func (u auth0User) attributes() (json.RawMessage, error) {
	attributes := map[string]any{}
	for name, value := range map[string]json.RawMessage{"user_metadata": u.UserMetadata, "app_metadata": u.AppMetadata} {
		if len(value) > 2 && string(value) != "null" {
			attributes[name] = value
		}
	}
	setTexts(attributes, map[string]string{"nickname": u.Nickname, "picture": u.Picture})
	id := u.UserID
	switch {
	case id != "":
	case u.AltID != "":
		id = "auth0|" + u.AltID
	case u.OID != "":
		id = "auth0|" + string(u.OID)
	}
	external(attributes, id)
	return object(attributes)
}

func setTexts(attributes map[string]any, texts map[string]string) {
	for name, text := range texts {
		if text != "" {
			attributes[name] = text
		}
	}
}

type firebaseUser struct {
	LocalID       string `json:"localId"`
	Email         string `json:"email"`
	EmailVerified *bool  `json:"emailVerified"`
	DisplayName   string `json:"displayName"`
	PhotoURL      string `json:"photoUrl"`
	Phone         string `json:"phoneNumber"`
	Disabled      bool   `json:"disabled"`
	CustomClaims  string `json:"customAttributes"` // JSON in a string
	PasswordHash  string `json:"passwordHash"`
	Salt          string `json:"salt"`
	CreatedAt     Moment `json:"createdAt"`
	LastSignedIn  Moment `json:"lastSignedInAt"`
}

func readFirebase(raw []byte, o *Options) (Record, error) {
	var u firebaseUser
	if err := decode(raw, &u); err != nil {
		return Record{}, err
	}
	active := !u.Disabled
	verified := u.Phone != "" // Firebase knows no other numbers
	r := Record{
		Email: u.Email, EmailVerified: u.EmailVerified, Phone: u.Phone, PhoneVerified: &verified, IsActive: &active,
		CreatedAt: u.CreatedAt, ModifiedAt: u.CreatedAt, LastLoginAt: u.LastSignedIn,
	}
	r.FirstName, r.LastName = splitName(u.DisplayName)
	attributes := map[string]any{}
	setTexts(attributes, map[string]string{"picture": u.PhotoURL})
	if claims := json.RawMessage(u.CustomClaims); len(claims) > 2 && json.Valid(claims) {
		attributes["custom_claims"] = claims
	}
	external(attributes, u.LocalID)
	var err error
	if r.Attributes, err = object(attributes); err != nil || u.PasswordHash == "" || o.NoPasswords {
		return r, err
	}
	r.PasswordHash, err = firebaseHash(o.Firebase, u.Salt, u.PasswordHash)
	return r, err
}

var isUUID = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
})

var cognitoAttributes = []string{"middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "address"}

// readCognito reads a row of the CSV that Cognito's import takes. Cognito gives no
// hashes out.
func readCognito(row csvRow, _ *Options) (Record, error) {
	text := func(heading string) string { return strings.TrimSpace(row.cell(heading)) }
	r := Record{Username: text("cognito:username"), Email: text("email"), Phone: text("phone_number"), FirstName: text("given_name"), LastName: text("family_name")}
	var err error
	if r.EmailVerified, err = parseFlag("email_verified", text("email_verified")); err != nil {
		return r, err
	}
	if r.PhoneVerified, err = parseFlag("phone_number_verified", text("phone_number_verified")); err != nil {
		return r, err
	}
	if r.FirstName == "" && r.LastName == "" {
		r.FirstName, r.LastName = splitName(text("name"))
	}
	if seconds, err := strconv.ParseInt(text("updated_at"), 10, 64); err == nil && seconds > 0 && seconds < 1<<35 {
		r.ModifiedAt = Moment{time.Unix(seconds, 0).UTC()}
	}
	attributes := map[string]any{}
	for name := range row.heading {
		if slices.Contains(cognitoAttributes, name) || strings.HasPrefix(name, "custom:") {
			setTexts(attributes, map[string]string{name: text(name)})
		}
	}
	id := text("sub")
	if isUUID().MatchString(r.Username) { // a pool where people sign in with their address
		r.Username, id = "", r.Username
	}
	dropTwin(&r)
	external(attributes, id)
	r.Attributes, err = object(attributes)
	return r, err
}

// clerkUser has the members of the API's users and of the export that Clerk's
// support makes.
type clerkUser struct {
	ID              string          `json:"id"`
	ExternalID      string          `json:"external_id"`
	FirstName       string          `json:"first_name"`
	LastName        string          `json:"last_name"`
	Username        string          `json:"username"`
	PrimaryEmail    string          `json:"primary_email_address_id"`
	PrimaryPhone    string          `json:"primary_phone_number_id"`
	Emails          clerkContacts   `json:"email_addresses"`
	Phones          clerkContacts   `json:"phone_numbers"`
	ImageURL        string          `json:"image_url"`
	PublicMetadata  json.RawMessage `json:"public_metadata"`
	PrivateMetadata json.RawMessage `json:"private_metadata"`
	UnsafeMetadata  json.RawMessage `json:"unsafe_metadata"`
	Banned          bool            `json:"banned"`
	CreatedAt       Moment          `json:"created_at"`
	UpdatedAt       Moment          `json:"updated_at"`
	LastSignIn      Moment          `json:"last_sign_in_at"`
	Digest          string          `json:"password_digest"`
	Hasher          string          `json:"password_hasher"`
}

// clerkContacts are addresses or numbers: objects from the API, one string with
// bars between from the support's export.
type clerkContacts []clerkContact

type clerkContact struct {
	ID           string `json:"id"`
	Email        string `json:"email_address"`
	Phone        string `json:"phone_number"`
	Verification struct {
		Status string `json:"status"`
	} `json:"verification"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *clerkContacts) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return json.Unmarshal(b, (*[]clerkContact)(c))
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	for word := range strings.SplitSeq(text, "|") {
		if word != "" {
			*c = append(*c, clerkContact{Email: word, Phone: word})
		}
	}
	return nil
}

// primary returns the contact of this id, else the first one.
func (c clerkContacts) primary(id string) (contact clerkContact) {
	for _, x := range c {
		if x.ID == id && id != "" {
			return x
		}
	}
	if len(c) > 0 {
		return c[0]
	}
	return contact
}

func readClerk(raw []byte, o *Options) (Record, error) {
	var u clerkUser
	if err := decode(raw, &u); err != nil {
		return Record{}, err
	}
	email, phone := u.Emails.primary(u.PrimaryEmail), u.Phones.primary(u.PrimaryPhone)
	active, emailVerified, phoneVerified := !u.Banned, email.Verification.Status == "verified", phone.Verification.Status == "verified"
	r := Record{
		Username: u.Username, Email: email.Email, EmailVerified: &emailVerified, Phone: phone.Phone, PhoneVerified: &phoneVerified,
		FirstName: u.FirstName, LastName: u.LastName, IsActive: &active, CreatedAt: u.CreatedAt, ModifiedAt: u.UpdatedAt, LastLoginAt: u.LastSignIn,
	}
	attributes := map[string]any{}
	for name, value := range map[string]json.RawMessage{"public_metadata": u.PublicMetadata, "private_metadata": u.PrivateMetadata, "unsafe_metadata": u.UnsafeMetadata} {
		if len(value) > 2 && string(value) != "null" {
			attributes[name] = value
		}
	}
	setTexts(attributes, map[string]string{"picture": u.ImageURL})
	external(attributes, u.ID)
	var err error
	if r.Attributes, err = object(attributes); err != nil || u.Digest == "" || o.NoPasswords {
		return r, err
	}
	r.PasswordHash, err = clerkHash(u.Hasher, u.Digest)
	return r, err
}

// readClerkCSV reads a row of the export that Clerk's dashboard makes.
func readClerkCSV(row csvRow, o *Options) (Record, error) {
	text := func(heading string) string { return strings.TrimSpace(plain(row.cell(heading))) }
	r := Record{Username: text("username"), Email: text("primary_email_address"), Phone: text("primary_phone_number"), FirstName: text("first_name"), LastName: text("last_name")}
	among := func(value, list string) *bool {
		found := value != "" && slices.Contains(strings.FieldsFunc(list, func(c rune) bool { return c == '|' || c == ',' || c == ' ' }), value)
		return &found
	}
	r.EmailVerified = among(r.Email, text("verified_email_addresses"))
	r.PhoneVerified = among(r.Phone, text("verified_phone_numbers"))
	attributes := map[string]any{}
	external(attributes, text("id"))
	var err error
	if r.Attributes, err = object(attributes); err != nil || text("password_digest") == "" || o.NoPasswords {
		return r, err
	}
	r.PasswordHash, err = clerkHash(text("password_hasher"), text("password_digest"))
	return r, err
}
