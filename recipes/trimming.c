#include "recipes/trimming.h"

#include "base/fsio.h"
#include "base/json.h"
#include "data/tokenizer_trim.h"
#include "prune/trim.h"
#include "recipes/run.h"
#include "recipes/stage.h"
#include "recipes/verbs.h"
#include "results/documents.h"

#include <stdlib.h>

struct trim_job {
	const char *model, *dir;
	const struct trimming_options *options;
	struct hf_model hf;
	struct tokenizer *tokenizer;
	json_t *config;                /* config.json, renumbered in the end */
	uint64_t *counts;              /* (n_old) */
	struct tokenizer_trim trim;
	struct trimming *out;
};

double trimming_share(uint64_t a, uint64_t b)
{
	return b ? (double)a / (double)b : 0;
}

/* ---- the text ---- */

/* counts may be NULL. */
static int count_tokens(struct tokenizer *t, const char *const *files, int n_files, uint64_t *counts, uint64_t *n_tokens, uint64_t *n_bytes, struct err *e)
{
	struct text_documents docs = {0};
	struct document_source source = text_documents_open(&docs, t, files, n_files);
	const int32_t *ids;
	size_t n, bytes;
	int got;
	*n_tokens = *n_bytes = 0;
	while ((got = source.next(source.user, &ids, &n, &bytes, e)) > 0) {
		for (size_t i = 0; counts && i < n; i++)
			counts[ids[i]]++;
		*n_tokens += n;
		*n_bytes += bytes;
		if (run_interrupted()) {
			got = err_run(e, "interrupted; the same command goes on");
			break;
		}
	}
	text_documents_close(&docs);
	return got;
}

int trimming_count(const char *model, const char *const *files, int n_files, uint64_t *n_tokens, uint64_t *n_bytes, struct err *e)
{
	struct tokenizer *t = NULL;
	if (tokenizer_open(&t, model, e) < 0)
		return -1;
	int rc = count_tokens(t, files, n_files, NULL, n_tokens, n_bytes, e);
	tokenizer_free(t);
	return rc;
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
	const struct trimming_options *wanted = j->options;
	struct tokenizer_trim_options o = {.counts = j->counts, .min_count = (uint64_t)wanted->min_count, .max_tokens = (int32_t)wanted->max_tokens};
	struct ids required = {0};
	char *generation = path_format("%s/generation_config.json", j->model);
	int rc = -1;
	TRY(tokenizer_trim_named_ids(j->hf.config, &required, e));
	TRY(named_ids(generation, &required, e));
	o.required = required.v;
	o.n_required = required.n;
	if (tokenizer_trim_choose(&j->trim, j->tokenizer, &o, e) < 0) {
		if (e->status == ERR_USER)
			err_prefix(e, "%s %lld", wanted->max_name, (long long)wanted->max_tokens);
		goto out;
	}
	rc = 0;
out:
	free(generation);
	ids_release(&required);
	return rc;
}

/* ---- the directory ---- */

static int write_model(struct trim_job *j, const struct trim_rows *rows, struct err *e)
{
	char *name = path_format("%s/config.json", j->model);
	int rc = -1;
	j->config = json_deep_copy(j->hf.config);
	TRY(tokenizer_trim_renumber(&j->trim, j->config, name, e));
	TRY(fsio_mkdirs(j->dir, e));
	TRY(tokenizer_trim_write(&j->trim, j->tokenizer, j->model, j->dir, e));
	TRY(prune_trim(&j->hf, rows, j->config, j->dir, e));
	rc = 0;
out:
	free(name);
	return rc;
}

/* ---- all ---- */

static void fill(struct trim_job *j, const struct trim_rows *rows)
{
	struct trimming *t = j->out;
	struct arch before = j->hf.layout.arch, after = before;
	char *sentencepiece = path_format("%s/tokenizer.model", j->model);
	after.shape.V = trim_vocab_size(rows);
	t->n_old = j->trim.n_old;
	t->n_new = j->trim.n_new;
	t->V_old = before.shape.V;
	t->V_new = after.shape.V;
	t->params_old = arch_n_params(&before);
	t->params_new = arch_n_params(&after);
	for (int32_t id = 0; id < j->trim.n_old; id++) {
		t->n_used += j->counts[id] > 0;
		t->tokens_stay += j->trim.new_ids[id] >= 0 ? j->counts[id] : 0;
	}
	t->sentencepiece = fsio_exists(sentencepiece);
	free(sentencepiece);
}

int trimming_run(const char *model, const struct trimming_options *o, const char *dir, struct trimming *out, struct err *e)
{
	struct trim_job j = {.model = model, .dir = dir, .options = o, .out = out};
	int rc = -1;
	*out = (struct trimming){0};
	TRY(hf_open(&j.hf, model, e));
	TRY(tokenizer_open(&j.tokenizer, model, e));
	TRY(verb_vocabulary(j.tokenizer, model, &j.hf, e));
	j.counts = calloc((size_t)tokenizer_vocab_size(j.tokenizer), sizeof *j.counts);
	if (!j.counts) {
		err_run(e, "out of memory for counts");
		goto out;
	}
	TRY(count_tokens(j.tokenizer, o->files, o->n_files, j.counts, &out->tokens_old, &out->n_bytes, e));
	TRY(choose(&j, e));
	struct trim_rows rows = {j.trim.old_ids, j.trim.n_new, (int)o->multiple};
	TRY(write_model(&j, &rows, e));
	TRY(trimming_count(dir, o->files, o->n_files, &out->tokens_new, &out->n_bytes, e));
	fill(&j, &rows);
	rc = 0;
out:
	tokenizer_trim_release(&j.trim);
	tokenizer_free(j.tokenizer);
	hf_close(&j.hf);
	json_decref(j.config);
	free(j.counts);
	return rc;
}
