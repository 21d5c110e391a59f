/* The recipe language: the tables below are its definition; parser, --help, README reference and resolved dump follow them. */
#include "recipes/recipe.h"

#include "prune/scores.h"

#define AT(s, m) offsetof(struct s, m)
#define BIG 1e15

#define OR_SEARCHED "; 0: as the source; beside a budget: searched"
static const struct key shape_keys[] = {
	{"layers", KEY_INT, AT(shape_spec, layers), NULL, "0", .max = 1000, .unless = "shape", .doc = "transformer layers" OR_SEARCHED},
	{"hidden", KEY_INT, AT(shape_spec, hidden), NULL, "0", .max = 1 << 20, .unless = "shape", .doc = "hidden dimensions (hidden_size)" OR_SEARCHED},
	{"heads", KEY_INT, AT(shape_spec, heads), NULL, "0", .max = 4096, .unless = "shape", .doc = "query heads; fewer at equal kv_heads: the same number goes from every group" OR_SEARCHED},
	{"kv_heads", KEY_INT, AT(shape_spec, kv_heads), NULL, "0", .max = 4096, .unless = "shape", .doc = "key-value heads; fewer: whole groups go" OR_SEARCHED},
	{"intermediate", KEY_INT, AT(shape_spec, intermediate), NULL, "0", .max = 1 << 22, .unless = "shape", .doc = "FFN channels (intermediate_size)" OR_SEARCHED},
	{"shape", KEY_STRING, AT(shape_spec, shape), .doc = "instead of sizes: those of a public model, whose heads are as wide as the source's (llama-3.2-1b, sheared-llama-1.3b, qwen3-0.6b …; a name that is not known is answered with all of them)"},
	{"parameters", KEY_COUNT, AT(shape_spec, parameters), NULL, "0", .max = BIG, .unless = "shape", .doc = "budget: at most so many, embeddings included; 0: no limit. Of several budgets each is kept"},
	{"memory", KEY_COUNT, AT(shape_spec, memory), "bytes", "0", .max = BIG, .unless = "shape", .doc = "budget: weights, and the cache of keys and values for length and batch, both in the teacher's dtype; 0: no limit"},
	{"flops_per_token", KEY_COUNT, AT(shape_spec, flops_per_token), NULL, "0", .max = BIG, .unless = "shape", .doc = "budget: of a forward pass at that length; 0: no limit"},
	{"prefill_ms", KEY_REAL, AT(shape_spec, prefill_ms), NULL, "0", .max = 1e9, .unless = "shape", .doc = "budget: to read a prompt of that length, batch of them at once, timed on this machine; 0: no limit"},
	{"decode_ms", KEY_REAL, AT(shape_spec, decode_ms), NULL, "0", .max = 1e9, .unless = "shape", .doc = "budget: for one token after it; 0: no limit"},
	{"length", KEY_INT, AT(shape_spec, length), "tokens", "0", .max = 1 << 24, .unless = "shape", .doc = "of budgets; 0: data.sequence_length"},
	{"batch", KEY_INT, AT(shape_spec, batch), "sequences", "1", .min = 1, .max = 1 << 16, .unless = "shape", .doc = "of budgets"},
	{"search", KEY_SECTION, AT(shape_spec, search), .section = &shape_search_section, .unless = "shape", .doc = "how the shape for a budget is found; absent: as its defaults say"},
	{0},
};
const struct section shape_section = {"target", "a shape: sizes (what is left out stays as in the source), the name of a public one (a word alone is its `shape`), or a budget", sizeof(struct shape_spec), shape_keys, "shape", NULL};

const char *const loss_names[] = {"forward_kl", "reverse_kl", "symmetric_kl", "jsd", "jsd_normalized", "skew_forward_kl", "skew_reverse_kl",
	"adaptive_kl", "alpha_beta", "total_variation", "logit_mse", "hidden_cosine", "hidden_mse", "relations", NULL};
_Static_assert(sizeof loss_names / sizeof *loss_names == LOSSES + 1, "a name for every loss");
static const char *const loss_schedules[] = {"constant", "linear", "cosine", NULL};
static const char *const projections[] = {"auto", "none", "kept", "learned", NULL};
/* Of one loss: inline in distill, where `losses` takes their place, or an item of the list, where `ce` does. */
#define LOSS_KEYS(S, M, UNLESS, WEIGHT, MAX_WEIGHT, WEIGHT_DOC)                                                                                                 \
	{"loss", KEY_CHOICE, AT(S, M loss), NULL, "forward_kl", .choices = loss_names, .unless = UNLESS,                                                        \
	 .doc = "divergence of the student's probabilities q from the teacher's p (formulas: kernels/ops.h), or inside both models: distance of hidden states (hidden_cosine, hidden_mse), MiniLM's relations of queries, keys and values"}, \
	{"temperature", KEY_REAL, AT(S, M temperature), NULL, "1.0", .min = 0.01, .max = 100, .unless = UNLESS,                                                 \
	 .doc = "τ: both softmaxes are taken of logits/τ, and the divergence is multiplied by τ² (logit_mse is not)"},                                           \
	{"temperature_end", KEY_REAL, AT(S, M temperature_end), .min = 0.01, .max = 100, .unless = UNLESS, .doc = "τ of the last step; absent: constant"},      \
	{"weight", KEY_REAL, AT(S, M weight), NULL, WEIGHT, .max = MAX_WEIGHT, .unless = UNLESS, .doc = WEIGHT_DOC},                                           \
	{"weight_end", KEY_REAL, AT(S, M weight_end), .max = MAX_WEIGHT, .unless = UNLESS, .doc = "weight of the last step; absent: constant"},                 \
	{"alpha", KEY_REAL, AT(S, M alpha), NULL, "0.8", .max = 10, .unless = UNLESS, .doc = "of alpha_beta: the power of p"},                                  \
	{"beta", KEY_REAL, AT(S, M beta), .max = 10, .unless = UNLESS,                                                                                          \
	 .doc = "of alpha_beta: the power of q, absent 0.2; of jsd and jsd_normalized, at most 1: p's share in the mixture, absent 0.5"},                                                \
	{"skew", KEY_REAL, AT(S, M skew), NULL, "0.1", .max = 1, .unless = UNLESS,                                                                              \
	 .doc = "of skew_forward_kl and skew_reverse_kl, less than 1: share of the first distribution that is mixed into the second"},                          \
	{"mu", KEY_REAL, AT(S, M mu), NULL, "0.5", .max = 1, .unless = UNLESS, .doc = "of adaptive_kl, between 0 and 1: the teacher's mass that is the head"}, \
	{"reverse", KEY_REAL, AT(S, M reverse), NULL, "0.5", .max = 1, .unless = UNLESS, .doc = "of symmetric_kl: share of the reverse KL"},                     \
	{"student_layers", KEY_INTS, AT(S, M student_layers), .min = -1000, .max = 1000, .unless = UNLESS,                                                      \
	 .doc = "of inner losses: layers from 0, negative from the end; absent: all (relations: the last)"},                                                     \
	{"teacher_layers", KEY_INTS, AT(S, M teacher_layers), .min = -1000, .max = 1000, .unless = UNLESS,                                                      \
	 .doc = "the teacher's layer for each of them; absent: the one that the cut kept, else evenly spread, last to last"},                                   \
	{"projection", KEY_CHOICE, AT(S, M projection), NULL, "auto", .choices = projections, .unless = UNLESS,                                                 \
	 .doc = "of hidden states: none needs equal widths, kept compares the columns that the cut kept, learned trains a matrix; auto: the first of these that can be"}, \
	{"relation_heads", KEY_INT, AT(S, M relation_heads), NULL, "0", .max = 4096, .unless = UNLESS, .doc = "of relations; 0: the most that divide all widths, up to the student's heads"}

static const char *const missing_kinds[] = {"renormalise", "zero", "tail", NULL}; /* as enum missing_mass */
static const char *const computes[] = {"fp32", "bf16", NULL};
static const struct key cache_keys[] = {
	{"top_k", KEY_COUNT, AT(cache_section, top_k), "tokens", "0", .max = 1 << 20, .doc = "the teacher's most probable tokens of every position; 0: none"},
	{"top_p", KEY_REAL, AT(cache_section, top_p), NULL, "0", .max = 1, .doc = "only the fewest of top_k whose probabilities reach this sum; 0: all of them"},
	{"samples", KEY_COUNT, AT(cache_section, samples), "tokens", "0", .max = 1 << 20, .doc = "draws of every position, weighted so that forward_kl's gradient is unbiased; 0: none"},
	{"hidden", KEY_BOOL, AT(cache_section, hidden), NULL, "false", .doc = "the last hidden states, from which the logits are made again: exact, for any loss of logits"},
	{"missing", KEY_CHOICE, AT(cache_section, missing), NULL, "zero", .choices = missing_kinds, .doc = "what top_k leaves out: zero in the teacher (lowest loss of the three in recipes/cache.yaml), one class of its own (tail: for losses that are infinite where the teacher has none), or renormalise both models over the kept tokens"},
	{"proposal", KEY_REAL, AT(cache_section, proposal), NULL, "1.0", .min = 0.01, .max = 1, .doc = "of samples: they are drawn from p to this power"},
	{"precision", KEY_CHOICE, AT(cache_section, precision), NULL, "bf16", .choices = computes, .doc = "of the values on disk; fp32 learned nothing more in recipes/cache.yaml"},
	{"dir", KEY_STRING, AT(cache_section, dir), .doc = "where it lies, also for other runs; absent: in the run's directory"},
	{"write", KEY_BOOL, AT(cache_section, write), NULL, "true", .doc = "fill in what is missing; false: refuse a cache that lacks a position"},
	{0},
};
static const struct section cache_keys_section = {"cache", "the teacher's answers on disk: exactly one of top_k, samples, hidden", sizeof(struct cache_section), cache_keys, NULL, NULL};

static const struct key loss_keys[] = {
	LOSS_KEYS(loss_spec, , "ce", "1.0", 1e6, "the plain factor of τ²·D, or of the inner loss, the mean over its layers"),
	{"ce", KEY_REAL, AT(loss_spec, ce), .max = 1e6, .doc = "instead of a loss: the factor of cross-entropy; without such an item it is 0"},
	{"ce_end", KEY_REAL, AT(loss_spec, ce_end), .max = 1e6, .doc = "that of the last step; absent: constant"},
	{"schedule", KEY_CHOICE, AT(loss_spec, schedule), NULL, "linear", .choices = loss_schedules, .doc = "how what has an end goes there over the steps of the phase; constant: not at all"},
	{0},
};
static const struct section loss_section = {"loss", "an item of a list of losses; a word alone is its `loss`", sizeof(struct loss_spec), loss_keys, "loss", NULL};

static const char *const presets[] = {"none", "distilbert", NULL};
static const char *const balances[] = {"none", "magnitude", NULL};
static const struct key distill_keys[] = {
	LOSS_KEYS(distill_spec, one., "losses", "0.9", 1, "w: the loss is (1−w)·CE + w·τ²·D, or (1−w)·CE + w·(the inner loss, the mean over its layers)"),
	{"schedule", KEY_CHOICE, AT(distill_spec, one.schedule), NULL, "linear", .choices = loss_schedules, .unless = "losses", .doc = "how what has an end goes there over the steps of the phase; constant: not at all"},
	{"losses", KEY_SECTIONS, AT(distill_spec, losses), .section = &loss_section, .doc = "several, with plain weights, instead of the keys above (`distill: [ … ]` is short for it)"},
	{"preset", KEY_CHOICE, AT(distill_spec, preset), NULL, "none", .choices = presets, .doc = "distilbert: [{ce: 2}, {loss: forward_kl, weight: 5, temperature: 2}, {loss: hidden_cosine, student_layers: -1, teacher_layers: -1}], the weights of its authors' script"},
	{"balance", KEY_CHOICE, AT(distill_spec, balance), NULL, "none", .choices = balances, .doc = "magnitude: every inner loss is scaled to the size of the weighted divergences (of cross-entropy where there are none), by running means over the steps before; the first step leaves inner losses out"},
	{"skip_separators", KEY_BOOL, AT(distill_spec, skip_separators), NULL, "true", .doc = "leave targets that are document separators to CE alone: many teachers never saw them"},
	{"cache", KEY_SECTION, AT(distill_spec, cache), .section = &cache_keys_section, .doc = "learn from what the teacher said once; absent: it runs beside the student"},
	{0},
};
const struct section distill_section = {"distill", "soft targets from the teacher; `null` trains on text alone", sizeof(struct distill_spec), distill_keys, "loss", "losses"};

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
	{"tokens", KEY_COUNT, AT(train_spec, tokens), "tokens", NULL, .required = true, .min = 1, .max = BIG, .doc = "the whole budget of the student, or of its stage: tokens spent in its `init` are subtracted"},
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
static const char *const mask_methods[] = {"hard_concrete", "soft_topk", NULL};
static const char *const mask_controls[] = {"solved", "code", "paper", NULL};
static const char *const mask_weights[] = {"train", "frozen", NULL};
static const struct key masks_keys[] = {
	{"method", KEY_CHOICE, AT(masks_spec, method), NULL, "soft_topk", .choices = mask_methods,
	 .doc = "hard_concrete draws masks anew for every micro-batch; soft_topk solves for masks whose sum is the target, and sharpens them until they are 0 and 1 (formulas: prune/soft_topk.h)"},
	{"control", KEY_CHOICE, AT(masks_spec, control), NULL, "solved", .choices = mask_controls,
	 .doc = "how hard_concrete meets its target: solved (prune/mask_control.h), or Sheared LLaMA's integrated multipliers to reproduce it, as in its code or as in its paper (prune/mask_integrated.h); these may miss, which is warned about"},
	{"weights", KEY_CHOICE, AT(masks_spec, weights), NULL, "train", .choices = mask_weights, .doc = "frozen: masks alone are learned; lr is then that of learned projections only"},
	{"target", KEY_SECTION, AT(masks_spec, target), .section = &shape_section, .doc = "shape to reach; absent: the recipe's target"},
	{"tokens", KEY_COUNT, AT(masks_spec, tokens), "tokens", NULL, .required = true, .min = 1, .max = BIG, .doc = "of the mask phase"},
	{"batch_tokens", KEY_COUNT, AT(masks_spec, batch_tokens), "tokens", "1Ki", .min = 1, .max = BIG, .doc = "per step; tokens/batch_tokens below 300 is warned about"},
	{"lr", KEY_REAL, AT(masks_spec, lr), NULL, "1e-3", .max = 10, .doc = "of the weights while masks are learned"},
	OPTIMIZER_KEYS(masks_spec),
	{"mask_warmup", KEY_REAL, AT(masks_spec, mask_warmup), .min = 0.01, .max = 0.75, .doc = "share of the steps in which the target falls from the full shape; absent: 0.5, of control code and paper 0.2"},
	{"cut", KEY_CHOICE, AT(masks_spec, cut), NULL, "best", .choices = cuts, .doc = "fold soft masks into the weights, set kept ones to 1, or whichever has the lower held-out loss; soft_topk ends with ones"},
	{"distill", KEY_SECTION, AT(masks_spec, distill), .section = &distill_section, .doc = "soft targets in the mask phase too; absent: text alone"},
	{0},
};
const struct section masks_section = {"masks", "learned masks under a Lagrangian, then the cut", sizeof(struct masks_spec), masks_keys, NULL, NULL};

static const char *const importance_methods[] = {"magnitude", "activation", "wanda", "fluctuation", "taylor", "random", NULL};
static const char *const layers_methods[] = {"own", "influence", "loss", "kl", NULL};
_Static_assert(sizeof importance_methods / sizeof *importance_methods == IMPORTANCE_METHODS + 1, "a name for every method");
_Static_assert(sizeof layers_methods / sizeof *layers_methods == LAYERS_METHODS + 1, "a name for every method of layers");
static const struct key importance_keys[] = {
	{"target", KEY_SECTION, AT(importance_spec, target), .section = &shape_section, .doc = "shape to reach; absent: the recipe's target"},
	{"method", KEY_CHOICE, AT(importance_spec, method), NULL, "activation", .choices = importance_methods, .unless = "scores",
	 .doc = "what a dimension, head, group or channel is worth: magnitude of its weights, activation norms (Minitron), weight × activation (Wanda), fluctuation (FLAP), first-order taylor, random (formulas: prune/importance.h)"},
	{"layers", KEY_CHOICE, AT(importance_spec, layers), NULL, "influence", .choices = layers_methods, .unless = "scores",
	 .doc = "what a layer is worth: the method's own score, block influence (ShortGPT), or the loss or KL when it is left out"},
	{"tokens", KEY_COUNT, AT(importance_spec, tokens), "tokens", "64Ki", .min = 1, .max = BIG, .doc = "of the calibration text, the first of the seed's training text; whole batches of it are read, and count as spent"},
	{"sequences", KEY_INT, AT(importance_spec, sequences), "sequences", "8", .min = 1, .max = 1 << 16, .doc = "per forward pass, and per gradient of taylor"},
	{"refit", KEY_BOOL, AT(importance_spec, refit), NULL, "true", .doc = "after the cut, fit the output projections of attention and FFN to the source's outputs on the calibration text (least squares): a pass over the text that recipes/pruners.yaml found to pay"},
	{"compensate", KEY_BOOL, AT(importance_spec, compensate), NULL, "true", .doc = "of fluctuation with refit: false: what dropped inputs gave on average goes into the biases of the next projection, where the family has them"},
	{"merge_kv", KEY_BOOL, AT(importance_spec, merge_kv), NULL, "false", .doc = "key-value heads become means of neighbours instead of being dropped; groups of query heads may grow"},
	{"scores", KEY_STRING, AT(importance_spec, scores), .doc = "importance.safetensors of an earlier run with this teacher: nothing is measured"},
	{0},
};
static const struct section calibration_section = {"candidate", "scores without masks: those of every candidate of a search", sizeof(struct importance_spec), importance_keys + 1, NULL, NULL}; /* all but target */
static const struct key shape_search_keys[] = {
	{"candidates", KEY_INT, AT(shape_search_spec, candidates), NULL, "4", .min = 1, .max = RECIPE_MAX_CANDIDATES, .doc = "shapes that are cut and trained for a while: those with the least predicted loss that are no neighbours (prune/space.h)"},
	{"hidden_multiple", KEY_INT, AT(shape_search_spec, hidden_multiple), NULL, "0", .max = 1 << 16, .doc = "hidden is a multiple of it, or the source's; 0: the largest power of two up to a sixteenth of the source's size and 256"},
	{"intermediate_multiple", KEY_INT, AT(shape_search_spec, intermediate_multiple), NULL, "0", .max = 1 << 16, .doc = "the same of intermediate"},
	{"slack", KEY_REAL, AT(shape_search_spec, slack), NULL, "0.05", .max = 0.9, .doc = "a shape uses at least 1−slack of one of the budgets; doubled until there is a shape"},
	{"init", KEY_SECTION, AT(shape_search_spec, init), NULL, "{}", .section = &calibration_section, .doc = "how candidates are cut"},
	{"train", KEY_SECTION, AT(shape_search_spec, train), NULL, "{tokens: 200k, distill: {}}", .section = &train_section, .doc = "what each learns before they are ranked by held-out loss; no student pays for it"},
	{0},
};
const struct section shape_search_section = {"search", "for the best shape within a budget", sizeof(struct shape_search_spec), shape_search_keys, NULL, NULL};

static const struct section importance_section = {"importance", "scores without masks, then the cut", sizeof(struct importance_spec), importance_keys, NULL, NULL};

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
	{"importance", KEY_SECTION, AT(init_spec, importance), .section = &importance_section, .doc = "score what to remove from the teacher in one pass, and cut"},
	{"random", KEY_SECTION, AT(init_spec, random), .section = &random_section, .doc = "fresh weights in the target shape"},
	{"model", KEY_STRING, AT(init_spec, model), .doc = "a Hugging Face directory"},
	{"student", KEY_STRING, AT(init_spec, student), .doc = "a student that is listed earlier, of the same seed: its tokens and FLOPs count as spent"},
	{0},
};
const struct section init_section = {"init", "where weights come from: exactly one of these", sizeof(struct init_spec), init_keys, NULL, NULL};

static const struct key stage_keys[] = {
	{"init", KEY_SECTION, AT(stage_spec, init), .required = true, .section = &init_section, .doc = "of the first stage any; of the others masks, importance or layers, which cut what the stage before has left, scores and masks learned anew"},
	{"train", KEY_SECTION, AT(stage_spec, train), .section = &train_section, .doc = "what it learns then, from the recipe's teachers; absent, but not from the last stage: nothing"},
	{0},
};
static const struct section stage_section = {"stage", "a cut and what is learned after it", sizeof(struct stage_spec), stage_keys, NULL, NULL};

static const struct key student_keys[] = {
	{"init", KEY_SECTION, AT(student_spec, one.init), .required = true, .unless = "stages", .section = &init_section, .doc = "where its weights come from"},
	{"train", KEY_SECTION, AT(student_spec, one.train), .required = true, .unless = "stages", .section = &train_section, .doc = "what it learns then"},
	{"stages", KEY_SECTIONS, AT(student_spec, stages), .section = &stage_section, .doc = "instead of both, a list of them: prune, distil, prune again"},
	{0},
};
const struct section student_section = {"student", "a small model: how it starts and how it is trained", sizeof(struct student_spec), student_keys, NULL, NULL};

static const struct key share_keys[] = {
	{"weight", KEY_REAL, AT(share_spec, weight), NULL, "1.0", .max = 1e9, .doc = "of the teacher in that domain, relative to the other teachers"},
	{0},
};
static const struct section share_section = {"domain weight", "`{stories: 0.5}` is short for `{stories: {weight: 0.5}}`", sizeof(struct share_spec), share_keys, "weight", NULL};

static const struct key trim_keys[] = {
	{"max_tokens", KEY_COUNT, AT(trim_spec, max_tokens), "tokens", "0", .max = 1 << 24, .doc = "keep the most frequent, at most so many with all that they need; 0: no limit"},
	{"min_count", KEY_COUNT, AT(trim_spec, min_count), NULL, "1", .min = 1, .max = BIG, .doc = "drop tokens that the text uses less often"},
	{"multiple", KEY_INT, AT(trim_spec, multiple), "rows", "1", .min = 1, .max = 1 << 20, .doc = "pad the vocabulary to a multiple, as tensor parallelism wants"},
	{0},
};
static const struct section trim_section = {"trim", "a vocabulary without the tokens that no domain's training text uses; `{}` for the defaults", sizeof(struct trim_spec), trim_keys, NULL, NULL};

static const char *const teacher_computes[] = {"same", "fp32", "bf16", NULL};
static const struct key teacher_keys[] = {
	{"model", KEY_STRING, AT(teacher_spec, model), .doc = "a Hugging Face directory (`teacher: DIR` is short for it)"},
	{"init", KEY_SECTION, AT(teacher_spec, init), .section = &init_section, .doc = "`random`: a teacher to pretrain here; `model`: one to correct on the data"},
	{"train", KEY_SECTION, AT(teacher_spec, train), .section = &train_section, .doc = "of that teacher"},
	{"weight", KEY_REAL, AT(teacher_spec, weight), NULL, "1.0", .max = 1e9, .doc = "of its soft targets, relative to the other teachers"},
	{"domains", KEY_NAMED, AT(teacher_spec, domains), .section = &share_section, .doc = "weights in some domains, by name; in the others it weighs `weight`"},
	{"compute", KEY_CHOICE, AT(teacher_spec, compute), NULL, "same", .choices = teacher_computes, .doc = "matrix products of its forward pass; same: as the recipe's `compute`"},
	{"trim", KEY_SECTION, AT(teacher_spec, trim), .section = &trim_section, .doc = "before anything else, drop tokens from a single given teacher: its students, their tokenizer and all evaluation have the smaller vocabulary; absent: all stay"},
	{0},
};
const struct section teacher_section = {"teacher", "the large model, from which students inherit; of several it is the first, and inner losses are its", sizeof(struct teacher_spec), teacher_keys, "model", NULL};

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
	{"reference", KEY_STRINGS, AT(report_spec, references), .doc = "student that the others of its size are compared with, or one for each size; absent: the last with fresh weights (of these, one trained on text alone), else the last trained on text alone, else the last"},
	{"bootstrap", KEY_COUNT, AT(report_spec, bootstrap), "resamples", "10k", .min = 100, .max = 1e7, .doc = "of documents, for the intervals"},
	{"sequence_length", KEY_INT, AT(report_spec, sequence_length), "tokens", "0", .max = 1 << 20, .doc = "of evaluation windows; 0: the model's, at most 2048"},
	{"documents", KEY_COUNT, AT(report_spec, documents), NULL, "0", .max = BIG, .doc = "of each domain that are scored in the end, the first of its evaluation files; 0: all"},
	{"notes", KEY_STRINGS, AT(report_spec, notes), .doc = "sentences that stand at the top of the report: what a reader must know of the data"},
	{"metrics", KEY_CHOICE, AT(report_spec, metrics), NULL, "csv", .choices = metrics_kinds, .doc = "format of metrics files"},
	{0},
};
const struct section report_section = {"report", "how students are compared", sizeof(struct report_spec), report_keys, NULL, NULL};

static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
static const struct key recipe_keys[] = {
	{"recipe", KEY_INT, AT(recipe_spec, version), NULL, NULL, .required = true, .min = 1, .max = 1.5, .doc = "version of this language: 1"},
	{"name", KEY_STRING, AT(recipe_spec, name), .required = true, .doc = "identity of the run: its default directory is runs/<name>"},
	{"seeds", KEY_INTS, AT(recipe_spec, seeds), NULL, "[17]", .max = BIG, .doc = "each student is trained once per seed"},
	{"device", KEY_CHOICE, AT(recipe_spec, device), NULL, "auto", .choices = devices, .doc = "auto: the best there is"},
	{"compute", KEY_CHOICE, AT(recipe_spec, compute), NULL, "fp32", .choices = computes, .doc = "matrix products of training; masters, sums and evaluation are fp32"},
	{"threads", KEY_INT, AT(recipe_spec, threads), NULL, "0", .max = 4096, .doc = "0: all that the process may use"},
	{"micro_batch", KEY_INT, AT(recipe_spec, micro_batch), "sequences", "0", .max = 1 << 20, .doc = "per forward pass; 0: chosen so that it fits, about 4096 tokens"},
	{"teacher", KEY_SECTIONS, AT(recipe_spec, teachers), .required = true, .section = &teacher_section, .doc = "the large model, or several with one tokenizer"},
	{"data", KEY_SECTION, AT(recipe_spec, data), .required = true, .section = &data_section, .doc = "text"},
	{"target", KEY_SECTION, AT(recipe_spec, target), .section = &shape_section, .doc = "shape of every student whose init names none"},
	{"students", KEY_NAMED, AT(recipe_spec, students), .required = true, .section = &student_section, .doc = "by name; the report keeps their order"},
	{"report", KEY_SECTION, AT(recipe_spec, report), NULL, "{}", .section = &report_section, .doc = "how they are compared"},
	{0},
};
const struct section recipe_section = {"recipe", "the whole file", sizeof(struct recipe_spec), recipe_keys, NULL, NULL};
