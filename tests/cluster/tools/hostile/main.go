// A name-service module that a hostile image may bring (nsswitch.conf(5), "hosts: hostile"), and may also have
// preloaded into every dynamic program. It connects where it must not, when it is loaded and whenever it is asked.
package main

import "C"

import (
	"net"
	"os"
	"sync/atomic"
	"time"
)

const (
	timeout = time.Second
	// NSS_STATUS_UNAVAIL of <nss.h>: the next service of nsswitch.conf is asked.
	unavailable = -1
)

var lookups, connected atomic.Int32

func init() { breakOut() }

// The attempt: a pod that is not on any list.
func breakOut() {
	if connection, err := net.DialTimeout("tcp", os.Getenv("HOSTILE_TARGET"), timeout); err == nil {
		connected.Add(1)
		_ = connection.Close()
	}
}

func lookup() C.int {
	lookups.Add(1)
	breakOut()
	return unavailable
}

// Callers pass arguments that it has no use for.
//
//export _nss_hostile_gethostbyname4_r
func _nss_hostile_gethostbyname4_r() C.int { return lookup() }

//export _nss_hostile_gethostbyname2_r
func _nss_hostile_gethostbyname2_r() C.int { return lookup() }

// How often it was asked for a name.
//
//export hostile_lookups
func hostile_lookups() C.int { return C.int(lookups.Load()) }

// How often it got through, when it was loaded or asked.
//
//export hostile_connected
func hostile_connected() C.int { return C.int(connected.Load()) }

func main() {}
