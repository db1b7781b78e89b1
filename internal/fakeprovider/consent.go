package fakeprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Consent does what a person with a browser does at authorizeURL: it opens the
// page and decides on it. The location is where the browser is sent then, with
// a code or with an error. Where the server shows an error and sends the browser
// nowhere, the error is a [*PageError].
func (s *Server) Consent(ctx context.Context, authorizeURL string, d Decision) (location string, err error) {
	client := &http.Client{Transport: Transport{Server: s}, CheckRedirect: stay}
	return consentAt(ctx, client, authorizeURL, d)
}

// PageError is an error that a person is shown.
type PageError struct {
	Status      int    `json:"-"`
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// Error implements error.
func (e *PageError) Error() string {
	return fmt.Sprintf("the page says %d %s: %s", e.Status, e.Code, e.Description)
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func consentAt(ctx context.Context, client *http.Client, authorizeURL string, d Decision) (location string, err error) {
	u, err := url.Parse(authorizeURL)
	if err != nil {
		return "", fmt.Errorf("parsing authorization URL: %w", err)
	}
	location, err = open(ctx, client, http.MethodGet, authorizeURL, nil)
	if location != "" || err != nil {
		return location, err
	}
	form := d.form(strings.Fields(u.Query().Get("scope")))
	location, err = open(ctx, client, http.MethodPost, authorizeURL, form)
	if location == "" && err == nil {
		err = errors.New("the page leads nowhere")
	}
	return location, err
}

// open requests a page and returns where it redirects to, if it does.
func open(ctx context.Context, client *http.Client, method, address string, form url.Values) (location string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("making request: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("opening page: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		shown := &PageError{Status: response.StatusCode}
		if err := json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(shown); err != nil {
			return "", fmt.Errorf("opening page: status %d: %w", response.StatusCode, err)
		}
		return "", shown
	}
	return response.Header.Get("Location"), nil
}
