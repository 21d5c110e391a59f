/* From a directory to weights on the device, and one evaluation of them. Test: tests/test_evaluate.c */
#include "results/loaded_model.h"

#include <stdlib.h>

static int upload_weights(struct loaded_model *m, struct err *e)
{
	size_t n = m->hf.layout.n_elems;
	void *device = NULL;
	float *host = malloc(n * sizeof *host);
	if (!host)
		return err_run(e, "%s: no memory for %zu bytes of weights", m->hf.dir, n * sizeof *host);
	if (m->ops->alloc(m->ops, n * sizeof *host, &device, e) < 0) {
		free(host);
		return err_prefix(e, "%s", m->hf.dir);
	}
	hf_read_f32(&m->hf, host);
	m->ops->upload(m->ops, device, host, n * sizeof *host);
	m->ops->sync(m->ops);
	free(host);
	m->weights = device;
	return 0;
}

int loaded_model_open(struct loaded_model *m, struct ops *ops, const char *dir, struct err *e)
{
	*m = (struct loaded_model){.ops = ops};
	if (hf_open(&m->hf, dir, e) < 0)
		return -1;
	if (upload_weights(m, e) < 0) {
		loaded_model_close(m);
		return -1;
	}
	m->params = (struct params){.layout = &m->hf.layout, .type = DTYPE_F32, .master = m->weights, .copy = m->weights,
				    .vectors = m->weights};
	return 0;
}

void loaded_model_close(struct loaded_model *m)
{
	if (m->weights)
		m->ops->release(m->ops, m->weights);
	hf_close(&m->hf);
	*m = (struct loaded_model){0};
}

int loaded_model_evaluate(struct loaded_model *m, const struct evaluator_options *o, const struct document_source *source,
			  struct evaluation *out, void (*progress)(void *user, size_t rows), void *user, struct err *e)
{
	int rc = -1;
	const struct arch *arch = &m->hf.layout.arch;
	struct evaluator *v = NULL;
	void *memory = NULL;
	struct arena arena = arena_dry();
	struct evaluated model = {.params = &m->params};
	*out = (struct evaluation){0};
	TRY(evaluator_init(&v, m->ops, arch, o, &arena, e));
	evaluator_free(v);
	v = NULL;
	TRY(m->ops->alloc(m->ops, arena.used, &memory, e));
	arena = (struct arena){.base = memory, .capacity = arena.used};
	TRY(evaluator_init(&v, m->ops, arch, o, &arena, e));
	rc = evaluator_run(v, &model, source, out, progress, user, e);
out:
	evaluator_free(v);
	if (memory)
		m->ops->release(m->ops, memory);
	return rc;
}
