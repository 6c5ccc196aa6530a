package holdfast_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"holdfast.dev/holdfast"
)

// tempPool makes a small pool with two file legs for an example.
func tempPool() (dir string, remove func()) {
	top, err := os.MkdirTemp("", "holdfast")
	if err != nil {
		log.Fatal(err)
	}
	dir = filepath.Join(top, "pool")
	err = holdfast.Create(dir, holdfast.CreateOptions{
		Legs: []string{filepath.Join(dir, "a.img"), filepath.Join(dir, "b.img")},
		Size: 16 << 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(top) }
}

// A pool is made once, and then opened by one program at a time.
func Example() {
	dir, remove := tempPool()
	defer remove()

	pool, err := holdfast.Open(dir, holdfast.Options{})
	if err != nil {
		log.Fatal(err)
	}
	v, err := pool.Volume("main")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := v.WriteAt([]byte("hold fast"), 4096); err != nil {
		log.Fatal(err)
	}
	if err := v.Sync(); err != nil { // from here on no crash can undo the write
		log.Fatal(err)
	}
	if err := pool.Close(); err != nil {
		log.Fatal(err)
	}

	pool, err = holdfast.Open(dir, holdfast.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	v, err = pool.Volume("main")
	if err != nil {
		log.Fatal(err)
	}
	p := make([]byte, 9)
	if _, err := v.ReadAt(p, 4096); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s of %d bytes holds %q\n", v.Name(), v.Size(), p)
	// Output: main of 16777216 bytes holds "hold fast"
}

// A pin gives the bytes themselves; a hold keeps what was written from the legs
// until all of it may go.
func ExampleVolume_Pin() {
	dir, remove := tempPool()
	defer remove()
	pool, err := holdfast.Open(dir, holdfast.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	v, err := pool.Volume("main")
	if err != nil {
		log.Fatal(err)
	}
	pin, err := v.Pin(8192, 9, holdfast.PinWrite)
	if err != nil {
		log.Fatal(err)
	}
	copy(pin.Bytes(), "hold fast")
	pin.Release()

	hold, err := v.Hold()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := hold.WriteAt([]byte("not yet"), 0); err != nil {
		log.Fatal(err)
	}
	_, err = v.WriteAt([]byte("mine"), 0)
	fmt.Println(errors.Is(err, holdfast.ErrHeld))
	hold.Release()

	p := make([]byte, 9)
	if _, err := v.ReadAt(p, 8192); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, %v\n", p, v.Sync())
	// Output:
	// true
	// hold fast, <nil>
}

// Volumes are served over NBD by passing listeners.
func ExamplePool_Serve() {
	dir, remove := tempPool()
	defer remove()
	pool, err := holdfast.Open(dir, holdfast.Options{})
	if err != nil {
		log.Fatal(err)
	}
	unix, _ := pool.Addresses()
	l, err := pool.ListenUnix(unix)
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- pool.Serve(l) }()
	fmt.Println("nbdinfo 'nbd+unix:///main?socket=" + filepath.Base(unix) + "'")

	// Close lets clients finish, syncs, and ends Serve.
	fmt.Println(pool.Close(), <-served)
	// Output:
	// nbdinfo 'nbd+unix:///main?socket=nbd.sock'
	// <nil> <nil>
}

// Errors tell what happened by errors.Is, whichever layer they come from.
func ExamplePool_CreateVolume() {
	dir, remove := tempPool()
	defer remove()
	pool, err := holdfast.Open(dir, holdfast.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	err = pool.CreateVolume("main", 1<<20)
	fmt.Println(errors.Is(err, holdfast.ErrExists))
	err = pool.CreateVolume("other", 1<<40)
	fmt.Println(errors.Is(err, holdfast.ErrNoSpace))
	_, err = pool.Volume("other")
	fmt.Println(errors.Is(err, holdfast.ErrNotFound))
	// Output:
	// true
	// true
	// true
}

// Check looks at a pool that nobody has open, and changes nothing.
func ExampleCheck() {
	dir, remove := tempPool()
	defer remove()
	r, err := holdfast.Check(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sound:", r.Sound())
	// Output: sound: true
}
