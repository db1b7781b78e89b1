package cluster

import (
	"net"
	"sync"
	"testing"
)

// relay carries a node's connections to one server of the database, as long as
// it is not cut.
type relay struct {
	listener net.Listener

	mu       sync.Mutex
	target   string
	refusing bool
	open     chan struct{} // closed while data passes
	conns    map[net.Conn]struct{}
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, target: target, open: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(r.open)
	go r.accept()
	t.Cleanup(func() {
		_ = l.Close()
		r.restore()
		r.drop()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.carry(conn)
	}
}

func (r *relay) carry(conn net.Conn) {
	defer conn.Close()
	r.mu.Lock()
	refusing, target := r.refusing, r.target
	r.mu.Unlock()
	if refusing || !r.enter(conn) {
		return
	}
	defer r.leave(conn)
	<-r.passing()
	server, err := net.Dial("tcp", target)
	if err != nil || !r.enter(server) {
		return
	}
	defer r.leave(server)
	defer server.Close()
	back := make(chan struct{})
	go func() {
		defer close(back)
		r.pass(conn, server)
		_ = conn.Close()
	}()
	r.pass(server, conn)
	_ = server.Close()
	<-back
}

// pass carries data one way.
func (r *relay) pass(to, from net.Conn) {
	data := make([]byte, 32<<10)
	for {
		n, err := from.Read(data)
		if n > 0 {
			<-r.passing()
			if _, err := to.Write(data[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (r *relay) passing() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}

// enter takes note of a connection, unless there may be none.
func (r *relay) enter(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusing {
		return false
	}
	r.conns[conn] = struct{}{}
	return true
}

func (r *relay) leave(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}

func (r *relay) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

// refuse breaks all connections and lets none be made.
func (r *relay) refuse() {
	r.mu.Lock()
	r.refusing = true
	r.mu.Unlock()
	r.drop()
}

// hold lets nothing pass, and says nothing: what is sent arrives when the relay
// is restored.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = make(chan struct{})
}

func (r *relay) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = false
	select {
	case <-r.open:
	default:
		close(r.open)
	}
}

// lead makes the relay lead to another server.
func (r *relay) lead(target string) {
	r.mu.Lock()
	r.target = target
	r.mu.Unlock()
	r.drop()
}
