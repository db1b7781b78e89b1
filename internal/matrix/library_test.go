package matrix

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// operation is what a client library is asked to do.
type operation string

const (
	plain     operation = "plain"
	pages     operation = "pages"
	upload    operation = "upload"
	resumable operation = "resumable"
	batch     operation = "batch"
	download  operation = "download"
	denied    operation = "denied" // a plain call that Bellhop refuses
)

var operations = []operation{plain, pages, upload, resumable, batch, download, denied}

// form is how Bellhop stands for an API.
type form string

const (
	path   form = "path"
	origin form = "origin"
)

var forms = []form{path, origin}

// library is a client library and what is expected of it.
type library struct {
	name string
	// account is that whose key it gets.
	account string
	// program is its recipe and runs in dir, below examples/recipes. It takes the
	// operation and its arguments.
	dir     string
	program []string
	// replay stands for a program where the library itself cannot be had.
	replay func(context.Context, *caller, ...string) error
	// says is what is printed by operations that do not print an ID, or nothing:
	// a regular expression for the whole.
	says map[operation]string
	// no is what does not work, in the forms where it does not.
	no map[operation]map[form]no
}

// no is why an operation cannot work.
type no struct {
	// reason is for the reader of docs/sdk.md.
	reason string
	// Where the library has the operation, it is tried. It must then fail with
	// an error that has fails in it, after an attempt to reach the host leaves if
	// that is not empty, and without any attempt if it is.
	fails, leaves string
}

// goProgram stands for the Go recipe, wherever it was built.
const goProgram = "go"

// both is for what works in neither form.
func both(n no) map[form]no { return map[form]no{path: n, origin: n} }

// ask runs an operation of a library through Bellhop, and returns what it
// printed. The error has what it said of a failure.
func (w *world) ask(ctx context.Context, l *library, env map[string]string, args ...string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if l.replay != nil {
		err = l.replay(ctx, &caller{client: w.client, env: env, stdout: &stdout}, args...)
		return stdout.String(), err
	}
	program := slices.Clone(l.program)
	if program[0] == goProgram {
		program[0] = *goRecipe
	}
	program = append(program, args...)
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Dir = filepath.Join("..", "..", "examples", "recipes", l.dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.Dir,
		// Each library has its own way to be told of a certificate authority.
		"CURL_CA_BUNDLE=" + w.root, "SSL_CERT_FILE=" + w.root,
		"NODE_EXTRA_CA_CERTS=" + w.root, "HTTPLIB2_CA_CERTS=" + w.root,
	}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if err := cmd.Run(); err != nil {
		return stdout.String(), &failure{said: stdout.String() + stderr.String(), err: err}
	}
	return stdout.String(), nil
}

// failure is a program's that ended with an error.
type failure struct {
	said string
	err  error
}

// Error implements [error].
func (f *failure) Error() string { return f.err.Error() + "\n" + f.said }

// Unwrap is for [errors.Is].
func (f *failure) Unwrap() error { return f.err }

// env is what a recipe reads of its environment.
func (w *world) env(l *library, f form, op operation) map[string]string {
	account, key := l.account, w.keys[l.account]
	if op == denied {
		// In the path form a key that does not reach the account that is named; in
		// the origin form one that does not say which account is meant.
		if account = carol; f == origin {
			key = w.keys[wide]
		}
	}
	env := map[string]string{"BELLHOP_KEY": key}
	for name, api := range map[string]struct{ host, site string }{
		"BELLHOP_GMAIL": {"gmail.googleapis.com", sites.Gmail},
		"BELLHOP_DRIVE": {"www.googleapis.com", sites.Drive},
		"BELLHOP_GRAPH": {"graph.microsoft.com", sites.Graph},
	} {
		env[name] = api.site
		if f == path {
			env[name] = sites.Path + "/proxy/" + account + "/" + api.host
		}
	}
	return env
}
