package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Feed follows the ends of sessions and tokens at a Kerria server, after docs/checker-protocol.md, and says of access tokens
// whether they were ended.
type Feed struct {
	nodes       []string
	token, name string
	id          string
	asked       int
	Issuer      string
	lease       time.Duration
	leaving     context.Context
	stop        func()
	stopped     chan struct{}

	mutex   sync.RWMutex
	applied *uint64
	until   time.Duration
	ends    map[about][]end
	order   []ordered
	floor   uint64
}

type about struct{ kind, id string }

type end struct {
	number uint64
	except string
}

type ordered struct {
	number uint64
	at     int64
	about  about
}

type entry struct {
	Number   uint64
	At       int64
	Selector struct{ Kind, Session, User, Except, Token, Client string }
	Event    struct{ Event string }
}

type answer struct {
	Answer   string
	Head     uint64
	Entries  []entry
	Complete bool
}

// The clock goes on while the machine is suspended, and never jumps. That of package time stops.
func clock() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic(err)
	}
	return time.Duration(now.Nano())
}

// Follow begins to follow the first node that answers.
func Follow(nodes []string, token, name string) (*Feed, error) {
	feed := &Feed{nodes: nodes, token: token, name: name, id: uuid(), stopped: make(chan struct{})}
	feed.leaving, feed.stop = context.WithCancel(context.Background())
	var settings struct {
		Issuer string
		Lease  int64
	}
	if err := feed.ask("settings", nil, &settings, 2*time.Second, len(nodes)); err != nil {
		return nil, err
	}
	feed.Issuer, feed.lease = settings.Issuer, time.Duration(settings.Lease)*time.Millisecond
	feed.forgetAll(0)
	feed.applied = nil
	go feed.renewAlways()
	return feed, nil
}

// Verdict of a Feed on a token.
type Verdict int

// What a Feed says of a token.
const (
	Unknown Verdict = iota
	Good
	Ended
)

// Verdict on a token whose signature and claims are right. To be asked when the answer is ready.
func (feed *Feed) Verdict(claims *Claims) Verdict {
	feed.mutex.RLock()
	defer feed.mutex.RUnlock()
	selectors := []about{
		{"token", claims.ID}, {"session", claims.Session}, {"user", claims.Subject}, {"client", claims.Client}, {"everyone", ""},
	}
	for _, selector := range selectors {
		for _, end := range feed.ends[selector] {
			if end.number > *claims.AsOf && (end.except == "" || end.except != claims.Session) {
				return Ended
			}
		}
	}
	switch {
	case clock() >= feed.until:
		return Unknown
	case *claims.AsOf < feed.floor:
		// What was ended before the floor is not known here. Its client refreshes, and gets a younger one.
		return Ended
	}
	return Good
}

// Leave says that nobody has to wait for this process any more.
func (feed *Feed) Leave() error {
	feed.stop()
	<-feed.stopped
	feed.mutex.Lock()
	feed.until = 0
	feed.mutex.Unlock()
	return feed.ask("leave", map[string]any{"checker": feed.id}, nil, 2*time.Second, len(feed.nodes))
}

func (feed *Feed) renewAlways() {
	defer close(feed.stopped)
	wait := time.Duration(0)
	for feed.leaving.Err() == nil {
		// The lease counts from before the request is sent.
		sent := clock()
		renewal := map[string]any{"checker": feed.id, "name": feed.name, "applied": feed.applied, "wait": wait.Milliseconds()}
		wait = 0
		var answer answer
		// With a node that keeps silent, there is time for the next one within the lease.
		err := feed.ask("renew", renewal, &answer, feed.lease/2, 1)
		switch {
		case err != nil:
			time.Sleep(feed.lease / 20)
		case answer.Answer == "start_over", answer.Answer == "registered" && feed.applied == nil:
			feed.begin(answer.Head)
		case answer.Answer == "entries":
			feed.take(&answer, sent)
			// Whoever waits for us to say what we have applied does not wait any longer than it takes to ask again.
			if answer.Complete && len(answer.Entries) == 0 {
				wait = feed.lease / 4
			}
		}
	}
}

func (feed *Feed) begin(head uint64) {
	feed.mutex.Lock()
	feed.forgetAll(head)
	feed.mutex.Unlock()
	// Tokens from before are good, too, if it can be known what was ended since. Without that, they are refused.
	limit := head
	if limit > 10_000 {
		limit = 10_000
	}
	for ; limit > 0; limit /= 4 {
		after := head - limit
		var past answer
		err := feed.ask("log", map[string]any{"after": after, "limit": limit}, &past, 2*time.Second, len(feed.nodes))
		if err != nil {
			return
		}
		if last := len(past.Entries) - 1; last >= 0 && past.Entries[last].Number == head {
			feed.mutex.Lock()
			defer feed.mutex.Unlock()
			feed.floor = after
			for _, entry := range past.Entries {
				feed.apply(&entry)
			}
			return
		}
	}
}

func (feed *Feed) take(answer *answer, sent time.Duration) {
	feed.mutex.Lock()
	defer feed.mutex.Unlock()
	for _, entry := range answer.Entries {
		if entry.Number > *feed.applied {
			feed.apply(&entry)
		}
	}
	if answer.Complete && feed.until < sent+feed.lease {
		feed.until = sent + feed.lease
	}
	// After an hour, no access token is left that an end could be about.
	hourAgo := time.Now().Add(-time.Hour).UnixMilli()
	for len(feed.order) > 0 && feed.order[0].at < hourAgo {
		oldest := feed.order[0]
		feed.order = feed.order[1:]
		if feed.ends[oldest.about] = feed.ends[oldest.about][1:]; len(feed.ends[oldest.about]) == 0 {
			delete(feed.ends, oldest.about)
		}
		if feed.floor < oldest.number {
			feed.floor = oldest.number
		}
	}
}

func (feed *Feed) apply(entry *entry) {
	number, selector := entry.Number, entry.Selector
	feed.applied = &number
	of := about{kind: selector.Kind}
	switch selector.Kind {
	case "session":
		of.id = selector.Session
	case "user":
		of.id = selector.User
	case "user_except":
		of = about{"user", selector.User}
	case "token":
		of.id = selector.Token
	case "client":
		of.id = selector.Client
	case "everyone":
	default:
		feed.forgetAll(number)
		return
	}
	switch entry.Event.Event {
	case "ended":
		feed.ends[of] = append(feed.ends[of], end{number, selector.Except})
		feed.order = append(feed.order, ordered{number, entry.At, of})
	case "changed":
		// What has changed of a session is not in its access tokens.
	default:
		feed.forgetAll(number)
	}
}

func (feed *Feed) forgetAll(head uint64) {
	feed.until, feed.applied, feed.floor = 0, &head, head
	feed.ends, feed.order = map[about][]end{}, nil
}

// Asks the node that answered last, and then the others.
func (feed *Feed) ask(what string, question, answer any, timeout time.Duration, tries int) (err error) {
	for ; tries > 0; tries-- {
		if err = feed.askOne(feed.nodes[feed.asked%len(feed.nodes)], what, question, answer, timeout); err == nil {
			return nil
		}
		feed.asked++
	}
	return err
}

func (feed *Feed) askOne(node, what string, question, answer any, timeout time.Duration) error {
	within, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	method, body := http.MethodGet, []byte(nil)
	if question != nil {
		method = http.MethodPost
		var err error
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(within, method, node+"/api/v1/checker/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+feed.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s answers %s to %s", node, response.Status, what)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

func uuid() string {
	var bytes [16]byte
	if _, err := rand.Read(bytes[:]); err != nil {
		panic(err)
	}
	bytes[6], bytes[8] = bytes[6]&0x0f|0x40, bytes[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", bytes[:4], bytes[4:6], bytes[6:8], bytes[8:10], bytes[10:])
}
