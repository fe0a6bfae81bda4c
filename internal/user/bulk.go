package user

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// A Newcomer is a user who comes in with others, from elsewhere.
type Newcomer struct {
	User
	// Addresses are further ones, believed to be proved, at most MaxAddresses. Without a
	// time one is taken for as old as the account.
	Addresses []Address
}

// Check is User.Check for all that came along.
func (n *Newcomer) Check() (err error) {
	if err := n.User.Check(); err != nil {
		return err
	}
	if n.Addresses, err = checkAll(n.Addresses); err != nil {
		return err
	}
	n.Addresses = slices.DeleteFunc(n.Addresses, func(a Address) bool { return a.Value == n.Email || a.Value == n.Phone })
	if len(n.Addresses) > MaxAddresses {
		return ErrAddresses
	}
	return nil
}

// identifiers are what n is found by.
func (n *Newcomer) identifiers() []identifier { return n.User.identifiers(n.Addresses...) }

// Import adds many users in one transaction and says for each what became of it:
// nil, or why it was refused, as Create would have. It sets the ids of those
// added. A user that comes with an id keeps it; the others get ids that ascend in
// their order. Times that are set are kept. One event of the log stands for all of
// them and names the import that they are part of. The actor needs users:write,
// and to give
// roles roles:write and what is in them. A thousand users at a time are a good measure: more
// would only keep other writers waiting.
//
// The error is that of the transaction as a whole. If it satisfies
// database.IsDuplicate somebody else has taken one of the ids meanwhile, and the
// same transaction run again says which.
func (s *Service) Import(ctx context.Context, tx *database.Tx, by access.Actor, importID string, users []Newcomer) (refused []error, err error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return nil, err
	}
	roles, err := judgeRoles(ctx, tx, by, users)
	if err != nil {
		return nil, err
	}
	refused = make([]error, len(users))
	for i := range users {
		refused[i] = s.complete(tx, by, &users[i], roles)
	}
	if err := refuseTakenIDs(ctx, tx, by.Tenant, users, refused); err != nil {
		return nil, err
	}
	kept := assignIDs(tx, users, refused)
	if err := claimAll(ctx, tx, by.Tenant, users, refused); err != nil {
		return nil, err
	}
	added := make([]Newcomer, 0, len(users))
	for i, u := range users {
		if refused[i] == nil {
			added = append(added, u)
		}
	}
	if len(added) == 0 {
		return refused, nil
	}
	if err := addAll(ctx, tx, by.Tenant, added, kept); err != nil {
		return nil, err
	}
	tx.OnCommit(func() { s.totals.forget(by.Tenant) })
	return refused, audit.Append(tx, by, audit.Event{Action: "user.imported", Target: "import", TargetID: importID, Method: "import",
		Detail: map[string]any{"users": len(added), "first_id": added[0].ID, "last_id": added[len(added)-1].ID}})
}

// complete fills in what Create would have set, and checks. roles is what judgeRoles
// says.
func (s *Service) complete(tx *database.Tx, by access.Actor, u *Newcomer, roles map[string]error) error {
	if len(u.RoleIDs) > 0 {
		if err := by.Require(access.RolesWrite); err != nil {
			return err
		}
	}
	for _, id := range u.RoleIDs {
		if err := roles[id]; err != nil {
			return err
		}
	}
	if u.ID != "" && (!secret.IsID(u.ID) || u.ID == secret.ZeroID) {
		return ErrInvalid.Saying("An id has 24 lower-case hex digits.").In("id")
	}
	u.ConnectionID = s.Connection(by.Tenant)
	if u.CreatedAt.IsZero() {
		u.CreatedAt = tx.Now
	}
	if u.ModifiedAt.IsZero() {
		u.ModifiedAt = tx.Now
	}
	return u.Check()
}

var errIDTaken = ErrExists.Saying("Another user has this id.").In("id")

// refuseTakenIDs refuses users whose id belongs to another user, in the database
// or before them in the list.
func refuseTakenIDs(ctx context.Context, tx *database.Tx, tenant string, users []Newcomer, refused []error) error {
	taken := map[string]bool{}
	for i, u := range users {
		if u.ID == "" || refused[i] != nil {
			continue
		}
		if taken[u.ID] {
			refused[i] = errIDTaken
		}
		taken[u.ID] = true
	}
	if len(taken) == 0 {
		return nil
	}
	found, err := existing(ctx, tx, tx.Among, tenant, users)
	for i, u := range users {
		if refused[i] == nil && found[u.ID] {
			refused[i] = errIDTaken
		}
	}
	return err
}

// among is DB.Among or Tx.Among.
type among func(placeholder string, values []string) (cond string, arg any)

// existing returns which of the users' ids are taken.
func existing(ctx context.Context, db database.Reader, among among, tenant string, users []Newcomer) (map[string]bool, error) {
	var ids []string
	for _, u := range users {
		if u.ID != "" {
			ids = append(ids, u.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	cond, arg := among("$2", ids)
	rows, err := db.Query(ctx, "SELECT id FROM users WHERE tenant_id = $1 AND id "+cond, tenant, arg)
	found := map[string]bool{}
	_, err = database.Collect(rows, err, "look for ids", func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		found[id] = true
		return id, err
	})
	return found, err
}

// assignIDs gives users without an id one, ascending, and returns the ids that
// users came with.
func assignIDs(tx *database.Tx, users []Newcomer, refused []error) (kept []string) {
	var without []int
	for i, u := range users {
		switch {
		case refused[i] != nil:
		case u.ID != "":
			kept = append(kept, u.ID)
		default:
			without = append(without, i)
		}
	}
	fresh := make([]string, len(without))
	for i := range fresh {
		fresh[i] = tx.NewID()
	}
	slices.Sort(fresh)
	for i, place := range without {
		users[place].ID = fresh[i]
	}
	return kept
}

// A want is an identifier that the user at place row of an import asks for.
type want struct {
	identifier
	user string
	row  int
}

// claimAll takes the identifiers of all users and refuses those of which one is
// taken. Users who want the same as an earlier one of the list come second, when
// it is known whether that one got all it wanted.
func claimAll(ctx context.Context, tx *database.Tx, tenant string, users []Newcomer, refused []error) error {
	wanted, second := make([]want, 0, 2*len(users)), []int(nil)
	seen := make(map[string]bool, 2*len(users))
	for i, u := range users {
		if refused[i] != nil {
			continue
		}
		ids := u.identifiers()
		if slices.ContainsFunc(ids, func(x identifier) bool { return seen[x.value] }) {
			second = append(second, i)
			continue
		}
		for _, x := range ids {
			seen[x.value] = true
			wanted = append(wanted, want{x, u.ID, i})
		}
	}
	// In the order of the key, so that imports at the same time do not lock each
	// other up and neighbours in the index are written together.
	slices.SortFunc(wanted, func(a, b want) int { return strings.Compare(a.value, b.value) })
	if err := claimWanted(ctx, tx, tenant, wanted, refused); err != nil {
		return err
	}
	for _, i := range second {
		var alone []want
		for _, x := range users[i].identifiers() {
			alone = append(alone, want{x, users[i].ID, i})
		}
		if err := claimWanted(ctx, tx, tenant, alone, refused); err != nil {
			return err
		}
	}
	return nil
}

// claimWanted takes what it can get, refuses the users who did not get all they
// wanted, and gives back what these did get.
func claimWanted(ctx context.Context, tx *database.Tx, tenant string, wanted []want, refused []error) error {
	owners, err := insertIdentifiers(ctx, tx, tenant, wanted)
	if err != nil || len(owners) == 0 {
		return err
	}
	for _, w := range wanted {
		if owner, ok := owners[w.value]; ok && owner != w.user {
			refused[w.row] = ErrExists
		}
	}
	for _, w := range wanted {
		if refused[w.row] != nil {
			tx.Later("DELETE FROM user_identifiers WHERE tenant_id = $1 AND value = $2 AND user_id = $3", tenant, w.value, w.user)
		}
	}
	return nil
}

// insertIdentifiers takes those of the wanted identifiers that are free. Like
// claim it relies on the primary key alone, so that of all who want a value at
// the same time one gets it. Where some were not free it returns the owners of
// all around them.
func insertIdentifiers(ctx context.Context, tx *database.Tx, tenant string, wanted []want) (owners map[string]string, err error) {
	for len(wanted) > 0 {
		n, stmt, args := claimStatement(tx, tenant, wanted)
		claimed, err := tx.Exec(ctx, stmt, args...)
		if err != nil {
			return nil, fmt.Errorf("claim identifiers: %w", err)
		}
		if claimed < int64(n) {
			if owners == nil {
				owners = map[string]string{}
			}
			values := make([]string, n)
			for i, w := range wanted[:n] {
				values[i] = w.value
			}
			if err := ownersOf(ctx, tx, tx.Among, tenant, values, owners); err != nil {
				return nil, err
			}
		}
		wanted = wanted[n:]
	}
	return owners, nil
}

// claimStatement returns the statement that claims the first n of wanted.
func claimStatement(tx *database.Tx, tenant string, wanted []want) (n int, stmt string, args []any) {
	if tx.Engine() == database.PostgreSQL {
		columns := [3][]string{}
		for _, w := range wanted {
			for i, text := range [...]string{w.value, w.kind, w.user} {
				columns[i] = append(columns[i], text)
			}
		}
		return len(wanted), claimColumns, []any{tenant, columns[0], columns[1], columns[2]}
	}
	i := len(claimStatements) - 1
	for 1<<(2*i) > len(wanted) {
		i--
	}
	n, args = 1<<(2*i), append(make([]any, 0, 1+3<<(2*i)), tenant)
	for _, w := range wanted[:n] {
		args = append(args, w.value, w.kind, w.user)
	}
	return n, claimStatements[i], args
}

// claimColumns claims any number of identifiers on PostgreSQL.
const claimColumns = `INSERT INTO user_identifiers (tenant_id, value, kind, user_id)
	SELECT $1, w.value, w.kind, w.user_id FROM unnest(CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS TEXT[])) AS w (value, kind, user_id)
	ON CONFLICT (tenant_id, value) DO NOTHING`

// claimStatements claim 4^i identifiers each on SQLite, so that there are few of them to
// keep prepared. The time that SQLite takes to find its parameters grows with their square.
var claimStatements = func() (statements [4]string) {
	for i := range statements {
		rows := make([]string, 1<<(2*i))
		for j := range rows {
			rows[j] = "($1, " + placeholders(2+3*j, 3) + ")"
		}
		statements[i] = "INSERT INTO user_identifiers (tenant_id, value, kind, user_id) VALUES " + strings.Join(rows, ", ") +
			" ON CONFLICT (tenant_id, value) DO NOTHING"
	}
	return statements
}()

// ownersOf adds to owners whom these identifiers belong to.
func ownersOf(ctx context.Context, db database.Reader, among among, tenant string, values []string, owners map[string]string) error {
	cond, arg := among("$2", values)
	rows, err := db.Query(ctx, "SELECT value, user_id FROM user_identifiers WHERE tenant_id = $1 AND value "+cond, tenant, arg)
	_, err = database.Collect(rows, err, "find owners of identifiers", func(row database.Scanner) (value string, err error) {
		var owner string
		err = row.Scan(&value, &owner)
		owners[value] = owner
		return value, err
	})
	return err
}

// addAll writes users whose identifiers are claimed. kept are the ids among theirs
// that are not new.
func addAll(ctx context.Context, tx *database.Tx, tenant string, users []Newcomer, kept []string) error {
	rows, roles := make([][]any, len(users)), [][]any(nil)
	for i, u := range users {
		rows[i] = insertValues(tenant, u.User)
		slices.Sort(u.RoleIDs)
		for _, role := range slices.Compact(u.RoleIDs) {
			roles = append(roles, []any{tenant, u.ID, role})
		}
	}
	if err := tx.Copy(ctx, "users", insertColumns, rows); err != nil {
		return fmt.Errorf("import users: %w", err)
	}
	for _, u := range users {
		addMore(tx, tenant, u)
	}
	if len(roles) > 0 {
		if err := tx.Copy(ctx, "user_roles", []string{"tenant_id", "user_id", "role_id"}, roles); err != nil {
			return fmt.Errorf("import roles: %w", err)
		}
	}
	if len(kept) > 0 {
		if err := countOld(ctx, tx, tenant, kept); err != nil {
			return err
		}
	}
	return queueImported(ctx, tx, tenant, users)
}

// addMore writes what few users bring along, and so is not worth a column for all.
func addMore(tx *database.Tx, tenant string, u Newcomer) {
	if u.Language != "" {
		tx.Later("UPDATE users SET language = $3 WHERE tenant_id = $1 AND id = $2", tenant, u.ID, u.Language)
	}
	if len(u.Addresses) == 0 {
		return
	}
	text := ""
	for _, a := range u.Addresses {
		setFurther(tx, tenant, u.ID, a.settled(tx))
		text += wordStart + a.Value
	}
	noteFurther(tx, tenant, u.ID, text)
}

// queueImported queues the users for search: as one range if hardly anybody else's
// id lies among theirs, else one by one.
func queueImported(ctx context.Context, tx *database.Tx, tenant string, users []Newcomer) error {
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = u.ID
	}
	from, to := slices.Min(ids), slices.Max(ids)
	var within int64
	err := tx.QueryRow(ctx, `
		SELECT count(*) FROM (SELECT 1 AS one FROM users WHERE tenant_id = $1 AND id >= $2 AND id <= $3 LIMIT $4) AS u`,
		tenant, from, to, int64(2*len(ids)+1)).Scan(&within)
	if err != nil {
		return fmt.Errorf("look around imported users: %w", err)
	}
	if within <= int64(2*len(ids)) {
		queueSearch(tx, tenant, from, to)
		return nil
	}
	rows := make([][]any, len(ids))
	for i, id := range ids {
		rows[i] = []any{tenant, id, id, tx.NewID()}
	}
	if err := tx.Copy(ctx, "user_search_queue", []string{"tenant_id", "from_id", "to_id", "id"}, rows); err != nil {
		return fmt.Errorf("queue imported users: %w", err)
	}
	return nil
}

// Clashes returns for each of users, which have been through Check, the ids of the
// existing users that have its id or one of its identifiers: none if Import would
// take it. The actor needs users:read.
func (s *Service) Clashes(ctx context.Context, db database.Reader, by access.Actor, users []Newcomer) ([][]string, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return nil, err
	}
	var values []string
	for _, u := range users {
		for _, x := range u.identifiers() {
			values = append(values, x.value)
		}
	}
	owners := map[string]string{}
	if err := ownersOf(ctx, db, s.DB.Among, by.Tenant, values, owners); err != nil {
		return nil, err
	}
	found, err := existing(ctx, db, s.DB.Among, by.Tenant, users)
	if err != nil {
		return nil, err
	}
	clashes := make([][]string, len(users))
	for i, u := range users {
		if found[u.ID] {
			clashes[i] = []string{u.ID}
		}
		for _, x := range u.identifiers() {
			if owner, ok := owners[x.value]; ok && !slices.Contains(clashes[i], owner) {
				clashes[i] = append(clashes[i], owner)
			}
		}
	}
	return clashes, nil
}

// Identifiers returns the canonical form of everything n, which has been through
// Check, could be found by at sign-in.
func (n *Newcomer) Identifiers() []string {
	var values []string
	for _, x := range n.identifiers() {
		values = append(values, x.value)
	}
	return values
}
