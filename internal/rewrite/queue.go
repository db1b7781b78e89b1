package rewrite

// maxQueued is how many strings may wait at a time, with those that stand
// behind the first of them. When one more comes, the first is settled as if it
// had waited too long.
const maxQueued = 256

// verdict says what is known of a candidate.
type verdict uint8

const (
	open     verdict = 1 << iota // its closing quote is yet to come
	unplaced                     // it needs an array beside it
	alone                        // its Beside may be yet to come
	refused                      // it is no match

	waiting = open | unplaced | alone
)

// candidate is a string that may stand at a matching place. It is a match when
// its verdict is zero.
type candidate struct {
	verdict
	start, end int64 // offsets of its opening quote, and behind its closing quote
	depth      int   // of the object that it is a member of
	array      uint64
	wanted     int
	kind       Kind
	name       string
	beside     string
	part       string
}

// queue has the candidates in the order of the text. Those before first are
// settled.
type queue struct {
	list  []candidate
	first int
}

// reset empties the queue. What it knows of the text is forgotten.
func (q *queue) reset() {
	if q.first = 0; cap(q.list) > maxQueued {
		q.list = nil
		return
	}
	clear(q.list[:cap(q.list)])
	q.list = q.list[:0]
}

func (q *queue) add(c candidate) {
	for q.expire(c.start); len(q.list)-q.first >= maxQueued; q.skip() {
		q.list[q.first].settle()
	}
	q.list = append(q.list, c)
}

// drop removes the first n candidates, which are settled.
func (q *queue) drop(n int) {
	q.list = q.list[:copy(q.list, q.list[n:])]
	q.first -= n
}

// skip moves first behind what is settled.
func (q *queue) skip() {
	for q.first < len(q.list) && q.list[q.first].verdict&waiting == 0 {
		q.first++
	}
}

// expire settles the candidates that have waited for too long at an offset.
func (q *queue) expire(at int64) {
	for q.skip(); q.first < len(q.list); q.skip() {
		c := &q.list[q.first]
		if at-c.start < maxHeld && (c.verdict&open == 0 || at-c.start-1 <= maxString) {
			return
		}
		c.settle()
	}
}

// settle decides on a candidate with what is known.
func (c *candidate) settle() {
	if c.verdict&(open|unplaced|refused) != 0 {
		c.verdict = refused
		return
	}
	c.verdict = 0
}

// settleAll decides on all that wait.
func (q *queue) settleAll() { q.settleFrom(0) }

// settleFrom decides on all that wait in objects of at least a depth.
func (q *queue) settleFrom(depth int) {
	for i := q.first; i < len(q.list); i++ {
		if c := &q.list[i]; c.depth >= depth && c.verdict&waiting != 0 {
			c.settle()
		}
	}
	q.skip()
}

// arrayBegins tells those that wait in an object that it has an array.
func (q *queue) arrayBegins(at int64, depth int, array uint64) {
	q.expire(at)
	for i := q.first; i < len(q.list); i++ {
		if c := &q.list[i]; c.depth == depth && c.array == array {
			c.verdict &^= unplaced
		}
	}
	q.skip()
}

// besideEnds tells those that wait in an object for a Beside that it has come.
func (q *queue) besideEnds(at int64, depth, beside int, text string) {
	q.expire(at)
	for i := q.first; i < len(q.list); i++ {
		if c := &q.list[i]; c.depth == depth && c.wanted == beside && c.verdict&alone != 0 {
			c.beside = text
			c.verdict &^= alone
		}
	}
	q.skip()
}

// stringEnds closes the last candidate, if it is the string that began at start.
func (q *queue) stringEnds(start, end int64) {
	if len(q.list) == 0 {
		return
	}
	c := &q.list[len(q.list)-1]
	if c.start != start || c.verdict&open == 0 {
		return
	}
	c.end = end
	if c.verdict &^= open; end-start-2 > maxString {
		c.verdict = refused
	}
	q.skip()
}
