/* The verb trim: a model without the tokens that a text does not use. */
#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"
#include "data/tokenizer_trim.h"
#include "prune/trim.h"
#include "recipes/verbs.h"
#include "results/documents.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct trim_job {
	const char *model, *files[CLI_MAX];
	int n_files;
	int64_t max_tokens, min_count, multiple;
	char *out, *partial;           /* DIR, and where it is written until it is whole */
	struct hf_model hf;
	struct tokenizer *tokenizer, *small;
	json_t *config;                /* config.json, renumbered in the end */
	uint64_t *counts;              /* (n_old) */
	uint64_t n_tokens, n_bytes, n_stay, n_small; /* of the data */
	struct tokenizer_trim trim;
};

/* ---- the data ---- */

/* counts may be NULL. */
static int count_tokens(struct trim_job *j, struct tokenizer *t, uint64_t *counts, uint64_t *n_tokens, uint64_t *n_bytes, struct err *e)
{
	struct text_documents docs = {0};
	struct document_source source = text_documents_open(&docs, t, j->files, j->n_files);
	const int32_t *ids;
	size_t n, bytes;
	int got;
	*n_tokens = *n_bytes = 0;
	while ((got = source.next(source.user, &ids, &n, &bytes, e)) > 0) {
		for (size_t i = 0; counts && i < n; i++)
			counts[ids[i]]++;
		*n_tokens += n;
		*n_bytes += bytes;
	}
	text_documents_close(&docs);
	return got;
}

/* ---- the choice ---- */

static int named_ids(const char *path, struct ids *out, struct err *e)
{
	json_t *config = NULL;
	if (!fsio_exists(path))
		return 0;
	int rc = json_read_file(path, &config, e) < 0 ? -1 : tokenizer_trim_named_ids(config, out, e);
	json_decref(config);
	return rc;
}

static int choose(struct trim_job *j, struct err *e)
{
	struct tokenizer_trim_options o = {.counts = j->counts, .min_count = (uint64_t)j->min_count, .max_tokens = (int32_t)j->max_tokens};
	struct ids required = {0};
	char *generation = NULL;
	int rc = -1;
	if (asprintf(&generation, "%s/generation_config.json", j->model) < 0)
		return err_run(e, "out of memory");
	TRY(tokenizer_trim_named_ids(j->hf.config, &required, e));
	TRY(named_ids(generation, &required, e));
	o.required = required.v;
	o.n_required = required.n;
	if (tokenizer_trim_choose(&j->trim, j->tokenizer, &o, e) < 0) {
		if (e->status == ERR_USER)
			err_prefix(e, "trim: --max-tokens %lld", (long long)j->max_tokens);
		goto out;
	}
	for (int32_t id = 0; id < j->trim.n_old; id++)
		j->n_stay += j->trim.new_ids[id] >= 0 ? j->counts[id] : 0;
	rc = 0;
out:
	free(generation);
	ids_release(&required);
	return rc;
}

/* ---- the directory ---- */

static int write_model(struct trim_job *j, struct err *e)
{
	struct trim_rows rows = {j->trim.old_ids, j->trim.n_new, (int)j->multiple};
	char *name = NULL;
	int rc = -1;
	if (asprintf(&name, "%s/config.json", j->model) < 0)
		return err_run(e, "out of memory");
	j->config = json_deep_copy(j->hf.config);
	TRY(tokenizer_trim_renumber(&j->trim, j->config, name, e));
	TRY(fsio_mkdirs(j->partial, e));
	TRY(tokenizer_trim_write(&j->trim, j->tokenizer, j->model, j->partial, e));
	TRY(tokenizer_open(&j->small, j->partial, e));
	TRY(prune_trim(&j->hf, &rows, j->config, j->partial, e));
	rc = 0;
out:
	free(name);
	return rc;
}

static int move_in_place(const struct trim_job *j, struct err *e)
{
	if (fsio_exists(j->out) || rename(j->partial, j->out) < 0)
		return err_run(e, "%s: could not be put in place, something else is there by now", j->out);
	return 0;
}

/* ---- the report ---- */

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static void print_report(const struct trim_job *j)
{
	struct arch before = j->hf.layout.arch, after = before;
	struct trim_rows rows = {j->trim.old_ids, j->trim.n_new, (int)j->multiple};
	after.shape.V = trim_vocab_size(&rows);
	size_t n_before = arch_n_params(&before), n_after = arch_n_params(&after);
	int32_t tokens = 0;
	for (int32_t id = 0; id < j->trim.n_old; id++)
		tokens += j->counts[id] > 0;
	printf("tokens         %d -> %d (%d of them stand in the data)\n", j->trim.n_old, j->trim.n_new, tokens);
	printf("vocabulary     %d -> %d rows\n", before.shape.V, after.shape.V);
	printf("parameters     %zu -> %zu (%.1f %% fewer)\n", n_before, n_after, 100 - 100 * share(n_after, n_before));
	printf("data           %.3f %% of %llu tokens stay as they are\n", 100 * share(j->n_stay, j->n_tokens), (unsigned long long)j->n_tokens);
	printf("tokens/byte    %.4f -> %.4f\n", share(j->n_tokens, j->n_bytes), share(j->n_small, j->n_bytes));
}

static int tell_written(const struct trim_job *j, struct err *e)
{
	char *sentencepiece = NULL;
	if (asprintf(&sentencepiece, "%s/tokenizer.model", j->model) < 0)
		return err_run(e, "out of memory");
	log_line("%s: written%s", j->out, fsio_exists(sentencepiece) ? ", without tokenizer.model: a sentencepiece file is not rewritten" : "");
	free(sentencepiece);
	return 0;
}

/* ---- all ---- */

static int read_options(const struct cli_args *a, struct trim_job *j, struct err *e)
{
	const char *out = cli_get(a, "--out");
	size_t n = strlen(out);
	j->model = a->positional[0];
	j->n_files = cli_all(a, "--data", j->files, CLI_MAX);
	if (cli_int(a, "--max-tokens", 0, 1 << 24, &j->max_tokens, e) < 0 || cli_int(a, "--min-count", 1, INT64_MAX, &j->min_count, e) < 0 ||
	    cli_int(a, "--multiple", 1, 1 << 20, &j->multiple, e) < 0)
		return -1;
	while (n > 1 && out[n - 1] == '/')
		n--;
	if (asprintf(&j->out, "%.*s", (int)n, out) < 0 || asprintf(&j->partial, "%s.tmp-%ld", j->out, (long)getpid()) < 0)
		return err_run(e, "out of memory");
	if (fsio_exists(j->out))
		return err_user(e, "trim: %s: is there already; name another directory", j->out);
	if (verb_path(j->model, e) < 0)
		return -1;
	for (int i = 0; i < j->n_files; i++)
		if (verb_path(j->files[i], e) < 0)
			return -1;
	return 0;
}

static void release(struct trim_job *j)
{
	tokenizer_trim_release(&j->trim);
	tokenizer_free(j->tokenizer);
	tokenizer_free(j->small);
	hf_close(&j->hf);
	json_decref(j->config);
	free(j->counts);
	free(j->out);
	free(j->partial);
}

int verb_trim(const struct cli_args *a, struct err *e)
{
	struct trim_job j = {0};
	uint64_t n_bytes;
	int rc = -1;
	TRY(read_options(a, &j, e));
	TRY(hf_open(&j.hf, j.model, e));
	TRY(tokenizer_open(&j.tokenizer, j.model, e));
	TRY(verb_vocabulary(j.tokenizer, j.model, &j.hf, e));
	j.counts = calloc((size_t)tokenizer_vocab_size(j.tokenizer), sizeof *j.counts);
	if (!j.counts) {
		err_run(e, "out of memory for counts");
		goto out;
	}
	TRY(count_tokens(&j, j.tokenizer, j.counts, &j.n_tokens, &j.n_bytes, e));
	TRY(choose(&j, e));
	TRY(write_model(&j, e));
	TRY(count_tokens(&j, j.small, NULL, &j.n_small, &n_bytes, e));
	TRY(move_in_place(&j, e));
	print_report(&j);
	TRY(tell_written(&j, e));
	rc = 0;
out:
	if (rc < 0 && j.partial)
		fsio_remove_tree(j.partial, NULL);
	release(&j);
	return rc;
}
