/* Verbs that score and compare: eval, compare. */
#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "kernels/ops.h"
#include "recipes/stage.h"
#include "recipes/verbs.h"
#include "results/loaded_model.h"
#include "results/report.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* ---- eval ---- */

static void show_rows(void *user, size_t rows)
{
	progress_update(user, rows, NULL);
}

static void print_evaluation(const struct evaluation *v)
{
	printf("%.6f nat/token, perplexity %.4f, %.6f bits/byte over %zu tokens, %zu bytes, %zu documents (windows of %d, stride %d)\n", v->nll,
	       v->perplexity, v->bits_per_byte, v->tokens, v->bytes, v->n_documents, v->sequence_length, v->stride);
	if (v->has_teacher)
		printf("teacher: KL %.6f nat/token, same likeliest token %.2f %%\n", v->kl, 100 * v->agreement_top1);
	printf("%.0f tokens/s\n", (double)v->rows / v->seconds);
}

static int finish_eval(const struct cli_args *a, const struct evaluation *v, struct err *e)
{
	if (cli_get(a, "--documents") && evaluation_write_documents(v, cli_get(a, "--documents"), e) < 0)
		return -1;
	if (!cli_has(a, "--json")) {
		print_evaluation(v);
		return 0;
	}
	json_t *o = evaluation_to_json(v);
	if (!o)
		return err_run(e, "out of memory");
	json_object_set_new(o, "model", json_string(a->positional[0]));
	json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
	putchar('\n');
	json_decref(o);
	return 0;
}

/* Windows of `length` (0: the model's own) must fit into both. */
static int check_length(const struct loaded_model *m, const struct loaded_model *teacher, int64_t length, struct err *e)
{
	const struct arch *a = &m->hf.layout.arch;
	int64_t S = length ? length : evaluator_sequence_length(a);
	if (S < 2 || S > a->max_positions)
		return err_user(e, "eval: --sequence-length: expected 2 to the model's %d positions, found %lld", a->max_positions, (long long)S);
	if (teacher->ops && S > teacher->hf.layout.arch.max_positions)
		return err_user(e, "eval: --sequence-length: %lld is more than the %d positions of %s", (long long)S, teacher->hf.layout.arch.max_positions,
				teacher->hf.dir);
	return 0;
}

static int check_paths(const struct cli_args *a, const char *tokenizer, const char *const *files, int n_files, struct err *e)
{
	if (verb_path(a->positional[0], e) < 0 || verb_path(tokenizer, e) < 0 || (cli_get(a, "--teacher") && verb_path(cli_get(a, "--teacher"), e) < 0))
		return -1;
	for (int i = 0; i < n_files; i++)
		if (verb_path(files[i], e) < 0)
			return -1;
	return 0;
}

int verb_eval(const struct cli_args *a, struct err *e)
{
	struct ops *ops = NULL;
	struct loaded_model m = {0}, teacher = {0};
	struct tokenizer *t = NULL;
	struct text_documents docs = {0};
	struct evaluation found = {0};
	struct progress bar;
	const char *files[CLI_MAX], *tokenizer = cli_get(a, "--tokenizer") ? cli_get(a, "--tokenizer") : a->positional[0];
	int n_files = cli_all(a, "--data", files, CLI_MAX), rc = -1;
	int64_t threads, length;
	TRY(cli_int(a, "--threads", 0, 4096, &threads, e));
	TRY(cli_int(a, "--sequence-length", 0, 1 << 24, &length, e));
	TRY(check_paths(a, tokenizer, files, n_files, e));
	TRY(ops_cpu_open(&ops, &(struct ops_options){.n_threads = (int)threads}, e));
	TRY(loaded_model_open(&m, ops, a->positional[0], e));
	TRY(tokenizer_open(&t, tokenizer, e));
	TRY(verb_vocabulary(t, tokenizer, &m.hf, e));
	if (cli_get(a, "--teacher")) {
		TRY(loaded_model_open(&teacher, ops, cli_get(a, "--teacher"), e));
		TRY(verb_vocabulary(t, tokenizer, &teacher.hf, e));
	}
	TRY(check_length(&m, &teacher, length, e));
	struct document_source source = text_documents_open(&docs, t, files, n_files);
	struct evaluator_options o = {.sequence_length = (int)length};
	progress_init(&bar, "eval", "tokens", 0, 0);
	TRY(loaded_model_evaluate(&m, teacher.ops ? &teacher : NULL, &o, &source, &found, show_rows, &bar, e));
	progress_update(&bar, found.rows, NULL);
	progress_finish(&bar, NULL);
	TRY(finish_eval(a, &found, e));
	rc = 0;
out:
	evaluation_release(&found);
	text_documents_close(&docs);
	tokenizer_free(t);
	loaded_model_close(&teacher);
	loaded_model_close(&m);
	ops_cpu_close(ops);
	return rc;
}

/* ---- compare ---- */

struct found {
	struct result *v[CLI_MAX];
	int n;
};

static int add_result(struct found *f, const char *dir, struct err *e)
{
	if (f->n == CLI_MAX)
		return err_user(e, "compare: more than %d results", CLI_MAX);
	if (result_read(&f->v[f->n], dir, e) < 0)
		return -1;
	f->n++;
	return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *d)
{
	return d->d_name[0] != '.' && !strstr(d->d_name, ".old-");
}

/* A result directory itself, or every result below a run's teacher/ and students/. */
static int collect(struct found *f, const char *dir, int depth, struct err *e)
{
	struct dirent **entries;
	char *file = path_format("%s/result.json", dir);
	bool here = fsio_exists(file);
	int rc = 0;
	free(file);
	if (here)
		return add_result(f, dir, e);
	int n = depth > 4 ? 0 : scandir(dir, &entries, visible, by_name);
	if (n < 0)
		return err_user(e, "%s: not a directory with results", dir);
	for (int i = 0; i < n; i++) {
		char *path = path_format("%s/%s", dir, entries[i]->d_name);
		if (rc == 0 && fsio_is_dir(path))
			rc = collect(f, path, depth + 1, e);
		free(path);
		free(entries[i]);
	}
	if (n > 0 || depth <= 4)
		free(entries);
	return rc;
}

/* Several runs may hold the same teacher: one is enough. */
static void drop_further_teachers(struct found *f)
{
	bool seen = false;
	for (int i = 0; i < f->n;) {
		if (!result_is_teacher(f->v[i]) || !seen) {
			seen |= result_is_teacher(f->v[i++]);
			continue;
		}
		result_free(f->v[i]);
		memmove(&f->v[i], &f->v[i + 1], (size_t)(--f->n - i) * sizeof *f->v);
	}
}

int verb_compare(const struct cli_args *a, struct err *e)
{
	struct found f = {.n = 0};
	struct compare_options o = compare_default();
	struct report_options ro = report_default();
	struct comparison *c = NULL;
	const char *references[CLI_MAX];
	int rc = -1;
	for (int i = 0; i < a->n_positional; i++) {
		int before = f.n;
		TRY(collect(&f, a->positional[i], 0, e));
		if (f.n == before) {
			err_user(e, "%s: no result.json in it or below", a->positional[i]);
			goto out;
		}
	}
	drop_further_teachers(&f);
	o.references = references;
	o.n_references = cli_all(a, "--reference", references, CLI_MAX);
	TRY(compare_results(&c, f.v, f.n, &o, e));
	ro.dir = cli_get(a, "--out");
	ro.title = "comparison";
	TRY(fsio_mkdirs(ro.dir, e));
	TRY(report_write(c, &ro, e));
	TRY(compare_print(c, stdout, e));
	printf("\nreport: %s/report.html\n", ro.dir);
	rc = 0;
out:
	compare_free(c);
	for (int i = 0; i < f.n; i++)
		result_free(f.v[i]);
	return rc;
}
