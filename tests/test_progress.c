/* base/progress and base/log: what is shown, how often, and that lines and bar keep out of each other's way.
 * Time is handed in: no clock here. */
#include "tests/testing.h"

#include "base/log.h"
#include "base/progress.h"

static char *text;
static size_t n_text;
static FILE *sink;

static void start(bool terminal)
{
	sink = open_memstream(&text, &n_text);
	assert_non_null(sink);
	log_redirect(sink, terminal);
}

static void finish(const char *want)
{
	log_redirect(NULL, false);
	fclose(sink);
	assert_string_equal(text, want);
	free(text);
}

static void test_plain_lines(void **state)
{
	(void)state;
	struct progress p;
	start(false);
	progress_init_at(&p, "train", "tokens", 0, 5000000, 100);
	progress_update_at(&p, 1, NULL, 100.5);
	progress_update_at(&p, 1000000, "loss 2.31", 110);
	progress_update_at(&p, 1500000, "loss 2.30", 119.9);
	progress_update_at(&p, 2000000, NULL, 120);
	progress_finish_at(&p, NULL, 120.5);
	progress_finish_at(&p, NULL, 130);
	progress_update_at(&p, 3, NULL, 150);
	finish("train  20 %  1.00M/5.00M tokens  100k tokens/s  ETA 0:40  loss 2.31\n"
	       "train  40 %  2.00M/5.00M tokens  100k tokens/s  ETA 0:30\n"
	       "train  40 %  2.00M/5.00M tokens  97.6k tokens/s  0:21\n");
}

static void test_bar(void **state)
{
	(void)state;
	struct progress p;
	start(true);
	progress_init_at(&p, "train", "tokens", 0, 1000, 0);
	progress_update_at(&p, 1, NULL, 0.05);
	progress_update_at(&p, 250, NULL, 0.5);
	progress_update_at(&p, 260, NULL, 0.55);
	log_line("checkpoint %d", 7);
	log_warn("short");
	progress_finish_at(&p, NULL, 2);
	log_line("done");
	finish("\r\033[Ktrain [#####...............]  25 %  250/1.00k tokens  500 tokens/s  ETA 0:02"
	       "\r\033[Kcheckpoint 7\ntrain [#####...............]  25 %  250/1.00k tokens  500 tokens/s  ETA 0:02"
	       "\r\033[Kwarning: short\ntrain [#####...............]  25 %  250/1.00k tokens  500 tokens/s  ETA 0:02"
	       "\r\033[Ktrain [#####...............]  26 %  260/1.00k tokens  130 tokens/s  0:02\n"
	       "done\n");
}

/* What was done before a resume doesn't count for the rate. */
static void test_resume_and_unknown_total(void **state)
{
	(void)state;
	struct progress p;
	start(false);
	progress_init_at(&p, "train", "tokens", 900000, 1000000, 0);
	progress_update_at(&p, 910000, NULL, 10);
	progress_update_at(&p, 2000000, NULL, 20);
	progress_init_at(&p, "read", "bytes", 0, 0, 0);
	progress_update_at(&p, 0, NULL, 10);
	progress_update_at(&p, 999, NULL, 20);
	progress_update_at(&p, 40000000000, NULL, 10000);
	progress_finish_at(&p, NULL, 10000);
	finish("train  91 %  910k/1.00M tokens  1.00k tokens/s  ETA 1:30\n"
	       "train 100 %  2.00M/1.00M tokens  55.0k tokens/s  ETA 0:00\n"
	       "read 0 bytes  0 bytes/s  0:10\n"
	       "read 999 bytes  50 bytes/s  0:20\n"
	       "read 40.0G bytes  4.00M bytes/s  2:46:40\n"
	       "read 40.0G bytes  4.00M bytes/s  2:46:40\n");
}

/* A status longer than the terminal is cut between characters; without one, nothing is cleared. */
static void test_status_is_cut(void **state)
{
	(void)state;
	char status[301] = "", want[400] = "plain\n\r\033[K";
	for (int i = 0; i < 100; i++)
		strcat(status, "é");
	for (int i = 0; i < 79; i++)
		strcat(want, "é");
	strcat(want, "\n");
	start(true);
	log_line("plain");
	log_status(status);
	log_status_end();
	log_status_end();
	finish(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_lines),
		cmocka_unit_test(test_bar),
		cmocka_unit_test(test_resume_and_unknown_total),
		cmocka_unit_test(test_status_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
