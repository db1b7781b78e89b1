package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// exchange is one token request as the wire saw it.
type exchange struct {
	account   string
	presented int // the refresh token's number; 0 for one that was never issued
	arrived   time.Time
	committed time.Time // zero: the provider did not act on it
	answered  time.Time // zero: the true answer was not written whole
	access    string    // the access token of the answer
	// posthumous is set when the provider got it after its sender was killed.
	posthumous bool
	ended      bool
}

// wire is the provider as a process meets it: every token request is noted on
// its way there and back, and can be held at either end.
type wire struct {
	*fakeprovider.Server
	points *points
	web    *httptest.Server

	mu        sync.Mutex
	numbers   map[string]int // of refresh tokens
	owners    map[string]string
	exchanges map[string]*exchange // each account's last
	count     map[string]int       // by account
	conns     int                  // that the process has open
	changed   chan struct{}        // closed and replaced whenever conns changes
	carry     bool                 // requests whose sender is killed arrive all the same
	down      bool                 // the process was killed
	wrong     func(account, format string, args ...any)
	lost      func(account, cause string)
}

func newWire(t *testing.T, rotation fakeprovider.Rotation) *wire {
	w := &wire{
		Server: fakeprovider.New(fakeprovider.Options{TokenLife: trueLife, Rotation: rotation}),
		points: new(points), numbers: make(map[string]int), owners: make(map[string]string),
		exchanges: make(map[string]*exchange), count: make(map[string]int), changed: make(chan struct{}),
	}
	w.web = httptest.NewUnstartedServer(w)
	w.web.Config.ConnState = w.connState
	w.web.Start()
	t.Cleanup(func() {
		w.points.openAll()
		w.web.CloseClientConnections()
		w.web.Close()
	})
	return w
}

// ServeHTTP is what the process reaches.
func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/token":
		w.token(rw, r)
	case pointPath:
		// A process that has come to a point of its own waits here.
		q := r.URL.Query()
		_ = w.points.reach(r.Context(), q.Get("account"), point(q.Get("at")))
	default:
		w.Server.ServeHTTP(rw, r)
	}
}

func (w *wire) token(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its sender was killed while it wrote
	}
	form, _ := url.ParseQuery(string(body))
	ex := w.begin(form.Get("refresh_token"))
	defer w.end(ex)
	before := w.issued(ex.account)
	ctx := r.Context()
	if w.points.reach(ctx, ex.account, sent) != nil && !w.carries(ex) {
		w.abandoned(ex)
		panic(http.ErrAbortHandler)
	}
	if ex.posthumous {
		ctx = context.WithoutCancel(ctx)
	}
	w.letEnd(ctx, ex)
	r = r.Clone(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := fakeprovider.Transport{Server: w.Server}.RoundTrip(r)
	if w.issued(ex.account) > before {
		w.commit(ex)
	}
	if err == nil {
		defer resp.Body.Close()
	}
	left := w.points.reach(ctx, ex.account, committed) != nil
	switch {
	case left:
		w.abandoned(ex)
		panic(http.ErrAbortHandler)
	case err != nil:
		w.unanswered(ex)
		panic(http.ErrAbortHandler)
	}
	w.answer(rw, resp, ex)
}

// letEnd waits for the access token that a replay inside the grace window
// would get again: it has less than a second left, and the answer would say
// that this is nothing.
func (w *wire) letEnd(ctx context.Context, ex *exchange) {
	g, err := w.Grant(ex.account, false)
	if err != nil || w.Settings().Rotation.Policy != fakeprovider.Grace || ex.presented == g.RefreshTokenNumber {
		return
	}
	for _, t := range g.AccessTokens {
		sleep(ctx, time.Until(t.Expires))
	}
}

// answer passes an answer on, as much of it as there is.
func (w *wire) answer(rw http.ResponseWriter, resp *http.Response, ex *exchange) {
	text, err := io.ReadAll(resp.Body)
	var answer struct {
		Access string `json:"access_token"`
	}
	truth := err == nil && resp.StatusCode == http.StatusOK && json.Unmarshal(text, &answer) == nil && answer.Access != ""
	if truth {
		w.mu.Lock()
		ex.access = answer.Access
		w.mu.Unlock()
	} else {
		w.unanswered(ex)
	}
	maps.Copy(rw.Header(), resp.Header)
	rw.WriteHeader(resp.StatusCode)
	_, _ = rw.Write(text)
	flushed := http.NewResponseController(rw).Flush()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if truth && flushed == nil {
		w.mu.Lock()
		ex.answered = time.Now()
		w.mu.Unlock()
	}
}

func (w *wire) begin(refreshToken string) *exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	account := w.owners[refreshToken]
	ex := &exchange{account: account, presented: w.numbers[refreshToken], arrived: time.Now()}
	if last := w.exchanges[account]; last != nil && !last.ended {
		w.wrong(account, "two token requests at once, with refresh tokens %d and %d", last.presented, ex.presented)
	}
	w.exchanges[account] = ex
	w.count[account]++
	return ex
}

func (w *wire) end(ex *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ex.ended = true
}

// carries reports whether a request whose sender is gone reaches the provider.
func (w *wire) carries(ex *exchange) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ex.posthumous = w.carry && w.down
	return ex.posthumous
}

// commit notes that the provider acted on the request, and learns the number
// of the refresh token that it issued.
func (w *wire) commit(ex *exchange) {
	w.learn(ex.account)
	w.mu.Lock()
	defer w.mu.Unlock()
	ex.committed = time.Now()
}

// unanswered is called when the provider keeps an answer to itself. A process
// that is about to be killed may still learn of it, and save what it makes of
// it.
func (w *wire) unanswered(ex *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !ex.committed.IsZero() {
		w.lost(ex.account, fmt.Sprintf("the provider's answer to refresh token %d was never given", ex.presented))
	}
}

// abandoned is called when who sent the request has left. A living process
// does that when its time for it is over, and never before.
func (w *wire) abandoned(ex *exchange) {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if !down {
		w.unanswered(ex)
	}
	if early := requestTimeout - time.Since(ex.arrived); !down && early > requestTimeout/10 {
		w.wrong(ex.account, "a token request under way was given up %s before its time", early)
	}
}

func (w *wire) issued(account string) int {
	g, err := w.Grant(account, false)
	if err != nil {
		return 0
	}
	return g.Counters.Issued
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

// number is a refresh token's; 0 if it was never issued.
func (w *wire) number(refreshToken string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.numbers[refreshToken]
}

// last is a copy of the account's last exchange.
func (w *wire) last(account string) exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ex := w.exchanges[account]; ex != nil {
		return *ex
	}
	return exchange{}
}

// lasts is the last exchange of every account.
func (w *wire) lasts() map[string]exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	lasts := make(map[string]exchange, len(w.exchanges))
	for account, ex := range w.exchanges {
		lasts[account] = *ex
	}
	return lasts
}

// exchanged is how many token requests of the account there were.
func (w *wire) exchanged(account string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count[account]
}

// goDown is called before the process is killed. carry says whether requests
// that are on their way then arrive.
func (w *wire) goDown(carry bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down, w.carry = true, carry
}

// spent is how many token requests there were in all.
func (w *wire) spent() int { return w.Stats().TokenRequests }

func (w *wire) goUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// drain returns when all that a dead process has sent is dealt with.
func (w *wire) drain(ctx context.Context) error {
	// Connections are accepted in turn: once this one was, all of the process
	// were, and what is in them is read before their end is.
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.web.URL+"/echo/", nil)
	if err != nil {
		return err
	}
	r.Close = true
	resp, err := w.web.Client().Do(r)
	if err != nil {
		return fmt.Errorf("draining the wire: %w", err)
	}
	_ = resp.Body.Close()
	for {
		w.mu.Lock()
		conns, changed := w.conns, w.changed
		w.mu.Unlock()
		if conns == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("draining the wire: %d connections are left: %w", conns, ctx.Err())
		}
	}
}

func (w *wire) connState(_ net.Conn, state http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch state {
	case http.StateNew:
		w.conns++
	case http.StateClosed:
		w.conns--
	default:
		return
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// accepts asks the API whether an access token is good, and whose it is.
func (w *wire) accepts(accessToken string) (account string, ok bool) {
	r := httptest.NewRequest(http.MethodGet, "/echo/", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	rec := httptest.NewRecorder()
	w.Server.ServeHTTP(rec, r)
	var echo fakeprovider.Echo
	if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), &echo) != nil {
		return "", false
	}
	return echo.Grant, true
}
