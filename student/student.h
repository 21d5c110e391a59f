/* A model that learns: masters, gradients, moments, the training step and its checkpoint. Tokens come as arrays; where
 * they come from, and who the teacher is, is the stage's affair. One optimizer step is
 *   student_begin -> n x student_microbatch -> student_update.
 * Test: tests/test_student.c */
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
struct student_options student_default(void);

/* Bytes by owner, filled by a dry run; `run` allocates exactly these. */
struct student_arenas {
	struct arena weights, gradients, moments, activations, loss;
};

struct student {
	struct ops *ops;
	struct student_options options;
	struct param_layout layout;
	struct params params;
	float *grads, *m, *v; /* device, (n_elems) */
	struct activations *act;
	struct fused_head *head;
	int step;             /* optimizer steps done */
	struct student_buffers *buffers; /* device copies of a batch, row weights, losses; host mirrors */
};
/* layout is copied. Called dry (arenas dry) and real. The weights are zero until student_load or student_randomise. */
int student_init(struct student *, struct ops *, const struct arch *, const struct student_options *,
                 struct student_arenas *, struct err *);
void student_release(struct student *);
/* From a flat host array in layout order (hf_read_f32), or N(0, init_std) matrices (o and down scaled by 1/sqrt(2L)), unit norms, zero biases. */
void student_load(struct student *, const float *flat);
void student_randomise(struct student *, uint64_t seed);
/* The masters, downloaded into a host array of layout.n_elems. */
void student_weights(const struct student *, float *flat);

struct train_batch { /* host arrays, (B*T) */
	const int32_t *tokens, *targets, *pos, *start;
	const uint8_t *flags; /* data/batches.h TARGET_IS_SEPARATOR = 1, or NULL */
};
struct step_loss {
	float kd_weight; /* w in [0,1]: loss = (1-w) CE + w tau^2 KL; a row left out of the KL counts with CE weight 1 */
	float tau;
	bool kd_skip_separators;
	size_t step_tokens; /* counted rows in the whole step: gradients are averaged over tokens, not over micro-batches */
};
struct step_sums { /* += per micro-batch, unweighted sums over rows */
	double ce, kl;
	size_t tokens, kd_tokens;
	size_t agree;        /* student and teacher argmax equal, over kd_tokens */
	double ce_text; size_t text_tokens; /* rows whose target is not a separator */
};
void student_begin(struct student *); /* zeroes gradients */
/* The device batch of the last upload, for the teacher's forward: upload, teacher_targets, then microbatch. */
const struct batch *student_upload(struct student *, const struct train_batch *);
void student_microbatch(struct student *, const struct step_loss *, const struct soft_targets *, const struct masks *,
                        const struct mask_grads *, const struct taps *, struct step_sums *);
/* Clips, AdamW at lr, zero-cost when the gradient is not finite: returns -1 with the step and the first tensor that is
 * not finite, weights untouched. grad_norm (before clipping) may be NULL. */
int student_update(struct student *, float lr, float *grad_norm, struct err *);

/* Everything that resume needs, into and out of one safetensors file (F32 tensors "master", "m", "v"; the metadata the
 * caller passes as one JSON text comes back unchanged). extra: further host arrays by name (mask state). Atomic. */
struct checkpoint_array {
	const char *name;
	void *data;          /* host */
	size_t n_bytes;
};
int checkpoint_save(const char *path, const struct student *, const char *metadata, const struct checkpoint_array *extra,
                    int n_extra, struct err *);
/* Refuses another layout. *metadata is malloc'ed, the caller's. */
int checkpoint_load(const char *path, struct student *, char **metadata, const struct checkpoint_array *extra, int n_extra,
                    struct err *);

#endif
