package differential

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/published"
)

// subject is a key and what it is for.
type subject struct {
	name string
	key  policy.Key
	// api is the type of the provider whose APIs it is for.
	api string
	// allows says whether the key is meant to allow a method, called so.
	allows func(*published.Method, *sent) bool
	// closed is set where what nobody publishes must be refused too.
	closed bool
}

// subjects are a key with each preset, and those that must not send mail by
// their rules.
func subjects() ([]*subject, error) {
	tables, err := readTables("../presets")
	if err != nil {
		return nil, err
	}
	var all []*subject
	for _, preset := range policy.Presets() {
		table, ok := tables[preset.Name]
		if !ok {
			return nil, fmt.Errorf("no table has the preset %s", preset.Name)
		}
		all = append(all, &subject{
			name: preset.Name, api: table.api, closed: true,
			key: policy.Key{Accounts: []string{"*"}, Presets: []string{preset.Name}},
			allows: func(m *published.Method, s *sent) bool {
				return isPublic(m) || table.allows(m) && !doesMore(preset.Name, m, s)
			},
		})
	}
	for name, written := range noSend {
		rules, err := policy.ParseRules(written)
		if err != nil {
			return nil, err
		}
		for _, api := range []string{provider.TypeGoogle, provider.TypeMicrosoft} {
			all = append(all, &subject{
				name: name + ", " + api, api: api,
				key:    policy.Key{Accounts: []string{"*"}, Rules: rules},
				allows: func(m *published.Method, s *sent) bool { return !sendsMail(m) || s.host != m.Host && !isGoogle(s.host) },
			})
		}
	}
	slices.SortFunc(all, func(a, b *subject) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// The IDs of methods that no description has.
const (
	reads     = "reads"
	describes = "describes"
)

// isPublic reports whether a method gives the description of an API, of which
// everybody knows.
func isPublic(m *published.Method) bool {
	return m.ID == describes || m.ID == "discovery.apis.getRest" || m.ID == "discovery.apis.list"
}

// noSend are rules of keys that must not send mail: one that says what is
// allowed and one that says what is not.
var noSend = map[string][]string{
	"no-send, allowing": {
		"GET,HEAD gmail.googleapis.com/gmail/v1/**",
		"POST gmail.googleapis.com/gmail/v1/users/me/drafts",
		"PUT gmail.googleapis.com/gmail/v1/users/me/drafts/*",
		"GET,HEAD graph.microsoft.com/v1.0/**",
		"POST graph.microsoft.com/v1.0/me/messages",
		"POST graph.microsoft.com/v1.0/me/messages/*/createReply",
		"PATCH graph.microsoft.com/v1.0/me/messages/*",
		"!POST gmail.googleapis.com/**/send",
		"!POST graph.microsoft.com/**/send",
	},
	"no-send, forbidding": {
		"!POST gmail.googleapis.com/gmail/v1/users/me/**/send",
		"!POST graph.microsoft.com/v1.0/me/sendMail",
		"!POST graph.microsoft.com/v1.0/me/**/send",
		"!POST graph.microsoft.com/v1.0/me/**/reply",
		"!POST graph.microsoft.com/v1.0/me/**/replyAll",
		"!POST graph.microsoft.com/v1.0/me/**/forward",
	},
}

// sendsMail reports whether a method sends mail of a user.
func sendsMail(m *published.Method) bool {
	last := m.Path[strings.LastIndexByte(m.Path, '/')+1:]
	switch {
	case m.ID == "gmail.users.messages.send", m.ID == "gmail.users.drafts.send":
		return true
	case m.Verb != http.MethodPost || !strings.HasPrefix(m.Path, "/v1.0/users/{user-id}/"):
		return false
	}
	return slices.Contains([]string{"sendMail", "send", "reply", "replyAll", "forward"}, last)
}

// table is a column of a table of presets: the methods that a preset allows.
type table struct {
	api     string
	allowed map[string]bool
}

var anyParameter = regexp.MustCompile(`\{(\+?)[^{}]*\}`)

func tableKey(verb, path string) string {
	return verb + " " + anyParameter.ReplaceAllString(path, "{$1}")
}

// allows is also for what no table needs to have, because only a part of what is
// read elsewhere is read there.
func (t *table) allows(m *published.Method) bool {
	above := m.Path[:strings.LastIndexByte(m.Path, '/')]
	return t.allowed[tableKey(m.Verb, m.Path)] || m.ID == reads && t.allowed[tableKey(m.Verb, strings.TrimSuffix(above, "/{size}"))]
}

// readTables reads the tables as a person would, and nothing but the columns of
// presets, which are by name.
func readTables(dir string) (map[string]*table, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there are no tables in %s", dir)
	}
	if err != nil {
		return nil, err
	}
	tables := map[string]*table{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		api := provider.TypeGoogle
		if strings.HasPrefix(filepath.Base(file), "graph") {
			api = provider.TypeMicrosoft
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			switch {
			case len(fields) > 1 && fields[0] == "presets":
				for _, name := range fields[1:] {
					tables[name] = &table{api, map[string]bool{}}
				}
			case len(fields) > 3 && strings.HasPrefix(fields[1], "/"):
				for _, name := range fields[3:] {
					if name == "-" {
						continue
					}
					if tables[name] == nil {
						return nil, fmt.Errorf("%s: %q is no preset", file, name)
					}
					for verb := range strings.SplitSeq(fields[0], ",") {
						tables[name].allowed[tableKey(verb, fields[1])] = true
					}
				}
			}
		}
	}
	return tables, nil
}

// doesMore reports whether a call's body makes it do what the preset is against,
// to a reader who takes what is there in any form.
func doesMore(preset string, m *published.Method, s *sent) bool {
	switch {
	case preset == "gmail-no-delete" && slices.Contains(labelled, m.ID):
		return isOpaque(s) || deletesByLabel(s)
	case preset == "graph-mail-no-send" && writesMail.MatchString(m.Verb+" "+m.Path):
		return isOpaque(s) || makesRule(s)
	}
	return false
}

// isOpaque reports whether a body is to be read in another way than it looks.
func isOpaque(s *sent) bool {
	for _, field := range []string{"Content-Encoding", "Content-Type"} {
		for _, value := range s.header[field] {
			media, params, _ := strings.Cut(strings.ToLower(value), ";")
			params = strings.ReplaceAll(strings.TrimSpace(params), `"`, "")
			switch strings.TrimSpace(media) {
			case "", "identity", "application/json":
			default:
				return len(s.body) > 0
			}
			if charset, ok := strings.CutPrefix(params, "charset="); ok && charset != "utf-8" {
				return len(s.body) > 0
			}
		}
	}
	return false
}

// labelled are the methods that delete mail by way of a label.
var labelled = []string{"gmail.users.messages.modify", "gmail.users.messages.batchModify", "gmail.users.threads.modify"}

var deletingLabel = regexp.MustCompile(`(?i)trash|spam`)

// deletesByLabel reports whether a call gives mail a label with which it is
// deleted.
func deletesByLabel(s *sent) bool {
	if deletingLabel.MatchString(decodeOnce(decodeOnce(s.query))) {
		return true
	}
	var whole map[string]any
	if json.Unmarshal(s.body, &whole) != nil {
		return len(s.body) > 0
	}
	for _, values := range namedLike(s.body, "addlabelids") {
		var anything any
		if json.Unmarshal(values, &anything) != nil || deletingLabel.MatchString(fmt.Sprint(anything)) {
			return true
		}
	}
	return false
}

// writesMail finds the methods by which a message or a folder of mail is made or
// changed.
var writesMail = regexp.MustCompile(`^(POST|PATCH) /v1\.0/users/\{user-id\}/(mailFolders(/\{[^/]*\})?(/childFolders(/\{[^/]*\})?)?|(.*/)?messages(/\{[^/]*\}(/attachments|/create\w+)?)?)$`)

// ruling are the members by which a message or a folder sends or answers mail by
// itself.
var ruling = regexp.MustCompile(`(?i)extended_?propert|message_?rules|isDraft`)

// makesRule reports whether a call makes a message or a folder that does
// something by itself.
func makesRule(s *sent) bool {
	if len(s.body) == 0 {
		return false
	}
	var whole any
	return json.Unmarshal(s.body, &whole) != nil || ruling.MatchString(fmt.Sprint(whole))
}

// namedLike are the members of an object whose names are alike but for case and
// underscores.
func namedLike(object []byte, name string) []json.RawMessage {
	var found []json.RawMessage
	for member, values := range allMembers(json.NewDecoder(strings.NewReader(string(object)))) {
		if strings.ReplaceAll(member, "_", "") == name {
			found = append(found, values...)
		}
	}
	return found
}
