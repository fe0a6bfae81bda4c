package argon2id_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/cardea-id/cardea/internal/secret/passhash/argon2id"
)

// Memory that was used before, by another password and in parallel, changes nothing.
func TestKeyIsThatOfTheLibrary(t *testing.T) {
	t.Parallel()
	for _, cost := range []struct {
		passes, memory uint32
		lanes          uint8
		size           uint32
	}{
		{2, 19456, 1, 32}, {1, 8, 1, 4}, {3, 64, 4, 64}, {2, 32, 4, 16}, {5, 1024, 2, 100}, {1, 4096, 8, 32},
		{2, 65, 1, 32}, {2, 100, 3, 32}, // no multiple: the library rounds
	} {
		t.Run(fmt.Sprintf("m=%d,t=%d,p=%d", cost.memory, cost.passes, cost.lanes), func(t *testing.T) {
			t.Parallel()
			m := argon2id.New(cost.memory)
			var all sync.WaitGroup
			for i := range 6 {
				all.Go(func() {
					password, salt := fmt.Appendf(nil, "password %d", i), fmt.Appendf(nil, "salt of %08d", i)
					for range 3 {
						got := m.Key(password, salt, cost.passes, cost.memory, cost.lanes, cost.size)
						if want := argon2.IDKey(password, salt, cost.passes, cost.memory, cost.lanes, cost.size); !bytes.Equal(got, want) {
							t.Errorf("%s: got %x, want %x", password, got, want)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// Hashes of other costs come in by an import.
func TestKeyOfOtherCosts(t *testing.T) {
	t.Parallel()
	m := argon2id.New(64)
	for _, memory := range []uint32{8, 32, 128, 4096} {
		got := m.Key([]byte("password"), []byte("some salt"), 2, memory, 1, 32)
		if want := argon2.IDKey([]byte("password"), []byte("some salt"), 2, memory, 1, 32); !bytes.Equal(got, want) {
			t.Errorf("m=%d: got %x, want %x", memory, got, want)
		}
	}
}

func TestMemoryIsUsedAgain(t *testing.T) {
	m := argon2id.New(19456)
	hash := func() { m.Key([]byte("password"), []byte("some salt"), 1, 19456, 1, 32) }
	hash()
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			hash()
		}
	})
	if perHash := result.AllocedBytesPerOp(); perHash > 10<<20 {
		t.Errorf("a hash takes %d bytes anew", perHash)
	}
}

func BenchmarkKey(b *testing.B) {
	m := argon2id.New(19456)
	for name, key := range map[string]func(password, salt []byte, passes, memory uint32, lanes uint8, size uint32) []byte{"ours": m.Key, "library": argon2.IDKey} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					key([]byte("password"), []byte("some salt of 16b"), 2, 19456, 1, 32)
				}
			})
		})
	}
}
