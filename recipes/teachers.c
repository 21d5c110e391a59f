#include "recipes/teachers.h"

#include "base/log.h"
#include "kernels/ops.h"

#include <string.h>

/* ---- backends ---- */

static struct ops *ops_of_teacher(const struct run *run, const struct teacher_spec *t)
{
	if (t->compute == TEACHER_COMPUTE_FP32)
		return run->eval_ops;
	return t->compute == TEACHER_COMPUTE_BF16 && run->bf16_ops ? run->bf16_ops : run->ops;
}

static bool wants_bf16(const struct recipe_spec *r)
{
	bool wanted = false;
	for (int i = 0; i < r->teachers.n; i++)
		wanted |= ((const struct teacher_spec *)r->teachers.v[i])->compute == TEACHER_COMPUTE_BF16;
	return wanted;
}

static int open_bf16(struct run *run, int n_threads, struct err *e)
{
	struct ops_options o = {.n_threads = n_threads, .bf16 = true};
	if (run->ops->matmul_bf16 || !wants_bf16(run->spec))
		return 0;
	if (ops_cpu_open(&run->bf16_ops, &o, e) < 0)
		return -1;
	if (!run->bf16_ops->matmul_bf16)
		log_line("teacher.compute: bf16 is asked for, but this CPU has no bf16 products: fp32 is used");
	return 0;
}

int run_open_ops(struct run *run, int n_threads, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	struct ops_options o = {.n_threads = n_threads, .bf16 = r->compute == COMPUTE_BF16};
	if (r->device == DEVICE_CUDA)
		return yaml_caret(e, yaml_get(r->at, "device"), "device: this build has no CUDA backend; use auto or cpu");
	TRY(ops_cpu_open(&run->ops, &o, e));
	if (o.bf16 && !run->ops->matmul_bf16)
		log_line("compute: bf16 is asked for, but this CPU has no bf16 products: fp32 is used");
	run->eval_ops = run->ops;
	o.bf16 = false;
	if (run->ops->matmul_bf16)
		TRY(ops_cpu_open(&run->eval_ops, &o, e));
	TRY(open_bf16(run, n_threads, e));
	for (int i = 0; i < r->teachers.n; i++)
		run->teachers[i].ops = ops_of_teacher(run, r->teachers.v[i]);
	return 0;
out:
	run_close_ops(run);
	return -1;
}

void run_close_ops(struct run *run)
{
	if (run->eval_ops != run->ops)
		ops_cpu_close(run->eval_ops);
	ops_cpu_close(run->ops);
	ops_cpu_close(run->bf16_ops);
	run->ops = run->eval_ops = run->bf16_ops = NULL;
}

/* ---- checkpoints ---- */

int teachers_open(struct run *run, int i, const char *dir, struct err *e)
{
	struct run_teacher *t = &run->teachers[i];
	TRY(hf_open(&t->model, dir, e));
	t->dir = pool_strdup(&run->recipe.pool, dir);
	t->hash = hf_hash(&t->model);
	return 0;
out:
	return -1;
}

int teachers_open_given(struct run *run, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	run->n_teachers = r->teachers.n;
	for (int i = 0; i < r->teachers.n; i++) {
		const struct teacher_spec *t = r->teachers.v[i];
		for (int d = 0; d < r->data->domains.n; d++)
			run->teachers[i].share[d] = teacher_share(r, i, r->data->domains.names[d]);
		if (t->model && teachers_open(run, i, t->model, e) < 0)
			return -1;
	}
	return 0;
}

void teachers_close(struct run *run)
{
	for (int i = 0; i < RECIPE_MAX_TEACHERS; i++)
		hf_close(&run->teachers[i].model);
}

/* ---- tokenizers ---- */

static int check_pieces(const struct tokenizer *ours, const struct tokenizer *theirs, const char *dir, struct err *e)
{
	struct bytes a = {0}, b = {0};
	int32_t n = tokenizer_vocab_size(ours), m = tokenizer_vocab_size(theirs);
	int rc = -1;
	if (n != m) {
		err_user(e, "%s: its tokenizer has %d tokens, that of the run %d: teachers share one tokenizer", dir, m, n);
		goto out;
	}
	for (int32_t id = 0; id < n; id++) {
		a.n = b.n = 0;
		TRY(tokenizer_decode(ours, &id, 1, false, &a, e));
		TRY(tokenizer_decode(theirs, &id, 1, false, &b, e));
		if (a.n != b.n || (a.n && memcmp(a.v, b.v, a.n))) {
			err_user(e, "%s: token %d is \"%.*s\" in its tokenizer, \"%.*s\" in that of the run: teachers share one tokenizer", dir, id,
				 (int)b.n, b.v, (int)a.n, a.v);
			goto out;
		}
	}
	rc = 0;
out:
	bytes_release(&a);
	bytes_release(&b);
	return rc;
}

int teachers_check_tokenizers(const struct run *run, struct err *e)
{
	for (int i = 1; i < run->n_teachers; i++) {
		struct tokenizer *theirs = NULL;
		if (tokenizer_open(&theirs, run->teachers[i].dir, e) < 0)
			return -1;
		int rc = check_pieces(run->corpus.tokenizer, theirs, run->teachers[i].dir, e);
		tokenizer_free(theirs);
		if (rc < 0)
			return -1;
	}
	return 0;
}
