package policy

import (
	"bufio"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// anyHost is a provider that lists every host.
type anyHost struct{}

func (anyHost) DefaultHost() string             { return "" }
func (anyHost) AllowsHost(string, string) error { return nil }
func (anyHost) DAV(string, string) bool         { return false }

// noSend are keys that must not send, one that says what is allowed and one
// that says what is not.
var noSend = map[string][]Rule{
	"allowing": mustParse(
		"GET,HEAD gmail.googleapis.com/gmail/v1/**",
		"POST gmail.googleapis.com/gmail/v1/users/me/drafts",
		"GET,HEAD graph.microsoft.com/v1.0/**",
		"POST graph.microsoft.com/v1.0/me/messages",
		"PATCH graph.microsoft.com/v1.0/me/messages/*",
		"!POST gmail.googleapis.com/**/send",
		"!POST graph.microsoft.com/**/send",
	),
	"forbidding": mustParse(
		"!POST gmail.googleapis.com/gmail/v1/users/me/**/send",
		"!POST graph.microsoft.com/v1.0/me/sendMail",
		"!POST graph.microsoft.com/v1.0/me/**/send",
		"!POST graph.microsoft.com/v1.0/me/**/reply",
		"!POST graph.microsoft.com/v1.0/me/**/replyAll",
		"!POST graph.microsoft.com/v1.0/me/**/forward",
	),
}

// canonical is a call as it goes to an API, if it does.
func canonical(method, hostAndPath string) (target.Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " /proxy/alice/" + hostAndPath + " HTTP/1.1\r\nHost: bellhop.internal\r\n\r\n")))
	if err != nil {
		return target.Request{}, err
	}
	split, err := target.Parse(r, "https", "bellhop.internal", "/proxy")
	if err != nil {
		return target.Request{}, err
	}
	return split.Resolve(anyHost{})
}

func TestNoSendKeyTriesInVain(t *testing.T) {
	text, err := os.ReadFile("testdata/no-send.txt")
	if err != nil {
		t.Fatal(err)
	}
	tricks := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		allowed := fields[0] == "+"
		request, err := canonical(fields[1], fields[2])
		if err != nil {
			if allowed {
				t.Errorf("%s: %v", line, err)
			}
			tricks++
			continue
		}
		for name, rules := range noSend {
			key := Key{Accounts: []string{"*"}, Rules: rules}
			got := Judge(&key, &Facts{Account: "alice", Needs: Proxy, Now: now, Request: &request})
			if got.Allowed != allowed {
				t.Errorf("%s %s: %+v", name, line, got)
			}
		}
		if !allowed {
			tricks++
		}
	}
	if tricks < 60 {
		t.Errorf("only %d tricks", tricks)
	}
}
