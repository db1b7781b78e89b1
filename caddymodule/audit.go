package caddymodule

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// statusClientClosed is what Caddy records for a caller that hung up.
const statusClientClosed = 499

// call is what is said of one call in the audit and the metrics, filled in as
// it becomes known.
type call struct {
	route string // which of Bellhop's endpoints
	begun time.Time
	key   string // the name of the caller's key
	// caller is the caller's key; nil for one who has none.
	caller   *policy.Key
	account  string
	provider string
	host     string
	// path is the API's, without its query: people's search words and page
	// tokens do not belong into logs.
	path string
	// result is what came of an attempt to connect an account.
	result  string
	problem *problem.Problem
	// overhead is the time before the call left for the API.
	overhead time.Duration
}

// by remembers whose call it is.
func (c *call) by(key *policy.Key) {
	c.key, c.caller = key.Name, key
}

// record wraps w so that metrics and audit know what became of the call. It
// returns the wrapped writer, and what is to be called at the end.
func (a *App) record(w http.ResponseWriter, r *http.Request, c *call) (http.ResponseWriter, func()) {
	c.begun = time.Now()
	rec := caddyhttp.NewResponseRecorder(w, nil, nil)
	return rec, func() {
		a.count(c, rec.Status())
		if a.run.audit != nil {
			a.audit(c, r, rec.Status(), rec.Size())
		}
	}
}

// What was decided about a call.
const (
	decisionAllowed = "allowed"
	decisionRefused = "refused"
)

// audit tells of one call, to the log and to who asks for the last ones.
func (a *App) audit(c *call, r *http.Request, status, bytes int) {
	told := activeCall{
		Time: c.begun, Route: c.route, Decision: decisionAllowed, Key: c.key, Account: c.account, Provider: c.provider,
		Method: r.Method, Host: c.host, Path: c.path, Client: clientOf(r), Status: status, Bytes: bytes, Result: c.result,
	}
	took := time.Since(c.begun)
	told.Duration = float64(took.Microseconds()) / 1000
	if c.problem != nil {
		told.Decision, told.Problem = decisionRefused, c.problem.Code
	} else if a.Audit == AuditDenied {
		return
	}
	if s, err := a.run.open(); err == nil {
		s.activity.add(told)
	}
	entry := a.run.audit.Check(zapcore.InfoLevel, "call")
	if entry == nil {
		return
	}
	fields := make([]zap.Field, 0, 13)
	fields = append(fields,
		zap.String("route", told.Route),
		zap.String("decision", told.Decision),
		zap.String("key", told.Key),
		zap.String("account", told.Account),
		zap.String("method", told.Method),
		zap.String("host", told.Host),
		zap.String("path", told.Path),
		zap.String("client", told.Client),
		zap.Int("status", status),
		zap.Int("bytes", bytes),
		zap.Duration("duration", took),
	)
	if told.Result != "" {
		fields = append(fields, zap.String("result", told.Result))
	}
	if told.Problem != "" {
		fields = append(fields, zap.String("problem", string(told.Problem)))
	}
	entry.Write(fields...)
}

// clientOf is the caller's address, or "" on a unix socket.
func clientOf(r *http.Request) string {
	if address := clientAddr(r); address.IsValid() {
		return address.String()
	}
	return ""
}

// refuse answers with the problem in err and remembers it for the audit. Its
// cause is logged where an operator must look into it.
func (a *App) refuse(w http.ResponseWriter, r *http.Request, c *call, err error, d dialect) {
	if r.Context().Err() != nil {
		w.WriteHeader(statusClientClosed) // nobody reads it but the logs
		return
	}
	hangUp(w, r)
	p := a.withReconnectURL(r, c, problem.From(err))
	c.problem = p
	if p.Err != nil && p.Status >= http.StatusInternalServerError {
		a.run.log.Error("serving a call", zap.String("route", c.route), zap.String("account", c.account),
			zap.String("problem", string(p.Code)), zap.Error(p.Err))
	}
	writeProblem(w, r, p, d)
}
