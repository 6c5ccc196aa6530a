/* The client's side of the protocol that the Go package attach describes. */
#define _GNU_SOURCE
#include "holdfast.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

/* Send a message, with a descriptor unless that is -1; or receive one, and with it
 * a descriptor or -1. */
static int transfer(int sock, struct message *m, int *fd, int sending)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .head = { CMSG_LEN(sizeof *fd), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec v = { m, sizeof *m };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t got;

	if (!sending || *fd >= 0) {
		h.msg_control = &control;
		h.msg_controllen = sizeof control.space;
	}
	memcpy(CMSG_DATA(&control.head), fd, sizeof *fd);
	do
		got = sending ? sendmsg(sock, &h, MSG_NOSIGNAL) : recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (!sending)
		*fd = -1;
	if (!sending && got > 0 && h.msg_controllen >= CMSG_LEN(sizeof *fd) && control.head.cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(&control.head), sizeof *fd);
	return got == sizeof *m ? 0 : -1;
}

/* Send a request, which becomes its reply; fd is a descriptor to send, or NULL, and
 * becomes the one that was received. */
static int ask(struct holdfast *h, struct message *m, int *fd)
{
	static const int errors[] = { 0, EACCES, ENOENT, EINVAL, EIO, EBADF, ENOSPC, EIO, EOPNOTSUPP };
	int none = -1, reply = m->kind | REPLY, failed;

	m->magic = MAGIC;
	m->version = 1;
	fd = fd ? fd : &none;
	pthread_mutex_lock(&h->asking);
	failed = transfer(h->sock, m, fd, 1) || transfer(h->sock, m, fd, 0);
	pthread_mutex_unlock(&h->asking);
	if (failed || m->magic != MAGIC || m->kind != reply)
		errno = ECONNRESET;
	else if (m->status)
		errno = m->status < sizeof errors / sizeof *errors ? errors[m->status] : EIO;
	else
		return 0;
	return -1;
}

/* Wait for the end of the connection. Then make every access fail, and let those go
 * on who wait: they find the same. Zeros are what must not be found. */
static void *watch(void *arg)
{
	struct holdfast *h = arg;
	struct pollfd end = { .fd = h->sock, .events = POLLRDHUP };
	struct uffdio_range all = { (uintptr_t)h->addr, h->len };

	while (poll(&end, 1, -1) < 0)
		;
	if (mmap(h->addr, h->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, h->empty, 0) == MAP_FAILED)
		munmap(h->addr, h->len);
	ioctl(h->uffd, UFFDIO_WAKE, &all);
	return NULL;
}

/* Make a userfaultfd; -1 if the kernel has none with all that is needed. */
static int faults(int more)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES | more };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) /* without the kernel's own faults, which take a privilege */
		fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Put a text into a field that is zero. */
static int put(char *field, size_t room, const char *text)
{
	if (strlen(text) > room) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(field, text, strlen(text));
	return 0;
}

/* Say hello to the server at a path. */
static int greet(struct holdfast *h, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct message hello = { .kind = HELLO };

	return put(a.sun_path, sizeof a.sun_path - 1, path) ||
	       connect(h->sock, (struct sockaddr *)&a, sizeof a) || ask(h, &hello, NULL);
}

/* Ask for a range, and choose the mode with the server. What it gives is the memory. */
static int request(struct holdfast *h, const char *volume, uint64_t off, uint64_t n, int how, int *memory)
{
	struct message m = { .kind = MAP, .flags = how & MAP_STORE, .off = off, .n = n };

	if (how == HOLDFAST_ASYNC)
		m.flags |= MAP_ASYNC_ONLY;
	if (how != HOLDFAST_READ && how != HOLDFAST_ANNOUNCED && h->pagemap >= 0)
		h->uffd = faults(WP_ASYNC);
	if (h->uffd >= 0)
		m.flags |= MAP_ASYNC;
	if (put(m.text, sizeof m.text, volume) || ask(h, &m, memory))
		return -1;
	h->window = m.window;
	h->len = m.n;
	h->async = (m.flags & MAP_ASYNC) != 0;
	if (!h->async) {
		close(h->uffd);
		h->uffd = faults(0);
	}
	return h->uffd < 0 ? -1 : 0;
}

/* Map the memory, and put it under the userfaultfd. */
static int place(struct holdfast *h, uint64_t off, int writable, int memory)
{
	/* The kernel watches a shared mapping only if it may be stored to. */
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ, shared = writable ? MAP_SHARED : MAP_PRIVATE;
	struct uffdio_register r = {
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR,
	};

	h->addr = mmap(NULL, h->len, prot, shared | MAP_NORESERVE, memory, off);
	if (h->addr == MAP_FAILED)
		return -1;
	r.range = (struct uffdio_range){ (uintptr_t)h->addr, h->len };
	return madvise(h->addr, h->len, MADV_DONTFORK) || ioctl(h->uffd, UFFDIO_REGISTER, &r);
}

/* Have the server serve the memory. In the page map it finds what was stored to. */
static int serve(struct holdfast *h)
{
	struct message give = { .kind = PAGEMAP, .window = h->window };
	struct message begin = { .kind = SERVE, .window = h->window, .addr = (uintptr_t)h->addr };
	int pagemap = h->pagemap, uffd = h->uffd;

	h->watched = pthread_create(&h->watcher, NULL, watch, h) == 0;
	return !h->watched || (h->async && ask(h, &give, &pagemap)) || ask(h, &begin, &uffd);
}

/* End the connection and what there is of a mapping. */
static int release(struct holdfast *h)
{
	shutdown(h->sock, SHUT_RDWR);
	if (h->watched)
		pthread_join(h->watcher, NULL);
	close(h->sock);
	close(h->empty);
	close(h->pagemap);
	close(h->uffd);
	return h->addr == MAP_FAILED ? 0 : munmap(h->addr, h->len);
}

int holdfast_map(struct holdfast *h, const char *path, const char *volume, uint64_t off, uint64_t n, int how)
{
	int memory = -1, failed;

	*h = (struct holdfast){
		.sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0),
		.empty = memfd_create("holdfast:gone", MFD_CLOEXEC),
		.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC),
		.uffd = -1, .addr = MAP_FAILED,
	};
	pthread_mutex_init(&h->asking, NULL);
	failed = h->sock < 0 || h->empty < 0 || greet(h, path) || request(h, volume, off, n, how, &memory) ||
		 place(h, off, how != HOLDFAST_READ, memory) || serve(h);
	n = errno;
	close(memory);
	if (failed)
		release(h);
	errno = n;
	return failed ? -1 : 0;
}

int holdfast_sync(struct holdfast *h, uint64_t off, uint64_t n)
{
	struct message m = { .kind = SYNC, .window = h->window, .off = off, .n = n };

	return ask(h, &m, NULL);
}

int holdfast_advise(struct holdfast *h, uint64_t off, uint64_t n, int advice)
{
	struct message m = { .kind = ADVISE, .window = h->window, .off = off, .n = n, .flags = advice };

	if (advice != HOLDFAST_DONTNEED)
		return ask(h, &m, NULL);
	return madvise((char *)h->addr + off, n, MADV_DONTNEED);
}

int holdfast_unmap(struct holdfast *h)
{
	struct message m = { .kind = UNMAP, .window = h->window };

	/* The server takes write access away first, so that it knows of every store. */
	ask(h, &m, NULL);
	return release(h);
}
