package portal_test

import (
	"os"
	"testing"

	"github.com/cardea-id/cardea/internal/app/apptest"
)

func TestMain(m *testing.M) { os.Exit(apptest.CheckSuite(m, apptest.Portal)) }
