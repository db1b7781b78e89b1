# Everything that a contributor or CI runs. A bare `make` lists the targets.

# Versions of the tools, each fetched and built by the Go command when needed.
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT      := mvdan.cc/gofumpt@v0.12.0
GOVULNCHECK  := golang.org/x/vuln/cmd/govulncheck@v1.8.0
GOLANGCILINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

GO ?= go

# The tags leave out the old Badger, MySQL and PostgreSQL drivers that Caddy's
# certificate authority would bring along; our own store does not need them.
TAGS := nobadger,nomysql,nopgx

BINARY    := bin/bellhop
EXAMPLES  := Caddyfile.example $(wildcard examples/*/Caddyfile)
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

.PHONY: test
test: ## run all tests with the race detector (needs a C compiler; installs Chromium and Redis)
	@.ci/need chromium chromium || echo "the tests that need Chromium are skipped" >&2
	@.ci/need redis-server redis-server || echo "the tests that need Redis are skipped" >&2
	CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) ./...

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

TRANSPORTTIME ?= 10m

.PHONY: bench-transport
bench-transport: build ## measure HTTP/1.1 and HTTP/2 to the API, near and far (TRANSPORTTIME=10m)
	$(GO) run -tags $(TAGS) ./bench -transport -bellhop $(BINARY) -time $(TRANSPORTTIME)

N    ?= 1000
SEED ?= 0

.PHONY: torture
torture: build ## kill -9 Bellhop N=1000 times for each rotation; SEED=0 draws one
	$(GO) test -tags $(TAGS) -count=1 -timeout 60m -v -run TestTortureLoses ./internal/torture \
		-torture.n $(N) -torture.seed $(SEED) -torture.lanes 8 -torture.bellhop $(CURDIR)/$(BINARY)

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
