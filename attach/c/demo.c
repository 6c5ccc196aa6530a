/* demo SOCKET VOLUME [async]: maps a volume and does what it reads: "load PAGE", "store
 * PAGE VALUE", "sync", "unmap"; answers each with a line. */
#include "holdfast.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static sigjmp_buf back;

static void failed(int sig)
{
	siglongjmp(back, sig);
}

int main(int argc, char **argv)
{
	struct sigaction on_fault = { .sa_handler = failed };
	struct holdfast h;
	char line[100];
	static unsigned long page;
	int value, err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGBUS, &on_fault, NULL);
	sigaction(SIGSEGV, &on_fault, NULL);
	if (argc < 3 || holdfast_map(&h, argv[1], argv[2], 0, 0, argc > 3 ? HOLDFAST_ASYNC : HOLDFAST_WRITE) ||
	    h.async != (argc > 3)) {
		perror("demo");
		return 1;
	}
	puts("ok");
	while (fgets(line, sizeof line, stdin)) {
		volatile unsigned char *p = h.addr;

		if (sigsetjmp(back, 1)) {
			puts("error signal");
			holdfast_advise(&h, page * 4096, 4096, HOLDFAST_DONTNEED);
			continue;
		}
		err = 0;
		if (sscanf(line, "load %lu", &page) == 1) {
			printf("ok %d\n", p[page * 4096]);
			continue;
		} else if (sscanf(line, "store %lu %d", &page, &value) == 2) {
			p[page * 4096] = value;
		} else if (strcmp(line, "sync\n") == 0) {
			err = holdfast_sync(&h, 0, h.len);
		} else if (strcmp(line, "unmap\n") == 0) {
			err = holdfast_unmap(&h);
		}
		puts(err ? "error" : "ok");
	}
	return 0;
}
