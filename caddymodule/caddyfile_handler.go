package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// parseDirective sets up the handler from the directive `bellhop`.
func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	bellhop [<matcher>] {
//		connect {
//			app_name <name>
//			return_to <url>...
//		}
//		token_endpoint {
//			query_key
//		}
//		api
//		console
//		auth keys|none
//		auth caddy [<placeholder>]
//		grant <identity glob> {
//			account <glob>...
//			allow "<methods> <host>/<path>"...
//			preset <name>...
//			admin
//		}
//		proxy off
//		proxy [<prefix>] {
//			upstream <host> <url>
//			default_host <provider> <host>
//			replay_limit <size>
//			rewrite <member> [<path glob>]
//			handle_host <host>...
//			transport http {
//				...
//			}
//			account key|<id>
//			api_host <host>
//		}
//	}
//
// The block of transport is that of reverse_proxy's `http` transport. The last
// two lines of proxy are for the prefix `/`, which needs them.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.Errf("bellhop takes no argument but a matcher: write its settings in a block")
	}
	start := *d
	if err := parseBlock(d, "bellhop", h.subdirectives()); err != nil {
		return err
	}
	if err := h.validate(); err != nil {
		return start.Errf("bellhop: %w", err)
	}
	return nil
}

// subdirectives describes the block of the directive.
func (h *Handler) subdirectives() []subdirective {
	return []subdirective{
		{
			usage: "connect",
			set:   func([]string) error { h.Connect = new(Connect); return nil },
			nested: func(d *caddyfile.Dispenser) error {
				return parseBlock(d, "connect", h.Connect.subdirectives())
			},
		},
		{
			usage: "token_endpoint",
			set:   func([]string) error { h.TokenEndpoint = new(TokenEndpoint); return nil },
			nested: func(d *caddyfile.Dispenser) error {
				return parseBlock(d, "token_endpoint", []subdirective{flagLine("query_key", &h.TokenEndpoint.QueryKey)})
			},
		},
		flagLine("api", &h.API),
		flagLine("console", &h.Console),
		h.authLine(),
		h.grantLine(),
		h.proxyLine(),
	}
}

// subdirectives describes the block `connect`.
func (c *Connect) subdirectives() []subdirective {
	return []subdirective{
		textLine("app_name <name>", &c.AppName, nil),
		listLine("return_to <url>...", &c.ReturnTo, expandable(checkReturnTo)),
	}
}

// authLine describes `auth <type>`.
func (h *Handler) authLine() subdirective {
	return subdirective{
		usage: "auth keys|none|caddy [<placeholder>]", min: 1, max: 2,
		set: func(args []string) error {
			h.Auth = &Auth{Type: args[0]}
			if len(args) == 2 {
				h.Auth.Identity = args[1]
			}
			return h.Auth.validate()
		},
		nested: func(d *caddyfile.Dispenser) error {
			if opensBlock(d) {
				return d.Errf("bellhop: auth takes no block: write `grant <identity glob>` blocks beside it")
			}
			return nil
		},
	}
}

// grantLine describes `grant <identity glob> { … }`.
func (h *Handler) grantLine() subdirective {
	var grant *Grant
	return subdirective{
		usage: "grant <identity glob>", min: 1, max: 1, repeat: true,
		set: func(args []string) error {
			grant = &Grant{Identity: args[0]}
			if slices.ContainsFunc(h.Grants, func(g *Grant) bool { return g.Identity == grant.Identity }) {
				return fmt.Errorf("%s is declared twice: keep one", grant.Identity)
			}
			h.Grants = append(h.Grants, grant)
			return nil
		},
		nested: func(d *caddyfile.Dispenser) error {
			return parseBlock(d, "grant "+grant.Identity, grant.subdirectives())
		},
	}
}

// subdirectives describes the block of a grant.
func (g *Grant) subdirectives() []subdirective {
	return []subdirective{
		listLine("account <glob>...", &g.Accounts, nil),
		listLine(`allow "<methods> <host>/<path>"...`, &g.Allow, checkRule),
		listLine("preset <name>...", &g.Presets, checkPreset),
		flagLine("admin", &g.Admin),
	}
}

// proxyLine describes `proxy …`.
func (h *Handler) proxyLine() subdirective {
	return subdirective{
		usage: "proxy off | proxy [<prefix>]", max: 1,
		set: func(args []string) error {
			h.Proxy = new(Proxy)
			switch {
			case len(args) == 0:
				return nil
			case args[0] == "off":
				h.Proxy.Off = true
				return nil
			}
			h.Proxy.Prefix = args[0]
			return checkPrefix(args[0])
		},
		nested: func(d *caddyfile.Dispenser) error {
			if h.Proxy.Off {
				if opensBlock(d) {
					return d.Errf("bellhop: proxy off takes no block: leave out `off` or the block")
				}
				return nil
			}
			start := *d
			if err := parseBlock(d, "proxy", h.Proxy.subdirectives()); err != nil {
				return err
			}
			if err := h.Proxy.validate(); err != nil {
				return start.Errf("proxy: %w", err)
			}
			return nil
		},
	}
}

// subdirectives describes the block `proxy`.
func (p *Proxy) subdirectives() []subdirective {
	return []subdirective{
		p.upstreamLine(),
		p.defaultHostLine(),
		quantityLine("replay_limit <size>", &p.ReplayLimit, ParseSize),
		p.rewriteLine(),
		listLine("handle_host <host>...", &p.HandleHosts, checkHostGlob),
		p.transportLine(),
		textLine("account key|<id>", &p.Account, nil),
		textLine("api_host <host>", &p.APIHost, expandable(checkHost)),
	}
}

// upstreamLine describes `upstream <host> <url>`.
func (p *Proxy) upstreamLine() subdirective {
	return subdirective{
		usage: "upstream <host> <url>", min: 2, max: 2, repeat: true,
		set: func(args []string) error {
			p.Upstreams = append(p.Upstreams, &Upstream{Host: args[0], URL: args[1]})
			return nil
		},
		check: func() error {
			return validateNamed("host", p.Upstreams, func(u *Upstream) string { return u.Host })
		},
	}
}

// validate judges one upstream.
func (u *Upstream) validate() error {
	if u.Host == "" || u.URL == "" {
		return errors.New("host and url are both needed: write `upstream <host> <url>`")
	}
	if err := judgeAll([]string{u.Host}, expandable(checkHost)); err != nil {
		return err
	}
	return judgeAll([]string{u.URL}, expandable(checkUpstreamURL))
}

// defaultHostLine describes `default_host <provider> <host>`.
func (p *Proxy) defaultHostLine() subdirective {
	return subdirective{
		usage: "default_host <provider> <host>", min: 2, max: 2, repeat: true,
		set: func(args []string) error {
			if _, found := p.DefaultHosts[args[0]]; found {
				return fmt.Errorf("%s has one already: keep one", args[0])
			}
			if p.DefaultHosts == nil {
				p.DefaultHosts = make(map[string]string)
			}
			p.DefaultHosts[args[0]] = args[1]
			return nil
		},
		check: func() error {
			for provider, host := range p.DefaultHosts {
				if err := checkName(provider); err != nil {
					return err
				}
				if err := checkHost(host); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// rewriteLine describes `rewrite <member> [<path glob>]`.
func (p *Proxy) rewriteLine() subdirective {
	return subdirective{
		usage: "rewrite <member> [<path glob>]", min: 1, max: 2, repeat: true,
		set: func(args []string) error {
			rewrite := &Rewrite{Member: args[0]}
			if len(args) == 2 {
				rewrite.Path = args[1]
			}
			p.Rewrites = append(p.Rewrites, rewrite)
			return nil
		},
		check: func() error {
			return validateNamed("member", p.Rewrites, func(r *Rewrite) string { return r.Member + " " + r.Path })
		},
	}
}

// validate judges one rewrite.
func (r *Rewrite) validate() error {
	if r.Member == "" {
		return errors.New("member is missing: write `rewrite <member> [<path glob>]`")
	}
	if strings.Contains(r.Member, "*") {
		return fmt.Errorf("%q is not the name of a member: write it out, without *", r.Member)
	}
	return judgeAll([]string{r.Path}, checkPathGlob)
}

// transportLine describes `transport http { … }`.
func (p *Proxy) transportLine() subdirective {
	return subdirective{
		usage: "transport http", min: 1, max: 1,
		set: func(args []string) error {
			if args[0] != "http" {
				return fmt.Errorf("%s does not speak to APIs: write `transport http`", args[0])
			}
			return nil
		},
		check: func() error { return checkTransportJSON(p.TransportRaw) },
		nested: func(d *caddyfile.Dispenser) error {
			module := *d
			if err := refuseTransportLines(d.NewFromNextSegment()); err != nil {
				return err
			}
			*d = module
			unmarshaled, err := caddyfile.UnmarshalModule(d, "http.reverse_proxy.transport.http")
			if err != nil {
				return err
			}
			transport, ok := unmarshaled.(*reverseproxy.HTTPTransport)
			if !ok {
				return d.Errf("transport: http is %T, not Caddy's own transport", unmarshaled)
			}
			if err := checkTransport(transport); err != nil {
				return d.Errf("transport: %w", err)
			}
			p.TransportRaw = caddyconfig.JSONModuleObject(transport, "protocol", "http", nil)
			return nil
		},
	}
}

// refuseTransportLines looks for refused settings before the module parses them,
// so that the error names their line.
func refuseTransportLines(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	for d.Next() {
		if _, refused := transportRefusals[d.Val()]; refused {
			return d.Errf("transport: %w", refusedTransport(d.Val()))
		}
		d.RemainingArgs()
	}
	return nil
}
