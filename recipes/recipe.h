/* The recipe: what a user asks for, as structs filled from YAML by the key tables of recipe.c. Test: tests/test_recipe.c */
#ifndef RECIPES_RECIPE_H
#define RECIPES_RECIPE_H

#include "prune/target.h"
#include "recipes/keys.h"

enum { RECIPE_MAX_RESULTS = 256 }; /* of one run: students times seeds, and the teacher */

struct shape_spec { /* 0: as the source */
	const struct yaml_node *at;
	int64_t layers, hidden, heads, kv_heads, intermediate;
};
enum { LOSS_FORWARD_KL };
struct distill_spec {
	const struct yaml_node *at;
	int loss;
	double temperature, weight;
	bool skip_separators;
};
enum { LR_SCHEDULE_CONSTANT, LR_SCHEDULE_COSINE, LR_SCHEDULE_LINEAR, LR_SCHEDULE_WSD }; /* as enum schedule_kind */
struct train_spec {
	const struct yaml_node *at;
	int64_t tokens, batch_tokens;
	struct real_list lr;
	int64_t lr_search_tokens;
	int schedule;
	double warmup, decay, final_lr;
	double beta1, beta2, eps, weight_decay, clip;
	int64_t eval_every, checkpoint_every;
	struct distill_spec *distill;
};
enum { CUT_BEST, CUT_SOFT, CUT_HARD };
struct masks_spec {
	const struct yaml_node *at;
	struct shape_spec *target; /* NULL: the recipe's */
	int64_t tokens, batch_tokens;
	double lr, warmup;
	int schedule;
	double final_lr;
	double beta1, beta2, eps, weight_decay, clip;
	double mask_warmup;
	int64_t eval_every, checkpoint_every;
	int cut;
	struct distill_spec *distill;
};
struct random_spec {
	const struct yaml_node *at;
	struct shape_spec *target;
	char *family;
	int64_t head_dim, max_positions;
	double rope_theta;
	bool tied;
};
struct init_spec {
	const struct yaml_node *at;
	struct masks_spec *masks;
	struct int_list layers;
	struct random_spec *random;
	char *model;
};
struct student_spec {
	const struct yaml_node *at;
	struct init_spec *init;
	struct train_spec *train;
};
struct teacher_spec {
	const struct yaml_node *at;
	char *model;
	struct init_spec *init;
	struct train_spec *train;
};
struct generate_spec {
	const struct yaml_node *at;
	int64_t seed, documents, eval_documents;
};
struct domain_spec {
	const struct yaml_node *at;
	struct string_list train, eval;
	struct generate_spec *generate;
	double weight;
};
struct tokenizer_spec {
	const struct yaml_node *at;
	char *path;
	int64_t train_vocabulary;
};
enum { DATA_SEPARATOR_AUTO, DATA_SEPARATOR_NONE, DATA_SEPARATOR_BOS, DATA_SEPARATOR_EOS, DATA_SEPARATOR_BOTH };
struct data_spec {
	const struct yaml_node *at;
	int64_t sequence_length;
	int separator;
	int64_t heldout_tokens;
	struct tokenizer_spec *tokenizer;
	struct named_list domains; /* struct domain_spec */
};
enum { METRICS_CSV, METRICS_JSONL };
struct report_spec {
	const struct yaml_node *at;
	char *reference;
	int64_t bootstrap, sequence_length;
	int metrics;
	struct string_list notes;
};
enum { DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA };
enum { COMPUTE_FP32, COMPUTE_BF16 };
struct recipe_spec {
	const struct yaml_node *at;
	int64_t version;
	char *name;
	struct int_list seeds;
	int device, compute;
	int64_t threads, micro_batch;
	struct teacher_spec *teacher;
	struct data_spec *data;
	struct shape_spec *target;
	struct named_list students; /* struct student_spec */
	struct report_spec *report;
};

extern const struct section recipe_section, train_section, masks_section, init_section, data_section, teacher_section,
	student_section, report_section, domain_section, shape_section;

struct recipe {
	struct recipe_spec *spec;
	struct yaml_tree tree;
	struct pool pool;
	char *path;
};
/* Reads, applies the --set assignments, parses and checks what can be checked without opening a model. */
int recipe_open(struct recipe *, const char *path, const char *const *sets, int n_sets, struct err *);
void recipe_close(struct recipe *); /* a zeroed struct is fine */
/* "recipe: 1 …": the resolved recipe, every default spelled out; parsing it gives the same recipe. */
char *recipe_resolved(const struct recipe *);

/* The shape that an init aims at: its own target over the recipe's; NULL where there is none. */
struct target recipe_target(const struct shape_spec *own, const struct shape_spec *common);
/* Does a student inherit weights (masks, layers, model)? Fresh ones are random. */
bool init_inherits(const struct init_spec *);
/* "masks", "layers", "random", "model". */
const char *init_kind(const struct init_spec *);

#endif
