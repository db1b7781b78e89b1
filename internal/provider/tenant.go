package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// consumersTenant is the tenant of all personal accounts
// (learn.microsoft.com/entra/identity-platform/id-token-claims-reference, tid).
const consumersTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// tenantPlace stands where a tenant's ID belongs in what Microsoft publishes
// for all of them.
const tenantPlace = "{tenantid}"

// ofTenant puts a tenant's ID into an issuer.
func ofTenant(issuer, tid string) string {
	return strings.ReplaceAll(issuer, tenantPlace, strings.ToLower(tid))
}

// tenantFinder finds the IDs of tenants that are named by a domain.
type tenantFinder struct {
	client *client
	// origin is where the tenants' discovery documents are; empty when the
	// configured endpoints do not tell.
	origin string
	// name is the configured tenant; own is its ID, once it was found. It never
	// changes.
	name string
	own  *atomic.Pointer[string]
}

func newTenantFinder(client *client, tokenEndpoint, name string) tenantFinder {
	f := tenantFinder{client: client, name: name, own: &atomic.Pointer[string]{}}
	if origin, ok := strings.CutSuffix(tokenEndpoint, "/"+name+"/oauth2/v2.0/token"); ok {
		f.origin = origin
	}
	return f
}

// configured is the ID that "tid" must be; empty where any will do.
func (f tenantFinder) configured(ctx context.Context) (string, *account.Failure) {
	switch {
	case f.name == "organizations", f.name == "common":
		return "", nil
	case f.name == "consumers":
		return consumersTenant, nil
	case guid.MatchString(f.name):
		return strings.ToLower(f.name), nil
	case f.origin == "":
		// The operator's own endpoints stand for the tenant.
		return "", nil
	}
	if own := f.own.Load(); own != nil {
		return *own, nil
	}
	id, err := f.find(ctx, f.name)
	if err != nil {
		return "", &account.Failure{
			Meaning: account.ProviderDown,
			Reads:   "It could not be found out which tenant " + f.name + " is.",
			Mend:    "Try again in a moment, or configure the tenant's ID.",
			Err:     err,
		}
	}
	f.own.Store(&id)
	return id, nil
}

// find asks for the tenant that owns a domain.
func (f tenantFinder) find(ctx context.Context, name string) (string, error) {
	if f.origin == "" || !domain.MatchString(name) {
		return "", fmt.Errorf("finding tenant: there is no discovery document to ask for %q", name)
	}
	resp, err := f.client.get(ctx, f.origin+"/"+strings.ToLower(name)+"/v2.0/.well-known/openid-configuration")
	if err != nil {
		return "", fmt.Errorf("finding tenant: %w", err)
	}
	if resp.status != http.StatusOK || resp.tooLarge {
		return "", fmt.Errorf("finding tenant: status %d", resp.status)
	}
	u, err := url.Parse(parseObject(trimmed(resp.body)).text("issuer"))
	if err != nil {
		return "", errors.New("finding tenant: the document has no issuer")
	}
	tid, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !guid.MatchString(tid) {
		return "", errors.New("finding tenant: the document's issuer names none")
	}
	return strings.ToLower(tid), nil
}
