package fakeprovider

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestDiscoveryDocuments(t *testing.T) {
	f := start(t, Options{})
	type document struct{ Name, Version, RootURL, BaseURL, MTLSRootURL, ServicePath, BatchPath string }
	gmail := document{"gmail", "v1", "https://gmail.googleapis.com/", "https://gmail.googleapis.com/", "https://gmail.mtls.googleapis.com/", "", "batch"}
	drive := document{"drive", "v3", "https://www.googleapis.com/", "https://www.googleapis.com/drive/v3/", "https://www.mtls.googleapis.com/", "drive/v3/", "batch/drive/v3"}
	for target, want := range map[string]document{
		"https://gmail.googleapis.com/$discovery/rest?version=v1":    gmail,
		"https://www.googleapis.com/discovery/v1/apis/gmail/v1/rest": gmail,
		"https://www.googleapis.com/discovery/v1/apis/drive/v3/rest": drive,
		"https://drive.googleapis.com/$discovery/rest?version=v3":    drive,
		f.URL + "/$discovery/rest?version=v1":                        gmail,
	} {
		_, body := f.want(200, sent{method: "GET", target: target})
		if got := decodeAs[document](t, body); got != want {
			t.Errorf("%s: got %+v, want %+v", target, got, want)
		}
		f.want(401, sent{method: "GET", target: target, token: "x"})
	}
	f.want(404, sent{method: "GET", target: "https://gmail.googleapis.com/$discovery/rest?version=v3"})
	f.want(404, sent{method: "GET", target: "https://graph.microsoft.com/discovery/v1/apis/drive/v3/rest"})
	if got := f.Stats().UnwantedTokens; got != 5 {
		t.Errorf("counted %d unwanted tokens, want 5", got)
	}
}

// discovered is what is read of a discovery document.
type discovered struct {
	ServicePath string
	Schemas     map[string]any
	Resources   map[string]resource
}

type resource struct {
	Methods map[string]struct {
		HTTPMethod, Path string
		Parameters       map[string]struct{ Location string }
		Request          struct {
			Ref string `json:"$ref"`
		}
		Response struct {
			Ref string `json:"$ref"`
		}
		MediaUpload struct {
			Protocols map[string]struct{ Path string }
		}
	}
	Resources map[string]resource
}

// TestDiscoveredMethodsExist calls every method of the documents with nothing
// in it: the server may refuse the call, but not the path.
func TestDiscoveredMethodsExist(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	fill := strings.NewReplacer(
		"{userId}", "me", "{messageId}", messageID(1), "/attachments/{id}", "/attachments/"+attachmentID,
		"{id}", messageID(1), "{fileId}", fileID(2),
	)
	calls := 0
	var check func(d discovered, r resource)
	check = func(d discovered, r resource) {
		for name, method := range r.Methods {
			paths := []string{"/" + d.ServicePath + method.Path}
			if simple := method.MediaUpload.Protocols["simple"].Path; simple != "" {
				paths = append(paths, simple+"?uploadType=resumable")
			}
			for _, path := range paths {
				calls++
				answer, body := f.send(sent{method: method.HTTPMethod, target: fill.Replace(path), token: token})
				if answer.StatusCode == http.StatusNotFound && strings.Contains(body, "Requested entity") && name != "send" {
					t.Errorf("%s %s: got %d %s", method.HTTPMethod, path, answer.StatusCode, body)
				}
			}
			for _, ref := range []string{method.Request.Ref, method.Response.Ref} {
				if ref != "" && d.Schemas[ref] == nil {
					t.Errorf("%s refers to %s, which is missing", name, ref)
				}
			}
		}
		for _, inner := range r.Resources {
			check(d, inner)
		}
	}
	for _, document := range [][]byte{gmailDiscovery, driveDiscovery} {
		var d discovered
		if err := json.Unmarshal(document, &d); err != nil {
			t.Fatal(err)
		}
		for _, r := range d.Resources {
			check(d, r)
		}
	}
	if calls != 16 {
		t.Errorf("made %d calls, want 16", calls)
	}
}

func TestJSONIsCompressedWhereWanted(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	if err := f.Configure(func(s *Settings) error { s.Compress = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		target, accept string
		want           bool
	}{
		{graphAPI + "/me", "gzip", true},
		{graphAPI + "/nowhere", "br, GZIP;q=0.5", true},
		{"https://graph.microsoft.com" + LargePath, "gzip", true},
		{driveAPI, "gzip", true},
		{f.URL + "/echo/", "gzip", true},
		{graphAPI + "/me", "gzip;q=0", false},
		{graphAPI + "/me", "br", false},
		{f.URL + "/bytes/100", "gzip", false},
		{graphAPI + "/me/messages/" + messageID(1) + "/$value", "gzip", false},
	} {
		answer, body := f.send(sent{method: "GET", target: test.target, token: token, header: map[string]string{"Accept-Encoding": test.accept}})
		if got := answer.Header.Get("Content-Encoding") == "gzip"; got != test.want {
			t.Errorf("%s with %q: compressed is %v", test.target, test.accept, got)
		}
		if !test.want {
			continue
		}
		reader, err := gzip.NewReader(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := io.ReadAll(reader); err != nil || !json.Valid(plain) {
			t.Errorf("%s: %q, %v", test.target, plain, err)
		}
	}
	if err := f.Configure(func(s *Settings) error { s.Compress = false; return nil }); err != nil {
		t.Fatal(err)
	}
	answer, _ := f.send(sent{method: "GET", target: graphAPI + "/me", token: token, header: map[string]string{"Accept-Encoding": "gzip"}})
	if got := fmt.Sprint(answer.Header["Content-Encoding"]); got != "[]" {
		t.Errorf("Content-Encoding is %s though compression is off", got)
	}
}
