package interop

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	// guestFiles is how many files the guest keeps: a few thousand.
	guestFiles = 3000
	// guestTimeout ends a machine that hangs. It takes a minute at most where
	// nothing else runs.
	guestTimeout = 10 * time.Minute
)

// Linux's own NBD client carries an ext4 over a crash of both ends: the server
// is killed while the guest writes, then the guest, as a power cut would; what
// the guest synced before must be there, and the file system sound.
func TestKernelClient(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		cannot(t, "the virtual machine, which runs programs of this machine, is an amd64 one")
	}
	need(t, "qemu-system-x86_64", "nbd-client", "busybox", "mke2fs", "e2fsck")
	slow(t, "a minute")
	k, err := findKernel()
	if err != nil {
		leaveOut(t, err.Error())
	}
	random := newRandom(seed(t))
	initrd := buildInitramfs(t, k, random)
	p := newPool(t, poolOptions{size: "512MiB", tcp: true})

	s := p.serve()
	vm := boot(t, k, initrd, p, "write")
	vm.expect("synced")
	time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second))))
	s.kill()
	vm.kill()

	s = p.serve()
	vm = boot(t, k, initrd, p, "verify")
	vm.expect("fsck is clean")
	vm.expect("the tree is intact")
	vm.expect("finished")
	vm.wait()
	s.stop()
	legsEqual(t, p)
}

// buildInitramfs makes the guest's first file system and returns its path.
func buildInitramfs(t *testing.T, k *kernel, random *random) string {
	t.Helper()
	a := &archive{}
	for _, dir := range []string{"proc", "sys", "dev", "bin", "modules"} {
		a.dir(dir)
	}
	if err := a.addFile("init", "guest/init"); err != nil {
		t.Fatal(err)
	}
	a.addProgram(t, "bin", "busybox")
	// Not in /bin: busybox has a mke2fs of its own.
	for _, p := range []string{"nbd-client", "mke2fs", "e2fsck"} {
		a.addProgram(t, "sbin", p)
	}
	if err := k.addModules(a, "virtio_pci", "virtio_net", "nbd", "ext4", "crc32c_generic"); err != nil {
		t.Fatal(err)
	}
	tree, sums := makeTree(t, random)
	a.add("tree.tar", tree)
	a.add("tree.sums", sums)
	path := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(path, a.finish(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// makeTree makes a tar file of a random tree, and its list for sha256sum -c.
func makeTree(t *testing.T, random *random) (tree, sums []byte) {
	t.Helper()
	var files, list bytes.Buffer
	w := tar.NewWriter(&files)
	for i := range guestFiles {
		if i%100 == 0 {
			w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%02d/", i/100), Typeflag: tar.TypeDir, Mode: 0o755})
		}
		// The smaller, the more: sizes spread evenly over their powers of two.
		data := make([]byte, random.IntN(1<<random.IntN(17)+1))
		random.Read(data)
		name := fmt.Sprintf("d%02d/f%04d", i/100, i)
		w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))})
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(data), name)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return files.Bytes(), list.Bytes()
}

// machine is a running virtual machine.
type machine struct {
	t      *testing.T
	cmd    *exec.Cmd
	cancel context.CancelFunc
	lines  chan string // its console, closed at its end
	seen   strings.Builder
}

// boot starts a machine that connects to the pool's server and does a phase of
// guest/init.
func boot(t *testing.T, k *kernel, initrd string, p *pool, phase string) *machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	cmdline := fmt.Sprintf("console=ttyS0 quiet panic=-1 holdfast.phase=%s holdfast.port=%d holdfast.volume=%s",
		phase, p.port, volumeName)
	cmd := command(ctx, t, "qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-smp", "1",
		"-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot",
		"-nic", "user,model=virtio-net-pci",
		"-kernel", k.image, "-initrd", initrd, "-append", cmdline)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	vm := &machine{t: t, cmd: cmd, cancel: cancel, lines: make(chan string, 1)}
	go vm.read(out)
	t.Cleanup(vm.kill)
	return vm
}

func (vm *machine) read(out io.Reader) {
	defer close(vm.lines)
	for s := bufio.NewScanner(out); s.Scan(); {
		vm.lines <- strings.TrimRight(s.Text(), "\r")
	}
}

// expect reads the console until the guest says what.
func (vm *machine) expect(what string) {
	vm.t.Helper()
	begin := time.Now()
	for line := range vm.lines {
		fmt.Fprintln(&vm.seen, line)
		switch {
		case line == "guest: "+what:
			vm.t.Logf("guest: %s, after %.1f s", what, time.Since(begin).Seconds())
			return
		case strings.HasPrefix(line, "guest: failed"):
			for line := range vm.lines {
				fmt.Fprintln(&vm.seen, line)
			}
			vm.t.Fatalf("waiting for %q:\n%s", what, vm.seen.String())
		}
	}
	vm.t.Fatalf("the machine ended before it said %q:\n%s", what, vm.seen.String())
}

// kill ends the machine as a power cut does. It may be called again.
func (vm *machine) kill() {
	vm.cancel()
	vm.wait()
}

// wait returns when the machine has ended.
func (vm *machine) wait() {
	for range vm.lines {
	}
	vm.cmd.Wait()
	vm.cancel()
}

// random makes numbers and bytes from one seed.
type random struct {
	*rand.Rand
	io.Reader
}

func newRandom(seed int64) *random {
	var key [32]byte
	copy(key[:], fmt.Sprint(seed))
	source := rand.NewChaCha8(key)
	return &random{Rand: rand.New(source), Reader: source}
}
