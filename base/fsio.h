/* Files: read whole, mapped, written atomically, locked, put aside.
 * Whatever is written goes to "<path>.tmp" first and is renamed when it is complete and on the disk, so that a reader,
 * a full disk or `kill -9` never meets half a file. Every failure is one line that starts with the path.
 * Knows no formats. Tests: tests/test_fsio.c */
#ifndef BASE_FSIO_H
#define BASE_FSIO_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- looking (fsio.c) ---- */

/* Anything at path, links followed. */
bool fsio_exists(const char *path);
bool fsio_is_dir(const char *path);
/* Bytes of a regular file. */
int fsio_size(const char *path, uint64_t *n_bytes, struct err *e);
/* The whole of a regular file of at most limit_bytes. *out is the caller's to free(), has a NUL after its n_bytes and may
 * hold others inside. n_bytes may be NULL. On failure *out is NULL. */
int fsio_read_file(const char *path, size_t limit_bytes, char **out, size_t *n_bytes, struct err *e);

/* A file, read-only, in memory. The file must not shrink while it is mapped. */
struct mapping {
	const uint8_t *data; /* never NULL while mapped, even for an empty file */
	size_t n_bytes;
};
int fsio_map(struct mapping *m, const char *path, struct err *e);
/* The pages of a part of a mapping that was read are no longer resident; reading it again brings them back. */
void fsio_map_forget(const void *data, size_t n_bytes);
/* Zeroes *m; a zeroed mapping is fine. */
void fsio_unmap(struct mapping *m);

/* ---- the tree (fsio.c) ---- */

/* mkdir -p. A directory that exists is fine, a file in the way is an error. */
int fsio_mkdirs(const char *path, struct err *e);
/* Removes a file or a directory with all in it, links not followed. Nothing there is fine. */
int fsio_remove_tree(const char *path, struct err *e);
/* Renames path to the first free of path.old-1, path.old-2 … Nothing there is fine. */
int fsio_rename_aside(const char *path, struct err *e);
/* Cuts a file to n_bytes and syncs it. A file that is shorter is an error: it lost what a checkpoint counts on. */
int fsio_truncate_to(const char *path, uint64_t n_bytes, struct err *e);

/* Holds "<dir>/lock" (flock, the pid inside) until fsio_unlock or the end of the process, however it ends.
 * Another process that holds it: err_run "… is in use by process N". The file stays; only the lock on it counts. */
int fsio_lock(const char *dir, int *fd, struct err *e);
/* Sets *fd to -1; -1 is fine. */
void fsio_unlock(int *fd);

/* ---- writing (fsio_writer.c) ---- */

struct fsio_writer {
	char *path;        /* owned */
	char *tmp;         /* owned, "<path>.tmp" */
	char *buffer;      /* owned */
	size_t n_buffered;
	uint64_t n_bytes;  /* accepted so far, buffered ones included */
	int fd;            /* -1: closed, or failed before */
};

/* Starts a file that will replace path at commit. The directory must exist. An old "<path>.tmp" is overwritten.
 * Any call below that fails has already aborted: the temporary file is gone, what was at path is untouched, and
 * further calls fail too. On success end with commit or abort; abort after either is fine. */
int fsio_writer_open(struct fsio_writer *w, const char *path, struct err *e);
int fsio_write(struct fsio_writer *w, const void *data, size_t n_bytes, struct err *e);
int fsio_printf(struct fsio_writer *w, struct err *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* flush, fsync, rename over path, fsync of the directory. (If only that last sync fails, path holds the new file.) */
int fsio_writer_commit(struct fsio_writer *w, struct err *e);
/* Drops what was written; releases. A zeroed or finished writer is fine. */
void fsio_writer_abort(struct fsio_writer *w);

/* One-shot: open, write, commit. */
int fsio_write_file(const char *path, const void *data, size_t n_bytes, struct err *e);
int fsio_copy_file(const char *from, const char *to, struct err *e);
/* Appends to path (made if absent), not synced. On failure the file is cut back to its former size. */
int fsio_append(const char *path, const void *data, size_t n_bytes, struct err *e);

/* For tests: the n-th disk operation from now on (write, fsync, close, rename: n = 1, 2, 3 …) fails as on a full disk.
 * 0 turns it off. Returns how many operations were counted since the last call. */
unsigned long fsio_fail_nth_write(unsigned long n);

#endif
