package fakeprovider

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func postToken(ctx context.Context, client *http.Client, refreshToken string) (tokenAnswer, error) {
	form := strings.NewReader(refreshForm(refreshToken).Encode())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://provider.example/token", form)
	if err != nil {
		return tokenAnswer{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(DefaultClient.ID, DefaultClient.Secrets[0])
	response, err := client.Do(request)
	if err != nil {
		return tokenAnswer{}, err
	}
	defer response.Body.Close()
	answer := tokenAnswer{Status: response.StatusCode}
	return answer, json.NewDecoder(response.Body).Decode(&answer)
}

func TestTransportKeepsTimeInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{TokenLife: time.Minute})
		client := &http.Client{Transport: Transport{Server: server}}
		state, err := server.CreateGrant(Grant{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.QueueFaults(Fault{Delay: Duration(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		answer, err := postToken(t.Context(), client, state.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		answer.wantIssued(t)
		if took := time.Since(began); took != time.Hour {
			t.Errorf("took %v of the bubble's time, want an hour", took)
		}
	})
}

func TestTransportBreaksConnectionsAsASocketWould(t *testing.T) {
	for name, test := range map[string]struct {
		fault Fault
		want  error
	}{
		"drop":     {Fault{Kind: Drop}, io.EOF},
		"truncate": {Fault{Kind: Truncate}, io.ErrUnexpectedEOF},
		"hang":     {Fault{Kind: Hang}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := New(Options{})
				client := &http.Client{Transport: Transport{Server: server}}
				state, err := server.CreateGrant(Grant{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := server.QueueFaults(test.fault); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := postToken(ctx, client, state.RefreshToken); !errors.Is(err, test.want) {
					t.Errorf("error is %v, want %v", err, test.want)
				}
				synctest.Wait()
				if got := server.Stats().InFlight; got != 0 {
					t.Errorf("%d requests are in flight", got)
				}
			})
		})
	}
}

func TestTransportHandsOverTheRequest(t *testing.T) {
	server := New(Options{})
	client := &http.Client{Transport: Transport{Server: server}}
	response, err := client.Get("https://login.example/common/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var metadata struct{ Issuer string }
	if err := json.NewDecoder(response.Body).Decode(&metadata); err != nil {
		t.Fatal(err)
	}
	if want := "https://login.example/{tenantid}/v2.0"; metadata.Issuer != want {
		t.Errorf("issuer is %q, want %q", metadata.Issuer, want)
	}
}
