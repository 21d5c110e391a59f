/* The recipe: what a user asks for, as structs filled from YAML by the key tables of recipe.c. Test: tests/test_recipe.c */
#ifndef RECIPES_RECIPE_H
#define RECIPES_RECIPE_H

#include "kernels/ops.h"
#include "prune/target.h"
#include "recipes/keys.h"

enum {
	RECIPE_MAX_RESULTS = 256, /* of one run: students times seeds, and the teacher */
	RECIPE_MAX_TEACHERS = 8,
	RECIPE_MAX_CANDIDATES = 64, /* of a search for a shape */
	RECIPE_MAX_STAGES = 8,    /* of one student */
};

/* How the shape for a budget is found. */
struct shape_search_spec {
	const struct yaml_node *at;
	int64_t candidates, hidden_multiple, intermediate_multiple; /* 0: automatic */
	double slack;
	struct importance_spec *init; /* its target is NULL: a candidate */
	struct train_spec *train;
};
/* Sizes, a name, or a budget. Read it through recipes/shape_choice.h. */
struct shape_spec {
	const struct yaml_node *at;
	int64_t layers, hidden, heads, kv_heads, intermediate; /* 0: as the source, or searched */
	char *shape;                                           /* of model/public_shapes.h; NULL: none */
	int64_t parameters, memory, flops_per_token;           /* 0: no limit */
	double prefill_ms, decode_ms;
	int64_t length, batch;
	struct shape_search_spec *search;                      /* NULL: no budget */
};
enum { LOSS_HIDDEN_COSINE = DIVERGENCES, LOSS_HIDDEN_MSE, LOSS_RELATIONS, LOSSES }; /* the divergences come first, as enum divergence */
enum { DISTILL_CONSTANT, DISTILL_LINEAR, DISTILL_COSINE };
enum { PROJECT_AUTO, PROJECT_NONE, PROJECT_KEPT, PROJECT_LEARNED };
/* One loss, or (in a list) the weight of cross-entropy: then ce is there and nothing else but ce_end and schedule. */
struct loss_spec {
	const struct yaml_node *at;
	int loss;
	double temperature, temperature_end; /* an end is NaN where it is absent: constant */
	double weight, weight_end;
	int schedule;
	double alpha, beta, skew, mu, reverse; /* beta is NaN where it is absent: its default depends on the loss */
	struct int_list student_layers, teacher_layers; /* negative: from the end; empty: automatic */
	int projection;
	int64_t relation_heads;
	double ce, ce_end; /* NaN: not an item of cross-entropy */
};
struct cache_section {
	const struct yaml_node *at;
	int64_t top_k, samples; /* one of these, or hidden; the others are 0 */
	bool hidden;
	double top_p;           /* 0: off */
	int missing;            /* as enum missing_mass, never SAMPLED */
	double proposal;
	int precision;          /* COMPUTE_FP32, COMPUTE_BF16 */
	char *dir;              /* NULL: inside the run's directory */
	bool write;
};
enum { PRESET_NONE, PRESET_DISTILBERT };
enum { BALANCE_NONE, BALANCE_MAGNITUDE };
/* Read it through distill_plan_from (recipes/distill.h). */
struct distill_spec {
	const struct yaml_node *at;
	struct loss_spec one;       /* where losses is empty */
	struct section_list losses; /* struct loss_spec; a preset has become its list */
	int preset, balance;
	bool skip_separators;
	struct cache_section *cache;
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
enum { METHOD_HARD_CONCRETE, METHOD_SOFT_TOPK };
enum { CONTROL_SOLVED, CONTROL_CODE, CONTROL_PAPER };
enum { WEIGHTS_TRAIN, WEIGHTS_FROZEN };
struct masks_spec {
	const struct yaml_node *at;
	int method, control, weights;
	struct shape_spec *target; /* NULL: the recipe's */
	int64_t tokens, batch_tokens;
	double lr, warmup;
	int schedule;
	double final_lr;
	double beta1, beta2, eps, weight_decay, clip;
	double mask_warmup; /* NaN: the rule's own */
	int64_t eval_every, checkpoint_every;
	int cut;
	struct distill_spec *distill;
};
struct importance_spec {
	const struct yaml_node *at;
	struct shape_spec *target;   /* NULL: the recipe's */
	int method, layers;          /* as enum importance_method, enum layers_method */
	int64_t tokens, sequences;
	bool refit, compensate, merge_kv;
	char *scores;                /* a file of an earlier pass; NULL: measured here */
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
	struct importance_spec *importance;
	struct random_spec *random;
	char *model;
	char *student;               /* a student that is listed earlier */
};
struct stage_spec {
	const struct yaml_node *at;
	struct init_spec *init;
	struct train_spec *train;    /* NULL: none; never of the last stage */
};
/* Read it through recipe_n_stages and recipe_stage. */
struct student_spec {
	struct stage_spec one;       /* where stages is empty */
	struct section_list stages;  /* struct stage_spec */
};
struct share_spec {
	const struct yaml_node *at;
	double weight;
};
struct trim_spec {
	const struct yaml_node *at;
	int64_t max_tokens, min_count, multiple;
};
enum { TEACHER_COMPUTE_SAME, TEACHER_COMPUTE_FP32, TEACHER_COMPUTE_BF16 };
struct teacher_spec {
	const struct yaml_node *at;
	char *model;
	struct init_spec *init;
	struct train_spec *train;
	double weight;
	struct named_list domains; /* struct share_spec */
	int compute;
	struct trim_spec *trim;
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
	struct string_list references;
	int64_t bootstrap, sequence_length, documents;
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
	struct section_list teachers; /* struct teacher_spec, at most RECIPE_MAX_TEACHERS */
	struct teacher_spec *teacher; /* the first */
	struct data_spec *data;
	struct shape_spec *target;
	struct named_list students; /* struct student_spec */
	struct report_spec *report;
};

extern const struct section recipe_section, train_section, masks_section, init_section, data_section, teacher_section,
	student_section, report_section, domain_section, shape_section, shape_search_section, distill_section;
extern const char *const loss_names[]; /* (LOSSES) */

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

/* "masks", "layers", "importance", "random", "model", "student". */
const char *init_kind(const struct init_spec *);
/* The target that it names itself; NULL: the recipe's, or none is needed. */
struct shape_spec *init_target(const struct init_spec *);
/* The stages of a student, 0 <= i < recipe_n_stages: the one inline, or those of the list. */
int recipe_n_stages(const struct student_spec *);
const struct stage_spec *recipe_stage(const struct student_spec *, int i);
/* By name; NULL: nobody. */
const struct student_spec *recipe_student(const struct recipe_spec *, const char *name);
/* What a teacher weighs in a domain, as its key says: its own weight where the domain is not named. */
double teacher_weight(const struct teacher_spec *, const char *domain);
/* That over the sum of all teachers' weights there, in [0, 1]. */
double teacher_share(const struct recipe_spec *, int teacher, const char *domain);

#endif
