package emailengine

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"strings"
	"sync"

	"golang.org/x/crypto/scrypt"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// The form of a sealed value:
//
//	$wd01$aes-256-gcm$<tag>$<nonce>$<salt>$<ciphertext>
const (
	sealedScheme = "wd01"
	sealedCipher = "aes-256-gcm"
	sealedParts  = 7
)

// The cost of the key derivation (RFC 7914): Node's defaults.
const (
	scryptN   = 1 << 14
	scryptR   = 8
	scryptP   = 1
	keyLength = 32
)

// maxKeys is how many derived keys are kept. EmailEngine draws a salt for each
// value, so that few are seen twice.
const maxKeys = 1024

// Errors of a value that cannot be opened. None quotes it.
var (
	errNoSecret    = errors.New("is encrypted, and no secret was given: give the instance's EENGINE_SECRET")
	errWrongSecret = errors.New("cannot be decrypted: it was encrypted with another secret than the one given, or is damaged")
	errDamaged     = errors.New("is encrypted, and damaged")
	errScheme      = errors.New("is encrypted in a way that is not known here (another scheme than wd01 with aes-256-gcm)")
)

// opener opens what an EmailEngine sealed with its secret. It is safe for
// concurrent use.
type opener struct {
	secret secret.String

	mu   sync.Mutex
	keys map[string][]byte
}

func newOpener(sealed secret.String) *opener {
	return &opener{secret: sealed, keys: make(map[string][]byte)}
}

// open returns a value that may be sealed or not.
func (o *opener) open(value string) (secret.String, error) {
	if !strings.HasPrefix(value, "$") {
		return secret.New(value), nil
	}
	parts := strings.Split(value, "$")
	switch {
	case len(parts) > 1 && parts[1] == sealedScheme && (len(parts) != sealedParts || parts[2] != sealedCipher):
		return secret.String{}, errDamaged
	case len(parts) != sealedParts:
		return secret.New(value), nil
	case parts[1] != sealedScheme:
		return secret.String{}, errScheme
	}
	var decoded [4][]byte // tag, nonce, salt, ciphertext
	for i := range decoded {
		var err error
		if decoded[i], err = hex.DecodeString(parts[3+i]); err != nil || len(decoded[i]) == 0 {
			return secret.String{}, errDamaged
		}
	}
	tag, nonce, salt, ciphertext := decoded[0], decoded[1], decoded[2], decoded[3]
	if o.secret.IsZero() {
		return secret.String{}, errNoSecret
	}
	key, err := o.key(salt)
	if err != nil {
		return secret.String{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return secret.String{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return secret.String{}, err
	}
	if len(nonce) != aead.NonceSize() || len(tag) != aead.Overhead() {
		return secret.String{}, errDamaged
	}
	plain, err := aead.Open(nil, nonce, append(ciphertext, tag...), nil)
	if err != nil {
		return secret.String{}, errWrongSecret
	}
	return secret.New(string(plain)), nil
}

// key is the one for the salt. Deriving it takes tens of milliseconds and 16 MiB.
func (o *opener) key(salt []byte) ([]byte, error) {
	o.mu.Lock()
	key := o.keys[string(salt)]
	o.mu.Unlock()
	if key != nil {
		return key, nil
	}
	key, err := scrypt.Key([]byte(o.secret.Reveal()), salt, scryptN, scryptR, scryptP, keyLength)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.keys) >= maxKeys {
		clear(o.keys)
	}
	o.keys[string(salt)] = key
	return key, nil
}
