/* Atomic writing: a temporary file, synced, renamed. The rest of fsio.h is in fsio.c. Test: tests/test_fsio.c */
#include "base/fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES (64 * 1024)
#define WRITEBACK_BYTES ((uint64_t)32 << 20)

/* The one exception to "no globals": fault injection must reach writers that a test cannot see. */
static unsigned long fail_at, n_operations;

unsigned long fsio_fail_nth_write(unsigned long n)
{
	unsigned long counted = n_operations;
	fail_at = n;
	n_operations = 0;
	return counted;
}

/* Whether the operation that comes next is the one that a test wants to fail; sets errno. */
static bool injected(void)
{
	if (++n_operations != fail_at)
		return false;
	errno = ENOSPC;
	return true;
}

static int write_all(int fd, const char *data, size_t n_bytes)
{
	while (n_bytes) {
		if (injected())
			return -1;
		ssize_t n = write(fd, data, n_bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n ? errno : ENOSPC;
			return -1;
		}
		data += n;
		n_bytes -= (size_t)n;
	}
	return 0;
}

static int write_error(struct err *e, const char *path)
{
	if (errno == ENOSPC || errno == EDQUOT)
		return err_run(e, "%s: cannot write: the disk is full; free some space and run the same command again", path);
	return err_run(e, "%s: cannot write: %s", path, strerror(errno));
}

static void release(struct fsio_writer *w)
{
	free(w->path);
	free(w->tmp);
	free(w->buffer);
	*w = (struct fsio_writer){.fd = -1};
}

void fsio_writer_abort(struct fsio_writer *w)
{
	if (!w->path)
		return;
	if (w->fd >= 0)
		close(w->fd);
	unlink(w->tmp);
	release(w);
}

/* Reports errno and drops the file. */
static int writer_fail(struct fsio_writer *w, struct err *e)
{
	write_error(e, w->path);
	fsio_writer_abort(w);
	return -1;
}

static int flush(struct fsio_writer *w, struct err *e)
{
	if (write_all(w->fd, w->buffer, w->n_buffered) < 0)
		return writer_fail(w, e);
	w->n_buffered = 0;
	return 0;
}

int fsio_writer_open(struct fsio_writer *w, const char *path, struct err *e)
{
	*w = (struct fsio_writer){.fd = -1, .path = strdup(path), .tmp = malloc(strlen(path) + 5), .buffer = malloc(BUFFER_BYTES)};
	if (!w->path || !w->tmp || !w->buffer) {
		release(w);
		return err_run(e, "%s: out of memory", path);
	}
	memcpy(w->tmp, path, strlen(path));
	memcpy(w->tmp + strlen(path), ".tmp", 5);
	w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (w->fd < 0) {
		write_error(e, path);
		release(w);
		return -1;
	}
	return 0;
}

/* The disk begins while a large file is still being made, instead of at its fsync. Advice alone: no failure counts. */
static void start_writeback(const struct fsio_writer *w, size_t n_new)
{
	if ((w->n_bytes - n_new) / WRITEBACK_BYTES != w->n_bytes / WRITEBACK_BYTES)
		sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int fsio_write(struct fsio_writer *w, const void *data, size_t n_bytes, struct err *e)
{
	if (w->fd < 0)
		return err_run(e, "cannot write: writing this file failed before");
	w->n_bytes += n_bytes;
	start_writeback(w, n_bytes);
	if (n_bytes > BUFFER_BYTES - w->n_buffered)
		if (flush(w, e) < 0)
			return -1;
	if (n_bytes >= BUFFER_BYTES)
		return write_all(w->fd, data, n_bytes) < 0 ? writer_fail(w, e) : 0;
	if (n_bytes)
		memcpy(w->buffer + w->n_buffered, data, n_bytes);
	w->n_buffered += n_bytes;
	return 0;
}

int fsio_printf(struct fsio_writer *w, struct err *e, const char *fmt, ...)
{
	char *text;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		errno = ENOMEM;
		return w->fd < 0 ? fsio_write(w, "", 0, e) : writer_fail(w, e);
	}
	int rc = fsio_write(w, text, (size_t)n, e);
	free(text);
	return rc;
}

/* Makes a rename in path's directory durable. File systems that cannot sync a directory say EINVAL. */
static int sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	if (!dir)
		return -1;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (fd < 0)
		return -1;
	int rc = injected() || (fsync(fd) < 0 && errno != EINVAL) ? -1 : 0;
	int kept = errno;
	close(fd);
	errno = kept;
	return rc;
}

int fsio_writer_commit(struct fsio_writer *w, struct err *e)
{
	if (w->fd < 0)
		return err_run(e, "cannot write: writing this file failed before");
	if (flush(w, e) < 0)
		return -1;
	if (injected() || fsync(w->fd) < 0)
		return writer_fail(w, e);
	int fd = w->fd;
	w->fd = -1;
	bool failed = injected();
	if (close(fd) < 0 || failed) {
		errno = failed ? ENOSPC : errno;
		return writer_fail(w, e);
	}
	if (injected() || rename(w->tmp, w->path) < 0)
		return writer_fail(w, e);
	int rc = sync_parent(w->path);
	if (rc < 0)
		write_error(e, w->path);
	release(w);
	return rc;
}

int fsio_write_file(const char *path, const void *data, size_t n_bytes, struct err *e)
{
	struct fsio_writer w;
	if (fsio_writer_open(&w, path, e) < 0 || fsio_write(&w, data, n_bytes, e) < 0)
		return -1;
	return fsio_writer_commit(&w, e);
}

int fsio_copy_file(const char *from, const char *to, struct err *e)
{
	struct mapping m;
	if (fsio_map(&m, from, e) < 0)
		return -1;
	int rc = fsio_write_file(to, m.data, m.n_bytes, e);
	fsio_unmap(&m);
	return rc;
}

int fsio_append(const char *path, const void *data, size_t n_bytes, struct err *e)
{
	int rc = -1, fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0)
		return write_error(e, path);
	off_t before = lseek(fd, 0, SEEK_END);
	if (before < 0) {
		write_error(e, path);
	} else if (write_all(fd, data, n_bytes) < 0) {
		write_error(e, path);
		if (ftruncate(fd, before) < 0)
			err_prefix(e, "its last line is incomplete");
	} else {
		rc = 0;
	}
	close(fd);
	return rc;
}
