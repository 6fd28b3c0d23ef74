// franz-go as a contender: told what to do by arguments name=value, prints what it has cost as a line of JSON.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type task map[string]string

func (t task) number(name string) int {
	number, err := strconv.Atoi(t[name])
	check(err)
	return number
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func options(t task) []kgo.Opt {
	memory := t.number("memory")
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(t["bootstrap"], ",")...),
		kgo.DefaultProduceTopic(t["topic"]),
		kgo.AllowAutoTopicCreation(),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		// Five a broker is what it does with idempotence.
		kgo.ProducerLinger(time.Duration(t.number("linger")) * time.Millisecond),
		kgo.ProducerBatchMaxBytes(262_144),
		kgo.MaxBufferedBytes(memory),
		kgo.MaxBufferedRecords(memory/t.number("size") + 1),
	}
	switch t["codec"] {
	case "lz4":
		options = append(options, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	case "zstd":
		options = append(options, kgo.ProducerBatchCompression(kgo.ZstdCompression().WithLevel(3)))
	default:
		options = append(options, kgo.ProducerBatchCompression(kgo.NoCompression()))
	}
	if t["ca"] != "" {
		pem, err := os.ReadFile(t["ca"])
		check(err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		options = append(options, kgo.DialTLSConfig(&tls.Config{RootCAs: roots}))
	}
	return options
}

// The values to send, one after the other and then again from the first.
func values(t task) [][]byte {
	if t["data"] == "" {
		return [][]byte{bytes.Repeat([]byte("v"), t.number("size"))}
	}
	text, err := os.ReadFile(t["data"])
	check(err)
	return bytes.Split(bytes.TrimSpace(text), []byte("\n"))
}

func cpu() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

func peakRSS() int {
	status, err := os.Open("/proc/self/status")
	check(err)
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "VmHWM:"); found {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kib
		}
	}
	return 0
}

type latencies []uint32

func (l latencies) note(record int, since time.Time) {
	atomic.StoreUint32(&l[record], uint32(time.Since(since).Microseconds()))
}

func (l latencies) percentiles() []float64 {
	if len(l) == 0 {
		return nil
	}
	slices.Sort(l)
	var found []float64
	for _, share := range []float64{0.5, 0.99, 0.999, 1} {
		found = append(found, float64(l[int(float64(len(l)-1)*share+0.5)]))
	}
	return found
}

// Each of as many goroutines as there are to be senders sends its part of the records.
func bySenders(t task, records int, send func(n int)) {
	var senders sync.WaitGroup
	count := t.number("senders")
	for range count {
		senders.Add(1)
		go func() {
			defer senders.Done()
			for n := range records / count {
				send(n)
			}
		}()
	}
	senders.Wait()
}

// A callback each, from as many goroutines as there are to be senders.
func byCallback(client *kgo.Client, t task, values [][]byte, records int) int {
	ctx := context.Background()
	var delivered atomic.Int64
	bySenders(t, records, func(n int) {
		client.Produce(ctx, &kgo.Record{Value: values[n%len(values)]}, func(_ *kgo.Record, err error) {
			if err == nil {
				delivered.Add(1)
			}
		})
	})
	check(client.Flush(ctx))
	return int(delivered.Load())
}

// Goroutines that each wait for a record before they send the next.
func inTasks(client *kgo.Client, t task, values [][]byte, records int) int {
	ctx := context.Background()
	var delivered atomic.Int64
	bySenders(t, records, func(int) {
		if client.ProduceSync(ctx, &kgo.Record{Value: values[0]}).FirstErr() == nil {
			delivered.Add(1)
		}
	})
	return int(delivered.Load())
}

// Sleeps until a record's time has come, to the same grain as other languages do: the runtime's own timers are of a millisecond.
func waitFor(began time.Time, every time.Duration, record int) time.Time {
	at := began.Add(every * time.Duration(record))
	if early := time.Until(at); early > 0 {
		pause := syscall.NsecToTimespec(early.Nanoseconds())
		_ = syscall.Nanosleep(&pause, nil)
	}
	return at
}

func paced(client *kgo.Client, t task, values [][]byte, records int, noted latencies) int {
	ctx := context.Background()
	var delivered atomic.Int64
	began, every := time.Now(), time.Second/time.Duration(t.number("rate"))
	for n := range records {
		since := waitFor(began, every, n)
		client.Produce(ctx, &kgo.Record{Value: values[n%len(values)]}, func(_ *kgo.Record, err error) {
			noted.note(n, since)
			if err == nil {
				delivered.Add(1)
			}
		})
	}
	check(client.Flush(ctx))
	return int(delivered.Load())
}

func oneByOne(client *kgo.Client, values [][]byte, records int, noted latencies) int {
	ctx := context.Background()
	delivered := 0
	for n := range records {
		since := time.Now()
		if client.ProduceSync(ctx, &kgo.Record{Value: values[0]}).FirstErr() == nil {
			delivered++
		}
		noted.note(n, since)
	}
	return delivered
}

func main() {
	t := task{}
	for _, argument := range os.Args[1:] {
		name, value, _ := strings.Cut(argument, "=")
		t[name] = value
	}
	client, err := kgo.NewClient(options(t)...)
	check(err)
	values, records, warmup := values(t), t.number("records"), t.number("warmup")
	check(client.ProduceSync(context.Background(), &kgo.Record{Value: values[0]}).FirstErr())
	var noted latencies
	run := func(records int) int { return byCallback(client, t, values, records) }
	switch t["shape"] {
	case "tasks":
		run = func(records int) int { return inTasks(client, t, values, records) }
	case "paced":
		run = func(records int) int {
			noted = make(latencies, records)
			return paced(client, t, values, records, noted)
		}
	case "one":
		run = func(records int) int {
			noted = make(latencies, records)
			return oneByOne(client, values, records, noted)
		}
	}
	run(warmup)
	began, used := time.Now(), cpu()
	delivered := run(records)
	wall, used := time.Since(began).Seconds(), cpu()-used
	if delivered != records {
		check(fmt.Errorf("%d records acknowledged of %d", delivered, records))
	}
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"acknowledged": delivered, "cpu": used, "wall": wall, "rss_kib": peakRSS(), "latency": noted.percentiles(),
	}))
	client.Close()
}
