/*
 * Preloaded into a command: one write to a regular file takes only half of its bytes, as write(2) allows. Where the disk is then full, the
 * next write of the same thread fails.
 *
 * SHORT_WRITES names the file that counts the writes of all processes of the command: a line of LINE bytes for each, with the file that was
 * written. SHORT_NTH is the one to be cut, counted from 1. SHORT_FULL is set where the disk is then full.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LINE = 64, REFUSED = 0 };

static _Thread_local int is_full;

/* The number of this write. */
static long count(int fd)
{
	char link[64], path[4096], line[LINE + 1];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof path - 1);
	path[length < 0 ? 0 : length] = 0;
	const char *end = length < LINE ? path : path + length - (LINE - 1);
	snprintf(line, sizeof line, "%-*.*s\n", LINE - 1, LINE - 1, end);
	int counter = open(getenv("SHORT_WRITES"), O_WRONLY | O_APPEND | O_CLOEXEC);
	if (counter < 0 || syscall(SYS_write, counter, line, LINE) != LINE)
		abort();
	/* Behind its own line, whatever other processes append. */
	long behind = lseek(counter, 0, SEEK_CUR);
	close(counter);
	return behind / LINE;
}

/* How many of the bytes are to be written; REFUSED where there is no space. */
static size_t taken(int fd, size_t size)
{
	struct stat file;
	/* No disk takes half a byte. */
	if (size < 2 || fstat(fd, &file) < 0 || !S_ISREG(file.st_mode))
		return size;
	if (is_full) {
		is_full = 0;
		errno = ENOSPC;
		return REFUSED;
	}
	const char *nth = getenv("SHORT_NTH");
	if (count(fd) != (nth ? atol(nth) : 0))
		return size;
	is_full = getenv("SHORT_FULL") != NULL;
	return (size + 1) / 2;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	size_t part = taken(fd, size);
	return size > 0 && part == REFUSED ? -1 : syscall(SYS_write, fd, bytes, part);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
	size_t part = taken(fd, size);
	return size > 0 && part == REFUSED ? -1 : syscall(SYS_pwrite64, fd, bytes, part, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return pwrite64(fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
	size_t size = 0;
	for (int i = 0; i < n; i++)
		size += parts[i].iov_len;
	size_t part = taken(fd, size);
	if (part == size)
		return syscall(SYS_writev, fd, parts, n);
	if (part == REFUSED)
		return -1;
	while (parts->iov_len == 0)
		parts++;
	return syscall(SYS_write, fd, parts->iov_base, parts->iov_len < part ? parts->iov_len : part);
}
