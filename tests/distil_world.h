/* Runs that distil, through the program: two teachers made once, recipes that differ in their students, and what a run wrote,
 * as numbers. Everything happens in a directory of its own, which is the working directory. */
#ifndef TESTS_DISTIL_WORLD_H
#define TESTS_DISTIL_WORLD_H

#include "tests/program.h"

#include "results/csv.h"

#include <math.h>

/* Of a training section, without braces: 16 steps, 2 micro-batches each, and no curve but its end. */
#define BRIEF "tokens: 8Ki, batch_tokens: 512, lr: 3e-3, eval_every: 1M"
/* What world_open makes: teachers of three layers, 32 and 24 wide, one tokenizer of 300 tokens, and the first's layers 0 and 2. */
#define TEACHER "teach/teacher/train/model"
#define SECOND_TEACHER "teach2/teacher/train/model"
#define HALF "teach/students/half/seed-7/train/model"

static struct test_path world_home;

/* Writes `file`: the recipe that all runs share, with this teacher and these students (a line each, or a block). */
static inline void world_recipe(const char *file, const char *teacher, const char *students)
{
	FILE *f = fopen(file, "w");
	assert_non_null(f);
	fprintf(f, "recipe: 1\nname: distil\nseeds: [7]\nthreads: 2\nmicro_batch: 4\nteacher: %s\n"
		   "data:\n  sequence_length: 64\n  heldout_tokens: 512\n  domains:\n"
		   "    a: {generate: {seed: 1, documents: 120, eval_documents: 12}}\n"
		   "    b: {generate: {seed: 2, documents: 120, eval_documents: 12}}\n"
		   "target: {layers: 2, hidden: 24, heads: 2, kv_heads: 1, intermediate: 32}\n"
		   "students:\n%sreport: {bootstrap: 100}\n", teacher, students);
	assert_int_equal(fclose(f), 0);
}

static inline int world_open(void **state)
{
	(void)state;
	setenv("OMP_WAIT_POLICY", "passive", 1); /* threads that spin starve each other on a busy machine */
	world_home = test_dir_make();
	assert_int_equal(chdir(world_home.text), 0);
	world_recipe("teach.yaml", "{init: {random: {target: {layers: 3, hidden: 32, heads: 4, kv_heads: 2, intermediate: 64}}}, "
				   "train: {tokens: 48Ki, batch_tokens: 512, lr: 5e-3, eval_every: 1M}}",
		     "  half: {init: {layers: [0, 2]}, train: {tokens: 512, batch_tokens: 512, lr: 1e-3}}\n");
	program_must("run teach.yaml --out teach --set data.tokenizer.train_vocabulary=300");
	program_must("run teach.yaml --out teach2 --set data.tokenizer=teach/tokenizer --set teacher.init.random.target.hidden=24 "
		     "--set teacher.init.random.target.heads=2 --set teacher.init.random.target.kv_heads=1");
	return 0;
}

static inline int world_close(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	test_dir_remove(&world_home);
	return 0;
}

static inline void world_path(char path[300], const char *run, const char *student, const char *file)
{
	snprintf(path, 300, "%s/students/%s/seed-7/%s", run, student, file);
}

/* ---- metrics ---- */

static inline struct csv world_metrics(const char *run, const char *student)
{
	struct csv c;
	struct err e;
	char path[300];
	world_path(path, run, student, "train/metrics.csv");
	assert_ok(csv_read(&c, path, &e), &e);
	return c;
}

static inline double world_at(const struct csv *c, size_t row, const char *name)
{
	int column = csv_column(c, name);
	if (column < 0)
		fail_msg("metrics have no column %s", name);
	return csv_at(c, row, column);
}

/* The mean of rows [first, first + n). */
static inline double world_mean(const struct csv *c, const char *name, size_t first, size_t n)
{
	double sum = 0;
	for (size_t row = first; row < first + n; row++)
		sum += world_at(c, row, name);
	return sum / (double)n;
}

/* ---- results ---- */

/* A number of dir's result.json: at its top (domain NULL), or of that domain's scores. */
static inline double world_result(const char *dir, const char *domain, const char *key)
{
	struct err e;
	json_t *r, *found, *list;
	char path[300];
	size_t i;
	snprintf(path, sizeof path, "%s/result.json", dir);
	assert_ok(json_read_file(path, &r, &e), &e);
	found = domain ? NULL : r;
	list = json_object_get(r, "eval");
	for (i = 0; domain && i < json_array_size(list); i++)
		if (!strcmp(domain, json_string_value(json_object_get(json_array_get(list, i), "domain"))))
			found = json_array_get(list, i);
	const json_t *v = json_object_get(found, key);
	if (!json_is_number(v))
		fail_msg("%s has no number \"%s\"", path, key);
	double value = json_number_value(v);
	json_decref(r);
	return value;
}

/* The same weights to the bit, or not. */
static inline bool world_same_weights(const char *run_a, const char *a, const char *run_b, const char *b)
{
	char pa[300], pb[300];
	struct err e;
	char *ta, *tb;
	size_t na, nb;
	world_path(pa, run_a, a, "train/model/model.safetensors");
	world_path(pb, run_b, b, "train/model/model.safetensors");
	assert_ok(fsio_read_file(pa, 1 << 26, &ta, &na, &e), &e);
	assert_ok(fsio_read_file(pb, 1 << 26, &tb, &nb, &e), &e);
	bool same = na == nb && !memcmp(ta, tb, na);
	free(ta);
	free(tb);
	return same;
}

#endif
