// Package scenario tells stories about pages that are written while they change, for
// package explore to tell in every order.
//
// Each scenario is a file that reads as what it tells. They stand on a house of their
// own (house.go): Holdfast's cache, on its mirror, on disks that lose their power, or
// on fewer floors where the story needs no more. Processes that map its memory are
// page tables in data (process.go). What must hold is said by a small model of what
// was written and acknowledged (model.go), and checked when something is read, after
// each crash, and at the end:
//
//   - H1, H6: what an acknowledged sync covered is there after a crash;
//   - H2: every sector reads as one thing that was written to it, none older;
//   - H3: the legs are equal when recovery is done;
//   - H4: recovery is for no region but those that were written to;
//   - H5: no leg was ever charged, and no page was ever found changed, on disks that
//     do as they say;
//   - H7: the last store to a page is what is read, and what is written;
//   - H8: no page is dirty whose owner has not agreed, and he is let go once;
//   - H9: nothing that was cut off or discarded comes back;
//   - H10: a leg that comes back gets no more than what it has missed, and all of that.
package scenario
