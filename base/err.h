/* Errors as values: one complete line and the exit status that it asks for.
 * The world fails: set the line, return -1, callers relay with TRY. We fail: BUG_ON. Test: tests/test_err.c */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_status { ERR_RUN = 1, ERR_USER = 2 }; /* the program's exit status: the run failed | the command or recipe is wrong */

struct err {
	enum err_status status;
	char line[1024]; /* where, what was expected, what was found, what to do; no newline unless a caret follows */
};

/* Writes the line and returns -1, so that `return err_run(e, …)` reads well. e may be NULL (nobody wants to know).
 * Control characters, which names out of files may hold, become '?'. */
int err_run(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int err_user(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "<text>: " before the line that is there. Returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Relays a failure: `int rc = -1; … TRY(call(…, e)); … rc = 0; out: release; return rc;` */
#define TRY(call)                    \
	do {                         \
		if ((call) < 0)      \
			goto out;    \
	} while (0)

void err_bug(const char *file, int line, const char *cond) __attribute__((noreturn));
/* A broken precondition is our bug: prints file:line and aborts. Always compiled in. */
#define BUG_ON(cond)                                          \
	do {                                                  \
		if (cond)                                     \
			err_bug(__FILE__, __LINE__, #cond);   \
	} while (0)

#endif
