package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// demoCommand is `oauth demo`.
func demoCommand() *cobra.Command {
	d := demo{}
	cmd := &cobra.Command{
		Use: "demo", Short: "Shows Bellhop at work, with a provider and APIs of its own", Args: cobra.NoArgs,
		Long: `Runs everything on loopback: an authorization server whose refresh tokens work
once each, an API that answers as Gmail and Microsoft Graph do, and Bellhop in
front of them, with two accounts connected and a key made. Access tokens live a
minute, so that renewals can be watched. Nothing outside this machine is called,
and nothing is left behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return d.run(ctx, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&d.listen, "listen", "127.0.0.1:8080", "Loopback address to serve on")
	return cmd
}

// fakeProviderCommand is `oauth fake-provider`.
func fakeProviderCommand() *cobra.Command {
	return &cobra.Command{
		Use: "fake-provider [flags]", Short: "Runs the demo's provider and APIs alone, for tests",
		DisableFlagParsing: true,
		Hidden:             true,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return fakeprovider.Main(ctx, args, cmd.OutOrStdout())
		},
	}
}

// demo is a Bellhop that serves its own fake provider.
type demo struct {
	listen string
	// The rest is known once it runs.
	Listen, Port, Provider, Dir string
	key                         string
}

// demoSecret is the client secret of the demo's clients.
const demoSecret = "demo-client-secret" //nolint:gosec // of a client that exists in the demo alone

// The demo's accounts, by their providers.
var demoAccounts = []struct {
	id, provider, user, scope string
	// redirects are those of `oauth connect`, at any port.
	redirects []string
}{
	{"demo", "google", "demo@example.com", "https://mail.google.com/ openid email", []string{"http://127.0.0.1/oauth/callback"}},
	{"demo-graph", "microsoft", "demo@example.org", "https://graph.microsoft.com/Mail.Read openid profile offline_access", []string{"http://localhost/oauth/callback"}},
}

func (d *demo) run(ctx context.Context, out io.Writer) (err error) {
	host, port, err := net.SplitHostPort(d.listen)
	if err != nil || !hostname.IsLoopback(host) {
		return fmt.Errorf("--listen %s: must be a loopback address and a port, such as 127.0.0.1:8080", d.listen)
	}
	d.Listen, d.Port = host, port
	if d.Dir, err = os.MkdirTemp("", "bellhop-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.Dir)) }()

	fake := fakeprovider.New(fakeprovider.Options{})
	listening, err := fake.Listen(fakeprovider.ListenOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, listening.Close()) }()
	d.Provider = listening.URL

	if err := d.start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, caddy.Stop()) }()
	if err := d.connect(ctx, fake); err != nil {
		return err
	}
	if err := d.print(out); err != nil {
		return err
	}
	<-ctx.Done()
	fmt.Fprintln(out)
	return nil
}

// demoCaddyfile is what the demo runs: but for the addresses it is what an
// operator would write.
var demoCaddyfile = template.Must(template.New("").Parse(`{
	admin unix/{{.Dir}}/admin.sock|0600
	persist_config off
	auto_https off
	log default {
		output stderr
		format console
		level ERROR
		exclude bellhop
	}
	log bellhop {
		output stdout
		format console {
			time_format wall
		}
		include bellhop
	}
	bellhop {
		store badger {{.Dir}}/store
		keyset {{.Dir}}/keyset.json
		provider google {
			client_id demo-google
			client_secret {file.{{.Dir}}/client-secret}
			authorization_endpoint {{.Provider}}/o/oauth2/v2/auth
			token_endpoint {{.Provider}}/token
			revocation_endpoint {{.Provider}}/revoke
			rotation single_use
			scopes https://mail.google.com/
		}
		provider microsoft {
			tenant organizations
			client_id demo-microsoft
			client_secret {file.{{.Dir}}/client-secret}
			authorization_endpoint {{.Provider}}/organizations/oauth2/v2.0/authorize
			token_endpoint {{.Provider}}/organizations/oauth2/v2.0/token
			rotation single_use
			scopes https://graph.microsoft.com/Mail.Read
		}
	}
}

http://{{.Listen}}:{{.Port}} {
	bind {{.Listen}}
	bellhop {
		token_endpoint
		proxy {
			upstream gmail.googleapis.com {{.Provider}}
			upstream www.googleapis.com {{.Provider}}
			upstream graph.microsoft.com {{.Provider}}
			upstream contoso.sharepoint.com {{.Provider}}
			upstream outlook.office.com {{.Provider}}
			upstream reports.office.com {{.Provider}}
		}
	}
	respond 404
}
`))

// start loads the demo's configuration.
func (d *demo) start() error {
	if err := os.WriteFile(filepath.Join(d.Dir, "client-secret"), []byte(demoSecret), 0o600); err != nil {
		return err
	}
	var caddyfile strings.Builder
	if err := demoCaddyfile.Execute(&caddyfile, d); err != nil {
		return err
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile.String()), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return fmt.Errorf("adapting the demo's configuration: %w", err)
	}
	if err := caddy.Load(config, true); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%s is in use; choose another address with --listen: %w", d.listen, err)
		}
		return err
	}
	return nil
}

// connect registers the demo's accounts and makes its key.
func (d *demo) connect(ctx context.Context, fake *fakeprovider.Server) error {
	loaded, err := caddy.ActiveContext().App("bellhop")
	if err != nil {
		return err
	}
	s, err := loaded.(*App).run.open()
	if err != nil {
		return err
	}
	for _, a := range demoAccounts {
		client := fakeprovider.Client{
			ID: "demo-" + a.provider, Secrets: []string{demoSecret}, Dialect: fakeprovider.Dialect(a.provider),
			RedirectURIs: a.redirects, Native: true,
		}
		if err := fake.RegisterClient(client); err != nil {
			return err
		}
		grant, err := fake.CreateGrant(fakeprovider.Grant{Client: client.ID, Email: a.user, Scope: a.scope})
		if err != nil {
			return err
		}
		registration := broker.Registration{ID: a.id, Provider: a.provider, User: a.user, RefreshToken: secret.New(grant.RefreshToken)}
		if err := s.broker.Register(ctx, registration); err != nil {
			return err
		}
		if _, err := s.broker.Token(ctx, a.id, "", broker.Options{}); err != nil {
			return err
		}
	}
	plain, hash := policy.NewKey()
	d.key = plain.Reveal()
	return s.keys.Add(ctx, &policy.Key{Name: "demo", Hash: hash, Accounts: []string{"demo", "demo-graph"}, Token: true, Created: clock.Now()})
}

func (d *demo) print(out io.Writer) error {
	base := "http://" + net.JoinHostPort(d.Listen, d.Port)
	curl := `curl -H "Authorization: Bearer ` + d.key + `" ` + base
	_, err := fmt.Fprintf(out, `
Bellhop demo on %s
  account   demo (google), demo-graph (microsoft)
            access tokens of 60 s, renewed about every 45 s while in use
  key       %s

  %s/proxy/demo/gmail.googleapis.com/gmail/v1/users/me/messages
  %s/v1/account/demo/oauth-token
  %s/proxy/demo-graph/v1.0/me/messages
  %s/proxy/demo-graph/v1.0/me/drive/root/children

  %s oauth account list --address unix/%s/admin.sock
  %s oauth connect google mine --address unix/%s/admin.sock

Ctrl-C ends it and leaves nothing behind. What happens is told here:

`, base, d.key, curl, curl, curl, curl, os.Args[0], d.Dir, os.Args[0], d.Dir)
	return err
}
