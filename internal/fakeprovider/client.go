package fakeprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Control calls the control interface of a server in another process. Its
// methods are those of [Server], and fail with what the server refused.
type Control struct {
	// BaseURL is [Listening.URL].
	BaseURL string
	// HTTP is the client to use. Default: [http.DefaultClient].
	HTTP *http.Client
}

// RegisterClient registers or replaces an OAuth client.
func (c Control) RegisterClient(ctx context.Context, client Client) error {
	return c.call(ctx, http.MethodPost, "/control/clients", client, nil)
}

// CreateGrant adds a grant and returns it with its refresh token.
func (c Control) CreateGrant(ctx context.Context, g Grant) (state GrantState, err error) {
	err = c.call(ctx, http.MethodPost, "/control/grants", g, &state)
	return state, err
}

// Grants returns all grants, with token values if values is set.
func (c Control) Grants(ctx context.Context, values bool) (states []GrantState, err error) {
	err = c.call(ctx, http.MethodGet, "/control/grants"+valuesQuery(values), nil, &states)
	return states, err
}

// Grant returns one grant, with token values if values is set.
func (c Control) Grant(ctx context.Context, id string, values bool) (state GrantState, err error) {
	err = c.call(ctx, http.MethodGet, grantPath(id)+valuesQuery(values), nil, &state)
	return state, err
}

// KillGrant ends a grant with all of its tokens.
func (c Control) KillGrant(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, grantPath(id), nil, nil)
}

// RevokeAccessTokens ends a grant's access tokens alone.
func (c Control) RevokeAccessTokens(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, grantPath(id)+"/access-tokens", nil, nil)
}

// Stats returns the counters of everything.
func (c Control) Stats(ctx context.Context) (counters Counters, err error) {
	err = c.call(ctx, http.MethodGet, "/control/stats", nil, &counters)
	return counters, err
}

// TokenRequests returns the log of token requests, with the refresh tokens
// that were presented if values is set.
func (c Control) TokenRequests(ctx context.Context, values bool) (entries []TokenRequest, err error) {
	err = c.call(ctx, http.MethodGet, "/control/token-requests"+valuesQuery(values), nil, &entries)
	return entries, err
}

// Settings returns the settings in force.
func (c Control) Settings(ctx context.Context) (settings Settings, err error) {
	err = c.call(ctx, http.MethodGet, "/control/settings", nil, &settings)
	return settings, err
}

// Configure replaces all settings.
func (c Control) Configure(ctx context.Context, settings Settings) error {
	return c.call(ctx, http.MethodPatch, "/control/settings", settings, nil)
}

// SetTokenLife changes the life of access tokens issued from now on.
func (c Control) SetTokenLife(ctx context.Context, life time.Duration) error {
	return c.call(ctx, http.MethodPatch, "/control/settings", map[string]Duration{"token_life": Duration(life)}, nil)
}

// SetRotation changes what happens to refresh tokens presented from now on.
func (c Control) SetRotation(ctx context.Context, rotation Rotation) error {
	return c.call(ctx, http.MethodPatch, "/control/settings", map[string]Rotation{"rotation": rotation}, nil)
}

// Advance moves the server's clock and returns the new time.
func (c Control) Advance(ctx context.Context, d time.Duration) (time.Time, error) {
	var answer clockAnswer
	err := c.call(ctx, http.MethodPost, "/control/clock", clockRequest{Advance: Duration(d)}, &answer)
	return answer.Now, err
}

// QueueFaults appends faults to the queue and returns them with their IDs.
func (c Control) QueueFaults(ctx context.Context, faults ...Fault) (queued []Fault, err error) {
	err = c.call(ctx, http.MethodPost, "/control/faults", faults, &queued)
	return queued, err
}

// Faults returns the queue.
func (c Control) Faults(ctx context.Context) (faults []Fault, err error) {
	err = c.call(ctx, http.MethodGet, "/control/faults", nil, &faults)
	return faults, err
}

// ClearFaults empties the queue.
func (c Control) ClearFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/control/faults", nil, nil)
}

// Files returns all that was uploaded, oldest first.
func (c Control) Files(ctx context.Context) (files []File, err error) {
	err = c.call(ctx, http.MethodGet, "/control/files", nil, &files)
	return files, err
}

// AddFile adds a file of f.Size to the drive of f.Grant.
func (c Control) AddFile(ctx context.Context, f File) (added File, err error) {
	err = c.call(ctx, http.MethodPost, "/control/files", f, &added)
	return added, err
}

// Release lets go the requests held at gate and returns how many there were.
func (c Control) Release(ctx context.Context, gate string) (int, error) {
	var answer gateAnswer
	err := c.call(ctx, http.MethodPost, "/control/release", gateRequest{Gate: gate}, &answer)
	return answer.Released, err
}

// AwaitHeld returns once at least n requests are held at gate.
func (c Control) AwaitHeld(ctx context.Context, gate string, n int) error {
	return c.call(ctx, http.MethodPost, "/control/await", gateRequest{Gate: gate, Held: n}, nil)
}

// Reset puts the server back to how it started.
func (c Control) Reset(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/control/reset", nil, nil)
}

func grantPath(id string) string { return "/control/grants/" + url.PathEscape(id) }

func valuesQuery(values bool) string {
	if values {
		return "?values=true"
	}
	return ""
}

// call sends body as JSON, if there is one, and decodes the answer into
// answer, if there is one.
func (c Control) call(ctx context.Context, method, path string, body, answer any) error {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding request: %w", err)
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.BaseURL+path, reader)
	if err != nil {
		return fmt.Errorf("making request: %w", err)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("calling fake provider: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		return fmt.Errorf("calling fake provider: %s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(text))
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("decoding answer: %w", err)
	}
	return nil
}
