// Package policy says who may call what: the form of keys, what a key may
// reach, and the judgement of one call. It does no I/O.
package policy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

const (
	// keyPrefix begins every key, so that scanners find keys that leak.
	keyPrefix = "bh_"
	// keyRandom base 62 digits carry 220 bits.
	keyRandom = 37
	// keyChecksum base 62 digits hold any CRC-32.
	keyChecksum = 6
	keyLength   = len(keyPrefix) + keyRandom + keyChecksum

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

	// hashPrefix names the hash where one is written by hand.
	hashPrefix = "sha256:"
	// importedLength is that of an EmailEngine token: 32 bytes in hexadecimal.
	importedLength = 2 * 32
)

// Errors of [CheckKey]. Neither says anything of the key itself.
var (
	ErrKeyForm     = errors.New(`not an API key: one is "bh_" and 43 letters and digits`)
	ErrKeyChecksum = errors.New("the API key's checksum is wrong: it was not copied whole, or mistyped")
)

// NewKey makes a key and its hash. The hash is what is stored.
func NewKey() (plaintext secret.String, hash string) {
	key := make([]byte, 0, keyLength)
	key = append(key, keyPrefix...)
	var random [2 * keyRandom]byte
	for len(key) < len(keyPrefix)+keyRandom {
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			// 248 is the greatest multiple of 62 in a byte: what is above
			// would make the first digits likelier.
			if b < 248 && len(key) < len(keyPrefix)+keyRandom {
				key = append(key, base62[b%62])
			}
		}
	}
	sum := checksum(string(key))
	key = append(key, sum[:]...)
	return secret.New(string(key)), HashKey(string(key))
}

// CheckKey reports why s cannot be a key, without asking who has it: a wrong
// form or a wrong checksum. EmailEngine's tokens, 64 hexadecimal digits, have
// no checksum.
func CheckKey(s string) error {
	if isImported(s) {
		return nil
	}
	if len(s) != keyLength || !strings.HasPrefix(s, keyPrefix) {
		return ErrKeyForm
	}
	for i := len(keyPrefix); i < len(s); i++ {
		if c := s[i]; (c < '0' || '9' < c) && (c < 'A' || 'Z' < c) && (c < 'a' || 'z' < c) {
			return ErrKeyForm
		}
	}
	// The checksum is no secret: it follows from the rest of the key.
	body := s[:len(s)-keyChecksum]
	if sum := checksum(body); s[len(body):] != string(sum[:]) {
		return ErrKeyChecksum
	}
	return nil
}

// checksum is the CRC-32 (IEEE) of the prefix and the random digits, in base
// 62, the most significant digit first.
func checksum(body string) (digits [keyChecksum]byte) {
	// As crc32.ChecksumIEEE, which would have the key copied to the heap.
	sum := ^uint32(0)
	for i := range len(body) {
		sum = crc32.IEEETable[byte(sum)^body[i]] ^ sum>>8 //nolint:gosec // the lowest byte is meant
	}
	sum = ^sum
	for i := range digits {
		digits[len(digits)-1-i] = base62[sum%62]
		sum /= 62
	}
	return digits
}

// HashKey is what a key is stored and looked up by: the SHA-256 of the whole
// key in lower-case hexadecimal, and of the 32 bytes that it stands for where
// it is EmailEngine's.
func HashKey(key string) string {
	var sum [sha256.Size]byte
	var buf [importedLength]byte
	switch {
	case isImported(key):
		n, _ := hex.Decode(buf[:], append(buf[:0], key...))
		sum = sha256.Sum256(buf[:n])
	case len(key) <= len(buf):
		sum = sha256.Sum256(append(buf[:0], key...))
	default:
		sum = sha256.Sum256([]byte(key))
	}
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], sum[:])
	return string(digits[:])
}

// ParseHash reads a key's hash as it is written in a configuration,
// "sha256:" and 64 hexadecimal digits, and gives what [HashKey] gives.
func ParseHash(s string) (string, error) {
	digits, ok := strings.CutPrefix(s, hashPrefix)
	digits = strings.ToLower(digits)
	if !ok || !isHash(digits) {
		return "", errors.New("a key's hash is written sha256:<64 hexadecimal digits>")
	}
	return digits, nil
}

// FormatHash writes what [ParseHash] reads.
func FormatHash(hash string) string { return hashPrefix + hash }

// isHash reports whether s is a hash as [HashKey] gives it.
func isHash(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

// isImported reports whether s has the form of an EmailEngine token.
func isImported(s string) bool {
	return len(s) == importedLength && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
