package interop

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// archive is a cpio archive in the format "newc", which the kernel unpacks as
// its first file system.
type archive struct {
	bytes.Buffer
	made map[string]bool // folders already in it
	ino  int
}

const (
	cpioDir  = 0o040755
	cpioFile = 0o100755
)

func (a *archive) entry(name string, mode int, data []byte) {
	a.ino++
	fmt.Fprintf(a, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(data)
	a.pad()
}

func (a *archive) pad() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}

// dir adds a folder and those above it.
func (a *archive) dir(name string) {
	if name == "." || a.made[name] {
		return
	}
	a.dir(filepath.Dir(name))
	if a.made == nil {
		a.made = map[string]bool{}
	}
	a.made[name] = true
	a.entry(name, cpioDir, nil)
}

// add adds a file under a path without a leading slash.
func (a *archive) add(name string, data []byte) {
	a.dir(filepath.Dir(name))
	a.entry(name, cpioFile, data)
}

// addFile adds a copy of a file of this machine.
func (a *archive) addFile(name, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	a.add(name, data)
	return nil
}

// finish ends the archive.
func (a *archive) finish() []byte {
	a.entry("TRAILER!!!", 0, nil)
	return a.Bytes()
}

var libraryPath = regexp.MustCompile(`(/\S+) \(0x`)

// addProgram adds a program as DIR/NAME, with the libraries it is linked to.
func (a *archive) addProgram(t *testing.T, dir, name string) {
	t.Helper()
	path, err := find(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.addFile(dir+"/"+name, path); err != nil {
		t.Fatal(err)
	}
	// ldd fails for a static program, which needs nothing more.
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return
	}
	for _, m := range libraryPath.FindAllStringSubmatch(string(out), -1) {
		lib := strings.TrimPrefix(m[1], "/")
		if a.made[lib] {
			continue
		}
		if err := a.addFile(lib, m[1]); err != nil {
			t.Fatal(err)
		}
		a.made[lib] = true
	}
}

// kernel is Debian's kernel package, unpacked and never installed.
type kernel struct {
	image   string
	modules map[string]string // module -> path
	builtin map[string]bool
}

// findKernel looks where interop/prepare unpacks the package.
func findKernel() (*kernel, error) {
	root := filepath.Join(moduleRoot(), "build", "kernel")
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if _, unfinished := os.Stat(filepath.Join(root, "complete")); err != nil || unfinished != nil || len(images) == 0 {
		return nil, errors.New("there is no kernel under build/kernel (interop/prepare fetches it)")
	}
	k := &kernel{image: images[len(images)-1], modules: map[string]string{}, builtin: map[string]bool{}}
	version := strings.TrimPrefix(filepath.Base(k.image), "vmlinuz-")
	// Newer releases of Debian keep modules below /usr.
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		dir := filepath.Join(root, lib, version)
		list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(list)) {
			k.builtin[moduleName(strings.TrimSpace(line))] = true
		}
		return k, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.Contains(d.Name(), ".ko") {
				k.modules[moduleName(path)] = path
			}
			return err
		})
	}
	return nil, fmt.Errorf("%s has no modules", root)
}

// moduleName is the name that the kernel gives the module in a file.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// addModules adds modules and what they depend on, and /modules/order, the
// order in which they can be loaded.
func (k *kernel) addModules(a *archive, names ...string) error {
	var order []string
	var visit func(name string) error
	visit = func(name string) error {
		if k.builtin[name] || slices.Contains(order, name+".ko") {
			return nil
		}
		data, err := k.module(name)
		if err != nil {
			return err
		}
		needs, err := dependencies(data)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		order = append(order, name+".ko")
		a.add("modules/"+name+".ko", data)
		return nil
	}
	for _, n := range names {
		if err := visit(n); err != nil {
			return err
		}
	}
	a.add("modules/order", []byte(strings.Join(order, "\n")+"\n"))
	return nil
}

// module reads a module, unpacked.
func (k *kernel) module(name string) ([]byte, error) {
	path, ok := k.modules[name]
	if !ok {
		return nil, fmt.Errorf("the kernel has no module %s", name)
	}
	if strings.HasSuffix(path, ".xz") {
		return exec.Command("busybox", "xzcat", path).Output()
	}
	return os.ReadFile(path)
}

// dependencies lists the modules that a module names as needed before it.
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
