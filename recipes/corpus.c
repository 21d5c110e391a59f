#include "recipes/corpus.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "data/grammar.h"
#include "data/text.h"
#include "recipes/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- generated text ---- */

static int generate_files(struct pool *pool, struct domain_spec *d, const char *name, const char *dir, struct err *e)
{
	const struct generate_spec *g = d->generate;
	char *folder = path_format("%s/corpus", dir);
	char *train = path_format("%s/%s-%lld-%lld.train.txt", folder, name, (long long)g->seed, (long long)g->documents);
	char *eval = path_format("%s/%s-%lld-%lld-%lld.eval.txt", folder, name, (long long)g->seed, (long long)g->documents,
				 (long long)g->eval_documents);
	int rc = -1;
	TRY(fsio_mkdirs(folder, e));
	if (!fsio_exists(train))
		TRY(grammar_write(train, (uint64_t)g->seed, 0, (size_t)g->documents, e));
	if (!fsio_exists(eval))
		TRY(grammar_write(eval, (uint64_t)g->seed, (uint64_t)g->documents, (size_t)g->eval_documents, e));
	d->train = (struct string_list){pool_alloc(pool, sizeof(char *)), 1};
	d->eval = (struct string_list){pool_alloc(pool, sizeof(char *)), 1};
	d->train.v[0] = pool_strdup(pool, train);
	d->eval.v[0] = pool_strdup(pool, eval);
	rc = 0;
out:
	free(folder);
	free(train);
	free(eval);
	return rc;
}

int corpus_texts(struct pool *pool, const struct data_spec *spec, const char *dir, struct domain_spec **out, struct err *e)
{
	*out = pool_alloc(pool, (size_t)spec->domains.n * sizeof **out);
	for (int i = 0; i < spec->domains.n; i++) {
		(*out)[i] = *(const struct domain_spec *)spec->domains.v[i];
		if ((*out)[i].generate && generate_files(pool, &(*out)[i], spec->domains.names[i], dir, e) < 0)
			return -1;
	}
	return 0;
}

int corpus_hash_texts(json_t *inputs, const struct data_spec *spec, const struct domain_spec *texts, struct err *e)
{
	for (int i = 0; i < spec->domains.n; i++)
		for (int j = 0; j < texts[i].train.n; j++) {
			uint64_t h;
			char name[80];
			snprintf(name, sizeof name, "%s/%d", spec->domains.names[i], j);
			if (hash_file(texts[i].train.v[j], &h, e) < 0)
				return -1;
			json_object_set_new(inputs, name, stage_hash_json(h));
		}
	return 0;
}

/* ---- tokenizer ---- */

struct file_chain { /* every training file of every domain, one document after the other */
	const struct corpus *corpus;
	const struct domain_spec *specs;
	int domain, file;
	struct text_reader *reader;
};

static int chain_next(void *context, const char **text, size_t *n_bytes, struct err *e)
{
	struct file_chain *f = context;
	for (; f->domain < f->corpus->n_domains; f->domain++, f->file = 0) {
		const struct domain_spec *d = &f->specs[f->domain];
		for (; f->file < d->train.n; f->file++) {
			if (!f->reader && text_open(&f->reader, d->train.v[f->file], e) < 0)
				return -1;
			int got = text_next(f->reader, text, n_bytes, e);
			if (got)
				return got;
			text_close(f->reader);
			f->reader = NULL;
		}
	}
	return 0;
}

static int train_tokenizer(struct corpus *c, const struct data_spec *spec, const struct domain_spec *specs, struct err *e)
{
	json_t *inputs = json_pack("{s:I}", "vocabulary", (json_int_t)spec->tokenizer->train_vocabulary);
	struct file_chain chain = {.corpus = c, .specs = specs};
	struct tokenizer_train_options options = tokenizer_train_default();
	struct tokenizer *t = NULL;
	bool done;
	int rc = -1;
	TRY(corpus_hash_texts(inputs, spec, specs, e));
	TRY(stage_begin(c->tokenizer_dir, json_incref(inputs), &done, e));
	if (!done) {
		options.vocab_size = (int32_t)spec->tokenizer->train_vocabulary;
		log_line("training a byte-level BPE tokenizer of %d tokens", options.vocab_size);
		TRY(tokenizer_train(&t, &options, chain_next, &chain, e));
		TRY(tokenizer_write(t, c->tokenizer_dir, e));
		TRY(stage_finish(c->tokenizer_dir, e));
	}
	rc = 0;
out:
	text_close(chain.reader);
	tokenizer_free(t);
	json_decref(inputs);
	return rc;
}

static int open_tokenizer(struct corpus *c, const struct data_spec *spec, const struct domain_spec *specs, const char *dir,
			  const char *teacher_dir, struct err *e)
{
	const struct tokenizer_spec *t = spec->tokenizer;
	if (t && t->train_vocabulary) {
		char *path = path_format("%s/tokenizer", dir);
		c->tokenizer_dir = pool_strdup(&c->pool, path);
		free(path);
		if (train_tokenizer(c, spec, specs, e) < 0)
			return -1;
	} else if (t)
		c->tokenizer_dir = pool_strdup(&c->pool, t->path);
	return tokenizer_open(&c->tokenizer, c->tokenizer_dir ? c->tokenizer_dir : teacher_dir, e);
}

/* ---- shards ---- */

static void show_progress(void *user, uint64_t bytes_done, uint64_t bytes_total)
{
	struct progress *p = user;
	p->total = bytes_total;
	progress_update(p, bytes_done, NULL);
}

static int open_shards(struct corpus *c, const struct string_list *files, const char *dir, struct shard **out, int *n, struct err *e)
{
	*out = pool_alloc(&c->pool, (size_t)files->n * sizeof **out);
	for (int i = 0; i < files->n; i++) {
		struct progress p;
		progress_init(&p, "tokenizing", "bytes", 0, 0);
		if (shard_open(&(*out)[i], c->tokenizer, files->v[i], dir, show_progress, &p, e) < 0)
			return -1;
		if (p.done)
			progress_finish(&p, files->v[i]);
		*n = i + 1;
	}
	return 0;
}

size_t corpus_n_documents(const struct shard *s, int n_shards)
{
	size_t n = 0;
	for (int i = 0; i < n_shards; i++)
		n += s[i].n_documents;
	return n;
}

const int32_t *corpus_document(const struct shard *s, int n_shards, size_t i, size_t *n_tokens, size_t *n_bytes)
{
	for (int k = 0; k < n_shards; i -= s[k++].n_documents)
		if (i < s[k].n_documents) {
			*n_tokens = (size_t)(s[k].offsets[i + 1] - s[k].offsets[i]);
			*n_bytes = s[k].n_bytes[i];
			return s[k].ids + s[k].offsets[i];
		}
	BUG_ON(1);
	return NULL;
}

static int set_heldout_apart(struct corpus_domain *d, int64_t wanted, const struct yaml_node *at, struct err *e)
{
	size_t n = corpus_n_documents(d->train, d->n_train), tokens = 0, documents = 0, total = 0;
	for (int i = 0; i < d->n_train; i++)
		total += d->train[i].n_tokens;
	while (documents + 1 < n && tokens < (size_t)wanted) {
		size_t n_tokens, n_bytes;
		corpus_document(d->train, d->n_train, documents++, &n_tokens, &n_bytes);
		tokens += n_tokens;
	}
	if (tokens < (size_t)wanted || tokens > total / 2)
		return yaml_caret(e, at, "domain '%s': %zu training documents of %zu tokens can't spare heldout_tokens %lld", d->name, n,
				  total, (long long)wanted);
	d->heldout_documents = documents;
	return 0;
}

static int open_domain(struct corpus *c, struct corpus_domain *d, const struct domain_spec *spec, const struct data_spec *data,
		       const char *dir, struct err *e)
{
	struct hash h;
	d->weight = spec->weight;
	if (open_shards(c, &spec->train, dir, &d->train, &d->n_train, e) < 0 ||
	    open_shards(c, &spec->eval, dir, &d->eval, &d->n_eval, e) < 0)
		return -1;
	hash_init(&h);
	for (int i = 0; i < d->n_eval; i++)
		hash_update(&h, &d->eval[i].key, sizeof d->eval[i].key);
	d->eval_hash = hash_final(&h);
	return set_heldout_apart(d, data->heldout_tokens, spec->at, e);
}

static uint64_t train_hash(const struct corpus *c)
{
	struct hash h;
	hash_init(&h);
	for (int i = 0; i < c->n_domains; i++)
		for (int k = 0; k < c->domains[i].n_train; k++)
			hash_update(&h, &c->domains[i].train[k].key, sizeof c->domains[i].train[k].key);
	return hash_final(&h);
}

/* A text that is learned by heart judges nobody. */
static int check_apart(const struct corpus *c, const struct domain_spec *specs, int domain, struct err *e)
{
	const struct corpus_domain *d = &c->domains[domain];
	for (int i = 0; i < d->n_eval; i++)
		for (int k = 0; k < c->n_domains; k++)
			for (int j = 0; j < c->domains[k].n_train; j++)
				if (d->eval[i].key == c->domains[k].train[j].key)
					return err_user(e, "domain '%s': %s is to be evaluated on, but it is the text of %s, which domain '%s' trains on",
							d->name, specs[domain].eval.v[i], specs[k].train.v[j], c->domains[k].name);
	return 0;
}

static enum separator separator_of(const struct data_spec *spec, const struct tokenizer *t)
{
	static const enum separator by_key[] = {[DATA_SEPARATOR_NONE] = SEPARATOR_NONE, [DATA_SEPARATOR_BOS] = SEPARATOR_BOS,
						[DATA_SEPARATOR_EOS] = SEPARATOR_EOS, [DATA_SEPARATOR_BOTH] = SEPARATOR_BOTH};
	return spec->separator == DATA_SEPARATOR_AUTO ? separator_default(t) : by_key[spec->separator];
}

int corpus_open(struct corpus *c, const struct data_spec *spec, const char *dir, const char *teacher_dir, struct err *e)
{
	struct domain_spec *specs;
	char *shards = path_format("%s/shards", dir);
	int rc = -1;
	memset(c, 0, sizeof *c);
	c->n_domains = spec->domains.n;
	c->sequence_length = (int)spec->sequence_length;
	c->domains = pool_alloc(&c->pool, (size_t)c->n_domains * sizeof *c->domains);
	for (int i = 0; i < c->n_domains; i++)
		c->domains[i].name = spec->domains.names[i];
	TRY(corpus_texts(&c->pool, spec, dir, &specs, e));
	TRY(open_tokenizer(c, spec, specs, dir, teacher_dir, e));
	c->separator = separator_of(spec, c->tokenizer);
	TRY(fsio_mkdirs(shards, e));
	for (int i = 0; i < c->n_domains; i++)
		TRY(open_domain(c, &c->domains[i], &specs[i], spec, shards, e));
	for (int i = 0; i < c->n_domains; i++)
		TRY(check_apart(c, specs, i, e));
	c->train_hash = train_hash(c);
	rc = 0;
out:
	free(shards);
	if (rc < 0)
		corpus_close(c);
	return rc;
}

void corpus_close(struct corpus *c)
{
	for (int i = 0; i < c->n_domains; i++) {
		struct corpus_domain *d = &c->domains[i];
		for (int k = 0; k < d->n_train; k++)
			shard_close(&d->train[k]);
		for (int k = 0; k < d->n_eval; k++)
			shard_close(&d->eval[k]);
	}
	tokenizer_free(c->tokenizer);
	pool_release(&c->pool);
	memset(c, 0, sizeof *c);
}

int corpus_batches(const struct corpus *c, uint64_t seed, struct batches **out, struct err *e)
{
	struct batches_options options = {.sequence_length = c->sequence_length, .seed = seed, .separator = c->separator,
					  .bos = tokenizer_bos(c->tokenizer), .eos = tokenizer_eos(c->tokenizer)};
	struct domain *domains = calloc((size_t)c->n_domains, sizeof *domains);
	if (!domains)
		return err_run(e, "out of memory");
	for (int i = 0; i < c->n_domains; i++) {
		const struct corpus_domain *d = &c->domains[i];
		domains[i] = (struct domain){d->name, d->weight, d->train, d->n_train, d->heldout_documents};
	}
	int rc = batches_open(out, &options, domains, c->n_domains, e);
	free(domains);
	return rc;
}

struct document_source corpus_heldout(const struct corpus *c, int domain, struct shard_documents *docs)
{
	const struct corpus_domain *d = &c->domains[domain];
	return shard_documents_open(docs, d->train, d->n_train, 0, d->heldout_documents, documents_bos(c->tokenizer));
}
