package matrix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// witness sees every attempt to reach another host: it is the only name server
// of the namespace, and reads how often the kernel had no route.
type witness struct {
	mu    sync.Mutex
	asked []string
}

func startWitness(t *testing.T) *witness {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w := new(witness)
	go w.serve(conn)
	return w
}

func (w *witness) serve(conn net.PacketConn) {
	query := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(query)
		if err != nil {
			return
		}
		name, end, err := question(query[:n])
		if err != nil {
			continue
		}
		w.mu.Lock()
		w.asked = append(w.asked, name)
		w.mu.Unlock()
		_, _ = conn.WriteTo(unknownName(query[:end]), from)
	}
}

// The lengths of a message's header and of what follows a question's name
// (RFC 1035 section 4.1).
const (
	headerLength  = 12
	typeAndClass  = 4
	responseFlags = 0x8183 // an answer, recursion wanted and there, no such name
)

// question reads the name that a query asks for, and where its question ends.
func question(query []byte) (name string, end int, err error) {
	var labels []string
	for at := headerLength; at < len(query); {
		length := int(query[at])
		at++
		if length == 0 && at+typeAndClass <= len(query) {
			return strings.Join(labels, "."), at + typeAndClass, nil
		}
		if length == 0 || at+length > len(query) {
			break
		}
		labels = append(labels, string(query[at:at+length]))
		at += length
	}
	return "", 0, errors.New("not a question")
}

// unknownName answers a question that there is no such name.
func unknownName(question []byte) []byte {
	answer := slices.Clone(question)
	binary.BigEndian.PutUint16(answer[2:], responseFlags)
	binary.BigEndian.PutUint16(answer[4:], 1)
	clear(answer[6:headerLength])
	return answer
}

// sight is what has been seen up to a moment.
type sight struct{ asked, unrouted int }

func (w *witness) now(t *testing.T) sight {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	return sight{len(w.asked), unrouted(t)}
}

// since names the hosts that were looked for since then.
func (w *witness) since(t *testing.T, then sight) (attempts []string) {
	t.Helper()
	now := unrouted(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	attempts = slices.Compact(slices.Sorted(slices.Values(w.asked[then.asked:])))
	if n := now - then.unrouted; n > 0 {
		attempts = append(attempts, fmt.Sprintf("%d addresses outside", n))
	}
	return attempts
}

// unrouted is how often something was to be sent that had no route.
func unrouted(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "Ip:":
		case names == nil:
			names = fields
		default:
			var n int
			at := slices.Index(names, "OutNoRoutes")
			if at < 0 || at >= len(fields) {
				t.Fatal("the kernel does not count what has no route")
			}
			if _, err := fmt.Sscan(fields[at], &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the kernel counts nothing for IP")
	return 0
}

// A witness that sees nothing proves nothing.
func TestWitnessSeesEveryAttempt(t *testing.T) {
	if *bellhop == "" {
		t.Skip("needs -matrix.bellhop")
	}
	w := startWitness(t)
	then := w.now(t)
	if addrs, err := new(net.Resolver).LookupHost(t.Context(), "gmail.googleapis.com"); err == nil {
		t.Errorf("a name outside is known: %v", addrs)
	}
	if attempts := w.since(t, then); !slices.Equal(attempts, []string{"gmail.googleapis.com"}) {
		t.Errorf("saw %q of a look-up", attempts)
	}
	then = w.now(t)
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "192.0.2.1:443"); err == nil {
		conn.Close()
		t.Error("an address outside can be reached")
	}
	if attempts := w.since(t, then); len(attempts) != 1 {
		t.Errorf("saw %q of a connection", attempts)
	}
}
