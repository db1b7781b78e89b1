package fakeprovider

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Ready is the line of JSON that [Main] prints once it listens.
type Ready struct {
	URL string `json:"url"`
	// TLSURL and CAFile, the path of the CA certificate in PEM, are empty
	// without TLS.
	TLSURL        string `json:"tls_url,omitempty"`
	CAFile        string `json:"ca_file,omitempty"`
	TokenEndpoint string `json:"token_endpoint"`
	// Issuer has metadata that names all endpoints.
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	ClientID              string `json:"client_id"`
	ClientSecret          string `json:"client_secret"`
}

// Main runs a server as a command with the flags in args, prints one line of
// [Ready] to stdout, and ends without an error when ctx does. [flag.ErrHelp]
// is returned for -h, after the usage went to stdout.
func Main(ctx context.Context, args []string, stdout io.Writer) error {
	var (
		listen ListenOptions
		opts   Options
		caFile string
	)
	flags := flag.NewFlagSet("fake-provider", flag.ContinueOnError)
	flags.SetOutput(stdout)
	flags.StringVar(&listen.Addr, "listen", "127.0.0.1:0", "`address` for HTTP; anyone who reaches it controls the server")
	flags.StringVar(&listen.TLSAddr, "tls-listen", "", "`address` for HTTPS with a CA of its own (none by default)")
	flags.StringVar(&caFile, "ca-file", "", "`file` to write the CA certificate to (a temporary one by default)")
	flags.DurationVar(&opts.TokenLife, "token-life", DefaultTokenLife, "life of access tokens")
	opts.Rotation = Rotation{Policy: SingleUse}
	flags.TextVar(&opts.Rotation, "rotation", opts.Rotation, "`policy`: none, keeps_old, single_use or \"grace <duration>\"")
	flags.Func("redirect-uri", "`URI` that the client's codes may be sent to, beside http://127.0.0.1/oauth/callback with any port; may be repeated", func(uri string) error {
		opts.RedirectURIs = append(opts.RedirectURIs, uri)
		return checkRedirectURI(uri)
	})
	flags.BoolVar(&opts.RequirePKCE, "require-pkce", false, "refuse authorization requests without a code challenge")
	flags.BoolVar(&opts.IssParameter, "iss-parameter", false, "send \"iss\" along with codes (RFC 9207)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	listening, err := New(opts).Listen(listen)
	if err != nil {
		return err
	}
	if listening.CAPEM != nil {
		written, err := writeCA(caFile, listening.CAPEM)
		if err != nil {
			return errors.Join(err, listening.Close())
		}
		if caFile == "" {
			defer os.Remove(written)
		}
		caFile = written
	} else {
		caFile = ""
	}
	err = json.NewEncoder(stdout).Encode(Ready{ //nolint:gosec // the secret is a published one
		URL: listening.URL, TLSURL: listening.TLSURL, CAFile: caFile,
		TokenEndpoint: listening.URL + "/token", Issuer: listening.URL,
		AuthorizationEndpoint: listening.URL + "/authorize",
		ClientID:              DefaultClient.ID, ClientSecret: DefaultClient.Secrets[0],
	})
	if err != nil {
		return errors.Join(fmt.Errorf("printing addresses: %w", err), listening.Close())
	}
	select {
	case <-ctx.Done():
		return listening.Close()
	case err := <-listening.Failed():
		return errors.Join(fmt.Errorf("serving: %w", err), listening.Close())
	}
}

// writeCA writes certificate to path, or to a new temporary file if path is
// empty, and returns where it is.
func writeCA(path string, certificate []byte) (string, error) {
	if path != "" {
		if err := os.WriteFile(path, certificate, 0o644); err != nil { //nolint:gosec // a certificate is for everybody
			return "", fmt.Errorf("writing CA certificate: %w", err)
		}
		return path, nil
	}
	file, err := os.CreateTemp("", "fake-provider-ca-*.pem")
	if err != nil {
		return "", fmt.Errorf("writing CA certificate: %w", err)
	}
	_, err = file.Write(certificate)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("writing CA certificate: %w", err), os.Remove(file.Name()))
	}
	return file.Name(), nil
}
