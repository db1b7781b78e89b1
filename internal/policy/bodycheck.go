package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// BodyCheck is what the body of a call must be for the call to be allowed.
type BodyCheck uint8

// The checks.
const (
	// NoBodyCheck: the body may be anything.
	NoBodyCheck BodyCheck = iota
	// GmailLabels: labels are added and taken off, but no mail goes to the trash
	// or to spam, where Gmail deletes it after 30 days.
	GmailLabels
	// GraphMessage: a message has nothing but what [messageMembers] names.
	GraphMessage
	// GraphMailFolder: a folder of mail likewise, see [mailFolderMembers].
	GraphMailFolder
)

// How long a body may be that is checked, in bytes: a message's is as long as
// Graph takes one, for the attachments of drafts.
const (
	maxMessageBody = 4 << 20
	maxCheckedBody = 64 << 10
)

// Limit is how long a body may be that is checked so, in bytes.
func (c BodyCheck) Limit() int {
	if c == GraphMessage {
		return maxMessageBody
	}
	return maxCheckedBody
}

// bodyChecks are the checks as tables name them.
var bodyChecks = map[string]BodyCheck{
	"gmail-labels":      GmailLabels,
	"graph-message":     GraphMessage,
	"graph-mail-folder": GraphMailFolder,
}

// labelMembers are the members of the bodies of messages.modify, batchModify and
// threads.modify: lists of strings.
var labelMembers = []string{"addLabelIds", "ids", "removeLabelIds"}

// harmlessQuery are the parameters of Google's that say nothing of what is to be
// done. Others might do so in the place of the body.
var harmlessQuery = []string{"$alt", "$fields", "$prettyPrint", "$.xgafv", "alt", "fields", "key", "prettyPrint", "quotaUser"}

// shapingQuery are the options of OData's that say how the answer is to be, which
// Graph takes without the "$" too. Exchange has had one that sends what is
// created: MessageDisposition.
var shapingQuery = []string{"$count", "$expand", "$format", "$select", "count", "expand", "format", "select"}

// CheckBody judges the whole body of an allowed call with the rest of it.
// It allows only what it understands to the last member. The error is a
// [problem.Problem].
func (d Decision) CheckBody(q *target.Request, header http.Header, body []byte) error {
	var err error
	switch {
	case d.Body == NoBodyCheck:
		return nil
	case len(body) > d.Body.Limit():
		err = fmt.Errorf("send at most %d KiB", d.Body.Limit()>>10)
	case d.Body == GmailLabels:
		err = checkLabels(q, header, body)
	case d.Body == GraphMessage:
		err = checkGraph(q, header, body, messageMembers)
	case d.Body == GraphMailFolder:
		err = checkGraph(q, header, body, mailFolderMembers)
	default:
		err = errors.New("nobody knows how to look at it")
	}
	if err == nil {
		return nil
	}
	return problem.New(problem.NotAllowed, cmp.Or(d.label, "the API key")+" does not allow this call with this body, by which its preset judges it: "+err.Error())
}

func checkLabels(q *target.Request, header http.Header, body []byte) error {
	if !strings.HasPrefix(q.Path, "/gmail/") {
		return errors.New("send it to the path that begins with /gmail/")
	}
	if err := checkPlainJSON(header); err != nil {
		return err
	}
	if err := checkQuery(q.RawQuery, harmlessQuery); err != nil {
		return err
	}
	lists, err := readLists(body, labelMembers)
	if err != nil {
		return err
	}
	for _, label := range lists["addLabelIds"] {
		if err := checkAddedLabel(label); err != nil {
			return err
		}
	}
	return nil
}

func checkGraph(q *target.Request, header http.Header, body []byte, names []string) error {
	if err := checkQuery(q.RawQuery, shapingQuery); err != nil {
		return err
	}
	return checkMembers(header, body, names)
}

// checkQuery refuses a query with other parameters than those.
func checkQuery(raw string, names []string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("send a query that is well formed")
	}
	for name := range values {
		if !slices.Contains(names, name) {
			return fmt.Errorf("leave out the parameter %q", shortened(name))
		}
	}
	return nil
}

// checkAddedLabel refuses the labels by which mail is deleted, and what Gmail
// might take for one of them.
func checkAddedLabel(label string) error {
	switch {
	case strings.EqualFold(label, "TRASH"), strings.EqualFold(label, "SPAM"):
		return fmt.Errorf("it does not let mail get the label %s, with which Gmail deletes it after 30 days", strings.ToUpper(label))
	case label == "" || strings.Trim(label, base62+"_-") != "":
		return fmt.Errorf("%q is no ID of a label: send letters, digits, _ and -", label)
	}
	return nil
}

// checkPlainJSON refuses a body that an API might read as something else than it
// says.
func checkPlainJSON(header http.Header) error {
	if coding := strings.Join(header["Content-Encoding"], ","); coding != "" && !strings.EqualFold(coding, "identity") {
		return errors.New("send it without Content-Encoding")
	}
	types := header["Content-Type"]
	if len(types) != 1 {
		return errors.New("send it with one Content-Type, application/json")
	}
	media, params, err := mime.ParseMediaType(types[0])
	charset, has := params["charset"]
	if err != nil || media != "application/json" || len(params) > 1 || has && !strings.EqualFold(charset, "utf-8") || len(params) == 1 && !has {
		return errors.New("send it with the Content-Type application/json, in UTF-8")
	}
	return nil
}

// readLists reads a JSON object whose members are lists of strings (RFC 8259).
// It must have no other members, and none twice.
func readLists(body []byte, names []string) (map[string][]string, error) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, errors.New("send JSON that is well formed, in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New("send a JSON object")
	}
	lists := make(map[string][]string)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("leave out the member %q: there are %s", name, strings.Join(names, ", "))
		}
		if _, twice := lists[name]; twice {
			return nil, fmt.Errorf("send the member %q once", name)
		}
		if lists[name], err = readList(d); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return lists, nil
}

var errNoList = errors.New("send a list of strings")

func readList(d *json.Decoder) ([]string, error) {
	if token, err := d.Token(); err != nil || token != json.Delim('[') {
		return nil, errNoList
	}
	list := []string{}
	for d.More() {
		token, err := d.Token()
		s, ok := token.(string)
		if err != nil || !ok {
			return nil, errNoList
		}
		list = append(list, s)
	}
	_, err := d.Token() // the bracket
	return list, err
}
