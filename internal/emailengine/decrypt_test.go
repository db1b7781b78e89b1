package emailengine

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/emailengine/emailenginetest"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// The worked example: what EmailEngine itself made of this secret and token.
const (
	exampleSecret = "worked-example-secret"
	examplePlain  = "1//0gEXAMPLE-refresh-token"
	exampleSalt   = "101112131415161718191a1b1c1d1e1f"
	exampleKey    = "77c219dcf8c0db7ca7a10c00aff596f3e806337db3f9ded8550c3dc0b8d080d1"
	exampleSealed = "$wd01$aes-256-gcm$e91e1abf535f15e03fab2eec50888454$000102030405060708090a0b$101112131415161718191a1b1c1d1e1f$66427fafdc8cb3f2ef520c87afab455cf42a11fa6daf9dd2db60"
)

func TestWorkedExampleIsOpenedByteForByte(t *testing.T) {
	o := newOpener(secret.New(exampleSecret))
	salt, err := hex.DecodeString(exampleSalt)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := o.key(salt); err != nil || hex.EncodeToString(key) != exampleKey {
		t.Errorf("the derived key is %x (%v), want %s", key, err, exampleKey)
	}
	opened, err := o.open(exampleSealed)
	if err != nil || opened.Reveal() != examplePlain {
		t.Errorf("%q, %v", opened.Reveal(), err)
	}
}

func TestOnlyWhatIsSealedIsOpened(t *testing.T) {
	o := newOpener(secret.New(exampleSecret))
	for _, plain := range []string{"", "1//0gTOKEN", "$", "$$", "$notsealed", "a$wd01$b", "M.C5$with$dollars"} {
		if opened, err := o.open(plain); err != nil || opened.Reveal() != plain {
			t.Errorf("%q became %q, %v", plain, opened.Reveal(), err)
		}
	}
}

func TestCiphertextThatCannotBeOpenedIsAnError(t *testing.T) {
	flipped := []byte(exampleSealed)
	flipped[len(flipped)-1] ^= 1
	for name, test := range map[string]struct {
		secret, value string
		want          error
	}{
		"another secret":      {"other", exampleSealed, errWrongSecret},
		"no secret":           {"", exampleSealed, errNoSecret},
		"a changed byte":      {exampleSecret, string(flipped), errWrongSecret},
		"cut off":             {exampleSecret, exampleSealed[:len(exampleSealed)-1], errDamaged},
		"without ciphertext":  {exampleSecret, exampleSealed[:strings.LastIndex(exampleSealed, "$")], errDamaged},
		"empty ciphertext":    {exampleSecret, exampleSealed[:strings.LastIndex(exampleSealed, "$")+1], errDamaged},
		"a part too many":     {exampleSecret, exampleSealed + "$00", errDamaged},
		"no hexadecimal":      {exampleSecret, strings.Replace(exampleSealed, "e91e", "zzzz", 1), errDamaged},
		"a short tag":         {exampleSecret, strings.Replace(exampleSealed, "e91e1abf", "", 1), errDamaged},
		"a short nonce":       {exampleSecret, strings.Replace(exampleSealed, "$00010203", "$", 1), errDamaged},
		"another cipher":      {exampleSecret, strings.Replace(exampleSealed, "aes-256-gcm", "aes-256-cbc", 1), errDamaged},
		"another scheme":      {exampleSecret, strings.Replace(exampleSealed, "wd01", "wd02", 1), errScheme},
		"no secret, wd02":     {"", strings.Replace(exampleSealed, "wd01", "wd02", 1), errScheme},
		"another secret, ext": {"other", emailenginetest.Seal(t, exampleSecret, "x"), errWrongSecret},
	} {
		t.Run(name, func(t *testing.T) {
			opened, err := newOpener(secret.New(test.secret)).open(test.value)
			if !errors.Is(err, test.want) || !opened.IsZero() {
				t.Errorf("%q, %v, want %v", opened.Reveal(), err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "66427faf") {
				t.Errorf("%v quotes the value", err)
			}
		})
	}
}

func TestDerivedKeysAreKeptUpToABound(t *testing.T) {
	o := newOpener(secret.New(exampleSecret))
	salt := []byte("0123456789abcdef")
	first, err := o.key(salt)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := o.key(salt); &again[0] != &first[0] {
		t.Error("a key was derived twice")
	}
	for n := len(o.keys); n < maxKeys; n++ {
		o.keys[string(rune(n))] = first
	}
	if _, err := o.key([]byte("another salt....")); err != nil || len(o.keys) > maxKeys {
		t.Errorf("%d keys are kept, %v", len(o.keys), err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(exampleSealed)
	f.Add("$wd01$aes-256-gcm$$$$")
	f.Add("plain")
	o := newOpener(secret.String{})
	f.Fuzz(func(t *testing.T, value string) {
		opened, err := o.open(value)
		if err != nil && !opened.IsZero() {
			t.Errorf("%q: both a value and %v", value, err)
		}
		if err == nil && (opened.Reveal() != value || strings.HasPrefix(value, "$wd01$")) {
			t.Errorf("%q was taken for %q", value, opened.Reveal())
		}
	})
}
