package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

const (
	// defaultIdentity is whom Caddy's own authentication handlers found.
	defaultIdentity = "{http.auth.user.id}"
	// maxIdentity is the greatest length of an identity in bytes: that of a long
	// distinguished name, and less than a handle has room for.
	maxIdentity = 512
	// identityHolder begins what handles are bound to, so that no identity
	// passes for a key's hash.
	identityHolder = "identity:"
)

// identityAuth is `auth caddy`: another handler of the site, which stands before
// this one, has found out who calls, and grants say what they may do.
type identityAuth struct {
	placeholder string
	// fields are the header fields that say who calls. They go no further.
	fields []string
	// grants are in the order in which they are written: the first that matches
	// counts, and no other.
	grants []*identityGrant
}

// identityGrant is what the identities that match may do.
type identityGrant struct {
	identities string // a glob
	// allows is what they all may do.
	allows policy.Key
	// own are accounts with the identity in their ID: what stands before,
	// between and behind it.
	own [][]string
}

func newIdentityAuth(ctx caddy.Context, h *Handler) (*identityAuth, error) {
	a := &identityAuth{placeholder: cmp.Or(h.Auth.Identity, defaultIdentity)}
	resolve := newResolver()
	for _, configured := range h.Grants {
		built, err := configured.build(resolve, a.placeholder)
		if err != nil {
			return nil, fmt.Errorf("grant %s: %w", configured.Identity, err)
		}
		for _, before := range a.grants {
			if policy.Match(before.identities, built.identities) {
				return nil, fmt.Errorf("grant %s: never counts, since `grant %s` above it is for the same identities and the first that matches counts: move it up", built.identities, before.identities)
			}
		}
		a.grants = append(a.grants, built)
	}
	for _, found := range placeholderPattern.FindAllStringSubmatch(a.placeholder, -1) {
		if field, ok := strings.CutPrefix(found[1], headerPlaceholder); ok {
			a.fields = append(a.fields, field)
		}
	}
	if len(a.fields) > 0 {
		ctx.Logger().Warn("auth caddy: the identity is taken from a header field of the request: see that a handler before `bellhop` sets it for every call, as forward_auth does with copy_headers, or callers write there whom they like",
			zap.String("identity", a.placeholder))
	}
	if h.TokenEndpoint != nil {
		ctx.Logger().Warn("token_endpoint: nobody is handed a token here: grants of `auth caddy` cannot allow it; put it on a site with `auth keys`")
	}
	return a, nil
}

// build expands what the configuration holds. The identity's own placeholder is
// left for each call: its text is put in as it is, and is no pattern.
func (g *Grant) build(resolve resolver, placeholder string) (*identityGrant, error) {
	identities, err := resolve.one("identity", "glob", g.Identity)
	if err != nil {
		return nil, err
	}
	built := &identityGrant{identities: identities, allows: policy.Key{
		Presets: g.Presets, Admin: g.Admin, Label: "the identity's grant",
	}}
	if built.allows.Rules, err = policy.ParseRules(g.Allow); err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	for _, written := range g.Accounts {
		if strings.Contains(written, placeholder) {
			own, err := buildOwn(resolve, written, placeholder)
			if err != nil {
				return nil, fmt.Errorf("account %s: %w", written, err)
			}
			built.own = append(built.own, own)
			continue
		}
		expanded, err := resolve.replacer.ReplaceOrErr(written, true, true)
		if err != nil {
			return nil, fmt.Errorf("account: %w: an account takes placeholders of the configuration, and the caller's identity as %s", err, placeholder)
		}
		built.allows.Accounts = append(built.allows.Accounts, expanded)
	}
	return built, built.allows.CheckLimits()
}

// buildOwn cuts an account's ID where the identity goes.
func buildOwn(resolve resolver, written, placeholder string) ([]string, error) {
	pieces := strings.Split(written, placeholder)
	for i, piece := range pieces {
		expanded, err := resolve.replacer.ReplaceOrErr(piece, true, true)
		if err != nil {
			return nil, err
		}
		if strings.Contains(expanded, "*") {
			return nil, errors.New("has a * beside the identity, and would reach accounts of others: leave the * out")
		}
		pieces[i] = expanded
	}
	return pieces, account.CheckID(strings.Join(pieces, "x"))
}

// key is what one identity may do.
func (g *identityGrant) key(identity string) *policy.Key {
	key := g.allows
	key.Name, key.Hash = identity, identityHolder+identity
	if len(g.own) == 0 || strings.Contains(identity, "*") {
		return &key // an identity is no pattern
	}
	key.Accounts = append(make([]string, 0, len(key.Accounts)+len(g.own)), key.Accounts...)
	for _, pieces := range g.own {
		if id := strings.Join(pieces, identity); account.CheckID(id) == nil {
			key.Accounts = append(key.Accounts, id)
		}
	}
	return &key
}

// key is what an identity may do; nil if there is no grant for it.
func (a *identityAuth) key(identity string) *policy.Key {
	for _, g := range a.grants {
		if policy.Match(g.identities, identity) {
			return g.key(identity)
		}
	}
	return nil
}

// authenticate finds the grant of whom the site's other handlers found.
func (a *identityAuth) authenticate(r *http.Request, c *call) (*policy.Key, error) {
	replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	identity, err := replacer.ReplaceOrErr(a.placeholder, true, true)
	if err != nil || identity == "" {
		missing := problem.New(problem.MissingKey, "nobody has said who calls: this site takes no API keys, but whom the handlers before it have authenticated")
		missing.Challenge = "Bearer"
		return nil, missing
	}
	if err := checkIdentity(identity); err != nil {
		return nil, problem.New(problem.NotAllowed, "the caller's identity "+err.Error())
	}
	c.key = identity
	if err := refuseKeys(r, AuthCaddy); err != nil {
		return nil, err
	}
	if isCrossOrigin(r) {
		return nil, problem.New(problem.NotAllowed, "a page of another origin made the browser send this, with its user's sign-in: this site is for its own pages and for programs")
	}
	key := a.key(identity)
	if key == nil {
		return nil, problem.New(problem.NotAllowed, fmt.Sprintf("no grant of this site is for the identity %q", identity))
	}
	c.by(key)
	return key, nil
}

// holder finds the grant of the identity that a handle was handed out to, as it
// is now.
func (a *identityAuth) holder(_ *http.Request, holder string) (*policy.Key, error) {
	if identity, ok := strings.CutPrefix(holder, identityHolder); ok {
		if key := a.key(identity); key != nil {
			return key, nil
		}
	}
	return nil, problem.New(problem.NotAllowed, "the identity that this URL was handed out to has no grant of this site any more")
}

// checkIdentity reports why what other handlers say is no identity. It does not
// repeat it.
func checkIdentity(identity string) error {
	switch {
	case !utf8.ValidString(identity):
		return errors.New("is not valid UTF-8")
	case len(identity) > maxIdentity:
		return fmt.Errorf("has more than %d bytes", maxIdentity)
	case strings.ContainsFunc(identity, unicode.IsControl):
		return errors.New("has a control character")
	case target.MentionsKey(identity):
		return errors.New("is an API key, which would stand in logs")
	}
	return nil
}

// fromElsewhere tells requests that a page of another origin has caused.
var fromElsewhere = http.NewCrossOriginProtection()

// isCrossOrigin reports whether a browser says that a page of another origin
// caused the request: it would send along its user's password, session or
// certificate without being asked. The method does not count, since a GET may
// open a WebSocket.
func isCrossOrigin(r *http.Request) bool {
	if len(r.Header["Origin"]) == 0 && len(r.Header["Sec-Fetch-Site"]) == 0 {
		return false
	}
	changing := *r
	changing.Method = http.MethodPost
	return fromElsewhere.Check(&changing) != nil
}

// headerPlaceholder begins the names of placeholders of header fields.
const headerPlaceholder = "http.request.header."

var placeholderPattern = regexp.MustCompile(`\{([^{}]+)\}`)

// checkIdentityPlaceholder refuses what tells nobody apart, and what callers
// write as they like.
func checkIdentityPlaceholder(written string) error {
	differs := false
	for _, found := range placeholderPattern.FindAllStringSubmatch(written, -1) {
		name := strings.ToLower(found[1])
		switch {
		case hasPrefixOf(name, "env.", "file.", "system.", "time."):
			continue
		case hasPrefixOf(name, "http.request.uri", "http.request.orig_uri", "http.request.method", "http.request.orig_method", "http.request.body", "http.request.host", "http.request.proto", "http.request.tls.server_name"):
			return fmt.Errorf("%s is what any caller writes: write a placeholder that another handler sets, like %s", found[0], defaultIdentity)
		case hasPrefixOf(name, "http.request.cookie.", "http.request.header.authorization", "http.request.header.cookie",
			"http.request.header.proxy-authorization", "http.request.header.x-bellhop-key", "http.request.header.x-goog-api-key"):
			return fmt.Errorf("%s is a credential, which would stand in logs: write a placeholder that another handler sets, like %s", found[0], defaultIdentity)
		}
		differs = true
	}
	if !differs {
		return fmt.Errorf("%q is the same for every caller: write a placeholder like %s", written, defaultIdentity)
	}
	return nil
}

func hasPrefixOf(name string, beginnings ...string) bool {
	for _, beginning := range beginnings {
		if strings.HasPrefix(name, beginning) {
			return true
		}
	}
	return false
}
