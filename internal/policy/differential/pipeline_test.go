package differential

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/batch"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

var now = time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)

// proxied is what a caller sends: the way of the proxy's path form.
type proxied struct {
	method string
	// hostAndPath is what stands behind the account, and the query.
	hostAndPath string
	// fields are lines of the header.
	fields []string
	body   []byte
}

// request is the call as a server of ours gets it.
func (p *proxied) request() (*http.Request, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /proxy/alice/%s HTTP/1.1\r\nHost: bellhop.internal\r\n", p.method, p.hostAndPath)
	for _, field := range p.fields {
		b.WriteString(field + "\r\n")
	}
	if p.body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(p.body))
	}
	b.WriteString("\r\n")
	b.Write(p.body)
	return http.ReadRequest(bufio.NewReader(&b))
}

// pipeline is what stands between a caller and an API, as far as it says what
// is sent. The fields are replaced by worse ones to see that it is noticed.
type pipeline struct {
	providers map[string]provider.Provider
	judge     func(*policy.Key, *policy.Facts) policy.Decision
	outgoing  func(http.Header, bool)
	checkBody func(policy.Decision, *target.Request, http.Header, []byte) error
	// judgesParts is unset by a pipeline that leaves batches alone.
	judgesParts bool
}

func newPipeline() (*pipeline, error) {
	google, err := provider.New(provider.Config{
		Name: "google", Type: provider.TypeGoogle, ClientID: "none", ClientSecrets: []secret.String{secret.New("none")},
		APIHosts: []provider.APIHost{{Host: "*.googleapis.com", InsecureWildcard: true}, {Host: "*.clients6.google.com", InsecureWildcard: true}},
	}, nil)
	if err != nil {
		return nil, err
	}
	microsoft, err := provider.New(provider.Config{
		Name: "microsoft", Type: provider.TypeMicrosoft, ClientID: "none", ClientSecrets: []secret.String{secret.New("none")}, Tenant: "common",
		Scopes: []string{"https://graph.microsoft.com/Mail.Read"},
	}, nil)
	if err != nil {
		return nil, err
	}
	return &pipeline{
		providers: map[string]provider.Provider{provider.TypeGoogle: google, provider.TypeMicrosoft: clouds{microsoft}},
		judge:     policy.Judge,
		outgoing:  target.Outgoing,
		checkBody: policy.Decision.CheckBody,

		judgesParts: true,
	}, nil
}

// clouds is a provider that lists Microsoft Graph in all its clouds.
type clouds struct{ provider.Provider }

func (c clouds) AllowsHost(host, path string) error {
	if slices.Contains([]string{"graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}, host) {
		return nil
	}
	return c.Provider.AllowsHost(host, path)
}

// arrived is a call that is well formed.
type arrived struct {
	request  target.Request
	kind     batch.Kind
	header   http.Header
	body     []byte
	provider provider.Provider
}

// receive reads a call; what comes back as an error is refused for every key.
func (p *pipeline) receive(call *proxied, providerType string) (*arrived, error) {
	r, err := call.request()
	if err != nil {
		return nil, err
	}
	split, err := target.Parse(r, "https", "bellhop.internal", "/proxy")
	if err != nil {
		return nil, err
	}
	a := &arrived{provider: p.providers[providerType]}
	if a.request, err = split.Resolve(a.provider); err != nil {
		return nil, err
	}
	if a.body, err = io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	a.kind = batch.KindOf(&a.request, providerType)
	a.header = r.Header
	return a, nil
}

// send gives the calls that leave for the API, with a key; none if it is
// refused. A batch is several.
func (p *pipeline) send(key *policy.Key, a *arrived) []sent {
	facts := policy.Facts{Account: "alice", Needs: policy.Proxy, Now: now, Request: &a.request, Envelope: a.kind != batch.None}
	decision := p.judge(key, &facts)
	if !decision.Allowed {
		return nil
	}
	if a.kind != batch.None {
		return p.sendBatch(key, a, facts)
	}
	if p.checkBody(decision, &a.request, a.header, a.body) != nil {
		return nil
	}
	return []sent{p.sentOf(a, a.header, a.body)}
}

func (p *pipeline) sentOf(a *arrived, header http.Header, body []byte) sent {
	url := a.request.URL()
	header = header.Clone()
	p.outgoing(header, false)
	return sent{method: a.request.Method, host: url.Host, path: url.EscapedPath(), query: url.RawQuery, header: header, body: body}
}

func (p *pipeline) sendBatch(key *policy.Key, a *arrived, facts policy.Facts) []sent {
	options := batch.Options{
		Hosts: a.provider, Scheme: a.provider.Scheme,
		Refusal: func(*problem.Problem) (http.Header, []byte) { return http.Header{}, []byte("{}") },
	}
	if p.judgesParts {
		facts.Envelope = false
		options.Judge = p.partJudge(key, facts)
	}
	e, err := batch.Read(&a.request, a.kind, a.header, bytes.NewReader(a.body), options)
	if err != nil || e.Empty() {
		return nil
	}
	contentType, body := e.Body()
	header := a.header.Clone()
	header.Set("Content-Type", contentType)
	envelope := p.sentOf(a, header, body)
	if a.kind == batch.Graph {
		return graphParts(&envelope)
	}
	return googleParts(&envelope)
}

func (p *pipeline) partJudge(key *policy.Key, facts policy.Facts) func(*target.Request, http.Header, []byte) error {
	return func(part *target.Request, header http.Header, body []byte) error {
		of := facts
		of.Request = part
		decision := p.judge(key, &of)
		if err := decision.Problem(); err != nil {
			return err
		}
		return p.checkBody(decision, part, header, body)
	}
}

// isGoogle tells the two families of hosts apart.
func isGoogle(host string) bool {
	return strings.HasSuffix(host, "googleapis.com") || strings.HasSuffix(host, ".google.com")
}
