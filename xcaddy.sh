#!/usr/bin/env bash
# Builds bin/caddy with xcaddy: Caddy at the version of go.mod and Bellhop from
# this checkout. More modules can be named as xcaddy takes them:
#
#	./xcaddy.sh --with github.com/caddy-dns/cloudflare
#
# `make build` needs none of this; use it unless you add modules.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=${OUTPUT:-$root/bin/caddy}
xcaddy_version=v0.4.5

cd "$root"
module=$(go list -m)
caddy_version=$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# xcaddy is built as a requirement of a module of its own, because `go run
# xcaddy@version` asks the proxy for more than that one version.
mkdir "$work/xcaddy"
cd "$work/xcaddy"
go mod init xcaddy-build 2>/dev/null
go mod edit -require "github.com/caddyserver/xcaddy@$xcaddy_version"
go build -mod=mod -o xcaddy github.com/caddyserver/xcaddy/cmd/xcaddy

# xcaddy looks up our package before it knows that the checkout provides it, and
# stops where a proxy refuses the question, as some do for modules that they do
# not carry. So everything is downloaded first, with go.sum's checksums, and
# xcaddy then works from the module cache, where what is missing is missing.
mkdir "$work/caddy" "$work/build"
cd "$work/caddy"
go mod init caddy 2>/dev/null
go get "github.com/caddyserver/caddy/v2@$caddy_version"

cd "$work/build"
{
	printf 'package main\n\nimport (\n'
	printf '\t_ "github.com/caddyserver/caddy/v2/cmd"\n'
	printf '\t_ "github.com/caddyserver/caddy/v2/modules/standard"\n'
	printf '\t_ "%s/caddymodule"\n' "$module"
	printf ')\n\nfunc main() {}\n'
} >main.go
cp "$root/go.sum" .
go mod init caddy 2>/dev/null
go mod edit -replace "$module=$root" -require "$module@v0.0.0" \
	-require "github.com/caddyserver/caddy/v2@$caddy_version"

# What the caller adds is fetched as xcaddy would.
arguments=("$@")
for ((i = 0; i < $#; i++)); do
	if [ "${arguments[i]}" = --with ] && [[ "${arguments[i + 1]:-}" != *=* ]]; then
		go get "${arguments[i + 1]}" "github.com/caddyserver/caddy/v2@$caddy_version"
		printf 'package main\n\nimport _ "%s"\n' "${arguments[i + 1]%@*}" >"with$i.go"
	fi
done
go mod tidy -e

cd "$root"
GOPROXY="file://$(go env GOMODCACHE)/cache/download" GONOPROXY=none GOSUMDB=off \
	"$work/xcaddy/xcaddy" build "$caddy_version" --output "$output" \
	--with "$module/caddymodule" --replace "$module=$root" "$@"

built=$("$output" version | cut -d' ' -f1)
if [ "$built" != "$caddy_version" ]; then
	echo "xcaddy.sh: built Caddy $built, go.mod says $caddy_version" >&2
	exit 1
fi
echo "built ${output#"$root"/}: Caddy $built with Bellhop"
