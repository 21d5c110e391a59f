/* What a distill section asks of every step: the one-loss form, the list and the preset as one plan of divergences, inner
 * losses and cross-entropy. Knows neither models nor files. Test: tests/test_distill.c */
#ifndef RECIPES_DISTILL_H
#define RECIPES_DISTILL_H

#include "recipes/recipe.h"
#include "student/student.h"

struct distill_term {
	enum divergence kind;
	double weight, weight_end, tau, tau_end; /* ends as starts where nothing changes */
	double a, b;                             /* as struct divergence_term */
	int schedule;                            /* DISTILL_CONSTANT … */
};
struct layer_pair {
	int student, teacher;
};
struct distill_inner {
	enum inner_kind kind;
	double weight, weight_end;    /* of the mean over its pairs of layers */
	int schedule;
	const struct loss_spec *spec; /* layers, projection, relation_heads; spec->at for carets */
	int n_pairs;                  /* 0 until distill_map_layers */
	struct layer_pair pairs[STUDENT_MAX_INNER];
};
struct distill_plan {
	double ce, ce_end;
	int ce_schedule;
	int n_terms;
	struct distill_term terms[STUDENT_MAX_TERMS];
	int n_inner;                  /* items of the recipe; of layers there are more */
	struct distill_inner inner[STUDENT_MAX_INNER];
	bool balance, skip_separators;
	const struct cache_section *cache; /* NULL: the teacher runs beside the student */
};

/* After parsing: a preset becomes its list (in the pool). NULL is fine. Refuses one beside losses or a key of a loss. */
int distill_finish(struct distill_spec *, struct pool *, struct err *);
/* The loss of the i-th item, 0 <= i < distill_n_losses: the one inline, or those of the list. */
int distill_n_losses(const struct distill_spec *);
const struct loss_spec *distill_loss(const struct distill_spec *, int i);

/* spec has passed check_distill, and outlives the plan. One loss of weight w becomes (1-w) CE + w tau^2 D. */
void distill_plan_from(const struct distill_spec *, struct distill_plan *);
/* Layers of every inner loss, from 0, in the order in which inner weights are filled: items, then their layers. What the
 * recipe leaves out: student layers are all of them (relations: the last); the teacher's is kept[l] where the cut is known
 * (kept (student_L), rising), else round((l+1) teacher_L / student_L) - 1, last to last. Refuses, with a caret, a
 * layer that there is not and more than STUDENT_MAX_INNER pairs in all. */
int distill_map_layers(struct distill_plan *, int student_L, int teacher_L, const int *kept, struct err *);
/* Fills weights, temperatures and kd_skip_separators of a step, and n_terms; step_tokens is left alone.
 *   value = start + (end - start) f(x), x = step / (steps-1) (0 of a single step); linear f = x, cosine f = (1 - cos pi x) / 2
 * An inner loss's weight is shared equally by its pairs. 0 <= step < steps. */
void distill_at(const struct distill_plan *, int step, int steps, struct step_loss *out);
/* "reverse_kl w 0.9 tau 1; ce 0.1", for reports and to tell one way of distilling from another; cut to n_bytes. Of balance and
 * separators only what is not the default. */
void distill_text(const struct distill_plan *, char *text, size_t n_bytes);

#endif
