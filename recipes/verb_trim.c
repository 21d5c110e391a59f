/* The verb trim: a model without the tokens that a text does not use. */
#include "base/fsio.h"
#include "base/log.h"
#include "recipes/stage.h"
#include "recipes/trimming.h"
#include "recipes/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int move_in_place(const char *from, const char *to, struct err *e)
{
	if (fsio_exists(to) || rename(from, to) < 0)
		return err_run(e, "%s: could not be put in place, something else is there by now", to);
	return 0;
}

static void print_report(const struct trimming *t)
{
	printf("tokens         %d -> %d (%d of them stand in the data)\n", t->n_old, t->n_new, t->n_used);
	printf("vocabulary     %d -> %d rows\n", t->V_old, t->V_new);
	printf("parameters     %zu -> %zu (%.1f %% fewer)\n", t->params_old, t->params_new, 100 - 100 * trimming_share(t->params_new, t->params_old));
	printf("data           %.3f %% of %llu tokens stay as they are\n", 100 * trimming_share(t->tokens_stay, t->tokens_old), (unsigned long long)t->tokens_old);
	printf("tokens/byte    %.4f -> %.4f\n", trimming_share(t->tokens_old, t->n_bytes), trimming_share(t->tokens_new, t->n_bytes));
}

static int check_paths(const char *model, const struct trimming_options *o, const char *out, struct err *e)
{
	if (fsio_exists(out))
		return err_user(e, "trim: %s: is there already; name another directory", out);
	if (verb_path(model, e) < 0)
		return -1;
	for (int i = 0; i < o->n_files; i++)
		if (verb_path(o->files[i], e) < 0)
			return -1;
	return 0;
}

int verb_trim(const struct cli_args *a, struct err *e)
{
	const char *model = a->positional[0], *given = cli_get(a, "--out"), *files[CLI_MAX];
	struct trimming_options o = {.files = files, .n_files = cli_all(a, "--data", files, CLI_MAX), .max_name = "trim: --max-tokens"};
	struct trimming done;
	size_t n = strlen(given);
	while (n > 1 && given[n - 1] == '/')
		n--;
	char *dir = path_format("%.*s", (int)n, given), *partial = path_format("%s.tmp-%ld", dir, (long)getpid());
	int rc = -1;
	TRY(cli_int(a, "--max-tokens", 0, 1 << 24, &o.max_tokens, e));
	TRY(cli_int(a, "--min-count", 1, INT64_MAX, &o.min_count, e));
	TRY(cli_int(a, "--multiple", 1, 1 << 20, &o.multiple, e));
	TRY(check_paths(model, &o, dir, e));
	TRY(trimming_run(model, &o, partial, &done, e));
	TRY(move_in_place(partial, dir, e));
	print_report(&done);
	log_line("%s: written%s", dir, done.sentencepiece ? ", without tokenizer.model: a sentencepiece file is not rewritten" : "");
	rc = 0;
out:
	if (rc < 0)
		fsio_remove_tree(partial, NULL);
	free(dir);
	free(partial);
	return rc;
}
