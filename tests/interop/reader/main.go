// Reader checks a published log with what Go itself carries of golang.org/x/mod: sumdb/note opens the
// checkpoints, sumdb/tlog reads the tiles and makes and checks every proof. Ours is only the way between them.
//
//	reader FOLDER CHECKPOINT... -- VKEY...
//
// FOLDER holds tile/ as C2SP tlog-tiles says, each CHECKPOINT is a file, oldest first, each VKEY one that must have
// signed every checkpoint: Ed25519 (0x01), an Ed25519 cosignature (0x04) or an ML-DSA-44 one (0x06).
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/mldsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8 // C2SP tlog-tiles: 256 hashes a tile

// folder is a tlog.TileReader over published files.
type folder string

func (folder) Height() int                     { return height }
func (folder) SaveTiles([]tlog.Tile, [][]byte) {}
func (f folder) read(t tlog.Tile) ([]byte, error) {
	// sumdb has the height in the path and "data" for entries; tlog-tiles has neither.
	path := strings.TrimPrefix(t.Path(), "tile/8/")
	path = strings.Replace(path, "data/", "entries/", 1)
	return os.ReadFile(filepath.Join(string(f), "tile", filepath.FromSlash(path)))
}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	all := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := f.read(tile)
		if err != nil {
			return nil, err
		}
		all[i] = data
	}
	return all, nil
}

// entries reads and takes apart every bundle of a tree.
func (f folder) entries(size int64) ([][]byte, error) {
	var all [][]byte
	for n := int64(0); n<<height < size; n++ {
		width := min(size-n<<height, 1<<height)
		data, err := f.read(tlog.Tile{H: height, L: -1, N: n, W: int(width)})
		if err != nil {
			return nil, err
		}
		for range width {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("entry bundle %d is cut short", n)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			all, data = append(all, data[2:end]), data[end:]
		}
		if len(data) != 0 {
			return nil, fmt.Errorf("entry bundle %d goes on after its last entry", n)
		}
	}
	return all, nil
}

// cosigner is a note.Verifier for the two kinds of C2SP tlog-cosignature, which sumdb/note does not know.
type cosigner struct {
	name  string
	id    uint32
	ed    ed25519.PublicKey
	mldsa *mldsa.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.id }

func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) < 8 {
		return false
	}
	timestamp := binary.BigEndian.Uint64(sig)
	if c.mldsa == nil {
		signed := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", timestamp, msg)
		return ed25519.Verify(c.ed, signed, sig[8:])
	}
	origin, size, root, err := head(string(msg))
	if err != nil {
		return false
	}
	signed := append([]byte("subtree/v1\n\x00"), byte(len(c.name)))
	signed = append(signed, c.name...)
	signed = append(binary.BigEndian.AppendUint64(signed, timestamp), byte(len(origin)))
	signed = append(signed, origin...)
	signed = binary.BigEndian.AppendUint64(signed, 0)
	signed = binary.BigEndian.AppendUint64(signed, uint64(size))
	signed = append(signed, root[:]...)
	return mldsa.Verify(c.mldsa, signed, sig[8:], nil) == nil
}

func verifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a vkey")
	}
	id, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	c := &cosigner{name: parts[0], id: uint32(id)}
	switch key[0] {
	case 1:
		return note.NewVerifier(vkey)
	case 4:
		c.ed = key[1:]
		return c, nil
	case 6:
		c.mldsa, err = mldsa.NewPublicKey(mldsa.MLDSA44(), key[1:])
		return c, err
	}
	return nil, fmt.Errorf("a key of type %d", key[0])
}

// head takes the three lines of a checkpoint apart.
func head(text string) (origin string, size int64, root tlog.Hash, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return "", 0, root, errors.New("a checkpoint has three lines")
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return "", 0, root, err
	}
	root, err = tlog.ParseHash(lines[2])
	return lines[0], size, root, err
}

// open opens a checkpoint that all these keys must have signed.
func open(file string, verifiers []note.Verifier) (tlog.Tree, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(text, note.VerifierList(verifiers...))
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(opened.Sigs) != len(verifiers) || len(opened.UnverifiedSigs) != 0 {
		return tlog.Tree{}, fmt.Errorf("%d signatures are good, %d unknown", len(opened.Sigs), len(opened.UnverifiedSigs))
	}
	_, size, root, err := head(opened.Text)
	return tlog.Tree{N: size, Hash: root}, err
}

// check reads one tree: its root, every bundle, every leaf, every entry's inclusion proof.
func check(f folder, tree tlog.Tree) error {
	hashes := tlog.TileHashReader(tree, f)
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("the tiles have another root")
	}
	entries, err := f.entries(tree.N)
	if err != nil {
		return err
	}
	for n, entry := range entries {
		proof, err := tlog.ProveRecord(tree.N, int64(n), hashes)
		if err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, int64(n), tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
	}
	// Every hash tile, and not only those that proofs lead through, is what the entries make it.
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	for n, entry := range entries {
		more, err := tlog.StoredHashes(int64(n), entry, reader)
		if err != nil {
			return err
		}
		stored = append(stored, more...)
	}
	for _, tile := range tlog.NewTiles(height, 0, tree.N) {
		want, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			return err
		}
		got, err := f.read(tile)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s is another tile", tile.Path())
		}
	}
	return nil
}

func run(words []string) error {
	f, words := folder(words[0]), words[1:]
	var files []string
	for words[0] != "--" {
		files, words = append(files, words[0]), words[1:]
	}
	var verifiers []note.Verifier
	for _, vkey := range words[1:] {
		v, err := verifier(vkey)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, v)
	}
	var trees []tlog.Tree
	for _, file := range files {
		tree, err := open(file, verifiers)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := check(f, tree); err != nil {
			return fmt.Errorf("size %d: %w", tree.N, err)
		}
		for _, old := range trees {
			proof, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, f))
			if err != nil {
				return err
			}
			if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
				return fmt.Errorf("from size %d to %d: %w", old.N, tree.N, err)
			}
		}
		trees = append(trees, tree)
		fmt.Println("ok", tree.N)
	}
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
