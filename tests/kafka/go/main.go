// Produces to a cluster with franz-go in each way, then reads all of it back in a group, a line a record.
//
// main BOOTSTRAP COUNT TOPIC=ACKS,IDEMPOTENT,CODEC..
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var acks = map[string]kgo.Acks{"all": kgo.AllISRAcks(), "1": kgo.LeaderAck(), "0": kgo.NoAck()}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func produce(ctx context.Context, bootstrap, topic, way string, count int) {
	parts := strings.Split(way, ",")
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.RequiredAcks(acks[parts[0]]),
		kgo.ProducerBatchCompression(codecs[parts[2]]),
		kgo.AllowAutoTopicCreation(),
	}
	if parts[1] == "false" {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	check(err)
	defer client.Close()
	for n := 0; n < count; n++ {
		key, value := strconv.Itoa(n%20), fmt.Sprintf("%s:%d", topic, n)
		record := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) { check(err) })
	}
	check(client.Flush(ctx))
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	bootstrap := os.Args[1]
	count, err := strconv.Atoi(os.Args[2])
	check(err)
	var topics []string
	for _, argument := range os.Args[3:] {
		topic, way, _ := strings.Cut(argument, "=")
		topics = append(topics, topic)
		produce(ctx, bootstrap, topic, way, count)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ConsumerGroup("franz-go"),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	check(err)
	out := bufio.NewWriter(os.Stdout)
	for seen := 0; seen < count*len(topics); {
		fetches := client.PollFetches(ctx)
		check(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Fprintf(out, "%s\t%s\n", record.Key, record.Value)
			seen++
		})
	}
	check(out.Flush())
	check(client.CommitUncommittedOffsets(ctx))
	client.Close()
}
