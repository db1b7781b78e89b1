// Package volume sends bodies through Bellhop that are larger than what it may
// hold in memory, and watches how much it does. It has nothing but tests.
//
// They need the binary that is to be judged, for the memory of a test binary
// with the race detector says nothing:
//
//	go test ./internal/volume -volume.bellhop bin/bellhop
package volume
