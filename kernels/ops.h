/* The table of every numerical operation. Model, losses and optimizers are written once against it; each backend fills
 * it (kernels/cpu is the reference). Entries take device pointers, return nothing and allocate nothing: sizes were
 * checked and scratch was reserved before. Tests: tests/test_ops*.c
 *
 * Letters: B batch, T positions, N = B*T rows, C width, F ffn width, NH query heads, NKV key-value heads, HD head width,
 * V vocabulary, Q = (NH + 2*NKV)*HD the width of a fused qkv row (queries, then keys, then values).
 * "act" below: the backend's activation storage, ops->act. Sums are fp32. Reductions have a fixed order for a fixed
 * thread count. Backward entries accumulate (+=) into d<name> unless marked "writes".
 * A mask pointer (z, z_layer, z_heads) may be NULL: all ones; then its gradient pointer is NULL too. Masks are fp32 in [0,1]. */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H

#include "base/err.h"
#include "kernels/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ops;

/* C = A op B, row-major, leading dimensions in elements.
 *   MATMUL_NT: c(m,n) = a(m,k) b(n,k)^T   forward, y = x W^T
 *   MATMUL_NN: c(m,n) = a(m,k) b(k,n)     dx = dy W
 *   MATMUL_TN: c(m,n) = a(k,m)^T b(k,n)   dW = dy^T x
 * accumulate: c += instead of c =. bias (n) fp32 or NULL is added to every row (NT only).
 * ops->matmul_bf16: a bf16 product with fp32 accumulation, fp32 operands are rounded on the way; else an fp32 product,
 * to which BF16 and F16 operands are widened exactly. c is F32 on CPU; it may not overlap a or b. */
enum matmul_kind { MATMUL_NT, MATMUL_NN, MATMUL_TN };
struct matmul {
	enum matmul_kind kind;
	int m, n, k;
	const void *a, *b;
	void *c;
	enum dtype a_type, b_type, c_type;
	int lda, ldb, ldc;
	bool accumulate;
	const float *bias;
};

/* x(N,C) = table[tokens[n], :] * z. */
struct embed_forward {
	int N, C, V;
	const int32_t *tokens; /* (N), each in [0, V) */
	const void *table;     /* (V, C) table_type */
	enum dtype table_type;
	const float *z; /* (C) hidden mask */
	void *x;        /* (N, C) act, written */
};
struct embed_backward {
	int N, C, V;
	const int32_t *tokens;
	const void *table;
	enum dtype table_type;
	const float *z;
	const void *dx; /* (N, C) act */
	float *dtable;  /* (V, C) += z * dx; a row's additions go in row order */
	float *dz;      /* (C) += sum_n dx * table[token] */
};

/* Residual add and RMS norm in one pass:
 *   sum = x + y * z * z_layer            (y NULL: sum = x and is not written)
 *   h   = w * z * sum * rstd,  rstd = 1 / sqrt(mean over {i : z_i != 0} of sum_i^2 + eps)
 * sum may be x. Source: Zhang & Sennrich 2019; masked mean: LLM-Shearing. */
struct norm_forward {
	int N, C;
	float eps;
	const void *x, *y;    /* (N, C) act */
	const float *z;       /* (C) */
	const float *z_layer; /* (1) */
	const float *w;       /* (C) */
	void *sum;            /* (N, C) act, written when y */
	void *h;              /* (N, C) act, written */
	float *rstd;          /* (N), written */
};
/* Gradient of h alone; that of the residual add is residual_backward. */
struct norm_backward {
	int N, C;
	const void *dh, *sum; /* (N, C) act */
	const float *rstd, *w, *z;
	void *dsum; /* (N, C) act, += (writes when `first`) */
	bool first; /* dsum holds nothing yet */
	float *dw;  /* (C) += z_i S_i,  S_i = sum_n dh_i sum_i rstd */
	float *dz;  /* (C) += w_i S_i */
};
/* Gradients of sum = x + y*z*z_layer with respect to y, z and z_layer (that of x is dsum itself). */
struct residual_backward {
	int N, C;
	const void *dsum, *y;    /* (N, C) act; y may be NULL when dz and dz_layer are */
	const float *z, *z_layer;
	void *dy;        /* (N, C) act, written; NULL when there are no masks: dy is dsum */
	float *dz;       /* (C) += z_layer R_i,  R_i = sum_n dsum_i y_i */
	float *dz_layer; /* (1) += sum_i z_i R_i */
};

/* From the qkv product to what attention reads: optional RMS norm of every query and key head (w*x*rstd over HD, as
 * Qwen3), then rotary embedding in the half-split layout, values copied.
 *   (a, b) -> (a cos - b sin, b cos + a sin), a = x[i], b = x[i + HD/2], angle table at pos[n].
 * dst may be src when q_norm is NULL. */
struct qk_forward {
	int N, NH, NKV, HD;
	const void *src;       /* (N, Q) act */
	void *dst;             /* (N, Q) act, written */
	const int32_t *pos;    /* (N), row of the tables */
	const float *cos, *sin; /* (positions, HD/2), attention scaling included */
	const float *q_norm, *k_norm; /* (HD) or NULL */
	float eps;
	float *rstd; /* (N, NH+NKV), written when q_norm */
};
struct qk_backward {
	int N, NH, NKV, HD;
	const void *src;        /* as given to forward; read only when q_norm */
	void *dqkv;             /* (N, Q) act: gradient of dst in, of src out, in place */
	const int32_t *pos;
	const float *cos, *sin;
	const float *q_norm, *k_norm, *rstd;
	float *dq_norm, *dk_norm; /* (HD) += */
};

/* Causal grouped-query attention inside documents, never a T*T matrix.
 *   out_i = z_head * sum_j softmax_j(scale q_i.k_j) v_j  over j in [max(start_i, i-window+1), i]
 * rows of one sequence only; start[n] <= the row's own position is the first position (index within the sequence) of row
 * n's document. HD <= 256 on CPU.
 * With a cache (decoding) the T rows of a sequence are its positions first .. first+T-1, i, j and start count positions, and keys
 * and values are read from the cache, where they have been stored, those of these rows too; qkv gives the queries alone.
 * Query head h reads key-value head h / (NH/NKV). Source: Dao 2023 (FlashAttention-2) for the recomputing backward. */
struct attention_forward {
	int B, T, NH, NKV, HD;
	int window; /* positions, >= 1; 0: none */
	float scale;
	const void *qkv;       /* (N, Q) act */
	const int32_t *start;  /* (N) */
	const float *z_heads;  /* (NH) */
	void *out;             /* (N, NH*HD) act, written */
	float *lse;            /* (N, NH) log-sum-exp of the scaled scores, written */
	const void *cache;     /* (B, positions, 2*NKV*HD) act: keys | values; rows past first+T-1 are not read. NULL: qkv has them */
	int positions, first;  /* with a cache; first+T <= positions */
};
struct attention_backward {
	int B, T, NH, NKV, HD;
	int window;
	float scale;
	const void *qkv, *out, *dout; /* out: forward's masked output */
	const int32_t *start;
	const float *z_heads, *lse;
	void *dqkv;       /* (N, Q) act, writes */
	float *dz_heads;  /* (NH) += sum_n dout.(out/z); a head with z = 0 gets 0 */
	float *scratch;   /* attention_scratch() bytes */
};

/* a = silu(g) * u * z over a fused row gu = (g | u). silu(x) = x sigmoid(x). */
struct swiglu_forward {
	int N, F;
	const void *gu; /* (N, 2F) act */
	const float *z; /* (F) */
	void *a;        /* (N, F) act, written */
};
struct swiglu_backward {
	int N, F;
	const void *gu, *da;
	const float *z;
	void *dgu; /* (N, 2F) act, writes; may be gu */
	float *dz; /* (F) += sum_n da silu(g) u */
};

/* Divergences D of the student's q = softmax(s/tau) from the teacher's p = softmax(t/tau). Every one is >= 0, and 0 exactly
 * where p = q; a class with p = 0 (or q = 0) adds its limit, never a NaN. a, b: of struct divergence_term.
 *   FORWARD_KL       sum p (log p - log q)                          Hinton et al. 2015
 *   REVERSE_KL       sum q (log q - log p)                          Gu et al. 2023 (MiniLLM)
 *   SYMMETRIC_KL     (1-a) FORWARD + a REVERSE,  a in [0,1]
 *   JSD              m = a p + (1-a) q:  a KL(p,m) + (1-a) KL(q,m), a in [0,1]; 0 at both ends   Agarwal et al. 2023 (GKD)
 *   JSD_NORMALIZED   JSD / (a (1-a)), with its limits FORWARD at a = 0 and REVERSE at a = 1
 *   SKEW_FORWARD_KL  KL(p, a p + (1-a) q), a in [0,1)               Ko et al. 2024 (DistiLLM)
 *   SKEW_REVERSE_KL  KL(q, (1-a) p + a q), a in [0,1)               likewise
 *   ADAPTIVE_KL      (g_head FORWARD + g_tail REVERSE) / (g_head + g_tail), g = sum |p - q| over the head (classes by falling
 *                    p, ties by rising index, while the sum of p before them is < a) and over the rest; the two weights are
 *                    constants of the gradient; a in (0,1)          Wu et al. 2024, section 4
 *   ALPHA_BETA       -1/(ab) sum (p^a q^b - a/(a+b) p^(a+b) - b/(a+b) q^(a+b)), a, b >= 0, with its limits at 0:
 *                    (1,0) is FORWARD, (0,1) REVERSE                Cichocki et al. 2011, eq. 19; Wang et al. 2025 (ABKD)
 *   TOTAL_VARIATION  1/2 sum |p - q|
 *   LOGIT_MSE        1/V sum (s/tau - t/tau)^2 over the V columns: no probabilities, takes no tau^2 */
enum divergence {
	DIVERGENCE_FORWARD_KL, DIVERGENCE_REVERSE_KL, DIVERGENCE_SYMMETRIC_KL, DIVERGENCE_JSD, DIVERGENCE_JSD_NORMALIZED,
	DIVERGENCE_SKEW_FORWARD_KL, DIVERGENCE_SKEW_REVERSE_KL, DIVERGENCE_ADAPTIVE_KL, DIVERGENCE_ALPHA_BETA,
	DIVERGENCE_TOTAL_VARIATION, DIVERGENCE_LOGIT_MSE, DIVERGENCES,
};
struct divergence_term {
	enum divergence kind;
	float weight; /* >= 0, of scale * D in the loss; scale = tau^2, 1 for LOGIT_MSE */
	float tau;    /* > 0 */
	float a, b;
};

enum { LOSS_ROWS_MAX_TERMS = 8 };

/* A few of the teacher's probabilities for each row. What the rest of its mass becomes:
 *   RENORMALISE  p over the K ids alone, q over the same ids: other columns get no gradient
 *   ZERO         p over the K ids sums to 1, q is over all columns; p = 0 elsewhere
 *   TAIL         K+1 categories: the last holds the mass of all other columns, on both sides (q's is a sum over the complement)
 *   SAMPLED      p are weights of importance-sampled ids, an unbiased estimate of the whole p: as ZERO but not renormalised,
 *                sum w (log w - log q) with gradient (sum w) q - w; FORWARD_KL alone
 * A divergence is taken over the categories; LOGIT_MSE is not defined for sparse targets. Under ZERO whatever weighs q log(q/p)
 * is infinite (REVERSE_KL and its kin). Under TAIL a tail of 0 stands for the smallest float: it is one that underflowed. */
enum missing_mass { MISSING_RENORMALISE, MISSING_ZERO, MISSING_TAIL, MISSING_SAMPLED };
struct sparse_targets { /* (n_rows, K), device */
	int K;
	enum missing_mass missing;
	float tau;           /* at which the probabilities were taken: every term's must be the same */
	const int32_t *ids;  /* distinct in a row, by falling probability; < 0: this slot and those after it are unused */
	const float *log_p;  /* log p at tau; SAMPLED: log of the weight */
	const float *tail;   /* (n_rows) 1 - sum p, taken as a sum over the complement; 0 when SAMPLED */
};

/* Cross-entropy and divergences on a chunk of rows, with the gradient of
 *   sum_r ce_weight_r CE_r + kd_weight_r sum_k terms[k].weight scale_k D_rk,    CE = -log softmax(s)[target]
 * over the first V columns (rows have ld columns, those past V are not read and get the gradient `add` alone). With first and
 * last, row r has the columns from first[r] to last[r], both included, instead, for scores of a causal window; then there are no
 * targets and no sparse.
 * A row whose weights are 0 gives losses 0 and no gradient whatever its logits. */
struct loss_rows {
	int n_rows, V, ld;
	float *s;               /* (n_rows, ld) student logits */
	const float *t;         /* (n_rows, ld) teacher logits, or NULL */
	const struct sparse_targets *sparse; /* of these rows, or NULL; not both */
	const int32_t *target;  /* (n_rows) in [0,V); any value where ce_weight is 0; NULL with ce_weight */
	const float *ce_weight; /* (n_rows) >= 0, or NULL: no CE */
	const float *kd_weight; /* (n_rows) >= 0; NULL without teacher */
	int n_terms;            /* at most LOSS_ROWS_MAX_TERMS; 0 without teacher */
	const struct divergence_term *terms; /* host */
	const int32_t *first, *last; /* (n_rows) or both NULL */
	float *ce;              /* (n_rows) written: CE_r before weights, 0 where the weight is 0; NULL with ce_weight */
	float *divergence;      /* (n_rows, n_terms) written: scale_k D_rk before weights, 0 where kd_weight is 0 */
	float *teacher_ce;      /* (n_rows) written where not NULL: -log softmax(t)[target] where kd_weight is not 0, else 0; needs t */
	void *grad;             /* (n_rows, ld) grad_type, written; may be s itself (a BF16 row then sits at the start of its fp32 row); NULL: none */
	enum dtype grad_type;   /* F32 or BF16 */
	int ld_grad;            /* in elements of grad_type */
	const float *add;       /* (n_rows, ld) fp32, added to the gradient, or NULL; may be grad when that is F32 */
	bool top1;              /* also: */
	int32_t *argmax_s, *argmax_t; /* (n_rows) written when not NULL: lowest index of the largest logit; argmax_t needs t */
};

/* The K most probable columns of every row of teacher logits, p = softmax(t/tau) over the first V columns.
 * top_p in (0,1): the fewest whose sum reaches it, at most K; else K. Ties by rising index. tail is summed over the
 * complement, never 1 - sum. */
struct top_rows {
	int n_rows, V, ld, K;   /* K <= V */
	const float *t;         /* (n_rows, ld) */
	float tau, top_p;
	const int32_t *target;  /* (n_rows) in [0,V), or < 0; NULL: no ce */
	int32_t *ids;           /* (n_rows, K) written, by falling probability, -1 in unused slots */
	float *log_p;           /* (n_rows, K) written */
	float *tail;            /* (n_rows) written */
	float *lse;             /* (n_rows) written: log sum exp(t/tau) */
	float *ce;              /* (n_rows) written: -log softmax(t)[target] at temperature 1, 0 for target < 0 */
};
/* K draws with replacement from the proposal r ~ p^power of every row; equal draws are merged. The weight of an id that was
 * drawn c times is c p / (K r): its expectation is p, whatever the power. Row n draws f(seed, RNG_TEACHER_SAMPLE, keys[n], i).
 * Source: Anshumann et al. 2025 (sparse logit sampling). */
struct sample_rows {
	int n_rows, V, ld, K;
	const float *t;
	float tau, power;       /* power in (0,1]; 1: from p itself, weights c/K */
	uint64_t seed;
	const uint64_t *keys;   /* (n_rows) device, < 2^56: what a row's draws depend on beside the seed */
	const int32_t *target;
	int32_t *ids;           /* (n_rows, K) written, by falling weight, then rising index; -1 in unused slots */
	float *log_w;           /* (n_rows, K) written */
	int32_t *argmax;        /* (n_rows) written */
	float *lse, *ce;        /* (n_rows) written, as in top_rows */
};

/* Distance of hidden states, one value per row, and its gradient:
 *   COSINE  1 - x.y / (|x| |y|)   (a row of zeros has distance 1 and no gradient)      Sanh et al. 2019 (DistilBERT)
 *   MSE     1/C sum (x - y)^2 */
enum hidden_distance { HIDDEN_COSINE, HIDDEN_MSE };
struct hidden_rows {
	enum hidden_distance kind;
	int n_rows, C;
	const void *x;          /* (n_rows, C) x_type: the student's */
	const void *y;          /* (n_rows, ld_y) act: the teacher's */
	enum dtype x_type;
	int ld_y;
	const int32_t *columns; /* (C) device: y's column for each of x's, or NULL: the first C */
	const float *weight;    /* (n_rows) >= 0 */
	float scale;            /* the gradient is that of scale * sum_r weight_r loss_r */
	float *loss;            /* (n_rows) written, before weight and scale, 0 where the weight is 0 */
	void *dx;               /* (n_rows, C) x_type: written, or += when accumulate; NULL: none; not x */
	bool accumulate;
};

/* y(n_rows, C) = factor * x, or += when accumulate. The types are F32 or BF16; x and y do not overlap. */
struct scale_rows {
	int n_rows, C;
	float factor;
	const void *x;
	enum dtype x_type;
	int ld_x;               /* in elements */
	void *y;
	enum dtype y_type;
	int ld_y;
	bool accumulate;
};

/* Statistics of x's columns over the rows that count, in n_blocks blocks (sequences) of block_rows rows:
 *   mean_squares[j] += sum_b (1/n_b sum_n |x_nj|)^2   n over the n_b rows of block b that count; |.| is the L2 norm of unit j's
 *                                                     `width` columns; a block without rows adds 0
 *   sum[i] += sum_n x_ni          squares[i] += sum_n x_ni^2
 * In double. The same bits for any thread count. */
struct column_stats {
	int n_blocks, block_rows, W, width; /* W is a multiple of width */
	const void *x;          /* (n_blocks*block_rows, W) act */
	const float *weight;    /* (n_blocks*block_rows) a row of weight 0 does not count and is not read; NULL: all count */
	double *mean_squares;   /* (W/width) += or NULL */
	double *sum, *squares;  /* (W) += or NULL */
};

/* AdamW with decoupled decay (torch's: p -= lr*wd*p, then p -= lr * mhat / (sqrt(vhat) + eps)). g = grad * grad_scale[0].
 * copy: the compute copy in copy_type, or NULL. Source: Loshchilov & Hutter 2019, algorithm 2. */
struct adamw {
	size_t n_elems;
	float *p, *m, *v;
	const float *grad;
	const float *grad_scale; /* (1) device: clipping factor */
	void *copy;
	enum dtype copy_type;
	float lr, beta1, beta2, eps, weight_decay;
	int step; /* 1 for the first */
};

struct ops {
	const char *name;   /* "cpu", "cuda" */
	char device[128];   /* the processor in words, its ISA, threads */
	enum dtype act;     /* storage of activations */
	bool matmul_bf16;   /* compute: bf16 in force */
	int n_threads;
	void *ctx;          /* the backend's own state */

	/* Memory. alloc fails with one line that names the size. Addresses are 64-byte aligned. */
	int (*alloc)(struct ops *, size_t n_bytes, void **out, struct err *);
	void (*release)(struct ops *, void *p);
	void (*zero)(struct ops *, void *dst, size_t n_bytes);
	void (*copy)(struct ops *, void *dst, const void *src, size_t n_bytes);
	void (*upload)(struct ops *, void *dst, const void *host, size_t n_bytes);
	void (*download)(struct ops *, void *host, const void *src, size_t n_bytes);
	void (*convert)(struct ops *, void *dst, enum dtype to, const void *src, enum dtype from, size_t n_elems);

	void (*matmul)(struct ops *, const struct matmul *);
	void (*bias_backward)(struct ops *, float *db /* (n) += column sums */, const void *dy /* (N, n) act */, int N, int n);
	void (*embed_forward)(struct ops *, const struct embed_forward *);
	void (*embed_backward)(struct ops *, const struct embed_backward *);
	void (*norm_forward)(struct ops *, const struct norm_forward *);
	void (*norm_backward)(struct ops *, const struct norm_backward *);
	void (*residual_backward)(struct ops *, const struct residual_backward *);
	void (*qk_forward)(struct ops *, const struct qk_forward *);
	void (*qk_backward)(struct ops *, const struct qk_backward *);
	size_t (*attention_scratch)(struct ops *, int B, int T, int NH, int NKV, int HD); /* bytes */
	void (*attention_forward)(struct ops *, const struct attention_forward *);
	void (*attention_backward)(struct ops *, const struct attention_backward *);
	void (*swiglu_forward)(struct ops *, const struct swiglu_forward *);
	void (*swiglu_backward)(struct ops *, const struct swiglu_backward *);
	void (*loss_rows)(struct ops *, const struct loss_rows *);
	void (*top_rows)(struct ops *, const struct top_rows *);
	void (*sample_rows)(struct ops *, const struct sample_rows *);
	void (*hidden_rows)(struct ops *, const struct hidden_rows *);
	void (*scale_rows)(struct ops *, const struct scale_rows *);
	void (*column_stats)(struct ops *, const struct column_stats *);
	/* out[0] (device) = sum of squares, accumulated in double in a fixed order. */
	void (*sum_squares)(struct ops *, double *out, const float *x, size_t n_elems);
	void (*adamw)(struct ops *, const struct adamw *);
	void (*sync)(struct ops *);
};

/* Scratch that the backend keeps for itself (converted operands, partial sums) is sized by the largest product that it
 * will see and counted by plan under "backend". Reserve before the first call; a call beyond it is a bug. */
struct ops_limits {
	size_t max_operand_elems; /* largest a or b of a matmul whose type is not the product's (an F32 one in a bf16 product, a
				   * BF16 one in an fp32 product): two such are kept. 0 when all are F32 and so are the products */
	int max_columns;          /* widest sum over rows: C, F, 2*HD, or n of bias_backward */
};
static inline struct ops_limits ops_limits_max(struct ops_limits a, struct ops_limits b)
{
	return (struct ops_limits){a.max_operand_elems > b.max_operand_elems ? a.max_operand_elems : b.max_operand_elems,
				   a.max_columns > b.max_columns ? a.max_columns : b.max_columns};
}

struct ops_options {
	int n_threads;  /* 0: all that the process may use */
	bool bf16;      /* ask for bf16 products; when the CPU lacks them, fp32 is used and ops->matmul_bf16 stays false */
};
/* The CPU backend. Probes the ISA; refuses, with one line, a CPU older than the build's. */
int ops_cpu_open(struct ops **out, const struct ops_options *, struct err *);
/* Bytes that ops_cpu_reserve would allocate, and the reservation; a second one replaces the first. */
size_t ops_cpu_reserve_bytes(const struct ops *, const struct ops_limits *);
int ops_cpu_reserve(struct ops *, const struct ops_limits *, struct err *);
void ops_cpu_close(struct ops *); /* NULL is fine */
/* "oneDNN 2.6.3, AVX-512 bf16" for --version and manifests. */
void ops_cpu_describe(char *out, size_t n);

#endif
