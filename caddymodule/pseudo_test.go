package caddymodule

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// The few frames of HTTP/2 that the test needs (RFC 9113 section 6).
const (
	frameData      = 0x0
	frameHeaders   = 0x1
	frameReset     = 0x3
	frameSettings  = 0x4
	frameGoAway    = 0x7
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagAck        = 0x1
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
	head = append(head, kind, flags)
	return append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

// fieldBlock writes fields, of name and value, as they are: each a literal that
// is not indexed (RFC 7541 section 6.2.2).
func fieldBlock(fields ...string) []byte {
	var block []byte
	for i, text := range fields {
		if i%2 == 0 {
			block = append(block, 0)
		}
		if n := len(text); n < 127 {
			block = append(block, byte(n))
		} else {
			block = append(block, 127)
			block = binary.AppendUvarint(block, uint64(n-127))
		}
		block = append(block, text...)
	}
	return block
}

// speakHTTP2 sends one stream on a connection of its own, and reads until the
// server has ended the stream or the connection.
func (l lane) speakHTTP2(block, data []byte) error {
	addr := strings.TrimPrefix(l.url, "https://")
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: l.roots, NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(l.t.Context(), "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	text := slices.Concat([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, nil))
	if data == nil {
		text = append(text, frame(frameHeaders, flagEndStream|flagEndHeaders, 1, block)...)
	} else {
		text = append(text, frame(frameHeaders, flagEndHeaders, 1, block)...)
		text = append(text, frame(frameData, flagEndStream, 1, data)...)
	}
	if _, err := conn.Write(text); err != nil {
		return err
	}
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		size := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, conn, size); err != nil {
			return err
		}
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		switch {
		case kind == frameSettings && flags&flagAck == 0:
			_, _ = conn.Write(frame(frameSettings, flagAck, 0, nil))
		case kind == frameGoAway, stream == 1 && kind == frameReset, stream == 1 && flags&flagEndStream != 0 && kind <= frameHeaders:
			return nil
		}
	}
}

// TestOddPseudoFieldsReachTheAPINeverOrAsJudged is the corpus of what only
// HTTP/2 can say.
func TestOddPseudoFieldsReachTheAPINeverOrAsJudged(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		if l.callerMajor != 2 {
			return
		}
		authority := strings.TrimPrefix(l.url, "https://")
		path := l.call + "/a/b"
		request := func(method, scheme, authority, path string, more ...string) []string {
			return append([]string{":method", method, ":scheme", scheme, ":authority", authority, ":path", path, "x-bellhop-key", l.key}, more...)
		}
		get := func(more ...string) []string { return request("GET", "https", authority, path, more...) }
		at := func(path string) []string { return request("GET", "https", authority, path) }
		by := func(method string) []string { return request(method, "https", authority, path) }
		never := map[string][]string{
			"no method":                   {":scheme", "https", ":authority", authority, ":path", path, "x-bellhop-key", l.key},
			"no path":                     {":method", "GET", ":scheme", "https", ":authority", authority, "x-bellhop-key", l.key},
			"no scheme":                   {":method", "GET", ":authority", authority, ":path", path, "x-bellhop-key", l.key},
			"two paths":                   get(":path", path),
			"two methods":                 append([]string{":method", "DELETE"}, get()...),
			"two authorities":             append([]string{":authority", "evil.example"}, get()...),
			"pseudo-field behind a field": append([]string{"accept", "a/b"}, get()...),
			"unknown pseudo-field":        append([]string{":token", "x"}, get()...),
			"pseudo-field of an answer":   append([]string{":status", "200"}, get()...),
			"tunnel":                      append([]string{":protocol", "websocket"}, by("CONNECT")...),
			"CONNECT":                     {":method", "CONNECT", ":authority", "api.acme.example:443", "x-bellhop-key", l.key},
			"CONNECT with a path":         by("CONNECT"),
			"TRACE":                       by("TRACE"),
			"method in small letters":     by("get"),
			"method with a space":         by("GET /x"),
			"method with a line end":      by("GET\r\nX-Custom: y"),
			"empty method":                by(""),
			"empty path":                  at(""),
			"path without a slash":        at(path[1:]),
			"path of all":                 at("*"),
			"absolute path":               at("https://" + authority + path),
			"double slash":                at("/" + path),
			"dot segments":                at(path + "/../c"),
			"encoded dot segments":        at(path + "/%2e%2e/c"),
			"space in the path":           at(path + " HTTP/1.1"),
			"line end in the path":        at(path + " HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
			"NUL in the path":             at(path + "\x00"),
			"fragment":                    at(path + "#c"),
			"backslash":                   at(path + "\\c"),
			"not ASCII":                   at(path + "\xc3\xa9"),
			"user in the authority":       request("GET", "https", "user@"+authority, path),
			"another authority":           request("GET", "https", "evil.example", path),
			"line end in the authority":   request("GET", "https", authority+"\r\nX: y", path),
			"capitals in a name":          get("X-Custom", "y"),
			"empty name":                  get("", "y"),
			"space in a name":             get("x custom", "y"),
			"colon in a name":             get("x-custom:", "y"),
			"line end in a name":          get("x-custom\r\nx-other", "y"),
			"line end in a value":         get("x-custom", "y\r\nx-other: z"),
			"LF in a value":               get("x-custom", "y\nx-other: z"),
			"NUL in a value":              get("x-custom", "y\x00"),
			"connection":                  get("connection", "authorization"),
			"keep-alive":                  get("keep-alive", "timeout=5"),
			"transfer-encoding":           get("transfer-encoding", "chunked"),
			"upgrade":                     get("upgrade", "h2c"),
			"proxy-connection":            get("proxy-connection", "close"),
			"te":                          get("te", "gzip"),
			"two keys":                    get("x-bellhop-key", l.key),
			"two credentials":             get("authorization", "Bearer x", "authorization", "Bearer y"),
			"page":                        get("sec-fetch-dest", "document"),
			"another host beside":         get("host", "evil.example"),
			"a length beyond the body":    get("content-length", "5"),
			"a length short of the body":  get("content-length", "3"),
			"two lengths":                 get("content-length", "4", "content-length", "5"),
			"a length that is no number":  get("content-length", "4x"),
		}
		once := map[string][]string{
			"plain":              get(),
			"scheme http":        request("GET", "http", authority, path),
			"credentials":        get("authorization", "Bearer x", "cookie", "a=b", "cookie", "c=d", "proxy-authorization", "Basic eDp5", "x-goog-api-key", "AIza"),
			"network":            get("x-forwarded-for", "192.0.2.1", "forwarded", "for=x", "via", "2 x", "origin", "null", "referer", "https://x.example/", "x-real-ip", "192.0.2.1"),
			"overrides":          get("x-http-method-override", "DELETE", "x-http-method", "DELETE", "x-goog-user-project", "x"),
			"trailers announced": get("te", "trailers"),
			"underscores":        get("authorization_", "Bearer x", "x_forwarded_for", "x"),
			"empty expectation":  get("x-custom", ""),
		}
		l.api.handle(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // an API acts on what is whole
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			l.api.record(r)
		})
		for name, fields := range never {
			var data []byte
			if strings.Contains(name, "length") {
				data = []byte("body")
			}
			if err := l.speakHTTP2(fieldBlock(fields...), data); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, got := range l.api.take() {
				t.Errorf("%s arrived: %+v", name, got)
			}
		}
		for name, fields := range once {
			if err := l.speakHTTP2(fieldBlock(fields...), nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			taken := l.api.take()
			if len(taken) != 1 {
				t.Errorf("%s: arrived %d times", name, len(taken))
				continue
			}
			got := taken[0]
			var odd []string
			for field := range got.Header {
				if !slices.Contains([]string{"Authorization", "Te", "X-Custom"}, field) {
					odd = append(odd, field)
				}
			}
			token := got.Header.Values("Authorization")
			host := l.call[strings.LastIndexByte(l.call, '/')+1:]
			if len(odd) > 0 || got.Method != http.MethodGet || got.Target != "/a/b" || got.Host != host || len(token) != 1 || !strings.HasPrefix(token[0], "Bearer ya29.") {
				t.Errorf("%s arrived with %v: %+v", name, odd, got)
			}
		}
		if bytes.Contains(fieldBlock(get()...), []byte("X-")) {
			t.Error("the fields are not in small letters, so that each is refused for that")
		}
	})
}
