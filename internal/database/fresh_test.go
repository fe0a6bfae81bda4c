package database_test

import (
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/cardea-id/cardea/internal/database"
)

func TestFreshReadsAgainAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f database.Fresh[int]
		loads := 0
		get := func(key string) {
			t.Helper()
			if _, err := f.Get(time.Now(), key, func() (int, error) { loads++; return loads, nil }); err != nil {
				t.Fatal(err)
			}
		}
		check := func(want int, when string) {
			t.Helper()
			if get("a"); loads != want {
				t.Errorf("%s: read %d times, want %d", when, loads, want)
			}
		}
		check(1, "at first")
		time.Sleep(database.MaxAge - time.Millisecond)
		check(1, "within the second")
		time.Sleep(2 * time.Millisecond)
		check(2, "after it")
		time.Sleep(database.MaxAge / 2)
		check(2, "over a turn")
		f.Forget("a")
		check(3, "forgotten")
		f.Clear()
		check(4, "cleared")
		for i := range 20_000 {
			get(strconv.Itoa(i))
		}
		time.Sleep(5 * database.MaxAge) // its timer has ended, or the bubble would not
	})
}

func TestFreshGivesMemoryBack(t *testing.T) {
	var kept weak.Pointer[[1 << 20]byte]
	synctest.Test(t, func(t *testing.T) {
		var f database.Fresh[*[1 << 20]byte]
		if _, err := f.Get(time.Now(), "a", func() (*[1 << 20]byte, error) {
			v := new([1 << 20]byte)
			kept = weak.Make(v)
			return v, nil
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * database.MaxAge)
		runtime.GC()
		if kept.Value() != nil {
			t.Error("what is too old is still in memory")
		}
		f.Forget("a") // f was in use until here
	})
}
