package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	connections = 16
	rounds      = 20  // of each that is compared, by turns
	pace        = 200 // calls a second where latency is measured
)

// target is what is called.
type target struct {
	process            process // what answers
	address, path, key string
	contains           string // by what the right answer is known
}

// result is what the rounds of one target came to.
type result struct {
	calls     int
	elapsed   time.Duration
	cpu       time.Duration
	latencies []time.Duration
	rates     []float64 // calls a second of each round
}

// perSecond is the mean over all rounds.
func (r *result) perSecond() float64 { return float64(r.calls) / r.elapsed.Seconds() }

// rateRatio is the median of the ratios of rounds that followed each other: what
// else the machine did for a while spoils some of them, and not the median.
func (r *result) rateRatio(other *result) float64 {
	ratios := make([]float64, len(r.rates))
	for i := range ratios {
		ratios[i] = r.rates[i] / other.rates[i]
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func (r *result) cpuPerCall() time.Duration { return r.cpu / time.Duration(max(r.calls, 1)) }

// percentile sorts the latencies and returns one.
func (r *result) percentile(p float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	slices.Sort(r.latencies)
	return r.latencies[min(int(p*float64(len(r.latencies))), len(r.latencies)-1)]
}

// compare puts as much load as there is room for on two targets, by turns, and
// swaps who goes first. The first round of each only warms up.
func compare(ctx context.Context, a, b target, share time.Duration) (first, second *result, err error) {
	first, second = new(result), new(result)
	round := share / (2 * (rounds + 1))
	for i := range rounds + 1 {
		pair := []struct {
			target
			*result
		}{{a, first}, {b, second}}
		if i%2 == 1 {
			slices.Reverse(pair)
		}
		for _, one := range pair {
			got, err := saturate(ctx, one.process, []target{one.target}, connections, round)
			if err != nil {
				return nil, nil, err
			}
			if i > 0 {
				one.calls += got.calls
				one.elapsed += got.elapsed
				one.cpu += got.cpu
				one.latencies = append(one.latencies, got.latencies...)
				one.rates = append(one.rates, got.perSecond())
			}
		}
	}
	return first, second, nil
}

// saturate has a number of callers call the targets, which are dealt out to
// them, each on a connection of its own and as fast as it is answered.
func saturate(ctx context.Context, s process, targets []target, callers int, round time.Duration) (*result, error) {
	var (
		total  result
		failed error
		mu     sync.Mutex
		wg     sync.WaitGroup
	)
	begin, cpu := time.Now(), s.cpu()
	for i := range callers {
		wg.Go(func() {
			latencies, err := targets[i%len(targets)].callUntil(ctx, begin.Add(round))
			mu.Lock()
			defer mu.Unlock()
			total.latencies = append(total.latencies, latencies...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	total.elapsed, total.cpu = time.Since(begin), s.cpu()-cpu
	total.calls = len(total.latencies)
	return &total, failed
}

// callUntil makes calls on one connection until the time has come. It speaks
// HTTP/1.1 itself, so that the caller costs little beside what it calls.
func (t target) callUntil(ctx context.Context, end time.Time) ([]time.Duration, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", t.path, t.address, t.key)
	reader := bufio.NewReader(conn)
	var latencies []time.Duration
	for {
		begin := time.Now()
		if begin.After(end) || ctx.Err() != nil {
			return latencies, ctx.Err()
		}
		if _, err := conn.Write(request); err != nil {
			return latencies, err
		}
		if err := readAnswer(reader); err != nil {
			return latencies, fmt.Errorf("%s: %w", t.path, err)
		}
		latencies = append(latencies, time.Since(begin))
	}
}

// readAnswer reads one answer, which must be 200.
func readAnswer(reader *bufio.Reader) error {
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// check makes one call, whose answer must contain what the target says.
func (t target) check(ctx context.Context) error {
	request, err := t.newRequest(ctx)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", t.path, response.StatusCode, body)
	}
	if err == nil && !bytes.Contains(body, []byte(t.contains)) {
		err = fmt.Errorf("%s: the answer does not contain %s", t.path, t.contains)
	}
	return err
}

// paced calls the API directly, through Bellhop and through reverse_proxy, at a
// steady rate and by turns.
func paced(ctx context.Context, api *apiProcess, s *server, share time.Duration) (direct, through, plain *result, err error) {
	directClient, err := api.client()
	if err != nil {
		return nil, nil, nil, err
	}
	directRequest, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+apiHost+"/messages", nil)
	if err != nil {
		return nil, nil, nil, err
	}
	directRequest.Header.Set("Authorization", "Bearer "+accessToken)
	throughRequest, err := s.proxied().newRequest(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	plainRequest, err := s.reverseProxied().newRequest(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}

	direct, through, plain = new(result), new(result), new(result)
	ways := []struct {
		*result
		client  *http.Client
		request *http.Request
	}{{direct, directClient, directRequest}, {through, client, throughRequest}, {plain, client, plainRequest}}
	round := share / time.Duration(len(ways)*(rounds+1))
	for i := range rounds + 1 {
		for _, way := range ways {
			latencies, err := atPace(way.client, way.request, round)
			if err != nil {
				return nil, nil, nil, fmt.Errorf("%s: %w", way.request.URL, err)
			}
			if i > 0 {
				way.latencies = append(way.latencies, latencies...)
			}
		}
	}
	return direct, through, plain, nil
}

// atPace starts a call at each tick, whether or not those before have ended.
func atPace(client *http.Client, request *http.Request, round time.Duration) ([]time.Duration, error) {
	var (
		latencies []time.Duration
		failed    error
		mu        sync.Mutex
		wg        sync.WaitGroup
	)
	ticker := time.NewTicker(time.Second / pace)
	defer ticker.Stop()
	for range int(round.Seconds() * pace) {
		<-ticker.C
		wg.Go(func() {
			begin := time.Now()
			err := fetch(client, request.Clone(request.Context()))
			took := time.Since(begin)
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, took)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	return latencies, failed
}
