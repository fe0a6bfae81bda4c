package samlxml_test

import (
	"syscall"
	"testing"

	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

func BenchmarkVerify(b *testing.B) {
	for name, raw := range map[string][]byte{
		"response":  write(signed(genuine(), byResponse, signer{})),
		"assertion": write(signed(genuine(), byAssertion, signer{})),
		"both":      write(signed(genuine(), byBoth, signer{})),
		"encrypted": write(encrypted(signed(genuine(), byAssertion, signer{}), sealing{})),
	} {
		b.Run(name, func(b *testing.B) {
			e := expect()
			b.ReportAllocs()
			var before, after syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			for b.Loop() {
				if _, _, err := samlxml.Verify(raw, e); err != nil {
					b.Fatal(err)
				}
			}
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}
