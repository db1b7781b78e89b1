package fakeprovider

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// live returns an access token of a new grant.
func (f fixture) live() string {
	f.t.Helper()
	answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
	answer.wantIssued(f.t)
	return answer.AccessToken
}

func decodeAs[T any](t *testing.T, body string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(body), &value); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return value
}

func TestAPIRefusesAllButLiveBearerTokens(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	refused := map[string][]string{
		"none":       nil,
		"unknown":    {"Bearer ya29.fake-unknown"},
		"basic":      {"Basic " + token},
		"bare":       {token},
		"two fields": {"Bearer " + token, "Bearer " + token},
	}
	for _, target := range []string{"/gmail/v1/users/me/profile", "/v1.0/me", "/echo/x", "/bytes/3", "/sse?count=1", "/status/204"} {
		for name, values := range refused {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header["Authorization"] = values
			response, err := f.transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s with %s: got %d, WWW-Authenticate %q", target, name, response.StatusCode, response.Header.Get("WWW-Authenticate"))
			}
		}
		if response, body := f.call(http.MethodGet, target, token, nil); response.StatusCode >= 300 {
			t.Errorf("%s with a live token: got %d %s", target, response.StatusCode, body)
		}
	}
	if got := f.Stats(); got.APICalls != 6 || got.APIUnauthorized != 30 {
		t.Errorf("counted %d calls and %d without a token, want 6 and 30", got.APICalls, got.APIUnauthorized)
	}
}

func TestAPIRefusesTokensForAnotherAudience(t *testing.T) {
	f := start(t, Options{})
	f.registerMicrosoft()
	refreshToken := f.grant(Grant{Client: "ms", Scope: twoAudiences}).RefreshToken
	graph := f.token(microsoftForm(refreshToken, "https://graph.microsoft.com/Mail.Read"))
	outlook := f.token(microsoftForm(graph.RefreshToken, "https://outlook.office.com/.default"))
	for _, test := range []struct {
		target, token string
		want          int
	}{
		{"/v1.0/me", graph.AccessToken, 200},
		{"/v1.0/me", outlook.AccessToken, 401},
		{"/gmail/v1/users/me/profile", graph.AccessToken, 401},
		{"/echo/", outlook.AccessToken, 200},
	} {
		if response, _ := f.call(http.MethodGet, test.target, test.token, nil); response.StatusCode != test.want {
			t.Errorf("%s: got %d, want %d", test.target, response.StatusCode, test.want)
		}
	}
}

func TestAPIErrorsSpeakTheAPIsDialect(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	type google struct {
		Error struct {
			Code   int
			Status string
			Errors []struct{ Reason string }
		}
	}
	type graph struct {
		Error struct {
			Code       string
			InnerError map[string]string
		}
	}
	_, body := f.call(http.MethodGet, "/gmail/v1/users/me/messages/none", token, nil)
	if got := decodeAs[google](t, body).Error; got.Code != 404 || got.Status != "NOT_FOUND" || got.Errors[0].Reason != "notFound" {
		t.Errorf("Gmail answers %s", body)
	}
	_, body = f.call(http.MethodGet, "/gmail/v1/users/me/profile", "", nil)
	if got := decodeAs[google](t, body).Error; got.Code != 401 || got.Status != "UNAUTHENTICATED" {
		t.Errorf("Gmail answers %s", body)
	}
	response, body := f.call(http.MethodGet, "/v1.0/nowhere", token, nil)
	if got := decodeAs[graph](t, body).Error; response.StatusCode != 404 || got.Code != "ResourceNotFound" || got.InnerError["request-id"] == "" {
		t.Errorf("Graph answers %s", body)
	}
	_, body = f.call(http.MethodGet, "/v1.0/me", "", nil)
	if got := decodeAs[graph](t, body).Error; got.Code != "InvalidAuthenticationToken" {
		t.Errorf("Graph answers %s", body)
	}
}

func TestGmailListReachesEveryMessageOnce(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	type list struct {
		Messages           []struct{ ID string }
		NextPageToken      string
		ResultSizeEstimate int
	}
	seen := map[string]bool{}
	query, pages := url.Values{"maxResults": {"70"}}, 0
	for {
		_, body := f.call(http.MethodGet, "/gmail/v1/users/me/messages?"+query.Encode(), token, nil)
		page := decodeAs[list](t, body)
		if page.ResultSizeEstimate != mailboxSize {
			t.Fatalf("resultSizeEstimate is %d", page.ResultSizeEstimate)
		}
		for _, m := range page.Messages {
			seen[m.ID] = true
		}
		pages++
		if page.NextPageToken == "" {
			break
		}
		query.Set("pageToken", page.NextPageToken)
	}
	if pages != 4 || len(seen) != mailboxSize {
		t.Errorf("%d messages on %d pages, want %d on 4", len(seen), pages, mailboxSize)
	}
	for id := range seen {
		if response, body := f.call(http.MethodGet, "/gmail/v1/users/me/messages/"+id, token, nil); response.StatusCode != 200 {
			t.Fatalf("message %s: got %d %s", id, response.StatusCode, body)
		}
		break
	}
}

func TestGmailSendTakesMessagesAlone(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	raw := func(text string) string {
		return fmt.Sprintf(`{"raw":%q}`, base64.URLEncoding.EncodeToString([]byte(text)))
	}
	const path = "/gmail/v1/users/me/messages/send"
	for name, body := range map[string]string{
		"no JSON":      "To: a@example.com\r\n\r\n",
		"no base64url": `{"raw":"%%%"}`,
		"no message":   raw("hello"),
		"no recipient": raw("Subject: x\r\n\r\nhello"),
	} {
		if response, _ := f.call(http.MethodPost, path, token, strings.NewReader(body)); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 400", name, response.StatusCode)
		}
	}
	if got := f.Stats().Sent; got != 0 {
		t.Fatalf("%d messages were sent", got)
	}
	response, body := f.call(http.MethodPost, path, token, strings.NewReader(raw("To: a@example.com\r\n\r\nhello")))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("got %d %s", response.StatusCode, body)
	}
	sent := decodeAs[struct{ ID string }](t, body)
	if response, body := f.call(http.MethodGet, "/gmail/v1/users/me/messages/"+sent.ID, token, nil); response.StatusCode != 200 || !strings.Contains(body, "SENT") {
		t.Errorf("sent message: got %d %s", response.StatusCode, body)
	}
	if got := f.Stats().Sent; got != 1 {
		t.Errorf("%d messages were sent, want 1", got)
	}
}

func TestGmailKnowsItsOwnUserAlone(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for user, want := range map[string]int{"me": 200, "g1@example.com": 200, "bob@example.com": 403} {
		if response, _ := f.call(http.MethodGet, "/gmail/v1/users/"+user+"/profile", token, nil); response.StatusCode != want {
			t.Errorf("%s: got %d, want %d", user, response.StatusCode, want)
		}
	}
}

func TestGraphNextLinkIsAtTheRealHost(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	type page struct {
		Context string `json:"@odata.context"`
		Next    string `json:"@odata.nextLink"`
		Value   []struct{ ID string }
	}
	_, body := f.call(http.MethodGet, "/v1.0/me/messages?$select=id&$top=100&%24skip=100", token, nil)
	got := decodeAs[page](t, body)
	if want := "https://graph.microsoft.com/v1.0/me/messages?$select=id&$top=100&$skip=200"; got.Next != want {
		t.Errorf("nextLink is %s, want %s", got.Next, want)
	}
	if got.Context == "" || len(got.Value) != 100 {
		t.Errorf("context %q, %d messages", got.Context, len(got.Value))
	}
	target := strings.TrimPrefix(got.Next, "https://graph.microsoft.com")
	_, body = f.call(http.MethodGet, target, token, nil)
	if last := decodeAs[page](t, body); last.Next != "" || len(last.Value) != mailboxSize-200 {
		t.Errorf("last page has %d messages and next %q", len(last.Value), last.Next)
	}
}

func TestGraphLargeAnswer(t *testing.T) {
	f := start(t, Options{})
	response, body := f.call(http.MethodGet, LargePath, f.live(), nil)
	if len(body) < largeSize || len(body) > largeSize*11/10 || response.ContentLength != int64(len(body)) {
		t.Errorf("%d bytes, Content-Length %d", len(body), response.ContentLength)
	}
	if got := decodeAs[map[string]any](t, body); got["@odata.nextLink"] == nil {
		t.Error("no nextLink")
	}
}

func TestEchoShowsTheRequestAsItArrived(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	connection, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	const target = "/echo/a//b/../%2e%2F?x=%zz&y=1;2"
	fmt.Fprintf(connection, "PATCH %s HTTP/1.1\r\nHost: gmail.googleapis.com\r\nAuthorization: Bearer %s\r\nX-Two: a\r\nX-Two: b\r\n"+
		"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n", target, token)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got Echo
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("hello"))
	want := Echo{
		Method: "PATCH", Target: target, Proto: "HTTP/1.1", Host: "gmail.googleapis.com",
		Header: http.Header{
			"Authorization": {"access token 1 of grant g1"}, "X-Two": {"a", "b"}, "Connection": {"close"},
		},
		TransferEncoding: []string{"chunked"}, ContentLength: -1,
		BodyLength: 5, BodySHA256: hex.EncodeToString(digest[:]), Trailer: http.Header{"X-Sum": {"42"}},
		Grant: "g1", AccessTokenNumber: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEchoShowsAuthorizationWhenTold(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	if err := f.Configure(func(s *Settings) error { s.EchoAuthorization = true; return nil }); err != nil {
		t.Fatal(err)
	}
	_, body := f.call(http.MethodGet, "/echo/", token, nil)
	if got := decodeAs[Echo](t, body).Header.Get("Authorization"); got != "Bearer "+token {
		t.Errorf("Authorization is %q", got)
	}
}

func TestBytesAnswersAsManyAndItsRanges(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	const n = 100_003
	want, err := io.ReadAll(Bytes(n))
	if err != nil {
		t.Fatal(err)
	}
	if _, body := f.call(http.MethodGet, fmt.Sprintf("/bytes/%d", n), token, nil); len(body) != n || body != string(want) {
		t.Errorf("got %d bytes", len(body))
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/bytes/%d", f.URL, n), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Range", "bytes=27640-27659")
	response, err := f.transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	part, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusPartialContent || string(part) != string(want[27640:27660]) {
		t.Errorf("got %d %q, want %q", response.StatusCode, part, want[27640:27660])
	}
}

func TestEventsComeOneByOne(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	response, body := f.call(http.MethodGet, "/sse?count=3&interval=1ms", token, nil)
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type is %q", got)
	}
	if want := "id: 1\ndata: event 1\n\nid: 2\ndata: event 2\n\nid: 3\ndata: event 3\n\n"; body != want {
		t.Errorf("got %q", body)
	}

	// The first event arrives though the second is an hour away.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/sse?interval=1h", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	streaming, err := f.transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer streaming.Body.Close()
	line, err := bufio.NewReader(streaming.Body).ReadString('\n')
	if err != nil || line != "id: 1\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestStatusAnswersWhatIsAskedFor(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for _, code := range []int{200, 204, 302, 304, 308, 418, 429, 503} {
		response, _ := f.call(http.MethodGet, fmt.Sprintf("/status/%d?location=/else&retry_after=9", code), token, nil)
		if response.StatusCode != code || response.Header.Get("Location") != "/else" || response.Header.Get("Retry-After") != "9" {
			t.Errorf("%d: got %d %v", code, response.StatusCode, response.Header)
		}
	}
	if response, _ := f.call(http.MethodGet, "/status/100", token, nil); response.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d, want 400", response.StatusCode)
	}
}
