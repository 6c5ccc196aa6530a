package mirror

import (
	"fmt"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
)

func benchPool(b *testing.B, legs int) *Mirror {
	const size = 64 << 20
	l := memLegs(legs, LegSize(size))
	must(b, Format(l, FormatOptions{Size: size}))
	m := open(b, l, Options{})
	m.Start()
	p := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(p)) {
		put(b, m, off, p)
	}
	return m
}

func bench(b *testing.B, do func(m *Mirror, p []byte, off int64) error) {
	for _, legs := range []int{1, 2, 3} {
		for _, size := range []int{4 << 10, 128 << 10} {
			b.Run(fmt.Sprintf("legs=%d/size=%dk", legs, size>>10), func(b *testing.B) {
				m := benchPool(b, legs)
				p := device.Aligned(size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				off := int64(0)
				for b.Loop() {
					if err := do(m, p, off); err != nil {
						b.Fatal(err)
					}
					off = (off + 17*int64(size)) % (m.Size() - int64(size))
				}
			})
		}
	}
}

func BenchmarkWriteAt(b *testing.B) {
	bench(b, func(m *Mirror, p []byte, off int64) error {
		_, err := m.WriteAt(p, off)
		return err
	})
}

func BenchmarkReadAt(b *testing.B) {
	bench(b, func(m *Mirror, p []byte, off int64) error {
		_, err := m.ReadAt(p, off)
		return err
	})
}

var _ device.Extenter = (*Mirror)(nil)

// Reads and writes allocate nothing but what locking their range does.
func TestAllocations(t *testing.T) {
	legs := formatted(t, 3)
	m := open(t, legs, Options{})
	p := device.Aligned(BlockSize)
	for name, call := range map[string]func() (int, error){
		"write": func() (int, error) { return m.WriteAt(p, 0) },
		"read":  func() (int, error) { return m.ReadAt(p, 0) },
	} {
		got := testing.AllocsPerRun(100, func() {
			if _, err := call(); err != nil {
				t.Fatal(err)
			}
		})
		if got > 1 && !invariants.Enabled {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
}
