package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// cloud is one of Microsoft's, with the resources of a tenant in it.
type cloud struct {
	name string
	// hosts are the API hosts, each with the audience of its tokens.
	hosts map[string]string
	// scopes are one of each resource.
	scopes []string
	// extra are api_host lines.
	extra []string
}

var clouds = []cloud{
	{
		name: "global",
		hosts: map[string]string{
			"graph.microsoft.com": "graph.microsoft.com", "outlook.office.com": "outlook.office.com", "outlook.office365.com": "outlook.office.com",
			"contoso.sharepoint.com": "contoso.sharepoint.com", "contoso-my.sharepoint.com": "contoso-my.sharepoint.com",
		},
		scopes: []string{
			"https://graph.microsoft.com/Mail.Read", "https://outlook.office.com/IMAP.AccessAsUser.All",
			"https://contoso.sharepoint.com/AllSites.Read", "https://contoso-my.sharepoint.com/MyFiles.Read",
		},
		extra: []string{"contoso.sharepoint.com", "contoso-my.sharepoint.com"},
	},
	{
		name: "usgov",
		hosts: map[string]string{
			"graph.microsoft.us": "graph.microsoft.us", "outlook.office365.us": "outlook.office365.us", "contoso.sharepoint.us": "contoso.sharepoint.us",
		},
		scopes: []string{"https://graph.microsoft.us/Mail.Read", "https://outlook.office365.us/IMAP.AccessAsUser.All", "https://contoso.sharepoint.us/AllSites.Read"},
		extra:  []string{"contoso.sharepoint.us"},
	},
	{
		name:   "usgov-dod",
		hosts:  map[string]string{"dod-graph.microsoft.us": "dod-graph.microsoft.us"},
		scopes: []string{"https://dod-graph.microsoft.us/Mail.Read"},
	},
	{
		name:   "china",
		hosts:  map[string]string{"microsoftgraph.chinacloudapi.cn": "microsoftgraph.chinacloudapi.cn", "partner.outlook.cn": "partner.outlook.cn"},
		scopes: []string{"https://microsoftgraph.chinacloudapi.cn/Mail.Read", "https://partner.outlook.cn/IMAP.AccessAsUser.All"},
	},
}

// consented is a site whose accounts are at each of Microsoft's clouds. Their
// IDs are the clouds' names.
type consented struct {
	*lifecycle
	key string
}

// startClouds runs one configuration with all clouds in it. granted are the
// scopes that each account has consented to.
func startClouds(t *testing.T, granted func(cloud) []string) *consented {
	t.Helper()
	c := &consented{lifecycle: &lifecycle{clock: useFakeClock(t), provider: startProvider(t), grants: map[string]string{}}}
	var providers, upstreams strings.Builder
	for _, cloud := range clouds {
		fmt.Fprintf(&providers, "provider %s microsoft {\ncloud %s\ntenant contoso.example\nclient_id at-%s\nclient_secret bellhop-secret\ntoken_endpoint %s/%s/oauth2/v2.0/token\nrotation single_use\nscopes %s\n",
			cloud.name, cloud.name, cloud.name, c.provider.URL, "contoso.example", strings.Join(cloud.scopes, " "))
		for _, host := range cloud.extra {
			fmt.Fprintf(&providers, "api_host %s\n", host)
		}
		providers.WriteString("}\n")
		for host := range cloud.hosts {
			fmt.Fprintf(&upstreams, "upstream %s %s\n", host, c.provider.URL)
		}
		err := c.provider.RegisterClient(t.Context(), fakeprovider.Client{ID: "at-" + cloud.name, Secrets: []string{"bellhop-secret"}, Dialect: fakeprovider.Microsoft})
		if err != nil {
			t.Fatal(err)
		}
	}
	c.bellhop = start(t, "{\nadmin unix/{{dir}}/admin.sock|0600\npersist_config off\nauto_https off\nbellhop {\nstore badger {{dir}}/store\nkeyset {{dir}}/keyset.json\n"+
		providers.String()+"}\n}\nhttp://{{addr}} {\nbind 127.0.0.1\nbellhop {\ntoken_endpoint\nproxy {\n"+upstreams.String()+"}\n}\n}\n")
	for _, cloud := range clouds {
		id, refreshToken := c.provider.grant(t, fakeprovider.Grant{Client: "at-" + cloud.name, Scope: strings.Join(granted(cloud), " ")})
		c.grants[cloud.name] = id
		c.addAccount(cloud.name, cloud.name, "someone@contoso.example", refreshToken)
	}
	c.key = c.addKey("all", map[string]any{"accounts": []string{"*"}})
	return c
}

// echo calls a host and returns whose token arrived there, and for what it is.
func (c *consented) echo(account, host string) (grant, audience string, err error) {
	r, err := c.send(c.t.Context(), http.MethodGet, "/proxy/"+account+"/"+host+"/echo/x", nil, "Authorization", "Bearer "+c.key)
	if err != nil || r.status != http.StatusOK {
		return "", "", fmt.Errorf("%s at %s: %d %s, %w", account, host, r.status, r.body, err)
	}
	var e fakeprovider.Echo
	if err := json.Unmarshal(r.body, &e); err != nil {
		return "", "", err
	}
	state, err := c.provider.Grant(c.t.Context(), e.Grant, false)
	if err != nil {
		return "", "", err
	}
	i := slices.IndexFunc(state.AccessTokens, func(t fakeprovider.AccessTokenState) bool { return t.Number == e.AccessTokenNumber })
	if e.Host != host || i < 0 {
		return "", "", fmt.Errorf("%s: reached %s with token %d, live are %v", host, e.Host, e.AccessTokenNumber, state.AccessTokens)
	}
	return e.Grant, state.AccessTokens[i].Audience, nil
}

func TestEachHostGetsTheTokenOfItsOwnResource(t *testing.T) {
	c := startClouds(t, func(cloud cloud) []string {
		return append([]string{"offline_access", "openid", "profile"}, cloud.scopes...)
	})
	const rounds = 3
	for round := range rounds {
		if round > 0 {
			c.advance(expired)
		}
		var wg sync.WaitGroup
		for _, cloud := range clouds {
			for host, want := range cloud.hosts {
				for range 5 {
					wg.Go(func() {
						grant, audience, err := c.echo(cloud.name, host)
						if err != nil || grant != c.grants[cloud.name] || audience != want {
							t.Errorf("%s at %s: a token of %s for %s, %v", cloud.name, host, grant, audience, err)
						}
					})
				}
			}
		}
		wg.Wait()
	}
	log, err := c.provider.TokenRequests(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	presented, requests := map[string]bool{}, map[string]int{}
	for _, request := range log {
		token := fmt.Sprintf("%s %d", request.Grant, request.RefreshTokenNumber)
		if presented[token] || request.Outcome != fakeprovider.OutcomeRotated || request.InFlight != 1 {
			t.Errorf("token request %+v", request)
		}
		presented[token] = true
		requests[request.Client+" "+request.Audience]++
		if resources := resourcesOf(request.Scope); !slices.Equal(resources, []string{request.Audience}) {
			t.Errorf("a token request for %v: %s", resources, request.Scope)
		}
	}
	want := map[string]int{}
	for _, cloud := range clouds {
		for _, audience := range cloud.hosts {
			want["at-"+cloud.name+" "+audience] = rounds
		}
	}
	if diff := cmp.Diff(want, requests); diff != "" {
		t.Errorf("token requests by client and audience: %s", diff)
	}
	for _, cloud := range clouds {
		c.alive(cloud.name)
	}
}

// resourcesOf are the hosts that scopes are of, each once.
func resourcesOf(scope string) []string {
	resources := map[string]bool{}
	for s := range strings.FieldsSeq(scope) {
		if rest, ok := strings.CutPrefix(s, "https://"); ok {
			host, _, _ := strings.Cut(rest, "/")
			resources[host] = true
		}
	}
	return slices.Sorted(maps.Keys(resources))
}

func TestNoTokenGoesToAnotherCloud(t *testing.T) {
	c := startClouds(t, func(cloud cloud) []string { return cloud.scopes })
	for _, own := range clouds {
		for _, other := range clouds {
			for host := range other.hosts {
				if _, ok := own.hosts[host]; ok || own.name == "usgov-dod" && host == "outlook.office365.us" {
					continue
				}
				wantProblem(t, c.get("/proxy/"+own.name+"/"+host+"/echo/x", c.key), problem.HostNotAllowed)
			}
		}
	}
	for _, host := range []string{"fabrikam.sharepoint.com", "contoso.sharepoint.com.evil.example", "contoso-admin.sharepoint.com", "sharepoint.com"} {
		wantProblem(t, c.get("/proxy/global/"+host+"/echo/x", c.key), problem.HostNotAllowed)
	}
	if n := c.provider.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests for calls that go nowhere", n)
	}
}

func TestAResourceWithoutConsentIsNamed(t *testing.T) {
	c := startClouds(t, func(cloud cloud) []string {
		return append([]string{"offline_access"}, slices.DeleteFunc(slices.Clone(cloud.scopes), func(scope string) bool { return strings.Contains(scope, "sharepoint") })...)
	})
	for account, missing := range map[string]string{"global": "contoso.sharepoint.com", "usgov": "contoso.sharepoint.us"} {
		for range 20 {
			r := c.get("/proxy/"+account+"/"+missing+"/_api/web", c.key)
			wantProblem(t, r, problem.InsufficientScope)
			if !strings.Contains(string(r.body), "https://"+missing+"/AllSites.Read") {
				t.Fatalf("not said what to consent to: %s", r.body)
			}
		}
	}
	log, err := c.provider.TokenRequests(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if len(log) != 2 {
		t.Errorf("%d token requests, want one of each account: %+v", len(log), log)
	}
	for _, account := range []string{"global", "usgov"} {
		host := map[string]string{"global": "graph.microsoft.com", "usgov": "graph.microsoft.us"}[account]
		if grant, audience, err := c.echo(account, host); err != nil || grant != c.grants[account] || audience != host {
			t.Errorf("the other resources of %s: a token of %s for %s, %v", account, grant, audience, err)
		}
		c.alive(account)
	}
}
