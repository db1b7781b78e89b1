package replay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// bytesOf is a body that no other resembles.
func bytesOf(n int, seed uint64) []byte {
	text := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	for i := range text {
		text[i] = byte(r.Uint32())
	}
	return text
}

func readAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestABodyThatIsAtHandIsReadTwice(t *testing.T) {
	const unknown = -1
	for name, c := range map[string]struct {
		size, limit int
		length      int64
		first       int // how much is read at first; negative: to the end
		again       bool
	}{
		"within the limit":                     {10, 100, 10, -1, true},
		"within the limit, length unknown":     {10, 100, unknown, -1, true},
		"exactly the limit":                    {100, 100, 100, -1, true},
		"exactly the limit, length unknown":    {100, 100, unknown, -1, true},
		"beyond the limit":                     {101, 100, 101, -1, false},
		"beyond the limit, length unknown":     {101, 100, unknown, -1, false},
		"read to its length and not its end":   {10, 100, 10, 10, true},
		"partly read":                          {10, 100, 10, 9, false},
		"partly read, length unknown":          {10, 100, unknown, 10, false},
		"not read":                             {10, 100, 10, 0, true},
		"not read, length unknown":             {10, 100, unknown, 0, true},
		"not read, beyond the limit":           {1000, 100, 1000, 0, true},
		"not read, with no limit":              {10, 0, 10, 0, true},
		"read, with no limit":                  {10, 0, 10, -1, false},
		"partly read, beyond the limit":        {1000, 100, 1000, 50, false},
		"empty":                                {0, 100, 0, -1, true},
		"empty, length unknown":                {0, 100, unknown, -1, true},
		"empty, with no limit, length unknown": {0, 0, unknown, -1, true},
	} {
		t.Run(name, func(t *testing.T) {
			sent := bytesOf(c.size, 1)
			b := New(bytes.NewReader(sent), c.length, int64(c.limit))
			first := b.Open()
			if c.first < 0 {
				if got := readAll(t, first); !bytes.Equal(got, sent) {
					t.Fatalf("first: %d bytes, want %d", len(got), len(sent))
				}
			} else if _, err := io.ReadFull(first, make([]byte, c.first)); err != nil {
				t.Fatal(err)
			}
			second, again := b.Reopen()
			if again != c.again {
				t.Fatalf("reopened: %t, want %t", again, c.again)
			}
			if !again {
				return
			}
			if got := readAll(t, second); !bytes.Equal(got, sent) {
				t.Errorf("second: %d bytes, want %d", len(got), len(sent))
			}
		})
	}
}

func TestAReaderThatWasReplacedGetsNothing(t *testing.T) {
	b := New(strings.NewReader("a body"), 6, 100)
	first := b.Open()
	if _, ok := b.Reopen(); !ok {
		t.Fatal("not reopened")
	}
	if n, err := first.Read(make([]byte, 10)); n != 0 || !errors.Is(err, errStopped) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

func TestARefusalToReopenLeavesTheReaderItsBody(t *testing.T) {
	sent := bytesOf(1000, 2)
	b := New(bytes.NewReader(sent), 1000, 10)
	first := b.Open()
	head := make([]byte, 300)
	if _, err := io.ReadFull(first, head); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Reopen(); ok {
		t.Fatal("reopened a body of which a part is gone")
	}
	if got := append(head, readAll(t, first)...); !bytes.Equal(got, sent) {
		t.Errorf("%d bytes differ from those sent", len(got))
	}
}

func TestASourceThatFailsIsNotSentTwice(t *testing.T) {
	broken := errors.New("the caller is gone")
	b := New(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), 8, 100)
	if got, err := io.ReadAll(b.Open()); string(got) != "half" || !errors.Is(err, broken) {
		t.Fatalf("%q, %v", got, err)
	}
	if _, ok := b.Reopen(); ok {
		t.Error("reopened")
	}
}

// TestReopenDoesNotWaitForTheCaller has a reader wait for what the caller has
// yet to send.
func TestReopenDoesNotWaitForTheCaller(t *testing.T) {
	source, caller := io.Pipe()
	waits := make(chan struct{})
	b := New(readerFunc(func(p []byte) (int, error) {
		close(waits)
		return source.Read(p)
	}), -1, 100)
	first := b.Open()
	done := make(chan error, 1)
	go func() {
		_, err := first.Read(make([]byte, 10))
		done <- err
	}()
	<-waits
	if _, ok := b.Reopen(); ok {
		t.Error("reopened a body that is being read")
	}
	if _, err := caller.Write([]byte("rest")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// alone is a source that notices when two read it at once.
type alone struct {
	io.Reader
	mu sync.Mutex
}

func (a *alone) Read(p []byte) (int, error) {
	if !a.mu.TryLock() {
		return 0, errors.New("read by two at once")
	}
	defer a.mu.Unlock()
	return a.Reader.Read(p)
}

// TestWhatIsReplayedIsWhatWasSent reopens bodies of many sizes while the first
// reader is still at work, as a transport may be when the answer is there.
func TestWhatIsReplayedIsWhatWasSent(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	reopened, refused := 0, 0
	for range 2000 {
		size, limit := random.IntN(3000), random.IntN(3000)
		sent := bytesOf(size, random.Uint64())
		length := int64(size)
		if random.IntN(2) == 0 {
			length = -1
		}
		source := &alone{Reader: bytes.NewReader(sent)}
		switch random.IntN(3) {
		case 0:
			source.Reader = iotest.DataErrReader(source.Reader)
		case 1:
			source.Reader = iotest.HalfReader(source.Reader)
		}
		b := New(source, length, int64(limit))
		first := b.Open()
		chunk, before := 1+random.IntN(500), random.IntN(size+2)
		var start sync.WaitGroup
		start.Add(1)
		stale := make(chan []byte)
		go func() {
			var got []byte
			var err error
			for p := make([]byte, chunk); err == nil; {
				if len(got) >= before {
					start.Done()
					before = size + 1<<20
				}
				var n int
				n, err = first.Read(p)
				got = append(got, p[:n]...)
			}
			if before <= size+1 {
				start.Done()
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, errStopped) {
				t.Error(err)
			}
			stale <- got
		}()
		start.Wait()
		second, ok := b.Reopen()
		var got []byte
		if ok {
			reopened++
			got = readAll(t, second)
		}
		old := <-stale
		if !ok {
			refused++
			if !bytes.Equal(old, sent) {
				t.Fatalf("size %d, limit %d: the only reader got %d bytes", size, limit, len(old))
			}
			continue
		}
		if !bytes.Equal(got, sent) || !bytes.HasPrefix(sent, old) {
			t.Fatalf("size %d, limit %d, length %d: replayed %d bytes, first %d", size, limit, length, len(got), len(old))
		}
	}
	if reopened < 100 || refused < 100 {
		t.Errorf("%d reopened, %d refused: this proves little", reopened, refused)
	}
}

func TestNothingIsKeptOfWhatIsTooLong(t *testing.T) {
	const limit = 1 << 10
	for name, length := range map[string]int64{"announced": 1 << 20, "not announced": -1} {
		t.Run(name, func(t *testing.T) {
			b := New(bytes.NewReader(make([]byte, 1<<20)), length, limit)
			if _, err := io.Copy(io.Discard, b.Open()); err != nil {
				t.Fatal(err)
			}
			if cap(b.kept) != 0 {
				t.Errorf("%d bytes are kept", cap(b.kept))
			}
		})
	}
}
