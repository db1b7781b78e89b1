package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// resolver expands the placeholders of a configuration when it is provisioned.
// What they hold stays out of the configuration that Caddy shows.
type resolver struct{ replacer *caddy.Replacer }

func newResolver() resolver { return resolver{caddy.NewReplacer()} }

// one expands a value. One that turns out empty, or is not known, is an error
// that names where it stands: a secret must not vanish unnoticed.
func (r resolver) one(owner, name, value string) (string, error) {
	expanded, err := r.replacer.ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", owner, name, err)
	}
	if expanded == "" {
		return "", fmt.Errorf("%s: %s: is empty", owner, name)
	}
	return expanded, nil
}

// optional expands a value that need not be there.
func (r resolver) optional(owner, name, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	return r.one(owner, name, value)
}

func (r resolver) all(owner, name string, values []string) ([]string, error) {
	expanded := make([]string, 0, len(values))
	for _, value := range values {
		e, err := r.one(owner, name, value)
		if err != nil {
			return nil, err
		}
		expanded = append(expanded, e)
	}
	return expanded, nil
}

func (r resolver) secrets(owner, name string, values []string) ([]secret.String, error) {
	expanded, err := r.all(owner, name, values)
	if err != nil {
		return nil, err
	}
	secrets := make([]secret.String, len(expanded))
	for i, value := range expanded {
		secrets[i] = secret.New(value)
	}
	return secrets, nil
}
