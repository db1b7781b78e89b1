# Everything that a contributor or CI runs. A bare `make` lists the targets.

# Versions of the tools, each fetched and built by the Go command when needed.
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT      := mvdan.cc/gofumpt@v0.12.0
GOVULNCHECK  := golang.org/x/vuln/cmd/govulncheck@v1.8.0
GOLANGCILINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
SBOM         := github.com/CycloneDX/cyclonedx-gomod@v1.10.0

# What releases are compiled with: raise it for each.
TOOLCHAIN := go1.26.8

GO ?= go

# The tags leave out the old Badger, MySQL and PostgreSQL drivers that Caddy's
# certificate authority would bring along; our own stores do without those.
TAGS := nobadger,nomysql,nopgx

BINARY    := bin/bellhop
EXAMPLES  := Caddyfile.example $(wildcard examples/*/Caddyfile examples/*/*/Caddyfile)
FUZZTIME  ?= 30s
BENCHTIME ?= 2m

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## start the demo: everything on loopback, with a built-in provider and API
	$(BINARY) oauth demo

.PHONY: build
build: ## build bin/bellhop: Caddy with its standard modules and Bellhop
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -tags $(TAGS) -o $(BINARY) ./cmd/bellhop

.PHONY: release
release: ## build archives, bills of materials and sums for all systems into bin/release
	@GO="$(GO)" TAGS="$(TAGS)" SBOM="$(SBOM)" TOOLCHAIN="$(TOOLCHAIN)" .ci/release $(TARGETS)

.PHONY: release-check
release-check: ## build the release twice, in two places, and compare (TARGETS=linux/amd64 CACHES=kept)
	@GO="$(GO)" TAGS="$(TAGS)" SBOM="$(SBOM)" TOOLCHAIN="$(TOOLCHAIN)" .ci/release-check $(TARGETS)

.PHONY: test
test: ## run all tests with the race detector (needs a C compiler; installs Chromium, Redis, PostgreSQL, systemd)
	@.ci/need chromium chromium || echo "the tests that need Chromium are skipped" >&2
	@.ci/need redis-server redis-server || echo "the tests that need Redis are skipped" >&2
	@command -v initdb >/dev/null || .ci/need '/usr/lib/postgresql/*/bin/initdb' postgresql || echo "the tests that need PostgreSQL are skipped" >&2
	@.ci/need /usr/sbin/pgbouncer pgbouncer || echo "the tests that need PgBouncer are skipped" >&2
	@.ci/need systemd-analyze systemd || echo "the tests that need systemd are skipped" >&2
	CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) ./...

.PHONY: published
published: ## write down anew which methods Google and Microsoft publish (versions: internal/published/extract)
	$(GO) run -tags $(TAGS) ./internal/published/extract -dir internal/published

.PHONY: presets
presets: ## write anew which published methods each preset allows
	$(GO) run -tags $(TAGS) ./internal/policy/presets/generate

.PHONY: canary
canary: ## run the end-to-end tests and look for their secrets in logs, files, errors and more
	BELLHOP_CANARY=1 $(GO) test -tags $(TAGS) -count=1 -timeout 20m ./caddymodule

.PHONY: fmt
fmt: ## format all Go files
	$(GO) run $(GOFUMPT) -w .

.PHONY: lint
lint: ## check formatting, vet, staticcheck, golangci-lint (built once, in minutes)
	@unformatted=$$($(GO) run $(GOFUMPT) -l .) && \
	if [ -n "$$unformatted" ]; then echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet -tags $(TAGS) ./...
	$(GO) run $(STATICCHECK) -tags $(TAGS) ./...
	$(GO) run $(GOLANGCILINT) run ./...

.PHONY: vuln
vuln: ## look for known vulnerabilities in code that is called
	@GO="$(GO)" TAGS="$(TAGS)" GOVULNCHECK="$(GOVULNCHECK)" .ci/vuln

.PHONY: examples
examples: build ## adapt every example, and check its format
	@for file in $(EXAMPLES); do \
		$(BINARY) adapt --config $$file --adapter caddyfile >/dev/null 2>bin/adapt.log \
			|| { echo "$$file does not adapt:"; cat bin/adapt.log; exit 1; }; \
		$(BINARY) fmt $$file >/dev/null \
			|| { echo "$$file is not formatted: run $(BINARY) fmt --overwrite $$file"; exit 1; }; \
		echo "ok $$file"; \
	done

.PHONY: bench
bench: build ## measure against plain Caddy; exits 1 below half a target (BENCHTIME=2m)
	$(GO) run -tags $(TAGS) ./bench -bellhop $(BINARY) -time $(BENCHTIME)

.PHONY: bench-stores
bench-stores: build ## measure the token endpoint with PostgreSQL against Badger (BENCHTIME=2m)
	@command -v initdb >/dev/null || .ci/need '/usr/lib/postgresql/*/bin/initdb' postgresql
	$(GO) run -tags $(TAGS) ./bench -stores -bellhop $(BINARY) -time $(BENCHTIME)

TRANSPORTTIME ?= 10m

.PHONY: bench-transport
bench-transport: build ## measure HTTP/1.1 and HTTP/2 to the API, near and far (TRANSPORTTIME=10m)
	$(GO) run -tags $(TAGS) ./bench -transport -bellhop $(BINARY) -time $(TRANSPORTTIME)

N     ?= 1000
SEED  ?= 0
STORE ?= badger
NODES ?= 2,4
TIME  ?= 5m

.PHONY: torture
torture: build ## kill -9 Bellhop N=1000 times for each rotation; SEED=0 draws one. STORE=postgres: NODES=2,4 on one database, TIME=5m each
ifeq ($(STORE),postgres)
	@command -v initdb >/dev/null || .ci/need '/usr/lib/postgresql/*/bin/initdb' postgresql
	@.ci/need /usr/sbin/pgbouncer pgbouncer
	BELLHOP_TEST_TOOLS=required $(GO) test -tags $(TAGS) -count=1 -timeout 90m -v ./internal/torture/cluster \
		-cluster.nodes $(NODES) -cluster.time $(TIME) -cluster.seed $(SEED) -cluster.pooler \
		-cluster.accounts 1000 -cluster.life 40s -cluster.bound 1s -cluster.bellhop $(CURDIR)/$(BINARY)
else
	$(GO) test -tags $(TAGS) -count=1 -timeout 60m -v -run TestTortureLoses ./internal/torture \
		-torture.n $(N) -torture.seed $(SEED) -torture.lanes 8 -torture.bellhop $(CURDIR)/$(BINARY)
endif

.PHONY: differential
differential: N := $(if $(filter file,$(origin N)),1000000,$(N))
differential: ## compare policy with what the APIs publish, by N=1000000 calls drawn from SEED=0
	$(GO) test -tags $(TAGS) -count=1 -timeout 70m -v -run TestPolicyAndAPIsAgree ./internal/policy/differential \
		-differential.n $(N) -differential.seed $(SEED) -differential.time 60m

VOLUME ?= 2147483648

.PHONY: volume
volume: build ## stream VOLUME=2147483648 bytes each way and watch the memory of the process
	$(GO) test -tags $(TAGS) -count=1 -timeout 45m -v ./internal/volume \
		-volume.bellhop $(CURDIR)/$(BINARY) -volume.size $(VOLUME)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME=30s
	@set -e; for dir in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u); do \
		for target in $$($(GO) test -tags $(TAGS) -list '^Fuzz' $$dir | grep '^Fuzz'); do \
			echo "== $$target in $$dir"; \
			$(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$dir; \
		done; \
	done

.PHONY: tools
tools: ## install what sdk needs beside Go and is missing, from Debian's packages
	@.ci/need ip iproute2
	@.ci/need curl curl
	@.ci/need jq jq
	@.ci/need node nodejs
	@.ci/need npm npm
	@.ci/need /usr/lib/python3/dist-packages/googleapiclient python3-googleapi

SDKFLAGS ?=

.PHONY: sdk
sdk: build tools ## run the recipes with nothing but Bellhop in reach; SDKFLAGS=-matrix.update
	npm --prefix examples/recipes/node ci --ignore-scripts --no-audit --no-fund
	$(GO) -C examples/recipes/go vet .
	CGO_ENABLED=0 $(GO) -C examples/recipes/go build -trimpath -o $(CURDIR)/bin/recipe-go .
	$(GO) test -tags $(TAGS) -count=1 -timeout 30m ./internal/matrix -matrix.bellhop $(CURDIR)/$(BINARY) \
		-matrix.go $(CURDIR)/bin/recipe-go -matrix.table $(CURDIR)/bin/sdk.md $(SDKFLAGS); \
		status=$$?; cat bin/sdk.md; exit $$status

.PHONY: clean
clean: ## remove what the other targets built
	rm -rf bin
