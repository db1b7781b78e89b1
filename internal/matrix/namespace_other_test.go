//go:build !linux

package matrix

import "errors"

func runInNamespace(string) (code int, err error) {
	return 0, errors.New("network namespaces are Linux's")
}

func furnishNamespace(string) error { return errors.New("network namespaces are Linux's") }
