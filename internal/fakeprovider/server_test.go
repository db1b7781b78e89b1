package fakeprovider

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// fixture is a server on a socket with the calls that tests make of it.
type fixture struct {
	*Server
	*Listening
	t         *testing.T
	transport *http.Transport
}

// clockStart is where the fixture's clock stands; only Advance moves it.
var clockStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func start(t *testing.T, opts Options) fixture {
	t.Helper()
	opts.Now = func() time.Time { return clockStart }
	server := New(opts)
	listening, err := server.Listen(ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := listening.Close(); err != nil {
			t.Error(err)
		}
	})
	return fixture{Server: server, Listening: listening, t: t, transport: transport}
}

func (f fixture) control() Control {
	return Control{BaseURL: f.URL, HTTP: &http.Client{Transport: f.transport}}
}

// grant adds a grant of the default client.
func (f fixture) grant(g Grant) GrantState {
	f.t.Helper()
	state, err := f.CreateGrant(g)
	if err != nil {
		f.t.Fatal(err)
	}
	return state
}

func (f fixture) queue(faults ...Fault) {
	f.t.Helper()
	if _, err := f.QueueFaults(faults...); err != nil {
		f.t.Fatal(err)
	}
}

// tokenAnswer is what the token endpoint said.
type tokenAnswer struct {
	Status       int
	Header       http.Header
	Raw          string
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int    `json:"expires_in"`
	Scope        string `json:"scope"`
	TokenType    string `json:"token_type"`
	Error        string `json:"error"`
	Suberror     string `json:"suberror"`
	Description  string `json:"error_description"`
	Codes        []int  `json:"error_codes"`
}

// doToken sends form to a token endpoint as the default client unless the form
// names another.
func (f fixture) doToken(path string, form url.Values) (tokenAnswer, error) {
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return tokenAnswer{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !form.Has("client_id") {
		request.SetBasicAuth(DefaultClient.ID, DefaultClient.Secrets[0])
	}
	response, err := f.transport.RoundTrip(request)
	if err != nil {
		return tokenAnswer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	answer := tokenAnswer{Status: response.StatusCode, Header: response.Header, Raw: string(body)}
	if err != nil {
		return answer, err
	}
	_ = json.Unmarshal(body, &answer) // tests of nonsense look at Raw
	return answer, nil
}

func (f fixture) token(form url.Values) tokenAnswer {
	f.t.Helper()
	answer, err := f.doToken("/token", form)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer
}

func (f fixture) refreshWith(refreshToken string) tokenAnswer {
	f.t.Helper()
	return f.token(refreshForm(refreshToken))
}

func refreshForm(refreshToken string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
}

func with(form url.Values, name, value string) url.Values {
	form.Set(name, value)
	return form
}

// apiAnswer is the head of an answer whose body was read.
type apiAnswer struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// call sends an API request with an access token.
func (f fixture) call(method, target, accessToken string, body io.Reader) (answer apiAnswer, text string) {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.URL+target, body)
	if err != nil {
		f.t.Fatal(err)
	}
	if accessToken != "" {
		request.Header.Set("Authorization", "Bearer "+accessToken)
	}
	response, err := f.transport.RoundTrip(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return apiAnswer{response.StatusCode, response.Header, response.ContentLength}, string(read)
}

func (f fixture) apiStatus(accessToken string) int {
	f.t.Helper()
	response, _ := f.call(http.MethodGet, "/gmail/v1/users/me/profile", accessToken, nil)
	return response.StatusCode
}

func (a tokenAnswer) wantIssued(t *testing.T) {
	t.Helper()
	if a.Status != http.StatusOK || a.AccessToken == "" {
		t.Fatalf("got %d %s, want an access token", a.Status, a.Raw)
	}
}

func (a tokenAnswer) wantError(t *testing.T, status int, code string) {
	t.Helper()
	if a.Status != status || a.Error != code {
		t.Fatalf("got %d %s, want %d %s", a.Status, a.Raw, status, code)
	}
	if a.AccessToken != "" {
		t.Fatal("error answer has an access token")
	}
}

func TestResetRestoresHowTheServerStarted(t *testing.T) {
	f := start(t, Options{TokenLife: time.Hour})
	state := f.grant(Grant{})
	f.refreshWith(state.RefreshToken).wantIssued(t)
	f.queue(Fault{Kind: Drop})
	f.Advance(time.Hour)
	if err := f.Configure(func(s *Settings) error { s.TokenLife = 1; return nil }); err != nil {
		t.Fatal(err)
	}

	f.Reset()

	f.token(refreshForm(state.RefreshToken)).wantError(t, http.StatusBadRequest, "invalid_grant")
	if got := f.Advance(0); !got.Equal(clockStart) {
		t.Errorf("clock is %v, want %v", got, clockStart)
	}
	if got := f.Settings().TokenLife; time.Duration(got) != time.Hour {
		t.Errorf("token life is %v, want an hour", time.Duration(got))
	}
	if got := f.Stats().TokenRequests; got != 1 {
		t.Errorf("%d token requests are counted, want the one after the reset", got)
	}
	if len(f.Grants(false)) != 0 || len(f.Faults()) != 0 {
		t.Error("grants or faults are left")
	}
}
