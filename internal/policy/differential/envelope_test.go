package differential

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
)

// graphParts reads a JSON batch as a lenient server might: of members that
// differ in case only, and of those that are there twice, each could count. All
// methods go with all URLs.
func graphParts(envelope *sent) []sent {
	var calls []sent
	version, _, _ := strings.Cut(strings.TrimPrefix(envelope.path, "/"), "/")
	d := json.NewDecoder(bytes.NewReader(envelope.body))
	for _, requests := range allMembers(d)["requests"] {
		var elements []json.RawMessage
		if json.Unmarshal(requests, &elements) != nil {
			continue
		}
		for _, element := range elements {
			members := allMembers(json.NewDecoder(bytes.NewReader(element)))
			calls = append(calls, graphPart(envelope, version, members)...)
		}
	}
	return calls
}

func graphPart(envelope *sent, version string, members map[string][]json.RawMessage) []sent {
	header := http.Header{}
	for _, fields := range members["headers"] {
		for name, values := range allMembers(json.NewDecoder(bytes.NewReader(fields))) {
			for _, v := range values {
				header.Add(name, text(v))
			}
		}
	}
	for name, values := range envelope.header {
		if isOverride(name) {
			header[name] = append(header[name], values...)
		}
	}
	methods := members["method"]
	if len(methods) == 0 {
		methods = []json.RawMessage{[]byte(`"GET"`)}
	}
	var calls []sent
	for _, method := range methods {
		for _, u := range members["url"] {
			path, query, _ := strings.Cut(escaped(text(u)), "?")
			if i := strings.Index(path, "://"); i >= 0 {
				_, path, _ = strings.Cut(path[i+3:], "/")
			}
			path = "/" + strings.TrimLeft(path, "/")
			call := sent{method: text(method), host: envelope.host, path: "/" + version + path, query: query + "&" + envelope.query, header: header}
			for _, body := range members["body"] {
				call.body = append(call.body, body...)
			}
			calls = append(calls, call)
		}
	}
	return calls
}

// text is a JSON string's, and else the JSON itself.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return string(raw)
	}
	return s
}

// escaped escapes what cannot stand in a URL.
func escaped(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>^`{|}", c) >= 0 {
			b.WriteString(url.PathEscape(string(rune(c))))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// allMembers are the members of an object by name, folded, also those that are
// there twice.
func allMembers(d *json.Decoder) map[string][]json.RawMessage {
	all := map[string][]json.RawMessage{}
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return all
	}
	for d.More() {
		token, err := d.Token()
		member, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return all
		}
		all[fold(member)] = append(all[fold(member)], value)
	}
	return all
}

// googleParts reads a multipart batch in two ways: with Go's own reader, and
// line by line, minding no blank and no kind of line end.
func googleParts(envelope *sent) []sent {
	_, params, err := mime.ParseMediaType(envelope.header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return []sent{{method: "UNKNOWN", host: envelope.host, path: "/"}}
	}
	var calls []sent
	r := multipart.NewReader(bytes.NewReader(envelope.body), params["boundary"])
	for {
		part, err := r.NextRawPart()
		if err != nil {
			break
		}
		content, err := io.ReadAll(part)
		if err != nil {
			break
		}
		calls = append(calls, googlePart(envelope, content)...)
	}
	delimiter := regexp.MustCompile(`(?m)^[ \t]*--` + regexp.QuoteMeta(params["boundary"]) + `(--)?[ \t]*\r?$`)
	for i, content := range delimiter.Split(string(envelope.body), -1) {
		if i == 0 {
			continue // a preamble
		}
		_, message, ok := cutBlankLine(content)
		if ok {
			calls = append(calls, googlePart(envelope, []byte(message))...)
		}
	}
	return calls
}

var blankLine = regexp.MustCompile(`\r?\n[ \t]*\r?\n`)

func cutBlankLine(text string) (before, behind string, ok bool) {
	at := blankLine.FindStringIndex(text)
	if at == nil {
		return "", "", false
	}
	return text[:at[0]], text[at[1]:], true
}

// googlePart reads the request in a part, and any that might follow it there: a
// server that takes its end for another would go on with the next.
func googlePart(envelope *sent, content []byte) []sent {
	var calls []sent
	r := bufio.NewReader(bytes.NewReader(content))
	line, err := r.ReadString('\n')
	for err == nil && strings.TrimSpace(line) == "" {
		line, err = r.ReadString('\n')
	}
	method, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
	if !ok {
		return calls
	}
	raw, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	header, _ := textproto.NewReader(r).ReadMIMEHeader()
	body, _ := io.ReadAll(r)
	host := envelope.host
	if i := strings.Index(raw, "://"); i >= 0 && !strings.ContainsAny(raw[:i], "/?") {
		var path string
		host, path, _ = strings.Cut(raw[i+3:], "/")
		raw = "/" + path
	}
	for _, other := range header["Host"] {
		host = other
	}
	path, query, _ := strings.Cut(raw, "?")
	all := http.Header(header).Clone()
	if all == nil {
		all = http.Header{}
	}
	for name, values := range envelope.header {
		if isOverride(name) {
			all[name] = append(all[name], values...)
		}
	}
	return append(calls, sent{method: method, host: strings.ToLower(host), path: path, query: query + "&" + envelope.query, header: all, body: body})
}
