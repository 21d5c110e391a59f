/* A run: one recipe in one directory, and what all its stages share. Test: tests/test_run.c through the program. */
#ifndef RECIPES_RUN_H
#define RECIPES_RUN_H

#include "model/hf.h"
#include "recipes/corpus.h"
#include "recipes/recipe.h"
#include "results/result_file.h"

struct ops;
struct shape_choices;

struct run_teacher {
	char *dir;              /* the checkpoint; NULL while it is still to be made */
	struct hf_model model;
	uint64_t hash;
	struct ops *ops;        /* of its forward pass: run->ops, or its own where its compute differs */
	double share[RESULT_MAX_EVALS]; /* by domain; those of all teachers add up to 1 */
	const char *note;       /* what was done to it, for the report; NULL: nothing */
};
struct run {
	struct recipe recipe;
	const struct recipe_spec *spec;
	char *dir;
	int lock_fd;
	bool allow_drift;
	char *started;           /* ISO 8601, of the first start */
	struct ops *ops;         /* training */
	struct ops *eval_ops;    /* fp32; ops itself when compute is fp32 */
	struct ops *bf16_ops;    /* of teachers that ask for it beside fp32 students; else NULL */
	struct corpus corpus;
	struct run_teacher teachers[RECIPE_MAX_TEACHERS]; /* students are cut from, and scored beside, the first */
	int n_teachers;
	struct shape_choices *shapes; /* what budgets have become; grows as searches end */
};

struct run_options {
	const char *recipe_path;
	const char *out; /* NULL: runs/<name> */
	const char *const *sets;
	int n_sets;
	bool allow_drift;
};
/* The whole thing; prints the comparison to stdout and the report's path. */
int run_recipe(const struct run_options *, struct err *);
/* `plan`: what it would cost, to stdout. Touches nothing. */
int run_plan(const struct run_options *, struct err *);

/* The plan of an opened run (recipe, backend, and the teacher when it is given), to stdout. */
int plan_print(struct run *, struct err *);

/* After SIGINT or SIGTERM: loops write a checkpoint and leave. A second one kills. */
bool run_interrupted(void);
/* Before any thread is started, once. */
void run_catch_signals(void);

/* Identity of the program: "0.1.0", commit, and a text with every library. */
const char *version_number(void);
const char *version_commit(void);
void version_describe(char *out, size_t n);

#endif
