// Command vectors reads the test vectors of this project with golang.org/x/mod and filippo.io/torchwood.
//
//	vectors FOLDER
//
// It exits 0 when they agree with every case that they can read, but for the exceptions that it names.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A testCase has the fields of every file; each file uses its own.
type testCase struct {
	Comment, Result                            string
	Entry, Hash, Leaf, Root                    *string
	Children, Proof, Keys, Entries, Extensions []string
	Index, Level, Content, Origin, Text, Extra *string
	Size                                       json.RawMessage
	OldSize                                    string `json:"old_size"`
	NewSize                                    string `json:"new_size"`
	OldRoot                                    string `json:"old_root"`
	NewRoot                                    string `json:"new_root"`
	Path, Vkey, Note, File                     string
	SHA256                                     string `json:"sha256"`
	Width                                      int
	Name                                       *string
	KeyID                                      *string `json:"key_id"`
	Signers                                    []struct {
		Key       int
		Timestamp *string
	}
}

// Where these readers take what the specifications forbid. Each is still tried: one that is mended must go.
var lenient = map[string][]string{
	"tile_paths.json": {"a level over 63", "a level of three digits"},
	"proof_files.json": {
		"a leading zero in the index",
		"an index with a plus sign",
	},
}

var errWrong = errors.New("not what the case says")

func bytesOf(text string) []byte {
	found, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		log.Fatalf("%q: %v", text, err)
	}
	return found
}

func hashOf(text string) (hash tlog.Hash) {
	copy(hash[:], bytesOf(text))
	return hash
}

func hashesOf(texts []string) []tlog.Hash {
	hashes := []tlog.Hash{}
	for _, text := range texts {
		hashes = append(hashes, hashOf(text))
	}
	return hashes
}

// must turns what a reader found into an error when it is not what the case says.
func must(holds bool) error {
	if holds {
		return nil
	}
	return errWrong
}

func number(size json.RawMessage) int64 {
	found, err := strconv.ParseInt(strings.Trim(string(size), `"`), 10, 64)
	if err != nil {
		return -1
	}
	return found
}

func onHash(it testCase) error {
	if it.Entry != nil {
		return must(tlog.RecordHash(bytesOf(*it.Entry)) == hashOf(*it.Hash))
	}
	return must(tlog.NodeHash(hashOf(it.Children[0]), hashOf(it.Children[1])) == hashOf(*it.Hash))
}

// stored is a tree of the rule's entries: entry n is n in decimal digits.
type stored struct {
	size   int64
	hashes []tlog.Hash
}

func (s *stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for at, index := range indexes {
		found[at] = s.hashes[index]
	}
	return found, nil
}

func (s *stored) grow(size int64) {
	for ; s.size < size; s.size++ {
		more, err := tlog.StoredHashes(s.size, []byte(strconv.FormatInt(s.size, 10)), s)
		if err != nil {
			log.Fatal(err)
		}
		s.hashes = append(s.hashes, more...)
	}
}

var tree stored

func onRoot(it testCase) error {
	size := number(it.Size)
	tree.grow(size)
	root, err := tlog.TreeHash(size, &tree)
	if err != nil {
		return err
	}
	return must(root == hashOf(*it.Root))
}

func onInclusion(it testCase) error {
	index, err := strconv.ParseInt(*it.Index, 10, 64)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(hashesOf(it.Proof), number(it.Size), hashOf(*it.Root), index, hashOf(*it.Leaf))
}

func onConsistency(it testCase) error {
	older, newer := number(json.RawMessage(it.OldSize)), number(json.RawMessage(it.NewSize))
	return tlog.CheckTree(hashesOf(it.Proof), newer, hashOf(it.NewRoot), older, hashOf(it.OldRoot))
}

func onPath(it testCase) error {
	tile, err := torchwood.ParseTilePath(it.Path)
	if err != nil {
		return err
	}
	if torchwood.TilePath(tile) != it.Path {
		return errors.New("not the one path of its tile")
	}
	level := strconv.Itoa(tile.L)
	if tile.L == -1 {
		level = "entries"
	}
	if it.Level == nil {
		return nil
	}
	return must(level == *it.Level && strconv.FormatInt(tile.N, 10) == *it.Index && tile.W == it.Width)
}

func onTile(it testCase) error {
	tile, err := torchwood.ParseTilePath(it.Path)
	if err != nil {
		return err
	}
	size, span := number(it.Size), int64(1)
	for level := 0; level < tile.L; level++ {
		span *= 256
	}
	if (256*tile.N+int64(tile.W))*span > size {
		return errors.New("the tree has no such tile")
	}
	tree.grow(size)
	content, err := tileContent(tile)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(content)
	if hex.EncodeToString(digest[:]) != it.SHA256 {
		return errors.New("another content")
	}
	return must(it.Content == nil || bytes.Equal(bytesOf(*it.Content), content))
}

func tileContent(tile tlog.Tile) (content []byte, err error) {
	if tile.L != -1 {
		return tlog.ReadTileData(tile, &tree)
	}
	for at := range int64(tile.W) {
		entry := []byte(strconv.FormatInt(256*tile.N+at, 10))
		if content, err = torchwood.AppendTileEntry(content, entry); err != nil {
			return nil, err
		}
	}
	return content, nil
}

func onBundle(it testCase) error {
	entries, rest := []string{}, bytesOf(*it.Content)
	for range it.Width {
		entry, after, err := torchwood.ReadTileEntry(rest)
		if err != nil {
			return err
		}
		entries, rest = append(entries, base64.StdEncoding.EncodeToString(entry)), after
	}
	if len(rest) > 0 {
		return errors.New("something behind the last entry")
	}
	return must(slices.Equal(entries, it.Entries))
}

func verifier(vkey string) (note.Verifier, error) {
	if found, err := note.NewVerifier(vkey); err == nil {
		return found, nil
	}
	return torchwood.NewCosignatureVerifier(vkey)
}

func onKey(it testCase) error {
	found, err := verifier(it.Vkey)
	if err != nil {
		return err
	}
	if it.Name == nil {
		return nil
	}
	return must(found.Name() == *it.Name && fmt.Sprintf("%08x", found.KeyHash()) == *it.KeyID)
}

func onNote(it testCase) error {
	known := []note.Verifier{}
	for _, vkey := range it.Keys {
		found, err := verifier(vkey)
		if err != nil {
			log.Fatalf("%s: %v", vkey, err)
		}
		known = append(known, found)
	}
	opened, err := note.Open([]byte(it.Note), note.VerifierList(known...))
	if err != nil {
		return err
	}
	for _, signature := range opened.Sigs {
		// The time is bounded where it is read.
		if _, err := torchwood.CosignatureTimestamp(signature); err != nil && signature.Name == "witness.example/w1" {
			return err
		}
	}
	if it.Text == nil {
		return nil
	}
	if opened.Text != *it.Text || len(opened.Sigs) != len(it.Signers) {
		return errWrong
	}
	for _, signer := range it.Signers {
		signature := opened.Sigs[slices.IndexFunc(opened.Sigs, func(found note.Signature) bool {
			return found.Name == known[signer.Key].Name() && found.Hash == known[signer.Key].KeyHash()
		})]
		if signer.Timestamp == nil {
			continue
		}
		time, err := torchwood.CosignatureTimestamp(signature)
		if err != nil || strconv.FormatInt(time, 10) != *signer.Timestamp {
			return errWrong
		}
	}
	return nil
}

func policy(vkey string) torchwood.Policy {
	found, err := note.NewVerifier(vkey)
	if err != nil {
		log.Fatalf("%s: %v", vkey, err)
	}
	return torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(found.Name()), torchwood.SingleVerifierPolicy(found))
}

func onCheckpoint(it testCase) error {
	found, _, err := torchwood.VerifyCheckpoint([]byte(it.Note), policy(it.Vkey))
	if err != nil {
		return err
	}
	if it.Origin == nil {
		return nil
	}
	extensions := ""
	for _, line := range it.Extensions {
		extensions += line + "\n"
	}
	return must(found.Origin == *it.Origin && found.N == number(it.Size) &&
		found.Hash == hashOf(*it.Root) && found.Extension == extensions)
}

func onProofFile(it testCase) error {
	entry := tlog.RecordHash(bytesOf(*it.Entry))
	if err := torchwood.VerifyProof(policy(it.Vkey), entry, []byte(it.File)); err != nil {
		return err
	}
	if it.Extra == nil {
		return nil
	}
	extra, err := torchwood.ProofExtraData([]byte(it.File))
	if err != nil {
		return err
	}
	return must(bytes.Equal(extra, bytesOf(*it.Extra)))
}

// isEndless tells where tlog.CheckRecord and tlog.CheckTree of golang.org/x/mod v0.31.0 do not return: over 2^62
// their search for the largest power of two overflows.
func isEndless(it testCase) bool {
	const most = 1 << 62
	return it.Proof != nil && max(number(it.Size), number(json.RawMessage(it.NewSize))) > most
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: vectors FOLDER")
	}
	judges := map[string]func(testCase) error{
		"hashes.json": onHash, "roots.json": onRoot, "inclusion.json": onInclusion, "consistency.json": onConsistency,
		"tile_paths.json": onPath, "tiles.json": onTile, "bundles.json": onBundle, "vkeys.json": onKey,
		"notes.json": onNote, "checkpoints.json": onCheckpoint, "proof_files.json": onProofFile,
	}
	count, wrong := 0, 0
	for name, judge := range judges {
		text, err := os.ReadFile(filepath.Join(os.Args[1], name))
		if err != nil {
			log.Fatal(err)
		}
		var file struct{ Cases []testCase }
		if err := json.Unmarshal(text, &file); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		for _, it := range file.Cases {
			count++
			if it.Result == "acceptable" || isEndless(it) {
				continue
			}
			err := judge(it)
			accepts := it.Result != "invalid"
			if slices.Contains(lenient[name], it.Comment) {
				accepts = true
			}
			if (err == nil) != accepts || errors.Is(err, errWrong) {
				wrong++
				log.Printf("%s: %s: %s: %v", name, it.Result, it.Comment, err)
			}
		}
	}
	if wrong > 0 || count == 0 {
		log.Fatalf("%d of %d cases are judged otherwise", wrong, count)
	}
	fmt.Println(count)
}
