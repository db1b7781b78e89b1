package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Fields whose names say that they hold a secret, unless the end of the name says
// that it is something about one.
var (
	namesSecret = regexp.MustCompile(`(?i)secret|token|passw|privatekey|apikey|credential|verifier|assertion|plain`)
	namesOther  = regexp.MustCompile(`(Endpoint|URL|URI|File|Scopes|Type|ID|Ends?|Expires)$`)
	// printable are the types that print what they hold.
	printable = regexp.MustCompile(`\bstring\b|\bbyte\b|\bRawMessage\b|\bany\b`)
)

// The reasons for a secret in a type that prints it.
const (
	onTheWire = "decoded from a message and wrapped at once, or encoded into one; never kept nor logged"
	expanded  = "a placeholder as it is written; what it stands for is wrapped when it is expanded"
	sealed    = "encoded only to be sealed"
	inCommand = "of a command that a person runs, which prints what they asked for"
)

// plainSecrets are the fields that hold a secret and print it.
var plainSecrets = map[string]string{
	"caddymodule.oauth2Fields.RefreshToken":  onTheWire,
	"caddymodule.oauth2Fields.AccessToken":   onTheWire,
	"caddymodule.importAccount.RefreshToken": onTheWire,
	"caddymodule.importAccount.AccessToken":  onTheWire,
	"caddymodule.tokenAnswer.AccessToken":    "the answer that the caller asked for",
	"caddymodule.shownOAuth2.AccessToken":    "EmailEngine's member, which holds asterisks",
	"caddymodule.shownOAuth2.RefreshToken":   "EmailEngine's member, which holds asterisks",
	"caddymodule.shownApp.ClientSecret":      "EmailEngine's member, which holds asterisks",

	"caddymodule.Provider.ClientSecrets": expanded,
	"caddymodule.Provider.AccessToken":   expanded,
	"caddymodule.Webhook.Secret":         expanded,

	"caddymodule.emailEngineFlags.secret": inCommand,

	"internal/consent.attempt.Verifier":          sealed,
	"internal/vault.sealedGrant.RefreshToken":    sealed,
	"internal/vault.sealedProposal.AccessToken":  sealed,
	"internal/vault.sealedProposal.RefreshToken": sealed,

	"internal/emailengine.oauth2Record.AccessToken":  onTheWire,
	"internal/emailengine.oauth2Record.RefreshToken": onTheWire,
	"internal/emailengine.authRecord.AccessToken":    onTheWire,
	"internal/emailengine.authRecord.RefreshToken":   onTheWire,
	"internal/importfile.googleFile.RefreshToken":    onTheWire,
	"internal/importfile.googleFile.Token":           onTheWire,
	"internal/importfile.googleFile.AccessToken":     onTheWire,
	"internal/importfile.listedGrant.RefreshToken":   onTheWire,
	"internal/importfile.listedGrant.AccessToken":    onTheWire,
	"internal/provider.emailEngineToken.AccessToken": onTheWire,

	"internal/provider.googleCredentials.SourceCredentials": onTheWire,
	"internal/store/postgres.Store.password":                "the driver's, which asks for it at each connection",
	"internal/store/postgres.Store.directPassword":          "the driver's, which asks for it at each connection",

	"internal/provider.AuthorizeRequest.Verifier": "PKCE's, of which the hash goes into a URL",
	"internal/provider.ExchangeRequest.Verifier":  "PKCE's, worth nothing without the code, which is wrapped",
}

// secretFields finds the fields of a file's named struct types that are named like
// secrets and print what they hold, with their types. Structs without a name live
// within one function.
func secretFields(dir string, file *ast.File) map[string]string {
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		ast.Inspect(spec.Type, func(n ast.Node) bool {
			structure, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range structure.Fields.List {
				kind := types.ExprString(field.Type)
				for _, name := range field.Names {
					if _, nested := field.Type.(*ast.StructType); !nested && printable.MatchString(kind) && namesSecret.MatchString(name.Name) && !namesOther.MatchString(name.Name) {
						found[dir+"."+spec.Name.Name+"."+name.Name] = kind
					}
				}
			}
			return true
		})
		return false
	})
	return found
}

func TestSecretsHaveATypeThatPrintsNone(t *testing.T) {
	found := map[string]string{}
	for _, root := range []string{"../caddymodule", "../internal", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "fakeprovider" || entry.Name() == "emailenginetest"):
				// Their secrets are made up.
				return filepath.SkipDir
			case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			maps.Copy(found, secretFields(filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), ".."+string(filepath.Separator))), file))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, kind := range found {
		if plainSecrets[name] == "" {
			t.Errorf("%s is a %s, which prints what it holds: make it a secret.String, or say here why not", name, kind)
		}
	}
	for name := range plainSecrets {
		if found[name] == "" {
			t.Errorf("%s is not there any more: take it off the list", name)
		}
	}
}

func TestSecretFieldsAreNoticed(t *testing.T) {
	const source = `package p
type T struct {
	RefreshToken, Password string
	ClientSecrets []string
	key struct{ PrivateKey []byte }
	TokenURL, SecretFile string
	AccessToken secret.String
	Verifier *string
	Name string
}`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := secretFields("p", file)
	for _, want := range []string{"p.T.RefreshToken", "p.T.Password", "p.T.ClientSecrets", "p.T.PrivateKey", "p.T.Verifier"} {
		if found[want] == "" {
			t.Errorf("%s is not noticed", want)
		}
	}
	if len(found) != 5 {
		t.Errorf("%v", found)
	}
}
