/* Lines for the person who watches, on stderr. Errors are not printed here (base/err.h).
 * On a terminal one status line (the progress bar) may stay at the bottom: other lines go above it.
 * Holds the program's one piece of screen state; for one thread. Test: tests/test_progress.c */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

/* One line; the newline is added. */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same after "warning: ". */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether stderr shows a status line: a terminal that is not dumb. */
bool log_is_terminal(void);
/* Draws or redraws the status line, cut to the terminal's width. Only on a terminal. */
void log_status(const char *text);
/* Leaves the status line where it stands and goes below it. Nothing when there is none. */
void log_status_end(void);

/* For tests: from now on writes to f, which is or is not a terminal of 80 columns. NULL: back to stderr. */
void log_redirect(FILE *f, bool is_terminal);

#endif
