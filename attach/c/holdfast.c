/* The client's side of the protocol that the Go package attach describes. */
#define _GNU_SOURCE
#include "holdfast.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

/* The fields are little-endian, as are the machines that Holdfast runs on. */
struct message {
	uint32_t magic;
	uint16_t version, kind;
	uint64_t id;
	uint32_t status, flags;
	uint64_t window, off, n, addr, reserved;
	char text[64];
};

enum { MAGIC = 0x544d4648, HELLO = 1, MAP, SERVE, SYNC, ADVISE, UNMAP, PAGEMAP = 9, REPLY = 0x8000 };
/* Flags of MAP; its reply has MAP_ASYNC too. */
enum { MAP_STORE = 1, MAP_ASYNC = 2, MAP_ASYNC_ONLY = 4 };

/* What the server insists on: PAGEFAULT_FLAG_WP, MISSING_SHMEM, THREAD_ID,
 * MINOR_SHMEM, EXACT_ADDRESS, WP_HUGETLBFS_SHMEM, WP_UNPOPULATED, POISON. Headers
 * may be older than the kernel. */
#define FEATURES (1 << 0 | 1 << 5 | 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14)
#define WP_ASYNC (1 << 15) /* too, in the asynchronous mode */
#define USER_MODE_ONLY 1

struct holdfast {
	int sock, empty;
	pthread_t watcher;
	pthread_mutex_t asking; /* one request at a time */
	pthread_mutex_t lock;   /* guards what follows */
	pthread_cond_t changed;
	struct message reply;
	int replied, fd, gone;
	struct holdfast_map *maps;
};

static int transfer(int sock, struct message *m, int *fd, int sending)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec v = { m, sizeof *m };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1 };
	struct cmsghdr *c = &control.align;
	ssize_t got;

	if (!sending || *fd >= 0) {
		h.msg_control = &control;
		h.msg_controllen = sizeof control.space;
	}
	if (sending && *fd >= 0) {
		*c = (struct cmsghdr){ CMSG_LEN(sizeof *fd), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), fd, sizeof *fd);
	}
	do
		got = sending ? sendmsg(sock, &h, MSG_NOSIGNAL) : recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (!sending) {
		*fd = -1;
		if (got > 0 && (c = CMSG_FIRSTHDR(&h)) && c->cmsg_type == SCM_RIGHTS)
			memcpy(fd, CMSG_DATA(c), sizeof *fd);
	}
	return got == sizeof *m ? 0 : -1;
}

/* Make every access to a mapping fail, and let those go on who wait in it: they
 * find the same. Zeros are what must not be found. */
static void cut(struct holdfast *h, struct holdfast_map *m)
{
	struct uffdio_range r = { (uintptr_t)m->addr, m->len };

	m->cut = 1;
	if (mmap(m->addr, m->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, h->empty, 0) == MAP_FAILED)
		munmap(m->addr, m->len);
	ioctl(m->uffd, UFFDIO_WAKE, &r);
	close(m->uffd);
}

static void *watch(void *arg)
{
	struct holdfast *h = arg;
	struct holdfast_map *m;
	struct message reply;
	int fd, ok;

	do {
		ok = transfer(h->sock, &reply, &fd, 0) == 0 && reply.magic == MAGIC;
		pthread_mutex_lock(&h->lock);
		if (ok) {
			h->reply = reply;
			h->fd = fd;
			h->replied = 1;
		} else {
			h->gone = 1;
			for (m = h->maps; m; m = m->next)
				cut(h, m);
		}
		pthread_cond_broadcast(&h->changed);
		pthread_mutex_unlock(&h->lock);
	} while (ok);
	return NULL;
}

/* Send a request, which becomes its reply; fd is a descriptor to send, or NULL, and
 * becomes the one that was received. */
static int ask(struct holdfast *h, struct message *m, int *fd)
{
	static const int errors[] = { 0, EACCES, ENOENT, EINVAL, EIO, EBADF, ENOSPC, EIO, EOPNOTSUPP };
	int none = -1, kind = m->kind, failed;

	m->magic = MAGIC;
	m->version = 1;
	pthread_mutex_lock(&h->asking);
	h->replied = 0; /* nobody else touches it while nothing is asked */
	failed = transfer(h->sock, m, fd ? fd : &none, 1);
	pthread_mutex_lock(&h->lock);
	while (!failed && !h->replied && !h->gone)
		pthread_cond_wait(&h->changed, &h->lock);
	failed = !h->replied;
	*m = h->reply;
	none = h->fd;
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_unlock(&h->asking);
	errno = ECONNRESET;
	if (failed || m->kind != (kind | REPLY))
		return -1;
	if (fd)
		*fd = none;
	if (m->status)
		errno = m->status < sizeof errors / sizeof *errors ? errors[m->status] : EIO;
	return m->status ? -1 : 0;
}

struct holdfast *holdfast_open(const char *path)
{
	struct holdfast *h = calloc(1, sizeof *h);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct message hello = { .kind = HELLO };
	int saved;

	if (!h)
		return NULL;
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	pthread_mutex_init(&h->asking, NULL);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	h->empty = memfd_create("holdfast:gone", MFD_CLOEXEC);
	h->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (h->empty >= 0 && h->sock >= 0 && connect(h->sock, (struct sockaddr *)&a, sizeof a) == 0 &&
	    (errno = pthread_create(&h->watcher, NULL, watch, h)) == 0) {
		if (ask(h, &hello, NULL) == 0)
			return h;
		saved = errno;
		holdfast_close(h);
	} else {
		saved = errno;
		close(h->sock);
		close(h->empty);
		free(h);
	}
	errno = saved;
	return NULL;
}

/* Make a userfaultfd; -1 if the kernel has none with all that is needed. */
static int faults(int async)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES | (async ? WP_ASYNC : 0) };
	const int flags = O_CLOEXEC | O_NONBLOCK;
	int fd = syscall(SYS_userfaultfd, flags);

	if (fd < 0) /* without the kernel's own faults, which take a privilege */
		fd = syscall(SYS_userfaultfd, flags | USER_MODE_ONLY);
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Put a mapping under a userfaultfd. */
static int watched(struct holdfast_map *m)
{
	struct uffdio_register r = {
		.range = { (uintptr_t)m->addr, m->len },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR,
	};

	m->uffd = faults(m->async);
	return m->uffd < 0 || ioctl(m->uffd, UFFDIO_REGISTER, &r) ? -1 : 0;
}

/* Give the server the page map, in which it finds what was stored to. */
static int give_pagemap(struct holdfast_map *m)
{
	struct message q = { .kind = PAGEMAP, .window = m->window };
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), sent = fd, failed;

	if (fd < 0)
		return -1;
	failed = ask(m->server, &q, &sent);
	close(fd);
	return failed;
}

/* The flags with which a mapping is asked for. */
static int wish(int how)
{
	int can = -1, flags = how & HOLDFAST_WRITE;

	if (flags && how != HOLDFAST_ANNOUNCED && access("/proc/self/pagemap", R_OK) == 0)
		can = faults(1);
	if (can >= 0) {
		close(can);
		flags |= MAP_ASYNC;
	}
	return how == HOLDFAST_ASYNC ? flags | MAP_ASYNC_ONLY : flags;
}

int holdfast_map(struct holdfast *h, const char *volume, uint64_t off, uint64_t n, int how,
		 struct holdfast_map *m)
{
	struct message q = { .kind = MAP, .flags = wish(how), .off = off, .n = n };
	int fd = -1, uffd, writable = how != HOLDFAST_READ, prot = PROT_READ | (writable ? PROT_WRITE : 0);

	if (strlen(volume) > sizeof q.text) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(q.text, volume, strlen(volume));
	*m = (struct holdfast_map){ .server = h, .uffd = -1 };
	if (ask(h, &q, &fd))
		return -1;
	m->window = q.window;
	m->len = q.n;
	m->async = !!(q.flags & MAP_ASYNC);
	/* The kernel watches a shared mapping only if it may be stored to. */
	m->addr = mmap(NULL, m->len, prot, (writable ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE, fd, off);
	close(fd);
	if (m->addr == MAP_FAILED)
		m->len = 0;
	else if (madvise(m->addr, m->len, MADV_DONTFORK) == 0 && watched(m) == 0 &&
		 (!m->async || give_pagemap(m) == 0)) {
		pthread_mutex_lock(&h->lock);
		m->next = h->maps;
		h->maps = m;
		if (h->gone)
			cut(h, m);
		pthread_mutex_unlock(&h->lock);
		q = (struct message){ .kind = SERVE, .window = m->window, .addr = (uintptr_t)m->addr };
		uffd = m->uffd;
		if (!m->cut && ask(h, &q, &uffd) == 0)
			return 0;
	}
	fd = errno;
	holdfast_unmap(m);
	errno = fd;
	return -1;
}

int holdfast_sync(struct holdfast_map *m, uint64_t off, uint64_t n)
{
	struct message q = { .kind = SYNC, .window = m->window, .off = off, .n = n };

	return ask(m->server, &q, NULL);
}

int holdfast_advise(struct holdfast_map *m, uint64_t off, uint64_t n, int advice)
{
	struct message q = { .kind = ADVISE, .window = m->window, .off = off, .n = n, .flags = advice };

	if (advice != HOLDFAST_DONTNEED)
		return ask(m->server, &q, NULL);
	return madvise((char *)m->addr + off, n, MADV_DONTNEED);
}

int holdfast_unmap(struct holdfast_map *m)
{
	struct holdfast *h = m->server;
	struct message q = { .kind = UNMAP, .window = m->window };
	struct holdfast_map **at;

	/* The server takes write access away first, so that it knows of every store. */
	ask(h, &q, NULL);
	pthread_mutex_lock(&h->lock);
	for (at = &h->maps; *at; at = &(*at)->next)
		if (*at == m) {
			*at = m->next;
			break;
		}
	pthread_mutex_unlock(&h->lock);
	if (m->uffd >= 0 && !m->cut)
		close(m->uffd);
	return m->len ? munmap(m->addr, m->len) : 0;
}

void holdfast_close(struct holdfast *h)
{
	shutdown(h->sock, SHUT_RDWR);
	pthread_join(h->watcher, NULL);
	close(h->sock);
	close(h->empty);
	free(h);
}
