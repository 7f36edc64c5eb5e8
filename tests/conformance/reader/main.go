// Command reader checks a receipt with a tlog-proof reader that is not ours.
//
//	reader VKEY RECEIPT RECORD
//
// It exits 0 when the log with the key VKEY (a C2SP signed-note verifier key) signed a checkpoint
// of a tree that holds the bytes of the file RECORD, as the file RECEIPT claims.
package main

import (
	"log"
	"os"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: reader VKEY RECEIPT RECORD")
	}
	verifier, err := note.NewVerifier(os.Args[1])
	if err != nil {
		log.Fatalf("VKEY: %v", err)
	}
	proof, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	record, err := os.ReadFile(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(verifier.Name()), torchwood.SingleVerifierPolicy(verifier))
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(record), proof); err != nil {
		log.Fatalf("%s: %v", os.Args[2], err)
	}
}
