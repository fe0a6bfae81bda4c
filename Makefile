# The few verbs of this repository; "make" alone lists them. They need Go, git and
# GNU make. PostgreSQL's server programs, Node and Chromium, for the tests, are found
# or, on Debian and Ubuntu as root, installed: see internal/database/dbtest/withpostgres
# and e2e/programs_test.go.

PKG  ?= ./...
RUN  ?=
ARGS ?=

version := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Go keeps the results of tests whose inputs have not changed; CI wants them anew.
testflags = $(if $(CI),-count=1) $(if $(RUN),-run '$(RUN)')

withpostgres = bin/withpostgres
lint = go tool -modfile=tools/go.mod golangci-lint

# Packages whose tests compare with golden files and rewrite them with -update.
golden = $(addprefix ./,$(sort $(dir $(shell git grep -l --untracked 'flag.Bool."update"' -- '*_test.go'))))

# Without its own list of what Go's types are in PostgreSQL the driver is a megabyte and a
# half smaller; ours is in internal/database/postgres.go. Tests run with what is shipped.
export GOFLAGS := $(strip $(GOFLAGS) -tags=nopgxregisterdefaulttypes)

.PHONY: help
help: ## list these verbs
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS='	' read -r verb what; do printf '  make %-11s %s\n' "$$verb" "$$what"; done

.PHONY: run
run: build ## build and start the developer's server with its demo tenant (ARGS="--listen 127.0.0.1:9000")
	bin/cardea dev $(ARGS)

# What runs seldom, or in pieces so large that calls do not count. Nothing is inlined there, which makes the program
# half a megabyte smaller.
cold = go/... $(addprefix github.com/,alecthomas/kong goccy/go-yaml/... go-webauthn/... google/go-tpm/... fxamacker/cbor/... \
	tinylib/msgp/... go-viper/mapstructure/... golang-jwt/jwt/... schollz/progressbar/... wneessen/go-mail/... \
	$(addprefix cardea-id/cardea/internal/,cli portal testidp openapi))

program = bin/cardea

# Functions stand 16 bytes apart instead of 32: a third of a megabyte less. internal/cli's tests build with this.
.PHONY: build
build: ## build bin/cardea
	CGO_ENABLED=0 go build -trimpath $(foreach p,$(cold),-gcflags=$(p)=-l) -ldflags '-s -w -funcalign 16 -X main.version=$(version)' -o $(program) ./cmd/cardea

.PHONY: test
test: $(withpostgres) ## run all tests on both databases (PKG=./internal/user RUN=TestCreate for some)
	$(withpostgres) -- go test $(testflags) $(PKG)

.PHONY: race
race: $(withpostgres) ## the same with the race detector; needs a C compiler and patience
	CGO_ENABLED=1 $(withpostgres) -- go test -race -timeout 60m $(testflags) $(PKG)

.PHONY: check
check: ## everything that can be said without running the product: format, vet, lint, architecture, generated files
	@unformatted=$$(gofmt -l .) && if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(lint) run
	go test .
	@state() { { git status --porcelain; git diff; } | git hash-object --stdin; }; \
	before=$$(state) && go generate ./... && \
	if [ "$$before" != "$$(state)" ]; then echo "generated files were out of date: see git status, then commit them"; exit 1; fi
	go mod verify

.PHONY: generate
generate: $(withpostgres) ## rewrite generated files and golden files
	go generate ./...
	$(if $(golden),$(withpostgres) -- go test $(golden) -update)

.PHONY: bench
bench: build $(withpostgres) ## measure speed, on PostgreSQL with durable commits and on SQLite (ARGS="-quick")
	$(withpostgres) -durable -- go run ./internal/bench $(ARGS)

pictures = $(or $(TMPDIR),/tmp)/cardea-screenshots

.PHONY: screenshots
screenshots: ## take pictures of all hosted pages, to look at (360 and 1280 pixels, bright and dark, English and Arabic)
	go test ./e2e -count=1 -timeout 30m -screenshots $(pictures)
	@echo "the pictures are in $(pictures)"

.PHONY: clean
clean: ## remove what was built; the developer's data in .cardea stays
	rm -rf bin e2e/clients/node_modules e2e/clients/runtime/node_modules e2e/upstream/node_modules e2e/scim/venv

# Always asked of go, which knows better than make whether it is up to date.
.PHONY: $(withpostgres)
$(withpostgres):
	@go build -o $@ ./internal/database/dbtest/withpostgres
