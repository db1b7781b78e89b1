package fakeprovider

import (
	"fmt"
	"time"
)

// mailboxSize is how many messages every mailbox has from the start.
const mailboxSize = 250

// message is one of a mailbox, numbered from the oldest, which is 0.
type message struct {
	number  int
	id      string
	subject string
	preview string
	sent    bool
	date    time.Time
}

func messageID(number int) string { return fmt.Sprintf("%016x", 0x18c0_0000_0000_0000+number) }

// mailbox returns the size of the grant's mailbox and its messages from the
// newest, of which skip are left out and at most top returned.
func (s *Server) mailbox(g *grant, skip, top int) (size int, page []message) {
	s.mu.Lock()
	size = mailboxSize + g.counters.Sent
	s.mu.Unlock()
	for number := size - 1 - skip; number >= 0 && len(page) < top; number-- {
		page = append(page, newMessage(number))
	}
	return size, page
}

func newMessage(number int) message {
	return message{
		number:  number,
		id:      messageID(number),
		subject: fmt.Sprintf("Message %d", number),
		preview: fmt.Sprintf("This is the preview of message number %d.", number),
		sent:    number >= mailboxSize,
		date:    time.Date(2026, 1, 1, 0, number, 0, 0, time.UTC),
	}
}

// findMessage returns the message of the grant with this ID.
func (s *Server) findMessage(g *grant, id string) (message, bool) {
	var number int
	if _, err := fmt.Sscanf(id, "%x", &number); err != nil {
		return message{}, false
	}
	number -= 0x18c0_0000_0000_0000
	s.mu.Lock()
	defer s.mu.Unlock()
	if number < 0 || number >= mailboxSize+g.counters.Sent || messageID(number) != id {
		return message{}, false
	}
	return newMessage(number), true
}

// send adds a sent message to the grant's mailbox. What was written in it is
// not kept.
func (s *Server) send(g *grant) message {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(g, func(c *Counters) { c.Sent++ })
	return newMessage(mailboxSize + g.counters.Sent - 1)
}
