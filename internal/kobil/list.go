package kobil

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

const (
	defaultLimit = 20
	maxLimit     = user.MaxPage
)

type getUsersRequest struct {
	Email      string `query:"email" doc:"Only the user of this address, in any letter case"`
	FirstName  string `query:"firstName" doc:"A part of the first name, in any letter case"`
	LastName   string `query:"lastName" doc:"A part of the last name, in any letter case"`
	Search     string `query:"search" doc:"Words, each a part of name, e-mail address, username or phone number"`
	PageNumber string `query:"pageNumber" doc:"From 1, which is what less than that counts as"`
	Limit      string `query:"limit" doc:"Users a page: 20 if absent, at most 1000"`
	Max        string `query:"max" doc:"The same as limit, where that is absent"`
}

type userList struct {
	UserList []listedUser `json:"userList"`
	Page     page         `json:"page"`
}

type page struct {
	PageSize     int   `json:"pageSize"` // the limit, however few users there are
	TotalRecords int64 `json:"totalRecords"`
	TotalPages   int64 `json:"totalPages"`
	CurrentPage  int64 `json:"currentPage"`
}

// listedUser is a user in a list. The last four fields are there only if the
// tenant wants them; the contract's sample lacks them.
type listedUser struct {
	Username        string              `json:"username"`
	Enabled         bool                `json:"enabled"`
	EmailVerified   bool                `json:"emailVerified"`
	Attributes      map[string][]string `json:"attributes"`
	RequiredActions []string            `json:"requiredActions"`
	Admin           bool                `json:"admin"`
	ID              string              `json:"id,omitempty"`
	Email           string              `json:"email,omitempty"`
	FirstName       string              `json:"firstName,omitempty"`
	LastName        string              `json:"lastName,omitempty"`
}

func (s *Service) getUsers(ctx context.Context, by access.Actor, in getUsersRequest) (out answer[userList], err error) {
	if err := by.Require(access.UsersRead); err != nil {
		return out, err
	}
	at, err := in.page()
	if err != nil {
		return out, err
	}
	filter, size := in.filter(), int64(at.PageSize)
	users, total, err := s.Users.ListNumbered(ctx, s.DB, by, user.Query{
		Filter: filter, Sort: user.ByUsername, Limit: at.PageSize, Offset: skipped(at.CurrentPage, size),
	})
	if err != nil {
		return out, err
	}
	if total == 0 && filter != (user.Filter{}) {
		return out, user.ErrNotFound
	}
	at.TotalRecords, at.TotalPages = total, (total+size-1)/size
	list, err := s.list(ctx, by, users)
	return usersFetched(userList{list, at}), err
}

// skipped is how many users lie before a page; as many as can be for a page that
// is further away than any number.
func skipped(page, size int64) int {
	if page-1 > math.MaxInt32/size {
		return math.MaxInt32
	}
	return int((page - 1) * size)
}

func (s *Service) list(ctx context.Context, by access.Actor, users []user.User) ([]listedUser, error) {
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return nil, err
	}
	roles, err := role.All(ctx, s.DB, by.Tenant)
	if err != nil {
		return nil, err
	}
	out := make([]listedUser, len(users))
	for i, u := range users {
		if out[i], err = listed(u, roles); err != nil {
			return nil, err
		}
		if t.Settings.Kobil.ListProfileFields {
			out[i].ID, out[i].Email, out[i].FirstName, out[i].LastName = u.ID, u.Email, u.FirstName, u.LastName
		}
	}
	return out, nil
}

func listed(u user.User, roles []role.Role) (listedUser, error) {
	attributes, err := texts(u.Attributes)
	return listedUser{
		Username: u.Login(), Enabled: u.IsActive, EmailVerified: u.EmailVerified, Attributes: attributes,
		RequiredActions: orNone(u.RequiredActions), Admin: isAdmin(u, roles),
	}, err
}

func (in getUsersRequest) filter() user.Filter {
	return user.Filter{
		Email: strings.TrimSpace(in.Email), FirstName: strings.TrimSpace(in.FirstName), LastName: strings.TrimSpace(in.LastName),
		Search: strings.TrimSpace(in.Search),
	}
}

// page reads which page is wanted.
func (in getUsersRequest) page() (page, error) {
	name, value := "limit", in.Limit
	if value == "" {
		name, value = "max", in.Max
	}
	limit, err := whole(name, value, defaultLimit)
	if err != nil {
		return page{}, err
	}
	if limit < 1 {
		return page{}, web.ErrQuery.Saying("%s is at least 1.", name).In(name)
	}
	number, err := whole("pageNumber", in.PageNumber, 1)
	return page{PageSize: int(min(limit, maxLimit)), CurrentPage: max(number, 1)}, err
}

// whole reads a whole number. One that does not fit is as good as the greatest.
func whole(name, value string, absent int64) (int64, error) {
	if value == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return n, nil // the nearest that fits
	}
	if err != nil {
		return 0, web.ErrQuery.Saying("%s is a whole number.", name).In(name)
	}
	return n, nil
}
