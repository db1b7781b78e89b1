package fakeprovider

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// signingKeys are made as they are needed, and once per process: making them is
// slow, and nothing that they protect is worth a key of its own.
var signingKeys keyRing

type keyRing struct {
	mu   sync.Mutex
	made map[int]*rsa.PrivateKey
}

// forged is the number of a key that is never published.
const forged = -1

func (k *keyRing) key(number int) *rsa.PrivateKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made[number] == nil {
		made, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(fmt.Sprintf("making a signing key: %v", err)) // never fails
		}
		if k.made == nil {
			k.made = map[int]*rsa.PrivateKey{}
		}
		k.made[number] = made
	}
	return k.made[number]
}

// jwk is the public half with its ID.
func (k *keyRing) jwk(number int) jose.JSONWebKey {
	public := jose.JSONWebKey{Key: k.key(number).Public(), Algorithm: string(jose.RS256), Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		panic(fmt.Sprintf("naming a signing key: %v", err)) // never fails for RSA
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return public
}

// sign makes a JWS with the key of that number, in the name of the key keyID.
func (k *keyRing) sign(number int, keyID string, payload []byte) string {
	options := (&jose.SignerOptions{}).WithType("JWT")
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.key(number), KeyID: keyID},
	}, options)
	if err != nil {
		panic(fmt.Sprintf("making a signer: %v", err)) // never fails for RSA
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(fmt.Sprintf("signing: %v", err)) // likewise
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		panic(fmt.Sprintf("signing: %v", err)) // likewise
	}
	return compact
}

// RotateKeys makes the server sign ID tokens with a new key, and publish no
// other.
func (s *Server) RotateKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keyNumber++
}

// jwks publishes the keys of ID tokens (RFC 7517).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	number := s.keyNumber
	fault := s.takeFault(faultCall{endpoint: EndpointKeys, path: r.URL.Path})
	s.mu.Unlock()
	s.serve(w, r, fault, OAuth2, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{signingKeys.jwk(number)}})
	})
}
