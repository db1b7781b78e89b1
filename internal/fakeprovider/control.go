package fakeprovider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// controlRoutes serves the methods of [Server] over HTTP. [Control] is the
// client.
func (s *Server) controlRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]controlHandler{
		"POST /control/clients":                     s.controlRegister,
		"POST /control/grants":                      s.controlCreate,
		"GET /control/grants":                       s.controlGrants,
		"GET /control/grants/{id}":                  s.controlGrant,
		"DELETE /control/grants/{id}":               s.controlKill,
		"DELETE /control/grants/{id}/access-tokens": s.controlRevoke,
		"GET /control/stats":                        s.controlStats,
		"GET /control/token-requests":               s.controlTokenRequests,
		"GET /control/settings":                     s.controlSettings,
		"PATCH /control/settings":                   s.controlConfigure,
		"POST /control/clock":                       s.controlClock,
		"POST /control/faults":                      s.controlQueue,
		"GET /control/faults":                       s.controlFaults,
		"DELETE /control/faults":                    s.controlClear,
		"GET /control/files":                        s.controlFiles,
		"POST /control/files":                       s.controlAddFile,
		"POST /control/release":                     s.controlRelease,
		"POST /control/await":                       s.controlAwait,
		"POST /control/reset":                       s.controlReset,
	} {
		mux.HandleFunc(pattern, handler.serve)
	}
	for pattern, handler := range s.consentControls() {
		mux.HandleFunc(pattern, handler.serve)
	}
	return mux
}

// controlHandler returns what to answer as JSON, or why not.
type controlHandler func(*http.Request) (any, error)

func (h controlHandler) serve(w http.ResponseWriter, r *http.Request) {
	answer, err := h(r)
	switch {
	case errors.Is(err, ErrNoGrant):
		writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
	case err != nil:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
	case answer == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

// decode reads a JSON body strictly: a misspelt fault would make a test pass
// that should not.
func decode(r io.Reader, into any) error {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("decoding request: %w", err)
	}
	return nil
}

func wantsValues(r *http.Request) bool { return r.URL.Query().Get("values") == "true" }

func (s *Server) controlRegister(r *http.Request) (any, error) {
	var client Client
	if err := decode(r.Body, &client); err != nil {
		return nil, err
	}
	return nil, s.RegisterClient(client)
}

func (s *Server) controlCreate(r *http.Request) (any, error) {
	var g Grant
	if err := decode(r.Body, &g); err != nil {
		return nil, err
	}
	return s.CreateGrant(g)
}

func (s *Server) controlGrants(r *http.Request) (any, error) { return s.Grants(wantsValues(r)), nil }

func (s *Server) controlGrant(r *http.Request) (any, error) {
	return s.Grant(r.PathValue("id"), wantsValues(r))
}

func (s *Server) controlKill(r *http.Request) (any, error) {
	return nil, s.KillGrant(r.PathValue("id"))
}

func (s *Server) controlRevoke(r *http.Request) (any, error) {
	return nil, s.RevokeAccessTokens(r.PathValue("id"))
}

func (s *Server) controlStats(*http.Request) (any, error) { return s.Stats(), nil }

func (s *Server) controlTokenRequests(r *http.Request) (any, error) {
	return s.TokenRequests(wantsValues(r)), nil
}

func (s *Server) controlSettings(*http.Request) (any, error) { return s.Settings(), nil }

// controlConfigure changes the members that the body has and keeps the others.
func (s *Server) controlConfigure(r *http.Request) (any, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading request: %w", err)
	}
	err = s.Configure(func(settings *Settings) error {
		return decode(bytes.NewReader(body), settings)
	})
	if err != nil {
		return nil, err
	}
	return s.Settings(), nil
}

type clockRequest struct {
	Advance Duration `json:"advance"`
}

type clockAnswer struct {
	Now time.Time `json:"now"`
}

func (s *Server) controlClock(r *http.Request) (any, error) {
	var request clockRequest
	if err := decode(r.Body, &request); err != nil {
		return nil, err
	}
	return clockAnswer{Now: s.Advance(time.Duration(request.Advance))}, nil
}

func (s *Server) controlQueue(r *http.Request) (any, error) {
	var faults []Fault
	if err := decode(r.Body, &faults); err != nil {
		return nil, err
	}
	return s.QueueFaults(faults...)
}

func (s *Server) controlFaults(*http.Request) (any, error) { return s.Faults(), nil }

func (s *Server) controlClear(*http.Request) (any, error) {
	s.ClearFaults()
	return nil, nil
}

func (s *Server) controlFiles(*http.Request) (any, error) { return s.Files(), nil }

func (s *Server) controlAddFile(r *http.Request) (any, error) {
	var f File
	if err := decode(r.Body, &f); err != nil {
		return nil, err
	}
	return s.AddFile(f)
}

type gateRequest struct {
	Gate string `json:"gate"`
	Held int    `json:"held,omitempty"`
}

type gateAnswer struct {
	Released int `json:"released"`
}

func (s *Server) controlRelease(r *http.Request) (any, error) {
	var request gateRequest
	if err := decode(r.Body, &request); err != nil {
		return nil, err
	}
	return gateAnswer{Released: s.Release(request.Gate)}, nil
}

// controlAwait answers once enough requests are held, or never: the client
// sets its own limit.
func (s *Server) controlAwait(r *http.Request) (any, error) {
	var request gateRequest
	if err := decode(r.Body, &request); err != nil {
		return nil, err
	}
	return nil, s.AwaitHeld(r.Context(), request.Gate, request.Held)
}

func (s *Server) controlReset(*http.Request) (any, error) {
	s.Reset()
	return nil, nil
}
