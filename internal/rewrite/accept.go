package rewrite

import (
	"net/http"
	"strings"
)

// Accept takes out of a caller's Accept-Encoding (RFC 9110 section 12.5.3) the
// codings that [Response] cannot open, and "*", so that no answer comes in one.
// Where nothing is left, "identity" is.
func Accept(h http.Header) {
	asked := h["Accept-Encoding"]
	if len(asked) == 0 || len(asked) == 1 && asked[0] == "gzip" { // what most clients send
		return
	}
	var kept []string
	for _, value := range asked {
		for element := range strings.SplitSeq(value, ",") {
			element = strings.TrimSpace(element)
			name, _, _ := strings.Cut(element, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip", "deflate", "br", "zstd", "identity":
				kept = append(kept, element)
			}
		}
	}
	if len(kept) == 0 {
		kept = append(kept, "identity")
	}
	h["Accept-Encoding"] = []string{strings.Join(kept, ", ")}
}
