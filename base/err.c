#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names out of files may hold anything: one line stays one line, and the terminal is left alone. */
static void keep_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static int set(struct err *e, enum err_status status, const char *fmt, va_list ap)
{
	if (e) {
		e->status = status;
		vsnprintf(e->line, sizeof e->line, fmt, ap);
		keep_one_line(e->line);
	}
	return -1;
}

int err_run(struct err *e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	set(e, ERR_RUN, fmt, ap);
	va_end(ap);
	return -1;
}

int err_user(struct err *e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	set(e, ERR_USER, fmt, ap);
	va_end(ap);
	return -1;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	if (e) {
		char head[sizeof e->line];
		va_list ap;
		va_start(ap, fmt);
		int n = vsnprintf(head, sizeof head - 2, fmt, ap);
		va_end(ap);
		keep_one_line(head);
		if (n < 0 || n > (int)sizeof head - 3)
			n = (int)sizeof head - 3;
		memcpy(head + n, ": ", 2);
		n += 2;
		size_t room = sizeof e->line - (size_t)n - 1, tail = strlen(e->line);
		if (tail > room)
			tail = room;
		memmove(e->line + n, e->line, tail);
		memcpy(e->line, head, (size_t)n);
		e->line[(size_t)n + tail] = '\0';
	}
	return -1;
}

void err_bug(const char *file, int line, const char *cond)
{
	fprintf(stderr, "espalier: bug at %s:%d: %s\n", file, line, cond);
	abort();
}
