package emailengine

import (
	"errors"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// errRecord does not quote the record.
var errRecord = errors.New("is not the MessagePack that EmailEngine writes")

// readRecord decodes a MessagePack map.
func readRecord(packed string) (map[string]any, error) {
	if len(packed) > maxRecord || !sound(packed) {
		return nil, errRecord
	}
	var record map[string]any
	if err := msgpack.Unmarshal([]byte(packed), &record); err != nil || record == nil {
		return nil, errRecord
	}
	return record, nil
}

// maxDepth is how deep a record may be nested; EmailEngine's are three deep.
const maxDepth = 32

// sound reports whether a message is one whole value that is nested no deeper
// than maxDepth and holds no more than it says. The decoder believes what a head
// says: it calls itself once for each level, and makes room for all values of a
// map before it reads the first.
func sound(packed string) bool {
	left := []int{1} // the values that are left at each level
	at := 0
	for len(left) > 0 {
		if left[len(left)-1] == 0 {
			left = left[:len(left)-1]
			continue
		}
		if at >= len(packed) {
			return false
		}
		left[len(left)-1]--
		size, values := head(packed[at:])
		at += size
		if at > len(packed) || values > len(packed)-at { // each takes a byte at least
			return false
		}
		if values > 0 {
			if len(left) >= maxDepth {
				return false
			}
			left = append(left, values)
		}
	}
	return at == len(packed)
}

// head is how many bytes the first value of a message takes, without the values
// that it holds, and how many those are.
func head(packed string) (size, values int) {
	number := func(bytes int) int {
		if len(packed) < 1+bytes {
			return 0
		}
		n := 0
		for _, b := range []byte(packed[1 : 1+bytes]) {
			n = n<<8 | int(b)
		}
		return min(n, maxRecord)
	}
	switch b := packed[0]; {
	case b>>4 == 0x8:
		return 1, 2 * int(b&0xf)
	case b>>4 == 0x9:
		return 1, int(b & 0xf)
	case b>>5 == 0x5:
		return 1 + int(b&0x1f), 0
	case b == 0xc4, b == 0xd9:
		return 2 + number(1), 0
	case b == 0xc5, b == 0xda:
		return 3 + number(2), 0
	case b == 0xc6, b == 0xdb:
		return 5 + number(4), 0
	case b == 0xc7:
		return 3 + number(1), 0
	case b == 0xc8:
		return 4 + number(2), 0
	case b == 0xc9:
		return 6 + number(4), 0
	case b == 0xcc, b == 0xd0:
		return 2, 0
	case b == 0xcd, b == 0xd1:
		return 3, 0
	case b == 0xca, b == 0xce, b == 0xd2:
		return 5, 0
	case b == 0xcb, b == 0xcf, b == 0xd3:
		return 9, 0
	case b >= 0xd4 && b <= 0xd8: // fixext 1, 2, 4, 8 and 16
		return 2 + 1<<(b-0xd4), 0
	case b == 0xdc:
		return 3, number(2)
	case b == 0xdd:
		return 5, number(4)
	case b == 0xde:
		return 3, 2 * number(2)
	case b == 0xdf:
		return 5, 2 * number(4)
	}
	return 1, 0
}

// text is a string member; empty where it is none.
func text(record map[string]any, name string) string {
	s, _ := record[name].(string)
	return s
}

// list is a member that is a list of strings. It reports false for one that is
// there and is anything else.
func list(record map[string]any, name string) ([]string, bool) {
	switch value := record[name].(type) {
	case nil:
		return nil, true
	case string:
		return []string{value}, true
	case []any:
		strings := make([]string, 0, len(value))
		for _, member := range value {
			s, ok := member.(string)
			if !ok {
				return nil, false
			}
			strings = append(strings, s)
		}
		return strings, true
	}
	return nil, false
}

// at is a member that is a time: milliseconds, ISO 8601 or MessagePack's own. It
// reports false for one that is there and is anything else.
func at(record map[string]any, name string) (time.Time, bool) {
	var t time.Time
	switch value := record[name].(type) {
	case nil:
		return t, true
	case time.Time:
		t = value.UTC()
	case string:
		t = parseMoment(value)
	default:
		ms, ok := number(value)
		if !ok {
			return t, false
		}
		t = fromMilliseconds(ms)
	}
	return t, !t.IsZero()
}

func number(value any) (float64, bool) {
	switch n := value.(type) {
	case int8:
		return float64(n), true
	case int16:
		return float64(n), true
	case int32:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint8:
		return float64(n), true
	case uint16:
		return float64(n), true
	case uint32:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float32:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}
