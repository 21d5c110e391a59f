/* The loss on held-out documents, of the weights as they stand, under masks or without. Test: tests/test_run.c */
#include "recipes/loop_parts.h"

#include <math.h>

void loop_upload_masks(struct session *s, const struct host_masks *z, struct masks *out)
{
	const struct shape *sh = &s->options.arch->shape;
	struct ops *ops = s->options.ops;
	size_t L = (size_t)sh->L;
	*out = s->masks;
	const float *host[] = {z->hidden, z->layers, z->heads, z->ffn};
	const float **device[] = {&out->hidden, &out->attn, &out->heads, &out->ffn};
	size_t n[] = {(size_t)sh->C, L, L * (size_t)sh->NH, L * (size_t)sh->F};
	for (int i = 0; i < 4; i++)
		if (host[i])
			ops->upload(ops, (float *)(uintptr_t)*device[i], host[i], n[i] * sizeof(float));
		else
			*device[i] = NULL;
	out->ffn_block = out->attn;
}

static bool is_finite(const struct evaluation *v)
{
	for (size_t i = 0; i < v->n_documents; i++)
		if (!isfinite(v->documents[i].nll))
			return false;
	return true;
}

int loop_heldout(const struct run *run, struct session *s, const struct host_masks *z, double *nll, struct err *e)
{
	struct params params = session_fp32(s);
	struct masks masks;
	struct evaluated model = {.params = &params};
	double sum = 0;
	if (z) {
		loop_upload_masks(s, z, &masks);
		model.masks = &masks;
	}
	for (int i = 0; i < run->corpus.n_domains; i++) {
		struct shard_documents docs = {0};
		struct document_source source = corpus_heldout(&run->corpus, i, &docs);
		struct evaluation found = {0};
		int rc = evaluator_run(s->evaluator, &model, &source, &found, NULL, NULL, e);
		sum += found.nll;
		if (rc < 0 && !is_finite(&found))
			*nll = INFINITY;
		evaluation_release(&found);
		shard_documents_close(&docs);
		if (rc < 0)
			return err_prefix(e, "held-out documents of domain '%s'", run->corpus.domains[i].name);
	}
	*nll = sum / run->corpus.n_domains;
	return 0;
}
