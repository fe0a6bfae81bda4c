package app

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/cardea-id/cardea/internal/testidp"
)

// testIdPFile is the key of the test identity provider in the developer's folder: what
// trusts it still does after the next start.
const testIdPFile = "test-idp.pem"

// mountTestIdP adds the identity provider of the developer mode, where anyone is
// whoever they like. A server has no such address.
func (a *App) mountTestIdP() {
	if !a.Config.Dev {
		return
	}
	a.TestIdP = &testidp.Service{Origin: a.originOf, View: a.SignIn.View, Now: a.DB.Now, Key: a.testIdPKey}
	a.TestIdP.Mount(a.Router)
}

func (a *App) testIdPKey() (testidp.Key, error) {
	if a.Config.DataDir == "" {
		return testidp.NewKey(a.DB.Now())
	}
	path := a.inFolder(testIdPFile)
	text, err := os.ReadFile(path)
	if err == nil {
		return testidp.ParseKey(text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return testidp.Key{}, err
	}
	key, err := testidp.NewKey(a.DB.Now())
	if err != nil {
		return key, err
	}
	if text, err = key.PEM(); err != nil {
		return key, err
	}
	return key, writeFile(path, text)
}

// testIdPMetadata describes the test identity provider at a tenant.
func (a *App) testIdPMetadata(ctx context.Context, tenantID string) ([]byte, error) {
	origin, err := a.originOf(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	return a.TestIdP.Metadata(origin)
}
