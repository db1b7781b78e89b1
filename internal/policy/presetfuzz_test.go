package policy

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// FuzzPreset judges any path by all presets. What a preset is for is written
// here once more, without its table.
func FuzzPreset(f *testing.F) {
	for _, o := range fuzzOperations {
		f.Add(o.method, o.host+"/"+strings.Join(o.path, "/"))
	}
	for _, p := range []string{"gmail", "calendar", "drive"} {
		for i, row := range presetRows(f, p) {
			if i%7 == 0 {
				method, path, _ := strings.Cut(sample(row[0]), " ")
				f.Add(method, path)
			}
		}
	}
	f.Add("GET", "graph.microsoft.com/beta/me/drive/root:/a/b:/workbook/worksheets/Sheet1/range(address='A1:B2')")
	f.Add("GET", "www.googleapis.com/drive/v3/files/x/approvals/y:approve")
	f.Add("POST", "content-gmail.googleapis.com/upload/gmail/v1/users/me/drafts/")
	f.Fuzz(func(t *testing.T, method, hostAndPath string) {
		if strings.ContainsAny(method+hostAndPath, " \r\n") {
			return
		}
		request, err := canonical(method, hostAndPath)
		if err != nil {
			return
		}
		facts := Facts{Account: "alice", Needs: Proxy, Now: now, Request: &request}
		for _, p := range Presets() {
			key := Key{Accounts: []string{"*"}, Presets: []string{p.Name}}
			got := Judge(&key, &facts)
			if got.Allowed == (got.Missing+got.Forbids != "") || !got.Allowed && got.Body != NoBodyCheck {
				t.Fatalf("%s: %s %s: %+v", p.Name, method, hostAndPath, got)
			}
			if !got.Allowed {
				continue
			}
			if intended := isIntended(p.Name, &request); !intended {
				t.Fatalf("%s allows %s %s", p.Name, method, hostAndPath)
			}
			// What a rule forbids is forbidden.
			key.Rules = mustParse("!" + method + " *")
			if Judge(&key, &facts).Allowed {
				t.Fatalf("%s allows %s %s against a rule", p.Name, method, hostAndPath)
			}
		}
	})
}

// isIntended reports whether a preset may allow a call, as far as its method and
// the end of its path tell.
func isIntended(preset string, q *target.Request) bool {
	path := strings.Trim(strings.ToLower(q.Path), "/")
	switch {
	case q.Method == http.MethodGet || q.Method == http.MethodHead:
		return !strings.HasSuffix(path, "generatecsetoken")
	case strings.HasSuffix(preset, "-readonly"):
		return preset == "calendar-readonly" && strings.HasSuffix(target.DecodeFully(path), "/freebusy") || strings.HasPrefix(preset, "graph-")
	case preset == "gmail-draft-only":
		return strings.Contains(target.DecodeFully(path), "/drafts") && !sends(q.Method, false, q.Path)
	case preset == "gmail-no-delete":
		return q.Method != http.MethodDelete && !strings.HasSuffix(target.DecodeFully(path), "/trash") && !strings.HasSuffix(target.DecodeFully(path), "delete")
	case preset == "graph-mail-no-send":
		return !sends(q.Method, true, q.Path)
	}
	return false
}

// FuzzCheckBody compares what is let through with a reader that takes members in
// any case, with underscores or without, and of several the last.
func FuzzCheckBody(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"addLabelIds":["STARRED"],"removeLabelIds":["TRASH"],"ids":["a"]}`, `{"addLabelIds":["TRASH"]}`,
		`{"addLabelIds":["\u0053PAM"],"addLabelIds":[]}`, `{"add_label_ids":["TRASH"]}`, `{"ADDLABELIDS":["Trash"]}`, `{"addLabelIds":[[]]}`, `[]`,
	} {
		f.Add(body)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	q := &target.Request{Method: "POST", Host: "gmail.googleapis.com", Path: "/gmail/v1/users/me/messages/x/modify"}
	decision := Decision{Allowed: true, Body: GmailLabels}
	f.Fuzz(func(t *testing.T, body string) {
		if decision.CheckBody(q, header, []byte(body)) != nil {
			return
		}
		var members map[string][]string
		if err := json.Unmarshal([]byte(body), &members); err != nil {
			t.Fatalf("%q is let through: %v", body, err)
		}
		for name, labels := range members {
			if strings.ToLower(strings.ReplaceAll(name, "_", "")) != "addlabelids" {
				continue
			}
			for _, label := range labels {
				if label = strings.ToLower(strings.TrimSpace(label)); label == "trash" || label == "spam" {
					t.Fatalf("%q is let through", body)
				}
			}
		}
	})
}
