package caddymodule

import (
	"errors"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// identityScopes are about signing in, and no resource's.
var identityScopes = []string{"openid", "profile", "email", "offline_access"}

// nameConsent adds to the refusal of an audience what is to be consented to.
func nameConsent(err error, p provider.Provider, audience string) error {
	refusal, ok := errors.AsType[*problem.Problem](err)
	if !ok || refusal.Code != problem.InsufficientScope {
		return err
	}
	scopes := slices.DeleteFunc(slices.Clone(p.AudienceScopes(audience, nil)), func(scope string) bool { return slices.Contains(identityScopes, scope) })
	if len(scopes) == 0 {
		return err
	}
	named := *refusal
	named.Message = strings.TrimSuffix(named.Message, ".") + ". It needs consent to " + strings.Join(scopes, " ")
	return &named
}
