package app

import (
	"github.com/cardea-id/cardea/internal/problem"
)

var errNotReady = problem.New(problem.Unavailable, "unavailable", "Not ready: the database does not answer.")

// Config is everything an operator can set.
type Config struct {
	PublicURL      string // address users see, such as https://id.example.com
	Listen         string // host:port to listen on
	DatabaseURL    string // sqlite:PATH or postgres://…
	MasterKey      string // 32 random bytes as hex or base64
	DefaultTenant  string // slug of the tenant the public host itself stands for
	TrustedProxies string // addresses or prefixes, separated by commas
	TLSCert        string // file
	TLSKey         string // file
	MetricsListen  string // host:port for /metrics, empty for none
	LogFormat      string // text, json, or empty to choose by the terminal
	PasswordPepper string // secret mixed into password hashes
	DataDir        string // folder of the developer mode
	Dev            bool
}
