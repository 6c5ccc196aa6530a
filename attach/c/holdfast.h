/* Map volumes of a Holdfast server into this process's memory.
 *
 * The memory can be loaded from and stored to by any thread. An access that
 * cannot be had (the volume's owner refuses a store, the page cannot be read,
 * the server is gone) raises SIGBUS; a store to a mapping for reading only,
 * SIGSEGV. Forked children do not have the memory.
 *
 * Link with -pthread. Each mapping has a connection of its own, and a thread that
 * makes the memory fail, should the server end, instead of keeping those who touch
 * it waiting. Many threads at once may load, store, sync and advise. All functions
 * return 0, or -1 with errno set.
 */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct holdfast {
	void *addr; /* the memory */
	size_t len; /* its length in bytes */
	int async;  /* whether first stores to pages wait for nobody */
	/* The rest is private. */
	int sock, uffd, pagemap, empty, watched;
	uint64_t window;
	pthread_t watcher;
	pthread_mutex_t asking; /* one request at a time */
};

enum { HOLDFAST_WILLNEED = 1, HOLDFAST_DONTNEED = 2, HOLDFAST_SEQUENTIAL = 3 };

/* For reading only; for storing too, in the asynchronous mode where that is
 * possible; with each first store to a page announced to the server; or in the
 * asynchronous mode, or else not (EOPNOTSUPP). */
enum { HOLDFAST_READ = 0, HOLDFAST_WRITE = 1, HOLDFAST_ASYNC = 3, HOLDFAST_ANNOUNCED = 5 };

/* Map n bytes of a volume of the server at a socket, from off on, both multiples of
 * 4096; 0 bytes are all to the end. *h must stay where it is until holdfast_unmap. */
int holdfast_map(struct holdfast *h, const char *path, const char *volume, uint64_t off, uint64_t n, int how);

/* Make durable what was stored before in the pages that [off, off+n) touches. */
int holdfast_sync(struct holdfast *h, uint64_t off, uint64_t n);

/* Say how [off, off+n) will be used. HOLDFAST_DONTNEED, for which both must be
 * multiples of 4096, also makes the next access to a refused page be asked afresh
 * at once; by itself that happens a moment later. */
int holdfast_advise(struct holdfast *h, uint64_t off, uint64_t n, int advice);

/* Unmap, when nobody uses the memory any more. What was stored stays. */
int holdfast_unmap(struct holdfast *h);

#endif
