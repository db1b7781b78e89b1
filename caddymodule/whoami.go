package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// whoamiPath tells a caller what its key is good for.
const whoamiPath = "/v1/whoami"

const (
	// whoamiAccounts is how many accounts are told at most.
	whoamiAccounts = 100
	// whoamiScan is how many accounts are looked at to find them: any key may
	// ask.
	whoamiScan = 1000
)

// whoami is what a key may reach, for a program to find its way by.
type whoami struct {
	// Key is what audit and activity call the caller.
	Key string `json:"key"`
	// Identity is whom the handlers before found, where there is `auth caddy`.
	Identity string `json:"identity,omitempty"`
	// May are the key's limits and permissions, as sentences.
	May     []string       `json:"may"`
	Expires time.Time      `json:"expires,omitzero"`
	CIDRs   []netip.Prefix `json:"cidrs,omitempty"`
	// Accounts are those that it reaches; More is set where there may be more.
	Accounts []reached `json:"accounts"`
	More     bool      `json:"more,omitempty"`
}

// reached is an account that a key reaches.
type reached struct {
	Account  string        `json:"account"`
	Provider string        `json:"provider"`
	Type     string        `json:"type"`
	State    account.State `json:"state"`
	// BaseURL is the proxy's, for this account; empty where the site has none.
	BaseURL string `json:"baseUrl,omitempty"`
	// APIHosts are where calls may go, the default one first.
	APIHosts []string `json:"apiHosts"`
	// SDKs say which URL to give to which library, and how.
	SDKs []sdk `json:"sdks,omitempty"`
}

// sdk is a library's base URL, in which {apiHost}, {servicePath} and the like
// are for the caller to fill in.
type sdk struct {
	Name    string `json:"name"`
	BaseURL string `json:"baseUrl"`
	Set     string `json:"set"`
}

// serveWhoami answers GET /v1/whoami to any key.
func (h *Handler) serveWhoami(w http.ResponseWriter, r *http.Request) {
	c := &call{route: "whoami"}
	a := h.run.app
	w, done := a.record(w, r, c)
	defer done()
	answer, err := h.whoami(r, c)
	if err != nil {
		a.refuse(w, r, c, inEmailEngineWords(err), dialectEmailEngine)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (h *Handler) whoami(r *http.Request, c *call) (*whoami, error) {
	a := h.run.app
	key, err := h.run.auth.authenticate(r, c)
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, problem.New(problem.MethodNotAllowed, "Method Not Allowed")
	}
	facts := policy.Facts{Needs: policy.Any, Client: clientAddr(r), Now: clock.Now()}
	if err := policy.Judge(key, &facts).Problem(); err != nil {
		return nil, err
	}
	s, err := a.run.open()
	if err != nil {
		return nil, err
	}
	answer := &whoami{Key: key.Name, May: sentences(key), Expires: key.Expires, CIDRs: key.CIDRs, Accounts: []reached{}}
	if identity, ok := strings.CutPrefix(key.Hash, identityHolder); ok {
		answer.Identity = identity
	}
	summaries, more, err := s.reachedBy(r.Context(), key)
	if err != nil {
		return nil, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	}
	answer.More = more
	for _, summary := range summaries {
		answer.Accounts = append(answer.Accounts, h.reached(r, summary))
	}
	return answer, nil
}

// sentences say what a key may do.
func sentences(key *policy.Key) []string {
	may := ruleSentences(key)
	allows := len(key.Presets) > 0 || slices.ContainsFunc(key.Rules, func(r policy.Rule) bool { return !r.Denies() })
	switch {
	case len(key.Accounts) == 0:
		may = append(may, "reaches no account")
	case len(may) == 0:
		may = append(may, "may call every API of its accounts")
	case !allows:
		may = append(may, "may call everything else of its accounts' APIs")
	}
	if len(key.Scopes) > 0 {
		may = append(may, "calls with access tokens that have these scopes of the account's alone: "+strings.Join(key.Scopes, " "))
	}
	if rate, err := ParseRate(key.Rate); err == nil {
		may = append(may, rate.sentence())
	}
	for _, permission := range []struct {
		has  bool
		text string
	}{
		{key.Token, "may be given access tokens of its accounts"},
		{key.Connect || key.Admin, "may make consent links"},
		{key.Admin, "may manage accounts and keys"},
	} {
		if permission.has {
			may = append(may, permission.text)
		}
	}
	return may
}

// ruleSentences say what a key's presets and rules let it do, and do not.
func ruleSentences(key *policy.Key) []string {
	var may []string
	for _, preset := range policy.Presets() {
		if slices.Contains(key.Presets, preset.Name) {
			may = append(may, preset.Sentence)
		}
	}
	for _, rule := range key.Rules {
		may = append(may, rule.Sentence())
	}
	return may
}

// reachedBy are the accounts that a key reaches: those that it names, and those
// that its patterns match. There may be more than are told.
func (s *service) reachedBy(ctx context.Context, key *policy.Key) (found []vault.Summary, more bool, err error) {
	named := map[string]bool{}
	patterns := false
	for _, id := range key.Accounts {
		if strings.Contains(id, "*") {
			patterns = true
			continue
		}
		named[id] = true
		summary, err := s.vault.Summary(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			if covered, err := s.broker.Account(ctx, id); err == nil {
				found = append(found, vault.Summary{ID: id, Provider: covered.Provider, State: covered.State})
			}
			continue
		}
		if err != nil {
			return nil, false, err
		}
		found = append(found, summary)
	}
	if !patterns {
		return found, false, nil
	}
	summaries, err := s.vault.Summaries(ctx, "", whoamiScan)
	if err != nil {
		return nil, false, err
	}
	for _, summary := range summaries {
		if named[summary.ID] || !key.Reaches(summary.ID) {
			continue
		}
		if len(found) >= whoamiAccounts {
			return found, true, nil
		}
		found = append(found, summary)
	}
	return found, len(summaries) == whoamiScan, nil
}

// reached describes an account, as this site serves it.
func (h *Handler) reached(r *http.Request, summary vault.Summary) reached {
	told := reached{Account: summary.ID, Provider: summary.Provider, State: summary.State, APIHosts: []string{}}
	configured, ok := h.run.app.run.providers[summary.Provider]
	if !ok {
		return told
	}
	told.Type, told.APIHosts = configured.Type(), configured.Hosts()
	if h.run.proxy != nil {
		told.BaseURL = h.run.proxy.baseOf(r, "").Root() + "/" + url.PathEscape(summary.ID)
		told.SDKs = sdksOf(configured.Type(), configured.DefaultHost(), told.BaseURL)
	}
	return told
}

// sdksOf are the base URLs of the libraries that are known to work below a path;
// docs/sdk.md says what else they need.
func sdksOf(providerType, defaultHost, base string) []sdk {
	host := base + "/{apiHost}"
	switch provider.APIsAt(providerType, defaultHost) {
	case provider.TypeGoogle:
		return []sdk{
			{"curl", host, "in the place of the API's origin"},
			{"google.golang.org/api (Go)", host + "/{servicePath}/", "option.WithEndpoint; uploads need the origin form"},
			{"@googleapis (Node.js)", host, "rootUrl, with each call"},
			{"google-api-python-client", host + "/$discovery/rest?version={version}", "build_from_document, with the document from there"},
			{"google-api-services (Java)", host + "/", "setRootUrl; uploads need the origin form"},
			{"Google.Apis (.NET)", host + "/{servicePath}/", "BaseUri; uploads need the origin form"},
		}
	case provider.TypeMicrosoft:
		graph := base + "/" + defaultHost
		return []sdk{
			{"curl", graph, "in the place of the API's origin"},
			{"@microsoft/microsoft-graph-client (Node.js)", graph, "baseUrl, and its host in customHosts; needs https"},
			{"Microsoft.Graph (.NET)", graph + "/v1.0", "baseUrl; batches need the origin form"},
		}
	}
	return []sdk{{"curl", host, "in the place of the API's origin"}}
}
