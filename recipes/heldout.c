#include "recipes/heldout.h"

static struct evaluator_options options_of(const struct run *run)
{
	return (struct evaluator_options){.sequence_length = run->corpus.sequence_length};
}

struct ops_limits heldout_limits(const struct run *run, const struct arch *a)
{
	struct evaluator_options asked = options_of(run), o = evaluator_resolve(a, &asked);
	return evaluator_limits(a, &o);
}

int heldout_nll(const struct run *run, struct loaded_model *m, double *nll, struct err *e)
{
	struct evaluator_options o = options_of(run);
	double sum = 0;
	for (int i = 0; i < run->corpus.n_domains; i++) {
		struct shard_documents docs = {0};
		struct document_source source = corpus_heldout(&run->corpus, i, &docs);
		struct evaluation found = {0};
		int rc = loaded_model_evaluate(m, NULL, &o, &source, &found, NULL, NULL, e);
		sum += found.nll;
		evaluation_release(&found);
		shard_documents_close(&docs);
		if (rc < 0)
			return -1;
	}
	*nll = sum / run->corpus.n_domains;
	return 0;
}
