package fakeprovider

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestControlDrivesAServerElsewhere(t *testing.T) {
	f := start(t, Options{})
	control, ctx := f.control(), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	must(control.RegisterClient(ctx, Client{ID: "ms", Secrets: []string{"s"}, Dialect: Microsoft, Rotation: &Rotation{Policy: Grace, Window: time.Minute}}))
	must(control.SetTokenLife(ctx, 90*time.Second))
	created, err := control.CreateGrant(ctx, Grant{ID: "team alice", Client: "ms", Scope: twoAudiences})
	must(err)
	answer := f.token(microsoftForm(created.RefreshToken, ""))
	answer.wantIssued(t)
	if answer.ExpiresIn != 90 {
		t.Errorf("expires_in is %d, want 90", answer.ExpiresIn)
	}
	now, err := control.Advance(ctx, time.Hour)
	must(err)
	if !now.Equal(clockStart.Add(time.Hour)) {
		t.Errorf("clock is %v", now)
	}
	f.token(microsoftForm(created.RefreshToken, "")).wantError(t, http.StatusBadRequest, "invalid_grant")

	state, err := control.Grant(ctx, "team alice", true)
	must(err)
	local, err := f.Grant("team alice", true)
	must(err)
	if diff := cmp.Diff(local, state); diff != "" || !state.Dead {
		t.Errorf("grant differs or lives: %s", diff)
	}
	states, err := control.Grants(ctx, false)
	must(err)
	if diff := cmp.Diff(f.Grants(false), states); diff != "" {
		t.Error(diff)
	}
	stats, err := control.Stats(ctx)
	must(err)
	if diff := cmp.Diff(f.Stats(), stats); diff != "" || stats.TokenRequests != 2 {
		t.Errorf("stats differ: %s", diff)
	}
	log, err := control.TokenRequests(ctx, true)
	must(err)
	if len(log) != 2 || log[0].RefreshToken != created.RefreshToken || log[1].Outcome != OutcomeReuseDetected {
		t.Errorf("log is %+v", log)
	}
	must(control.Reset(ctx))
	if _, err := control.Grant(ctx, "team alice", false); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error is %v, want 404", err)
	}
}

func TestControlScriptsFaults(t *testing.T) {
	f := start(t, Options{})
	control, ctx := f.control(), t.Context()
	refreshToken := f.grant(Grant{}).RefreshToken
	fault := Fault{
		On: EndpointToken, Times: 2, Gate: "g", Delay: Duration(time.Millisecond), Kind: Alter,
		Members: map[string]string{"expires_in": `x"y`}, Header: map[string]string{"X-Fault": "1"},
	}
	queued, err := control.QueueFaults(ctx, fault)
	if err != nil {
		t.Fatal(err)
	}
	fault.ID = queued[0].ID
	if diff := cmp.Diff([]Fault{fault}, f.Faults()); diff != "" {
		t.Error(diff)
	}
	answers := make(chan tokenAnswer, 1)
	go func() {
		answer, err := f.doToken("/token", refreshForm(refreshToken))
		if err != nil {
			t.Error(err)
		}
		answers <- answer
	}()
	if err := control.AwaitHeld(ctx, "g", 1); err != nil {
		t.Fatal(err)
	}
	if released, err := control.Release(ctx, "g"); err != nil || released != 1 {
		t.Errorf("released %d, %v", released, err)
	}
	if answer := <-answers; !strings.Contains(answer.Raw, `"expires_in":x"y`) || answer.Header.Get("X-Fault") != "1" {
		t.Errorf("got %s", answer.Raw)
	}
	if left, err := control.Faults(ctx); err != nil || len(left) != 1 || left[0].Times != 1 {
		t.Errorf("left %+v, %v", left, err)
	}
	if err := control.ClearFaults(ctx); err != nil {
		t.Fatal(err)
	}
	f.refreshWith(f.currentRefreshToken("g1")).wantIssued(t)
}

func (f fixture) currentRefreshToken(id string) string {
	f.t.Helper()
	state, err := f.Grant(id, true)
	if err != nil {
		f.t.Fatal(err)
	}
	return state.RefreshToken
}

func TestControlAwaitEndsWithItsContext(t *testing.T) {
	f := start(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := f.control().AwaitHeld(ctx, "g", 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want the deadline", err)
	}
}

func TestControlChangesSettingsByMember(t *testing.T) {
	f := start(t, Options{})
	control, ctx := f.control(), t.Context()
	want := f.Settings()
	want.Rotation = Rotation{Policy: Grace, Window: time.Minute}
	if err := control.SetRotation(ctx, want.Rotation); err != nil {
		t.Fatal(err)
	}
	got, err := control.Settings(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	want.EchoAuthorization = true
	want.AccessTokenPrefix = "canary-"
	if err := control.Configure(ctx, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, f.Settings()); diff != "" {
		t.Error(diff)
	}
}

func TestControlKillsGrantsAndAccessTokens(t *testing.T) {
	f := start(t, Options{})
	control, ctx := f.control(), t.Context()
	answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
	if err := control.RevokeAccessTokens(ctx, "g1"); err != nil {
		t.Fatal(err)
	}
	if got := f.apiStatus(answer.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("API answers %d, want 401", got)
	}
	if err := control.KillGrant(ctx, "g1"); err != nil {
		t.Fatal(err)
	}
	f.refreshWith(answer.RefreshToken).wantError(t, http.StatusBadRequest, "invalid_grant")
}

func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	f := start(t, Options{})
	for _, test := range []struct {
		method, target, body string
		want                 int
	}{
		{http.MethodPost, "/control/faults", `[{"kindd":"drop"}]`, 400},
		{http.MethodPost, "/control/faults", `[{"kind":"explode"}]`, 400},
		{http.MethodPost, "/control/grants", `{"client_id":"nobody"}`, 400},
		{http.MethodPost, "/control/clients", `{"client_id":"c","dialect":"klingon"}`, 400},
		{http.MethodPost, "/control/clients", `{"client_id":"c","auth_methods":["tls"]}`, 400},
		{http.MethodPost, "/control/clients", `{}`, 400},
		{http.MethodPatch, "/control/settings", `{"rotation":"often"}`, 400},
		{http.MethodPatch, "/control/settings", `{"token_life":60}`, 400},
		{http.MethodDelete, "/control/grants/none", "", 404},
		{http.MethodDelete, "/control/grants/none/access-tokens", "", 404},
		{http.MethodGet, "/control/nowhere", "", 404},
	} {
		response, body := f.call(test.method, test.target, "", strings.NewReader(test.body))
		if response.StatusCode != test.want {
			t.Errorf("%s %s %s: got %d %s, want %d", test.method, test.target, test.body, response.StatusCode, body, test.want)
		}
	}
}
