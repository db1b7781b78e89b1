package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/pages"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// listen waits for the answer on the loopback interface (RFC 8252 section 7.3).
func (c *connector) listen(ctx context.Context) (*connected, error) {
	listeners, err := listenLoopback(c.request.Port)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	c.request.Port = listeners[0].Addr().(*net.TCPAddr).Port
	begun, err := c.begin()
	if err != nil {
		return nil, err
	}
	c.introduce(begun)
	r := &receiver{connector: c, begun: begun, ended: make(chan struct{})}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	for _, l := range listeners {
		go func() { _ = server.Serve(l) }() // until it is closed
	}
	// The browser gets its last page before the command ends.
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}()
	if openBrowser(begun.AuthorizeURL) {
		c.say("A browser should show it now.")
	}
	c.say("Waiting for the answer, until %s; Ctrl-C gives up.", begun.Expires.Local().Format(time.TimeOnly))
	return r.wait(ctx)
}

// listenLoopback listens at a port of the loopback interface, or at any that is
// free. Browsers may take localhost for either address.
func listenLoopback(port int) ([]net.Listener, error) {
	four, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("--port: listening for the browser: %w", err)
	}
	port = four.Addr().(*net.TCPAddr).Port
	listeners := []net.Listener{four}
	if six, err := net.Listen("tcp", net.JoinHostPort("::1", strconv.Itoa(port))); err == nil {
		listeners = append(listeners, six)
	}
	return listeners, nil
}

// receiver takes the browser's request with the answer.
type receiver struct {
	*connector
	begun *begunConnect
	// taken is set once the answer has come: there is but one.
	taken atomic.Bool
	// ended is closed when it has been judged.
	ended chan struct{}
	done  *connected
	err   error
}

// wait returns what came of the answer.
func (r *receiver) wait(ctx context.Context) (*connected, error) {
	reminder, end := clock.After(patience), clock.After(consent.AttemptLife)
	for {
		select {
		case <-r.ended:
			return r.done, r.err
		case <-reminder:
			r.remind(r.begun)
			continue
		case <-ctx.Done():
		case <-end:
		}
		switch {
		case r.taken.Load():
			// The server has it: what comes of it is to be known.
			<-r.ended
			return r.done, r.err
		case ctx.Err() != nil:
			return nil, errInterrupted
		}
		return nil, errTooLate
	}
}

// ServeHTTP implements [http.Handler].
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	w.Header().Set("Connection", "close")
	if request.URL.Path != callbackPath || request.Method != http.MethodGet {
		pages.SetHeader(w.Header())
		http.NotFound(w, request)
		return
	}
	// Any page can send a browser here; it does not know the state.
	if states := request.URL.Query()["state"]; len(states) != 1 || states[0] != r.begun.State {
		r.refuse(w, string(consent.AttemptMissing), "This is not the answer that the command waits for.", "Open the link that the command shows.")
		return
	}
	if r.taken.Swap(true) {
		<-r.ended
	} else {
		r.done, r.err = r.finish(r.begun, request.URL.RawQuery)
		close(r.ended)
	}
	if r.err != nil {
		reason, reads := "", r.err.Error()
		if said, ok := errors.AsType[*refusedAnswer](r.err); ok {
			reason, reads = said.Reason, said.Message
		}
		r.refuse(w, reason, reads, "Go back to the terminal, and run the command again.")
		return
	}
	pages.Write(w, http.StatusOK, pages.Done{
		App: "Bellhop", Provider: r.provider(), Account: r.done.Account, Label: r.request.Name,
		Email: r.done.User, Name: r.done.Name, Granted: r.done.Granted, Missing: r.done.Missing,
		New: r.done.State == "new", Admin: r.done.State == "consented", Terminal: true,
	})
}

func (r *receiver) refuse(w http.ResponseWriter, reason, reads, mend string) {
	pages.Write(w, http.StatusBadRequest, pages.Refused{
		App: "Bellhop", Provider: r.provider(), Reason: reason, Reads: reads, Mend: mend, Terminal: true,
	})
}

func (r *receiver) provider() pages.Provider {
	return pages.Provider{Name: r.request.Provider, Type: r.begun.ProviderType}
}

// openBrowser shows an address where there is a browser, and reports whether it
// tried. Nothing depends on it.
func openBrowser(address string) bool {
	command := browserCommand(runtime.GOOS, os.Getenv, address)
	if command == nil {
		return false
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // the user's own browser, which outlives the command
	if cmd.Start() != nil {
		return false
	}
	go func() { _ = cmd.Wait() }()
	return true
}

// browserCommand is how to show an address; nil where nothing shows any.
// BROWSER holds commands to choose from, in which %s stands for the address.
func browserCommand(system string, getenv func(string) string, address string) []string {
	if own, _, _ := strings.Cut(getenv("BROWSER"), ":"); own != "" {
		command := strings.Fields(own)
		if !strings.Contains(own, "%s") {
			return append(command, address)
		}
		for i := range command {
			command[i] = strings.ReplaceAll(command[i], "%s", address)
		}
		return command
	}
	switch system {
	case "darwin":
		return []string{"open", address}
	case "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler", address}
	}
	if getenv("DISPLAY")+getenv("WAYLAND_DISPLAY") == "" {
		return nil
	}
	return []string{"xdg-open", address}
}

// pasteAnswer reads the address that the browser ended on, wherever that runs.
func (c *connector) pasteAnswer(ctx context.Context) (*connected, error) {
	if c.request.Port == 0 {
		// Nobody listens there, so the browser stays at the address.
		listeners, err := listenLoopback(0)
		if err != nil {
			return nil, err
		}
		c.request.Port = listeners[0].Addr().(*net.TCPAddr).Port
		for _, l := range listeners {
			_ = l.Close()
		}
	}
	begun, err := c.begin()
	if err != nil {
		return nil, err
	}
	c.introduce(begun)
	c.say("The browser then ends on a page that it cannot open. Its address begins with")
	c.say("%s? and holds the answer: paste it here, and press Enter.", begun.RedirectURI)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reminder, end := clock.After(patience), clock.After(consent.AttemptLife)
	for lines, wrong := readLines(ctx, c.in), errors.New("no address was pasted"); ; {
		select {
		case <-ctx.Done():
			return nil, errInterrupted
		case <-end:
			return nil, errTooLate
		case <-reminder:
			c.remind(begun)
		case line, more := <-lines:
			if !more {
				return nil, wrong
			}
			answer, err := answerOf(line, begun)
			if err == nil {
				return c.finish(begun, answer)
			}
			wrong = err
			c.say("%v.", err)
		}
	}
}

// maxPasted is longer than any address that a browser ends on.
const maxPasted = 64 << 10

// readLines reads lines until the input or ctx ends. A read that waits for a
// terminal cannot be ended; it is left behind.
func readLines(ctx context.Context, from io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(from)
		scanner.Buffer(nil, maxPasted)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// pause waits between two polls of a device's consent. Tests put a shorter one
// in its place.
var pause = func(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-clock.After(d):
	}
}

// slowDown is how much longer to wait when the provider asks to (RFC 8628
// section 3.5).
const slowDown = 5 * time.Second

// enterCode lets the person consent on another device (RFC 8628).
func (c *connector) enterCode(ctx context.Context) (*connected, error) {
	var begun begunDevice
	if err := c.to.call(http.MethodPost, "/v1/connect/device", c.request, &begun); err != nil {
		return nil, err
	}
	c.say("On any device, open\n\n  %s\n\nand enter the code\n\n  %s\n", begun.VerificationURI, begun.UserCode)
	if begun.VerificationURIComplete != "" {
		c.say("or open this address, which has the code in it:\n\n  %s\n", begun.VerificationURIComplete)
	}
	if begun.ProviderType == provider.TypeMicrosoft {
		c.say("If Microsoft says AADSTS7000218, allow public client flows under Authentication of the app registration.")
	}
	c.say("Waiting, until %s; Ctrl-C gives up.", begun.Expires.Local().Format(time.TimeOnly))
	ends := clock.Now().Add(time.Duration(begun.ExpiresIn) * time.Second)
	for interval := time.Duration(begun.Interval) * time.Second; ; {
		pause(ctx, interval)
		if ctx.Err() != nil {
			return nil, errInterrupted
		}
		var polled struct {
			connected
			undecided
		}
		err := c.to.call(http.MethodPost, "/v1/connect/poll", finishRequest{Attempt: begun.Attempt}, &polled)
		switch {
		case isUnavailable(err):
			interval *= 2 // RFC 8628 section 3.5: ever less often
		case err != nil:
			return nil, err
		case !polled.Pending:
			return &polled.connected, nil
		case polled.SlowDown:
			interval += slowDown
		}
		if !clock.Now().Before(ends) {
			return nil, errTooLate
		}
	}
}

// isUnavailable reports whether a call of the server may succeed later.
func isUnavailable(err error) bool {
	refused, ok := errors.AsType[*refusedAnswer](err)
	return ok && refused.Status == http.StatusServiceUnavailable
}
