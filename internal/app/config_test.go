package app_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/app"
)

const (
	goodKey   = "6b0f1d2c3b4a59687786a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
	otherKey  = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f"
	goodURL   = "https://id.example.com"
	longWords = "a pepper of more than thirty-two bytes, as it should be"
)

// file writes a file that only its owner can read and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// folder makes a developer's data folder.
func folder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := app.PrepareFolder(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoadPrefersTheStrongestSource(t *testing.T) {
	t.Parallel()
	secretFile := file(t, "key", goodKey+"\n")
	yaml := file(t, "cardea.yaml", "listen: 127.0.0.1:3000\nmaster_key: "+otherKey+"\n")
	dir := folder(t)
	for name, c := range map[string]struct {
		src            app.Sources
		setting, value string
		from           string
	}{
		"default":           {app.Sources{}, "listen", "127.0.0.1:8080", "default"},
		"file over default": {app.Sources{File: yaml}, "listen", "127.0.0.1:3000", yaml + " line 1"},
		"environment over file": {app.Sources{File: yaml, Environ: []string{"CARDEA_LISTEN=127.0.0.1:2000"}},
			"listen", "127.0.0.1:2000", "CARDEA_LISTEN"},
		"flag over environment": {app.Sources{File: yaml, Environ: []string{"CARDEA_LISTEN=127.0.0.1:2000"}, Flags: map[string]string{"listen": "127.0.0.1:1000"}},
			"listen", "127.0.0.1:1000", "--listen"},
		"an empty flag over all": {app.Sources{Environ: []string{"CARDEA_METRICS_LISTEN=:9000"}, Flags: map[string]string{"metrics_listen": ""}},
			"metrics_listen", "", "--metrics-listen"},
		"an empty variable is none": {app.Sources{File: yaml, Environ: []string{"CARDEA_LISTEN="}}, "listen", "127.0.0.1:3000", yaml + " line 1"},
		"a secret's file in the environment over the secret in the file": {app.Sources{File: yaml, Environ: []string{"CARDEA_MASTER_KEY_FILE=" + secretFile}},
			"master_key", goodKey, "CARDEA_MASTER_KEY_FILE"},
		"a secret's file as flag over the secret in the environment": {
			app.Sources{Environ: []string{"CARDEA_MASTER_KEY=" + otherKey}, Flags: map[string]string{"master_key_file": secretFile}},
			"master_key", goodKey, "--master-key-file"},
		"a secret as flag over its file in the environment": {
			app.Sources{Environ: []string{"CARDEA_MASTER_KEY_FILE=" + secretFile}, Flags: map[string]string{"master_key": otherKey}},
			"master_key", otherKey, "--master-key"},
		"the developer's folder over default": {app.Sources{Folder: dir}, "default_tenant", "demo", "developer's folder " + dir},
		"a file over the developer's folder":  {app.Sources{Folder: dir, File: yaml}, "master_key", otherKey, yaml + " line 2"},
		"the environment over the developer's folder": {app.Sources{Folder: dir, Environ: []string{"CARDEA_DATABASE_URL=sqlite:other.db"}},
			"database_url", "sqlite:other.db", "CARDEA_DATABASE_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := app.Load(c.src)
			if err != nil {
				t.Fatal(err)
			}
			if got := valueOf(t, cfg.Config, c.setting); got != c.value {
				t.Errorf("%s = %q, want %q", c.setting, got, c.value)
			}
			if got := cfg.From(c.setting); got != c.from {
				t.Errorf("%s comes from %q, want %q", c.setting, got, c.from)
			}
		})
	}
}

// valueOf returns the field of a setting.
func valueOf(t *testing.T, c app.Config, setting string) string {
	t.Helper()
	fields := map[string]string{
		"listen": c.Listen, "metrics_listen": c.MetricsListen, "master_key": c.MasterKey,
		"default_tenant": c.DefaultTenant, "database_url": c.DatabaseURL, "public_url": c.PublicURL,
	}
	value, ok := fields[setting]
	if !ok {
		t.Fatalf("the test does not know %s", setting)
	}
	return value
}

func TestLoadReportsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	yaml := file(t, "cardea.yaml", "publik_url: https://id.example.com\nlisten: [a, b]\nlog_format: xml\n")
	_, err := app.Load(app.Sources{
		File:    yaml,
		Environ: []string{"CARDEA_TRUSTED_PROXIES=10.0.0.0/99", "CARDEA_PASSWORD_PEPPER=short", "CARDEA_TLS_CERT=cert.pem", "CARDEA_SMS_PROVIDER=vonage", "CARDEA_SMS_URL=ftp://x"},
		Flags:   map[string]string{"metrics_listen": "nowhere", "database_url": "mysql://x"},
	}, "public_url", "master_key")
	faults, ok := errors.AsType[app.Faults](err)
	if !ok {
		t.Fatalf("%T %v, want Faults", err, err)
	}
	var blamed []string
	for _, f := range faults {
		blamed = append(blamed, f.Setting)
		if f.What == "" {
			t.Errorf("%+v says nothing", f)
		}
	}
	slices.Sort(blamed)
	want := []string{"database_url", "listen", "log_format", "master_key", "metrics_listen", "password_pepper", "public_url", "publik_url",
		"sms_account", "sms_from", "sms_secret", "sms_url", "tls_key", "trusted_proxies"}
	if diff := cmp.Diff(want, blamed); diff != "" {
		t.Errorf("blamed (-want +got):\n%s", diff)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	env := func(pairs ...string) app.Sources { return app.Sources{Environ: pairs} }
	yaml := func(text string) app.Sources { return app.Sources{File: file(t, "cardea.yaml", text)} }
	readable := file(t, "open", goodKey)
	writable := file(t, "group", goodKey)
	for path, mode := range map[string]os.FileMode{readable: 0o644, writable: 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	openYAML := file(t, "open.yaml", "master_key: "+goodKey)
	if err := os.Chmod(openYAML, 0o604); err != nil {
		t.Fatal(err)
	}
	damaged := folder(t)
	if err := os.WriteFile(filepath.Join(damaged, "bootstrap.json"), []byte(`{"public_url":`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		src  app.Sources
		want string
	}{
		"plain http":                   {env("CARDEA_PUBLIC_URL=http://id.example.com"), "must start with https://"},
		"a public URL with a path":     {env("CARDEA_PUBLIC_URL=https://id.example.com/auth"), "nothing behind"},
		"a public URL with a user":     {env("CARDEA_PUBLIC_URL=https://me@id.example.com"), "nothing behind"},
		"a public URL without a host":  {env("CARDEA_PUBLIC_URL=id.example.com"), "not an address such as"},
		"a port that is none":          {env("CARDEA_LISTEN=:99999"), "the port 99999 is too large"},
		"metrics on the main address":  {env("CARDEA_LISTEN=:1", "CARDEA_METRICS_LISTEN=:1"), "choose another port"},
		"an unknown database":          {env("CARDEA_DATABASE_URL=file.db"), "starts with sqlite: or postgres://"},
		"no file of the database":      {env("CARDEA_DATABASE_URL=sqlite:"), "names no file"},
		"a short master key":           {env("CARDEA_MASTER_KEY=abcd"), "32 random bytes"},
		"a master key of zeros":        {env("CARDEA_MASTER_KEY=" + strings.Repeat("0", 64)), "not random"},
		"a typed master key":           {env("CARDEA_MASTER_KEY=" + strings.Repeat("0123456789abcdef", 4)), "not random"},
		"a short pepper":               {env("CARDEA_PASSWORD_PEPPER=" + strings.Repeat("x", 31)), "has 31 bytes and needs 32"},
		"a key without a certificate":  {env("CARDEA_TLS_KEY=key.pem"), "go together"},
		"a key that is not there":      {env("CARDEA_TLS_KEY=/none/key.pem", "CARDEA_TLS_CERT=/none/cert.pem"), "can not be read"},
		"an unknown log format":        {env("CARDEA_LOG_FORMAT=xml"), "text or json"},
		"a name that no tenant has":    {env("CARDEA_DEFAULT_TENANT=Acme Inc"), "not the name of a tenant"},
		"a mail address for a server":  {env("CARDEA_SMTP_URL=me@example.com"), "smtp://"},
		"a sender without a server":    {env("CARDEA_SMTP_FROM=me@example.com"), "no server to send it"},
		"an unknown SMS provider":      {env("CARDEA_SMS_PROVIDER=pigeon"), `twilio, vonage or http, not "pigeon"`},
		"an SMS sender for nobody":     {env("CARDEA_SMS_FROM=Acme"), "set sms_provider too"},
		"twilio without a secret":      {env("CARDEA_SMS_PROVIDER=twilio", "CARDEA_SMS_ACCOUNT=AC1", "CARDEA_SMS_FROM=Acme"), "sms_secret: it is missing: sms_provider is twilio"},
		"twilio with an API key":       {env("CARDEA_SMS_PROVIDER=twilio", "CARDEA_SMS_ACCOUNT=SK1", "CARDEA_SMS_SECRET=x", "CARDEA_SMS_FROM=Acme"), "starts with AC"},
		"vonage without a sender":      {env("CARDEA_SMS_PROVIDER=vonage", "CARDEA_SMS_ACCOUNT=a", "CARDEA_SMS_SECRET=x"), "sms_from: it is missing"},
		"an SMS service nowhere":       {env("CARDEA_SMS_PROVIDER=http", "CARDEA_SMS_SECRET=x"), "sms_url: it is missing"},
		"an SMS service with a sender": {env("CARDEA_SMS_PROVIDER=http", "CARDEA_SMS_SECRET=x", "CARDEA_SMS_URL=https://a.example", "CARDEA_SMS_FROM=Acme"), "no effect with the sms_provider http"},
		"an SMS service without TLS":   {env("CARDEA_SMS_PROVIDER=http", "CARDEA_SMS_SECRET=x", "CARDEA_SMS_URL=http://a.example"), "must start with https://"},
		"an internal host with scheme": {env("CARDEA_OUTBOUND_ALLOW=https://hooks.corp"), "neither a network such as"},
		"a secret twice":               {env("CARDEA_MASTER_KEY="+goodKey, "CARDEA_MASTER_KEY_FILE="+writable), "set twice"},
		"a secret file others read":    {env("CARDEA_MASTER_KEY_FILE=" + readable), "has mode 0644, so that others have access to a secret; run: chmod 600"},
		"a secret file others write":   {env("CARDEA_MASTER_KEY_FILE=" + writable), "has mode 0660"},
		"a secret file that is gone":   {env("CARDEA_MASTER_KEY_FILE=/none"), "can not be read"},
		"an empty secret file":         {env("CARDEA_MASTER_KEY_FILE=" + file(t, "empty", "\n")), "is empty"},
		"a secret in an open file":     {app.Sources{File: openYAML}, "keep master_key in a file of its own with master_key_file"},
		"a file that is not there":     {app.Sources{File: "/none.yaml"}, "can not be read"},
		"an unknown name":              {yaml("\n\npublic_uri: https://id.example.com"), "line 3): there is no such setting; do you mean public_url?"},
		"a name like no other":         {yaml("colour: red"), "cardea config lists those there are"},
		"a file for what is no secret": {yaml("listen_file: x"), "there is no such setting"},
		"a list":                       {yaml("trusted_proxies:\n  - 10.0.0.1"), "several are separated by commas"},
		"a table":                      {yaml("tls:\n  cert: x"), "there is no such setting"},
		"a name twice":                 {yaml("listen: :1\nlisten: :2"), "not YAML"},
		"text that is not YAML":        {yaml("listen: \"127"), "not YAML"},
		"a bare word":                  {yaml("listen"), "not a list of settings"},
		"a damaged folder":             {app.Sources{Folder: damaged}, "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := app.Load(c.src)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a fault with %q", err, c.want)
			}
		})
	}
}

func TestLoadAccepts(t *testing.T) {
	t.Parallel()
	groupReadable := file(t, "key", goodKey+"\r\n")
	if err := os.Chmod(groupReadable, 0o640); err != nil {
		t.Fatal(err)
	}
	cfg, err := app.Load(app.Sources{
		File: file(t, "cardea.yaml", "---\n# a comment\npublic_url: 'HTTPS://ID.Example.com:8443/' # another\nlisten:\nsmtp_from: \"Cardea <id@example.com>\"\n"),
		Environ: []string{"CARDEA_MASTER_KEY_FILE=" + groupReadable, "CARDEA_PASSWORD_PEPPER=" + longWords, "CARDEA_SMTP_URL=smtp://u:p@mail.example.com",
			"CARDEA_SMS_PROVIDER=twilio", "CARDEA_SMS_ACCOUNT=AC1", "CARDEA_SMS_SECRET=x", "CARDEA_SMS_FROM=+15005550006", "CARDEA_OUTBOUND_ALLOW=10.0.0.0/8, hooks.corp",
			"CARDEA_TRUSTED_PROXIES=10.0.0.1, 192.168.0.0/16,::1", "OTHER=1", "CARDEA_SERVICE_HOST=10.0.0.1", "CARDEA_PORT_80_TCP=x"},
	}, "public_url", "master_key")
	if err != nil {
		t.Fatal(err)
	}
	want := app.Config{
		PublicURL: "https://id.example.com:8443", Listen: "127.0.0.1:8080", DatabaseURL: "sqlite:cardea.db", DefaultTenant: "master",
		MasterKey: goodKey, PasswordPepper: longWords, TrustedProxies: "10.0.0.1, 192.168.0.0/16,::1",
		SMTPURL: "smtp://u:p@mail.example.com", SMTPFrom: "Cardea <id@example.com>",
		SMSProvider: "twilio", SMSAccount: "AC1", SMSSecret: "x", SMSFrom: "+15005550006", OutboundAllow: "10.0.0.0/8, hooks.corp",
	}
	if diff := cmp.Diff(want, cfg.Config); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("warnings %q, want none", cfg.Warnings)
	}
}

// A key of digits must not go through a number, which would round it.
func TestLoadTakesValuesAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	const digits = "3141592653589793238462643383279502884197169399375105820974944592"
	cfg, err := app.Load(app.Sources{File: file(t, "cardea.yaml", "master_key: "+digits+"\npassword_pepper: |\n  "+longWords+"\n")})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.MasterKey != digits || cfg.PasswordPepper != longWords {
		t.Errorf("got %q and %q", cfg.MasterKey, cfg.PasswordPepper)
	}
}

func TestLoadWarns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ variable, want string }{
		"of a variable that is misspelt":   {"CARDEA_PUBLIC_ULR=x", "CARDEA_PUBLIC_ULR is not a setting and has no effect; do you mean CARDEA_PUBLIC_URL?"},
		"of a variable in lower case":      {"CARDEA_listen=:1", "CARDEA_listen is not a setting"},
		"of proxies that are everybody":    {"CARDEA_TRUSTED_PROXIES=0.0.0.0/0", "any client can claim any address"},
		"of neither TLS nor trusted proxy": {"X=", "every request counts as plain http and is refused"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := app.Load(app.Sources{Environ: []string{c.variable}})
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(cfg.Warnings, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("warnings %q, want one with %q", all, c.want)
			}
		})
	}
}

// Whatever is wrong with a value, nothing that is shown repeats a secret.
func TestLoadShowsNoSecret(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	for name, src := range map[string]app.Sources{
		"good values": {Environ: []string{"CARDEA_DATABASE_URL=postgres://u:canary@db/x?sslpassword=canary", "CARDEA_SMTP_URL=smtps://u:canary@mail",
			"CARDEA_PASSWORD_PEPPER=canary canary canary canary canary canary", "CARDEA_SMS_PROVIDER=http", "CARDEA_SMS_SECRET=canary", "CARDEA_SMS_URL=https://sms"}},
		"bad values": {Environ: []string{"CARDEA_DATABASE_URL=postgres://u:canary%zz@db/x", "CARDEA_SMTP_URL=smtp://u:canary@mail?tls=none",
			"CARDEA_PASSWORD_PEPPER=canary", "CARDEA_MASTER_KEY=canary", "CARDEA_SMS_SECRET=canary", "CARDEA_SMS_PROVIDER=twilio", "CARDEA_SMS_URL=https://sms"}},
		"other schemes": {Environ: []string{"CARDEA_DATABASE_URL=mysql://u:canary@db", "CARDEA_SMTP_URL=canary"}},
		"a bad file":    {File: file(t, "cardea.yaml", "master_key: canary\npassword_pepper: \"canary\n")},
		"a list":        {File: file(t, "list.yaml", "master_key: [canary]\n")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := app.Load(src)
			if shown := fmt.Sprint(cfg.Values, cfg.Warnings, err); strings.Contains(shown, canary) {
				t.Errorf("it shows the secret: %s", shown)
			}
		})
	}
}

func TestSettingsAreNamedAlikeEverywhere(t *testing.T) {
	t.Parallel()
	for _, s := range app.Settings {
		if !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(s.Name) || s.Help == "" || !strings.HasSuffix(s.Help, ".") && !strings.HasSuffix(s.Help, "…") {
			t.Errorf("%+v is not well described", s)
		}
		if s.Env() != "CARDEA_"+strings.ToUpper(s.Name) || s.Flag() != strings.ReplaceAll(s.Name, "_", "-") {
			t.Errorf("%s is %s and --%s", s.Name, s.Env(), s.Flag())
		}
	}
}

const guideHead = `# Configuration

<!-- Made from the comments of internal/app/config.go by: make generate -->

` + "`cardea dev` needs no configuration. `cardea serve` needs `public_url` and `master_key`." + `

Every setting has the same name in each of four places. The first that has a value wins:

1. a flag: ` + "`--public-url https://id.example.com`" + `
2. the environment: ` + "`CARDEA_PUBLIC_URL=https://id.example.com`" + `
3. the configuration file that ` + "`--config` or `CARDEA_CONFIG`" + ` names, in YAML without any nesting: ` + "`public_url: https://id.example.com`" + `
4. the default

A secret can also be given as a file, in all of them: ` + "`--master-key-file`, `CARDEA_MASTER_KEY_FILE`, `master_key_file`." + ` A line break at the end of the
file does not count. Prefer files: flags and the environment of a process can often be seen by others on the machine.

Files that hold a secret (` + "`…_file`, `tls_key`" + `, and the configuration file if there is a secret in it) must not be readable by everybody nor
writable by their group: mode 0600, or 0640 for a file of root's that the service's group reads. Cardea refuses to start with others. What a
container platform mounts below ` + "`/run/secrets`" + ` is taken as it is.

An empty variable in the environment counts as not set. An unknown name in the file is an error; an unknown ` + "`CARDEA_…`" + ` variable is only worth a
warning. Everything wrong is reported at once. ` + "`cardea config`" + ` shows what is in force and where each value comes from, with secrets masked.

`

func TestConfigurationGuideIsTheCommittedOne(t *testing.T) {
	t.Parallel()
	comments, names := fieldComments(t)
	var b strings.Builder
	b.WriteString(guideHead)
	for _, s := range app.Settings {
		field := names[s.Name]
		if comments[field] == "" {
			t.Errorf("%s has no comment", field)
		}
		fmt.Fprintf(&b, "## `%s`\n\n%s\n\n", s.Name, reword(comments[field], names))
		fmt.Fprintf(&b, "`--%s`, `%s`", s.Flag(), s.Env())
		if s.Secret {
			fmt.Fprintf(&b, "; as a file `--%s-file`, `%s_FILE`", s.Flag(), s.Env())
		}
		if s.Default != "" {
			fmt.Fprintf(&b, "; default `%s`", s.Default)
		}
		b.WriteString("\n\n")
	}
	golden(t, "../../docs/guides/configuration.md", []byte(strings.TrimRight(b.String(), "\n")+"\n"))
}

// fieldComments reads the comments of Config's fields, and the field of each setting.
func fieldComments(t *testing.T) (comments, names map[string]string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments, names = map[string]string{}, map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Config" {
			return true
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			comments[f.Names[0].Name] = strings.TrimSpace(f.Doc.Text())
			if f.Tag != nil {
				tag := regexp.MustCompile(`name:"([^"]+)"`).FindStringSubmatch(f.Tag.Value)
				names[tag[1]] = f.Names[0].Name
			}
		}
		return false
	})
	return comments, names
}

// reword calls fields what operators call them.
func reword(text string, names map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(names)) {
		text = regexp.MustCompile(`\b`+names[name]+`\b`).ReplaceAllString(text, "`"+name+"`")
	}
	return text
}
