package provider

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// guarded is req with a body of which nothing is read unless the form may still
// be sent. That is asked when net/http is about to write it, see
// [account.WriteCheck]: by then the connection is there, which can take longer
// than anything that was looked at before stays true. Of a form that may not be
// sent the server gets no more than the header; refusal then says why.
func guarded(ctx context.Context, req *http.Request) (_ *http.Request, refusal func() error) {
	check := account.WriteCheck(ctx)
	if check == nil {
		return req, func() error { return nil }
	}
	c := &formCheck{check: check}
	again := req.GetBody
	req.Body = &guardedBody{ReadCloser: req.Body, may: c.ask}
	req.GetBody = func() (io.ReadCloser, error) {
		body, err := again()
		if err != nil {
			return nil, err
		}
		return &guardedBody{ReadCloser: body, may: c.ask}, nil
	}
	return req, c.refusal
}

// formCheck asks for a form.
type formCheck struct {
	check func() error

	mu  sync.Mutex
	err error // why the form was not written, at the last attempt
}

func (c *formCheck) ask() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = c.check()
	return c.err
}

func (c *formCheck) refusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// guardedBody is a body that may have to stay unread.
type guardedBody struct {
	io.ReadCloser
	may   func() error
	asked bool
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.asked {
		b.asked = true
		if err := b.may(); err != nil {
			return 0, err
		}
	}
	return b.ReadCloser.Read(p)
}
