package database

import "time"

// A Pool says how busy the connections of a database are.
type Pool struct {
	Max    int // the most there can be
	InUse  int
	Idle   int
	Waits  int64         // how often a connection had to be waited for
	Waited time.Duration // for how long, all together
}

// Pool returns the state of the connections. On SQLite it has the readers and the
// one that writes; how long transactions wait for that one is not counted.
func (db *DB) Pool() Pool {
	if db.pg != nil {
		s := db.pg.Stat()
		return Pool{int(s.MaxConns()), int(s.AcquiredConns()), int(s.IdleConns()), s.EmptyAcquireCount(), s.EmptyAcquireWaitTime()}
	}
	s := db.lite.read.Stats()
	p := Pool{s.MaxOpenConnections + 1, s.InUse, s.Idle, s.WaitCount, s.WaitDuration}
	if len(db.lite.turn) == 0 { // somebody has it
		p.InUse++
	} else {
		p.Idle++
	}
	return p
}
