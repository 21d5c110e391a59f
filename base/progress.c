/* The bar and the plain lines. Test: tests/test_progress.c */
#include "base/progress.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

#define BAR_CELLS 20
#define REDRAW_S 0.1
#define PLAIN_S 10.0

/* 950, 12.3k, 4.56M: three digits. */
static void format_count(char *out, size_t room, double x)
{
	static const char *const units[] = {"", "k", "M", "G", "T"};
	size_t u = 0;
	while (x >= 999.5 && u + 1 < sizeof units / sizeof *units) {
		x /= 1000;
		u++;
	}
	snprintf(out, room, "%.*f%s", u == 0 || x >= 99.95 ? 0 : x >= 9.995 ? 1 : 2, x, units[u]);
}

/* 0:07, 12:34, 1:02:03. */
static void format_time(char *out, size_t room, double s)
{
	long t = s < 0 ? 0 : s > 3.6e8 ? 360000000 : (long)(s + 0.5);
	if (t >= 3600)
		snprintf(out, room, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
	else
		snprintf(out, room, "%ld:%02ld", t / 60, t % 60);
}

static void format_bar(char *out, size_t room, double share)
{
	char cells[BAR_CELLS + 1];
	int full = (int)(share * BAR_CELLS + 1e-9);
	for (int i = 0; i < BAR_CELLS; i++)
		cells[i] = i < full ? '#' : '.';
	cells[BAR_CELLS] = '\0';
	snprintf(out, room, "[%s] ", cells);
}

/* "train [####....] 41 %  1.2M/5M tokens  8.1k tokens/s  ETA 7:49  loss 2.31" */
static void format(const struct progress *p, char *out, size_t room, bool bar, const char *note, double now_s)
{
	char bar_text[BAR_CELLS + 8] = "", done[16], total[16], rate_text[16], time[24], share_text[16] = "", left[40];
	double elapsed = now_s - p->start_s, rate = elapsed > 0 ? (double)(p->done - p->first_done) / elapsed : 0;
	double share = p->total ? (double)p->done / (double)p->total : 0;
	share = share > 1 ? 1 : share;
	format_count(done, sizeof done, (double)p->done);
	format_count(total, sizeof total, (double)p->total);
	format_count(rate_text, sizeof rate_text, rate);
	if (p->total) {
		snprintf(share_text, sizeof share_text, "%3d %%  ", (int)(100 * share));
		if (bar)
			format_bar(bar_text, sizeof bar_text, share);
	}
	if (p->finished || !p->total || rate <= 0) {
		format_time(time, sizeof time, elapsed);
		snprintf(left, sizeof left, "%s", time);
	} else {
		format_time(time, sizeof time, p->done < p->total ? (double)(p->total - p->done) / rate : 0);
		snprintf(left, sizeof left, "ETA %s", time);
	}
	snprintf(out, room, "%s %s%s%s%s%s %s  %s %s/s  %s%s%s", p->label, bar_text, share_text, done, p->total ? "/" : "",
		 p->total ? total : "", p->unit, rate_text, p->unit, left, note ? "  " : "", note ? note : "");
}

static void show(struct progress *p, const char *note, double now_s)
{
	char text[512];
	bool terminal = log_is_terminal();
	format(p, text, sizeof text, terminal, note, now_s);
	if (terminal)
		log_status(text);
	else
		log_line("%s", text);
	p->shown_s = now_s;
}

void progress_init_at(struct progress *p, const char *label, const char *unit, uint64_t done, uint64_t total, double now_s)
{
	*p = (struct progress){.unit = unit, .total = total, .first_done = done, .done = done, .start_s = now_s, .shown_s = now_s};
	snprintf(p->label, sizeof p->label, "%s", label);
}

void progress_update_at(struct progress *p, uint64_t done, const char *note, double now_s)
{
	p->done = done < p->first_done ? p->first_done : done;
	if (!p->finished && now_s - p->shown_s >= (log_is_terminal() ? REDRAW_S : PLAIN_S))
		show(p, note, now_s);
}

void progress_finish_at(struct progress *p, const char *note, double now_s)
{
	if (p->finished)
		return;
	p->finished = true;
	show(p, note, now_s);
	log_status_end();
}

void progress_init(struct progress *p, const char *label, const char *unit, uint64_t done, uint64_t total)
{
	progress_init_at(p, label, unit, done, total, clock_now_s());
}

void progress_update(struct progress *p, uint64_t done, const char *note)
{
	progress_update_at(p, done, note, clock_now_s());
}

void progress_finish(struct progress *p, const char *note)
{
	progress_finish_at(p, note, clock_now_s());
}
