/* stderr and its status line. Test: tests/test_progress.c */
#include "base/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CLEAR_LINE "\r\033[K"
#define LINE_BYTES 512

/* The screen is one per process, hence this one state. */
static struct {
	FILE *redirected; /* NULL: stderr */
	bool terminal;    /* of the redirection */
	char status[LINE_BYTES];
} screen;

static FILE *out(void)
{
	return screen.redirected ? screen.redirected : stderr;
}

bool log_is_terminal(void)
{
	const char *term = getenv("TERM");
	if (screen.redirected)
		return screen.terminal;
	return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static int columns(void)
{
	struct winsize size;
	if (screen.redirected || ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

static void print(const char *head, const char *fmt, va_list ap)
{
	bool status = *screen.status;
	fprintf(out(), "%s%s", status ? CLEAR_LINE : "", head);
	vfprintf(out(), fmt, ap);
	fprintf(out(), "\n%s", screen.status);
	fflush(out());
}

void log_line(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	print("", fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	print("warning: ", fmt, ap);
	va_end(ap);
}

void log_status(const char *text)
{
	int room = columns() - 1, n = 0;
	const char *end = text;
	/* Count characters, not bytes; never cut one in two. */
	while (*end && end - text < LINE_BYTES - 4) {
		n += ((unsigned char)*end & 0xC0) != 0x80;
		if (n > room)
			break;
		end++;
	}
	snprintf(screen.status, sizeof screen.status, "%.*s", (int)(end - text), text);
	fprintf(out(), CLEAR_LINE "%s", screen.status);
	fflush(out());
}

void log_status_end(void)
{
	if (!*screen.status)
		return;
	*screen.status = '\0';
	fputc('\n', out());
	fflush(out());
}

void log_redirect(FILE *f, bool is_terminal)
{
	screen.redirected = f;
	screen.terminal = is_terminal;
	*screen.status = '\0';
}
