package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// site is a route with the `bellhop` directive.
type site struct {
	*Handler
	// hosts are those that the route is for; none for any.
	hosts []string
}

// sites finds them in the routes of Caddy's HTTP app.
func (a *App) sites() []site {
	loaded, err := a.run.ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	var found []site
	for _, server := range loaded.(*caddyhttp.App).Servers {
		found = append(found, sitesOf(server.Routes, nil)...)
	}
	return found
}

func sitesOf(routes caddyhttp.RouteList, hosts []string) (found []site) {
	for _, route := range routes {
		within := hosts
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				switch m := matcher.(type) {
				case caddyhttp.MatchHost:
					within = m
				case *caddyhttp.MatchHost:
					within = *m
				}
			}
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				found = append(found, site{h, within})
			case *caddyhttp.Subroute:
				found = append(found, sitesOf(h.Routes, within)...)
			}
		}
	}
	return found
}

// reachedAs reports whether the site is reached under the host.
func (s site) reachedAs(host string) bool {
	return len(s.hosts) == 0 || slices.ContainsFunc(s.hosts, func(pattern string) bool {
		return policy.Match(strings.ToLower(pattern), strings.ToLower(host))
	})
}

// checkConfiguration looks at what can be told without asking anybody.
func (a *App) checkConfiguration(context.Context, *service) []checked {
	sites := a.sites()
	all := slices.Concat(checkSites(sites), a.checkPublicURL(sites), a.checkLiterals(), a.checkAdmin())
	if len(a.Providers) == 0 {
		all = append(all, failed("providers", "", "there is no provider, so no account can be connected",
			"Write `provider google { … }` or another into the `bellhop` global option."))
	}
	return all
}

func checkSites(sites []site) []checked {
	const mend = "Write `bellhop { token_endpoint }` (and what else callers need) into a site that they reach."
	if len(sites) == 0 {
		return []checked{failed("sites", "", "no site has the `bellhop` directive, so callers reach nothing", mend)}
	}
	var serve []string
	for name, has := range map[string]func(site) bool{
		"token_endpoint": func(s site) bool { return s.TokenEndpoint != nil },
		"the proxy":      func(s site) bool { return s.run.proxy != nil },
		"api":            func(s site) bool { return s.API },
		"connect":        func(s site) bool { return s.Connect != nil },
	} {
		if slices.ContainsFunc(sites, has) {
			serve = append(serve, name)
		}
	}
	slices.Sort(serve)
	switch {
	case slices.Contains(serve, "token_endpoint"), slices.Contains(serve, "the proxy"):
		says := "sites serve " + strings.Join(serve, ", ")
		if !slices.Contains(serve, "token_endpoint") {
			says += "; token_endpoint is not written, so nobody is handed a token (ApiEndpointDisabled)"
		}
		return []checked{passed("sites", "", says)}
	}
	return []checked{warned("sites", "", "no site serves callers: there is neither token_endpoint nor a proxy", mend)}
}

// checkPublicURL compares where people come back to with where they are served.
func (a *App) checkPublicURL(sites []site) []checked {
	const check = "public_url"
	connects := slices.DeleteFunc(slices.Clone(sites), func(s site) bool { return s.Connect == nil })
	if a.run.publicURL == nil {
		return nil // without one a site with `connect` does not load
	}
	public := a.run.publicURL
	switch {
	case len(connects) == 0:
		return []checked{warned(check, public.String(), "no site has `connect`, so links and consent lead nowhere",
			"Write `bellhop { connect }` into the site "+public.Host+", or connect accounts with `bellhop oauth connect`.")}
	case !slices.ContainsFunc(connects, func(s site) bool { return s.reachedAs(public.Hostname()) }):
		var hosts []string
		for _, s := range connects {
			hosts = append(hosts, s.hosts...)
		}
		return []checked{failed(check, public.String(), "the site with `connect` is "+strings.Join(hosts, ", ")+", so people who consented come back to another place",
			"Make public_url the URL at which people reach that site.")}
	}
	return []checked{passed(check, public.String(), "the site with `connect` is reached as "+public.Hostname())}
}

// checkLiterals looks for secrets that the configuration shows.
func (a *App) checkLiterals() (all []checked) {
	const mend = "Write {env.NAME} or {file./path} in its place, and make a new secret: this one was shown to whoever read the configuration."
	literal := func(subject, field string, values ...string) {
		if slices.ContainsFunc(values, func(v string) bool { return v != "" && !hasPlaceholder(v) }) {
			all = append(all, warned("secrets", subject, field+" is written out in the configuration, which Caddy's admin endpoint and autosave file show", mend))
		}
	}
	for _, p := range a.Providers {
		literal("provider "+p.Name, "client_secret", p.ClientSecrets...)
		literal("provider "+p.Name, "access_token", p.AccessToken)
	}
	if s := a.Store; s != nil && (literalPassword(s.DSN) || literalPassword(s.DirectDSN)) {
		literal("store", "the password of its connection string", s.DSN, s.DirectDSN)
	}
	for i, w := range a.Webhooks {
		literal(fmt.Sprintf("webhook %d", i+1), "secret", w.Secret)
	}
	return all
}

// checkAdmin looks at who can reach Caddy's admin endpoint.
func (a *App) checkAdmin() []checked {
	const check = "admin"
	listen, tcp := a.adminOnTCP()
	if tcp {
		return []checked{warned(check, listen, "Caddy's admin endpoint is on TCP: whoever reaches it can load another configuration, and every call of `bellhop oauth` needs an admin key",
			"Write `admin unix//run/bellhop/admin.sock|0600` into the global options.")}
	}
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil || !address.IsUnixNetwork() {
		return nil
	}
	path, _, _ := strings.Cut(address.Host, "|")
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" {
		return nil
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return []checked{warned(check, path, fmt.Sprintf("the socket of Caddy's admin endpoint is open to others than its owner (mode %04o): they need no key there", mode),
			"Write `admin unix/"+path+"|0600`, unless those are to manage everything.")}
	}
	return []checked{passed(check, path, "Caddy's admin endpoint is open to its owner alone")}
}

// checkKept looks at the store and at the keyset.
func (a *App) checkKept(ctx context.Context, s *service) []checked {
	return []checked{a.checkStore(ctx, s), a.checkKeysetFile(s)}
}

func (a *App) checkStore(ctx context.Context, s *service) checked {
	const check, record = "store", "doctor"
	place := a.run.store.String()
	err := s.store.Ready(ctx)
	if err == nil {
		_, err = s.store.Commit(ctx, nil, store.Write{Key: record, Value: []byte{}, Expect: store.AnyVersion})
	}
	if err == nil {
		_, err = s.store.Commit(ctx, nil, store.Write{Key: record, Expect: store.AnyVersion})
	}
	if err != nil {
		mend := "Make room, or give the store a place that can be written."
		if a.run.store.dir == "" {
			mend = "Make the database take writes, or correct the connection string."
		}
		return failed(check, place, "what providers send could not be kept, so nothing is renewed: "+err.Error(), mend)
	}
	if err := s.shared.Ready(ctx); err != nil {
		return failed(check, place, "renewed grants wait in memory to be saved", "Do not stop the server; its log says why they could not be saved.")
	}
	if a.run.store.dir == "" {
		return passed(check, place, "it keeps what is written")
	}
	return passed(check, place, fmt.Sprintf("it keeps what is written, and has more room than its reserve of %d MiB", a.run.store.reserve>>20))
}

func (a *App) checkKeysetFile(s *service) checked {
	const check = "keyset"
	path := s.keyset.Path()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return failed(check, path, "the file is gone: after a restart nothing that is stored can be opened", "Put it back from your copy now, while the server runs.")
	}
	if err != nil {
		return failed(check, path, err.Error(), "Make it readable for the user that runs Bellhop.")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return failed(check, path, fmt.Sprintf("the file is open to others than its owner (mode %04o): the next start refuses it", mode), "Run chmod 600 "+path+", and `bellhop oauth keyset rotate`.")
	}
	says := fmt.Sprintf("only its owner reads it; it has %s for records", numberOf(len(s.keyset.KeyIDs(secret.Records)), "key"))
	if within(a.run.store.dir, path) {
		return warned(check, path, "the file lies in the directory of the store: a copy of that directory can be opened by whoever gets it", "Put it elsewhere, and name it with `keyset <file>`.")
	}
	c := passed(check, path, says)
	c.Mend = "Keep a copy, in another place than the backups: without it they cannot be opened."
	return c
}

// within reports whether a path is below a directory.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
