package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

const scope = "mail.read"

// exchange is one token request as the wire saw it.
type exchange struct {
	account   string
	node      int
	presented int // the refresh token's number; 0 for one that was never issued
	arrived   time.Time
	committed time.Time // zero: the provider gave no token for it
	answered  time.Time // zero: the answer was not written whole
	access    string    // the access token of the answer
	served    time.Time // when a caller first got that; zero: nobody did
	shared    time.Time // when another node first gave it to one
	ended     time.Time // zero: it is under way
	fatal     bool      // the provider ended the grant for it
}

// wire is the provider as the nodes meet it: every token request is noted on
// its way there and back, and takes its time.
type wire struct {
	*fakeprovider.Server
	web  *httptest.Server
	slow time.Duration // how much longer every request takes

	mu      sync.Mutex
	rng     *rand.Rand
	numbers map[string]int // of refresh tokens
	owners  map[string]string
	history map[string][]*exchange // by account
	issued  map[string]*exchange   // by access token
	under   map[int]int            // token requests under way, by node
}

func newWire(t *testing.T, life time.Duration) *wire {
	w := &wire{
		// Answers round lives down to a second.
		Server: fakeprovider.New(fakeprovider.Options{
			TokenLife: life + 200*time.Millisecond, Rotation: fakeprovider.Rotation{Policy: fakeprovider.SingleUse},
		}),
		rng:     rand.New(rand.NewPCG(*seed, 0)),
		numbers: make(map[string]int), owners: make(map[string]string),
		history: make(map[string][]*exchange), issued: make(map[string]*exchange), under: make(map[int]int),
	}
	w.web = httptest.NewServer(w)
	t.Cleanup(func() {
		w.web.CloseClientConnections()
		w.web.Close()
	})
	return w
}

// create makes a grant at the provider.
func (w *wire) create(id string) (refreshToken string, err error) {
	g, err := w.CreateGrant(fakeprovider.Grant{ID: id, Scope: scope})
	if err != nil {
		return "", err
	}
	w.learn(id)
	return g.RefreshToken, nil
}

// ServeHTTP is what nodes reach, each below its number.
func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	first, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	node, err := strconv.Atoi(first)
	if err != nil || path != "token" {
		http.NotFound(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its sender was killed while it wrote
	}
	w.token(rw, r, node, body)
}

func (w *wire) token(rw http.ResponseWriter, r *http.Request, node int, body []byte) {
	form, _ := url.ParseQuery(string(body))
	ex := w.begin(node, form.Get("refresh_token"))
	defer w.note(func() {
		ex.ended = time.Now()
		w.under[node]--
	})
	there, back, carried := w.draw()
	sleep(r.Context(), there)
	if r.Context().Err() != nil && !carried {
		panic(http.ErrAbortHandler)
	}
	asked := r.Clone(context.WithoutCancel(r.Context()))
	asked.URL.Path, asked.URL.RawPath, asked.Body = "/token", "", io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	w.Server.ServeHTTP(rec, asked)
	w.judged(ex, rec)
	sleep(r.Context(), back)
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	if _, err := rw.Write(rec.Body.Bytes()); err == nil && http.NewResponseController(rw).Flush() == nil {
		w.note(func() { ex.answered = time.Now() })
	}
}

// draw is how long a request takes there and back, and whether it arrives if
// its sender is killed meanwhile.
func (w *wire) draw() (there, back time.Duration, carried bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := 40 * time.Millisecond
	if w.rng.IntN(10) == 0 {
		most = 400 * time.Millisecond
	}
	return w.slow + upTo(w.rng, most), w.slow + upTo(w.rng, most), w.rng.IntN(2) == 0
}

func (w *wire) begin(node int, refreshToken string) *exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	ex := &exchange{account: w.owners[refreshToken], node: node, presented: w.numbers[refreshToken], arrived: time.Now()}
	w.history[ex.account] = append(w.history[ex.account], ex)
	w.under[node]++
	return ex
}

// busy reports whether a token request of the node is under way; of any, for 0.
func (w *wire) busy(node int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if node != 0 {
		return w.under[node] > 0
	}
	for _, n := range w.under {
		if n > 0 {
			return true
		}
	}
	return false
}

func (w *wire) note(what func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what()
}

// judged notes what the provider made of a request.
func (w *wire) judged(ex *exchange, rec *httptest.ResponseRecorder) {
	var answer struct {
		Access string `json:"access_token"`
	}
	if rec.Code == http.StatusOK && json.Unmarshal(rec.Body.Bytes(), &answer) == nil {
		w.learn(ex.account)
		w.note(func() {
			ex.committed, ex.access = time.Now(), answer.Access
			w.issued[answer.Access] = ex
		})
		return
	}
	g, err := w.Grant(ex.account, false)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range w.history[ex.account] {
		if other.fatal {
			return // it was dead before
		}
	}
	ex.fatal = err == nil && g.Dead
}

// learn takes note of an account's current refresh token.
func (w *wire) learn(account string) {
	g, err := w.Grant(account, true)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers[g.RefreshToken] = g.RefreshTokenNumber
	w.owners[g.RefreshToken] = account
}

// receive notes that a caller got an access token of a node, and returns of
// which request it is, and whether this is the first time.
func (w *wire) receive(node int, access string) (ex exchange, first, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found, ok := w.issued[access]
	if !ok {
		return exchange{}, false, false
	}
	if found.served.IsZero() {
		found.served, first = time.Now(), true
	}
	if node != found.node && found.shared.IsZero() {
		found.shared = time.Now()
	}
	return *found, first, true
}

// exchanges are an account's, in the order in which they came.
func (w *wire) exchanges(account string) []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]exchange, 0, len(w.history[account]))
	for _, ex := range w.history[account] {
		list = append(list, *ex)
	}
	return list
}

// accepts asks the API whether an access token is good.
func (w *wire) accepts(access string) bool {
	r := httptest.NewRequest(http.MethodGet, "/echo/", nil)
	r.Header.Set("Authorization", "Bearer "+access)
	rec := httptest.NewRecorder()
	w.Server.ServeHTTP(rec, r)
	return rec.Code == http.StatusOK
}

func (w *wire) dead(account string) bool {
	g, err := w.Grant(account, false)
	return err == nil && g.Dead
}
