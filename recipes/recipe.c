/* The recipe language: the tables below are its definition; parser, --help, README reference and resolved dump follow them. */
#include "recipes/recipe.h"

#include "results/compare.h"

#include <stdlib.h>
#include <string.h>

#define AT(s, m) offsetof(struct s, m)
#define BIG 1e15

static const struct key shape_keys[] = {
	{"layers", KEY_INT, AT(shape_spec, layers), NULL, "0", .max = 1000, .doc = "transformer layers; 0: as the source"},
	{"hidden", KEY_INT, AT(shape_spec, hidden), NULL, "0", .max = 1 << 20, .doc = "hidden dimensions (hidden_size)"},
	{"heads", KEY_INT, AT(shape_spec, heads), NULL, "0", .max = 4096, .doc = "query heads; fewer at equal kv_heads: the same number goes from every group"},
	{"kv_heads", KEY_INT, AT(shape_spec, kv_heads), NULL, "0", .max = 4096, .doc = "key-value heads; fewer: whole groups go"},
	{"intermediate", KEY_INT, AT(shape_spec, intermediate), NULL, "0", .max = 1 << 22, .doc = "FFN channels (intermediate_size)"},
	{0},
};
const struct section shape_section = {"target", "a shape; what is left out stays as in the source", sizeof(struct shape_spec), shape_keys, NULL, NULL};

static const char *const losses[] = {"forward_kl", NULL};
static const struct key distill_keys[] = {
	{"loss", KEY_CHOICE, AT(distill_spec, loss), NULL, "forward_kl", .choices = losses, .doc = "divergence of the student's distribution from the teacher's"},
	{"temperature", KEY_REAL, AT(distill_spec, temperature), NULL, "1.0", .min = 0.01, .max = 100, .doc = "τ: both softmaxes are taken of logits/τ, and the loss is multiplied by τ²"},
	{"weight", KEY_REAL, AT(distill_spec, weight), NULL, "0.9", .max = 1, .doc = "w: the loss is (1−w)·CE + w·τ²·D"},
	{"skip_separators", KEY_BOOL, AT(distill_spec, skip_separators), NULL, "true", .doc = "leave targets that are document separators to CE alone: many teachers never saw them"},
	{0},
};
static const struct section distill_section = {"distill", "soft targets from the teacher; `null` trains on text alone", sizeof(struct distill_spec), distill_keys, NULL, NULL};

static const char *const schedules[] = {"constant", "cosine", "linear", "wsd", NULL};
#define OPTIMIZER_KEYS(S)                                                                                                        \
	{"schedule", KEY_CHOICE, AT(S, schedule), NULL, "cosine", .choices = schedules, .doc = "of the learning rate after warm-up"},  \
	{"warmup", KEY_REAL, AT(S, warmup), NULL, "0.05", .max = 1, .doc = "share of the steps with a rising rate"},                  \
	{"final_lr", KEY_REAL, AT(S, final_lr), NULL, "0.1", .max = 1, .doc = "rate at the last step, as a share of the peak"},       \
	{"beta1", KEY_REAL, AT(S, beta1), NULL, "0.9", .max = 0.9999, .doc = "AdamW"},                                               \
	{"beta2", KEY_REAL, AT(S, beta2), NULL, "0.95", .max = 0.99999, .doc = "AdamW"},                                             \
	{"eps", KEY_REAL, AT(S, eps), NULL, "1e-8", .min = 1e-16, .max = 1, .doc = "AdamW"},                                         \
	{"weight_decay", KEY_REAL, AT(S, weight_decay), NULL, "0.1", .max = 10, .doc = "AdamW, decoupled, matrices only"},            \
	{"clip", KEY_REAL, AT(S, clip), NULL, "1.0", .max = 1e9, .doc = "global gradient norm; 0: off"},                              \
	{"eval_every", KEY_COUNT, AT(S, eval_every), "tokens", "0", .max = BIG, .doc = "held-out loss for the curves; 0: 20 times in a run"}, \
	{"checkpoint_every", KEY_COUNT, AT(S, checkpoint_every), "tokens", "0", .max = BIG, .doc = "0: 20 times in a run"}

static const struct key train_keys[] = {
	{"tokens", KEY_COUNT, AT(train_spec, tokens), "tokens", NULL, .required = true, .min = 1, .max = BIG, .doc = "the student's whole budget: tokens spent in `init` are subtracted"},
	{"batch_tokens", KEY_COUNT, AT(train_spec, batch_tokens), "tokens", "8Ki", .min = 1, .max = BIG, .doc = "per optimizer step, a multiple of sequence_length"},
	{"lr", KEY_REALS, AT(train_spec, lr), NULL, "1e-3", .min = 1e-9, .max = 10, .doc = "peak learning rate; a list is searched: each runs lr_search_tokens, the lowest held-out loss wins, an edge is extended by its neighbour's ratio"},
	{"lr_search_tokens", KEY_COUNT, AT(train_spec, lr_search_tokens), "tokens", "0", .max = BIG, .doc = "of one candidate (a whole schedule); 0: a tenth of the budget"},
	OPTIMIZER_KEYS(train_spec),
	{"decay", KEY_REAL, AT(train_spec, decay), NULL, "0.2", .max = 1, .doc = "share of the steps that decay, with schedule wsd"},
	{"distill", KEY_SECTION, AT(train_spec, distill), .section = &distill_section, .doc = "soft targets; absent: text alone"},
	{0},
};
const struct section train_section = {"train", "pretraining or continued pretraining", sizeof(struct train_spec), train_keys, NULL, NULL};

static const char *const cuts[] = {"best", "soft", "hard", NULL};
static const struct key masks_keys[] = {
	{"target", KEY_SECTION, AT(masks_spec, target), .section = &shape_section, .doc = "shape to reach; absent: the recipe's target"},
	{"tokens", KEY_COUNT, AT(masks_spec, tokens), "tokens", NULL, .required = true, .min = 1, .max = BIG, .doc = "of the mask phase"},
	{"batch_tokens", KEY_COUNT, AT(masks_spec, batch_tokens), "tokens", "1Ki", .min = 1, .max = BIG, .doc = "per step; tokens/batch_tokens below 300 is warned about"},
	{"lr", KEY_REAL, AT(masks_spec, lr), NULL, "1e-3", .max = 10, .doc = "of the weights while masks are learned"},
	OPTIMIZER_KEYS(masks_spec),
	{"mask_warmup", KEY_REAL, AT(masks_spec, mask_warmup), NULL, "0.5", .min = 0.01, .max = 0.75, .doc = "share of the steps in which the target falls from the full shape; in the last quarter masks are hardened"},
	{"cut", KEY_CHOICE, AT(masks_spec, cut), NULL, "best", .choices = cuts, .doc = "fold soft masks into the weights, set kept ones to 1, or whichever has the lower held-out loss"},
	{"distill", KEY_SECTION, AT(masks_spec, distill), .section = &distill_section, .doc = "soft targets in the mask phase too; absent: text alone"},
	{0},
};
const struct section masks_section = {"masks", "learned masks (hard concrete under a Lagrangian), then the cut", sizeof(struct masks_spec), masks_keys, NULL, NULL};

static const struct key random_keys[] = {
	{"target", KEY_SECTION, AT(random_spec, target), .section = &shape_section, .doc = "shape; absent: the recipe's target"},
	{"family", KEY_STRING, AT(random_spec, family), NULL, "llama", .doc = "of a teacher made from nothing: llama, mistral, qwen2, qwen3"},
	{"head_dim", KEY_INT, AT(random_spec, head_dim), NULL, "0", .max = 1024, .doc = "of a teacher made from nothing; 0: hidden/heads"},
	{"max_positions", KEY_INT, AT(random_spec, max_positions), NULL, "0", .max = 1 << 24, .doc = "of a teacher made from nothing; 0: sequence_length"},
	{"rope_theta", KEY_REAL, AT(random_spec, rope_theta), NULL, "1e4", .min = 1, .max = 1e9, .doc = "of a teacher made from nothing"},
	{"tied", KEY_BOOL, AT(random_spec, tied), NULL, "true", .doc = "of a teacher made from nothing: the output head is the embedding"},
	{0},
};
static const struct section random_section = {"random", "fresh weights, N(0, 0.02)", sizeof(struct random_spec), random_keys, NULL, NULL};

static const struct key init_keys[] = {
	{"masks", KEY_SECTION, AT(init_spec, masks), .section = &masks_section, .doc = "learn what to remove from the teacher, and cut"},
	{"layers", KEY_INTS, AT(init_spec, layers), .max = 1000, .doc = "keep these layers of the teacher, whole (DistilBERT's way)"},
	{"random", KEY_SECTION, AT(init_spec, random), .section = &random_section, .doc = "fresh weights in the target shape"},
	{"model", KEY_STRING, AT(init_spec, model), .doc = "a Hugging Face directory"},
	{0},
};
const struct section init_section = {"init", "where weights come from: exactly one of these", sizeof(struct init_spec), init_keys, NULL, NULL};

static const struct key student_keys[] = {
	{"init", KEY_SECTION, AT(student_spec, init), .required = true, .section = &init_section, .doc = "where its weights come from"},
	{"train", KEY_SECTION, AT(student_spec, train), .required = true, .section = &train_section, .doc = "what it learns then"},
	{0},
};
const struct section student_section = {"student", "a small model: how it starts and how it is trained", sizeof(struct student_spec), student_keys, NULL, NULL};

static const struct key teacher_keys[] = {
	{"model", KEY_STRING, AT(teacher_spec, model), .doc = "a Hugging Face directory (`teacher: DIR` is short for it)"},
	{"init", KEY_SECTION, AT(teacher_spec, init), .section = &init_section, .doc = "`random`: a teacher to pretrain here; `model`: one to correct on the data"},
	{"train", KEY_SECTION, AT(teacher_spec, train), .section = &train_section, .doc = "of that teacher"},
	{0},
};
const struct section teacher_section = {"teacher", "the large model", sizeof(struct teacher_spec), teacher_keys, "model", NULL};

static const struct key generate_keys[] = {
	{"seed", KEY_INT, AT(generate_spec, seed), NULL, "1", .max = BIG, .doc = "of the grammar"},
	{"documents", KEY_COUNT, AT(generate_spec, documents), NULL, "4k", .min = 1, .max = 1e8, .doc = "to train on"},
	{"eval_documents", KEY_COUNT, AT(generate_spec, eval_documents), NULL, "300", .min = 1, .max = 1e6, .doc = "to evaluate on"},
	{0},
};
static const struct section generate_section = {"generate", "a corpus made here by a seeded grammar of small stories", sizeof(struct generate_spec), generate_keys, NULL, NULL};

static const struct key domain_keys[] = {
	{"train", KEY_STRINGS, AT(domain_spec, train), .doc = "files: .txt (documents separated by a line <|endoftext|>), .jsonl (key text), both also .gz"},
	{"eval", KEY_STRINGS, AT(domain_spec, eval), .doc = "files that no student trains on"},
	{"generate", KEY_SECTION, AT(domain_spec, generate), .section = &generate_section, .doc = "instead of files"},
	{"weight", KEY_REAL, AT(domain_spec, weight), NULL, "1.0", .min = 1e-9, .max = 1e9, .doc = "share of the sequences, relative to the others"},
	{0},
};
const struct section domain_section = {"domain", "one kind of text", sizeof(struct domain_spec), domain_keys, NULL, NULL};

static const struct key tokenizer_keys[] = {
	{"path", KEY_STRING, AT(tokenizer_spec, path), .doc = "tokenizer.json or its directory; absent: the teacher's"},
	{"train_vocabulary", KEY_COUNT, AT(tokenizer_spec, train_vocabulary), "tokens", "0", .max = 1 << 20, .doc = "train a byte-level BPE of this size on the training text; 0: don't"},
	{0},
};
static const struct section tokenizer_section = {"tokenizer", "for a teacher made from nothing", sizeof(struct tokenizer_spec), tokenizer_keys, "path", NULL};

static const char *const separators[] = {"auto", "none", "bos", "eos", "both", NULL};
static const struct key data_keys[] = {
	{"sequence_length", KEY_INT, AT(data_spec, sequence_length), "tokens", "256", .min = 2, .max = 1 << 20, .doc = "of a training sequence"},
	{"separator", KEY_CHOICE, AT(data_spec, separator), NULL, "auto", .choices = separators, .doc = "between packed documents; auto: what the tokenizer adds"},
	{"heldout_tokens", KEY_COUNT, AT(data_spec, heldout_tokens), "tokens", "32Ki", .min = 256, .max = BIG, .doc = "first documents of each domain's training files, never trained on: curves, learning rates and the choice of the cut come from them"},
	{"tokenizer", KEY_SECTION, AT(data_spec, tokenizer), .section = &tokenizer_section, .doc = "absent: the teacher's"},
	{"domains", KEY_NAMED, AT(data_spec, domains), .required = true, .section = &domain_section, .doc = "by name"},
	{0},
};
const struct section data_section = {"data", "text to learn from and to judge by", sizeof(struct data_spec), data_keys, NULL, NULL};

static const char *const metrics_kinds[] = {"csv", "jsonl", NULL};
static const struct key report_keys[] = {
	{"reference", KEY_STRING, AT(report_spec, reference), .doc = "student that the others are compared with; absent: the last with fresh weights, else the last"},
	{"bootstrap", KEY_COUNT, AT(report_spec, bootstrap), "resamples", "10k", .min = 100, .max = 1e7, .doc = "of documents, for the intervals"},
	{"sequence_length", KEY_INT, AT(report_spec, sequence_length), "tokens", "0", .max = 1 << 20, .doc = "of evaluation windows; 0: the model's, at most 2048"},
	{"notes", KEY_STRINGS, AT(report_spec, notes), .doc = "sentences that stand at the top of the report: what a reader must know of the data"},
	{"metrics", KEY_CHOICE, AT(report_spec, metrics), NULL, "csv", .choices = metrics_kinds, .doc = "format of metrics files"},
	{0},
};
const struct section report_section = {"report", "how students are compared", sizeof(struct report_spec), report_keys, NULL, NULL};

static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
static const char *const computes[] = {"fp32", "bf16", NULL};
static const struct key recipe_keys[] = {
	{"recipe", KEY_INT, AT(recipe_spec, version), NULL, NULL, .required = true, .min = 1, .max = 1.5, .doc = "version of this language: 1"},
	{"name", KEY_STRING, AT(recipe_spec, name), .required = true, .doc = "identity of the run: its default directory is runs/<name>"},
	{"seeds", KEY_INTS, AT(recipe_spec, seeds), NULL, "[17]", .max = BIG, .doc = "each student is trained once per seed"},
	{"device", KEY_CHOICE, AT(recipe_spec, device), NULL, "auto", .choices = devices, .doc = "auto: the best there is"},
	{"compute", KEY_CHOICE, AT(recipe_spec, compute), NULL, "fp32", .choices = computes, .doc = "matrix products of training; masters, sums and evaluation are fp32"},
	{"threads", KEY_INT, AT(recipe_spec, threads), NULL, "0", .max = 4096, .doc = "0: all that the process may use"},
	{"micro_batch", KEY_INT, AT(recipe_spec, micro_batch), "sequences", "0", .max = 1 << 20, .doc = "per forward pass; 0: chosen so that it fits, about 4096 tokens"},
	{"teacher", KEY_SECTION, AT(recipe_spec, teacher), .required = true, .section = &teacher_section, .doc = "the large model"},
	{"data", KEY_SECTION, AT(recipe_spec, data), .required = true, .section = &data_section, .doc = "text"},
	{"target", KEY_SECTION, AT(recipe_spec, target), .section = &shape_section, .doc = "shape of every student whose init names none"},
	{"students", KEY_NAMED, AT(recipe_spec, students), .required = true, .section = &student_section, .doc = "by name; the report keeps their order"},
	{"report", KEY_SECTION, AT(recipe_spec, report), NULL, "{}", .section = &report_section, .doc = "how they are compared"},
	{0},
};
const struct section recipe_section = {"recipe", "the whole file", sizeof(struct recipe_spec), recipe_keys, NULL, NULL};

/* ---- what the tables cannot say ---- */

/* Where a key's value stands; the section itself when the key is left to its default. */
static const struct yaml_node *place(const struct yaml_node *section, const char *key)
{
	const struct yaml_node *value = yaml_get(section, key);
	return value ? value : section;
}

/* What counters of steps and rows hold, with room to spare. */
static int check_counts(const struct recipe_spec *r, const struct yaml_node *at, int64_t tokens, int64_t batch_tokens, struct err *e)
{
	const int64_t max_steps = 100000000, max_sequences = 1000000, max_rows = 1 << 30;
	int64_t T = r->data->sequence_length;
	if (batch_tokens / T > max_sequences)
		return yaml_caret(e, place(at, "batch_tokens"), "batch_tokens %lld are %lld sequences per step, expected at most %lld",
				  (long long)batch_tokens, (long long)(batch_tokens / T), (long long)max_sequences);
	if (tokens / batch_tokens > max_steps)
		return yaml_caret(e, place(at, "tokens"), "tokens %lld are %lld steps of batch_tokens %lld, expected at most %lld", (long long)tokens,
				  (long long)(tokens / batch_tokens), (long long)batch_tokens, (long long)max_steps);
	if (r->micro_batch * T > max_rows)
		return yaml_caret(e, place(r->at, "micro_batch"), "micro_batch: %lld sequences of %lld tokens, expected at most %lld tokens",
				  (long long)r->micro_batch, (long long)T, (long long)max_rows);
	return 0;
}

static int check_steps(const struct recipe_spec *r, const struct yaml_node *at, int64_t tokens, int64_t batch_tokens, struct err *e)
{
	int64_t T = r->data->sequence_length;
	if (batch_tokens % T)
		return yaml_caret(e, place(at, "batch_tokens"), "batch_tokens %lld is not a multiple of sequence_length %lld", (long long)batch_tokens,
				  (long long)T);
	if (check_counts(r, at, tokens, batch_tokens, e) < 0)
		return -1;
	if (tokens < batch_tokens)
		return yaml_caret(e, place(at, "tokens"), "tokens %lld are less than one step of batch_tokens %lld", (long long)tokens,
				  (long long)batch_tokens);
	if (r->micro_batch && batch_tokens / T % r->micro_batch)
		return yaml_caret(e, place(r->at, "micro_batch"), "micro_batch: %lld does not divide the %lld sequences of a step",
				  (long long)r->micro_batch, (long long)(batch_tokens / T));
	return 0;
}

static int check_train(const struct recipe_spec *r, const struct train_spec *t, struct err *e)
{
	if (check_steps(r, t->at, t->tokens, t->batch_tokens, e) < 0)
		return -1;
	if (!t->lr.n)
		return yaml_caret(e, place(t->at, "lr"), "lr: expected at least one rate");
	if (t->lr.n > 8)
		return yaml_caret(e, place(t->at, "lr"), "lr: at most 8 rates to search");
	for (int i = 1; i < t->lr.n; i++)
		if (t->lr.v[i] <= t->lr.v[i - 1])
			return yaml_caret(e, place(t->at, "lr"), "lr: rates to search are written in rising order");
	return 0;
}

static int check_init(const struct recipe_spec *r, const struct init_spec *i, struct err *e)
{
	int n = !!i->masks + !!i->layers.n + !!i->random + !!i->model;
	if (n != 1)
		return yaml_caret(e, i->at, "init: expected exactly one of masks, layers, random, model; found %d", n);
	if (i->masks && check_steps(r, i->masks->at, i->masks->tokens, i->masks->batch_tokens, e) < 0)
		return -1;
	if ((i->masks && !i->masks->target && !r->target) || (i->random && !i->random->target && !r->target))
		return yaml_caret(e, i->at, "no target: neither here nor at the top of the recipe");
	return 0;
}

static int check_domain(const struct domain_spec *d, struct err *e)
{
	if (d->generate ? d->train.n || d->eval.n : !d->train.n || !d->eval.n)
		return yaml_caret(e, d->at, "a domain has train and eval files, or generate");
	return 0;
}

static int check_teacher(const struct recipe_spec *r, const struct teacher_spec *t, struct err *e)
{
	if (!!t->model == !!t->init)
		return yaml_caret(e, t->at, "teacher: expected a model directory, or init and train");
	if (t->model)
		return t->train ? yaml_caret(e, t->at, "teacher: a teacher to train further is written {init: {model: DIR}, train: …}") : 0;
	if (!t->train)
		return yaml_caret(e, t->at, "teacher: the key 'train' is missing beside init");
	if (t->train->distill)
		return yaml_caret(e, t->train->at, "teacher: it has no teacher of its own; remove distill");
	if (t->init->masks || t->init->layers.n)
		return yaml_caret(e, t->init->at, "teacher: init is random or model");
	if (t->init->random && !t->init->random->target)
		return yaml_caret(e, t->init->at, "teacher: random needs a target of its own");
	if (check_train(r, t->train, e) < 0)
		return -1;
	return check_init(r, t->init, e);
}

static int check_students(const struct recipe_spec *r, struct err *e)
{
	bool found = !r->report->reference;
	for (int i = 0; i < r->students.n; i++) {
		const struct student_spec *s = r->students.v[i];
		if (check_init(r, s->init, e) < 0 || check_train(r, s->train, e) < 0)
			return -1;
		if (s->init->masks && s->train->tokens < s->init->masks->tokens + s->train->batch_tokens)
			return yaml_caret(e, place(s->train->at, "tokens"), "tokens are the whole budget of the student: %lld leave nothing after the %lld of init.masks",
					  (long long)s->train->tokens, (long long)s->init->masks->tokens);
		if (!strcmp(r->students.names[i], "teacher"))
			return yaml_caret(e, r->students.at[i], "the name 'teacher' is taken");
		found |= r->report->reference && !strcmp(r->report->reference, r->students.names[i]);
	}
	return found ? 0 : yaml_caret(e, place(r->report->at, "reference"), "report.reference: no student is called '%s'", r->report->reference);
}

static int check_seeds(const struct recipe_spec *r, struct err *e)
{
	const struct yaml_node *at = place(r->at, "seeds");
	if (!r->seeds.n)
		return yaml_caret(e, at, "seeds: expected at least one");
	for (int i = 1; i < r->seeds.n; i++)
		for (int k = 0; k < i; k++)
			if (r->seeds.v[i] == r->seeds.v[k])
				return yaml_caret(e, at, "seeds: %lld stands twice", (long long)r->seeds.v[i]);
	return 0;
}

/* What the comparison at the end can hold. */
static int check_comparison(const struct recipe_spec *r, struct err *e)
{
	if (r->seeds.n > COMPARE_MAX_SEEDS)
		return yaml_caret(e, place(r->at, "seeds"), "seeds: at most %d, found %d", COMPARE_MAX_SEEDS, r->seeds.n);
	if (r->students.n > COMPARE_MAX_ROWS - 1)
		return yaml_caret(e, place(r->at, "students"), "students: at most %d, found %d", COMPARE_MAX_ROWS - 1, r->students.n);
	if (r->students.n * r->seeds.n + 1 > RECIPE_MAX_RESULTS)
		return yaml_caret(e, place(r->at, "seeds"), "seeds: %d of %d students are %d results, expected at most %d", r->seeds.n, r->students.n,
				  r->students.n * r->seeds.n, RECIPE_MAX_RESULTS - 1);
	return 0;
}

static int check(const struct recipe_spec *r, struct err *e)
{
	for (const char *c = r->name; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.", *c) || r->name[0] == '.')
			return yaml_caret(e, yaml_get(r->at, "name"), "name: it becomes a directory: letters, digits, '_', '-' and '.'");
	if (check_seeds(r, e) < 0 || check_comparison(r, e) < 0)
		return -1;
	if (r->report->sequence_length == 1)
		return yaml_caret(e, place(r->report->at, "sequence_length"), "report.sequence_length: a window of one token scores nothing; expected 0 or at least 2");
	if (r->data->domains.n > RESULT_MAX_EVALS)
		return yaml_caret(e, place(r->data->at, "domains"), "domains: at most %d, found %d", RESULT_MAX_EVALS, r->data->domains.n);
	for (int i = 0; i < r->data->domains.n; i++)
		if (check_domain(r->data->domains.v[i], e) < 0)
			return -1;
	if (check_teacher(r, r->teacher, e) < 0)
		return -1;
	if (r->teacher->init && r->teacher->init->random && !r->data->tokenizer)
		return yaml_caret(e, r->data->at, "data: a teacher made from nothing needs a tokenizer: {train_vocabulary: N} or a path");
	if (r->data->tokenizer && !r->data->tokenizer->path == !r->data->tokenizer->train_vocabulary)
		return yaml_caret(e, r->data->tokenizer->at, "tokenizer: expected a path, or train_vocabulary");
	return check_students(r, e);
}

int recipe_open(struct recipe *r, const char *path, const char *const *sets, int n_sets, struct err *e)
{
	memset(r, 0, sizeof *r);
	int rc = -1;
	if (yaml_parse_file(&r->tree, path, e) < 0) {
		e->status = ERR_USER; /* no such file: the command is wrong */
		goto out;
	}
	for (int i = 0; i < n_sets; i++)
		TRY(yaml_path_set(&r->tree, sets[i], e));
	r->path = pool_strdup(&r->pool, path);
	TRY(section_parse((void **)&r->spec, &recipe_section, r->tree.root, &r->pool, e));
	TRY(check(r->spec, e));
	rc = 0;
out:
	if (rc < 0)
		recipe_close(r);
	return rc;
}

void recipe_close(struct recipe *r)
{
	yaml_release(&r->tree);
	pool_release(&r->pool);
	memset(r, 0, sizeof *r);
}

char *recipe_resolved(const struct recipe *r)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	BUG_ON(!f);
	section_dump(f, &recipe_section, r->spec, 0);
	fclose(f);
	return text;
}

struct target recipe_target(const struct shape_spec *own, const struct shape_spec *common)
{
	const struct shape_spec *s = own ? own : common;
	if (!s)
		return (struct target){0};
	return (struct target){(int)s->layers, (int)s->hidden, (int)s->heads, (int)s->kv_heads, (int)s->intermediate};
}

const char *init_kind(const struct init_spec *i)
{
	return i->masks ? "masks" : i->layers.n ? "layers" : i->random ? "random" : "model";
}

bool init_inherits(const struct init_spec *i)
{
	return !i->random;
}
