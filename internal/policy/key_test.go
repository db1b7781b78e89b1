package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// vectors are keys whose checksums another program computed; that of the last
// one begins with zeros.
var vectors = []string{
	"bh_00000000000000000000000000000000000003kJqdi",
	"bh_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz4EfEuo",
	"bh_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZa32YnpW",
	"bh_PQRSTUVWXYZabcdefghijklmnopqrstuvwxyz1s7D8F",
	"bh_000000000000000000000000000000000026300KrWG",
}

// withChecksum completes a key by arithmetic of its own.
func withChecksum(body string) string {
	n := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(body))))
	// big.Int writes 0-9a-zA-Z.
	swapped := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, n.Text(62))
	return body + fmt.Sprintf("%06s", swapped)
}

func TestNewKeysPassTheirOwnCheck(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		key, hash := NewKey()
		plain := key.Reveal()
		if err := CheckKey(plain); err != nil {
			t.Fatalf("CheckKey of a new key: %v", err)
		}
		if want := withChecksum(plain[:len(plain)-6]); plain != want {
			t.Fatalf("checksum is %s, want %s", plain[40:], want[40:])
		}
		if len(plain) != 46 || seen[plain] {
			t.Fatalf("a new key has %d characters, seen before: %t", len(plain), seen[plain])
		}
		sum := sha256.Sum256([]byte(plain))
		if hash != hex.EncodeToString(sum[:]) || hash != HashKey(plain) {
			t.Fatalf("hash %s is not the SHA-256 of the key", hash)
		}
		if !target.MentionsKey("x=" + plain) {
			t.Fatal("target does not recognise a key of this package")
		}
		seen[plain] = true
	}
}

func TestChecksumVectors(t *testing.T) {
	for _, key := range vectors {
		if err := CheckKey(key); err != nil {
			t.Errorf("CheckKey(%s): %v", key, err)
		}
		if withChecksum(key[:40]) != key {
			t.Errorf("checksum of %s is %s", key[:40], withChecksum(key[:40])[40:])
		}
	}
}

func TestCheckKeyRefuses(t *testing.T) {
	good := vectors[0]
	for name, c := range map[string]struct {
		key  string
		want error
	}{
		"nothing":               {"", ErrKeyForm},
		"prefix alone":          {"bh_", ErrKeyForm},
		"capital prefix":        {"BH_" + good[3:], ErrKeyForm},
		"one too short":         {good[:45], ErrKeyForm},
		"one too long":          {good + "0", ErrKeyForm},
		"trailing newline":      {good[:45] + "\n", ErrKeyForm},
		"foreign character":     {good[:10] + "-" + good[11:], ErrKeyForm},
		"non-ASCII character":   {good[:10] + "é" + good[12:], ErrKeyForm},
		"a digit changed":       {good[:10] + "x" + good[11:], ErrKeyChecksum},
		"two digits swapped":    {withChecksum("bh_" + "01" + strings.Repeat("7", 35))[:3] + "10" + withChecksum("bh_" + "01" + strings.Repeat("7", 35))[5:], ErrKeyChecksum},
		"checksum in capitals":  {vectors[1][:40] + strings.ToUpper(vectors[1][40:]), ErrKeyChecksum},
		"63 hexadecimal digits": {strings.Repeat("a", 63), ErrKeyForm},
		"64 letters":            {strings.Repeat("g", 64), ErrKeyForm},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckKey(c.key); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestImportedTokensAreHashedByTheirBytes(t *testing.T) {
	token := strings.Repeat("0aF9", 16)
	if err := CheckKey(token); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	if got, want := HashKey(token), hex.EncodeToString(sum[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHashKeyOfAnyLength(t *testing.T) {
	for _, n := range []int{0, 1, 46, 63, 64, 65, 1000} {
		key := strings.Repeat("z", n)
		sum := sha256.Sum256([]byte(key))
		if got, want := HashKey(key), hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%d characters: got %s, want %s", n, got, want)
		}
	}
}

func TestParseHash(t *testing.T) {
	hash := HashKey("x")
	for in, ok := range map[string]bool{
		"sha256:" + hash:                  true,
		"sha256:" + strings.ToUpper(hash): true,
		hash:                              false,
		"SHA256:" + hash:                  false,
		"sha256:" + hash[1:]:              false,
		"sha256:" + hash + "0":            false,
		"sha256:" + hash[1:] + "g":        false,
		"sha512:" + hash:                  false,
		"":                                false,
	} {
		got, err := ParseHash(in)
		if (err == nil) != ok || ok && got != hash {
			t.Errorf("ParseHash(%q) = %q, %v", in, got, err)
		}
	}
	if got, err := ParseHash(FormatHash(hash)); err != nil || got != hash {
		t.Errorf("ParseHash does not read what FormatHash writes: %q, %v", got, err)
	}
}

func TestHashKeyAllocatesItsResultAlone(t *testing.T) {
	key := vectors[0]
	if n := testing.AllocsPerRun(100, func() { HashKey(key) }); n > 1 {
		t.Errorf("HashKey allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { _ = CheckKey(key) }); n > 0 {
		t.Errorf("CheckKey allocates %v times", n)
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range vectors {
		f.Add(key)
	}
	f.Add(strings.Repeat("ab", 32))
	f.Fuzz(func(t *testing.T, key string) {
		_ = HashKey(key)
		if CheckKey(key) != nil || len(key) == 64 {
			return
		}
		if withChecksum(key[:40]) != key {
			t.Errorf("%q passes with a wrong checksum", key)
		}
	})
}
