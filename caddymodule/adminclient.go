package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// adminFlags say where the running server's admin endpoint is, and how to
// print what it answers.
type adminFlags struct {
	address, config, adapter string
	key                      string
	json                     bool
}

// keyVariable holds the admin key for an admin endpoint on TCP.
const keyVariable = "BELLHOP_KEY"

func (f *adminFlags) adminKey() string {
	if f.key != "" {
		return f.key
	}
	return os.Getenv(keyVariable)
}

// endpoint is an admin endpoint, dialled and spoken to.
type endpoint struct {
	network, address string
	// origin is the base URL; on a unix socket its host means nothing.
	origin string
}

func (f *adminFlags) endpoint() (endpoint, error) {
	written, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return endpoint{}, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	parsed, err := caddy.ParseNetworkAddress(written)
	if err != nil || parsed.PortRangeSize() > 1 {
		return endpoint{}, fmt.Errorf("%q is not an address of an admin endpoint: %w", written, err)
	}
	if parsed.IsUnixNetwork() {
		path, _, _ := strings.Cut(parsed.Host, "|") // what follows is the socket's mode
		return endpoint{network: "unix", address: path, origin: "http://127.0.0.1"}, nil
	}
	address := parsed.JoinHostPort(0)
	return endpoint{network: "tcp", address: address, origin: "http://" + address}, nil
}

// call calls the management API and decodes the answer.
func (f *adminFlags) call(method, path string, body, into any) error {
	e, err := f.endpoint()
	if err != nil {
		return err
	}
	var payload io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, e.origin+adminPrefix+path, payload)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key := f.adminKey(); key != "" && e.network == "tcp" {
		// Caddy logs each call of its admin endpoint; of the header fields that
		// a key may stand in, it hides this one alone.
		request.Header.Set("Authorization", "Bearer "+key)
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, e.network, e.address)
		},
		DisableKeepAlives: true,
	}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("reaching the admin endpoint at %s (is the server running? --address and --config say where): %w", e.address, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// refusal is the answer's message, in one line.
func refusal(status int, answer []byte) error {
	var said struct {
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Message+said.Error == "" {
		return fmt.Errorf("the server answered %d %s", status, http.StatusText(status))
	}
	if said.Message == "" {
		said.Message = said.Error
	}
	return fmt.Errorf("%s (%d)", said.Message, status)
}

// say prints what was done, or with --json the answer.
func (f *adminFlags) say(w io.Writer, answer any, format string, args ...any) error {
	if f.json {
		return printJSON(w, answer)
	}
	_, err := fmt.Fprintf(w, format+"\n", args...)
	return err
}

// curlCommand is `oauth curl`.
func curlCommand(to *adminFlags) *cobra.Command {
	return &cobra.Command{
		Use: "curl <id> <url> [-- curl args]", Short: "Calls an API as an account, with curl, through the proxy", Args: cobra.MinimumNArgs(2),
		Example: "  bellhop oauth curl alice https://gmail.googleapis.com/gmail/v1/users/me/profile -- -s -i",
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := to.endpoint()
			if err != nil {
				return err
			}
			leading, err := e.curlArgs(args[0], args[1])
			if err != nil {
				return err
			}
			curl := exec.CommandContext(cmd.Context(), "curl", append(leading, args[2:]...)...)
			curl.Stdin, curl.Stdout, curl.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			if key := to.adminKey(); key != "" && e.network == "tcp" {
				if err := giveKey(curl, key); err != nil {
					return err
				}
			}
			return curl.Run()
		},
	}
}

// curlArgs are those that lead a call of an API through the admin endpoint. A
// URL with dot segments is refused: it would lead out of the proxy, into the
// management API.
func (e endpoint) curlArgs(id, url string) ([]string, error) {
	_, rest, found := strings.Cut(url, "://")
	if !found {
		rest = url
	}
	led := adminPrefix + defaultPrefix + strings.TrimPrefix(accountURL(id), "/v1/account") + "/" + rest
	path, _, _ := strings.Cut(led, "?")
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return nil, fmt.Errorf("%s: a dot segment (. or ..) is in its path: write the path that it leads to", url)
		}
	}
	args := []string{
		e.origin + led,
		"--path-as-is", "--globoff", // what is called is for the proxy to judge
		"--noproxy", "*", // a forward proxy of the environment would get the key
	}
	if e.network == "unix" {
		args = append(args, "--unix-socket", e.address)
	}
	return args, nil
}

// giveKey hands the key to curl on a pipe: arguments can be read by every
// process of the machine, and standard input is the caller's.
func giveKey(curl *exec.Cmd, key string) error {
	if strings.ContainsAny(key, "\"\\\r\n") {
		return fmt.Errorf("%s is not a key", keyVariable)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(write, "header = \"Authorization: Bearer %s\"\n", key); err != nil {
		return err
	}
	curl.ExtraFiles = []*os.File{read} // its descriptor there is 3
	curl.Args = append(curl.Args, "-K", "/dev/fd/3")
	return write.Close()
}
