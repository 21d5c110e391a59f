#include "recipes/stage_trim.h"

#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"
#include "recipes/stage.h"
#include "recipes/teachers.h"
#include "recipes/trimming.h"

#include <stdlib.h>

/* Of all domains, one after the other. */
static struct string_list all_files(struct pool *pool, const struct domain_spec *texts, int n_domains, bool eval)
{
	struct string_list all = {NULL, 0};
	for (int i = 0; i < n_domains; i++)
		all.n += eval ? texts[i].eval.n : texts[i].train.n;
	all.v = pool_alloc(pool, (size_t)all.n * sizeof *all.v);
	for (int i = 0, n = 0; i < n_domains; i++) {
		const struct string_list *files = eval ? &texts[i].eval : &texts[i].train;
		for (int k = 0; k < files->n; k++)
			all.v[n++] = files->v[k];
	}
	return all;
}

static int stage_inputs(const struct run *run, const struct domain_spec *texts, json_t **out, struct err *e)
{
	const struct run_teacher *t = &run->teachers[0];
	const struct trim_spec *s = run->spec->teacher->trim;
	struct tokenizer *tokenizer = NULL;
	json_t *files = json_object();
	int rc = -1;
	TRY(corpus_hash_texts(files, run->spec->data, texts, e));
	TRY(tokenizer_open(&tokenizer, t->dir, e));
	*out = json_pack("{s:o,s:o,s:O,s:I,s:I,s:I}", "model", stage_hash_json(t->hash), "tokenizer", stage_hash_json(tokenizer_hash(tokenizer)),
			 "text", files, "max_tokens", (json_int_t)s->max_tokens, "min_count", (json_int_t)s->min_count, "multiple", (json_int_t)s->multiple);
	rc = 0;
out:
	tokenizer_free(tokenizer);
	json_decref(files);
	return rc;
}

static json_t *before_after(uint64_t before, uint64_t after)
{
	return json_pack("{s:I,s:I}", "before", (json_int_t)before, "after", (json_int_t)after);
}

static json_t *text_json(uint64_t n_bytes, uint64_t before, uint64_t after)
{
	return json_pack("{s:I,s:o}", "bytes", (json_int_t)n_bytes, "tokens", before_after(before, after));
}

/* Writes the model and trim.json. */
static int trim(const struct run *run, struct domain_spec *texts, const char *model, const char *report, struct pool *pool, struct err *e)
{
	const struct trim_spec *s = run->spec->teacher->trim;
	struct string_list train = all_files(pool, texts, run->spec->data->domains.n, false), eval = all_files(pool, texts, run->spec->data->domains.n, true);
	const char *const *train_files = (const char *const *)train.v, *const *eval_files = (const char *const *)eval.v;
	struct trimming_options o = {.files = train_files, .n_files = train.n, .max_tokens = s->max_tokens, .max_name = "max_tokens",
				     .min_count = s->min_count, .multiple = s->multiple};
	struct trimming t;
	uint64_t before, after, n_bytes;
	log_line("trimming the vocabulary of %s to the training text", run->teachers[0].dir);
	TRY(fsio_remove_tree(model, e));
	TRY(trimming_run(run->teachers[0].dir, &o, model, &t, e));
	TRY(trimming_count(run->teachers[0].dir, eval_files, eval.n, &before, &n_bytes, e));
	TRY(trimming_count(model, eval_files, eval.n, &after, &n_bytes, e));
	json_t *j = json_pack("{s:o,s:o,s:o,s:i,s:o,s:o}", "vocabulary", before_after((uint64_t)t.V_old, (uint64_t)t.V_new), "tokens",
			      before_after((uint64_t)t.n_old, (uint64_t)t.n_new), "parameters", before_after(t.params_old, t.params_new), "tokens_of_text",
			      t.n_used, "train", text_json(t.n_bytes, t.tokens_old, t.tokens_new), "eval", text_json(n_bytes, before, after));
	int rc = json_write_file(report, j, e);
	json_decref(j);
	return rc;
out:
	return -1;
}

/* What trim.json says of a text: how many more tokens it needs, in per cent. */
static int read_growth(const json_t *j, const char *path, const char *text, double *percent, struct err *e)
{
	json_t *about = NULL, *tokens = NULL;
	int64_t before, after;
	TRY(json_get_child(j, path, text, JSON_OBJECT, &about, e));
	TRY(json_get_child(about, path, "tokens", JSON_OBJECT, &tokens, e));
	TRY(json_get_int64(tokens, path, "before", 0, 0, INT64_MAX, &before, e));
	TRY(json_get_int64(tokens, path, "after", 0, 0, INT64_MAX, &after, e));
	*percent = 100 * trimming_share((uint64_t)after, (uint64_t)before) - 100;
	return 0;
out:
	return -1;
}

static int read_note(struct run *run, const char *path, struct err *e)
{
	json_t *j = NULL, *rows = NULL;
	int64_t before, after;
	double train, eval;
	int rc = -1;
	TRY(json_read_file(path, &j, e));
	TRY(json_get_child(j, path, "vocabulary", JSON_OBJECT, &rows, e));
	TRY(json_get_int64(rows, path, "before", 0, 0, INT64_MAX, &before, e));
	TRY(json_get_int64(rows, path, "after", 0, 0, INT64_MAX, &after, e));
	TRY(read_growth(j, path, "train", &train, e));
	TRY(read_growth(j, path, "eval", &eval, e));
	char *note = path_format("its vocabulary is trimmed from %lld to %lld rows, so losses are over fewer columns; training text needs %.2f %% more tokens, "
				 "evaluation text %.2f %% (teacher/trimmed/trim.json)", (long long)before, (long long)after, train, eval);
	run->teachers[0].note = pool_strdup(&run->recipe.pool, note);
	free(note);
	rc = 0;
out:
	json_decref(j);
	return rc;
}

int stage_trim(struct run *run, struct err *e)
{
	const struct trim_spec *s = run->spec->teacher->trim;
	struct domain_spec *texts;
	struct pool pool = {0};
	json_t *inputs = NULL;
	bool done;
	int rc = -1;
	if (!s)
		return 0;
	char *dir = path_format("%s/teacher/trimmed", run->dir), *model = path_format("%s/model", dir), *report = path_format("%s/trim.json", dir);
	TRY(corpus_texts(&pool, run->spec->data, run->dir, &texts, e));
	TRY(stage_inputs(run, texts, &inputs, e));
	TRY(stage_begin(dir, inputs, &done, e));
	if (!done) {
		if (trim(run, texts, model, report, &pool, e) < 0) {
			struct err why = *e;
			if (why.status == ERR_USER)
				yaml_caret(e, s->at, "trim: %s", why.line);
			goto out;
		}
		TRY(stage_finish(dir, e));
	}
	TRY(read_note(run, report, e));
	log_line("the teacher: %s", run->teachers[0].note);
	hf_close(&run->teachers[0].model);
	TRY(teachers_open(run, 0, model, e));
	rc = 0;
out:
	pool_release(&pool);
	free(dir);
	free(model);
	free(report);
	return rc;
}
