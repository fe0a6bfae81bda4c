package app

import "testing"

func TestRoomGrowsWithWhatIsInUse(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for live, want := range map[int64]int64{0: softLimit, 20 * mb: softLimit, 60 * mb: softLimit, 61 * mb: 128 * mb, 64 * mb: 128 * mb, 65 * mb: 160 * mb, 1000 * mb: 2016 * mb} {
		if got := roomFor(live); got != want {
			t.Errorf("with %d MB in use the limit is %d MB, want %d MB", live/mb, got/mb, want/mb)
		}
	}
}
