// What the pods of the test cluster's own tests run, and the first process of every pod and node.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const usage = `usage: testbox pause                        wait to be told to end; reap orphans
       testbox print TEXT                   print and end
       testbox serve PORT                   answer every HTTP request with the host's name
       testbox get HOST:PORT                print the answer to an HTTP request
       testbox connect HOST:PORT N MS       N connection attempts, MS apart; show each as + or -
       testbox append FILE TEXT             add a line, flush it, print the file
       testbox webhook PORT CERT KEY        refuse every object with the label refuse-me`

// Longer than a lost packet's first retransmission, shorter than a test's patience.
const timeout = 2 * time.Second

func main() {
	// A container's first process gets no default action for signals.
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)
	arguments := os.Args[1:]
	if len(arguments) == 1 && arguments[0] == "pause" {
		pause(terminated)
		return
	}
	go func() {
		<-terminated
		os.Exit(0)
	}()
	if err := run(arguments); err != nil {
		fmt.Fprintln(os.Stderr, "testbox:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("no mode\n%s", usage)
	}
	mode, rest := arguments[0], arguments[1:]
	switch {
	case mode == "print" && len(rest) == 1:
		fmt.Println(rest[0])
		return nil
	case mode == "serve" && len(rest) == 1:
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		return http.ListenAndServe(":"+rest[0], http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(answer, name)
		}))
	case mode == "get" && len(rest) == 1:
		return get(rest[0])
	case mode == "connect" && len(rest) == 3:
		return connect(rest[0], rest[1], rest[2])
	case mode == "append" && len(rest) == 2:
		return add(rest[0], rest[1])
	case mode == "webhook" && len(rest) == 3:
		return http.ListenAndServeTLS(":"+rest[0], rest[1], rest[2], http.HandlerFunc(review))
	}
	return fmt.Errorf("cannot do %q\n%s", strings.Join(arguments, " "), usage)
}

// pause is process 1: whatever loses its parent becomes its child and must be waited for.
func pause(terminated <-chan os.Signal) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for {
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
		select {
		case <-terminated:
			return
		case <-ended:
		}
	}
}

func get(target string) error {
	client := http.Client{Timeout: 5 * timeout}
	answer, err := client.Get("http://" + target + "/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, io.LimitReader(answer.Body, 1<<20))
	return err
}

// connect prints a `+` for each attempt that got through and a `-` for each other, in the order in which they began.
// Attempts do not wait for each other: a dropped packet must not hide the next ones.
func connect(target, attempts, apart string) error {
	count, err := strconv.Atoi(attempts)
	if err != nil || count < 1 || count > 1000 {
		return fmt.Errorf("N must be 1 to 1000, not %q", attempts)
	}
	milliseconds, err := strconv.Atoi(apart)
	if err != nil || milliseconds < 0 || milliseconds > 10_000 {
		return fmt.Errorf("MS must be 0 to 10000, not %q", apart)
	}
	results := []byte(strings.Repeat("-", count))
	var attempted sync.WaitGroup
	for i := range count {
		attempted.Go(func() {
			if connection, err := net.DialTimeout("tcp", target, timeout); err == nil {
				connection.Close()
				results[i] = '+'
			}
		})
		time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	}
	attempted.Wait()
	fmt.Println(string(results))
	return nil
}

func add(path, text string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(text + "\n"); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, io.LimitReader(file, 1<<20))
	return err
}

// review answers an AdmissionReview of admission.k8s.io/v1.
func review(answer http.ResponseWriter, request *http.Request) {
	var review struct {
		Request struct {
			UID    string `json:"uid"`
			Object struct {
				Metadata struct {
					Labels map[string]string `json:"labels"`
				} `json:"metadata"`
			} `json:"object"`
		} `json:"request"`
	}
	if err := json.NewDecoder(io.LimitReader(request.Body, 8<<20)).Decode(&review); err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	response := map[string]any{"uid": review.Request.UID, "allowed": true}
	if _, refused := review.Request.Object.Metadata.Labels["refuse-me"]; refused {
		response["allowed"] = false
		response["status"] = map[string]string{"message": "the test's webhook refuses this"}
	}
	json.NewEncoder(answer).Encode(map[string]any{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
	})
}
