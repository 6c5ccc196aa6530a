package uffd

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process that is killed while it waits leaves errors behind, no hang.
func TestKilled(t *testing.T) {
	c := start(t, 4)
	asked := c.ask(request{Op: "store", Page: 1, Value: 9})
	c.expect(1, Missing, true)
	c.write(1, 1)
	c.kill()
	if r, ok := <-asked; ok {
		t.Errorf("the dead answer %+v", r)
	}
	_, mapped := c.Continue(c.at(1), pageSize, true)
	for what, err := range map[string]error{
		"Continue":  mapped,
		"Protect":   c.Protect(c.at(0), 4*pageSize),
		"Unprotect": c.Unprotect(c.at(0), pageSize),
		"Poison":    c.Poison(c.at(0), pageSize),
	} {
		if !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// There is nobody to be woken, which is no error.
	c.must(c.Wake(c.at(0), pageSize))
}

// A process may do to its memory what it likes: the range that is not
// registered any more is an error, what is left of it is served.
func TestReplaced(t *testing.T) {
	c := start(t, 8)
	for page := range 8 {
		c.write(page, 1)
	}
	c.grant(0, 8, false)
	c.answer(c.ask(request{Op: "replace", Page: 4, Count: 2}))
	_, mapped := c.Continue(c.at(4), pageSize, true)
	for what, err := range map[string]error{
		"Continue":          mapped,
		"Protect":           c.Protect(c.at(4), pageSize),
		"Protect over it":   c.Protect(c.at(3), 3*pageSize),
		"Protect elsewhere": c.Protect(c.base+1<<40, pageSize),
		"Unprotect":         c.Unprotect(c.at(5), pageSize),
		"Poison":            c.Poison(c.at(4), pageSize),
		"unaligned":         c.Protect(c.base+1, pageSize),
		"Wake unaligned":    c.Wake(c.base+1, pageSize),
	} {
		if !errors.Is(err, ErrNotRegistered) {
			t.Errorf("%s: %v", what, err)
		}
	}
	c.must(c.Protect(c.at(6), pageSize))
	stored := c.ask(request{Op: "store", Page: 6, Value: 2})
	c.expect(6, WriteProtect, true)
	c.must(c.Unprotect(c.at(6), pageSize))
	c.answer(stored)
}

// A page beyond the file's end is not mapped, and no hole either.
func TestBeyondEnd(t *testing.T) {
	c := start(t, 4)
	loaded := c.ask(request{Op: "load", Page: 3})
	c.expect(3, Missing, false)
	c.must(unix.Ftruncate(c.memory, int64(3*pageSize)))
	if done, err := c.Continue(c.at(3), pageSize, true); done != 0 || err == nil {
		t.Errorf("%d bytes mapped beyond the end: %v", done, err)
	}
	c.must(c.Wake(c.at(3), pageSize))
	c.refused(loaded, 3)
}

// Close ends a wait for faults; closing the last copy lets the kernel answer.
func TestClose(t *testing.T) {
	c := start(t, 2)
	loaded := c.ask(request{Op: "load"})
	c.expect(0, Missing, false)
	var waits sync.WaitGroup
	for range 3 {
		waits.Go(func() {
			if n, err := c.ReadFaults(make([]Fault, 4)); n != 0 || !errors.Is(err, os.ErrClosed) {
				t.Errorf("%d faults, %v", n, err)
			}
		})
	}
	c.must(c.Close())
	waits.Wait()
	if got := c.answer(loaded); got != 0 {
		t.Errorf("loaded %d", got)
	}
	_, mapped := c.Continue(c.at(0), pageSize, true)
	_, read := c.ReadFaults(make([]Fault, 1))
	for what, err := range map[string]error{
		"Close": c.Close(), "Continue": mapped, "ReadFaults": read, "Register": c.Register(c.base, pageSize),
		"Protect": c.Protect(c.base, pageSize), "Poison": c.Poison(c.base, pageSize), "Wake": c.Wake(c.base, pageSize),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The description is shared with a process that may clear O_NONBLOCK at any
// time: the wait stays one that Close ends.
func TestBlockingDescription(t *testing.T) {
	c := start(t, 2)
	loaded := c.ask(request{Op: "load"})
	c.expect(0, Missing, false)
	if c.faults.mu.blocking {
		t.Skip("this kernel cannot read without waiting unless the description says so (Linux 6.10)")
	}
	c.must(unix.SetNonblock(c.Fd(), false))
	c.faults.mu.most = 1
	if c.faults.try(uintptr(c.Fd())) {
		t.Errorf("a read without faults ends the wait: %v", c.faults.mu.err)
	}
	// The poller may notice, which is an error; otherwise it waits on.
	var waits sync.WaitGroup
	waits.Go(func() {
		if n, err := c.ReadFaults(make([]Fault, 4)); n != 0 || err == nil {
			t.Errorf("%d faults, %v", n, err)
		}
	})
	c.must(c.Close())
	waits.Wait()
	c.answer(loaded)
}

// Only what Create makes is adopted, and what is refused stays open.
func TestAdoptRefuses(t *testing.T) {
	needUserfaultfd(t)
	made := func(fd int, err error) int {
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	raw := func() int {
		fd, _, err := open()
		return made(fd, err)
	}
	agreed := func(features uint64) int {
		fd := raw()
		arg := apiArg{api: apiVersion, features: features}
		if errno := ioctl(fd, ioAPI, unsafe.Pointer(&arg)); errno != 0 {
			t.Fatal(errno)
		}
		return fd
	}
	const eventUnmap = 1 << 6
	for _, c := range []struct {
		what string
		fd   int
		why  string
	}{
		{"a memfd", made(unix.MemfdCreate("anon_inode:[userfaultfd]", unix.MFD_CLOEXEC)), ` is "/memfd:`},
		{"an eventfd", made(unix.Eventfd(0, unix.EFD_CLOEXEC)), ` is "anon_inode:[eventfd]"`},
		{"a file", made(unix.Open("/proc/self/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)), ` is "/proc/`},
		{"nothing agreed on", raw(), "has the features 0x0"},
		{"a feature too few", agreed(featuresNeeded &^ featureExactAddress), "has the features"},
		{"a feature too many", agreed(featuresNeeded | eventUnmap), "has the features"},
		{"no feature asked for", agreed(0), "has the features"},
	} {
		f, err := Adopt(c.fd)
		if !errors.Is(err, ErrNotUserfaultfd) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, %v", c.what, f, err)
		}
		if err := unix.Close(c.fd); err != nil {
			t.Errorf("%s was closed: %v", c.what, err)
		}
	}
	for _, fd := range []int{-1, 1 << 20} {
		if _, err := Adopt(fd); !errors.Is(err, ErrNotUserfaultfd) {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
}

// The process that faults is not the one that serves.
func TestCreatedDoesNotServe(t *testing.T) {
	needUserfaultfd(t)
	f, err := Create(Announced)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := f.ReadFaults(make([]Fault, 1)); n != 0 || err == nil {
		t.Errorf("%d faults, %v", n, err)
	}
	if f.Features() != featuresNeeded {
		t.Errorf("features %#x", f.Features())
	}
}

// What a kernel lacks is named, with the Linux that has it.
func TestLacking(t *testing.T) {
	if got := lacking(featuresNeeded, featuresNeeded); got != "" {
		t.Errorf("lacks %q", got)
	}
	got := lacking(featuresNeeded, featuresNeeded&^(featureProtectUnmapped|featurePoison))
	if got != "WP_UNPOPULATED (Linux 6.4), POISON (Linux 6.6)" {
		t.Errorf("lacks %q", got)
	}
	var named uint64
	for _, f := range featureNames {
		named |= f.bit
	}
	if named != Async.features() {
		t.Errorf("names for %#x, needed are %#x", named, Async.features())
	}
}

func TestParseFeatures(t *testing.T) {
	for _, c := range []struct {
		info string
		want uint64
		err  string
	}{
		{"pos:\t0\nflags:\t02\npending:\t0\nAPI:\taa:80007d21:1f\n", 0x80007d21, ""},
		{"API:\taa:0:1f", 0, ""},
		{"", 0, "no interface"},
		{"API:\tab:0:1f\n", 0, "interface"},
		{"API:\taa:0\n", 0, "interface"},
		{"API:\taa:zz:1f\n", 0, "invalid"},
	} {
		got, err := parseFeatures(c.info)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %#x, %v", c.info, got, err)
		}
	}
}

// The requests are those of the kernel's header, the same on x86-64 and arm64.
func TestRequests(t *testing.T) {
	for name, c := range map[string]struct{ got, want uintptr }{
		"API": {ioAPI, 0xc018aa3f}, "REGISTER": {ioRegister, 0xc020aa00}, "WAKE": {ioWake, 0x8010aa02},
		"WRITEPROTECT": {ioWriteProtect, 0xc018aa06}, "CONTINUE": {ioContinue, 0xc020aa07},
		"POISON": {ioPoison, 0xc020aa08}, "NEW": {ioNew, 0xaa00}, "message": {unsafe.Sizeof(message{}), 32},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, not %#x", name, c.got, c.want)
		}
	}
	if want := map[string]uintptr{"amd64": 323, "arm64": 282}[runtime.GOARCH]; uintptr(unix.SYS_USERFAULTFD) != want {
		t.Errorf("system call %d, not %d", unix.SYS_USERFAULTFD, want)
	}
}
