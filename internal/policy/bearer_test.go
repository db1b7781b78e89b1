package policy

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestBearer(t *testing.T) {
	const basic = "Basic dXNlcjpwYXNz" // user:pass
	for _, c := range []struct {
		name     string
		header   http.Header
		query    string
		queryKey bool
		key      string
		source   Source
		code     problem.Code
	}{
		{name: "nothing", code: problem.MissingKey},
		{name: "own header", header: http.Header{"X-Bellhop-Key": {"a"}}, key: "a", source: KeyHeader},
		{name: "own header before all", header: http.Header{"X-Bellhop-Key": {"a"}, "X-Goog-Api-Key": {"bh_b"}, "Authorization": {"Bearer c"}}, key: "a", source: KeyHeader},
		{name: "empty own header", header: http.Header{"X-Bellhop-Key": {""}, "Authorization": {"Bearer c"}}, key: "c", source: BearerToken},
		{name: "Google header", header: http.Header{"X-Goog-Api-Key": {"bh_b"}, "Authorization": {"Bearer c"}}, key: "bh_b", source: GoogleHeader},
		{name: "Google's own key", header: http.Header{"X-Goog-Api-Key": {"AIza"}, "Authorization": {"Bearer c"}}, key: "c", source: BearerToken},
		{name: "Google's own key alone", header: http.Header{"X-Goog-Api-Key": {"AIza"}}, code: problem.MissingKey},
		{name: "bearer", header: http.Header{"Authorization": {"Bearer c"}}, key: "c", source: BearerToken},
		{name: "bearer in any case", header: http.Header{"Authorization": {"bEARER  c "}}, key: "c", source: BearerToken},
		{name: "bearer without token", header: http.Header{"Authorization": {"Bearer "}}, code: problem.MissingKey},
		{name: "scheme alone", header: http.Header{"Authorization": {"Bearer"}}, code: problem.MissingKey},
		{name: "basic", header: http.Header{"Authorization": {basic}}, key: "pass", source: BasicAuth},
		{name: "basic without password", header: http.Header{"Authorization": {"Basic dXNlcjo="}}, code: problem.MissingKey},
		{name: "basic that is no base64", header: http.Header{"Authorization": {"Basic !"}}, code: problem.MissingKey},
		{name: "other scheme", header: http.Header{"Authorization": {"Digest c"}}, code: problem.MissingKey},
		{name: "own header twice", header: http.Header{"X-Bellhop-Key": {"a", "b"}}, code: problem.InvalidRequest},
		{name: "Google header twice", header: http.Header{"X-Goog-Api-Key": {"AIza", "bh_b"}}, code: problem.InvalidRequest},
		{name: "authorization twice", header: http.Header{"Authorization": {"Bearer c", "Bearer c"}, "X-Bellhop-Key": {"a"}}, code: problem.InvalidRequest},
		{name: "query not asked for", query: "access_token=q", code: problem.MissingKey},
		{name: "query", query: "a=1&access_token=q%2B", queryKey: true, key: "q+", source: QueryKey},
		{name: "query after header", header: http.Header{"Authorization": {"Bearer c"}}, query: "access_token=q", queryKey: true, key: "c", source: BearerToken},
		{name: "query twice", query: "access_token=q&access_token=r", queryKey: true, code: problem.InvalidRequest},
		{name: "query with another parameter", query: "token=q", queryKey: true, code: problem.MissingKey},
		{name: "malformed query", query: "access_token=%zz", queryKey: true, code: problem.InvalidRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/v1/account/a/oauth-token", nil)
			r.URL.RawQuery = c.query
			if c.header != nil {
				r.Header = c.header
			}
			key, source, err := Bearer(r, c.queryKey)
			if c.code != "" {
				p := problem.From(err)
				if err == nil || p.Code != c.code {
					t.Fatalf("got %q, %v, want %s", key, err, c.code)
				}
				if want := p.Status == http.StatusUnauthorized; (p.Challenge == "Bearer") != want {
					t.Errorf("status %d has the challenge %q", p.Status, p.Challenge)
				}
				return
			}
			if err != nil || key != c.key || source != c.source {
				t.Errorf("got %q from %q, %v; want %q from %q", key, source, err, c.key, c.source)
			}
		})
	}
}

func TestBearerDoesNotAllocateForAHeader(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+vectors[0])
	n := testing.AllocsPerRun(100, func() {
		if key, _, err := Bearer(r, true); err != nil || key != vectors[0] {
			t.Fatal(key, err)
		}
	})
	if n > 0 {
		t.Errorf("Bearer allocates %v times", n)
	}
}
