package fakeprovider

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRotationNoneKeepsTheRefreshToken(t *testing.T) {
	f := start(t, Options{Rotation: Rotation{Policy: NoRotation}})
	state := f.grant(Grant{})
	for range 3 {
		answer := f.refreshWith(state.RefreshToken)
		answer.wantIssued(t)
		if answer.RefreshToken != "" {
			t.Fatal("answer has a new refresh token")
		}
	}
}

func TestRotationKeepsOldHonoursEveryRefreshToken(t *testing.T) {
	f := start(t, Options{Rotation: Rotation{Policy: KeepsOld}})
	first := f.grant(Grant{}).RefreshToken
	second := f.refreshWith(first)
	second.wantIssued(t)
	if second.RefreshToken == "" || second.RefreshToken == first {
		t.Fatal("answer has no new refresh token")
	}
	f.refreshWith(first).wantIssued(t)
	f.refreshWith(second.RefreshToken).wantIssued(t)
	f.refreshWith(first).wantIssued(t)
	if got := f.Stats(); got.Rotations != 4 || got.ReuseDetections != 0 {
		t.Errorf("got %d rotations and %d reuse detections, want 4 and 0", got.Rotations, got.ReuseDetections)
	}
}

func TestRotationSingleUseReplacesTheRefreshToken(t *testing.T) {
	f := start(t, Options{})
	current := f.grant(Grant{}).RefreshToken
	for number := 2; number < 5; number++ {
		answer := f.refreshWith(current)
		answer.wantIssued(t)
		if answer.RefreshToken == "" || answer.RefreshToken == current {
			t.Fatal("answer has no new refresh token")
		}
		current = answer.RefreshToken
		state, err := f.Grant("g1", true)
		if err != nil {
			t.Fatal(err)
		}
		if state.RefreshTokenNumber != number || state.RefreshToken != current {
			t.Errorf("current refresh token is number %d, want %d, the one answered", state.RefreshTokenNumber, number)
		}
	}
}

func TestReuseOfASpentRefreshTokenEndsTheWholeGrant(t *testing.T) {
	f := start(t, Options{})
	spent := f.grant(Grant{}).RefreshToken
	first := f.refreshWith(spent)
	second := f.refreshWith(first.RefreshToken)
	bystander := f.refreshWith(f.grant(Grant{}).RefreshToken)
	for _, answer := range []tokenAnswer{first, second, bystander} {
		if got := f.apiStatus(answer.AccessToken); got != http.StatusOK {
			t.Fatalf("access token is not live before the reuse: %d", got)
		}
	}

	f.refreshWith(spent).wantError(t, http.StatusBadRequest, "invalid_grant")

	f.refreshWith(second.RefreshToken).wantError(t, http.StatusBadRequest, "invalid_grant")
	for name, answer := range map[string]tokenAnswer{"first": first, "second": second} {
		if got := f.apiStatus(answer.AccessToken); got != http.StatusUnauthorized {
			t.Errorf("API answers %d to the %s access token, want 401", got, name)
		}
	}
	if got := f.apiStatus(bystander.AccessToken); got != http.StatusOK {
		t.Errorf("API answers %d to another grant's token, want 200", got)
	}
	state, err := f.Grant("g1", false)
	if err != nil {
		t.Fatal(err)
	}
	if !state.Dead || state.Cause != "reuse_detected" || state.AccessTokenNumber != 0 || state.Counters.ReuseDetections != 1 {
		t.Errorf("grant is %+v, want it dead by one reuse with no live access token", state)
	}
}

func TestGraceRepeatsTheSamePairInsideItsWindow(t *testing.T) {
	f := start(t, Options{TokenLife: time.Hour, Rotation: Rotation{Policy: Grace, Window: 30 * time.Second}})
	old := f.grant(Grant{}).RefreshToken
	first := f.refreshWith(old)
	first.wantIssued(t)
	f.Advance(30 * time.Second)
	again := f.refreshWith(old)
	if again.AccessToken != first.AccessToken || again.RefreshToken != first.RefreshToken {
		t.Fatalf("got %s, want the pair of %s", again.Raw, first.Raw)
	}
	if got, want := again.ExpiresIn, first.ExpiresIn-30; got != want {
		t.Errorf("expires_in is %d, want the rest of its life, %d", got, want)
	}
	f.refreshWith(first.RefreshToken).wantIssued(t)
	if got := f.Stats(); got.Rotations != 2 || got.Reissues != 1 {
		t.Errorf("got %d rotations and %d reissues, want 2 and 1", got.Rotations, got.Reissues)
	}
}

func TestGraceEndsTheGrantAfterItsWindow(t *testing.T) {
	f := start(t, Options{TokenLife: time.Hour, Rotation: Rotation{Policy: Grace, Window: 30 * time.Second}})
	old := f.grant(Grant{}).RefreshToken
	answer := f.refreshWith(old)
	f.Advance(30*time.Second + 1)
	f.refreshWith(old).wantError(t, http.StatusBadRequest, "invalid_grant")
	f.refreshWith(answer.RefreshToken).wantError(t, http.StatusBadRequest, "invalid_grant")
	if got := f.apiStatus(answer.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("API answers %d, want 401", got)
	}
}

func TestGraceGivesAnotherAudienceItsOwnAccessTokenWithTheSameSuccessor(t *testing.T) {
	f := start(t, Options{TokenLife: time.Hour, Rotation: Rotation{Policy: Grace, Window: time.Minute}})
	f.registerMicrosoft()
	old := f.grant(Grant{Client: "ms", Scope: twoAudiences}).RefreshToken
	graph := f.token(microsoftForm(old, "https://graph.microsoft.com/Mail.Read"))
	outlook := f.token(microsoftForm(old, "https://outlook.office.com/IMAP.AccessAsUser.All"))
	if outlook.RefreshToken != graph.RefreshToken {
		t.Error("the successor differs")
	}
	if outlook.AccessToken == "" || outlook.AccessToken == graph.AccessToken {
		t.Error("both audiences got one access token")
	}
}

func TestClientRotationOverridesTheServers(t *testing.T) {
	f := start(t, Options{Rotation: Rotation{Policy: SingleUse}})
	client := DefaultClient
	client.Rotation = &Rotation{Policy: NoRotation}
	if err := f.RegisterClient(client); err != nil {
		t.Fatal(err)
	}
	if answer := f.refreshWith(f.grant(Grant{}).RefreshToken); answer.RefreshToken != "" {
		t.Error("refresh token was rotated")
	}
}

func TestKilledGrantHasNoLiveToken(t *testing.T) {
	f := start(t, Options{})
	answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
	if err := f.KillGrant("g1"); err != nil {
		t.Fatal(err)
	}
	f.refreshWith(answer.RefreshToken).wantError(t, http.StatusBadRequest, "invalid_grant")
	if got := f.apiStatus(answer.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("API answers %d, want 401", got)
	}
}

func TestRevokingAccessTokensLeavesTheRefreshToken(t *testing.T) {
	f := start(t, Options{})
	answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
	if err := f.RevokeAccessTokens("g1"); err != nil {
		t.Fatal(err)
	}
	if got := f.apiStatus(answer.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("API answers %d, want 401", got)
	}
	renewed := f.refreshWith(answer.RefreshToken)
	if got := f.apiStatus(renewed.AccessToken); got != http.StatusOK {
		t.Errorf("API answers %d to the next token, want 200", got)
	}
}

func TestAccessTokenExpiresByTheServersClock(t *testing.T) {
	f := start(t, Options{TokenLife: time.Minute})
	answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
	if answer.ExpiresIn != 60 {
		t.Errorf("expires_in is %d, want 60", answer.ExpiresIn)
	}
	f.Advance(time.Minute - 1)
	if got := f.apiStatus(answer.AccessToken); got != http.StatusOK {
		t.Errorf("API answers %d before expiry, want 200", got)
	}
	f.Advance(1)
	if got := f.apiStatus(answer.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("API answers %d at expiry, want 401", got)
	}
}

func TestExpiredAccessTokensAreForgotten(t *testing.T) {
	f := start(t, Options{TokenLife: time.Minute, Rotation: Rotation{Policy: NoRotation}})
	refreshToken := f.grant(Grant{}).RefreshToken
	for range 5 {
		f.refreshWith(refreshToken).wantIssued(t)
		f.Advance(time.Hour)
	}
	if got := len(f.access); got != 1 {
		t.Errorf("%d access tokens are kept, want the last", got)
	}
	state, err := f.Grant("g1", false)
	if err != nil {
		t.Fatal(err)
	}
	if state.AccessTokenNumber != 0 {
		t.Errorf("access token %d counts as live", state.AccessTokenNumber)
	}
}

func TestTokensAreRecognisable(t *testing.T) {
	t.Run("by default", func(t *testing.T) {
		f := start(t, Options{})
		answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
		if !strings.HasPrefix(answer.AccessToken, "ya29.fake-") || !strings.HasPrefix(answer.RefreshToken, "1//fake-") {
			t.Errorf("got %s", answer.Raw)
		}
	})
	t.Run("by chosen prefixes", func(t *testing.T) {
		f := start(t, Options{AccessTokenPrefix: "canary-a-", RefreshTokenPrefix: "canary-r-"})
		state := f.grant(Grant{})
		answer := f.refreshWith(state.RefreshToken)
		if !strings.HasPrefix(answer.AccessToken, "canary-a-") || !strings.HasPrefix(answer.RefreshToken, "canary-r-") ||
			!strings.HasPrefix(state.RefreshToken, "canary-r-") {
			t.Errorf("got %s", answer.Raw)
		}
	})
	t.Run("by a chosen refresh token", func(t *testing.T) {
		f := start(t, Options{})
		state := f.grant(Grant{RefreshToken: "planted"})
		if state.RefreshToken != "planted" {
			t.Errorf("refresh token is %q", state.RefreshToken)
		}
		f.refreshWith("planted").wantIssued(t)
	})
}

func TestCreateGrantRefusesWhatExistsOrCannotBe(t *testing.T) {
	f := start(t, Options{})
	f.grant(Grant{ID: "taken", RefreshToken: "used"})
	for name, g := range map[string]Grant{
		"ID":             {ID: "taken"},
		"refresh token":  {RefreshToken: "used"},
		"unknown client": {Client: "nobody"},
		"slash":          {ID: "a/b"},
	} {
		if _, err := f.CreateGrant(g); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := len(f.Grants(false)); got != 1 {
		t.Errorf("there are %d grants, want 1", got)
	}
}

func TestTokenValuesAreShownOnlyWhenAskedFor(t *testing.T) {
	f := start(t, Options{})
	f.refreshWith(f.grant(Grant{RefreshToken: "first"}).RefreshToken).wantIssued(t)
	for _, values := range []bool{false, true} {
		state, err := f.Grant("g1", values)
		if err != nil {
			t.Fatal(err)
		}
		shown := []bool{
			state.RefreshToken != "",
			state.AccessTokens[0].Value != "",
			f.TokenRequests(values)[0].RefreshToken == "first",
		}
		if diff := cmp.Diff([]bool{values, values, values}, shown); diff != "" {
			t.Errorf("values=%v: %s", values, diff)
		}
	}
}

func TestConcurrentUseOfOneSingleUseTokenIssuesOnce(t *testing.T) {
	f := start(t, Options{})
	refreshToken := f.grant(Grant{}).RefreshToken
	const requests = 1000
	answers := make(chan tokenAnswer, requests)
	slots := make(chan struct{}, 64) // sockets are scarcer than requests
	var wait sync.WaitGroup
	for range requests {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answer, err := f.doToken("/token", refreshForm(refreshToken))
			if err != nil {
				t.Error(err)
			}
			answers <- answer
		})
	}
	wait.Wait()
	close(answers)
	issued := 0
	for answer := range answers {
		if answer.Status == http.StatusOK {
			issued++
		} else {
			answer.wantError(t, http.StatusBadRequest, "invalid_grant")
		}
	}
	stats := f.Stats()
	if issued != 1 || stats.Rotations != 1 || stats.ReuseDetections != 1 {
		t.Errorf("%d issued, counted %d rotations and %d reuse detections; want 1 of each", issued, stats.Rotations, stats.ReuseDetections)
	}
	if stats.TokenRequests != requests || stats.Refused != requests-1 || stats.InFlight != 0 {
		t.Errorf("counted %+v", stats)
	}
}

func TestConcurrentGrantsStayApart(t *testing.T) {
	f := start(t, Options{})
	const grants, rounds = 20, 25
	var wait sync.WaitGroup
	for range grants {
		state := f.grant(Grant{})
		wait.Go(func() {
			current := state.RefreshToken
			for range rounds {
				answer, err := f.doToken("/token", refreshForm(current))
				if err != nil || answer.Status != http.StatusOK {
					t.Errorf("%s: %d %s %v", state.ID, answer.Status, answer.Raw, err)
					return
				}
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/v1.0/me", nil)
				if err != nil {
					t.Error(err)
					return
				}
				request.Header.Set("Authorization", "Bearer "+answer.AccessToken)
				response, err := f.transport.RoundTrip(request)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || !strings.Contains(string(body), `"`+state.Email+`"`) {
					t.Errorf("%s: answered %s (%v)", state.ID, body, err)
				}
				current = answer.RefreshToken
			}
		})
	}
	wait.Wait()
	for _, state := range f.Grants(false) {
		if state.Counters.Rotations != rounds || state.Counters.APICalls != rounds || state.Counters.InFlightMax != 1 || state.Dead {
			t.Errorf("%s: %+v", state.ID, state.Counters)
		}
	}
}

func TestParseRotation(t *testing.T) {
	for text, want := range map[string]Rotation{
		"none":       {Policy: NoRotation},
		"keeps_old":  {Policy: KeepsOld},
		"single_use": {Policy: SingleUse},
		"grace 30s":  {Policy: Grace, Window: 30 * time.Second},
	} {
		got, err := ParseRotation(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseRotation(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "grace", "grace soon", "grace -1s", "none 3s", "twice"} {
		if got, err := ParseRotation(text); err == nil {
			t.Errorf("ParseRotation(%q) = %v, want an error", text, got)
		}
	}
}
