// Package caddymodule is Bellhop as Caddy knows it: an app that keeps OAuth
// grants, an HTTP handler that hands out and injects their access tokens, an
// admin API and commands. It is the only package that imports Caddy.
//
//	{
//		admin unix//run/bellhop/admin.sock|0600
//		bellhop {
//			provider google {
//				client_id {env.GOOGLE_CLIENT_ID}
//				client_secret {env.GOOGLE_CLIENT_SECRET}
//				scopes https://mail.google.com/
//			}
//		}
//	}
//
//	https://bellhop.internal:8443 {
//		bellhop {
//			token_endpoint
//		}
//		respond 404
//	}
//
// One request's way is read from handler.go: who calls (auth.go), what is
// called (proxy.go, with the packages target and policy), the token (package
// broker), and out (transport.go).
package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddy.RegisterModule(App{})
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(adminAPI{})
	caddycmd.RegisterCommand(oauthCommand)

	httpcaddyfile.RegisterGlobalOption("bellhop", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("bellhop", parseDirective)
	// Before every handler that answers, so that what stands below the
	// directive gets what Bellhop does not serve.
	httpcaddyfile.RegisterDirectiveOrder("bellhop", httpcaddyfile.Before, "abort")
}
