package user

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
)

// The calls for further addresses. They are ours: the contracts know one e-mail address
// and one phone number of a user, which stay where they are.

func (s *Service) addressRoutes() []web.Route {
	const all = "/api/v1/users/{userid}/addresses"
	const one = all + "/{addressid}"
	type problems = []*problem.Problem
	return []web.Route{
		{Method: "GET", Paths: []string{all}, Needs: access.UsersRead, Endpoint: web.JSON(http.StatusOK, s.getAddresses),
			Doc: web.Doc{Summary: "List a user's further addresses", Text: "Those beside email and phone of the user itself, by when they were added, at most 20. One that is held finds the user but signs nobody in until its owner confirms it again.",
				Errors: problems{ErrNotFound}, Example: []AddressForm{exampleAddress}}},
		{Method: "POST", Paths: []string{all}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusCreated, s.postAddress),
			Doc: web.Doc{Summary: "Add a further address to a user", Text: "Only addresses that are proved are kept, so verified has to be true: whoever calls vouches that the user receives what is sent there. " +
				"A user without a primary address of the type gets it as that, and then id is null. An address belongs to one user. Users add theirs in their account, by a code.",
				Errors: problems{ErrNotFound, ErrExists, ErrInvalid, ErrEmail, ErrPhone, ErrAddresses}, Request: exampleAddAddress, Example: exampleAddress}},
		{Method: "POST", Paths: []string{one + "/primary"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.postPrimary),
			Doc: web.Doc{Summary: "Make a further address the primary one", Text: "It becomes email or phone of the user. The one before becomes a further one if it is verified, and is dropped if not.",
				Errors: problems{ErrNotFound, ErrAddressNotFound, ErrAddressHeld}, Example: exampleVerified()}},
		{Method: "DELETE", Paths: []string{one}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.deleteAddress),
			Doc: web.Doc{Summary: "Remove a further address", Errors: problems{ErrNotFound, ErrAddressNotFound}, Example: deleted{true}}},
	}
}

// An AddressForm is a further address as the calls show it.
type AddressForm struct {
	ID      *string `json:"id" schema:"nullable" doc:"null of one that became the primary address"`
	Type    string  `json:"type" doc:"email or phone"`
	Value   string  `json:"value" doc:"In its one form: lower case, or E.164"`
	Held    bool    `json:"held" doc:"It signs nobody in until its owner confirms it again"`
	AddedAt stamp   `json:"added_at" schema:"nullable" doc:"null of one that was imported without its time"`
}

// Added is when the address was added, zero if that is not known.
func (f AddressForm) Added() time.Time { return time.Time(f.AddedAt) }

// AddressForms returns addresses as the calls show them.
func AddressForms(list []Address) []AddressForm {
	out := make([]AddressForm, len(list))
	for i, a := range list {
		out[i] = formOfAddress(a)
	}
	return out
}

func formOfAddress(a Address) AddressForm {
	f := AddressForm{Type: KindPhone, Value: a.Value, Held: a.Held, AddedAt: stamp(a.AddedAt)}
	if a.IsEmail() {
		f.Type = KindEmail
	}
	if a.ID != "" {
		f.ID = &a.ID
	}
	return f
}

var (
	exampleAddress    = AddressForm{ID: new("6694c154565dfee5166d1ce0"), Type: KindEmail, Value: "john@example.org", AddedAt: stamp(time.Date(2024, 7, 15, 7, 2, 11, 481e6, time.UTC))}
	exampleAddAddress = json.RawMessage(`{"type":"email","value":"john@example.org","verified":true}`)
)

func (s *Service) getAddresses(ctx context.Context, by access.Actor, in userRequest) ([]AddressForm, error) {
	if _, err := s.Find(ctx, s.DB, by, in.UserID); err != nil {
		return nil, err
	}
	list, err := s.Addresses(ctx, s.DB, by, in.UserID)
	return AddressForms(list), err
}

type postAddressRequest struct {
	UserID   string `path:"userid" doc:"Id of the user, 24 hex digits"`
	Type     string `json:"type" doc:"email or phone"`
	Value    string `json:"value"`
	Verified bool   `json:"verified" doc:"true: the caller vouches for it"`
}

func (s *Service) postAddress(ctx context.Context, by access.Actor, in postAddressRequest) (out AddressForm, err error) {
	a := Address{Kind: KindFurtherEmail, Value: in.Value}
	switch {
	case in.Type == KindPhone:
		a.Kind = KindFurtherPhone
	case in.Type != KindEmail:
		return out, ErrInvalid.Saying("type is email or phone.").In("type")
	}
	if !in.Verified {
		return out, ErrInvalid.Saying("Only addresses that are proved are kept: verified has to be true.").In("verified")
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		a, err = s.AddAddress(ctx, tx, by, in.UserID, a)
		return err
	})
	return formOfAddress(a), err
}

type addressRequest struct {
	UserID    string `path:"userid" doc:"Id of the user, 24 hex digits"`
	AddressID string `path:"addressid" doc:"Id of the address, 24 hex digits"`
}

func (s *Service) postPrimary(ctx context.Context, by access.Actor, in addressRequest) (out Full, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		u, err := s.MakePrimary(ctx, tx, by, in.UserID, in.AddressID)
		out = FullForm(by.Tenant, u)
		return err
	})
	return out, err
}

func (s *Service) deleteAddress(ctx context.Context, by access.Actor, in addressRequest) (deleted, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		_, err := s.RemoveAddress(ctx, tx, by, in.UserID, in.AddressID)
		return err
	})
	return deleted{err == nil}, err
}
