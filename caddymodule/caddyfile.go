package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// parseGlobalOption sets up the app from the global option `bellhop`.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // so that the error has a line
		return nil, d.Errf("bellhop is configured twice: put all of it into one global bellhop block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "bellhop", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. Syntax:
//
//	bellhop {
//		store badger [<dir>] {
//			reserve <size>
//		}
//		store postgres <dsn> [<direct dsn>]
//		keyset <file>
//		keyset kms <uri> <file>
//		public_url <url>
//		audit on|denied|off
//		provider <name> [<type>] {
//			...
//		}
//		refresh {
//			ahead <duration>
//			min_ttl <duration>
//			timeout <duration>
//			workers <number>
//			keepalive <duration>
//		}
//		key <name> {
//			hash sha256:<hex>
//			account <glob>...
//			allow "<methods> <host>/<path>"...
//			preset <name>...
//			scopes <scope>...
//			token
//			admin
//			connect
//			expires <date>|<time>|<duration>
//			cidr <address or network>...
//			rate <calls>/s|m|h
//		}
//		webhook <url> {
//			secret <secret>
//		}
//	}
//
// Providers, keys and webhooks may be repeated, under different names. The
// syntax of a provider depends on its type:
//
//	provider <name> google|microsoft {
//		client_id <id>
//		client_secret <newest> [<older>...]
//		client_secret_expires <date>
//		scopes <scope>...
//		authorization_endpoint <url>
//		token_endpoint <url>
//		device_authorization_endpoint <url>
//		revocation_endpoint <url>
//		rotation none|keeps_old|single_use
//		rotation grace <duration>
//		authorize_param <name> <value>
//		api_host <host> [token_minting] [insecure_wildcard]
//		api_hosts_only <host>...
//
//		# microsoft
//		tenant organizations|consumers|common|<tenant id or domain>
//		cloud global|usgov|usgov-dod|china
//		client_certificate <cert pem> [<key pem>]
//		continuous_access on|off
//	}
//	provider <name> oauth2 {
//		# what google takes, and
//		issuer <url>
//		userinfo_endpoint <url>
//		auth_style basic|post|none|private_key_jwt
//		private_key <pem> [kid <id>] [alg <algorithm>]
//	}
//	provider <name> google_service_account {
//		credentials_file <file>
//		subjects <glob>...
//		subjects_except <glob>...
//		scopes <scope>...
//		token_endpoint <url>
//		api_host <host> [token_minting] [insecure_wildcard]
//		api_hosts_only <host>...
//	}
//	provider <name> microsoft_app {
//		tenant <tenant id or domain>
//		cloud global|usgov|usgov-dod|china
//		client_id <id>
//		client_secret <newest> [<older>...]
//		client_secret_expires <date>
//		client_certificate <cert pem> [<key pem>]
//		scopes <resource>/.default...
//		token_endpoint <url>
//		api_host <host> [token_minting] [insecure_wildcard]
//		api_hosts_only <host>...
//	}
//	provider <name> emailengine {
//		url <url>
//		access_token <token>
//		api_host <host> [token_minting] [insecure_wildcard]
//		api_hosts_only <host>...
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	if d.NextArg() {
		return d.Errf("bellhop takes no argument: write its settings in a block")
	}
	return parseBlock(d, "bellhop", a.subdirectives())
}

// subdirectives describes the block of the global option.
func (a *App) subdirectives() []subdirective {
	return []subdirective{
		a.storeLine(),
		a.keysetLine(),
		textLine("public_url <url>", &a.PublicURL, expandable(checkPublicURL)),
		textLine("audit on|denied|off", &a.Audit, oneOf(AuditOn, AuditDenied, AuditOff)),
		a.providerLine(),
		{
			usage: "refresh",
			set:   func([]string) error { a.Refresh = new(Refresh); return nil },
			nested: func(d *caddyfile.Dispenser) error {
				return parseBlock(d, "refresh", a.Refresh.subdirectives())
			},
		},
		a.keyLine(),
		a.webhookLine(),
	}
}

// storeLine describes `store <type> …`.
func (a *App) storeLine() subdirective {
	return subdirective{
		usage: "store badger [<dir>] | store postgres <dsn> [<direct dsn>]", min: 1, max: 3,
		set: func(args []string) error {
			store := &Store{Type: args[0]}
			rest := append(args[1:], "", "")
			switch {
			case store.Type == StoreBadger && len(args) <= 2:
				store.Dir = rest[0]
			case store.Type == StorePostgres:
				store.DSN, store.DirectDSN = rest[0], rest[1]
			case store.Type == StoreBadger:
				return errors.New("too many arguments: write `store badger [<dir>]`")
			}
			a.Store = store
			return store.validate()
		},
		nested: func(d *caddyfile.Dispenser) error {
			if a.Store.Type != StoreBadger {
				if opensBlock(d) {
					return d.Errf("store %s takes no block: write `store postgres <dsn> [<direct dsn>]`", a.Store.Type)
				}
				return nil
			}
			return parseBlock(d, "store badger", []subdirective{
				quantityLine("reserve <size>", &a.Store.Reserve, ParseSize),
			})
		},
	}
}

// keysetLine describes `keyset …`.
func (a *App) keysetLine() subdirective {
	return subdirective{
		usage: "keyset <file> | keyset kms <uri> <file>", min: 1, max: 3,
		set: func(args []string) error {
			switch {
			case len(args) == 3 && args[0] == "kms":
				a.Keyset = &Keyset{KMS: args[1], File: args[2]}
			case len(args) == 1 && args[0] != "kms":
				a.Keyset = &Keyset{File: args[0]}
			default:
				return errors.New("write `keyset <file>` or `keyset kms <uri> <file>`")
			}
			return nil
		},
	}
}

// providerLine describes `provider <name> [<type>] { … }`.
func (a *App) providerLine() subdirective {
	var provider *Provider
	return subdirective{
		usage: "provider <name> [<type>]", min: 1, max: 2, repeat: true,
		set: func(args []string) error {
			provider = &Provider{Name: args[0], Type: args[len(args)-1]}
			if slices.ContainsFunc(a.Providers, func(p *Provider) bool { return p.Name == provider.Name }) {
				return fmt.Errorf("%s is declared twice: give each its own name", provider.Name)
			}
			a.Providers = append(a.Providers, provider)
			return provider.checkType()
		},
		nested: func(d *caddyfile.Dispenser) error {
			start := *d
			if err := provider.parse(d); err != nil {
				return err
			}
			if err := provider.validate(); err != nil {
				return start.WrapErr(err)
			}
			return nil
		},
	}
}

// parse reads the block of a provider, whose type says what may stand in it.
func (p *Provider) parse(d *caddyfile.Dispenser) error {
	where := "provider " + p.Name
	if p.kind() != p.Name {
		where += " (" + p.kind() + ")"
	}
	takes := providerTypes[p.kind()].takes
	var table []subdirective
	for _, line := range p.subdirectives() {
		if slices.Contains(takes, line.name()) {
			table = append(table, line)
		}
	}
	return parseBlock(d, where, table)
}

// subdirectives describes all that a provider of any type takes.
func (p *Provider) subdirectives() []subdirective {
	return []subdirective{
		textLine("client_id <id>", &p.ClientID, nil),
		p.clientSecretLine(),
		quantityLine("client_secret_expires <date>", &p.ClientSecretExpires, parseDate),
		p.clientCertificateLine(),
		listLine("scopes <scope>...", &p.Scopes, nil),
		textLine("tenant organizations|consumers|common|<tenant id or domain>", &p.Tenant, expandable(checkTenant)),
		textLine("cloud global|usgov|usgov-dod|china", &p.Cloud, oneOf("global", "usgov", "usgov-dod", "china")),
		p.continuousAccessLine(),
		textLine("issuer <url>", &p.Issuer, expandable(checkBaseURL)),
		textLine("authorization_endpoint <url>", &p.AuthorizationEndpoint, expandable(checkEndpoint)),
		textLine("token_endpoint <url>", &p.TokenEndpoint, expandable(checkEndpoint)),
		textLine("device_authorization_endpoint <url>", &p.DeviceAuthorizationEndpoint, expandable(checkEndpoint)),
		textLine("revocation_endpoint <url>", &p.RevocationEndpoint, expandable(checkEndpoint)),
		textLine("userinfo_endpoint <url>", &p.UserinfoEndpoint, expandable(checkEndpoint)),
		textLine("auth_style basic|post|none|private_key_jwt", &p.AuthStyle, oneOf(authStyles...)),
		p.privateKeyLine(),
		p.rotationLine(),
		p.authorizeParamLine(),
		apiHostLine("api_host <host> [token_minting] [insecure_wildcard]", &p.APIHosts, 3),
		apiHostLine("api_hosts_only <host>...", &p.APIHostsOnly, -1),
		textLine("credentials_file <file>", &p.CredentialsFile, nil),
		listLine("subjects <glob>...", &p.Subjects, nil),
		listLine("subjects_except <glob>...", &p.SubjectsExcept, nil),
		textLine("url <url>", &p.URL, expandable(checkBaseURL)),
		textLine("access_token <token>", &p.AccessToken, nil),
	}
}

// clientSecretLine describes `client_secret`, whose order matters, so that it
// stands once.
func (p *Provider) clientSecretLine() subdirective {
	line := listLine("client_secret <newest> [<older>...]", &p.ClientSecrets, nil)
	line.repeat = false
	return line
}

// clientCertificateLine describes `client_certificate`.
func (p *Provider) clientCertificateLine() subdirective {
	return subdirective{
		usage: "client_certificate <cert pem> [<key pem>]", min: 1, max: 2,
		set: func(args []string) error {
			p.ClientCertificate = &ClientCertificate{Certificate: args[0]}
			if len(args) == 2 {
				p.ClientCertificate.Key = args[1]
			}
			return nil
		},
		given: func() bool { return p.ClientCertificate != nil },
		check: func() error {
			if p.ClientCertificate != nil && p.ClientCertificate.Certificate == "" {
				return errors.New("certificate is missing: name its PEM file")
			}
			return nil
		},
	}
}

// continuousAccessLine describes `continuous_access`.
func (p *Provider) continuousAccessLine() subdirective {
	return subdirective{
		usage: "continuous_access on|off", min: 1, max: 1,
		set: func(args []string) error {
			p.ContinuousAccess = args[0] == "on"
			return oneOf("on", "off")(args[0])
		},
		given: func() bool { return p.ContinuousAccess },
	}
}

// privateKeyLine describes `private_key`.
func (p *Provider) privateKeyLine() subdirective {
	return subdirective{
		usage: "private_key <pem> [kid <id>] [alg <algorithm>]", min: 1, max: 5,
		set: func(args []string) error {
			p.PrivateKey = &PrivateKey{File: args[0]}
			fields := map[string]*string{"kid": &p.PrivateKey.KID, "alg": &p.PrivateKey.Alg}
			for pair := range slices.Chunk(args[1:], 2) {
				field := fields[pair[0]]
				if field == nil || len(pair) < 2 || *field != "" {
					return errors.New("write `private_key <pem> [kid <id>] [alg <algorithm>]`")
				}
				*field = pair[1]
			}
			return nil
		},
		given: func() bool { return p.PrivateKey != nil },
		check: func() error {
			switch {
			case p.PrivateKey == nil:
				return nil
			case p.PrivateKey.File == "":
				return errors.New("file is missing: name its PEM file")
			}
			return judgeAll([]string{p.PrivateKey.Alg}, oneOf(signatureAlgorithms...))
		},
	}
}

// rotationLine describes `rotation`, whose grace has an argument of its own.
func (p *Provider) rotationLine() subdirective {
	line := quantityLine("rotation none|keeps_old|single_use|grace <duration>", &p.Rotation, ParseRotation)
	line.max = 2
	one := line.set
	line.set = func(args []string) error {
		if len(args) == 2 {
			return one([]string{args[0] + " " + args[1]})
		}
		return one(args)
	}
	return line
}

// authorizeParamLine describes `authorize_param`.
func (p *Provider) authorizeParamLine() subdirective {
	return subdirective{
		usage: "authorize_param <name> <value>", min: 2, max: 2, repeat: true,
		set: func(args []string) error {
			if _, found := p.AuthorizeParams[args[0]]; found {
				return fmt.Errorf("%s is written twice: keep one", args[0])
			}
			if p.AuthorizeParams == nil {
				p.AuthorizeParams = make(map[string]string)
			}
			p.AuthorizeParams[args[0]] = args[1]
			return nil
		},
		given: func() bool { return len(p.AuthorizeParams) > 0 },
		check: func() error {
			for _, name := range protocolParams {
				if _, found := p.AuthorizeParams[name]; found {
					return fmt.Errorf("%s belongs to the protocol: it cannot be set", name)
				}
			}
			return nil
		},
	}
}

// subdirectives describes the block `refresh`.
func (r *Refresh) subdirectives() []subdirective {
	return []subdirective{
		quantityLine("ahead <duration>", &r.Ahead, ParseDuration),
		quantityLine("min_ttl <duration>", &r.MinTTL, ParseDuration),
		positive(quantityLine("timeout <duration>", &r.Timeout, ParseDuration), func() bool { return r.Timeout.Or(1) > 0 }),
		{
			usage: "workers <number>", min: 1, max: 1,
			set: func(args []string) (err error) {
				if r.Workers, err = strconv.Atoi(args[0]); err != nil || r.Workers < 1 {
					return fmt.Errorf("%q is not a number of workers: write 1 or more", args[0])
				}
				return nil
			},
			check: func() error {
				if r.Workers < 0 {
					return fmt.Errorf("%d is not a number of workers: write 1 or more", r.Workers)
				}
				return nil
			},
		},
		positive(quantityLine("keepalive <duration>", &r.Keepalive, ParseDuration), func() bool { return r.Keepalive.Or(1) > 0 }),
	}
}

// positive refuses a duration of 0 where it would mean nothing.
func positive(line subdirective, holds func() bool) subdirective {
	line.check = func() error {
		if !holds() {
			return errors.New("0 is too short: write a longer duration")
		}
		return nil
	}
	return line
}

// keyLine describes `key <name> { … }`.
func (a *App) keyLine() subdirective {
	var key *Key
	return subdirective{
		usage: "key <name>", min: 1, max: 1, repeat: true,
		set: func(args []string) error {
			key = &Key{Name: args[0]}
			if slices.ContainsFunc(a.Keys, func(k *Key) bool { return k.Name == key.Name }) {
				return fmt.Errorf("%s is declared twice: give each its own name", key.Name)
			}
			a.Keys = append(a.Keys, key)
			return checkName(key.Name)
		},
		nested: func(d *caddyfile.Dispenser) error {
			start := *d
			if err := parseBlock(d, "key "+key.Name, key.subdirectives()); err != nil {
				return err
			}
			if err := key.validate(); err != nil {
				return start.WrapErr(err)
			}
			return nil
		},
	}
}

// subdirectives describes the block of a key.
func (k *Key) subdirectives() []subdirective {
	return []subdirective{
		textLine("hash sha256:<hex>", &k.Hash, expandable(checkHash)),
		listLine("account <glob>...", &k.Accounts, nil),
		listLine(`allow "<methods> <host>/<path>"...`, &k.Allow, checkRule),
		listLine("preset <name>...", &k.Presets, checkPreset),
		listLine("scopes <scope>...", &k.Scopes, checkScope),
		flagLine("token", &k.Token),
		flagLine("admin", &k.Admin),
		flagLine("connect", &k.Connect),
		quantityLine("expires <date>|<time>|<duration>", &k.Expires, ParseExpiry),
		listLine("cidr <address or network>...", &k.CIDRs, checkCIDR),
		quantityLine("rate <calls>/s|m|h", &k.Rate, ParseRate),
	}
}

// webhookLine describes `webhook <url> { … }`.
func (a *App) webhookLine() subdirective {
	var hook *Webhook
	return subdirective{
		usage: "webhook <url>", min: 1, max: 1, repeat: true,
		set: func(args []string) error {
			hook = &Webhook{URL: args[0]}
			if slices.ContainsFunc(a.Webhooks, func(h *Webhook) bool { return h.URL == hook.URL }) {
				return errWebhookTwice
			}
			a.Webhooks = append(a.Webhooks, hook)
			return hook.validate()
		},
		nested: func(d *caddyfile.Dispenser) error {
			return parseBlock(d, "webhook", []subdirective{
				textLine("secret <secret>", &hook.Secret, nil),
			})
		},
	}
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
