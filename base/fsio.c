/* Reading, mapping and the directory tree. Writing is in fsio_writer.c. Test: tests/test_fsio.c */
#include "base/fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool fsio_exists(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

bool fsio_is_dir(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Opens a regular file for reading; the descriptor, or -1. A FIFO must not make us wait. */
static int open_regular(const char *path, size_t *n_bytes, struct err *e)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_run(e, "%s: cannot read: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0)
		err_run(e, "%s: cannot read: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		err_run(e, "%s: expected a file, found %s", path, S_ISDIR(st.st_mode) ? "a directory" : "a device or pipe");
	else {
		*n_bytes = (size_t)st.st_size;
		return fd;
	}
	close(fd);
	return -1;
}

int fsio_size(const char *path, uint64_t *n_bytes, struct err *e)
{
	size_t n;
	int fd = open_regular(path, &n, e);
	if (fd < 0)
		return -1;
	close(fd);
	*n_bytes = n;
	return 0;
}

int fsio_read_file(const char *path, size_t limit_bytes, char **out, size_t *n_bytes, struct err *e)
{
	int rc = -1;
	size_t size, at = 0;
	char *text = NULL;
	*out = NULL;
	int fd = open_regular(path, &size, e);
	if (fd < 0)
		return -1;
	if (size > limit_bytes) {
		err_run(e, "%s: %zu bytes, expected at most %zu", path, size, limit_bytes);
		goto out;
	}
	text = malloc(size + 1);
	if (!text) {
		err_run(e, "%s: out of memory for %zu bytes", path, size);
		goto out;
	}
	while (at < size) {
		ssize_t n = read(fd, text + at, size - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err_run(e, "%s: cannot read: %s", path, n ? strerror(errno) : "the file became shorter meanwhile");
			goto out;
		}
		at += (size_t)n;
	}
	text[size] = '\0';
	if (n_bytes)
		*n_bytes = size;
	*out = text;
	text = NULL;
	rc = 0;
out:
	free(text);
	close(fd);
	return rc;
}

int fsio_map(struct mapping *m, const char *path, struct err *e)
{
	size_t size;
	*m = (struct mapping){0};
	int fd = open_regular(path, &size, e);
	if (fd < 0)
		return -1;
	void *at = size ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : (void *)(uintptr_t)"";
	close(fd);
	if (at == MAP_FAILED)
		return err_run(e, "%s: cannot map %zu bytes: %s", path, size, strerror(errno));
	m->data = at;
	m->n_bytes = size;
	return 0;
}

void fsio_map_forget(const void *data, size_t n_bytes)
{
	uintptr_t before = (uintptr_t)data % (uintptr_t)sysconf(_SC_PAGESIZE);
	madvise((void *)((uintptr_t)data - before), n_bytes + before, MADV_DONTNEED);
}

void fsio_unmap(struct mapping *m)
{
	if (m->n_bytes)
		munmap((void *)(uintptr_t)m->data, m->n_bytes);
	*m = (struct mapping){0};
}

int fsio_mkdirs(const char *path, struct err *e)
{
	int rc = 0;
	char *part = strdup(path);
	if (!part)
		return err_run(e, "%s: out of memory", path);
	for (char *slash = part; slash && !rc;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (*part && mkdir(part, 0777) < 0 && !fsio_is_dir(part))
			rc = err_run(e, "%s: cannot make the directory: %s", part, strerror(errno));
		if (slash)
			*slash = '/';
	}
	free(part);
	return rc;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

int fsio_remove_tree(const char *path, struct err *e)
{
	BUG_ON(!*path || strcmp(path, "/") == 0);
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
		return err_run(e, "%s: cannot remove: %s", path, strerror(errno));
	return 0;
}

int fsio_rename_aside(const char *path, struct err *e)
{
	struct stat st;
	size_t room = strlen(path) + 32;
	char *aside = malloc(room);
	if (!aside)
		return err_run(e, "%s: out of memory", path);
	int rc = 0, n = 1;
	do
		snprintf(aside, room, "%s.old-%d", path, n++);
	while (lstat(aside, &st) == 0);
	if (lstat(path, &st) == 0 && rename(path, aside) < 0)
		rc = err_run(e, "%s: cannot rename to %s: %s", path, aside, strerror(errno));
	free(aside);
	return rc;
}

int fsio_truncate_to(const char *path, uint64_t n_bytes, struct err *e)
{
	int rc = -1;
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_run(e, "%s: cannot open for writing: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0)
		err_run(e, "%s: cannot read its size: %s", path, strerror(errno));
	else if ((uint64_t)st.st_size < n_bytes)
		err_run(e, "%s: expected at least %llu bytes, found %llu: its end is lost", path, (unsigned long long)n_bytes,
			(unsigned long long)st.st_size);
	else if (ftruncate(fd, (off_t)n_bytes) < 0 || fsync(fd) < 0)
		err_run(e, "%s: cannot cut to %llu bytes: %s", path, (unsigned long long)n_bytes, strerror(errno));
	else
		rc = 0;
	close(fd);
	return rc;
}

/* The line for a lock that another process holds; it wrote its pid into the file. */
static int lock_taken(int fd, const char *dir, struct err *e)
{
	char pid[24] = {0};
	ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
	pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
	return err_run(e, "%s: is in use by process %s; wait for it, or choose another directory", dir, *pid ? pid : "(unknown)");
}

int fsio_lock(const char *dir, int *fd, struct err *e)
{
	char *path;
	*fd = -1;
	if (asprintf(&path, "%s/lock", dir) < 0)
		return err_run(e, "%s: out of memory", dir);
	int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666), rc = -1;
	if (f < 0)
		err_run(e, "%s: cannot open: %s", path, strerror(errno));
	else if (flock(f, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			lock_taken(f, dir, e);
		else
			err_run(e, "%s: cannot lock: %s", path, strerror(errno));
	} else if (ftruncate(f, 0) < 0 || dprintf(f, "%ld\n", (long)getpid()) < 0) {
		err_run(e, "%s: cannot write: %s", path, strerror(errno));
	} else {
		*fd = f;
		f = -1;
		rc = 0;
	}
	if (f >= 0)
		close(f);
	free(path);
	return rc;
}

void fsio_unlock(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
