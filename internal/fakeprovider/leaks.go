package fakeprovider

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// keyForm is the form of the keys of the proxy in front.
var keyForm = regexp.MustCompile(`bh_[0-9A-Za-z]{43}`)

// mentionsKey looks for a key in text, also behind two layers of
// percent-encoding.
func mentionsKey(text string) bool {
	for range 3 {
		if strings.Contains(text, "bh_") && keyForm.MatchString(text) {
			return true
		}
		decoded, err := url.PathUnescape(text)
		if err != nil || decoded == text {
			return false
		}
		text = decoded
	}
	return false
}

// leaksKey looks for a key in the request line and the header fields.
func leaksKey(r *http.Request) bool {
	if mentionsKey(r.RequestURI) || mentionsKey(r.Host) {
		return true
	}
	for name, values := range r.Header {
		if mentionsKey(name) {
			return true
		}
		for _, value := range values {
			if mentionsKey(value) || mentionsKey(basicCredentials(value)) {
				return true
			}
		}
	}
	return false
}

// basicCredentials decodes the credentials of RFC 7617.
func basicCredentials(value string) string {
	scheme, encoded, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return ""
	}
	decoded, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	return string(decoded)
}

// refuseLeak counts a request with a key in it and answers 400.
func (s *Server) refuseLeak(w http.ResponseWriter) {
	s.mu.Lock()
	s.totals.LeakedKeys++
	s.mu.Unlock()
	writeJSON(w, http.StatusBadRequest, map[string]string{
		"error": "leaked_key", "error_description": "The request contains a key of the proxy in front.",
	})
}
