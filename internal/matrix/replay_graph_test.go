package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// graphDotnet is how Microsoft's library for .NET calls Graph.
func graphDotnet(ctx context.Context, c *caller, args ...string) error {
	base := c.env["BELLHOP_GRAPH"] + "/v1.0"
	switch operation(args[0]) {
	case plain:
		var me struct{ Mail string }
		if err := c.get(ctx, base+"/me", &me); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.stdout, me.Mail)
		return err
	case pages:
		return graphPages(ctx, c, base+"/me/messages?$top=100")
	case upload:
		content, err := os.Open(args[1])
		if err != nil {
			return err
		}
		defer content.Close()
		a, err := c.send(ctx, request{
			method: http.MethodPut, url: base + "/me/drive/root:/" + filepath.Base(args[1]) + ":/content",
			header: http.Header{"Content-Type": {"application/octet-stream"}}, body: content,
		})
		if err != nil {
			return err
		}
		return c.printID(a.body)
	case resumable:
		return graphResumable(ctx, c, base, args[1])
	case batch:
		return graphBatch(ctx, c, base)
	case download:
		return graphDownload(ctx, c, base+"/me/drive/items/"+args[1]+"/content", args[2])
	}
	return fmt.Errorf("no operation %q", args[0])
}

func graphPages(ctx context.Context, c *caller, next string) error {
	count := 0
	for next != "" {
		var page struct {
			Value []struct{}
			Next  string `json:"@odata.nextLink"`
		}
		if err := c.get(ctx, next, &page); err != nil {
			return err
		}
		count, next = count+len(page.Value), page.Next
	}
	_, err := fmt.Fprintln(c.stdout, count, "messages")
	return err
}

// graphResumable sends no key to the session.
func graphResumable(ctx context.Context, c *caller, base, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	a, err := c.send(ctx, request{
		method: http.MethodPost, url: base + "/me/drive/root:/" + filepath.Base(name) + ":/createUploadSession",
		header: jsonHeader(), body: strings.NewReader(`{"item":{"@microsoft.graph.conflictBehavior":"replace"}}`),
	})
	if err != nil {
		return err
	}
	var session struct{ UploadURL string }
	if err := json.Unmarshal(a.body, &session); err != nil {
		return err
	}
	last, err := c.putChunks(ctx, session.UploadURL, file, 50*320<<10, http.StatusAccepted, true)
	if err != nil {
		return err
	}
	return c.printID(last.body)
}

// graphBatch cuts the first five bytes off each part's path and query, which it
// takes for the version.
func graphBatch(ctx context.Context, c *caller, base string) error {
	type part struct {
		ID     string `json:"id"`
		URL    string `json:"url"`
		Method string `json:"method"`
	}
	var envelope struct {
		Requests []part `json:"requests"`
	}
	for i, call := range []string{"/me", "/me/messages?$top=1"} {
		u, err := url.Parse(base + call)
		if err != nil {
			return err
		}
		envelope.Requests = append(envelope.Requests, part{fmt.Sprint(i + 1), u.RequestURI()[len("/v1.0"):], http.MethodGet})
	}
	body, err := json.Marshal(envelope)
	if err != nil {
		return err
	}
	a, err := c.send(ctx, request{method: http.MethodPost, url: base + "/$batch", header: jsonHeader(), body: bytes.NewReader(body)})
	if err != nil {
		return err
	}
	var answers struct {
		Responses []struct {
			ID     string
			Status int
			Body   json.RawMessage
		}
	}
	if err := json.Unmarshal(a.body, &answers); err != nil {
		return err
	}
	for _, r := range answers.Responses {
		if r.Status != http.StatusOK {
			return fmt.Errorf("part %s: %d %s", r.ID, r.Status, r.Body)
		}
	}
	_, err = fmt.Fprintln(c.stdout, len(answers.Responses), "parts")
	return err
}

// graphDownload follows the redirect, with the key, for it is to the same host.
func graphDownload(ctx context.Context, c *caller, from, to string) error {
	a, err := c.send(ctx, request{method: http.MethodGet, url: from})
	if err != nil {
		return err
	}
	if a, err = c.send(ctx, request{method: http.MethodGet, url: a.header.Get("Location")}); err != nil {
		return err
	}
	return os.WriteFile(to, a.body, 0o600)
}
