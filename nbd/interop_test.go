package nbd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program returns the path of a real client, or skips the test and says why.
func program(t *testing.T, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("left out: %s is not installed (Debian package %s)", name, debianPackage)
	}
	return path
}

// nbdsh runs a script in libnbd's shell, or skips the test. The module may be
// Debian's while the first Python in the path is not.
func nbdsh(t *testing.T, args ...string) {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import nbd").Run() == nil {
			run(t, python, append([]string{"-m", "nbd"}, args...)...)
			return
		}
	}
	t.Skip("left out: no Python has the module nbd (Debian package python3-libnbd)")
}

// run runs a real client to its end, and fails the test with its output if it
// fails.
func run(t *testing.T, path string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", path, args, err, out)
	}
	return out
}

// uri is where a real client finds an export.
func (s *testServer) uri(export string) string {
	return fmt.Sprintf("nbd+unix:///%s?socket=%s", export, s.path)
}

func TestInteropNbdinfo(t *testing.T) {
	nbdinfo := program(t, "nbdinfo", "libnbd-bin")
	s := start(t, two(), Options{})
	var got struct {
		Structured bool `json:"structured"`
		Exports    []struct {
			Name        string   `json:"export-name"`
			Description string   `json:"description"`
			Size        int64    `json:"export-size"`
			ReadOnly    bool     `json:"is_read_only"`
			MultiConn   bool     `json:"can_multi_conn"`
			FUA         bool     `json:"can_fua"`
			DF          bool     `json:"can_df"`
			FastZero    bool     `json:"can_fast_zero"`
			Trim        bool     `json:"can_trim"`
			Cache       bool     `json:"can_cache"`
			Contexts    []string `json:"contexts"`
			Min         int      `json:"block_size_minimum"`
			Preferred   int      `json:"block_size_preferred"`
			Max         int      `json:"block_size_maximum"`
		} `json:"exports"`
	}
	out := run(t, nbdinfo, "--json", "--list", s.uri(""))
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if !got.Structured || len(got.Exports) != 2 {
		t.Fatalf("nbdinfo says %s", out)
	}
	m, o := got.Exports[0], got.Exports[1]
	if m.Name != "main" || m.Description != "the main one" || m.Size != 1<<20 || m.ReadOnly || !m.MultiConn || !m.FUA ||
		!m.DF || !m.FastZero || !m.Trim || !m.Cache || len(m.Contexts) != 1 || m.Contexts[0] != contextAllocation ||
		m.Min != 1 || m.Preferred != 4096 || m.Max != MaxPayload {
		t.Errorf("of main, nbdinfo says %+v", m)
	}
	if o.Name != "other" || !o.ReadOnly || o.Trim || o.FastZero || o.Size != 1<<30 {
		t.Errorf("of other, nbdinfo says %+v", o)
	}
}

// The script has libnbd check our replies: it is strict about chunks.
func TestInteropNbdsh(t *testing.T) {
	d := newDisk(1 << 40)
	d.cached = func(off, _ int64) bool { return off%8192 == 0 }
	s := start(t, serving(d), Options{})
	const script = `
h.add_meta_context("base:allocation")
h.connect_uri(uri)
assert h.get_structured_replies_negotiated()
assert h.can_meta_context("base:allocation")
assert h.can_fua() and h.can_flush() and h.can_trim() and h.can_zero() and h.can_cache()
assert h.can_df() and h.can_multi_conn() and h.can_fast_zero() and not h.is_read_only()
a = b"a" * 4096
h.pwrite(a, 4096)
h.pwrite(a, 1 << 33, nbd.CMD_FLAG_FUA)
h.flush()
assert h.pread(4096, 4096) == a
assert h.pread(12288, 0) == bytes(4096) + a + bytes(4096)
seen = []
def chunk(buf, off, status, err):
    seen.append((off, len(buf), status))
h.pread_structured(12288, 0, chunk, nbd.CMD_FLAG_DF)
assert seen == [(0, 12288, nbd.READ_DATA)], seen
seen.clear()
h.pread_structured(32768, 4096, chunk)
assert seen == [(4096, 4096, nbd.READ_DATA), (8192, 28672, nbd.READ_HOLE)], seen
entries = []
def extent(context, off, list, err):
    entries.append((context, off, list))
h.block_status(1 << 20, 0, extent)
assert entries == [("base:allocation", 0, [4096, 3, 4096, 0, (1 << 20) - 8192, 3])], entries
entries.clear()
h.block_status(1 << 20, 0, extent, nbd.CMD_FLAG_REQ_ONE)
assert entries == [("base:allocation", 0, [4096, 3])], entries
h.cache(1 << 20, 0)
h.trim(4096, 4096, nbd.CMD_FLAG_FUA)
assert h.pread(4096, 4096) == bytes(4096)
h.pwrite(a, 0)
h.zero(512, 512, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(1536, 0) == a[:512] + bytes(512) + a[:512]
h.zero(512, 0, nbd.CMD_FLAG_FAST_ZERO)
h.set_strict_mode(0)
def refused(errno, f, *args):
    try:
        f(*args)
    except nbd.Error as e:
        assert e.errno == errno, (e.errno, args)
        return
    assert False, args
refused("ENOTSUP", h.zero, 512, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
refused("ENOSPC", h.pwrite, a, 1 << 40)
refused("ENOSPC", h.zero, 4096, (1 << 40) - 1)
refused("EINVAL", h.pread, 4096, (1 << 40) - 1)
refused("EINVAL", h.trim, 4096, 1 << 63)
refused("EINVAL", h.pread, 33 << 20, 0)
big = b"b" * (32 << 20)
h.pwrite(big, 1 << 34)
assert h.pread(32 << 20, 1 << 34) == big
h.shutdown()
`
	nbdsh(t, "-c", fmt.Sprintf("uri = %q", s.uri("main")), "-c", script)
}

// In option mode libnbd haggles for long: INFO, GO, contexts, and an abort.
func TestInteropNbdshOptionMode(t *testing.T) {
	s := start(t, two(), Options{})
	const script = `
h.set_opt_mode(True)
h.connect_unix(path)
names = []
h.opt_list(lambda name, description: names.append((name, description)))
assert names == [("main", "the main one"), ("other", "")], names
contexts = []
h.opt_list_meta_context(lambda name: contexts.append(name))
assert contexts == ["base:allocation"], contexts
h.set_full_info(True)
h.set_export_name("other")
h.opt_info()
assert h.is_read_only() and h.get_size() == 1 << 30
assert h.get_canonical_export_name() == "other"
h.set_export_name("nobody")
try:
    h.opt_go()
    assert False
except nbd.Error as e:
    assert e.errno == "ENOENT", e.errno
h.set_export_name("")
h.opt_go()
assert h.get_canonical_export_name() == "main"
assert h.get_export_description() == "the main one"
assert h.pread(512, 0) == bytes(512)
h.shutdown()
other = nbd.NBD()
other.set_opt_mode(True)
other.connect_unix(path)
other.opt_abort()
`
	nbdsh(t, "-c", fmt.Sprintf("path = %q", s.path), "-c", script)
}

// nbdcopy brings an image in and out over several connections, holes and all.
func TestInteropNbdcopy(t *testing.T) {
	nbdcopy := program(t, "nbdcopy", "libnbd-bin")
	r := newRand(t)
	image := make([]byte, 64<<20)
	for range 200 {
		p := image[r.IntN(len(image)-100000):][:1+r.IntN(99999)]
		for i := range p {
			p[i] = byte(r.Uint32())
		}
	}
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, image, 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDisk(int64(len(image)))
	d.cached = func(off, _ int64) bool { return off>>18%2 == 0 }
	s := start(t, serving(d), Options{})
	run(t, nbdcopy, "--flush", from, s.uri("main"))
	got := make([]byte, len(image))
	d.read(got, 0)
	if !bytes.Equal(got, image) {
		t.Fatal("the export does not hold the image")
	}
	run(t, nbdcopy, s.uri("main"), to)
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, image) {
		t.Fatalf("the image does not come back: %v", err)
	}
	if !d.called(fmt.Sprintf("sync 0+%d", len(image))) {
		t.Error("nbdcopy --flush did not reach the export")
	}
}

func TestInteropQemuIO(t *testing.T) {
	qemuIO := program(t, "qemu-io", "qemu-utils")
	d := newDisk(1 << 30)
	d.cached = func(off, _ int64) bool { return off>>16%2 == 0 }
	s := start(t, serving(d), Options{})
	args := []string{"-f", "raw", s.uri("main")}
	for _, c := range []string{
		"write -P 0xa5 0 1M", "write -f -P 0x5a 1M 64k", "flush",
		"read -P 0xa5 0 1M", "read -P 0x5a 1M 64k", "read -P 0 512M 2M",
		"write -z 64k 64k", "write -z -u 256k 64k", "discard 512k 64k",
		"read -P 0 64k 64k", "read -P 0 256k 64k", "read -P 0 512k 64k", "read -P 0xa5 576k 64k",
		"aio_write -P 0x11 2M 32M", "aio_read -P 0xa5 128k 128k", "aio_flush", "read -P 0x11 2M 32M",
	} {
		args = append(args, "-c", c)
	}
	if out := run(t, qemuIO, args...); bytes.Contains(out, []byte("failed")) {
		t.Errorf("qemu-io says\n%s", out)
	}
	if d.durableByte(1<<20) != 0x5a {
		t.Error("qemu-io's write with FUA is not durable")
	}
}

// qemu-img reads block status to skip holes, and compares what it copied.
func TestInteropQemuImg(t *testing.T) {
	qemuImg := program(t, "qemu-img", "qemu-utils")
	d := newDisk(256 << 20)
	d.cached = func(off, _ int64) bool { return off>>16%2 == 0 }
	r := newRand(t)
	for range 50 {
		p := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, 1+r.IntN(1<<20))
		d.write(p, r.Int64N(d.size-int64(len(p))))
	}
	s := start(t, serving(d), Options{})
	to := filepath.Join(t.TempDir(), "copy.qcow2")
	run(t, qemuImg, "convert", "-f", "raw", "-O", "qcow2", s.uri("main"), to)
	run(t, qemuImg, "compare", "-f", "raw", "-F", "qcow2", s.uri("main"), to)
}
