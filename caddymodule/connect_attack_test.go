package caddymodule

import (
	"bytes"
	"context"
	"maps"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// A server that sees a code again ends what it brought (RFC 6749 section
// 4.1.2), and a page that takes its time is reloaded.
func TestACallbackThatIsReloadedSendsItsCodeOnce(t *testing.T) {
	s := startConnectSite(t)
	v, impatient := s.visitor(), s.visitor()
	callback := v.decide(v.begin(s.invites(consent.Link{Account: "alice", Provider: "acme"})), fakeprovider.Decision{})
	maps.Copy(impatient.cookies, v.cookies)
	if _, err := s.provider.QueueFaults(t.Context(), fakeprovider.Fault{GrantType: "authorization_code", Gate: "slow", Commit: true}); err != nil {
		t.Fatal(err)
	}
	first := make(chan reply)
	go func() { first <- v.visit(http.MethodGet, callback, nil) }()
	waiting, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.provider.AwaitHeld(waiting, "slow", 1); err != nil {
		t.Fatal(err)
	}
	s.shows(impatient.visit(http.MethodGet, callback, nil), http.StatusBadRequest, "Open the link again in a moment")
	if _, err := s.provider.Release(t.Context(), "slow"); err != nil {
		t.Fatal(err)
	}
	s.shows(<-first, http.StatusOK, "Your account is connected")
	grants, err := s.provider.Grants(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range grants {
		if g.Dead {
			t.Errorf("the provider has ended the grant: %+v", g)
		}
	}
	s.inNoLog()
}

// Bodies of requests that have none are neither believed nor kept on the disk.
func TestALookIsReadWithoutItsBody(t *testing.T) {
	s := startConnectSite(t)
	link := s.invites(consent.Link{Account: "alice", Provider: "microsoft"})
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := form.WriteField("admin", "1"); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	r := s.do(http.MethodGet, link, bytes.NewReader(body.Bytes()), "Content-Type", form.FormDataContentType())
	s.shows(r, http.StatusOK, "Connect your Microsoft account")
	r = s.do(http.MethodPost, link, bytes.NewReader(body.Bytes()), "Content-Type", form.FormDataContentType())
	if at := r.header.Get("Location"); r.status != http.StatusSeeOther || strings.Contains(at, "adminconsent") {
		t.Errorf("%d to %s", r.status, at)
	}
}

func TestWhoWasNotConfirmedIsForgotten(t *testing.T) {
	s := startConnectSite(t)
	invite := func() string {
		return s.invites(consent.Link{Account: "alice", Provider: "google", Confirm: true, ReturnTo: s.application.URL + "/done"})
	}
	query := s.sentOn(s.visitor().consents(invite(), fakeprovider.Decision{Person: "bob@example.com"}), s.application.URL+"/done")
	bobs := query.Get("confirm")
	query = s.sentOn(s.visitor().consents(invite(), fakeprovider.Decision{Person: "alice@example.com"}), s.application.URL+"/done")
	if r := s.adminReply(http.MethodPut, "/v1/account/alice/confirm", map[string]any{"confirm": bobs}); r.status != http.StatusBadRequest {
		t.Errorf("confirming the one before: %d %s", r.status, r.body)
	}
	s.admin(http.MethodPut, "/v1/account/alice/confirm", map[string]any{"confirm": query.Get("confirm")})
	if g := s.grant("alice"); g.State != account.Connected || g.User != "alice@example.com" {
		t.Errorf("the account is %q's and %s", g.User, g.State)
	}
}
