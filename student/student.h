/* A model that learns: masters, gradients, moments, the training step and its checkpoint. Tokens come as arrays; where
 * they come from, and who the teacher is, is the stage's affair. One optimizer step is
 *   student_begin -> n x (student_upload -> student_microbatch) -> student_update.
 * Test: tests/test_student.c, tests/test_checkpoint.c */
#ifndef STUDENT_STUDENT_H
#define STUDENT_STUDENT_H

#include "losses/fused_head.h"
#include "model/hf.h"
#include "model/transformer.h"

struct student_options {
	int B, T;            /* micro-batch */
	enum activation_mode mode; /* TRAIN or MASKED */
	enum dtype type;     /* compute copy of matrices: F32 or BF16 */
	int teacher_V;       /* 0: no distillation */
	size_t chunk_bytes;  /* of the fused head, 0: default */
	float beta1, beta2, eps, weight_decay; /* AdamW; decay acts on matrices only */
	float clip_norm;     /* global gradient norm, 0: off */
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
	float *grads, *m, *v; /* device, (n_elems) */
	struct activations *act;
	struct fused_head *head;
	int step;             /* optimizer steps done */
	struct student_buffers *buffers; /* device copies of a batch, row weights, losses; host mirrors */
};
/* Called dry (arenas dry) and real. Real: weights, gradients and moments are zero until student_load or
 * student_randomise. Fails when memory for small host tables is short; nothing is then left to release. */
int student_init(struct student *, struct ops *, const struct arch *, const struct student_options *,
                 struct student_arenas *, struct err *);
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
struct step_loss {
	float kd_weight; /* w in [0,1]: loss = (1-w) CE + w tau^2 KL; a row left out of the KL counts with CE weight 1 */
	float tau;       /* > 0; read with soft targets only */
	bool kd_skip_separators;
	size_t step_tokens; /* counted rows in the whole step: gradients are averaged over tokens, not over micro-batches */
};
struct step_sums { /* += per micro-batch, unweighted sums over rows, in row order */
	double ce, kl;       /* ce counts every row, also when w = 1; kl is tau^2 KL */
	size_t tokens, kd_tokens;
	size_t agree;        /* student and teacher argmax equal, over kd_tokens */
	double ce_text; size_t text_tokens; /* rows whose target is not a separator */
};
void student_begin(struct student *); /* zeroes gradients */
/* The device batch of the last upload, for the teacher's forward: upload, teacher_targets, then microbatch. */
const struct batch *student_upload(struct student *, const struct train_batch *);
/* Forward, loss and backward of the last upload; gradients accumulate. soft NULL or NONE: plain cross-entropy. masks,
 * mask_grads, taps may be NULL; mask gradients need mode MASKED. A sum that is not finite is kept for student_update. */
void student_microbatch(struct student *, const struct step_loss *, const struct soft_targets *, const struct masks *,
                        const struct mask_grads *, const struct taps *, struct step_sums *);
/* Clips by min(1, clip_norm / (norm + 1e-6)), then AdamW at lr; step grows by one. A loss or gradient that is not
 * finite: -1, with the step and the first tensor that is not finite; weights, moments and step are untouched.
 * grad_norm (global, before clipping) may be NULL. Source: Loshchilov & Hutter 2019; Pascanu et al. 2013 (clipping). */
int student_update(struct student *, float lr, float *grad_norm, struct err *);

/* Everything that resume needs, into and out of one safetensors file: F32 tensors "master", "m", "v", the step, and the
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
