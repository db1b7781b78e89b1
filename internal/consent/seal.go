package consent

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// version is the first byte of whatever is sealed here; JSON follows it.
const version = 1

// What is sealed is one of these, and opens as no other.
const (
	linkSeal    = "consent link"
	attemptSeal = "consent attempt"
	deviceSeal  = "consent by device code"
	undoSeal    = "consent to withdraw"
)

// The most bytes of JSON that are sealed: a link leaves room for the rest of an
// attempt, and an attempt fits into a cookie. A device code may be longer.
const (
	maxLink    = 2000
	maxAttempt = 2500
	maxDevice  = 8 << 10
)

// maxSealed is longer than anything that was sealed here.
const maxSealed = 2 * maxDevice

var errVersion = errors.New("it was made by another version")

// encode is v in JSON, without the escapes that only HTML needs.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// seal writes v as text for a URL or a cookie, from no more than most bytes.
func seal(with *secret.Sealer, as string, most int, v any) (string, error) {
	text, err := encode(v)
	if err != nil {
		return "", fmt.Errorf("sealing %s: %w", as, err)
	}
	if len(text) > most {
		return "", fmt.Errorf("sealing %s: it has %d bytes, and no more than %d fit", as, len(text), most)
	}
	sealed, err := with.Seal(append([]byte{version}, text...), as)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// open is the reverse of seal. Of one value there is one text.
func open(with *secret.Sealer, as, text string, into any) error {
	if len(text) > maxSealed {
		return fmt.Errorf("opening %s: %d characters are too many", as, len(text))
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return fmt.Errorf("opening %s: it is not base64url", as)
	}
	plain, err := with.Open(sealed, as)
	if err != nil {
		return err
	}
	if len(plain) == 0 || plain[0] != version {
		return fmt.Errorf("opening %s: %w", as, errVersion)
	}
	if err := json.Unmarshal(plain[1:], into); err != nil {
		return fmt.Errorf("opening %s: %w", as, errVersion)
	}
	return nil
}

// random is n random bytes as text.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
