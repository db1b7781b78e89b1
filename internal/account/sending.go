package account

import "context"

type writeCheck struct{}

// WithWriteCheck returns a context for a token request that may be written only
// if check, asked at the last moment, returns nil.
func WithWriteCheck(ctx context.Context, check func() error) context.Context {
	return context.WithValue(ctx, writeCheck{}, check)
}

// WriteCheck returns what is to be asked when a token request is about to be
// written to its connection; nil for nothing. After an error nothing that could
// spend anything is written.
func WriteCheck(ctx context.Context) func() error {
	check, _ := ctx.Value(writeCheck{}).(func() error)
	return check
}
