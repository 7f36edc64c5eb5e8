// The same appends on Tessera's POSIX driver, for `make bench-ledger`: one JSON line with what came of them.
//
// Add returns when an entry is on the disk and in the tree; a signed checkpoint that contains it is a second
// step, by an interval. Our own reply is both, so the load counts Tessera's first step alone, which favours it,
// and one caller is timed for both. Batches are as large as there are callers, and wait no longer than a lone
// caller would like.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	recordBytes        = 256
	batchAge           = time.Millisecond
	// The shortest that the driver permits.
	checkpointInterval = 100 * time.Millisecond
)

// Percentiles are in nanoseconds.
type result struct {
	Appends  uint64 `json:"appends"`
	Nanos    int64  `json:"nanos"`
	CPUNanos int64  `json:"cpu_nanos"`
	P50      int64  `json:"p50"`
	P99      int64  `json:"p99"`
	Max      int64  `json:"max"`
	// One caller's appends until a checkpoint has them.
	SignedP50 int64 `json:"signed_p50"`
	SignedP99 int64 `json:"signed_p99"`
}

func main() {
	directory := flag.String("directory", "", "an empty one, or one of an earlier run")
	callers := flag.Int("callers", 1, "callers at the same time")
	seconds := flag.Int("seconds", 5, "how long they go on")
	flag.Parse()
	if err := run(*directory, *callers, time.Duration(*seconds)*time.Second); err != nil {
		log.Fatal(err)
	}
}

func run(directory string, callers int, duration time.Duration) error {
	ctx := context.Background()
	private, _, err := note.GenerateKey(rand.Reader, "bench.example/log")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: directory})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(checkpointInterval).
		WithBatching(uint(callers), batchAge).
		WithPushback(uint(4 * callers))
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return err
	}
	found, err := load(ctx, appender, callers, duration)
	if err != nil {
		return err
	}
	if callers == 1 {
		awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, time.Millisecond)
		if err := signed(ctx, appender, awaiter, duration, &found); err != nil {
			return err
		}
	}
	if err := shutdown(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func record() *tessera.Entry {
	data := make([]byte, recordBytes)
	_, _ = rand.Read(data)
	return tessera.NewEntry(data)
}

func load(ctx context.Context, appender *tessera.Appender, callers int, duration time.Duration) (result, error) {
	var stop atomic.Bool
	var group sync.WaitGroup
	all := make([][]int64, callers)
	failed := make([]error, callers)
	start, cpu := time.Now(), cpuNanos()
	for caller := range callers {
		group.Go(func() {
			for !stop.Load() {
				from := time.Now()
				_, err := appender.Add(ctx, record())()
				if errors.Is(err, tessera.ErrPushback) {
					continue
				}
				if err != nil {
					failed[caller] = err
					return
				}
				all[caller] = append(all[caller], time.Since(from).Nanoseconds())
			}
		})
	}
	time.Sleep(duration)
	stop.Store(true)
	group.Wait()
	nanos := time.Since(start).Nanoseconds()
	latencies := slices.Concat(all...)
	slices.Sort(latencies)
	return result{
		Appends:  uint64(len(latencies)),
		Nanos:    nanos,
		CPUNanos: cpuNanos() - cpu,
		P50:      rank(latencies, 50),
		P99:      rank(latencies, 99),
		Max:      rank(latencies, 100),
	}, errors.Join(failed...)
}

func signed(ctx context.Context, appender *tessera.Appender, awaiter *tessera.PublicationAwaiter, duration time.Duration, found *result) error {
	var latencies []int64
	for start := time.Now(); time.Since(start) < duration; {
		from := time.Now()
		if _, _, err := awaiter.Await(ctx, appender.Add(ctx, record())); err != nil {
			return err
		}
		latencies = append(latencies, time.Since(from).Nanoseconds())
	}
	slices.Sort(latencies)
	found.SignedP50, found.SignedP99 = rank(latencies, 50), rank(latencies, 99)
	return nil
}

// The smallest value that percent of the sorted values do not exceed.
func rank(sorted []int64, percent int) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max((len(sorted)*percent+99)/100, 1)-1]
}

func cpuNanos() int64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}
