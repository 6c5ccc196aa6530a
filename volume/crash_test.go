package volume

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/device/powercut"
)

// Volumes are created, and the table is opened, while the power fails at any
// operation, again and again on what the last cut left. Whatever was acknowledged
// is there, what was not is there whole or not at all, and either copy of a
// table that was opened may rot.
func TestPowerCutsLoseNoVolume(t *testing.T) {
	runs := 100
	if testing.Short() {
		runs = 20
	}
	seed := devicetest.Seed(t)
	for stream := range uint64(runs) {
		crashRun(t, devicetest.Rand(seed, stream))
		if t.Failed() {
			t.Fatalf("in run %d", stream)
		}
	}
}

func crashRun(t *testing.T, rng *rand.Rand) {
	disk := new(powercut.Supply).NewDisk("leg", 6*mib)
	if _, err := disk.WriteAt(bytes.Repeat([]byte{0xa5}, mib/2), mib*3/4); err != nil {
		t.Fatal(err)
	}
	if err := Format(disk); err != nil {
		t.Fatal(err)
	}
	acked, tried := "", ""
	for range 5 {
		disk.Supply().CutAfter(1 + rng.IntN(20))
		table, err := Open(disk)
		for n := 0; err == nil; n++ {
			if got := names(table); got != acked {
				t.Errorf("the open table lists %q, want %q", got, acked)
				return
			}
			name := fmt.Sprintf("v%d", rng.IntN(1e9))
			tried = join(acked, name)
			if _, err = table.Create(name, int64(1+rng.IntN(50))*BlockSize); err == nil {
				acked = tried
			} else if errors.Is(err, ErrNoSpace) {
				disk.Supply().Cut()
			}
		}
		if !disk.Supply().Lost() {
			t.Errorf("the power is on, and still: %v", err)
			return
		}
		disk = disk.Survivor(new(powercut.Supply), rng, powercut.Mixed)
		table, err = Open(disk.Survivor(new(powercut.Supply), rng, powercut.Everything))
		if err != nil {
			t.Errorf("after a cut, with %q acknowledged: %v", acked, err)
			return
		}
		if got := names(table); got != acked && got != tried {
			t.Errorf("after a cut there is %q, want %q or %q", got, acked, tried)
			return
		} else {
			acked = got
		}
		checkZeros(t, table)
	}
	rotEither(t, disk, rng, acked)
}

func join(list, name string) string {
	if list == "" {
		return name
	}
	return list + " " + name
}

// checkZeros fails unless every volume reads as zeros: none was written to.
func checkZeros(t *testing.T, table *Table) {
	for _, v := range table.Volumes() {
		b := make([]byte, v.Size())
		if _, err := v.ReadAt(b, 0); err != nil || len(bytes.Trim(b, "\x00")) != 0 {
			t.Errorf("volume %s shows what its space held before (%v)", v.Name(), err)
		}
	}
}

// rotEither opens the table and then breaks one of its copies.
func rotEither(t *testing.T, disk *powercut.Disk, rng *rand.Rand, want string) {
	if _, err := Open(disk); err != nil {
		t.Error(err)
		return
	}
	at := int64(rng.IntN(slots)) * slotSize
	if _, err := disk.WriteAt([]byte{0xff}, at+int64(rng.IntN(headerSize))); err != nil {
		t.Error(err)
	}
	if warning, err := Check(disk); warning == nil || err != nil {
		t.Errorf("Check of a table with one broken copy: %v, %v", warning, err)
	}
	table, err := Open(disk)
	if err != nil {
		t.Errorf("with one copy broken: %v", err)
		return
	}
	if got := names(table); got != want {
		t.Errorf("with one copy broken there is %q, want %q", got, want)
	}
	if warning, err := Check(disk); warning != nil || err != nil {
		t.Errorf("Open did not repair the broken copy: %v, %v", warning, err)
	}
}

func TestBothCopiesBroken(t *testing.T) {
	d, table := formatted(t, 8*mib)
	create(t, table, "v", mib)
	for i := range int64(slots) {
		if _, err := d.WriteAt([]byte{0xff}, i*slotSize+offGeneration); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(d); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open: %v", err)
	}
	if _, err := Check(d); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Check: %v", err)
	}
	if _, err := Open(device.NewMem(8 * mib)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a device that was never formatted: %v", err)
	}
}

// A copy that only a later release understands is newer than the other,
// whatever its generation: the other must not be served in its place.
func TestCopyOfALaterReleaseIsNotPassedOver(t *testing.T) {
	for i := range int64(slots) {
		d, _ := formatted(t, 8*mib)
		b := encoded(t, &table{generation: 1})
		b[offIncompat] = 1
		if _, err := d.WriteAt(reseal(b), i*slotSize); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(d); !errors.Is(err, ErrUnsupported) {
			t.Errorf("copy %d: Open: %v", i+1, err)
		}
		if _, err := Check(d); !errors.Is(err, ErrUnsupported) {
			t.Errorf("copy %d: Check: %v", i+1, err)
		}
	}
}

// A device that fails at any one operation of an update, and at any one of the
// next, loses no volume, and Create works again when the device does.
func TestFailedUpdateIsTriedAgain(t *testing.T) {
	const before = "v1 v2 v3"
	for first := 1; ; first++ {
		for second := 1; ; second++ {
			d := faultdev.New(device.NewMem(16 * mib))
			if err := Format(d); err != nil {
				t.Fatal(err)
			}
			table := open(t, d)
			for _, n := range []string{"v1", "v2", "v3"} {
				create(t, table, n, mib)
			}
			hitFirst := failCreate(t, d, table, "x", first)
			hitSecond := failCreate(t, d, table, "y", second)
			got := names(open(t, d))
			if !hitFirst {
				return
			}
			if !hitSecond {
				break
			}
			if got != before && got != before+" x" && got != before+" y" {
				t.Errorf("operations %d and %d failed: reopened there is %q", first, second, got)
			}
			create(t, table, "after", 2*mib)
			if got := names(open(t, d)); got != before+" after" {
				t.Errorf("operations %d and %d failed: at the end there is %q", first, second, got)
			}
		}
	}
}

// failCreate creates a volume on a device whose nth operation from here fails
// after 256 bytes, and says whether it came to that.
func failCreate(t *testing.T, d *faultdev.Device, table *Table, name string, nth int) bool {
	t.Helper()
	old := names(table)
	rule := d.Add(faultdev.Rule{On: faultdev.Change | faultdev.Flush, Nth: nth, Err: device.ErrIO, Short: 256})
	_, err := table.Create(name, mib)
	hit := len(rule.Reached()) > 0
	d.Heal()
	if hit && (!errors.Is(err, device.ErrIO) || names(table) != old) {
		t.Errorf("operation %d failed: %v, volumes %q", nth, err, names(table))
	}
	if !hit && err != nil {
		t.Errorf("without a failure: %v", err)
	}
	return hit
}
