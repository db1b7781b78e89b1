package vault

import (
	"context"
	"errors"
	"strings"
)

var errWatchEnded = errors.New("the store's changes are not told any more")

// FollowGrants calls changed with the account and the new version (0: it is
// gone) of each grant that is changed, by whatever process, and with an empty
// account when changes may have been missed. That is so at first, once none can
// be missed any more. It ends when ctx does, or the store fails.
func (v *Vault) FollowGrants(ctx context.Context, changed func(id string, version uint64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := v.store.Watch(ctx, grantPrefix)
	if err != nil {
		return err
	}
	changed("", 0)
	for e := range events {
		changed(strings.TrimPrefix(e.Key, grantPrefix), e.Version)
	}
	return errWatchEnded
}
