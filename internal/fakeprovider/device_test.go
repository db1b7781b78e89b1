package fakeprovider

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

var deviceClients = []Client{
	{ID: "tv-oauth2", Secrets: []string{"s"}, DeviceFlow: true},
	{ID: "tv-google", Secrets: []string{"s"}, DeviceFlow: true, Dialect: Google},
	{ID: "tv-ms", DeviceFlow: true, Dialect: Microsoft},
}

var devicePaths = map[string]string{
	"tv-oauth2": "/device_authorization",
	"tv-google": "/device/code",
	"tv-ms":     "/organizations/oauth2/v2.0/devicecode",
}

var deviceScopes = map[string]string{
	"tv-oauth2": "openid offline_access mail.read",
	"tv-google": "openid email https://www.googleapis.com/auth/drive.file",
	"tv-ms":     "openid profile offline_access https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All",
}

func deviceForm(client string) url.Values {
	form := url.Values{"client_id": {client}, "scope": {deviceScopes[client]}}
	if client == "tv-oauth2" {
		form.Set("client_secret", "s")
	}
	return form
}

// deviceAnswer is what the device authorization endpoint said.
type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	URL        string `json:"verification_url"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int    `json:"expires_in"`
	Interval   int    `json:"interval"`
}

func (f fixture) startDeviceOf(client string) (answer deviceAnswer) {
	f.t.Helper()
	got, err := f.doToken(devicePaths[client], deviceForm(client))
	if err != nil {
		f.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got.Raw), &answer); err != nil || got.Status != http.StatusOK {
		f.t.Fatalf("%d %s", got.Status, got.Raw)
	}
	if answer.DeviceCode == "" || answer.UserCode == "" || answer.Interval != 5 {
		f.t.Fatalf("got %s", got.Raw)
	}
	return answer
}

func (f fixture) poll(client, deviceCode string) tokenAnswer {
	f.t.Helper()
	form := url.Values{"grant_type": {grantTypeDevice}, "device_code": {deviceCode}, "client_id": {client}}
	path := "/token"
	if client == "tv-ms" {
		path = "/organizations/oauth2/v2.0/token"
	} else {
		form.Set("client_secret", "s")
	}
	answer, err := f.doToken(path, form)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer
}

func startDevices(t *testing.T) fixture {
	f := start(t, Options{})
	f.register(deviceClients...)
	return f
}

func TestDeviceGetsItsTokens(t *testing.T) {
	for _, test := range []struct{ client, scope string }{
		{"tv-oauth2", "openid offline_access mail.read"},
		{"tv-google", "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/drive.file"},
		{"tv-ms", "openid profile Mail.Read"},
	} {
		t.Run(test.client, func(t *testing.T) {
			f := startDevices(t)
			device := f.startDeviceOf(test.client)
			if (device.URL == "") == (test.client == "tv-google") || (device.URI == "") != (test.client == "tv-google") {
				t.Errorf("addresses are %+v", device)
			}
			pending := f.poll(test.client, device.DeviceCode)
			if pending.Error != "authorization_pending" {
				t.Fatalf("got %d %s", pending.Status, pending.Raw)
			}
			if err := f.DecideDevice(strings.ToLower(strings.ReplaceAll(device.UserCode, "-", "")), Decision{Person: "bob@example.com"}); err != nil {
				t.Fatal(err)
			}
			f.Advance(5 * time.Second)
			answer := f.poll(test.client, device.DeviceCode)
			answer.wantIssued(t)
			if answer.RefreshToken == "" || !strings.Contains(answer.Raw, "id_token") || answer.Scope == "" {
				t.Errorf("got %s", answer.Raw)
			}
			if got := strings.Join(strings.Fields(answer.Scope), " "); len(strings.Fields(got)) != len(strings.Fields(test.scope)) {
				t.Errorf("scope is %q, want %q", answer.Scope, test.scope)
			}
			if f.Grants(false)[0].Email != "bob@example.com" {
				t.Errorf("grant is %+v", f.Grants(false)[0])
			}
			f.Advance(time.Minute)
			if spent := f.poll(test.client, device.DeviceCode); spent.Error != "invalid_grant" && spent.Error != "bad_verification_code" {
				t.Errorf("a spent device code got %s", spent.Raw)
			}
		})
	}
}

func TestDeviceThatPollsTooFastIsSlowedDown(t *testing.T) {
	f := startDevices(t)
	device := f.startDeviceOf("tv-oauth2")
	poll := func(after time.Duration, want string) {
		t.Helper()
		f.Advance(after)
		f.poll("tv-oauth2", device.DeviceCode).wantError(t, http.StatusBadRequest, want)
	}
	poll(0, "authorization_pending")
	poll(4*time.Second, "slow_down")
	poll(9*time.Second, "slow_down") // 10 s from now on, and now 15 s
	poll(15*time.Second, "authorization_pending")
	if err := f.DecideDevice(device.UserCode, Decision{}); err != nil {
		t.Fatal(err)
	}
	poll(14*time.Second, "slow_down")
	f.Advance(20 * time.Second)
	f.poll("tv-oauth2", device.DeviceCode).wantIssued(t)
}

func TestDeviceIsRefused(t *testing.T) {
	t.Run("by the person", func(t *testing.T) {
		for client, want := range map[string]string{"tv-oauth2": "access_denied", "tv-google": "access_denied", "tv-ms": "authorization_declined"} {
			f := startDevices(t)
			device := f.startDeviceOf(client)
			if err := f.DecideDevice(device.UserCode, Decision{Deny: true}); err != nil {
				t.Fatal(err)
			}
			if got := f.poll(client, device.DeviceCode); got.Error != want {
				t.Errorf("%s: got %s", client, got.Raw)
			}
			if err := f.DecideDevice(device.UserCode, Decision{}); !errors.Is(err, ErrNoDevice) {
				t.Errorf("%s: decided twice: %v", client, err)
			}
		}
	})
	t.Run("after its time", func(t *testing.T) {
		f := startDevices(t)
		device := f.startDeviceOf("tv-google")
		f.Advance(time.Duration(device.ExpiresIn) * time.Second)
		f.poll("tv-google", device.DeviceCode).wantError(t, http.StatusBadRequest, "expired_token")
		if err := f.DecideDevice(device.UserCode, Decision{}); !errors.Is(err, ErrNoDevice) {
			t.Errorf("decided late: %v", err)
		}
	})
	t.Run("with another client's code", func(t *testing.T) {
		f := startDevices(t)
		f.poll("tv-google", f.startDeviceOf("tv-oauth2").DeviceCode).wantError(t, http.StatusBadRequest, "invalid_grant")
	})
	t.Run("in another tenant", func(t *testing.T) {
		f := startDevices(t)
		if err := f.SetPeople(Person{Subject: "own", Email: "own@outlook.example", Tenant: ConsumersTenant}); err != nil {
			t.Fatal(err)
		}
		var shown *PageError
		if err := f.DecideDevice(f.startDeviceOf("tv-ms").UserCode, Decision{}); !errors.As(err, &shown) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeviceAuthorizationIsJudged(t *testing.T) {
	tests := []struct {
		name, client string
		change       func(fixture, url.Values)
		want         string
	}{
		{"without the secret", "tv-oauth2", set("client_secret", ""), "invalid_client"},
		{"with a wrong secret", "tv-oauth2", set("client_secret", "x"), "invalid_client"},
		{"with a wrong secret at Google", "tv-google", set("client_secret", "x"), "invalid_client"},
		{"without a scope", "tv-oauth2", set("scope", ""), "invalid_request"},
		{"mail at Google", "tv-google", set("scope", "openid https://mail.google.com/"), "invalid_scope"},
		{"a client that may not", "tv-oauth2", set("client_id", "web-oauth2"), "unauthorized_client"},
		{"a web client at Google", "tv-google", set("client_id", "web-google"), "invalid_client"},
		{"no client", "tv-google", set("client_id", "nobody"), "invalid_client"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := startDevices(t)
			f.register(webClients...)
			form := deviceForm(test.client)
			test.change(f, form)
			got, err := f.doToken(devicePaths[test.client], form)
			if err != nil || got.Error != test.want {
				t.Errorf("got %d %s (%v), want %s", got.Status, got.Raw, err, test.want)
			}
		})
	}
}

func TestDevicePage(t *testing.T) {
	f := startDevices(t)
	device := f.startDeviceOf("tv-oauth2")
	if _, body := f.call(http.MethodGet, "/device", "", nil); !strings.Contains(body, `name="user_code"`) {
		t.Errorf("page is %s", body)
	}
	_, body := f.call(http.MethodGet, strings.TrimPrefix(device.Complete, f.URL), "", nil)
	if !strings.Contains(body, "tv-oauth2") || !strings.Contains(body, device.UserCode) {
		t.Errorf("page is %s", body)
	}
	form := Decision{}.form([]string{"mail.read"})
	form.Set("user_code", device.UserCode)
	response, err := (&http.Client{Transport: f.transport}).PostForm(f.URL+"/device", form)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	answer := f.poll("tv-oauth2", device.DeviceCode)
	answer.wantIssued(t)
	if answer.Scope != "mail.read" {
		t.Errorf("scope is %q", answer.Scope)
	}
}
