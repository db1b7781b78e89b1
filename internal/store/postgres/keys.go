package postgres

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// checkPart refuses what cannot stand in a parameter of type text.
func checkPart(name, part string) error {
	if !utf8.ValidString(part) || strings.ContainsRune(part, 0) {
		return fmt.Errorf("%w: %s %q is not a part of a key", store.ErrInvalid, name, part)
	}
	return nil
}

// successor is the first key after all that begin with prefix, or empty where
// there is none. The order of UTF-8's bytes is that of its characters, so the
// last character that has a next one is raised.
func successor(prefix string) string {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case last == utf8.MaxRune:
			continue
		case last+1 == 0xD800: // surrogates are no characters
			last = 0xDFFF
		}
		return prefix + string(last+1)
	}
	return ""
}
