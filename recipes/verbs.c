#include "recipes/verbs.h"

#include "base/fsio.h"
#include "recipes/run.h"

#define THREADS {"--threads", "N", "0", false, false, "threads; 0: all that the process may use"}
#define END {NULL, NULL, NULL, false, false, NULL}

static int run_or_plan(const struct cli_args *a, bool plan, struct err *e)
{
	const char *sets[CLI_MAX];
	struct run_options o = {.recipe_path = a->positional[0], .sets = sets, .n_sets = cli_all(a, "--set", sets, CLI_MAX)};
	if (plan)
		return run_plan(&o, e);
	o.out = cli_get(a, "--out");
	o.allow_drift = cli_has(a, "--allow-drift");
	run_catch_signals();
	return run_recipe(&o, e);
}

static int verb_run(const struct cli_args *a, struct err *e)
{
	return run_or_plan(a, false, e);
}

static int verb_plan(const struct cli_args *a, struct err *e)
{
	return run_or_plan(a, true, e);
}

int verb_path(const char *path, struct err *e)
{
	return fsio_exists(path) ? 0 : err_user(e, "%s: no such file or directory", path);
}

int verb_vocabulary(const struct tokenizer *t, const char *tokenizer_path, const struct hf_model *hf, struct err *e)
{
	int n = tokenizer_vocab_size(t), V = hf->layout.arch.shape.V;
	return n <= V ? 0 : err_user(e, "%s: the tokenizer has %d tokens, the vocabulary of %s only %d: they don't belong together", tokenizer_path, n, hf->dir, V);
}

static int verb_keys(const struct cli_args *a, struct err *e)
{
	(void)a, (void)e;
	section_reference(stdout, &recipe_section);
	return 0;
}

static const struct cli_option run_options[] = {
	{"--out", "DIR", NULL, false, false, "the run's directory; absent: runs/<name>"},
	{"--set", "KEY=VALUE", NULL, false, true, "overrides a key of the recipe, as in students.sheared.train.lr=1e-3"},
	{"--allow-drift", NULL, NULL, false, false, "go on although device or compute type changed since the first start"},
	END,
};
static const struct cli_option plan_options[] = {
	{"--set", "KEY=VALUE", NULL, false, true, "overrides a key of the recipe"},
	END,
};
static const struct cli_option inspect_options[] = {
	{"--json", NULL, NULL, false, false, "one JSON object instead of text"},
	{"--scores", "FILE", NULL, false, false, "also: the importance scores of an importance.safetensors of this model"},
	{"--latency", NULL, NULL, false, false, "also: milliseconds of a prompt and of one token after it, measured here and now, in fp32"},
	{"--length", "N", "0", false, false, "of --latency: tokens of each sequence; 0: the model's positions, at most 512"},
	{"--batch", "N", "1", false, false, "of --latency: sequences at a time"},
	THREADS,
	END,
};
static const struct cli_option eval_options[] = {
	{"--data", "FILE", NULL, true, true, "text to score: .txt, .jsonl, both also .gz"},
	{"--json", NULL, NULL, false, false, "one JSON object instead of text"},
	{"--sequence-length", "N", "0", false, false, "window; longer documents go by half a window; 0: the model's positions, at most 2048"},
	{"--tokenizer", "PATH", NULL, false, false, "instead of the model's own"},
	{"--teacher", "MODEL", NULL, false, false, "also: agreement with, and KL from, this model"},
	{"--documents", "FILE", NULL, false, false, "write the scores of every document as CSV"},
	THREADS,
	END,
};
static const struct cli_option logits_options[] = {
	{"--ids", "1,2,3", NULL, true, false, "token ids of one sequence"},
	{"--out", "FILE", NULL, true, false, "safetensors file to write: tensor `logits`, F32, (T, V)"},
	THREADS,
	END,
};
static const struct cli_option tokenize_options[] = {
	{"--json", NULL, NULL, false, false, "one array of ids per document, one line each, instead of pieces"},
	{"--special", NULL, NULL, false, false, "with the BOS and EOS that the tokenizer adds"},
	END,
};
static const struct cli_option generate_options[] = {
	{"--prompt", "TEXT", "", false, false, "to go on from"},
	{"--tokens", "N", "200", false, false, "at most"},
	{"--temperature", "X", "0.8", false, false, "0: always the likeliest token"},
	{"--top-p", "X", "0.95", false, false, "sample from the likeliest tokens of this mass"},
	{"--seed", "N", "17", false, false, "of the sampling"},
	THREADS,
	END,
};
static const struct cli_option cut_options[] = {
	{"--masks", "FILE", NULL, false, false, "masks.safetensors of a mask phase"},
	{"--scores", "FILE", NULL, false, false, "or importance.safetensors of an importance init: the best units stay"},
	{"--layers", "0,2,4", NULL, false, false, "or a list: these layers stay whole"},
	{"--target", "SHAPE", NULL, false, false, "as in a recipe: {layers: 4, hidden: 128}; scores need it, masks must have exactly this shape"},
	{"--merge-kv", NULL, NULL, false, false, "with --scores: key-value heads are averaged in runs instead of dropped"},
	{"--out", "DIR", NULL, true, false, "Hugging Face directory to write"},
	END,
};
static const struct cli_option trim_options[] = {
	{"--data", "FILE", NULL, true, true, "text whose tokens stay: .txt, .jsonl, both also .gz"},
	{"--out", "DIR", NULL, true, false, "Hugging Face directory to write; must not be there"},
	{"--max-tokens", "N", "0", false, false, "keep the most frequent, at most so many with all that they need; 0: no limit"},
	{"--min-count", "N", "1", false, false, "drop tokens that the data uses less often"},
	{"--multiple", "N", "1", false, false, "pad the vocabulary to a multiple, as tensor parallelism wants"},
	END,
};
static const struct cli_option compare_options[] = {
	{"--out", "DIR", "compare", false, false, "directory for report.md, report.html, report.json"},
	{"--reference", "NAME", NULL, false, true, "student that the others of its size are compared with; again for another size"},
	END,
};
static const struct cli_option no_options[] = {END};

const struct cli_verb verbs[] = {
	{"run", "RECIPE", 1, 1, run_options, "Runs a recipe, or goes on with it: the same command after any interruption. Ends with the comparison and the report's path.", verb_run},
	{"plan", "RECIPE", 1, 1, plan_options, "Checks a recipe and prints shapes, parameters, FLOPs, memory by owner, disk and time. Touches nothing.", verb_plan},
	{"inspect", "MODEL", 1, 1, inspect_options, "Architecture, shape, parameters, types, and where the model can be loaded.", verb_inspect},
	{"eval", "MODEL", 1, 1, eval_options, "NLL per token, perplexity and bits per byte of text; every document is scored alone, in fp32.", verb_eval},
	{"logits", "MODEL", 1, 1, logits_options, "Exact fp32 logits of one sequence, for whoever wants to check us.", verb_logits},
	{"tokenize", "MODEL FILE", 2, 2, tokenize_options, "Token ids of every document of a file.", verb_tokenize},
	{"generate", "MODEL", 1, 1, generate_options, "Text from a model.", verb_generate},
	{"cut", "MODEL", 1, 1, cut_options, "Surgery alone: a smaller model from masks, scores or a list of layers. Streams: needs memory for a few MiB, whatever the model's size.", verb_cut},
	{"trim", "MODEL", 1, 1, trim_options, "A smaller vocabulary: drops the tokens that a text does not use; the text's pieces and the logits of what stays don't change.", verb_trim},
	{"compare", "DIR...", 1, CLI_MAX, compare_options, "The table and the report over finished runs (their directories, or single result directories).", verb_compare},
	{"keys", "", 0, 0, no_options, "Every key of the recipe language, as Markdown tables.", verb_keys},
	{NULL, NULL, 0, 0, NULL, NULL, NULL},
};
