package caddymodule

import (
	"bytes"
	"cmp"
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
	var payload io.Reader = http.NoBody
	contentType := ""
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload, contentType = bytes.NewReader(text), "application/json"
	}
	answer, err := f.stream(context.Background(), method, path, contentType, payload)
	if err != nil {
		return err
	}
	defer answer.Close()
	return decodeAnswer(answer, into)
}

func decodeAnswer(answer io.Reader, into any) error {
	if err := json.NewDecoder(answer).Decode(into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// stream calls the management API with a body of any length, and returns that
// of the answer. Any other status than 200 is an error.
func (f *adminFlags) stream(ctx context.Context, method, path, contentType string, payload io.Reader) (io.ReadCloser, error) {
	e, err := f.endpoint()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, e.origin+adminPrefix+path, payload)
	if err != nil {
		return nil, err
	}
	// Health is told in plain text unless it is asked for otherwise.
	request.Header.Set("Accept", "application/json")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
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
		return nil, fmt.Errorf("reaching the admin endpoint at %s (is the server running? --address and --config say where): %w", e.address, err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return nil, refusal(response.StatusCode, answer)
}

// refusal is the answer's message, in one line.
func refusal(status int, answer []byte) error {
	var said struct {
		Message string `json:"message"`
		Error   string `json:"error"`
		Reason  string `json:"reason"`
		Fields  []struct {
			Message string `json:"message"`
		} `json:"fields"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Message+said.Error+said.Reason == "" {
		return fmt.Errorf("the server answered %d %s", status, http.StatusText(status))
	}
	said.Message = cmp.Or(said.Message, said.Error, said.Reason)
	for _, field := range said.Fields {
		said.Message += ": " + field.Message
	}
	return &refusedAnswer{Status: status, Message: said.Message, Reason: said.Reason}
}

// refusedAnswer is a call that the management API refused.
type refusedAnswer struct {
	Status  int
	Message string
	// Reason is a refused consent's.
	Reason string
}

// Error implements error.
func (r *refusedAnswer) Error() string { return fmt.Sprintf("%s (%d)", r.Message, r.Status) }

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
			curl := exec.CommandContext(cmd.Context(), "curl", append(leading, args[2:]...)...) //nolint:gosec // curl gets the arguments of whoever calls it, as their own user
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
