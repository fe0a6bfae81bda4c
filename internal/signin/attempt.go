package signin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
)

// attemptLifetime is how long somebody may take from the first page to the last.
const attemptLifetime = time.Hour

// maxNumberTries is how many wrong numbers end an attempt. There are ninety numbers.
const maxNumberTries = 3

// An attempt is one sign-in in progress.
type attempt struct {
	ID            string
	ApplicationID string
	Request       request
	Identifier    string
	Channel       string
	ChallengeID   string
	UserID        string
	Method        string
	ProvedAt      time.Time // zero until somebody was proved
	// What was proved beside the first factor, see second.go.
	SecondMethod    string
	SecondAt        time.Time // zero until it was
	SecondChallenge string
	FinishedAt      time.Time // zero until there is a session
	SessionID       string
	CreatedAt       time.Time

	browser []byte // hash; nil for one begun by the API
	handed  bool
	expires time.Time
	stored  proved // what the database says; the fields above may be ahead of it
	chose   bool   // another password, in this transaction; not stored
}

// proved is what an attempt has shown: by whom, and how.
type proved struct{ user, method, second string }

func (a attempt) proved() proved { return proved{a.UserID, a.Method, a.SecondMethod} }

// A request is what an attempt was begun for. It stays as it is but for what the
// person tells of themselves.
type request struct {
	Application   string       `json:"application,omitempty"`
	ReturnTo      string       `json:"return_to,omitempty"`
	LoginHint     string       `json:"login_hint,omitempty"`
	UILocales     string       `json:"ui_locales,omitempty"`
	ACR           string       `json:"acr,omitempty"`
	After         time.Time    `json:"after,omitzero"`
	SelectAccount bool         `json:"select_account,omitempty"`
	SignUp        bool         `json:"sign_up,omitempty"`
	UserID        string       `json:"user,omitempty"`
	Number        string       `json:"number,omitempty"` // shown where the attempt began
	Handle        string       `json:"handle,omitempty"` // of one begun by the API, for the application to ask with
	From          session.From `json:"from,omitzero"`    // where it began
	GivenName     string       `json:"given_name,omitempty"`
	FamilyName    string       `json:"family_name,omitempty"`
	Social        *fromSocial  `json:"social,omitempty"`
	Recovery      []byte       `json:"recovery,omitempty"` // hash of a link's token: another second factor is to be set up
	// Organization is the one to act in, by id, slug or token. Chosen says that the person
	// has chosen it, and may choose again.
	Organization string   `json:"organization,omitempty"`
	Chosen       bool     `json:"chosen,omitempty"`
	Enter        string   `json:"enter,omitempty"` // session whose user chooses one
	Connection   string   `json:"connection,omitempty"`
	SSO          *fromSSO `json:"sso,omitempty"`
	Invited      *invited `json:"invited,omitempty"`
}

func requestOf(st Start) request {
	return request{
		Application: st.Application.ID, ReturnTo: st.ReturnTo, LoginHint: st.LoginHint, UILocales: st.UILocales, ACR: st.ACR, After: st.After,
		SelectAccount: st.SelectAccount, SignUp: st.SignUp, UserID: st.UserID, Organization: st.Organization, Enter: st.Enter, Connection: st.Connection,
	}
}

// returnTo is where the attempt leads.
func (q request) returnTo() string {
	if q.ReturnTo == "" {
		return "/account"
	}
	return q.ReturnTo
}

// The "acr" of a session: what it took to prove who is there.
const (
	ACROneFactor  = "urn:cardea:acr:1"
	ACRTwoFactors = "urn:cardea:acr:2"
)

// asksTwo reports whether the application asks for two factors and would not do with
// one.
func (q request) asksTwo() bool { return AsksTwo(q.ACR) }

// AsksTwo reports whether a request's "acr_values" ask for two factors, and would not
// do with one.
func AsksTwo(acrValues string) bool {
	levels := strings.Fields(acrValues)
	return slices.Contains(levels, ACRTwoFactors) && !slices.Contains(levels, ACROneFactor)
}

// isTwo reports whether two factors were proved.
func (a attempt) isTwo() bool { return !a.SecondAt.IsZero() || countsTwo(a.Method) }

// acr is the level that was reached.
func (a attempt) acr() string {
	if a.isTwo() {
		return ACRTwoFactors
	}
	return ACROneFactor
}

// amr are the methods that were proved, of which first is the first (RFC 8176).
func (a attempt) amr(first []string) []string {
	if a.SecondAt.IsZero() {
		return first
	}
	out := slices.Clone(first)
	for _, m := range append(slices.Clone(amrOf(a.SecondMethod)), amrMany) {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// newHandle returns a "state": 96 random bits in the form of the contract.
func newHandle() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// newNumber returns two digits for a person to compare.
func newNumber() string {
	n, err := rand.Int(rand.Reader, big.NewInt(90))
	if err != nil {
		panic(err) // it does not fail
	}
	return fmt.Sprint(10 + n.Int64())
}

func hashOf(text string) []byte {
	if text == "" {
		return nil
	}
	return secret.Hash(text)
}

const attemptColumns = `id, browser_hash, application_id, request, identifier, channel, challenge_id, user_id, method, proved_at, second_method, second_at, second_challenge, finished_at, session_id, handed_at, created_at, expires_at`

func scanAttempt(row database.Scanner) (attempt, error) {
	var a attempt
	var req string
	var proved, second, finished, handed *int64
	var created, expires int64
	err := row.Scan(&a.ID, &a.browser, &a.ApplicationID, &req, &a.Identifier, &a.Channel, &a.ChallengeID, &a.UserID, &a.Method, &proved, &a.SecondMethod, &second, &a.SecondChallenge, &finished, &a.SessionID, &handed, &created, &expires)
	if err != nil {
		return attempt{}, err
	}
	a.stored = a.proved()
	a.ProvedAt, a.SecondAt, a.FinishedAt, a.handed = orZero(proved), orZero(second), orZero(finished), handed != nil
	a.CreatedAt, a.expires = time.UnixMilli(created).UTC(), time.UnixMilli(expires).UTC()
	return a, json.Unmarshal([]byte(req), &a.Request)
}

func orZero(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}

// insertAttempt begins an attempt; browser is nil for one begun by the API.
func insertAttempt(tx *database.Tx, tenant string, req request, browser []byte) (attempt, string, error) {
	return insertIdentified(tx, tenant, newHandle(), attempt{Request: req, browser: browser})
}

// insertIdentified is insertAttempt for somebody who has said who they are.
func insertIdentified(tx *database.Tx, tenant, handle string, a attempt) (attempt, string, error) {
	if a.Request.Number == "" {
		a.Request.Number = newNumber()
	}
	text, err := json.Marshal(a.Request)
	if err != nil {
		return attempt{}, "", fmt.Errorf("encode attempt: %w", err)
	}
	a.ID, a.ApplicationID, a.CreatedAt, a.expires = tx.NewID(), a.Request.Application, tx.Now, tx.Now.Add(attemptLifetime)
	tx.Later(`
		INSERT INTO attempts (tenant_id, id, handle_hash, browser_hash, application_id, request, identifier, channel, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		tenant, a.ID, secret.Hash(handle), a.browser, a.ApplicationID, string(text), a.Identifier, a.Channel, tx.Millis(), a.expires.UnixMilli())
	return a, handle, nil
}

// findAttempt returns the attempt with that id or handle_hash; ErrAttempt if it is
// none or has expired.
func findAttempt(ctx context.Context, db database.Reader, tenant, column string, value any, now time.Time) (attempt, error) {
	a, err := scanAttempt(db.QueryRow(ctx, `SELECT `+attemptColumns+` FROM attempts WHERE tenant_id = $1 AND `+column+` = $2 AND expires_at > $3`, tenant, value, now.UnixMilli()))
	return a, orAttempt(err, "find attempt")
}

func orAttempt(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, database.ErrNoRows):
		return ErrAttempt
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// The changes of an attempt are conditional: one that is finished stays as it is.
const openAttempt = ` WHERE tenant_id = $1 AND id = $2 AND finished_at IS NULL AND expires_at > $3 `

// unproved makes what was proved void.
const unproved = `user_id = '', method = '', proved_at = NULL, second_method = '', second_at = NULL, second_challenge = '' `

// identifyAttempt notes who the person says they are. What was proved before is void.
func identifyAttempt(ctx context.Context, tx *database.Tx, tenant string, a attempt) (attempt, error) {
	text, err := json.Marshal(a.Request)
	if err != nil {
		return attempt{}, fmt.Errorf("encode attempt: %w", err)
	}
	a, err = scanAttempt(tx.QueryRow(ctx, `
		UPDATE attempts SET request = $4, identifier = $5, channel = $6, challenge_id = '', `+unproved+openAttempt+`RETURNING `+attemptColumns,
		tenant, a.ID, tx.Millis(), string(text), a.Identifier, a.Channel))
	return a, orAttempt(err, "identify attempt")
}

// noteRequest stores what an attempt is for, without touching what was proved.
func noteRequest(ctx context.Context, tx *database.Tx, tenant string, a attempt) (attempt, error) {
	text, err := json.Marshal(a.Request)
	if err != nil {
		return attempt{}, fmt.Errorf("encode attempt: %w", err)
	}
	a, err = scanAttempt(tx.QueryRow(ctx, `UPDATE attempts SET request = $4`+openAttempt+`RETURNING `+attemptColumns, tenant, a.ID, tx.Millis(), string(text)))
	return a, orAttempt(err, "note what an attempt is for")
}

// renameAttempt gives an attempt another handle.
func renameAttempt(ctx context.Context, tx *database.Tx, tenant, id string) (handle string, err error) {
	handle = newHandle()
	n, err := tx.Exec(ctx, `UPDATE attempts SET handle_hash = $3 WHERE tenant_id = $1 AND id = $2`, tenant, id, secret.Hash(handle))
	return handle, orEnded(n, err, "rename attempt")
}

// challengeAttempt notes the link and code that were sent.
func challengeAttempt(ctx context.Context, tx *database.Tx, tenant, id, challenge string) error {
	n, err := tx.Exec(ctx, `UPDATE attempts SET challenge_id = $4`+openAttempt, tenant, id, tx.Millis(), challenge)
	return orEnded(n, err, "challenge attempt")
}

// proveAttempt notes who was proved, unless that was another user.
func proveAttempt(ctx context.Context, tx *database.Tx, tenant, id, user, method string) (attempt, error) {
	a, err := scanAttempt(tx.QueryRow(ctx, `
		UPDATE attempts SET user_id = $4, method = $5, proved_at = $3`+openAttempt+`AND (user_id = '' OR user_id = $4) RETURNING `+attemptColumns,
		tenant, id, tx.Millis(), user, method))
	return a, orAttempt(err, "prove attempt")
}

// byProof sets what was proved, if it is stored as it was read.
const byProof = `UPDATE attempts SET user_id = $4, method = $5, proved_at = $6, second_method = $7, second_at = $8, session_id = $9, finished_at = $10, handed_at = COALESCE($11, handed_at)` + openAttempt +
	`AND user_id = $12 AND method = $13 AND second_method = $14 AND (CAST($11 AS BIGINT) IS NULL OR handed_at IS NULL)`

// noteProof stores what an attempt has proved; ErrAttempt if that changed meanwhile.
func noteProof(tx *database.Tx, tenant string, a attempt) {
	tx.Must(orEnds("note proof"), byProof, a.proofArgs(tx, tenant, "", nil, nil)...)
}

func (a attempt) proofArgs(tx *database.Tx, tenant, session string, finished, handed *int64) []any {
	return []any{tenant, a.ID, tx.Millis(), a.UserID, a.Method, orNull(a.ProvedAt), a.SecondMethod, orNull(a.SecondAt), session, finished, handed,
		a.stored.user, a.stored.method, a.stored.second}
}

func orNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// challengeSecond notes the code that was sent for the second factor.
func challengeSecond(ctx context.Context, tx *database.Tx, tenant string, a attempt, challenge string) error {
	n, err := tx.Exec(ctx, `UPDATE attempts SET second_challenge = $5`+openAttempt+`AND proved_at IS NOT NULL AND user_id = $4`, tenant, a.ID, tx.Millis(), a.UserID, challenge)
	return orEnded(n, err, "challenge second factor")
}

// unproveAttempts makes void what every open attempt of a user has proved, and returns
// how many there were.
func unproveAttempts(ctx context.Context, tx *database.Tx, tenant, user string) (int64, error) {
	n, err := tx.Exec(ctx, `UPDATE attempts SET `+unproved+`WHERE tenant_id = $1 AND user_id = $2 AND finished_at IS NULL AND user_id <> ''`, tenant, user)
	if err != nil {
		return 0, fmt.Errorf("void attempts: %w", err)
	}
	return n, nil
}

// finishAttempt notes what an attempt has proved and the session that it ends in. It is
// one statement, so that of two requests at once one goes on: the transaction fails with
// ErrAttempt if the attempt has ended, or has proved something else meanwhile.
func finishAttempt(tx *database.Tx, tenant string, a attempt, session string) {
	now := tx.Millis()
	tx.Must(orEnds("finish attempt"), byProof, a.proofArgs(tx, tenant, session, &now, nil)...)
}

// handOut is finishAttempt for tokens that are handed out once; the transaction fails
// with again if they were.
func handOut(tx *database.Tx, tenant string, a attempt, session string, again error) {
	now := tx.Millis()
	tx.Must(func(n int64, err error) error {
		if err == nil && n == 0 {
			return again
		}
		return orEnded(n, err, "hand out tokens")
	}, byProof, a.proofArgs(tx, tenant, session, &now, &now)...)
}

func orEnds(doing string) func(int64, error) error {
	return func(n int64, err error) error { return orEnded(n, err, doing) }
}

// tryNumber counts a number before it is compared.
func tryNumber(ctx context.Context, tx *database.Tx, tenant, id string) error {
	n, err := tx.Exec(ctx, `UPDATE attempts SET number_tries = number_tries + 1`+openAttempt+`AND number_tries < $4`, tenant, id, tx.Millis(), maxNumberTries)
	return orEnded(n, err, "count number")
}

func orEnded(n int64, err error, doing string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if n == 0 {
		return ErrAttempt
	}
	return nil
}

// noteBrowser notes that a user has signed in with a browser, and reports whether that
// was for the first time.
func noteBrowser(ctx context.Context, tx *database.Tx, tenant, user string, browser []byte) (isNew bool, err error) {
	if browser == nil {
		return false, nil
	}
	var first int64
	err = tx.QueryRow(ctx, `
		INSERT INTO known_browsers (tenant_id, user_id, browser_hash, first_at, last_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (tenant_id, user_id, browser_hash) DO UPDATE SET last_at = excluded.last_at RETURNING first_at`, tenant, user, browser, tx.Millis()).Scan(&first)
	if err != nil {
		return false, fmt.Errorf("note browser: %w", err)
	}
	return first == tx.Millis(), nil
}

// knowsBrowser reports whether a user has signed in there before.
func knowsBrowser(ctx context.Context, db database.Reader, tenant, user string, browser []byte) (known bool, err error) {
	if user == "" || browser == nil {
		return false, nil
	}
	err = db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM known_browsers WHERE tenant_id = $1 AND user_id = $2 AND browser_hash = $3)`, tenant, user, browser).Scan(&known)
	if err != nil {
		return false, fmt.Errorf("look up browser: %w", err)
	}
	return known, nil
}

func forgetBrowsers(ctx context.Context, tx *database.Tx, tenant, user string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM known_browsers WHERE tenant_id = $1 AND user_id = $2`, tenant, user); err != nil {
		return fmt.Errorf("forget browsers: %w", err)
	}
	return nil
}

// browserLifetime is how long a browser stays known without being used.
const browserLifetime = 400 * 24 * time.Hour

// Sweep removes attempts that are over, browsers that were not seen for long and links of
// letters that have expired, in portions.
func (s *Service) Sweep(ctx context.Context) error {
	const portion = 1000
	for _, sweep := range []struct {
		stmt   string
		before time.Duration
	}{
		{`DELETE FROM attempts WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM attempts WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, 24 * time.Hour},
		{`DELETE FROM known_browsers WHERE (tenant_id, user_id, browser_hash) IN (SELECT tenant_id, user_id, browser_hash FROM known_browsers WHERE last_at < $1 ORDER BY last_at LIMIT $2)`, browserLifetime},
		{`DELETE FROM alarms WHERE (tenant_id, token_hash) IN (SELECT tenant_id, token_hash FROM alarms WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, 0},
	} {
		for n := int64(portion); n == portion; {
			err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
				n, err = tx.Exec(ctx, sweep.stmt, tx.Now.Add(-sweep.before).UnixMilli(), portion)
				return err
			})
			if err != nil {
				return fmt.Errorf("sweep attempts: %w", err)
			}
		}
	}
	return nil
}
