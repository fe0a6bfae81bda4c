// Package argon2id computes Argon2id (RFC 9106) in memory that is used again.
//
// golang.org/x/crypto/argon2 takes fresh memory for every hash, 19 MiB of it at our
// costs, and leaves it to the garbage collector: with a few sign-ins a second that is most of
// what the process holds, and a tenth of what it computes is looking for garbage. It
// offers no way to bring memory along. So the rounds themselves are its own, by name
// (go:linkname), and only the memory is ours. See docs/decisions/0016.
//
// An attacker would look for what a hash leaves behind: blocks are cleared before they
// wait for the next one. What a release of the library might change under us, a test
// holds against its own IDKey; a name that is gone does not link.
package argon2id

import (
	"encoding/binary"
	"sync"
	"time"
	_ "unsafe" // for go:linkname

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/blake2b"
)

const (
	variant    = 2 // of the algorithm, as RFC 9106 numbers Argon2id
	syncPoints = 4 // slices of a lane
)

// A block is the unit of memory, 1 KiB.
type block [128]uint64

// A seed is what blocks are begun from: H0 of RFC 9106, then the block's number and its lane.
type seed [blake2b.Size + 8]byte

//go:linkname initHash golang.org/x/crypto/argon2.initHash
func initHash(password, salt, key, data []byte, time, memory, threads, keyLen uint32, mode int) seed

//go:linkname blake2bHash golang.org/x/crypto/argon2.blake2bHash
func blake2bHash(out, in []byte)

//go:linkname processBlocks golang.org/x/crypto/argon2.processBlocks
func processBlocks(blocks []block, time, memory, threads uint32, mode int)

//go:linkname extractKey golang.org/x/crypto/argon2.extractKey
func extractKey(blocks []block, memory, threads, keyLen uint32) []byte

// keptFor is how long memory that nobody needs waits for the next hash.
const keptFor = time.Minute

// Memory keeps blocks between hashes of one cost: as many as were computed at once.
// Make it with New.
type Memory struct {
	size  uint32 // KiB
	mu    sync.Mutex
	idle  [][]block
	empty *time.Timer
}

// New returns memory for hashes that need size KiB, at least 8.
func New(size uint32) *Memory {
	m := &Memory{size: size}
	m.empty = time.AfterFunc(keptFor, m.drop)
	return m
}

func (m *Memory) take() []block {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := len(m.idle) - 1
	if last < 0 {
		return make([]block, m.size)
	}
	blocks := m.idle[last]
	m.idle = m.idle[:last]
	return blocks
}

// giveBack keeps blocks for the next hash, with zeros in them, which the library counts on.
func (m *Memory) giveBack(blocks []block) {
	clear(blocks)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = append(m.idle, blocks)
	m.empty.Reset(keptFor)
}

func (m *Memory) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = nil
}

// Key returns what argon2.IDKey returns. Costs other than those the memory was made for
// get memory of their own.
func (m *Memory) Key(password, salt []byte, passes, memory uint32, lanes uint8, size uint32) []byte {
	n := uint32(lanes)
	if memory != m.size || n < 1 || memory < 2*syncPoints*n || memory%(syncPoints*n) != 0 || passes < 1 {
		return argon2.IDKey(password, salt, passes, memory, lanes, size)
	}
	blocks := m.take()
	defer m.giveBack(blocks)
	h0 := initHash(password, salt, nil, nil, passes, memory, n, size, variant)
	begin(blocks, &h0, n)
	processBlocks(blocks, passes, memory, n, variant)
	return extractKey(blocks, memory, n, size)
}

// begin fills the first two blocks of each lane (RFC 9106, section 3.2, steps 3 and 4).
func begin(blocks []block, h0 *seed, lanes uint32) {
	var bytes [len(block{}) * 8]byte
	length := uint32(len(blocks)) / lanes
	for lane := range lanes {
		for i := range uint32(2) {
			binary.LittleEndian.PutUint32(h0[blake2b.Size:], i)
			binary.LittleEndian.PutUint32(h0[blake2b.Size+4:], lane)
			blake2bHash(bytes[:], h0[:])
			words := &blocks[lane*length+i]
			for k := range words {
				words[k] = binary.LittleEndian.Uint64(bytes[k*8:])
			}
		}
	}
}
