// Command bellhop is Caddy with its standard modules and Bellhop's.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/bellhop-proxy/bellhop/caddymodule"
)

func main() {
	caddycmd.Main()
}
