package fakeprovider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// closeGrace is how long closing waits for requests in flight. It is short
// because those that take long by intention are let go first, and because a
// connection that was opened and never used counts as in flight too.
const closeGrace = time.Second

// ListenOptions say where to listen. Port 0 takes a free one.
type ListenOptions struct {
	// Addr is for HTTP/1.1 without TLS. Default: 127.0.0.1:0.
	Addr string
	// TLSAddr is for HTTP/1.1 and HTTP/2 over TLS. Default: none.
	TLSAddr string
}

// Listening is a [Server] that is served on sockets.
type Listening struct {
	// URL and TLSURL are the base URLs, without a slash at the end. TLSURL is
	// empty without TLS.
	URL, TLSURL string
	// CAPEM is the certificate of a CA made for this Listening, which issues a
	// certificate for each server name that clients ask for. Nil without TLS.
	CAPEM []byte

	server   *http.Server
	leave    context.CancelFunc
	serving  sync.WaitGroup
	serveErr chan error
}

// Listen serves s until [Listening.Close] is called.
func (s *Server) Listen(opts ListenOptions) (*Listening, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	plain, err := net.Listen("tcp", opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	ctx, leave := context.WithCancel(context.Background())
	l := &Listening{
		URL:   "http://" + plain.Addr().String(),
		leave: leave,
		server: &http.Server{
			Handler:           s,
			ReadHeaderTimeout: 10 * time.Second,
			BaseContext:       func(net.Listener) context.Context { return ctx },
		},
		serveErr: make(chan error, 2),
	}
	if opts.TLSAddr != "" {
		if err := l.listenTLS(opts.TLSAddr); err != nil {
			leave()
			return nil, errors.Join(err, plain.Close())
		}
	}
	l.serve(plain)
	return l, nil
}

func (l *Listening) listenTLS(addr string) error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for TLS: %w", err)
	}
	l.CAPEM = ca.pem()
	l.TLSURL = "https://" + listener.Addr().String()
	l.server.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: ca.getCertificate,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	l.serving.Go(func() { l.report(l.server.ServeTLS(listener, "", "")) })
	return nil
}

func (l *Listening) serve(listener net.Listener) {
	l.serving.Go(func() { l.report(l.server.Serve(listener)) })
}

func (l *Listening) report(err error) {
	if !errors.Is(err, http.ErrServerClosed) {
		l.serveErr <- err
	}
}

// Failed receives the error of a listener that stopped by itself.
func (l *Listening) Failed() <-chan error { return l.serveErr }

// Close stops listening, ends requests that are held or hang, waits a second
// for the others and breaks their connections then.
func (l *Listening) Close() error {
	l.leave()
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	err := l.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = l.server.Close()
	}
	if err != nil {
		err = fmt.Errorf("closing: %w", err)
	}
	l.serving.Wait()
	return err
}
