/* A model that learns: masters, gradients, moments, the training step and its checkpoint. Tokens come as arrays; where
 * they come from, and who the teacher is, is the stage's affair. One optimizer step is
 *   student_begin -> n x (student_upload -> student_microbatch) -> student_update.
 * Test: tests/test_student.c, tests/test_checkpoint.c */
#ifndef STUDENT_STUDENT_H
#define STUDENT_STUDENT_H

#include "losses/fused_head.h"
#include "losses/relation_loss.h"
#include "model/hf.h"
#include "model/transformer.h"

enum { STUDENT_MAX_TERMS = 8, STUDENT_MAX_INNER = 32 };
/* One inner loss: a layer of the student and the teacher's layer that it follows (negative never: the stage resolves). */
enum inner_kind { INNER_HIDDEN_COSINE, INNER_HIDDEN_MSE, INNER_RELATIONS };
enum projection_kind {
	PROJECTION_NONE,    /* widths are equal */
	PROJECTION_KEPT,    /* the teacher's columns that the cut kept are compared, nothing is learned */
	PROJECTION_LEARNED, /* W (teacher C, student C) is learned with the student: W h_s is compared with h_t */
};
struct inner_term {
	enum inner_kind kind;
	int student_layer, teacher_layer;
	enum projection_kind projection; /* hidden states only */
	const int *columns;  /* host (student C), the stage's, read by a real student_init only. KEPT: the teacher's columns;
			      * LEARNED: where W starts as a selection, NULL: W starts N(0, 1/C) */
	int teacher_C;       /* hidden states */
	struct relation_shape teacher_heads; /* RELATIONS */
	int relation_heads;  /* RELATIONS: R > 0, divides the widths of queries and of keys on both sides */
};
struct student_options {
	int B, T;            /* micro-batch */
	enum activation_mode mode; /* TRAIN or MASKED */
	enum dtype type;     /* compute copy of matrices: F32 or BF16 */
	int n_teachers;      /* 0: no distillation */
	int teacher_V;       /* smallest vocabulary of the teachers with dense targets; 0: none is dense */
	int n_terms;         /* divergences of a step, at most STUDENT_MAX_TERMS */
	int n_inner;         /* inner losses, from teacher 0 alone */
	struct inner_term inner[STUDENT_MAX_INNER];
	uint64_t projection_seed;
	size_t chunk_bytes;  /* of the fused head, 0: default */
	float beta1, beta2, eps, weight_decay; /* AdamW; decay acts on matrices only */
	float clip_norm;     /* global gradient norm, 0: off */
	bool frozen;         /* parameters stay as loaded and have no moments; gradients still flow, projections still learn */
};
/* No sizes; TRAIN, F32, betas 0.9 and 0.95, eps 1e-8, decay 0.1, clipping at 1. */
struct student_options student_default(void);

/* Bytes by owner, filled by a dry run; `run` allocates exactly these. */
struct student_arenas {
	struct arena weights, gradients, moments, activations, loss;
};

struct student {
	struct ops *ops;
	struct student_options options;
	struct param_layout layout;
	struct params params; /* points to layout: the struct must not be moved */
	float *grads;         /* device, (n_elems) */
	float *m, *v;         /* likewise; NULL: frozen */
	struct activations *act;
	struct fused_head *head;
	struct projections *projections; /* learned with the parameters; NULL: none */
	struct inner_losses *inner;      /* NULL: none */
	int step;             /* optimizer steps done */
	struct student_buffers *buffers; /* device copies of a batch, row weights, losses; host mirrors */
};
/* Called dry (arenas dry) and real. Real: weights, gradients and moments are zero until student_load or
 * student_randomise. Fails when memory for small host tables is short; nothing is then left to release. */
int student_init(struct student *, struct ops *, const struct arch *, const struct student_options *,
                 struct student_arenas *, struct err *);
/* The largest operands of its steps (model, head, inner losses), for ops_*_reserve. */
struct ops_limits student_limits(const struct arch *, const struct student_options *);
/* What the struct owns, not the arenas' memory; a zeroed struct is fine. */
void student_release(struct student *);
/* From a flat host array in layout order (hf_read_f32). */
void student_load(struct student *, const float *flat);
/* N(0, init_std) matrices (o and down scaled by 1/sqrt(2L)), unit norms, zero biases. An element is a function of the seed,
 * its tensor's index and its place in it. Source: Radford et al. 2019, section 2.3, for the scaling. */
void student_randomise(struct student *, uint64_t seed);
/* The masters, downloaded into a host array of layout.n_elems. */
void student_weights(const struct student *, float *flat);

enum { TRAIN_TARGET_IS_SEPARATOR = 1 }; /* a flag of a row */
struct train_batch { /* host arrays, (B*T), read during student_upload only */
	const int32_t *tokens, *targets, *pos, *start; /* a target < 0: the row does not count */
	const uint8_t *flags; /* as data/batches.h gives them, or NULL */
};
/* Of a row with soft targets (a teacher that is there has a share in it):
 *   ce_weight CE + sum_m share_m sum_k terms[k].weight scale_k D_k(p_m, q) + sum_i inner_weight[i] inner_i
 * A row that counts and has none (or is a separator that is left out) counts with CE weight 1. Inner terms compare with
 * teacher 0, whatever its share; they rest in a micro-batch where it is NONE. */
struct step_loss {
	float ce_weight;    /* >= 0; used with soft targets only */
	int n_terms;        /* 0: inner losses alone, or no teacher */
	struct divergence_term terms[STUDENT_MAX_TERMS];
	float inner_weight[STUDENT_MAX_INNER]; /* >= 0, 0: watched only; MSE, cosine and relations take no tau^2 */
	bool kd_skip_separators;
	size_t step_tokens; /* counted rows in the whole step: gradients are averaged over tokens, not over micro-batches */
};
struct step_teacher {
	const struct soft_targets *soft; /* NONE: as if it were not there; teacher 0 brings `inner` where there are inner terms */
	const float *share;  /* (B*T) host, >= 0, what this teacher's divergences weigh in a row; NULL: 1 everywhere */
};
struct step_sums { /* += per micro-batch, unweighted sums over rows, in row order */
	double ce;           /* every counted row, also when ce_weight = 0 */
	size_t tokens, kd_tokens; /* counted rows; of these, rows with soft targets */
	double terms[STUDENT_MAX_TERMS]; /* scale_k D_k over kd_tokens, teachers by their share */
	double inner[STUDENT_MAX_INNER]; /* over kd_tokens */
	double teacher_ce;   /* of teachers by their share, over kd_tokens */
	size_t agree;        /* the student's argmax is that of the teacher with the largest share, over kd_tokens */
	double ce_text; size_t text_tokens; /* rows whose target is not a separator */
};
void student_begin(struct student *); /* zeroes gradients */
/* The device batch of the last upload, for the teacher's forward: upload, teacher_targets, then microbatch. */
const struct batch *student_upload(struct student *, const struct train_batch *);
/* Forward, loss and backward of the last upload; gradients accumulate. n_teachers 0: plain cross-entropy. masks,
 * mask_grads, taps may be NULL; mask gradients need mode MASKED. A sum that is not finite is kept for student_update. */
void student_microbatch(struct student *, const struct step_loss *, int n_teachers, const struct step_teacher *,
                        const struct masks *, const struct mask_grads *, const struct taps *, struct step_sums *);
/* Clips by min(1, clip_norm / (norm + 1e-6)), then AdamW at lr; step grows by one. A loss or gradient that is not
 * finite: -1, with the step and the first tensor that is not finite; weights, moments and step are untouched.
 * grad_norm (global, before clipping) may be NULL. Source: Loshchilov & Hutter 2019; Pascanu et al. 2013 (clipping). */
int student_update(struct student *, float lr, float *grad_norm, struct err *);

/* Everything that resume needs, into and out of one safetensors file: F32 tensors "master", "m", "v" (without the latter two
 * when frozen), those of learned
 * projections ("projections", "projections.m", "projections.v", only where there are any), the step, and the
 * caller's metadata, one JSON text that comes back unchanged. extra: further host arrays by name (mask state).
 * Atomic: at `path` stands the old file or the new one, whatever happens. */
struct checkpoint_array {
	const char *name;
	void *data;          /* host */
	size_t n_bytes;
};
int checkpoint_save(const char *path, const struct student *, const char *metadata, const struct checkpoint_array *extra,
                    int n_extra, struct err *);
/* Refuses another layout, and extra arrays that are absent, superfluous or of another size. The student and the extra
 * arrays are touched only when all is well. *metadata is malloc'ed, the caller's. */
int checkpoint_load(const char *path, struct student *, char **metadata, const struct checkpoint_array *extra, int n_extra,
                    struct err *);

#endif
