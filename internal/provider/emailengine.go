package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// emailEngine is an EmailEngine that keeps grants and hands out their access
// tokens; its accounts have the same IDs there. What a token is good for, only
// its answer says: so the audience of a host is whose it is ("google", or the
// URI of a resource of Microsoft's), and a token of another's is refused.
type emailEngine struct {
	*common
	base string
	// microsoft knows the resources of Microsoft's scopes.
	microsoft *microsoft
}

// audienceGoogle stands for all APIs of Google's, whose tokens have no audience.
const audienceGoogle = "google"

func newEmailEngine(cfg Config, transport http.RoundTripper) (Provider, error) {
	if cfg.URL == "" {
		return nil, errors.New("url: is missing")
	}
	if err := checkEndpoint(cfg.URL); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if cfg.AccessToken.IsZero() {
		return nil, errors.New("access_token: is missing")
	}
	if !canBeSent(cfg.AccessToken.Reveal()) {
		return nil, errors.New("access_token: has characters that no header can carry")
	}
	// There is no OAuth client here; where grants have one stands whose tokens
	// they are. Another EmailEngine may know somebody else under the same ID.
	cfg.ClientID, cfg.AuthStyle, cfg.Rotation.Kind = strings.TrimRight(cfg.URL, "/"), StyleNone, account.RotationNone
	global := microsoftClouds["global"]
	c, err := newCommon(cfg, transport, own(slices.Concat(googleHosts, []string{global.graph}, global.outlook)...))
	if err != nil {
		return nil, err
	}
	if len(cfg.APIHostsOnly) == 0 {
		c.hosts.fallback = "" // which of the two it would be, is each account's affair
	}
	e := &emailEngine{
		common: c, base: cfg.ClientID,
		microsoft: &microsoft{common: &common{}, cloud: global},
	}
	for _, h := range c.hosts.hosts {
		if _, err := e.hostAudience(strings.TrimPrefix(h.name, ".")); err != nil {
			return nil, fmt.Errorf("api_host: %w", err)
		}
	}
	return e, nil
}

func (e *emailEngine) Covers(string) bool { return false }
func (e *emailEngine) Shared() bool       { return false }

func (e *emailEngine) Scopes() []string            { return nil }
func (e *emailEngine) TokenEndpoint(string) string { return e.base }

func (e *emailEngine) Metadata(context.Context) (Metadata, error) {
	return Metadata{TokenEndpoint: e.base}, nil
}

// DefaultAudience accepts whichever token there is.
func (e *emailEngine) DefaultAudience() string { return "" }

func (e *emailEngine) Audience(resourceOrHost string) (string, error) {
	if resourceOrHost == "" || resourceOrHost == audienceGoogle {
		return resourceOrHost, nil
	}
	host := hostOf(resourceOrHost)
	if _, ok := e.hosts.find(host); !ok {
		return "", fmt.Errorf("%q is not among the API hosts of provider %s", host, e.cfg.Name)
	}
	return e.hostAudience(host)
}

// hostAudience tells whose host it is. A loopback host stands in for any.
func (e *emailEngine) hostAudience(host string) (string, error) {
	name, _ := hostname.SplitPort(host)
	switch APIsAt(TypeEmailEngine, name) {
	case TypeGoogle:
		return audienceGoogle, nil
	case TypeMicrosoft:
		return e.microsoft.canonicalResource("https://" + name), nil
	}
	if hostname.IsLoopback(name) {
		return "", nil
	}
	return "", fmt.Errorf("%q is neither Google's nor Microsoft's, so no token of an EmailEngine is for it", host)
}

func (e *emailEngine) AudienceScopes(_ string, grantScopes []string) []string { return grantScopes }

// MissingScopes is none: the scopes are EmailEngine's affair.
func (e *emailEngine) MissingScopes(_, _ []string) []string { return nil }

func (e *emailEngine) Refresh(ctx context.Context, req account.RefreshRequest) (account.Answer, error) {
	answer, failure := e.ask(ctx, req)
	return answer, asError(spentNothing(failure))
}

// ask asks EmailEngine for the account's token.
func (e *emailEngine) ask(ctx context.Context, req account.RefreshRequest) (account.Answer, *account.Failure) {
	r, err := http.NewRequest(http.MethodGet, e.base+"/v1/account/"+url.PathEscape(req.Account)+"/oauth-token", nil)
	if err != nil {
		return account.Answer{}, &account.Failure{Meaning: account.ClientMisconfigured, Reads: "The URL of EmailEngine is none.", Err: err}
	}
	r.Header.Set("Authorization", "Bearer "+e.cfg.AccessToken.Reveal())
	resp, err := e.client.do(ctx, r)
	if err != nil {
		return account.Answer{}, unanswered(err)
	}
	if resp.tooLarge || resp.status != http.StatusOK {
		return account.Answer{}, e.refused(resp)
	}
	var said emailEngineToken
	if json.Unmarshal(resp.body, &said) != nil {
		return account.Answer{}, oddAnswer(resp, account.ProviderDown, "EmailEngine's answer is not what its token endpoint answers.")
	}
	answer, failure := said.answer(req.Account, resp)
	if failure == nil {
		failure = e.checkAudience(req.Audience, &said)
	}
	if failure != nil {
		return account.Answer{}, failure
	}
	return answer, nil
}

// emailEngineToken is the answer of EmailEngine's token endpoint.
type emailEngineToken struct {
	Account     string   `json:"account"`
	User        string   `json:"user"`
	AccessToken string   `json:"accessToken"`
	Provider    string   `json:"provider"`
	Scopes      []string `json:"registeredScopes"`
	Expires     string   `json:"expires"`
}

// ciphertext is what EmailEngine answers in the place of a token that it cannot
// decrypt.
var ciphertext = regexp.MustCompile(`^\$wd[0-9]+\$`)

func (t *emailEngineToken) answer(id string, resp *response) (account.Answer, *account.Failure) {
	switch {
	case t.Account != id:
		return account.Answer{}, oddAnswer(resp, account.Unlisted, "EmailEngine answered for another account than it was asked for.")
	case t.AccessToken == "":
		f := oddAnswer(resp, account.Unlisted, "EmailEngine has no access token for this account; its authentication server may know a password only.")
		f.Mend = "Give the account an OAuth2 application in EmailEngine."
		return account.Answer{}, f
	case ciphertext.MatchString(t.AccessToken):
		f := oddAnswer(resp, account.ClientMisconfigured, "EmailEngine answered with an encrypted token, which it cannot read itself.")
		f.Mend = "Start EmailEngine with the secret that it was used with before (EENGINE_SECRET)."
		return account.Answer{}, f
	case !canBeSent(t.AccessToken):
		return account.Answer{}, oddAnswer(resp, account.ProviderDown, "EmailEngine answered with an access token that no header can carry.")
	}
	a := account.Answer{AccessToken: secret.New(t.AccessToken), User: legible(t.User), Scopes: t.Scopes, Life: usualLife, Assumed: true}
	now := time.Now()
	if date, err := http.ParseTime(resp.header.Get("Date")); err == nil {
		a.Date, now = date, date // the end is by that clock
	}
	if end, err := time.Parse(time.RFC3339, t.Expires); err == nil {
		a.Life, a.Assumed = min(end.Sub(now), maxLife), false
	}
	if a.Life <= 0 {
		return account.Answer{}, oddAnswer(resp, account.ProviderDown, "EmailEngine answered with a token that has ended.")
	}
	return a, nil
}

// kind is whose APIs the token is for; empty where that is not known.
func (t *emailEngineToken) kind() string {
	switch t.Provider {
	case "gmail", "gmailService":
		return TypeGoogle
	case "outlook", "outlookService":
		return TypeMicrosoft
	}
	return ""
}

// checkAudience refuses a token that is for others than was asked for: it must
// not be shown to them.
func (e *emailEngine) checkAudience(audience string, t *emailEngineToken) *account.Failure {
	refused := func(reads, mend string) *account.Failure {
		return &account.Failure{Meaning: account.AudienceRefused, Reads: reads, Mend: mend}
	}
	const register = "Call that provider's APIs with this account, or register another one for this API."
	switch {
	case audience == "":
		return nil
	case audience == audienceGoogle && t.kind() != TypeGoogle:
		return refused("EmailEngine's token for this account is not for Google's APIs.", register)
	case audience == audienceGoogle:
		return nil
	case t.kind() != TypeMicrosoft:
		return refused("EmailEngine's token for this account is not for Microsoft's APIs.", register)
	}
	// Microsoft's tokens are for one resource each. An app's own, which
	// EmailEngine says no scopes of, is for Graph; where nothing is said else, the
	// API judges: the token is Microsoft's, and so is whoever sees it.
	var resources []string
	for _, scope := range t.Scopes {
		if r := e.microsoft.resourceOf(scope); r != "" && !slices.Contains(resources, r) {
			resources = append(resources, r)
		}
	}
	if len(resources) == 0 && t.Provider == "outlookService" {
		resources = []string{"https://" + e.microsoft.cloud.graph}
	}
	if len(resources) == 0 || slices.Contains(resources, audience) {
		return nil
	}
	return refused("EmailEngine's token for this account is for "+strings.Join(resources, " and ")+" and not for "+audience+".",
		"Give the account's OAuth2 application in EmailEngine the scopes of this API, and connect the account there again.")
}

// refused sorts EmailEngine's error answers, by their code and the members that
// stand beside it.
func (e *emailEngine) refused(resp *response) *account.Failure {
	var said struct {
		Code         string
		TTL          float64 `json:"ttl"`
		TokenRequest struct {
			Response struct {
				Error       string
				Description string `json:"error_description"`
			}
		} `json:"tokenRequest"`
	}
	_ = json.Unmarshal(resp.body, &said) // what is no answer of its own has no code
	f := oddAnswer(resp, account.ProviderDown, "EmailEngine answered with HTTP status "+strconv.Itoa(resp.status)+".")
	f.Code, f.Mend = readable(said.Code), nothingToDo
	switch {
	case resp.tooLarge, resp.status >= 300 && resp.status < 400:
		f.Reads = "What answers at url is no EmailEngine."
		f.Mend = "Check url in the configuration."
	case resp.status == http.StatusTooManyRequests:
		f.Meaning, f.Reads = account.Throttled, "EmailEngine saw too many requests with this access token."
		f.Mend = "Raise the rate limit of the access token in EmailEngine, or take it away."
		if f.RetryAfter == 0 {
			f.RetryAfter = min(time.Duration(said.TTL)*time.Second, maxRetryAfter)
		}
	case said.Code == "OauthRenewError":
		e.renewal(f, said.TokenRequest.Response.Error, said.TokenRequest.Response.Description)
	case said.Code == "InsufficientScope": // Bellhop's, which speaks alike
		f.Meaning, f.Reads, f.Mend = account.AudienceRefused, "EmailEngine has no token with the scopes for this.", reconnect
	case said.Code == "AccountNotOAuth2":
		f.Meaning, f.Reads = account.GrantDead, "In EmailEngine this account signs in with a password, so there is no token."
		f.Mend = "Connect the account in EmailEngine with an OAuth2 application."
	case said.Code == "ApiEndpointDisabled":
		f.Meaning, f.Reads = account.ClientMisconfigured, "EmailEngine's token endpoint is switched off."
		f.Mend = "Switch it on in EmailEngine under Configuration > Security (Allow OAuth2 Token Access via API), or start it with EENGINE_ENABLE_OAUTH_TOKENS_API=true."
	case resp.status == http.StatusUnauthorized:
		f.Meaning, f.Reads = account.ClientMisconfigured, "EmailEngine does not know the access token."
		f.Mend = "Check access_token in the configuration, or create another one in EmailEngine."
	case resp.status == http.StatusForbidden:
		f.Meaning, f.Reads = account.ClientMisconfigured, "EmailEngine does not let the access token have accounts' tokens."
		f.Mend = "Give access_token one that is for all accounts, has the scope api or *, no permissions, and no limit to other addresses."
	case resp.status == http.StatusNotFound:
		f.Meaning, f.Code = account.Unlisted, "AccountNotFound"
		f.Reads, f.Mend = "EmailEngine does not know this account.", "Register the account in EmailEngine, under the same ID."
	}
	return f
}

// renewal sorts what EmailEngine says of a renewal of its own that failed. It
// calls every failure one of authentication; only the authorization server's
// invalid_grant is.
func (e *emailEngine) renewal(f *account.Failure, code, description string) {
	if code != "" {
		f.Code = readable(code)
	}
	if code == "invalid_grant" {
		f.Meaning, f.Reads, f.Mend = account.GrantDead, "The authorization server ended the grant that EmailEngine keeps.", "Connect the account in EmailEngine again."
		if description = description[:min(len(description), searchedWords)]; !slices.ContainsFunc(unbroken.FindAllString(description, -1), tokenLike) {
			f.Description = shortened(description)
		}
		return
	}
	f.Reads = "EmailEngine could not renew the token."
	f.Mend = "See the account and its OAuth2 application in EmailEngine."
}

func (e *emailEngine) Revoke(context.Context, secret.String) error {
	return &noRevocationError{where: "EmailEngine, which keeps the grant: DELETE /v1/account/{account}?revoke=true there"}
}

// Interface guards
var _ Unattended = (*emailEngine)(nil)
